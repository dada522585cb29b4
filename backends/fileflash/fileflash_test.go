package fileflash_test

import (
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

func open(t testing.TB, dir string) *fileflash.Store {
	t.Helper()
	s, err := fileflash.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
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
