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

	// pulseLimit is the speed at which it does so for exactly 60 µs.
	pulseLimit = 133 * physic.KiloHertz

	// awakeTime is how long a chip stays awake at least: its watchdog, of nominally
	// 1.3 s, varies from 0.7 to 1.7 s.
	awakeTime = 700 * time.Millisecond

	// longestAwake is how long it stays awake at most, unless its configuration says
	// 13 s (ChipMode bit 2).
	longestAwake = 1700 * time.Millisecond
)

// errOdd is what answers where a chip is looked for, and is none as it seems.
var errOdd = errors.New("something answers, but not as a chip")

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
	heard := false
	for i, window := range wakeWindows {
		if i > 0 && d.moved != 0 {
			old := d.addr
			d.setAddress(d.moved)
			d.moved = old
		}
		if err := d.sendPulse(); err != nil {
			return fmt.Errorf("atecc: wake: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
		}
		d.woken = time.Now()
		status, err := d.token(ctx, window)
		if e := ended(ctx); e != nil {
			return e
		}
		if err == nil && (status == StatusWake || status == StatusSelfTest) {
			return nil
		}
		last = err
		heard = heard || err == nil || errors.Is(err, errDamaged)
		// It was awake before the pulse, for nobody knows how long, or the token was
		// damaged. Idle it will take the next pulse.
		if err := d.word(wordIdle); err != nil && last == nil {
			last = err
		}
	}
	return d.asleep(heard, last)
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

// asleep is the error of a wake-up without success, with the advice that fits.
func (d *Device) asleep(heard bool, cause error) error {
	what, advice := ErrNoChip, "check the wiring, the power, the pull-ups and the address, and that the bus runs at 100 kHz or less, or the wake pulse is too short"
	switch f, err := d.tooFast(); {
	case heard:
		what, advice = ErrWake, "another device has the address, or the line is disturbed"
	case err != nil:
		what, advice = ErrSpeed, fmt.Sprintf("it runs at %v and cannot be slowed down for the pulse (%v): let it run at 100 kHz, or give Opts.Pulse", f, err)
	}
	err := fmt.Errorf("atecc: wake: %w, at %#x of %v: %s: %w", what, d.addr, d.bus, advice, pkcs11.CKR_DEVICE_ERROR)
	if cause != nil {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// tooFast is the speed of a bus that is known to be too fast for a wake pulse, and
// why it is not slowed down.
func (d *Device) tooFast() (physic.Frequency, error) {
	f := d.speed
	if f == 0 {
		f = d.knownSpeed
	}
	if d.pulse != nil || f <= pulseLimit {
		return 0, nil
	}
	if d.speed == 0 {
		return f, errors.New("Opts.Speed does not name its speed")
	}
	return f, d.bus.SetSpeed(d.speed)
}

// slowDown finds out whether a chip that was not found wakes at 100 kHz, on a bus
// that can be set to it. There the bus stays: what it ran at is not known.
func (d *Device) slowDown(ctx context.Context, addrs []uint16) error {
	if d.speed != 0 || d.pulse != nil || d.bus.SetSpeed(pulseSpeed) != nil {
		return nil
	}
	for _, d.addr = range addrs {
		if d.probe(ctx, wakeWindows[0]) == nil {
			return fmt.Errorf("atecc: wake: %w: the chip at %#x of %v wakes at 100 kHz, which the bus is set to now: let it run at that, or name its speed in Opts.Speed: %w", ErrSpeed, d.addr, d.bus, pkcs11.CKR_DEVICE_ERROR)
		}
	}
	return nil
}

// find looks for the chip where chips are.
func (d *Device) find(ctx context.Context) error {
	found, err := d.search(ctx)
	if err != nil && len(found) == 0 {
		return err
	}
	if len(found) > 1 {
		return fmt.Errorf("atecc: find: %w: chips answer at %s of %v: give the address of one: %w", ErrAddress, list(found), d.bus, pkcs11.CKR_ARGUMENTS_BAD)
	}
	d.addr = found[0]
	return nil
}

// search is the addresses at which chips answer, and an error if there are none.
func (d *Device) search(ctx context.Context) (found []uint16, err error) {
	var last error
	var odd []uint16
	start := time.Now()
	for i := 0; ; i++ {
		window := wakeWindows[min(i, 3)]
		if i == 4 {
			// What answers oddly may be a chip in which somebody has left something that
			// it does not let go of. It does when its watchdog puts it to sleep.
			rest := longestAwake - time.Since(start)
			if end, ok := ctx.Deadline(); len(odd) == 0 || ok && time.Until(end) < 2*rest {
				break
			}
			if err := wait(ctx, rest); err != nil {
				return nil, ended(ctx)
			}
		}
		if i == 5 {
			break
		}
		odd = odd[:0]
		for _, d.addr = range addresses {
			err := d.probe(ctx, window)
			if e := ended(ctx); e != nil {
				return nil, e
			}
			if errors.Is(err, errOdd) {
				odd = append(odd, d.addr)
			}
			if err != nil {
				last = err
				continue
			}
			found = append(found, d.addr)
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	if err := d.slowDown(ctx, addresses); err != nil {
		return nil, err
	}
	if _, err := d.tooFast(); err != nil {
		return nil, d.asleep(false, last)
	}
	if len(odd) > 0 {
		return nil, fmt.Errorf("atecc: find: %w: %w at %s of %v: another device has the address, or the line is disturbed, or a chip is in the middle of a command, which it forgets within 13 s: %w", ErrNoChip, errOdd, list(odd), d.bus, pkcs11.CKR_TOKEN_NOT_PRESENT)
	}
	err = fmt.Errorf("atecc: find: %w at %s of %v: check the wiring, the power and the pull-ups, and that the bus runs at 100 kHz or less, or the wake pulse is too short; or give the address if it is another: %w", ErrNoChip, list(addresses), d.bus, pkcs11.CKR_TOKEN_NOT_PRESENT)
	if last != nil {
		err = fmt.Errorf("%w: %w", err, last)
	}
	return nil, err
}

// elsewhere turns the error of a chip that does not answer at the address it was
// said to have into a better one, if it answers at another or at another speed.
func (d *Device) elsewhere(ctx context.Context, cause error) error {
	addr := d.addr
	defer func() { d.addr = addr }()
	if err := d.slowDown(ctx, []uint16{addr}); err != nil {
		return err
	}
	if found, err := d.search(ctx); err == nil {
		return fmt.Errorf("atecc: %w: nothing answers at %#x of %v, but a chip does at %s: %w", ErrAddress, addr, d.bus, list(found), pkcs11.CKR_TOKEN_NOT_PRESENT)
	}
	return cause
}

func list(addrs []uint16) string {
	var b strings.Builder
	for i, a := range addrs {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%#x", a)
	}
	return b.String()
}

// probe wakes what is at the address and sees whether it speaks as the chip does.
func (d *Device) probe(ctx context.Context, window time.Duration) error {
	if err := d.sendPulse(); err != nil {
		return err
	}
	status, err := d.token(ctx, window)
	if err != nil {
		// A chip that a process has left awake does not notice the pulse. With an answer
		// that nobody took it says that again, with half a command it says nothing and
		// waits for the rest. Idle it takes the next pulse.
		if d.word(wordIdle) != nil {
			if errors.Is(err, errDamaged) {
				err = fmt.Errorf("%w: %w", errOdd, err)
			}
			return err
		}
		if err := d.sendPulse(); err != nil {
			return err
		}
		if status, err = d.token(ctx, window); err != nil {
			return fmt.Errorf("%w: %w", errOdd, err)
		}
	}
	if _, ok := statusText[status]; !ok {
		return errOdd
	}
	return d.word(wordIdle)
}
