// Package keys converts between keys as Go's crypto packages have them and as
// attributes of PKCS #11 have them, and does what needs only a public key:
// verifying and encrypting. The core, the drivers and the facade share it.
//
// Supported are RSA from 1024 to 16384 bits, P-256, P-384, P-521, Ed25519 and
// X25519. The errors wrap a pkcs11.Error and name the attribute that is wrong,
// never its value.
package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// PublicKey returns the public key that the attributes of a public or private
// key object describe: *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or
// *ecdh.PublicKey. It takes the components that the key type has
// (CKA_EC_PARAMS and CKA_EC_POINT, or CKA_MODULUS and CKA_PUBLIC_EXPONENT), or
// else CKA_PUBLIC_KEY_INFO; if both are there they must be the same key.
//
// CKA_EC_POINT may be the bare point or a DER OCTET STRING around it, for every
// key type: its length tells. Points are checked to be on the curve.
//
// The errors wrap CKR_TEMPLATE_INCOMPLETE, CKR_ATTRIBUTE_VALUE_INVALID or
// CKR_CURVE_NOT_SUPPORTED.
func PublicKey(t pkcs11.Template) (crypto.PublicKey, error) {
	info := octets(t, pkcs11.CKA_PUBLIC_KEY_INFO)
	if !t.Has(pkcs11.CKA_KEY_TYPE) {
		if len(info) == 0 {
			return nil, missing(pkcs11.CKA_KEY_TYPE)
		}
		return parseInfo(info)
	}
	typ := pkcs11.KeyType(t.Uint(pkcs11.CKA_KEY_TYPE))
	var pub crypto.PublicKey
	var err error
	switch typ {
	case pkcs11.CKK_RSA:
		if len(info) > 0 && !t.Has(pkcs11.CKA_MODULUS) {
			break
		}
		pub, err = rsaPublic(t)
	case pkcs11.CKK_EC, pkcs11.CKK_EC_EDWARDS, pkcs11.CKK_EC_MONTGOMERY:
		if len(info) > 0 && !t.Has(pkcs11.CKA_EC_POINT) {
			break
		}
		pub, err = ecPublic(typ, t)
	default:
		return nil, invalid(pkcs11.CKA_KEY_TYPE, "%v is no key type with a public key that is known here", typ)
	}
	if err != nil || len(info) == 0 {
		return pub, err
	}
	if pub != nil {
		// The usual case is the very bytes that PublicAttributes makes.
		if der, err := MarshalInfo(pub); err == nil && bytes.Equal(der, info) {
			return pub, nil
		}
	}
	same, err := parseInfo(info)
	if err != nil {
		return nil, err
	}
	if pub == nil {
		if KeyType(same) != typ {
			return nil, invalid(pkcs11.CKA_PUBLIC_KEY_INFO, "key of type %v in an object of type %v", KeyType(same), typ)
		}
		if typ != pkcs11.CKK_RSA && t.Has(pkcs11.CKA_EC_PARAMS) {
			if err := checkParams(typ, octets(t, pkcs11.CKA_EC_PARAMS), same); err != nil {
				return nil, err
			}
		}
		return same, nil
	}
	if !Equal(pub, same) {
		return nil, invalid(pkcs11.CKA_PUBLIC_KEY_INFO, "another key than the one the other attributes describe")
	}
	return pub, nil
}

// PublicAttributes returns the attributes that say which key pub is:
// CKA_KEY_TYPE; CKA_EC_PARAMS, an OID, and CKA_EC_POINT, a DER OCTET STRING for
// CKK_EC and the bare bytes for the other curves (PKCS #11 v3.1 §6.3.3, §6.3.5,
// §6.3.7); or CKA_MODULUS, CKA_MODULUS_BITS and CKA_PUBLIC_EXPONENT; and
// CKA_PUBLIC_KEY_INFO, the DER SubjectPublicKeyInfo.
func PublicAttributes(pub crypto.PublicKey) (pkcs11.Template, error) {
	algorithm, bits, err := infoParts(pub)
	if err != nil {
		return nil, err
	}
	t := make(pkcs11.Template, 0, 5)
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		t = append(t,
			pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_RSA)),
			pkcs11.Attr(pkcs11.CKA_MODULUS, pub.N.Bytes()),
			pkcs11.Attr(pkcs11.CKA_MODULUS_BITS, uint64(pub.N.BitLen())),
			pkcs11.Attr(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(pub.E)).Bytes()),
		)
	default:
		c, err := curveOfKey(pub)
		if err != nil {
			return nil, err
		}
		point := bytes.Clone(bits)
		if c.typ == pkcs11.CKK_EC {
			point = appendTLV(make([]byte, 0, 4+len(bits)), tagOctetString, bits)
		}
		t = append(t,
			pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(c.typ)),
			pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte(c.params[0])),
			pkcs11.Attr(pkcs11.CKA_EC_POINT, point),
		)
	}
	return append(t, pkcs11.Attr(pkcs11.CKA_PUBLIC_KEY_INFO, joinInfo(algorithm, bits))), nil
}

// KeyType returns the CKA_KEY_TYPE of a public or private key,
// CKK_INVALID_KEY_TYPE of one that is not supported.
func KeyType(key any) pkcs11.KeyType {
	switch key := key.(type) {
	case *rsa.PublicKey, *rsa.PrivateKey:
		return pkcs11.CKK_RSA
	case *ecdsa.PublicKey, *ecdsa.PrivateKey:
		return pkcs11.CKK_EC
	case ed25519.PublicKey, ed25519.PrivateKey:
		return pkcs11.CKK_EC_EDWARDS
	case *ecdh.PublicKey:
		if key.Curve() == ecdh.X25519() {
			return pkcs11.CKK_EC_MONTGOMERY
		}
	case *ecdh.PrivateKey:
		if key.Curve() == ecdh.X25519() {
			return pkcs11.CKK_EC_MONTGOMERY
		}
	}
	return pkcs11.CKK_INVALID_KEY_TYPE
}

// Equal reports whether a and b are the same public key.
func Equal(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// DefaultID returns the CKA_ID of a key that nobody gave one: the first 20
// bytes of the SHA-256 hash of the subjectPublicKey bit string, which is the
// key identifier of RFC 7093, method 1. It returns nil for a key that is not
// supported.
func DefaultID(pub crypto.PublicKey) []byte {
	_, bits, err := infoParts(pub)
	if err != nil {
		return nil
	}
	return idOf(bits)
}

// InfoID returns the DefaultID of the key in a DER SubjectPublicKeyInfo, also of
// one that is not supported; nil if it is none.
func InfoID(der []byte) []byte {
	_, bits, ok := splitInfo(der)
	if !ok {
		return nil
	}
	return idOf(bits)
}

func idOf(bits []byte) []byte {
	sum := sha256.Sum256(bits)
	return sum[:20:20]
}

// KeyBits returns the size of the key as CK_MECHANISM_INFO counts it: the bits
// of an RSA modulus, of the field of a curve (255 for Ed25519 and X25519). It
// returns 0 for a key that is not supported.
func KeyBits(pub crypto.PublicKey) int {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return pub.N.BitLen()
	case *ecdsa.PublicKey:
		return pub.Curve.Params().BitSize
	case ed25519.PublicKey:
		return 255
	case *ecdh.PublicKey:
		if pub.Curve() == ecdh.X25519() {
			return 255
		}
	}
	return 0
}

// octets returns the bytes of an attribute, also of one that has the string
// that a caller may give instead; nil if it is absent.
func octets(t pkcs11.Template, typ pkcs11.AttributeType) []byte {
	a, _ := t.Get(typ)
	switch v := a.Value.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	}
	return nil
}

// need returns the bytes of an attribute that must be there and not be empty.
func need(t pkcs11.Template, typ pkcs11.AttributeType) ([]byte, error) {
	if !t.Has(typ) {
		return nil, missing(typ)
	}
	v := octets(t, typ)
	if len(v) == 0 {
		return nil, invalid(typ, "empty")
	}
	return v, nil
}

func missing(typ pkcs11.AttributeType) error {
	return fmt.Errorf("%v: %w", typ, pkcs11.CKR_TEMPLATE_INCOMPLETE)
}

func invalid(typ pkcs11.AttributeType, format string, args ...any) error {
	return fmt.Errorf("%v: %s: %w", typ, fmt.Sprintf(format, args...), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
}
