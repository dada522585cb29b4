package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"sync"
)

// A Chip is what this secure element can do, as its command set has it. Put your
// transport here: an I²C bus, SPI, a mailbox. A driver tests against a simulated
// chip, and against the real one when there is one.
type Chip interface {
	// Serial is the number that the chip has from its factory.
	Serial() string
	// Generate makes a P-256 key in a slot, replacing one that is there, and
	// returns the public key, x‖y.
	Generate(ctx context.Context, slot int) ([]byte, error)
	// Sign signs a digest of 32 bytes with the key in a slot and returns r‖s.
	Sign(ctx context.Context, slot int, digest []byte) ([]byte, error)
	// Random fills b from the chip's generator.
	Random(ctx context.Context, b []byte) error
}

// Slots is how many keys the chip holds.
const Slots = 8

// A Status is an error code of the chip.
type Status byte

// The codes of the data sheet.
const (
	StatusEmptySlot Status = 0x03
	StatusBadSlot   Status = 0x0f
)

func (s Status) Error() string {
	switch s {
	case StatusEmptySlot:
		return "slot is empty (status 0x03)"
	case StatusBadSlot:
		return "no such slot (status 0x0f)"
	}
	return fmt.Sprintf("status 0x%02x", byte(s))
}

// A Simulator is a Chip in software. Its zero value has empty slots.
type Simulator struct {
	mu   sync.Mutex
	keys [Slots]*ecdsa.PrivateKey
}

// Serial implements [Chip].
func (*Simulator) Serial() string { return "AC000001" }

// Generate implements [Chip].
func (s *Simulator) Generate(_ context.Context, slot int) ([]byte, error) {
	if slot < 0 || slot >= Slots {
		return nil, StatusBadSlot
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[slot] = key
	return point[1:], nil
}

// Sign implements [Chip].
func (s *Simulator) Sign(_ context.Context, slot int, digest []byte) ([]byte, error) {
	if slot < 0 || slot >= Slots {
		return nil, StatusBadSlot
	}
	s.mu.Lock()
	key := s.keys[slot]
	s.mu.Unlock()
	if key == nil {
		return nil, StatusEmptySlot
	}
	r, z, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		return nil, err
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	z.FillBytes(sig[32:])
	return sig, nil
}

// Random implements [Chip].
func (*Simulator) Random(_ context.Context, b []byte) error {
	_, err := rand.Read(b)
	return err
}
