//go:build !windows

package pal_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

func TestDeviceEntropy(t *testing.T) {
	paltest.TestEntropySource(t, func(t *testing.T) pal.EntropySource {
		d, err := pal.OpenEntropy("/dev/urandom")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	})
	t.Run("a device that ends is an error", func(t *testing.T) {
		d, err := pal.OpenEntropy("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := d.ReadEntropy(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "/dev/null") {
			t.Errorf("the error is %v, want one that names the device", err)
		}
	})
	dir := t.TempDir()
	file := filepath.Join(dir, "noise")
	if err := os.WriteFile(file, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		file:                         nil,
		dir:                          nil,
		filepath.Join(dir, "absent"): fs.ErrNotExist,
	} {
		d, err := pal.OpenEntropy(path)
		if err == nil {
			d.Close()
			t.Errorf("%s: opened as a source", path)
		} else if want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}
