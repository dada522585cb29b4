package tpm_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	soPIN   = []byte("so-pin-87654321")
	userPIN = []byte("user-pin-123456")
	wrong   = []byte("not-the-user-pin")

	p256 = []byte("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")

	ecdsaMech = &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	digest    = sha256.Sum256([]byte("what is signed"))
)

// logbook is what a token has said.
type logbook struct{ lines []string }

func (l *logbook) log(_ context.Context, msg string, args ...any) {
	l.lines = append(l.lines, fmt.Sprint(append([]any{msg}, args...)...))
}

// open opens a token, which the test closes.
func open(t testing.TB, sim transport.TPM, store pal.Store, opts tpm.Options) *tpm.Token {
	t.Helper()
	token, err := tpm.New(t.Context(), sim, store, tpm.Cheap(opts))
	require.NoError(t, err)
	t.Cleanup(func() { token.Close() })
	return token
}

// initialized returns a new token, with the user logged in if it has a PIN.
func initialized(t testing.TB, sim transport.TPM, store pal.Store, opts tpm.Options) *tpm.Token {
	t.Helper()
	token := open(t, sim, store, opts)
	ctx := t.Context()
	require.NoError(t, token.InitToken(ctx, soPIN, "gateway"))
	if !opts.NoPIN {
		require.NoError(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
		require.NoError(t, token.InitPIN(ctx, userPIN))
		require.NoError(t, token.Logout(ctx))
		require.NoError(t, token.Login(ctx, pkcs11.CKU_USER, userPIN))
	}
	return token
}

// templates are complete ones, as the core makes them.
func templates(label string, stored bool, more ...pkcs11.Attribute) (public, private pkcs11.Template) {
	public = pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PUBLIC_KEY)), pkcs11.Attr(pkcs11.CKA_TOKEN, stored),
		pkcs11.Attr(pkcs11.CKA_LABEL, label), pkcs11.Attr(pkcs11.CKA_VERIFY, true), pkcs11.Attr(pkcs11.CKA_PRIVATE, false),
	}
	private = pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)), pkcs11.Attr(pkcs11.CKA_TOKEN, stored),
		pkcs11.Attr(pkcs11.CKA_LABEL, label), pkcs11.Attr(pkcs11.CKA_SIGN, true), pkcs11.Attr(pkcs11.CKA_PRIVATE, true),
		pkcs11.Attr(pkcs11.CKA_SENSITIVE, true), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, false),
	}
	for _, a := range more {
		private = private.Set(a)
	}
	return public, private
}

// newEC has the token generate a key on P-256.
func newEC(t testing.TB, token *tpm.Token, label string) driver.Signer {
	t.Helper()
	public, private := templates(label, true)
	_, key, err := token.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
		public.Set(pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)), private, nil)
	require.NoError(t, err)
	return key.(driver.Signer)
}

// newRSA has the token generate a key of 2048 bits.
func newRSA(t testing.TB, token *tpm.Token, label string) driver.Signer {
	t.Helper()
	public, private := templates(label, true, pkcs11.Attr(pkcs11.CKA_DECRYPT, true))
	_, key, err := token.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN},
		public.Set(pkcs11.Attr(pkcs11.CKA_MODULUS_BITS, uint64(2048))), private, nil)
	require.NoError(t, err)
	return key.(driver.Signer)
}

// find returns the private key of a label.
func find(t testing.TB, token *tpm.Token, label string) driver.Signer {
	t.Helper()
	objects, err := token.Objects(t.Context())
	require.NoError(t, err)
	for _, o := range objects {
		a := o.Attributes()
		if a.Text(pkcs11.CKA_LABEL) == label && a.Uint(pkcs11.CKA_CLASS) == uint64(pkcs11.CKO_PRIVATE_KEY) {
			return o.(driver.Signer)
		}
	}
	require.Fail(t, "there is no private key "+label)
	return nil
}

// sign signs the digest, and verifies here what the token has made.
func sign(t testing.TB, key driver.Signer) {
	t.Helper()
	require.NoError(t, trySign(t.Context(), key))
}

var errWrongSignature = errors.New("a wrong signature was returned")

func trySign(ctx context.Context, key driver.Signer) error {
	pub, err := driver.PublicKey(key.Attributes())
	if err != nil {
		return err
	}
	m, data := ecdsaMech, digest[:]
	if _, ok := pub.(*ecdsa.PublicKey); !ok {
		m = &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}
		if data, err = driver.DigestInfo(crypto.SHA256, digest[:]); err != nil {
			return err
		}
	}
	sig, err := key.Sign(ctx, m, data)
	if err != nil {
		return err
	}
	if err := driver.Verify(pub, m, data, sig); err != nil {
		return fmt.Errorf("%w: %w", errWrongSignature, err)
	}
	return nil
}

// importECKey imports a key that was made here.
func importEC(t testing.TB, token *tpm.Token, key *ecdsa.PrivateKey, label string) driver.Signer {
	t.Helper()
	value, err := key.Bytes()
	require.NoError(t, err)
	_, private := templates(label, true, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_EC)),
		pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256), pkcs11.Attr(pkcs11.CKA_VALUE, value))
	o, err := token.CreateObject(t.Context(), private, nil)
	require.NoError(t, err)
	return o.(driver.Signer)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

const (
	eventually = time.Minute
	tick       = 20 * time.Millisecond
)
