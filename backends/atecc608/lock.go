package atecc608

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// LockSlot locks what is in a slot, for ever: a key in it can be used and never
// be replaced, a certificate be read and never be written. The slot must hold
// something, and its policy must let it be locked (KeyConfig bit 5).
func (t *Token) LockSlot(ctx context.Context, slot int) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer t.leave()
	if slot < 0 || slot >= config.Slots {
		return fmt.Errorf("atecc608: slot %d: %w: there are 0 to 15", slot, pkcs11.CKR_ARGUMENTS_BAD)
	}
	s := t.zone.Slot(slot)
	switch {
	case s.Locked:
		return nil
	case !s.Lockable():
		return fmt.Errorf("atecc608: slot %d: %w: its configuration does not let it be locked (KeyConfig bit 5)", slot, pkcs11.CKR_ACTION_PROHIBITED)
	}
	if s.PrivateKey() && t.recordOf(slot) == nil {
		if err := t.findKey(ctx, slot); err != nil {
			return err
		}
		if t.chipKeys[slot] == nil || t.isFree(slot) {
			return fmt.Errorf("atecc608: slot %d: %w: it holds no key, and locked it never would; generate one first", slot, pkcs11.CKR_ACTION_PROHIBITED)
		}
	}
	if err := t.dev.LockSlot(ctx, slot); err != nil {
		return fmt.Errorf("atecc608: slot %d: %w", slot, err)
	}
	t.zone = config.Zone(t.dev.Config())
	return nil
}

// CounterMax is the highest value of a counter.
const CounterMax = atecc.CounterMax

// Counter returns the value of monotonic counter 0 or 1.
func (t *Token) Counter(ctx context.Context, n int) (uint32, error) {
	if n < 0 || n > 1 {
		return 0, fmt.Errorf("atecc608: counter %d: %w: there are 0 and 1", n, pkcs11.CKR_ARGUMENTS_BAD)
	}
	v, err := t.dev.Counter(ctx, n)
	if err != nil {
		return 0, fmt.Errorf("atecc608: counter %d: %w", n, err)
	}
	return v, nil
}

// Increment counts one up and returns the new value. At CounterMax it fails, for
// ever. Keys with limited use count on counter 0.
func (t *Token) Increment(ctx context.Context, n int) (uint32, error) {
	if n < 0 || n > 1 {
		return 0, fmt.Errorf("atecc608: counter %d: %w: there are 0 and 1", n, pkcs11.CKR_ARGUMENTS_BAD)
	}
	v, err := t.dev.Increment(ctx, n)
	if err != nil {
		return 0, fmt.Errorf("atecc608: counter %d: %w", n, err)
	}
	return v, nil
}

// ReadData reads len(p) bytes at an offset of a slot that everybody may read.
func (t *Token) ReadData(ctx context.Context, slot, off int, p []byte) error {
	if err := t.dataSlot(slot); err != nil {
		return err
	}
	if err := t.dev.ReadSlot(ctx, slot, off, p); err != nil {
		return fmt.Errorf("atecc608: slot %d: %w", slot, err)
	}
	return nil
}

// WriteData writes data, a multiple of 4 bytes, at an offset of a slot that
// everybody may write. A loss of power leaves a part of it.
func (t *Token) WriteData(ctx context.Context, slot, off int, data []byte) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer t.leave()
	if err := t.dataSlot(slot); err != nil {
		return err
	}
	if s := t.zone.Slot(slot); !s.WritesClear() && !s.WritesInvalid() {
		return fmt.Errorf("atecc608: slot %d: %w: %s", slot, pkcs11.CKR_ACTION_PROHIBITED, stays(s.Locked))
	}
	if t.inSlots.keeps(slot) {
		return fmt.Errorf("atecc608: slot %d: %w: the token keeps its records there", slot, pkcs11.CKR_ACTION_PROHIBITED)
	}
	if r := t.recordOf(slot); r != nil {
		return fmt.Errorf("atecc608: slot %d: %w: it holds the object %q; destroy that first", slot, pkcs11.CKR_ACTION_PROHIBITED, r.main.Text(pkcs11.CKA_LABEL))
	}
	if size := t.zone.Slot(slot).Size(); off < 0 || off+len(data) > size {
		return fmt.Errorf("atecc608: slot %d: %w: %d bytes at %d, of %d", slot, pkcs11.CKR_DATA_LEN_RANGE, len(data), off, size)
	}
	err := t.dev.WriteSlot(ctx, slot, off, data)
	t.chipObjs = nil // they are read again
	t.bump()
	if err != nil {
		return fmt.Errorf("atecc608: slot %d: %w", slot, err)
	}
	return nil
}

func (t *Token) dataSlot(slot int) error {
	if slot < 0 || slot >= config.Slots {
		return fmt.Errorf("atecc608: slot %d: %w: there are 0 to 15", slot, pkcs11.CKR_ARGUMENTS_BAD)
	}
	if s := t.zone.Slot(slot); !s.ReadsClear() {
		return fmt.Errorf("atecc608: slot %d: %w: it is a secret (%s)", slot, pkcs11.CKR_ACTION_PROHIBITED, s.Describe())
	}
	return nil
}

// bump tells the core that the objects have changed other than by it.
func (t *Token) bump() { t.others.Add(1) }
