//go:build cgo && linux

package examples

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/interop/internal/tokens"
)

// identity is what both programs do.
type identity interface {
	Key(ctx context.Context, label string) (crypto.Signer, error)
	Keep(ctx context.Context, label string, cert *x509.Certificate) error
	Certificate(ctx context.Context, label string) (*x509.Certificate, error)
	Close() error
}

// An application moves from crypto11 to this module and back: each finds the key
// and the certificate that the other has made.
func TestThereAndBack(t *testing.T) {
	tok := tokens.Soft(t, tokens.Build(t))
	tok.Use(t)
	open := map[string]func() (identity, error){
		"crypto11": func() (identity, error) { return OpenCrypto11(tok.Module, tokens.Label, tokens.PIN) },
		"native":   func() (identity, error) { return OpenNative(t.Context(), "unix:path="+tok.Socket, tokens.PIN) },
	}
	for _, way := range [][2]string{{"crypto11", "native"}, {"native", "crypto11"}} {
		t.Run(way[0]+" to "+way[1], func(t *testing.T) {
			ctx, label := t.Context(), "device of "+way[0]
			before, err := open[way[0]]()
			require.NoError(t, err)
			key, err := before.Key(ctx, label)
			require.NoError(t, err)
			tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: label}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
			der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
			require.NoError(t, err)
			cert, err := x509.ParseCertificate(der)
			require.NoError(t, err)
			require.NoError(t, before.Keep(ctx, label, cert))
			require.NoError(t, before.Close())

			after, err := open[way[1]]()
			require.NoError(t, err)
			same, err := after.Key(ctx, label)
			require.NoError(t, err)
			require.Equal(t, key.Public(), same.Public(), "it found the key, and made no other")
			digest := sha256.Sum256([]byte("moved"))
			sig, err := same.Sign(rand.Reader, digest[:], crypto.SHA256)
			require.NoError(t, err)
			require.True(t, ecdsa.VerifyASN1(cert.PublicKey.(*ecdsa.PublicKey), digest[:], sig))
			kept, err := after.Certificate(ctx, label)
			require.NoError(t, err)
			require.True(t, cert.Equal(kept))
			require.NoError(t, after.Close())
		})
	}
}
