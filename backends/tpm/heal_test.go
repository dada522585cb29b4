package tpm_test

import (
	"io"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// What happens to a TPM between two signatures. The second one succeeds, and the
// log says one thing.
func TestTheSecondSignature(t *testing.T) {
	for name, happens := range map[string]func(sim *tpmtest.TPM, way *tpmtest.Faults){
		"the TPM is restarted":              func(sim *tpmtest.TPM, _ *tpmtest.Faults) { sim.Kill(); sim.Restart() },
		"the TPM is reset, and started":     func(sim *tpmtest.TPM, _ *tpmtest.Faults) { sim.Reset(true) },
		"the TPM is reset, and not started": func(sim *tpmtest.TPM, _ *tpmtest.Faults) { sim.Reset(false) },
		"a response is lost": func(_ *tpmtest.TPM, way *tpmtest.Faults) {
			way.On(tpm2.TPMCCSign, 1, tpmtest.LoseResponse(io.ErrUnexpectedEOF))
		},
		"a command is lost": func(_ *tpmtest.TPM, way *tpmtest.Faults) {
			way.On(tpm2.TPMCCSign, 1, tpmtest.LoseCommand(io.ErrUnexpectedEOF))
		},
	} {
		t.Run(name, func(t *testing.T) {
			sim := patient(t)
			way := tpmtest.NewFaults(sim)
			var said logbook
			token := initialized(t, way, new(pal.Mem), tpm.Options{Log: said.log})
			ec, rsa := newEC(t, token, "ec"), newRSA(t, token, "rsa")
			sign(t, ec)
			sign(t, rsa)
			require.Empty(t, said.lines)
			happens(sim, way)
			sign(t, ec)
			require.Len(t, said.lines, 1, "%q", said.lines)
			sign(t, rsa)
			require.Len(t, said.lines, 1, "%q", said.lines)
		})
	}
}

// Over a socket of its own the token makes the connection again.
func TestRestartBehindASocket(t *testing.T) {
	t.Parallel()
	sim := patient(t)
	sim.Disconnect()
	var said logbook
	token := initialized(t, nil, new(pal.Mem), tpm.Options{Dial: held(tpm.Swtpm("unix", sim.Socket())), Log: said.log})
	key := newEC(t, token, "key")
	sign(t, key)
	sim.Kill()
	sim.Restart()
	sim.Disconnect()
	sign(t, key)
	require.Len(t, said.lines, 1, "%q", said.lines)

	sim.Kill()
	err := trySign(t.Context(), key)
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR, "while there is none")
	sim.Restart()
	sim.Disconnect()
	sign(t, key)
}

// A TPM that was cleared, or is another one, has none of the keys.
func TestWiped(t *testing.T) {
	sim := patient(t)
	store := new(pal.Mem)
	var said logbook
	token := initialized(t, sim, store, tpm.Options{Log: said.log})
	key := newEC(t, token, "key")
	sign(t, key)
	before := map[string][]byte{}
	names, err := store.Names()
	require.NoError(t, err)
	for _, name := range names {
		before[name], err = store.Load(name)
		require.NoError(t, err)
	}
	sim.Kill()
	sim.Wipe()
	sim.Restart()
	err = trySign(t.Context(), key)
	require.ErrorIs(t, err, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, "while the token is open")
	require.ErrorContains(t, err, "cleared or replaced")
	require.NotEmpty(t, said.lines)
	_ = token.Close()

	token = open(t, sim, store, tpm.Options{})
	require.NotZero(t, token.Info().Flags&pkcs11.CKF_TOKEN_INITIALIZED)
	require.Equal(t, "gateway", token.Info().Label)
	for _, err := range []error{
		token.Login(t.Context(), pkcs11.CKU_USER, userPIN),
		token.InitToken(t.Context(), soPIN, "again"),
		token.Probe(t.Context()),
		token.ReadRandom(t.Context(), make([]byte, 8)),
	} {
		require.ErrorIs(t, err, pkcs11.CKR_TOKEN_NOT_RECOGNIZED)
		require.ErrorContains(t, err, "cleared or replaced")
	}
	for name, data := range before {
		now, err := store.Load(name)
		if name != "sessions" {
			require.NoError(t, err, "record %s is lost", name)
			require.Equal(t, data, now, "record %s was changed", name)
		}
	}
}
