package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"math/big"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// SubjectPublicKeyInfo and PKCS #8 for the keys of this package. crypto/x509 has
// them too, but brings its certificates and the network along, which is a tenth
// of a small program; the tests compare the two.

const (
	tagBitString = 0x03
	oidRSA       = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" // RFC 8017 §A.1
	oidEC        = "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"         // RFC 5480 §2.1.1
)

// MarshalInfo returns the DER SubjectPublicKeyInfo of a public key. RFC 5280
// §4.1.2.7, RFC 5480 §2.1.1, RFC 8410 §4.
func MarshalInfo(pub crypto.PublicKey) ([]byte, error) {
	algorithm, bits, err := infoParts(pub)
	if err != nil {
		return nil, err
	}
	return joinInfo(algorithm, bits), nil
}

// joinInfo is the reverse of splitInfo.
func joinInfo(algorithm, bits []byte) []byte {
	body := appendTLV(make([]byte, 0, 16+len(algorithm)+len(bits)), tagSequence, algorithm)
	body = append(appendHeader(body, tagBitString, 1+len(bits)), 0)
	return appendTLV(make([]byte, 0, 16+len(algorithm)+len(bits)), tagSequence, append(body, bits...))
}

// infoParts returns what is in the AlgorithmIdentifier, and the key as it stands
// in the bit string.
func infoParts(pub crypto.PublicKey) (algorithm, bits []byte, err error) {
	if pub, ok := pub.(*rsa.PublicKey); ok {
		if err := checkRSA(pub); err != nil {
			return nil, nil, err
		}
		numbers := appendUint(appendUint(nil, pub.N), big.NewInt(int64(pub.E)))
		return appendTLV([]byte(oidRSA), tagNull, nil), appendTLV(nil, tagSequence, numbers), nil
	}
	c, err := curveOfKey(pub)
	if err != nil {
		return nil, nil, err
	}
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if bits, err = pub.Bytes(); err != nil {
			return nil, nil, fmt.Errorf("%v: %w: %w", pkcs11.CKA_EC_POINT, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, err)
		}
		return []byte(oidEC + c.params[0]), bits, nil
	case ed25519.PublicKey:
		bits = pub
	case *ecdh.PublicKey:
		bits = pub.Bytes()
		if c.typ == pkcs11.CKK_EC {
			return []byte(oidEC + c.params[0]), bits, nil
		}
	}
	return []byte(c.params[0]), bits, nil
}

// parseInfo is the reverse of MarshalInfo, and takes no other encoding.
func parseInfo(der []byte) (crypto.PublicKey, error) {
	algorithm, bits, ok := splitInfo(der)
	if !ok {
		return nil, invalid(pkcs11.CKA_PUBLIC_KEY_INFO, "not a SubjectPublicKeyInfo in DER")
	}
	return publicKey(algorithm, bits)
}

// splitInfo returns what is in the AlgorithmIdentifier of a SubjectPublicKeyInfo,
// and the key.
func splitInfo(der []byte) (algorithm, bits []byte, ok bool) {
	body, rest, ok := readTLV(der, tagSequence)
	if !ok || len(rest) > 0 {
		return nil, nil, false
	}
	if algorithm, body, ok = readTLV(body, tagSequence); !ok {
		return nil, nil, false
	}
	bits, rest, ok = readTLV(body, tagBitString)
	if !ok || len(rest) > 0 || len(bits) == 0 || bits[0] != 0 {
		return nil, nil, false
	}
	return algorithm, bits[1:], true
}

func publicKey(algorithm, bits []byte) (crypto.PublicKey, error) {
	if bytes.Equal(algorithm, []byte(oidRSA+"\x05\x00")) {
		numbers, rest, ok := readTLV(bits, tagSequence)
		if !ok || len(rest) > 0 {
			return nil, invalid(pkcs11.CKA_PUBLIC_KEY_INFO, "not an RSAPublicKey in DER")
		}
		n, numbers, okN := readUint(numbers)
		e, rest, okE := readUint(numbers)
		if !okN || !okE || len(rest) > 0 || !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil, invalid(pkcs11.CKA_PUBLIC_KEY_INFO, "not an RSAPublicKey in DER")
		}
		pub := &rsa.PublicKey{N: n, E: int(e.Int64())}
		return pub, checkRSA(pub)
	}
	params, isEC := bytes.CutPrefix(algorithm, []byte(oidEC))
	for i := range curves {
		c := &curves[i]
		if (c.typ == pkcs11.CKK_EC) != isEC || string(params) != c.params[0] {
			continue
		}
		size := c.size
		if isEC {
			size = 1 + 2*c.size
		}
		if len(bits) != size {
			return nil, invalid(pkcs11.CKA_PUBLIC_KEY_INFO, "point of %d bytes; an uncompressed one of %s has %d", len(bits), c.name, size)
		}
		pub, err := c.point(bits)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", pkcs11.CKA_PUBLIC_KEY_INFO, err)
		}
		return pub, nil
	}
	return nil, fmt.Errorf("%v: %w: the algorithm of the key is not supported", pkcs11.CKA_PUBLIC_KEY_INFO, pkcs11.CKR_CURVE_NOT_SUPPORTED)
}

// MarshalPKCS8 returns the DER PrivateKeyInfo of a private key, which the caller
// wipes. RFC 5208 §5, RFC 5915 §3, RFC 8410 §7.
func MarshalPKCS8(key crypto.PrivateKey) ([]byte, error) {
	private, ok := key.(interface{ Public() crypto.PublicKey })
	if !ok {
		return nil, fmt.Errorf("private key of type %T: %w", key, pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}
	algorithm, bits, err := infoParts(private.Public())
	if err != nil {
		return nil, err
	}
	t, err := PrivateAttributes(key)
	if err != nil {
		return nil, err
	}
	defer Wipe(t)
	var inner []byte
	switch value := t.Bytes(pkcs11.CKA_VALUE); {
	case value == nil:
		inner = append(inner, tagInteger, 1, 0)
		for _, a := range []pkcs11.AttributeType{pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT, pkcs11.CKA_PRIVATE_EXPONENT,
			pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2, pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT} {
			inner = appendUint(inner, new(big.Int).SetBytes(t.Bytes(a)))
		}
		inner = appendTLV(nil, tagSequence, inner)
	case KeyType(key) == pkcs11.CKK_EC:
		inner = append(inner, tagInteger, 1, 1)
		inner = appendTLV(inner, tagOctetString, value)
		public := append(appendHeader(nil, tagBitString, 1+len(bits)), 0)
		inner = appendTLV(inner, 0xa1, append(public, bits...))
		inner = appendTLV(nil, tagSequence, inner)
	default:
		inner = appendTLV(nil, tagOctetString, value)
	}
	defer clear(inner)
	body := appendTLV([]byte{tagInteger, 1, 0}, tagSequence, algorithm)
	body = appendTLV(body, tagOctetString, inner)
	defer clear(body)
	return appendTLV(nil, tagSequence, body), nil
}

// ParsePKCS8 returns the attributes of the private key in a DER PrivateKeyInfo,
// as PrivateAttributes does. Attributes and a public key behind the private one
// (RFC 5958) are read over. The error says nothing of the content.
func ParsePKCS8(der []byte) (pkcs11.Template, error) {
	bad := fmt.Errorf("not a PKCS #8 private key of a type that is supported: %w", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
	body, rest, ok := readTLV(der, tagSequence)
	if !ok || len(rest) > 0 {
		return nil, bad
	}
	version, body, okV := readTLV(body, tagInteger)
	algorithm, body, okA := readTLV(body, tagSequence)
	inner, _, okI := readTLV(body, tagOctetString)
	if !okV || !okA || !okI || len(version) != 1 || version[0] > 1 {
		return nil, bad
	}
	if bytes.Equal(algorithm, []byte(oidRSA+"\x05\x00")) {
		numbers, rest, ok := readTLV(inner, tagSequence)
		if !ok || len(rest) > 0 {
			return nil, bad
		}
		zero, numbers, ok := readUint(numbers)
		if !ok || zero.Sign() != 0 {
			return nil, bad
		}
		t := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_RSA))}
		for _, a := range []pkcs11.AttributeType{pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT, pkcs11.CKA_PRIVATE_EXPONENT,
			pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2, pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT} {
			var n *big.Int
			if n, numbers, ok = readUint(numbers); !ok {
				Wipe(t)
				return nil, bad
			}
			t = append(t, pkcs11.Attr(a, n.Bytes()))
		}
		return whole(t)
	}
	params, isEC := bytes.CutPrefix(algorithm, []byte(oidEC))
	for i := range curves {
		c := &curves[i]
		if (c.typ == pkcs11.CKK_EC) != isEC || string(params) != c.params[0] {
			continue
		}
		if isEC {
			content, rest, ok := readTLV(inner, tagSequence)
			one, content, ok1 := readTLV(content, tagInteger)
			if !ok || !ok1 || len(rest) > 0 || len(one) != 1 || one[0] != 1 {
				return nil, bad
			}
			inner = content // parameters and public key may follow
		}
		value, rest, ok := readTLV(inner, tagOctetString)
		if !ok || len(rest) > 0 && !isEC {
			return nil, bad
		}
		return whole(pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(c.typ)),
			pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte(c.params[0])),
			pkcs11.Attr(pkcs11.CKA_VALUE, bytes.Clone(value)),
		})
	}
	return nil, bad
}

// whole checks that the components are a key, and returns all it has.
func whole(t pkcs11.Template) (pkcs11.Template, error) {
	defer Wipe(t)
	key, err := PrivateKey(t)
	if err != nil {
		return nil, err
	}
	return PrivateAttributes(key)
}

// appendUint appends a DER INTEGER that is not negative.
func appendUint(b []byte, n *big.Int) []byte {
	bytes := n.Bytes()
	defer clear(bytes)
	if len(bytes) == 0 || bytes[0] >= 0x80 {
		b = append(appendHeader(b, tagInteger, 1+len(bytes)), 0)
		return append(b, bytes...)
	}
	return appendTLV(b, tagInteger, bytes)
}

// readUint splits off a minimal DER INTEGER that is not negative.
func readUint(b []byte) (n *big.Int, rest []byte, ok bool) {
	content, rest, ok := readTLV(b, tagInteger)
	switch {
	case !ok || len(content) == 0 || content[0] >= 0x80:
		return nil, nil, false
	case len(content) > 1 && content[0] == 0 && content[1] < 0x80:
		return nil, nil, false
	}
	return new(big.Int).SetBytes(content), rest, true
}
