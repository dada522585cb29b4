package rules

import (
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Wrapping is where tokens lose keys (Bortolozzo, Centenaro, Focardi, Steel,
// "Attacking and Fixing PKCS#11 Security Tokens", 2010): a key is wrapped under
// one that also decrypts, or whose value the attacker brought, or is unwrapped
// again as one that may be shown. Four rules close that, and search_test.go
// looks for a way around them:
//
//   - Uses of a key only get fewer, on changing and on copying.
//   - A sensitive key is wrapped only under a key that is for wrapping alone and
//     that nobody outside knows: one generated here, always sensitive and never
//     extractable, or one that the SO has declared CKA_TRUSTED.
//   - A key that wraps keeps CKA_ENCRYPT and CKA_DECRYPT as they are, so that no
//     copy of one that is for wrapping alone decrypts.
//   - What is unwrapped is sensitive, unless the caller could have decrypted it
//     anyway.
//
// A key that is not extractable is never wrapped at all.

// Wrap reports whether the key with the attributes of key may be wrapped under
// the one with those of wrapping. The caller has checked CKA_WRAP. The codes are
// CKR_KEY_UNEXTRACTABLE, CKR_KEY_NOT_WRAPPABLE, and CKR_KEY_HANDLE_INVALID where
// the key does not match CKA_WRAP_TEMPLATE. PKCS #11 v2.40 §5.13, C_WrapKey.
func Wrap(wrapping, key pkcs11.Template) error {
	s := of(key)
	if !s.secrets {
		return s.fail(pkcs11.CKA_CLASS, pkcs11.CKR_KEY_NOT_WRAPPABLE, "only secret and private keys are wrapped")
	}
	if !key.Bool(pkcs11.CKA_EXTRACTABLE) {
		return s.fail(pkcs11.CKA_EXTRACTABLE, pkcs11.CKR_KEY_UNEXTRACTABLE, "false: the key stays on the token for ever")
	}
	if key.Bool(pkcs11.CKA_WRAP_WITH_TRUSTED) && !wrapping.Bool(pkcs11.CKA_TRUSTED) {
		return s.fail(pkcs11.CKA_WRAP_WITH_TRUSTED, pkcs11.CKR_KEY_NOT_WRAPPABLE, "true, and the wrapping key is not CKA_TRUSTED")
	}
	if sensitive, ok := key.Get(pkcs11.CKA_SENSITIVE); !ok || sensitive.Bool() {
		if cause := notForSensitive(wrapping); cause != "" {
			return s.fail(pkcs11.CKA_SENSITIVE, pkcs11.CKR_KEY_NOT_WRAPPABLE, "true, and the wrapping key %s", cause)
		}
	}
	want, _ := wrapping.Get(pkcs11.CKA_WRAP_TEMPLATE)
	list, _ := want.Value.(pkcs11.Template)
	for _, a := range list {
		if have, ok := key.Get(a.Type); !ok || !have.Equal(a) {
			return s.fail(a.Type, pkcs11.CKR_KEY_HANDLE_INVALID, "not as the CKA_WRAP_TEMPLATE of the wrapping key demands")
		}
	}
	return nil
}

// notForSensitive says why no sensitive key may be wrapped under w, "" if one may.
func notForSensitive(w pkcs11.Template) string {
	secret := w.Uint(pkcs11.CKA_CLASS) == uint64(pkcs11.CKO_SECRET_KEY)
	if secret && (w.Bool(pkcs11.CKA_DECRYPT) || w.Bool(pkcs11.CKA_ENCRYPT)) {
		return "is also for encrypting or decrypting, which would show it; generate one with CKA_WRAP and CKA_UNWRAP alone"
	}
	if w.Bool(pkcs11.CKA_TRUSTED) {
		return ""
	}
	if secret && w.Bool(pkcs11.CKA_LOCAL) && w.Bool(pkcs11.CKA_ALWAYS_SENSITIVE) && w.Bool(pkcs11.CKA_NEVER_EXTRACTABLE) {
		return ""
	}
	return "may be known outside; generate a sensitive one that is not extractable on this token, or have the SO set CKA_TRUSTED"
}

// Unwrap makes a template of one for C_UnwrapKey that lacks only what is in the
// wrapped key; Material adds that. unwrapping are the attributes of the
// unwrapping key, whose CKA_UNWRAP_TEMPLATE is added. PKCS #11 v2.40 §5.13.
func Unwrap(unwrapping, t pkcs11.Template) (pkcs11.Template, error) {
	c, err := canonical(t)
	if err != nil {
		return nil, err
	}
	if c, err = merge(c, unwrapping, pkcs11.CKA_UNWRAP_TEMPLATE); err != nil {
		return nil, err
	}
	s, err := specFor(c)
	if err != nil {
		return nil, err
	}
	u, err := s.make(c, making{op: opUnwrap})
	if err != nil {
		return nil, err
	}
	readable := !unwrapping.Bool(pkcs11.CKA_SENSITIVE) && unwrapping.Bool(pkcs11.CKA_EXTRACTABLE)
	if !u.Bool(pkcs11.CKA_SENSITIVE) && !unwrapping.Bool(pkcs11.CKA_DECRYPT) && !readable {
		return nil, s.fail(pkcs11.CKA_SENSITIVE, pkcs11.CKR_TEMPLATE_INCONSISTENT, "false, but the key may have been sensitive when it was wrapped; leave it out, or decrypt with a key that has CKA_DECRYPT")
	}
	return u, nil
}

// Material adds what a wrapped key held to what Unwrap returned, checks it as
// Create does, and returns the template for driver.Creator. material are the
// components; CKA_CLASS and CKA_KEY_TYPE among them must be those of t.
//
// Whatever is wrong with them is the same error, which wraps
// CKR_WRAPPED_KEY_INVALID: what it is may depend on the plaintext, and whoever
// can tell one from another decrypts by asking often enough.
func Material(t, material pkcs11.Template) (pkcs11.Template, error) {
	s := of(t)
	invalid := fmt.Errorf("%s: %w: what was wrapped is no such key, or not one of the length and check value in the template", s.name, pkcs11.CKR_WRAPPED_KEY_INVALID)
	d := &draft{spec: s}
	for _, a := range t {
		d.set(a.Type, a.Value)
	}
	for _, a := range material {
		a, err := a.Canonical()
		i := s.find(a.Type)
		if err != nil || i < 0 || s.rows[i].in[opCreate] == never {
			return nil, invalid
		}
		if d.values[i] == nil {
			d.values[i] = a.Value
		} else if have := (pkcs11.Attribute{Type: a.Type, Value: d.values[i]}); !have.Equal(a) {
			return nil, invalid
		}
		if s.check(&s.rows[i], a) != nil {
			return nil, invalid
		}
	}
	for i := range s.rows {
		if s.rows[i].in[opCreate] == must && d.values[i] == nil {
			return nil, invalid
		}
	}
	if d.material() != nil {
		return nil, invalid
	}
	return d.template(), nil
}

// Derive makes a complete template of one for C_DeriveKey, CKA_VALUE and
// possibly CKA_VALUE_LEN apart. base are the attributes of the base key, whose
// CKA_DERIVE_TEMPLATE is added. Without CKA_CLASS and CKA_KEY_TYPE it is a
// generic secret.
//
// ECDH and HKDF give no way back to the base key, and the standard lets the
// caller choose whether their result is sensitive and extractable. What any
// other mechanism derives of a sensitive key is sensitive, of one that is not
// extractable not extractable. PKCS #11 v2.40 §5.13, mechanisms §2.3.7.
func Derive(m *pkcs11.Mechanism, base, t pkcs11.Template) (pkcs11.Template, error) {
	if m == nil {
		return nil, fmt.Errorf("%w: no mechanism", pkcs11.CKR_ARGUMENTS_BAD)
	}
	c, err := canonical(t)
	if err != nil {
		return nil, err
	}
	if c, err = merge(c, base, pkcs11.CKA_DERIVE_TEMPLATE); err != nil {
		return nil, err
	}
	if !c.Has(pkcs11.CKA_CLASS) {
		c = append(c, pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_SECRET_KEY)))
	}
	if !c.Has(pkcs11.CKA_KEY_TYPE) && c.Uint(pkcs11.CKA_CLASS) == uint64(pkcs11.CKO_SECRET_KEY) {
		c = append(c, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_GENERIC_SECRET)))
	}
	s, err := specFor(c)
	if err != nil {
		return nil, err
	}
	switch m.Type {
	case pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKM_ECDH1_COFACTOR_DERIVE, pkcs11.CKM_HKDF_DERIVE:
	default:
		if a, ok := c.Get(pkcs11.CKA_SENSITIVE); ok && !a.Bool() && base.Bool(pkcs11.CKA_SENSITIVE) {
			return nil, s.fail(pkcs11.CKA_SENSITIVE, pkcs11.CKR_TEMPLATE_INCONSISTENT, "false, but the base key is sensitive")
		}
		if c.Bool(pkcs11.CKA_EXTRACTABLE) && !base.Bool(pkcs11.CKA_EXTRACTABLE) {
			return nil, s.fail(pkcs11.CKA_EXTRACTABLE, pkcs11.CKR_TEMPLATE_INCONSISTENT, "true, but the base key is not extractable")
		}
	}
	return s.make(c, making{op: opDerive, base: base})
}

// merge adds the attributes of a template that a key keeps for those made with
// it. §4.9, §4.10: a contradiction is CKR_TEMPLATE_INCONSISTENT.
func merge(t, key pkcs11.Template, typ pkcs11.AttributeType) (pkcs11.Template, error) {
	a, _ := key.Get(typ)
	list, _ := a.Value.(pkcs11.Template)
	for _, a := range list {
		have, ok := t.Get(a.Type)
		switch {
		case !ok:
			t = append(t, a)
		case !have.Equal(a):
			return nil, fail("template", a.Type, pkcs11.CKR_TEMPLATE_INCONSISTENT, "not as the %v of the key demands", typ)
		}
	}
	return t, nil
}
