package fileflash_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

// paltest leaves out what a store is not.
var _ interface {
	pal.Batcher
	pal.Locker
	pal.Watcher
	pal.BulkLoader
} = (*fileflash.Store)(nil)

func open(t testing.TB, dir string) *fileflash.Store {
	t.Helper()
	s, err := fileflash.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// privateDir returns a new directory that is the user's alone, whatever the umask
// is.
func privateDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	return dir
}

func TestStore(t *testing.T) {
	dirs := map[pal.Store]string{}
	paltest.TestStore(t, func(t *testing.T) pal.Store {
		dir := privateDir(t)
		s := open(t, dir)
		dirs[s] = dir
		return s
	}, paltest.Reopen(func(t *testing.T, s pal.Store) pal.Store {
		if err := s.(*fileflash.Store).Close(); err != nil {
			t.Fatal(err)
		}
		n := open(t, dirs[s])
		dirs[n] = dirs[s]
		return n
	}))
}

// A log of so many changes that they are applied while more are read is what it was
// when it is opened again: the last change of a record counts, whether it comes soon
// or late.
func TestManyChanges(t *testing.T) {
	dir := privateDir(t)
	s := open(t, dir)
	want := map[string]string{}
	for round := range 40 { // 2,000 changes, 256 of which are applied at once
		var changes []pal.Change
		for i := range 50 {
			name := fmt.Sprintf("r-%d", (round*37+i*7)%600)
			if (round+i)%4 == 0 {
				changes = append(changes, pal.Change{Name: name})
				delete(want, name)
			} else {
				value := fmt.Sprintf("%d of round %d", i, round)
				changes = append(changes, pal.Change{Name: name, Data: []byte(value)})
				want[name] = value
			}
		}
		require.NoError(t, s.Batch(changes))
		if round%13 > 0 && round < 39 {
			continue
		}
		have := map[string]string{}
		require.NoError(t, open(t, dir).LoadAll(func(name string, data []byte, err error) {
			require.NoError(t, err)
			have[name] = string(data)
		}))
		require.Equal(t, want, have)
	}
}
