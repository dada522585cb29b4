package atecc

import (
	"bytes"
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The modes of SHA.
const (
	shaStart     = 0
	shaUpdate    = 1
	shaEnd       = 2
	shaHMACStart = 4
	shaRead      = 6
	shaWrite     = 7
	shaOutput    = 0xC0 // the digest to the host only

	shaBlock      = 64
	shaContextMax = 99
)

// HMAC is HMAC-SHA-256 of msg with the first 32 bytes of the slot as key. It takes
// 36 ms for every 64 bytes.
func (d *Device) HMAC(ctx context.Context, slot int, msg []byte) ([32]byte, error) {
	if err := checkSlot("hmac", slot); err != nil {
		return [32]byte{}, err
	}
	var sum [32]byte
	err := d.Do(ctx, func(s *Sequence) (err error) {
		sum, err = s.HMAC(slot, msg)
		return err
	})
	return sum, err
}

// HMAC is Device.HMAC; slot may be FromTempKey.
func (s *Sequence) HMAC(slot int, msg []byte) ([32]byte, error) {
	c := command{name: "hmac", op: opSHA, p1: shaHMACStart, p2: uint16(slot), slot: slot}
	if slot == FromTempKey {
		c.p2, c.ram = tempKeySlot, true
	} else {
		c.once = s.limited(slot)
	}
	if _, err := s.exec(c); err != nil {
		return [32]byte{}, err
	}
	if err := s.SHAUpdate(msg[:len(msg)/shaBlock*shaBlock]); err != nil {
		return [32]byte{}, err
	}
	return s.SHAEnd(msg[len(msg)/shaBlock*shaBlock:])
}

// SHAStart begins a SHA-256 on the chip.
func (s *Sequence) SHAStart() error {
	_, err := s.exec(command{name: "sha", op: opSHA, p1: shaStart, slot: noSlot})
	return err
}

// SHAUpdate adds data to the SHA-256 or HMAC that runs on the chip.
func (s *Sequence) SHAUpdate(data []byte) error {
	for part := range blocks(data, shaBlock) {
		if _, err := s.exec(command{name: "sha", op: opSHA, p1: shaUpdate, p2: uint16(len(part)), data: part, slot: noSlot, ram: true}); err != nil {
			return err
		}
	}
	return nil
}

// SHAEnd adds up to 63 bytes and ends the SHA-256 or HMAC that runs on the chip.
func (s *Sequence) SHAEnd(data []byte) ([32]byte, error) {
	if len(data) >= shaBlock {
		return [32]byte{}, fmt.Errorf("atecc: sha: %w: %d bytes at the end: at most 63", pkcs11.CKR_DATA_LEN_RANGE, len(data))
	}
	p, err := s.exec(command{name: "sha", op: opSHA, p1: shaEnd | shaOutput, p2: uint16(len(data)), data: data, slot: noSlot, size: 32, ram: true})
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(p), nil
}

// SHAContext is the state of the SHA-256 that runs on the chip, opaque, for
// SHAResume. HMAC has none.
func (s *Sequence) SHAContext() ([]byte, error) {
	p, err := s.exec(command{name: "sha", op: opSHA, p1: shaRead, slot: noSlot, size: shaContextMax, upTo: true, ram: true})
	return bytes.Clone(p), err
}

// SHAResume continues what SHAContext saved.
func (s *Sequence) SHAResume(state []byte) error {
	if len(state) == 0 || len(state) > shaContextMax {
		return fmt.Errorf("atecc: sha: %w: a state of %d bytes", pkcs11.CKR_SAVED_STATE_INVALID, len(state))
	}
	_, err := s.exec(command{name: "sha", op: opSHA, p1: shaWrite, p2: uint16(len(state)), data: state, slot: noSlot})
	return err
}

// blocks yields data in pieces of n bytes, the last one shorter.
func blocks(data []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(data) > 0 {
			k := min(n, len(data))
			if !yield(data[:k]) {
				return
			}
			data = data[k:]
		}
	}
}
