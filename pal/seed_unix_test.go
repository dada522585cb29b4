//go:build unix && !solaris && !aix

package pal_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
)

func TestFileSeedIsForItsOwner(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "seed")
	s := pal.NewFileSeed(path)
	if err := s.WriteSeed(make([]byte, pal.SeedLen)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the mode is %v, %v, want 0600", info.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%d files after WriteSeed, %v; want 1", len(entries), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadSeed(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Errorf("a seed that others can read: %v", err)
	}
}
