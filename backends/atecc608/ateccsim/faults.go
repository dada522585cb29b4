package ateccsim

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// A FaultKind is something that goes wrong, at the events that it names.
type FaultKind string

// The faults. An answer that is damaged does not have the right CRC by chance.
const (
	DropWake    FaultKind = "drop-wake"    // a wake pulse that would wake does not
	CorruptIn   FaultKind = "corrupt-in"   // a bit of a received command flips
	CorruptOut  FaultKind = "corrupt-out"  // a bit of bytes that are read flips
	NACK        FaultKind = "nack"         // the chip's address is not acknowledged though it is ready
	StuckBus    FaultKind = "stuck-bus"    // a transfer fails with ErrBus
	ShortRead   FaultKind = "short-read"   // a read ends early, the rest is FF
	SelfTest    FaultKind = "self-test"    // a run of the self-test fails
	HealthTest  FaultKind = "health-test"  // the random number generator fails
	WatchdogNow FaultKind = "watchdog"     // the watchdog expires before a transfer
	WatchdogCut FaultKind = "watchdog-cut" // the watchdog expires before an EEPROM byte is written
	PowerCut    FaultKind = "power-cut"    // the power goes before an EEPROM byte is written
	PowerCutTx  FaultKind = "power-cut-tx" // the power goes before a transfer
)

var faultKinds = []FaultKind{
	DropWake, CorruptIn, CorruptOut, NACK, StuckBus, ShortRead, SelfTest, HealthTest,
	WatchdogNow, WatchdogCut, PowerCut, PowerCutTx,
}

// A Rule says when a fault happens: from the event number At on (1 is the first
// after the rule was made, 0 means 1), Count times (0 is once with At, else
// always), each time with probability Rate (0 means 1). Where Op is not 0, only
// events count that belong to a command with that opcode: from the transfer that
// completes it up to the next command or wake pulse. Tests is for SelfTest: the
// tests that fail, as bits of its Param1, 0 for SHA (0x20).
type Rule struct {
	Kind  FaultKind
	At    int
	Count int
	Rate  float64
	Op    byte
	Tests byte
}

// Faults are the rules of one chip. It must not be used by two.
type Faults struct {
	rules  []*rule
	rng    *rand.Rand
	traced bool
	recent []FaultKind // since the last drain, if traced
}

type rule struct {
	Rule
	seen, fired int
}

// NewFaults returns the rules; the same seed gives the same faults.
func NewFaults(seed uint64, rules ...Rule) *Faults {
	f := &Faults{rng: rand.New(rand.NewPCG(seed, 608))}
	for _, r := range rules {
		f.rules = append(f.rules, &rule{Rule: r})
	}
	return f
}

// ParseFaults reads the form of the command line: rules separated by commas,
// each a kind with options after colons, such as
//
//	nack:rate=0.01,corrupt-out:rate=0.001,power-cut:at=17,seed=4
func ParseFaults(s string) (*Faults, error) {
	var rules []Rule
	var seed uint64
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if v, ok := strings.CutPrefix(part, "seed="); ok {
			var err error
			if seed, err = strconv.ParseUint(v, 0, 64); err != nil {
				return nil, fmt.Errorf("ateccsim: faults: seed %q is no number", v)
			}
			continue
		}
		r, err := parseRule(part)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return NewFaults(seed, rules...), nil
}

func parseRule(s string) (Rule, error) {
	fields := strings.Split(s, ":")
	r := Rule{Kind: FaultKind(fields[0])}
	known := false
	names := make([]string, len(faultKinds))
	for i, k := range faultKinds {
		known = known || k == r.Kind
		names[i] = string(k)
	}
	if !known {
		return r, fmt.Errorf("ateccsim: faults: no kind %q: there are %s", fields[0], strings.Join(names, ", "))
	}
	for _, f := range fields[1:] {
		name, v, _ := strings.Cut(f, "=")
		var err error
		switch name {
		case "at":
			r.At, err = strconv.Atoi(v)
		case "count":
			r.Count, err = strconv.Atoi(v)
		case "rate":
			r.Rate, err = strconv.ParseFloat(v, 64)
			if !(r.Rate >= 0 && r.Rate <= 1) {
				err = strconv.ErrRange
			}
		case "op", "tests":
			var b uint64
			if b, err = strconv.ParseUint(v, 0, 8); name == "op" {
				r.Op = byte(b)
			} else {
				r.Tests = byte(b)
			}
		default:
			return r, fmt.Errorf("ateccsim: faults: %s: no option %q: there are at, count, rate, op, tests", r.Kind, name)
		}
		if err != nil || r.At < 0 || r.Count < 0 {
			return r, fmt.Errorf("ateccsim: faults: %s: %s=%q is not valid", r.Kind, name, v)
		}
	}
	return r, nil
}

// Fired is how many faults there have been. It must not be called while the chip
// is used.
func (f *Faults) Fired() int {
	n := 0
	for _, r := range f.rules {
		n += r.fired
	}
	return n
}

// fires counts an event of that kind in the command op and reports whether it
// goes wrong.
func (f *Faults) fires(k FaultKind, op byte) bool {
	return f.which(k, op) != nil
}

// which is the rule by which an event goes wrong, or nil.
func (f *Faults) which(k FaultKind, op byte) (hit *rule) {
	for _, r := range f.rules {
		if r.Kind != k || r.Op != 0 && r.Op != op {
			continue
		}
		r.seen++
		count := r.Count
		if count == 0 && r.At > 0 {
			count = 1
		}
		if r.seen < r.At || count > 0 && r.fired >= count {
			continue
		}
		if r.Rate > 0 && f.rng.Float64() >= r.Rate {
			continue
		}
		r.fired++
		hit = r
	}
	if hit != nil && f.traced {
		f.recent = append(f.recent, k)
	}
	return hit
}

// drain is the faults since it was called last.
func (f *Faults) drain() []FaultKind {
	recent := f.recent
	f.recent = nil
	return recent
}

// selfTest is the bits of tests that fail of those that run.
func (f *Faults) selfTest(run, op byte) byte {
	r := f.which(SelfTest, op)
	if r == nil {
		return 0
	}
	if r.Tests == 0 {
		return 0x20 & run
	}
	return r.Tests & run
}

// flip inverts a bit of b.
func (f *Faults) flip(b []byte) {
	b[f.below(len(b))] ^= 1 << f.below(8)
}

func (f *Faults) below(n int) int {
	return f.rng.IntN(n)
}
