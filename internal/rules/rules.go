// Package rules knows the attributes of PKCS #11: which an object of a class and
// key type has, who gives each its value and when, what the value is if nobody
// does, who may change it afterwards and in which direction, and which are never
// shown.
//
// The rules are data, a table per class (table.go), and one interpreter goes
// through them for every operation; docs/attributes.md is printed from the same
// tables. The package knows neither sessions nor handles nor drivers: it takes
// templates and attributes, and returns complete ones.
//
// # Checks and their order
//
// A template that makes an object is checked in this order, and the first check
// that fails is the error:
//
//  1. Every value has the kind of its attribute (CKR_ATTRIBUTE_VALUE_INVALID),
//     and no attribute is there with two different values
//     (CKR_TEMPLATE_INCONSISTENT). The same value twice counts once, as §4.1.1
//     of the standard (v2.40) encourages.
//  2. CKA_CLASS, CKA_KEY_TYPE and CKA_CERTIFICATE_TYPE are there or follow from
//     the mechanism (CKR_TEMPLATE_INCOMPLETE), are supported, and agree with the
//     mechanism (CKR_TEMPLATE_INCONSISTENT; CKR_ATTRIBUTE_VALUE_INVALID for a
//     number that the standard does not know).
//  3. Attribute by attribute, in the caller's order: an object like this has it
//     (CKR_ATTRIBUTE_TYPE_INVALID), it is the caller's to give
//     (CKR_ATTRIBUTE_READ_ONLY), and its value is possible
//     (CKR_ATTRIBUTE_VALUE_INVALID).
//  4. What must be given is there (CKR_TEMPLATE_INCOMPLETE).
//  5. Key material and certificates are what they should be
//     (CKR_ATTRIBUTE_VALUE_INVALID, CKR_CURVE_NOT_SUPPORTED).
//  6. The attributes do not contradict each other (CKR_TEMPLATE_INCONSISTENT).
//
// Every error names the object, the attribute and what to do, and holds no
// value but numbers and lengths.
//
// # Templates returned
//
// They are complete and canonical: all attributes of the class with the given
// value or the default, in the order of the table. Absent are CKA_UNIQUE_ID,
// which is the driver's ID of the object, the attributes that mean "not
// restricted" by being absent (CKA_ALLOWED_MECHANISMS and the three templates),
// what generation or derivation brings forth, and CKA_ID of a key that was given
// none and whose public key is not known yet. The template is new, the values in
// it are those of the caller, not copied.
package rules

import (
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A By says on whose behalf attributes are set: CKA_TRUSTED is the SO's alone.
type By uint8

// The functions Create, Copy and Set of this package are those of User.
const (
	User By = iota // the user, or nobody
	SO
)

// Create makes a complete template of one for C_CreateObject, secret values
// included. PKCS #11 v2.40 §4.1.1, §5.7.
func Create(t pkcs11.Template) (pkcs11.Template, error) { return User.Create(t) }

// Create is the function Create on behalf of by.
func (by By) Create(t pkcs11.Template) (pkcs11.Template, error) {
	c, err := canonical(t)
	if err != nil {
		return nil, err
	}
	s, err := specFor(c)
	if err != nil {
		return nil, err
	}
	return s.make(c, making{op: opCreate, by: by})
}

// canonical returns t with canonical values and no attribute twice.
func canonical(t pkcs11.Template) (pkcs11.Template, error) {
	c := make(pkcs11.Template, 0, len(t)+4)
	for _, a := range t {
		a, err := canonicalValue(a, 0)
		if err != nil {
			return nil, err
		}
		if first, ok := c.Get(a.Type); ok {
			if !first.Equal(a) {
				return nil, fail("template", a.Type, pkcs11.CKR_TEMPLATE_INCONSISTENT, "it is there twice with different values")
			}
			continue
		}
		c = append(c, a)
	}
	return c, nil
}

// canonicalValue is Attribute.Canonical, with one trailing NUL taken off a
// label: C programs count it in, and look for the label without it.
func canonicalValue(a pkcs11.Attribute, depth int) (pkcs11.Attribute, error) {
	a, err := a.Canonical()
	if err != nil {
		return a, err
	}
	switch v := a.Value.(type) {
	case string:
		if a.Type == pkcs11.CKA_LABEL {
			a.Value = trimLabel(v)
		}
	case pkcs11.Template:
		if depth > 0 {
			return a, fail("template", a.Type, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "a template in a template in a template is too deep")
		}
		inner := make(pkcs11.Template, 0, len(v))
		for _, b := range v {
			b, err := canonicalValue(b, depth+1)
			if err != nil {
				return a, err
			}
			if first, ok := inner.Get(b.Type); ok && !first.Equal(b) {
				return a, fail(a.Type.String(), b.Type, pkcs11.CKR_TEMPLATE_INCONSISTENT, "it is there twice with different values")
			} else if !ok {
				inner = append(inner, b)
			}
		}
		a.Value = inner
	}
	return a, nil
}

func trimLabel(s string) string {
	if n := len(s); n > 0 && s[n-1] == 0 {
		return s[:n-1]
	}
	return s
}

// Query returns the canonical form of a template to search by, or to compare
// attributes with: labels lose one trailing NUL as they do at creation. It does
// not object to classes, key types and attributes that this package does not
// know; nothing matches them. The error wraps CKR_ATTRIBUTE_VALUE_INVALID.
func Query(t pkcs11.Template) (pkcs11.Template, error) {
	c := make(pkcs11.Template, len(t))
	for i, a := range t {
		a, err := canonicalValue(a, 0)
		if err != nil {
			return nil, err
		}
		c[i] = a
	}
	return c, nil
}
