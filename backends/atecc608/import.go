package atecc608

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// importPrivate writes a private key, encrypted, into a slot that takes it. The
// gate is held.
func (t *Token) importPrivate(ctx context.Context, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	if typ := pkcs11.KeyType(template.Uint(pkcs11.CKA_KEY_TYPE)); typ != pkcs11.CKK_EC {
		return nil, fmt.Errorf("atecc608: %w: the chip has keys on P-256 alone, not of type %v", pkcs11.CKR_TEMPLATE_INCONSISTENT, typ)
	}
	if err := checkCurve(template); err != nil {
		return nil, err
	}
	if err := checkPrivate(template); err != nil {
		return nil, err
	}
	parsed, err := driver.PrivateKey(template)
	if err != nil {
		return nil, fmt.Errorf("atecc608: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("atecc608: %w: the chip has keys on P-256 alone", pkcs11.CKR_CURVE_NOT_SUPPORTED)
	}
	r := &record{name: newName(), main: without(template, pkcs11.CKA_VALUE).Clone()}
	err = t.change(ctx, func() error {
		gone, err := t.replacing(replaces)
		if err != nil {
			return err
		}
		slot, over, err := t.pick(ctx, r.main, gone, config.Slot.Imports, "takes keys")
		if err != nil {
			return err
		}
		s := t.zone.Slot(slot)
		protects := t.known(s.WriteKey())
		if protects == nil {
			return fmt.Errorf("atecc608: slot %d: %w: it takes keys encrypted under slot %d, whose key is not known here; give it (io-key=FILE)", slot, pkcs11.CKR_TEMPLATE_INCONSISTENT, s.WriteKey())
		}
		r.slot = slot
		return t.place(ctx, r, gone, over, func() (*ecdsa.PublicKey, error) {
			err := t.use(ctx, slot, func(seq *atecc.Sequence) error { return seq.ImportKey(slot, key, protects) })
			if err != nil {
				return nil, err
			}
			return t.publicKey(ctx, slot)
		})
	})
	if err != nil {
		return nil, err
	}
	return t.objects[r.name], nil
}
