package atecc608

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"fmt"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Lengths of a PIN in bytes.
const (
	minPIN = 4
	maxPIN = 64
)

var (
	_ driver.Authenticator = (*Token)(nil)
	_ driver.PINSetter     = (*Token)(nil)
)

// pinSlot is the slot of the key that is made of the user's PIN: the one that
// private keys have to be authorized by. Without any the token has no PIN.
func (t *Token) pinSlot() (slot int, on bool) {
	for n := range config.Slots {
		s := t.zone.Slot(n)
		if auth, on := s.Authorized(); on && s.PrivateKey() {
			return auth, true
		}
	}
	return 0, false
}

// authorizes reports whether a key is used after a check of the slot.
func (t *Token) authorizes(slot int) bool {
	for n := range config.Slots {
		if auth, on := t.zone.Slot(n).Authorized(); on && auth == slot {
			return true
		}
	}
	return false
}

// use runs a sequence with the key in a slot, after the check of the PIN if the
// slot asks for one. The gate is held.
func (t *Token) use(ctx context.Context, slot int, f func(*atecc.Sequence) error) error {
	auth, on := t.zone.Slot(slot).Authorized()
	if !on {
		return t.dev.Do(ctx, f)
	}
	if t.login == nil {
		return fmt.Errorf("%w: the key is used after a login alone (KeyConfig bit 7)", pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	return t.dev.Do(ctx, func(s *atecc.Sequence) error {
		ok, err := s.Authorize(auth, t.login)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: the PIN in slot %d has been changed; log in again", pkcs11.CKR_USER_NOT_LOGGED_IN, auth)
		}
		return f(s)
	})
}

// sign has the chip sign a digest of 32 bytes.
func (t *Token) sign(ctx context.Context, s config.Slot, digest []byte) (sig []byte, err error) {
	if _, on := s.Authorized(); !on {
		return t.dev.Sign(ctx, s.Number, digest)
	}
	err = t.use(ctx, s.Number, func(seq *atecc.Sequence) (err error) {
		sig, err = seq.Sign(s.Number, digest)
		return err
	})
	return sig, err
}

// publicKey has the chip compute the public key of a slot.
func (t *Token) publicKey(ctx context.Context, slot int) (pub *ecdsa.PublicKey, err error) {
	if _, on := t.zone.Slot(slot).Authorized(); !on {
		return t.dev.PublicKey(ctx, slot)
	}
	err = t.use(ctx, slot, func(s *atecc.Sequence) (err error) {
		pub, err = s.PublicKey(slot)
		return err
	})
	return pub, err
}

// generate has the chip make a key in a slot.
func (t *Token) generate(ctx context.Context, slot int) (pub *ecdsa.PublicKey, err error) {
	if _, on := t.zone.Slot(slot).Authorized(); !on {
		return t.dev.GenerateKey(ctx, slot)
	}
	err = t.use(ctx, slot, func(s *atecc.Sequence) (err error) {
		pub, err = s.GenerateKey(slot)
		return err
	})
	return pub, err
}

// pinKey is the key that a PIN makes: SHA-256 of it and the chip's serial number,
// as Microchip's library has it.
func (t *Token) pinKey(pin []byte) []byte {
	serial := t.zone.Serial()
	h := sha256.New()
	h.Write(pin)
	h.Write(serial[:])
	return h.Sum(nil)
}

// Login has the chip check the user's PIN. The chip counts no wrong PINs; each
// check takes it about 60 ms.
func (t *Token) Login(ctx context.Context, user pkcs11.UserType, pin []byte) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer t.leave()
	slot, on := t.pinSlot()
	switch {
	case !on:
		return nil // there is no PIN to be wrong
	case user == pkcs11.CKU_SO:
		return fmt.Errorf("atecc608: %w: the chip has no PIN of an SO; who knows the I/O protection key sets the user's", pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	}
	key := t.pinKey(pin)
	if err := t.checkPIN(ctx, slot, key); err != nil {
		clear(key)
		return err
	}
	clear(t.login)
	t.login = key
	return nil
}

func (t *Token) checkPIN(ctx context.Context, slot int, key []byte) error {
	var ok bool
	err := t.dev.Do(ctx, func(s *atecc.Sequence) (err error) {
		ok, err = s.Authorize(slot, key)
		return err
	})
	if err != nil {
		return fmt.Errorf("atecc608: slot %d: %w", slot, err)
	}
	if !ok {
		return fmt.Errorf("atecc608: %w", pkcs11.CKR_PIN_INCORRECT)
	}
	return nil
}

// Logout forgets the PIN.
func (t *Token) Logout(ctx context.Context) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer t.leave()
	clear(t.login)
	t.login = nil
	return nil
}

// InitPIN sets the user's PIN, for who knows the I/O protection key.
func (t *Token) InitPIN(ctx context.Context, pin []byte) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer t.leave()
	return t.setPIN(ctx, pin)
}

// SetPIN changes the user's PIN. The I/O protection key must be known.
func (t *Token) SetPIN(ctx context.Context, user pkcs11.UserType, oldPIN, newPIN []byte) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer t.leave()
	slot, on := t.pinSlot()
	if !on || user == pkcs11.CKU_SO {
		return fmt.Errorf("atecc608: %w: the chip has no such PIN", pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
	}
	key := t.pinKey(oldPIN)
	defer clear(key)
	if err := t.checkPIN(ctx, slot, key); err != nil {
		return err
	}
	return t.setPIN(ctx, newPIN)
}

func (t *Token) setPIN(ctx context.Context, pin []byte) error {
	slot, on := t.pinSlot()
	if !on {
		return fmt.Errorf("atecc608: %w: the chip's configuration asks for no PIN", pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
	}
	if len(pin) < minPIN || len(pin) > maxPIN {
		return fmt.Errorf("atecc608: %w: a PIN has %d to %d bytes", pkcs11.CKR_PIN_LEN_RANGE, minPIN, maxPIN)
	}
	s := t.zone.Slot(slot)
	protects := t.known(s.WriteKey())
	if !s.WritesEncrypted() || protects == nil {
		return fmt.Errorf("atecc608: slot %d: %w: the PIN is written encrypted under slot %d, whose key is not known here; give it (io-key=FILE)", slot, pkcs11.CKR_ACTION_PROHIBITED, s.WriteKey())
	}
	key := t.pinKey(pin)
	if err := t.dev.WriteSlotEncrypted(ctx, slot, 0, key, protects); err != nil {
		clear(key)
		return fmt.Errorf("atecc608: slot %d: %w", slot, err)
	}
	if t.login != nil {
		clear(t.login)
		t.login = key
	}
	return nil
}
