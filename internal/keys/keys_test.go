package keys

import (
	"bytes"
	"errors"
	"testing"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func TestPublicRoundTrip(t *testing.T) {
	for name, key := range testKeys(t) {
		t.Run(name, func(t *testing.T) {
			attrs, err := PublicAttributes(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range attrs {
				if c, err := a.Canonical(); err != nil || !c.Equal(a) || c.Value == nil {
					t.Errorf("%v is not canonical: %v", a, err)
				}
			}
			without := func(types ...pkcs11.AttributeType) pkcs11.Template {
				var u pkcs11.Template
				for _, a := range attrs {
					drop := false
					for _, typ := range types {
						drop = drop || a.Type == typ
					}
					if !drop {
						u = append(u, a)
					}
				}
				return u
			}
			for what, tmpl := range map[string]pkcs11.Template{
				"all":             attrs,
				"components only": without(pkcs11.CKA_PUBLIC_KEY_INFO),
				"info only":       {pkcs11.Attr(pkcs11.CKA_PUBLIC_KEY_INFO, attrs.Bytes(pkcs11.CKA_PUBLIC_KEY_INFO))},
				"info and type":   without(pkcs11.CKA_EC_POINT, pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT),
			} {
				pub, err := PublicKey(tmpl)
				if err != nil {
					t.Errorf("%s: %v", what, err)
				} else if !Equal(pub, key.Public()) {
					t.Errorf("%s: another key", what)
				}
			}
		})
	}
}

func TestPrivateRoundTrip(t *testing.T) {
	for name, key := range testKeys(t) {
		t.Run(name, func(t *testing.T) {
			attrs, err := PrivateAttributes(key)
			if err != nil {
				t.Fatal(err)
			}
			again, err := PrivateKey(attrs)
			if err != nil {
				t.Fatal(err)
			}
			if !key.Equal(again) {
				t.Fatal("another key")
			}
			public, err := PublicAttributes(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range public {
				if _, err := PrivateKey(append(attrs[:len(attrs):len(attrs)], a)); err != nil {
					t.Errorf("with %v: %v", a.Type, err)
				}
			}
		})
	}
}

func TestRSAPrimesAreRecovered(t *testing.T) {
	key := rsaKey(t)
	attrs, err := PrivateAttributes(key)
	if err != nil {
		t.Fatal(err)
	}
	again, err := PrivateKey(attrs[:4]) // type, modulus, both exponents
	if err != nil {
		t.Fatal(err)
	}
	if !key.Equal(again) {
		t.Fatal("another key")
	}
}

func TestPointOfTheStandardVector(t *testing.T) {
	attrs, err := PublicAttributes(&ecKey(t).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	want := unhex(t, "044104ce0869f90b2d5213a6cca04610beee063b1a05bc9a35330b5ca2d25bbf3e6dda0ff5b2933abaa22a4f46cc593d0a1b611c5b31f93ed4162b616d85ad45fd19c3")
	if got := attrs.Bytes(pkcs11.CKA_EC_POINT); !bytes.Equal(got, want) {
		t.Errorf("CKA_EC_POINT %x, want %x", got, want)
	}
	if got, want := attrs.Bytes(pkcs11.CKA_EC_PARAMS), unhex(t, "06082a8648ce3d030107"); !bytes.Equal(got, want) {
		t.Errorf("CKA_EC_PARAMS %x, want %x", got, want)
	}
	if n := len(attrs.Bytes(pkcs11.CKA_PUBLIC_KEY_INFO)); n != 91 {
		t.Errorf("CKA_PUBLIC_KEY_INFO of %d bytes, want 91", n)
	}
}

func TestVerifyRSAVector(t *testing.T) {
	pub := &rsaKey(t).PublicKey
	data := append(unhex(t, "3031300d060960864801650304020105000420"), make([]byte, 32)...)
	sig := unhex(t, signatureRSA)
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}
	if err := Verify(pub, m, data, sig); err != nil {
		t.Fatal(err)
	}
	sig[255] ^= 1
	if err := Verify(pub, m, data, sig); pkcs11.CodeOf(err) != pkcs11.CKR_SIGNATURE_INVALID {
		t.Errorf("flipped bit: %v", err)
	}
}

func TestCanonicalParams(t *testing.T) {
	for i := range curves {
		c := &curves[i]
		for _, p := range c.params {
			got, err := CanonicalParams(c.typ, []byte(p))
			if err != nil || string(got) != c.params[0] || got[0] != tagOID {
				t.Errorf("%s, %x: %x, %v", c.name, p, got, err)
			}
		}
	}
	_, err := CanonicalParams(pkcs11.CKK_EC, []byte(curves[3].params[0]))
	if !errors.Is(err, pkcs11.CKR_CURVE_NOT_SUPPORTED) {
		t.Errorf("Ed25519 for CKK_EC: %v", err)
	}
}
