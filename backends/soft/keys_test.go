package soft

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func importSecret(t testing.TB, token *Token, typ pkcs11.KeyType, value []byte) driver.Object {
	t.Helper()
	o, err := token.CreateObject(ctx, append(common(pkcs11.CKO_SECRET_KEY, "secret", true), attrs(pkcs11.CKA_KEY_TYPE, typ, pkcs11.CKA_VALUE, value)...), nil)
	must(t, err)
	return o
}

// The vectors are those of RFC 4493 §4 (AES-CMAC), NIST SP 800-38B for AES-256,
// and RFC 4231 and RFC 2202 (HMAC).
func TestMACVectors(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	login(t, token)
	aes128 := "2b7e151628aed2a6abf7158809cf4f3c"
	aes256 := "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
	message := "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
	jefe, what := "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f"
	for _, v := range []struct {
		m              pkcs11.MechanismType
		typ            pkcs11.KeyType
		key, data, mac string
	}{
		{pkcs11.CKM_AES_CMAC, pkcs11.CKK_AES, aes128, "", "bb1d6929e95937287fa37d129b756746"},
		{pkcs11.CKM_AES_CMAC, pkcs11.CKK_AES, aes128, message[:32], "070a16b46b4d4144f79bdd9dd04a287c"},
		{pkcs11.CKM_AES_CMAC, pkcs11.CKK_AES, aes128, message[:80], "dfa66747de9ae63030ca32611497c827"},
		{pkcs11.CKM_AES_CMAC, pkcs11.CKK_AES, aes128, message, "51f0bebf7e3b9d92fc49741779363cfe"},
		{pkcs11.CKM_AES_CMAC, pkcs11.CKK_AES, aes256, "", "028962f61b7bf89efc6b551f4667d983"},
		{pkcs11.CKM_AES_CMAC, pkcs11.CKK_AES, aes256, message[:80], "aaf3d8f1de5640c232f5b169b9c911e6"},
		{pkcs11.CKM_SHA_1_HMAC, pkcs11.CKK_SHA_1_HMAC, jefe, what, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
		{pkcs11.CKM_SHA224_HMAC, pkcs11.CKK_SHA224_HMAC, jefe, what, "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44"},
		{pkcs11.CKM_SHA256_HMAC, pkcs11.CKK_SHA256_HMAC, jefe, what, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{pkcs11.CKM_SHA256_HMAC, pkcs11.CKK_GENERIC_SECRET, jefe, what, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{pkcs11.CKM_SHA384_HMAC, pkcs11.CKK_SHA384_HMAC, jefe, what, "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"},
		{pkcs11.CKM_SHA512_HMAC, pkcs11.CKK_SHA512_HMAC, jefe, what, "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
	} {
		name := fmt.Sprintf("%v of %d bytes", v.m, len(v.data)/2)
		o := importSecret(t, token, v.typ, unhex(v.key))
		m := &pkcs11.Mechanism{Type: v.m}
		mac, err := o.(driver.Signer).Sign(ctx, m, unhex(v.data))
		must(t, err)
		if hex.EncodeToString(mac) != v.mac {
			t.Errorf("%s: %x, want %s", name, mac, v.mac)
		}
		check := o.(driver.Verifier)
		must(t, check.Verify(ctx, m, unhex(v.data), mac))
		mac[3] ^= 1
		wantCode(t, name+", another bit", check.Verify(ctx, m, unhex(v.data), mac), pkcs11.CKR_SIGNATURE_INVALID)
		wantCode(t, name+", truncated", check.Verify(ctx, m, unhex(v.data), mac[1:]), pkcs11.CKR_SIGNATURE_LEN_RANGE)
		wantCode(t, name+" with a parameter", check.Verify(ctx, &pkcs11.Mechanism{Type: v.m, Params: &pkcs11.MACGeneralParams{MACLen: 4}}, nil, mac), pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	o := importSecret(t, token, pkcs11.CKK_AES, unhex(aes128)).(driver.Signer)
	general := func(n uint64) *pkcs11.Mechanism {
		return &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CMAC_GENERAL, Params: &pkcs11.MACGeneralParams{MACLen: n}}
	}
	if mac, err := o.Sign(ctx, general(4), nil); err != nil || hex.EncodeToString(mac) != "bb1d6929" {
		t.Errorf("4 bytes of CMAC: %x, %v", mac, err)
	}
	for _, n := range []uint64{0, 17, 1 << 40} {
		_, err := o.Sign(ctx, general(n), nil)
		wantCode(t, fmt.Sprintf("%d bytes of CMAC", n), err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	for _, m := range []pkcs11.MechanismType{pkcs11.CKM_SHA256_HMAC, pkcs11.CKM_ECDSA} {
		_, err := o.Sign(ctx, &pkcs11.Mechanism{Type: m}, nil)
		wantCode(t, "an AES key with "+m.String(), err, pkcs11.CKR_MECHANISM_INVALID)
	}
	hmac := importSecret(t, token, pkcs11.CKK_SHA256_HMAC, make([]byte, 16)).(driver.Signer)
	_, err := hmac.Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CMAC}, nil)
	wantCode(t, "an HMAC key of 16 bytes with CMAC", err, pkcs11.CKR_MECHANISM_INVALID)
}

func TestSecretKeys(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	login(t, token)
	generate := func(m pkcs11.MechanismType, typ pkcs11.KeyType, n uint64) (driver.Object, error) {
		return token.GenerateKey(ctx, &pkcs11.Mechanism{Type: m}, append(common(pkcs11.CKO_SECRET_KEY, "k", true), attrs(pkcs11.CKA_KEY_TYPE, typ, pkcs11.CKA_VALUE_LEN, n)...), nil)
	}
	o, err := generate(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKK_AES, 24)
	must(t, err)
	value, err := o.(driver.Exporter).Export(ctx, pkcs11.CKA_VALUE)
	must(t, err)
	if len(value) != 1 || len(value.Bytes(pkcs11.CKA_VALUE)) != 24 || bytes.Equal(value.Bytes(pkcs11.CKA_VALUE), make([]byte, 24)) {
		t.Errorf("value %v", value)
	}
	if a := o.Attributes(); a.Has(pkcs11.CKA_VALUE) || a.Uint(pkcs11.CKA_VALUE_LEN) != 24 || len(a.Bytes(pkcs11.CKA_CHECK_VALUE)) != 3 {
		t.Errorf("attributes %v", a)
	}
	// NIST SP 800-38A: the check value of an AES key is of the zero block.
	a := importSecret(t, token, pkcs11.CKK_AES, make([]byte, 16)).Attributes()
	if v := a.Bytes(pkcs11.CKA_CHECK_VALUE); !bytes.Equal(v, unhex("66e94b")) {
		t.Errorf("check value %x", v)
	}
	for _, n := range []uint64{0, 15, 33, 1 << 40} {
		_, err := generate(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKK_AES, n)
		if !errors.Is(err, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID) && !errors.Is(err, pkcs11.CKR_KEY_SIZE_RANGE) {
			t.Errorf("AES key of %d bytes: %v", n, err)
		}
	}
	_, err = generate(pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKK_AES, 16)
	wantCode(t, "wrong mechanism", err, pkcs11.CKR_MECHANISM_INVALID)
}

// TestDecrypt decrypts what the public key encrypts, and tells nothing about
// what it cannot decrypt.
func TestDecrypt(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	login(t, token)
	pub, priv := generateKind(t, token, "RSA-2048")
	public, err := keys.PublicKey(pub.Attributes())
	must(t, err)
	d := priv.(driver.Decrypter)
	oaep := func(hash pkcs11.MechanismType, mgf pkcs11.MGFType, label string) *pkcs11.Mechanism {
		return &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP, Params: &pkcs11.OAEPParams{HashAlg: hash, MGF: mgf, Source: pkcs11.CKZ_DATA_SPECIFIED, Label: []byte(label)}}
	}
	raw := &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_X_509}
	for _, m := range []*pkcs11.Mechanism{
		{Type: pkcs11.CKM_RSA_PKCS},
		oaep(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, ""),
		oaep(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA1, "label"),
		oaep(pkcs11.CKM_SHA_1, pkcs11.CKG_MGF1_SHA1, ""),
	} {
		for _, plain := range []string{"", "x", "a premaster secret of some length"} {
			c, err := keys.Encrypt(public, m, []byte(plain))
			must(t, err)
			got, err := d.Decrypt(ctx, m, c)
			if err != nil || string(got) != plain {
				t.Errorf("%v: %q, %v; want %q", m.Type, got, err, plain)
			}
			damaged := [][]byte{c}
			if c[17] ^= 1; m.Type == pkcs11.CKM_RSA_PKCS {
				// That may be padded right, by chance. These are not: as for a signature,
				// with too little padding, and with no end of it.
				damaged = nil
				for _, block := range [][]byte{
					padded([]byte(plain)),
					append(append([]byte{0, 2}, bytes.Repeat([]byte{7}, 7)...), make([]byte, 247)...),
					append([]byte{0, 2}, bytes.Repeat([]byte{7}, 254)...),
				} {
					c, err := keys.Encrypt(public, raw, block)
					must(t, err)
					damaged = append(damaged, c)
				}
			}
			for i, c := range damaged {
				if _, err := d.Decrypt(ctx, m, c); err != errDecrypt {
					t.Errorf("%v, damaged (%d): %v", m.Type, i, err)
				}
			}
			if _, err := d.Decrypt(ctx, m, bytes.Repeat([]byte{0xff}, 256)); err != errDecrypt {
				t.Errorf("%v, not below the modulus: %v", m.Type, err)
			}
			_, err = d.Decrypt(ctx, m, c[1:])
			wantCode(t, "short", err, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE)
		}
	}
	c, err := keys.Encrypt(public, oaep(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, "one"), []byte("x"))
	must(t, err)
	if _, err := d.Decrypt(ctx, oaep(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, "two"), c); err != errDecrypt {
		t.Errorf("another label: %v", err)
	}
	block := append([]byte{0}, bytes.Repeat([]byte{7}, 255)...)
	c, err = keys.Encrypt(public, raw, block)
	must(t, err)
	if got, err := d.Decrypt(ctx, raw, c); err != nil || !bytes.Equal(got, block) {
		t.Errorf("X.509: %x, %v", got, err)
	}
	_, err = d.Decrypt(ctx, raw, bytes.Repeat([]byte{0xff}, 256))
	wantCode(t, "X.509, not below the modulus", err, pkcs11.CKR_DATA_INVALID)
	_, err = d.Decrypt(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP}, c)
	wantCode(t, "OAEP without parameters", err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	_, err = d.Decrypt(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, c)
	wantCode(t, "ECDSA", err, pkcs11.CKR_MECHANISM_INVALID)
}

func TestSignRefuses(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	login(t, token)
	signers := map[string]driver.Signer{}
	for _, k := range []string{"P-256", "Ed25519", "RSA-2048"} {
		_, priv := generateKind(t, token, k)
		signers[k] = priv.(driver.Signer)
	}
	simple := func(m pkcs11.MechanismType) *pkcs11.Mechanism { return &pkcs11.Mechanism{Type: m} }
	for name, c := range map[string]struct {
		key  string
		m    *pkcs11.Mechanism
		data []byte
		want pkcs11.Error
	}{
		"ECDSA of nothing":            {"P-256", simple(pkcs11.CKM_ECDSA), nil, pkcs11.CKR_DATA_LEN_RANGE},
		"EC key with EdDSA":           {"P-256", simple(pkcs11.CKM_EDDSA), []byte{1}, pkcs11.CKR_MECHANISM_INVALID},
		"Ed25519 key with ECDSA":      {"Ed25519", simple(pkcs11.CKM_ECDSA), []byte{1}, pkcs11.CKR_MECHANISM_INVALID},
		"EdDSA, long context":         {"Ed25519", &pkcs11.Mechanism{Type: pkcs11.CKM_EDDSA, Params: &pkcs11.EDDSAParams{Context: make([]byte, 256)}}, nil, pkcs11.CKR_MECHANISM_PARAM_INVALID},
		"RSA key with ECDSA":          {"RSA-2048", simple(pkcs11.CKM_ECDSA), []byte{1}, pkcs11.CKR_MECHANISM_INVALID},
		"PKCS #1 of too much":         {"RSA-2048", simple(pkcs11.CKM_RSA_PKCS), make([]byte, 246), pkcs11.CKR_DATA_LEN_RANGE},
		"PSS of something else":       {"RSA-2048", pss(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, 32), make([]byte, 31), pkcs11.CKR_DATA_LEN_RANGE},
		"PSS, salt too long":          {"RSA-2048", pss(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, 223), make([]byte, 32), pkcs11.CKR_MECHANISM_PARAM_INVALID},
		"PSS, salt much too long":     {"RSA-2048", pss(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, 1<<63), make([]byte, 32), pkcs11.CKR_MECHANISM_PARAM_INVALID},
		"PSS without parameters":      {"RSA-2048", simple(pkcs11.CKM_RSA_PKCS_PSS), make([]byte, 32), pkcs11.CKR_MECHANISM_PARAM_INVALID},
		"X.509 of nothing":            {"RSA-2048", simple(pkcs11.CKM_RSA_X_509), nil, pkcs11.CKR_DATA_LEN_RANGE},
		"X.509 of too much":           {"RSA-2048", simple(pkcs11.CKM_RSA_X_509), make([]byte, 257), pkcs11.CKR_DATA_LEN_RANGE},
		"X.509 not below the modulus": {"RSA-2048", simple(pkcs11.CKM_RSA_X_509), bytes.Repeat([]byte{0xff}, 256), pkcs11.CKR_DATA_INVALID},
	} {
		sig, err := signers[c.key].Sign(ctx, c.m, c.data)
		if sig != nil {
			t.Errorf("%s: a signature", name)
		}
		wantCode(t, name, err, c.want)
	}
}

// TestDerive compares with ECDH of the standard library, and the KDF with a
// vector of NIST CAVP for ANSI X9.63 (SHA-256, no shared info).
func TestDerive(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	login(t, token)
	curves := map[string]ecdh.Curve{"P-256": ecdh.P256(), "P-384": ecdh.P384(), "P-521": ecdh.P521(), "X25519": ecdh.X25519()}
	template := func(more ...any) pkcs11.Template {
		return append(common(pkcs11.CKO_SECRET_KEY, "derived", true), append(attrs(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET), attrs(more...)...)...)
	}
	mech := func(kdf pkcs11.KDFType, shared, public []byte) *pkcs11.Mechanism {
		return &pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE, Params: &pkcs11.ECDH1DeriveParams{KDF: kdf, SharedData: shared, PublicData: public}}
	}
	value := func(o driver.Object) []byte {
		v, err := o.(driver.Exporter).Export(ctx, pkcs11.CKA_VALUE)
		must(t, err)
		return v.Bytes(pkcs11.CKA_VALUE)
	}
	for name, curve := range curves {
		pub, priv := generateKind(t, token, name)
		public, err := keys.PublicKey(pub.Attributes())
		must(t, err)
		peer, err := curve.GenerateKey(rand.Reader)
		must(t, err)
		own, ok := public.(*ecdh.PublicKey)
		if !ok {
			own, err = public.(*ecdsa.PublicKey).ECDH()
			must(t, err)
		}
		z, err := peer.ECDH(own)
		must(t, err)
		d := priv.(driver.Deriver)
		raw := peer.PublicKey().Bytes()
		wrapped := append([]byte{4, byte(len(raw))}, raw...)
		if len(raw) >= 128 {
			wrapped = append([]byte{4, 0x81, byte(len(raw))}, raw...)
		}
		for what, point := range map[string][]byte{"bare": raw, "in an OCTET STRING": wrapped} {
			o, err := d.Derive(ctx, mech(pkcs11.CKD_NULL, nil, point), template(), nil)
			must(t, err)
			if !bytes.Equal(value(o), z) {
				t.Errorf("%s, point %s: another secret", name, what)
			}
		}
		o, err := d.Derive(ctx, mech(pkcs11.CKD_NULL, nil, raw), template(pkcs11.CKA_VALUE_LEN, uint64(16)), nil)
		must(t, err)
		if !bytes.Equal(value(o), z[len(z)-16:]) {
			t.Errorf("%s: truncation takes bytes off the wrong end", name)
		}
		o, err = d.Derive(ctx, mech(pkcs11.CKD_SHA256_KDF, []byte("info"), raw), template(pkcs11.CKA_VALUE_LEN, uint64(40)), nil)
		must(t, err)
		if !bytes.Equal(value(o), keys.X963(crypto.SHA256, z, []byte("info"), 40)) {
			t.Errorf("%s: another key of the KDF", name)
		}
		for what, m := range map[string]*pkcs11.Mechanism{
			"no parameter":              {Type: pkcs11.CKM_ECDH1_DERIVE},
			"no point":                  mech(pkcs11.CKD_NULL, nil, nil),
			"half a point":              mech(pkcs11.CKD_NULL, nil, raw[:len(raw)/2]),
			"zeros":                     mech(pkcs11.CKD_NULL, nil, make([]byte, len(raw))),
			"unknown KDF":               mech(99, nil, raw),
			"shared data without a KDF": mech(pkcs11.CKD_NULL, []byte{1}, raw),
		} {
			_, err := d.Derive(ctx, m, template(), nil)
			wantCode(t, name+": "+what, err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
		}
		_, err = d.Derive(ctx, mech(pkcs11.CKD_NULL, nil, raw), template(pkcs11.CKA_VALUE_LEN, uint64(67)), nil)
		wantCode(t, name+": longer than the secret", err, pkcs11.CKR_KEY_SIZE_RANGE)
		_, err = d.Derive(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, template(), nil)
		wantCode(t, name+": ECDSA", err, pkcs11.CKR_MECHANISM_INVALID)
	}
}

// TestImport: what is imported signs, and what does not belong together is
// refused and not stored.
func TestImport(t *testing.T) {
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	for _, k := range kinds {
		_, priv := generateKind(t, token, k.name)
		secret, err := priv.(driver.Exporter).Export(ctx, pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
			pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT)
		must(t, err)
		whole := append(priv.Attributes().Clone().Set(pkcs11.Attr(pkcs11.CKA_LABEL, "imported "+k.name)), secret...)
		before := whole.Clone()
		o, err := token.CreateObject(ctx, whole, nil)
		must(t, err)
		if !whole.Equal(before) {
			t.Errorf("%s: the template is modified", k.name)
		}
		for _, a := range o.Attributes() {
			if isSecret(a.Type) {
				t.Errorf("%s: %v is shown", k.name, a.Type)
			}
		}
		again, err := o.(driver.Exporter).Export(ctx, pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1)
		must(t, err)
		for _, a := range again {
			if want, _ := secret.Get(a.Type); !a.Equal(want) {
				t.Errorf("%s: %v is another one", k.name, a.Type)
			}
		}
		n := len(records(t, store))
		bad := whole.Clone()
		for i, a := range bad {
			if a.Type == pkcs11.CKA_PRIVATE_EXPONENT || a.Type == pkcs11.CKA_VALUE {
				bad[i].Value = make([]byte, len(a.Bytes()))
				if k.name == "X25519" || k.name == "Ed25519" {
					continue // any 32 bytes are one; it does not fit CKA_PUBLIC_KEY_INFO
				}
			}
		}
		_, err = token.CreateObject(ctx, bad, nil)
		wantCode(t, k.name+" with another secret", err, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
		if now := len(records(t, store)); now != n {
			t.Errorf("%s: %d objects more", k.name, now-n)
		}
	}
	_, err := token.CreateObject(ctx, common(pkcs11.CKO_DOMAIN_PARAMETERS, "x", false), nil)
	wantCode(t, "domain parameters", err, pkcs11.CKR_TEMPLATE_INCONSISTENT)
	_, err = token.CreateObject(ctx, append(common(pkcs11.CKO_SECRET_KEY, "x", false), attrs(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)...), nil)
	wantCode(t, "AES key without value", err, pkcs11.CKR_TEMPLATE_INCOMPLETE)
}

// TestSessionObjects live until Destroy or Close, in memory alone.
func TestSessionObjects(t *testing.T) {
	store := new(pal.Mem)
	token := newToken(t, store)
	before := len(records(t, store))
	session := func(t pkcs11.Template) pkcs11.Template {
		return t.Set(pkcs11.Attr(pkcs11.CKA_TOKEN, false))
	}
	pub, priv, err := token.GenerateKeyPair(ctx, ecGen, session(publicTemplate(pkcs11.CKK_EC, "s", pkcs11.CKA_EC_PARAMS, oidP256)), session(privateTemplate(pkcs11.CKK_EC, "s")), nil)
	must(t, err) // whether somebody is logged in is for the core to ask
	must(t, use([]driver.Object{pub, priv}))
	if list := objects(t, token); len(list) != 0 || len(records(t, store)) != before {
		t.Errorf("session objects are listed: %v", list)
	}
	renamed, err := token.Update(ctx, priv, attrs(pkcs11.CKA_LABEL, "renamed"))
	must(t, err)
	if renamed.ID() != priv.ID() || renamed.Attributes().Text(pkcs11.CKA_LABEL) != "renamed" {
		t.Errorf("renamed: %v", renamed.Attributes())
	}
	must(t, use([]driver.Object{renamed}))
	login(t, token)
	copied, err := token.CopyObject(ctx, renamed, renamed.Attributes().Clone().Set(pkcs11.Attr(pkcs11.CKA_TOKEN, true)))
	must(t, err)
	must(t, token.Destroy(ctx, pub, renamed))
	wantCode(t, "destroyed", use([]driver.Object{renamed}), pkcs11.CKR_OBJECT_HANDLE_INVALID)
	must(t, use([]driver.Object{copied}))
	_, priv, err = token.GenerateKeyPair(ctx, ecGen, session(publicTemplate(pkcs11.CKK_EC, "s", pkcs11.CKA_EC_PARAMS, oidP256)), session(privateTemplate(pkcs11.CKK_EC, "s")), nil)
	must(t, err)
	plain := priv.(stored).base().secret.plain
	must(t, token.Close())
	if !bytes.Equal(plain, make([]byte, len(plain))) || len(plain) == 0 {
		t.Error("a session key is in memory after Close")
	}
	wantCode(t, "after Close", use([]driver.Object{priv}), pkcs11.CKR_OBJECT_HANDLE_INVALID)
}

// TestAllocations: a signature costs one allocation more than the standard
// library's, for the bytes that are returned.
func TestAllocations(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	login(t, token)
	_, priv := generateP256(t, token, "key")
	s := priv.(driver.Signer)
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	digest := make([]byte, 32)
	must(t, use([]driver.Object{priv}))
	k, err := priv.(stored).base().use()
	must(t, err)
	defer k.release()
	raw := testing.AllocsPerRun(200, func() { ecdsa.SignASN1(rand.Reader, k.ec, digest) })
	got := testing.AllocsPerRun(200, func() { s.Sign(ctx, m, digest) })
	if got > raw+1 {
		t.Errorf("%.0f allocations, the standard library makes %.0f", got, raw)
	}
}
