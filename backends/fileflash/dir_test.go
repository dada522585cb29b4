//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package fileflash_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/pal"
)

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, dir string) // dir holds a store
		is   error
		cure string
	}{
		{"a missing directory", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(dir))
		}, fs.ErrNotExist, "mkdir -m 700"},
		{"a directory that the group can write", func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(dir, 0o770))
		}, fileflash.ErrUnsafe, "chmod go-w"},
		{"a directory that all can write", func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
		}, fileflash.ErrUnsafe, "chmod go-w"},
		{"a symbolic link", func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(dir, dir+"-real"))
			require.NoError(t, os.Symlink(dir+"-real", dir))
		}, fileflash.ErrUnsafe, "name the directory that it leads to"},
		{"a file", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
		}, syscall.ENOTDIR, "name a directory"},
		{"a directory of another user", func(t *testing.T, dir string) {
			need.Root(t, "give a directory away")
			require.NoError(t, os.Chown(dir, 12345, -1))
		}, fileflash.ErrUnsafe, "run as that user"},
		{"a log that others can read", func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(filepath.Join(dir, "flash.log"), 0o644))
		}, fileflash.ErrUnsafe, "chmod 600"},
		{"a log of another user", func(t *testing.T, dir string) {
			need.Root(t, "give a file away")
			require.NoError(t, os.Chown(filepath.Join(dir, "flash.log"), 12345, -1))
		}, fileflash.ErrUnsafe, "chown"},
		{"a log that is a symbolic link", func(t *testing.T, dir string) {
			log := filepath.Join(dir, "flash.log")
			require.NoError(t, os.Rename(log, log+".real"))
			require.NoError(t, os.Symlink("flash.log.real", log))
		}, fileflash.ErrUnsafe, "symbolic link"},
		{"a log that is a pipe", func(t *testing.T, dir string) {
			log := filepath.Join(dir, "flash.log")
			require.NoError(t, os.Remove(log))
			require.NoError(t, syscall.Mkfifo(log, 0o600))
		}, nil, "no regular file"},
		{"a log that is a directory", func(t *testing.T, dir string) {
			log := filepath.Join(dir, "flash.log")
			require.NoError(t, os.Remove(log))
			require.NoError(t, os.Mkdir(log, 0o700))
		}, syscall.EISDIR, "move it away"},
		{"a foreign log", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "flash.log"), []byte("something else entirely, and long"), 0o600))
		}, fileflash.ErrForeign, "move the file away"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(privateDir(t), "store")
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, open(t, dir).Save("a", []byte("1")))
			tt.make(t, dir)
			for _, name := range []string{dir, dir + "/"} {
				_, err := fileflash.Open(name, nil)
				require.Error(t, err)
				if tt.is != nil {
					require.ErrorIs(t, err, tt.is)
				}
				require.ErrorContains(t, err, tt.cure)
				require.ErrorContains(t, err, "fileflash: "+dir)
				require.NotContains(t, err.Error(), "\n")
			}
		})
	}
	require.ErrorIs(t, fileflash.ErrUnsafe, fs.ErrPermission)
}

func TestCreate(t *testing.T) {
	top := privateDir(t)
	dir := filepath.Join(top, "var", "gateway", "token")
	s, err := fileflash.Open(dir, &fileflash.Options{Create: true})
	require.NoError(t, err)
	require.NoError(t, s.Save("a", []byte("1")))
	require.NoError(t, s.Close())
	for path, mode := range map[string]fs.FileMode{
		dir: 0o700, filepath.Dir(dir): 0o700, filepath.Join(dir, "flash.log"): 0o600,
	} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
	s, err = fileflash.Open(dir, &fileflash.Options{Create: true})
	require.NoError(t, err)
	defer s.Close()
	data, err := s.Load("a")
	require.NoError(t, err)
	require.Equal(t, "1", string(data))
}

// Opening, and reading what is not there, makes no file.
func TestOpenMakesNothing(t *testing.T) {
	dir := privateDir(t)
	s := open(t, dir)
	_, err := s.Load("a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, s.Remove("a"), fs.ErrNotExist)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestForeignFiles(t *testing.T) {
	dir := privateDir(t)
	s := open(t, dir)
	require.NoError(t, s.Save("a", []byte("1")))
	for _, name := range []string{"notes.txt", "flash.log.bak", "A"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
	for range 200 { // compactions too
		require.NoError(t, s.Save("a", make([]byte, 2000)))
	}
	foreign, err := open(t, dir).Foreign()
	require.NoError(t, err)
	require.Equal(t, []string{"A", "flash.log.bak", "lost+found", "notes.txt"}, foreign)
	data, err := os.ReadFile(filepath.Join(dir, "notes.txt"))
	require.NoError(t, err)
	require.Equal(t, "mine", string(data))
}

// childReadOnly reads a store whose directory it cannot write.
func childReadOnly(args []string) error {
	s, err := fileflash.Open(args[0], nil)
	if err != nil {
		return err
	}
	if data, err := s.Load("a"); err != nil || string(data) != "1" {
		return fmt.Errorf("Load: %q, %w", data, err)
	}
	if err := s.Save("a", []byte("2")); !errors.Is(err, pal.ErrReadOnly) {
		return fmt.Errorf("Save: %w, want pal.ErrReadOnly", err)
	}
	if !s.Stats().ReadOnly {
		return errors.New("Stats does not say that the store is read-only")
	}
	unlock, err := s.Lock()
	if err != nil {
		return err
	}
	return unlock()
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := privateDir(t)
	require.NoError(t, open(t, dir).Save("a", []byte("1")))
	require.NoError(t, os.Chmod(filepath.Join(dir, "flash.log"), 0o400))
	dir, run := asNobody(t, dir)
	require.NoError(t, os.Chmod(dir, 0o500))
	defer os.Chmod(dir, 0o700)
	run("readonly", dir)
}

// asNobody returns a function that runs children of this test as somebody who may
// not pass over permissions, and a copy of the store in dir that is his: the
// same if the test is not run by root.
func asNobody(t *testing.T, dir string) (own string, run func(what string, args ...string) string) {
	t.Helper()
	var as *syscall.Credential
	exe, err := os.Executable()
	require.NoError(t, err)
	if os.Geteuid() == 0 {
		top, err := os.MkdirTemp("", "fileflash-test") // where he can get
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(top) })
		require.NoError(t, os.Chmod(top, 0o755))
		const nobody = 65534
		as = &syscall.Credential{Uid: nobody, Gid: nobody}
		moved := filepath.Join(top, "store")
		require.NoError(t, os.Mkdir(moved, 0o700))
		copyFile(t, filepath.Join(dir, "flash.log"), filepath.Join(moved, "flash.log"), 0o400)
		copyFile(t, exe, filepath.Join(top, "test"), 0o755)
		require.NoError(t, os.Chown(moved, nobody, nobody))
		require.NoError(t, os.Chown(filepath.Join(moved, "flash.log"), nobody, nobody))
		dir, exe = moved, filepath.Join(top, "test")
	}
	return dir, func(what string, args ...string) string {
		t.Helper()
		c := child(t, what, args...)
		c.Path, c.Dir = exe, filepath.Dir(exe)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		out, err := c.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
}

func copyFile(t *testing.T, from, to string, mode fs.FileMode) {
	t.Helper()
	src, err := os.Open(from)
	require.NoError(t, err)
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, mode)
	require.NoError(t, err)
	_, err = io.Copy(dst, src)
	require.NoError(t, err)
	require.NoError(t, dst.Chmod(mode)) // whatever the umask is
	require.NoError(t, dst.Close())
}
