package atecc608

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"fmt"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var _ driver.Deriver = (*private)(nil)

// maxDerived is how many bytes CKD_SHA256_KDF makes at most.
const maxDerived = 4096

// Derive agrees on a secret with CKM_ECDH1_DERIVE. It leaves the chip encrypted if
// the host knows the I/O protection key, else in the clear where the chip's
// configuration lets it.
func (k *private) Derive(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	p, ok := m.Params.(*pkcs11.ECDH1DeriveParams)
	if m.Type != pkcs11.CKM_ECDH1_DERIVE || !ok || p == nil {
		return nil, fmt.Errorf("atecc608: slot %d: %v: %w: the key derives with CKM_ECDH1_DERIVE", k.slot, m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	if p.KDF != pkcs11.CKD_NULL && p.KDF != pkcs11.CKD_SHA256_KDF {
		return nil, fmt.Errorf("atecc608: slot %d: KDF %v: %w: there are CKD_NULL and CKD_SHA256_KDF", k.slot, p.KDF, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	peer, err := ecdh.P256().NewPublicKey(p.PublicData)
	if err != nil {
		return nil, fmt.Errorf("atecc608: slot %d: the other's public key: %w: %w", k.slot, pkcs11.CKR_MECHANISM_PARAM_INVALID, err)
	}
	n, err := derivedSize(template, p.KDF)
	if err != nil {
		return nil, fmt.Errorf("atecc608: slot %d: %w", k.slot, err)
	}
	if err := k.t.enter(ctx); err != nil {
		return nil, err
	}
	defer k.t.leave()
	z, err := k.t.agree(ctx, k.t.zone.Slot(k.slot), peer)
	if err != nil {
		return nil, fmt.Errorf("atecc608: slot %d: %w", k.slot, err)
	}
	defer clear(z)
	value := z[max(len(z)-n, 0):] // truncation takes bytes off the front
	if p.KDF != pkcs11.CKD_NULL {
		value = keys.X963(crypto.SHA256, z, p.SharedData, n)
		defer clear(value)
	}
	return k.t.importSecret(ctx, template.Set(pkcs11.Attr(pkcs11.CKA_VALUE, value)), replaces)
}

// derivedSize is the length of the key that a template describes.
func derivedSize(t pkcs11.Template, kdf pkcs11.KDFType) (int, error) {
	most := maxDerived
	if kdf == pkcs11.CKD_NULL {
		most = 32
	}
	a, given := t.Get(pkcs11.CKA_VALUE_LEN)
	isAES := pkcs11.KeyType(t.Uint(pkcs11.CKA_KEY_TYPE)) == pkcs11.CKK_AES
	switch n := a.Uint(); {
	case !given && isAES:
		return 0, fmt.Errorf("%w: an AES key has no length of its own; give CKA_VALUE_LEN", pkcs11.CKR_TEMPLATE_INCOMPLETE)
	case !given:
		return 32, nil
	case n == 0 || n > uint64(most):
		return 0, fmt.Errorf("%w: %d bytes of a secret of %d", pkcs11.CKR_KEY_SIZE_RANGE, n, most)
	case isAES && n != 16 && n != 24 && n != 32:
		return 0, fmt.Errorf("%w: AES keys have 16, 24 or 32 bytes, not %d", pkcs11.CKR_KEY_SIZE_RANGE, n)
	default:
		return int(n), nil
	}
}

// agree is ECDH. The gate is held.
func (t *Token) agree(ctx context.Context, s config.Slot, peer *ecdh.PublicKey) (z []byte, err error) {
	if !s.ECDH() {
		return nil, fmt.Errorf("%w: its key does not agree on secrets (SlotConfig bit 2); use another key", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}
	if s.ECDHToNext() {
		return t.agreeInSlot(ctx, s, peer)
	}
	io, on := t.zone.IOProtection()
	key := t.known(io)
	how := atecc.ECDHClear
	switch protection := t.zone.ECDH(); {
	case protection == config.StoreOnly || protection == config.Forbidden:
		return nil, fmt.Errorf("%w: the chip's configuration keeps agreed secrets in the chip (ChipOptions bits 9 and 8)", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	case on && key != nil:
		how = atecc.ECDHEncrypted
	case protection == config.Encrypted:
		return nil, fmt.Errorf("%w: the chip gives agreed secrets out encrypted alone (ChipOptions bits 9 and 8), and the I/O protection key in slot %d is not known here; give it (io-key=FILE)", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, io)
	}
	err = t.use(ctx, s.Number, func(seq *atecc.Sequence) (err error) {
		z, err = seq.ECDH(s.Number, peer, how, key)
		return err
	})
	return z, err
}

// agreeInSlot has the secret go into the next slot, and reads it there, encrypted.
func (t *Token) agreeInSlot(ctx context.Context, s config.Slot, peer *ecdh.PublicKey) ([]byte, error) {
	next := t.zone.Slot(s.Number | 1)
	key := t.known(next.ReadKey())
	if !next.ReadsEncrypted() || key == nil {
		return nil, fmt.Errorf("%w: what its key agrees on goes into slot %d (SlotConfig bit 3), which is read only under the key of slot %d, and that is not known here", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, next.Number, next.ReadKey())
	}
	z := make([]byte, 32)
	err := t.use(ctx, s.Number, func(seq *atecc.Sequence) error {
		if _, err := seq.ECDH(s.Number, peer, atecc.ECDHDefault, nil); err != nil {
			return err
		}
		return seq.ReadSlotEncrypted(next.Number, 0, z, key)
	})
	if err != nil {
		clear(z)
		return nil, err
	}
	return z, nil
}
