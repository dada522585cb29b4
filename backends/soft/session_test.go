package soft_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// newSession returns a session of the user over a new token.
func newSession(t testing.TB) cryptoki.Session {
	t.Helper()
	token, err := soft.New(new(pal.Mem), cheap)
	must(t, err)
	module, err := cryptoki.NewModule(nil, token)
	must(t, err)
	t.Cleanup(func() { module.Close() })
	soPIN, userPIN := []byte("so-pin-87654321"), []byte("user-pin-123456")
	ctx := t.Context()
	slots, err := module.Slots(ctx, true)
	must(t, err)
	must(t, module.InitToken(ctx, slots[0], soPIN, "gateway"))
	s, err := module.OpenSession(ctx, slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	must(t, err)
	must(t, s.Login(ctx, pkcs11.CKU_SO, soPIN))
	must(t, s.InitPIN(ctx, userPIN))
	must(t, s.Logout(ctx))
	must(t, s.Login(ctx, pkcs11.CKU_USER, userPIN))
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, what string, err error, want pkcs11.Error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v", what, err, want)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	must(t, err)
	return b
}

func template(list ...any) pkcs11.Template {
	var t pkcs11.Template
	for i := 0; i < len(list); i += 2 {
		t = append(t, pkcs11.Attr(list[i].(pkcs11.AttributeType), list[i+1]))
	}
	return t
}

// importKey creates a secret key that may be shown and used for all that more
// says.
func importKey(t testing.TB, s cryptoki.Session, typ pkcs11.KeyType, value []byte, more ...any) pkcs11.ObjectHandle {
	t.Helper()
	h, err := s.CreateObject(t.Context(), append(template(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY, pkcs11.CKA_KEY_TYPE, typ,
		pkcs11.CKA_SENSITIVE, false, pkcs11.CKA_EXTRACTABLE, true, pkcs11.CKA_VALUE, value), template(more...)...))
	must(t, err)
	return h
}

func get(t testing.TB, s cryptoki.Session, h pkcs11.ObjectHandle, typ pkcs11.AttributeType) pkcs11.Attribute {
	t.Helper()
	a := pkcs11.Template{{Type: typ}}
	must(t, s.GetAttributeValue(t.Context(), h, a))
	return a[0]
}

func mech(typ pkcs11.MechanismType, params any) *pkcs11.Mechanism {
	return &pkcs11.Mechanism{Type: typ, Params: params}
}

var oids = map[string][]byte{
	"P-256":   {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
	"P-384":   {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22},
	"P-521":   {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23},
	"Ed25519": {0x06, 0x03, 0x2b, 0x65, 0x70},
	"X25519":  {0x06, 0x03, 0x2b, 0x65, 0x6e},
}

var generators = map[string]pkcs11.MechanismType{
	"P-256": pkcs11.CKM_EC_KEY_PAIR_GEN, "P-384": pkcs11.CKM_EC_KEY_PAIR_GEN, "P-521": pkcs11.CKM_EC_KEY_PAIR_GEN,
	"Ed25519": pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN, "X25519": pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
	"RSA": pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN,
}

func generatePair(t testing.TB, s cryptoki.Session, kind string, public, private pkcs11.Template) (pub, priv pkcs11.ObjectHandle) {
	t.Helper()
	if kind == "RSA" {
		public = append(public, pkcs11.Attr(pkcs11.CKA_MODULUS_BITS, 2048))
	} else {
		public = append(public, pkcs11.Attr(pkcs11.CKA_EC_PARAMS, oids[kind]))
	}
	pub, priv, err := s.GenerateKeyPair(t.Context(), mech(generators[kind], nil), public, private)
	must(t, err)
	return pub, priv
}
