// Package paltest checks implementations of pal.Store: what the interface
// promises in [TestStore], and what it promises when the power goes or a call
// fails in [PowerCuts] and [Faults], on a simulated [Medium].
package paltest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
)

// An Option adds to what TestStore does.
type Option func(*options)

type options struct {
	reopen func(t *testing.T, s pal.Store) pal.Store
}

// Reopen makes TestStore check that records persist. The function ends the use
// of s, as the end of a program does, and opens the same medium again.
func Reopen(f func(t *testing.T, s pal.Store) pal.Store) Option {
	return func(o *options) { o.reopen = f }
}

// TestStore checks that a Store keeps the promises of its interface, and of
// those of the optional interfaces that it implements. open returns a new, empty
// store each time it is called; it closes it with t.Cleanup.
func TestStore(t *testing.T, open func(t *testing.T) pal.Store, opts ...Option) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	tests := []struct {
		name string
		test func(t *testing.T, s pal.Store)
	}{
		{"a new store is empty", testEmpty},
		{"records of every size come back as they were", testSizes},
		{"records that are empty or too large are refused", testSizeLimits},
		{"names follow the rules", testNames},
		{"Save replaces the record", testOverwrite},
		{"Remove deletes one record", testRemove},
		{"slices belong to their owners", testOwnership},
		{"many records are kept apart", testMany},
		{"records persist", func(t *testing.T, s pal.Store) {
			if o.reopen == nil {
				t.Skip("no Reopen option: the store is not said to persist")
			}
			testPersistence(t, s, o.reopen)
		}},
		{"a batch is one step", func(t *testing.T, s pal.Store) {
			b, ok := s.(pal.Batcher)
			if !ok {
				t.Skipf("%T is no pal.Batcher", s)
			}
			testBatch(t, b, o.reopen)
		}},
		{"a locked store can be changed", func(t *testing.T, s pal.Store) {
			l, ok := s.(pal.Locker)
			if !ok {
				t.Skipf("%T is no pal.Locker", s)
			}
			testLock(t, l)
		}},
		{"own changes are not changes by others", func(t *testing.T, s pal.Store) {
			w, ok := s.(pal.Watcher)
			if !ok {
				t.Skipf("%T is no pal.Watcher", s)
			}
			testWatch(t, w)
		}},
		{"what is sealed can be unsealed, and nothing else", func(t *testing.T, s pal.Store) {
			sl, ok := s.(pal.Sealer)
			if !ok {
				t.Skipf("%T is no pal.Sealer", s)
			}
			testSealer(t, sl)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

func testEmpty(t *testing.T, s pal.Store) {
	wantRecords(t, s, nil)
	if _, err := s.Load("absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of an absent record: error %v, want fs.ErrNotExist", err)
	}
	if err := s.Remove("absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove of an absent record: error %v, want fs.ErrNotExist", err)
	}
	wantRecords(t, s, nil)
}

// sizes are the lengths at which implementations go wrong: around powers of two,
// sectors and pages, and at the limit.
var sizes = []int{1, 2, 3, 15, 16, 17, 255, 256, 257, 511, 512, 513, 1218, 4080, 4095, 4096, 4097, 8192, pal.MaxRecord - 1, pal.MaxRecord}

func testSizes(t *testing.T, s pal.Store) {
	want := map[string][]byte{}
	for _, n := range sizes {
		for _, fill := range []int{0, 0xff, -1} { // erased and programmed flash, and anything
			name := fmt.Sprintf("size-%d.%d", n, fill&0xfff)
			data := bytes.Repeat([]byte{byte(fill)}, n)
			if fill < 0 {
				data = pattern(n)
			}
			want[name] = data
			if err := s.Save(name, data); err != nil {
				t.Fatalf("Save of %d bytes: %v", n, err)
			}
		}
	}
	wantRecords(t, s, want)
}

func testSizeLimits(t *testing.T, s pal.Store) {
	mustSave(t, s, "kept", []byte("as it was"))
	for _, data := range [][]byte{nil, {}, make([]byte, pal.MaxRecord+1), make([]byte, 1<<20)} {
		if err := s.Save("kept", data); err == nil {
			t.Errorf("Save of %d bytes succeeded", len(data))
		}
		if err := s.Save("new", data); err == nil {
			t.Errorf("Save of %d bytes as a new record succeeded", len(data))
		}
	}
	wantRecords(t, s, map[string][]byte{"kept": []byte("as it was")})
}

func testNames(t *testing.T, s pal.Store) {
	want := map[string][]byte{}
	for _, name := range []string{
		"a", "0", "-", "a.b", "o-0123456789abcdef0123456789abcdef", strings.Repeat("x", 64),
		"token", "token.", "token..", "con", "lock", "tmp", "flash.log", "flash.new",
	} {
		mustSave(t, s, name, []byte(name))
		want[name] = []byte(name)
	}
	for _, name := range []string{
		"", ".", "..", ".hidden", "A", "a/b", "../a", "a\x00", "a b", "a_b", "é", strings.Repeat("x", 65),
	} {
		if err := s.Save(name, []byte("x")); err == nil {
			t.Errorf("Save under the name %q succeeded", name)
		}
		if _, err := s.Load(name); err == nil {
			t.Errorf("Load of the name %q succeeded", name)
		}
		if err := s.Remove(name); err == nil {
			t.Errorf("Remove of the name %q succeeded", name)
		}
	}
	wantRecords(t, s, want)
}

func testOverwrite(t *testing.T, s pal.Store) {
	want := map[string][]byte{"other": []byte("untouched")}
	mustSave(t, s, "other", want["other"])
	for _, n := range []int{100, 1, pal.MaxRecord, 2, 100, 100} {
		data := pattern(n)
		mustSave(t, s, "record", data)
		want["record"] = data
		wantRecords(t, s, want)
	}
}

func testRemove(t *testing.T, s pal.Store) {
	mustSave(t, s, "a", []byte("1"))
	mustSave(t, s, "b", []byte("2"))
	if err := s.Remove("a"); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	wantRecords(t, s, map[string][]byte{"b": []byte("2")})
	if _, err := s.Load("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load after Remove: error %v, want fs.ErrNotExist", err)
	}
	if err := s.Remove("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second Remove: error %v, want fs.ErrNotExist", err)
	}
	mustSave(t, s, "a", []byte("again"))
	wantRecords(t, s, map[string][]byte{"a": []byte("again"), "b": []byte("2")})
}

func testOwnership(t *testing.T, s pal.Store) {
	data := pattern(300)
	want := map[string][]byte{"r": pattern(300)}
	mustSave(t, s, "r", data)
	clear(data)
	wantRecords(t, s, want) // the store has not kept the caller's slice

	got, err := s.Load("r")
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	_ = append(got, 1, 2, 3)
	wantRecords(t, s, want) // nor lent its own

	if b, ok := s.(pal.Batcher); ok {
		data = pattern(300)
		changes := []pal.Change{{Name: "r", Data: data}}
		if err := b.Batch(changes); err != nil {
			t.Fatalf("Batch: %v", err)
		}
		if len(changes) != 1 || changes[0].Name != "r" || !bytes.Equal(data, pattern(300)) {
			t.Error("Batch modified its argument")
		}
		clear(data)
		wantRecords(t, s, want)
	}
}

func testMany(t *testing.T, s pal.Store) {
	const n = 300
	want := map[string][]byte{}
	for i := range n {
		name := fmt.Sprintf("record-%d", i)
		want[name] = []byte(name)
		mustSave(t, s, name, want[name])
	}
	for i := 0; i < n; i += 3 {
		name := fmt.Sprintf("record-%d", i)
		if err := s.Remove(name); err != nil {
			t.Fatalf("Remove: %v", err)
		}
		delete(want, name)
	}
	for i := 1; i < n; i += 3 {
		name := fmt.Sprintf("record-%d", i)
		want[name] = pattern(i)
		mustSave(t, s, name, want[name])
	}
	wantRecords(t, s, want)
}

func testPersistence(t *testing.T, s pal.Store, reopen func(*testing.T, pal.Store) pal.Store) {
	s = reopen(t, s)
	wantRecords(t, s, nil)
	want := map[string][]byte{"a": pattern(pal.MaxRecord), "b": pattern(1), "c": pattern(400)}
	for name, data := range want {
		mustSave(t, s, name, data)
	}
	s = reopen(t, s)
	wantRecords(t, s, want)
	if err := s.Remove("a"); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	mustSave(t, s, "b", pattern(77))
	s = reopen(t, s)
	s = reopen(t, s)
	delete(want, "a")
	want["b"] = pattern(77)
	wantRecords(t, s, want)
}

func testBatch(t *testing.T, b pal.Batcher, reopen func(*testing.T, pal.Store) pal.Store) {
	want := map[string][]byte{"keep": []byte("1"), "replace": []byte("2"), "remove": []byte("3")}
	for name, data := range want {
		mustSave(t, b, name, data)
	}
	for _, bad := range [][]pal.Change{
		{{Name: "new", Data: []byte("x")}, {Name: "keep", Data: []byte{}}},
		{{Name: "remove"}, {Name: "keep", Data: make([]byte, pal.MaxRecord+1)}},
		{{Name: "remove"}, {Name: "not a name", Data: []byte("x")}},
		{{Name: "remove"}, {Name: "new", Data: []byte("x")}, {Name: "remove", Data: []byte("x")}},
	} {
		if err := b.Batch(bad); err == nil {
			t.Errorf("Batch(%v) succeeded", bad)
		}
		wantRecords(t, b, want)
	}
	if err := b.Batch(nil); err != nil {
		t.Errorf("empty Batch: %v", err)
	}
	if err := b.Batch([]pal.Change{{Name: "absent"}}); err != nil {
		t.Errorf("Batch that removes an absent record: %v", err)
	}
	wantRecords(t, b, want)

	large := pattern(pal.MaxRecord)
	if err := b.Batch([]pal.Change{
		{Name: "new", Data: large}, {Name: "replace", Data: []byte("replaced")},
		{Name: "remove"}, {Name: "absent"}, {Name: "new-2", Data: large},
	}); err != nil {
		t.Fatalf("Batch: %v", err)
	}
	delete(want, "remove")
	want["new"], want["replace"], want["new-2"] = large, []byte("replaced"), large
	wantRecords(t, b, want)
	if reopen != nil {
		wantRecords(t, reopen(t, b), want)
	}
}

func testLock(t *testing.T, l pal.Locker) {
	const workers, rounds = 4, 25
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				unlock, err := l.Lock()
				if err != nil {
					t.Errorf("Lock: %v", err)
					return
				}
				// Reading, adding one and writing is one step under the lock.
				data, err := l.Load("counter")
				if errors.Is(err, fs.ErrNotExist) {
					data = []byte{0}
				} else if err != nil {
					t.Errorf("Load: %v", err)
				}
				if len(data) == 1 {
					data[0]++
					if err := l.Save("counter", data); err != nil {
						t.Errorf("Save: %v", err)
					}
				}
				if err := unlock(); err != nil {
					t.Errorf("unlock: %v", err)
				}
			}
		})
	}
	wg.Wait()
	wantRecords(t, l, map[string][]byte{"counter": {workers * rounds}})
}

func testWatch(t *testing.T, w pal.Watcher) {
	changes := func() uint64 {
		n, err := w.Changes()
		if err != nil {
			t.Fatalf("Changes: %v", err)
		}
		return n
	}
	n := changes()
	mustSave(t, w, "a", []byte("1"))
	mustSave(t, w, "a", []byte("2"))
	if err := w.Remove("a"); err != nil {
		t.Fatal(err)
	}
	mustSave(t, w, "b", []byte("3"))
	if got := changes(); got != n {
		t.Errorf("Changes is %d after own changes, was %d", got, n)
	}
	wantRecords(t, w, map[string][]byte{"b": []byte("3")})
}

func testSealer(t *testing.T, s pal.Sealer) {
	secret := pattern(32)
	sealed, err := s.Seal(secret)
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	if bytes.Contains(sealed, secret) {
		t.Error("Seal returned the secret in the clear")
	}
	got, err := s.Unseal(sealed)
	if err != nil || !bytes.Equal(got, secret) {
		t.Errorf("Unseal: error %v, the secret came back: %t", err, bytes.Equal(got, secret))
	}
	for i := range sealed {
		sealed[i] ^= 1
		if _, err := s.Unseal(sealed); err == nil {
			t.Errorf("Unseal accepted a change of byte %d", i)
		}
		sealed[i] ^= 1
	}
}

// Records returns everything in the store, for comparison. It fails if a name
// that Names returns cannot be loaded.
func Records(s pal.Store) (map[string][]byte, error) {
	names, err := s.Names()
	if err != nil {
		return nil, fmt.Errorf("Names: %w", err)
	}
	all := make(map[string][]byte, len(names))
	for _, name := range names {
		if _, ok := all[name]; ok {
			return nil, fmt.Errorf("record %s is returned twice by Names", name)
		}
		data, err := s.Load(name)
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", name, err)
		}
		all[name] = data
	}
	return all, nil
}

// bothWays is Records of a store that nobody changes meanwhile. It fails, too, if
// LoadAll of a pal.BulkLoader returns something else than Load.
func bothWays(s pal.Store) (map[string][]byte, error) {
	all, err := Records(s)
	if b, ok := s.(pal.BulkLoader); ok && err == nil {
		err = sameInBulk(b, all)
	}
	return all, err
}

// sameInBulk checks that LoadAll returns what Load does, each record once.
func sameInBulk(b pal.BulkLoader, want map[string][]byte) error {
	got := make(map[string][]byte, len(want))
	var wrong []error
	err := b.LoadAll(func(name string, data []byte, err error) {
		if _, dup := got[name]; dup {
			wrong = append(wrong, fmt.Errorf("LoadAll: record %s twice", name))
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("LoadAll: record %s: %w; Load returns it", name, err))
		}
		got[name] = bytes.Clone(data)
	})
	if err != nil {
		return fmt.Errorf("LoadAll: %w", err)
	}
	if d := Diff(got, want); d != "" {
		wrong = append(wrong, fmt.Errorf("LoadAll: %s", d))
	}
	return errors.Join(wrong...)
}

// Diff says how two sets of records differ, "" if they do not.
func Diff(got, want map[string][]byte) string {
	var diff []string
	for name, data := range want {
		if g, ok := got[name]; !ok {
			diff = append(diff, fmt.Sprintf("no record %s", name))
		} else if !bytes.Equal(g, data) {
			diff = append(diff, fmt.Sprintf("record %s has %d bytes that differ from the %d saved", name, len(g), len(data)))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			diff = append(diff, fmt.Sprintf("unexpected record %s", name))
		}
	}
	slices.Sort(diff)
	return strings.Join(diff, "; ")
}

func wantRecords(t *testing.T, s pal.Store, want map[string][]byte) {
	t.Helper()
	got, err := bothWays(s)
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(got, want); d != "" {
		t.Fatal(d)
	}
}

func mustSave(t *testing.T, s pal.Store, name string, data []byte) {
	t.Helper()
	if err := s.Save(name, data); err != nil {
		t.Fatalf("Save %s: %v", name, err)
	}
}

// pattern returns n bytes in which no two sectors are alike.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(n)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}
