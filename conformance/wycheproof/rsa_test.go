package wycheproof

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// hashes are the mechanisms of each hash function, by the vectors' names.
var hashes = map[string]struct {
	hash, ecdsa, rsa, pss pkcs11.MechanismType
	mgf                   pkcs11.MGFType
	oid                   int // under 2.16.840.1.101.3.4.2
}{
	"SHA-1":       {pkcs11.CKM_SHA_1, pkcs11.CKM_ECDSA_SHA1, pkcs11.CKM_SHA1_RSA_PKCS, pkcs11.CKM_SHA1_RSA_PKCS_PSS, pkcs11.CKG_MGF1_SHA1, 0},
	"SHA-224":     {pkcs11.CKM_SHA224, pkcs11.CKM_ECDSA_SHA224, pkcs11.CKM_SHA224_RSA_PKCS, pkcs11.CKM_SHA224_RSA_PKCS_PSS, pkcs11.CKG_MGF1_SHA224, 4},
	"SHA-256":     {pkcs11.CKM_SHA256, pkcs11.CKM_ECDSA_SHA256, pkcs11.CKM_SHA256_RSA_PKCS, pkcs11.CKM_SHA256_RSA_PKCS_PSS, pkcs11.CKG_MGF1_SHA256, 1},
	"SHA-384":     {pkcs11.CKM_SHA384, pkcs11.CKM_ECDSA_SHA384, pkcs11.CKM_SHA384_RSA_PKCS, pkcs11.CKM_SHA384_RSA_PKCS_PSS, pkcs11.CKG_MGF1_SHA384, 2},
	"SHA-512":     {pkcs11.CKM_SHA512, pkcs11.CKM_ECDSA_SHA512, pkcs11.CKM_SHA512_RSA_PKCS, pkcs11.CKM_SHA512_RSA_PKCS_PSS, pkcs11.CKG_MGF1_SHA512, 3},
	"SHA-512/224": {pkcs11.CKM_SHA512_224, 0, 0, 0, 0, 5},
	"SHA-512/256": {pkcs11.CKM_SHA512_256, 0, 0, 0, 0, 6},
	"SHA3-224":    {pkcs11.CKM_SHA3_224, pkcs11.CKM_ECDSA_SHA3_224, pkcs11.CKM_SHA3_224_RSA_PKCS, pkcs11.CKM_SHA3_224_RSA_PKCS_PSS, pkcs11.CKG_MGF1_SHA3_224, 7},
	"SHA3-256":    {pkcs11.CKM_SHA3_256, pkcs11.CKM_ECDSA_SHA3_256, pkcs11.CKM_SHA3_256_RSA_PKCS, pkcs11.CKM_SHA3_256_RSA_PKCS_PSS, pkcs11.CKG_MGF1_SHA3_256, 8},
	"SHA3-384":    {pkcs11.CKM_SHA3_384, pkcs11.CKM_ECDSA_SHA3_384, pkcs11.CKM_SHA3_384_RSA_PKCS, pkcs11.CKM_SHA3_384_RSA_PKCS_PSS, pkcs11.CKG_MGF1_SHA3_384, 9},
	"SHA3-512":    {pkcs11.CKM_SHA3_512, pkcs11.CKM_ECDSA_SHA3_512, pkcs11.CKM_SHA3_512_RSA_PKCS, pkcs11.CKM_SHA3_512_RSA_PKCS_PSS, pkcs11.CKG_MGF1_SHA3_512, 10},
}

type rsaPublic struct{ Modulus, PublicExponent hexBytes }

type rsaPrivate struct {
	rsaPublic
	PrivateExponent, Prime1, Prime2, Exponent1, Exponent2, Coefficient hexBytes
	OtherPrimeInfos                                                    [][]string
}

// private imports a private key, unless it is the one before: with all
// components, or with the three that are enough.
func (f *file) private(k rsaPrivate) (pkcs11.ObjectHandle, error) {
	if bytes.Equal(k.Modulus, f.modulus) {
		return f.key, nil
	}
	f.destroy(f.key)
	attrs := []any{pkcs11.CKA_MODULUS, []byte(k.Modulus), pkcs11.CKA_PUBLIC_EXPONENT, []byte(k.PublicExponent), pkcs11.CKA_PRIVATE_EXPONENT, []byte(k.PrivateExponent)}
	if len(k.Prime1) > 0 && k.OtherPrimeInfos == nil {
		attrs = append(attrs, pkcs11.CKA_PRIME_1, []byte(k.Prime1), pkcs11.CKA_PRIME_2, []byte(k.Prime2),
			pkcs11.CKA_EXPONENT_1, []byte(k.Exponent1), pkcs11.CKA_EXPONENT_2, []byte(k.Exponent2), pkcs11.CKA_COEFFICIENT, []byte(k.Coefficient))
	}
	h, err := f.create(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_RSA, attrs...)
	f.key, f.modulus = h, k.Modulus
	return h, err
}

// privateException says which exception the use of a private key is.
func privateException(k rsaPrivate) string {
	n := new(big.Int).SetBytes(k.Modulus).BitLen()
	switch {
	case k.OtherPrimeInfos != nil:
		return "three-primes"
	case n < 2048 || n > 4096:
		return "rsa-size"
	}
	return ""
}

// runRSAVerify verifies PKCS #1 v1.5 and PSS signatures, with the mechanism that
// hashes, or where there is none with the one that takes a digest.
func runRSAVerify(f *file) {
	for _, g := range groups[struct {
		PublicKey    rsaPublic
		PublicKeyAsn hexBytes
		Sha          string
		Mgf, MgfSha  string
		SLen         uint64
		Tests        []struct {
			vector
			Msg, Sig hexBytes
		}
	}](f.t, f.name) {
		hash, ok := hashes[g.Sha]
		if !ok {
			f.t.Fatalf("the hash %q", g.Sha)
		}
		if len(g.PublicKey.Modulus) == 0 {
			var k struct{ N, E *big.Int }
			_, err := asn1.Unmarshal(g.PublicKeyAsn, &k)
			must(f.t, err)
			g.PublicKey = rsaPublic{k.N.Bytes(), k.E.Bytes()}
		}
		key, err := f.create(pkcs11.CKO_PUBLIC_KEY, pkcs11.CKK_RSA, pkcs11.CKA_MODULUS, []byte(g.PublicKey.Modulus), pkcs11.CKA_PUBLIC_EXPONENT, []byte(g.PublicKey.PublicExponent))
		must(f.t, err)
		m := mech(hash.rsa, nil)
		prepare := func(msg []byte) []byte { return msg }
		except := ""
		switch {
		case strings.HasPrefix(f.name, "rsa_pss"):
			m = mech(hash.pss, &pkcs11.PSSParams{HashAlg: hash.hash, MGF: hashes[g.MgfSha].mgf, SaltLen: g.SLen})
			if hashes[g.MgfSha].mgf == 0 {
				except = "no-mgf"
			}
		case hash.rsa == 0:
			m = mech(pkcs11.CKM_RSA_PKCS, nil)
			prepare = func(msg []byte) []byte { return f.digestInfo(g.Sha, msg) }
		}
		for _, v := range g.Tests {
			if except != "" {
				f.judge(v.vector, except, nil)
				continue
			}
			f.judge(v.vector, "", f.verify(m, key, prepare(v.Msg), v.Sig), badSignature...)
		}
		f.destroy(key)
	}
}

// digestInfo is what CKM_RSA_PKCS signs.
func (f *file) digestInfo(hash string, msg []byte) []byte {
	sum, err := f.digest(hashes[hash].hash, msg)
	must(f.t, err)
	b, err := asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, hashes[hash].oid}, Parameters: asn1.NullRawValue}, sum})
	must(f.t, err)
	return b
}

// runRSASign makes PKCS #1 v1.5 signatures, which are always the same.
func runRSASign(f *file) {
	for _, g := range groups[struct {
		PrivateKey rsaPrivate
		Sha        string
		Tests      []struct {
			vector
			Msg, Sig hexBytes
		}
	}](f.t, f.name) {
		key, err := f.private(g.PrivateKey)
		must(f.t, err)
		for _, v := range g.Tests {
			got, err := f.sign(mech(hashes[g.Sha].rsa, nil), key, v.Msg)
			f.judge(v.vector, privateException(g.PrivateKey), compare(got, v.Sig, err))
		}
	}
}

// runRSADecrypt decrypts with PKCS #1 v1.5 and OAEP, and encrypts back and forth.
func runRSADecrypt(f *file) {
	for _, g := range groups[struct {
		PrivateKey  rsaPrivate
		Sha, MgfSha string
		Tests       []struct {
			vector
			Msg, Ct, Label hexBytes
		}
	}](f.t, f.name) {
		k := g.PrivateKey
		key, err := f.private(k)
		except := privateException(k)
		if except == "three-primes" {
			for _, v := range g.Tests {
				f.judge(v.vector, except, err)
			}
			continue
		}
		must(f.t, err)
		pub, err := f.create(pkcs11.CKO_PUBLIC_KEY, pkcs11.CKK_RSA, pkcs11.CKA_MODULUS, []byte(k.Modulus), pkcs11.CKA_PUBLIC_EXPONENT, []byte(k.PublicExponent))
		must(f.t, err)
		for _, v := range g.Tests {
			m := mech(pkcs11.CKM_RSA_PKCS, nil)
			if g.Sha != "" {
				p := &pkcs11.OAEPParams{HashAlg: hashes[g.Sha].hash, MGF: hashes[g.MgfSha].mgf, Source: pkcs11.CKZ_DATA_SPECIFIED, Label: v.Label}
				if m = mech(pkcs11.CKM_RSA_PKCS_OAEP, p); p.MGF == 0 {
					f.judge(v.vector, "no-mgf", nil)
					continue
				}
			}
			got, err := f.decrypt(m, key, v.Ct)
			f.judge(v.vector, except, compare(got, v.Msg, err), pkcs11.CKR_ENCRYPTED_DATA_INVALID, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE)
			if v.Result == "valid" && except == "" && v.ID%8 == 0 {
				sealed, err := f.once(m, pub, v.Msg)
				must(f.t, err)
				if got, err := f.decrypt(m, key, sealed); compare(got, v.Msg, err) != nil {
					f.t.Errorf("%s %d: encrypted and decrypted: %v", f.name, v.ID, compare(got, v.Msg, err))
				}
			}
		}
		f.destroy(pub)
	}
}

// once encrypts with padding that is random, so that there is nothing to compare.
func (s *session) once(m *pkcs11.Mechanism, key pkcs11.ObjectHandle, plain []byte) ([]byte, error) {
	if err := s.EncryptInit(s.t.Context(), m, key); err != nil {
		return nil, err
	}
	return output(func(out []byte) (int, error) { return s.Encrypt(s.t.Context(), plain, out) })
}
