package pal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

// Or paltest leaves that out.
var (
	_ pal.LockedSeed = (*pal.RecordSeed)(nil)
	_ pal.LockedSeed = (*pal.FileSeed)(nil)
)

func TestRecordSeed(t *testing.T) {
	var m *pal.Mem
	paltest.TestSeed(t, func(t *testing.T) pal.Seed {
		m = new(pal.Mem)
		return pal.StoreSeed(m, "seed")
	}, func(*testing.T, pal.Seed) pal.Seed {
		return pal.StoreSeed(m, "seed")
	})
}

// TestRecordSeedFormat holds the record of format version 1, for ever.
func TestRecordSeedFormat(t *testing.T) {
	var m pal.Mem
	seed := bytes.Repeat([]byte("0123456789abcdef"), 3)
	golden := append([]byte{1}, seed...)
	if err := pal.StoreSeed(&m, "seed").WriteSeed(seed); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Load("seed"); err != nil || !bytes.Equal(got, golden) {
		t.Errorf("the record is %q, %v, want %q", got, err, golden)
	}
	for _, record := range [][]byte{{2}, append([]byte{2}, seed...), append([]byte{0}, seed...), golden[:48]} {
		if err := m.Save("seed", record); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, pal.SeedLen)
		err := pal.StoreSeed(&m, "seed").ReadSeed(b)
		if err == nil || !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("record %q: %q, %v", record, b, err)
		}
		if record[0] == 2 && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a newer version: %v", err)
		}
	}
}

func TestFileSeed(t *testing.T) {
	var path string
	paltest.TestSeed(t, func(t *testing.T) pal.Seed {
		path = filepath.Join(t.TempDir(), "seed")
		return pal.NewFileSeed(path)
	}, func(*testing.T, pal.Seed) pal.Seed {
		return pal.NewFileSeed(path)
	})
}

// TestFileSeedInterrupted has a file left behind by a WriteSeed that was cut short.
func TestFileSeedInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seed")
	s := pal.NewFileSeed(path)
	old, next := bytes.Repeat([]byte("o"), pal.SeedLen), bytes.Repeat([]byte("n"), pal.SeedLen)
	if err := s.WriteSeed(old); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", next[:7], 0o600); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, pal.SeedLen)
	if err := s.ReadSeed(got); err != nil || !bytes.Equal(got, old) {
		t.Errorf("the seed is %q, %v, want the old one", got, err)
	}
	if err := s.WriteSeed(next); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadSeed(got); err != nil || !bytes.Equal(got, next) {
		t.Errorf("the seed is %q, %v, want the new one", got, err)
	}
}

func TestFileSeedDirectoryIsMissing(t *testing.T) {
	s := pal.NewFileSeed(filepath.Join(t.TempDir(), "absent", "seed"))
	if err := s.WriteSeed(make([]byte, pal.SeedLen)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteSeed: %v, want fs.ErrNotExist", err)
	}
	if _, err := s.Lock(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lock: %v, want fs.ErrNotExist", err)
	}
}

// TestSeedsAreUsedOnce has many users of one seed: each finds what another left.
func TestSeedsAreUsedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seed")
	if err := pal.NewFileSeed(path).WriteSeed([]byte("00000000")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s := pal.NewFileSeed(path) // each a process of its own
			for range 25 {
				unlock, err := s.Lock()
				if err != nil {
					t.Error(err)
					return
				}
				b := make([]byte, 8)
				err = s.ReadSeed(b)
				mu.Lock()
				if seen[string(b)] {
					t.Errorf("%s was used twice", b)
				}
				seen[string(b)] = true
				next := fmt.Sprintf("%08d", len(seen))
				mu.Unlock()
				if err == nil {
					err = s.WriteSeed([]byte(next))
				}
				if err != nil {
					t.Error(err)
				}
				unlock()
			}
		})
	}
	wg.Wait()
}
