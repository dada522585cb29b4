package pkcs11

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Kind is the Go type that the value of an attribute has.
type Kind uint8

// The kinds of values.
const (
	KindBytes      Kind = iota // []byte, big integers big-endian without leading zeros
	KindBool                   // bool (CK_BBOOL)
	KindUint                   // uint64 (CK_ULONG)
	KindText                   // string (RFC 2279 string)
	KindDate                   // time.Time (CK_DATE), the zero time for an empty one
	KindMechanisms             // []MechanismType
	KindTemplate               // Template
)

var kindNames = [...]string{"bytes", "bool", "uint64", "text", "date", "mechanisms", "template"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// An Attribute is a CK_ATTRIBUTE: a type and a value whose Go type is that of
// Type.Kind(). A caller may also give
//
//   - for KindUint any integer, and the named types such as ObjectClass;
//   - for KindBytes a string, for KindText a []byte;
//
// and gets back what the table of kinds says. Value is nil in a template that
// asks for values. After GetAttributeValue it is an Error where the attribute
// could not be read: see [Attribute.Err].
type Attribute struct {
	Type  AttributeType
	Value any
}

// A Template is a list of attributes: what an object shall be made of or is
// searched by, or which of its values are asked for.
type Template []Attribute

// Attr is short for Attribute{t, v} in templates.
func Attr(t AttributeType, v any) Attribute { return Attribute{t, v} }

// Err returns why GetAttributeValue could not read the attribute:
// CKR_ATTRIBUTE_SENSITIVE or CKR_ATTRIBUTE_TYPE_INVALID; nil if it was read.
func (a Attribute) Err() error {
	if e, ok := a.Value.(Error); ok {
		return e
	}
	return nil
}

// Canonical returns a with its value in the one Go type of its kind. The value
// is not copied. The error wraps CKR_ATTRIBUTE_VALUE_INVALID.
func (a Attribute) Canonical() (Attribute, error) {
	switch a.Type.Kind() {
	case KindBool:
		if _, ok := a.Value.(bool); ok {
			return a, nil
		}
	case KindUint:
		if _, ok := a.Value.(uint64); ok {
			return a, nil
		}
		if v, ok := toUint64(a.Value); ok {
			a.Value = v
			return a, nil
		}
	case KindText:
		switch v := a.Value.(type) {
		case string:
			return a, nil
		case []byte:
			a.Value = string(v)
			return a, nil
		}
	case KindDate:
		if _, ok := a.Value.(time.Time); ok {
			return a, nil
		}
	case KindMechanisms:
		if _, ok := a.Value.([]MechanismType); ok {
			return a, nil
		}
	case KindTemplate:
		switch v := a.Value.(type) {
		case Template:
			return a, nil
		case []Attribute:
			a.Value = Template(v)
			return a, nil
		}
	case KindBytes:
		switch v := a.Value.(type) {
		case []byte:
			return a, nil
		case string:
			a.Value = []byte(v)
			return a, nil
		}
	}
	return a, fmt.Errorf("%w: %v wants a value of kind %v, not %T", CKR_ATTRIBUTE_VALUE_INVALID, a.Type, a.Type.Kind(), a.Value)
}

func toUint64(v any) (uint64, bool) {
	switch v := v.(type) {
	case uint64:
		return v, true
	case ObjectClass:
		return uint64(v), true
	case KeyType:
		return uint64(v), true
	case CertificateType:
		return uint64(v), true
	case MechanismType:
		return uint64(v), true
	case HardwareFeature:
		return uint64(v), true
	case ProfileID:
		return uint64(v), true
	case int:
		return uint64(v), v >= 0
	case Error: // why there is no value
		return 0, false
	}
	switch r := reflect.ValueOf(v); {
	case r.CanUint():
		return r.Uint(), true
	case r.CanInt():
		return uint64(r.Int()), r.Int() >= 0
	}
	return 0, false
}

// Bool returns the value, false if there is none of that kind.
func (a Attribute) Bool() bool { v, _ := a.Value.(bool); return v }

// Uint returns the value, CK_UNAVAILABLE_INFORMATION (all ones) if there is
// none of that kind.
func (a Attribute) Uint() uint64 {
	if v, ok := toUint64(a.Value); ok {
		return v
	}
	return math.MaxUint64
}

// Text returns the value, "" if there is none of that kind.
func (a Attribute) Text() string { v, _ := a.Value.(string); return v }

// Bytes returns the value, not a copy; nil if there is none of that kind.
func (a Attribute) Bytes() []byte { v, _ := a.Value.([]byte); return v }

// Equal reports whether a and b have the same type and canonical value.
func (a Attribute) Equal(b Attribute) bool {
	if a.Type != b.Type {
		return false
	}
	a, errA := a.Canonical()
	b, errB := b.Canonical()
	if errA != nil || errB != nil {
		return false
	}
	switch v := a.Value.(type) {
	case []byte:
		return bytes.Equal(v, b.Value.([]byte))
	case time.Time:
		w := b.Value.(time.Time)
		return v.Equal(w) || v.Format(time.DateOnly) == w.Format(time.DateOnly)
	case []MechanismType:
		return slices.Equal(v, b.Value.([]MechanismType))
	case Template:
		return v.Equal(b.Value.(Template))
	default:
		return a.Value == b.Value
	}
}

// String names the attribute, and shows its value unless that may be a secret:
// bytes appear as their number, except those of CKA_ID, CKA_EC_PARAMS and
// CKA_PUBLIC_EXPONENT, and a value that is not of the attribute's kind as its
// type.
func (a Attribute) String() string {
	kind := a.Type.Kind()
	switch v := a.Value.(type) {
	case nil:
		return a.Type.String()
	case Error:
		return fmt.Sprintf("%v=%v", a.Type, v)
	case []byte:
		if a.Type == CKA_ID || a.Type == CKA_EC_PARAMS || a.Type == CKA_PUBLIC_EXPONENT {
			return fmt.Sprintf("%v=%x", a.Type, v)
		}
		return fmt.Sprintf("%v=[%d bytes]", a.Type, len(v))
	case string:
		if kind == KindText {
			return fmt.Sprintf("%v=%q", a.Type, v)
		}
		return fmt.Sprintf("%v=[%d bytes]", a.Type, len(v))
	case bool:
		if kind == KindBool {
			return fmt.Sprintf("%v=%v", a.Type, v)
		}
	case time.Time:
		if kind == KindDate {
			return fmt.Sprintf("%v=%s", a.Type, v.Format(time.DateOnly))
		}
	case []MechanismType:
		if kind == KindMechanisms {
			return fmt.Sprintf("%v=%v", a.Type, v)
		}
	case Template:
		if kind == KindTemplate {
			return fmt.Sprintf("%v=%v", a.Type, v)
		}
	}
	if v, ok := toUint64(a.Value); ok && kind == KindUint {
		switch a.Type {
		case CKA_CLASS:
			return fmt.Sprintf("%v=%v", a.Type, ObjectClass(v))
		case CKA_KEY_TYPE:
			return fmt.Sprintf("%v=%v", a.Type, KeyType(v))
		case CKA_CERTIFICATE_TYPE:
			return fmt.Sprintf("%v=%v", a.Type, CertificateType(v))
		case CKA_KEY_GEN_MECHANISM, CKA_MECHANISM_TYPE, CKA_NAME_HASH_ALGORITHM:
			return fmt.Sprintf("%v=%v", a.Type, MechanismType(v))
		}
		return fmt.Sprintf("%v=%d", a.Type, v)
	}
	return fmt.Sprintf("%v=[%T]", a.Type, a.Value)
}

// Format is String for every verb: without it, %d and %#v would show the value.
func (a Attribute) Format(s fmt.State, verb rune) { formatText(s, verb, a.String()) }

func formatText(s fmt.State, verb rune, text string) {
	if verb != 'q' {
		verb = 's'
	}
	fmt.Fprintf(s, fmt.FormatString(s, verb), text)
}

// LogValue is String.
func (a Attribute) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Get returns the first attribute of type t.
func (t Template) Get(typ AttributeType) (Attribute, bool) {
	for _, a := range t {
		if a.Type == typ {
			return a, true
		}
	}
	return Attribute{}, false
}

// Has reports whether t holds an attribute of type typ.
func (t Template) Has(typ AttributeType) bool { _, ok := t.Get(typ); return ok }

// Bool returns the value of the first attribute of type typ, false if absent.
func (t Template) Bool(typ AttributeType) bool { a, _ := t.Get(typ); return a.Bool() }

// Uint returns the value of the first attribute of type typ, all ones
// (CK_UNAVAILABLE_INFORMATION) if absent.
func (t Template) Uint(typ AttributeType) uint64 { a, _ := t.Get(typ); return a.Uint() }

// Text returns the value of the first attribute of type typ, "" if absent.
func (t Template) Text(typ AttributeType) string { a, _ := t.Get(typ); return a.Text() }

// Bytes returns the value of the first attribute of type typ, nil if absent.
func (t Template) Bytes(typ AttributeType) []byte { a, _ := t.Get(typ); return a.Bytes() }

// Set replaces the value of the first attribute of a's type in place, or
// appends a, and returns the template.
func (t Template) Set(a Attribute) Template {
	for i := range t {
		if t[i].Type == a.Type {
			t[i] = a
			return t
		}
	}
	return append(t, a)
}

// Equal reports whether t and u hold equal attributes in any order.
func (t Template) Equal(u Template) bool {
	if len(t) != len(u) {
		return false
	}
	for _, a := range t {
		if t.count(a) != u.count(a) {
			return false
		}
	}
	return true
}

func (t Template) count(a Attribute) int {
	n := 0
	for _, b := range t {
		if a.Equal(b) {
			n++
		}
	}
	return n
}

// Clone returns a copy of t that shares no memory with it.
func (t Template) Clone() Template {
	if t == nil {
		return nil
	}
	u := make(Template, len(t))
	for i, a := range t {
		switch v := a.Value.(type) {
		case []byte:
			a.Value = bytes.Clone(v)
		case []MechanismType:
			a.Value = slices.Clone(v)
		case Template:
			a.Value = v.Clone()
		}
		u[i] = a
	}
	return u
}

// String lists the attributes as Attribute.String shows them.
func (t Template) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, a := range t {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	b.WriteByte('}')
	return b.String()
}

// LogValue is String.
func (t Template) LogValue() slog.Value { return slog.StringValue(t.String()) }
