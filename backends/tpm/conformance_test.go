package tpm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
)

var profile = conformance.Profile{RSA: true, EC: true, Import: true, Generate: true, JITP: true}

// patient is a TPM that does not lock for the wrong PINs of a suite.
func patient(t testing.TB) *tpmtest.TPM {
	t.Helper()
	sim := tpmtest.Start(t)
	require.NoError(t, tpmtest.SetLockout(sim, 1000, 1000, 1000))
	return sim
}

// On a TPM without resource manager, as swtpm is one and /dev/tpm0.
func TestConformance(t *testing.T) {
	t.Parallel()
	sim := patient(t)
	store := new(pal.Mem)
	conformance.Run(t, conformance.Target{
		Open: func(ctx context.Context) (driver.Token, error) {
			return tpm.New(ctx, sim, store, tpm.Cheap(tpm.Options{}))
		},
		Profile:  profile,
		Outcomes: "testdata/outcomes.txt",
	})
	handles, err := tpmtest.Loaded(sim)
	require.NoError(t, err)
	require.Empty(t, handles, "handles that the suite has left in the TPM")
}

// Through a resource manager, as /dev/tpmrm0 is one, over a store on files.
func TestConformanceWithResourceManager(t *testing.T) {
	t.Parallel()
	rm := tpmtest.NewManager(patient(t))
	dir := t.TempDir()
	dial := func(context.Context) (transport.TPMCloser, error) { return rm.Open(), nil }
	conformance.Run(t, conformance.Target{
		Open: func(ctx context.Context) (driver.Token, error) {
			store, err := fileflash.Open(dir, nil)
			if err != nil {
				return nil, err
			}
			token, err := tpm.New(ctx, nil, store, tpm.Cheap(tpm.Options{Dial: dial, Channels: 2}))
			if err != nil {
				return nil, errors.Join(err, store.Close())
			}
			return flashed{token, store}, nil
		},
		Profile:  profile,
		Outcomes: "testdata/outcomes.txt",
	})
}

// flashed is a token that closes its store: tpm closes only what it opened.
type flashed struct {
	*tpm.Token
	store *fileflash.Store
}

func (f flashed) Close() error { return errors.Join(f.Token.Close(), f.store.Close()) }
