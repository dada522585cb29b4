package rpc

import (
	"context"
	"sync"
	"time"
)

// A client may ask for as much computing as it likes by one call. So that the
// others do not wait for it, a process whose bulk calls have used up a burst gets a
// small share of the time, by one goroutine, as long as other processes call
// something else; otherwise it has the processors to itself. Devices have turns of
// their own, in the core.
const (
	// burst is the computing that comes at once: an application that takes a key
	// or a nonce now and then never waits.
	burst = 2 * time.Millisecond
	// share is the part of the time that is given after it: one in so many.
	share = 32
	// together is how long ago another process may have called for processes to
	// count as calling at the same time.
	together = 50 * time.Millisecond
	// around is what a call costs besides its computing, here and in the system.
	around = 30 * time.Microsecond
	// quantum is how many random bytes are made at once.
	quantum = 16 << 10
)

// bulk are the calls that compute as much as their client asks for.
var bulk = [callMax]bool{
	callGenerateRandom: true, callDigest: true, callDigestUpdate: true,
	callEncrypt: true, callEncryptUpdate: true, callDecrypt: true, callDecryptUpdate: true,
	callSignUpdate: true, callVerifyUpdate: true,
}

// callers are the turn that was noted last, and the last one before it that was
// another, and when they were.
type callers struct {
	mu          sync.Mutex
	last, other *turn
	at, otherAt time.Time
}

func (c *callers) note(t *turn, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != t {
		c.other, c.otherAt = c.last, c.at
	}
	c.last, c.at = t, now
}

// besides reports whether one that is not t was noted lately.
func (c *callers) besides(t *turn, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != t {
		return c.last != nil && now.Sub(c.at) <= together
	}
	return c.other != nil && now.Sub(c.otherAt) <= together
}

// A turn is what a process needs for its bulk calls. Its connections share it.
type turn struct {
	place chan struct{} // of one
	conns int           // Server.mu guards it

	mu   sync.Mutex
	left time.Duration // of the burst; below 0, what has been computed too much
	at   time.Time     // when left was so
}

func newTurn() *turn { return &turn{place: make(chan struct{}, 1), left: burst} }

// charge takes what was computed from the burst, and returns what is left.
func (t *turn) charge(computed time.Duration, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left = min(t.left+now.Sub(t.at)/share, burst) - computed
	t.at = now
	return t.left
}

// forgive ends a debt.
func (t *turn) forgive() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left = max(t.left, 0)
}

// takeTurn notes who calls, and waits for the place that a bulk call needs while
// others call; leave gives it back.
func (c *conn) takeTurn(ctx context.Context, id callID, now time.Time) (placed bool) {
	s := c.server
	if !bulk[id] || c.turn.charge(0, now) > 0 {
		s.modest.note(c.turn, now)
	}
	s.any.note(c.turn, now)
	if !bulk[id] || !s.any.besides(c.turn, now) {
		return false
	}
	select {
	case c.turn.place <- struct{}{}:
		return true
	case <-ctx.Done():
		return false // the call notices by itself
	}
}

// computed is to be called after a part of a bulk call, of n bytes, that began at
// begin. It charges the time, and lets the process wait for what it has computed
// too much.
func (c *conn) computed(ctx context.Context, n int, begin time.Time) {
	now := time.Now()
	// A small computer needs no longer than that; what does has waited for a device.
	most := 50*time.Microsecond + time.Duration(n)*50*time.Nanosecond
	left := c.turn.charge(around+min(now.Sub(begin), most), now)
	if left >= 0 {
		return
	}
	if !c.server.modest.besides(c.turn, now) {
		c.turn.forgive()
		return
	}
	wait := time.NewTimer(-left * share)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
}
