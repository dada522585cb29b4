package tpm_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// generate makes a key pair on P-256 that the token keeps.
func generate(t testing.TB, token *tpm.Token) (public, private driver.Object) {
	t.Helper()
	flag := func(typ pkcs11.AttributeType) pkcs11.Attribute { return pkcs11.Attr(typ, true) }
	p256 := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	pub := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PUBLIC_KEY)), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_EC)),
		flag(pkcs11.CKA_TOKEN), flag(pkcs11.CKA_VERIFY), pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)}
	priv := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_EC)),
		flag(pkcs11.CKA_TOKEN), flag(pkcs11.CKA_PRIVATE), flag(pkcs11.CKA_SENSITIVE), flag(pkcs11.CKA_SIGN)}
	public, private, err := token.GenerateKeyPair(context.Background(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, pub, priv, nil)
	require.NoError(t, err)
	return public, private
}

func verifyASN1(public crypto.PublicKey, digest, signature []byte) bool {
	key, ok := public.(*ecdsa.PublicKey)
	return ok && ecdsa.VerifyASN1(key, digest, signature)
}

// softwareKey is a key that was not made in a TPM.
func softwareKey(t testing.TB) (*ecdsa.PrivateKey, *tpm2.TPMTPublic, *tpm2.TPMTSensitive) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	point, err := key.PublicKey.Bytes()
	require.NoError(t, err)
	secret, err := key.Bytes()
	require.NoError(t, err)
	public := &tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{UserWithAuth: true, NoDA: true, SignEncrypt: true},
		Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}}),
	}
	sensitive := &tpm2.TPMTSensitive{
		SensitiveType: tpm2.TPMAlgECC,
		Sensitive:     tpm2.NewTPMUSensitiveComposite(tpm2.TPMAlgECC, &tpm2.TPM2BECCParameter{Buffer: secret}),
	}
	return key, public, sensitive
}

// held is a Dialer of a connection that the token keeps until it is closed. One of
// Swtpm it gives to others as soon as it has rested for a moment.
func held(dial tpm.Dialer) tpm.Dialer {
	return func(ctx context.Context) (transport.TPMCloser, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return struct{ transport.TPMCloser }{conn}, nil
	}
}

// joined returns the labels of objects, sorted.
func joined(objects []driver.Object) string {
	var labels []string
	for _, o := range objects {
		labels = append(labels, o.Attributes().Text(pkcs11.CKA_LABEL))
	}
	slices.Sort(labels)
	return strings.Join(labels, " ")
}
