package conformance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	badSignature = pkcs11.CKR_SIGNATURE_INVALID
	sigRange     = pkcs11.CKR_SIGNATURE_LEN_RANGE
)

func verifyCases() []Case {
	return suite("verify", false,
		Case{ID: "VFY-01", Name: "an ECDSA signature with anything wrong is refused", Clause: "v2.40 §5.12, C_Verify; mechanisms §2.3.1",
			Ancestors: []string{"R-06", "gap 1", "client 35", "legacy corrupted signature"}, needs: needs(wantsEC, wantsCreate, ecVerifyRow), run: wrongECDSA},
		Case{ID: "VFY-02", Name: "a forged RSA PKCS #1 signature is refused", Clause: "v2.40 §5.12, C_Verify; mechanisms §2.1.6",
			Ancestors: []string{"R-01", "gap 2", "legacy corrupted signature"}, needs: needs(wantsRSA, wantsCreate, row(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_VERIFY, 2048)), run: wrongRSA},
		Case{ID: "VFY-03", Name: "a forged raw RSA signature is refused", Clause: "v2.40 §5.12, C_Verify; mechanisms §2.1.5",
			Ancestors: []string{"R-07", "gap 2"}, needs: needs(wantsRSA, wantsCreate, row(pkcs11.CKM_RSA_X_509, pkcs11.CKF_VERIFY, 2048)), run: func(t *T) {
				s := t.session()
				pub := t.create(s, rsaPublicTemplate(t.label("key"), &rsaKey.PublicKey))
				block := pkcs1Block(rsaInput, 256)
				t.ok(t.verify(s, rsaX509, pub, block, rsaSignature))
				for _, i := range []int{0, 100, 255} {
					t.want(t.verify(s, rsaX509, pub, block, flipped(rsaSignature, i)), badSignature)
					t.want(t.verify(s, rsaX509, pub, flipped(block, i), rsaSignature), badSignature, dataRange, pkcs11.CKR_DATA_INVALID)
				}
				t.want(t.verify(s, rsaX509, pub, block, make([]byte, 256)), badSignature)
				t.want(t.verify(s, rsaX509, pub, block, rsaSignature[:255]), sigRange)
				t.want(t.verify(s, rsaX509, pub, block, append(bytes.Clone(rsaSignature), 0)), sigRange)
			}},
		Case{ID: "VFY-04", Name: "a signature of another key is refused", Clause: "v2.40 §5.12, C_Verify; legacy tests",
			Ancestors: []string{"gap 1", "legacy wrong public key"}, needs: needs(wantsEC, wantsCreate, ecVerifyRow), run: func(t *T) {
				s := t.session()
				other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
				mine := t.create(s, ecPublicTemplate(t.label("mine"), &ecKey.PublicKey))
				theirs := t.create(s, ecPublicTemplate(t.label("theirs"), &other.PublicKey))
				sig := t.signHost(ecKey, ecHash1)
				t.ok(t.verify(s, ecdsaMech, mine, ecHash1, sig))
				t.want(t.verify(s, ecdsaMech, theirs, ecHash1, sig), badSignature)
				t.ok(t.verify(s, ecdsaMech, theirs, ecHash1, t.signHost(other, ecHash1)))
			}},
		Case{ID: "VFY-05", Name: "signatures with leading zeros verify", Clause: "v2.40 mechanisms §2.3.1",
			Ancestors: []string{"R-34", "client 35"}, needs: needs(wantsEC, wantsCreate, ecVerifyRow), run: func(t *T) {
				s := t.session()
				pub := t.create(s, ecPublicTemplate(t.label("key"), &ecKey.PublicKey))
				short := 0
				for i := 0; i < 5000 && short < 4; i++ {
					digest := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
					sig := t.signHost(ecKey, digest[:])
					if sig[0] == 0 || sig[32] == 0 {
						short++
						t.ok(t.verify(s, ecdsaMech, pub, digest[:], sig))
					}
				}
				t.check(short > 0, "no signature of 5000 began with a zero")
			}},
		Case{ID: "VFY-06", Name: "destroying a key ends the verifications with it", Clause: "decisions §7.1",
			Ancestors: []string{"R-06", "R-09", "gap 11"}, needs: needs(wantsEC, wantsCreate, wantsDestroy, ecVerifyRow), run: func(t *T) {
				a, b := t.session(), t.session()
				pub := t.create(a, ecPublicTemplate(t.label("key"), &ecKey.PublicKey))
				t.ok(a.VerifyInit(t.ctx, ecdsaMech, pub))
				t.ok(b.DestroyObject(t.ctx, pub))
				t.want(a.Verify(t.ctx, ecHash1, t.signHost(ecKey, ecHash1)), notStarted)
				t.want(a.VerifyInit(t.ctx, ecdsaMech, pub), badKey)
			}},
		Case{ID: "VFY-07", Name: "a key verifies only with mechanisms of its type, if it may and if it is one", Clause: "v2.40 §5.12, C_VerifyInit",
			Ancestors: []string{"client 37", "R-13"}, needs: needs(wantsEC, wantsCreate, ecVerifyRow), run: func(t *T) {
				s := t.session()
				pub := t.create(s, ecPublicTemplate(t.label("key"), &ecKey.PublicKey))
				mute := t.create(s, ecPublicTemplate(t.label("mute"), &ecKey.PublicKey).Set(attr(pkcs11.CKA_VERIFY, false)))
				cert := t.create(s, certTemplate(t.label("cert"), ecCert))
				t.want(s.VerifyInit(t.ctx, ecdsaMech, mute), notAllowed)
				t.want(s.VerifyInit(t.ctx, ecdsaMech, cert), badKey, badKeyType)
				t.want(s.VerifyInit(t.ctx, ecdsaMech, noObject), badKey)
				t.want(s.VerifyInit(t.ctx, mech(0x253), pub), badMech)
				if t.e.has(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_VERIFY, 0) {
					t.want(s.VerifyInit(t.ctx, rsaMech, pub), badKeyType)
				}
				t.want(s.Verify(t.ctx, ecHash1, make([]byte, 64)), notStarted)
			}},
		Case{ID: "VFY-08", Name: "a verification ends whatever comes of it", Clause: "v2.40 §5.12, C_Verify",
			Ancestors: []string{"client 33", "client 34"}, needs: needs(wantsEC, wantsCreate, ecVerifyRow, row(pkcs11.CKM_ECDSA_SHA256, pkcs11.CKF_VERIFY, 256)), run: func(t *T) {
				s, m := t.session(), mech(pkcs11.CKM_ECDSA_SHA256)
				pub := t.create(s, ecPublicTemplate(t.label("key"), &ecKey.PublicKey))
				sig := t.signHost(ecKey, shaDigest)
				for _, bad := range [][]byte{flipped(sig, 3), sig[:63], nil} {
					t.want(t.verify(s, m, pub, shaMessage, bad), badSignature, sigRange)
					t.want(s.Verify(t.ctx, shaMessage, sig), notStarted)
				}
				t.ok(s.VerifyInit(t.ctx, m, pub))
				t.ok(s.VerifyUpdate(t.ctx, shaMessage[:9]))
				t.ok(s.VerifyUpdate(t.ctx, shaMessage[9:]))
				t.ok(s.VerifyFinal(t.ctx, sig))
				t.want(s.VerifyFinal(t.ctx, sig), notStarted)
				t.ok(s.VerifyInit(t.ctx, m, pub))
				t.ok(s.VerifyUpdate(t.ctx, shaMessage[:9]))
				t.want(s.VerifyFinal(t.ctx, sig), badSignature)
				t.ok(s.VerifyInit(t.ctx, m, pub))
				t.ok(s.VerifyUpdate(t.ctx, shaMessage))
				t.want(s.Verify(t.ctx, shaMessage, sig), opActive, notStarted)
			}},
		Case{ID: "VFY-09", Name: "a PSS signature with anything wrong is refused", Clause: "v2.40 mechanisms §2.1.10",
			Ancestors: []string{"gap 2"}, needs: needs(wantsRSA, wantsCreate, row(pkcs11.CKM_RSA_PKCS_PSS, pkcs11.CKF_VERIFY, 2048)), run: func(t *T) {
				s := t.session()
				pub := t.create(s, rsaPublicTemplate(t.label("key"), &rsaKey.PublicKey))
				m := &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: &pkcs11.PSSParams{HashAlg: pkcs11.CKM_SHA256, MGF: pkcs11.CKG_MGF1_SHA256, SaltLen: 32}}
				sig := must(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, shaDigest, &rsa.PSSOptions{SaltLength: 32}))
				t.ok(t.verify(s, m, pub, shaDigest, sig))
				for _, i := range []int{0, 128, 255} {
					t.want(t.verify(s, m, pub, shaDigest, flipped(sig, i)), badSignature)
				}
				t.want(t.verify(s, m, pub, flipped(shaDigest, 0), sig), badSignature)
				t.want(t.verify(s, m, pub, shaDigest, rsaSignature), badSignature)
				t.want(t.verify(s, m, pub, shaDigest, sig[:255]), sigRange)
				t.want(t.verify(s, m, pub, shaDigest[:31], sig), dataRange, badSignature)
			}},
	)
}

func flipped(b []byte, i int) []byte {
	c := bytes.Clone(b)
	c[i] ^= 0x40
	return c
}

func wrongECDSA(t *T) {
	s := t.session()
	pub := t.create(s, ecPublicTemplate(t.label("key"), &ecKey.PublicKey))
	digest := sha256.Sum256(shaMessage)
	sig := t.signHost(ecKey, digest[:])
	t.ok(t.verify(s, ecdsaMech, pub, digest[:], sig))
	n, zero, full := elliptic.P256().Params().N, make([]byte, 32), bytes.Repeat([]byte{0xff}, 32)
	rs := func(r, s []byte) []byte { return append(bytes.Clone(r), s...) }
	r, z := sig[:32], sig[32:]
	other := new(big.Int).Sub(n, new(big.Int).SetBytes(z)) // n − s: the other signature that Verify takes
	for _, c := range []struct {
		what string
		sig  []byte
		code pkcs11.Error
	}{
		{"a bit of r flipped", flipped(sig, 0), badSignature},
		{"a bit of s flipped", flipped(sig, 63), badSignature},
		{"r = 0", rs(zero, z), badSignature},
		{"s = 0", rs(r, zero), badSignature},
		{"r = s = 0", make([]byte, 64), badSignature},
		{"r = n", rs(n.Bytes(), z), badSignature},
		{"s = n", rs(r, n.Bytes()), badSignature},
		{"s ≥ n", rs(r, full), badSignature},
		{"r and s full of ones", rs(full, full), badSignature},
		{"r and s swapped", rs(z, r), badSignature},
		{"a byte too short", sig[:63], sigRange},
		{"a byte too long", append(bytes.Clone(sig), 0), sigRange},
		{"half of it", sig[:32], sigRange},
		{"twice", append(bytes.Clone(sig), sig...), sigRange},
		{"one byte", []byte{1}, sigRange},
		{"nothing", nil, sigRange},
	} {
		t.step(c.what, func() { t.want(t.verify(s, ecdsaMech, pub, digest[:], c.sig), c.code) })
	}
	t.ok(t.verify(s, ecdsaMech, pub, digest[:], rs(r, other.FillBytes(make([]byte, 32)))))
	for i := range digest {
		t.step(fmt.Sprintf("byte %d of the digest changed", i), func() {
			t.want(t.verify(s, ecdsaMech, pub, flipped(digest[:], i), sig), badSignature)
		})
	}
	t.want(t.verify(s, ecdsaMech, pub, digest[:31], sig), badSignature, dataRange)
	t.want(t.verify(s, ecdsaMech, pub, nil, sig), dataRange)
}

func wrongRSA(t *T) {
	s := t.session()
	pub := t.create(s, rsaPublicTemplate(t.label("key"), &rsaKey.PublicKey))
	t.ok(t.verify(s, rsaMech, pub, rsaInput, rsaSignature))
	// Signatures over blocks that are almost right, made with the private key.
	sign := func(block []byte) []byte {
		return new(big.Int).Exp(bigInt(block), rsaKey.D, rsaKey.N).FillBytes(make([]byte, 256))
	}
	block := pkcs1Block(rsaInput, 256)
	short := append(pkcs1Block(rsaInput, 200), make([]byte, 56)...) // Bleichenbacher's: little padding, rubbish behind
	type2 := bytes.Clone(block)
	type2[1] = 2
	hole := bytes.Clone(block)
	hole[10] = 0xfe
	for _, c := range []struct {
		what string
		data []byte
		sig  []byte
		code []pkcs11.Error
	}{
		{"zeros", rsaInput, make([]byte, 256), []pkcs11.Error{badSignature}},
		{"a bit flipped", rsaInput, flipped(rsaSignature, 200), []pkcs11.Error{badSignature}},
		{"another digest", append(bytes.Clone(sha256Prefix), ecHash1...), rsaSignature, []pkcs11.Error{badSignature}},
		{"the digest without DigestInfo", make([]byte, 32), rsaSignature, []pkcs11.Error{badSignature}},
		{"nothing signed", nil, rsaSignature, []pkcs11.Error{badSignature, dataRange}},
		{"the block itself", rsaInput, block, []pkcs11.Error{badSignature}},
		{"rubbish behind the digest", rsaInput, sign(short), []pkcs11.Error{badSignature}},
		{"padding of type 2", rsaInput, sign(type2), []pkcs11.Error{badSignature}},
		{"a hole in the padding", rsaInput, sign(hole), []pkcs11.Error{badSignature}},
		{"the modulus", rsaInput, rsaKey.N.Bytes(), []pkcs11.Error{badSignature}},
		{"a byte too short", rsaInput, rsaSignature[:255], []pkcs11.Error{sigRange}},
		{"a byte too long", rsaInput, append(bytes.Clone(rsaSignature), 0), []pkcs11.Error{sigRange}},
		{"nothing", rsaInput, nil, []pkcs11.Error{sigRange}},
		{"data that does not fit", make([]byte, 246), rsaSignature, []pkcs11.Error{dataRange, badSignature}},
	} {
		t.step(c.what, func() { t.want(t.verify(s, rsaMech, pub, c.data, c.sig), c.code...) })
	}
	t.ok(t.verify(s, rsaMech, pub, rsaInput, sign(block)))
}
