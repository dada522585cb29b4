package rpc

import (
	"errors"
	"runtime"
	"time"
)

// A connection becomes hot after so many calls within so much time of each other.
const warmCalls = 8

var (
	warmTime = 2 * time.Millisecond
	// coolTime is how long a hot connection may rest before it goes back to the
	// poller.
	coolTime = 20 * time.Millisecond
)

// errCold is the error of a hot connection's Read that has waited for coolTime.
var errCold = errors.New("nothing to read")

// hotPlaces is how many connections may be hot. One that rests keeps a processor
// of the Go runtime for some time, which others must not need.
func hotPlaces() int32 { return int32(min(runtime.GOMAXPROCS(0)-1, 8)) }

// warm makes the connection hot if calls follow each other closely. The reading
// goroutine calls it for each.
func (c *conn) warm(now time.Time) {
	if c.socket == nil {
		return
	}
	if c.socket.hot() {
		if c.closely++; c.closely%128 == 0 {
			runtime.Gosched() // so that the runtime's monitor sees no stuck goroutine, and sleeps longer
		}
		return
	}
	if now.Sub(c.lastCall) > warmTime {
		c.closely = 0
	}
	c.lastCall = now
	if c.closely++; c.closely < warmCalls {
		return
	}
	c.closely = 0
	if s := c.server; s.hot.Add(1) > hotPlaces() || c.change((*hotConn).heat) != nil {
		s.hot.Add(-1)
	}
}

// cool ends what warm began. After an error the connection is as it was.
func (c *conn) cool() {
	if c.change((*hotConn).cool) == nil {
		c.server.hot.Add(-1)
	}
}

func (c *conn) change(to func(*hotConn) error) error {
	c.out.Lock() // nobody writes
	defer c.out.Unlock()
	return to(c.socket)
}
