package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"math/big"
	"testing"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Signatures of "hello" with testRSA by OpenSSL 3: rsa_padding_mode:pss.
var pssVectors = []struct {
	name   string
	params pkcs11.PSSParams
	sig    string
}{
	{"sha256, salt 0, MGF1 of sha256", pkcs11.PSSParams{HashAlg: pkcs11.CKM_SHA256, MGF: pkcs11.CKG_MGF1_SHA256, SaltLen: 0}, "aad87dcdc8458bbec51a1fb6a36433612a79106bcd08ec931f58c00f0054d59ed02e352e628d8de168ba5251cf15330f4c6b1f055976bc13c5da28af9a961dbededf01d5edbc1807a7ffbea6674ae1d37f69ad68847eefbd092d3239690260b61ce2b12da05e4b9eae4b194b8fdf04172a87c0b28af5daf071fd10f9b24908968f1e06db1b20c26a6dff62aeb7756c85de0f174fd2e232d3a9c8c3ed7149f3ded4250aa0b149df4ca29fd57a362fc727dda360586dcd00054193e4936f29be69faeb5e897ae4f4cb5c087cab4839af01285ef16627a854f6017e315341d83f805341f037bc45c14dc4efd6849ea75d80122cf351272181b18eeba09a9e56bd3c"},
	{"sha256, salt 0, MGF1 of sha1", pkcs11.PSSParams{HashAlg: pkcs11.CKM_SHA256, MGF: pkcs11.CKG_MGF1_SHA1, SaltLen: 0}, "399b84ba1f1de15f7e6bde6b8182d66ff04ae90071f3991fb553c5bd0a784894425b3b2f13700b5b65c816b051a6ce77f78e99656f526fe3e2c65a38b0ad4a5f9b85fb18e62f2ef6c9d4cf84e0b1042da94a94396750e15654de1641fafd6a430069d07f37030d93828656f5d358004ee670da073a05e7da13d598c85e831412fd0afa55543647e9f6d5322e1ceedcef2b0bda0e30a0d312a48033ec4525ab4d888e8c5aea28ec6211732b352535d245d54b7465a63143a626dc7ae1ceba7af8e9426167087727ec39435afbc0dcbabd59cec8b23e3c1e0065b67fcc356f79f54035bbbd08c8cd6774bd1309500359a290638fbf4989143b341208c9000e68f9"},
	{"sha512, salt 64, MGF1 of sha256", pkcs11.PSSParams{HashAlg: pkcs11.CKM_SHA512, MGF: pkcs11.CKG_MGF1_SHA256, SaltLen: 64}, "50cb8b11c2dd25532ea209445f6abac06e1e57c690372739b6d904f971e4daa0febb4a80974b833131ff36d9d5b0990532af83dbe77df24b84c174351134fb2f19367f7c257235ffca717c3d5a94a672c647f459a161762e3b1a47d00adfce76fe72e3d5f65028ec4c297fb649a9fff4fd62265e1b0511fa45bb3c234cdff401c64c043b730aff691cd8f60b743852dbffcbe227e071fa5b70ee0e3edd08047d0fc768aa9c368a0725fb6672e729ace35327f5280c2e8057dc357dced42e219ada092f0f43c0910dd331660392786cd95d5f3c3717e35d1b91bcba217ae9f36fdcfd9f7d5b4953e2ded5eeebec8a1a6ff0487940cfa5c7dd4d910924dfc1991a"},
	{"sha1, salt 20, MGF1 of sha1", pkcs11.PSSParams{HashAlg: pkcs11.CKM_SHA_1, MGF: pkcs11.CKG_MGF1_SHA1, SaltLen: 20}, "278aa9b608a739910823bf65e1f440880808729e67c93a3290e84ab5a65f374af912f27891d9af9a3c64b0c0f08db084bee226d5d62b85135196b0ebf8e11349d8a1501f3cc17fb1b6cd81eb20cd51e028793a0ac7895e8ba950947535c19e730352a6d28f4f28dce231fb8fd5686c1ee590227eb047444183a0c30e18d4b2b49e3c2fce88fbafa3825edc80ba846a293a77c8541e3fc259eb8c918c8362b1b44b2df1856f49061866fd4d08cbcad88e4162bd27660b1220c35474d6fb72a6c76a56a5c013ea9fb412daea6652f0e1e66a6f8310a30ab5b8ec74595ad13e6b86d42b49aa4798bb229e8f453b871b0d24943f82194a5249a80f0c36f5fef4c1c1"},
}

func wantCode(t *testing.T, what string, err error, code pkcs11.Error) {
	t.Helper()
	if code == 0 {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	if !errors.Is(err, code) {
		t.Errorf("%s: %v, want %v", what, err, code)
	}
}

// verifies checks that sig verifies, and that nothing near it does.
func verifies(t *testing.T, pub, other crypto.PublicKey, m *pkcs11.Mechanism, data, sig []byte) {
	t.Helper()
	if err := Verify(pub, m, data, sig); err != nil {
		t.Fatal(err)
	}
	flip := func(b []byte, i int) []byte {
		c := append([]byte(nil), b...)
		c[i] ^= 1
		return c
	}
	for _, i := range []int{0, len(sig) / 2, len(sig) - 1} {
		wantCode(t, "flipped bit in the signature", Verify(pub, m, data, flip(sig, i)), pkcs11.CKR_SIGNATURE_INVALID)
	}
	for _, i := range []int{0, len(data) - 1} {
		wantCode(t, "flipped bit in the data", Verify(pub, m, flip(data, i), sig), pkcs11.CKR_SIGNATURE_INVALID)
	}
	wantCode(t, "other key", Verify(other, m, data, sig), pkcs11.CKR_SIGNATURE_INVALID)
	wantCode(t, "short signature", Verify(pub, m, data, sig[1:]), pkcs11.CKR_SIGNATURE_LEN_RANGE)
	wantCode(t, "long signature", Verify(pub, m, data, append([]byte{0}, sig...)), pkcs11.CKR_SIGNATURE_LEN_RANGE)
	wantCode(t, "no signature", Verify(pub, m, data, nil), pkcs11.CKR_SIGNATURE_LEN_RANGE)
	wantCode(t, "forged signature", Verify(pub, m, data, number(len(sig), false)), pkcs11.CKR_SIGNATURE_INVALID)
	wantCode(t, "zeros", Verify(pub, m, data, make([]byte, len(sig))), pkcs11.CKR_SIGNATURE_INVALID)
}

func otherRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestVerifyECDSA(t *testing.T) {
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		t.Run(c.Params().Name, func(t *testing.T) {
			var key [2]*ecdsa.PrivateKey
			for i := range key {
				var err error
				if key[i], err = ecdsa.GenerateKey(c, rand.Reader); err != nil {
					t.Fatal(err)
				}
			}
			m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
			size := (c.Params().BitSize + 7) / 8
			for _, n := range []int{1, 20, 32, 48, 64} {
				digest := number(n, true)
				der, err := ecdsa.SignASN1(rand.Reader, key[0], digest)
				if err != nil {
					t.Fatal(err)
				}
				raw := make([]byte, 2*size)
				if err := RawSignature(raw, der); err != nil {
					t.Fatal(err)
				}
				if n <= size {
					verifies(t, &key[0].PublicKey, &key[1].PublicKey, m, digest, raw)
				} else {
					// What exceeds the order does not count.
					long := append(append([]byte(nil), digest...), 1, 2, 3)
					wantCode(t, "long digest", Verify(&key[0].PublicKey, m, long, raw), 0)
					long[0] ^= 1
					wantCode(t, "other long digest", Verify(&key[0].PublicKey, m, long, raw), pkcs11.CKR_SIGNATURE_INVALID)
				}
				wantCode(t, "no digest", Verify(&key[0].PublicKey, m, nil, raw), pkcs11.CKR_DATA_LEN_RANGE)
				order := c.Params().N.FillBytes(make([]byte, size))
				for _, half := range []int{0, size} {
					bad := append([]byte(nil), raw...)
					clear(bad[half : half+size])
					wantCode(t, "zero", Verify(&key[0].PublicKey, m, digest, bad), pkcs11.CKR_SIGNATURE_INVALID)
					copy(bad[half:], order)
					wantCode(t, "the order", Verify(&key[0].PublicKey, m, digest, bad), pkcs11.CKR_SIGNATURE_INVALID)
					sum := new(big.Int).Add(new(big.Int).SetBytes(raw[half:half+size]), c.Params().N)
					if sum.BitLen() <= 8*size {
						sum.FillBytes(bad[half : half+size])
						wantCode(t, "the order added", Verify(&key[0].PublicKey, m, digest, bad), pkcs11.CKR_SIGNATURE_INVALID)
					}
				}
			}
		})
	}
}

func TestVerifyEdDSA(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("message")
	sum := sha512.Sum512(msg)
	for name, c := range map[string]struct {
		params any
		signed []byte
		opts   ed25519.Options
	}{
		"pure":             {nil, msg, ed25519.Options{}},
		"nil pointer":      {(*pkcs11.EDDSAParams)(nil), msg, ed25519.Options{}},
		"empty parameters": {&pkcs11.EDDSAParams{}, msg, ed25519.Options{}},
		"context":          {&pkcs11.EDDSAParams{Context: []byte("c")}, msg, ed25519.Options{Context: "c"}},
		"prehash":          {&pkcs11.EDDSAParams{Prehash: true}, sum[:], ed25519.Options{Hash: crypto.SHA512}},
		"both":             {&pkcs11.EDDSAParams{Prehash: true, Context: []byte("c")}, sum[:], ed25519.Options{Hash: crypto.SHA512, Context: "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			sig, err := key.Sign(nil, c.signed, &c.opts)
			if err != nil {
				t.Fatal(err)
			}
			verifies(t, pub, other, &pkcs11.Mechanism{Type: pkcs11.CKM_EDDSA, Params: c.params}, msg, sig)
		})
	}
	wantCode(t, "long context", Verify(pub, &pkcs11.Mechanism{Type: pkcs11.CKM_EDDSA, Params: &pkcs11.EDDSAParams{Context: make([]byte, 256)}}, msg, make([]byte, 64)), pkcs11.CKR_MECHANISM_PARAM_INVALID)
	wantCode(t, "parameters of another mechanism", Verify(pub, &pkcs11.Mechanism{Type: pkcs11.CKM_EDDSA, Params: &pkcs11.PSSParams{}}, msg, make([]byte, 64)), pkcs11.CKR_MECHANISM_PARAM_INVALID)
	wantCode(t, "short key", Verify(pub[:31], &pkcs11.Mechanism{Type: pkcs11.CKM_EDDSA}, msg, make([]byte, 64)), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
}

func TestVerifyRSAPKCS(t *testing.T) {
	key, other := rsaKey(t), otherRSA(t)
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}
	digest := sha256.Sum256([]byte("x"))
	info, err := AppendDigestInfo(nil, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"DigestInfo":        info,
		"bare digest":       digest[:],
		"as TLS 1.0 signs":  number(36, true),
		"one byte":          {0},
		"all that fits":     number(256-11, true),
		"almost DigestInfo": append([]byte{0}, info...),
	} {
		t.Run(name, func(t *testing.T) {
			sig, err := rsa.SignPKCS1v15(rand.Reader, key, 0, data)
			if err != nil {
				t.Fatal(err)
			}
			verifies(t, &key.PublicKey, &other.PublicKey, m, data, sig)
		})
	}
	t.Run("no data", func(t *testing.T) {
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, "signature of nothing", Verify(&key.PublicKey, m, nil, sig), 0)
		wantCode(t, "signature of something", Verify(&key.PublicKey, m, info, sig), pkcs11.CKR_SIGNATURE_INVALID)
	})
	wantCode(t, "too much", Verify(&key.PublicKey, m, make([]byte, 246), make([]byte, 256)), pkcs11.CKR_DATA_LEN_RANGE)
	wantCode(t, "parameters", Verify(&key.PublicKey, &pkcs11.Mechanism{Type: m.Type, Params: &pkcs11.PSSParams{}}, info, make([]byte, 256)), pkcs11.CKR_MECHANISM_PARAM_INVALID)
	modulus := key.N.FillBytes(make([]byte, 256))
	wantCode(t, "the modulus as signature", Verify(&key.PublicKey, m, info, modulus), pkcs11.CKR_SIGNATURE_INVALID)
	wantCode(t, "the modulus as signature of bytes", Verify(&key.PublicKey, m, info[1:], modulus), pkcs11.CKR_SIGNATURE_INVALID)
}

func TestVerifyRSAX509(t *testing.T) {
	key, other := rsaKey(t), otherRSA(t)
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_X_509}
	for name, data := range map[string][]byte{
		"short":       []byte("a short block"),
		"whole block": append([]byte{0}, number(255, true)...),
	} {
		t.Run(name, func(t *testing.T) {
			sig := new(big.Int).Exp(new(big.Int).SetBytes(data), key.D, key.N).FillBytes(make([]byte, 256))
			verifies(t, &key.PublicKey, &other.PublicKey, m, data, sig)
			padded := append(make([]byte, 256-len(data)), data...)
			wantCode(t, "padded with zeros", Verify(&key.PublicKey, m, padded, sig), 0)
		})
	}
	sig := number(256, false)
	wantCode(t, "no data", Verify(&key.PublicKey, m, nil, sig), pkcs11.CKR_DATA_LEN_RANGE)
	wantCode(t, "too much", Verify(&key.PublicKey, m, make([]byte, 257), sig), pkcs11.CKR_DATA_LEN_RANGE)
	modulus := key.N.FillBytes(make([]byte, 256))
	wantCode(t, "the modulus", Verify(&key.PublicKey, m, modulus, sig), pkcs11.CKR_DATA_INVALID)
	wantCode(t, "the modulus as signature", Verify(&key.PublicKey, m, []byte{1}, modulus), pkcs11.CKR_SIGNATURE_INVALID)
}

func TestVerifyRSAPSS(t *testing.T) {
	key, other := rsaKey(t), otherRSA(t)
	for _, h := range Hashes() {
		g, ok := MGF(h)
		if !ok {
			continue
		}
		mech, _ := HashMechanism(h)
		for _, salt := range []int{1, 20, h.Size(), 256 - h.Size() - 2} {
			digest := number(h.Size(), true)
			sig, err := rsa.SignPSS(rand.Reader, key, h, digest, &rsa.PSSOptions{SaltLength: salt})
			if err != nil {
				t.Fatal(err)
			}
			p := pkcs11.PSSParams{HashAlg: mech, MGF: g, SaltLen: uint64(salt)}
			m := &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: &p}
			verifies(t, &key.PublicKey, &other.PublicKey, m, digest, sig)
			// The code for what crypto/rsa does not do agrees with it.
			em, ok := rawRSA(&key.PublicKey, sig)
			if !ok || !checkPSS(&key.PublicKey, h, h, salt, digest, em) {
				t.Errorf("%v with a salt of %d bytes: checkPSS refuses", h, salt)
			}
			for _, wrong := range []uint64{0, p.SaltLen - 1, p.SaltLen + 1} {
				q := p
				if q.SaltLen = wrong; wrong > uint64(256-h.Size()-2) || wrong == p.SaltLen {
					continue
				}
				wantCode(t, "another length of salt", Verify(&key.PublicKey, &pkcs11.Mechanism{Type: m.Type, Params: &q}, digest, sig), pkcs11.CKR_SIGNATURE_INVALID)
			}
			wantCode(t, "short digest", Verify(&key.PublicKey, m, digest[1:], sig), pkcs11.CKR_DATA_LEN_RANGE)
		}
	}
}

func TestVerifyRSAPSSOfOpenSSL(t *testing.T) {
	key, other := rsaKey(t), otherRSA(t)
	for _, v := range pssVectors {
		t.Run(v.name, func(t *testing.T) {
			h, _ := Hash(v.params.HashAlg)
			w := h.New()
			w.Write([]byte("hello"))
			verifies(t, &key.PublicKey, &other.PublicKey, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: &v.params}, w.Sum(nil), unhex(t, v.sig))
		})
	}
}

// The encoded message of a modulus of 8n+1 bits is a byte shorter than it.
func TestPSSWithOddModulus(t *testing.T) {
	for _, bits := range []int{1025, 1026, 1031, 1032} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		digest := number(32, true)
		sig, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: 32})
		if err != nil {
			t.Fatal(err)
		}
		em, ok := rawRSA(&key.PublicKey, sig)
		if !ok || !checkPSS(&key.PublicKey, crypto.SHA256, crypto.SHA256, 32, digest, em) {
			t.Errorf("%d bits: checkPSS refuses", bits)
		}
		room := (bits+6)/8 - 32 - 2
		p := &pkcs11.PSSParams{HashAlg: pkcs11.CKM_SHA256, MGF: pkcs11.CKG_MGF1_SHA256, SaltLen: uint64(room)}
		if _, _, _, err := PSS(&pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: p}, &key.PublicKey); err != nil {
			t.Errorf("%d bits: %v", bits, err)
		}
		if _, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: room}); err != nil {
			t.Errorf("%d bits, salt of %d bytes: %v", bits, room, err)
		}
		p.SaltLen++
		_, _, _, err = PSS(&pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: p}, &key.PublicKey)
		wantCode(t, "a salt one byte too long", err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
}

// Each check of EMSA-PSS-VERIFY, step by step: RFC 8017 §9.1.2.
func TestCheckPSSRefuses(t *testing.T) {
	const salt = 8
	h := crypto.SHA256
	digest := number(32, true)
	for _, bits := range []int{1024, 1025, 1030} {
		pub := &rsa.PublicKey{N: new(big.Int).Lsh(one, uint(bits-1)), E: 3}
		size, unused := (bits+6)/8, 8*((bits+6)/8)-(bits-1)
		// encode makes the message of a data block that spoil has changed.
		encode := func(spoil func(db []byte)) []byte {
			db := make([]byte, size-32-1)
			db[len(db)-salt-1] = 1
			copy(db[len(db)-salt:], number(salt, true))
			w := h.New()
			w.Write(make([]byte, 8))
			w.Write(digest)
			w.Write(db[len(db)-salt:])
			sum := w.Sum(nil)
			spoil(db)
			xorMGF1(db, h.New(), sum)
			db[0] &= 0xff >> unused
			em := append(append(db, sum...), 0xbc)
			return append(make([]byte, pub.Size()-size), em...)
		}
		good := encode(func([]byte) {})
		check := func(em []byte) bool { return checkPSS(pub, h, h, salt, digest, append([]byte(nil), em...)) }
		if !check(good) {
			t.Fatalf("%d bits: a good message is refused", bits)
		}
		for what, em := range map[string][]byte{
			"a bit in the padding":        encode(func(db []byte) { db[len(db)-salt-2] = 1 }),
			"a bit in the first byte":     encode(func(db []byte) { db[0] |= 0x80 >> unused }),
			"another separator":           encode(func(db []byte) { db[len(db)-salt-1] = 2 }),
			"no separator":                encode(func(db []byte) { db[len(db)-salt-1] = 0 }),
			"a separator too early":       encode(func(db []byte) { db[len(db)-salt-2], db[len(db)-salt-1] = 1, 0 }),
			"another salt":                encode(func(db []byte) { db[len(db)-1] ^= 1 }),
			"another trailer":             append(append([]byte(nil), good[:len(good)-1]...), 0xcc),
			"a bit above the modulus's":   func() []byte { em := append([]byte(nil), good...); em[pub.Size()-size] ^= 0x80; return em }(),
			"a bit in the byte before it": func() []byte { em := append([]byte(nil), good...); em[0] |= 0x80; return em }(),
		} {
			if check(em) {
				t.Errorf("%d bits: %s is accepted", bits, what)
			}
		}
	}
}

func TestPSSParameters(t *testing.T) {
	good := pkcs11.PSSParams{HashAlg: pkcs11.CKM_SHA256, MGF: pkcs11.CKG_MGF1_SHA256, SaltLen: 32}
	for name, params := range map[string]any{
		"none":         nil,
		"nil pointer":  (*pkcs11.PSSParams)(nil),
		"bytes":        []byte{1},
		"a value":      good,
		"unknown hash": &pkcs11.PSSParams{HashAlg: pkcs11.CKM_MD5, MGF: good.MGF, SaltLen: 32},
		"no MGF":       &pkcs11.PSSParams{HashAlg: good.HashAlg, SaltLen: 32},
		"huge salt":    &pkcs11.PSSParams{HashAlg: good.HashAlg, MGF: good.MGF, SaltLen: 1 << 63},
	} {
		_, _, _, err := PSS(&pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: params}, nil)
		wantCode(t, name, err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	if _, _, _, err := PSS(&pkcs11.Mechanism{Type: pkcs11.CKM_SHA256_RSA_PKCS_PSS, Params: &good}, nil); err != nil {
		t.Error(err)
	}
	_, _, _, err := PSS(&pkcs11.Mechanism{Type: pkcs11.CKM_SHA384_RSA_PKCS_PSS, Params: &good}, nil)
	wantCode(t, "parameters of another hash than the mechanism's", err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	wide := &pkcs11.PSSParams{HashAlg: pkcs11.CKM_SHA512, MGF: pkcs11.CKG_MGF1_SHA512, SaltLen: 63}
	_, _, _, err = PSS(&pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: wide}, &small.PublicKey)
	wantCode(t, "SHA-512 with a salt of 63 bytes in 1024 bits", err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
}

func TestVerifyMechanismAndKey(t *testing.T) {
	keys := testKeys(t)
	for _, m := range []pkcs11.MechanismType{pkcs11.CKM_ECDSA, pkcs11.CKM_EDDSA, pkcs11.CKM_RSA_PKCS, pkcs11.CKM_RSA_X_509, pkcs11.CKM_RSA_PKCS_PSS} {
		for name, key := range keys {
			err := Verify(key.Public(), &pkcs11.Mechanism{Type: m}, []byte{1}, []byte{1})
			if err == nil {
				t.Errorf("%v verifies nonsense with %s", m, name)
			}
			suits := map[pkcs11.KeyType]bool{}
			switch m {
			case pkcs11.CKM_ECDSA:
				suits[pkcs11.CKK_EC] = true
			case pkcs11.CKM_EDDSA:
				suits[pkcs11.CKK_EC_EDWARDS] = true
			default:
				suits[pkcs11.CKK_RSA] = true
			}
			if got := errors.Is(err, pkcs11.CKR_KEY_TYPE_INCONSISTENT); got == suits[KeyType(key)] {
				t.Errorf("%v with %s: %v", m, name, err)
			}
		}
	}
	wantCode(t, "a hashing mechanism", Verify(keys["P-256"].Public(), &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA_SHA256}, nil, nil), pkcs11.CKR_MECHANISM_INVALID)
	wantCode(t, "no key", Verify(nil, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, nil, nil), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
}

func TestEncrypt(t *testing.T) {
	key := rsaKey(t)
	pub := &key.PublicKey
	decrypt := func(opts crypto.DecrypterOpts) func([]byte) ([]byte, error) {
		return func(c []byte) ([]byte, error) { return key.Decrypt(nil, c, opts) }
	}
	oaep := func(h, g crypto.Hash, label string) *pkcs11.OAEPParams {
		mech, _ := HashMechanism(h)
		mgf, _ := MGF(g)
		return &pkcs11.OAEPParams{HashAlg: mech, MGF: mgf, Source: pkcs11.CKZ_DATA_SPECIFIED, Label: []byte(label)}
	}
	raw := func(c []byte) ([]byte, error) {
		return new(big.Int).Exp(new(big.Int).SetBytes(c), key.D, key.N).Bytes(), nil
	}
	for name, c := range map[string]struct {
		m       pkcs11.Mechanism
		most    int
		decrypt func([]byte) ([]byte, error)
	}{
		"PKCS":              {pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}, 245, decrypt(nil)},
		"X.509":             {pkcs11.Mechanism{Type: pkcs11.CKM_RSA_X_509}, 256, raw},
		"OAEP SHA-1":        {pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP, Params: oaep(crypto.SHA1, crypto.SHA1, "")}, 214, decrypt(&rsa.OAEPOptions{Hash: crypto.SHA1})},
		"OAEP label":        {pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP, Params: oaep(crypto.SHA256, crypto.SHA256, "l")}, 190, decrypt(&rsa.OAEPOptions{Hash: crypto.SHA256, Label: []byte("l")})},
		"OAEP as Java does": {pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP, Params: oaep(crypto.SHA256, crypto.SHA1, "")}, 190, decrypt(&rsa.OAEPOptions{Hash: crypto.SHA256, MGFHash: crypto.SHA1})},
		"OAEP mixed, label": {pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP, Params: oaep(crypto.SHA384, crypto.SHA512, "l")}, 158, decrypt(&rsa.OAEPOptions{Hash: crypto.SHA384, MGFHash: crypto.SHA512, Label: []byte("l")})},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{1, 16, c.most} {
				msg := number(n, false)
				out, err := Encrypt(pub, &c.m, msg)
				if err != nil || len(out) != 256 {
					t.Fatalf("%d bytes: %d, %v", n, len(out), err)
				}
				back, err := c.decrypt(out)
				if err != nil || string(back) != string(msg) {
					t.Errorf("%d bytes come back as %x, %v", n, back, err)
				}
				again, err := Encrypt(pub, &c.m, msg)
				if err != nil || (string(again) == string(out)) != (c.m.Type == pkcs11.CKM_RSA_X_509) {
					t.Errorf("%d bytes encrypted twice: %v", n, err)
				}
			}
			_, err := Encrypt(pub, &c.m, make([]byte, c.most+1))
			wantCode(t, "too much", err, pkcs11.CKR_DATA_LEN_RANGE)
		})
	}
	_, err := Encrypt(pub, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_X_509}, key.N.Bytes())
	wantCode(t, "the modulus", err, pkcs11.CKR_DATA_INVALID)
	_, err = Encrypt(&ecKey(t).PublicKey, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}, nil)
	wantCode(t, "an EC key", err, pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	_, err = Encrypt(pub, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS}, nil)
	wantCode(t, "PSS", err, pkcs11.CKR_MECHANISM_INVALID)
	for name, params := range map[string]any{
		"none":             nil,
		"nil pointer":      (*pkcs11.OAEPParams)(nil),
		"unknown hash":     &pkcs11.OAEPParams{HashAlg: pkcs11.CKM_MD5, MGF: pkcs11.CKG_MGF1_SHA1},
		"unknown MGF":      &pkcs11.OAEPParams{HashAlg: pkcs11.CKM_SHA_1, MGF: 99},
		"unknown source":   &pkcs11.OAEPParams{HashAlg: pkcs11.CKM_SHA_1, MGF: pkcs11.CKG_MGF1_SHA1, Source: 2},
		"label, no source": &pkcs11.OAEPParams{HashAlg: pkcs11.CKM_SHA_1, MGF: pkcs11.CKG_MGF1_SHA1, Label: []byte("l")},
	} {
		_, err := Encrypt(pub, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP, Params: params}, nil)
		wantCode(t, "OAEP parameters: "+name, err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Encrypt(&small.PublicKey, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP, Params: oaep(crypto.SHA512, crypto.SHA512, "")}, nil)
	wantCode(t, "OAEP with SHA-512 in 1024 bits", err, pkcs11.CKR_KEY_SIZE_RANGE)
}
