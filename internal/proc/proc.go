// Package proc runs the programs that tests need beside themselves.
package proc

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Command is exec.Command for a program that ends with the test. One that hangs is
// sent SIGQUIT shortly before the time of go test is over, so that a Go program
// still says where, and the test what it was waiting for.
func Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	// Not t.Context, which ends before what the test cleans up: it may still want
	// to end the program in its own way.
	ctx, cancel := context.WithCancel(context.Background())
	if t, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if end, ok := t.Deadline(); ok {
			ctx, cancel = context.WithDeadline(ctx, end.Add(-time.Until(end)/10))
		}
	}
	c := exec.CommandContext(ctx, name, args...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGQUIT) }
	c.WaitDelay = 5 * time.Second
	t.Cleanup(func() {
		if c.Process != nil {
			c.Process.Kill() // which does nothing to one that was waited for
		}
		cancel()
	})
	return c
}
