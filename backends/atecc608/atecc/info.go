package atecc

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The modes of Info.
const (
	infoRevision = 0
	infoKeyValid = 1
	infoState    = 2
	infoLatch    = 4
)

// Revision asks the chip for its revision: see Config.Revision. It is the shortest
// sign of life.
func (d *Device) Revision(ctx context.Context) ([4]byte, error) {
	var rev [4]byte
	err := d.Do(ctx, func(s *Sequence) (err error) {
		rev, err = s.info(infoRevision, 0, noSlot)
		return err
	})
	return rev, err
}

// KeyValid reports a slot with a private key, or with a public key that is valid
// where it has to be.
func (d *Device) KeyValid(ctx context.Context, slot int) (bool, error) {
	if err := checkSlot("info", slot); err != nil {
		return false, err
	}
	valid := false
	err := d.Do(ctx, func(s *Sequence) error {
		b, err := s.info(infoKeyValid, uint16(slot), slot)
		valid = b[0]&1 != 0
		return err
	})
	return valid, err
}

// A State is what the chip tells about its RAM.
type State struct {
	TempKey   bool // valid
	KeyID     int  // the slot that went into TempKey
	Fixed     bool // no random number went into it
	GenDig    bool // GenDig made it
	GenKey    bool // GenKey made it
	NoMac     bool // the key that went into it has NoMac
	Auth      bool // CheckMac authorized a key
	AuthKeyID int  // which
}

// State asks the chip for the state of its RAM.
func (s *Sequence) State() (State, error) {
	b, err := s.info(infoState, 0, noSlot)
	if err != nil {
		return State{}, err
	}
	return State{
		TempKey: b[1]&0x80 != 0, KeyID: int(b[0] & 0xF),
		Fixed: b[0]&0x10 != 0, GenDig: b[0]&0x20 != 0, GenKey: b[0]&0x40 != 0, NoMac: b[0]&0x80 != 0,
		Auth: b[1]&4 != 0, AuthKeyID: int(b[1] >> 3 & 0xF),
	}, nil
}

// Latch reports the persistent latch, which some keys need to be set.
func (s *Sequence) Latch() (bool, error) {
	b, err := s.info(infoLatch, 0, noSlot)
	return b[0]&1 != 0, err
}

// SetLatch sets or clears the persistent latch, until power is removed. To set it,
// Authorize with the slot of configuration byte 69 must come before.
func (s *Sequence) SetLatch(on bool) error {
	p2 := uint16(2)
	if on {
		p2 = 3
	}
	_, err := s.info(infoLatch, p2, noSlot)
	return err
}

func (s *Sequence) info(mode byte, p2 uint16, slot int) (b [4]byte, err error) {
	p, err := s.exec(command{name: "info", op: opInfo, p1: mode, p2: p2, slot: slot, size: 4, ram: mode == infoLatch})
	if err == nil {
		copy(b[:], p)
	}
	return b, err
}

// The self-tests.
const (
	SelfTestRNG   = 0x01
	SelfTestECDSA = 0x04
	SelfTestECDH  = 0x08
	SelfTestAES   = 0x10
	SelfTestSHA   = 0x20

	selfTestAll = 0x3F
)

// SelfTest runs the tests of the mask and returns those that fail; 0 asks for
// those that failed before. After a failure the chip does nothing else until a run
// succeeds or it sleeps.
func (d *Device) SelfTest(ctx context.Context, tests byte) (failed byte, err error) {
	if tests&^selfTestAll != 0 {
		return 0, fmt.Errorf("atecc: self-test: %w: no tests %#x", pkcs11.CKR_ARGUMENTS_BAD, tests)
	}
	err = d.Do(ctx, func(s *Sequence) error {
		p, err := s.exec(command{name: "self-test", op: opSelfTest, p1: tests, slot: noSlot, size: 1})
		if err == nil {
			failed = p[0]
		}
		return err
	})
	return failed, err
}
