package atecc

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The bits of Param1 of MAC and CheckMac.
const (
	macTempSecond = 0x01 // TempKey instead of the challenge
	macSerial     = 0x40
)

// MAC is the answer of the chip to a challenge of 32 bytes, with the key in the
// slot: SHA-256 of key, challenge, the command and the serial number, as MACOf
// computes it with the host's copy of the key.
func (d *Device) MAC(ctx context.Context, slot int, challenge []byte) ([32]byte, error) {
	var mac [32]byte
	if err := checkSlot("mac", slot); err != nil {
		return mac, err
	}
	if err := checkChallenge(challenge); err != nil {
		return mac, err
	}
	err := d.Do(ctx, func(s *Sequence) error {
		p, err := s.exec(command{name: "mac", op: opMAC, p1: macSerial, p2: uint16(slot), data: challenge, slot: slot, size: 32, once: s.limited(slot)})
		if err == nil {
			copy(mac[:], p)
		}
		return err
	})
	return mac, err
}

// MACOf is what MAC returns if the slot holds that key.
func (d *Device) MACOf(slot int, key, challenge []byte) ([32]byte, error) {
	if err := checkKey("mac", slot, key); err != nil {
		return [32]byte{}, err
	}
	if err := checkChallenge(challenge); err != nil {
		return [32]byte{}, err
	}
	return digest(key, challenge, []byte{opMAC, macSerial, byte(slot), 0}, zeros[:11], d.sn8(), d.sn47(), d.sn01(), d.sn23()), nil
}

func checkChallenge(c []byte) error {
	if len(c) != 32 {
		return fmt.Errorf("atecc: mac: %w: a challenge has 32 bytes, not %d", pkcs11.CKR_DATA_LEN_RANGE, len(c))
	}
	return nil
}

// Authorize proves to the chip that the host knows the key in the slot, by
// CheckMac over a random number of the chip, and reports whether it does. Keys
// whose KeyConfig names the slot as AuthKey can be used then, for the rest of the
// sequence, after which the chip is put to sleep to forget it.
func (s *Sequence) Authorize(slot int, key []byte) (bool, error) {
	if err := checkSlot("authorize", slot); err != nil {
		return false, err
	}
	if err := checkKey("authorize", slot, key); err != nil {
		return false, err
	}
	temp, err := s.RandomNonce()
	if err != nil {
		return false, err
	}
	s.authorized = true
	// Data: the host's challenge, which TempKey takes the place of; its answer; and
	// what it computed the answer of.
	var data [32 + 32 + 13]byte
	other := data[64:]
	copy(other, []byte{opMAC, macTempSecond, byte(slot), 0})
	mac := digest(key, temp[:], other[:4], zeros[:8], other[4:7], s.d.sn8(), other[7:11], s.d.sn01(), other[11:])
	copy(data[32:], mac[:])
	_, err = s.exec(command{name: "authorize", op: opCheckMac, p1: macTempSecond, p2: uint16(slot), data: data[:], slot: slot, ram: true, once: s.limited(slot)})
	if isStatus(err, StatusMiscompare) {
		return false, nil
	}
	return err == nil, err
}

// DeriveKey replaces the key in the slot by a digest of it, or of its WriteKey, and
// TempKey, as SlotConfig says; temp is what TempKey holds. parent is the host's
// copy of the key that it is made of, to authorize it, and may be nil where the
// slot does not ask for that. The result is the new key, nil without parent; the
// caller has to clear it.
func (s *Sequence) DeriveKey(slot int, fixed bool, temp [32]byte, parent []byte) (*[32]byte, error) {
	if err := checkSlot("derive key", slot); err != nil {
		return nil, err
	}
	c := command{name: "derive key", op: opDeriveKey, p2: uint16(slot), slot: slot, ram: true, once: true}
	if fixed {
		c.p1 = 0x04
	}
	if parent == nil {
		_, err := s.exec(c)
		return nil, err
	}
	if err := checkKey("derive key", slot, parent); err != nil {
		return nil, err
	}
	if cfg := s.d.Config(); cfg.Slot(slot).WriteConfig()&8 != 0 {
		mac := digest(parent, c.head(), s.d.sn8(), s.d.sn01())
		c.data = mac[:]
	}
	if _, err := s.exec(c); err != nil {
		return nil, err
	}
	key := s.d.mix(parent, c.head(), 25, temp[:])
	return &key, nil
}
