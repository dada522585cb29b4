package tpm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

const pinFlags = pkcs11.CKF_USER_PIN_COUNT_LOW | pkcs11.CKF_USER_PIN_FINAL_TRY | pkcs11.CKF_USER_PIN_LOCKED

// The TPM counts wrong PINs, the flags tell of it, the last try is kept, and who
// insists finds the TPM locked.
func TestWrongPINs(t *testing.T) {
	sim := tpmtest.Start(t)
	store := new(pal.Mem)
	token := initialized(t, sim, store, tpm.Options{})
	key := newEC(t, token, "key")
	ctx := t.Context()
	require.NoError(t, tpmtest.SetLockout(sim, 4, 1000, 1000))
	login := func(token *tpm.Token, pin []byte) error { return token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, pin) }

	require.Zero(t, token.Info().Flags&pinFlags)
	for n := uint32(1); n <= 3; n++ {
		err := login(token, wrong)
		require.ErrorIs(t, err, pkcs11.CKR_PIN_INCORRECT)
		require.NotContains(t, err.Error(), string(wrong))
		require.Equal(t, n, tries(t, sim))
		want := uint64(pkcs11.CKF_USER_PIN_COUNT_LOW)
		if n == 3 {
			want |= pkcs11.CKF_USER_PIN_FINAL_TRY
		}
		require.Equal(t, want, token.Info().Flags&pinFlags, "after %d wrong PINs", n)
	}
	for _, pin := range [][]byte{wrong, userPIN} {
		err := login(token, pin)
		require.ErrorIs(t, err, pkcs11.CKR_PIN_LOCKED)
		require.ErrorContains(t, err, "one is forgotten every 16m40s", "when there is another try")
	}
	require.EqualValues(t, 3, tries(t, sim), "the last try is kept")

	// Who opens the token now is told, and may insist.
	other := open(t, sim, store, tpm.Options{LastTry: true})
	require.Equal(t, uint64(pkcs11.CKF_USER_PIN_COUNT_LOW|pkcs11.CKF_USER_PIN_FINAL_TRY), other.Info().Flags&pinFlags)
	require.NoError(t, login(other, userPIN))
	require.ErrorIs(t, login(other, wrong), pkcs11.CKR_PIN_INCORRECT)
	require.Equal(t, uint64(pkcs11.CKF_USER_PIN_COUNT_LOW|pkcs11.CKF_USER_PIN_LOCKED), other.Info().Flags&pinFlags)
	require.NotZero(t, other.Info().Flags&pkcs11.CKF_SO_PIN_LOCKED, "the counter is one for all")
	require.ErrorIs(t, login(other, userPIN), pkcs11.CKR_PIN_LOCKED)
	require.ErrorIs(t, other.SetPIN(ctx, pkcs11.CKU_USER, userPIN, soPIN), pkcs11.CKR_PIN_LOCKED)
	require.NoError(t, other.Close())

	sign(t, key) // who is logged in goes on
}

// A wrong try is forgotten with time, by the TPM.
func TestWrongPINsAreForgotten(t *testing.T) {
	sim := tpmtest.Start(t)
	token := initialized(t, sim, new(pal.Mem), tpm.Options{})
	require.NoError(t, tpmtest.SetLockout(sim, 2, 1, 1))
	ctx := t.Context()
	require.ErrorIs(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, wrong), pkcs11.CKR_PIN_INCORRECT)
	require.Eventually(t, func() bool { return tries(t, sim) == 0 }, eventually, tick)
	require.NoError(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, userPIN))
	require.Zero(t, token.Info().Flags&pinFlags)
}

// The power goes after the PIN was checked: that is no wrong PIN.
func TestPowerCutAfterLogin(t *testing.T) {
	sim := patient(t)
	store := new(pal.Mem)
	token := initialized(t, sim, store, tpm.Options{})
	key := newEC(t, token, "key")
	ctx := t.Context()
	for _, use := range []func() error{
		func() error { return token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, userPIN) },
		func() error {
			defer sign(t, key)
			return token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, userPIN)
		},
		func() error { return token.SetPIN(ctx, pkcs11.CKU_USER, userPIN, userPIN) },
	} {
		require.NoError(t, use())
		sim.Kill()
		sim.Restart()
		require.Zero(t, tries(t, sim))
	}
	require.ErrorIs(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, wrong), pkcs11.CKR_PIN_INCORRECT)
	sim.Kill()
	sim.Restart()
	require.EqualValues(t, 1, tries(t, sim), "a wrong PIN counts once")
}

// PINs of every byte there is, zeros at the end and in the middle among them.
func TestPINBytes(t *testing.T) {
	sim := patient(t)
	token := initialized(t, sim, new(pal.Mem), tpm.Options{})
	ctx := t.Context()
	old := userPIN
	for i := range 40 {
		pin := randomBytes(tpm.MinPIN + i%10)
		pin[i%len(pin)], pin[len(pin)-1] = 0, byte(i&1)
		require.NoError(t, token.SetPIN(ctx, pkcs11.CKU_USER, old, pin))
		require.NoError(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, pin))
		old = pin
	}
	require.ErrorIs(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, append(old, 0)), pkcs11.CKR_PIN_INCORRECT)
	require.ErrorIs(t, token.SetPIN(ctx, pkcs11.CKU_USER, old, randomBytes(tpm.MaxPIN+1)), pkcs11.CKR_PIN_LEN_RANGE)
	require.ErrorIs(t, token.SetPIN(ctx, pkcs11.CKU_USER, old, nil), pkcs11.CKR_PIN_LEN_RANGE)
	require.EqualValues(t, 1, tries(t, sim))
}
