package paltest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
)

// A step is a Save or a Remove if it has one change, else a Batch.
type step []pal.Change

func (s step) do(st pal.Store) error {
	switch b, ok := st.(pal.Batcher); {
	case len(s) > 1 && !ok:
		return fmt.Errorf("%T is no pal.Batcher", st)
	case len(s) > 1:
		return b.Batch(s)
	case s[0].Data == nil:
		return st.Remove(s[0].Name)
	}
	return st.Save(s[0].Name, s[0].Data)
}

// states returns the records before the first step and after each.
func states(from map[string][]byte, steps []step) []map[string][]byte {
	all := []map[string][]byte{from}
	for _, s := range steps {
		next := map[string][]byte{}
		for name, data := range all[len(all)-1] {
			next[name] = data
		}
		for _, c := range s {
			if next[c.Name] = c.Data; c.Data == nil {
				delete(next, c.Name)
			}
		}
		all = append(all, next)
	}
	return all
}

func save(name string, n int) pal.Change { return pal.Change{Name: name, Data: pattern(n)} }
func remove(name string) pal.Change      { return pal.Change{Name: name} }

// scenarios are changes of every kind. The second to last makes any log compact
// itself.
func scenarios(batcher bool) map[string][]step {
	all := map[string][]step{
		"small": {{save("a", 100)}, {save("b", 700)}, {save("a", 90)}, {remove("b")}, {save("c", 1)}, {remove("a")}, {remove("c")}, {save("a", 20)}},
		"large": {{save("a", pal.MaxRecord)}, {save("a", 300)}, {save("b", 5000)}, {remove("b")}},
	}
	var many []step
	for i := range 20 {
		many = append(many, step{save("a", 5000+i)}, step{save(fmt.Sprint("n-", i), 10)})
	}
	all["many"] = many
	if batcher {
		all["batches"] = []step{
			{save("a", 80), save("b", 90)}, {save("a", 600), remove("b"), save("c", 30)},
			{remove("a"), remove("c")}, {save("a", pal.MaxRecord), save("b", pal.MaxRecord), save("c", 10)},
			{save("c", 11), remove("b"), save("d", 1000)},
		}
	}
	return all
}

// TestMedium checks a store that keeps its records in files, on a simulated
// medium: that after a power cut at any moment, after the death of the process at
// any moment, and after any call failed, it holds what it held before the change
// or what it should hold after it, and can be changed again. open opens the
// store on the medium; it is called again for the next process.
func TestMedium(t *testing.T, open func(m *Medium) (pal.Store, error)) {
	s, err := open(NewMedium())
	if err != nil {
		t.Fatal(err)
	}
	_, batcher := s.(pal.Batcher)
	for name, steps := range scenarios(batcher) {
		sts := states(nil, steps)
		start := NewMedium()
		if skip := 24; len(steps) > skip {
			// The interesting part of many changes is the last.
			if err := runSteps(start, open, steps[:skip]); err != nil {
				t.Fatal(err)
			}
			steps, sts, start.done = steps[skip:], sts[skip:], 0
		}
		run := func(m *Medium) error { return runSteps(m, open, steps) }
		t.Run("power cut/"+name, func(t *testing.T) {
			PowerCuts(t, start, run, func(c *Cut) error { return oldOrNew(c, open, sts) })
		})
		t.Run("killed/"+name, func(t *testing.T) {
			Kills(t, start, run, func(c *Cut) error {
				m := c.Medium.Clone()
				if err := oldOrNew(c, open, sts); err != nil {
					return err
				}
				return goOn(m, open) // another process does, and then the power goes
			})
		})
		t.Run("a call fails/"+name, func(t *testing.T) { testFaults(t, start, open, steps, sts) })
	}
}

func runSteps(m *Medium, open func(m *Medium) (pal.Store, error), steps []step) error {
	s, err := open(m)
	if err != nil {
		return err
	}
	for _, st := range steps {
		if err := st.do(s); err != nil {
			return err
		}
		m.Done()
	}
	return nil
}

// oldOrNew opens the store and compares it with the states that are allowed, and
// sees whether it can still be used.
func oldOrNew(c *Cut, open func(m *Medium) (pal.Store, error), sts []map[string][]byte) error {
	s, err := open(c.Medium)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	got, err := bothWays(s)
	if err != nil {
		return err
	}
	d := Diff(got, sts[c.Done])
	if d != "" && c.Done+1 < len(sts) && Diff(got, sts[c.Done+1]) == "" {
		d = ""
	}
	if d != "" {
		return fmt.Errorf("after %d steps: %s", c.Done, d)
	}
	got["after"] = pattern(33)
	if err := s.Save("after", pattern(33)); err != nil {
		return fmt.Errorf("saving after the cut: %w", err)
	}
	if s, err = open(c.Medium); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	again, err := bothWays(s)
	if err != nil {
		return fmt.Errorf("opened again: %w", err)
	}
	if d := Diff(again, got); d != "" {
		return fmt.Errorf("opened again: %s", d)
	}
	return nil
}

// goOn changes a store in whatever state a process left it, with power cuts.
func goOn(start *Medium, open func(m *Medium) (pal.Store, error)) error {
	start.done = 0
	s, err := open(start.Clone())
	if err != nil {
		return err
	}
	before, err := bothWays(s)
	if err != nil {
		return err
	}
	steps := []step{{save("z", 50)}}
	sts := states(before, steps)
	_, _, errs := powerCuts(start, false, func(m *Medium) error { return runSteps(m, open, steps) }, func(c *Cut) error {
		if c.Done == 0 {
			return nil // what the dead process did was never confirmed
		}
		return oldOrNew(c, open, sts)
	})
	if errs != nil {
		return fmt.Errorf("another process went on: %w", errs[0])
	}
	return nil
}

func testFaults(t *testing.T, start *Medium, open func(m *Medium) (pal.Store, error), steps []step, sts []map[string][]byte) {
	// inProcess is the error of what the process saw that met the fault.
	var inProcess error
	run := func(m *Medium) (err error) {
		inProcess = nil
		once := m.fault.once
		s, err := open(m)
		if err != nil {
			if !once {
				return err
			}
			if s, inProcess = open(m); inProcess != nil {
				return fmt.Errorf("open: %w, and again: %w", err, inProcess)
			}
		}
		for i, st := range steps {
			err := st.do(s)
			if err != nil && once {
				again := st.do(s)
				if again != nil && !(len(st) == 1 && st[0].Data == nil && errors.Is(again, fs.ErrNotExist)) {
					inProcess = fmt.Errorf("step %d: %w, and again: %w", i+1, err, again)
					return inProcess
				}
			} else if err != nil {
				m.fault.after = 1 << 30 // so that the records can be read
				got, rerr := bothWays(s)
				if rerr != nil {
					inProcess = fmt.Errorf("after %w: %w", err, rerr)
				} else if Diff(got, sts[i]) != "" && Diff(got, sts[i+1]) != "" {
					inProcess = fmt.Errorf("after %w: %s", err, Diff(got, sts[i]))
				}
				return err
			}
			m.Done()
		}
		return nil
	}
	Faults(t, start, run, func(f *Fault) error {
		if inProcess != nil {
			return inProcess
		}
		if f.Once && f.Err != nil {
			return fmt.Errorf("a fault that passed left an error: %w", f.Err)
		}
		switch {
		case f.Err != nil && !errors.Is(f.Err, f.Errno):
			return fmt.Errorf("the error %w does not wrap the cause", f.Err)
		case f.Err != nil && f.Errno == syscall.ENOSPC && !errors.Is(f.Err, pal.ErrFull):
			return fmt.Errorf("the error %w is not pal.ErrFull", f.Err)
		case f.Err != nil && f.Errno == syscall.EROFS && !errors.Is(f.Err, pal.ErrReadOnly):
			return fmt.Errorf("the error %w is not pal.ErrReadOnly", f.Err)
		}
		return oldOrNew(&f.Cut, open, sts)
	})
}

// FlipBytes calls check with copies of a Medium in which one byte of one file is
// changed: every byte, or of files longer than limit so many of them. check
// returns an error if the damage did harm, such as records that are neither
// reported nor right.
func FlipBytes(t *testing.T, m *Medium, limit int, check func(c *Cut) error) {
	t.Helper()
	failures := 0
	for _, name := range slices.Sorted(maps.Keys(m.names)) {
		data, err := m.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		step := max(1, len(data)/limit)
		for i := 0; i < len(data) && failures < maxFailures; i += step {
			for _, flip := range []byte{1 << (i % 8), 0xff} {
				c := m.Clone()
				c.WriteFile(name, append(append(bytes.Clone(data[:i]), data[i]^flip), data[i+1:]...))
				cut := &Cut{Medium: c, Done: m.done, Where: fmt.Sprintf("byte %d of %s changed by %#02x", i, name, flip)}
				if err := check(cut); err != nil {
					t.Errorf("%s: %v", cut.Where, err)
					failures++
				}
			}
		}
	}
}
