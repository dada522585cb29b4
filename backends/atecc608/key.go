package atecc608

import (
	"context"
	"crypto/ecdsa"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A private is a private key in a slot.
type private struct {
	object
	pub *ecdsa.PublicKey
}

var _ driver.Signer = (*private)(nil)

func newPrivate(o object) driver.Object {
	k := &private{object: o}
	if pub, err := driver.PublicKey(o.attrs); err == nil {
		k.pub, _ = pub.(*ecdsa.PublicKey)
	}
	return k
}

// Sign signs a digest. The chip signs 32 bytes: a shorter digest is the same
// number with zeros in front, and of a longer one the leftmost 256 bits count, as
// the standard says (PKCS #11 v2.40 mechanisms, §2.3.6). The signature is verified
// before it is returned.
func (k *private) Sign(ctx context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	if m.Type != pkcs11.CKM_ECDSA {
		return nil, fmt.Errorf("atecc608: slot %d: %v: %w: the key signs with CKM_ECDSA", k.slot, m.Type, pkcs11.CKR_MECHANISM_INVALID)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("atecc608: slot %d: %w: there is no digest; the chip signs 32 bytes, a SHA-256 digest", k.slot, pkcs11.CKR_DATA_LEN_RANGE)
	}
	s := k.t.zone.Slot(k.slot)
	if !s.SignsDigests() {
		return nil, fmt.Errorf("atecc608: slot %d: %w: its key does not sign digests (SlotConfig bit 0); use another key", k.slot, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}
	if k.pub == nil {
		return nil, fmt.Errorf("atecc608: slot %d: %w: the record of %q has no public key; restore the directory", k.slot, pkcs11.CKR_DEVICE_ERROR, k.attrs.Text(pkcs11.CKA_LABEL))
	}
	var digest [32]byte
	if len(data) >= 32 {
		copy(digest[:], data)
	} else {
		copy(digest[32-len(data):], data)
	}
	if err := k.t.enter(ctx); err != nil {
		return nil, err
	}
	defer k.t.leave()
	sig, err := k.t.sign(ctx, s, digest[:])
	if err != nil {
		return nil, fmt.Errorf("atecc608: slot %d: %w", k.slot, err)
	}
	if err := driver.Verify(k.pub, m, digest[:], sig); err != nil {
		return nil, fmt.Errorf("atecc608: slot %d: %w: the signature is not that of the key %q: another key has been put into the slot, or the chip is faulty", k.slot, pkcs11.CKR_DEVICE_ERROR, k.attrs.Text(pkcs11.CKA_LABEL))
	}
	return sig, nil
}
