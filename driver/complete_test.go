package driver_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func newEC(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func types(t pkcs11.Template) map[pkcs11.AttributeType]bool {
	m := map[pkcs11.AttributeType]bool{}
	for _, a := range t {
		m[a.Type] = true
	}
	return m
}

func TestCompleteEC(t *testing.T) {
	key := newEC(t)
	label := pkcs11.Attr(pkcs11.CKA_LABEL, "k")
	public, err := driver.CompletePublic(pkcs11.Template{label}, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := driver.CompletePrivate(pkcs11.Template{label, pkcs11.Attr(pkcs11.CKA_VALUE, []byte{1})}, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_LABEL, pkcs11.CKA_KEY_TYPE, pkcs11.CKA_EC_PARAMS, pkcs11.CKA_PUBLIC_KEY_INFO, pkcs11.CKA_ID} {
		if a, b := public.Bytes(typ), private.Bytes(typ); !public.Has(typ) || !private.Has(typ) || !bytes.Equal(a, b) {
			t.Errorf("%v differs or is absent", typ)
		}
	}
	if !public.Has(pkcs11.CKA_EC_POINT) {
		t.Error("the public key has no CKA_EC_POINT")
	}
	for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_EC_POINT, pkcs11.CKA_VALUE} {
		if private.Has(typ) {
			t.Errorf("the private key shows %v", typ)
		}
	}
	if n := len(public.Bytes(pkcs11.CKA_ID)); n != 20 {
		t.Errorf("CKA_ID of %d bytes, want 20", n)
	}
	if len(types(public)) != len(public) || len(types(private)) != len(private) {
		t.Error("an attribute is there twice")
	}
	if pub, err := driver.PublicKey(private); err != nil || !key.PublicKey.Equal(pub) {
		t.Errorf("public key from the private key's attributes: %v", err)
	}
}

func TestCompleteRSA(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := driver.CompletePublic(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_MODULUS_BITS, uint64(2048))}, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := driver.CompletePrivate(nil, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT, pkcs11.CKA_ID, pkcs11.CKA_PUBLIC_KEY_INFO} {
		if !bytes.Equal(public.Bytes(typ), private.Bytes(typ)) || len(private.Bytes(typ)) == 0 {
			t.Errorf("%v differs or is absent", typ)
		}
	}
	if private.Has(pkcs11.CKA_MODULUS_BITS) {
		t.Error("CKA_MODULUS_BITS is no attribute of a private key")
	}
	_, err = driver.CompletePublic(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_MODULUS_BITS, uint64(3072))}, &key.PublicKey)
	if !errors.Is(err, pkcs11.CKR_TEMPLATE_INCONSISTENT) {
		t.Errorf("a key of the wrong size: %v", err)
	}
}

func TestCompleteLeavesTheCallersValues(t *testing.T) {
	key := newEC(t)
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	given := pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_ID, []byte{7}),
		pkcs11.Attr(pkcs11.CKA_EC_POINT, point), // bare
		pkcs11.Attr(pkcs11.CKA_PUBLIC_KEY_INFO, []byte{}),
	}
	before := given.Clone()
	got, err := driver.CompletePublic(given, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(pkcs11.CKA_ID), []byte{7}) || !bytes.Equal(got.Bytes(pkcs11.CKA_EC_POINT), point) {
		t.Errorf("the caller's values are changed: %v", got)
	}
	if len(got.Bytes(pkcs11.CKA_PUBLIC_KEY_INFO)) == 0 {
		t.Error("an empty CKA_PUBLIC_KEY_INFO stays empty")
	}
	if !given.Equal(before) {
		t.Errorf("the template given is modified: %v", given)
	}
	full := got.Clone().Set(pkcs11.Attr(pkcs11.CKA_ID, []byte{})) // nothing is added, one value replaced
	if again, err := driver.CompletePublic(full, &key.PublicKey); err != nil || len(again.Bytes(pkcs11.CKA_ID)) != 20 || len(full.Bytes(pkcs11.CKA_ID)) != 0 {
		t.Errorf("a template with everything but an ID: %v, and the one given is %v: %v", again, full, err)
	}
	other := newEC(t)
	if _, err := driver.CompletePublic(given, &other.PublicKey); !errors.Is(err, pkcs11.CKR_TEMPLATE_INCONSISTENT) {
		t.Errorf("the point of another key: %v", err)
	}
	empty, err := driver.CompletePublic(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_ID, []byte{})}, &key.PublicKey)
	if err != nil || len(empty.Bytes(pkcs11.CKA_ID)) != 20 {
		t.Errorf("an empty CKA_ID: %v, %v", empty, err)
	}
}

func TestCurve(t *testing.T) {
	if _, err := driver.Curve(nil); !errors.Is(err, pkcs11.CKR_TEMPLATE_INCOMPLETE) {
		t.Errorf("no CKA_EC_PARAMS: %v", err)
	}
	p224 := []byte{6, 5, 0x2b, 0x81, 4, 0, 0x21}
	if _, err := driver.Curve(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p224)}); !errors.Is(err, pkcs11.CKR_CURVE_NOT_SUPPORTED) {
		t.Errorf("P-224: %v", err)
	}
	p256 := []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}
	if c, err := driver.Curve(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)}); err != nil || c != elliptic.P256() {
		t.Errorf("P-256: %v, %v", c, err)
	}
}

func TestSignatureEncodings(t *testing.T) {
	key := newEC(t)
	digest := sha256.Sum256([]byte("x"))
	der, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := driver.ECDSARaw(&key.PublicKey, der)
	if err != nil || len(raw) != 64 {
		t.Fatalf("ECDSARaw: %x, %v", raw, err)
	}
	if err := driver.Verify(&key.PublicKey, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, digest[:], raw); err != nil {
		t.Error(err)
	}
	if again, err := driver.ECDSADER(raw); err != nil || !bytes.Equal(again, der) {
		t.Errorf("ECDSADER: %x, %v; want %x", again, err, der)
	}
	info, err := driver.DigestInfo(crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if h, d, ok := driver.ParseDigestInfo(info); !ok || h != crypto.SHA256 || !bytes.Equal(d, digest[:]) {
		t.Errorf("ParseDigestInfo: %v, %x, %v", h, d, ok)
	}
	for m, want := range map[pkcs11.MechanismType]crypto.Hash{
		pkcs11.CKM_SHA384: crypto.SHA384, pkcs11.CKM_ECDSA_SHA512: crypto.SHA512, pkcs11.CKM_SHA1_RSA_PKCS_PSS: crypto.SHA1, pkcs11.CKM_ECDSA: 0,
	} {
		if h, ok := driver.Hash(m); h != want || ok != (want != 0) {
			t.Errorf("Hash(%v) = %v, %v", m, h, ok)
		}
	}
}
