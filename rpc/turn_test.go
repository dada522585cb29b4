package rpc

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A caller is a process that makes calls which compute for some virtual time.
type caller struct {
	c     *conn
	calls atomic.Int64
	loops sync.WaitGroup
}

func newCaller(s *Server) *caller {
	return &caller{c: &conn{server: s, turn: newTurn()}}
}

// done waits for the loops to end, and returns how many calls there were.
func (p *caller) done() int {
	p.loops.Wait()
	return int(p.calls.Load())
}

// call makes one call of n bytes.
func (p *caller) call(ctx context.Context, id callID, n int, d time.Duration) {
	placed := p.c.takeTurn(ctx, id, time.Now())
	begin := time.Now()
	time.Sleep(d)
	if bulk[id] {
		p.c.computed(ctx, n, begin)
	}
	if placed {
		<-p.c.turn.place
	}
	if ctx.Err() == nil {
		p.calls.Add(1)
	}
}

// loop calls without a pause, on so many connections, until ctx ends.
func (p *caller) loop(ctx context.Context, connections int, id callID, n int, d time.Duration) {
	for range connections {
		p.loops.Go(func() {
			for ctx.Err() == nil {
				p.call(ctx, id, n, d)
			}
		})
	}
}

// sign calls every millisecond.
func (p *caller) sign(ctx context.Context) {
	p.loops.Go(func() {
		for ctx.Err() == nil {
			p.call(ctx, callSign, 0, 100*time.Microsecond)
			time.Sleep(900 * time.Microsecond)
		}
	})
}

// d is how long the calls of a flood compute.
const d = 170 * time.Microsecond

// inASecond is how many calls each of two makes in a second of virtual time.
func inASecond(t *testing.T, run func(ctx context.Context, p, q *caller)) (ps, qs int) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := NewServer(nil, nil)
		p, q := newCaller(s), newCaller(s)
		run(ctx, p, q)
		ps, qs = p.done(), q.done()
	})
	return ps, qs
}

// How many calls are made of what one client asks for without end.
func TestTurns(t *testing.T) {
	const (
		alone = int(time.Second / d)
		cost  = d + around
		paced = int(burst/cost + time.Second/share/cost)
	)
	flood := func(ctx context.Context, p *caller, connections int) {
		p.loop(ctx, connections, callGenerateRandom, 1<<20, d)
	}
	t.Run("alone", func(t *testing.T) {
		calls, _ := inASecond(t, func(ctx context.Context, p, _ *caller) { flood(ctx, p, 8) })
		require.Equal(t, 8*alone, calls, "each connection at full speed")
	})
	t.Run("beside one who signs", func(t *testing.T) {
		calls, signatures := inASecond(t, func(ctx context.Context, p, q *caller) {
			q.sign(ctx)
			synctest.Wait()
			flood(ctx, p, 8)
		})
		require.InDelta(t, paced, calls, 1)
		require.Equal(t, 1000, signatures)
	})
	t.Run("beside one who has gone", func(t *testing.T) {
		calls, _ := inASecond(t, func(ctx context.Context, p, q *caller) {
			q.call(ctx, callSign, 0, 0)
			flood(ctx, p, 1)
		})
		require.InDelta(t, burst/cost+together/share/cost+(time.Second-together)/d, calls, 15)
	})
	t.Run("beside another flood", func(t *testing.T) {
		a, b := inASecond(t, func(ctx context.Context, p, q *caller) {
			flood(ctx, p, 8)
			q.loop(ctx, 8, callDigest, 1<<20, d)
		})
		// One place each, and all of the time, but for who has a burst left yet.
		require.InDelta(t, alone, a, float64(alone)/10)
		require.InDelta(t, alone, b, float64(alone)/10)
	})
	t.Run("first alone, then beside one who signs", func(t *testing.T) {
		calls, _ := inASecond(t, func(ctx context.Context, p, q *caller) {
			flood(ctx, p, 1)
			time.Sleep(time.Second / 2)
			q.sign(ctx)
		})
		require.InDelta(t, alone/2+paced/2, calls, 10, "it does not pay for what nobody else wanted")
	})
	t.Run("beside one who takes a little", func(t *testing.T) {
		calls, _ := inASecond(t, func(ctx context.Context, p, q *caller) {
			q.call(ctx, callGenerateRandom, 32, 0)
			flood(ctx, p, 8)
			for range 199 {
				time.Sleep(5 * time.Millisecond)
				q.call(ctx, callGenerateRandom, 32, 0)
			}
		})
		require.InDelta(t, paced, calls, 2)
	})
	t.Run("of a slow device", func(t *testing.T) {
		calls, _ := inASecond(t, func(ctx context.Context, p, q *caller) {
			q.sign(ctx)
			synctest.Wait()
			p.loop(ctx, 1, callGenerateRandom, 32, 10*time.Millisecond)
		})
		require.InDelta(t, 100, calls, 15, "what waits for a device is not what floods a processor")
	})
}

// A process that takes some random bytes now and then does not wait for its
// answer, whoever calls beside it.
func TestModest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := NewServer(nil, nil)
		signer, flooder, p := newCaller(s), newCaller(s), newCaller(s)
		signer.sign(ctx)
		flooder.loop(ctx, 8, callGenerateRandom, 1<<20, d)
		for range 50 {
			begin := time.Now()
			p.call(ctx, callGenerateRandom, 32, 20*time.Microsecond)
			require.Equal(t, 20*time.Microsecond, time.Since(begin))
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		signer.done()
		flooder.done()
	})
}

// Who waits for a turn or for its share is woken by the end of the call.
func TestTurnCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		s := NewServer(nil, nil)
		q, p := newCaller(s), newCaller(s)
		q.call(ctx, callSign, 0, 0)
		p.c.turn.left = -time.Hour
		begin := time.Now()
		p.c.turn.at = begin
		p.loop(ctx, 8, callGenerateRandom, 32, 0)
		require.Zero(t, p.done())
		require.Equal(t, 10*time.Millisecond, time.Since(begin))
	})
}
