package tpm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
)

// A pool is the channels of a token. A key is used on the channel that has it
// loaded, if there is one: through the resource manager of Linux every channel
// has its objects swapped in and out for each command, so that one key for each
// is cheapest.
type pool struct {
	mu       sync.Mutex
	channels []*place
	closed   bool
}

// A place is a channel and the right to use it.
type place struct {
	*channel
	turn    chan struct{} // holds a token while nobody uses the channel
	waiting int           // those who use it or wait to; pool.mu guards it and keys
	keys    map[*tpmKey]bool
	idle    *time.Timer
}

// add makes a channel of a connection; tpm is nil if there is none yet.
func (p *pool) add(t *Token, tpm transport.TPM) {
	pl := &place{
		channel: &channel{t: t, tpm: tpm, ctx: context.Background()},
		turn:    make(chan struct{}, 1),
		keys:    make(map[*tpmKey]bool),
	}
	pl.turn <- struct{}{}
	p.channels = append(p.channels, pl)
}

// choose returns the channel for a key, or for none.
func (p *pool) choose(k *tpmKey) (*place, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	var best *place
	for _, pl := range p.channels {
		if k != nil && pl.keys[k] {
			best = pl
			break
		}
		if best == nil || pl.waiting < best.waiting || pl.waiting == best.waiting && len(pl.keys) < len(best.keys) {
			best = pl
		}
	}
	if k != nil {
		best.keys[k] = true
	}
	best.waiting++
	return best, nil
}

// leave gives a channel back.
func (p *pool) leave(pl *place, used bool) {
	p.mu.Lock()
	pl.waiting--
	if used {
		clear(pl.keys)
		for _, l := range pl.loaded {
			pl.keys[l.key] = true
		}
	}
	closed := p.closed
	p.mu.Unlock()
	if !used {
		return
	}
	patience := time.Duration(0)
	switch {
	case closed:
	case pl.shared():
		patience = idleConnection
		if pl.t.clock().Sub(pl.since) > busyConnection {
			pl.yield()
			patience = 0
		}
	case pl.session != nil:
		patience = idleSession
	}
	if patience > 0 {
		if pl.idle == nil {
			pl.idle = time.AfterFunc(patience, func() { p.expire(pl) })
		} else {
			pl.idle.Reset(patience)
		}
	}
	pl.turn <- struct{}{}
}

// A TPM on a socket that has no resource manager serves one connection at a time.
// So that several processes can use it, none keeps it for longer.
const (
	idleConnection = 50 * time.Millisecond
	busyConnection = 500 * time.Millisecond
)

// shared reports whether others wait for the connection to be closed.
func (c *channel) shared() bool {
	_, ok := c.closer.(*stream)
	return ok && !c.t.managed.Load()
}

// yield removes what is ours from the TPM and closes the connection.
func (c *channel) yield() {
	c.ctx = context.Background()
	if errors.Join(c.clean(), c.unloadAll()) == nil && !c.dirty {
		c.t.dropSessions()
		c.disconnect()
	}
}

// expire ends the session of a channel that nobody has used for long, or gives
// the connection to others.
func (p *pool) expire(pl *place) {
	select {
	case <-pl.turn:
	default:
		return // it is in use
	}
	switch s := pl.session; {
	case pl.tpm == nil:
	case pl.shared():
		pl.yield()
	case s != nil && pl.t.clock().Sub(s.last) >= idleSession:
		pl.ctx = context.Background()
		pl.endSession()
	}
	p.mu.Lock()
	clear(pl.keys)
	for _, l := range pl.loaded {
		pl.keys[l.key] = true
	}
	p.mu.Unlock()
	pl.turn <- struct{}{}
}

// close takes all channels, removes what is ours from the TPM, and closes what
// was opened.
func (p *pool) close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	var errs []error
	for _, pl := range p.channels {
		<-pl.turn
		if pl.idle != nil {
			pl.idle.Stop()
		}
		pl.ctx = context.Background()
		if pl.tpm != nil {
			// A TPM that is gone has nothing of ours.
			var lost *transportError
			if err := errors.Join(pl.unloadAll(), pl.clean()); err != nil && !errors.As(err, &lost) {
				errs = append(errs, err)
			}
		}
		pl.disconnect()
		pl.tpm = nil
	}
	return errors.Join(errs...)
}

// all calls f with every channel that is connected.
func (p *pool) all(f func(*channel)) {
	p.mu.Lock()
	channels, closed := p.channels, p.closed
	if !closed {
		for _, pl := range channels {
			pl.waiting++
		}
	}
	p.mu.Unlock()
	if closed {
		return
	}
	for _, pl := range channels {
		<-pl.turn
		pl.ctx = context.Background()
		if pl.tpm != nil {
			f(pl.channel)
		}
		p.leave(pl, true)
	}
}

// use calls f with a channel on which k is loaded, if k is not nil, and with the
// key's handle. If what f does fails since the TPM was reset, has lost
// something, or has no room, that is repaired and f called again, at most three
// times in all. When ctx ends, use returns, and f goes on behind the scenes
// until the TPM has answered: f must not use what belongs to the caller.
func (t *Token) use(ctx context.Context, k *tpmKey, f func(c *channel, key entity) error) error {
	return t.with(ctx, k, func(c *channel) error {
		for attempt := 0; ; attempt++ {
			err := c.ready()
			var e entity
			if err == nil && k != nil {
				e, err = c.load(k)
			}
			if err == nil {
				err = f(c, e)
				if k != nil && !k.public.has(objNoDA) {
					c.forgive()
				}
			}
			if err != nil && k != nil && k.persistent != 0 && repairOf(err) == forgetHandles && !k.evicted.Swap(true) {
				c.t.log(c.ctx, "a persistent key was removed from the TPM, it is loaded from its record", "handle", fmt.Sprintf("%#x", k.persistent))
				continue
			}
			if err == nil || c.ctx.Err() != nil {
				return err
			}
			if attempt == 2 {
				return c.diagnose(err)
			}
			if rerr := c.repair(err); rerr != nil {
				return c.diagnose(rerr)
			}
		}
	})
}

// with calls f with a channel, and with nothing repaired.
func (t *Token) with(ctx context.Context, k *tpmKey, f func(c *channel) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.foreign.Load() {
		return errForeign
	}
	pl, err := t.pool.choose(k)
	if err != nil {
		return err
	}
	select {
	case <-pl.turn:
	case <-ctx.Done():
		t.pool.leave(pl, false)
		return ctx.Err()
	}
	pl.ctx = ctx
	if ctx.Done() == nil {
		defer t.pool.leave(pl, true)
		return f(pl.channel)
	}
	done := make(chan error, 1)
	go func() {
		defer t.pool.leave(pl, true)
		done <- f(pl.channel)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		select {
		case err := <-done:
			return err
		default:
			return ctx.Err()
		}
	}
}

// ready connects a channel that is not, and cleans up after a failed command.
func (c *channel) ready() error {
	if c.tpm == nil {
		if c.t.opts.Dial == nil {
			return &transportError{errNotConnected}
		}
		if err := c.connect(); err != nil {
			return err
		}
		if err := c.same(); err != nil {
			return err
		}
		c.dirty = false
		if err := c.settle(); err != nil {
			return err
		}
	}
	return c.clean()
}
