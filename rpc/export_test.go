package rpc

import (
	"testing"
	"time"
)

// SetPatience changes, for a test, how long a program may take to go.
func SetPatience(t testing.TB, d time.Duration) {
	old := patience
	patience = d
	t.Cleanup(func() { patience = old })
}

// PID is that of the process behind the client, 0 if there is none now.
func (c *Client) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil || !c.link.alive() {
		return 0
	}
	return c.link.rw.(*process).cmd.Process.Pid
}

// Waiting is how many calls wait for their answers.
func (c *Client) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return len(c.link.waiting)
}
