package atecc

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A command is one group for the chip and what is expected of the answer.
type command struct {
	name string // in errors
	op   byte
	p1   byte
	p2   uint16
	data []byte
	slot int // in errors, noSlot for none

	// size is the length of the data that answers; 0 is a status, StatusOK for
	// success.
	size int

	// any is a longest length instead of size: all lengths up to it are valid.
	any bool

	// once is a command that must not be carried out twice.
	once bool
}

// maxSends is how often a command is sent that arrives damaged, and how often an
// answer is read that does.
const maxSends = 4

// begin wakes the chip.
func (s *Sequence) begin() error {
	err := s.d.wake(s.ctx, len(wakeWindows))
	if err != nil && !errors.Is(err, ErrNoChip) && ended(s.ctx) == nil {
		s.lost = err
	}
	return err
}

// end leaves the chip idle. If it cannot be reached it will fall asleep by itself.
func (s *Sequence) end() {
	if s.d.word(wordIdle) != nil {
		_ = s.d.word(wordIdle)
	}
}

// lose ends the sequence because of cause; Do runs it again if it may.
func (s *Sequence) lose(cause error) error {
	s.lost = fmt.Errorf("%w: %w", errLost, cause)
	return s.lost
}

// exec has the chip carry out a command. The result is valid until the next
// command.
func (s *Sequence) exec(c command) ([]byte, error) {
	if s.lost != nil {
		return nil, s.lost
	}
	if err := ended(s.ctx); err != nil {
		return nil, err
	}
	if err := s.stayAwake(c.op); err != nil {
		return nil, err
	}
	var last error
	for range maxSends {
		s.maybe = c.once
		p, err := s.attempt(&c)
		if err != nil {
			if s.lost != nil || ended(s.ctx) != nil {
				return nil, err
			}
			last = err
			continue
		}
		status, isStatus := c.status(p)
		if !isStatus {
			s.ran++
			s.maybe, s.once = false, s.once || c.once
			return p, nil
		}
		switch status {
		case StatusOK:
			s.ran++
			s.maybe, s.once = false, s.once || c.once
			return nil, nil
		case StatusCRC:
			s.maybe = false
			last = status
		case StatusWatchdog:
			s.maybe = false
			last = status
			if err := s.rewake(); err != nil {
				return nil, err
			}
		case StatusWake:
			return nil, s.lose(status)
		default:
			s.maybe = false
			return nil, s.refused(&c, status)
		}
	}
	return nil, fmt.Errorf("atecc: %s: %w: %w: %w", c.name, ErrComm, pkcs11.CKR_DEVICE_ERROR, last)
}

// status takes the answer for a status if it is one.
func (c *command) status(p []byte) (Status, bool) {
	if len(p) == 1 && c.op != opSelfTest {
		return Status(p[0]), true
	}
	return 0, false
}

// fits reports a payload of a length that the command can have.
func (c *command) fits(p []byte) bool {
	switch {
	case len(p) == 1:
		return true
	case c.any:
		return len(p) <= c.size
	}
	return len(p) == c.size
}

// attempt sends the command once and waits for its answer.
func (s *Sequence) attempt(c *command) ([]byte, error) {
	d := s.d
	d.out = appendCommand(d.out[:0], c.op, c.p1, c.p2, c.data)
	if err := d.bus.Tx(d.addr, d.out, nil); err != nil {
		return nil, s.unsent(c, err)
	}
	n := groupOverhead + max(c.size, 1)
	if err := s.poll(c.op, n); err != nil {
		return nil, err
	}
	var err error
	for range maxSends {
		var p []byte
		if p, err = payload(d.in[:n]); err == nil && c.fits(p) {
			return p, nil
		}
		if err == nil {
			err = fmt.Errorf("%w: %d bytes", errDamaged, len(p))
		}
		// The chip keeps the answer as long as it is awake.
		if e := s.reread(n); e != nil {
			return nil, e
		}
	}
	return nil, s.lose(err)
}

// unsent finds out what became of a command whose transfer failed. Unless the
// sequence is lost, it can be sent again.
func (s *Sequence) unsent(c *command, cause error) error {
	if c.once {
		return s.lose(cause) // perhaps it arrived
	}
	if err := s.reread(statusGroup); err != nil {
		return err
	}
	if p, err := payload(s.d.in[:statusGroup]); err == nil && Status(p[0]) == StatusWake && s.ran > 0 {
		return s.lose(cause) // asleep and woken again
	}
	return cause
}

// reread reads the answer from its start. A chip that cannot be reached may have
// slept.
func (s *Sequence) reread(n int) error {
	d := s.d
	var err error
	for i := range maxSends {
		if e := wait(s.ctx, time.Duration(i)*minGap); e != nil {
			return e
		}
		if err = d.word(wordReset); err != nil {
			continue
		}
		if err = d.bus.Tx(d.addr, nil, d.in[:n]); err == nil {
			return nil
		}
	}
	return s.lose(err)
}

// poll waits for the answer and reads n bytes of it. Busy, asleep and not there
// are the same to the bus, so each error is taken for busy until the longest time
// is over.
func (s *Sequence) poll(op byte, n int) error {
	d := s.d
	p := d.pace(op)
	sent := time.Now()
	limit := 2*d.longest(op) + 50*time.Millisecond
	next := p.first()
	for {
		if err := wait(s.ctx, next-time.Since(sent)); err != nil {
			return err
		}
		at := time.Since(sent)
		err := d.bus.Tx(d.addr, nil, d.in[:n])
		if err == nil {
			p.saw(at)
			d.ratio = float64(at) / float64(d.longest(op))
			return nil
		}
		if at > limit {
			// Half a command that waits for its rest is dropped by this, too.
			if e := s.reread(n); e != nil {
				return e
			}
			return err
		}
		next = at + p.gap(at)
	}
}

// pace is what is known about op; for one that was never used, it is guessed from
// the last.
func (d *Device) pace(op byte) *pace {
	p := d.paces[op]
	if p == nil {
		guess := time.Duration(d.ratio * float64(d.longest(op)))
		p = &pace{last: guess, low: guess}
		d.paces[op] = p
	}
	return p
}

// longest is the longest time that op takes with the configured clock divider.
func (d *Device) longest(op byte) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(longest[op][d.config.divider()]) * time.Millisecond
}

// stayAwake restarts the watchdog if it might expire during the command.
func (s *Sequence) stayAwake(op byte) error {
	if s.ran == 0 || time.Since(s.d.woken)+s.d.longest(op) < awakeTime {
		return nil
	}
	return s.rewake()
}

// rewake goes through idle, which keeps the RAM.
func (s *Sequence) rewake() error {
	if err := s.d.word(wordIdle); err != nil {
		return s.lose(err) // asleep already, as far as one can tell
	}
	if err := s.d.wake(s.ctx, len(wakeWindows)); err != nil {
		if ended(s.ctx) != nil {
			return err
		}
		return s.lose(err)
	}
	return nil
}
