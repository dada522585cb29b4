//go:build cgo

package examples

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/ThalesGroup/crypto11"
)

// Crypto11 is the identity with crypto11 and a module's library: SoftHSM2, a
// vendor's, or p11-kit-client.so for the tokens of cryptoki serve.
type Crypto11 struct{ ctx *crypto11.Context }

// OpenCrypto11 loads the library and opens the token of that label.
func OpenCrypto11(library, token, pin string) (*Crypto11, error) {
	// MaxSessions is 1024 by default, and all of them are opened in the end.
	ctx, err := crypto11.Configure(&crypto11.Config{Path: library, TokenLabel: token, Pin: pin, MaxSessions: 8})
	if err != nil {
		return nil, fmt.Errorf("opening the token: %w", err)
	}
	return &Crypto11{ctx}, nil
}

// Key returns the key of that label, a new one if there is none. That there is
// none is an error of v1.5.0 without a type, so that all keys are asked for.
func (c *Crypto11) Key(_ context.Context, label string) (crypto.Signer, error) {
	keys, err := c.ctx.FindKeyPairs(nil, []byte(label))
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", label, err)
	}
	if len(keys) > 0 {
		return keys[0], nil
	}
	key, err := c.ctx.GenerateECDSAKeyPairWithLabel([]byte(label), []byte(label), elliptic.P256())
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", label, err)
	}
	return key, nil
}

// Keep stores the certificate of a key under the label, and the id, of it.
func (c *Crypto11) Keep(_ context.Context, label string, cert *x509.Certificate) error {
	return c.ctx.ImportCertificateWithLabel([]byte(label), []byte(label), cert)
}

// Certificate returns it.
func (c *Crypto11) Certificate(_ context.Context, label string) (*x509.Certificate, error) {
	cert, err := c.ctx.FindCertificate(nil, []byte(label), nil)
	if err == nil && cert == nil {
		err = errors.New("there is no such certificate")
	}
	return cert, err
}

// Close ends the use of the token.
func (c *Crypto11) Close() error { return c.ctx.Close() }
