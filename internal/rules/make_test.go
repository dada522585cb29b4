package rules_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func TestCreateErrors(t *testing.T) {
	date := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	badPoint := slices.Clone(ecPublic().Bytes(pkcs11.CKA_EC_POINT))
	badPoint[40] ^= 1
	secp256k1 := []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a}
	broken := slices.Clone(testECCert)
	broken[0] = 0x65 // what M replaced by Z makes of the base64 of a certificate
	for _, c := range []struct {
		name string
		t    pkcs11.Template
		want pkcs11.Error
		typ  pkcs11.AttributeType
	}{
		{"nothing", nil, pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_CLASS},
		{"no class", without(ecPrivate(), pkcs11.CKA_CLASS), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_CLASS},
		{"unknown class", with(ecPrivate(), attr(pkcs11.CKA_CLASS, 77)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_CLASS},
		{"class beyond 32 bits", with(ecPrivate(), attr(pkcs11.CKA_CLASS, uint64(1)<<32|2)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_CLASS},
		{"class of another world", with(ecPrivate(), attr(pkcs11.CKA_CLASS, pkcs11.CKO_OTP_KEY)), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_CLASS},
		{"a profile", pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PROFILE), attr(pkcs11.CKA_PROFILE_ID, 1)}, pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_CLASS},
		{"no key type", without(ecPrivate(), pkcs11.CKA_KEY_TYPE), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_KEY_TYPE},
		{"unknown key type", with(ecPrivate(), attr(pkcs11.CKA_KEY_TYPE, 0x7777)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_KEY_TYPE},
		{"key type of no value", with(ecPrivate(), attr(pkcs11.CKA_KEY_TYPE, pkcs11.Unavailable)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_KEY_TYPE},
		{"broken key type", with(aesKey(), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_DES3)), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_KEY_TYPE},
		{"secret key type of a private key", with(ecPrivate(), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_KEY_TYPE},
		{"other certificate", with(certificate(), attr(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509_ATTR_CERT)), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_CERTIFICATE_TYPE},
		{"unknown certificate", with(certificate(), attr(pkcs11.CKA_CERTIFICATE_TYPE, 99)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_CERTIFICATE_TYPE},

		{"true and false", append(ecPublic(), attr(pkcs11.CKA_VERIFY, false)), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_VERIFY},
		{"true twice", append(ecPublic(), attr(pkcs11.CKA_VERIFY, true)), 0, 0},
		{"two labels", append(ecPublic(), attr(pkcs11.CKA_LABEL, "other")), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_LABEL},
		{"two classes", append(ecPublic(), attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA)), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_CLASS},
		{"same label with and without NUL", append(ecPublic(), attr(pkcs11.CKA_LABEL, "Device Pub TLS Key\x00")), 0, 0},

		{"bool as number", with(ecPublic(), attr(pkcs11.CKA_VERIFY, 1)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_VERIFY},
		{"bool as bytes", with(ecPublic(), attr(pkcs11.CKA_TOKEN, []byte{1, 1})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_TOKEN},
		{"number as bytes", with(ecPublic(), attr(pkcs11.CKA_KEY_TYPE, []byte{3})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_KEY_TYPE},
		{"nothing as value", with(ecPublic(), attr(pkcs11.CKA_ID, nil)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_ID},
		{"an error as value", with(ecPublic(), attr(pkcs11.CKA_ID, pkcs11.CKR_ATTRIBUTE_SENSITIVE)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_ID},
		{"template in a template in a template", with(ecPublic(), attr(pkcs11.CKA_WRAP_TEMPLATE, pkcs11.Template{attr(pkcs11.CKA_WRAP_TEMPLATE, pkcs11.Template{})})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_WRAP_TEMPLATE},
		{"template that contradicts itself", with(ecPublic(), attr(pkcs11.CKA_WRAP_TEMPLATE, pkcs11.Template{attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_SIGN, false)})), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_SIGN},
		{"category", with(certificate(), attr(pkcs11.CKA_CERTIFICATE_CATEGORY, 4)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_CERTIFICATE_CATEGORY},

		{"end before start", with(ecPublic(), attr(pkcs11.CKA_START_DATE, date(2030)), attr(pkcs11.CKA_END_DATE, date(2029))), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_END_DATE},
		{"end without start", with(ecPublic(), attr(pkcs11.CKA_END_DATE, date(2029))), 0, 0},
		{"login per use of a public object", with(ecPrivate(), attr(pkcs11.CKA_ALWAYS_AUTHENTICATE, true), attr(pkcs11.CKA_PRIVATE, false)), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_ALWAYS_AUTHENTICATE},

		{"EC private key without value", without(ecPrivate(), pkcs11.CKA_VALUE), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_VALUE},
		{"EC private key of nothing", with(ecPrivate(), attr(pkcs11.CKA_VALUE, "")), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_VALUE},
		{"EC private key on secp256k1", with(ecPrivate(), attr(pkcs11.CKA_EC_PARAMS, secp256k1)), pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKA_EC_PARAMS},
		{"EC private key on an Edwards curve", with(ecPrivate(), attr(pkcs11.CKA_EC_PARAMS, []byte{6, 3, 0x2b, 0x65, 0x70})), pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKA_EC_PARAMS},
		{"EC parameters that are not DER", with(ecPrivate(), attr(pkcs11.CKA_EC_PARAMS, p256[:9])), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_EC_PARAMS},
		{"point off the curve", with(ecPublic(), attr(pkcs11.CKA_EC_POINT, badPoint)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_EC_POINT},
		{"point of two bytes", with(ecPublic(), attr(pkcs11.CKA_EC_POINT, []byte{4, 0})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_EC_POINT},
		{"public key without a point", without(ecPublic(), pkcs11.CKA_EC_POINT), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_EC_POINT},
		{"private value in a public key", with(ecPublic(), attr(pkcs11.CKA_VALUE, "x")), pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, pkcs11.CKA_VALUE},
		{"modulus in an EC key", with(ecPublic(), attr(pkcs11.CKA_MODULUS, "x")), pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, pkcs11.CKA_MODULUS},
		{"RSA key without a modulus", without(rsaPrivate(), pkcs11.CKA_MODULUS), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_MODULUS},
		{"RSA key without a private exponent", without(rsaPrivate(), pkcs11.CKA_PRIVATE_EXPONENT), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_PRIVATE_EXPONENT},
		{"RSA key without primes", without(rsaPrivate(), pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2, pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT), 0, 0},
		{"modulus zero", with(rsaPrivate(), attr(pkcs11.CKA_MODULUS, make([]byte, 256))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_MODULUS},
		{"even exponent", with(rsaPublic(), attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{4})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_EXPONENT},
		{"exponent one", with(rsaPublic(), attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{0, 1})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_EXPONENT},
		{"another size", with(rsaPublic(), attr(pkcs11.CKA_MODULUS_BITS, 2047)), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_MODULUS_BITS},
		{"another key in the info", with(ecPublic(), attr(pkcs11.CKA_PUBLIC_KEY_INFO, publicInfo(rsaPublic()))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_KEY_INFO},

		{"AES key of 17 bytes", with(aesKey(), attr(pkcs11.CKA_VALUE, make([]byte, 17))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_VALUE},
		{"AES key of another length", with(aesKey(), attr(pkcs11.CKA_VALUE_LEN, 32)), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_VALUE_LEN},
		{"HMAC key without value", without(hmacKey(), pkcs11.CKA_VALUE), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_VALUE},
		{"HMAC key of one byte", with(hmacKey(), attr(pkcs11.CKA_VALUE, "x")), 0, 0},
		{"HMAC key that is too long", with(hmacKey(), attr(pkcs11.CKA_VALUE, make([]byte, 4097))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_VALUE},
		{"wrong check value", with(aesKey(), attr(pkcs11.CKA_CHECK_VALUE, []byte{1, 2, 3})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_CHECK_VALUE},

		{"certificate without value", without(certificate(), pkcs11.CKA_VALUE), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_VALUE},
		{"certificate by URL alone", with(without(certificate(), pkcs11.CKA_VALUE), attr(pkcs11.CKA_URL, "https://example.com/c.der")), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_VALUE},
		{"malformed certificate", with(certificate(), attr(pkcs11.CKA_VALUE, broken)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_VALUE},
		{"half a certificate", with(certificate(), attr(pkcs11.CKA_VALUE, testECCert[:300])), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_VALUE},
		{"two certificates", with(certificate(), attr(pkcs11.CKA_VALUE, slices.Concat(testECCert, testRSACert))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_VALUE},
		{"PEM", with(certificate(), attr(pkcs11.CKA_VALUE, "-----BEGIN CERTIFICATE-----\n")), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_VALUE},
		{"a key for a certificate", with(certificate(), attr(pkcs11.CKA_VALUE, publicInfo(ecPublic()))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_VALUE},
		{"expired certificate", with(certificate(), attr(pkcs11.CKA_VALUE, testRSACert)), 0, 0},
		{"certificate with the key of another", with(certificate(), attr(pkcs11.CKA_PUBLIC_KEY_INFO, publicInfo(rsaPublic()))), pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKA_PUBLIC_KEY_INFO},
		{"certificate with a wrong check value", with(certificate(), attr(pkcs11.CKA_CHECK_VALUE, []byte{1, 2, 3})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_CHECK_VALUE},

		{"long label", with(dataObject(), attr(pkcs11.CKA_LABEL, strings.Repeat("x", 1024))), 0, 0},
		{"too long a label", with(dataObject(), attr(pkcs11.CKA_LABEL, strings.Repeat("x", 1025))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_LABEL},
		{"as much data as a record holds", with(dataObject(), attr(pkcs11.CKA_VALUE, make([]byte, 12<<10))), 0, 0},
		{"more data than a record holds", with(dataObject(), attr(pkcs11.CKA_VALUE, make([]byte, 12<<10+1))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_VALUE},
		{"too many mechanisms", with(ecPrivate(), attr(pkcs11.CKA_ALLOWED_MECHANISMS, make([]pkcs11.MechanismType, 257))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_ALLOWED_MECHANISMS},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.t.Clone()
			_, err := rules.Create(c.t)
			wantCode(t, err, c.want)
			if err != nil && !strings.Contains(err.Error(), c.typ.String()) {
				t.Errorf("error %q does not name %v", err, c.typ)
			}
			if len(before) != len(c.t) {
				t.Error("the template was changed")
			}
			for i := range before {
				if before[i].String() != c.t[i].String() || before[i].Value != nil && !before[i].Equal(c.t[i]) && before[i].Type.Kind() == pkcs11.KindBytes && len(before[i].Bytes()) > 0 {
					t.Errorf("the template was changed: %v", c.t[i].Type)
				}
			}
		})
	}
}

func publicInfo(t pkcs11.Template) []byte {
	o, err := rules.Create(t)
	if err != nil {
		panic(err)
	}
	return o.Bytes(pkcs11.CKA_PUBLIC_KEY_INFO)
}

// All missing attributes are named at once: who adds them one at a time learns
// the rules by trial.
func TestMissingAttributesAreAllNamed(t *testing.T) {
	_, err := rules.Create(without(rsaPrivate(), pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT))
	wantCode(t, err, pkcs11.CKR_TEMPLATE_INCOMPLETE)
	if s := err.Error(); !strings.Contains(s, "CKA_MODULUS") || !strings.Contains(s, "CKA_PUBLIC_EXPONENT") || !strings.Contains(s, "RSA private key") {
		t.Errorf("got %q", s)
	}
}

func TestErrorsHoldNoSecrets(t *testing.T) {
	value := bytes.Repeat([]byte("Geheimnis"), 2) // 18 bytes, no AES key
	template := with(aesKey(), attr(pkcs11.CKA_VALUE, value))
	for _, bad := range []pkcs11.Template{
		template,
		append(template, attr(pkcs11.CKA_VALUE, "other")),
		with(template, attr(pkcs11.CKA_VALUE_LEN, 3)),
		with(template, attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_DES)),
		with(ecPrivate(), attr(pkcs11.CKA_VALUE, string(value)), attr(pkcs11.CKA_EC_PARAMS, "x")),
	} {
		_, err := rules.Create(bad)
		if err == nil {
			t.Fatal("no error")
		}
		if s := err.Error(); strings.Contains(s, "eheim") || strings.Contains(s, "6568") {
			t.Errorf("error %q shows the value", s)
		}
	}
}

func TestLabels(t *testing.T) {
	for given, want := range map[string]string{"": "", "x": "x", "x\x00": "x", "x\x00\x00": "x\x00", "\x00": "", "a\x00b": "a\x00b", "Schlüssel": "Schlüssel", "\xff": "\xff"} {
		o, err := rules.Create(with(dataObject(), attr(pkcs11.CKA_LABEL, []byte(given))))
		if err != nil {
			t.Fatal(err)
		}
		if got := o.Text(pkcs11.CKA_LABEL); got != want {
			t.Errorf("created with %q: label is %q, want %q", given, got, want)
		}
		q, err := rules.Query(pkcs11.Template{attr(pkcs11.CKA_LABEL, given)})
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, o, q...)
		if changed, err := rules.Set(o, pkcs11.Template{attr(pkcs11.CKA_LABEL, given)}); err != nil || len(changed) != 0 {
			t.Errorf("setting label %q again changes %v, %v", given, changed, err)
		}
	}
}

func TestQueryObjectsToNothingItDoesNotKnow(t *testing.T) {
	q, err := rules.Query(pkcs11.Template{attr(pkcs11.CKA_CLASS, uint32(0xce534353)), attr(pkcs11.AttributeType(0x80001234), "x"), attr(pkcs11.CKA_VALUE, "secret")})
	if err != nil || len(q) != 3 {
		t.Errorf("got %v, %v", q, err)
	}
	_, err = rules.Query(pkcs11.Template{attr(pkcs11.CKA_TOKEN, "x")})
	wantCode(t, err, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
}

// The objects of an identity find each other by CKA_ID.
func TestDefaultIDIsShared(t *testing.T) {
	id := keys.DefaultID(&testEC.PublicKey)
	for name, template := range map[string]pkcs11.Template{"public key": ecPublic(), "certificate": certificate(), "certificate with an empty ID": with(certificate(), attr(pkcs11.CKA_ID, ""))} {
		o, err := rules.Create(template)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(o.Bytes(pkcs11.CKA_ID), id) {
			t.Errorf("%s: ID %x, want %x", name, o.Bytes(pkcs11.CKA_ID), id)
		}
	}
	for name, template := range map[string]pkcs11.Template{"given": ecPrivate(), "empty": with(ecPrivate(), attr(pkcs11.CKA_ID, ""))} {
		if o, err := rules.Create(template); err != nil || o.Has(pkcs11.CKA_ID) {
			t.Errorf("private key, ID %s: %v, %v; the driver makes the ID", name, o, err)
		}
	}
	o, err := rules.Create(with(certificate(), attr(pkcs11.CKA_ID, "mine")))
	if err != nil || string(o.Bytes(pkcs11.CKA_ID)) != "mine" {
		t.Errorf("an ID that was given became %x, %v", o.Bytes(pkcs11.CKA_ID), err)
	}
}

func TestCertificateIsDescribed(t *testing.T) {
	o, err := rules.Create(without(certificate(), pkcs11.CKA_SUBJECT))
	if err != nil {
		t.Fatal(err)
	}
	info, _ := keys.PublicAttributes(&testEC.PublicKey)
	wantValues(t, o,
		attr(pkcs11.CKA_SERIAL_NUMBER, []byte{2, 9, 0, 0xea, 0x40, 0x36, 0xb6, 0x35, 0xe6, 0x0e, 0x85}),
		attr(pkcs11.CKA_SUBJECT, o.Bytes(pkcs11.CKA_ISSUER)), // it is self-signed
		attr(pkcs11.CKA_PUBLIC_KEY_INFO, info.Bytes(pkcs11.CKA_PUBLIC_KEY_INFO)),
		attr(pkcs11.CKA_CHECK_VALUE, sha1Start(testECCert)))
	if s := o.Bytes(pkcs11.CKA_SUBJECT); len(s) != 193 || s[0] != 0x30 {
		t.Errorf("subject %x", s)
	}
	// Given values stay.
	o, err = rules.Create(with(certificate(), attr(pkcs11.CKA_ISSUER, "i"), attr(pkcs11.CKA_SERIAL_NUMBER, []byte{2, 1, 5}), attr(pkcs11.CKA_CHECK_VALUE, "")))
	if err != nil {
		t.Fatal(err)
	}
	wantValues(t, o, attr(pkcs11.CKA_ISSUER, "i"), attr(pkcs11.CKA_SERIAL_NUMBER, []byte{2, 1, 5}), attr(pkcs11.CKA_CHECK_VALUE, ""))
}

func TestPublicKeyIsCanonical(t *testing.T) {
	point := ecPublic().Bytes(pkcs11.CKA_EC_POINT)
	o, err := rules.Create(with(ecPublic(), attr(pkcs11.CKA_EC_POINT, point[2:])))
	if err != nil {
		t.Fatal(err)
	}
	wantValues(t, o, attr(pkcs11.CKA_EC_POINT, point))
	o, err = rules.Create(with(rsaPublic(), attr(pkcs11.CKA_MODULUS, slices.Concat([]byte{0}, testRSA.N.Bytes())), attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{0, 1, 0, 1})))
	if err != nil {
		t.Fatal(err)
	}
	wantValues(t, o, attr(pkcs11.CKA_MODULUS, testRSA.N.Bytes()), attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}), attr(pkcs11.CKA_MODULUS_BITS, 2048))
	edwards := pkcs11.Template{
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC_EDWARDS),
		attr(pkcs11.CKA_EC_PARAMS, "\x13\x0cedwards25519"), attr(pkcs11.CKA_EC_POINT, append([]byte{4, 32}, make([]byte, 32)...)),
	}
	o, err = rules.Create(edwards)
	if err != nil {
		t.Fatal(err)
	}
	wantValues(t, o, attr(pkcs11.CKA_EC_PARAMS, []byte{6, 3, 0x2b, 0x65, 0x70}), attr(pkcs11.CKA_EC_POINT, make([]byte, 32)))
}

// Names of curves become OIDs whoever makes the key.
func TestParametersAreCanonical(t *testing.T) {
	name, oid := attr(pkcs11.CKA_EC_PARAMS, "\x13\x0cedwards25519"), attr(pkcs11.CKA_EC_PARAMS, []byte{6, 3, 0x2b, 0x65, 0x70})
	pub, _, err := rules.GeneratePair(&pkcs11.Mechanism{Type: pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN}, pkcs11.Template{name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantValues(t, pub, oid)
	priv, err := rules.Create(with(ecPrivate(), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC_EDWARDS), name))
	if err != nil {
		t.Fatal(err)
	}
	wantValues(t, priv, oid)
}

func TestCheckValues(t *testing.T) {
	// FIPS 197 has no zero block; these are openssl's.
	for _, c := range []struct {
		k     pkcs11.KeyType
		value []byte
		want  []byte
	}{
		{pkcs11.CKK_AES, make([]byte, 16), []byte{0x66, 0xe9, 0x4b}},
		{pkcs11.CKK_AES, make([]byte, 32), []byte{0xdc, 0x95, 0xc0}},
		{pkcs11.CKK_GENERIC_SECRET, []byte("abc"), []byte{0xa9, 0x99, 0x3e}},
		{pkcs11.CKK_SHA256_HMAC, []byte("abc"), []byte{0xa9, 0x99, 0x3e}},
	} {
		if got := rules.CheckValue(c.k, c.value); !bytes.Equal(got, c.want) {
			t.Errorf("%v of %d bytes: %x, want %x", c.k, len(c.value), got, c.want)
		}
		template := with(aesKey(), attr(pkcs11.CKA_KEY_TYPE, c.k), attr(pkcs11.CKA_VALUE, c.value))
		for _, given := range []pkcs11.Template{template, with(template, attr(pkcs11.CKA_CHECK_VALUE, c.want))} {
			o, err := rules.Create(given)
			if err != nil {
				t.Fatal(err)
			}
			wantValues(t, o, attr(pkcs11.CKA_CHECK_VALUE, c.want))
		}
		o, err := rules.Create(with(template, attr(pkcs11.CKA_CHECK_VALUE, "")))
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, o, attr(pkcs11.CKA_CHECK_VALUE, ""))
	}
	_, err := rules.Generate(&pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN}, pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 16), attr(pkcs11.CKA_CHECK_VALUE, []byte{1, 2, 3})})
	wantCode(t, err, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
}

func TestUses(t *testing.T) {
	uses := []pkcs11.AttributeType{pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT, pkcs11.CKA_SIGN, pkcs11.CKA_VERIFY, pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP, pkcs11.CKA_DERIVE, pkcs11.CKA_SIGN_RECOVER, pkcs11.CKA_VERIFY_RECOVER}
	for _, c := range []struct {
		name string
		t    pkcs11.Template
		want []pkcs11.AttributeType
	}{
		{"EC private", without(ecPrivate(), pkcs11.CKA_SIGN), []pkcs11.AttributeType{pkcs11.CKA_SIGN}},
		{"EC private, to derive", with(without(ecPrivate(), pkcs11.CKA_SIGN), attr(pkcs11.CKA_DERIVE, true)), []pkcs11.AttributeType{pkcs11.CKA_DERIVE}},
		{"EC private, not to sign", with(ecPrivate(), attr(pkcs11.CKA_SIGN, false)), nil},
		{"EC private, not to derive", with(without(ecPrivate(), pkcs11.CKA_SIGN), attr(pkcs11.CKA_DERIVE, false)), []pkcs11.AttributeType{pkcs11.CKA_SIGN}},
		{"EC private, harmless extras", with(ecPrivate(), attr(pkcs11.CKA_UNWRAP, true), attr(pkcs11.CKA_DERIVE, true)), []pkcs11.AttributeType{pkcs11.CKA_SIGN, pkcs11.CKA_UNWRAP, pkcs11.CKA_DERIVE}},
		{"EC public", without(ecPublic(), pkcs11.CKA_VERIFY), []pkcs11.AttributeType{pkcs11.CKA_VERIFY}},
		{"RSA private", without(rsaPrivate(), pkcs11.CKA_SIGN), []pkcs11.AttributeType{pkcs11.CKA_DECRYPT, pkcs11.CKA_SIGN}},
		{"RSA public", without(rsaPublic(), pkcs11.CKA_VERIFY), []pkcs11.AttributeType{pkcs11.CKA_ENCRYPT, pkcs11.CKA_VERIFY}},
		{"AES", aesKey(), []pkcs11.AttributeType{pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT}},
		{"AES to wrap", with(aesKey(), attr(pkcs11.CKA_WRAP, true)), []pkcs11.AttributeType{pkcs11.CKA_WRAP}},
		{"AES, as python-pkcs11 makes it", with(aesKey(), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_ENCRYPT, true), attr(pkcs11.CKA_DECRYPT, true), attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_UNWRAP, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_VERIFY, true)),
			[]pkcs11.AttributeType{pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT, pkcs11.CKA_SIGN, pkcs11.CKA_VERIFY, pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP}},
		{"HMAC", without(hmacKey(), pkcs11.CKA_SIGN, pkcs11.CKA_VERIFY), []pkcs11.AttributeType{pkcs11.CKA_SIGN, pkcs11.CKA_VERIFY}},
		{"generic", with(aesKey(), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET)), []pkcs11.AttributeType{pkcs11.CKA_SIGN, pkcs11.CKA_VERIFY}},
		{"HKDF", with(aesKey(), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_HKDF)), []pkcs11.AttributeType{pkcs11.CKA_DERIVE}},
	} {
		o, err := rules.Create(c.t)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []pkcs11.AttributeType
		for _, u := range uses {
			if o.Bool(u) {
				got = append(got, u)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: uses %v, want %v", c.name, got, c.want)
		}
	}
}

// Empty lists and bytes say nothing, as absent ones: nothing is forbidden by a
// list of no mechanisms.
func TestEmptyValuesCountAsAbsent(t *testing.T) {
	o, err := rules.Create(with(ecPrivate(), attr(pkcs11.CKA_ALLOWED_MECHANISMS, []pkcs11.MechanismType{}), attr(pkcs11.CKA_UNWRAP_TEMPLATE, pkcs11.Template{}), attr(pkcs11.CKA_PUBLIC_KEY_INFO, "")))
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_ALLOWED_MECHANISMS, pkcs11.CKA_UNWRAP_TEMPLATE, pkcs11.CKA_PUBLIC_KEY_INFO, pkcs11.CKA_ID} {
		if o.Has(typ) {
			t.Errorf("%v is there", typ)
		}
	}
}

func TestGeneratePair(t *testing.T) {
	ec := &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}
	params := attr(pkcs11.CKA_EC_PARAMS, p256)
	for _, c := range []struct {
		name      string
		m         *pkcs11.Mechanism
		pub, priv pkcs11.Template
		want      pkcs11.Error
	}{
		{"both empty", ec, nil, nil, pkcs11.CKR_TEMPLATE_INCOMPLETE},
		{"both empty, RSA", &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN}, nil, nil, pkcs11.CKR_TEMPLATE_INCOMPLETE},
		{"both empty, Edwards", &pkcs11.Mechanism{Type: pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN}, nil, nil, pkcs11.CKR_TEMPLATE_INCOMPLETE},
		{"parameters alone, as Java", ec, pkcs11.Template{params}, nil, 0},
		{"parameters in the private template", ec, nil, pkcs11.Template{params}, pkcs11.CKR_TEMPLATE_INCOMPLETE},
		{"parameters in both", ec, pkcs11.Template{params}, pkcs11.Template{params}, pkcs11.CKR_ATTRIBUTE_READ_ONLY},
		{"verify and not", ec, pkcs11.Template{params, attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_VERIFY, false)}, nil, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"sign and not", ec, pkcs11.Template{params}, pkcs11.Template{attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_SIGN, false)}, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"another key type", ec, pkcs11.Template{params, attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA)}, nil, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"another private key type", ec, pkcs11.Template{params}, pkcs11.Template{attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)}, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"classes exchanged", ec, pkcs11.Template{params, attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY)}, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{"a digest", &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC}, pkcs11.Template{params}, nil, pkcs11.CKR_MECHANISM_INVALID},
		{"a secret key", &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN}, pkcs11.Template{params}, nil, pkcs11.CKR_MECHANISM_INVALID},
		{"no mechanism", nil, pkcs11.Template{params}, nil, pkcs11.CKR_ARGUMENTS_BAD},
		{"a curve nobody has", ec, pkcs11.Template{attr(pkcs11.CKA_EC_PARAMS, []byte{6, 5, 0x2b, 0x81, 4, 0, 10})}, nil, pkcs11.CKR_CURVE_NOT_SUPPORTED},
		{"P-256 for Ed25519", &pkcs11.Mechanism{Type: pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN}, pkcs11.Template{params}, nil, pkcs11.CKR_CURVE_NOT_SUPPORTED},
		{"garbage for a curve", ec, pkcs11.Template{attr(pkcs11.CKA_EC_PARAMS, "x")}, nil, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{"RSA of 0 bits", &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN}, pkcs11.Template{attr(pkcs11.CKA_MODULUS_BITS, 0)}, nil, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{"RSA of a million bits", &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN}, pkcs11.Template{attr(pkcs11.CKA_MODULUS_BITS, 1<<20)}, nil, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{"NSS", ec, pkcs11.Template{params, attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_DERIVE, true), attr(pkcs11.CKA_WRAP, false), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_VERIFY_RECOVER, false), attr(pkcs11.CKA_ENCRYPT, false)},
			pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_DERIVE, true), attr(pkcs11.CKA_UNWRAP, false), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_DECRYPT, false)}, 0},
		{"pkcs11-tool", ec, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_DERIVE, true), params, attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_LABEL, "k"), attr(pkcs11.CKA_ID, "1"), attr(pkcs11.CKA_PRIVATE, false)},
			pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_DERIVE, true), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_LABEL, "k"), attr(pkcs11.CKA_ID, "1")}, 0},
		{"p11tool", ec, pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_PRIVATE, false), attr(pkcs11.CKA_ID, "1"), attr(pkcs11.CKA_VERIFY, true), params, attr(pkcs11.CKA_LABEL, "k")},
			pkcs11.Template{attr(pkcs11.CKA_ID, "1"), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_LABEL, "k"), attr(pkcs11.CKA_SENSITIVE, true)}, 0},
		{"pkcs11-provider", ec, pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_DERIVE, true), attr(pkcs11.CKA_VERIFY, true), attr(pkcs11.CKA_WRAP, true), params, attr(pkcs11.CKA_ID, "1"), attr(pkcs11.CKA_LABEL, "k")},
			pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_DERIVE, true), attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_UNWRAP, true), attr(pkcs11.CKA_ID, "1"), attr(pkcs11.CKA_LABEL, "k")}, 0},
		{"crypto11", ec, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_VERIFY, true), params, attr(pkcs11.CKA_ID, "1"), attr(pkcs11.CKA_LABEL, "k")},
			pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, false), attr(pkcs11.CKA_LABEL, "k"), attr(pkcs11.CKA_ID, "1")}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			pub, priv, err := rules.GeneratePair(c.m, c.pub, c.priv)
			wantCode(t, err, c.want)
			if err != nil {
				return
			}
			wantValues(t, pub, c.pub...)
			wantValues(t, priv, c.priv...)
			wantValues(t, pub, attr(pkcs11.CKA_LOCAL, true), attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY))
			wantValues(t, priv, attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, false), attr(pkcs11.CKA_SIGN, true),
				attr(pkcs11.CKA_ALWAYS_SENSITIVE, true), attr(pkcs11.CKA_NEVER_EXTRACTABLE, true))
		})
	}
}

func TestPairShares(t *testing.T) {
	ec := &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}
	params := attr(pkcs11.CKA_EC_PARAMS, p256)
	three := pkcs11.Template{attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_ID, "id"), attr(pkcs11.CKA_LABEL, "label")}
	for name, c := range map[string][2]pkcs11.Template{
		"private to public":                         {{params}, three},
		"public to private":                         {append(pkcs11.Template{params}, three...), nil},
		"private to public, an empty ID in between": {{params, attr(pkcs11.CKA_ID, "")}, three},
	} {
		pub, priv, err := rules.GeneratePair(ec, c[0], c[1])
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			wantValues(t, pub, three...)
			wantValues(t, priv, three...)
		})
	}
	pub, priv, err := rules.GeneratePair(ec, pkcs11.Template{params, attr(pkcs11.CKA_TOKEN, false), attr(pkcs11.CKA_LABEL, "p")}, three)
	if err != nil {
		t.Fatal(err)
	}
	wantValues(t, pub, attr(pkcs11.CKA_TOKEN, false), attr(pkcs11.CKA_LABEL, "p"), attr(pkcs11.CKA_ID, "id"))
	wantValues(t, priv, three...)
	pub, priv, err = rules.GeneratePair(ec, pkcs11.Template{params}, nil)
	if err != nil || pub.Has(pkcs11.CKA_ID) || priv.Has(pkcs11.CKA_ID) || pub.Bool(pkcs11.CKA_TOKEN) {
		t.Errorf("got %v, %v, %v", pub, priv, err)
	}
}

func TestGenerate(t *testing.T) {
	for _, c := range []struct {
		name string
		m    pkcs11.MechanismType
		t    pkcs11.Template
		want pkcs11.Error
		len  uint64
	}{
		{"AES without a length", pkcs11.CKM_AES_KEY_GEN, nil, pkcs11.CKR_TEMPLATE_INCOMPLETE, 0},
		{"AES-192", pkcs11.CKM_AES_KEY_GEN, pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 24)}, 0, 24},
		{"AES-136", pkcs11.CKM_AES_KEY_GEN, pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 17)}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, 0},
		{"AES with a value", pkcs11.CKM_AES_KEY_GEN, pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 16), attr(pkcs11.CKA_VALUE, make([]byte, 16))}, pkcs11.CKR_ATTRIBUTE_READ_ONLY, 0},
		{"generic of no length", pkcs11.CKM_GENERIC_SECRET_KEY_GEN, pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 0)}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, 0},
		{"generic of any length", pkcs11.CKM_GENERIC_SECRET_KEY_GEN, pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 7)}, 0, 7},
		{"generic called AES", pkcs11.CKM_GENERIC_SECRET_KEY_GEN, pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 16), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)}, pkcs11.CKR_TEMPLATE_INCONSISTENT, 0},
		{"HMAC", pkcs11.CKM_SHA256_KEY_GEN, nil, 0, 32},
		{"longer HMAC", pkcs11.CKM_SHA512_KEY_GEN, pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 100)}, 0, 100},
		{"a pair", pkcs11.CKM_EC_KEY_PAIR_GEN, nil, pkcs11.CKR_MECHANISM_INVALID, 0},
		{"private class", pkcs11.CKM_AES_KEY_GEN, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}, pkcs11.CKR_TEMPLATE_INCONSISTENT, 0},
		{"trusted", pkcs11.CKM_AES_KEY_GEN, pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 16), attr(pkcs11.CKA_TRUSTED, true)}, pkcs11.CKR_ATTRIBUTE_READ_ONLY, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := rules.Generate(&pkcs11.Mechanism{Type: c.m}, c.t)
			wantCode(t, err, c.want)
			if err == nil {
				wantValues(t, o, attr(pkcs11.CKA_VALUE_LEN, c.len), attr(pkcs11.CKA_KEY_GEN_MECHANISM, c.m), attr(pkcs11.CKA_LOCAL, true),
					attr(pkcs11.CKA_ALWAYS_SENSITIVE, true), attr(pkcs11.CKA_NEVER_EXTRACTABLE, true))
			}
		})
	}
	for _, sensitive := range []bool{false, true} {
		for _, extractable := range []bool{false, true} {
			o, err := rules.Generate(&pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN},
				pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 16), attr(pkcs11.CKA_SENSITIVE, sensitive), attr(pkcs11.CKA_EXTRACTABLE, extractable)})
			if err != nil {
				t.Fatal(err)
			}
			wantValues(t, o, attr(pkcs11.CKA_ALWAYS_SENSITIVE, sensitive), attr(pkcs11.CKA_NEVER_EXTRACTABLE, !extractable))
		}
	}
	_, err := rules.Generate(nil, nil)
	wantCode(t, err, pkcs11.CKR_ARGUMENTS_BAD)
}

// Everything that is wrong with a template has one error that counts, and it is
// the same whichever way the attributes are ordered, down to the attribute loop.
func TestOrderOfChecks(t *testing.T) {
	bad := pkcs11.Template{ // by the order in the package comment, the worst last
		attr(pkcs11.CKA_ALWAYS_AUTHENTICATE, true), attr(pkcs11.CKA_PRIVATE, false), // 6
		attr(pkcs11.CKA_EC_PARAMS, "x"), // 5, and 4: CKA_VALUE is missing
		attr(pkcs11.CKA_LOCAL, true),    // 3
		attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC),
	}
	step := func(t pkcs11.Template, want pkcs11.Error) error {
		_, err := rules.Create(t)
		if !errors.Is(err, want) {
			return err
		}
		return nil
	}
	for i, c := range []struct {
		t    pkcs11.Template
		want pkcs11.Error
	}{
		{append(slices.Clone(bad), attr(pkcs11.CKA_LOCAL, false)), pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{with(bad, attr(pkcs11.CKA_LOCAL, 1)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{without(bad, pkcs11.CKA_KEY_TYPE), pkcs11.CKR_TEMPLATE_INCOMPLETE},
		{bad, pkcs11.CKR_ATTRIBUTE_READ_ONLY},
		{without(bad, pkcs11.CKA_LOCAL), pkcs11.CKR_TEMPLATE_INCOMPLETE},
		{with(without(bad, pkcs11.CKA_LOCAL), attr(pkcs11.CKA_VALUE, "x")), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{with(without(bad, pkcs11.CKA_LOCAL), attr(pkcs11.CKA_VALUE, "x"), attr(pkcs11.CKA_EC_PARAMS, p256)), pkcs11.CKR_TEMPLATE_INCONSISTENT},
		{with(without(bad, pkcs11.CKA_LOCAL, pkcs11.CKA_PRIVATE), attr(pkcs11.CKA_VALUE, "x"), attr(pkcs11.CKA_EC_PARAMS, p256)), 0},
	} {
		if c.want == 0 {
			_, err := rules.Create(c.t)
			wantCode(t, err, 0)
		} else if err := step(c.t, c.want); err != nil {
			t.Errorf("step %d: got %v, want %v", i, err, c.want)
		}
	}
}
