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
	if !check(b, 0, &s) {
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
	v, rest, ok := number(d.b)
	if !ok {
		return d.fail()
	}
	d.b = rest
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

// check reports whether b is a well-formed template, and fills s in, which is nil
// for one within another. It is called for every object of a token that is opened.
func check(b []byte, depth int, s *Summary) bool {
	n, b, ok := number(b)
	if !ok || n > uint64(len(b)) || depth > maxDepth {
		return false
	}
	next := uint64(0) // the smallest type that may follow
	for range n {
		var head, v uint64
		if head, b, ok = number(b); !ok {
			return false
		}
		typ, kind := next+head>>3, head&7
		if typ > math.MaxUint32 || kinds[kind] != kindOf(pkcs11.AttributeType(typ)) {
			return false
		}
		next = typ + 1
		if kind <= kindTrue {
			if s != nil && typ == uint64(pkcs11.CKA_TOKEN) {
				s.Token = kind == kindTrue
			} else if s != nil && typ == uint64(pkcs11.CKA_PRIVATE) {
				s.Private = kind == kindTrue
			}
			continue
		}
		if v, b, ok = number(b); !ok {
			return false
		}
		switch kind {
		case kindUint:
			if s != nil && typ == uint64(pkcs11.CKA_CLASS) {
				s.Class = v
			} else if s != nil && typ == uint64(pkcs11.CKA_KEY_TYPE) {
				s.KeyType = v
			}
		case kindDate:
			if v != 0 {
				if _, ok := day(v); !ok {
					return false
				}
			}
		case kindMechanisms:
			if v > uint64(len(b)) {
				return false
			}
			for range v {
				var m uint64
				if m, b, ok = number(b); !ok || m > math.MaxUint32 {
					return false
				}
			}
		default: // it has a length
			if v > uint64(len(b)) {
				return false
			}
			part := b[:v:v]
			b = b[v:]
			if kind == kindTemplate {
				if !check(part, depth+1, nil) {
					return false
				}
			} else if s != nil && typ == uint64(pkcs11.CKA_LABEL) {
				s.Label = part
			} else if s != nil && typ == uint64(pkcs11.CKA_ID) {
				s.ID = part
			}
		}
	}
	return len(b) == 0
}

// number reads a number from the front of b.
func number(b []byte) (v uint64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 { // as nearly all
		return uint64(b[0]), b[1:], true
	}
	return longNumber(b)
}

func longNumber(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, false
	}
	return v, b[n:], true
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
	n := d.uint()
	if n == 0 {
		return noDate
	}
	v, ok := day(n)
	if !ok {
		d.fail()
	}
	return v
}

// day is the date that a number other than 0 stands for.
func day(n uint64) (v time.Time, ok bool) {
	if n > 99991231 {
		return time.Time{}, false
	}
	y, m, d := int(n/10000), time.Month(n/100%100), int(n%100)
	v = time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	if y < 1 || v.Year() != y || v.Month() != m || v.Day() != d || v.IsZero() {
		return time.Time{}, false
	}
	return v, true
}
