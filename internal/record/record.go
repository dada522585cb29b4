// Package record is the codec of stored attributes: a template as a few bytes,
// in one canonical form, so that what parses is what would be written.
//
// The form is, with every number a minimal unsigned varint:
//
//	template  = count attribute…             in ascending order of type
//	attribute = (delta<<3 | kind) value      delta: type − previous type − 1
//
// where the type before the first is −1 and the kinds and their values are
//
//	0  false        nothing
//	1  true         nothing
//	2  uint         the number
//	3  bytes        length, bytes
//	4  text         length, bytes
//	5  date         YYYYMMDD as a number, 0 for an empty date
//	6  mechanisms   count, types
//	7  template     length, a template
//
// so that a boolean attribute takes a byte. The kind is the one that package
// pkcs11 has for the type; anything else is malformed.
//
// The form has no version of its own: whoever stores it has one in front.
package record

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// ErrMalformed says that bytes are not the encoding of a template.
var ErrMalformed = errors.New("malformed attributes")

const (
	kindFalse = iota
	kindTrue
	kindUint
	kindBytes
	kindText
	kindDate
	kindMechanisms
	kindTemplate
)

// maxDepth is how deep templates within templates may be.
const maxDepth = 3

// Append appends the encoding of t to b. The error wraps
// CKR_ATTRIBUTE_VALUE_INVALID if a value is not of the kind that its type has,
// and CKR_TEMPLATE_INCONSISTENT if a type appears twice.
func Append(b []byte, t pkcs11.Template) ([]byte, error) {
	return appendTemplate(b, t, 0)
}

func appendTemplate(b []byte, t pkcs11.Template, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("record: %w: templates within templates", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
	}
	byType := func(a, b pkcs11.Attribute) int { return cmp.Compare(a.Type, b.Type) }
	if !slices.IsSortedFunc(t, byType) {
		t = slices.Clone(t)
		slices.SortFunc(t, byType)
	}
	b = binary.AppendUvarint(b, uint64(len(t)))
	next := uint64(0) // the smallest type that may follow
	for _, a := range t {
		if uint64(a.Type) < next {
			return nil, fmt.Errorf("record: %w: %v twice", pkcs11.CKR_TEMPLATE_INCONSISTENT, a.Type)
		}
		a, err := a.Canonical()
		if err != nil {
			return nil, err
		}
		head := (uint64(a.Type) - next) << 3
		next = uint64(a.Type) + 1
		switch v := a.Value.(type) {
		case bool:
			if v {
				head |= kindTrue
			}
			b = binary.AppendUvarint(b, head)
		case uint64:
			b = binary.AppendUvarint(b, head|kindUint)
			b = binary.AppendUvarint(b, v)
		case []byte:
			b = binary.AppendUvarint(b, head|kindBytes)
			b = binary.AppendUvarint(b, uint64(len(v)))
			b = append(b, v...)
		case string:
			b = binary.AppendUvarint(b, head|kindText)
			b = binary.AppendUvarint(b, uint64(len(v)))
			b = append(b, v...)
		case time.Time:
			n := uint64(0)
			if !v.IsZero() {
				y, m, d := v.Date()
				if y < 1 || y > 9999 {
					return nil, fmt.Errorf("record: %v: %w: year %d", a.Type, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, y)
				}
				n = uint64(y*10000 + int(m)*100 + d)
			}
			b = binary.AppendUvarint(b, head|kindDate)
			b = binary.AppendUvarint(b, n)
		case []pkcs11.MechanismType:
			b = binary.AppendUvarint(b, head|kindMechanisms)
			b = binary.AppendUvarint(b, uint64(len(v)))
			for _, m := range v {
				b = binary.AppendUvarint(b, uint64(m))
			}
		case pkcs11.Template:
			inner, err := appendTemplate(nil, v, depth+1)
			if err != nil {
				return nil, err
			}
			b = binary.AppendUvarint(b, head|kindTemplate)
			b = binary.AppendUvarint(b, uint64(len(inner)))
			b = append(b, inner...)
		}
	}
	return b, nil
}

// Parse decodes all of b. The byte values of the template are parts of b. The
// error wraps ErrMalformed.
func Parse(b []byte) (pkcs11.Template, error) {
	d := decoder{b: b}
	return d.template(0)
}

// A Summary is what searches are made by, of an encoded template.
type Summary struct {
	Class, KeyType uint64 // pkcs11.Unavailable if there is none
	Token, Private bool
	Label, ID      []byte // parts of the encoding
}

// Summarize checks all of b, as Parse does, and returns its summary. It
// needs no memory.
func Summarize(b []byte) (Summary, error) {
	s := Summary{Class: pkcs11.Unavailable, KeyType: pkcs11.Unavailable}
	d := decoder{b: b}
	if !d.check(0, &s) {
		return Summary{}, ErrMalformed
	}
	return s, nil
}

// decoder reads from the front of b. bad is set by the first thing that is wrong,
// and everything read after that is zero.
type decoder struct {
	b    []byte
	next uint64 // the smallest type that may follow
	bad  bool
}

func (d *decoder) fail() uint64 {
	d.bad, d.b = true, nil
	return 0
}

func (d *decoder) uint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 { // as nearly all
		v := d.b[0]
		d.b = d.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		return d.fail()
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) take() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) head() (pkcs11.AttributeType, int) {
	h := d.uint()
	t := d.next + h>>3
	if t > math.MaxUint32 {
		d.fail()
		return 0, 0
	}
	d.next = t + 1
	return pkcs11.AttributeType(t), int(h & 7)
}

// firstKinds are the kinds of the types that objects mostly have.
var firstKinds [0x200]pkcs11.Kind

func init() {
	for i := range firstKinds {
		firstKinds[i] = pkcs11.AttributeType(i).Kind()
	}
}

func kindOf(t pkcs11.AttributeType) pkcs11.Kind {
	if uint64(t) < uint64(len(firstKinds)) {
		return firstKinds[t]
	}
	return t.Kind()
}

// check reads a template and reports whether it is well-formed. s is nil for one
// within another.
func (d *decoder) check(depth int, s *Summary) bool {
	n := d.uint()
	if d.bad || n > uint64(len(d.b)) || depth > maxDepth {
		return false
	}
	for range n {
		typ, kind := d.head()
		if d.bad || kinds[kind] != kindOf(typ) {
			return false
		}
		switch kind {
		case kindFalse, kindTrue:
			if s != nil && typ == pkcs11.CKA_TOKEN {
				s.Token = kind == kindTrue
			} else if s != nil && typ == pkcs11.CKA_PRIVATE {
				s.Private = kind == kindTrue
			}
		case kindUint:
			v := d.uint()
			if s != nil && typ == pkcs11.CKA_CLASS {
				s.Class = v
			} else if s != nil && typ == pkcs11.CKA_KEY_TYPE {
				s.KeyType = v
			}
		case kindBytes, kindText:
			v := d.take()
			if s != nil && typ == pkcs11.CKA_LABEL {
				s.Label = v
			} else if s != nil && typ == pkcs11.CKA_ID {
				s.ID = v
			}
		case kindDate:
			d.day()
		case kindMechanisms:
			n := d.uint()
			if n > uint64(len(d.b)) {
				return false
			}
			for range n {
				if d.uint() > math.MaxUint32 {
					return false
				}
			}
		case kindTemplate:
			inner := decoder{b: d.take()}
			if !inner.check(depth+1, nil) {
				return false
			}
		}
		if d.bad {
			return false
		}
	}
	return len(d.b) == 0
}

func (d *decoder) template(depth int) (pkcs11.Template, error) {
	n := d.uint()
	if d.bad || n > uint64(len(d.b)) || depth > maxDepth {
		return nil, ErrMalformed
	}
	t := make(pkcs11.Template, n)
	for i := range t {
		typ, kind := d.head()
		value, err := d.value(typ, kind, depth)
		if err != nil {
			return nil, err
		}
		if d.bad {
			return nil, ErrMalformed
		}
		t[i] = pkcs11.Attribute{Type: typ, Value: value}
	}
	if len(d.b) > 0 {
		return nil, ErrMalformed
	}
	return t, nil
}

func (d *decoder) value(typ pkcs11.AttributeType, kind, depth int) (any, error) {
	if have := kinds[kind]; have != kindOf(typ) {
		return nil, fmt.Errorf("%w: %v is stored as %v", ErrMalformed, typ, have)
	}
	switch kind {
	case kindFalse:
		return false, nil
	case kindTrue:
		return true, nil
	case kindUint:
		return d.uint(), nil
	case kindBytes:
		return shared(typ, d.take()), nil
	case kindText:
		return string(d.take()), nil
	case kindDate:
		return d.date(), nil
	case kindMechanisms:
		n := d.uint()
		if n > uint64(len(d.b)) {
			return nil, ErrMalformed
		}
		list := make([]pkcs11.MechanismType, n)
		for i := range list {
			m := d.uint()
			if m > math.MaxUint32 {
				return nil, ErrMalformed
			}
			list[i] = pkcs11.MechanismType(m)
		}
		return list, nil
	default:
		inner := decoder{b: d.take()}
		return inner.template(depth + 1)
	}
}

var kinds = [8]pkcs11.Kind{
	pkcs11.KindBool, pkcs11.KindBool, pkcs11.KindUint, pkcs11.KindBytes,
	pkcs11.KindText, pkcs11.KindDate, pkcs11.KindMechanisms, pkcs11.KindTemplate,
}

// Values that nearly every object has, boxed once.
var (
	noDate  any = time.Time{}
	noBytes any = []byte{}
	curves      = map[string]any{}
)

func init() {
	for _, oid := range []string{
		"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", "\x06\x05\x2b\x81\x04\x00\x22", "\x06\x05\x2b\x81\x04\x00\x23",
		"\x06\x03\x2b\x65\x70", "\x06\x03\x2b\x65\x6e",
	} {
		curves[oid] = []byte(oid)
	}
}

func shared(typ pkcs11.AttributeType, v []byte) any {
	if len(v) == 0 {
		return noBytes
	}
	if typ == pkcs11.CKA_EC_PARAMS {
		if s, ok := curves[string(v)]; ok {
			return s
		}
	}
	return v
}

func (d *decoder) date() any {
	if day := d.day(); !day.IsZero() {
		return day
	}
	return noDate
}

// day reads a date, the zero time for an empty or an impossible one.
func (d *decoder) day() time.Time {
	n := d.uint()
	if n == 0 {
		return time.Time{}
	}
	if n > 99991231 {
		d.fail()
		return time.Time{}
	}
	y, m, day := int(n/10000), time.Month(n/100%100), int(n%100)
	v := time.Date(y, m, day, 0, 0, 0, 0, time.UTC)
	if y < 1 || v.Year() != y || v.Month() != m || v.Day() != day || v.IsZero() {
		d.fail()
		return time.Time{}
	}
	return v
}
