package examples

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	_ "github.com/go-cryptoki/cryptoki/rpc" // tokens of cryptoki serve
)

// Native is a device's identity with this module. The token is one of cryptoki
// serve, or any other that a name opens: "soft:dir=…", "tpm:", "atecc608:bus=1".
type Native struct{ token *cryptoki.Token }

// OpenNative opens the token of that name.
func OpenNative(ctx context.Context, name, pin string) (*Native, error) {
	token, err := cryptoki.Open(ctx, name, &cryptoki.Options{
		PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) { return []byte(pin), nil },
	})
	if err != nil {
		return nil, fmt.Errorf("opening the token: %w", err)
	}
	return &Native{token}, nil
}

// Key returns the key of that label, a new one if there is none.
func (n *Native) Key(ctx context.Context, label string) (crypto.Signer, error) {
	key, err := n.token.Signer(ctx, label)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = n.token.GenerateKey(ctx, cryptoki.KeySpec{Label: label, ID: []byte(label), Algorithm: cryptoki.P256})
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", label, err)
	}
	return key, nil
}

// Keep stores the certificate of a key under the label of it.
func (n *Native) Keep(ctx context.Context, label string, cert *x509.Certificate) error {
	return n.token.ImportCertificate(ctx, label, cert)
}

// Certificate returns it.
func (n *Native) Certificate(ctx context.Context, label string) (*x509.Certificate, error) {
	return n.token.Certificate(ctx, label)
}

// Close ends the use of the token.
func (n *Native) Close() error { return n.token.Close() }
