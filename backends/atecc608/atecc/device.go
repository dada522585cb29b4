package atecc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Opts are the options of New and Open. The zero value is right for a chip on a
// bus of at most 100 kHz that no other chip of its kind shares.
type Opts struct {
	// Address is the 7-bit address. Default: that of the one chip that answers
	// at 0x60 (as shipped), 0x35 (Trust&GO), 0x36 (TrustFLEX) or 0x59. An address
	// in 8-bit form (0xC0) is refused.
	Address uint16

	// Speed is what the bus runs at, where that is above 100 kHz: for the wake
	// pulse, which must hold SDA low for 60 µs, the bus is set to 100 kHz and then
	// back to this. Default: the speed of the bus is left alone. Buses of Linux
	// cannot change their speed: they must run at 100 kHz, or have a Pulse.
	Speed physic.Frequency

	// Pulse holds SDA low for at least 60 µs, by a GPIO line for example.
	// Default: a transfer to address 0, which does so at up to 133 kHz.
	Pulse func() error

	// Timeout bounds, in addition to the context of an operation, the wait for
	// other users of the chip and for each of its commands, with all repetitions.
	// Default 5 s.
	Timeout time.Duration

	// LockFile names a file in which the byte at the offset of the chip's address
	// is locked during each operation, so that processes that use the chip take
	// turns. It must exist and be writable. Default: the device file for a bus
	// of Linux, /dev/i2c-N, else none.
	LockFile string
}

const defaultTimeout = 5 * time.Second

// maxRuns is how often a sequence is run before its failure is reported.
const maxRuns = 5

// A Device is one chip. Its methods are safe for concurrent use: operations follow
// one another.
type Device struct {
	bus        i2c.Bus
	addr       uint16 // see setAddress
	moved      uint16 // the address that the chip may have from its next sleep on, or 0
	held       uint16 // the address that the lock is held for
	speed      physic.Frequency
	knownSpeed physic.Frequency // where the system tells
	pulse      func() error
	timeout    time.Duration
	lock       *fileLock
	closer     io.Closer // the bus, if Open opened it

	gate chan struct{} // holds a token while no operation runs

	// The rest belongs to who holds the gate.
	closed bool
	woken  time.Time
	paces  map[byte]*pace
	ratio  float64 // of the last new pace to the longest time
	out    []byte  // what is written; of the heap, since periph hands its address to the kernel
	in     []byte

	mu     sync.Mutex
	config Config      // as last read
	keys   [16]*pubKey // of private keys, as last seen
}

// New finds the chip on the bus, reads its configuration and leaves it idle. It
// changes nothing on it. The bus stays the caller's.
//
// It fails with CKR_TOKEN_NOT_PRESENT and ErrNoChip if no chip answers.
func New(ctx context.Context, bus i2c.Bus, opts *Opts) (*Device, error) {
	var o Opts
	if opts != nil {
		o = *opts
	}
	if o.Address > 0x77 || o.Address != 0 && o.Address < 0x08 {
		return nil, fmt.Errorf("atecc: address %#x: %w: it is the 7-bit form that counts, such as 0x60 for 0xC0", o.Address, pkcs11.CKR_ARGUMENTS_BAD)
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Timeout < 0 || o.Speed < 0 || o.Speed > physic.MegaHertz {
		return nil, fmt.Errorf("atecc: timeout %v, speed %v: %w: at least 0, and at most 1 MHz", o.Timeout, o.Speed, pkcs11.CKR_ARGUMENTS_BAD)
	}
	d := &Device{
		bus: bus, addr: o.Address, speed: o.Speed, pulse: o.Pulse, timeout: o.Timeout,
		gate:  make(chan struct{}, 1),
		paces: make(map[byte]*pace),
		out:   make([]byte, 0, maxCommand),
		in:    make([]byte, maxAnswer),
	}
	d.gate <- struct{}{}
	d.knownSpeed = speedOf(bus)
	file := o.LockFile
	if file == "" {
		file = lockFileOf(bus)
	}
	if file != "" {
		l, err := openLock(file)
		if err != nil {
			return nil, fmt.Errorf("atecc: lock: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
		}
		d.lock = l
	}
	if err := d.start(ctx); err != nil {
		d.lock.close()
		return nil, err
	}
	return d, nil
}

func (d *Device) start(ctx context.Context) error {
	if d.addr == 0 {
		if err := d.exclusive(ctx, addresses, d.find); err != nil {
			return err
		}
	}
	_, err := d.ReadConfig(ctx)
	if errors.Is(err, ErrNoChip) {
		cause := fmt.Errorf("%w: %w", pkcs11.CKR_TOKEN_NOT_PRESENT, err)
		return d.exclusive(ctx, append([]uint16{d.addr}, addresses...), func(ctx context.Context) error { return d.elsewhere(ctx, cause) })
	}
	return err
}

// exclusive runs f with nobody else on the chips at those addresses.
func (d *Device) exclusive(ctx context.Context, addrs []uint16, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.timeout, ErrTimeout)
	defer cancel()
	for _, a := range addrs {
		if err := d.take(ctx, a); err != nil {
			return err
		}
		defer d.lock.unlock(a)
	}
	return f(ctx)
}

// Close puts the chip to sleep, which clears its RAM, and releases the lock. The
// bus is closed only if Open opened it. Later operations fail with ErrClosed.
func (d *Device) Close() error {
	<-d.gate
	defer d.release()
	if d.closed {
		return nil
	}
	d.closed = true
	if d.lock.try(d.addr) {
		// Asleep or awake, the chip is asleep after this, unless the bus fails.
		if d.pulseOnce() == nil {
			_ = d.word(wordSleep)
		}
		d.lock.unlock(d.addr)
	}
	clear(d.in)
	err := d.lock.close()
	if d.closer != nil {
		err = errors.Join(err, d.closer.Close())
	}
	return err
}

func (d *Device) release() { d.gate <- struct{}{} }

// Address is the chip's 7-bit address.
func (d *Device) Address() uint16 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.addr
}

// setAddress is for who holds the gate, and so may read d.addr as it is.
func (d *Device) setAddress(a uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addr = a
}

// String names the chip by bus and address.
func (d *Device) String() string { return fmt.Sprintf("ATECC608 at %v:%#x", d.bus, d.Address()) }

// Config is the configuration zone as it was last read or changed by this Device;
// ReadConfig reads it again.
func (d *Device) Config() Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config
}

// A Sequence is the chip awake, for the duration of one Device.Do. Its methods are
// the commands; it must not be used by several goroutines, nor after Do.
type Sequence struct {
	d   *Device
	ctx context.Context

	timer *time.Timer // of Opts.Timeout

	run   int   // how often the sequence has begun
	ran   int   // commands that the chip carried out
	once  bool  // one of them must not be carried out again
	maybe bool  // the last of those may have been
	lost  error // why the chip may have slept: nothing runs any more

	authorized bool // the chip lets keys be used that it would not before

	prev [statusGroup]byte // how the answer to the last command begins
}

// Do wakes the chip, runs f, and leaves the chip idle, with nobody else using it
// meanwhile. If the chip may have fallen asleep in between, which loses TempKey
// and all else in its RAM, f is run again from its start: it must not do anything
// that cannot be done twice. After a command that must not be repeated
// (Sequence.Increment, DeriveKey, Lock, and use of a key with limited uses) f is
// not run again, and the error is ErrUncertain if the answer to just that command
// was lost.
//
// The time is bounded by ctx and by Opts.Timeout. f must not use d.
func (d *Device) Do(ctx context.Context, f func(*Sequence) error) error {
	return d.do(ctx, false, f)
}

// do is Do; resolves is a sequence that begins by finding out what a run before it
// has done.
func (d *Device) do(ctx context.Context, resolves bool, f func(*Sequence) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(d.timeout, func() { cancel(ErrTimeout) })
	defer cancel(nil)
	defer timer.Stop()
	if err := d.acquire(ctx); err != nil {
		return err
	}
	defer d.free()
	maybe := false
	for run := 1; ; run++ {
		s := &Sequence{d: d, ctx: ctx, timer: timer, run: run, maybe: maybe}
		err := s.begin()
		if err == nil {
			err = f(s)
		}
		s.end()
		if err == nil {
			return nil
		}
		over := s.lost == nil || run == maxRuns || ended(ctx) != nil
		switch {
		case s.maybe && (over || !resolves):
			return fmt.Errorf("atecc: %w: %w: %w", ErrUncertain, pkcs11.CKR_DEVICE_ERROR, err)
		case s.lost == nil || ended(ctx) != nil:
			return err
		case over || s.once && !resolves:
			return fmt.Errorf("atecc: %w: %w: %w", ErrComm, pkcs11.CKR_DEVICE_ERROR, s.lost)
		}
		maybe = s.maybe
	}
}

// acquire waits for the gate and for other processes.
func (d *Device) acquire(ctx context.Context) error {
	select {
	case <-d.gate:
	case <-ctx.Done():
		return ended(ctx)
	}
	if d.closed {
		d.release()
		return fmt.Errorf("atecc: %w: %w", ErrClosed, pkcs11.CKR_DEVICE_ERROR)
	}
	if err := d.take(ctx, d.addr); err != nil {
		d.release()
		return err
	}
	d.held = d.addr
	return nil
}

// take waits for the lock of an address.
func (d *Device) take(ctx context.Context, addr uint16) error {
	for pause := time.Millisecond; !d.lock.try(addr); pause = min(2*pause, 16*time.Millisecond) {
		if err := wait(ctx, pause); err != nil {
			return fmt.Errorf("%w: %w", err, ErrInUse)
		}
	}
	return nil
}

func (d *Device) free() {
	clear(d.out[:cap(d.out)])
	clear(d.in)
	d.lock.unlock(d.held)
	d.release()
}

// wait waits, less if ctx ends.
func wait(ctx context.Context, t time.Duration) error {
	if err := ended(ctx); err != nil || t <= 0 {
		return err
	}
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// ended is the error of a context that has ended: of the caller's, its own, or
// ErrTimeout.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, ErrTimeout) {
		return fmt.Errorf("atecc: %w: %w", ErrTimeout, pkcs11.CKR_DEVICE_ERROR)
	}
	return fmt.Errorf("atecc: %w", ctx.Err())
}
