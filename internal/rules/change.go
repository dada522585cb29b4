package rules

import (
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Set returns what C_SetAttributeValue changes in an object with the complete
// attributes old: those of changes that differ, in canonical form, possibly
// none. PKCS #11 v2.40 §4.1.2, §5.7.
//
// CKR_ACTION_PROHIBITED is the code for an object that is not CKA_MODIFIABLE,
// and for a trusted certificate unless the SO changes it;
// CKR_ATTRIBUTE_READ_ONLY for an attribute that does not change, or not in that
// direction.
func Set(old, changes pkcs11.Template) (pkcs11.Template, error) { return User.Set(old, changes) }

// Set is the function Set on behalf of by.
func (by By) Set(old, changes pkcs11.Template) (pkcs11.Template, error) {
	s := of(old)
	c, err := canonical(changes)
	if err != nil {
		return nil, err
	}
	if !s.flag(old, pkcs11.CKA_MODIFIABLE) {
		return nil, s.fail(pkcs11.CKA_MODIFIABLE, pkcs11.CKR_ACTION_PROHIBITED, "false: nothing of the object can be changed")
	}
	if s.class == pkcs11.CKO_CERTIFICATE && by != SO && old.Bool(pkcs11.CKA_TRUSTED) {
		return nil, s.fail(pkcs11.CKA_TRUSTED, pkcs11.CKR_ACTION_PROHIBITED, "true: only the SO changes a trusted certificate")
	}
	changed := make(pkcs11.Template, 0, len(c))
	for _, a := range c {
		r, err := s.changeable(a)
		if err != nil {
			return nil, err
		}
		same, err := s.allowed(r, r.set, old, a, by)
		if err != nil {
			return nil, err
		}
		if !same {
			changed = append(changed, a)
		}
	}
	return changed, s.still(old, changed)
}

// Copy returns the attributes of what C_CopyObject makes of an object with the
// complete attributes old: complete, without the secret values. CKA_LOCAL and
// the other computed attributes stay as they are; CKA_TRUSTED becomes false, for
// the SO has not seen the copy. PKCS #11 v2.40 §4.1.3, §5.7.
//
// CKR_ACTION_PROHIBITED is the code for an object that is not CKA_COPYABLE, and
// CKR_ATTRIBUTE_READ_ONLY for an attribute that does not change on copying, or
// not in that direction.
func Copy(old, changes pkcs11.Template) (pkcs11.Template, error) {
	s := of(old)
	c, err := canonical(changes)
	if err != nil {
		return nil, err
	}
	if !s.flag(old, pkcs11.CKA_COPYABLE) {
		return nil, s.fail(pkcs11.CKA_COPYABLE, pkcs11.CKR_ACTION_PROHIBITED, "false: the object cannot be copied")
	}
	t := make(pkcs11.Template, 0, len(old)+len(c))
	for _, a := range old {
		switch a.Type {
		case pkcs11.CKA_UNIQUE_ID:
			continue
		case pkcs11.CKA_TRUSTED:
			a.Value = false
		}
		t = append(t, a)
	}
	for _, a := range c {
		r, err := s.changeable(a)
		if err != nil {
			return nil, err
		}
		same, err := s.allowed(r, r.copy, old, a, User)
		if err != nil {
			return nil, err
		}
		if !same {
			t = t.Set(a)
		}
	}
	return t, s.still(old, c)
}

// Destroy reports whether an object may be destroyed. PKCS #11 v2.40 §4.4.
func Destroy(object pkcs11.Template) error {
	if s := of(object); !s.flag(object, pkcs11.CKA_DESTROYABLE) {
		return s.fail(pkcs11.CKA_DESTROYABLE, pkcs11.CKR_ACTION_PROHIBITED, "false: the object stays for ever")
	}
	return nil
}

// changeable returns the row of an attribute that a caller wants to change.
func (s *spec) changeable(a pkcs11.Attribute) (*row, error) {
	i := s.find(a.Type)
	if i < 0 {
		return nil, s.fail(a.Type, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, "an object of this class and type has no such attribute")
	}
	return &s.rows[i], nil
}

// allowed reports whether a change leaves the value as it is, and an error if it
// must not be made.
func (s *spec) allowed(r *row, how change, old pkcs11.Template, a pkcs11.Attribute, by By) (same bool, err error) {
	refuse := func(cause string) (bool, error) {
		return false, s.fail(a.Type, pkcs11.CKR_ATTRIBUTE_READ_ONLY, "%s", cause)
	}
	switch how {
	case fixed:
		return refuse("it stays as it was made")
	case bySO:
		if by != SO {
			return refuse("only the SO changes it")
		}
	case rises:
		if s.flag(old, a.Type) && !a.Bool() {
			return refuse("it is true and stays so")
		}
	case falls:
		if !s.flag(old, a.Type) && a.Bool() {
			return refuse("it is false and stays so; make another object")
		}
	}
	if err := s.check(r, a); err != nil {
		return false, err
	}
	have, ok := old.Get(a.Type)
	return ok && have.Equal(a), nil
}

// flag returns a boolean attribute of an object, its default if it is absent.
func (s *spec) flag(object pkcs11.Template, typ pkcs11.AttributeType) bool {
	if a, ok := object.Get(typ); ok {
		return a.Bool()
	}
	if i := s.find(typ); i >= 0 {
		b, _ := s.rows[i].def.(bool)
		return b
	}
	return false
}

// still checks that the object with the changes does not contradict itself, and
// that a key for wrapping alone does not come of one that also decrypts: see
// wrap.go.
func (s *spec) still(old, changes pkcs11.Template) error {
	d := &draft{spec: s}
	for _, a := range old {
		d.set(a.Type, a.Value)
	}
	for _, a := range changes {
		d.set(a.Type, a.Value)
	}
	if s.class == pkcs11.CKO_SECRET_KEY && d.bool(pkcs11.CKA_WRAP) {
		for _, typ := range [...]pkcs11.AttributeType{pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT} {
			if old.Bool(typ) && !d.bool(typ) {
				return s.fail(typ, pkcs11.CKR_ATTRIBUTE_READ_ONLY, "a key with CKA_WRAP keeps it; give up CKA_WRAP, too, or generate a key for wrapping alone")
			}
		}
	}
	return d.agree()
}
