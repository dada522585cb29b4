package paltest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
)

// A naive store keeps each record in a file. With safe unset it writes as the
// reference PAL does: over the old file. With safe set it writes another, syncs,
// renames and syncs the directory, but leaves one of these out.
type naive struct {
	m       *Medium
	safe    bool
	leftOut string
}

func (s naive) Save(name string, data []byte) error {
	if err := pal.CheckRecord(name, data); err != nil {
		return err
	}
	to := name
	if s.safe {
		to = "-" + name
		s.m.Remove(to)
	}
	f, err := s.m.OpenFile(to, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	if s.leftOut != "sync" {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if s.safe && s.leftOut != "rename" {
		if err := s.m.Rename(to, name); err != nil {
			return err
		}
	}
	if s.leftOut == "syncdir" {
		return nil
	}
	return s.m.SyncDir()
}

func (s naive) Load(name string) ([]byte, error) { return s.m.ReadFile(name) }

func (s naive) Remove(name string) error {
	if err := s.m.Remove(name); err != nil {
		return err
	}
	return s.m.SyncDir()
}

func (s naive) Names() ([]string, error) {
	all, err := s.m.Names()
	var names []string
	for _, name := range all {
		if name[0] != '-' {
			names = append(names, name)
		}
	}
	return names, err
}

// Stores that leave out a step are found out, and one that does not is not.
func TestPowerCutsFindWhatIsMissing(t *testing.T) {
	steps := scenarios(false)["small"]
	sts := states(nil, steps)
	for _, tt := range []struct {
		store naive
		ok    bool
	}{
		{naive{}, false},
		{naive{safe: true, leftOut: "sync"}, false},
		{naive{safe: true, leftOut: "syncdir"}, false},
		{naive{safe: true}, true},
	} {
		open := func(m *Medium) (pal.Store, error) {
			s := tt.store
			s.m = m
			return s, nil
		}
		calls, found, errs := powerCuts(nil, true, func(m *Medium) error { return runSteps(m, open, steps) },
			func(c *Cut) error { return oldOrNew(c, open, sts) })
		if ok := errs == nil; ok != tt.ok {
			t.Errorf("%+v: passed: %t, want %t: %v", tt.store, ok, tt.ok, errs)
		}
		if calls < 20 || found < 10 {
			t.Errorf("%+v: %d calls, %d states", tt.store, calls, found)
		}
	}
}

func TestMediumLosesWhatIsNotSynced(t *testing.T) {
	m := NewMedium()
	f, err := m.OpenFile("a", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string, off int64) {
		if _, err := f.WriteAt([]byte(s), off); err != nil {
			t.Fatal(err)
		}
	}
	write("0123", 0)
	found := func() map[string]bool {
		all := map[string]bool{}
		m.found(true, func(o outcome) {
			id, ok := o.names["a"]
			if !ok {
				all["none"] = true
				return
			}
			all[fmt.Sprintf("%q", o.files[id].bytes)] = true
		})
		return all
	}
	for _, want := range []string{"none", `""`, `"0123"`, `"01"`, `"01\x00\x00"`, `"\x00\x00\x00\x00"`} {
		if !found()[want] {
			t.Errorf("%s is not found in %v", want, found())
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := found(); len(got) != 2 || !got["none"] || !got[`"0123"`] {
		t.Errorf("after Sync, without SyncDir: %v", got)
	}
	if err := m.SyncDir(); err != nil {
		t.Fatal(err)
	}
	if got := found(); len(got) != 1 {
		t.Errorf("after SyncDir: %v", got)
	}
	write("x", 1)
	write("y", 2)
	for _, want := range []string{`"0123"`, `"0x23"`, `"01y3"`, `"0xy3"`} {
		if got := found(); !got[want] || len(got) != 4 {
			t.Errorf("%s is not found, or more, in %v", want, got)
		}
	}
	// After a sync that failed, a later one does not help.
	m.fault = &fault{faultKind: faultKind{errno: syscall.EIO, kinds: []string{"sync"}, once: true}}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync: %v, want EIO", err)
	}
	write("z", 3)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if got := found(); len(got) != 4 || !got[`"012z"`] || !got[`"0xyz"`] {
		t.Errorf("after a sync that failed and one that did not: %v", got)
	}
}

// Where a file was only made longer, anything may be found when the power comes
// back, until something is written there durably.
func TestMediumGap(t *testing.T) {
	m := NewMedium()
	m.WriteFile("a", []byte("ab"))
	f, err := m.OpenFile("a", os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	check := func(may, mayNot []string) {
		t.Helper()
		all := map[string]bool{}
		m.found(true, func(o outcome) { all[string(o.files[o.names["a"]].bytes)] = true })
		for _, s := range may {
			if !all[s] {
				t.Errorf("%q is not found in %q", s, slices.Sorted(maps.Keys(all)))
			}
		}
		for _, s := range mayNot {
			if all[s] {
				t.Errorf("%q is found", s)
			}
		}
	}
	step := func(data string, off int64) {
		t.Helper()
		if _, err := f.WriteAt([]byte(data), off); err != nil {
			t.Fatal(err)
		}
	}
	step("z", 5)
	check([]string{"ab", "ab\x00\x00\x00z", "ab\x00\x00\x00", "ab\xff\xff\xffz", "ab\xff\xff\xff\xff"}, nil)
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	check([]string{"ab\x00\x00\x00z"}, []string{"ab", "ab\xff\xff\xffz"})
	step("12", 3)
	check([]string{"ab\x00\x00\x00z", "ab\x0012z", "ab\x001\xb8z", "ab\x00\xff\xffz"}, []string{"ab\xff12z"})
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	step("34", 3)
	check([]string{"ab\x0012z", "ab\x0034z", "ab\x0032z"}, []string{"ab\x003\xb8z", "ab\x00\xff\xffz"})
}

func TestMediumCapacity(t *testing.T) {
	m := NewMedium()
	m.SetCapacity(10)
	f, err := m.OpenFile("a", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt(make([]byte, 12), 0); n != 10 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("WriteAt of 12 bytes: %d, %v", n, err)
	}
	if n, err := f.WriteAt(make([]byte, 10), 0); n != 10 || err != nil {
		t.Errorf("overwriting 10 bytes: %d, %v", n, err)
	}
	if _, err := m.OpenFile("b", os.O_RDWR); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenFile: %v", err)
	}
}
