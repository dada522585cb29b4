package atecc

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Buffer is a register of the chip that Nonce fills.
type Buffer byte

// The registers.
const (
	TempKey       Buffer = 0x00 // 32 or 64 bytes
	MessageBuffer Buffer = 0x40 // 32 or 64 bytes
	AltKeyBuffer  Buffer = 0x80 // 32 bytes
)

// randomBatch is how many random numbers are fetched at a time, so that others get
// the chip in between: half a second.
const randomBatch = 20

const (
	nonceFixed = 0x03
	nonceLong  = 0x20
)

// Nonce loads a register with 32 or 64 bytes.
func (s *Sequence) Nonce(to Buffer, value []byte) error {
	p1 := byte(to) | nonceFixed
	switch {
	case len(value) == 32:
	case len(value) == 64 && to != AltKeyBuffer:
		p1 |= nonceLong
	default:
		return fmt.Errorf("atecc: nonce: %w: %d bytes", pkcs11.CKR_DATA_LEN_RANGE, len(value))
	}
	_, err := s.exec(command{name: "nonce", op: opNonce, p1: p1, data: value, slot: noSlot})
	return err
}

// Random fills p with random numbers of the chip, 32 bytes a command. It refuses
// while the configuration is not locked: the chip answers a constant then.
func (d *Device) Random(ctx context.Context, p []byte) error {
	for part := range blocks(p, randomBatch*32) {
		if err := d.Do(ctx, func(s *Sequence) error { return s.Random(part) }); err != nil {
			clear(p)
			return err
		}
	}
	return nil
}

// Random is Device.Random.
func (s *Sequence) Random(p []byte) error {
	for len(p) > 0 {
		r, err := s.exec(command{name: "random", op: opRandom, slot: noSlot, size: 32})
		if err != nil {
			return err
		}
		if isPattern(r) {
			return fmt.Errorf("atecc: random: %w: the configuration is not locked: until then the chip gives a constant for a random number", pkcs11.CKR_RANDOM_NO_RNG)
		}
		p = p[copy(p, r):]
	}
	return nil
}

// isPattern recognizes what the generator answers before the configuration is
// locked: FF FF 00 00, repeated.
func isPattern(r []byte) bool {
	for i, b := range r {
		if want := byte(0xFF) * byte(1-i/2%2); b != want {
			return false
		}
	}
	return true
}
