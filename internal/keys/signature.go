package keys

import (
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

const (
	maxInt = 66               // bytes of the order of P-521, the longest
	maxRaw = 2 * maxInt       // r‖s
	maxDER = 2*(3+maxInt) + 3 // SEQUENCE { INTEGER r, INTEGER s }
)

// AppendDER appends the DER encoding of the ECDSA signature raw, r‖s of equal
// length, which is what X.509, TLS and crypto/ecdsa want. It appends at most
// len(raw)+9 bytes. A raw of odd length, empty, or longer than that of P-521
// (132) is CKR_SIGNATURE_LEN_RANGE; one with r or s zero, which no signature
// has, CKR_SIGNATURE_INVALID. dst and raw do not overlap.
func AppendDER(dst, raw []byte) ([]byte, error) {
	if len(raw) == 0 || len(raw)%2 != 0 || len(raw) > maxRaw {
		return dst, fmt.Errorf("ECDSA signature r‖s of %d bytes: %w", len(raw), pkcs11.CKR_SIGNATURE_LEN_RANGE)
	}
	r, s := trim(raw[:len(raw)/2]), trim(raw[len(raw)/2:])
	if len(r) == 0 || len(s) == 0 {
		return dst, fmt.Errorf("ECDSA signature: r or s is zero: %w", pkcs11.CKR_SIGNATURE_INVALID)
	}
	padR, padS := int(r[0]>>7), int(s[0]>>7)
	dst = appendHeader(dst, tagSequence, 2+padR+len(r)+2+padS+len(s))
	dst = appendInteger(dst, r, padR)
	return appendInteger(dst, s, padS), nil
}

func appendInteger(dst, v []byte, pad int) []byte {
	dst = append(dst, tagInteger, byte(pad+len(v)))
	if pad > 0 {
		dst = append(dst, 0)
	}
	return append(dst, v...)
}

// trim removes leading zeros.
func trim(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// RawSignature decodes the DER encoding of an ECDSA signature into raw, r‖s of
// equal length: raw is twice as long as the order of the curve. It allocates
// nothing. Whatever is not DER of two positive integers that fit, and nothing
// else, is CKR_SIGNATURE_INVALID, and then raw has no meaning.
func RawSignature(raw, der []byte) error {
	if len(raw) == 0 || len(raw)%2 != 0 || len(raw) > maxRaw {
		return fmt.Errorf("ECDSA signature r‖s of %d bytes: %w", len(raw), pkcs11.CKR_SIGNATURE_LEN_RANGE)
	}
	seq, rest, ok := readTLV(der, tagSequence)
	if !ok || len(rest) > 0 {
		return errNotDER
	}
	for _, dst := range [2][]byte{raw[:len(raw)/2], raw[len(raw)/2:]} {
		var v []byte
		if v, seq, ok = readTLV(seq, tagInteger); !ok || len(v) == 0 || v[0] >= 0x80 {
			return errNotDER
		}
		if v[0] == 0 {
			if v = v[1:]; len(v) == 0 || v[0] < 0x80 {
				return errNotDER // zero, or padded without need
			}
		}
		if len(v) > len(dst) {
			return fmt.Errorf("ECDSA signature: integer of %d bytes, the order has %d: %w", len(v), len(dst), pkcs11.CKR_SIGNATURE_INVALID)
		}
		n := len(dst) - len(v)
		clear(dst[:n])
		copy(dst[n:], v)
	}
	if len(seq) > 0 {
		return errNotDER
	}
	return nil
}

var errNotDER = fmt.Errorf("ECDSA signature: not the DER encoding of two positive integers: %w", pkcs11.CKR_SIGNATURE_INVALID)
