package board

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

func open(t *testing.T, name string) (*Store, *File) {
	t.Helper()
	flash, err := OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { flash.Close() })
	s, err := New(flash)
	if err != nil {
		t.Fatal(err)
	}
	return s, flash
}

func TestStore(t *testing.T) {
	names := make(map[pal.Store]string)
	paltest.TestStore(t, func(t *testing.T) pal.Store {
		name := filepath.Join(t.TempDir(), "flash")
		s, _ := open(t, name)
		names[s] = name
		return s
	}, paltest.Reopen(func(t *testing.T, old pal.Store) pal.Store {
		s, _ := open(t, names[old])
		names[s] = names[old]
		return s
	}))
}

// A cutFlash is a flash in memory whose power goes in the middle of the step
// that left counts down to.
type cutFlash struct {
	data []byte
	left int
}

var errCut = errors.New("no power")

func newCutFlash() *cutFlash {
	return &cutFlash{data: slices.Repeat([]byte{0xff}, Sectors*SectorSize), left: -1}
}

func (f *cutFlash) ReadAt(p []byte, off int64) (int, error) { return copy(p, f.data[off:]), nil }

func (f *cutFlash) Program(off int64, p []byte) error {
	n, err := f.step(len(p))
	for i := range n {
		if f.data[off+int64(i)] != 0xff {
			return fmt.Errorf("byte %d is programmed again without being erased", off+int64(i))
		}
		f.data[off+int64(i)] = p[i]
	}
	return err
}

func (f *cutFlash) Erase(sector int) error {
	n, err := f.step(SectorSize)
	for i := range n {
		f.data[sector*SectorSize+i] = 0xff
	}
	return err
}

// step returns how many of n bytes are still done.
func (f *cutFlash) step(n int) (int, error) {
	switch {
	case f.left == 0:
		return 0, errCut
	case f.left == 1:
		f.left = 0
		return n / 2, errCut
	case f.left > 0:
		f.left--
	}
	return n, nil
}

// The power goes at each step of a sequence of changes; afterwards every record
// is as it was before the change that was under way, or as it is after it, and
// those of the completed changes are there.
func TestPowerCut(t *testing.T) {
	large := func(b byte) []byte { return slices.Repeat([]byte{b}, 3*payload) }
	changes := []pal.Change{
		{Name: "a", Data: []byte("one")},
		{Name: "b", Data: large(1)},
		{Name: "a", Data: []byte("two")},
		{Name: "b", Data: large(2)},
		{Name: "b"},
		{Name: "b", Data: large(3)},
		{Name: "a"},
	}
	for cut := 1; ; cut++ {
		flash := newCutFlash()
		s, err := New(flash)
		if err != nil {
			t.Fatal(err)
		}
		flash.left = cut
		states := []map[string][]byte{{}}
		for _, c := range changes {
			next := map[string][]byte{}
			for name, data := range states[len(states)-1] {
				next[name] = data
			}
			if next[c.Name] = c.Data; c.Data == nil {
				delete(next, c.Name)
			}
			states = append(states, next)
			if c.Data == nil {
				err = s.Remove(c.Name)
			} else {
				err = s.Save(c.Name, c.Data)
			}
			if err != nil {
				break
			}
		}
		over := flash.left > 0
		flash.left = -1
		s, err2 := New(flash)
		if err2 != nil {
			t.Fatalf("cut %d: %v", cut, err2)
		}
		got, err2 := paltest.Records(s)
		if err2 != nil {
			t.Fatalf("cut %d: %v", cut, err2)
		}
		// A change that succeeded is durable; one that failed happened or not.
		diff := paltest.Diff(got, states[len(states)-1])
		if diff != "" && err != nil {
			diff = paltest.Diff(got, states[len(states)-2])
		}
		if diff != "" {
			t.Errorf("cut %d, after the error %v: %s", cut, err, diff)
		}
		if over {
			t.Logf("%d places to cut", cut-1)
			return
		}
	}
}

func TestDamageIsReported(t *testing.T) {
	flash := newCutFlash()
	s, err := New(flash)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save("r", slices.Repeat([]byte{1}, 2*payload)); err != nil {
		t.Fatal(err)
	}
	flash.data[SectorSize+headerSize+7] ^= 4
	if _, err := s.Load("r"); !errors.Is(err, pal.ErrCorrupt) {
		t.Errorf("Load of a record with a flipped bit: %v, want ErrCorrupt", err)
	}
	flash.data[SectorSize] = 0 // the header of the second part
	s, err = New(flash)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load("r"); !errors.Is(err, pal.ErrCorrupt) {
		t.Errorf("Load of a record with a lost part: %v, want ErrCorrupt", err)
	}
	if err := s.Remove("r"); err != nil {
		t.Errorf("Remove of a damaged record: %v", err)
	}
	if _, err := s.Load("r"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load after that: %v", err)
	}
}

func TestFull(t *testing.T) {
	flash := newCutFlash()
	s, err := New(flash)
	if err != nil {
		t.Fatal(err)
	}
	for i := range Sectors {
		if err := s.Save(fmt.Sprintf("r-%d", i), []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Save("more", []byte{1}); !errors.Is(err, pal.ErrFull) {
		t.Errorf("Save to a full flash: %v, want ErrFull", err)
	}
	if err := s.Remove("r-7"); err != nil {
		t.Fatal(err)
	}
	if err := s.Save("more", []byte{1}); err != nil {
		t.Errorf("Save after Remove: %v", err)
	}
}

// A software token keeps its objects on the board.
func TestTokenOnBoard(t *testing.T) {
	flash := newCutFlash()
	conformance.Run(t, conformance.Target{
		Open: func(context.Context) (driver.Token, error) {
			s, err := New(flash)
			if err != nil {
				return nil, err
			}
			// A PIN that is cheap to check, since the suite logs in often.
			return soft.New(s, &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}})
		},
		Loads:   []conformance.Load{{Threads: 2, Loops: 2}},
		Profile: conformance.Profile{EC: true, Import: true, Generate: true, JITP: true},
	})
}
