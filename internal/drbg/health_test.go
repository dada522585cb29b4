package drbg

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// The examples of SP 800-90B, table 2, for a chance of 2^-20.
func TestProportionCutoff(t *testing.T) {
	for h, want := range map[float64]int{0.5: 410, 1: 311, 2: 177, 4: 62, 8: 13} {
		if got := proportionCutoff(h, 20); got != want {
			t.Errorf("H=%v: %d, want %d", h, got, want)
		}
	}
}

// The example of SP 800-90B, section 4.4.1: 2 bits, 2^-20, 11. The others follow
// from the formula.
func TestRepetitionCutoff(t *testing.T) {
	for h, want := range map[float64]int{0.5: 41, 1: 21, 2: 11, 8: 4, 7.9: 4} {
		if got := repetitionCutoff(h, 20); got != want {
			t.Errorf("H=%v: %d, want %d", h, got, want)
		}
	}
}

func TestHealth(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	good := func(n int) []byte {
		b := make([]byte, n)
		r.Read(b)
		return b
	}
	t.Run("random bytes pass", func(t *testing.T) {
		if err := newHealth(8).test(good(1 << 20)); err != nil {
			t.Error(err)
		}
	})
	for name, b := range map[string][]byte{
		"zeros":                       make([]byte, 64),
		"a source that gets stuck":    append(good(5000), make([]byte, 64)...),
		"one byte is twice too often": often(good(1<<16), 20),
	} {
		t.Run(name+" fail", func(t *testing.T) {
			if err := newHealth(8).test(b); !errors.Is(err, ErrHealth) {
				t.Errorf("%v, want %v", err, ErrHealth)
			}
		})
	}
	t.Run("the cut-offs are met exactly", func(t *testing.T) {
		h := newHealth(1)
		if h.repetitions != 41 {
			t.Fatalf("%d repetitions, want 41", h.repetitions)
		}
		if err := h.test(make([]byte, 40)); err != nil {
			t.Errorf("40 zeros: %v", err)
		}
		if err := h.test(make([]byte, 1)); err == nil {
			t.Error("41 zeros pass")
		}
	})
	t.Run("the window is met exactly", func(t *testing.T) {
		// Zero and one by turns: 256 zeros a window pass with one bit of min-entropy.
		b := make([]byte, 4*window)
		for i := range b {
			b[i] = byte(i & 1)
		}
		if err := newHealth(1).test(b); err != nil {
			t.Error(err)
		}
		h := newHealth(1)
		for i := range h.proportion { // a window of zeros as many as fail, one 1 in between
			if i%30 == 29 {
				if err := h.test([]byte{1}); err != nil {
					t.Fatal(err)
				}
			}
			err := h.test([]byte{0})
			if last := i == h.proportion-1; last != errors.Is(err, ErrHealth) {
				t.Fatalf("zero %d of a limit of %d: %v", i+1, h.proportion, err)
			}
		}
	})
}

// often makes every n-th byte 0.
func often(b []byte, n int) []byte {
	for i := 0; i < len(b); i += n {
		b[i] = 0
	}
	return b
}
