package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A curve is a row of the table of curves. Params are the DER encodings that
// CKA_EC_PARAMS may have, the one that is written first.
type curve struct {
	name   string
	typ    pkcs11.KeyType
	nist   elliptic.Curve // of CKK_EC
	size   int            // bytes of a coordinate, a scalar, the order
	params []string
}

// The OIDs are those of RFC 5480 and RFC 8410, the printable names those of
// PKCS #11 v3.0 §2.3.5 and §2.3.7.
var curves = []curve{
	{"P-256", pkcs11.CKK_EC, elliptic.P256(), 32, []string{"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"}},
	{"P-384", pkcs11.CKK_EC, elliptic.P384(), 48, []string{"\x06\x05\x2b\x81\x04\x00\x22"}},
	{"P-521", pkcs11.CKK_EC, elliptic.P521(), 66, []string{"\x06\x05\x2b\x81\x04\x00\x23"}},
	{"Ed25519", pkcs11.CKK_EC_EDWARDS, nil, 32, []string{"\x06\x03\x2b\x65\x70", "\x13\x0cedwards25519"}},
	{"X25519", pkcs11.CKK_EC_MONTGOMERY, nil, 32, []string{"\x06\x03\x2b\x65\x6e", "\x13\x0acurve25519"}},
}

// Curve returns the curve that CKA_EC_PARAMS of a CKK_EC key names. The errors
// wrap CKR_CURVE_NOT_SUPPORTED, or CKR_ATTRIBUTE_VALUE_INVALID if params are no
// DER of an ECParameters.
func Curve(params []byte) (elliptic.Curve, error) {
	c, err := curveOf(pkcs11.CKK_EC, params)
	if err != nil {
		return nil, err
	}
	return c.nist, nil
}

// CheckParams reports whether CKA_EC_PARAMS suit a key of type CKK_EC,
// CKK_EC_EDWARDS or CKK_EC_MONTGOMERY, with the errors of Curve.
func CheckParams(typ pkcs11.KeyType, params []byte) error {
	_, err := curveOf(typ, params)
	return err
}

// CanonicalParams returns CKA_EC_PARAMS as the OID of the curve, which is the
// form that every client reads, with the errors of Curve.
func CanonicalParams(typ pkcs11.KeyType, params []byte) ([]byte, error) {
	c, err := curveOf(typ, params)
	if err != nil {
		return nil, err
	}
	return []byte(c.params[0]), nil
}

// Params returns the CKA_EC_PARAMS of a public key on a curve, its OID.
func Params(pub crypto.PublicKey) ([]byte, error) {
	c, err := curveOfKey(pub)
	if err != nil {
		return nil, err
	}
	return []byte(c.params[0]), nil
}

func curveOf(typ pkcs11.KeyType, params []byte) (*curve, error) {
	for i := range curves {
		c := &curves[i]
		if c.typ != typ {
			continue
		}
		for _, p := range c.params {
			if string(params) == p {
				return c, nil
			}
		}
	}
	if !plausibleParams(params) {
		return nil, invalid(pkcs11.CKA_EC_PARAMS, "not the DER encoding of the name of a curve")
	}
	return nil, fmt.Errorf("%v %x for %v: %w", pkcs11.CKA_EC_PARAMS, params, typ, pkcs11.CKR_CURVE_NOT_SUPPORTED)
}

func curveOfKey(pub crypto.PublicKey) (*curve, error) {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		for i := range curves {
			if curves[i].nist == pub.Curve {
				return &curves[i], nil
			}
		}
		return nil, fmt.Errorf("key on %s: %w", pub.Curve.Params().Name, pkcs11.CKR_CURVE_NOT_SUPPORTED)
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return nil, invalid(pkcs11.CKA_EC_POINT, "an Ed25519 public key has 32 bytes, not %d", len(pub))
		}
		return &curves[3], nil
	case *ecdh.PublicKey:
		if pub.Curve() == ecdh.X25519() {
			return &curves[4], nil
		}
		return nil, fmt.Errorf("ECDH key on %v: %w", pub.Curve(), pkcs11.CKR_CURVE_NOT_SUPPORTED)
	}
	return nil, fmt.Errorf("public key of type %T: %w", pub, pkcs11.CKR_KEY_TYPE_INCONSISTENT)
}

// plausibleParams reports whether params are one of the choices of ECParameters:
// an OID, a printable name, NULL, or a SEQUENCE of explicit parameters.
func plausibleParams(params []byte) bool {
	if len(params) == 0 {
		return false
	}
	content, rest, ok := readTLV(params, params[0])
	if !ok || len(rest) > 0 {
		return false
	}
	switch params[0] {
	case tagOID:
		if len(content) == 0 || content[len(content)-1]&0x80 != 0 {
			return false
		}
		start := true // of a subidentifier, which has no leading zeros
		for _, b := range content {
			if start && b == 0x80 {
				return false
			}
			start = b&0x80 == 0
		}
		return true
	case tagPrintable, tagSequence:
		return len(content) > 0
	case tagNull:
		return len(content) == 0
	}
	return false
}

// checkParams checks that params name the curve that pub is on.
func checkParams(typ pkcs11.KeyType, params []byte, pub crypto.PublicKey) error {
	want, err := curveOf(typ, params)
	if err != nil {
		return err
	}
	if have, err := curveOfKey(pub); err != nil {
		return err
	} else if have != want {
		return invalid(pkcs11.CKA_EC_PARAMS, "%s, but the key is on %s", want.name, have.name)
	}
	return nil
}

func ecPublic(typ pkcs11.KeyType, t pkcs11.Template) (crypto.PublicKey, error) {
	params, err := need(t, pkcs11.CKA_EC_PARAMS)
	if err != nil {
		return nil, err
	}
	c, err := curveOf(typ, params)
	if err != nil {
		return nil, err
	}
	point, err := need(t, pkcs11.CKA_EC_POINT)
	if err != nil {
		return nil, err
	}
	return c.point(point)
}

// point parses a CKA_EC_POINT, bare or in an OCTET STRING. The length tells:
// the first byte of an uncompressed point is that of an OCTET STRING, too.
func (c *curve) point(b []byte) (crypto.PublicKey, error) {
	size := c.size
	if c.nist != nil {
		size = 1 + 2*c.size
	}
	if len(b) != size {
		content, rest, ok := readTLV(b, tagOctetString)
		if !ok || len(rest) > 0 {
			return nil, invalid(pkcs11.CKA_EC_POINT, "neither a point of %s, of %d bytes, nor a DER OCTET STRING of one", c.name, size)
		}
		if b = content; len(b) != size {
			return nil, invalid(pkcs11.CKA_EC_POINT, "point of %d bytes; an uncompressed one of %s has %d", len(b), c.name, size)
		}
	}
	var pub crypto.PublicKey
	var err error
	switch c.typ {
	case pkcs11.CKK_EC:
		pub, err = ecdsa.ParseUncompressedPublicKey(c.nist, b)
	case pkcs11.CKK_EC_EDWARDS:
		return ed25519.PublicKey(bytes.Clone(b)), nil
	case pkcs11.CKK_EC_MONTGOMERY:
		pub, err = ecdh.X25519().NewPublicKey(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%v: not a point of %s: %w: %w", pkcs11.CKA_EC_POINT, c.name, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, err)
	}
	return pub, nil
}
