package rpc

import (
	"context"
	"time"
)

// A turn is what a process needs for a call that computes much: while other
// processes call too, each computes with one goroutine at a time, so that one
// that has many connections does not take all processors. Devices have turns of
// their own, in the core.
type turn struct {
	place chan struct{} // of one
	conns int           // Server.mu guards it
}

// bulk are the calls that compute as much as their client asks for.
var bulk = [callMax]bool{
	callGenerateRandom: true, callDigest: true, callDigestUpdate: true,
	callEncrypt: true, callEncryptUpdate: true, callDecrypt: true, callDecryptUpdate: true,
	callSignUpdate: true, callVerifyUpdate: true,
}

// together is how long ago another process may have called for processes to
// count as calling at the same time.
const together = 50 * time.Millisecond

// takeTurn waits for the turn that a call needs, and returns the function that
// gives it back.
func (c *conn) takeTurn(ctx context.Context, id callID, now time.Time) (done func()) {
	s := c.server
	if pid := int64(c.peer.PID); s.lastPID.Load() != pid {
		s.lastPID.Store(pid)
		s.changed.Store(now.UnixNano())
	}
	if !bulk[id] || now.UnixNano()-s.changed.Load() > int64(together) {
		return func() {}
	}
	select {
	case c.turn.place <- struct{}{}:
		return func() { <-c.turn.place }
	case <-ctx.Done():
		return func() {} // the call notices by itself
	}
}
