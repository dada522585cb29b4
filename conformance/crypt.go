package conformance

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	badCipher = pkcs11.CKR_ENCRYPTED_DATA_INVALID
	cipherLen = pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE
	aesBoth   = uint64(pkcs11.CKF_ENCRYPT | pkcs11.CKF_DECRYPT)
)

func cryptCases() []Case {
	return suite("crypt", false,
		Case{ID: "CRY-01", Name: "RSA PKCS #1 decrypts what others encrypted, and tells nothing of why it could not", Clause: "v2.40 §5.9; mechanisms §2.1.6",
			needs: needs(wantsRSA, wantsImport, row(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_DECRYPT, 2048)), run: decryptRSA},
		Case{ID: "CRY-02", Name: "RSA-OAEP decrypts with its label and hash only", Clause: "v2.40 mechanisms §2.1.8",
			needs: needs(wantsRSA, wantsImport, row(pkcs11.CKM_RSA_PKCS_OAEP, pkcs11.CKF_DECRYPT, 2048)), run: decryptOAEP},
		Case{ID: "CRY-03", Name: "AES-ECB encrypts the known blocks", Clause: "v2.40 mechanisms §2.10; FIPS 197, appendix C",
			needs: needs(wantsCreate, row(pkcs11.CKM_AES_ECB, aesBoth, 0)), run: func(t *T) {
				s, m := t.session(), mech(pkcs11.CKM_AES_ECB)
				plain, key := unhex("00112233445566778899aabbccddeeff"), unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
				for i, want := range []string{"69c4e0d86a7b0430d8cdb78070b4c55a", "dda97ca4864cdfe06eaf70a0ec0d7191", "8ea2b7ca516745bfeafc49904b496089"} {
					n := 16 + 8*i
					if !t.e.has(pkcs11.CKM_AES_ECB, aesBoth, uint64(n)) {
						continue
					}
					h := t.create(s, aesTemplate(t.label(fmt.Sprint("key ", n)), key[:n]))
					t.equal("the block", t.encrypt(s, m, h, plain), unhex(want))
					t.equal("the block, decrypted", t.decrypt(s, m, h, unhex(want)), plain)
					t.ok(s.EncryptInit(t.ctx, m, h))
					_, err := s.Encrypt(t.ctx, plain[:15], make([]byte, 32))
					t.want(err, dataRange)
					t.ok(s.DecryptInit(t.ctx, m, h))
					_, err = s.Decrypt(t.ctx, plain[:15], make([]byte, 32))
					t.want(err, cipherLen)
				}
			}},
		Case{ID: "CRY-04", Name: "AES-CBC encrypts as Go does, in one part and in several", Clause: "v2.40 mechanisms §2.10.5",
			needs: needs(wantsCreate, row(pkcs11.CKM_AES_CBC, aesBoth, 0)), run: func(t *T) {
				s := t.session()
				key, iv, plain := unhex("2b7e151628aed2a6abf7158809cf4f3c"), unhex("000102030405060708090a0b0c0d0e0f"), bytes.Repeat(shaMessage, 3)
				h, m := t.create(s, aesTemplate(t.label("key"), key)), &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC, Params: iv}
				want := make([]byte, len(plain))
				cipher.NewCBCEncrypter(must(aes.NewCipher(key)), iv).CryptBlocks(want, plain)
				t.equal("the ciphertext", t.encrypt(s, m, h, plain), want)
				t.equal("the plaintext", t.decrypt(s, m, h, want), plain)
				t.inParts(s, m, h, plain, want)
				t.want(s.EncryptInit(t.ctx, mech(pkcs11.CKM_AES_CBC), h), pkcs11.CKR_MECHANISM_PARAM_INVALID)
				t.want(s.EncryptInit(t.ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC, Params: iv[:15]}, h), pkcs11.CKR_MECHANISM_PARAM_INVALID)
				t.ok(s.EncryptInit(t.ctx, m, h))
				_, err := s.Encrypt(t.ctx, plain[:17], make([]byte, 64))
				t.want(err, dataRange)
			}},
		Case{ID: "CRY-05", Name: "AES-CBC with padding takes any length, and refuses wrong padding", Clause: "v2.40 mechanisms §2.10.6",
			needs: needs(wantsCreate, row(pkcs11.CKM_AES_CBC_PAD, aesBoth, 0)), run: func(t *T) {
				s := t.session()
				key, iv := unhex("2b7e151628aed2a6abf7158809cf4f3c"), make([]byte, 16)
				h, m := t.create(s, aesTemplate(t.label("key"), key)), &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC_PAD, Params: iv}
				for _, n := range []int{0, 1, 15, 16, 17, 100} {
					plain := bytes.Repeat([]byte{9}, n)
					c := t.encrypt(s, m, h, plain)
					t.equal("the length of the ciphertext", len(c), n/16*16+16)
					t.check(bytes.Equal(t.decrypt(s, m, h, c), plain), "%d bytes come back as others", n)
				}
				long := bytes.Repeat(shaMessage, 2)
				t.inParts(s, m, h, long[:50], t.encrypt(s, m, h, long[:50]))
				for _, last := range []byte{0, 17, 0xff} {
					block := make([]byte, 16)
					block[15] = last
					cipher.NewCBCEncrypter(must(aes.NewCipher(key)), iv).CryptBlocks(block, block)
					t.ok(s.DecryptInit(t.ctx, m, h))
					_, err := s.Decrypt(t.ctx, block, make([]byte, 16))
					t.want(err, badCipher)
				}
				for _, n := range []int{0, 15} {
					t.ok(s.DecryptInit(t.ctx, m, h))
					_, err := s.Decrypt(t.ctx, make([]byte, n), make([]byte, 16))
					t.want(err, cipherLen)
				}
			}},
		Case{ID: "CRY-06", Name: "AES-CTR encrypts as Go does", Clause: "v2.40 mechanisms §2.10.9",
			needs: needs(wantsCreate, row(pkcs11.CKM_AES_CTR, aesBoth, 0)), run: func(t *T) {
				s := t.session()
				key, plain := unhex("2b7e151628aed2a6abf7158809cf4f3c"), shaMessage[:77]
				var counter [16]byte
				copy(counter[:], unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"))
				h, m := t.create(s, aesTemplate(t.label("key"), key)), &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CTR, Params: &pkcs11.CTRParams{CounterBits: 128, Counter: counter}}
				want := make([]byte, len(plain))
				cipher.NewCTR(must(aes.NewCipher(key)), counter[:]).XORKeyStream(want, plain)
				t.equal("the ciphertext", t.encrypt(s, m, h, plain), want)
				t.equal("the plaintext", t.decrypt(s, m, h, want), plain)
				t.inParts(s, m, h, plain, want)
				t.want(s.EncryptInit(t.ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CTR, Params: &pkcs11.CTRParams{CounterBits: 129}}, h), pkcs11.CKR_MECHANISM_PARAM_INVALID)
			}},
		Case{ID: "CRY-07", Name: "AES-GCM encrypts as Go does, and decrypts nothing that was changed", Clause: "v2.40 mechanisms §2.12",
			needs: needs(wantsCreate, row(pkcs11.CKM_AES_GCM, aesBoth, 0)), run: gcm},
		Case{ID: "CRY-08", Name: "a key encrypts and decrypts only if it may", Clause: "v2.40 §5.8, §5.9, CKR_KEY_FUNCTION_NOT_PERMITTED",
			Ancestors: []string{"client 37"}, needs: needs(wantsCreate, row(pkcs11.CKM_AES_CBC, aesBoth, 0)), run: func(t *T) {
				s, m := t.session(), &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC, Params: make([]byte, 16)}
				h := t.create(s, secretTemplate(t.label("key"), pkcs11.CKK_AES, make([]byte, 16)))
				t.want(s.EncryptInit(t.ctx, m, h), notAllowed)
				t.want(s.DecryptInit(t.ctx, m, h), notAllowed)
				t.want(s.EncryptInit(t.ctx, m, noObject), badKey)
				_, err := s.Encrypt(t.ctx, make([]byte, 16), make([]byte, 16))
				t.want(err, notStarted)
			}},
		Case{ID: "CRY-09", Name: "asking for the length, and a short buffer, leave the encryption to be done", Clause: "v2.40 §5.2, §5.8",
			Ancestors: []string{"client 33"}, needs: needs(wantsCreate, row(pkcs11.CKM_AES_CBC, aesBoth, 0)), run: func(t *T) {
				s, m := t.session(), &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC, Params: make([]byte, 16)}
				h := t.create(s, aesTemplate(t.label("key"), make([]byte, 16)))
				plain := make([]byte, 48)
				t.ok(s.EncryptInit(t.ctx, m, h))
				t.want(s.EncryptInit(t.ctx, m, h), opActive)
				n, err := s.Encrypt(t.ctx, plain, nil)
				t.ok(err)
				t.check(n >= 48, "the length is %d", n)
				_, err = s.Encrypt(t.ctx, plain, make([]byte, 47))
				t.want(err, tooSmall)
				out := make([]byte, 64)
				n, err = s.Encrypt(t.ctx, plain, out)
				t.ok(err)
				t.equal("the length", n, 48)
				_, err = s.Encrypt(t.ctx, plain, out)
				t.want(err, notStarted)
				t.ok(s.DecryptInit(t.ctx, m, h))
				_, err = s.Decrypt(t.ctx, out[:48], make([]byte, 47))
				t.want(err, tooSmall)
				back := make([]byte, 64)
				n, err = s.Decrypt(t.ctx, out[:48], back)
				t.ok(err)
				t.equal("the plaintext", back[:n], plain)
			}},
	)
}

func aesTemplate(label string, key []byte) pkcs11.Template {
	return append(secretTemplate(label, pkcs11.CKK_AES, key), attr(pkcs11.CKA_ENCRYPT, true), attr(pkcs11.CKA_DECRYPT, true))
}

// encrypt and decrypt work in one step, after asking for the length.
func (t *T) encrypt(s *session, m *pkcs11.Mechanism, key pkcs11.ObjectHandle, data []byte) []byte {
	t.ok(s.EncryptInit(t.ctx, m, key))
	n, err := s.Encrypt(t.ctx, data, nil)
	t.ok(err)
	out := make([]byte, n+1)
	n, err = s.Encrypt(t.ctx, data, out)
	t.ok(err)
	return out[:n]
}

func (t *T) decrypt(s *session, m *pkcs11.Mechanism, key pkcs11.ObjectHandle, data []byte) []byte {
	t.ok(s.DecryptInit(t.ctx, m, key))
	n, err := s.Decrypt(t.ctx, data, nil)
	t.ok(err)
	out := make([]byte, n+1)
	n, err = s.Decrypt(t.ctx, data, out)
	t.ok(err)
	return out[:n]
}

// inParts encrypts and decrypts in parts of odd lengths.
func (t *T) inParts(s *session, m *pkcs11.Mechanism, key pkcs11.ObjectHandle, plain, encrypted []byte) {
	run := func(what string, data, want []byte, update func([]byte, []byte) (int, error), final func([]byte) (int, error)) {
		t.step(what, func() {
			var out []byte
			buf := make([]byte, len(plain)+64)
			for rest := data; len(rest) > 0; {
				n := min(7, len(rest))
				got, err := update(rest[:n], buf)
				t.ok(err)
				out = append(out, buf[:got]...)
				rest = rest[n:]
			}
			n, err := final(buf)
			t.ok(err)
			t.equal("what came of the parts", append(out, buf[:n]...), want)
		})
	}
	t.ok(s.EncryptInit(t.ctx, m, key))
	run("encrypt in parts", plain, encrypted, func(p, b []byte) (int, error) { return s.EncryptUpdate(t.ctx, p, b) }, func(b []byte) (int, error) { return s.EncryptFinal(t.ctx, b) })
	t.ok(s.DecryptInit(t.ctx, m, key))
	run("decrypt in parts", encrypted, plain, func(p, b []byte) (int, error) { return s.DecryptUpdate(t.ctx, p, b) }, func(b []byte) (int, error) { return s.DecryptFinal(t.ctx, b) })
}

// decrypter imports the RSA test key for decryption.
func (t *T) decrypter(s *session) keyPair {
	return keyPair{priv: t.create(s, append(rsaPrivateTemplate(t.label("key"), rsaKey), attr(pkcs11.CKA_DECRYPT, true))),
		pub: t.create(s, append(rsaPublicTemplate(t.label("key"), &rsaKey.PublicKey), attr(pkcs11.CKA_ENCRYPT, true)))}
}

func decryptRSA(t *T) {
	s := t.session()
	keys := t.decrypter(s)
	for _, n := range []int{0, 1, 32, 245} {
		plain := bytes.Repeat([]byte{3}, n)
		c := must(rsa.EncryptPKCS1v15(rand.Reader, &rsaKey.PublicKey, plain))
		t.check(bytes.Equal(t.decrypt(s, rsaMech, keys.priv, c), plain), "%d bytes come back as others", n)
		if t.e.has(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_ENCRYPT, 2048) {
			back, err := rsa.DecryptPKCS1v15(nil, rsaKey, t.encrypt(s, rsaMech, keys.pub, plain))
			t.check(err == nil && bytes.Equal(back, plain), "crypto/rsa does not decrypt %d bytes: %v", n, err)
		}
	}
	// Whatever is wrong inside, the answer is the same.
	raw := func(block []byte) []byte {
		c := bigInt(block)
		return c.Exp(c, bigInt([]byte{1, 0, 1}), rsaKey.N).FillBytes(make([]byte, 256))
	}
	good := append([]byte{0, 2}, bytes.Repeat([]byte{7}, 254)...)
	for _, c := range []struct {
		what   string
		change func([]byte)
	}{
		{"no zero behind the padding", func([]byte) {}},
		{"a first byte of 1", func(b []byte) { b[0] = 1; b[200] = 0 }},
		{"a type of 1", func(b []byte) { b[1] = 1; b[200] = 0 }},
		{"too little padding", func(b []byte) { b[5] = 0 }},
	} {
		block := bytes.Clone(good)
		c.change(block)
		t.step(c.what, func() {
			t.ok(s.DecryptInit(t.ctx, rsaMech, keys.priv))
			_, err := s.Decrypt(t.ctx, raw(block), make([]byte, 256))
			t.want(err, badCipher)
		})
	}
	for _, n := range []int{0, 255, 257} {
		t.ok(s.DecryptInit(t.ctx, rsaMech, keys.priv))
		_, err := s.Decrypt(t.ctx, make([]byte, n), make([]byte, 256))
		t.want(err, cipherLen)
	}
}

func decryptOAEP(t *T) {
	s := t.session()
	keys := t.decrypter(s)
	oaep := func(h pkcs11.MechanismType, g pkcs11.MGFType, label []byte) *pkcs11.Mechanism {
		return &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP, Params: &pkcs11.OAEPParams{HashAlg: h, MGF: g, Source: pkcs11.CKZ_DATA_SPECIFIED, Label: label}}
	}
	hashes := []struct {
		mech pkcs11.MechanismType
		mgf  pkcs11.MGFType
		hash crypto.Hash
	}{{pkcs11.CKM_SHA_1, pkcs11.CKG_MGF1_SHA1, crypto.SHA1}, {pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, crypto.SHA256}, {pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512, crypto.SHA512}}
	for _, h := range hashes {
		for _, label := range [][]byte{nil, []byte("a label")} {
			m, plain := oaep(h.mech, h.mgf, label), []byte("sixteen bytes ..")
			c := must(rsa.EncryptOAEP(h.hash.New(), rand.Reader, &rsaKey.PublicKey, plain, label))
			t.equal("the plaintext", t.decrypt(s, m, keys.priv, c), plain)
			back, err := rsa.DecryptOAEP(h.hash.New(), nil, rsaKey, t.encrypt(s, m, keys.pub, plain), label)
			t.check(err == nil && bytes.Equal(back, plain), "crypto/rsa does not decrypt: %v", err)
			for _, other := range []*pkcs11.Mechanism{oaep(h.mech, h.mgf, []byte("another label")), oaep(pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384, label)} {
				t.ok(s.DecryptInit(t.ctx, other, keys.priv))
				_, err := s.Decrypt(t.ctx, c, make([]byte, 256))
				t.want(err, badCipher)
			}
			t.ok(s.DecryptInit(t.ctx, m, keys.priv))
			_, err = s.Decrypt(t.ctx, flipped(c, 100), make([]byte, 256))
			t.want(err, badCipher)
		}
	}
	t.want(s.DecryptInit(t.ctx, mech(pkcs11.CKM_RSA_PKCS_OAEP), keys.priv), pkcs11.CKR_MECHANISM_PARAM_INVALID)
}

func gcm(t *T) {
	s := t.session()
	key := unhex("feffe9928665731c6d6a8f9467308308")
	h := t.create(s, aesTemplate(t.label("key"), key))
	seal := must(cipher.NewGCM(must(aes.NewCipher(key))))
	m := func(iv, aad []byte) *pkcs11.Mechanism {
		return &pkcs11.Mechanism{Type: pkcs11.CKM_AES_GCM, Params: &pkcs11.GCMParams{IV: iv, AAD: aad, TagBits: 128}}
	}
	iv := unhex("cafebabefacedbaddecaf888")
	for _, aad := range [][]byte{nil, []byte("header")} {
		for _, plain := range [][]byte{nil, shaMessage} {
			want := seal.Seal(nil, iv, plain, aad)
			t.equal("the ciphertext", t.encrypt(s, m(iv, aad), h, plain), want)
			t.check(bytes.Equal(t.decrypt(s, m(iv, aad), h, want), plain), "the plaintext is another")
			refuse := func(what string, m *pkcs11.Mechanism, c []byte) {
				t.step(what, func() {
					out := bytes.Repeat([]byte{0xee}, len(c)+16)
					t.ok(s.DecryptInit(t.ctx, m, h))
					_, err := s.Decrypt(t.ctx, c, out)
					t.want(err, badCipher, cipherLen)
					t.check(bytes.Equal(out, bytes.Repeat([]byte{0xee}, len(out))), "something was decrypted all the same")
				})
			}
			for _, i := range []int{0, len(want) / 2, len(want) - 1} {
				refuse(fmt.Sprintf("byte %d changed", i), m(iv, aad), flipped(want, i))
			}
			refuse("other associated data", m(iv, []byte("another header")), want)
			refuse("another IV", m(flipped(iv, 0), aad), want)
			refuse("a tag cut short", m(iv, aad), want[:len(want)-1])
			refuse("nothing", m(iv, aad), nil)
		}
	}
	t.want(s.EncryptInit(t.ctx, mech(pkcs11.CKM_AES_GCM), h), pkcs11.CKR_MECHANISM_PARAM_INVALID)
	t.want(s.EncryptInit(t.ctx, m(nil, nil), h), pkcs11.CKR_MECHANISM_PARAM_INVALID)
}
