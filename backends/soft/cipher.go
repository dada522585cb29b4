package soft

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/aesmode"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An aesKey encrypts, and makes MACs.
type aesKey struct{ secretKey }

var (
	_ driver.Encrypter = aesKey{}
	_ driver.Decrypter = aesKey{}
	_ driver.Signer    = aesKey{}
)

// Encrypt encrypts with one of the AES mechanisms.
func (k aesKey) Encrypt(ctx context.Context, m *pkcs11.Mechanism, plaintext []byte) ([]byte, error) {
	p, err := k.use()
	if err != nil {
		return nil, err
	}
	defer p.release()
	out, err := aesmode.Encrypt(p.block, m, plaintext)
	if err != nil {
		return nil, fmt.Errorf("soft: %w", err)
	}
	return out, nil
}

// Decrypt is the reverse of Encrypt. What is wrong with a ciphertext does not
// show, neither in the error nor in the time.
func (k aesKey) Decrypt(ctx context.Context, m *pkcs11.Mechanism, ciphertext []byte) ([]byte, error) {
	p, err := k.use()
	if err != nil {
		return nil, err
	}
	defer p.release()
	out, err := aesmode.Decrypt(p.block, m, ciphertext)
	if err != nil {
		return nil, fmt.Errorf("soft: %w", err)
	}
	return out, nil
}
