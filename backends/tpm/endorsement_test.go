package tpm_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/backends/tpm/attest"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// high are the templates of the high range, as the EK Credential Profile has them in
// B.4.3 to B.4.5.
func high(t *testing.T, typ tpm2.TPMAlgID, nameAlg tpm2.TPMAlgID, policy string, aes tpm2.TPMKeyBits, curve tpm2.TPMECCCurve) tpm2.TPMTPublic {
	t.Helper()
	b, err := hex.DecodeString(policy)
	require.NoError(t, err)
	p := tpm2.TPMTPublic{Type: typ, NameAlg: nameAlg, AuthPolicy: tpm2.TPM2BDigest{Buffer: b}, ObjectAttributes: tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, AdminWithPolicy: true, Restricted: true, Decrypt: true}}
	symmetric := tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgAES,
		KeyBits: tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, aes), Mode: tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB)}
	if typ == tpm2.TPMAlgRSA {
		p.Parameters = tpm2.NewTPMUPublicParms(typ, &tpm2.TPMSRSAParms{Symmetric: symmetric, KeyBits: 2048})
		p.Unique = tpm2.NewTPMUPublicID(typ, &tpm2.TPM2BPublicKeyRSA{})
		return p
	}
	p.Parameters = tpm2.NewTPMUPublicParms(typ, &tpm2.TPMSECCParms{Symmetric: symmetric, CurveID: curve})
	p.Unique = tpm2.NewTPMUPublicID(typ, &tpm2.TPMSECCPoint{})
	return p
}

const (
	policyB256 = "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0"
	policyB384 = "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12"
)

// A TPM whose maker has certified a key of the high range, on P-384, is attested
// with that, whether the key is persistent or has to be made of its template.
func TestHighRange(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	sim := tpmtest.StartConfig(t, tpmtest.Config{Endorsed: true})
	// swtpm_setup gives an RSA key of the low range as well, which would come first.
	nv, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(0x01C00002)}.Execute(sim)
	require.NoError(t, err)
	_, err = tpm2.NVUndefineSpace{AuthHandle: tpm2.TPMRHPlatform, NVIndex: tpm2.NamedHandle{Handle: 0x01C00002, Name: nv.NVName}}.Execute(sim)
	require.NoError(t, err)

	token := ready(t, sim, new(pal.Mem), tpm.Options{})
	_, err = token.GenerateKey(ctx, cryptoki.KeySpec{Label: "device", Algorithm: cryptoki.P256})
	require.NoError(t, err)
	data, err := token.Attest(ctx, "device", []byte("nonce"))
	require.NoError(t, err)
	e, err := attest.Parse(data)
	require.NoError(t, err)
	require.Len(t, e.EndorsementChain, 1)
	roots, intermediates := sim.Roots()
	prove := func() {
		t.Helper()
		policy := &attest.Policy{Nonce: []byte("nonce"), Roots: roots, Intermediates: intermediates}
		policy.Challenge, policy.Secret, err = attest.NewChallenge(rand.Reader, e)
		require.NoError(t, err)
		challenge, err := policy.Challenge.Marshal()
		require.NoError(t, err)
		answered, err := token.AnswerChallenge(ctx, challenge)
		require.NoError(t, err)
		policy.Answer, err = attest.ParseAnswer(answered)
		require.NoError(t, err)
		result, err := attest.Verify(e, policy)
		require.NoError(t, err)
		require.Equal(t, elliptic.P384(), result.EndorsementCertificate.PublicKey.(*ecdsa.PublicKey).Curve)
		handles, err := tpmtest.Loaded(sim)
		require.NoError(t, err)
		require.LessOrEqual(t, len(handles), 1, "only the session of the token is left: %v", handles)
	}
	prove()
	pub, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x81010016)}.Execute(sim)
	require.NoError(t, err)
	_, err = tpm2.EvictControl{Auth: tpm2.TPMRHOwner, ObjectHandle: tpm2.NamedHandle{Handle: 0x81010016, Name: pub.Name}, PersistentHandle: 0x81010016}.Execute(sim)
	require.NoError(t, err)
	prove()
}

// A challenge for a key of each template of the high range is answered, with and
// without protection of the bus.
func TestHighRangeTemplates(t *testing.T) {
	t.Parallel()
	templates := map[string]tpm2.TPMTPublic{
		"H-1": high(t, tpm2.TPMAlgRSA, tpm2.TPMAlgSHA256, policyB256, 128, 0),
		"H-2": high(t, tpm2.TPMAlgECC, tpm2.TPMAlgSHA256, policyB256, 128, tpm2.TPMECCNistP256),
		"H-3": high(t, tpm2.TPMAlgECC, tpm2.TPMAlgSHA384, policyB384, 256, tpm2.TPMECCNistP384),
	}
	for _, bus := range []tpm.BusProtection{tpm.BusFull, tpm.BusNone} {
		ctx := context.Background()
		sim := tpmtest.Start(t)
		token := ready(t, sim, new(pal.Mem), tpm.Options{BusProtection: bus})
		_, err := token.GenerateKey(ctx, cryptoki.KeySpec{Label: "device", Algorithm: cryptoki.P256})
		require.NoError(t, err)
		data, err := token.Attest(ctx, "device", []byte("nonce"))
		require.NoError(t, err)
		e, err := attest.Parse(data)
		require.NoError(t, err)
		ask := func(key any) (*attest.Answer, []byte, error) {
			e.EndorsementKey, err = x509.MarshalPKIXPublicKey(key)
			require.NoError(t, err)
			c, secret, err := attest.NewChallenge(rand.Reader, e)
			require.NoError(t, err)
			b, err := c.Marshal()
			require.NoError(t, err)
			answered, err := token.AnswerChallenge(ctx, b)
			if err != nil {
				return nil, nil, err
			}
			a, err := attest.ParseAnswer(answered)
			return a, secret, err
		}
		for name, template := range templates {
			made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHEndorsement, InPublic: tpm2.New2B(template)}.Execute(sim)
			require.NoError(t, err, name)
			_, err = tpm2.FlushContext{FlushHandle: made.ObjectHandle}.Execute(sim)
			require.NoError(t, err, name)
			public, err := made.OutPublic.Contents()
			require.NoError(t, err, name)
			key, err := tpm2.Pub(*public)
			require.NoError(t, err, name)
			a, secret, err := ask(key)
			require.NoError(t, err, name)
			require.Equal(t, secret, a.Secret, name)
		}
		other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		require.NoError(t, err)
		_, _, err = ask(other.Public())
		require.ErrorIs(t, err, pkcs11.CKR_DATA_INVALID)
		require.ErrorContains(t, err, "the endorsement key of another TPM")

		c, _, err := attest.NewChallenge(rand.Reader, e)
		require.NoError(t, err)
		larger, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		require.NoError(t, err)
		c.EndorsementKey, err = x509.MarshalPKIXPublicKey(larger.Public())
		require.NoError(t, err)
		b, err := c.Marshal()
		require.NoError(t, err)
		_, err = token.AnswerChallenge(ctx, b)
		require.ErrorIs(t, err, pkcs11.CKR_DATA_INVALID)
		require.ErrorContains(t, err, "nor on P-256 or P-384")
		handles, err := tpmtest.Loaded(sim)
		require.NoError(t, err)
		require.LessOrEqual(t, len(handles), 1, "only the session of the token is left: %v", handles)
	}
}
