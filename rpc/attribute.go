package rpc

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// maxDepth is how deep templates may be nested in templates, maxAttributes how
// many attributes one may have.
const (
	maxDepth      = 8
	maxAttributes = 4096
)

// A form is how the value of an attribute travels.
type form uint8

const (
	formBytes form = iota
	formByte
	formUlong
	formTemplate
	formMechanisms
	formDate
)

// forms are the attributes that do not travel as bytes. The list is the
// protocol's, not the standard's: one that is not here is bytes, whatever its
// kind, a CK_ULONG too (then in the byte order of the machine).
var forms = map[pkcs11.AttributeType]form{
	pkcs11.CKA_TOKEN: formByte, pkcs11.CKA_PRIVATE: formByte, pkcs11.CKA_TRUSTED: formByte,
	pkcs11.CKA_SENSITIVE: formByte, pkcs11.CKA_ENCRYPT: formByte, pkcs11.CKA_DECRYPT: formByte,
	pkcs11.CKA_WRAP: formByte, pkcs11.CKA_UNWRAP: formByte, pkcs11.CKA_SIGN: formByte,
	pkcs11.CKA_SIGN_RECOVER: formByte, pkcs11.CKA_VERIFY: formByte, pkcs11.CKA_VERIFY_RECOVER: formByte,
	pkcs11.CKA_DERIVE: formByte, pkcs11.CKA_EXTRACTABLE: formByte, pkcs11.CKA_LOCAL: formByte,
	pkcs11.CKA_NEVER_EXTRACTABLE: formByte, pkcs11.CKA_ALWAYS_SENSITIVE: formByte,
	pkcs11.CKA_MODIFIABLE: formByte, pkcs11.CKA_COPYABLE: formByte, 0x200: formByte, // CKA_SECONDARY_AUTH
	pkcs11.CKA_ALWAYS_AUTHENTICATE: formByte, pkcs11.CKA_WRAP_WITH_TRUSTED: formByte,
	pkcs11.CKA_RESET_ON_INIT: formByte, pkcs11.CKA_HAS_RESET: formByte, 0x405: formByte, // CKA_COLOR

	pkcs11.CKA_CLASS: formUlong, pkcs11.CKA_CERTIFICATE_TYPE: formUlong, pkcs11.CKA_CERTIFICATE_CATEGORY: formUlong,
	pkcs11.CKA_JAVA_MIDP_SECURITY_DOMAIN: formUlong, pkcs11.CKA_KEY_TYPE: formUlong, pkcs11.CKA_MODULUS_BITS: formUlong,
	pkcs11.CKA_PRIME_BITS: formUlong, pkcs11.CKA_SUBPRIME_BITS: formUlong, pkcs11.CKA_VALUE_BITS: formUlong,
	pkcs11.CKA_VALUE_LEN: formUlong, pkcs11.CKA_KEY_GEN_MECHANISM: formUlong, 0x201: formUlong, // CKA_AUTH_PIN_FLAGS
	pkcs11.CKA_HW_FEATURE_TYPE: formUlong, 0x400: formUlong, 0x401: formUlong, 0x402: formUlong, // CKA_PIXEL_X, _Y, CKA_RESOLUTION
	0x403: formUlong, 0x404: formUlong, 0x406: formUlong, // CKA_CHAR_ROWS, CKA_CHAR_COLUMNS, CKA_BITS_PER_PIXEL
	pkcs11.CKA_MECHANISM_TYPE: formUlong,

	pkcs11.CKA_WRAP_TEMPLATE: formTemplate, pkcs11.CKA_UNWRAP_TEMPLATE: formTemplate, pkcs11.CKA_DERIVE_TEMPLATE: formTemplate,
	pkcs11.CKA_ALLOWED_MECHANISMS: formMechanisms,
	pkcs11.CKA_START_DATE:         formDate, pkcs11.CKA_END_DATE: formDate,
}

// forms2 are those that version 2 added, of PKCS #11 3.2.
var forms2 = map[pkcs11.AttributeType]form{
	0x633: formByte, 0x634: formByte, // CKA_ENCAPSULATE, CKA_DECAPSULATE
	0x61d: formUlong,                                                       // CKA_PARAMETER_SET
	0x617: formUlong, 0x618: formUlong, 0x619: formUlong, 0x61c: formUlong, // CKA_HSS_LEVELS, _LMS_TYPE, _LMOTS_TYPE, _KEYS_REMAINING
	0x4000062a: formTemplate, 0x4000062b: formTemplate, // CKA_ENCAPSULATE_TEMPLATE, CKA_DECAPSULATE_TEMPLATE
}

func formOf(t pkcs11.AttributeType, version uint8) form {
	if f, ok := forms[t]; ok {
		return f
	}
	if version >= 2 {
		return forms2[t]
	}
	return formBytes
}

// template reads an aA.
func (r *reader) template() pkcs11.Template { return r.attributes(0) }

func (r *reader) attributes(depth int) pkcs11.Template {
	n := r.uint32()
	// Each has five bytes at least.
	if uint64(n)*5 > uint64(len(r.b)) || n > maxAttributes {
		r.fail("a template is longer than it can be")
		return nil
	}
	t := make(pkcs11.Template, 0, n)
	for range n {
		a, _ := r.attribute(depth)
		if r.err != nil {
			return nil
		}
		t = append(t, a)
	}
	return t
}

// attribute reads an attribute and the length that it says its value has. One
// without a value (whose length is all ones) has the value nil. A value that is
// not of its kind stays the bytes that it is, for the module to refuse.
func (r *reader) attribute(depth int) (a pkcs11.Attribute, length uint32) {
	a.Type = pkcs11.AttributeType(r.uint32())
	if r.byte() == 0 {
		return a, null
	}
	length = r.uint32()
	kind := a.Type.Kind()
	switch formOf(a.Type, r.version) {
	case formByte:
		v := r.byte()
		switch {
		case length == 0:
			a.Value = []byte{}
		case kind == pkcs11.KindBool:
			a.Value = v != 0
		default:
			a.Value = []byte{v}
		}
	case formUlong:
		v := r.uint64()
		if length == 4 && r.ulong != nil {
			*r.ulong = 4
		}
		switch {
		case length != 4 && length != 8:
			a.Value = make([]byte, min(length, 16))
		case kind == pkcs11.KindUint:
			a.Value = v
		default:
			a.Value = binary.LittleEndian.AppendUint64(nil, v)[:length]
		}
	case formTemplate:
		if depth >= maxDepth {
			r.fail(errTooDeep.Error())
			return a, 0
		}
		a.Value = r.attributes(depth + 1)
	case formMechanisms:
		n := r.uint32()
		if uint64(n)*8 > uint64(len(r.b)) {
			r.fail("a list is longer than the message")
			return a, 0
		}
		list := make([]pkcs11.MechanismType, n)
		for i := range list {
			list[i] = pkcs11.MechanismType(r.uint64())
		}
		a.Value = list
	case formDate:
		a.Value = dateOf(r.array())
	default:
		a.Value = valueOf(kind, r.array())
	}
	return a, length
}

// valueOf makes a value of that kind of bytes, if they are one.
func valueOf(kind pkcs11.Kind, b []byte) any {
	switch {
	case kind == pkcs11.KindText:
		return string(b)
	case kind == pkcs11.KindBool && len(b) == 1:
		return b[0] != 0
	case kind == pkcs11.KindUint && len(b) == 8:
		return binary.NativeEndian.Uint64(b)
	case kind == pkcs11.KindUint && len(b) == 4:
		return uint64(binary.NativeEndian.Uint32(b))
	}
	if b == nil {
		return []byte{}
	}
	return b
}

// dateOf makes a time of a CK_DATE, if it is one.
func dateOf(b []byte) any {
	if len(b) == 0 {
		return time.Time{}
	}
	t, err := time.Parse("20060102", string(b))
	if err != nil {
		return b
	}
	return t
}

// template writes an aA.
func (w *writer) template(t pkcs11.Template) error {
	w.uint32(uint32(len(t)))
	for _, a := range t {
		if err := w.attribute(a); err != nil {
			return err
		}
	}
	return nil
}

// attribute writes an attribute. The value may be of any type that the module's
// interface allows; the error wraps CKR_ATTRIBUTE_VALUE_INVALID.
func (w *writer) attribute(a pkcs11.Attribute) error {
	a, err := a.Canonical()
	if err != nil {
		if b, ok := a.Value.([]byte); ok && formOf(a.Type, w.version) == formBytes {
			a.Value = b // as it came
		} else {
			return err
		}
	}
	w.uint32(uint32(a.Type))
	w.byte(1)
	return w.value(a, true)
}

// unavailable writes an attribute without a value.
func (w *writer) unavailable(t pkcs11.AttributeType) {
	w.uint32(uint32(t))
	w.byte(0)
}

// value writes the length and the value of a canonical attribute. Where full is
// false, only the length is of interest.
func (w *writer) value(a pkcs11.Attribute, full bool) error {
	w.uint32(w.length(a))
	switch formOf(a.Type, w.version) {
	case formByte:
		b := byte(0)
		if v, ok := a.Value.(bool); ok && v && full {
			b = 1
		} else if v, ok := a.Value.([]byte); ok && len(v) == 1 && full {
			b = v[0]
		}
		w.byte(b)
	case formUlong:
		v, _ := a.Value.(uint64)
		w.uint64(v)
	case formTemplate:
		t, _ := a.Value.(pkcs11.Template)
		return w.template(t)
	case formMechanisms:
		list, _ := a.Value.([]pkcs11.MechanismType)
		w.uint32(uint32(len(list)))
		for _, m := range list {
			w.uint64(uint64(m))
		}
	default:
		if full {
			w.array(w.raw(a))
		} else {
			w.array(nil)
		}
	}
	return nil
}

// raw is the value of an attribute that travels as bytes.
func (w *writer) raw(a pkcs11.Attribute) []byte {
	switch v := a.Value.(type) {
	case []byte:
		if v == nil {
			v = []byte{}
		}
		return v
	case string:
		return []byte(v)
	case bool:
		if v {
			return []byte{1}
		}
		return []byte{0}
	case uint64:
		if w.ulong == 4 {
			return binary.NativeEndian.AppendUint32(nil, uint32(v))
		}
		return binary.NativeEndian.AppendUint64(nil, v)
	case time.Time:
		if v.IsZero() {
			return []byte{}
		}
		return v.AppendFormat(nil, "20060102")
	}
	return []byte{}
}

// length is the length of a value in the peer's memory.
func (w *writer) length(a pkcs11.Attribute) uint32 {
	switch v := a.Value.(type) {
	case bool:
		return 1
	case uint64:
		return uint32(w.ulong)
	case pkcs11.Template:
		return uint32(len(v) * 3 * int(w.ulong)) // sizeof (CK_ATTRIBUTE)
	case []pkcs11.MechanismType:
		return uint32(len(v) * int(w.ulong))
	case string:
		return uint32(len(v))
	case []byte:
		return uint32(len(v))
	case time.Time:
		if v.IsZero() {
			return 0
		}
		return 8
	}
	return 0
}

// A wanted is an attribute that a client asks for, and what room it has.
type wanted struct {
	typ  pkcs11.AttributeType
	room uint32
}

// wants reads an fA. What a client says of the attributes within a template is
// read and not used: a template is answered whole, or not at all.
func (r *reader) wants(depth int) []wanted {
	n := r.uint32()
	if uint64(n)*8 > uint64(len(r.b)) || n > maxAttributes {
		r.fail("a template is longer than it can be")
		return nil
	}
	list := make([]wanted, n)
	for i := range list {
		list[i] = wanted{pkcs11.AttributeType(r.uint32()), r.uint32()}
		if list[i].room != 0 && formOf(list[i].typ, r.version) == formTemplate && r.version >= 2 {
			if depth >= maxDepth {
				r.fail(errTooDeep.Error())
				return nil
			}
			r.wants(depth + 1)
		}
	}
	if r.err != nil {
		return nil
	}
	return list
}

// wants writes an fA.
func (w *writer) wants(list []wanted) {
	w.uint32(uint32(len(list)))
	for _, a := range list {
		w.uint32(uint32(a.typ))
		w.uint32(a.room)
	}
}

// answer writes what a client gets for the attributes that it wants, and returns
// the code that goes with them. values are what GetAttributeValue filled in.
func (w *writer) answer(list []wanted, values pkcs11.Template, err error) error {
	code := pkcs11.Error(0)
	if err != nil {
		code = pkcs11.CodeOf(err)
		if code != pkcs11.CKR_ATTRIBUTE_SENSITIVE && code != pkcs11.CKR_ATTRIBUTE_TYPE_INVALID {
			return err
		}
	}
	if len(values) != len(list) {
		return fmt.Errorf("%w: asked for %d attributes, got %d", pkcs11.CKR_DEVICE_ERROR, len(list), len(values))
	}
	w.uint32(uint32(len(list)))
	for i, a := range values {
		want := list[i]
		if a.Value == nil || a.Err() != nil {
			w.unavailable(want.typ)
			continue
		}
		c, cerr := a.Canonical()
		switch {
		case cerr != nil:
		case formOf(a.Type, w.version) == formTemplate && w.version < 2:
			// Clients of that age cannot read one.
			w.unavailable(want.typ)
			if code == 0 {
				code = pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
			}
		case want.room == 0:
			w.uint32(uint32(want.typ))
			w.byte(1)
			cerr = w.value(c, false)
		case want.room < w.length(c):
			w.unavailable(want.typ)
			if code == 0 {
				code = pkcs11.CKR_BUFFER_TOO_SMALL
			}
		default:
			w.uint32(uint32(want.typ))
			w.byte(1)
			cerr = w.value(c, true)
		}
		if cerr != nil {
			return cerr
		}
	}
	w.uint64(uint64(code))
	return nil
}
