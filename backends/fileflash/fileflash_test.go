package fileflash_test

import (
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
