package atecc

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// CounterMax is the largest value of a counter.
const CounterMax = 1<<21 - 1

// Counter reads the monotonic counter 0 or 1.
func (d *Device) Counter(ctx context.Context, n int) (uint32, error) {
	var v uint32
	err := d.Do(ctx, func(s *Sequence) (err error) {
		v, err = s.Counter(n)
		return err
	})
	return v, err
}

// Increment counts up by one and returns the new value. The counter is read
// before, so that an increment whose answer is lost is not made twice. A chip that
// loses power in the middle may have counted further; it never counts back.
func (d *Device) Increment(ctx context.Context, n int) (uint32, error) {
	var v, before uint32
	sent := false
	err := d.do(ctx, true, func(s *Sequence) (err error) {
		if v, err = s.Counter(n); err != nil {
			return err
		}
		s.maybe = false
		if sent && v > before {
			return nil
		}
		before, sent = v, true
		v, err = s.Increment(n)
		return err
	})
	return v, err
}

// Counter reads a counter.
func (s *Sequence) Counter(n int) (uint32, error) { return s.counter("counter", 0, n) }

// Increment counts up by one and returns the new value.
func (s *Sequence) Increment(n int) (uint32, error) { return s.counter("increment", 1, n) }

func (s *Sequence) counter(name string, mode byte, n int) (uint32, error) {
	if n != 0 && n != 1 {
		return 0, fmt.Errorf("atecc: %s: counter %d: %w: there are 0 and 1", name, n, pkcs11.CKR_ARGUMENTS_BAD)
	}
	p, err := s.exec(command{name: name, op: opCounter, p1: mode, p2: uint16(n), slot: noSlot, size: 4, once: mode == 1})
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(p), nil
}
