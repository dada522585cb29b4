package drbg

import (
	"errors"
	"fmt"
	"math"
)

// The health tests of SP 800-90B, section 4.4. A sample is a byte.
const (
	// falseAlarm is the chance in powers of two that a good source fails a test:
	// the least that the standard allows, since a source that has failed is not
	// used again.
	falseAlarm = 40

	window  = 512  // samples of the adaptive proportion test, section 4.4.2
	startup = 1024 // samples that are tested before the first use, section 4.3
)

// ErrHealth says that the bytes of a source are not random. It does not pass.
var ErrHealth = errors.New("the source of entropy fails its health test")

// health is the state of the continuous tests of one source.
type health struct {
	repetitions, proportion int // cut-off values

	last byte
	run  int // how often last came in a row; 0 before the first sample

	first byte // of the window
	count int  // how often it was in it
	seen  int  // samples in the window
}

// newHealth returns the tests for a source that delivers at least so many bits
// of min-entropy in each byte.
func newHealth(minEntropy float64) *health {
	return &health{
		repetitions: repetitionCutoff(minEntropy, falseAlarm),
		proportion:  proportionCutoff(minEntropy, falseAlarm),
	}
}

// repetitionCutoff is C of section 4.4.1 for a chance of 2^-alpha.
func repetitionCutoff(minEntropy float64, alpha int) int {
	return 1 + int(math.Ceil(float64(alpha)/minEntropy))
}

// proportionCutoff is C of section 4.4.2 for a chance of 2^-alpha: one more than
// the smallest number that a binomial distribution exceeds with that chance at
// most.
func proportionCutoff(minEntropy float64, alpha int) int {
	p := math.Exp2(-minEntropy)
	limit := math.Exp2(-float64(alpha))
	lgamma := func(n int) float64 { v, _ := math.Lgamma(float64(n + 1)); return v }
	tail := 0.0
	for k := window; k > 0; k-- {
		tail += math.Exp(lgamma(window) - lgamma(k) - lgamma(window-k) +
			float64(k)*math.Log(p) + float64(window-k)*math.Log1p(-p))
		if tail > limit {
			return k + 1
		}
	}
	return 1
}

// test feeds samples to both tests. After an error the source is not used again.
func (h *health) test(samples []byte) error {
	for _, s := range samples {
		if h.run > 0 && s == h.last {
			h.run++
		} else {
			h.last, h.run = s, 1
		}
		if h.run >= h.repetitions {
			return fmt.Errorf("%w: a byte came %d times in a row", ErrHealth, h.run)
		}
		switch {
		case h.seen == 0:
			h.first, h.count = s, 1
		case s == h.first:
			h.count++
		}
		if h.count >= h.proportion {
			return fmt.Errorf("%w: a byte came %d times among %d", ErrHealth, h.count, h.seen+1)
		}
		if h.seen++; h.seen == window {
			h.seen = 0
		}
	}
	return nil
}
