package cryptoki_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func class(c pkcs11.ObjectClass) pkcs11.Attribute { return pkcs11.Attr(pkcs11.CKA_CLASS, uint64(c)) }

func labelled(label string) pkcs11.Attribute { return pkcs11.Attr(pkcs11.CKA_LABEL, label) }

func TestGenerateKey(t *testing.T) {
	token := newToken(t)
	ctx := t.Context()
	for _, test := range []struct {
		spec cryptoki.KeySpec
		want pkcs11.Template // on the private key
	}{
		{cryptoki.KeySpec{Label: "p256", Algorithm: cryptoki.P256}, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_SIGN, true), pkcs11.Attr(pkcs11.CKA_DERIVE, false)}},
		{cryptoki.KeySpec{Label: "dh", Algorithm: cryptoki.P384, Derive: true}, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_DERIVE, true)}},
		{cryptoki.KeySpec{Label: "rsa", PublicLabel: "rsa public", Algorithm: cryptoki.RSA2048, Decrypt: true}, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_DECRYPT, true)}},
		{cryptoki.KeySpec{Label: "own id", Algorithm: cryptoki.Ed25519, ID: []byte{1, 2, 3}}, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_ID, []byte{1, 2, 3})}},
		{cryptoki.KeySpec{Label: "wrap me", Algorithm: cryptoki.P521, Extractable: true}, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true), pkcs11.Attr(pkcs11.CKA_SENSITIVE, true)}},
	} {
		t.Run(test.spec.Label, func(t *testing.T) {
			s, err := token.GenerateKey(ctx, test.spec)
			if err != nil {
				t.Fatal(err)
			}
			if s.Label() != test.spec.Label || len(s.ID()) == 0 {
				t.Errorf("label %q, id %x", s.Label(), s.ID())
			}
			want := append(pkcs11.Template{labelled(test.spec.Label), class(pkcs11.CKO_PRIVATE_KEY), pkcs11.Attr(pkcs11.CKA_ID, s.ID()),
				pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_PRIVATE, true), pkcs11.Attr(pkcs11.CKA_SENSITIVE, true)}, test.want...)
			if !test.spec.Extractable {
				want = append(want, pkcs11.Attr(pkcs11.CKA_NEVER_EXTRACTABLE, true))
			}
			if found, err := token.Objects(ctx, want); err != nil || len(found) != 1 {
				t.Errorf("private keys %v, error %v; want one with %v", found, err, want)
			}
			publicLabel := test.spec.PublicLabel
			if publicLabel == "" {
				publicLabel = test.spec.Label
			}
			found, err := token.Objects(ctx, pkcs11.Template{labelled(publicLabel), class(pkcs11.CKO_PUBLIC_KEY), pkcs11.Attr(pkcs11.CKA_ID, s.ID()), pkcs11.Attr(pkcs11.CKA_PRIVATE, false)})
			if err != nil || len(found) != 1 {
				t.Fatalf("public keys %v, error %v", found, err)
			}
			if pub, err := found[0].PublicKey(); err != nil || !pub.(interface{ Equal(crypto.PublicKey) bool }).Equal(s.Public()) {
				t.Errorf("public key %v, error %v; want that of the signer", pub, err)
			}
			if pub, err := token.PublicKey(ctx, test.spec.Label); err != nil || !pub.(interface{ Equal(crypto.PublicKey) bool }).Equal(s.Public()) {
				t.Errorf("PublicKey: %v, error %v", pub, err)
			}
		})
	}
}

func TestGenerateKeyRefuses(t *testing.T) {
	token := newToken(t)
	generate(t, token, "there", cryptoki.P256)
	for name, test := range map[string]struct {
		spec cryptoki.KeySpec
		code error
		text string
	}{
		"no label":             {cryptoki.KeySpec{Algorithm: cryptoki.P256}, pkcs11.CKR_ARGUMENTS_BAD, "needs a label"},
		"no algorithm":         {cryptoki.KeySpec{Label: "x"}, pkcs11.CKR_ARGUMENTS_BAD, "there are P-256, "},
		"an unknown algorithm": {cryptoki.KeySpec{Label: "x", Algorithm: "P-224"}, pkcs11.CKR_ARGUMENTS_BAD, `"P-224" is unknown`},
		"a sloppy algorithm":   {cryptoki.KeySpec{Label: "x", Algorithm: "p256"}, pkcs11.CKR_ARGUMENTS_BAD, "ParseAlgorithm"},
		"EC that decrypts":     {cryptoki.KeySpec{Label: "x", Algorithm: cryptoki.P256, Decrypt: true}, pkcs11.CKR_TEMPLATE_INCONSISTENT, "only RSA keys decrypt"},
		"RSA that derives":     {cryptoki.KeySpec{Label: "x", Algorithm: cryptoki.RSA2048, Derive: true}, pkcs11.CKR_TEMPLATE_INCONSISTENT, "derive nothing"},
		"a label that is used": {cryptoki.KeySpec{Label: "there", Algorithm: cryptoki.P256}, fs.ErrExist, `private key "there": exists already; destroy it first`},
	} {
		_, err := token.GenerateKey(t.Context(), test.spec)
		if !errors.Is(err, test.code) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: error %v; want %q", name, err, test.text)
		}
	}
	if objects, err := token.Objects(t.Context(), nil); err != nil || len(objects) != 2 {
		t.Errorf("objects %v, error %v; want the one pair", objects, err)
	}
	// With an ID of its own it may have the same label; then the label does not
	// select it any more, and the error says what does.
	if _, err := token.GenerateKey(t.Context(), cryptoki.KeySpec{Label: "there", ID: []byte{7}, Algorithm: cryptoki.P256}); err != nil {
		t.Fatal(err)
	}
	_, err := token.Signer(t.Context(), "there")
	if !errors.Is(err, pkcs11.CKR_ARGUMENTS_BAD) || !strings.Contains(err.Error(), "there are 2") || !strings.Contains(err.Error(), "pkcs11:id=%07;object=there;type=private") {
		t.Errorf("error %v", err)
	}
	if s, err := token.Signer(t.Context(), "pkcs11:id=%07;type=private"); err != nil || !bytes.Equal(s.ID(), []byte{7}) {
		t.Errorf("by URI: %v, error %v", s, err)
	}
}

func TestParseAlgorithm(t *testing.T) {
	for in, want := range map[string]cryptoki.Algorithm{"P-256": cryptoki.P256, "p256": cryptoki.P256, "rsa-4096": cryptoki.RSA4096, "RSA2048": cryptoki.RSA2048, "ed25519": cryptoki.Ed25519} {
		if got, err := cryptoki.ParseAlgorithm(in); err != nil || got != want {
			t.Errorf("%q: %q, error %v", in, got, err)
		}
	}
	for _, in := range []string{"", "P", "RSA", "RSA-1024", "secp256k1"} {
		if got, err := cryptoki.ParseAlgorithm(in); err == nil {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// A volatile key signs until the Token is closed, and never meets the store.
func TestVolatileKey(t *testing.T) {
	store := &pal.Mem{}
	m := newModule(t, store, false)
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	before, _ := store.Names()
	s, err := token.GenerateKey(t.Context(), cryptoki.KeySpec{Label: "v", Algorithm: cryptoki.P256, Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 40 { // sessions come and go
		x, err := token.Session(t.Context(), pkcs11.CKF_RW_SESSION)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil {
			t.Fatal(err)
		}
		x.Close()
	}
	if _, err := token.Signer(t.Context(), "v"); err != nil {
		t.Error(err)
	}
	if after, _ := store.Names(); len(after) != len(before) {
		t.Errorf("records %v, before %v", after, before)
	}
	token.Close()
	if _, err := tokenOf(t, m, &cryptoki.Options{PIN: pinOf(userPIN)}).Signer(t.Context(), "v"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close: error %v", err)
	}
}

func TestInitialize(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	ctx := t.Context()
	token := tokenOf(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	setup := cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPIN}

	for _, label := range []string{"", strings.Repeat("x", 33)} {
		if err := token.Initialize(ctx, cryptoki.Setup{Label: label, SOPIN: soPIN}); !errors.Is(err, pkcs11.CKR_ARGUMENTS_BAD) {
			t.Errorf("label %q: error %v", label, err)
		}
	}

	// The power goes between the two steps; the same call again finishes.
	m.before = func(op string, _ *changedSession) error {
		if op == "InitPIN" {
			return pkcs11.CKR_DEVICE_ERROR
		}
		return nil
	}
	if err := token.Initialize(ctx, setup); !errors.Is(err, pkcs11.CKR_DEVICE_ERROR) || !strings.Contains(err.Error(), "new and empty now, and has no user PIN") || !strings.Contains(err.Error(), "do the same again") {
		t.Fatalf("error %v", err)
	}
	m.before = nil
	if _, err := token.Signer(ctx, "k"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no user PIN yet") {
		t.Errorf("a token without a user PIN: error %v", err)
	}
	if err := token.Initialize(ctx, setup); err != nil {
		t.Fatal(err)
	}
	generate(t, token, "k", cryptoki.P256)

	// An initialized token is not erased by accident, nor with a wrong SO PIN.
	if err := token.Initialize(ctx, setup); !errors.Is(err, pkcs11.CKR_ACTION_PROHIBITED) || !strings.Contains(err.Error(), "Setup.Erase") {
		t.Errorf("again: error %v", err)
	}
	setup.Erase, setup.SOPIN = true, []byte("00000000")
	if err := token.Initialize(ctx, setup); !errors.Is(err, pkcs11.CKR_PIN_INCORRECT) {
		t.Errorf("wrong SO PIN: error %v", err)
	}
	// Nor for a user PIN that the token does not take.
	setup.SOPIN = soPIN
	for _, n := range []int{0, 3, 256} {
		setup.UserPIN = bytes.Repeat([]byte("1"), n)
		if err := token.Initialize(ctx, setup); !errors.Is(err, pkcs11.CKR_PIN_LEN_RANGE) || !strings.Contains(err.Error(), fmt.Sprintf("4 to 255 bytes, not %d", n)) {
			t.Errorf("a user PIN of %d bytes: error %v", n, err)
		}
	}
	setup.UserPIN = userPIN
	if _, err := token.Signer(ctx, "k"); err != nil {
		t.Errorf("the key after failed attempts: %v", err)
	}
	if err := token.Initialize(ctx, setup); err != nil {
		t.Fatal(err)
	}
	if objects, err := token.Objects(ctx, nil); err != nil || len(objects) != 0 {
		t.Errorf("after erasing: objects %v, error %v", objects, err)
	}
}

// Initialize waits for the sessions that the Token has lent, and says so when
// somebody else has one.
func TestInitializeNeedsTheTokenForItself(t *testing.T) {
	m := newModule(t, &pal.Mem{}, false)
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	setup := cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPIN, Erase: true}
	s, err := token.Session(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := token.Initialize(ctx, setup); !errors.Is(err, context.Canceled) {
		t.Errorf("with a session lent: error %v", err)
	}
	done := make(chan error)
	go func() { done <- token.Initialize(t.Context(), setup) }()
	s.Close()
	if err := <-done; err != nil {
		t.Errorf("after it came back: %v", err)
	}
	other, err := m.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := token.Initialize(t.Context(), setup); !errors.Is(err, pkcs11.CKR_SESSION_EXISTS) || !strings.Contains(err.Error(), "close the sessions that others have") {
		t.Errorf("with a session of somebody else: error %v", err)
	}
	if _, err := token.Objects(t.Context(), nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestChangePIN(t *testing.T) {
	m := newModule(t, &pal.Mem{}, false)
	pin := bytes.Clone(userPIN)
	token := setUp(t, m, &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) { return bytes.Clone(pin), nil }})
	ctx := t.Context()
	s := generate(t, token, "k", cryptoki.P256)
	if err := token.ChangePIN(ctx, pkcs11.CKU_USER, []byte("00000000"), []byte("55555555")); !errors.Is(err, pkcs11.CKR_PIN_INCORRECT) {
		t.Errorf("wrong old PIN: error %v", err)
	}
	if err := token.ChangePIN(ctx, pkcs11.CKU_USER, userPIN, []byte("55555555")); err != nil {
		t.Fatal(err)
	}
	if err := token.ChangePIN(ctx, pkcs11.CKU_SO, soPIN, []byte("66666666")); err != nil {
		t.Fatal(err)
	}
	pin = []byte("55555555")
	if _, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil {
		t.Errorf("with the new PIN: %v", err)
	}
	if err := token.ChangePIN(ctx, pkcs11.CKU_SO, soPIN, []byte("77777777")); !errors.Is(err, pkcs11.CKR_PIN_INCORRECT) {
		t.Errorf("the old SO PIN: error %v", err)
	}
	if err := token.ChangePIN(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, soPIN, soPIN); !errors.Is(err, pkcs11.CKR_USER_TYPE_INVALID) {
		t.Errorf("a PIN that there is not: error %v", err)
	}
}

// The CKA_ID is what key, public key and certificate have in common, whether the
// key chose it or the token.
func TestCertificatesShareTheIDOfTheirKey(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	for _, hide := range [][]pkcs11.AttributeType{nil, {pkcs11.CKA_PUBLIC_KEY_INFO}} {
		for _, label := range []string{cryptoki.DeviceCert, "any other"} {
			for _, id := range [][]byte{nil, {1, 2, 3}} {
				for _, alg := range []cryptoki.Algorithm{cryptoki.P256, cryptoki.RSA2048, cryptoki.Ed25519} {
					m := &changed{Module: newModule(t, &pal.Mem{}, false), hide: hide}
					token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
					s, err := token.GenerateKey(t.Context(), cryptoki.KeySpec{Label: "k", ID: id, Algorithm: alg})
					if err != nil {
						t.Fatal(err)
					}
					if err := token.ImportCertificate(t.Context(), label, ca.issue(t, "gw", s.Public()), cryptoki.ForKey("k")); err != nil {
						t.Fatal(err)
					}
					if err := token.ImportCertificate(t.Context(), "second", ca.issue(t, "gw", s.Public())); err != nil {
						t.Fatal(err)
					}
					found, err := token.Objects(t.Context(), pkcs11.Template{class(pkcs11.CKO_CERTIFICATE), pkcs11.Attr(pkcs11.CKA_ID, s.ID())})
					if err != nil || len(found) != 2 {
						t.Errorf("%s with id %x, %s, without %v: certificates %v, error %v; want two with id %x", alg, id, label, hide, found, err, s.ID())
					}
				}
			}
		}
	}
}

func TestImportCertificate(t *testing.T) {
	for _, noPlace := range []bool{false, true} { // ours, and a module that does not know the places
		m := &changed{Module: newModule(t, &pal.Mem{}, false), noPlace: noPlace}
		token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
		ctx := t.Context()
		key, other := generate(t, token, "k", cryptoki.P256), generate(t, token, "other", cryptoki.P256)
		ca := newAuthority(t, "ca", nil)
		first, second := ca.issue(t, "first", key.Public()), ca.issue(t, "second", key.Public())

		err := token.ImportCertificate(ctx, cryptoki.DeviceCert, ca.issue(t, "x", other.Public()), cryptoki.ForKey("k"))
		if !errors.Is(err, pkcs11.CKR_TEMPLATE_INCONSISTENT) || !strings.Contains(err.Error(), `certificate "Device Cert": `) || !strings.Contains(err.Error(), `another key than private key "k"`) {
			t.Errorf("the certificate of another key: error %v", err)
		}
		if err := token.ImportCertificate(ctx, cryptoki.DeviceCert, first, cryptoki.ForKey("missing")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `private key "missing": not found; the token has "k", "other"`) {
			t.Errorf("for a key that is not there: error %v", err)
		}
		if _, err := token.Certificate(ctx, cryptoki.DeviceCert); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "the token has none") {
			t.Errorf("after refusals: error %v", err)
		}

		// A place is taken over, another label is not.
		for _, cert := range []string{cryptoki.DeviceCert, "any other"} {
			if err := token.ImportCertificate(ctx, cert, first); err != nil {
				t.Fatal(err)
			}
			err := token.ImportCertificate(ctx, cert, second)
			got, gerr := token.Certificate(ctx, cert)
			if gerr != nil {
				t.Fatal(gerr)
			}
			if cert == cryptoki.DeviceCert {
				if err != nil || !got.Equal(second) {
					t.Errorf("noPlace %v: renewal: error %v, certificate %v", noPlace, err, got.Subject)
				}
			} else if !errors.Is(err, fs.ErrExist) || !got.Equal(first) {
				t.Errorf("noPlace %v: %q again: error %v, certificate %v", noPlace, cert, err, got.Subject)
			}
		}
		found, err := token.Objects(ctx, pkcs11.Template{class(pkcs11.CKO_CERTIFICATE), pkcs11.Attr(pkcs11.CKA_ID, key.ID())})
		if err != nil || len(found) != 2 {
			t.Errorf("noPlace %v: certificates %v, error %v; want two with the key's ID", noPlace, found, err)
		}
	}
}

func TestImportKeys(t *testing.T) {
	token := newToken(t)
	ctx := t.Context()
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	for label, key := range map[string]crypto.Signer{cryptoki.DevicePrivateKey: p256, "p521": p521, "ed": ed, "rsa": rsaKey} {
		if err := token.ImportPrivateKey(ctx, label, key); err != nil {
			t.Errorf("%s: %v", label, err)
			continue
		}
		s, err := token.Signer(ctx, label)
		if err != nil {
			t.Errorf("%s: %v", label, err)
			continue
		}
		if !s.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
			t.Errorf("%s: another public key", label)
		}
		publicLabel := label
		if label == cryptoki.DevicePrivateKey {
			publicLabel = cryptoki.DevicePublicKey
		}
		found, err := token.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_ID, s.ID())})
		if err != nil || len(found) != 2 || found[0].Label != label || found[1].Label != publicLabel {
			t.Errorf("%s: objects %v, error %v; want private and public key with id %x", label, found, err, s.ID())
		}
		private, err := token.Objects(ctx, pkcs11.Template{labelled(label), class(pkcs11.CKO_PRIVATE_KEY),
			pkcs11.Attr(pkcs11.CKA_SENSITIVE, true), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, false), pkcs11.Attr(pkcs11.CKA_PRIVATE, true)})
		if err != nil || len(private) != 1 {
			t.Errorf("%s: private keys %v, error %v; want one that does not leave", label, private, err)
		}
	}
	if err := token.ImportPrivateKey(ctx, "p521", p256); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a label that is used: error %v", err)
	}
	if err := token.ImportPrivateKey(ctx, cryptoki.DevicePrivateKey, p521); err != nil {
		t.Errorf("a place that is taken: %v", err)
	}
	if pub, err := token.PublicKey(ctx, cryptoki.DevicePublicKey); err != nil || !p521.PublicKey.Equal(pub) {
		t.Errorf("its public key: %v, error %v", pub, err)
	}
	if err := token.ImportPrivateKey(ctx, "x", "not a key"); !errors.Is(err, pkcs11.CKR_KEY_TYPE_INCONSISTENT) {
		t.Errorf("not a key: error %v", err)
	}
	if err := token.ImportPublicKey(ctx, "x", "not a key"); !errors.Is(err, pkcs11.CKR_KEY_TYPE_INCONSISTENT) {
		t.Errorf("not a public key: error %v", err)
	}
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err := token.ImportPrivateKey(ctx, "x", p224); !errors.Is(err, pkcs11.CKR_CURVE_NOT_SUPPORTED) {
		t.Errorf("P-224: error %v", err)
	}
}

func TestObjectsAndDestroy(t *testing.T) {
	token := newToken(t)
	ctx := t.Context()
	s := generate(t, token, "k", cryptoki.P256)
	cert := newAuthority(t, "root", nil)
	if err := token.ImportCertificate(ctx, cryptoki.RootCert, cert.cert); err != nil {
		t.Fatal(err)
	}
	all, err := token.Objects(ctx, nil)
	if err != nil || len(all) != 3 {
		t.Fatalf("objects %v, error %v", all, err)
	}
	for _, o := range all {
		if _, secret := o.Attributes.Get(pkcs11.CKA_VALUE); secret != (o.Class == pkcs11.CKO_CERTIFICATE) {
			t.Errorf("%v: shows CKA_VALUE %v", o, secret)
		}
		switch o.Class {
		case pkcs11.CKO_CERTIFICATE:
			if c, err := o.Certificate(); err != nil || !c.Equal(cert.cert) || o.KeyType != pkcs11.CKK_INVALID_KEY_TYPE {
				t.Errorf("%v: certificate %v, key type %v, error %v", o, c, o.KeyType, err)
			}
		default:
			if _, err := o.Certificate(); !errors.Is(err, pkcs11.CKR_ARGUMENTS_BAD) {
				t.Errorf("%v: error %v", o, err)
			}
			if o.KeyType != pkcs11.CKK_EC || !bytes.Equal(o.ID, s.ID()) || o.Label != "k" {
				t.Errorf("%v: key type %v", o, o.KeyType)
			}
		}
	}
	keys, err := token.Objects(ctx, pkcs11.Template{labelled("k")})
	if err != nil || len(keys) != 2 {
		t.Fatalf("objects %v, error %v", keys, err)
	}
	if err := token.Destroy(ctx, keys...); err != nil {
		t.Fatal(err)
	}
	if err := token.Destroy(ctx, keys...); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if rest, err := token.Objects(ctx, nil); err != nil || len(rest) != 1 || rest[0].Class != pkcs11.CKO_CERTIFICATE {
		t.Errorf("what is left: %v, error %v", rest, err)
	}
}

// Objects that were listed before a logout have other handles now: Destroy finds
// them by their identity, and never another.
func TestDestroyFindsTheObject(t *testing.T) {
	m := newModule(t, &pal.Mem{}, false)
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	generate(t, token, "k", cryptoki.P256)
	generate(t, token, "other", cryptoki.P256)
	found, err := token.Objects(t.Context(), pkcs11.Template{labelled("k")})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.CloseAllSessions(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := token.Destroy(t.Context(), append(found, found[0])...); err != nil {
		t.Fatal(err)
	}
	rest, err := token.Objects(t.Context(), nil)
	if err != nil || len(rest) != 2 || rest[0].Label != "other" || rest[1].Label != "other" {
		t.Errorf("what is left: %v, error %v", rest, err)
	}
}

func TestURIs(t *testing.T) {
	token := newToken(t)
	s := generate(t, token, "k", cryptoki.P256)
	info, err := token.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]error{
		"pkcs11:object=k":                                  nil,
		"PKCS11:object=k;type=private":                     nil,
		"pkcs11:token=gateway;object=k":                    nil,
		"pkcs11:object=k?pin-source=file:/nowhere":         nil,
		(&pkcs11.URI{ID: s.ID()}).String():                 nil,
		"pkcs11:serial=" + info.SerialNumber + ";object=k": nil,
		"pkcs11:object=k;type=public":                      pkcs11.CKR_ARGUMENTS_BAD,
		"pkcs11:object=x":                                  fs.ErrNotExist,
		"pkcs11:token=other;object=k":                      fs.ErrNotExist,
		"pkcs11:id=%00":                                    fs.ErrNotExist,
		"pkcs11:token=gateway":                             pkcs11.CKR_ARGUMENTS_BAD,
		"pkcs11:":                                          pkcs11.CKR_ARGUMENTS_BAD,
		"pkcs11:objekt=k;object=k":                         pkcs11.CKR_ARGUMENTS_BAD,
		"pkcs11:object=k;object=k":                         pkcs11.CKR_ARGUMENTS_BAD,
	} {
		got, err := token.Signer(t.Context(), uri)
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: error %v, want %v", uri, err, want)
		} else if err == nil && got.Label() != "k" {
			t.Errorf("%s: key %v", uri, got)
		}
	}
}

// Several objects are destroyed as one step, or none of them.
func TestDestroyObjects(t *testing.T) {
	m := newModule(t, &pal.Mem{}, false)
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	generate(t, token, "k", cryptoki.P256)
	s, err := m.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kept, err := s.CreateObject(t.Context(), pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA),
		pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_DESTROYABLE, false)})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := token.Objects(t.Context(), pkcs11.Template{labelled("k")})
	if err != nil || len(pair) != 2 {
		t.Fatal(pair, err)
	}
	d := s.(cryptoki.Destroyer)
	for _, with := range []struct {
		handle pkcs11.ObjectHandle
		want   error
	}{{kept, pkcs11.CKR_ACTION_PROHIBITED}, {4711, pkcs11.CKR_OBJECT_HANDLE_INVALID}} {
		if err := d.DestroyObjects(t.Context(), pair[0].Handle, pair[1].Handle, with.handle); !errors.Is(err, with.want) {
			t.Errorf("with one that cannot be destroyed: %v, want %v", err, with.want)
		}
		if left, err := token.Objects(t.Context(), nil); err != nil || len(left) != 3 {
			t.Errorf("%d objects are left, error %v", len(left), err)
		}
	}
	if err := d.DestroyObjects(t.Context(), pair[0].Handle, pair[1].Handle, pair[0].Handle); err != nil {
		t.Error(err)
	}
	if left, err := token.Objects(t.Context(), nil); err != nil || len(left) != 1 {
		t.Errorf("%d objects are left, error %v", len(left), err)
	}
}
