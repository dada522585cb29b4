// Package atecctest repeats an operation on simulated chips with a fault at each
// place where there can be one.
package atecctest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Scenario is an operation that has to survive faults.
type Scenario struct {
	// State is the chip before the operation.
	State *ateccsim.State

	// Options of the chip; Faults are replaced.
	Options ateccsim.Options

	// Deadline is what the operation may take, of the bubble's time. Default 60 s.
	Deadline time.Duration

	// Run does the operation, from opening the chip on. It returns the operation's
	// error, or that of a result that is wrong, wrapped in Wrong.
	Run func(ctx context.Context, bus i2c.Bus) error

	// After is called when there are no faults and there is power again, with
	// what Run returned, to check that chip and host agree and to continue what was
	// not finished. May be nil.
	After func(ctx context.Context, chip *ateccsim.Chip, ran error) error
}

// Wrong marks a wrong result: no fault excuses it.
type Wrong struct{ Err error }

func (w Wrong) Error() string { return "wrong result: " + w.Err.Error() }

// Unwrap returns the error.
func (w Wrong) Unwrap() error { return w.Err }

// Wrongf makes a Wrong.
func Wrongf(format string, args ...any) error { return Wrong{fmt.Errorf(format, args...)} }

// A Fault is a kind of fault and how it goes on.
type Fault struct {
	Kind ateccsim.FaultKind

	// Count is how often it happens from its place on; 0 is once.
	Count int

	// Flicker gives power again at the next transfer, instead of when Run has
	// returned.
	Flicker bool
}

// Forever as a Count lasts until Run has returned.
const Forever = 1 << 30

// Faults are all of them, as Sweep tries them by default: short ones, which an
// operation should outlive, and those that last.
func Faults() []Fault {
	var all []Fault
	for _, k := range []ateccsim.FaultKind{
		ateccsim.DropWake, ateccsim.CorruptIn, ateccsim.CorruptOut, ateccsim.NACK, ateccsim.StuckBus, ateccsim.ShortRead,
	} {
		all = append(all, Fault{Kind: k}, Fault{Kind: k, Count: 3}, Fault{Kind: k, Count: Forever})
	}
	all = append(all, Fault{Kind: ateccsim.HealthTest}, Fault{Kind: ateccsim.HealthTest, Count: Forever})
	for _, k := range []ateccsim.FaultKind{ateccsim.WatchdogNow, ateccsim.WatchdogCut} {
		all = append(all, Fault{Kind: k}, Fault{Kind: k, Count: 2})
	}
	for _, k := range []ateccsim.FaultKind{ateccsim.PowerCut, ateccsim.PowerCutTx} {
		all = append(all, Fault{Kind: k}, Fault{Kind: k, Flicker: true})
	}
	return all
}

func (f Fault) String() string {
	switch {
	case f.Flicker:
		return string(f.Kind) + " and back"
	case f.Count == Forever:
		return string(f.Kind) + " for ever"
	case f.Count > 1:
		return fmt.Sprintf("%s %d times", f.Kind, f.Count)
	}
	return string(f.Kind)
}

// brief is a fault that an operation should get over by itself.
func (f Fault) brief() bool {
	switch f.Kind {
	case ateccsim.HealthTest:
		return false
	case ateccsim.PowerCut, ateccsim.PowerCutTx:
		return f.Flicker
	}
	return f.Count <= 1
}

// Sweep runs the scenario with each of the faults (default Faults) at each place
// where it can happen, every step-th of them: at each transfer, each answer, each
// byte of EEPROM that is written. It fails if an operation ends after its
// deadline, with an error that wraps no code, or Wrong; if one that a single,
// short fault met gives up for another reason than those in excused; or if After
// is not content.
func Sweep(t *testing.T, s Scenario, step int, excused func(error) bool, faults ...Fault) {
	t.Helper()
	if len(faults) == 0 {
		faults = Faults()
	}
	for _, f := range faults {
		t.Run(f.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				places := 0
				for at := 1; s.once(t, f, at, excused); at += max(step, 1) {
					places++
				}
				t.Logf("%d places", places)
			})
		})
	}
}

// once runs the scenario with the fault at one place, and reports whether there is
// such a place.
func (s *Scenario) once(t *testing.T, f Fault, at int, excused func(error) bool) bool {
	t.Helper()
	opts := s.Options
	opts.Faults = ateccsim.NewFaults(uint64(at), ateccsim.Rule{Kind: f.Kind, At: at, Count: max(f.Count, 1)})
	chip, err := ateccsim.New(s.State, &opts)
	if err != nil {
		t.Fatal(err)
	}
	deadline := s.Deadline
	if deadline == 0 {
		deadline = time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	start := time.Now()
	bus := &flicker{Chip: chip, on: f.Flicker}
	ran := s.Run(ctx, bus)
	switch took := time.Since(start); {
	case took > deadline:
		t.Errorf("%v at %d: took %v", f, at, took)
	case ran == nil:
	case isWrong(ran):
		t.Errorf("%v at %d: %v", f, at, ran)
	case pkcs11.CodeOf(ran) == pkcs11.CKR_GENERAL_ERROR:
		t.Errorf("%v at %d: an error without code: %v", f, at, ran)
	case f.brief() && (excused == nil || !excused(ran)):
		t.Errorf("%v at %d: given up: %v", f, at, ran)
	}
	fired := opts.Faults.Fired() > 0
	*opts.Faults = *ateccsim.NewFaults(0)
	chip.PowerOff()
	chip.PowerOn()
	if s.After != nil {
		if err := s.After(t.Context(), chip, ran); err != nil {
			t.Errorf("%v at %d: afterwards: %v (the operation: %v)", f, at, err, ran)
		}
	}
	return fired && !t.Failed()
}

func isWrong(err error) bool {
	var w Wrong
	return errors.As(err, &w)
}

// A flicker is a chip that gets its power back at once.
type flicker struct {
	*ateccsim.Chip
	on bool
}

// Tx is that of the chip.
func (b *flicker) Tx(addr uint16, w, r []byte) error {
	if b.on && b.Off() {
		b.PowerOn()
	}
	return b.Chip.Tx(addr, w, r)
}
