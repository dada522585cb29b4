package atecc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Zone is a part of the EEPROM.
type Zone byte

// The zones.
const (
	ZoneConfig Zone = 0
	ZoneOTP    Zone = 1
	ZoneData   Zone = 2
)

// The sizes of the zones, and of what is read or written at a time.
const (
	ConfigSize = 128
	OTPSize    = 64
	DataSize   = 8*36 + 416 + 7*72

	blockSize = 32
	wordSize  = 4
)

const (
	wide   = 0x80 // of Read and Write: 32 bytes instead of 4
	sealed = 0x40 // of Write and PrivWrite: encrypted, with MAC
)

// SlotSize is the length of slot n in bytes: 36 for 0 to 7, 416 for 8, 72 for 9 to
// 15.
func SlotSize(n int) int {
	switch {
	case n < 8:
		return 36
	case n == 8:
		return 416
	}
	return 72
}

// address is Param2 of Read and Write: the word at an offset of a slot, or of
// another zone.
func address(zone Zone, slot, off int) uint16 {
	block, word := off/blockSize, off%blockSize/wordSize
	if zone == ZoneData {
		return uint16(block<<8 | slot<<3 | word)
	}
	return uint16(block<<3 | word)
}

// ReadSlot reads len(p) bytes at an offset of a slot that may be read in clear.
// The data zone must be locked.
func (d *Device) ReadSlot(ctx context.Context, slot, off int, p []byte) error {
	return d.Do(ctx, func(s *Sequence) error { return s.ReadSlot(slot, off, p) })
}

// ReadSlot is Device.ReadSlot.
func (s *Sequence) ReadSlot(slot, off int, p []byte) error {
	if err := checkRange("read", slot, off, len(p), 1); err != nil {
		return err
	}
	return s.readClear(ZoneData, slot, off, p)
}

// ReadOTP reads the one-time programmable zone. The data zone must be locked.
func (d *Device) ReadOTP(ctx context.Context) ([OTPSize]byte, error) {
	var otp [OTPSize]byte
	err := d.Do(ctx, func(s *Sequence) error { return s.readClear(ZoneOTP, noSlot, 0, otp[:]) })
	return otp, err
}

func (s *Sequence) readClear(zone Zone, slot, off int, p []byte) error {
	for len(p) > 0 {
		c := command{name: "read", op: opRead, p1: byte(zone), p2: address(zone, slot, off), slot: slot, size: wordSize}
		start := off % wordSize
		if start+len(p) > wordSize {
			c.p1 |= wide
			c.size, start = blockSize, off%blockSize
		}
		r, err := s.exec(c)
		if err != nil {
			return err
		}
		n := copy(p, r[start:])
		p, off = p[n:], off+n
	}
	return nil
}

// ReadConfig reads the configuration zone.
func (d *Device) ReadConfig(ctx context.Context) (Config, error) {
	var c Config
	err := d.Do(ctx, func(s *Sequence) (err error) {
		c, err = s.ReadConfig()
		return err
	})
	return c, err
}

// ReadConfig is Device.ReadConfig.
func (s *Sequence) ReadConfig() (Config, error) {
	var c Config
	for off := 0; off < ConfigSize; off += blockSize {
		r, err := s.exec(command{name: "read configuration", op: opRead, p1: wide | byte(ZoneConfig), p2: address(ZoneConfig, noSlot, off), slot: noSlot, size: blockSize})
		if err != nil {
			return Config{}, err
		}
		copy(c[off:], r)
	}
	s.d.setConfig(c)
	return c, nil
}

func (d *Device) setConfig(c Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config = c
}

// WriteSlot writes data in clear at an offset of a slot. Before the data zone is
// locked it takes whole blocks of 32 bytes (to the end of the slot, the last one
// is shorter), and the policy of the slot does not count yet; afterwards multiples
// of 4, where the policy allows it. A loss of power leaves a part of it.
func (d *Device) WriteSlot(ctx context.Context, slot, off int, data []byte) error {
	return d.Do(ctx, func(s *Sequence) error {
		if s.run > 1 && s.holds(slot, off, data) {
			return nil // it was the answer that was lost
		}
		return s.WriteSlot(slot, off, data)
	})
}

// holds reports data that can be read back as it is.
func (s *Sequence) holds(slot, off int, data []byte) bool {
	c := s.d.Config()
	if !c.DataLocked() || c.Slot(slot).IsSecret() || c.Key(slot).Private() {
		return false
	}
	p := make([]byte, len(data))
	return s.ReadSlot(slot, off, p) == nil && bytes.Equal(p, data)
}

// WriteSlot is Device.WriteSlot.
func (s *Sequence) WriteSlot(slot, off int, data []byte) error {
	unit := wordSize
	if c := s.d.Config(); !c.DataLocked() {
		unit = blockSize
	}
	if err := checkRange("write", slot, off, len(data), unit); err != nil {
		return err
	}
	for len(data) > 0 {
		c := command{name: "write", op: opWrite, p1: byte(ZoneData), p2: address(ZoneData, slot, off), slot: slot}
		n := wordSize
		if have := min(blockSize, SlotSize(slot)-off); off%blockSize == 0 && len(data) >= have {
			c.p1 |= wide
			n = have
		}
		var block [blockSize]byte
		copy(block[:], data[:n])
		c.data = block[:wordSize]
		if c.p1&wide != 0 {
			c.data = block[:]
		}
		_, err := s.exec(c)
		clear(block[:])
		if err != nil {
			return err
		}
		data, off = data[n:], off+n
	}
	return nil
}

// WriteOTP writes the one-time programmable zone, between the locks of the
// configuration and of the data zone only: a multiple of 32 bytes at a multiple
// of 32.
func (d *Device) WriteOTP(ctx context.Context, off int, data []byte) error {
	if off < 0 || off%blockSize != 0 || len(data)%blockSize != 0 || off+len(data) > OTPSize {
		return fmt.Errorf("atecc: write OTP: %d bytes at %d: %w: whole blocks of 32 of 64 bytes", len(data), off, pkcs11.CKR_ARGUMENTS_BAD)
	}
	return d.Do(ctx, func(s *Sequence) error {
		for i := 0; i < len(data); i += blockSize {
			if _, err := s.exec(command{name: "write OTP", op: opWrite, p1: wide | byte(ZoneOTP), p2: address(ZoneOTP, noSlot, off+i), data: data[i : i+blockSize], slot: noSlot}); err != nil {
				return err
			}
		}
		return nil
	})
}

// Where a public key lies in its slot: four bytes, X, four bytes, Y. The high
// nibble of the first byte says whether it is validated.
const (
	storedX       = 4
	storedY       = 40
	storedKeySize = 72
	nibbleValid   = 0x50
)

// WritePublicKey writes a P-256 public key into a slot of 9 to 15, in clear. Where
// the configuration has public keys validated, it has to be: see Validate.
func (d *Device) WritePublicKey(ctx context.Context, slot int, pub *ecdsa.PublicKey) error {
	xy, err := appendPoint(nil, pub)
	if err != nil {
		return err
	}
	var b [storedKeySize]byte
	copy(b[storedX:], xy[:32])
	copy(b[storedY:], xy[32:])
	return d.WriteSlot(ctx, slot, 0, b[:])
}

// ReadPublicKey reads a stored public key, and whether it is validated. What is no
// point of the curve fails with StatusECC, as an empty private slot does.
func (d *Device) ReadPublicKey(ctx context.Context, slot int) (pub *ecdsa.PublicKey, valid bool, err error) {
	var b [storedKeySize]byte
	if err := d.ReadSlot(ctx, slot, 0, b[:]); err != nil {
		return nil, false, err
	}
	pub, err = parsePoint(append(b[storedX:storedX+32:storedX+32], b[storedY:]...))
	if err != nil {
		return nil, false, &Error{Op: "public key", Slot: slot, Status: StatusECC, Code: pkcs11.CKR_KEY_HANDLE_INVALID, Reason: "the slot holds no public key"}
	}
	return pub, b[0]&0xF0 == nibbleValid, nil
}

// checkRange checks a range of a slot whose start and length are multiples of
// unit, or that ends with the slot.
func checkRange(name string, slot, off, n, unit int) error {
	if err := checkSlot(name, slot); err != nil {
		return err
	}
	size := SlotSize(slot)
	if off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("atecc: %s: slot %d: %d bytes at %d: %w: the slot has %d", name, slot, n, off, pkcs11.CKR_DATA_LEN_RANGE, size)
	}
	if off%unit != 0 || n%unit != 0 && off+n != size {
		return fmt.Errorf("atecc: %s: slot %d: %d bytes at %d: %w: only multiples of %d can be written", name, slot, n, off, pkcs11.CKR_DATA_LEN_RANGE, unit)
	}
	return nil
}
