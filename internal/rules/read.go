package rules

import (
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// secrets are the attributes that hold secrets in a class that has any.
var secrets = func() (list []pkcs11.AttributeType) {
	seen := map[pkcs11.AttributeType]bool{}
	for _, t := range tables {
		for _, part := range t.rows {
			for _, r := range part {
				if r.secret && !seen[r.typ] {
					seen[r.typ] = true
					list = append(list, r.typ)
				}
			}
		}
	}
	return list
}()

// Sensitive reports whether an attribute is not shown of a key that is
// CKA_SENSITIVE or not CKA_EXTRACTABLE. It is so for the secret components of
// all key types in every private and secret key: whoever asks an RSA key for
// CKA_VALUE gets CKR_ATTRIBUTE_SENSITIVE, not a hint about the key's type, as
// the qualification tests want. It takes some nanoseconds and allocates nothing,
// as do Known and Readable.
func Sensitive(class pkcs11.ObjectClass, _ pkcs11.KeyType, typ pkcs11.AttributeType) bool {
	if class >= maxClass || !specOf(class, 0).secrets {
		return false
	}
	for _, t := range secrets {
		if t == typ {
			return true
		}
	}
	return false
}

// Known reports whether objects of the class and key type have the attribute.
// One that they do not have is CKR_ATTRIBUTE_TYPE_INVALID. The key type is
// ignored for classes that are no keys.
func Known(class pkcs11.ObjectClass, k pkcs11.KeyType, typ pkcs11.AttributeType) bool {
	return specOf(class, k).find(typ) >= 0
}

// Readable returns CKR_ATTRIBUTE_SENSITIVE or CKR_ATTRIBUTE_TYPE_INVALID if the
// attribute of an object with the given attributes is not shown, and 0 if it is.
// PKCS #11 v2.40 §5.7, C_GetAttributeValue.
func Readable(object pkcs11.Template, typ pkcs11.AttributeType) pkcs11.Error {
	s := of(object)
	if Sensitive(s.class, s.key, typ) && (s.flag(object, pkcs11.CKA_SENSITIVE) || !object.Bool(pkcs11.CKA_EXTRACTABLE)) {
		return pkcs11.CKR_ATTRIBUTE_SENSITIVE
	}
	if s.find(typ) < 0 {
		return pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
	}
	return 0
}

// Attributes returns the attributes that objects of the class and key type may
// have, in the order of the table.
func Attributes(class pkcs11.ObjectClass, k pkcs11.KeyType) []pkcs11.AttributeType {
	s := specOf(class, k)
	list := make([]pkcs11.AttributeType, len(s.rows))
	for i := range s.rows {
		list[i] = s.rows[i].typ
	}
	return list
}

// Complete adds what a driver did not state of an object on its token: the
// default of each attribute of the class, and what follows from a certificate or
// a public component. It differs from the defaults of Create in that the object
// is on the token, and that a key is not copyable: it is in the hardware. attrs
// is not modified, and returned itself if nothing is missing.
func Complete(attrs pkcs11.Template) pkcs11.Template {
	s := of(attrs)
	var seen uint64
	for _, a := range attrs {
		if i := s.find(a.Type); i >= 0 {
			seen |= 1 << i
		}
	}
	whole := true
	for i := range s.rows {
		if r := &s.rows[i]; seen&(1<<i) == 0 && (r.def != nil || r.use || s.class == pkcs11.CKO_CERTIFICATE && r.in[opCreate] != never) {
			whole = false
			break
		}
	}
	if whole {
		return attrs
	}
	d := &draft{spec: s}
	uses := false
	for _, a := range attrs {
		if i := s.find(a.Type); i >= 0 && d.values[i] == nil {
			d.values[i] = a.Value
			uses = uses || s.rows[i].use && a.Bool()
		}
	}
	d.fill(pkcs11.CKA_TOKEN, true)
	if s.secrets {
		d.fill(pkcs11.CKA_COPYABLE, false)
	}
	for i := range s.rows {
		r := &s.rows[i]
		switch {
		case d.values[i] != nil:
		case r.use:
			d.values[i] = !uses && r.uses&s.kind != 0
		default:
			d.values[i] = r.def
		}
	}
	d.follow()
	t := d.template()
	for _, a := range attrs {
		if s.find(a.Type) < 0 {
			t = append(t, a) // a vendor's own
		}
	}
	return t
}

// follow adds what follows from public parts, where they can be understood.
func (d *draft) follow() {
	switch d.class {
	case pkcs11.CKO_CERTIFICATE:
		d.fill(pkcs11.CKA_CERTIFICATE_TYPE, uint64(pkcs11.CKC_X_509))
		if c, wrong := parseCertificate(d.bytes(pkcs11.CKA_VALUE)); wrong == "" {
			d.describe(c)
			d.fill(pkcs11.CKA_CHECK_VALUE, certificateCheckValue(d.bytes(pkcs11.CKA_VALUE)))
		}
	case pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_PRIVATE_KEY:
		pub, err := keys.PublicKey(d.template())
		if err != nil {
			return
		}
		attrs, err := keys.PublicAttributes(pub)
		if err != nil {
			return
		}
		for _, a := range attrs {
			d.fill(a.Type, a.Value)
		}
		d.fill(pkcs11.CKA_ID, keys.DefaultID(pub))
	}
}
