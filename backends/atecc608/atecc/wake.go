package atecc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

const (
	// wakeTime is tWHI: what the chip needs after the pulse before it may be
	// addressed.
	wakeTime = 1500 * time.Microsecond

	// pulseSpeed is the speed at which an address byte of zeros holds SDA low for
	// long enough, 80 µs.
	pulseSpeed = 100 * physic.KiloHertz

	// awakeTime is how long a chip stays awake at least: its watchdog, of nominally
	// 1.3 s, varies from 0.7 to 1.7 s.
	awakeTime = 700 * time.Millisecond
)

// wakeWindows is how long the token is waited for after each pulse. A sleeping
// chip answers in the first; with the self-test at each wake it needs 20 ms; and
// one that works on somebody else's command, or on one whose answer we gave up,
// can be busy for as long as its watchdog allows.
var wakeWindows = []time.Duration{
	2 * time.Millisecond, 2 * time.Millisecond, 25 * time.Millisecond, 25 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond,
}

// addresses are where chips are looked for.
var addresses = []uint16{0x60, 0x35, 0x36, 0x59}

// sendPulse holds SDA low. That nobody acknowledges is how it should be.
func (d *Device) sendPulse() error {
	if d.pulse != nil {
		return d.pulse()
	}
	slow := d.speed > pulseSpeed && d.bus.SetSpeed(pulseSpeed) == nil
	// The byte is never sent unless another device listens to address 0, to which
	// it means nothing.
	d.out = append(d.out[:0], 0x01)
	_ = d.bus.Tx(0, d.out, nil)
	if slow {
		return d.bus.SetSpeed(d.speed)
	}
	return nil
}

// wake wakes the chip, whatever it does at the moment. What it had in RAM stays
// unless it slept.
func (d *Device) wake(ctx context.Context) error {
	var last error
	for i, window := range wakeWindows {
		if i > 0 && d.moved != 0 {
			d.addr, d.moved = d.moved, d.addr
		}
		if err := d.sendPulse(); err != nil {
			return fmt.Errorf("atecc: wake: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
		}
		d.woken = time.Now()
		status, err := d.token(ctx, window)
		if e := ended(ctx); e != nil {
			return e
		}
		switch {
		case err != nil:
			last = err
		case status == StatusWake || status == StatusSelfTest:
			return nil
		default:
			last = nil
		}
		// It was awake before the pulse, for nobody knows how long, or the token was
		// damaged. Idle it will take the next pulse.
		if err := d.word(wordIdle); err != nil && last == nil {
			last = err
		}
	}
	return d.noChip(last)
}

// pulseOnce is wake without repetitions.
func (d *Device) pulseOnce() error {
	if err := d.sendPulse(); err != nil {
		return err
	}
	_, err := d.token(context.Background(), wakeWindows[0])
	return err
}

// token reads what a chip says after a pulse.
func (d *Device) token(ctx context.Context, window time.Duration) (Status, error) {
	start := time.Now()
	if err := wait(ctx, wakeTime); err != nil {
		return 0, err
	}
	in := d.in[:statusGroup]
	for {
		err := d.bus.Tx(d.addr, nil, in)
		if err == nil {
			break
		}
		t := time.Since(start)
		if t > wakeTime+window {
			return 0, err
		}
		if err := wait(ctx, max(t/8, 2*minGap)); err != nil {
			return 0, err
		}
	}
	p, err := payload(in)
	if err != nil {
		// Damaged on the way, or the middle of an answer.
		if err := d.word(wordReset); err != nil {
			return 0, err
		}
		if err := d.bus.Tx(d.addr, nil, in); err != nil {
			return 0, err
		}
		if p, err = payload(in); err != nil {
			return 0, err
		}
	}
	return Status(p[0]), nil
}

// word writes one of the words that stand alone.
func (d *Device) word(w byte) error {
	d.out = append(d.out[:0], w)
	return d.bus.Tx(d.addr, d.out, nil)
}

// noChip is the error of a wake-up that nobody answered, with the advice that
// fits.
func (d *Device) noChip(cause error) error {
	err := fmt.Errorf("atecc: wake: %w at %#x of %v: check the wiring, the pull-ups and the address%s: %w", ErrNoChip, d.addr, d.bus, d.speedAdvice(), pkcs11.CKR_DEVICE_ERROR)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

func (d *Device) speedAdvice() string {
	if d.pulse != nil {
		return ""
	}
	if d.speed > pulseSpeed {
		if err := d.bus.SetSpeed(d.speed); err != nil {
			return fmt.Sprintf("; the bus runs at %v and cannot be slowed down for the wake pulse (%v): let it run at 100 kHz, or give Opts.Pulse", d.speed, err)
		}
		return ""
	}
	return "; the bus must run at 100 kHz or less, or the wake pulse is too short"
}

// find looks for the chip where chips are.
func (d *Device) find(ctx context.Context) (uint16, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.timeout, ErrTimeout)
	defer cancel()
	var found []uint16
	var last error
	for _, window := range wakeWindows[:4] {
		for _, addr := range addresses {
			d.addr = addr
			if err := d.acquire(ctx); err != nil {
				return 0, err
			}
			err := d.probe(ctx, window)
			d.free()
			if e := ended(ctx); e != nil {
				return 0, e
			}
			if err != nil {
				last = err
				continue
			}
			found = append(found, addr)
		}
		if len(found) > 0 {
			break
		}
	}
	d.addr = 0
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		err := fmt.Errorf("atecc: find: %w at 0x60, 0x35, 0x36 or 0x59 of %v: check the wiring and the pull-ups, or give the address if it is another%s: %w", ErrNoChip, d.bus, d.speedAdvice(), pkcs11.CKR_TOKEN_NOT_PRESENT)
		if last != nil {
			err = fmt.Errorf("%w: %w", err, last)
		}
		return 0, err
	}
	var list []string
	for _, a := range found {
		list = append(list, fmt.Sprintf("%#x", a))
	}
	return 0, fmt.Errorf("atecc: find: %w, at %s of %v: give the address of one: %w", ErrAddress, strings.Join(list, " and "), d.bus, pkcs11.CKR_ARGUMENTS_BAD)
}

// probe wakes what is at the address and sees whether it speaks as the chip does.
func (d *Device) probe(ctx context.Context, window time.Duration) error {
	if err := d.sendPulse(); err != nil {
		return err
	}
	status, err := d.token(ctx, window)
	if err != nil {
		return err
	}
	if _, ok := statusText[status]; !ok {
		return errors.New("something else answers")
	}
	return d.word(wordIdle)
}
