package atecc608

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func (t *Token) importPrivate(ctx context.Context, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	return nil, fmt.Errorf("atecc608: %w: the chip makes its own private keys and takes none", pkcs11.CKR_TEMPLATE_INCONSISTENT)
}

func (t *Token) importSecret(ctx context.Context, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	return nil, fmt.Errorf("atecc608: %w: the token keeps no secret keys", pkcs11.CKR_TEMPLATE_INCONSISTENT)
}

func (t *Token) overwriteSecret(ctx context.Context, slot int) error { return nil }
func (t *Token) readSlots(ctx context.Context) error                 { return nil }
func (t *Token) preprovisioned() bool                                { return false }
func newSecret(o object) driver.Object                               { return newPlain(o) }
func (t *Token) sign(ctx context.Context, s config.Slot, digest []byte) ([]byte, error) {
	return t.dev.Sign(ctx, s.Number, digest)
}
