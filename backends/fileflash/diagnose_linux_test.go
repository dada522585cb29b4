package fileflash_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/pal"
)

func init() { children["mount"] = childMount }

// A file system that is full, and then one that is read-only, as they are.
func TestRealFullAndReadOnlyFileSystem(t *testing.T) {
	dir := privateDir(t)
	c := child(t, "mount", dir)
	c.SysProcAttr = need.Mounts(t)
	out, err := c.CombinedOutput()
	require.NoError(t, err, string(out))
}

func childMount(args []string) error {
	dir := args[0]
	if err := unix.Mount("test", dir, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	s, err := fileflash.Open(dir, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Save("a", []byte("1")); err != nil {
		return err
	}
	for n := 4096; n > 0; {
		f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		if _, err := f.Write(make([]byte, n)); err != nil {
			n /= 2
		}
		f.Close()
	}
	var full error
	for i := 0; full == nil && i < 10; i++ { // the rest of a page
		full = s.Save("a", make([]byte, 2000))
	}
	if !errors.Is(full, pal.ErrFull) || !strings.HasSuffix(full.Error(), "; free some space") {
		return fmt.Errorf("saving on a full disk: %w, want pal.ErrFull with a cure", full)
	}
	want := func(what, line string) error {
		found, snapshot := fileflash.Diagnose(dir)
		snapshot.Close()
		if text := strings.Join(lines(found), "\n"); !strings.Contains(text, line) {
			return fmt.Errorf("%s: %s", what, text)
		}
		return nil
	}
	if err := want("full", "problem space: the file system is full: there is room for no more bytes"); err != nil {
		return err
	}
	if err := want("in memory", "warning medium: "+dir+" is on a tmpfs"); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if err := unix.Mount("test", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	if err := want("read-only", "warning writable: the file system is mounted read-only"); err != nil {
		return err
	}
	readOnly, err := fileflash.Open(dir, nil)
	if err != nil {
		return err
	}
	defer readOnly.Close()
	if data, err := readOnly.Load("a"); err != nil || len(data) == 0 {
		return fmt.Errorf("reading: %w", err)
	}
	if err := readOnly.Save("a", []byte("2")); !errors.Is(err, pal.ErrReadOnly) {
		return fmt.Errorf("saving on a read-only file system: %w, want pal.ErrReadOnly", err)
	}
	return nil
}

// The wear of an eMMC, in a copy of what sysfs has: a partition is below its
// device.
func TestWear(t *testing.T) {
	sys := t.TempDir()
	block := filepath.Join(sys, "devices/mmc0/block/mmcblk0")
	require.NoError(t, os.MkdirAll(filepath.Join(block, "device"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(block, "mmcblk0p2"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(sys, "dev/block"), 0o700))
	require.NoError(t, os.Symlink("../../devices/mmc0/block/mmcblk0", filepath.Join(sys, "dev/block/179:0")))
	require.NoError(t, os.Symlink("../../devices/mmc0/block/mmcblk0/mmcblk0p2", filepath.Join(sys, "dev/block/179:2")))
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(block, "device", name), []byte(text), 0o600))
	}
	for _, dev := range []uint64{unix.Mkdev(179, 0), unix.Mkdev(179, 2)} {
		write("life_time", "0x01 0x0a\n")
		write("pre_eol_info", "0x02\n")
		device, life, eol := fileflash.Wear(sys, dev)
		require.Equal(t, []any{"mmcblk0", 10, 2}, []any{device, life, eol})
		write("life_time", "not a number\n")
		require.NoError(t, os.Remove(filepath.Join(block, "device/pre_eol_info")))
		device, life, eol = fileflash.Wear(sys, dev)
		require.Equal(t, []any{"mmcblk0", 0, 0}, []any{device, life, eol})
	}
	device, life, eol := fileflash.Wear(sys, unix.Mkdev(8, 1))
	require.Equal(t, []any{"", 0, 0}, []any{device, life, eol})
}
