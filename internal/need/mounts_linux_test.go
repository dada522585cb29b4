package need_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
)

// What a child mounts, nobody else sees.
func TestMounts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := proc.Command(t, "sh", "-c", `mount -t tmpfs none "$0" && ls "$0" && id -u`, dir)
	c.SysProcAttr = need.Mounts(t)
	if out, err := c.CombinedOutput(); err != nil || string(out) != "0\n" {
		t.Errorf("%v: %q", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
		t.Error(err)
	}
}
