package rules_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"math/big"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

//go:embed testdata/qualification.pem
var qualification []byte

var p256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

var (
	testEC      *ecdsa.PrivateKey
	testRSA     *rsa.PrivateKey
	testECCert  []byte
	testRSACert []byte
)

func init() {
	rest := qualification
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return
		}
		var err error
		switch b.Type {
		case "EC PRIVATE KEY":
			testEC, err = x509.ParseECPrivateKey(b.Bytes)
		case "RSA PRIVATE KEY":
			testRSA, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		case "CERTIFICATE":
			if testECCert == nil {
				testECCert = b.Bytes
			} else {
				testRSACert = b.Bytes
			}
		}
		if err != nil {
			panic(err)
		}
	}
}

func ecPrivate() pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_LABEL, "Device Priv TLS Key"),
		attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_EC_PARAMS, p256),
		attr(pkcs11.CKA_VALUE, testEC.D.FillBytes(make([]byte, 32))),
	}
}

func ecPublic() pkcs11.Template {
	point, err := testEC.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_VERIFY, true),
		attr(pkcs11.CKA_EC_PARAMS, p256), attr(pkcs11.CKA_EC_POINT, append([]byte{4, 65}, point...)), attr(pkcs11.CKA_LABEL, "Device Pub TLS Key"),
	}
}

func rsaPrivate() pkcs11.Template {
	number := func(n *big.Int, size int) []byte { return n.FillBytes(make([]byte, size)) }
	k := testRSA
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA), attr(pkcs11.CKA_LABEL, "Device Priv TLS Key"),
		attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_SIGN, true),
		attr(pkcs11.CKA_MODULUS, number(k.N, 256)), attr(pkcs11.CKA_PRIVATE_EXPONENT, number(k.D, 256)), attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
		attr(pkcs11.CKA_PRIME_1, number(k.Primes[0], 128)), attr(pkcs11.CKA_PRIME_2, number(k.Primes[1], 128)),
		attr(pkcs11.CKA_EXPONENT_1, number(k.Precomputed.Dp, 128)), attr(pkcs11.CKA_EXPONENT_2, number(k.Precomputed.Dq, 128)),
		attr(pkcs11.CKA_COEFFICIENT, number(k.Precomputed.Qinv, 128)),
	}
}

func rsaPublic() pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA), attr(pkcs11.CKA_TOKEN, true),
		attr(pkcs11.CKA_MODULUS, testRSA.N.Bytes()), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}), attr(pkcs11.CKA_LABEL, "Device Pub TLS Key"),
	}
}

func certificate() pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), attr(pkcs11.CKA_SUBJECT, "TestSubject"), attr(pkcs11.CKA_VALUE, testECCert), attr(pkcs11.CKA_LABEL, "Device Cert"),
		attr(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509), attr(pkcs11.CKA_TOKEN, true),
	}
}

func hmacKey() pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_SHA256_HMAC), attr(pkcs11.CKA_LABEL, "HMAC Key"), attr(pkcs11.CKA_TOKEN, true),
		attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_VALUE, "abcdabcdabcdabcdabcdabcdabcdabcd"),
	}
}

func cmacKey() pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES), attr(pkcs11.CKA_LABEL, "CMAC Key"), attr(pkcs11.CKA_TOKEN, true),
		attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_VALUE, "1122334411223344"),
	}
}

func aesKey() pkcs11.Template { return without(cmacKey(), pkcs11.CKA_SIGN, pkcs11.CKA_VERIFY) }

func dataObject() pkcs11.Template {
	return pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), attr(pkcs11.CKA_VALUE, "hello")}
}

// absent are the attributes that a complete object need not have.
func absent(typ pkcs11.AttributeType) bool {
	switch typ {
	case pkcs11.CKA_UNIQUE_ID, pkcs11.CKA_ALLOWED_MECHANISMS, pkcs11.CKA_WRAP_TEMPLATE, pkcs11.CKA_UNWRAP_TEMPLATE, pkcs11.CKA_DERIVE_TEMPLATE:
		return true
	}
	return false
}

// complete checks that a template has every attribute of its class and key type
// that it can have, once, and no other.
func complete(t *testing.T, got pkcs11.Template) {
	t.Helper()
	class, k := pkcs11.ObjectClass(got.Uint(pkcs11.CKA_CLASS)), pkcs11.KeyType(got.Uint(pkcs11.CKA_KEY_TYPE))
	seen := map[pkcs11.AttributeType]bool{}
	for _, a := range got {
		if seen[a.Type] {
			t.Errorf("%v is there twice", a.Type)
		}
		seen[a.Type] = true
		if !rules.Known(class, k, a.Type) {
			t.Errorf("%v is not an attribute of this class and key type", a.Type)
		}
		if c, err := a.Canonical(); err != nil || c.Type != a.Type {
			t.Errorf("%v is not canonical: %v", a.Type, err)
		}
	}
	private := class == pkcs11.CKO_PRIVATE_KEY
	for _, typ := range rules.Attributes(class, k) {
		switch {
		case seen[typ] || absent(typ):
		case private && (typ == pkcs11.CKA_ID || typ == pkcs11.CKA_PUBLIC_KEY_INFO || typ == pkcs11.CKA_EC_POINT):
			// The driver adds them: it has the key.
		case private && rules.Sensitive(class, k, typ):
		default:
			t.Errorf("%v is absent", typ)
		}
	}
}

func sha1Start(b []byte) []byte {
	sum := sha1.Sum(b)
	return sum[:3]
}
