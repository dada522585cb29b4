package conformance

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"errors"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Generation, wrapping and derivation of keys.
func manageCases() []Case {
	return suite("key", false,
		Case{ID: "KEY-01", Name: "an AES key is generated in each size, and in no other", Clause: "v2.40 §5.13, C_GenerateKey; mechanisms §2.10.2",
			needs: needs(row(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKF_GENERATE, 0)), run: func(t *T) {
				s, m := t.session(), mech(pkcs11.CKM_AES_KEY_GEN)
				template := func(n any) pkcs11.Template {
					return pkcs11.Template{attr(pkcs11.CKA_LABEL, t.label("key")), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_VALUE_LEN, n), attr(pkcs11.CKA_ENCRYPT, true)}
				}
				for _, n := range []int{16, 24, 32} {
					h, err := s.GenerateKey(t.ctx, m, template(n))
					if n == 24 && errors.Is(err, pkcs11.CKR_KEY_SIZE_RANGE) || !t.e.has(m.Type, pkcs11.CKF_GENERATE, uint64(n)) {
						continue // the least and the most say nothing of what is between
					}
					t.ok(err)
					t.equal("CKA_VALUE_LEN", t.get(s, h, pkcs11.CKA_VALUE_LEN).Uint(), uint64(n))
					t.equal("CKA_LOCAL", t.bool(s, h, pkcs11.CKA_LOCAL), true)
					t.equal("CKA_KEY_TYPE", pkcs11.KeyType(t.get(s, h, pkcs11.CKA_KEY_TYPE).Uint()), pkcs11.CKK_AES)
					t.equal("CKA_KEY_GEN_MECHANISM", pkcs11.MechanismType(t.get(s, h, pkcs11.CKA_KEY_GEN_MECHANISM).Uint()), pkcs11.CKM_AES_KEY_GEN)
					if t.bool(s, h, pkcs11.CKA_SENSITIVE) || !t.bool(s, h, pkcs11.CKA_EXTRACTABLE) {
						t.hidden(s, h, pkcs11.CKA_VALUE, sensitive)
					}
				}
				before := len(t.all(s, attr(pkcs11.CKA_LABEL, t.label("key"))))
				for _, n := range []int{0, 1, 15, 17, 33, 1 << 20} {
					_, err := s.GenerateKey(t.ctx, m, template(n))
					t.want(err, badValue, pkcs11.CKR_KEY_SIZE_RANGE)
				}
				_, err := s.GenerateKey(t.ctx, m, without(template(16), pkcs11.CKA_VALUE_LEN))
				t.want(err, incomplete)
				_, err = s.GenerateKey(t.ctx, m, append(template(16), attr(pkcs11.CKA_VALUE, make([]byte, 16))))
				t.want(err, inconsistent, readOnly, badType)
				_, err = s.GenerateKey(t.ctx, m, append(template(16), attr(0x7777, []byte("x"))))
				t.want(err, badType)
				_, err = s.GenerateKey(t.ctx, m, append(template(16), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC)))
				t.want(err, inconsistent)
				_, err = s.GenerateKey(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), template(16))
				t.want(err, badMech)
				t.equal("objects that refusals left", len(t.all(s, attr(pkcs11.CKA_LABEL, t.label("key"))))-before, 0)
			}},
		Case{ID: "KEY-02", Name: "a generic secret is generated, and makes MACs", Clause: "v2.40 mechanisms §2.8",
			needs: needs(row(pkcs11.CKM_GENERIC_SECRET_KEY_GEN, pkcs11.CKF_GENERATE, 0), hmacRow), run: func(t *T) {
				s := t.session()
				h, err := s.GenerateKey(t.ctx, mech(pkcs11.CKM_GENERIC_SECRET_KEY_GEN), pkcs11.Template{attr(pkcs11.CKA_LABEL, t.label("key")),
					attr(pkcs11.CKA_VALUE_LEN, 32), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_VERIFY, true)})
				t.ok(err)
				tag := t.sign(s, mech(pkcs11.CKM_SHA256_HMAC), h, hmacMessage)
				t.ok(t.verify(s, mech(pkcs11.CKM_SHA256_HMAC), h, hmacMessage, tag))
				t.want(t.verify(s, mech(pkcs11.CKM_SHA256_HMAC), h, hmacMessage, flipped(tag, 31)), badSignature)
			}},
		Case{ID: "KEY-03", Name: "an RSA key pair is generated in a size that the table has, and in no other", Clause: "v2.40 mechanisms §2.1.4",
			needs: needs(wantsRSA, row(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKF_GENERATE_KEY_PAIR, 2048)), run: func(t *T) {
				s, label := t.session(), t.label("key")
				generate := func(public ...pkcs11.Attribute) error {
					_, _, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN), append(pkcs11.Template{attr(pkcs11.CKA_LABEL, label)}, public...), pkcs11.Template{attr(pkcs11.CKA_LABEL, label)})
					return err
				}
				for _, bits := range []int{0, 17, 512, 2047, 1 << 20} {
					if !t.e.has(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKF_GENERATE_KEY_PAIR, uint64(bits)) {
						t.want(generate(attr(pkcs11.CKA_MODULUS_BITS, bits)), badValue, pkcs11.CKR_KEY_SIZE_RANGE)
					}
				}
				t.want(generate(), incomplete)
				t.want(generate(attr(pkcs11.CKA_MODULUS_BITS, 2048), attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{2})), badValue)
				t.want(generate(attr(pkcs11.CKA_MODULUS_BITS, 2048), attr(pkcs11.CKA_MODULUS, rsaKey.N.Bytes())), inconsistent, readOnly, badType)
				t.equal("objects that refusals left", len(t.all(s, attr(pkcs11.CKA_LABEL, label))), 0)
			}},
		Case{ID: "KEY-04", Name: "ECDH derives the shared secret, of a bare point and of one in DER", Clause: "v2.40 mechanisms §2.3.8, CKM_ECDH1_DERIVE",
			Ancestors: []string{"client 39"}, needs: needs(wantsEC, wantsImport, row(pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKF_DERIVE, 256)), run: deriveECDH},
		Case{ID: "KEY-05", Name: "ECDH refuses a point that is not on the curve, and a key that may not derive", Clause: "v2.40 mechanisms §2.3.8; §5.13, C_DeriveKey",
			Ancestors: []string{"client 39"}, needs: needs(wantsEC, wantsImport, row(pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKF_DERIVE, 256)), run: func(t *T) {
				s := t.session()
				base := t.create(s, append(ecPrivateTemplate(t.label("key"), ecKey), attr(pkcs11.CKA_DERIVE, true)))
				peer := pointOf(&must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).PublicKey)
				bad := []pkcs11.Error{pkcs11.CKR_MECHANISM_PARAM_INVALID, badValue, pkcs11.CKR_DATA_INVALID}
				for _, point := range [][]byte{nil, {0}, peer[:64], flipped(peer, 40), make([]byte, 65), append(bytes.Clone(peer), 0)} {
					_, err := s.DeriveKey(t.ctx, ecdhMech(point, nil), base, derivedTemplate(t.label("derived"), 32))
					t.want(err, bad...)
				}
				_, err := s.DeriveKey(t.ctx, mech(pkcs11.CKM_ECDH1_DERIVE), base, derivedTemplate(t.label("derived"), 32))
				t.want(err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
				_, err = s.DeriveKey(t.ctx, ecdhMech(peer, nil), noObject, derivedTemplate(t.label("derived"), 32))
				t.want(err, badKey)
				_, err = s.DeriveKey(t.ctx, ecdhMech(peer, nil), base, derivedTemplate(t.label("derived"), 33))
				t.check(err != nil, "33 bytes were derived of a secret of 32")
				t.coded(err)
				if t.e.can.destroy { // a chip may take one key from outside at a time
					t.ok(s.DestroyObject(t.ctx, base))
				}
				mute := t.create(s, append(ecPrivateTemplate(t.label("mute"), ecKey), attr(pkcs11.CKA_DERIVE, false)))
				_, err = s.DeriveKey(t.ctx, ecdhMech(peer, nil), mute, derivedTemplate(t.label("derived"), 32))
				t.want(err, notAllowed)
				t.equal("objects that refusals left", len(t.all(s, attr(pkcs11.CKA_LABEL, t.label("derived")))), 0)
			}},
		Case{ID: "KEY-06", Name: "AES key wrap makes the known bytes, and unwraps them again", Clause: "v2.40 §5.13, C_WrapKey; RFC 3394 §4.1",
			needs: needs(wantsCreate, row(pkcs11.CKM_AES_KEY_WRAP, pkcs11.CKF_WRAP|pkcs11.CKF_UNWRAP, 0)), run: wrapAES},
		Case{ID: "KEY-07", Name: "a key that is not extractable is not wrapped, nor one that wants a trusted key", Clause: "v2.40 §5.13, CKR_KEY_UNEXTRACTABLE; §4.9, CKA_WRAP_WITH_TRUSTED",
			needs: needs(wantsCreate, row(pkcs11.CKM_AES_KEY_WRAP, pkcs11.CKF_WRAP|pkcs11.CKF_UNWRAP, 0)), run: func(t *T) {
				s, m := t.session(), mech(pkcs11.CKM_AES_KEY_WRAP)
				kek := t.create(s, append(secretTemplate(t.label("kek"), pkcs11.CKK_AES, make([]byte, 16)), attr(pkcs11.CKA_WRAP, true)))
				target := func(name string, more ...pkcs11.Attribute) pkcs11.ObjectHandle {
					return t.create(s, append(secretTemplate(t.label(name), pkcs11.CKK_AES, make([]byte, 16)), more...))
				}
				_, err := s.WrapKey(t.ctx, m, kek, target("fixed", attr(pkcs11.CKA_EXTRACTABLE, false)), make([]byte, 64))
				t.want(err, pkcs11.CKR_KEY_UNEXTRACTABLE)
				_, err = s.WrapKey(t.ctx, m, kek, target("careful", attr(pkcs11.CKA_EXTRACTABLE, true), attr(pkcs11.CKA_WRAP_WITH_TRUSTED, true)), make([]byte, 64))
				t.want(err, pkcs11.CKR_KEY_NOT_WRAPPABLE, pkcs11.CKR_KEY_UNEXTRACTABLE)
				free := target("free", attr(pkcs11.CKA_EXTRACTABLE, true))
				_, err = s.WrapKey(t.ctx, m, target("mute", attr(pkcs11.CKA_WRAP, false)), free, make([]byte, 64))
				t.want(err, notAllowed)
				_, err = s.WrapKey(t.ctx, m, noObject, free, make([]byte, 64))
				t.want(err, pkcs11.CKR_WRAPPING_KEY_HANDLE_INVALID, badKey)
				_, err = s.WrapKey(t.ctx, m, kek, noObject, make([]byte, 64))
				t.want(err, badKey)
				_, err = s.CreateObject(t.ctx, append(secretTemplate(t.label("trusted"), pkcs11.CKK_AES, make([]byte, 16)), attr(pkcs11.CKA_TRUSTED, true)))
				t.check(err != nil, "the user made a trusted key")
				t.coded(err)
			}},
		Case{ID: "KEY-08", Name: "a private key goes through wrapping and signs as before", Clause: "v2.40 §5.13, C_UnwrapKey; mechanisms §2.14",
			needs: needs(ecSign, wantsImport, wantsExport, row(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKF_GENERATE, 0), row(pkcs11.CKM_AES_KEY_WRAP_KWP, pkcs11.CKF_WRAP|pkcs11.CKF_UNWRAP, 0)), run: func(t *T) {
				s, m := t.session(), mech(pkcs11.CKM_AES_KEY_WRAP_KWP)
				kek := t.wrappingKey(s)
				priv := t.create(s, append(ecPrivateTemplate(t.label("key"), ecKey), attr(pkcs11.CKA_EXTRACTABLE, true)))
				wrapped := t.wrap(s, m, kek, priv)
				back, err := s.UnwrapKey(t.ctx, m, kek, wrapped, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
					attr(pkcs11.CKA_LABEL, t.label("back")), attr(pkcs11.CKA_SIGN, true)})
				t.ok(err)
				t.verifyHost(&ecKey.PublicKey, ecHash1, t.sign(s, ecdsaMech, back, ecHash1))
				// It was outside, and its history says so.
				for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_LOCAL, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE} {
					t.equal(typ.String(), t.bool(s, back, typ), false)
				}
			}},
		Case{ID: "KEY-11", Name: "a sensitive key is not wrapped under a key that somebody knows", Clause: "Bortolozzo et al., Attacking and Fixing PKCS#11 Security Tokens, 2010",
			needs: needs(ecSign, wantsImport, wantsExport, wantsCreate, row(pkcs11.CKM_AES_KEY_WRAP_KWP, pkcs11.CKF_WRAP|pkcs11.CKF_UNWRAP, 0)), run: func(t *T) {
				s, m := t.session(), mech(pkcs11.CKM_AES_KEY_WRAP_KWP)
				priv := t.create(s, append(ecPrivateTemplate(t.label("key"), ecKey), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, true)))
				known := append(secretTemplate(t.label("known"), pkcs11.CKK_AES, make([]byte, 32)), attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_UNWRAP, true))
				for _, c := range []struct {
					what     string
					template pkcs11.Template
				}{
					{"imported", known},
					{"imported, that decrypts", append(known[:len(known):len(known)], attr(pkcs11.CKA_DECRYPT, true))},
					{"imported, that is shown", append(known[:len(known):len(known)], attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true))},
				} {
					t.step("a key "+c.what, func() {
						kek, err := s.CreateObject(t.ctx, c.template)
						if err != nil { // refused even earlier
							t.coded(err)
							return
						}
						_, err = s.WrapKey(t.ctx, m, kek, priv, make([]byte, 512))
						t.want(err, pkcs11.CKR_KEY_NOT_WRAPPABLE, pkcs11.CKR_KEY_UNEXTRACTABLE, notAllowed)
					})
				}
				if t.e.has(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKF_GENERATE, 0) {
					// Nor is it, unwrapped, any less sensitive than it was.
					kek := t.wrappingKey(s)
					_, err := s.UnwrapKey(t.ctx, m, kek, t.wrap(s, m, kek, priv), pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
						attr(pkcs11.CKA_LABEL, t.label("back")), attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true)})
					t.want(err, inconsistent)
				}
			}},
		Case{ID: "KEY-09", Name: "HKDF derives the known key", Clause: "v3.0 mechanisms §2.62; RFC 5869 A.1",
			needs: needs(wantsCreate, row(pkcs11.CKM_HKDF_DERIVE, pkcs11.CKF_DERIVE, 0)), run: func(t *T) {
				s := t.session()
				base := t.create(s, append(secretTemplate(t.label("base"), pkcs11.CKK_GENERIC_SECRET, bytes.Repeat([]byte{0x0b}, 22)), attr(pkcs11.CKA_DERIVE, true)))
				m := &pkcs11.Mechanism{Type: pkcs11.CKM_HKDF_DERIVE, Params: &pkcs11.HKDFParams{Extract: true, Expand: true, PRF: pkcs11.CKM_SHA256,
					SaltType: pkcs11.CKF_HKDF_SALT_DATA, Salt: unhex("000102030405060708090a0b0c"), Info: unhex("f0f1f2f3f4f5f6f7f8f9")}}
				h, err := s.DeriveKey(t.ctx, m, base, derivedTemplate(t.label("derived"), 42))
				t.ok(err)
				t.equal("the derived key", t.bytes(s, h, pkcs11.CKA_VALUE), unhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"))
			}},
		Case{ID: "KEY-10", Name: "X25519 derives what the other side does", Clause: "v3.0 mechanisms §2.3.8; RFC 7748",
			needs: needs(row(pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN, pkcs11.CKF_GENERATE_KEY_PAIR, 0), row(pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKF_DERIVE, 255)), run: func(t *T) {
				s, label := t.session(), t.label("key")
				pub, priv, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN),
					pkcs11.Template{attr(pkcs11.CKA_EC_PARAMS, unhex("130a63757276653235353139")), attr(pkcs11.CKA_LABEL, label)},
					pkcs11.Template{attr(pkcs11.CKA_LABEL, label), attr(pkcs11.CKA_DERIVE, true)})
				t.ok(err)
				point := t.bytes(s, pub, pkcs11.CKA_EC_POINT)
				t.check(len(point) >= 32, "CKA_EC_POINT has %d bytes", len(point))
				peer := must(ecdh.X25519().GenerateKey(rand.Reader))
				want := must(peer.ECDH(must(ecdh.X25519().NewPublicKey(point[len(point)-32:]))))
				h, err := s.DeriveKey(t.ctx, ecdhMech(peer.PublicKey().Bytes(), nil), priv, derivedTemplate(t.label("derived"), 32))
				t.ok(err)
				t.equal("the derived key", t.bytes(s, h, pkcs11.CKA_VALUE), want)
			}},
	)
}

func ecdhMech(point, info []byte) *pkcs11.Mechanism {
	p := &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: point}
	if info != nil {
		p.KDF, p.SharedData = pkcs11.CKD_SHA256_KDF, info
	}
	return &pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE, Params: p}
}

// derivedTemplate is a secret that can be looked at.
func derivedTemplate(label string, n int) pkcs11.Template {
	return pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET), attr(pkcs11.CKA_LABEL, label),
		attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true), attr(pkcs11.CKA_VALUE_LEN, n)}
}

func deriveECDH(t *T) {
	s := t.session()
	template := append(ecPrivateTemplate(t.label("key"), ecKey), attr(pkcs11.CKA_DERIVE, true))
	if t.e.can.export {
		template = append(template, attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true))
	}
	base := t.create(s, template)
	peer := must(ecdh.P256().GenerateKey(rand.Reader))
	secret := must(peer.ECDH(must(ecKey.PublicKey.ECDH())))
	raw := peer.PublicKey().Bytes()
	// One secret in 256 begins with a zero, which belongs to it. With the test key that
	// of 240 times the base point does.
	zero := must(ecdh.P256().NewPrivateKey(append(make([]byte, 31), 240)))
	zeroSecret := must(zero.ECDH(must(ecKey.PublicKey.ECDH())))
	for _, c := range []struct {
		what  string
		point []byte
		info  []byte
		n     int
		want  []byte
	}{
		{"a bare point", raw, nil, 32, secret},
		{"a point in DER", must(asn1.Marshal(raw)), nil, 32, secret},
		{"16 bytes, the last ones", raw, nil, 16, secret[16:]},
		{"a secret that begins with a zero", zero.PublicKey().Bytes(), nil, 32, zeroSecret},
		{"with SHA-256", raw, []byte("info"), 32, kdf(secret, []byte("info"))},
	} {
		t.step(c.what, func() {
			h, err := s.DeriveKey(t.ctx, ecdhMech(c.point, c.info), base, derivedTemplate(t.label("derived"), c.n))
			t.ok(err)
			t.equal("the derived key", t.bytes(s, h, pkcs11.CKA_VALUE), c.want)
			t.equal("CKA_LOCAL", t.bool(s, h, pkcs11.CKA_LOCAL), false)
		})
	}
	t.step("no CKA_VALUE_LEN", func() {
		h, err := s.DeriveKey(t.ctx, ecdhMech(raw, nil), base, without(derivedTemplate(t.label("derived"), 0), pkcs11.CKA_VALUE_LEN))
		t.ok(err)
		t.equal("the derived key", t.bytes(s, h, pkcs11.CKA_VALUE), secret)
	})
	t.step("a sensitive one", func() {
		h, err := s.DeriveKey(t.ctx, ecdhMech(raw, nil), base, derivedTemplate(t.label("derived"), 32).Set(attr(pkcs11.CKA_SENSITIVE, true)))
		t.ok(err)
		t.hidden(s, h, pkcs11.CKA_VALUE, sensitive)
	})
}

// kdf is the X9.63 KDF with SHA-256, of one block.
func kdf(secret, info []byte) []byte {
	h := sha256.Sum256(append(append(bytes.Clone(secret), 0, 0, 0, 1), info...))
	return h[:]
}

func (t *T) wrap(s *session, m *pkcs11.Mechanism, kek, key pkcs11.ObjectHandle) []byte {
	n, err := s.WrapKey(t.ctx, m, kek, key, nil)
	t.ok(err)
	_, err = s.WrapKey(t.ctx, m, kek, key, make([]byte, 1))
	t.want(err, tooSmall)
	out := make([]byte, n)
	n, err = s.WrapKey(t.ctx, m, kek, key, out)
	t.ok(err)
	return out[:n]
}

// wrappingKey generates a key that does nothing but wrap, and nobody knows.
func (t *T) wrappingKey(s *session) pkcs11.ObjectHandle {
	h, err := s.GenerateKey(t.ctx, mech(pkcs11.CKM_AES_KEY_GEN), pkcs11.Template{attr(pkcs11.CKA_LABEL, t.label("kek")), attr(pkcs11.CKA_VALUE_LEN, 32),
		attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_UNWRAP, true), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, false)})
	t.ok(err)
	return h
}

func wrapAES(t *T) {
	s, m := t.session(), mech(pkcs11.CKM_AES_KEY_WRAP)
	// No key of these is a secret, so that a token may show and wrap them all.
	open := []pkcs11.Attribute{attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true)}
	kek := t.create(s, append(append(secretTemplate(t.label("kek"), pkcs11.CKK_AES, unhex("000102030405060708090a0b0c0d0e0f")), attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_UNWRAP, true)), open...))
	value := unhex("00112233445566778899aabbccddeeff")
	key := t.create(s, append(secretTemplate(t.label("key"), pkcs11.CKK_AES, value), open...))
	want := unhex("1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5")
	t.equal("the wrapped key", t.wrap(s, m, kek, key), want)
	template := pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES), attr(pkcs11.CKA_LABEL, t.label("back")),
		attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true)}
	back, err := s.UnwrapKey(t.ctx, m, kek, want, template)
	t.ok(err)
	t.equal("the key, unwrapped", t.bytes(s, back, pkcs11.CKA_VALUE), value)
	t.equal("CKA_LOCAL", t.bool(s, back, pkcs11.CKA_LOCAL), false)
	for _, bad := range [][]byte{flipped(want, 0), flipped(want, 23), want[:16], want[:23], nil} {
		_, err := s.UnwrapKey(t.ctx, m, kek, bad, template.Set(attr(pkcs11.CKA_LABEL, t.label("refused"))))
		t.want(err, pkcs11.CKR_WRAPPED_KEY_INVALID, pkcs11.CKR_WRAPPED_KEY_LEN_RANGE)
	}
	t.equal("objects that refusals left", len(t.all(s, attr(pkcs11.CKA_LABEL, t.label("refused")))), 0)
}
