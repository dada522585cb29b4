package tpm_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// On a chip a command takes milliseconds, so they are counted.

// bus counts commands: those of one channel on a bare TPM, or those that the
// resource manager makes of them.
type bus struct {
	sim   *tpmtest.TPM
	spy   *tpmtest.Spy
	opts  tpm.Options
	tpm   transport.TPM
	store pal.Store
}

func bareBus(t testing.TB) *bus {
	sim := patient(t)
	spy := tpmtest.NewSpy(sim)
	return &bus{sim: sim, spy: spy, tpm: spy, store: new(pal.Mem)}
}

func managedBus(t testing.TB) *bus {
	b := bareBus(t)
	rm := tpmtest.NewManager(b.spy)
	// The manager asks the TPM what its commands are, once for all.
	_, err := rm.Open().Send([]byte{0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8})
	require.NoError(t, err)
	b.tpm = nil
	b.opts.Dial = func(context.Context) (transport.TPMCloser, error) { return rm.Open(), nil }
	return b
}

func (b *bus) cost(t testing.TB, f func()) int {
	t.Helper()
	b.spy.Forget()
	f()
	return b.spy.Count()
}

func TestCommandsOnABareTPM(t *testing.T) {
	b := bareBus(t)
	token := initialized(t, b.tpm, b.store, b.opts)
	key := newEC(t, token, "key")
	sign(t, key)
	require.Equal(t, 1, b.cost(t, func() { sign(t, key) }), "a signature with a loaded key")
	require.NoError(t, token.Persist(t.Context(), key))
	key = find(t, token, "key")
	sign(t, key)
	require.Equal(t, 1, b.cost(t, func() { sign(t, key) }), "a signature with a persistent key")
	require.NoError(t, token.Close())

	require.LessOrEqual(t, b.cost(t, func() { token = open(t, b.tpm, b.store, b.opts) }), 4, "opening: %v", b.spy)
	require.LessOrEqual(t, b.cost(t, func() { require.NoError(t, token.Login(t.Context(), pkcs11.CKU_USER, userPIN)) }), 8, "login: %v", b.spy)
}

func TestCommandsThroughAResourceManager(t *testing.T) {
	b := managedBus(t)
	token := initialized(t, b.tpm, b.store, b.opts)
	key := newEC(t, token, "key")
	sign(t, key)
	require.LessOrEqual(t, b.cost(t, func() { sign(t, key) }), 6, "a signature with a stored key: %v", b.spy)
	require.NoError(t, token.Persist(t.Context(), key))
	key = find(t, token, "key")
	sign(t, key)
	require.LessOrEqual(t, b.cost(t, func() { sign(t, key) }), 3, "a signature with a persistent key: %v", b.spy)
	require.NoError(t, token.Close())

	require.LessOrEqual(t, b.cost(t, func() { token = open(t, b.tpm, b.store, b.opts) }), 4, "opening: %v", b.spy)
	require.LessOrEqual(t, b.cost(t, func() { require.NoError(t, token.Login(t.Context(), pkcs11.CKU_USER, userPIN)) }), 16, "login: %v", b.spy)
}

// From nothing to the first signature of a gateway that nobody enters a PIN on.
func TestCommandsOfAColdStart(t *testing.T) {
	b := bareBus(t)
	b.opts.NoPIN = true
	token := initialized(t, b.tpm, b.store, b.opts)
	newEC(t, token, "key")
	require.NoError(t, token.Close())
	n := b.cost(t, func() { sign(t, find(t, open(t, b.tpm, b.store, b.opts), "key")) })
	require.LessOrEqual(t, n, 8, "%v", b.spy)
}

func TestManyKeysInFewSlots(t *testing.T) {
	b := bareBus(t)
	b.opts.NoPIN = true
	token := initialized(t, b.tpm, b.store, b.opts)
	var keys []driver.Signer
	for i := range 100 {
		keys = append(keys, newEC(t, token, fmt.Sprint("key ", i)))
	}
	sign(t, keys[0])
	for range 2 {
		for i, key := range keys {
			require.LessOrEqual(t, b.cost(t, func() { sign(t, key) }), 3, "key %d: %v", i, b.spy)
		}
	}
}
