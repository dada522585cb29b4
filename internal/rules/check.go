package rules

import (
	"fmt"
	"time"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// none is the default of attributes that are bytes.
var none = []byte{}

const (
	maxModulus = 16384 / 8 // bytes
	maxSecret  = 4096      // bytes of a secret key
	maxList    = 256       // mechanisms, or attributes of a template
)

// check checks one value by itself.
func (s *spec) check(r *row, a pkcs11.Attribute) error {
	limit := r.max
	if limit == 0 {
		limit = maxShort
	}
	n := 0
	switch v := a.Value.(type) {
	case []byte:
		n = len(v)
	case string:
		n = len(v)
	case []pkcs11.MechanismType:
		n, limit = len(v), maxList
	case pkcs11.Template:
		n, limit = len(v), maxList
	case uint64, bool, time.Time:
		n = 1
	}
	if n > limit {
		return s.fail(a.Type, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "length %d; at most %d is stored", n, limit)
	}
	if n == 0 && r.in[opCreate] == must {
		return s.fail(a.Type, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "empty")
	}
	if r.check != nil {
		if wrong := r.check(s, a); wrong != "" {
			return s.fail(a.Type, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "%s", wrong)
		}
	}
	return nil
}

// upTo checks a number whose values are counted from 0.
func upTo(n uint64) func(*spec, pkcs11.Attribute) string {
	return func(_ *spec, a pkcs11.Attribute) string {
		if v := a.Uint(); v > n {
			return fmt.Sprintf("%d; the standard knows 0 to %d", v, n)
		}
		return ""
	}
}

func modulusBits(_ *spec, a pkcs11.Attribute) string {
	if v := a.Uint(); v < 512 || v > 8*maxModulus {
		return fmt.Sprintf("%d; want 512 to %d bits", v, 8*maxModulus)
	}
	return ""
}

func publicExponent(_ *spec, a pkcs11.Attribute) string {
	switch v := trimZeros(a.Bytes()); {
	case len(v) == 0 || v[len(v)-1]&1 == 0 || len(v) == 1 && v[0] == 1:
		return "want an odd number from 3 on, big-endian; 010001 is usual"
	case len(v) > maxModulus:
		return fmt.Sprintf("%d bytes are too many; 010001 is usual", len(v))
	}
	return ""
}

func valueLen(s *spec, a pkcs11.Attribute) string {
	v := a.Uint()
	if s.kind == aes && v != 16 && v != 24 && v != 32 {
		return fmt.Sprintf("%d; an AES key has 16, 24 or 32 bytes", v)
	}
	if v == 0 || v > maxSecret {
		return fmt.Sprintf("%d; want 1 to %d bytes", v, maxSecret)
	}
	return ""
}

func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// agree checks that attributes do not contradict each other.
func (d *draft) agree() error {
	start, _ := d.get(pkcs11.CKA_START_DATE).(time.Time)
	end, _ := d.get(pkcs11.CKA_END_DATE).(time.Time)
	if !start.IsZero() && !end.IsZero() && end.Before(start) {
		return d.fail(pkcs11.CKA_END_DATE, pkcs11.CKR_TEMPLATE_INCONSISTENT, "it is before CKA_START_DATE")
	}
	if d.bool(pkcs11.CKA_ALWAYS_AUTHENTICATE) && !d.bool(pkcs11.CKA_PRIVATE) {
		// §4.9: "can only be set to CK_TRUE when CKA_PRIVATE is also CK_TRUE".
		return d.fail(pkcs11.CKA_ALWAYS_AUTHENTICATE, pkcs11.CKR_TEMPLATE_INCONSISTENT, "it needs CKA_PRIVATE true")
	}
	return nil
}
