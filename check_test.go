package cryptoki

import (
	"errors"
	"testing"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Of two things that are wrong with a call, the one that comes first in the list
// of check.go is reported. Every pair of faults that a call can have at once is
// tried.
func TestOrderOfChecks(t *testing.T) {
	type call struct {
		closeModule, closeSession, noMech, active bool
		mech                                      pkcs11.MechanismType
		params                                    any
		key                                       string
	}
	// In the order of the list. Faults with the same number exclude each other.
	faults := []struct {
		name  string
		step  int
		code  pkcs11.Error
		apply func(*call)
	}{
		{"the module is closed", 1, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, func(c *call) { c.closeModule = true }},
		{"the session is closed", 2, pkcs11.CKR_SESSION_HANDLE_INVALID, func(c *call) { c.closeSession = true }},
		{"no mechanism", 3, pkcs11.CKR_ARGUMENTS_BAD, func(c *call) { c.noMech = true }},
		{"an active operation", 4, pkcs11.CKR_OPERATION_ACTIVE, func(c *call) { c.active = true }},
		{"an unknown mechanism", 5, pkcs11.CKR_MECHANISM_INVALID, func(c *call) { c.mech = pkcs11.CKM_AES_CBC }},
		{"a mechanism for something else", 5, pkcs11.CKR_MECHANISM_INVALID, func(c *call) { c.mech = pkcs11.CKM_SHA256 }},
		{"an unknown handle", 6, pkcs11.CKR_KEY_HANDLE_INVALID, func(c *call) { c.key = "none" }},
		{"a handle of data", 6, pkcs11.CKR_KEY_HANDLE_INVALID, func(c *call) { c.key = "data" }},
		{"a key of the other class", 6, pkcs11.CKR_KEY_TYPE_INCONSISTENT, func(c *call) { c.key = "other" }},
		{"a key that may not", 6, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, func(c *call) { c.key = "useless" }},
		{"a parameter", 7, pkcs11.CKR_MECHANISM_PARAM_INVALID, func(c *call) { c.params = &pkcs11.PSSParams{} }},
	}
	for _, verify := range []bool{false, true} {
		name := "SignInit"
		if verify {
			name = "VerifyInit"
		}
		run := func(t *testing.T, c call) error {
			m, se := open(t, newChip(t))
			pub, priv := generate(t, se, "k")
			uselessPub, uselessPriv, err := se.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
				pkcs11.Template{{Type: pkcs11.CKA_EC_PARAMS, Value: p256}, {Type: pkcs11.CKA_VERIFY, Value: false}},
				pkcs11.Template{{Type: pkcs11.CKA_SIGN, Value: false}})
			if err != nil {
				t.Fatal(err)
			}
			data, err := se.CreateObject(t.Context(), pkcs11.Template{{Type: pkcs11.CKA_CLASS, Value: pkcs11.CKO_DATA}})
			if err != nil {
				t.Fatal(err)
			}
			init, keys := se.SignInit, map[string]pkcs11.ObjectHandle{"": priv, "none": 999, "data": data, "other": pub, "useless": uselessPriv}
			if verify {
				init, keys = se.VerifyInit, map[string]pkcs11.ObjectHandle{"": pub, "none": 999, "data": data, "other": priv, "useless": uselessPub}
			}
			if c.active {
				if err := init(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, keys[""]); err != nil {
					t.Fatal(err)
				}
			}
			if c.closeSession {
				openSession(t, m) // so that the login stays
				se.Close()
			}
			if c.closeModule {
				m.Close()
			}
			mech := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA, Params: c.params}
			if c.mech != 0 {
				mech.Type = c.mech
			}
			if c.noMech {
				mech = nil
			}
			return init(t.Context(), mech, keys[c.key])
		}
		if err := run(t, call{}); err != nil {
			t.Errorf("%s with nothing wrong: %v", name, err)
		}
		for i, first := range faults {
			for _, second := range faults[i:] {
				if first.name != second.name && (first.step == second.step || first.step == 3 && second.step == 5 || first.step == 3 && second.step == 7) {
					continue
				}
				var c call
				second.apply(&c)
				first.apply(&c)
				err := run(t, c)
				var op *OpError
				if !errors.As(err, &op) || op.Code() != first.code || op.Op != name {
					t.Errorf("%s, %s and %s: got %v, want %v", name, first.name, second.name, err, first.code)
				}
			}
		}
	}
}

// Where a template and the session are both wrong, the template is reported; of
// the session's faults the read-only one.
func TestOrderOfChecksForTemplates(t *testing.T) {
	m, err := NewModule(nil, newChip(t))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	se, err := m.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		template pkcs11.Template
		want     pkcs11.Error
	}{
		{"no class, read-only, not logged in", pkcs11.Template{{Type: pkcs11.CKA_TOKEN, Value: true}, {Type: pkcs11.CKA_PRIVATE, Value: true}}, pkcs11.CKR_TEMPLATE_INCOMPLETE},
		{"read-only, not logged in", pkcs11.Template{{Type: pkcs11.CKA_CLASS, Value: pkcs11.CKO_DATA}, {Type: pkcs11.CKA_TOKEN, Value: true}, {Type: pkcs11.CKA_PRIVATE, Value: true}}, pkcs11.CKR_SESSION_READ_ONLY},
		{"not logged in", pkcs11.Template{{Type: pkcs11.CKA_CLASS, Value: pkcs11.CKO_DATA}, {Type: pkcs11.CKA_PRIVATE, Value: true}}, pkcs11.CKR_USER_NOT_LOGGED_IN},
		{"nothing wrong", pkcs11.Template{{Type: pkcs11.CKA_CLASS, Value: pkcs11.CKO_DATA}, {Type: pkcs11.CKA_PRIVATE, Value: false}}, 0},
	} {
		_, err := se.CreateObject(t.Context(), test.template)
		if got := pkcs11.CodeOf(err); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
}
