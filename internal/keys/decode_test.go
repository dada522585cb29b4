package keys

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var attr = pkcs11.Attr

// change returns a copy of t with the changes, a nil value removing the
// attribute.
func change(t pkcs11.Template, changes ...pkcs11.Attribute) pkcs11.Template {
	t = t.Clone()
	for _, c := range changes {
		if c.Value == nil {
			t = slices.DeleteFunc(t, func(a pkcs11.Attribute) bool { return a.Type == c.Type })
		} else {
			t = t.Set(c)
		}
	}
	return t
}

func publicOf(tb testing.TB, key privateKey) pkcs11.Template {
	tb.Helper()
	t, err := PublicAttributes(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return change(t, attr(pkcs11.CKA_PUBLIC_KEY_INFO, nil))
}

func privateOf(tb testing.TB, key privateKey) pkcs11.Template {
	tb.Helper()
	t, err := PrivateAttributes(key)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// wantError checks the code and that the text names the attribute.
func wantError(t *testing.T, what string, err error, code pkcs11.Error, typ pkcs11.AttributeType) {
	t.Helper()
	wantCode(t, what, err, code)
	if err != nil && !strings.Contains(err.Error(), typ.String()) {
		t.Errorf("%s: %q does not name %v", what, err, typ)
	}
}

func TestPointEncodings(t *testing.T) {
	for name, key := range testKeys(t) {
		if KeyType(key) == pkcs11.CKK_RSA {
			continue
		}
		t.Run(name, func(t *testing.T) {
			tmpl := publicOf(t, key)
			point := tmpl.Bytes(pkcs11.CKA_EC_POINT)
			if KeyType(key) == pkcs11.CKK_EC {
				var ok bool
				if point, _, ok = readTLV(point, tagOctetString); !ok || point[0] != 4 {
					t.Fatalf("CKA_EC_POINT of CKK_EC is not an uncompressed point in an OCTET STRING: %x", point)
				}
			}
			try := func(p []byte) error {
				pub, err := PublicKey(change(tmpl, attr(pkcs11.CKA_EC_POINT, p)))
				if err == nil && !Equal(pub, key.Public()) {
					t.Errorf("%x is taken for another key", p)
				}
				return err
			}
			wrapped := appendTLV(nil, tagOctetString, point)
			if err := try(point); err != nil {
				t.Errorf("bare point: %v", err)
			}
			if err := try(wrapped); err != nil {
				t.Errorf("in an OCTET STRING: %v", err)
			}
			bad := map[string][]byte{
				"empty":                   {},
				"a byte short":            point[1:],
				"a byte long":             append(bytes.Clone(point), 0),
				"a byte after":            append(bytes.Clone(wrapped), 0),
				"in two OCTET STRINGs":    appendTLV(nil, tagOctetString, wrapped),
				"in a BIT STRING":         appendTLV(nil, 3, point),
				"cut short":               wrapped[:len(wrapped)-1],
				"header only":             wrapped[:2],
				"short point in a string": appendTLV(nil, tagOctetString, point[1:]),
				"zeros":                   make([]byte, len(point)),
			}
			if KeyType(key) == pkcs11.CKK_EC {
				off := bytes.Clone(point)
				off[len(off)-1] ^= 1
				bad["not on the curve"] = off
				bad["not on the curve, in an OCTET STRING"] = appendTLV(nil, tagOctetString, off)
				bad["infinity"] = []byte{0}
				bad["compressed"] = append([]byte{2}, point[1:1+len(point)/2]...)
				hybrid := bytes.Clone(point)
				hybrid[0] = 6
				bad["hybrid"] = hybrid
				full := bytes.Clone(point)
				for i := range full[1:] {
					full[1+i] = 0xff
				}
				bad["coordinates above the prime"] = full
			} else {
				delete(bad, "zeros")
			}
			for what, p := range bad {
				wantError(t, what, try(p), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_EC_POINT)
			}
		})
	}
}

func TestCurveParameters(t *testing.T) {
	for name, c := range map[string]struct {
		params string
		codes  [3]pkcs11.Error // of CKK_EC, _EDWARDS, _MONTGOMERY; 0 for none
	}{
		"P-256":                   {"06082a8648ce3d030107", [3]pkcs11.Error{0, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED}},
		"P-384":                   {"06052b81040022", [3]pkcs11.Error{0, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED}},
		"P-521":                   {"06052b81040023", [3]pkcs11.Error{0, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED}},
		"Ed25519":                 {"06032b6570", [3]pkcs11.Error{pkcs11.CKR_CURVE_NOT_SUPPORTED, 0, pkcs11.CKR_CURVE_NOT_SUPPORTED}},
		"edwards25519":            {"130c656477617264733235353139", [3]pkcs11.Error{pkcs11.CKR_CURVE_NOT_SUPPORTED, 0, pkcs11.CKR_CURVE_NOT_SUPPORTED}},
		"X25519":                  {"06032b656e", [3]pkcs11.Error{pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED, 0}},
		"curve25519":              {"130a63757276653235353139", [3]pkcs11.Error{pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED, 0}},
		"P-224":                   {"06052b81040021", [3]pkcs11.Error{pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED}},
		"secp256k1":               {"06052b8104000a", [3]pkcs11.Error{pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED}},
		"Ed448":                   {"06032b6571", [3]pkcs11.Error{pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED}},
		"explicit":                {"3003020101", [3]pkcs11.Error{pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED}},
		"implicit":                {"0500", [3]pkcs11.Error{pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_CURVE_NOT_SUPPORTED}},
		"a byte short":            {"06082a8648ce3d0301", [3]pkcs11.Error{pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID}},
		"a byte long":             {"06082a8648ce3d03010700", [3]pkcs11.Error{pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID}},
		"OID without tag":         {"2a8648ce3d030107", [3]pkcs11.Error{pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID}},
		"OID that stops":          {"06022a86", [3]pkcs11.Error{pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID}},
		"OID with a leading zero": {"06032a8001", [3]pkcs11.Error{pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID}},
		"empty OID":               {"0600", [3]pkcs11.Error{pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID}},
		"nothing":                 {"", [3]pkcs11.Error{pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID}},
	} {
		for i, typ := range []pkcs11.KeyType{pkcs11.CKK_EC, pkcs11.CKK_EC_EDWARDS, pkcs11.CKK_EC_MONTGOMERY} {
			err := CheckParams(typ, unhex(t, c.params))
			wantError(t, name+" for "+typ.String(), err, c.codes[i], pkcs11.CKA_EC_PARAMS)
		}
	}
	if c, err := Curve(unhex(t, "06052b81040022")); err != nil || c != elliptic.P384() {
		t.Errorf("Curve: %v, %v", c, err)
	}
}

func TestPublicKeyRefuses(t *testing.T) {
	keys := testKeys(t)
	ec, rsaT, ed := publicOf(t, keys["P-256"]), publicOf(t, keys["RSA-2048"]), publicOf(t, keys["Ed25519"])
	info := func(pub any) []byte {
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	even := bytes.Clone(rsaT.Bytes(pkcs11.CKA_MODULUS))
	even[len(even)-1] &^= 1
	for _, c := range []struct {
		what string
		t    pkcs11.Template
		code pkcs11.Error
		typ  pkcs11.AttributeType
	}{
		{"nothing", nil, pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_KEY_TYPE},
		{"no key type", change(ec, attr(pkcs11.CKA_KEY_TYPE, nil)), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_KEY_TYPE},
		{"AES", change(ec, attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_KEY_TYPE},
		{"no params", change(ec, attr(pkcs11.CKA_EC_PARAMS, nil)), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_EC_PARAMS},
		{"no point", change(ec, attr(pkcs11.CKA_EC_POINT, nil)), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_EC_POINT},
		{"params of another length of point", change(ec, attr(pkcs11.CKA_EC_PARAMS, unhex(t, "06052b81040022"))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_EC_POINT},
		{"Ed25519 as CKK_EC", change(ed, attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC)), pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKA_EC_PARAMS},
		{"no modulus", change(rsaT, attr(pkcs11.CKA_MODULUS, nil)), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_MODULUS},
		{"no exponent", change(rsaT, attr(pkcs11.CKA_PUBLIC_EXPONENT, nil)), pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_PUBLIC_EXPONENT},
		{"empty modulus", change(rsaT, attr(pkcs11.CKA_MODULUS, []byte{})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_MODULUS},
		{"zero modulus", change(rsaT, attr(pkcs11.CKA_MODULUS, make([]byte, 256))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_MODULUS},
		{"even modulus", change(rsaT, attr(pkcs11.CKA_MODULUS, even)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_MODULUS},
		{"1016 bits", change(rsaT, attr(pkcs11.CKA_MODULUS, append(number(126, true), 0xff))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_MODULUS},
		{"16392 bits", change(rsaT, attr(pkcs11.CKA_MODULUS, append(number(2048, true), 0xff))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_MODULUS},
		{"exponent 1", change(rsaT, attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_EXPONENT},
		{"exponent 0", change(rsaT, attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{0})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_EXPONENT},
		{"even exponent", change(rsaT, attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_EXPONENT},
		{"32-bit exponent", change(rsaT, attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{0x80, 0, 0, 1})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_EXPONENT},
		{"33-bit exponent", change(rsaT, attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 0, 0, 1})), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_EXPONENT},
		{"a modulus that is a number", change(rsaT, attr(pkcs11.CKA_MODULUS, 17)), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_MODULUS},
		{"info is not DER", pkcs11.Template{attr(pkcs11.CKA_PUBLIC_KEY_INFO, []byte{1})}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_KEY_INFO},
		{"info of P-224", pkcs11.Template{attr(pkcs11.CKA_PUBLIC_KEY_INFO, info(&p224.PublicKey))}, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKA_PUBLIC_KEY_INFO},
		{"info of another key", change(ec, attr(pkcs11.CKA_PUBLIC_KEY_INFO, info(keys["P-384"].Public()))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_KEY_INFO},
		{"info of another type", pkcs11.Template{attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA), attr(pkcs11.CKA_PUBLIC_KEY_INFO, info(keys["P-384"].Public()))}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_PUBLIC_KEY_INFO},
		{"info on another curve", change(ec, attr(pkcs11.CKA_EC_POINT, nil), attr(pkcs11.CKA_PUBLIC_KEY_INFO, info(keys["P-384"].Public()))), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKA_EC_PARAMS},
		{"unknown params beside info", change(ec, attr(pkcs11.CKA_EC_PARAMS, unhex(t, "06052b81040021")), attr(pkcs11.CKA_EC_POINT, nil), attr(pkcs11.CKA_PUBLIC_KEY_INFO, info(keys["P-256"].Public()))), pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKA_EC_PARAMS},
	} {
		pub, err := PublicKey(c.t)
		wantError(t, c.what, err, c.code, c.typ)
		if err != nil && pub != nil {
			t.Errorf("%s: a key beside the error", c.what)
		}
	}
	padded := append(make([]byte, 3), rsaT.Bytes(pkcs11.CKA_MODULUS)...)
	if pub, err := PublicKey(change(rsaT, attr(pkcs11.CKA_MODULUS, padded), attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{0, 0, 1, 0, 1}))); err != nil || !Equal(pub, keys["RSA-2048"].Public()) {
		t.Errorf("leading zeros: %v", err)
	}
	if pub, err := PublicKey(change(ed, attr(pkcs11.CKA_EC_PARAMS, []byte("\x13\x0cedwards25519")))); err != nil || !Equal(pub, keys["Ed25519"].Public()) {
		t.Errorf("printable params: %v", err)
	}
	if pub, err := PublicKey(change(ec, attr(pkcs11.CKA_EC_POINT, string(ec.Bytes(pkcs11.CKA_EC_POINT))))); err != nil || !Equal(pub, keys["P-256"].Public()) {
		t.Errorf("a point in a string: %v", err)
	}
}

func TestPublicAttributesRefuses(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := rsaKey(t)
	for _, c := range []struct {
		what string
		pub  any
		code pkcs11.Error
	}{
		{"nil", nil, pkcs11.CKR_KEY_TYPE_INCONSISTENT},
		{"a private key", good, pkcs11.CKR_KEY_TYPE_INCONSISTENT},
		{"P-224", &p224.PublicKey, pkcs11.CKR_CURVE_NOT_SUPPORTED},
		{"ECDH on P-256", p256.PublicKey(), pkcs11.CKR_CURVE_NOT_SUPPORTED},
		{"RSA without modulus", &rsa.PublicKey{E: 3}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{"RSA with exponent 1", &rsa.PublicKey{N: good.N, E: 1}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		{"no point", &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
	} {
		_, err := PublicAttributes(c.pub)
		wantCode(t, c.what, err, c.code)
	}
}

func TestPrivateKeyRefuses(t *testing.T) {
	keys := testKeys(t)
	ec, p384, rsaT, ed, x := privateOf(t, keys["P-256"]), privateOf(t, keys["P-384"]), privateOf(t, keys["RSA-2048"]), privateOf(t, keys["Ed25519"]), privateOf(t, keys["X25519"])
	order := elliptic.P256().Params().N
	other := otherRSA(t)
	otherT := privateOf(t, other)
	plus := func(t pkcs11.Template, typ pkcs11.AttributeType, d int64) pkcs11.Attribute {
		v := new(big.Int).SetBytes(t.Bytes(typ))
		return attr(typ, v.Add(v, big.NewInt(d)).Bytes())
	}
	composite := func() pkcs11.Template {
		// n = p·q with p the product of two primes. Everything else is right.
		var p, q, d *big.Int
		for d == nil {
			var prime [3]*big.Int
			for i, bits := range []int{512, 512, 1024} {
				var err error
				if prime[i], err = rand.Prime(rand.Reader, bits); err != nil {
					t.Fatal(err)
				}
			}
			p, q = new(big.Int).Mul(prime[0], prime[1]), prime[2]
			phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
			d = new(big.Int).ModInverse(big.NewInt(65537), phi)
		}
		return pkcs11.Template{attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA), attr(pkcs11.CKA_MODULUS, new(big.Int).Mul(p, q).Bytes()),
			attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}), attr(pkcs11.CKA_PRIVATE_EXPONENT, d.Bytes()),
			attr(pkcs11.CKA_PRIME_1, p.Bytes()), attr(pkcs11.CKA_PRIME_2, q.Bytes())}
	}
	publicPoint := publicOf(t, keys["P-384"])
	info, err := x509.MarshalPKIXPublicKey(&other.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	const incomplete, bad = pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID
	for _, c := range []struct {
		what string
		t    pkcs11.Template
		code pkcs11.Error
		typ  pkcs11.AttributeType
	}{
		{"nothing", nil, incomplete, pkcs11.CKA_KEY_TYPE},
		{"AES", pkcs11.Template{attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)}, bad, pkcs11.CKA_KEY_TYPE},
		{"no params", change(ec, attr(pkcs11.CKA_EC_PARAMS, nil)), incomplete, pkcs11.CKA_EC_PARAMS},
		{"no value", change(ec, attr(pkcs11.CKA_VALUE, nil)), incomplete, pkcs11.CKA_VALUE},
		{"empty value", change(ec, attr(pkcs11.CKA_VALUE, []byte{})), bad, pkcs11.CKA_VALUE},
		{"P-224", change(ec, attr(pkcs11.CKA_EC_PARAMS, unhex(t, "06052b81040021"))), pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKA_EC_PARAMS},
		{"32 bytes on P-384", change(ec, attr(pkcs11.CKA_EC_PARAMS, unhex(t, "06052b81040022"))), bad, pkcs11.CKA_VALUE},
		{"48 bytes on P-256", change(p384, attr(pkcs11.CKA_EC_PARAMS, unhex(t, "06082a8648ce3d030107"))), bad, pkcs11.CKA_VALUE},
		{"48 bytes on P-521", change(p384, attr(pkcs11.CKA_EC_PARAMS, unhex(t, "06052b81040023"))), bad, pkcs11.CKA_VALUE},
		{"33 bytes", change(ec, attr(pkcs11.CKA_VALUE, append([]byte{0}, ec.Bytes(pkcs11.CKA_VALUE)...))), bad, pkcs11.CKA_VALUE},
		{"one byte", change(ec, attr(pkcs11.CKA_VALUE, []byte{1})), bad, pkcs11.CKA_VALUE},
		{"zero", change(ec, attr(pkcs11.CKA_VALUE, make([]byte, 32))), bad, pkcs11.CKA_VALUE},
		{"the order", change(ec, attr(pkcs11.CKA_VALUE, order.Bytes())), bad, pkcs11.CKA_VALUE},
		{"all ones", change(ec, attr(pkcs11.CKA_VALUE, bytes.Repeat([]byte{0xff}, 32))), bad, pkcs11.CKA_VALUE},
		{"point of another key", change(p384, attr(pkcs11.CKA_VALUE, number(48, false)), attr(pkcs11.CKA_EC_POINT, publicPoint.Bytes(pkcs11.CKA_EC_POINT))), bad, pkcs11.CKA_EC_POINT},
		{"point of another curve", change(ec, attr(pkcs11.CKA_EC_POINT, publicPoint.Bytes(pkcs11.CKA_EC_POINT))), bad, pkcs11.CKA_EC_POINT},
		{"info of another key", change(ec, attr(pkcs11.CKA_PUBLIC_KEY_INFO, info)), bad, pkcs11.CKA_PUBLIC_KEY_INFO},
		{"info that is none", change(ec, attr(pkcs11.CKA_PUBLIC_KEY_INFO, []byte{1})), bad, pkcs11.CKA_PUBLIC_KEY_INFO},
		{"short seed", change(ed, attr(pkcs11.CKA_VALUE, make([]byte, 31))), bad, pkcs11.CKA_VALUE},
		{"seed and public key", change(ed, attr(pkcs11.CKA_VALUE, make([]byte, 64))), bad, pkcs11.CKA_VALUE},
		{"short X25519 key", change(x, attr(pkcs11.CKA_VALUE, make([]byte, 31))), bad, pkcs11.CKA_VALUE},
		{"long X25519 key", change(x, attr(pkcs11.CKA_VALUE, make([]byte, 33))), bad, pkcs11.CKA_VALUE},
		{"no modulus", change(rsaT, attr(pkcs11.CKA_MODULUS, nil)), incomplete, pkcs11.CKA_MODULUS},
		{"no public exponent", change(rsaT, attr(pkcs11.CKA_PUBLIC_EXPONENT, nil)), incomplete, pkcs11.CKA_PUBLIC_EXPONENT},
		{"no private exponent", change(rsaT, attr(pkcs11.CKA_PRIVATE_EXPONENT, nil)), incomplete, pkcs11.CKA_PRIVATE_EXPONENT},
		{"zero private exponent", change(rsaT, attr(pkcs11.CKA_PRIVATE_EXPONENT, make([]byte, 256))), bad, pkcs11.CKA_PRIVATE_EXPONENT},
		{"long private exponent", change(rsaT, attr(pkcs11.CKA_PRIVATE_EXPONENT, number(257, false))), bad, pkcs11.CKA_PRIVATE_EXPONENT},
		{"private exponent as large as the modulus", change(rsaT, attr(pkcs11.CKA_PRIVATE_EXPONENT, rsaT.Bytes(pkcs11.CKA_MODULUS))), bad, pkcs11.CKA_PRIVATE_EXPONENT},
		{"one prime only", change(rsaT, attr(pkcs11.CKA_PRIME_2, nil)), incomplete, pkcs11.CKA_PRIME_2},
		{"an exponent without primes", change(rsaT[:4], rsaT[6]), incomplete, pkcs11.CKA_PRIME_1},
		{"wrong prime", change(rsaT, plus(rsaT, pkcs11.CKA_PRIME_1, 2)), bad, pkcs11.CKA_PRIME_1},
		{"primes of another key", change(rsaT, otherT[4], otherT[5]), bad, pkcs11.CKA_PRIME_1},
		{"1 and n for primes", change(rsaT, attr(pkcs11.CKA_PRIME_1, []byte{1}), attr(pkcs11.CKA_PRIME_2, rsaT.Bytes(pkcs11.CKA_MODULUS))), bad, pkcs11.CKA_PRIME_1},
		{"wrong exponent 1", change(rsaT, plus(rsaT, pkcs11.CKA_EXPONENT_1, 2)), bad, pkcs11.CKA_EXPONENT_1},
		{"wrong exponent 2", change(rsaT, plus(rsaT, pkcs11.CKA_EXPONENT_2, 2)), bad, pkcs11.CKA_EXPONENT_2},
		{"wrong coefficient", change(rsaT, plus(rsaT, pkcs11.CKA_COEFFICIENT, 1)), bad, pkcs11.CKA_COEFFICIENT},
		{"private exponent of another key", change(rsaT[:4], otherT[3]), bad, pkcs11.CKA_PRIVATE_EXPONENT},
		{"private exponent off by two", change(rsaT[:4], plus(rsaT, pkcs11.CKA_PRIVATE_EXPONENT, 2)), bad, pkcs11.CKA_PRIVATE_EXPONENT},
		{"even private exponent", change(rsaT[:4], plus(rsaT, pkcs11.CKA_PRIVATE_EXPONENT, 1)), bad, pkcs11.CKA_PRIVATE_EXPONENT},
		{"1 for both exponents", change(rsaT[:4], attr(pkcs11.CKA_PRIVATE_EXPONENT, []byte{1})), bad, pkcs11.CKA_PRIVATE_EXPONENT},
		{"wrong public exponent", change(rsaT, attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{3})), bad, pkcs11.CKA_PRIVATE_EXPONENT},
		{"wrong private exponent that fits the others", change(rsaT[:6], plus(rsaT, pkcs11.CKA_PRIVATE_EXPONENT, 2)), bad, pkcs11.CKA_PRIVATE_EXPONENT},
		{"composite prime", composite(), bad, pkcs11.CKA_PRIME_1},
		{"info of another RSA key", change(rsaT, attr(pkcs11.CKA_PUBLIC_KEY_INFO, info)), bad, pkcs11.CKA_PUBLIC_KEY_INFO},
	} {
		key, err := PrivateKey(c.t)
		wantError(t, c.what, err, c.code, c.typ)
		if err != nil && key != nil {
			t.Errorf("%s: a key beside the error", c.what)
		}
	}
}

func TestPrivateKeyAccepts(t *testing.T) {
	keys := testKeys(t)
	ec, rsaT := privateOf(t, keys["P-256"]), privateOf(t, keys["RSA-2048"])
	value := ec.Bytes(pkcs11.CKA_VALUE)
	if len(value) != 32 || value[0] != 0 {
		t.Fatal("the test key begins with a zero byte")
	}
	last := new(big.Int).Sub(elliptic.P256().Params().N, one).Bytes()
	for _, c := range []struct {
		what string
		t    pkcs11.Template
		key  privateKey // nil for any
	}{
		{"leading zero left out", change(ec, attr(pkcs11.CKA_VALUE, value[1:])), keys["P-256"]},
		{"in a string", change(ec, attr(pkcs11.CKA_VALUE, string(value))), keys["P-256"]},
		{"one less than the order", change(ec, attr(pkcs11.CKA_VALUE, last)), nil},
		{"one", change(ec, attr(pkcs11.CKA_VALUE, append(make([]byte, 31), 1))), nil},
		{"exponents and primes", rsaT[:6], keys["RSA-2048"]},
		{"primes swapped", change(rsaT[:6], attr(pkcs11.CKA_PRIME_1, rsaT.Bytes(pkcs11.CKA_PRIME_2)), attr(pkcs11.CKA_PRIME_2, rsaT.Bytes(pkcs11.CKA_PRIME_1))), nil},
		{"RSA with leading zeros", change(rsaT, attr(pkcs11.CKA_PRIME_1, append([]byte{0}, rsaT.Bytes(pkcs11.CKA_PRIME_1)...))), keys["RSA-2048"]},
		{"empty info", change(ec, attr(pkcs11.CKA_PUBLIC_KEY_INFO, []byte{})), keys["P-256"]},
	} {
		key, err := PrivateKey(c.t)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
		} else if c.key != nil && !c.key.Equal(key) {
			t.Errorf("%s: another key", c.what)
		}
	}
}

func TestPrivateKeySharesNothing(t *testing.T) {
	for name, key := range testKeys(t) {
		attrs := privateOf(t, key)
		got, err := PrivateKey(attrs)
		if err != nil {
			t.Fatal(err)
		}
		Wipe(attrs)
		if !key.Equal(got) {
			t.Errorf("%s: wiping the template changes the key", name)
		}
		if again := privateOf(t, key); len(again) == 0 || !key.Equal(key) {
			t.Errorf("%s: wiping the attributes changed the key they were made of", name)
		}
		if back, err := PrivateKey(privateOf(t, key)); err != nil || !key.Equal(back) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	key := privateOf(t, rsaKey(t))
	bad := change(key, attr(pkcs11.CKA_COEFFICIENT, key.Bytes(pkcs11.CKA_PRIME_1)))
	_, err := PrivateKey(bad)
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("%v", err)
	}
}

func TestDefaultIDAndBits(t *testing.T) {
	ids := map[string]bool{}
	for name, key := range testKeys(t) {
		id := DefaultID(key.Public())
		if len(id) != 20 || ids[string(id)] {
			t.Errorf("%s: CKA_ID %x", name, id)
		}
		ids[string(id)] = true
		if want := map[string]int{"RSA-2048": 2048, "P-256": 256, "P-384": 384, "P-521": 521, "Ed25519": 255, "X25519": 255}[name]; KeyBits(key.Public()) != want {
			t.Errorf("%s: %d bits", name, KeyBits(key.Public()))
		}
	}
	// openssl pkey -pubout -outform DER | tail -c 65 | sha256sum
	if got, want := DefaultID(&ecKey(t).PublicKey), unhex(t, "21c113343c871eb0e0f0e1112fb05fd2f9223745"); !bytes.Equal(got, want) {
		t.Errorf("CKA_ID %x, want %x", got, want)
	}
	if DefaultID(nil) != nil || KeyBits(nil) != 0 {
		t.Error("no key has an ID or bits")
	}
}

// FuzzECPoint: a point that parses is that of a key whose attributes have it
// again, in the one form or the other.
func FuzzECPoint(f *testing.F) {
	types := []pkcs11.KeyType{pkcs11.CKK_EC, pkcs11.CKK_EC_EDWARDS, pkcs11.CKK_EC_MONTGOMERY}
	for _, key := range testKeys(f) {
		if t := publicOf(f, key); KeyType(key) != pkcs11.CKK_RSA {
			f.Add(uint8(slices.Index(types, KeyType(key))), t.Bytes(pkcs11.CKA_EC_PARAMS), t.Bytes(pkcs11.CKA_EC_POINT))
		}
	}
	f.Fuzz(func(t *testing.T, typ uint8, params, point []byte) {
		in := pkcs11.Template{attr(pkcs11.CKA_KEY_TYPE, types[int(typ)%3]), attr(pkcs11.CKA_EC_PARAMS, params), attr(pkcs11.CKA_EC_POINT, point)}
		pub, err := PublicKey(in)
		if err != nil {
			if pub != nil || pkcs11.CodeOf(err) == pkcs11.CKR_GENERAL_ERROR {
				t.Fatalf("%v, %v", pub, err)
			}
			return
		}
		out, err := PublicAttributes(pub)
		if err != nil {
			t.Fatal(err)
		}
		if got := out.Bytes(pkcs11.CKA_EC_POINT); !bytes.Equal(got, point) && !bytes.HasSuffix(got, point) && !bytes.HasSuffix(point, got) {
			t.Fatalf("%x becomes %x", point, got)
		}
		if again, err := PublicKey(out); err != nil || !Equal(again, pub) {
			t.Fatalf("%v: %v", out, err)
		}
	})
}

// FuzzPublicKeyInfo: what parses has attributes that describe the same key.
func FuzzPublicKeyInfo(f *testing.F) {
	for _, key := range testKeys(f) {
		t, err := PublicAttributes(key.Public())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(t.Bytes(pkcs11.CKA_PUBLIC_KEY_INFO))
	}
	f.Fuzz(func(t *testing.T, info []byte) {
		pub, err := PublicKey(pkcs11.Template{attr(pkcs11.CKA_PUBLIC_KEY_INFO, info)})
		if err != nil {
			return
		}
		out, err := PublicAttributes(pub)
		if err != nil {
			t.Fatalf("%x: %v", info, err)
		}
		again, err := PublicKey(change(out, attr(pkcs11.CKA_PUBLIC_KEY_INFO, nil)))
		if err != nil || !Equal(again, pub) {
			t.Fatalf("%x becomes %v: %v", info, out, err)
		}
	})
}

// FuzzScalar: an EC value that parses comes back, padded.
func FuzzScalar(f *testing.F) {
	f.Add(uint8(0), number(32, false))
	f.Add(uint8(1), number(40, false))
	f.Add(uint8(2), append([]byte{1}, number(65, false)...))
	f.Fuzz(func(t *testing.T, which uint8, value []byte) {
		c := &curves[int(which)%len(curves)]
		key, err := PrivateKey(pkcs11.Template{attr(pkcs11.CKA_KEY_TYPE, c.typ), attr(pkcs11.CKA_EC_PARAMS, []byte(c.params[0])), attr(pkcs11.CKA_VALUE, value)})
		if err != nil {
			return
		}
		out, err := PrivateAttributes(key)
		if err != nil {
			t.Fatal(err)
		}
		got := out.Bytes(pkcs11.CKA_VALUE)
		if len(got) != c.size || !bytes.HasSuffix(got, value) || len(trim(got[:len(got)-len(value)])) > 0 {
			t.Fatalf("%x becomes %x", value, got)
		}
	})
}

// FuzzRSAPrivate: components that parse make a key that works.
func FuzzRSAPrivate(f *testing.F) {
	key := privateOf(f, rsaKey(f))
	f.Add(uint8(3), key.Bytes(pkcs11.CKA_PRIVATE_EXPONENT), true)
	f.Add(uint8(4), key.Bytes(pkcs11.CKA_PRIME_1), false)
	f.Fuzz(func(t *testing.T, which uint8, value []byte, short bool) {
		tmpl := key.Clone()
		i := 1 + int(which)%(len(tmpl)-1)
		tmpl[i].Value = value
		if short {
			tmpl = tmpl[:4]
		}
		got, err := PrivateKey(tmpl)
		if err != nil {
			return
		}
		if err := got.(*rsa.PrivateKey).Validate(); err != nil {
			t.Fatal(err)
		}
	})
}
