package soft

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// cheap makes PINs cost nothing.
var cheap = &Options{KDF: KDF{MemoryKiB: 8, Passes: 1, Threads: 1}}

var (
	soPIN   = []byte("so-pin-87654321")
	userPIN = []byte("user-pin-123456")
	ctx     = context.Background()
)

// newToken makes an initialized token with a user PIN, nobody logged in.
func newToken(t testing.TB, store pal.Store) *Token {
	t.Helper()
	token := openToken(t, store)
	must(t, token.InitToken(ctx, soPIN, "gateway"))
	must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
	must(t, token.InitPIN(ctx, userPIN))
	must(t, token.Logout(ctx))
	return token
}

func openToken(t testing.TB, store pal.Store) *Token {
	t.Helper()
	token, err := New(store, cheap)
	must(t, err)
	t.Cleanup(func() { token.Close() })
	return token
}

func login(t testing.TB, token *Token) {
	t.Helper()
	must(t, token.Login(ctx, pkcs11.CKU_USER, userPIN))
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

func attrs(list ...any) pkcs11.Template {
	var t pkcs11.Template
	for i := 0; i < len(list); i += 2 {
		a, err := pkcs11.Attr(list[i].(pkcs11.AttributeType), list[i+1]).Canonical()
		if err != nil {
			panic(err)
		}
		t = append(t, a)
	}
	return t
}

// The templates are complete, as the core makes them.
func common(class pkcs11.ObjectClass, label string, private bool) pkcs11.Template {
	return attrs(pkcs11.CKA_CLASS, class, pkcs11.CKA_TOKEN, true, pkcs11.CKA_PRIVATE, private,
		pkcs11.CKA_MODIFIABLE, true, pkcs11.CKA_COPYABLE, true, pkcs11.CKA_DESTROYABLE, true, pkcs11.CKA_LABEL, label)
}

func keyAttrs(typ pkcs11.KeyType) pkcs11.Template {
	return attrs(pkcs11.CKA_KEY_TYPE, typ, pkcs11.CKA_START_DATE, time.Time{}, pkcs11.CKA_END_DATE, time.Time{},
		pkcs11.CKA_LOCAL, true, pkcs11.CKA_KEY_GEN_MECHANISM, pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKA_DERIVE, false)
}

func publicTemplate(typ pkcs11.KeyType, label string, more ...any) pkcs11.Template {
	t := append(common(pkcs11.CKO_PUBLIC_KEY, label, false), keyAttrs(typ)...)
	t = append(t, attrs(pkcs11.CKA_SUBJECT, []byte{}, pkcs11.CKA_ENCRYPT, false, pkcs11.CKA_VERIFY, true,
		pkcs11.CKA_VERIFY_RECOVER, false, pkcs11.CKA_WRAP, false, pkcs11.CKA_TRUSTED, false)...)
	return append(t, attrs(more...)...)
}

func privateTemplate(typ pkcs11.KeyType, label string, more ...any) pkcs11.Template {
	t := append(common(pkcs11.CKO_PRIVATE_KEY, label, true), keyAttrs(typ)...)
	t = append(t, attrs(pkcs11.CKA_SUBJECT, []byte{}, pkcs11.CKA_SENSITIVE, true, pkcs11.CKA_EXTRACTABLE, false,
		pkcs11.CKA_ALWAYS_SENSITIVE, true, pkcs11.CKA_NEVER_EXTRACTABLE, true, pkcs11.CKA_DECRYPT, false,
		pkcs11.CKA_SIGN, true, pkcs11.CKA_SIGN_RECOVER, false, pkcs11.CKA_UNWRAP, false,
		pkcs11.CKA_WRAP_WITH_TRUSTED, false, pkcs11.CKA_ALWAYS_AUTHENTICATE, false)...)
	return append(t, attrs(more...)...)
}

var (
	oidP256    = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	oidP384    = []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}
	oidP521    = []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23}
	oidEd25519 = []byte{0x06, 0x03, 0x2b, 0x65, 0x70}
	oidX25519  = []byte{0x06, 0x03, 0x2b, 0x65, 0x6e}
)

var ecGen = &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}

func generateP256(t testing.TB, token *Token, label string, replaces ...driver.Object) (pub, priv driver.Object) {
	t.Helper()
	pub, priv, err := token.GenerateKeyPair(ctx, ecGen, publicTemplate(pkcs11.CKK_EC, label, pkcs11.CKA_EC_PARAMS, oidP256),
		privateTemplate(pkcs11.CKK_EC, label), replaces)
	must(t, err)
	return pub, priv
}

func objects(t testing.TB, token *Token) []driver.Object {
	t.Helper()
	list, err := token.Objects(ctx)
	must(t, err)
	return list
}

func find(t testing.TB, token *Token, class pkcs11.ObjectClass, label string) driver.Object {
	t.Helper()
	for _, o := range objects(t, token) {
		if o.Attributes().Uint(pkcs11.CKA_CLASS) == uint64(class) && o.Attributes().Text(pkcs11.CKA_LABEL) == label {
			return o
		}
	}
	t.Fatalf("there is no %v %q", class, label)
	return nil
}

func verify(t testing.TB, pub driver.Object, m *pkcs11.Mechanism, data, sig []byte) {
	t.Helper()
	p, err := keys.PublicKey(pub.Attributes())
	must(t, err)
	if err := keys.Verify(p, m, data, sig); err != nil {
		t.Errorf("%v: the signature does not verify: %v", m.Type, err)
	}
}

func TestIdentityOutlivesTheProgram(t *testing.T) {
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	generateP256(t, token, "Device Priv TLS Key")
	info := token.Info()
	must(t, token.Close())

	token = openToken(t, store)
	if now := token.Info(); now.SerialNumber != info.SerialNumber || now.Label != "gateway" || len(now.SerialNumber) != 16 {
		t.Errorf("info after reopening %+v, before %+v", now, info)
	}
	if n := len(objects(t, token)); n != 1 {
		t.Errorf("%d objects before login, want the public key", n)
	}
	login(t, token)
	pub := find(t, token, pkcs11.CKO_PUBLIC_KEY, "Device Priv TLS Key")
	priv := find(t, token, pkcs11.CKO_PRIVATE_KEY, "Device Priv TLS Key")
	digest := sha256.Sum256([]byte("message"))
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	sig, err := priv.(driver.Signer).Sign(ctx, m, digest[:])
	must(t, err)
	verify(t, pub, m, digest[:], sig)
}
