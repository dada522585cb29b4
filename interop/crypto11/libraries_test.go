//go:build cgo && linux

package crypto11

import (
	"crypto"
	"crypto/cipher"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"testing"

	continued "github.com/ThalesGroup/crypto11"
	original "github.com/ThalesIgnite/crypto11"

	"github.com/go-cryptoki/cryptoki/interop/internal/tokens"
)

// A provider is the Context of either version: their methods differ in the names
// of types only.
type provider[S signer, D decrypter, K secret, C any] interface {
	FindKeyPair(id, label []byte) (S, error)
	FindAllKeyPairs() ([]S, error)
	GenerateECDSAKeyPairWithLabel(id, label []byte, curve elliptic.Curve) (S, error)
	GenerateRSAKeyPairWithLabel(id, label []byte, bits int) (D, error)
	GenerateSecretKeyWithLabel(id, label []byte, bits int, c C) (K, error)
	FindKey(id, label []byte) (K, error)
	ImportCertificateWithLabel(id, label []byte, cert *x509.Certificate) error
	FindCertificate(id, label []byte, serial *big.Int) (*x509.Certificate, error)
	FindAllPairedCertificates() ([]tls.Certificate, error)
	DeleteCertificate(id, label []byte, serial *big.Int) error
	NewRandomReader() (io.Reader, error)
	Close() error
}

type signer interface {
	crypto.Signer
	Delete() error
}

type decrypter interface {
	signer
	crypto.Decrypter
}

type secret interface {
	comparable
	NewGCM() (cipher.AEAD, error)
	Delete() error
}

// A library is one version of crypto11.
type library[S signer, D decrypter, K secret, C any] struct {
	configure func(tok *tokens.Token, pin string) (provider[S, D, K, C], error)
	aes       C
}

// maxSessions keeps the pool small: it opens a new session for each operation
// until it is full, 1024 by default.
const maxSessions = 20

var v1_2 = library[original.Signer, original.SignerDecrypter, *original.SecretKey, *original.SymmetricCipher]{
	configure: func(tok *tokens.Token, pin string) (provider[original.Signer, original.SignerDecrypter, *original.SecretKey, *original.SymmetricCipher], error) {
		return original.Configure(&original.Config{Path: tok.Module, TokenLabel: tokens.Label, Pin: pin, MaxSessions: maxSessions,
			LoginNotSupported: tok.Lacks["login"] != ""})
	},
	aes: original.CipherAES,
}

var v1_5 = library[continued.Signer, continued.SignerDecrypter, *continued.SecretKey, *continued.SymmetricCipher]{
	configure: func(tok *tokens.Token, pin string) (provider[continued.Signer, continued.SignerDecrypter, *continued.SecretKey, *continued.SymmetricCipher], error) {
		return continued.Configure(&continued.Config{Path: tok.Module, TokenLabel: tokens.Label, Pin: pin, MaxSessions: maxSessions,
			LoginNotSupported: tok.Lacks["login"] != ""})
	},
	aes: continued.CipherAES,
}

// Every version with every token.
func TestCrypto11(t *testing.T) {
	bin := tokens.Build(t)
	for _, start := range []struct {
		name string
		make func(testing.TB) *tokens.Token
	}{
		{"SoftHSM2", tokens.SoftHSM2},
		{"soft", func(tb testing.TB) *tokens.Token { return tokens.Soft(tb, bin) }},
		{"TPM", func(tb testing.TB) *tokens.Token { return tokens.TPM(tb, bin) }},
		{"ATECC608", func(tb testing.TB) *tokens.Token { return tokens.ATECC608(tb, bin) }},
	} {
		t.Run(start.name, func(t *testing.T) {
			t.Run("v1.2.5", func(t *testing.T) { run(t, start.make(t), v1_2) })
			t.Run("v1.5.0", func(t *testing.T) { run(t, start.make(t), v1_5) })
		})
	}
}
