package ateccsim

import (
	"sync"
	"time"

	"periph.io/x/conn/v3/physic"
)

// A Clock is the time that a chip lives in. It is asked before each transfer and
// sleeps for as long as the transfer takes on the wire.
type Clock interface {
	Now() time.Time
	Sleep(time.Duration)
}

// SystemClock is the time of the process, and in a testing/synctest bubble the
// time of the bubble.
type SystemClock struct{}

// Now is time.Now.
func (SystemClock) Now() time.Time { return time.Now() }

// Sleep is time.Sleep.
func (SystemClock) Sleep(d time.Duration) { time.Sleep(d) }

// A ManualClock stands still except when it sleeps, which takes no time. It is
// safe for concurrent use; the zero value is ready.
type ManualClock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time that has been slept.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Sleep moves the clock on by d, at once.
func (c *ManualClock) Sleep(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Timing says how long things take.
type Timing struct {
	// Min and Max bound the execution time of a command in percent of the
	// longest time that is documented for it. Between them it is drawn anew for
	// each command. Both 0: no command takes time, and neither does waking.
	Min, Max int

	// Wire makes transfers take the time of their bits at the bus speed.
	Wire bool
}

// The timings that the command line knows by name.
var (
	Instant   = Timing{}
	Realistic = Timing{Min: 30, Max: 100, Wire: true}
	Half      = Timing{Min: 50, Max: 50, Wire: true}
	Full      = Timing{Min: 100, Max: 100, Wire: true}
)

// wakeDelay is tWHI: so long after a wake pulse the chip does not answer; with
// the self-test at each wake it is wakeDelayTested.
const (
	wakeDelay       = 1500 * time.Microsecond
	wakeDelayTested = 20 * time.Millisecond
	wakePulse       = 60 * time.Microsecond // tWLO, the shortest that wakes
	refusalTime     = time.Millisecond      // what an error of form takes

	watchdogShort = 1300 * time.Millisecond
	watchdogLong  = 13 * time.Second
)

// wire is the time of that many bits on the bus.
func wire(bits int, f physic.Frequency) time.Duration {
	return time.Duration(bits) * f.Period()
}

// pulse is how long the address byte holds SDA low in one piece.
func pulse(b byte, f physic.Frequency) time.Duration {
	longest, run := 0, 0
	for i := 7; i >= 0; i-- {
		if b>>i&1 != 0 {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return wire(longest, f)
}

// busy sets how long the command of the longest documented time takes, given in
// milliseconds for the three clock dividers.
func (c *Chip) busyFor(d time.Duration) {
	t := c.opts.Timing
	if t.Max == 0 {
		return
	}
	percent := t.Min
	if t.Max > t.Min {
		percent += c.rng.IntN(t.Max - t.Min + 1)
	}
	c.busyFrom = c.now()
	c.busyUntil = c.busyFrom.Add(d * time.Duration(percent) / 100)
}

// divider is 0, 1 or 2 for the clock dividers M0, M1 and M2 of ChipMode.
func (c *Chip) divider() int {
	switch c.ee.Config[cfgChipMode] & 0xF8 {
	case 0x28:
		return 1
	case 0x68:
		return 2
	}
	return 0
}

// watchdog is the time from wake to sleep, 0 for never.
func (c *Chip) watchdog() time.Duration {
	switch {
	case c.opts.Watchdog < 0, c.opts.Watchdog == 0 && c.opts.Timing.Max == 0:
		return 0
	case c.opts.Watchdog > 0:
		return c.opts.Watchdog
	case c.ee.Config[cfgChipMode]&chipModeWatchdog != 0:
		return watchdogLong
	}
	return watchdogShort
}
