package conformance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	ecdsaMech  = mech(pkcs11.CKM_ECDSA)
	rsaMech    = mech(pkcs11.CKM_RSA_PKCS)
	rsaX509    = mech(pkcs11.CKM_RSA_X_509)
	dataRange  = pkcs11.CKR_DATA_LEN_RANGE
	badKeyType = pkcs11.CKR_KEY_TYPE_INCONSISTENT
	notAllowed = pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED
)

func signCases() []Case {
	cases := suite("sign", false,
		Case{ID: "SGN-01", Name: "asking for the length, and a short buffer, leave the signature to be made", Clause: "v2.40 §5.2, §5.11",
			Ancestors: []string{"R-19", "gap 9", "client 33"}, needs: needs(ecSign), run: func(t *T) {
				s, keys := t.session(), t.sharedEC()
				t.ok(s.SignInit(t.ctx, ecdsaMech, keys.priv))
				for range 2 {
					n, err := s.Sign(t.ctx, ecHash1, nil)
					t.ok(err)
					t.equal("the length of the signature", n, 64)
					n, err = s.Sign(t.ctx, ecHash1, make([]byte, 63))
					t.want(err, tooSmall)
					t.equal("the length that a short buffer is told", n, 64)
					_, err = s.Sign(t.ctx, ecHash1, []byte{})
					t.want(err, tooSmall, 0) // an empty slice may be taken for nil
				}
				sig := bytes.Repeat([]byte{0xee}, 100)
				n, err := s.Sign(t.ctx, ecHash1, sig)
				t.ok(err)
				t.verifyHost(keys.ec, ecHash1, sig[:n])
				t.equal("what is behind the signature", sig[n:], bytes.Repeat([]byte{0xee}, 100-n))
				_, err = s.Sign(t.ctx, ecHash1, sig)
				t.want(err, notStarted)
			}},
		Case{ID: "SGN-02", Name: "destroying a key ends the signatures that it was to make, in every session", Clause: "decisions §7.1",
			Ancestors: []string{"R-09", "gap 11"}, needs: needs(ecSign, wantsDestroy), run: func(t *T) {
				a, b := t.session(), t.session()
				keys := t.newEC(a, t.label("key"))
				t.ok(a.SignInit(t.ctx, ecdsaMech, keys.priv))
				t.ok(b.SignInit(t.ctx, ecdsaMech, keys.priv))
				t.ok(b.DestroyObject(t.ctx, keys.priv))
				for _, s := range []*session{a, b} {
					_, err := s.Sign(t.ctx, ecHash1, make([]byte, 64))
					t.want(err, notStarted)
					t.want(s.SignInit(t.ctx, ecdsaMech, keys.priv), badKey)
					other := t.sharedEC()
					t.verifyHost(other.ec, ecHash1, t.sign(s, ecdsaMech, other.priv, ecHash1))
				}
			}},
		Case{ID: "SGN-03", Name: "a key that came after another was destroyed signs as itself", Clause: "v2.40 §5.11; reference defect R-08",
			Ancestors: []string{"R-08", "gap 8"}, needs: needs(ecSign, wantsDestroy), run: func(t *T) {
				s := t.session()
				for range 3 {
					keys := t.newEC(s, t.label("key"))
					t.ok(s.SignInit(t.ctx, ecdsaMech, keys.priv))
					_, err := s.Sign(t.ctx, ecHash1, make([]byte, 1))
					t.want(err, tooSmall)
					t.cancel(s, pkcs11.CKF_SIGN)
					t.ok(s.DestroyObject(t.ctx, keys.priv))
					t.ok(s.DestroyObject(t.ctx, keys.pub))
					next := t.newEC(s, t.label("key"))
					t.verifyHost(next.ec, ecHash1, t.sign(s, ecdsaMech, next.priv, ecHash1))
					t.ok(s.DestroyObject(t.ctx, next.priv))
					t.ok(s.DestroyObject(t.ctx, next.pub))
				}
			}},
		Case{ID: "SGN-04", Name: "the key that is given signs, not another", Clause: "v2.40 §5.11, C_SignInit",
			Ancestors: []string{"R-46"}, needs: needs(ecSign), run: func(t *T) {
				s := t.session()
				a, b := t.newEC(s, t.label("a")), t.newEC(s, t.label("b"))
				for range 3 {
					t.verifyHost(a.ec, ecHash1, t.sign(s, ecdsaMech, a.priv, ecHash1))
					t.verifyHost(b.ec, ecHash1, t.sign(s, ecdsaMech, b.priv, ecHash1))
				}
			}},
		Case{ID: "SGN-05", Name: "every ECDSA signature is r and s of 32 bytes each, and no r comes twice", Clause: "v2.40 mechanisms §2.3.1",
			Ancestors: []string{"R-34", "client 35"}, needs: needs(ecSign), run: func(t *T) {
				s, keys := t.session(), t.sharedEC()
				seen := map[string]bool{}
				// Among 300 signatures one or two have a component with a leading
				// zero byte; a slow token makes fewer.
				n := 300
				if t.e.target.Sequential {
					n = 8
				}
				for i := range n {
					digest := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
					sig := t.sign(s, ecdsaMech, keys.priv, digest[:])
					t.verifyHost(keys.ec, digest[:], sig)
					t.check(!seen[string(sig[:32])], "two digests were signed with the same nonce")
					seen[string(sig[:32])] = true
				}
			}},
		Case{ID: "SGN-06", Name: "ECDSA signs digests of every length, of long ones the leftmost bits", Clause: "v2.40 mechanisms §2.3.6; c-abi §2.10 R8",
			Ancestors: []string{"R-26", "R-42", "client 35", "client rule R8"}, needs: needs(ecSign), run: func(t *T) {
				s, keys := t.session(), t.sharedEC()
				for _, n := range []int{1, 20, 28, 31, 32, 33, 48, 64} {
					digest := bytes.Repeat([]byte{0xa5}, n)
					t.verifyHost(keys.ec, digest, t.sign(s, ecdsaMech, keys.priv, digest))
				}
				t.ok(s.SignInit(t.ctx, ecdsaMech, keys.priv))
				_, err := s.Sign(t.ctx, nil, make([]byte, 64))
				t.want(err, dataRange)
			}},
		Case{ID: "SGN-07", Name: "RSA PKCS #1 signs what fits, and nothing longer", Clause: "v2.40 mechanisms §2.1.6",
			Ancestors: []string{"R-26", "client 36"}, needs: needs(rsaSign), run: func(t *T) {
				s, keys := t.session(), t.sharedRSA()
				for _, n := range []int{0, 1, 32, 50, 51, 245} {
					data := bytes.Repeat([]byte{7}, n)
					sig := t.sign(s, rsaMech, keys.priv, data)
					err := rsa.VerifyPKCS1v15(keys.rsa, 0, data, sig)
					t.check(err == nil, "crypto/rsa refuses the signature of %d bytes: %v", n, err)
				}
				for _, n := range []int{246, 256, 1000} {
					t.ok(s.SignInit(t.ctx, rsaMech, keys.priv))
					_, err := s.Sign(t.ctx, make([]byte, n), make([]byte, 256))
					t.want(err, dataRange)
					_, err = s.Sign(t.ctx, rsaInput, make([]byte, 256))
					t.want(err, notStarted)
				}
			}},
		Case{ID: "SGN-08", Name: "raw RSA signs a block and verifies it", Clause: "v2.40 mechanisms §2.1.5",
			Ancestors: []string{"R-07", "gap 3"}, needs: needs(wantsRSA, wantsImport, row(pkcs11.CKM_RSA_X_509, pkcs11.CKF_SIGN|pkcs11.CKF_VERIFY, 2048)), run: func(t *T) {
				s, keys := t.session(), t.sharedRSA()
				block := pkcs1Block(rsaInput, 256)
				sig := t.sign(s, rsaX509, keys.priv, block)
				t.equal("the signature", sig, rsaSignature)
				t.ok(t.verify(s, rsaX509, keys.pub, block, sig))
				t.want(t.verify(s, rsaX509, keys.pub, pkcs1Block(append(sha256Prefix, ecHash1...), 256), sig), pkcs11.CKR_SIGNATURE_INVALID)
				t.want(t.verify(s, rsaX509, keys.pub, make([]byte, 32), sig), pkcs11.CKR_SIGNATURE_INVALID, dataRange)
				t.ok(s.SignInit(t.ctx, rsaX509, keys.priv))
				_, err := s.Sign(t.ctx, bytes.Repeat([]byte{0xff}, 256), make([]byte, 256))
				t.want(err, dataRange, pkcs11.CKR_DATA_INVALID)
			}},
		Case{ID: "SGN-09", Name: "a signature in parts is one, and steps out of order are errors", Clause: "v2.40 §5.11, C_SignUpdate, C_SignFinal",
			Ancestors: []string{"client 34"}, needs: needs(ecSign, row(pkcs11.CKM_ECDSA_SHA256, pkcs11.CKF_SIGN, 256)), run: func(t *T) {
				s, keys, m := t.session(), t.sharedEC(), mech(pkcs11.CKM_ECDSA_SHA256)
				sig := make([]byte, 64)
				t.ok(s.SignInit(t.ctx, m, keys.priv))
				t.ok(s.SignUpdate(t.ctx, shaMessage[:50]))
				_, err := s.Sign(t.ctx, shaMessage, sig)
				t.want(err, opActive, notStarted)
				t.cancel(s, pkcs11.CKF_SIGN)
				t.ok(s.SignInit(t.ctx, m, keys.priv))
				t.ok(s.SignUpdate(t.ctx, shaMessage[:50]))
				t.ok(s.SignUpdate(t.ctx, nil))
				t.ok(s.SignUpdate(t.ctx, shaMessage[50:]))
				n, err := s.SignFinal(t.ctx, nil)
				t.ok(err)
				t.equal("the length of the signature", n, 64)
				_, err = s.SignFinal(t.ctx, make([]byte, 10))
				t.want(err, tooSmall)
				n, err = s.SignFinal(t.ctx, sig)
				t.ok(err)
				t.verifyHost(keys.ec, shaDigest, sig[:n])
				_, err = s.SignFinal(t.ctx, sig)
				t.want(err, notStarted)
				t.want(s.SignUpdate(t.ctx, shaMessage), notStarted)
				t.verifyHost(keys.ec, shaDigest, t.sign(s, m, keys.priv, shaMessage))
				_, err = s.SignFinal(t.ctx, sig)
				t.want(err, notStarted)
			}},
		Case{ID: "SGN-10", Name: "a key signs only with mechanisms of its type, if it may and if it is one", Clause: "v2.40 §5.11, C_SignInit",
			Ancestors: []string{"R-13", "R-26", "client 37"}, needs: needs(ecSign, wantsCreate), run: func(t *T) {
				s, keys := t.session(), t.sharedEC()
				cert := t.create(s, certTemplate(t.label("cert"), ecCert))
				t.want(s.SignInit(t.ctx, ecdsaMech, cert), badKey, badKeyType)
				t.want(s.SignInit(t.ctx, ecdsaMech, keys.pub), badKeyType)
				t.want(s.SignInit(t.ctx, ecdsaMech, noObject), badKey)
				t.want(s.SignInit(t.ctx, mech(0x253), keys.priv), badMech)
				t.want(s.SignInit(t.ctx, mech(pkcs11.CKM_SHA256), keys.priv), badMech)
				t.want(s.SignInit(t.ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA, Params: &pkcs11.PSSParams{}}, keys.priv), pkcs11.CKR_MECHANISM_PARAM_INVALID)
				if t.e.has(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_SIGN, 0) {
					t.want(s.SignInit(t.ctx, rsaMech, keys.priv), badKeyType)
				}
				if t.e.has(pkcs11.CKM_SHA256_HMAC, pkcs11.CKF_SIGN, 0) {
					t.want(s.SignInit(t.ctx, mech(pkcs11.CKM_SHA256_HMAC), keys.priv), badKeyType)
				}
				_, err := s.Sign(t.ctx, ecHash1, make([]byte, 64))
				t.want(err, notStarted)
			}},
		Case{ID: "SGN-11", Name: "an abandoned operation does not lend its key to another mechanism", Clause: "reference defect R-08",
			Ancestors: []string{"R-08"}, needs: needs(ecSign, rsaSign), run: func(t *T) {
				s, ec, rsa := t.session(), t.sharedEC(), t.sharedRSA()
				t.ok(s.SignInit(t.ctx, ecdsaMech, ec.priv))
				t.cancel(s, pkcs11.CKF_SIGN)
				t.want(s.SignInit(t.ctx, rsaMech, ec.priv), badKeyType)
				t.ok(s.VerifyInit(t.ctx, rsaMech, rsa.pub))
				t.cancel(s, pkcs11.CKF_VERIFY)
				t.want(s.VerifyInit(t.ctx, ecdsaMech, rsa.pub), badKeyType)
				t.want(s.Verify(t.ctx, ecHash1, make([]byte, 64)), notStarted)
			}},
		Case{ID: "SGN-12", Name: "an error other than a short buffer ends the signature", Clause: "v2.40 §5.2, §5.11",
			Ancestors: []string{"client 33"}, needs: needs(ecSign), run: func(t *T) {
				s, keys := t.session(), t.sharedEC()
				t.ok(s.SignInit(t.ctx, ecdsaMech, keys.priv))
				_, err := s.Sign(t.ctx, nil, make([]byte, 64))
				t.want(err, dataRange)
				_, err = s.Sign(t.ctx, ecHash1, make([]byte, 64))
				t.want(err, notStarted)
				t.ok(s.SignInit(t.ctx, ecdsaMech, keys.priv))
			}},
		Case{ID: "SGN-13", Name: "threads with keys of their own sign at the same time", Clause: "v2.40 §5.11; decisions §7.5",
			Ancestors: []string{"R-31", "R-46", "client 43"}, needs: needs(ecSign), run: loads(func(t *T, l Load) {
				shared := t.session()
				t.threads(l.Threads, func(t *T, i int) {
					s := t.session()
					keys := t.newEC(s, t.label(fmt.Sprintf("thread %d", i)))
					for range l.Loops {
						t.verifyHost(keys.ec, ecHash1, t.sign(s, ecdsaMech, keys.priv, ecHash1))
						// One session of all threads may mix up operations, and do
						// no more.
						t.coded(shared.SignInit(t.ctx, ecdsaMech, keys.priv))
						_, err := shared.Sign(t.ctx, ecHash1, make([]byte, 64))
						t.coded(err)
					}
				})
			})},
		Case{ID: "SGN-14", Name: "RSA-PSS signs with each hash and salt, and wants parameters", Clause: "v2.40 mechanisms §2.1.10",
			Ancestors: []string{"client 36"}, needs: needs(wantsRSA, wantsImport, row(pkcs11.CKM_RSA_PKCS_PSS, pkcs11.CKF_SIGN, 2048)), run: signPSS},
	)
	return append(append(cases, hashedSignatures()...), curveCases()...)
}

var pssHashes = []struct {
	mech pkcs11.MechanismType
	mgf  pkcs11.MGFType
	hash crypto.Hash
}{{pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, crypto.SHA256}, {pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384, crypto.SHA384}, {pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512, crypto.SHA512}}

func signPSS(t *T) {
	s, keys := t.session(), t.sharedRSA()
	pss := func(p any) *pkcs11.Mechanism { return &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: p} }
	for _, h := range pssHashes {
		digest := sum(h.hash, shaMessage)
		for _, salt := range []int{h.hash.Size(), 0, 20} {
			m := pss(&pkcs11.PSSParams{HashAlg: h.mech, MGF: h.mgf, SaltLen: uint64(salt)})
			sig := t.sign(s, m, keys.priv, digest)
			err := rsa.VerifyPSS(keys.rsa, h.hash, digest, sig, &rsa.PSSOptions{SaltLength: saltOption(salt)})
			t.check(err == nil, "crypto/rsa refuses the signature with %v and a salt of %d: %v", h.hash, salt, err)
			t.ok(t.verify(s, m, keys.pub, digest, sig))
			t.want(t.verify(s, m, keys.pub, sum(h.hash, nil), sig), pkcs11.CKR_SIGNATURE_INVALID)
			other := pss(&pkcs11.PSSParams{HashAlg: h.mech, MGF: h.mgf, SaltLen: uint64(salt + 1)})
			t.want(t.verify(s, other, keys.pub, digest, sig), pkcs11.CKR_SIGNATURE_INVALID)
		}
		t.ok(s.SignInit(t.ctx, pss(&pkcs11.PSSParams{HashAlg: h.mech, MGF: h.mgf, SaltLen: 32}), keys.priv))
		_, err := s.Sign(t.ctx, digest[1:], make([]byte, 256))
		t.want(err, dataRange)
	}
	for _, p := range []any{nil, 7, &pkcs11.OAEPParams{}, &pkcs11.PSSParams{}, &pkcs11.PSSParams{HashAlg: pkcs11.CKM_SHA256, MGF: 99, SaltLen: 32},
		&pkcs11.PSSParams{HashAlg: pkcs11.CKM_ECDSA, MGF: pkcs11.CKG_MGF1_SHA256, SaltLen: 32},
		&pkcs11.PSSParams{HashAlg: pkcs11.CKM_SHA256, MGF: pkcs11.CKG_MGF1_SHA256, SaltLen: 1000}} {
		t.want(s.SignInit(t.ctx, pss(p), keys.priv), pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
}

// saltOption is the length of a salt for crypto/rsa, which takes 0 for "any".
func saltOption(n int) int {
	if n == 0 {
		return rsa.PSSSaltLengthAuto
	}
	return n
}

// hashedSignatures are the mechanisms that hash and sign.
func hashedSignatures() []Case {
	type variant struct {
		mech pkcs11.MechanismType
		hash crypto.Hash
		rsa  bool
	}
	var cases []Case
	for i, v := range []variant{
		{pkcs11.CKM_ECDSA_SHA1, crypto.SHA1, false}, {pkcs11.CKM_ECDSA_SHA224, crypto.SHA224, false}, {pkcs11.CKM_ECDSA_SHA256, crypto.SHA256, false},
		{pkcs11.CKM_ECDSA_SHA384, crypto.SHA384, false}, {pkcs11.CKM_ECDSA_SHA512, crypto.SHA512, false},
		{pkcs11.CKM_SHA1_RSA_PKCS, crypto.SHA1, true}, {pkcs11.CKM_SHA224_RSA_PKCS, crypto.SHA224, true}, {pkcs11.CKM_SHA256_RSA_PKCS, crypto.SHA256, true},
		{pkcs11.CKM_SHA384_RSA_PKCS, crypto.SHA384, true}, {pkcs11.CKM_SHA512_RSA_PKCS, crypto.SHA512, true},
	} {
		base := needs(ecSign, row(v.mech, pkcs11.CKF_SIGN, 256))
		if v.rsa {
			base = needs(rsaSign, row(v.mech, pkcs11.CKF_SIGN, 2048))
		}
		cases = append(cases, Case{ID: fmt.Sprintf("SGN-2%d", i), Name: v.mech.String() + " hashes, signs and verifies", Clause: "v2.40 mechanisms §2.1.12, §2.3.7",
			Ancestors: []string{"client 36"}, needs: base, run: func(t *T) {
				s, m := t.session(), mech(v.mech)
				var keys keyPair
				for _, data := range [][]byte{nil, shaMessage, make([]byte, 5000)} {
					var sig []byte
					if v.rsa {
						keys = t.sharedRSA()
						sig = t.sign(s, m, keys.priv, data)
						err := rsa.VerifyPKCS1v15(keys.rsa, v.hash, sum(v.hash, data), sig)
						t.check(err == nil, "crypto/rsa refuses the signature: %v", err)
					} else {
						keys = t.sharedEC()
						sig = t.sign(s, m, keys.priv, data)
						t.verifyHost(keys.ec, sum(v.hash, data), sig)
					}
					if t.e.has(v.mech, pkcs11.CKF_VERIFY, 0) {
						t.ok(t.verify(s, m, keys.pub, data, sig))
						t.want(t.verify(s, m, keys.pub, append(bytes.Clone(data), 0), sig), pkcs11.CKR_SIGNATURE_INVALID)
						t.ok(s.VerifyInit(t.ctx, m, keys.pub))
						t.ok(s.VerifyUpdate(t.ctx, data))
						t.ok(s.VerifyFinal(t.ctx, sig))
					}
				}
			}})
	}
	return suite("sign", false, cases...)
}

// curveCases are the other curves, generated and imported.
func curveCases() []Case {
	var cases []Case
	for i, c := range []elliptic.Curve{elliptic.P384(), elliptic.P521()} {
		bits := uint64(c.Params().BitSize)
		cases = append(cases, Case{ID: fmt.Sprintf("SGN-3%d", i), Name: c.Params().Name + " keys are generated or imported, sign and verify", Clause: "v2.40 mechanisms §2.3",
			Ancestors: []string{"R-11"}, needs: needs(wantsEC, wantsKeys, row(pkcs11.CKM_ECDSA, pkcs11.CKF_SIGN, bits)), run: func(t *T) {
				s, w := t.session(), int(bits+7)/8
				try := func(keys keyPair) {
					for _, digest := range [][]byte{sum(crypto.SHA256, shaMessage), sum(crypto.SHA512, shaMessage)} {
						sig := t.sign(s, ecdsaMech, keys.priv, digest)
						t.equal("the length of the signature", len(sig), 2*w)
						t.verifyHost(keys.ec, digest, sig)
						t.ok(t.verify(s, ecdsaMech, keys.pub, digest, sig))
						sig[2*w-1] ^= 1
						t.want(t.verify(s, ecdsaMech, keys.pub, digest, sig), pkcs11.CKR_SIGNATURE_INVALID)
					}
				}
				if t.e.profile.Import {
					t.step("imported", func() { try(t.importEC(s, t.label("imported"), must(ecdsa.GenerateKey(c, rand.Reader)))) })
				}
				if t.e.profile.Generate && t.e.has(pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKF_GENERATE_KEY_PAIR, bits) {
					t.step("generated", func() {
						public, private := ecGenerateTemplates(t.label("generated"), t.label("generated"))
						pub, priv, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), public.Set(attr(pkcs11.CKA_EC_PARAMS, curveOID(c))), private)
						t.ok(err)
						try(keyPair{pub: pub, priv: priv, ec: t.publicEC(s, pub, c)})
					})
				}
			}})
	}
	cases = append(cases, Case{ID: "SGN-32", Name: "an Ed25519 key is generated, signs and verifies", Clause: "v3.0 mechanisms §2.3.5, §2.3.9",
		needs: needs(wantsGenerate, row(pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN, pkcs11.CKF_GENERATE_KEY_PAIR, 0), row(pkcs11.CKM_EDDSA, pkcs11.CKF_SIGN, 0)), run: func(t *T) {
			s, label := t.session(), t.label("key")
			public := pkcs11.Template{attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_EC_PARAMS, unhex("130c656477617264733235353139")), attr(pkcs11.CKA_LABEL, label)}
			private := pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_LABEL, label)}
			pub, priv, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN), public, private)
			t.ok(err)
			t.equal("CKA_KEY_TYPE", pkcs11.KeyType(t.get(s, priv, pkcs11.CKA_KEY_TYPE).Uint()), pkcs11.CKK_EC_EDWARDS)
			point := t.bytes(s, pub, pkcs11.CKA_EC_POINT)
			t.check(len(point) >= 32, "CKA_EC_POINT has %d bytes", len(point))
			key := ed25519.PublicKey(point[len(point)-32:])
			for _, data := range [][]byte{nil, shaMessage, make([]byte, 5000)} {
				sig := t.sign(s, mech(pkcs11.CKM_EDDSA), priv, data)
				t.check(ed25519.Verify(key, data, sig), "crypto/ed25519 refuses the signature")
				t.ok(t.verify(s, mech(pkcs11.CKM_EDDSA), pub, data, sig))
				sig[0] ^= 1
				t.want(t.verify(s, mech(pkcs11.CKM_EDDSA), pub, data, sig), pkcs11.CKR_SIGNATURE_INVALID)
			}
		}})
	return suite("sign", false, cases...)
}
