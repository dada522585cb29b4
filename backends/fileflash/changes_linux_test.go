package fileflash_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
)

// counted counts what is read of the log, and has a clock that ticks slowly, as
// kernels before 6.13 do.
type counted struct {
	fileflash.FS
	reads, looks int
	tick         int64
	ago          time.Duration // how much longer ago each change was than it was
	stands       int64         // the time of every change; 0: of the system
}

type countedFile struct {
	fileflash.DatedFile
	n *counted
}

func (c *counted) OpenFile(name string, flag int) (fileflash.File, error) {
	f, err := c.FS.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	return &countedFile{f.(fileflash.DatedFile), c}, nil
}

func (c *counted) Current(name string, f fileflash.File) (bool, error) {
	return c.FS.Current(name, f.(*countedFile).DatedFile)
}

func (f *countedFile) ReadAt(p []byte, off int64) (int, error) {
	f.n.reads++
	return f.DatedFile.ReadAt(p, off)
}

func (f *countedFile) DatedStatus() (int64, bool, int64, error) {
	f.n.looks++
	size, linked, changed, err := f.DatedFile.DatedStatus()
	if f.n.stands != 0 {
		changed = f.n.stands
	}
	return size, linked, changed - changed%f.n.tick - int64(f.n.ago), err
}

func openCounted(t *testing.T, dir string, tick time.Duration) (*fileflash.Store, *counted) {
	t.Helper()
	fsys, err := fileflash.OpenDir(dir, false)
	require.NoError(t, err)
	n := &counted{FS: fsys, tick: int64(tick)}
	s, err := fileflash.OpenFS(n, dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s, n
}

// tick waits until a change of a file has another time than those before.
func tick(t *testing.T) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "clock")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	change := func() int64 {
		require.NoError(t, os.Chmod(name, 0o600))
		info, err := os.Stat(name)
		require.NoError(t, err)
		return info.Sys().(*syscall.Stat_t).Ctim.Nano()
	}
	for before := change(); change() == before; {
	}
}

// Of a log that nobody has changed for a while, Changes asks the system for no
// more than its size and time; of one that was changed just now it reads the end,
// for a change that follows may have the same time.
func TestChangesReadsNothing(t *testing.T) {
	dir := privateDir(t)
	other := open(t, dir)
	require.NoError(t, other.Save("a", []byte("a")))
	s, n := openCounted(t, dir, 1)
	look := func(reads int, want uint64) {
		t.Helper()
		n.reads, n.looks = 0, 0
		got, err := s.Changes()
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, []int{reads, 1}, []int{n.reads, n.looks})
	}

	defer fileflash.SetSettledAge(time.Hour)()
	look(1, 0)
	look(1, 0)
	n.ago = 2 * time.Hour
	look(1, 0)
	for range 3 {
		look(0, 0)
	}
	tick(t)
	require.NoError(t, other.Save("a", []byte("b"))) // which fits into the room
	changes, err := s.Changes()
	require.NoError(t, err)
	require.EqualValues(t, 1, changes)
	n.ago = 0
	look(1, 1)
	look(1, 1)
	n.ago = 2 * time.Hour
	look(1, 1)
	look(0, 1)

	// Its own change is no other's, and makes the time a new one.
	tick(t)
	require.NoError(t, s.Save("a", []byte("c")))
	look(1, 1)
	look(0, 1)
	tick(t)
	require.NoError(t, os.Chmod(dir+"/flash.log", 0o600)) // a change of no content
	look(1, 1)
}

// The clock of the times of changes may stand still for longer than a change is of
// just now: then all changes have one time, and none is missed.
func TestChangesWhileTheClockStands(t *testing.T) {
	dir := privateDir(t)
	other := open(t, dir)
	require.NoError(t, other.Save("a", []byte("a")))
	s, n := openCounted(t, dir, 1)
	n.stands = time.Now().Add(-time.Hour).Truncate(time.Second).UnixNano() + 1
	defer fileflash.SetFileClock(func() int64 { return n.stands })()
	for i := range uint64(3) {
		changes, err := s.Changes()
		require.NoError(t, err)
		require.Equal(t, i, changes)
		require.NoError(t, other.Save("a", []byte{byte(i)}))
	}
}

// However soon it comes after a look, no change is missed.
func TestChangesMissesNothing(t *testing.T) {
	defer fileflash.SetSettledAge(20 * time.Millisecond)()
	dir := privateDir(t)
	b := open(t, dir)
	require.NoError(t, b.Save("a", []byte("0")))
	a, _ := openCounted(t, dir, 10*time.Millisecond)
	_, err := a.Changes()
	require.NoError(t, err)
	for i := range 100 {
		for wait := time.Now(); time.Since(wait) < time.Duration(i%40)*time.Millisecond; {
			_, err := a.Changes()
			require.NoError(t, err)
		}
		before, err := a.Changes()
		require.NoError(t, err)
		want := fmt.Sprint("value ", i)
		require.NoError(t, b.Save("a", []byte(want)))
		after, err := a.Changes()
		require.NoError(t, err)
		require.Greater(t, after, before, "round %d", i)
		got, err := a.Load("a")
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}
