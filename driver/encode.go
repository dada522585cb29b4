package driver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// PublicKey returns the public key that the attributes of a public or private
// key object describe, as one of the types that CompletePublic takes. It
// accepts CKA_EC_POINT as a DER OCTET STRING and as the bare point, checks that
// the point is on the curve, and falls back on CKA_PUBLIC_KEY_INFO. The errors
// name the attribute and wrap CKR_TEMPLATE_INCOMPLETE,
// CKR_ATTRIBUTE_VALUE_INVALID or CKR_CURVE_NOT_SUPPORTED.
func PublicKey(t pkcs11.Template) (crypto.PublicKey, error) { return keys.PublicKey(t) }

// PrivateKey returns the private key that a template for CreateObject holds:
// *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey or an X25519
// *ecdh.PrivateKey. It is checked: the range of an EC scalar, that the
// components of an RSA key, of which modulus and both exponents are enough,
// belong together, and that they are those of CKA_EC_POINT or
// CKA_PUBLIC_KEY_INFO if the template has one. A driver that imports keys passes
// it on in the form its device takes.
//
// The errors are those of PublicKey. No secret is in their text.
func PrivateKey(t pkcs11.Template) (crypto.PrivateKey, error) { return keys.PrivateKey(t) }

// Curve returns the curve that CKA_EC_PARAMS of a template for a CKK_EC key
// names: P-256, P-384 or P-521. Another one is CKR_CURVE_NOT_SUPPORTED, none
// CKR_TEMPLATE_INCOMPLETE.
func Curve(t pkcs11.Template) (elliptic.Curve, error) {
	if !t.Has(pkcs11.CKA_EC_PARAMS) {
		return nil, fmt.Errorf("%v: %w", pkcs11.CKA_EC_PARAMS, pkcs11.CKR_TEMPLATE_INCOMPLETE)
	}
	return keys.Curve(t.Bytes(pkcs11.CKA_EC_PARAMS))
}

// ECDSARaw converts an ECDSA signature in DER, which is what many devices and
// all of Go's crypto packages make, into what Signer.Sign returns: r‖s, each as
// many bytes as the order of the curve of pub, with leading zeros. What is not
// DER of two such numbers is CKR_SIGNATURE_INVALID.
func ECDSARaw(pub *ecdsa.PublicKey, der []byte) ([]byte, error) {
	raw := make([]byte, 2*((pub.Curve.Params().BitSize+7)/8))
	if err := keys.RawSignature(raw, der); err != nil {
		return nil, err
	}
	return raw, nil
}

// ECDSADER is the reverse of ECDSARaw: it makes the minimal DER encoding of the
// signature r‖s. A signature of odd length, empty, or longer than 132 bytes, is
// CKR_SIGNATURE_LEN_RANGE.
func ECDSADER(raw []byte) ([]byte, error) {
	der, err := keys.AppendDER(make([]byte, 0, len(raw)+9), raw)
	if err != nil {
		return nil, err
	}
	return der, nil
}

// DigestInfo returns the DER encoding of the DigestInfo of a digest: the data of
// CKM_RSA_PKCS when a certificate, TLS or JWT is signed. A device that wants
// the hash function and the bare digest gets them from ParseDigestInfo.
func DigestInfo(h crypto.Hash, digest []byte) ([]byte, error) {
	info, err := keys.AppendDigestInfo(nil, h, digest)
	if err != nil {
		return nil, err
	}
	return info, nil
}

// ParseDigestInfo takes the data of CKM_RSA_PKCS apart. It is not ok when data
// is not a DigestInfo of SHA-1, SHA-2 or SHA-3; then only a device that pads any
// bytes given to it can sign. digest shares the memory of data.
func ParseDigestInfo(data []byte) (h crypto.Hash, digest []byte, ok bool) {
	return keys.ParseDigestInfo(data)
}

// Hash returns the hash function of a mechanism: of CKM_SHA256 itself, as it
// appears in parameters, and of CKM_ECDSA_SHA256, CKM_SHA256_RSA_PKCS and their
// like, which hash and then sign.
func Hash(m pkcs11.MechanismType) (crypto.Hash, bool) {
	if h, ok := keys.Hash(m); ok {
		return h, true
	}
	_, h, ok := keys.Split(m)
	return h, ok
}

// Verify checks a signature in software with a mechanism that does not hash:
// CKM_ECDSA, CKM_RSA_PKCS, CKM_RSA_PKCS_PSS, CKM_RSA_X_509 or CKM_EDDSA. A driver
// calls it on what the device has signed before it returns it: it costs little
// beside the device, and a faulty signature may give the key away.
func Verify(pub crypto.PublicKey, m *pkcs11.Mechanism, data, signature []byte) error {
	return keys.Verify(pub, m, data, signature)
}
