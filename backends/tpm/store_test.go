package tpm_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A root file system that cannot be written serves to sign.
func TestReadOnlyStore(t *testing.T) {
	sim := patient(t)
	dir := onDisk(t, sim)
	store, err := fileflash.Open(dir, &fileflash.Options{ReadOnly: true})
	require.NoError(t, err)
	defer store.Close()
	token := open(t, sim, store, tpm.Options{})
	ctx := t.Context()
	require.NoError(t, token.Login(ctx, pkcs11.CKU_USER, userPIN))
	for range 2 {
		sign(t, find(t, token, "key 0"))
		sign(t, find(t, token, "key 1"))
	}
	_, private := templates("new", true)
	_, _, err = token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256), pkcs11.Attr(pkcs11.CKA_TOKEN, true)}, private, nil)
	require.ErrorIs(t, err, pkcs11.CKR_TOKEN_WRITE_PROTECTED)
	require.ErrorIs(t, token.SetPIN(ctx, pkcs11.CKU_USER, userPIN, soPIN), pkcs11.CKR_TOKEN_WRITE_PROTECTED)
	require.NotZero(t, token.Info().Flags&pkcs11.CKF_WRITE_PROTECTED)
	require.NoError(t, token.Close())
	left, err := tpmtest.Loaded(sim)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A persistent key is used by its handle, survives being removed by others, and
// goes when it is destroyed.
func TestPersist(t *testing.T) {
	sim := patient(t)
	store := new(pal.Mem)
	var said logbook
	token := initialized(t, sim, store, tpm.Options{Log: said.log})
	ctx := t.Context()
	require.NoError(t, token.Persist(ctx, newEC(t, token, "hot")))
	require.NoError(t, token.Persist(ctx, find(t, token, "hot")), "once more")
	handles, err := tpmtest.Persistent(sim)
	require.NoError(t, err)
	require.Equal(t, []tpm2.TPMHandle{0x81000001, 0x81010100}, handles)
	sign(t, find(t, token, "hot"))
	require.NoError(t, token.Close())

	token = open(t, sim, store, tpm.Options{Log: said.log})
	require.NoError(t, token.Login(ctx, pkcs11.CKU_USER, userPIN))
	sign(t, find(t, token, "hot"))
	require.Empty(t, said.lines)
	evict(t, sim, 0x81010100)
	sign(t, find(t, token, "hot"))
	sign(t, find(t, token, "hot"))
	require.Len(t, said.lines, 1, "%q", said.lines)
	require.Contains(t, said.lines[0], "removed from the TPM")

	second := newEC(t, token, "second")
	require.NoError(t, token.Persist(ctx, second))
	require.NoError(t, token.Destroy(ctx, second), "as it was before")
	handles, err = tpmtest.Persistent(sim)
	require.NoError(t, err)
	require.Len(t, handles, 1)
}

func evict(t testing.TB, sim transport.TPM, handle tpm2.TPMHandle) {
	t.Helper()
	pub, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(sim)
	require.NoError(t, err)
	_, err = tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: &tpm2.NamedHandle{Handle: handle, Name: pub.Name}, PersistentHandle: handle}.Execute(sim)
	require.NoError(t, err)
}

// The TPM has no room for one more persistent key: the key works all the same.
func TestFullTPM(t *testing.T) {
	sim := patient(t)
	way := tpmtest.NewFaults(sim)
	token := initialized(t, way, new(pal.Mem), tpm.Options{})
	key := newEC(t, token, "key")
	way.On(tpm2.TPMCCEvictControl, 1, tpmtest.Code(tpm2.TPMRCNVSpace))
	err := token.Persist(t.Context(), key)
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_MEMORY)
	require.ErrorContains(t, err, "non-volatile memory is full")
	sign(t, find(t, token, "key"))
	require.NoError(t, token.Persist(t.Context(), find(t, token, "key")), "with room again")
}

// The owner's authorization is wanted where it is needed, and nowhere else.
func TestOwnerAuthorization(t *testing.T) {
	sim := patient(t)
	owner := []byte("the owner of the TPM")
	_, err := tpm2.HierarchyChangeAuth{AuthHandle: tpm2.TPMRHOwner, NewAuth: tpm2.TPM2BAuth{Buffer: owner}}.Execute(sim)
	require.NoError(t, err)
	store := new(pal.Mem)
	err = open(t, sim, store, tpm.Options{}).InitToken(t.Context(), soPIN, "gateway")
	require.ErrorIs(t, err, pkcs11.CKR_PIN_INCORRECT)
	require.ErrorContains(t, err, "owner's authorization")
	names, err := store.Names()
	require.NoError(t, err)
	require.Empty(t, names, "nothing was stored")

	token := initialized(t, sim, store, tpm.Options{OwnerAuth: owner})
	newEC(t, token, "key")
	require.NoError(t, token.Close())
	token = open(t, sim, store, tpm.Options{})
	require.NoError(t, token.Login(t.Context(), pkcs11.CKU_USER, userPIN))
	sign(t, find(t, token, "key"))
	err = token.Persist(t.Context(), find(t, token, "key"))
	require.ErrorContains(t, err, "owner's authorization")
	require.EqualValues(t, 0, tries(t, sim))
}

// Keys that no TPM has, or this one has not.
func TestUnsupportedKeys(t *testing.T) {
	token := initialized(t, patient(t), new(pal.Mem), tpm.Options{})
	ctx := t.Context()
	public, private := templates("key", true)
	generate := func(m pkcs11.MechanismType, a pkcs11.Attribute, more ...pkcs11.Attribute) error {
		private := private
		for _, a := range more {
			private = private.Clone().Set(a)
		}
		_, _, err := token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: m}, public.Clone().Set(a), private, nil)
		return err
	}
	for _, row := range []struct {
		err  error
		code pkcs11.Error
		text string
	}{
		{generate(pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte("\x06\x05\x2b\x81\x04\x00\x0a"))), pkcs11.CKR_CURVE_NOT_SUPPORTED, "CKA_EC_PARAMS"},
		{generate(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.Attr(pkcs11.CKA_MODULUS_BITS, uint64(4096))), pkcs11.CKR_KEY_SIZE_RANGE, "2048 3072"},
		{generate(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.Attr(pkcs11.CKA_MODULUS_BITS, uint64(1024))), pkcs11.CKR_KEY_SIZE_RANGE, "not of 1024"},
		{generate(pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true)), pkcs11.CKR_TEMPLATE_INCONSISTENT, "does not leave the TPM"},
		{generate(pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN, pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)), pkcs11.CKR_MECHANISM_INVALID, "no key pair"},
	} {
		require.ErrorIs(t, row.err, row.code)
		require.ErrorContains(t, row.err, row.text)
		require.NotContains(t, row.err.Error(), "\n")
	}
	objects, err := token.Objects(ctx)
	require.NoError(t, err)
	require.Empty(t, objects)
}

// Imported keys say of themselves that they were, and are the same keys.
func TestImport(t *testing.T) {
	store := new(pal.Mem)
	sim := patient(t)
	token := initialized(t, sim, store, tpm.Options{})
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	key := importEC(t, token, ec, "ec")
	sign(t, key)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, private := templates("rsa", true, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_RSA)), pkcs11.Attr(pkcs11.CKA_MODULUS, rsaKey.N.Bytes()),
		pkcs11.Attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}), pkcs11.Attr(pkcs11.CKA_PRIVATE_EXPONENT, rsaKey.D.Bytes()))
	o, err := token.CreateObject(t.Context(), private, nil)
	require.NoError(t, err)
	sign(t, o.(driver.Signer))
	for _, o := range []driver.Object{key, o} {
		for _, a := range []pkcs11.AttributeType{pkcs11.CKA_LOCAL, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE, pkcs11.CKA_EXTRACTABLE} {
			require.False(t, o.Attributes().Bool(a), "%v", a)
		}
	}
	born := newEC(t, token, "born here")
	for _, a := range []pkcs11.AttributeType{pkcs11.CKA_LOCAL, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE, pkcs11.CKA_SENSITIVE} {
		require.True(t, born.Attributes().Bool(a), "%v", a)
	}
	// Nothing of the private keys is in the store.
	scalar, err := ec.Bytes()
	require.NoError(t, err)
	names, err := store.Names()
	require.NoError(t, err)
	for _, name := range names {
		data, err := store.Load(name)
		require.NoError(t, err)
		for _, secret := range [][]byte{scalar, rsaKey.D.Bytes(), rsaKey.Primes[0].Bytes(), rsaKey.Primes[1].Bytes(), tpm.Secret(token)} {
			require.NotContains(t, string(data), string(secret), "record %s", name)
		}
	}
}

// Bytes of every record are damaged in turn. What is damaged is named.
func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	sim := patient(t)
	store := new(pal.Mem)
	token := initialized(t, sim, store, tpm.Options{})
	newEC(t, token, "one")
	newEC(t, token, "two")
	require.NoError(t, token.Close())
	names, err := store.Names()
	require.NoError(t, err)
	ctx := t.Context()
	work := func() error {
		token, err := tpm.New(ctx, sim, store, tpm.Cheap(tpm.Options{}))
		if err != nil {
			return err
		}
		defer token.Close()
		if err := token.Login(ctx, pkcs11.CKU_USER, userPIN); err != nil {
			return err
		}
		objects, err := token.Objects(ctx)
		if err == nil {
			require.Len(t, objects, 4)
		}
		for _, o := range objects {
			if key, ok := o.(driver.Signer); ok {
				if serr := trySign(ctx, key); serr != nil {
					return serr
				}
			}
		}
		return err
	}
	require.NoError(t, work())
	for _, name := range names {
		if name == "abilities" || name == "sessions" {
			continue // these are found out again
		}
		good, err := store.Load(name)
		require.NoError(t, err)
		step := 97
		if testing.Short() || raceEnabled {
			step = 331
		}
		for i := 0; i < len(good); i += step {
			bad := append([]byte(nil), good...)
			bad[i] ^= 0x10
			require.NoError(t, store.Save(name, bad))
			err := work()
			require.ErrorIs(t, err, pal.ErrCorrupt, "%s with byte %d damaged", name, i)
			require.ErrorContains(t, err, name)
		}
		require.NoError(t, store.Save(name, good))
		require.NoError(t, work())
	}
	require.EqualValues(t, 0, tries(t, sim))
}

// What is replaced goes in the same step in which the new objects come, and no
// record of it is left.
func TestReplacedObjects(t *testing.T) {
	for _, store := range []pal.Store{new(pal.Mem), plain{new(pal.Mem)}} {
		token := initialized(t, patient(t), store, tpm.Options{})
		ctx := t.Context()
		old := newEC(t, token, "key")
		public, private := templates("key", true)
		_, next, err := token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public.Set(pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)), private, []driver.Object{old})
		require.NoError(t, err)
		objects, err := token.Objects(ctx)
		require.NoError(t, err)
		require.Len(t, objects, 3, "the old public key and the new pair")
		require.Equal(t, next.ID(), find(t, token, "key").ID())
		for len(objects) > 0 {
			require.NoError(t, token.Destroy(ctx, objects[0]))
			objects, err = token.Objects(ctx)
			require.NoError(t, err)
		}
		names, err := store.Names()
		require.NoError(t, err)
		for _, name := range names {
			require.False(t, strings.HasPrefix(name, "o-"), "record %s is left", name)
		}
	}
}

// plain hides what else a store can do.
type plain struct{ pal.Store }
