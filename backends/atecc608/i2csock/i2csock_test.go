package i2csock

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Who takes a transfer and never answers does not hold the caller for ever, and is
// not asked again: what came later would be the answer to another transfer.
func TestSilence(t *testing.T) {
	defer func(d time.Duration) { patience = d }(patience)
	patience = 10 * time.Millisecond
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b, err := Dial(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	first := b.Tx(0x60, []byte{0}, nil)
	if !errors.Is(first, os.ErrDeadlineExceeded) || !strings.Contains(first.Error(), path) || !strings.Contains(first.Error(), "atecc-sim") {
		t.Errorf("error %v", first)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{replyACK}); err != nil {
		t.Fatal(err)
	}
	if err := b.Tx(0x60, []byte{0}, nil); err != first {
		t.Errorf("then error %v", err)
	}
}
