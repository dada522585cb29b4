package rules_test

import (
	"errors"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func attr(t pkcs11.AttributeType, v any) pkcs11.Attribute { return pkcs11.Attr(t, v) }

// with returns t with attributes replaced or added.
func with(t pkcs11.Template, attrs ...pkcs11.Attribute) pkcs11.Template {
	u := append(pkcs11.Template(nil), t...)
	for _, a := range attrs {
		u = u.Set(a)
	}
	return u
}

// without returns t without some attributes.
func without(t pkcs11.Template, types ...pkcs11.AttributeType) pkcs11.Template {
	var u pkcs11.Template
next:
	for _, a := range t {
		for _, typ := range types {
			if a.Type == typ {
				continue next
			}
		}
		u = append(u, a)
	}
	return u
}

func wantCode(t *testing.T, err error, want pkcs11.Error) {
	t.Helper()
	if want == 0 {
		if err != nil {
			t.Errorf("got %v, want no error", err)
		}
	} else if !errors.Is(err, want) || pkcs11.CodeOf(err) != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

// wantValues checks some attributes of a template.
func wantValues(t *testing.T, have pkcs11.Template, want ...pkcs11.Attribute) {
	t.Helper()
	for _, w := range want {
		h, ok := have.Get(w.Type)
		if !ok {
			t.Errorf("%v is absent, want %v", w.Type, w)
		} else if !h.Equal(w) {
			t.Errorf("got %v, want %v", h, w)
		}
	}
}

// The templates of the helpers of the FreeRTOS qualification tests, attribute
// by attribute in their order.
func TestQualificationTemplates(t *testing.T) {
	for _, c := range []struct {
		name string
		t    pkcs11.Template
		want pkcs11.Template
	}{
		{"EC private import", ecPrivate(), pkcs11.Template{
			attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, false),
			attr(pkcs11.CKA_ALWAYS_SENSITIVE, false), attr(pkcs11.CKA_NEVER_EXTRACTABLE, false), attr(pkcs11.CKA_LOCAL, false),
			attr(pkcs11.CKA_KEY_GEN_MECHANISM, pkcs11.Unavailable), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_DERIVE, false),
			attr(pkcs11.CKA_VALUE, ecPrivate().Bytes(pkcs11.CKA_VALUE)),
		}},
		{"RSA private import", rsaPrivate(), pkcs11.Template{
			attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_DECRYPT, false),
			attr(pkcs11.CKA_COEFFICIENT, rsaPrivate().Bytes(pkcs11.CKA_COEFFICIENT)),
		}},
		{"EC public import", ecPublic(), pkcs11.Template{
			attr(pkcs11.CKA_PRIVATE, false), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_WRAP, false), attr(pkcs11.CKA_TRUSTED, false),
			attr(pkcs11.CKA_EC_POINT, ecPublic().Bytes(pkcs11.CKA_EC_POINT)),
		}},
		{"RSA public import", rsaPublic(), pkcs11.Template{
			attr(pkcs11.CKA_PRIVATE, false), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_MODULUS_BITS, 2048),
			attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
		}},
		{"certificate import", certificate(), pkcs11.Template{
			attr(pkcs11.CKA_PRIVATE, false), attr(pkcs11.CKA_SUBJECT, "TestSubject"), attr(pkcs11.CKA_TRUSTED, false),
			attr(pkcs11.CKA_CERTIFICATE_CATEGORY, 0),
		}},
		{"HMAC key import", hmacKey(), pkcs11.Template{attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_VALUE_LEN, 32)}},
		{"CMAC key import", cmacKey(), pkcs11.Template{attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_ENCRYPT, false), attr(pkcs11.CKA_VALUE_LEN, 16)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := rules.Create(c.t)
			if err != nil {
				t.Fatal(err)
			}
			wantValues(t, got, c.want...)
			if c.name != "certificate import" {
				wantValues(t, got, c.t...)
			}
			complete(t, got)
		})
	}
	t.Run("EC key generation", func(t *testing.T) {
		pub, priv, err := rules.GeneratePair(&pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
			pkcs11.Template{attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_EC_PARAMS, p256), attr(pkcs11.CKA_LABEL, "Device Pub TLS Key")},
			pkcs11.Template{attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_LABEL, "Device Priv TLS Key")})
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, pub, attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attr(pkcs11.CKA_LABEL, "Device Pub TLS Key"),
			attr(pkcs11.CKA_PRIVATE, false), attr(pkcs11.CKA_LOCAL, true), attr(pkcs11.CKA_KEY_GEN_MECHANISM, pkcs11.CKM_EC_KEY_PAIR_GEN))
		wantValues(t, priv, attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_LABEL, "Device Priv TLS Key"),
			attr(pkcs11.CKA_ALWAYS_SENSITIVE, true), attr(pkcs11.CKA_NEVER_EXTRACTABLE, true), attr(pkcs11.CKA_LOCAL, true))
	})
	t.Run("RSA key generation", func(t *testing.T) {
		pub, priv, err := rules.GeneratePair(&pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN},
			pkcs11.Template{attr(pkcs11.CKA_ENCRYPT, true), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_MODULUS_BITS, 2048), attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}), attr(pkcs11.CKA_LABEL, "pub")},
			pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_DECRYPT, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_LABEL, "priv")})
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, pub, attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_MODULUS_BITS, 2048))
		wantValues(t, priv, attr(pkcs11.CKA_DECRYPT, true), attr(pkcs11.CKA_SIGN, true))
	})
}
