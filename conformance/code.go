package conformance

import (
	"bytes"
	"crypto"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// codeCases want return codes that no other case has a reason to come by.
// docs/CONFORMANCE-CODES.md has the table of all functions and codes.
func codeCases() []Case {
	secret := needs(wantsCreate, hmacRow)
	return suite("code", false,
		Case{ID: "COD-01", Name: "a function that needs a mechanism, a template or a seed wants one", Clause: "v2.40 §5.1, CKR_ARGUMENTS_BAD",
			Ancestors: []string{"client 44"}, run: func(t *T) {
				s := t.session()
				t.want(s.EncryptInit(t.ctx, nil, noObject), badArgs)
				t.want(s.DecryptInit(t.ctx, nil, noObject), badArgs)
				t.want(s.SignInit(t.ctx, nil, noObject), badArgs)
				t.want(s.VerifyInit(t.ctx, nil, noObject), badArgs)
				t.want(s.DigestInit(t.ctx, nil), badArgs)
				_, err := s.GenerateKey(t.ctx, nil, nil)
				t.want(err, badArgs)
				_, _, err = s.GenerateKeyPair(t.ctx, nil, nil, nil)
				t.want(err, badArgs)
				_, err = s.WrapKey(t.ctx, nil, noObject, noObject, nil)
				t.want(err, badArgs)
				_, err = s.UnwrapKey(t.ctx, nil, noObject, nil, nil)
				t.want(err, badArgs)
				_, err = s.DeriveKey(t.ctx, nil, noObject, nil)
				t.want(err, badArgs)
				t.want(s.SetAttributeValue(t.ctx, noObject, nil), badArgs, badObject)
				t.want(s.SeedRandom(t.ctx, nil), badArgs, pkcs11.CKR_RANDOM_NO_RNG)
			}},
		Case{ID: "COD-02", Name: "no step of an operation comes before its beginning", Clause: "v2.40 §5.2, CKR_OPERATION_NOT_INITIALIZED",
			Ancestors: []string{"client 34"}, run: func(t *T) {
				s := t.session()
				buf := make([]byte, 256)
				for _, call := range []func() (int, error){
					func() (int, error) { return s.Encrypt(t.ctx, buf[:16], buf) },
					func() (int, error) { return s.EncryptUpdate(t.ctx, buf[:16], buf) },
					func() (int, error) { return s.EncryptFinal(t.ctx, buf) },
					func() (int, error) { return s.Decrypt(t.ctx, buf[:16], buf) },
					func() (int, error) { return s.DecryptUpdate(t.ctx, buf[:16], buf) },
					func() (int, error) { return s.DecryptFinal(t.ctx, buf) },
					func() (int, error) { return s.Digest(t.ctx, buf[:16], buf) },
					func() (int, error) { return 0, s.DigestUpdate(t.ctx, buf[:16]) },
					func() (int, error) { return s.DigestFinal(t.ctx, buf) },
					func() (int, error) { return 0, s.DigestKey(t.ctx, noObject) },
					func() (int, error) { return s.Sign(t.ctx, buf[:16], buf) },
					func() (int, error) { return 0, s.SignUpdate(t.ctx, buf[:16]) },
					func() (int, error) { return s.SignFinal(t.ctx, buf) },
					func() (int, error) { return 0, s.Verify(t.ctx, buf[:16], buf) },
					func() (int, error) { return 0, s.VerifyUpdate(t.ctx, buf[:16]) },
					func() (int, error) { return 0, s.VerifyFinal(t.ctx, buf) },
					func() (int, error) { return s.FindObjects(t.ctx, make([]pkcs11.ObjectHandle, 1)) },
					func() (int, error) { return 0, s.FindObjectsFinal(t.ctx) },
				} {
					n, err := call()
					t.want(err, notStarted)
					t.equal("the length beside the error", n, 0)
				}
			}},
		Case{ID: "COD-03", Name: "a mechanism that is not in the table does nothing", Clause: "v2.40 §5.1, CKR_MECHANISM_INVALID",
			Ancestors: []string{"client 37"}, needs: secret, run: func(t *T) {
				s, m := t.session(), mech(0x253)
				h := t.create(s, secretTemplate(t.label("key"), pkcs11.CKK_GENERIC_SECRET, hmacKey))
				t.want(s.EncryptInit(t.ctx, m, h), badMech)
				t.want(s.DecryptInit(t.ctx, m, h), badMech)
				t.want(s.SignInit(t.ctx, m, h), badMech)
				t.want(s.VerifyInit(t.ctx, m, h), badMech)
				_, err := s.WrapKey(t.ctx, m, h, h, make([]byte, 99))
				t.want(err, badMech)
				_, err = s.UnwrapKey(t.ctx, m, h, make([]byte, 24), unwrapTemplate(t.label("back")))
				t.want(err, badMech)
				_, err = s.DeriveKey(t.ctx, m, h, derivedTemplate(t.label("derived"), 16))
				t.want(err, badMech)
				// In the table, for something else.
				t.want(s.EncryptInit(t.ctx, mech(pkcs11.CKM_SHA256_HMAC), h), badMech)
				t.want(s.DigestInit(t.ctx, mech(pkcs11.CKM_SHA256_HMAC)), badMech)
			}},
		Case{ID: "COD-04", Name: "a parameter that a mechanism does not take is invalid", Clause: "v2.40 §5.1, CKR_MECHANISM_PARAM_INVALID",
			Ancestors: []string{"client 37"}, needs: needs(ecGen, wantsCreate), run: func(t *T) {
				s := t.session()
				public, private := ecGenerateTemplates(t.label("refused"), t.label("refused"))
				_, _, err := s.GenerateKeyPair(t.ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN, Params: &pkcs11.PSSParams{}}, public, private)
				t.want(err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
				t.equal("objects that the refusal left", len(t.all(s, attr(pkcs11.CKA_LABEL, t.label("refused")))), 0)
				pub := t.create(s, ecPublicTemplate(t.label("key"), &ecKey.PublicKey))
				t.want(s.VerifyInit(t.ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA, Params: 7}, pub), pkcs11.CKR_MECHANISM_PARAM_INVALID)
				if t.e.has(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKF_GENERATE, 0) {
					_, err := s.GenerateKey(t.ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN, Params: 7}, pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 16)})
					t.want(err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
				}
			}},
		Case{ID: "COD-05", Name: "encryption wants a key of its type", Clause: "v2.40 §5.8, §5.9",
			Ancestors: []string{"client 37"}, needs: needs(wantsCreate, row(pkcs11.CKM_AES_CBC, aesBoth, 0)), run: func(t *T) {
				s, m := t.session(), &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC, Params: make([]byte, 16)}
				generic := t.create(s, append(secretTemplate(t.label("generic"), pkcs11.CKK_GENERIC_SECRET, hmacKey), attr(pkcs11.CKA_ENCRYPT, true), attr(pkcs11.CKA_DECRYPT, true)))
				t.want(s.EncryptInit(t.ctx, m, generic), badKeyType)
				t.want(s.DecryptInit(t.ctx, m, generic), badKeyType)
				t.want(s.EncryptInit(t.ctx, m, noObject), badKey)
				t.want(s.DecryptInit(t.ctx, m, noObject), badKey)
				h := t.create(s, aesTemplate(t.label("key"), make([]byte, 16)))
				t.ok(s.DecryptInit(t.ctx, m, h))
				t.want(s.DecryptInit(t.ctx, m, h), opActive)
			}},
		Case{ID: "COD-06", Name: "encryption in parts tells of short buffers, and at the end of wrong lengths", Clause: "v2.40 §5.2, §5.8, §5.9",
			Ancestors: []string{"client 33"}, needs: needs(wantsCreate, row(pkcs11.CKM_AES_CBC, aesBoth, 0), row(pkcs11.CKM_AES_CBC_PAD, aesBoth, 0)), run: partLengths},
		Case{ID: "COD-07", Name: "a digest takes the value of a key, if it may be digested", Clause: "v2.40 §5.10, C_DigestKey",
			needs: needs(secret, sha256Row), run: func(t *T) {
				s := t.session()
				// Of the session: a chip shows no key that it keeps.
				h := t.create(s, append(secretTemplate(t.label("key"), pkcs11.CKK_GENERIC_SECRET, hmacKey), attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true)).Set(attr(pkcs11.CKA_TOKEN, false)))
				cert := t.create(s, certTemplate(t.label("cert"), ecCert))
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				t.ok(s.DigestUpdate(t.ctx, []byte("salt")))
				t.ok(s.DigestKey(t.ctx, h))
				digest := make([]byte, 32)
				_, err := s.DigestFinal(t.ctx, digest)
				t.ok(err)
				t.equal("the digest", digest, sum(crypto.SHA256, append([]byte("salt"), hmacKey...)))
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				t.want(s.DigestKey(t.ctx, noObject), badKey)
				t.cancel(s, pkcs11.CKF_DIGEST)
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				t.want(s.DigestKey(t.ctx, cert), badKey, pkcs11.CKR_KEY_INDIGESTIBLE)
				if t.e.has(pkcs11.CKM_ECDSA, pkcs11.CKF_SIGN, 256) {
					t.cancel(s, pkcs11.CKF_DIGEST)
					t.ok(s.DigestInit(t.ctx, sha256Mech))
					t.want(s.DigestKey(t.ctx, t.sharedEC().priv), pkcs11.CKR_KEY_INDIGESTIBLE)
				}
			}},
		Case{ID: "COD-08", Name: "signatures and verifications in parts tell of wrong lengths at the end", Clause: "v2.40 §5.11, §5.12",
			Ancestors: []string{"client 36"}, needs: needs(rsaSign, row(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_VERIFY, 2048)), run: func(t *T) {
				s, keys := t.session(), t.sharedRSA()
				t.ok(s.SignInit(t.ctx, rsaMech, keys.priv))
				t.ok(s.SignUpdate(t.ctx, make([]byte, 200)))
				t.ok(s.SignUpdate(t.ctx, make([]byte, 46)))
				_, err := s.SignFinal(t.ctx, make([]byte, 256))
				t.want(err, dataRange)
				_, err = s.SignFinal(t.ctx, make([]byte, 256))
				t.want(err, notStarted)
				t.ok(s.VerifyInit(t.ctx, rsaMech, keys.pub))
				t.ok(s.VerifyUpdate(t.ctx, make([]byte, 246)))
				t.want(s.VerifyFinal(t.ctx, rsaSignature), dataRange, badSignature)
				t.ok(s.VerifyInit(t.ctx, rsaMech, keys.pub))
				t.ok(s.VerifyUpdate(t.ctx, rsaInput))
				t.want(s.VerifyFinal(t.ctx, rsaSignature[:255]), sigRange)
				t.ok(s.VerifyInit(t.ctx, rsaMech, keys.pub))
				t.ok(s.VerifyUpdate(t.ctx, rsaInput[:20]))
				t.ok(s.VerifyUpdate(t.ctx, rsaInput[20:]))
				t.ok(s.VerifyFinal(t.ctx, rsaSignature))
			}},
		Case{ID: "COD-09", Name: "templates for copies and changes are checked like those for objects", Clause: "v2.40 §4.1.1, §5.7",
			Ancestors: []string{"client 23", "client 27"}, needs: needs(wantsCreate, wantsCopy, wantsUpdate), run: faultyChanges},
		Case{ID: "COD-10", Name: "templates for secret keys are checked, however the key comes about", Clause: "v2.40 §4.1.1, §5.13",
			Ancestors: []string{"client 23"}, needs: needs(wantsCreate, row(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKF_GENERATE, 0), row(pkcs11.CKM_AES_KEY_WRAP, pkcs11.CKF_WRAP|pkcs11.CKF_UNWRAP, 0),
				row(pkcs11.CKM_HKDF_DERIVE, pkcs11.CKF_DERIVE, 0)), run: faultySecrets},
		Case{ID: "COD-11", Name: "wrapping and derivation want keys that are there and of their type", Clause: "v2.40 §5.13",
			needs: needs(secret, wantsEC, wantsImport, row(pkcs11.CKM_AES_KEY_WRAP, pkcs11.CKF_WRAP|pkcs11.CKF_UNWRAP, 0), row(pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKF_DERIVE, 256)), run: func(t *T) {
				s, m := t.session(), mech(pkcs11.CKM_AES_KEY_WRAP)
				more := []pkcs11.Attribute{attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_UNWRAP, true), attr(pkcs11.CKA_DERIVE, true), attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true)}
				generic := t.create(s, append(secretTemplate(t.label("generic"), pkcs11.CKK_GENERIC_SECRET, hmacKey), more...))
				aes := t.create(s, append(secretTemplate(t.label("aes"), pkcs11.CKK_AES, make([]byte, 16)), more...))
				_, err := s.WrapKey(t.ctx, m, generic, aes, make([]byte, 99))
				t.want(err, pkcs11.CKR_WRAPPING_KEY_TYPE_INCONSISTENT)
				_, err = s.WrapKey(t.ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_WRAP, Params: 7}, aes, generic, make([]byte, 99))
				t.want(err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
				wrapped := t.wrap(s, m, aes, generic)
				_, err = s.UnwrapKey(t.ctx, m, generic, wrapped, unwrapTemplate(t.label("back")))
				t.want(err, pkcs11.CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT)
				_, err = s.UnwrapKey(t.ctx, m, noObject, wrapped, unwrapTemplate(t.label("back")))
				t.want(err, pkcs11.CKR_UNWRAPPING_KEY_HANDLE_INVALID)
				_, err = s.UnwrapKey(t.ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_WRAP, Params: 7}, aes, wrapped, unwrapTemplate(t.label("back")))
				t.want(err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
				_, err = s.DeriveKey(t.ctx, ecdhMech(ecPoint, nil), aes, derivedTemplate(t.label("derived"), 32))
				t.want(err, badKeyType)
				_, err = s.DeriveKey(t.ctx, ecdhMech(ecPoint, nil), noObject, derivedTemplate(t.label("derived"), 32))
				t.want(err, badKey)
			}},
		Case{ID: "COD-12", Name: "a read-only session makes no token object of any kind", Clause: "v2.40 §5.13, CKR_SESSION_READ_ONLY",
			Ancestors: []string{"client 13"}, needs: needs(wantsCreate, wantsCopy, row(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKF_GENERATE, 0),
				row(pkcs11.CKM_AES_KEY_WRAP, pkcs11.CKF_WRAP|pkcs11.CKF_UNWRAP, 0), row(pkcs11.CKM_HKDF_DERIVE, pkcs11.CKF_DERIVE, 0)), run: func(t *T) {
				s, ro := t.session(), t.open(roSession)
				label := t.label("refused")
				kek, base := t.openKeys(s)
				wrapped := t.wrap(s, mech(pkcs11.CKM_AES_KEY_WRAP), kek, base)
				cert := t.create(s, certTemplate(t.label("cert"), ecCert))
				token := attr(pkcs11.CKA_TOKEN, true)
				_, err := ro.CopyObject(t.ctx, cert, pkcs11.Template{attr(pkcs11.CKA_LABEL, label)})
				t.want(err, pkcs11.CKR_SESSION_READ_ONLY)
				_, err = ro.GenerateKey(t.ctx, mech(pkcs11.CKM_AES_KEY_GEN), pkcs11.Template{attr(pkcs11.CKA_LABEL, label), attr(pkcs11.CKA_VALUE_LEN, 16), token})
				t.want(err, pkcs11.CKR_SESSION_READ_ONLY)
				_, err = ro.UnwrapKey(t.ctx, mech(pkcs11.CKM_AES_KEY_WRAP), kek, wrapped, append(unwrapTemplate(label), token))
				t.want(err, pkcs11.CKR_SESSION_READ_ONLY)
				_, err = ro.DeriveKey(t.ctx, hkdfMech(), base, append(derivedTemplate(label, 16), token))
				t.want(err, pkcs11.CKR_SESSION_READ_ONLY)
				t.equal("objects that refusals left", len(t.all(s, attr(pkcs11.CKA_LABEL, label))), 0)
			}},
		Case{ID: "COD-13", Name: "nobody makes or uses a private object without logging in", Clause: "v2.40 §5.1, CKR_USER_NOT_LOGGED_IN", serial: true,
			Ancestors: []string{"client 38"}, needs: needs(wantsLogin, wantsCreate, wantsCopy, row(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKF_GENERATE, 0), row(pkcs11.CKM_AES_CBC, aesBoth, 0),
				row(pkcs11.CKM_AES_KEY_WRAP, pkcs11.CKF_WRAP|pkcs11.CKF_UNWRAP, 0), row(pkcs11.CKM_HKDF_DERIVE, pkcs11.CKF_DERIVE, 0)), run: withoutLogin},
		Case{ID: "COD-14", Name: "a key that always authenticates decrypts for those who just did", Clause: "v2.40 §4.9, CKA_ALWAYS_AUTHENTICATE",
			Ancestors: []string{"client 31"}, needs: needs(wantsLogin, wantsRSA, wantsImport, row(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_SIGN|pkcs11.CKF_DECRYPT, 2048), row(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_ENCRYPT, 2048)), run: func(t *T) {
				s := t.session()
				h := t.create(s, append(rsaPrivateTemplate(t.label("key"), rsaKey), attr(pkcs11.CKA_DECRYPT, true), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_ALWAYS_AUTHENTICATE, true)))
				pub := t.create(s, append(rsaPublicTemplate(t.label("key"), &rsaKey.PublicKey), attr(pkcs11.CKA_ENCRYPT, true)))
				c := t.encrypt(s, rsaMech, pub, hmacMessage)
				t.ok(s.DecryptInit(t.ctx, rsaMech, h))
				_, err := s.Decrypt(t.ctx, c, make([]byte, 256))
				t.want(err, notLogged)
				t.cancel(s, pkcs11.CKF_DECRYPT)
				t.ok(s.DecryptInit(t.ctx, rsaMech, h))
				t.ok(s.Login(t.ctx, pkcs11.CKU_CONTEXT_SPECIFIC, t.e.target.UserPIN))
				out := make([]byte, 256)
				n, err := s.Decrypt(t.ctx, c, out)
				t.ok(err)
				t.equal("the plaintext", out[:n], hmacMessage)
				t.ok(s.SignInit(t.ctx, rsaMech, h))
				if err := s.SignUpdate(t.ctx, rsaInput); err != nil { // as early as that, or at the end
					t.want(err, notLogged)
				} else {
					_, err = s.SignFinal(t.ctx, out)
					t.want(err, notLogged)
				}
			}},
		Case{ID: "COD-15", Name: "a template that contradicts itself makes nothing and finds nothing", Clause: "v2.40 §4.1.1, CKR_TEMPLATE_INCONSISTENT",
			Ancestors: []string{"client 23"}, needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				cert := certTemplate(t.label("refused"), ecCert)
				t.refuse(s, "two values", append(cert, attr(pkcs11.CKA_VALUE, rsaCert)), inconsistent)
				t.refuse(s, "two labels", append(cert, attr(pkcs11.CKA_LABEL, "another")), inconsistent)
				t.refuse(s, "two classes", append(cert, attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA)), inconsistent)
				t.want(s.FindObjectsInit(t.ctx, pkcs11.Template{attr(pkcs11.CKA_CLASS, "certificate")}), badValue)
				t.want(s.FindObjectsInit(t.ctx, pkcs11.Template{attr(pkcs11.CKA_TOKEN, []byte{1})}), badValue)
				t.equal("objects with two labels", len(t.all(s, attr(pkcs11.CKA_LABEL, "a"), attr(pkcs11.CKA_LABEL, "b"))), 0)
			}},
		Case{ID: "COD-16", Name: "a token without a generator says so", Clause: "v2.40 §5.14, CKR_RANDOM_NO_RNG",
			needs: needs(ability("no CKF_RNG", "the token has a generator (CKF_RNG)", func(e *env) bool { return !e.can.random })), run: func(t *T) {
				s := t.session()
				b := make([]byte, 16)
				t.want(s.GenerateRandom(t.ctx, b), pkcs11.CKR_RANDOM_NO_RNG, pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
				t.check(bytes.Equal(b, make([]byte, 16)), "something was drawn all the same")
				t.want(s.SeedRandom(t.ctx, b), pkcs11.CKR_RANDOM_NO_RNG, pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
			}},
		Case{ID: "COD-17", Name: "raw RSA does not encrypt a number above the modulus", Clause: "v2.40 mechanisms §2.1.5",
			needs: needs(wantsRSA, wantsCreate, row(pkcs11.CKM_RSA_X_509, pkcs11.CKF_ENCRYPT, 2048)), run: func(t *T) {
				s := t.session()
				pub := t.create(s, append(rsaPublicTemplate(t.label("key"), &rsaKey.PublicKey), attr(pkcs11.CKA_ENCRYPT, true)))
				t.ok(s.EncryptInit(t.ctx, rsaX509, pub))
				_, err := s.Encrypt(t.ctx, bytes.Repeat([]byte{0xff}, 256), make([]byte, 256))
				t.want(err, pkcs11.CKR_DATA_INVALID, dataRange)
				t.ok(s.EncryptInit(t.ctx, rsaX509, pub))
				_, err = s.Encrypt(t.ctx, make([]byte, 257), make([]byte, 256))
				t.want(err, dataRange)
			}},
	)
}

func unwrapTemplate(label string) pkcs11.Template {
	return pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET), attr(pkcs11.CKA_LABEL, label)}
}

func hkdfMech() *pkcs11.Mechanism {
	return &pkcs11.Mechanism{Type: pkcs11.CKM_HKDF_DERIVE, Params: &pkcs11.HKDFParams{Extract: true, Expand: true, PRF: pkcs11.CKM_SHA256, SaltType: pkcs11.CKF_HKDF_SALT_NULL, Info: []byte("info")}}
}

// openKeys creates a key that wraps and one that derives, neither of them
// private or secret.
func (t *T) openKeys(s *session) (kek, base pkcs11.ObjectHandle) {
	more := []pkcs11.Attribute{attr(pkcs11.CKA_PRIVATE, false), attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true)}
	kek = t.create(s, append(append(secretTemplate(t.label("kek"), pkcs11.CKK_AES, make([]byte, 16)), attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_UNWRAP, true)), more...))
	base = t.create(s, append(append(secretTemplate(t.label("base"), pkcs11.CKK_GENERIC_SECRET, hmacKey), attr(pkcs11.CKA_DERIVE, true)), more...))
	return kek, base
}

func partLengths(t *T) {
	s := t.session()
	h := t.create(s, aesTemplate(t.label("key"), make([]byte, 16)))
	cbc := &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC, Params: make([]byte, 16)}
	pad := &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC_PAD, Params: make([]byte, 16)}
	plain, buf := shaMessage[:50], make([]byte, 80)
	want := t.encrypt(s, pad, h, plain)

	t.ok(s.EncryptInit(t.ctx, pad, h))
	n, err := s.EncryptUpdate(t.ctx, plain, nil)
	t.ok(err)
	t.check(n >= 32, "the length is %d", n)
	_, err = s.EncryptUpdate(t.ctx, plain, make([]byte, 1))
	t.want(err, tooSmall)
	n, err = s.EncryptUpdate(t.ctx, plain, buf)
	t.ok(err)
	out := bytes.Clone(buf[:n])
	_, err = s.Encrypt(t.ctx, plain, buf)
	t.want(err, opActive)
	n, err = s.EncryptFinal(t.ctx, nil)
	t.ok(err)
	t.check(n >= 16, "the length is %d", n)
	_, err = s.EncryptFinal(t.ctx, make([]byte, 1))
	t.want(err, tooSmall)
	n, err = s.EncryptFinal(t.ctx, buf)
	t.ok(err)
	t.equal("the ciphertext", append(out, buf[:n]...), want)

	t.ok(s.DecryptInit(t.ctx, pad, h))
	_, err = s.DecryptUpdate(t.ctx, want, make([]byte, 1))
	t.want(err, tooSmall)
	n, err = s.DecryptUpdate(t.ctx, want, buf)
	t.ok(err)
	out = bytes.Clone(buf[:n])
	n, err = s.DecryptFinal(t.ctx, nil)
	t.ok(err)
	t.check(n >= 2, "the length is %d", n)
	_, err = s.DecryptFinal(t.ctx, make([]byte, 1))
	t.want(err, tooSmall)
	n, err = s.DecryptFinal(t.ctx, buf)
	t.ok(err)
	t.equal("the plaintext", append(out, buf[:n]...), plain)

	t.ok(s.EncryptInit(t.ctx, cbc, h))
	_, err = s.EncryptUpdate(t.ctx, plain[:15], buf)
	t.ok(err)
	_, err = s.EncryptFinal(t.ctx, buf)
	t.want(err, dataRange)
	_, err = s.EncryptFinal(t.ctx, buf)
	t.want(err, notStarted)
	t.ok(s.DecryptInit(t.ctx, cbc, h))
	_, err = s.DecryptUpdate(t.ctx, want[:15], buf)
	t.ok(err)
	_, err = s.DecryptFinal(t.ctx, buf)
	t.want(err, cipherLen)
	_, err = s.DecryptFinal(t.ctx, buf)
	t.want(err, notStarted)
	t.ok(s.DecryptInit(t.ctx, pad, h))
	_, err = s.DecryptUpdate(t.ctx, flipped(want, len(want)-17), buf) // changes the last byte of the padding
	t.ok(err)
	_, err = s.DecryptFinal(t.ctx, buf)
	t.want(err, badCipher)
}

func faultyChanges(t *T) {
	s := t.session()
	label := t.label("cert")
	h := t.create(s, certTemplate(label, ecCert))
	for _, c := range []struct {
		what  string
		with  pkcs11.Template
		codes []pkcs11.Error
	}{
		{"an unknown attribute", pkcs11.Template{attr(0x7777, []byte("x"))}, []pkcs11.Error{badType}},
		{"an attribute of keys", pkcs11.Template{attr(pkcs11.CKA_SIGN, true)}, []pkcs11.Error{badType, inconsistent}},
		{"a value of another kind", pkcs11.Template{attr(pkcs11.CKA_LABEL, 7)}, []pkcs11.Error{badValue}},
		{"no value", pkcs11.Template{attr(pkcs11.CKA_LABEL, nil)}, []pkcs11.Error{badValue}},
		{"the class", pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA)}, []pkcs11.Error{readOnly, inconsistent}},
		{"the certificate itself", pkcs11.Template{attr(pkcs11.CKA_VALUE, rsaCert)}, []pkcs11.Error{readOnly, inconsistent}},
		{"two labels", pkcs11.Template{attr(pkcs11.CKA_LABEL, "a"), attr(pkcs11.CKA_LABEL, "b")}, []pkcs11.Error{inconsistent}},
	} {
		t.step(c.what, func() {
			t.want(s.SetAttributeValue(t.ctx, h, c.with), c.codes...)
			_, err := s.CopyObject(t.ctx, h, c.with)
			t.want(err, c.codes...)
			t.equal("CKA_LABEL after the refusals", t.get(s, h, pkcs11.CKA_LABEL).Text(), label)
		})
	}
	t.equal("objects with the label", len(t.all(s, attr(pkcs11.CKA_LABEL, label))), 1)
}

func faultySecrets(t *T) {
	s := t.session()
	label := t.label("refused")
	kek, base := t.openKeys(s)
	wrapped := t.wrap(s, mech(pkcs11.CKM_AES_KEY_WRAP), kek, base)
	ways := []struct {
		name string
		good pkcs11.Template
		make func(pkcs11.Template) (pkcs11.ObjectHandle, error)
	}{
		{"generated", pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES), attr(pkcs11.CKA_VALUE_LEN, 16), attr(pkcs11.CKA_LABEL, label)},
			func(u pkcs11.Template) (pkcs11.ObjectHandle, error) {
				return s.GenerateKey(t.ctx, mech(pkcs11.CKM_AES_KEY_GEN), u)
			}},
		{"unwrapped", append(unwrapTemplate(label), attr(pkcs11.CKA_EXTRACTABLE, false)), func(u pkcs11.Template) (pkcs11.ObjectHandle, error) {
			return s.UnwrapKey(t.ctx, mech(pkcs11.CKM_AES_KEY_WRAP), kek, wrapped, u)
		}},
		{"derived", derivedTemplate(label, 16), func(u pkcs11.Template) (pkcs11.ObjectHandle, error) {
			return s.DeriveKey(t.ctx, hkdfMech(), base, u)
		}},
	}
	for _, way := range ways {
		for _, c := range []struct {
			what  string
			a     pkcs11.Attribute
			codes []pkcs11.Error
		}{
			{"an unknown attribute", attr(0x7777, []byte("x")), []pkcs11.Error{badType}},
			{"a value of another kind", attr(pkcs11.CKA_SIGN, []byte{1}), []pkcs11.Error{badValue}},
			{"CKA_LOCAL", attr(pkcs11.CKA_LOCAL, true), []pkcs11.Error{readOnly, inconsistent}},
			{"another class", attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), []pkcs11.Error{inconsistent, incomplete, badValue}},
			{"two labels", attr(pkcs11.CKA_LABEL, "another"), []pkcs11.Error{inconsistent}},
		} {
			t.step(way.name+", with "+c.what, func() {
				with := append(way.good[:len(way.good):len(way.good)], c.a)
				if c.a.Type == pkcs11.CKA_CLASS {
					with = way.good.Clone().Set(c.a)
				}
				_, err := way.make(with)
				t.want(err, c.codes...)
				t.equal("objects that the refusal left", len(t.all(s, attr(pkcs11.CKA_LABEL, label))), 0)
			})
		}
		t.step(way.name+", of nothing", func() {
			_, err := way.make(without(way.good, pkcs11.CKA_CLASS, pkcs11.CKA_KEY_TYPE, pkcs11.CKA_VALUE_LEN))
			if way.name != "derived" || err != nil { // a derivation may take defaults
				t.want(err, incomplete)
			}
		})
		for _, h := range t.all(s, attr(pkcs11.CKA_LABEL, label)) {
			t.ok(s.DestroyObject(t.ctx, h))
		}
		t.step(way.name, func() {
			h, err := way.make(way.good)
			t.ok(err)
			t.ok(s.DestroyObject(t.ctx, h))
		})
	}
}

func withoutLogin(t *T) {
	s := t.session()
	kek, base := t.openKeys(s)
	wrapped := t.wrap(s, mech(pkcs11.CKM_AES_KEY_WRAP), kek, base)
	aes := t.create(s, append(aesTemplate(t.label("aes"), make([]byte, 16)), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_DERIVE, true)))
	cert := t.create(s, certTemplate(t.label("cert"), ecCert))
	cbc := &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC, Params: make([]byte, 16)}
	t.ok(s.Logout(t.ctx))
	gone := []pkcs11.Error{notLogged, badKey}
	t.want(s.EncryptInit(t.ctx, cbc, aes), gone...)
	t.want(s.DecryptInit(t.ctx, cbc, aes), gone...)
	t.want(s.SignInit(t.ctx, mech(pkcs11.CKM_AES_CMAC), aes), append(gone, badMech)...)
	t.want(s.VerifyInit(t.ctx, mech(pkcs11.CKM_AES_CMAC), aes), append(gone, badMech)...)
	_, err := s.WrapKey(t.ctx, mech(pkcs11.CKM_AES_KEY_WRAP), kek, aes, nil)
	t.want(err, gone...)
	t.want(s.SetAttributeValue(t.ctx, aes, pkcs11.Template{attr(pkcs11.CKA_LABEL, "x")}), notLogged, badObject)
	t.want(s.DestroyObject(t.ctx, aes), notLogged, badObject)
	label, private := t.label("refused"), attr(pkcs11.CKA_PRIVATE, true)
	_, err = s.CopyObject(t.ctx, cert, pkcs11.Template{attr(pkcs11.CKA_LABEL, label), private})
	t.want(err, notLogged)
	_, err = s.GenerateKey(t.ctx, mech(pkcs11.CKM_AES_KEY_GEN), pkcs11.Template{attr(pkcs11.CKA_LABEL, label), attr(pkcs11.CKA_VALUE_LEN, 16), private})
	t.want(err, notLogged)
	_, err = s.UnwrapKey(t.ctx, mech(pkcs11.CKM_AES_KEY_WRAP), kek, wrapped, append(unwrapTemplate(label), private))
	t.want(err, notLogged)
	_, err = s.DeriveKey(t.ctx, hkdfMech(), base, append(derivedTemplate(label, 16), private))
	t.want(err, notLogged)
	t.login(s)
	t.equal("objects that refusals left", len(t.all(s, attr(pkcs11.CKA_LABEL, label))), 0)
}
