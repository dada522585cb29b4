package atecc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The modes of Verify.
const (
	verifyStored     = 0x00
	verifyExternal   = 0x02
	verifyValidate   = 0x03
	verifyInvalidate = 0x07
	verifyWithMAC    = 0x80

	curveP256 = 4
)

// Verify has the chip verify the signature r‖s of a digest of 32 bytes with a
// P-256 public key. With the I/O protection key in ioKey the chip proves that the
// answer is its own; nil takes it as it comes over the bus.
func (d *Device) Verify(ctx context.Context, pub *ecdsa.PublicKey, digest, sig, ioKey []byte) (bool, error) {
	xy, err := appendPoint(nil, pub)
	if err != nil {
		return false, err
	}
	return d.verify(ctx, command{name: "verify", op: opVerify, p1: fromMessage | verifyExternal, p2: curveP256, slot: noSlot}, digest, sig, xy, ioKey)
}

// VerifyStored is Verify with the public key in the slot.
func (d *Device) VerifyStored(ctx context.Context, slot int, digest, sig, ioKey []byte) (bool, error) {
	if err := checkSlot("verify", slot); err != nil {
		return false, err
	}
	return d.verify(ctx, command{name: "verify", op: opVerify, p1: fromMessage | verifyStored, p2: uint16(slot), slot: slot}, digest, sig, nil, ioKey)
}

func (d *Device) verify(ctx context.Context, c command, msg, sig, more, ioKey []byte) (bool, error) {
	if len(msg) != 32 || len(sig) != 64 {
		return false, fmt.Errorf("atecc: verify: %w: a digest of 32 bytes and a signature of 64, not %d and %d", pkcs11.CKR_DATA_LEN_RANGE, len(msg), len(sig))
	}
	if ioKey != nil {
		if err := checkKey("verify", c.slot, ioKey); err != nil {
			return false, err
		}
		c.p1 |= verifyWithMAC
		c.size = 32
	}
	c.data = append(append([]byte(nil), sig...), more...)
	c.ram = true
	ok := false
	err := d.Do(ctx, func(s *Sequence) error {
		load := append([]byte(nil), msg...)
		if ioKey != nil {
			load = append(load, zeros[:]...)
			if _, err := rand.Read(load[32:]); err != nil {
				return fmt.Errorf("atecc: verify: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
			}
		}
		if err := s.Nonce(MessageBuffer, load); err != nil {
			return err
		}
		c := c
		c.once = c.slot >= 0 && s.limited(c.slot)
		p, err := s.exec(c)
		if isStatus(err, StatusMiscompare) {
			ok = false
			return nil
		}
		if err != nil {
			return err
		}
		if ioKey != nil {
			mac := digest(ioKey, msg, load[32:], sig, c.head())
			if subtle.ConstantTimeCompare(mac[:], p) == 0 {
				return fmt.Errorf("atecc: verify: %w: the answer is not the chip's, or the I/O protection key is another", pkcs11.CKR_DEVICE_ERROR)
			}
		}
		ok = true
		return nil
	})
	return ok && err == nil, err
}

// Validate makes a stored public key valid, or invalid, where the configuration
// has public keys validated: with a signature by the key whose public part is in
// the slot's ReadKey, over the digest that sign is given.
func (d *Device) Validate(ctx context.Context, slot int, valid bool, sign func(digest []byte) (sig []byte, err error)) error {
	pub, _, err := d.ReadPublicKey(ctx, slot)
	if err != nil {
		return err
	}
	xy, err := appendPoint(nil, pub)
	if err != nil {
		return err
	}
	var nonce [32]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return fmt.Errorf("atecc: validate: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
	}
	// The message is that of Sign(internal), whose fields the host may choose.
	c := command{name: "validate", op: opVerify, p1: verifyValidate, p2: uint16(slot), slot: slot, ram: true}
	var other [19]byte
	if !valid {
		c.p1 = verifyInvalidate
		other[17] = 1
	}
	key := command{name: "validate", op: opGenKey, p1: genKeyStored, p2: uint16(slot), data: []byte{0, 0, 0}, slot: slot, ram: true}
	temp := d.mix(nonce[:], []byte{opGenKey, 0, 0, 0}, 25, xy)
	msg := digest(temp[:], []byte{opSign}, other[:10], d.sn8(), other[10:14], d.sn01(), other[14:])
	sig, err := sign(msg[:])
	if err != nil {
		return err
	}
	if len(sig) != 64 {
		return fmt.Errorf("atecc: validate: slot %d: %w: a signature has 64 bytes, not %d", slot, pkcs11.CKR_SIGNATURE_LEN_RANGE, len(sig))
	}
	c.data = append(append([]byte(nil), sig...), other[:]...)
	return d.Do(ctx, func(s *Sequence) error {
		if err := s.Nonce(TempKey, nonce[:]); err != nil {
			return err
		}
		if _, err := s.exec(key); err != nil {
			return err
		}
		_, err := s.exec(c)
		return err
	})
}

// appendPoint appends X‖Y, 64 bytes.
func appendPoint(b []byte, pub *ecdsa.PublicKey) ([]byte, error) {
	if pub == nil || pub.Curve != elliptic.P256() {
		return nil, fmt.Errorf("atecc: %w: the chip has P-256 only", pkcs11.CKR_CURVE_NOT_SUPPORTED)
	}
	p, err := pub.Bytes()
	if err != nil {
		return nil, fmt.Errorf("atecc: %w: %w", pkcs11.CKR_PUBLIC_KEY_INVALID, err)
	}
	return append(b, p[1:]...), nil
}
