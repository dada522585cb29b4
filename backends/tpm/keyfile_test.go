package tpm_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/backends/tpm/tss2"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// loggedIn returns a token with its user logged in.
func loggedIn(t testing.TB, sim *tpmtest.TPM, store pal.Store) *tpm.Token {
	t.Helper()
	ctx := context.Background()
	token, err := tpm.New(ctx, sim, store, tpm.Cheap(tpm.Options{}))
	require.NoError(t, err)
	t.Cleanup(func() { token.Close() })
	if token.Info().Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
		require.NoError(t, token.InitToken(ctx, []byte("so pin"), "test"))
		require.NoError(t, token.Login(ctx, pkcs11.CKU_SO, []byte("so pin")))
		require.NoError(t, token.InitPIN(ctx, []byte("user pin")))
		require.NoError(t, token.Logout(ctx))
	}
	require.NoError(t, token.Login(ctx, pkcs11.CKU_USER, []byte("user pin")))
	return token
}

func openssl(t *testing.T, sim *tpmtest.TPM, stdin []byte, args ...string) []byte {
	t.Helper()
	tpmtest.NeedProvider(t)
	sim.Disconnect()
	args = append(args, "-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2")
	command := proc.Command(t, "openssl", args...)
	command.Env = append(os.Environ(), "TPM2OPENSSL_TCTI="+sim.TCTI())
	command.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	require.NoError(t, err, "openssl %v: %s", args, &stderr)
	return output
}

// signs checks that a key signs, under its public key.
func signs(t *testing.T, private driver.Object) {
	t.Helper()
	digest := sha256.Sum256([]byte("a message"))
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	data := digest[:]
	if private.Attributes().Uint(pkcs11.CKA_KEY_TYPE) == uint64(pkcs11.CKK_RSA) {
		m.Type = pkcs11.CKM_RSA_PKCS
	}
	signature, err := private.(driver.Signer).Sign(context.Background(), m, data)
	require.NoError(t, err)
	public, err := keys.PublicKey(private.Attributes())
	if err != nil {
		der := private.Attributes().Bytes(pkcs11.CKA_PUBLIC_KEY_INFO)
		public, err = x509.ParsePKIXPublicKey(der)
	}
	require.NoError(t, err)
	require.NoError(t, keys.Verify(public, m, data, signature))
}

// A key that OpenSSL has made in the TPM becomes one of the token, with and
// without an authorization value.
func TestImportFromOpenSSL(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	store := new(pal.Mem)
	token := loggedIn(t, sim, store)
	tests := map[string]struct {
		args []string
		auth string
	}{
		"EC":                {[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256"}, ""},
		"RSA":               {[]string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "bits:2048"}, ""},
		"EC with a value":   {[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-384", "-pkeyopt", "user-auth:abc"}, "abc"},
		"RSA on persistent": {[]string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "bits:2048", "-pkeyopt", "parent:0x81000001"}, ""},
	}
	files := map[string][]byte{}
	for name, test := range tests { // first, as OpenSSL finds no room beside our keys
		files[name] = openssl(t, sim, nil, test.args...)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			public, private, err := token.ImportTSS2(ctx, files[name], []byte(test.auth), name)
			require.NoError(t, err)
			signs(t, private)
			require.Equal(t, public.Attributes().Bytes(pkcs11.CKA_ID), private.Attributes().Bytes(pkcs11.CKA_ID))
			require.True(t, private.Attributes().Bool(pkcs11.CKA_LOCAL), "it was born in a TPM")
			require.False(t, private.Attributes().Bool(pkcs11.CKA_EXTRACTABLE))
		})
	}
	t.Log("the power is cut, and the keys of OpenSSL, which are protected from dictionary attacks, cost no try")
	sim.Restart()
	require.NoError(t, token.Close())
	token = loggedIn(t, sim, store)
	lockout, err := token.Lockout(ctx)
	require.NoError(t, err)
	require.Zero(t, lockout.Tries)
	objects, err := token.Objects(ctx)
	require.NoError(t, err)
	require.Len(t, objects, 8)
	for _, o := range objects {
		if _, ok := o.(driver.Signer); ok {
			signs(t, o)
		}
	}
}

// OpenSSL signs with a key of the token, and finds out that it needs the value
// that it was exported with.
func TestExportForOpenSSL(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	token := loggedIn(t, sim, new(pal.Mem))
	_, private := generate(t, token)
	dir := t.TempDir()
	in := filepath.Join(dir, "message")
	require.NoError(t, os.WriteFile(in, []byte("a message"), 0o600))
	public, err := x509.ParsePKIXPublicKey(private.Attributes().Bytes(pkcs11.CKA_PUBLIC_KEY_INFO))
	require.NoError(t, err)
	digest := sha256.Sum256([]byte("a message"))
	for _, auth := range []string{"", "secret"} {
		file, err := token.ExportTSS2(ctx, private, []byte(auth))
		require.NoError(t, err)
		path := filepath.Join(dir, "key.pem")
		require.NoError(t, os.WriteFile(path, file, 0o600))
		signature := openssl(t, sim, nil, "pkeyutl", "-sign", "-rawin", "-digest", "sha256", "-inkey", path, "-in", in, "-passin", "pass:"+auth)
		require.True(t, verifyASN1(public, digest[:], signature))
	}
	signs(t, private)

	_, err = token.ExportTSS2(ctx, private, make([]byte, 33))
	require.ErrorIs(t, err, pkcs11.CKR_PIN_LEN_RANGE)
	_, err = token.ExportTSS2(ctx, private, []byte{1, 0})
	require.ErrorIs(t, err, pkcs11.CKR_PIN_LEN_RANGE)
	require.NoError(t, token.Logout(ctx))
	_, err = token.ExportTSS2(ctx, private, nil)
	require.ErrorIs(t, err, pkcs11.CKR_USER_NOT_LOGGED_IN)
}

// What the token has exported, another token on the same TPM imports.
func TestKeyFileBetweenTokens(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	one, two := loggedIn(t, sim, new(pal.Mem)), loggedIn(t, sim, new(pal.Mem))
	_, private := generate(t, one)
	file, err := one.ExportTSS2(ctx, private, []byte("between"))
	require.NoError(t, err)
	_, _, err = two.ImportTSS2(ctx, file, []byte("another"), "key")
	require.ErrorIs(t, err, pkcs11.CKR_PIN_INCORRECT)
	_, imported, err := two.ImportTSS2(ctx, file, []byte("between"), "key")
	require.NoError(t, err)
	signs(t, imported)
	signs(t, private)
}

// An importable key, wrapped elsewhere for this TPM.
func TestImportImportable(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	token := loggedIn(t, sim, new(pal.Mem))
	srk, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x81000001)}.Execute(sim)
	require.NoError(t, err)
	parent, err := srk.OutPublic.Contents()
	require.NoError(t, err)
	key, public, sensitive := softwareKey(t)
	seal, err := tpm2.ImportEncapsulationKey(parent)
	require.NoError(t, err)
	name, err := tpm2.ObjectName(public)
	require.NoError(t, err)
	duplicate, seed, err := tpm2.CreateDuplicate(rand.Reader, seal, name.Buffer, tpm2.Marshal(sensitive))
	require.NoError(t, err)
	file, err := (&tss2.Key{Type: tss2.Importable, EmptyAuth: true, Parent: 0x40000001,
		Public: tpm2.Marshal(public), Private: duplicate, Secret: seed}).MarshalPEM()
	require.NoError(t, err)
	_, private, err := token.ImportTSS2(ctx, file, nil, "key")
	require.NoError(t, err)
	signs(t, private)
	require.False(t, private.Attributes().Bool(pkcs11.CKA_LOCAL))
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	require.Equal(t, der, private.Attributes().Bytes(pkcs11.CKA_PUBLIC_KEY_INFO))
}

// What is not imported says why.
func TestKeyFilesRefused(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	token := loggedIn(t, sim, new(pal.Mem))
	_, private := generate(t, token)
	file, err := token.ExportTSS2(ctx, private, nil)
	require.NoError(t, err)
	change := func(f func(k *tss2.Key)) []byte {
		k, err := tss2.ParsePEM(file)
		require.NoError(t, err)
		f(k)
		b, err := k.MarshalPEM()
		require.NoError(t, err)
		return b
	}
	for name, test := range map[string]struct {
		file []byte
		code pkcs11.Error
		want string
	}{
		"no PEM":                 {[]byte("nothing"), pkcs11.CKR_WRAPPED_KEY_INVALID, "no PEM block"},
		"another PEM":            {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), pkcs11.CKR_WRAPPED_KEY_INVALID, "no PEM block"},
		"a damaged private part": {change(func(k *tss2.Key) { k.Private[40] ^= 1 }), pkcs11.CKR_WRAPPED_KEY_INVALID, "of another TPM"},
		"a damaged public part":  {change(func(k *tss2.Key) { k.Public[30] ^= 1 }), pkcs11.CKR_WRAPPED_KEY_INVALID, ""},
		"a public part cut off":  {change(func(k *tss2.Key) { k.Public = k.Public[:20] }), pkcs11.CKR_WRAPPED_KEY_INVALID, ""},
		"sealed data":            {change(func(k *tss2.Key) { k.Type = tss2.Sealed }), pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "sealed data"},
		"a policy":               {change(func(k *tss2.Key) { k.Policy = []byte{0x30, 0} }), pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "policy"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := token.ImportTSS2(ctx, test.file, nil, "key")
			require.ErrorIs(t, err, test.code)
			require.ErrorContains(t, err, test.want)
		})
	}
	t.Run("a key of another TPM", func(t *testing.T) {
		other := loggedIn(t, tpmtest.Start(t), new(pal.Mem))
		_, _, err := other.ImportTSS2(ctx, file, nil, "key")
		require.ErrorIs(t, err, pkcs11.CKR_WRAPPED_KEY_INVALID)
		require.ErrorContains(t, err, "the key is of another TPM")
	})
	handles, err := tpmtest.Loaded(sim)
	require.NoError(t, err)
	require.LessOrEqual(t, len(handles), 2, "a key and a session that are kept: %v", handles)
}

// The lockout shows, and its authorization resets it.
func TestLockoutReset(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	require.NoError(t, tpmtest.SetLockout(sim, 3, 1000, 2000))
	token := loggedIn(t, sim, new(pal.Mem))
	_, err := tpm2.HierarchyChangeAuth{AuthHandle: tpm2.TPMRHLockout, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("lockout")}}.Execute(sim)
	require.NoError(t, err)
	for range 2 {
		require.ErrorIs(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, []byte("wrong")), pkcs11.CKR_PIN_INCORRECT)
	}
	l, err := token.Lockout(ctx)
	require.NoError(t, err)
	require.Equal(t, tpm.Lockout{Tries: 2, Limit: 3, Interval: 1000e9, Recovery: 2000e9}, l)
	require.ErrorIs(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, []byte("wrong")), pkcs11.CKR_PIN_LOCKED)

	bus := tpmtest.NewSpy(sim)
	other, err := tpm.New(ctx, bus, new(pal.Mem), tpm.Cheap(tpm.Options{}))
	require.NoError(t, err)
	require.NoError(t, other.ResetLockout(ctx, []byte("lockout")))
	require.Empty(t, bus.Seen([]byte("lockout")))
	l, err = other.Lockout(ctx)
	require.NoError(t, err)
	require.Zero(t, l.Tries)
	require.NoError(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, []byte("user pin")))

	err = other.ResetLockout(ctx, []byte("another"))
	require.ErrorIs(t, err, pkcs11.CKR_PIN_INCORRECT)
	require.ErrorContains(t, err, "33m20s")
	require.ErrorIs(t, other.ResetLockout(ctx, []byte("lockout")), pkcs11.CKR_PIN_LOCKED)
	require.NoError(t, other.Close())
	require.NoError(t, token.Close())
	handles, err := tpmtest.Loaded(sim)
	require.NoError(t, err)
	require.Empty(t, handles)
}

// The authorization values of keys in files, and of the TPM's hierarchies, do not
// show on the bus, from the first command on a new TPM.
func TestAuthorizationsOnTheBus(t *testing.T) {
	ctx := context.Background()
	sim := patient(t)
	secrets := map[tpm2.TPMHandle][]byte{
		tpm2.TPMRHOwner: []byte("the owner's value"), tpm2.TPMRHEndorsement: []byte("that of endorsement"), tpm2.TPMRHLockout: []byte("the lockout's value"),
	}
	for handle, value := range secrets {
		_, err := tpm2.HierarchyChangeAuth{AuthHandle: handle, NewAuth: tpm2.TPM2BAuth{Buffer: value}}.Execute(sim)
		require.NoError(t, err)
	}
	spy := tpmtest.NewSpy(sim)
	token := initialized(t, spy, new(pal.Mem), tpm.Options{OwnerAuth: secrets[tpm2.TPMRHOwner], EndorsementAuth: secrets[tpm2.TPMRHEndorsement]})
	key := newEC(t, token, "key")
	require.NoError(t, token.Persist(ctx, key))
	key = find(t, token, "key")
	require.NoError(t, answers(ctx, token, key))
	require.NoError(t, token.ResetLockout(ctx, secrets[tpm2.TPMRHLockout]))
	file, err := token.ExportTSS2(ctx, key, []byte("the value in the file"))
	require.NoError(t, err)
	_, again, err := token.ImportTSS2(ctx, file, []byte("the value in the file"), "again")
	require.NoError(t, err)
	signs(t, again)
	for _, secret := range secrets {
		require.Empty(t, spy.Seen(secret), "%s", secret)
	}
	require.Empty(t, spy.Seen([]byte("the value in the file")))
	require.Empty(t, spy.Seen(tpm.Secret(token)))
	require.NoError(t, token.Destroy(ctx, key))
	require.NoError(t, token.Close())
	handles, err := tpmtest.Loaded(sim)
	require.NoError(t, err)
	require.Empty(t, handles)
}
