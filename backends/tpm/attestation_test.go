package tpm_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"os"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/backends/tpm/attest"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var record = flag.Bool("record", false, "write attest/testdata anew")

// ready returns a token on a TPM with a user logged in, as an application has it.
func ready(t testing.TB, bus transport.TPM, store pal.Store, o tpm.Options) *cryptoki.Token {
	t.Helper()
	ctx := context.Background()
	backend, err := tpm.New(ctx, bus, store, tpm.Cheap(o))
	require.NoError(t, err)
	m, err := cryptoki.NewModule(nil, backend)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	token, err := cryptoki.NewToken(ctx, m, 1, &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		return []byte("user pin"), nil
	}})
	require.NoError(t, err)
	t.Cleanup(func() { token.Close() })
	info, err := token.Info(ctx)
	require.NoError(t, err)
	if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
		require.NoError(t, token.Initialize(ctx, cryptoki.Setup{Label: "test", SOPIN: []byte("so pin"), UserPIN: []byte("user pin")}))
	}
	return token
}

// A device proves to a fleet's service that its key is in its TPM.
func TestAttestation(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	sim := tpmtest.StartConfig(t, tpmtest.Config{Endorsed: true})
	store := new(pal.Mem)
	token := ready(t, sim, store, tpm.Options{})
	key, err := token.GenerateKey(ctx, cryptoki.KeySpec{Label: "device", Algorithm: cryptoki.P256})
	require.NoError(t, err)
	nonce := sha256.Sum256([]byte("a nonce of the verifier"))
	data, err := token.Attest(ctx, "device", nonce[:])
	require.NoError(t, err)
	e, err := attest.Parse(data)
	require.NoError(t, err)
	roots, intermediates := sim.Roots()
	policy := &attest.Policy{Nonce: nonce[:], Roots: roots, Intermediates: intermediates}

	_, err = attest.Verify(e, policy)
	require.ErrorIs(t, err, attest.ErrInvalid)
	require.ErrorContains(t, err, "not known to be in the TPM")

	var secret []byte
	policy.Challenge, secret, err = attest.NewChallenge(rand.Reader, e)
	require.NoError(t, err)
	policy.Secret = secret
	challenge, err := policy.Challenge.Marshal()
	require.NoError(t, err)
	answered, err := token.AnswerChallenge(ctx, challenge)
	require.NoError(t, err)
	policy.Answer, err = attest.ParseAnswer(answered)
	require.NoError(t, err)
	result, err := attest.Verify(e, policy)
	require.NoError(t, err)
	require.True(t, key.Public().(*ecdsa.PublicKey).Equal(result.PublicKey))
	require.NotNil(t, result.EndorsementCertificate)
	require.Len(t, result.PCRs, 16)

	if *record {
		for name, b := range map[string][]byte{"evidence.json": data, "challenge.json": challenge, "answer.json": answered, "roots.pem": sim.Authority()} {
			require.NoError(t, os.WriteFile("attest/testdata/"+name, b, 0o644))
		}
	}

	t.Log("the attestation key stays, so that the next time needs no challenge")
	require.NoError(t, token.Module().Close())
	sim.Restart()
	token = ready(t, sim, store, tpm.Options{})
	again := &attest.Policy{Nonce: []byte("another"), Roots: roots, Intermediates: intermediates, Known: [][]byte{result.AttestationKeyName}}
	data, err = token.Attest(ctx, "device", again.Nonce)
	require.NoError(t, err)
	e, err = attest.Parse(data)
	require.NoError(t, err)
	_, err = attest.Verify(e, again)
	require.NoError(t, err)

	t.Log("RSA keys, and persistent ones, are attested as well")
	_, err = token.GenerateKey(ctx, cryptoki.KeySpec{Label: "rsa", Algorithm: cryptoki.RSA2048})
	require.NoError(t, err)
	data, err = token.Attest(ctx, "rsa", again.Nonce)
	require.NoError(t, err)
	e, err = attest.Parse(data)
	require.NoError(t, err)
	_, err = attest.Verify(e, again)
	require.NoError(t, err)

	handles, err := tpmtest.Loaded(sim)
	require.NoError(t, err)
	require.LessOrEqual(t, len(handles), 1, "only the session of the token is left: %v", handles)
}

// On a TPM without certificates the bare key identifies it, as on most boards'
// first day.
func TestAttestationWithoutCertificate(t *testing.T) {
	ctx := context.Background()
	sim := tpmtest.Start(t)
	rm := tpmtest.NewManager(sim)
	token := ready(t, nil, new(pal.Mem), tpm.Options{Channels: 2,
		Dial: func(context.Context) (transport.TPMCloser, error) { return rm.Open(), nil }})
	_, err := token.GenerateKey(ctx, cryptoki.KeySpec{Label: "device", Algorithm: cryptoki.P256})
	require.NoError(t, err)
	data, err := token.Attest(ctx, "device", []byte("nonce"))
	require.NoError(t, err)
	e, err := attest.Parse(data)
	require.NoError(t, err)
	require.Empty(t, e.EndorsementChain)
	hash := sha256.Sum256(e.EndorsementKey)
	policy := &attest.Policy{Nonce: []byte("nonce"), EndorsementKeys: [][]byte{hash[:]}}
	policy.Challenge, policy.Secret, err = attest.NewChallenge(rand.Reader, e)
	require.NoError(t, err)
	challenge, err := policy.Challenge.Marshal()
	require.NoError(t, err)
	answered, err := token.AnswerChallenge(ctx, challenge)
	require.NoError(t, err)
	policy.Answer, err = attest.ParseAnswer(answered)
	require.NoError(t, err)
	_, err = attest.Verify(e, policy)
	require.NoError(t, err)
}

// What a device does not attest, and says so.
func TestNotAttested(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	sim := tpmtest.Start(t)
	token := ready(t, sim, new(pal.Mem), tpm.Options{})
	_, err := token.GenerateKey(ctx, cryptoki.KeySpec{Label: "device", Algorithm: cryptoki.P256})
	require.NoError(t, err)
	for _, nonce := range [][]byte{nil, make([]byte, 33)} {
		_, err = token.Attest(ctx, "device", nonce)
		require.ErrorIs(t, err, pkcs11.CKR_ARGUMENTS_BAD)
	}
	_, err = token.Attest(ctx, "nothing", []byte("nonce"))
	require.Error(t, err)

	data, err := token.Attest(ctx, "device", []byte("nonce"))
	require.NoError(t, err)
	e, err := attest.Parse(data)
	require.NoError(t, err)
	c, _, err := attest.NewChallenge(rand.Reader, e)
	require.NoError(t, err)
	for name, change := range map[string]func(c *attest.Challenge){
		"another attestation key": func(c *attest.Challenge) { c.AttestationKeyName[5] ^= 1 },
		"another credential":      func(c *attest.Challenge) { c.Credential[40] ^= 1 },
		"another seed":            func(c *attest.Challenge) { c.Seed = c.Seed[:8] },
		"no endorsement key":      func(c *attest.Challenge) { c.EndorsementKey = []byte{1} },
	} {
		d := *c
		d.AttestationKeyName, d.Credential = bytes.Clone(c.AttestationKeyName), bytes.Clone(c.Credential)
		change(&d)
		b, err := d.Marshal()
		require.NoError(t, err)
		_, err = token.AnswerChallenge(ctx, b)
		require.ErrorIs(t, err, pkcs11.CKR_DATA_INVALID, name)
	}
	_, err = token.AnswerChallenge(ctx, []byte("{}"))
	require.ErrorIs(t, err, pkcs11.CKR_DATA_INVALID)

	t.Log("the endorsement hierarchy has an authorization that we do not have")
	_, err = tpm2.HierarchyChangeAuth{AuthHandle: tpm2.TPMRHEndorsement, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("secret")}}.Execute(sim)
	require.NoError(t, err)
	b, err := c.Marshal()
	require.NoError(t, err)
	_, err = token.AnswerChallenge(ctx, b)
	require.ErrorIs(t, err, pkcs11.CKR_PIN_INCORRECT)
	require.ErrorContains(t, err, "EndorsementAuth")
}

// verified checks evidence that was made for "nonce", with the keys in it trusted.
func verified(data []byte) (*attest.Evidence, error) {
	e, err := attest.Parse(data)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(e.EndorsementKey)
	c, _, err := attest.NewChallenge(rand.Reader, e)
	if err != nil {
		return nil, err
	}
	_, err = attest.Verify(e, &attest.Policy{Nonce: []byte("nonce"), EndorsementKeys: [][]byte{hash[:]}, Known: [][]byte{c.AttestationKeyName}})
	return e, err
}

var errWrongAnswer = errors.New("a wrong answer was returned")

// answers has a token answer a challenge, and checks what it answers. The challenge
// is made once for each token.
func answers(ctx context.Context, token *tpm.Token, key driver.Object) error {
	type question struct {
		challenge, secret []byte
	}
	q, ok := asked.Load(token)
	if !ok {
		data, err := token.Attest(ctx, key, []byte("nonce"))
		if err != nil {
			return err
		}
		e, err := verified(data)
		if err != nil {
			return err
		}
		c, secret, err := attest.NewChallenge(rand.Reader, e)
		if err != nil {
			return err
		}
		b, err := c.Marshal()
		if err != nil {
			return err
		}
		q = question{b, secret}
		asked.Store(token, q)
	}
	b, err := token.AnswerChallenge(ctx, q.(question).challenge)
	if err != nil {
		return err
	}
	a, err := attest.ParseAnswer(b)
	if err != nil {
		return err
	}
	if !bytes.Equal(a.Secret, q.(question).secret) {
		return errWrongAnswer
	}
	return nil
}

var asked sync.Map // by token
