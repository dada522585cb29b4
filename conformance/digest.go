package conformance

import (
	"crypto"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha3"
	_ "crypto/sha512"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// hashes are the digests and what Go calls them.
var hashes = []struct {
	mech pkcs11.MechanismType
	hash crypto.Hash
}{
	{pkcs11.CKM_SHA_1, crypto.SHA1}, {pkcs11.CKM_SHA224, crypto.SHA224}, {pkcs11.CKM_SHA256, crypto.SHA256},
	{pkcs11.CKM_SHA384, crypto.SHA384}, {pkcs11.CKM_SHA512, crypto.SHA512},
	{pkcs11.CKM_SHA3_224, crypto.SHA3_224}, {pkcs11.CKM_SHA3_256, crypto.SHA3_256},
	{pkcs11.CKM_SHA3_384, crypto.SHA3_384}, {pkcs11.CKM_SHA3_512, crypto.SHA3_512},
}

func sum(h crypto.Hash, data []byte) []byte {
	d := h.New()
	d.Write(data)
	return d.Sum(nil)
}

func digestCases() []Case {
	cases := suite("digest", false,
		Case{ID: "DIG-01", Name: "a digest in one step, in two and byte by byte is the same", Clause: "v2.40 §5.10",
			Ancestors: []string{"R-25"}, needs: needs(sha256Row), run: func(t *T) {
				s := t.session()
				final := func() {
					digest := make([]byte, 64) // longer than needed
					n, err := s.DigestFinal(t.ctx, digest)
					t.ok(err)
					t.equal("the digest", digest[:n], shaDigest)
				}
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				n, err := s.Digest(t.ctx, shaMessage, nil)
				t.ok(err)
				t.equal("the length of the digest", n, 32)
				n, err = s.Digest(t.ctx, shaMessage, make([]byte, 31))
				t.want(err, tooSmall)
				t.equal("the length that a short buffer is told", n, 32)
				digest := make([]byte, 64)
				n, err = s.Digest(t.ctx, shaMessage, digest)
				t.ok(err)
				t.equal("the digest", digest[:n], shaDigest)
				_, err = s.Digest(t.ctx, shaMessage, digest)
				t.want(err, notStarted)
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				t.ok(s.DigestUpdate(t.ctx, shaMessage[:64]))
				t.ok(s.DigestUpdate(t.ctx, nil))
				t.ok(s.DigestUpdate(t.ctx, []byte{}))
				t.ok(s.DigestUpdate(t.ctx, shaMessage[64:]))
				final()
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				for i := range shaMessage {
					t.ok(s.DigestUpdate(t.ctx, shaMessage[i:i+1]))
				}
				final()
			}},
		Case{ID: "DIG-02", Name: "the digest of nothing is a digest", Clause: "v2.40 §5.10",
			needs: needs(sha256Row), run: func(t *T) {
				s := t.session()
				want := unhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
				digest := make([]byte, 32)
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				_, err := s.DigestFinal(t.ctx, digest)
				t.ok(err)
				t.equal("the digest", digest, want)
				clear(digest)
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				_, err = s.Digest(t.ctx, nil, digest)
				t.ok(err)
				t.equal("the digest", digest, want)
			}},
		Case{ID: "DIG-03", Name: "Digest after DigestUpdate is an error", Clause: "v2.40 §5.10, C_Digest",
			Ancestors: []string{"client 34"}, needs: needs(sha256Row), run: func(t *T) {
				s := t.session()
				t.ok(s.DigestInit(t.ctx, sha256Mech))
				t.ok(s.DigestUpdate(t.ctx, shaMessage))
				_, err := s.Digest(t.ctx, shaMessage, make([]byte, 32))
				t.want(err, opActive, notStarted)
			}},
		Case{ID: "DIG-04", Name: "sessions digest at the same time without each other", Clause: "v2.40 §5.10",
			Ancestors: []string{"client 43"}, needs: needs(sha256Row), run: loads(func(t *T, l Load) {
				t.threads(l.Threads, func(t *T, i int) {
					s := t.session()
					for range l.Loops {
						message := shaMessage[i:]
						t.ok(s.DigestInit(t.ctx, sha256Mech))
						t.ok(s.DigestUpdate(t.ctx, message[:50]))
						t.ok(s.DigestUpdate(t.ctx, message[50:]))
						digest := make([]byte, 32)
						_, err := s.DigestFinal(t.ctx, digest)
						t.ok(err)
						t.equal("the digest", digest, sum(crypto.SHA256, message))
					}
				})
			})},
		Case{ID: "DIG-05", Name: "a digest takes no parameter, and other mechanisms do not digest", Clause: "v2.40 §5.10, CKR_MECHANISM_INVALID",
			Ancestors: []string{"R-26"}, needs: needs(sha256Row), run: func(t *T) {
				s := t.session()
				for _, m := range []pkcs11.MechanismType{pkcs11.CKM_ECDSA, pkcs11.CKM_RSA_PKCS, pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_SHA256_HMAC, pkcs11.CKM_MD5, 0x253} {
					if !t.e.has(m, pkcs11.CKF_DIGEST, 0) {
						t.want(s.DigestInit(t.ctx, mech(m)), badMech)
					}
				}
				t.want(s.DigestUpdate(t.ctx, shaMessage), notStarted)
			}},
		Case{ID: "DIG-06", Name: "two sessions digest in turns", Clause: "v2.40 §5.10",
			Ancestors: []string{"client 43"}, needs: needs(sha256Row), run: func(t *T) {
				a, b := t.session(), t.session()
				t.ok(a.DigestInit(t.ctx, sha256Mech))
				t.ok(b.DigestInit(t.ctx, sha256Mech))
				for i := 0; i < len(shaMessage); i += 16 {
					t.ok(a.DigestUpdate(t.ctx, shaMessage[i:i+16]))
					t.ok(b.DigestUpdate(t.ctx, []byte{byte(i)}))
				}
				digest := make([]byte, 32)
				_, err := b.DigestFinal(t.ctx, digest)
				t.ok(err)
				_, err = a.DigestFinal(t.ctx, digest)
				t.ok(err)
				t.equal("the digest", digest, shaDigest)
			}},
	)
	for i, h := range hashes {
		cases = append(cases, suite("digest", false, Case{
			ID:   "DIG-1" + string(rune('0'+i)),
			Name: h.mech.String() + " digests as Go's " + h.hash.String() + " does", Clause: "v2.40 mechanisms §2.18 ff.; v3.0 §2.25",
			needs: needs(row(h.mech, pkcs11.CKF_DIGEST, 0)),
			run: func(t *T) {
				s := t.session()
				for _, n := range []int{0, 1, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 135, 136, 137, 1000, 70000} {
					data := make([]byte, n)
					for i := range data {
						data[i] = byte(i * 7)
					}
					t.ok(s.DigestInit(t.ctx, mech(h.mech)))
					digest := make([]byte, h.hash.Size())
					n, err := s.Digest(t.ctx, data, digest)
					t.ok(err)
					t.equal("the digest", digest[:n], sum(h.hash, data))
				}
			}})...)
	}
	return cases
}
