package fileflash_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/pal"
)

// What others do to the log is seen with statx and, where there is none or it is
// forbidden, without: what they write, the log that they put in its place, and that it
// is gone.
func TestStatx(t *testing.T) {
	for name, call := range map[string]func(int, string, int, int, *unix.Statx_t) error{
		"statx":             unix.Statx,
		"a system before":   func(int, string, int, int, *unix.Statx_t) error { return unix.ENOSYS },
		"a container":       func(int, string, int, int, *unix.Statx_t) error { return unix.EPERM },
		"interrupted calls": interrupted(),
	} {
		t.Run(name, func(t *testing.T) {
			defer fileflash.SetStatCall(call)()
			dir := privateDir(t)
			log := filepath.Join(dir, "flash.log")
			a, b := open(t, dir), open(t, dir)
			inode := func() uint64 {
				info, err := os.Stat(log)
				require.NoError(t, err)
				return info.Sys().(*syscall.Stat_t).Ino
			}
			logs := map[uint64]bool{}
			for i := range 200 {
				writer, reader := a, b
				if i%3 == 0 {
					writer, reader = b, a
				}
				want := bytes.Repeat([]byte{byte(i)}, 500)
				before, err := writer.Changes()
				require.NoError(t, err)
				require.NoError(t, writer.Save(fmt.Sprint("record-", i%7), want))
				after, err := writer.Changes()
				require.NoError(t, err)
				require.Equal(t, before, after, "round %d: what it writes itself is no other's", i)
				_, err = reader.Changes()
				require.NoError(t, err)
				got, err := reader.Load(fmt.Sprint("record-", i%7))
				require.NoError(t, err)
				require.Equal(t, want, got, "round %d", i)
				logs[inode()] = true
			}
			require.Greater(t, len(logs), 1, "it was compacted")

			// The other one has a log that is elsewhere now: what it wrote there would
			// be lost.
			require.NoError(t, os.Rename(log, filepath.Join(dir, "moved")))
			require.ErrorIs(t, a.Save("x", []byte("x")), os.ErrNotExist)
			content, err := os.ReadFile(filepath.Join(dir, "moved"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(log, content, 0o600))
			require.NoError(t, a.Save("x", []byte("x")))
			_, err = b.Changes()
			require.NoError(t, err)
			require.NoError(t, b.Save("y", []byte("y")))
			s := open(t, dir)
			for _, name := range []string{"x", "y"} {
				got, err := s.Load(name)
				require.NoError(t, err)
				require.Equal(t, name, string(got))
			}
		})
	}
}

// interrupted fails every second time with EINTR.
func interrupted() func(int, string, int, int, *unix.Statx_t) error {
	n := 0
	return func(dir int, name string, flags, mask int, st *unix.Statx_t) error {
		if n++; n%2 == 1 {
			return unix.EINTR
		}
		return unix.Statx(dir, name, flags, mask, st)
	}
}

// An error of statx that is none of those is the store's.
func TestStatxFails(t *testing.T) {
	s := open(t, privateDir(t))
	require.NoError(t, s.Save("x", []byte("x")))
	defer fileflash.SetStatCall(func(int, string, int, int, *unix.Statx_t) error { return unix.EIO })()
	err := s.Save("x", []byte("y"))
	require.ErrorIs(t, err, unix.EIO)
	require.ErrorContains(t, err, "flash.log")
	require.NotErrorIs(t, err, pal.ErrCorrupt)
}
