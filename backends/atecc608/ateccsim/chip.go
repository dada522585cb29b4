package ateccsim

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/i2csock"
)

// ErrNACK is the error of a transfer that nobody acknowledged: the chip is
// asleep or busy, the address is another, or it was a wake pulse.
var ErrNACK = i2csock.ErrNACK

// ErrBus is the error of a transfer on a bus that is stuck.
var ErrBus = i2csock.ErrBus

// Options of a chip. The zero value is a chip at 100 kHz that answers at once.
type Options struct {
	// Random is where the chip's random numbers come from: Random, Nonce, keys,
	// nonces of encrypted output. Default crypto/rand. The k of ECDSA is always
	// from crypto/rand. An error is a failed health test.
	Random io.Reader

	Clock  Clock  // default SystemClock
	Timing Timing // default Instant

	// Watchdog is the time from wake to sleep. Default: none with Instant, else
	// 1.3 s, or 13 s where ChipMode asks for it. Negative: none.
	Watchdog time.Duration

	// Speed is that of the bus until SetSpeed, default 100 kHz. A wake pulse
	// above 133 kHz is too short and does nothing.
	Speed physic.Frequency

	// TrafficWakes makes any address byte that holds SDA low for 60 µs a wake
	// pulse, as on a real bus with other devices.
	TrafficWakes bool

	Open   Questions // what silicon does is not known for certain
	Faults *Faults   // default none

	// Save is called after each command that changed the state, with the bus
	// held. Its error stays: all later transfers fail with it.
	Save func(*State) error

	// Trace is called after each transfer, with the bus held.
	Trace func(Event)
}

// A Chip is a simulated ATECC608 alone on an I²C bus. Its methods are safe for
// concurrent use: transfers of several masters follow one another, as on the
// wire.
type Chip struct {
	bus  chan struct{} // holds one token while nobody is on the bus
	opts Options
	rng  *mrand.Rand // execution times
	ee   State
	err  error

	speed physic.Frequency
	addr  uint16
	power powerState

	wokenAt   time.Time
	busyFrom  time.Time
	busyUntil time.Time
	changed   []change // EEPROM bytes that the last command wrote
	dirty     bool

	op     byte   // of the last command since the wake pulse
	in     []byte // the group being received
	out    []byte // the answer
	outPos int
	outBuf [2 + maxRequest]byte

	vol      volatile
	latch    bool // kept asleep, lost without power
	noBoot   bool // SecureBoot prohibited until power is removed
	failures byte // the tests that SelfTest found failing
}

var _ i2c.Bus = (*Chip)(nil)

// New makes a chip from s, powered and asleep. It copies s.
func New(s *State, opts *Options) (*Chip, error) {
	if s == nil {
		return nil, errors.New("ateccsim: no state")
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.useLock() && (opts == nil || !opts.Open.TransportLock) {
		return nil, errors.New("ateccsim: configuration: byte 68 enables the transport lock, whose meaning is not public: Questions.TransportLock takes a guess")
	}
	c := &Chip{bus: make(chan struct{}, 1), ee: *s, rng: mrand.New(mrand.NewPCG(1, 2))}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.Random == nil {
		c.opts.Random = rand.Reader
	}
	if c.opts.Clock == nil {
		c.opts.Clock = SystemClock{}
	}
	if c.opts.Faults == nil {
		c.opts.Faults = new(Faults)
	}
	c.opts.Faults.traced = c.opts.Trace != nil
	c.speed = c.opts.Speed
	if c.speed == 0 {
		c.speed = 100 * physic.KiloHertz
	}
	if t := c.opts.Timing; c.speed < 0 || t.Min < 0 || t.Max < t.Min {
		return nil, fmt.Errorf("ateccsim: timing from %d%% to %d%% at %v", t.Min, t.Max, c.speed)
	}
	c.powerUp()
	c.bus <- struct{}{}
	return c, nil
}

// String is the name of the bus.
func (c *Chip) String() string { return "ateccsim" }

// GoString is String: a chip is full of keys.
func (c *Chip) GoString() string { return "ateccsim" }

// SetSpeed sets the speed of the bus, up to the 1 MHz of the chip.
func (c *Chip) SetSpeed(f physic.Frequency) error {
	if f <= 0 || f > physic.MegaHertz {
		return fmt.Errorf("ateccsim: bus speed %v: must be above 0 and at most 1MHz", f)
	}
	<-c.bus
	defer c.release()
	c.speed = f
	return nil
}

// State is a copy of all that the chip stores, keys included. It is for tests
// and for files; nothing on the bus reads it.
func (c *Chip) State() *State {
	<-c.bus
	defer c.release()
	s := c.ee
	return &s
}

// PowerOff takes the power away. Of a command that is being executed, as many
// of its EEPROM bytes are written as its time allowed.
func (c *Chip) PowerOff() {
	<-c.bus
	defer c.release()
	c.powerOff()
	c.save()
}

// PowerOn gives power: the chip is asleep then. It does nothing to a chip that
// has power.
func (c *Chip) PowerOn() {
	<-c.bus
	defer c.release()
	if c.power == off {
		c.powerUp()
	}
}

// Off reports a chip without power, which PowerOff or a fault brings about.
func (c *Chip) Off() bool {
	<-c.bus
	defer c.release()
	return c.power == off
}

func (c *Chip) release() { c.bus <- struct{}{} }

// now is the time, for a chip to which time means something.
func (c *Chip) now() time.Time {
	if c.opts.Timing.Max == 0 && c.opts.Watchdog <= 0 {
		return time.Time{}
	}
	return c.opts.Clock.Now()
}

func (c *Chip) save() {
	if !c.dirty {
		return
	}
	c.dirty = false
	if c.opts.Save == nil || c.err != nil {
		return
	}
	s := c.ee
	if err := c.opts.Save(&s); err != nil {
		c.err = fmt.Errorf("ateccsim: the state is not saved: %w", err)
	}
}
