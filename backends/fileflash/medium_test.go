package fileflash_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

var _ fileflash.FS = (*paltest.Medium)(nil)

func openMedium(m *paltest.Medium) (*fileflash.Store, error) {
	return fileflash.OpenFS(m, "medium", nil)
}

func mustOpen(t *testing.T, m *paltest.Medium) *fileflash.Store {
	t.Helper()
	s, err := openMedium(m)
	require.NoError(t, err)
	return s
}

func TestMedium(t *testing.T) {
	paltest.TestMedium(t, func(m *paltest.Medium) (pal.Store, error) {
		s, err := openMedium(m)
		if err != nil {
			return nil, err
		}
		return s, nil
	})
}

// filled returns a medium with records of several sizes, some replaced and some
// removed, and what they are.
func filled(t *testing.T) (*paltest.Medium, map[string][]byte) {
	t.Helper()
	m := paltest.NewMedium()
	s := mustOpen(t, m)
	for i := range 8 {
		require.NoError(t, s.Save(fmt.Sprint("record-", i), slices.Repeat([]byte{byte(i + 1)}, 10+i*20)))
	}
	require.NoError(t, s.Save("record-1", []byte("new")))
	require.NoError(t, s.Remove("record-2"))
	require.NoError(t, s.Batch([]pal.Change{
		{Name: "public", Data: []byte("public")}, {Name: "private", Data: []byte("private")}, {Name: "record-3"},
	}))
	records, err := paltest.Records(s)
	require.NoError(t, err)
	return m, records
}

func TestSyncs(t *testing.T) {
	m, _ := filled(t)
	s := mustOpen(t, m)
	require.NoError(t, s.Save("first", []byte("so that the process has begun")))
	pair := []pal.Change{{Name: "a", Data: make([]byte, 400)}, {Name: "b", Data: make([]byte, 500)}}
	for _, tt := range []struct {
		name string
		do   func() error
		want paltest.Usage // of what is not left out
	}{
		{"Save", func() error { return s.Save("x", make([]byte, 400)) }, paltest.Usage{Syncs: 1, Writes: 2, Reads: 1, Bytes: 400 + 16 + 11 + 8}},
		{"Save again", func() error { return s.Save("x", make([]byte, 300)) }, paltest.Usage{Syncs: 1, Writes: 2, Reads: 1, Bytes: 300 + 16 + 11 + 8}},
		{"Batch", func() error { return s.Batch(pair) }, paltest.Usage{Syncs: 1, Writes: 2, Reads: 1, Bytes: 900 + 16 + 22 + 8}},
		{"Remove", func() error { return s.Remove("x") }, paltest.Usage{Syncs: 1, Writes: 2, Reads: 1, Bytes: 16 + 3 + 8}},
		{"Remove of what is not there", func() error { s.Remove("x"); return nil }, paltest.Usage{Reads: 1}},
		{"Batch that changes nothing", func() error { return s.Batch([]pal.Change{{Name: "x"}}) }, paltest.Usage{Reads: 1}},
		{"Load", func() error { _, err := s.Load("a"); return err }, paltest.Usage{Reads: 1}},
		{"Names", func() error { _, err := s.Names(); return err }, paltest.Usage{}},
		{"Changes", func() error { _, err := s.Changes(); return err }, paltest.Usage{Status: 1, Reads: 1}},
	} {
		before := m.Usage()
		require.NoError(t, tt.do(), tt.name)
		u := m.Usage()
		u.Writes, u.Bytes, u.Syncs, u.DirSyncs = u.Writes-before.Writes, u.Bytes-before.Bytes, u.Syncs-before.Syncs, u.DirSyncs-before.DirSyncs
		u.Reads, u.Renames, u.Status = u.Reads-before.Reads, u.Renames-before.Renames, u.Status-before.Status
		if tt.name != "Changes" {
			u.Status = 0 // looking at the file under the lock
		}
		require.Equal(t, tt.want, u, tt.name)
	}
}

func TestWritersShareSyncs(t *testing.T) {
	m, want := filled(t)
	s := mustOpen(t, m)
	require.NoError(t, s.Save("first", []byte("1")))
	want["first"] = []byte("1")
	unlock, err := m.Lock() // another process is at work
	require.NoError(t, err)
	before := m.Usage().Syncs
	var wg sync.WaitGroup
	const writers = 8
	for i := range writers {
		name := fmt.Sprint("writer-", i)
		want[name] = []byte(name)
		wg.Go(func() {
			if err := s.Save(name, []byte(name)); err != nil {
				t.Error(err)
			}
		})
	}
	for s.Queued() < writers {
		runtime.Gosched()
	}
	require.NoError(t, unlock())
	wg.Wait()
	require.Equal(t, 1, m.Usage().Syncs-before, "syncs for %d writers", writers)
	got, err := paltest.Records(mustOpen(t, m))
	require.NoError(t, err)
	require.Empty(t, paltest.Diff(got, want))
}

func TestGroupKeepsTheOrderOfChanges(t *testing.T) {
	m, _ := filled(t)
	s := mustOpen(t, m)
	unlock, err := m.Lock()
	require.NoError(t, err)
	errs := make([]chan error, 4)
	for i, do := range []func() error{
		func() error { return s.Save("x", []byte("1")) },
		func() error { return s.Remove("x") },
		func() error { return s.Remove("x") }, // there is none by now
		func() error { return s.Batch([]pal.Change{{Name: "x", Data: []byte("2")}, {Name: "y"}}) },
	} {
		errs[i] = make(chan error, 1)
		go func() { errs[i] <- do() }()
		for s.Queued() < i+1 {
			runtime.Gosched()
		}
	}
	require.NoError(t, unlock())
	require.NoError(t, <-errs[0])
	require.NoError(t, <-errs[1])
	require.ErrorIs(t, <-errs[2], fs.ErrNotExist)
	require.NoError(t, <-errs[3])
	data, err := s.Load("x")
	require.NoError(t, err)
	require.Equal(t, "2", string(data))
}

// Whatever byte of the log changes, every record is as it was, or reported.
func TestFlippedBytes(t *testing.T) {
	m, want := filled(t)
	compacted := compact(t, m.Clone())
	// One that was just compacted, and whose mark did not become durable.
	unmarked := paltest.NewMedium()
	log, err := compacted.ReadFile("flash.log")
	require.NoError(t, err)
	unmarked.WriteFile("flash.log", log[:binary.LittleEndian.Uint64(log[16:])])
	s := mustOpen(t, unmarked)
	got, err := paltest.Records(s)
	require.NoError(t, err)
	require.Empty(t, paltest.Diff(got, want))
	for _, start := range []*paltest.Medium{unmarked, m, compacted} {
		reported := map[string]int{}
		log := content(t, start)
		paltest.FlipBytes(t, start, 10_000, func(c *paltest.Cut) error {
			s, err := openMedium(c.Medium)
			var v *fileflash.VersionError
			switch {
			case errors.Is(err, pal.ErrCorrupt):
				if !strings.Contains(err.Error(), "flash.log") {
					return fmt.Errorf("no file is named: %w", err)
				}
				reported["open"]++
				return nil
			case errors.As(err, &v):
				reported["version"]++
				return nil
			case err != nil:
				return err
			}
			names, err := s.Names()
			if err != nil {
				return err
			}
			now, err := c.Medium.ReadFile("flash.log")
			if err != nil {
				return err
			}
			if inRoom := bytes.Equal(now[:len(log)], log); s.Stats().Dropped > 8 && !inRoom {
				return fmt.Errorf("%d bytes were dropped", s.Stats().Dropped)
			}
			if got, want := slices.Sorted(slices.Values(names)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
				return fmt.Errorf("names are %v, want %v", got, want)
			}
			for name, data := range want {
				got, err := s.Load(name)
				if errors.Is(err, pal.ErrCorrupt) {
					if !strings.Contains(err.Error(), name) || s.Check() == nil {
						return fmt.Errorf("not named, or not found by Check: %w", err)
					}
					reported["record"]++
				} else if err != nil || !slices.Equal(got, data) {
					return fmt.Errorf("record %s: error %v, or wrong data", name, err)
				}
			}
			return nil
		})
		t.Log(reported)
		require.NotZero(t, reported["open"])
		require.NotZero(t, reported["record"])
		require.NotZero(t, reported["version"])
	}
}

// The zeros of a record are not taken for room: what is behind them shows that the
// entry was there.
func TestDamagedHeadBeforeZeros(t *testing.T) {
	for n := range 40 {
		m, _ := filled(t)
		before := len(content(t, m))
		require.NoError(t, mustOpen(t, m).Save("zeros", make([]byte, 100+n)))
		log, err := m.ReadFile("flash.log")
		require.NoError(t, err)
		log[before+8+3] ^= 1
		m.WriteFile("flash.log", log)
		_, err = openMedium(m)
		require.ErrorIs(t, err, pal.ErrCorrupt)
	}
}

// compact returns the medium with a log that holds the live records only.
func compact(t *testing.T, m *paltest.Medium) *paltest.Medium {
	t.Helper()
	s := mustOpen(t, m)
	renames := m.Usage().Renames
	for m.Usage().Renames == renames {
		require.NoError(t, s.Save("filler", make([]byte, 5000)))
	}
	require.NoError(t, s.Remove("filler")) // by another one
	return m
}

// A log that was cut off holds the records of some moment, or is refused.
func TestTruncatedLog(t *testing.T) {
	m, _ := filled(t)
	log, err := m.ReadFile("flash.log")
	require.NoError(t, err)
	used := len(content(t, m))
	require.Greater(t, len(log), used)
	states := 0
	last := -1
	for n := range log {
		c := paltest.NewMedium()
		c.WriteFile("flash.log", log[:n])
		s, err := openMedium(c)
		if err != nil {
			require.ErrorIs(t, err, pal.ErrCorrupt)
			require.Zero(t, states, "a longer prefix was refused")
			continue
		}
		require.NoError(t, s.Check())
		if size := int(s.Stats().Size); size != last {
			states, last = states+1, size
		}
		mark := 8
		if n < int(s.Stats().Size)+mark {
			mark = 0 // or a part of it
		}
		known := int(s.Stats().Size+s.Stats().Dropped) + mark
		require.LessOrEqual(t, known, n)
		require.Empty(t, bytes.Trim(log[known:n], "\x00"), "%d bytes", n)
		require.True(t, n < used || s.Stats().Dropped == 0, "%d bytes", n)
	}
	require.Equal(t, 11, states) // one for each change; the first made the log
}

// content returns the log up to its last mark, without the room behind.
func content(t *testing.T, m *paltest.Medium) []byte {
	t.Helper()
	log, err := m.ReadFile("flash.log")
	require.NoError(t, err)
	n := int(mustOpen(t, m).Stats().Size) + 8
	require.Empty(t, bytes.Trim(log[min(n, len(log)):], "\x00"), "behind the mark")
	return log[:min(n, len(log))]
}

func TestInterruptedChangeIsCutOff(t *testing.T) {
	m, want := filled(t)
	log := content(t, m)
	for _, room := range []int{0, 1, 3000} {
		for _, tail := range []int{1, 7, 8, 9, 24, 1000, 100_000} {
			c := m.Clone()
			c.WriteFile("flash.log", slices.Concat(log, bytes.Repeat([]byte{0xee}, tail), make([]byte, room)))
			s := mustOpen(t, c)
			require.EqualValues(t, tail, s.Stats().Dropped)
			require.NoError(t, s.Save("x", []byte("x")))
			require.Zero(t, s.Stats().Dropped)
			require.Len(t, content(t, c), len(log)+16+11+1)
			require.EqualValues(t, fileflash.MinLog, c.Size(), "the file after %d bytes were dropped", tail)
			got, err := paltest.Records(mustOpen(t, c))
			require.NoError(t, err)
			delete(got, "x")
			require.Empty(t, paltest.Diff(got, want))
		}
	}
}

// What is written into the room changes neither the size of the file nor anything
// but the bytes written, and a log without any is made some.
func TestRoom(t *testing.T) {
	m, want := filled(t)
	for range 2 {
		s := mustOpen(t, m)
		require.NoError(t, s.Save("x", make([]byte, 5000))) // more than there was
		want["x"] = make([]byte, 5000)
		size, before := m.Size(), m.Usage()
		require.Greater(t, size, s.Stats().Size+4000)
		for i := 0; ; i++ {
			name := fmt.Sprint("new-", i)
			data := bytes.Repeat([]byte{byte(i)}, 300)
			if s.Stats().Size+350 > size {
				break
			}
			require.NoError(t, s.Save(name, data))
			want[name] = data
			require.Equal(t, size, m.Size())
		}
		u := m.Usage()
		require.Greater(t, u.Writes, before.Writes+20)
		require.Equal(t, 2*(u.Syncs-before.Syncs), u.Writes-before.Writes, "an entry and a mark for each sync")
		require.Equal(t, before.Renames, u.Renames)
		got, err := paltest.Records(mustOpen(t, m))
		require.NoError(t, err)
		require.Empty(t, paltest.Diff(got, want))
		m.WriteFile("flash.log", content(t, m)) // as it was written before there was room
	}
}

// The more is alive, the more room is made at once: a sync that has to note a new
// size takes more than twice as long.
func TestRoomGrows(t *testing.T) {
	m := paltest.NewMedium()
	s := mustOpen(t, m)
	sizes, last := 0, int64(0)
	for i := range 1500 {
		require.NoError(t, s.Save(fmt.Sprint("record-", i), make([]byte, 800)))
		if size := m.Size(); size != last {
			sizes, last = sizes+1, size
		}
		require.LessOrEqual(t, m.Size(), max(fileflash.MinLog, 3*s.Stats().Live))
		require.LessOrEqual(t, m.Size()-s.Stats().Size, int64(64<<10+1<<10))
	}
	require.LessOrEqual(t, sizes, 40)
	require.Greater(t, s.Stats().Size, int64(1_200_000))
}

func TestFullDisk(t *testing.T) {
	m := paltest.NewMedium()
	s := mustOpen(t, m)
	m.SetCapacity(200_000)
	want := map[string][]byte{}
	var err error
	size := int64(0)
	for i := 0; ; i++ {
		name := fmt.Sprint("record-", i)
		size = m.Size()
		if err = s.Save(name, make([]byte, 1000)); err != nil {
			break
		}
		want[name] = make([]byte, 1000)
	}
	require.ErrorIs(t, err, pal.ErrFull)
	require.ErrorContains(t, err, "record-")
	require.LessOrEqual(t, m.Size(), size, "the log is no longer than before")
	got, err := paltest.Records(s)
	require.NoError(t, err)
	require.Empty(t, paltest.Diff(got, want))
	// With room for the removals, removing records makes more: as soon as what is
	// left fits beside the old log, it is compacted.
	m.SetCapacity(208_000)
	for i := range len(want) {
		require.NoError(t, s.Remove(fmt.Sprint("record-", i)))
	}
	require.Less(t, m.Size(), int64(4000))
	for i := range 100 {
		require.NoError(t, s.Save(fmt.Sprint("record-", i), make([]byte, 1000)))
	}
	// So does whoever else had filled the disk.
	m.SetCapacity(m.Size())
	for i := 0; err == nil; i++ {
		require.Less(t, i, 20)
		err = s.Save(fmt.Sprint("more-", i), make([]byte, 1000)) // the first ones find room
	}
	require.ErrorIs(t, err, pal.ErrFull)
	m.SetCapacity(0)
	require.NoError(t, s.Save("x", []byte("x")))
}

func TestReadOnlyMedium(t *testing.T) {
	m, want := filled(t)
	m.SetReadOnly(true)
	s := mustOpen(t, m)
	require.True(t, s.Stats().ReadOnly)
	got, err := paltest.Records(s)
	require.NoError(t, err)
	require.Empty(t, paltest.Diff(got, want))
	for name, err := range map[string]error{
		"Save": s.Save("x", []byte("x")), "Remove": s.Remove("record-0"), "Batch": s.Batch([]pal.Change{{Name: "public"}}),
	} {
		require.ErrorIs(t, err, pal.ErrReadOnly, name)
		require.ErrorIs(t, err, fs.ErrPermission, name)
	}
	unlock, err := s.Lock()
	require.NoError(t, err)
	require.NoError(t, unlock())

	// An empty one is an empty store.
	e := paltest.NewMedium()
	e.SetReadOnly(true)
	s = mustOpen(t, e)
	names, err := s.Names()
	require.NoError(t, err)
	require.Empty(t, names)
	require.ErrorIs(t, s.Save("x", []byte("x")), pal.ErrReadOnly)

	// What has become writable is written.
	e.SetReadOnly(false)
	require.NoError(t, s.Save("x", []byte("x")))
	s = mustOpen(t, m)
	m.SetReadOnly(false)
	require.NoError(t, s.Save("x", []byte("x")))
	require.False(t, s.Stats().ReadOnly)
	got, err = paltest.Records(mustOpen(t, m))
	require.NoError(t, err)
	delete(got, "x")
	require.Empty(t, paltest.Diff(got, want))

	// And one may be asked for.
	s, err = fileflash.OpenFS(m, "medium", &fileflash.Options{ReadOnly: true})
	require.NoError(t, err)
	require.ErrorIs(t, s.Save("x", []byte("x")), pal.ErrReadOnly)
}

// The log stays within its bound, and what compaction writes is in proportion to
// what is saved.
func TestLogStaysSmall(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, objects := range []int{1, 20, 400} {
		m := paltest.NewMedium()
		s := mustOpen(t, m)
		want := map[string][]byte{}
		saved := int64(0)
		for i := range 4000 {
			name := fmt.Sprint("record-", rnd.IntN(objects))
			if _, ok := want[name]; ok && rnd.IntN(4) == 0 {
				require.NoError(t, s.Remove(name))
				delete(want, name)
			} else {
				data := make([]byte, 1+rnd.IntN(800))
				data[0] = byte(i)
				require.NoError(t, s.Save(name, data))
				want[name] = data
				saved += int64(len(data))
			}
			st := s.Stats()
			limit := max(fileflash.MinLog, fileflash.MaxGarbage*st.Live)
			require.LessOrEqual(t, m.Size(), limit)
		}
		u := m.Usage()
		t.Logf("%d records: %d changes, %d syncs, %d compactions, %.2f bytes written per byte saved", objects, 4000, u.Syncs, u.Renames, float64(u.Bytes)/float64(saved))
		require.Less(t, u.Bytes, 2*saved)
		for _, s := range []*fileflash.Store{s, mustOpen(t, m)} {
			require.Greater(t, u.Renames, 1)
			got, err := paltest.Records(s)
			require.NoError(t, err)
			require.Empty(t, paltest.Diff(got, want))
			require.NoError(t, s.Check())
			live := int64(32)
			for name, data := range want {
				live += int64(16 + 2 + len(name) + 8 + len(data))
			}
			require.Equal(t, live, s.Stats().Live)
		}
		names, err := m.Names()
		require.NoError(t, err)
		require.Equal(t, []string{"flash.log"}, names)
	}
}

// A damaged record does not hinder the others, stays damaged when the log is
// compacted, and is well again when it is saved.
// loadAll returns what LoadAll passes on, the records and the errors.
func loadAll(t *testing.T, s *fileflash.Store) (records map[string][]byte, bad map[string]error) {
	t.Helper()
	records, bad = map[string][]byte{}, map[string]error{}
	require.NoError(t, s.LoadAll(func(name string, data []byte, err error) {
		require.NotContains(t, records, name)
		records[name] = slices.Clone(data)
		if err != nil {
			require.Nil(t, data)
			bad[name] = err
		}
	}))
	return records, bad
}

// unreadable is a medium with a sector that cannot be read any more.
type unreadable struct {
	*paltest.Medium
	from, to int64
}

type unreadableFile struct {
	fileflash.File
	m *unreadable
}

func (m *unreadable) OpenFile(name string, flag int) (fileflash.File, error) {
	f, err := m.Medium.OpenFile(name, flag)
	return unreadableFile{f, m}, err
}

func (m *unreadable) Current(name string, f fileflash.File) (bool, error) {
	return m.Medium.Current(name, f.(unreadableFile).File)
}

func (f unreadableFile) ReadAt(p []byte, off int64) (int, error) {
	if end := off + int64(len(p)); f.m.to == 0 || end <= f.m.from || off >= f.m.to {
		return f.File.ReadAt(p, off)
	}
	n, err := 0, error(nil)
	if off < f.m.from {
		n, err = f.File.ReadAt(p[:f.m.from-off], off)
	}
	return n, errors.Join(err, errBadSector)
}

var errBadSector = errors.New("input/output error")

// A sector that cannot be read takes the records in it, and no others.
func TestUnreadableSector(t *testing.T) {
	m := &unreadable{Medium: paltest.NewMedium()}
	s, err := fileflash.OpenFS(m, "medium", nil)
	require.NoError(t, err)
	want := map[string][]byte{}
	for i := range 40 {
		name := fmt.Sprint("record-", i)
		want[name] = slices.Repeat([]byte{byte(i + 1)}, 500)
		require.NoError(t, s.Save(name, want[name]))
	}
	log, err := m.ReadFile("flash.log")
	require.NoError(t, err)
	at := int64(strings.Index(string(log), string(want["record-7"])))
	m.from, m.to = at+100, at+612 // the middle of record-7 and the beginning of record-8
	records, bad := loadAll(t, s)
	require.Len(t, bad, 2)
	for _, name := range []string{"record-7", "record-8"} {
		require.ErrorIs(t, bad[name], errBadSector)
		_, err := s.Load(name)
		require.ErrorIs(t, err, errBadSector)
		delete(records, name)
		delete(want, name)
	}
	require.Empty(t, paltest.Diff(records, want))
}

func TestDamagedRecord(t *testing.T) {
	m, want := filled(t)
	log, err := m.ReadFile("flash.log")
	require.NoError(t, err)
	at := strings.Index(string(log), strings.Repeat("\x06", 50)) // record-5
	log[at+3] ^= 0x10
	m.WriteFile("flash.log", log)
	s := mustOpen(t, compact(t, m))
	_, err = s.Load("record-5")
	require.ErrorIs(t, err, pal.ErrCorrupt)
	require.ErrorContains(t, err, "record-5")
	require.ErrorContains(t, s.Check(), "record-5")
	read, bad := loadAll(t, s)
	require.ErrorIs(t, bad["record-5"], pal.ErrCorrupt)
	require.ErrorContains(t, bad["record-5"], "flash.log: record record-5 at offset ")
	require.Len(t, bad, 1)
	delete(read, "record-5")
	rest := maps.Clone(want)
	delete(rest, "record-5")
	require.Empty(t, paltest.Diff(read, rest))
	require.NoError(t, s.Save("record-5", want["record-5"]))
	got, err := paltest.Records(s)
	require.NoError(t, err)
	require.Empty(t, paltest.Diff(got, want))
	require.NoError(t, s.Check())
}

func TestProcessesSeeEachOther(t *testing.T) {
	m, want := filled(t)
	a, b := mustOpen(t, m), mustOpen(t, m)
	changed := func(s *fileflash.Store, last uint64) uint64 {
		t.Helper()
		n, err := s.Changes()
		require.NoError(t, err)
		require.NotEqual(t, last, n)
		again, err := s.Changes()
		require.NoError(t, err)
		require.Equal(t, n, again, "nothing has changed since")
		got, err := paltest.Records(s)
		require.NoError(t, err)
		require.Empty(t, paltest.Diff(got, want))
		return n
	}
	n, err := b.Changes()
	require.NoError(t, err)
	set := func(s *fileflash.Store, name string, data []byte) {
		t.Helper()
		require.NoError(t, s.Save(name, data))
		want[name] = data
	}
	set(a, "x", []byte("1"))
	n = changed(b, n)
	// A compaction puts another file in place.
	compact(t, m)
	n = changed(b, n)
	set(a, "y", []byte("2"))
	n = changed(b, n)
	require.NoError(t, a.Remove("y"))
	delete(want, "y")
	n = changed(b, n)
	// A writer sees it when it writes, and tells so.
	set(a, "x", []byte("3"))
	set(b, "z", []byte("4"))
	n = changed(b, n)
	// And under Lock.
	set(a, "x", []byte("5"))
	unlock, err := b.Lock()
	require.NoError(t, err)
	data, err := b.Load("x")
	require.NoError(t, err)
	require.Equal(t, "5", string(data))
	require.NoError(t, unlock())
	changed(b, n)
	// The other empties the store and starts anew.
	for name := range want {
		require.NoError(t, a.Remove(name))
	}
	want = map[string][]byte{}
	changed(b, n)
}

// A change whose sync failed is taken back; a process that had read it already
// notices.
func TestTakenBackChange(t *testing.T) {
	m, want := filled(t)
	log := content(t, m)
	w := mustOpen(t, m)
	require.NoError(t, w.Save("x", []byte("lost")))
	withX := content(t, m)
	// The reader sees the entry without its mark, as between write and sync.
	f, err := m.OpenFile("flash.log", 2)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(int64(len(withX)-8)))
	r := mustOpen(t, m)
	_, err = r.Load("x")
	require.NoError(t, err)
	for _, instead := range []string{"", "kept"} {
		require.NoError(t, f.Truncate(int64(len(log))))
		delete(want, "x")
		if instead != "" {
			require.NoError(t, mustOpen(t, m).Save("x", []byte(instead)))
			want["x"] = []byte(instead)
			// Even when it does not ask, it does not return what is not there.
			got, bad := loadAll(t, r)
			require.Empty(t, bad)
			require.Empty(t, paltest.Diff(got, want))
			data, err := r.Load("x")
			require.NoError(t, err)
			require.Equal(t, instead, string(data))
		}
		_, err = r.Changes()
		require.NoError(t, err)
		got, err := paltest.Records(r)
		require.NoError(t, err)
		require.Empty(t, paltest.Diff(got, want))
		got, bad := loadAll(t, r)
		require.Empty(t, bad)
		require.Empty(t, paltest.Diff(got, want))
		if instead == "" { // once more, with another entry of the same length
			_, err := f.WriteAt(withX[len(log)-8:len(withX)-8], int64(len(log)-8))
			require.NoError(t, err)
			_, err = r.Changes()
			require.NoError(t, err)
			_, err = r.Load("x")
			require.NoError(t, err)
		}
	}
}

func TestLogTakenAway(t *testing.T) {
	m, _ := filled(t)
	s := mustOpen(t, m)
	require.NoError(t, m.Remove("flash.log"))
	require.ErrorIs(t, s.Save("x", []byte("x")), fs.ErrNotExist)
	_, err := s.Changes()
	require.ErrorContains(t, err, "flash.log is gone")
}

// A log that was moved away is not written any more, although it still has a name.
func TestLogMovedAway(t *testing.T) {
	m, want := filled(t)
	s := mustOpen(t, m)
	require.NoError(t, m.Rename("flash.log", "moved"))
	before, err := m.ReadFile("moved")
	require.NoError(t, err)
	require.ErrorIs(t, s.Save("x", []byte("x")), fs.ErrNotExist)
	after, err := m.ReadFile("moved")
	require.NoError(t, err)
	require.Equal(t, before, after)
	m.WriteFile("flash.log", before) // restored
	require.NoError(t, s.Save("x", []byte("x")))
	want["x"] = []byte("x")
	got, err := paltest.Records(mustOpen(t, m))
	require.NoError(t, err)
	require.Empty(t, paltest.Diff(got, want))
}

// What a compaction that was cut short has left is removed by the next change.
func TestLeftover(t *testing.T) {
	m, want := filled(t)
	m.WriteFile("flash.new", []byte("half a log"))
	s := mustOpen(t, m)
	got, err := paltest.Records(s)
	require.NoError(t, err)
	require.Empty(t, paltest.Diff(got, want))
	require.NoError(t, s.Save("x", []byte("x")))
	names, err := m.Names()
	require.NoError(t, err)
	require.Equal(t, []string{"flash.log"}, names)
}

// Goroutines share one store, beside another process.
func TestConcurrentUse(t *testing.T) {
	m, _ := filled(t)
	a, b := mustOpen(t, m), mustOpen(t, m)
	var wg sync.WaitGroup
	for i := range 6 {
		s := a
		if i%2 == 1 {
			s = b
		}
		name := fmt.Sprint("own-", i)
		wg.Go(func() {
			for n := range 60 {
				data := slices.Repeat([]byte{byte(n)}, 1+n*40)
				if err := s.Save(name, data); err != nil {
					t.Error(err)
				}
				if got, err := s.Load(name); err != nil || !slices.Equal(got, data) {
					t.Errorf("%s: %v, or not as saved", name, err)
				}
				if _, err := s.Changes(); err != nil {
					t.Error(err)
				}
				if _, err := paltest.Records(s); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
				if err := s.Check(); err != nil {
					t.Error(err)
				}
				s.Stats()
				if n%7 == 0 {
					unlock, err := s.Lock()
					if err != nil {
						t.Error(err)
						return
					}
					if err := s.Remove(name); err != nil {
						t.Error(err)
					}
					if err := unlock(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	_, err := a.Changes()
	require.NoError(t, err)
	_, err = b.Changes()
	require.NoError(t, err)
	seenA, err := paltest.Records(a)
	require.NoError(t, err)
	seenB, err := paltest.Records(b)
	require.NoError(t, err)
	require.Empty(t, paltest.Diff(seenA, seenB))
}

func TestClosed(t *testing.T) {
	m, _ := filled(t)
	s := mustOpen(t, m)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err := s.Load("public")
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = s.Names()
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = s.Changes()
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = s.Lock()
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, s.Save("x", []byte("x")), fs.ErrClosed)
	require.ErrorIs(t, s.LoadAll(func(string, []byte, error) { t.Error("a record of a closed store") }), fs.ErrClosed)
	require.ErrorIs(t, s.Check(), fs.ErrClosed)
}

func TestHeaders(t *testing.T) {
	m, _ := filled(t)
	log, err := m.ReadFile("flash.log")
	require.NoError(t, err)
	newer := slices.Clone(log)
	newer[0] = 2
	for _, tt := range []struct {
		name string
		log  []byte
		is   error
		text string
	}{
		{"a newer version", newer, errors.ErrUnsupported, "version 2"},
		{"a foreign file", []byte("PEM or whatever it may be, longer than a header"), fileflash.ErrForeign, "flash.log"},
		{"an empty file", nil, pal.ErrCorrupt, "0 bytes"},
		{"half a header", log[:20], pal.ErrCorrupt, "20 bytes"},
	} {
		m.WriteFile("flash.log", tt.log)
		_, err := openMedium(m)
		require.ErrorIs(t, err, tt.is, tt.name)
		require.ErrorContains(t, err, tt.text, tt.name)
		require.ErrorContains(t, err, "fileflash: medium: ", tt.name)
	}
}
