package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	_ "embed"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The credentials of the qualification tests. They are public, and no secret.
var (
	//go:embed testdata/ec-key.pem
	ecKeyPEM []byte
	//go:embed testdata/ec-cert.pem
	ecCertPEM []byte
	//go:embed testdata/rsa-key.pem
	rsaKeyPEM []byte
	//go:embed testdata/rsa-cert.pem
	rsaCertPEM []byte

	ecKey   = must(x509.ParseECPrivateKey(der(ecKeyPEM)))
	rsaKey  = must(x509.ParsePKCS1PrivateKey(der(rsaKeyPEM)))
	ecCert  = der(ecCertPEM)
	rsaCert = der(rsaCertPEM)
)

// The vectors of the qualification tests.
var (
	shaMessage = []byte("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu")
	shaDigest  = unhex("cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1")

	sha256Prefix = unhex("3031300d060960864801650304020105000420") // DigestInfo, less the hash
	rsaInput     = append(append([]byte(nil), sha256Prefix...), make([]byte, 32)...)
	rsaSignature = unhex("1c3a73e56c8eb3ef49b76c0b7df4e7f0e66e5b3f516616e0b39233779f638c9e34f2c47cb91763c65db3ca326fb0c468" +
		"c4460c2b52318938d736041570e24a349780ede10d9f483a58902cd75c02e227b4bdf2be942ae9fbb93b3c480ee356416c28b4e25c0f7b1c" +
		"9552150a9b6b8a2a67720d5a352d9a747ad19f3315d439f5dbf4f54b15906b0c00622ade0aa85f2298f6d67cf3b9820f35fbd527476920ff" +
		"cb4b77369dd8511317965f79cf9254d6a1ce470fb1993d63d28ca3874ccc4f6de8cfe74b08c2cc8b906681742ba7bd5c916c053e8cfc792d" +
		"f4bc509a01f4b48106ada505b31985119645fe30bcc23b77396a74ba7790f921a6460419b8a309f2")

	ecHash1 = append([]byte{0xab}, make([]byte, 31)...) // of Sign
	ecHash2 = append([]byte{0xbe}, make([]byte, 31)...) // of Verify

	p256OID = unhex("06082a8648ce3d030107")
	p384OID = unhex("06052b81040022")
	ecPoint = append([]byte{0x04, 0x41}, pointOf(&ecKey.PublicKey)...)

	hmacKey, hmacMessage = []byte("abcdabcdabcdabcdabcdabcdabcdabcd"), []byte("Hello world")
	hmacTag              = unhex("81c7e0725745e17d2e13d12730a86078b5853a932b6fda7f8b7c4dd139f6344e")
	cmacKey              = unhex("11223344112233441122334411223344")
	cmacTag              = unhex("36cda8426cbbecae10783eb72e5262b7")
)

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

func unhex(s string) []byte { return must(hex.DecodeString(s)) }

func der(p []byte) []byte {
	block, _ := pem.Decode(append(append([]byte(nil), p...), '\n'))
	return block.Bytes
}

// pointOf returns the uncompressed point.
func pointOf(k *ecdsa.PublicKey) []byte { return must(k.Bytes()) }

// wrappedPoint returns CKA_EC_POINT: the point in a DER OCTET STRING.
func wrappedPoint(k *ecdsa.PublicKey) []byte { return must(asn1.Marshal(pointOf(k))) }

func curveOID(c elliptic.Curve) []byte {
	switch c {
	case elliptic.P384():
		return p384OID
	case elliptic.P521():
		return unhex("06052b81040023")
	}
	return p256OID
}

func attr(t pkcs11.AttributeType, v any) pkcs11.Attribute { return pkcs11.Attr(t, v) }

// The templates that the qualification tests send, in their order.

func ecPrivateTemplate(label string, k *ecdsa.PrivateKey) pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
		attr(pkcs11.CKA_LABEL, label), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_SIGN, true),
		attr(pkcs11.CKA_EC_PARAMS, curveOID(k.Curve)), attr(pkcs11.CKA_VALUE, must(k.Bytes())),
	}
}

func ecPublicTemplate(label string, k *ecdsa.PublicKey) pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
		attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_VERIFY, true),
		attr(pkcs11.CKA_EC_PARAMS, curveOID(k.Curve)), attr(pkcs11.CKA_EC_POINT, wrappedPoint(k)),
		attr(pkcs11.CKA_LABEL, label),
	}
}

func rsaPrivateTemplate(label string, k *rsa.PrivateKey) pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA),
		attr(pkcs11.CKA_LABEL, label), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_SIGN, true),
		attr(pkcs11.CKA_MODULUS, k.N.Bytes()), attr(pkcs11.CKA_PRIVATE_EXPONENT, k.D.Bytes()),
		attr(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(k.E)).Bytes()),
		attr(pkcs11.CKA_PRIME_1, k.Primes[0].Bytes()), attr(pkcs11.CKA_PRIME_2, k.Primes[1].Bytes()),
		attr(pkcs11.CKA_EXPONENT_1, k.Precomputed.Dp.Bytes()), attr(pkcs11.CKA_EXPONENT_2, k.Precomputed.Dq.Bytes()),
		attr(pkcs11.CKA_COEFFICIENT, k.Precomputed.Qinv.Bytes()),
	}
}

func rsaPublicTemplate(label string, k *rsa.PublicKey) pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA),
		attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_MODULUS, k.N.Bytes()), attr(pkcs11.CKA_VERIFY, true),
		attr(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(k.E)).Bytes()), attr(pkcs11.CKA_LABEL, label),
	}
}

func certTemplate(label string, der []byte) pkcs11.Template {
	return pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), attr(pkcs11.CKA_SUBJECT, []byte("TestSubject")),
		attr(pkcs11.CKA_VALUE, der), attr(pkcs11.CKA_LABEL, label),
		attr(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509), attr(pkcs11.CKA_TOKEN, true),
	}
}

// ecGenerateTemplates are those of GenerateKeyPair: CKA_TOKEN is not in the
// public one.
func ecGenerateTemplates(publicLabel, privateLabel string) (public, private pkcs11.Template) {
	return pkcs11.Template{
			attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_VERIFY, true),
			attr(pkcs11.CKA_EC_PARAMS, p256OID), attr(pkcs11.CKA_LABEL, publicLabel),
		}, pkcs11.Template{
			attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, true),
			attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_LABEL, privateLabel),
		}
}

func mech(m pkcs11.MechanismType) *pkcs11.Mechanism { return &pkcs11.Mechanism{Type: m} }
