package rules_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// codes are what the standard lets C_CreateObject, C_CopyObject, C_GenerateKey,
// C_UnwrapKey and C_DeriveKey say about a template.
var codes = map[pkcs11.Error]bool{
	pkcs11.CKR_ATTRIBUTE_READ_ONLY: true, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID: true, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID: true,
	pkcs11.CKR_TEMPLATE_INCOMPLETE: true, pkcs11.CKR_TEMPLATE_INCONSISTENT: true, pkcs11.CKR_CURVE_NOT_SUPPORTED: true,
	pkcs11.CKR_ACTION_PROHIBITED: true, pkcs11.CKR_MECHANISM_INVALID: true, pkcs11.CKR_WRAPPED_KEY_INVALID: true,
}

// script makes templates of bytes.
type script struct{ b []byte }

func (s *script) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	c := s.b[0]
	s.b = s.b[1:]
	return c
}

func (s *script) template(types []pkcs11.AttributeType, subjects []subject, depth int) pkcs11.Template {
	var t pkcs11.Template
	how := s.byte()
	if from := subjects[int(how>>2)%len(subjects)]; how&1 == 0 {
		t = append(t, from.create...)
	} else if how&2 == 0 {
		t = append(t, from.generate...)
	}
	for range s.byte() % 6 {
		typ := types[int(s.byte())%len(types)]
		c := s.byte()
		switch c % 8 {
		case 0:
			t = without(t, typ)
			continue
		case 1: // some value of some kind
			t = t.Set(attr(typ, s.value(pkcs11.Kind(s.byte()%7), types, subjects, depth)))
		case 2:
			t = append(t, attr(typ, s.value(typ.Kind(), types, subjects, depth)))
		default:
			t = t.Set(attr(typ, s.value(typ.Kind(), types, subjects, depth)))
		}
	}
	return t
}

func (s *script) value(k pkcs11.Kind, types []pkcs11.AttributeType, subjects []subject, depth int) any {
	c := s.byte()
	switch k {
	case pkcs11.KindBool:
		return c&1 == 1
	case pkcs11.KindUint:
		if c == 255 {
			return pkcs11.Unavailable
		}
		return uint64(c) * uint64(1+c%3)
	case pkcs11.KindDate:
		return time.Unix(int64(c)*1e7, 0)
	case pkcs11.KindMechanisms:
		return make([]pkcs11.MechanismType, c%4)
	case pkcs11.KindTemplate:
		if depth > 2 {
			return pkcs11.Template(nil)
		}
		return s.template(types, subjects, depth+1)
	}
	n := min(int(c)%40, len(s.b))
	v := s.b[:n]
	s.b = s.b[n:]
	if k == pkcs11.KindText {
		return string(v)
	}
	return v
}

// Whatever a template says, there is no panic, the code is one of the standard's,
// and what is made is complete, makes the same again, and can be changed, copied
// and read by the rules.
func FuzzTemplates(f *testing.F) {
	for i := range byte(60) {
		f.Add([]byte{i << 2, i % 6, i, 3, 1, i * 3, 1, 2, 3, i * 7, 2, 1, 0, i * 11, 9, 200})
		f.Add([]byte{i<<2 | 1, 5, i * 5, 3, 1, i * 7, 3, 0, i * 9, 3, 1, i << 2, 3, i * 2, 3, 7})
	}
	types, subjects := allTypes(), subjects()
	mechanisms := []pkcs11.MechanismType{
		pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN, pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
		pkcs11.CKM_AES_KEY_GEN, pkcs11.CKM_GENERIC_SECRET_KEY_GEN, pkcs11.CKM_SHA256_KEY_GEN, pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKM_XOR_BASE_AND_DATA, pkcs11.CKM_SHA256,
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{b}
		one, two := s.template(types, subjects, 0), s.template(types, subjects, 0)
		m := &pkcs11.Mechanism{Type: mechanisms[int(s.byte())%len(mechanisms)]}
		before := one.String()

		ok := func(err error) bool {
			t.Helper()
			if err != nil && (!codes[pkcs11.CodeOf(err)] || strings.Contains(err.Error(), "%!")) {
				t.Errorf("error %v", err)
			}
			return err == nil
		}
		play := func(o pkcs11.Template) {
			t.Helper()
			if changed, err := rules.Set(o, two); ok(err) {
				n := with(o, changed...)
				if again, err := rules.Set(n, changed); err == nil && len(again) > 0 {
					t.Errorf("changed to %v twice, the second time %v", changed, again)
				}
				tighter(t, o, n)
			}
			if c, err := rules.Copy(o, two); ok(err) {
				tighter(t, o, c)
				if len(c) < len(o)-1 {
					t.Errorf("a copy of %d attributes has %d", len(o), len(c))
				}
			}
			_, err := rules.Unwrap(o, two)
			ok(err)
			_, err = rules.Derive(m, o, two)
			ok(err)
			rules.Wrap(o, o)
			rules.Destroy(o)
			for _, typ := range types {
				rules.Readable(o, typ)
			}
		}
		if o, err := rules.SO.Create(one); ok(err) {
			complete(t, o)
			if done := rules.Complete(o); len(done) != len(o) && o.Uint(pkcs11.CKA_CLASS) != uint64(pkcs11.CKO_PRIVATE_KEY) {
				t.Errorf("not complete: %v", without(done, typesOf(o)...))
			}
			again, err := rules.SO.Create(without(o, pkcs11.CKA_LOCAL, pkcs11.CKA_KEY_GEN_MECHANISM, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE))
			nul := strings.HasSuffix(o.Text(pkcs11.CKA_LABEL), "\x00") // of several, each time one goes
			if !nul && (err != nil || !again.Equal(o)) {
				t.Errorf("%v makes %v, %v", o, again, err)
			}
			play(o)
		}
		if pub, priv, err := rules.GeneratePair(m, one, two); ok(err) {
			if !priv.Bool(pkcs11.CKA_LOCAL) || priv.Bool(pkcs11.CKA_ALWAYS_SENSITIVE) != priv.Bool(pkcs11.CKA_SENSITIVE) || priv.Bool(pkcs11.CKA_NEVER_EXTRACTABLE) == priv.Bool(pkcs11.CKA_EXTRACTABLE) {
				t.Errorf("generated %v", priv)
			}
			play(pub)
			play(priv)
		}
		if o, err := rules.Generate(m, one); ok(err) {
			play(o)
		}
		if u, err := rules.Unwrap(two, one); err == nil {
			_, err := rules.Material(u, two)
			ok(err)
		}
		// A driver states what it likes.
		done := rules.Complete(one)
		if again := rules.Complete(done); len(again) != len(done) {
			t.Errorf("completed twice: %v, then %v", done, again)
		}
		if one.String() != before {
			t.Errorf("the template was changed from %s to %v", before, one)
		}
	})
}
