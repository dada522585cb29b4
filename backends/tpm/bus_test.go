package tpm_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Somebody listens on the bus while a token does everything that it can do with
// secrets.
func TestNothingSecretOnTheBus(t *testing.T) {
	sim := patient(t)
	spy := tpmtest.NewSpy(sim)
	store := new(pal.Mem)
	token := initialized(t, spy, store, tpm.Options{})
	ctx := t.Context()
	secrets := map[string][]byte{
		"the user's PIN":                 userPIN,
		"the SO's PIN":                   soPIN,
		"the user's PIN, stretched":      tpm.AuthOf(token, userPIN),
		"the token secret":               append([]byte(nil), tpm.Secret(token)...),
		"the digest that is signed":      digest[:],
		"the new PIN":                    []byte("a new pin for the user"),
		"a PIN that is wrong":            wrong,
		"an HMAC key":                    randomBytes(32),
		"the data of an HMAC":            randomBytes(40),
		"the long data of an HMAC":       randomBytes(5000),
		"what an RSA key decrypts":       []byte("the plaintext of a ciphertext"),
		"the scalar of an EC key":        nil,
		"the secret of two EC keys":      nil,
		"the random numbers of a caller": nil,
	}
	sign(t, newEC(t, token, "ec"))
	rsaKey := newRSA(t, token, "rsa")
	sign(t, rsaKey)

	imported, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	secrets["the scalar of an EC key"], err = imported.Bytes()
	require.NoError(t, err)
	sign(t, importEC(t, token, imported, "imported"))

	pub, err := driver.PublicKey(rsaKey.Attributes())
	require.NoError(t, err)
	ciphertext, err := rsa.EncryptOAEP(crypto.SHA256.New(), rand.Reader, pub.(*rsa.PublicKey), secrets["what an RSA key decrypts"], nil)
	require.NoError(t, err)
	plaintext, err := rsaKey.(driver.Decrypter).Decrypt(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP,
		Params: &pkcs11.OAEPParams{HashAlg: pkcs11.CKM_SHA256, MGF: pkcs11.CKG_MGF1_SHA256, Source: pkcs11.CKZ_DATA_SPECIFIED}}, ciphertext)
	require.NoError(t, err)
	require.Equal(t, secrets["what an RSA key decrypts"], plaintext)

	// ECDH with a key that may.
	public, private := templates("ecdh", true, pkcs11.Attr(pkcs11.CKA_DERIVE, true))
	_, own, err := token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public.Set(pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)), private, nil)
	require.NoError(t, err)
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	ownPub, err := driver.PublicKey(own.Attributes())
	require.NoError(t, err)
	ownPoint, err := ownPub.(*ecdsa.PublicKey).ECDH()
	require.NoError(t, err)
	secrets["the secret of two EC keys"], err = peer.ECDH(ownPoint)
	require.NoError(t, err)
	derived, err := own.(driver.Deriver).Derive(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE, Params: &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: peer.PublicKey().Bytes()}},
		secretTemplate(true, 32), nil)
	require.NoError(t, err)
	value, err := derived.(driver.Exporter).Export(ctx, pkcs11.CKA_VALUE)
	require.NoError(t, err)
	require.Equal(t, secrets["the secret of two EC keys"], value.Bytes(pkcs11.CKA_VALUE))

	mac, err := token.CreateObject(ctx, secretTemplate(false, 0).Set(pkcs11.Attr(pkcs11.CKA_VALUE, secrets["an HMAC key"])), nil)
	require.NoError(t, err)
	for _, data := range []string{"the data of an HMAC", "the long data of an HMAC"} {
		_, err = mac.(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_SHA256_HMAC}, secrets[data])
		require.NoError(t, err)
	}
	require.ErrorIs(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, wrong), pkcs11.CKR_PIN_INCORRECT)
	require.NoError(t, token.SetPIN(ctx, pkcs11.CKU_USER, userPIN, secrets["the new PIN"]))
	numbers := make([]byte, 100)
	require.NoError(t, token.ReadRandom(ctx, numbers))
	secrets["the random numbers of a caller"] = numbers

	for what, secret := range secrets {
		require.NotEmpty(t, secret, what)
		require.Empty(t, spy.Seen(secret), "%s was seen on the bus", what)
	}
	// That the spy sees at all: without protection it does.
	require.NoError(t, token.Close())
	token = open(t, spy, store, tpm.Options{BusProtection: tpm.BusNone})
	require.NoError(t, token.Login(ctx, pkcs11.CKU_USER, secrets["the new PIN"]))
	sign(t, find(t, token, "ec"))
	require.NotEmpty(t, spy.Seen(tpm.Secret(token)))
	require.Empty(t, spy.Seen(secrets["the new PIN"]))
}

// secretTemplate is complete, for a secret key in the TPM or outside.
func secretTemplate(exportable bool, n int) pkcs11.Template {
	t := pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_SECRET_KEY)), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_GENERIC_SECRET)),
		pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_PRIVATE, true), pkcs11.Attr(pkcs11.CKA_SIGN, true),
		pkcs11.Attr(pkcs11.CKA_SENSITIVE, !exportable), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, exportable),
	}
	if n > 0 {
		t = t.Set(pkcs11.Attr(pkcs11.CKA_VALUE_LEN, uint64(n)))
	}
	return t
}

// A bit that is flipped on the way from the TPM is an error, or is put right, and
// never a wrong signature, a wrong login, or a try.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	sim := patient(t)
	way := tpmtest.NewFaults(sim)
	token := initialized(t, way, new(pal.Mem), tpm.Options{})
	key := newEC(t, token, "key")
	ctx := t.Context()
	step := 29
	if testing.Short() || raceEnabled {
		step = 97
	}
	before := tries(t, sim)
	for name, op := range map[string]func() error{
		"sign":   func() error { return trySign(ctx, key) },
		"log in": func() error { return token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, userPIN) },
	} {
		require.NoError(t, op())
		way.Reset()
		require.NoError(t, op())
		commands := way.Count()
		for i := range commands {
			for bit := 0; bit < 8*200; bit += step {
				way.Reset()
				way.At(i, tpmtest.Flip(bit))
				if err := op(); err != nil {
					checkError(t, name, err)
					// A wrong PIN is said of one only by the TPM.
					require.NotErrorIs(t, err, pkcs11.CKR_PIN_INCORRECT, "%s: bit %d of response %d", name, bit, i)
				}
				way.Reset()
				require.NoError(t, trySign(ctx, key))
			}
		}
	}
	require.Equal(t, before, tries(t, sim), "wrong authorizations that the TPM has counted")
}

// Somebody changes the digest on its way to the TPM.
func TestChangedCommands(t *testing.T) {
	sim := patient(t)
	way := tpmtest.NewFaults(sim)
	token := initialized(t, way, new(pal.Mem), tpm.Options{})
	key := newEC(t, token, "key")
	sign(t, key)
	for bit := 80; bit < 8*137; bit += 31 {
		way.Reset()
		way.On(tpm2.TPMCCSign, 3, tpmtest.FlipCommand(bit))
		if err := trySign(t.Context(), key); err != nil {
			checkError(t, "a command that was changed", err)
		}
		way.Reset()
		sign(t, key)
	}
}
