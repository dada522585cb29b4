package rules

import (
	"fmt"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// making is how an object comes to be.
type making struct {
	op   operation
	by   By
	mech pkcs11.MechanismType // of opGenerate
	base pkcs11.Template      // of opDerive: the attributes of the base key
}

// draft is an object in the making: a value for each row of its table, nil for
// an attribute that is absent.
type draft struct {
	*spec
	values [64]any
}

// make goes through the table for a canonical template. See the package comment
// for the order of the checks.
func (s *spec) make(t pkcs11.Template, m making) (pkcs11.Template, error) {
	d, err := s.draft(t, m)
	if err != nil {
		return nil, err
	}
	d.compute(m)
	switch {
	case m.op == opCreate:
		err = d.material()
	case m.op == opGenerate && d.class == pkcs11.CKO_PUBLIC_KEY && d.kind&curves != 0:
		err = d.params()
	}
	if err != nil {
		return nil, err
	}
	if err := d.agree(); err != nil {
		return nil, err
	}
	return d.template(), nil
}

// draft checks the template against the table and fills in defaults.
func (s *spec) draft(t pkcs11.Template, m making) (*draft, error) {
	if !s.supported || !s.made[m.op] {
		return nil, s.fail(pkcs11.CKA_CLASS, pkcs11.CKR_TEMPLATE_INCONSISTENT, "such an object is not made %s", [...]string{"from values", "by generation", "by unwrapping", "by derivation"}[m.op])
	}
	d := &draft{spec: s}
	uses := false
	for _, a := range t {
		i := s.find(a.Type)
		if i < 0 {
			return nil, s.fail(a.Type, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, "an object of this class and type has no such attribute; leave it out")
		}
		r := &s.rows[i]
		if r.in[m.op] == never {
			return nil, s.fail(a.Type, pkcs11.CKR_ATTRIBUTE_READ_ONLY, "the token sets it; leave it out of the template")
		}
		if r.set == bySO && m.by != SO && a.Bool() {
			return nil, s.fail(a.Type, pkcs11.CKR_ATTRIBUTE_READ_ONLY, "only the SO may set it to true")
		}
		if a.Type != pkcs11.CKA_CHECK_VALUE && r.def == nil && !r.use && r.in[m.op] != must && blank(a.Value) {
			continue // as if it were not there
		}
		if err := s.check(r, a); err != nil {
			return nil, err
		}
		if a.Type == pkcs11.CKA_CHECK_VALUE && (m.op == opGenerate || m.op == opDerive) && !blank(a.Value) {
			return nil, s.fail(a.Type, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "the key is not made yet; leave it out, or empty if none is wanted")
		}
		d.values[i] = a.Value
		uses = uses || r.use && a.Bool()
	}
	var missing []string
	for i := range s.rows {
		r := &s.rows[i]
		switch {
		case d.values[i] != nil:
		case r.in[m.op] == must:
			missing = append(missing, r.typ.String())
		case r.use:
			d.values[i] = !uses && r.uses&s.kind != 0
		default:
			d.values[i] = r.def
		}
	}
	if len(missing) > 0 {
		return nil, incomplete(s.name, missing)
	}
	return d, nil
}

func incomplete(what string, missing []string) error {
	return fmt.Errorf("%s: %w: add %s to the template", what, pkcs11.CKR_TEMPLATE_INCOMPLETE, strings.Join(missing, ", "))
}

// blank reports whether v is an empty value, of a kind that can be.
func blank(v any) bool {
	switch v := v.(type) {
	case []byte:
		return len(v) == 0
	case string:
		return v == ""
	case []pkcs11.MechanismType:
		return len(v) == 0
	case pkcs11.Template:
		return len(v) == 0
	}
	return false
}

func (d *draft) get(typ pkcs11.AttributeType) any {
	if i := d.find(typ); i >= 0 {
		return d.values[i]
	}
	return nil
}

func (d *draft) bool(typ pkcs11.AttributeType) bool { v, _ := d.get(typ).(bool); return v }

func (d *draft) bytes(typ pkcs11.AttributeType) []byte { v, _ := d.get(typ).([]byte); return v }

// set sets a value, if objects like this have the attribute.
func (d *draft) set(typ pkcs11.AttributeType, v any) {
	if i := d.find(typ); i >= 0 {
		d.values[i] = v
	}
}

// fill sets a value that is not there.
func (d *draft) fill(typ pkcs11.AttributeType, v any) {
	if i := d.find(typ); i >= 0 && d.values[i] == nil {
		d.values[i] = v
	}
}

// template returns the attributes in the order of their types, in which they are stored.
func (d *draft) template() pkcs11.Template {
	n := 0
	for i := range d.rows {
		if d.values[i] != nil {
			n++
		}
	}
	t := make(pkcs11.Template, 0, n)
	for _, e := range d.index {
		if v := d.values[e.row]; v != nil {
			t = append(t, pkcs11.Attribute{Type: e.typ, Value: v})
		}
	}
	return t
}

// compute sets what follows from how the object is made. §4.7 to §4.10.
func (d *draft) compute(m making) {
	sensitive, extractable := d.bool(pkcs11.CKA_SENSITIVE), d.bool(pkcs11.CKA_EXTRACTABLE)
	if e, ok := d.get(pkcs11.CKA_PUBLIC_EXPONENT).([]byte); ok {
		d.set(pkcs11.CKA_PUBLIC_EXPONENT, trimZeros(e))
	}
	switch m.op {
	case opGenerate:
		if d.class == pkcs11.CKO_PUBLIC_KEY {
			d.fill(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})
		}
		d.set(pkcs11.CKA_LOCAL, true)
		d.set(pkcs11.CKA_KEY_GEN_MECHANISM, uint64(m.mech))
		d.set(pkcs11.CKA_ALWAYS_SENSITIVE, sensitive)
		d.set(pkcs11.CKA_NEVER_EXTRACTABLE, !extractable)
	case opDerive:
		d.set(pkcs11.CKA_ALWAYS_SENSITIVE, m.base.Bool(pkcs11.CKA_ALWAYS_SENSITIVE) && sensitive)
		d.set(pkcs11.CKA_NEVER_EXTRACTABLE, m.base.Bool(pkcs11.CKA_NEVER_EXTRACTABLE) && !extractable)
	}
	// What was created or unwrapped was outside: the defaults, false, hold.
}
