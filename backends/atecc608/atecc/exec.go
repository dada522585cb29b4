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

	size     int  // of the data that answers; 0: StatusOK does
	upTo     bool // size is the most
	orStatus bool // StatusOK may answer, too

	ram  bool // it needs what earlier commands left in RAM
	once bool // it must not be carried out twice
}

// maxSends is how often a command is sent that arrives damaged, and how often an
// answer is read that does.
const maxSends = 4

// begin wakes the chip.
func (s *Sequence) begin() error {
	s.prev = [statusGroup]byte{}
	return s.d.wake(s.ctx)
}

// end leaves the chip idle, or asleep if it should forget what was authorized. If
// it cannot be reached it will fall asleep by itself.
func (s *Sequence) end() {
	clear(s.prev[:])
	word := byte(wordIdle)
	if s.authorized {
		word = wordSleep
	}
	if s.d.word(word) != nil {
		_ = s.d.word(word)
	}
}

// lose ends the sequence because of cause; Do runs it again if it may.
func (s *Sequence) lose(cause error) error {
	s.lost = fmt.Errorf("%w: %w", errLost, cause)
	return s.lost
}

// exec has the chip carry out a command. The result is valid until the next one.
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
		s.maybe = s.maybe || c.once
		p, err := s.attempt(&c)
		if err != nil {
			if s.lost != nil || ended(s.ctx) != nil {
				return nil, err
			}
			last = err
			continue
		}
		status, isStatus := c.status(p)
		if !isStatus || status == StatusOK {
			if isStatus && c.size > 0 && !c.orStatus {
				return nil, fmt.Errorf("atecc: %s: %w: success without data", c.name, pkcs11.CKR_DEVICE_ERROR)
			}
			s.done(&c)
			if isStatus {
				return nil, nil
			}
			return p, nil
		}
		if status == StatusWake {
			return nil, s.lose(status) // slept before it could take the command, or after
		}
		if c.once {
			s.maybe = false
		}
		switch status {
		case StatusCRC:
			last = status
		case StatusWatchdog:
			last = status
			if err := s.rewake(); err != nil {
				return nil, err
			}
		default:
			return nil, s.refused(&c, status)
		}
	}
	return nil, fmt.Errorf("atecc: %s: %w: %w: %w", c.name, ErrComm, pkcs11.CKR_DEVICE_ERROR, last)
}

// done takes note of a command that was carried out.
func (s *Sequence) done(c *command) {
	s.ran++
	if c.once {
		s.maybe, s.once = false, true
	}
	s.prev = [statusGroup]byte(s.d.in[:statusGroup])
	s.timer.Reset(s.d.timeout)
}

// status takes the answer for a status if it is one. That of SelfTest is the tests
// that failed, but for what no test has the bit of.
func (c *command) status(p []byte) (Status, bool) {
	if len(p) != 1 || c.op == opSelfTest && p[0]&^selfTestAll == 0 {
		return 0, false
	}
	return Status(p[0]), true
}

// fits reports a payload of a length that the command can have.
func (c *command) fits(p []byte) bool {
	if len(p) == 1 || c.upTo {
		return len(p) <= max(c.size, 1)
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
	if err := s.poll(c, n); err != nil {
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

// unsent finds out what became of a command that did not arrive, or seems not to
// have. Unless the sequence is lost it can be sent again: a command that must not
// be carried out twice, only while the answer to the one before it is still what
// the chip has to say, and could not be the answer to this one.
func (s *Sequence) unsent(c *command, cause error) error {
	if err := s.reread(statusGroup); err != nil {
		return err
	}
	in := [statusGroup]byte(s.d.in[:statusGroup])
	if c.once && (in != s.prev || int(in[0]) == groupOverhead+max(c.size, 1)) {
		return s.lose(cause)
	}
	if p, err := payload(in[:]); err == nil && Status(p[0]) == StatusWake && s.ran > 0 {
		return s.lose(cause) // it was asleep, and the pulse of another transfer woke it
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
// are the same to the bus, so each error is taken for busy until twice the longest
// time is over: for the 608B that is a hint only.
func (s *Sequence) poll(c *command, n int) error {
	d := s.d
	p, longest := d.pace(c.op), d.longest(c.op)
	sent := time.Now()
	limit := 2*longest + 50*time.Millisecond
	next := p.first()
	for {
		if err := wait(s.ctx, next-time.Since(sent)); err != nil {
			return err
		}
		at := time.Since(sent)
		err := d.bus.Tx(d.addr, nil, d.in[:n])
		if err == nil {
			p.saw(at)
			d.ratio = float64(at) / float64(longest)
			return nil
		}
		if at > limit {
			return s.unsent(c, err) // perhaps it still waits for the rest of the command
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

// stayAwake restarts the watchdog if it might expire during the command, and, in a
// sequence that was lost before, ahead of every command.
func (s *Sequence) stayAwake(op byte) error {
	if s.ran == 0 || s.run == 1 && time.Since(s.d.woken)+s.d.longest(op) < awakeTime {
		return nil
	}
	return s.rewake()
}

// rewake goes through idle, which keeps the RAM. A chip that does not take the
// word may be asleep already.
func (s *Sequence) rewake() error {
	if err := s.d.word(wordIdle); err != nil {
		return s.lose(err)
	}
	if err := s.d.wake(s.ctx); err != nil {
		if ended(s.ctx) != nil {
			return err
		}
		return s.lose(err)
	}
	s.prev = [statusGroup]byte{}
	return nil
}

// refused is the error for a status. An execution error that nothing in the
// configuration explains may come from RAM that was lost: then the sequence is run
// once more.
func (s *Sequence) refused(c *command, status Status) error {
	if status == StatusExec {
		s.refresh()
	}
	e := s.d.explain(c, status)
	if status == StatusExec && c.ram && e.Reason == "" && s.run == 1 && !s.once {
		return s.lose(e)
	}
	if status == StatusExec && e.Reason == "" {
		e.Reason, e.Code = c.unexplained()
	}
	return e
}

// permitted asks the configuration whether the chip will refuse an access, before
// other commands prepare it, which would be refused for a reason that helps less.
func (s *Sequence) permitted(c *command) error {
	cfg := s.d.Config()
	if _, reason := why(c, &cfg); reason == "" {
		return nil
	}
	s.refresh() // perhaps another process locked a zone meanwhile
	if e := s.d.explain(c, StatusExec); e.Reason != "" {
		return e
	}
	return nil
}

// refresh reads the lock bytes again, which another process may have changed. It
// is of no consequence if it fails.
func (s *Sequence) refresh() {
	d := s.d
	p, err := s.attempt(&command{name: "read configuration", op: opRead, p1: wide | byte(ZoneConfig), p2: 2 << 3, slot: noSlot, size: 32})
	if err != nil || len(p) != 32 {
		s.lost = nil
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.config[64:96], p)
}

// isStatus reports an error that is that refusal of the chip.
func isStatus(err error, status Status) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}
