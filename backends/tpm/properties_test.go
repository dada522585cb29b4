package tpm_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A token that was opened on a TPM that is not locked says so before the first
// login: the TPM returns its properties in groups, and the lockout is in another
// one than what came first.
func TestFlagsOfATokenJustOpened(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	store := new(pal.Mem)
	for range 2 {
		token, err := tpm.New(ctx, sim, store, tpm.Cheap(tpm.Options{}))
		require.NoError(t, err)
		const pins = pkcs11.CKF_USER_PIN_COUNT_LOW | pkcs11.CKF_USER_PIN_LOCKED | pkcs11.CKF_SO_PIN_COUNT_LOW | pkcs11.CKF_SO_PIN_LOCKED
		require.Zero(t, token.Info().Flags&pins)
		if token.Info().Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			require.NoError(t, token.InitToken(ctx, []byte("so pin"), "test"))
		}
		require.NoError(t, token.Close())
	}
}
