package wycheproof

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A publicInfo is a SubjectPublicKeyInfo.
type publicInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	PublicKey asn1.BitString
}

func parseInfo(f *file, der []byte) publicInfo {
	f.t.Helper()
	var info publicInfo
	rest, err := asn1.Unmarshal(der, &info)
	must(f.t, err)
	if len(rest) > 0 {
		f.t.Fatal("more than a public key")
	}
	return info
}

func oid(f *file, id asn1.ObjectIdentifier) []byte {
	f.t.Helper()
	b, err := asn1.Marshal(id)
	must(f.t, err)
	return b
}

var curves = map[string]struct {
	oid  asn1.ObjectIdentifier
	size int // bytes of a number
}{
	"secp256r1":  {asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, 32},
	"secp384r1":  {asn1.ObjectIdentifier{1, 3, 132, 0, 34}, 48},
	"secp521r1":  {asn1.ObjectIdentifier{1, 3, 132, 0, 35}, 66},
	"ed25519":    {asn1.ObjectIdentifier{1, 3, 101, 112}, 32},
	"curve25519": {asn1.ObjectIdentifier{1, 3, 101, 110}, 32},
	// Those that are refused.
	"curve448":        {asn1.ObjectIdentifier{1, 3, 101, 111}, 56},
	"secp224r1":       {asn1.ObjectIdentifier{1, 3, 132, 0, 33}, 28},
	"secp256k1":       {asn1.ObjectIdentifier{1, 3, 132, 0, 10}, 32},
	"sect283k1":       {asn1.ObjectIdentifier{1, 3, 132, 0, 16}, 36},
	"sect283r1":       {asn1.ObjectIdentifier{1, 3, 132, 0, 17}, 36},
	"sect409k1":       {asn1.ObjectIdentifier{1, 3, 132, 0, 36}, 52},
	"sect409r1":       {asn1.ObjectIdentifier{1, 3, 132, 0, 37}, 52},
	"sect571k1":       {asn1.ObjectIdentifier{1, 3, 132, 0, 38}, 72},
	"sect571r1":       {asn1.ObjectIdentifier{1, 3, 132, 0, 39}, 72},
	"brainpoolP224r1": {asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 5}, 28},
	"brainpoolP256r1": {asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 7}, 32},
	"brainpoolP320r1": {asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 9}, 40},
	"brainpoolP384r1": {asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 11}, 48},
	"brainpoolP512r1": {asn1.ObjectIdentifier{1, 3, 36, 3, 3, 2, 8, 1, 1, 13}, 64},
}

// A number of n bytes, without the sign byte that some vectors have.
func padded(b []byte, n int) []byte {
	for len(b) > n && b[0] == 0 {
		b = b[1:]
	}
	return append(make([]byte, max(n-len(b), 0)), b...)
}

type ecdsaGroup struct {
	PublicKeyDer hexBytes
	Sha          string
	Tests        []struct {
		vector
		Msg, Sig hexBytes
	}
}

var badSignature = []pkcs11.Error{pkcs11.CKR_SIGNATURE_INVALID, pkcs11.CKR_SIGNATURE_LEN_RANGE}

// runECDSA verifies r‖s, and the same made of DER where it is DER of two numbers
// that fit.
func runECDSA(f *file) {
	for _, g := range groups[ecdsaGroup](f.t, f.name) {
		info := parseInfo(f, g.PublicKeyDer)
		key, err := f.create(pkcs11.CKO_PUBLIC_KEY, pkcs11.CKK_EC, pkcs11.CKA_EC_PARAMS, info.Algorithm.Parameters.FullBytes, pkcs11.CKA_EC_POINT, info.PublicKey.Bytes)
		must(f.t, err)
		size := (len(info.PublicKey.Bytes) - 1) / 2
		for _, v := range g.Tests {
			sig := []byte(v.Sig)
			if !strings.Contains(f.name, "p1363") {
				var ok bool
				if sig, ok = raw(sig, size); !ok {
					f.judge(v.vector, "not-raw", nil)
					continue
				}
			}
			f.judge(v.vector, "", f.verify(mech(hashes[g.Sha].ecdsa, nil), key, v.Msg, sig), badSignature...)
		}
		f.destroy(key)
	}
}

// raw returns r‖s of a DER signature, if that is possible.
func raw(der []byte, size int) ([]byte, bool) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 || sig.R.Sign() < 0 || sig.S.Sign() < 0 || sig.R.BitLen() > 8*size || sig.S.BitLen() > 8*size {
		return nil, false
	}
	again, err := asn1.Marshal(sig)
	if err != nil || string(again) != string(der) {
		return nil, false
	}
	out := make([]byte, 2*size)
	sig.R.FillBytes(out[:size])
	sig.S.FillBytes(out[size:])
	return out, true
}

func runEd25519(f *file) {
	for _, g := range groups[struct {
		PublicKey struct{ PK hexBytes }
		Tests     []struct {
			vector
			Msg, Sig hexBytes
		}
	}](f.t, f.name) {
		key, err := f.create(pkcs11.CKO_PUBLIC_KEY, pkcs11.CKK_EC_EDWARDS, pkcs11.CKA_EC_PARAMS, oid(f, curves["ed25519"].oid), pkcs11.CKA_EC_POINT, []byte(g.PublicKey.PK))
		must(f.t, err)
		for _, v := range g.Tests {
			f.judge(v.vector, "", f.verify(mech(pkcs11.CKM_EDDSA, nil), key, v.Msg, v.Sig), badSignature...)
		}
		f.destroy(key)
	}
}

type ecdhGroup struct {
	Curve string
	Tests []struct {
		vector
		Public, Private, Shared hexBytes
	}
}

func runECDH(f *file) { agree(f, pkcs11.CKK_EC) }

func runX25519(f *file) { agree(f, pkcs11.CKK_EC_MONTGOMERY) }

func agree(f *file, typ pkcs11.KeyType) {
	for _, g := range groups[ecdhGroup](f.t, f.name) {
		curve := curves[g.Curve]
		for _, v := range g.Tests {
			key, err := f.create(pkcs11.CKO_PRIVATE_KEY, typ, pkcs11.CKA_EC_PARAMS, oid(f, curve.oid), pkcs11.CKA_VALUE, padded(v.Private, curve.size), pkcs11.CKA_DERIVE, true)
			must(f.t, err)
			got, err := f.value(f.DeriveKey(f.t.Context(), mech(pkcs11.CKM_ECDH1_DERIVE, &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: v.Public}), key,
				template(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY, pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET, pkcs11.CKA_SENSITIVE, false, pkcs11.CKA_EXTRACTABLE, true)))
			f.judge(v.vector, "", compare(got, v.Shared, err), pkcs11.CKR_MECHANISM_PARAM_INVALID)
			f.destroy(key)
		}
	}
}

// runOtherPublic wants keys on curves that are not supported to be refused.
func runOtherPublic(f *file) {
	for _, g := range groups[ecdsaGroup](f.t, f.name) {
		info := parseInfo(f, g.PublicKeyDer)
		typ, params := pkcs11.CKK_EC, info.Algorithm.Parameters.FullBytes
		if len(params) == 0 {
			typ, params = pkcs11.CKK_EC_EDWARDS, oid(f, info.Algorithm.Algorithm)
		}
		_, err := f.create(pkcs11.CKO_PUBLIC_KEY, typ, pkcs11.CKA_EC_PARAMS, params, pkcs11.CKA_EC_POINT, info.PublicKey.Bytes)
		for _, v := range g.Tests {
			f.judge(v.vector, "other-curve", err)
		}
	}
}

func runOtherPrivate(f *file) {
	for _, g := range groups[ecdhGroup](f.t, f.name) {
		curve, ok := curves[g.Curve]
		if !ok {
			f.t.Fatalf("the curve %q", g.Curve)
		}
		typ := pkcs11.CKK_EC
		if g.Curve == "curve448" {
			typ = pkcs11.CKK_EC_MONTGOMERY
		}
		for _, v := range g.Tests {
			_, err := f.create(pkcs11.CKO_PRIVATE_KEY, typ, pkcs11.CKA_EC_PARAMS, oid(f, curve.oid), pkcs11.CKA_VALUE, padded(v.Private, curve.size), pkcs11.CKA_DERIVE, true)
			f.judge(v.vector, "other-curve", err)
		}
	}
}
