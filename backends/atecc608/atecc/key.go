package atecc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
	"math/big"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

type pubKey = ecdsa.PublicKey

// The bits of Param1 of GenKey.
const (
	genKeyCreate = 0x04
	genKeyDigest = 0x08
	genKeyStored = 0x10
)

// GenerateKey makes a new private key in the slot, in place of any that is there,
// and returns its public key. It takes about 0.1 s.
//
// If the answer is lost and the chip has slept meanwhile, another key is made: the
// one in the slot may be half written, and so weak, if it was the power that
// failed.
func (d *Device) GenerateKey(ctx context.Context, slot int) (*ecdsa.PublicKey, error) {
	var pub *ecdsa.PublicKey
	err := d.Do(ctx, func(s *Sequence) (err error) {
		d.setKey(slot, nil)
		pub, err = s.GenerateKey(slot)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.setKey(slot, pub)
	return pub, nil
}

// PublicKey computes the public key of the private key in the slot. A slot without
// a key fails with StatusECC.
func (d *Device) PublicKey(ctx context.Context, slot int) (*ecdsa.PublicKey, error) {
	var pub *ecdsa.PublicKey
	err := d.Do(ctx, func(s *Sequence) (err error) {
		pub, err = s.PublicKey(slot)
		return err
	})
	if err != nil {
		return nil, err
	}
	d.setKey(slot, pub)
	return pub, nil
}

func (d *Device) key(slot int) *ecdsa.PublicKey {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keys[slot&15]
}

func (d *Device) setKey(slot int, pub *ecdsa.PublicKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys[slot&15] = pub
}

// GenerateKey makes a new private key in the slot.
func (s *Sequence) GenerateKey(slot int) (*ecdsa.PublicKey, error) {
	return s.genKey("generate key", genKeyCreate, slot)
}

// GenerateTempKey makes a private key in TempKey, for one ECDH.
func (s *Sequence) GenerateTempKey() (*ecdsa.PublicKey, error) {
	p, err := s.exec(command{name: "generate key in TempKey", op: opGenKey, p1: genKeyCreate, p2: tempKeySlot, slot: noSlot, size: 64})
	if err != nil {
		return nil, err
	}
	return parsePoint(p)
}

// PublicKey computes the public key of the private key in the slot.
func (s *Sequence) PublicKey(slot int) (*ecdsa.PublicKey, error) {
	return s.genKey("public key", 0, slot)
}

// DigestKey computes the public key of the private key in the slot and mixes it
// into TempKey, for SignInternal.
func (s *Sequence) DigestKey(slot int) (*ecdsa.PublicKey, error) {
	return s.genKey("public key", genKeyDigest, slot)
}

func (s *Sequence) genKey(name string, p1 byte, slot int) (*ecdsa.PublicKey, error) {
	if err := checkSlot(name, slot); err != nil {
		return nil, err
	}
	p, err := s.exec(command{name: name, op: opGenKey, p1: p1, p2: uint16(slot), slot: slot, size: 64, ram: p1&genKeyDigest != 0})
	if err != nil {
		return nil, err
	}
	return parsePoint(p)
}

// Sign signs a SHA-256 digest, or any 32 bytes, with the private key in the slot
// and returns r‖s, 64 bytes. The signature is verified before it is returned if
// the chip gives away the slot's public key (KeyConfig.PubInfo); what does not
// verify is ErrSignature.
func (d *Device) Sign(ctx context.Context, slot int, digest []byte) ([]byte, error) {
	var sig []byte
	err := d.Do(ctx, func(s *Sequence) (err error) {
		sig, err = s.Sign(slot, digest)
		return err
	})
	if err != nil {
		return nil, err
	}
	return sig, nil
}

// Sign is Device.Sign.
func (s *Sequence) Sign(slot int, digest []byte) ([]byte, error) {
	if err := checkSlot("sign", slot); err != nil {
		return nil, err
	}
	if len(digest) != 32 {
		return nil, fmt.Errorf("atecc: sign: slot %d: %w: the chip signs 32 bytes, a SHA-256 digest, not %d", slot, pkcs11.CKR_DATA_LEN_RANGE, len(digest))
	}
	// Some keys want a random number that is younger than the last sleep, so it
	// seems. It is made only when a first attempt was refused, since chips of this
	// kind are known to sign without.
	cfg := s.d.Config()
	if s.run > 1 && cfg.Key(slot).ReqRandom() {
		if err := s.Random(make([]byte, 32)); err != nil {
			return nil, err
		}
	}
	pub, err := s.signingKey(slot)
	if err != nil {
		return nil, err
	}
	if err := s.Nonce(MessageBuffer, digest); err != nil {
		return nil, err
	}
	p, err := s.exec(command{name: "sign", op: opSign, p1: signExternal | fromMessage, p2: uint16(slot), slot: slot, size: 64, ram: true, once: s.limited(slot)})
	if err != nil {
		return nil, err
	}
	sig := append([]byte(nil), p...)
	if pub == nil || verifies(pub, digest, sig) {
		return sig, nil
	}
	return sig, s.checkAgain(slot, digest, sig)
}

// signingKey is the public key that signatures of the slot are verified with, as
// it was last seen; nil if the chip does not give it away.
func (s *Sequence) signingKey(slot int) (*ecdsa.PublicKey, error) {
	if pub := s.d.key(slot); pub != nil {
		return pub, nil
	}
	cfg := s.d.Config()
	if !cfg.Key(slot).PubInfo() || !cfg.Slot(slot).SignExternal() || !cfg.DataLocked() {
		return nil, nil // no public key, or no signature
	}
	pub, err := s.PublicKey(slot)
	if err == nil {
		s.d.setKey(slot, pub)
	}
	return pub, err
}

// checkAgain verifies with the public key that is in the slot now: another process
// may have made a new one.
func (s *Sequence) checkAgain(slot int, digest, sig []byte) error {
	s.d.setKey(slot, nil)
	pub, err := s.signingKey(slot)
	if err != nil {
		return err
	}
	if pub == nil || !verifies(pub, digest, sig) {
		return fmt.Errorf("atecc: sign: slot %d: %w: %w", slot, ErrSignature, pkcs11.CKR_DEVICE_ERROR)
	}
	return nil
}

// SignInternal signs what the chip says about TempKey, in which GenDig or GenKey
// must have left a digest. With serial the message names the chip; with invalidate
// it is one for Validate(false). The result is r‖s.
func (s *Sequence) SignInternal(slot int, serial, invalidate bool) ([]byte, error) {
	if err := checkSlot("sign", slot); err != nil {
		return nil, err
	}
	c := command{name: "sign internal", op: opSign, p2: uint16(slot), slot: slot, size: 64, ram: true, once: s.limited(slot)}
	if serial {
		c.p1 |= signWithSerial
	}
	if invalidate {
		c.p1 |= signInvalidate
	}
	p, err := s.exec(c)
	return append([]byte(nil), p...), err
}

// The bits of Param1 of Sign, and the message source of Verify.
const (
	signExternal   = 0x80
	signWithSerial = 0x40
	fromMessage    = 0x20
	signInvalidate = 0x01
)

func verifies(pub *ecdsa.PublicKey, digest, sig []byte) bool {
	r, t := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	return ecdsa.Verify(pub, digest, r, t)
}

// parsePoint takes X‖Y of the chip.
func parsePoint(xy []byte) (*ecdsa.PublicKey, error) {
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, xy...))
	if err != nil {
		return nil, fmt.Errorf("atecc: the chip gave a public key that is none: %w", pkcs11.CKR_DEVICE_ERROR)
	}
	return pub, nil
}

func checkSlot(name string, slot int) error {
	if slot < 0 || slot > 15 {
		return fmt.Errorf("atecc: %s: slot %d: %w: there are 0 to 15", name, slot, pkcs11.CKR_ARGUMENTS_BAD)
	}
	return nil
}
