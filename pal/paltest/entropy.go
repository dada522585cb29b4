package paltest

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
)

// TestEntropySource checks that a source keeps the promises of its interface, as
// far as they show: it fills what it is given, does not repeat itself, not after
// it was opened again either, and stays within what it says of its quality. open
// opens the source of the board, as a program does that starts; it closes it with
// t.Cleanup. About 20 KiB are drawn.
//
// That a source is random cannot be tested. This finds those that are not.
func TestEntropySource(t *testing.T, open func(t *testing.T) pal.EntropySource) {
	read := func(t *testing.T, s pal.EntropySource, n int) []byte {
		t.Helper()
		b := make([]byte, n)
		if err := s.ReadEntropy(b); err != nil {
			t.Fatalf("ReadEntropy of %d bytes: %v", n, err)
		}
		return b
	}
	t.Run("it is healthy", func(t *testing.T) {
		s := open(t)
		if err := s.Health(); err != nil {
			t.Errorf("Health before the first read: %v", err)
		}
		read(t, s, 64)
		if err := s.Health(); err != nil {
			t.Errorf("Health after a read: %v", err)
		}
	})
	t.Run("it says how good it is", func(t *testing.T) {
		s, ok := open(t).(pal.RatedSource)
		if !ok {
			t.Skip("it does not say: DefaultMinEntropy is believed")
		}
		if h := s.MinEntropy(); !(h > 0 && h <= 8) {
			t.Errorf("MinEntropy is %v, want more than 0 and at most 8", h)
		}
	})
	t.Run("it fills slices of every length to their end, and no further", func(t *testing.T) {
		s := open(t)
		for _, n := range []int{0, 1, 2, 3, 4, 5, 7, 8, 31, 32, 33, 48, 64, 127, 128, 129, 1024} {
			const rounds = 16
			touched := make([]bool, n)
			b := make([]byte, n+8)
			for range rounds {
				clear(b)
				if err := s.ReadEntropy(b[:n:n]); err != nil {
					t.Fatalf("ReadEntropy of %d bytes: %v", n, err)
				}
				for i, c := range b[:n] {
					touched[i] = touched[i] || c != 0
				}
				if !bytes.Equal(b[n:], make([]byte, 8)) {
					t.Fatalf("ReadEntropy of %d bytes wrote behind them", n)
				}
			}
			for i, ok := range touched {
				if !ok {
					t.Errorf("byte %d of %d was 0 in each of %d reads", i, n, rounds)
					break
				}
			}
		}
	})
	t.Run("it never repeats itself", func(t *testing.T) {
		a, b := open(t), open(t)
		seen := map[[32]byte]bool{}
		for range 64 {
			for _, s := range []pal.EntropySource{a, b} {
				c := [32]byte(read(t, s, 32))
				if seen[c] {
					t.Fatalf("32 bytes came twice")
				}
				seen[c] = true
			}
		}
	})
	t.Run("no byte comes most of the time", func(t *testing.T) {
		var count [256]int
		b := read(t, open(t), 4096)
		for _, c := range b {
			count[c]++
		}
		for c, n := range count {
			if n > len(b)*3/4 {
				t.Errorf("%d of %d bytes are %#x", n, len(b), c)
			}
		}
	})
}

// TestSeed checks that a Seed keeps the promises of its interface. open returns a
// seed that is not there yet. reopen ends the use of one, as the end of a program
// does, and opens the same medium again.
func TestSeed(t *testing.T, open func(t *testing.T) pal.Seed, reopen func(t *testing.T, s pal.Seed) pal.Seed) {
	write := func(t *testing.T, s pal.Seed, b []byte) {
		t.Helper()
		if err := s.WriteSeed(b); err != nil {
			t.Fatalf("WriteSeed of %d bytes: %v", len(b), err)
		}
	}
	want := func(t *testing.T, s pal.Seed, want []byte) {
		t.Helper()
		got := make([]byte, len(want))
		if err := s.ReadSeed(got); err != nil {
			t.Fatalf("ReadSeed of %d bytes: %v", len(want), err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("the seed is %x, want %x", got, want)
		}
	}
	first, second := pattern(pal.SeedLen), bytes.Repeat([]byte{0xff}, pal.SeedLen)
	t.Run("a missing seed is an error", func(t *testing.T) {
		if err := open(t).ReadSeed(make([]byte, pal.SeedLen)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadSeed: %v, want fs.ErrNotExist", err)
		}
	})
	t.Run("a seed comes back as it was written", func(t *testing.T) {
		s := open(t)
		write(t, s, first)
		want(t, s, first)
		want(t, s, first[:16])
		write(t, s, second)
		want(t, s, second)
	})
	t.Run("a seed that is too short is an error", func(t *testing.T) {
		s := open(t)
		write(t, s, first[:16])
		err := s.ReadSeed(make([]byte, pal.SeedLen))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadSeed of 48 bytes out of 16: %v", err)
		}
	})
	t.Run("WriteSeed does not keep the slice", func(t *testing.T) {
		s := open(t)
		b := bytes.Clone(first)
		write(t, s, b)
		clear(b)
		want(t, s, first)
	})
	t.Run("a seed persists", func(t *testing.T) {
		s := open(t)
		write(t, s, first)
		s = reopen(t, s)
		want(t, s, first)
		write(t, s, second)
		want(t, reopen(t, s), second)
	})
	t.Run("a locked seed can be used", func(t *testing.T) {
		s := open(t)
		l, ok := s.(pal.LockedSeed)
		if !ok {
			t.Skipf("%T is no pal.LockedSeed", s)
		}
		for range 3 {
			unlock, err := l.Lock()
			if err != nil {
				t.Fatal(err)
			}
			write(t, s, first)
			want(t, s, first)
			unlock()
		}
	})
}
