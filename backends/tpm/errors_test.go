package tpm_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Every error begins with the package's name, once.
func TestOneName(t *testing.T) {
	t.Parallel()
	sim := patient(t)
	ctx := t.Context()
	owner := tpm2.TPM2BAuth{Buffer: []byte("the owner of the TPM")}
	gone := errors.New("unplugged")
	fails := func(context.Context) (transport.TPMCloser, error) { return nil, gone }
	store := new(pal.Mem)
	token := initialized(t, sim, store, tpm.Options{})
	key := newEC(t, token, "key")
	for name, fail := range map[string]func(t *testing.T) error{
		"no connection": func(t *testing.T) error {
			_, err := tpm.New(ctx, nil, new(pal.Mem), &tpm.Options{Dial: fails})
			return err
		},
		"nobody listens": func(t *testing.T) error {
			_, err := tpm.New(ctx, nil, new(pal.Mem), &tpm.Options{Dial: tpm.Device("/nowhere")})
			return err
		},
		"another TPM": func(t *testing.T) error {
			other := open(t, patient(t), clone(t, store), tpm.Options{})
			return other.Login(ctx, pkcs11.CKU_USER, userPIN)
		},
		"no key in the TPM": func(t *testing.T) error {
			fresh := open(t, patient(t), new(pal.Mem), tpm.Options{Parent: 0x81000123})
			return fresh.InitToken(ctx, soPIN, "label")
		},
		"the owner's authorization": func(t *testing.T) error {
			_, err := tpm2.HierarchyChangeAuth{AuthHandle: tpm2.TPMRHOwner, NewAuth: owner}.Execute(sim)
			require.NoError(t, err)
			return token.Persist(ctx, key)
		},
		"a wrong PIN":         func(t *testing.T) error { return token.Login(ctx, pkcs11.CKU_USER, wrong) },
		"a file that is none": func(t *testing.T) error { _, _, err := token.ImportTSS2(ctx, []byte("x"), nil, "x"); return err },
		"the TPM is busy": func(t *testing.T) error {
			way := tpmtest.NewFaults(sim)
			busy := open(t, way, clone(t, store), tpm.Options{})
			way.From(0, -1, tpmtest.Code(tpm2.TPMRCRetry))
			return busy.Probe(ctx)
		},
		"a signature without login": func(t *testing.T) error {
			require.NoError(t, token.Logout(ctx))
			return trySign(ctx, key)
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := fail(t)
			require.Error(t, err)
			require.True(t, strings.HasPrefix(err.Error(), "tpm: "), err.Error())
			require.Equal(t, 1, strings.Count(err.Error(), "tpm: "), err.Error())
			require.NotEqual(t, pkcs11.CKR_GENERAL_ERROR, pkcs11.CodeOf(err), err.Error())
			t.Log(err)
		})
	}
}
