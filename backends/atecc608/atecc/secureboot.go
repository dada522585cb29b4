package atecc

import (
	"context"
	"crypto/subtle"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// BootMode is what SecureBoot checks.
type BootMode byte

// The modes of SecureBoot.
const (
	BootFull      BootMode = 5 // the signature
	BootFullStore BootMode = 6 // against what FullCopy stored; without signature where digests are stored
	BootFullCopy  BootMode = 7 // the signature, and store what the configuration says
)

// SecureBoot has the chip check the digest of an image, and its signature r‖s with
// the public key that the configuration names, and reports whether it is good.
// With the I/O protection key in ioKey the digest is encrypted and the chip proves
// that the answer is its own; stored is the signature that the chip stores, where
// that is what BootFullStore checks, to compute the proof.
func (d *Device) SecureBoot(ctx context.Context, mode BootMode, image, sig, ioKey, stored []byte) (bool, error) {
	if mode < BootFull || mode > BootFullCopy || len(image) != 32 || mode != BootFullStore && len(sig) != 64 || mode == BootFullStore && len(sig) != 0 {
		return false, fmt.Errorf("atecc: secure boot: %w: a digest of 32 bytes, and a signature of 64 unless it is FullStore, not %d and %d", pkcs11.CKR_DATA_LEN_RANGE, len(image), len(sig))
	}
	if ioKey != nil {
		if err := checkKey("secure boot", noSlot, ioKey); err != nil {
			return false, err
		}
	}
	ok := false
	err := d.Do(ctx, func(s *Sequence) error {
		c := command{name: "secure boot", op: opSecureBoot, p1: byte(mode), data: append(append([]byte(nil), image...), sig...), slot: noSlot, ram: true}
		var key [32]byte
		if cfg := d.Config(); ioKey != nil || cfg[70]&0x10 != 0 {
			temp, err := s.RandomNonce()
			if err != nil {
				return err
			}
			key = digest(ioKey, temp[:])
			defer clear(key[:])
		}
		if ioKey != nil {
			c.p1 |= verifyWithMAC
			c.size = 32
			subtle.XORBytes(c.data, c.data[:32], key[:])
		}
		p, err := s.exec(c)
		if isStatus(err, StatusMiscompare) {
			ok = false
			return nil
		}
		if err != nil {
			return err
		}
		if ioKey != nil {
			mac := digest(key[:], image, sig, stored, c.head())
			if subtle.ConstantTimeCompare(mac[:], p) == 0 {
				return fmt.Errorf("atecc: secure boot: %w: the answer is not the chip's, or the I/O protection key is another", pkcs11.CKR_DEVICE_ERROR)
			}
		}
		ok = true
		return nil
	})
	return ok && err == nil, err
}
