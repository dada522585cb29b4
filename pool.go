package cryptoki

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// maxIdle is how many sessions a Token keeps open for the next callers. More
// goroutines than that at once are served too; their sessions are closed when
// they are done.
const maxIdle = 16

// A pool keeps the sessions of a Token, as database/sql keeps connections: a
// method borrows one and gives it back.
//
// The last session is never closed before the pool is, because that would log
// the token out (PKCS #11 v2.40 §5.6, C_CloseSession).
type pool struct {
	m     Module
	slot  pkcs11.SlotID
	limit int // of sessions, 0 for none

	mu      sync.Mutex
	idle    []*conn       // the last one was used last
	open    int           // sessions that are open or being opened
	out     int           // of them, those that someone has
	waiters []chan *conn  // first come, first served
	drained chan struct{} // not nil while drain waits or has the token for itself
	closed  bool

	// onEmpty is called when the last session is gone: the token is logged out.
	onEmpty func()
}

// A conn is a session of the pool.
type conn struct {
	Session
	rw   bool
	keep bool   // holds session objects, which would go with it; such a one can write
	era  uint64 // Token.era when it was borrowed
}

var errTokenClosed = fmt.Errorf("the token is closed: %w", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)

// get borrows a session, one that can write if rw. It waits while the token has
// no more of them and somebody may give one back; first come, first served.
func (p *pool) get(ctx context.Context, rw bool) (*conn, error) {
	var full error // the token's refusal to open one more, since the last wait
	woken := false
	p.mu.Lock()
	for {
		if p.closed {
			p.mu.Unlock()
			return nil, errTokenClosed
		}
		if p.drained == nil && (woken || len(p.waiters) == 0) {
			if c := p.pop(rw); c != nil {
				p.out++
				p.mu.Unlock()
				return c, nil
			}
			if full == nil && (p.limit <= 0 || p.open < p.limit) {
				p.open++
				p.out++
				p.mu.Unlock()
				s, err := p.m.OpenSession(ctx, p.slot, flagsFor(rw))
				if err == nil {
					return &conn{Session: s, rw: rw}, nil
				}
				if !errors.Is(err, pkcs11.CKR_SESSION_COUNT) {
					p.gone()
					return nil, err
				}
				// Fewer than the token says, or others have some: wait for ours.
				full = err
				p.mu.Lock()
				p.uncount()
				continue
			}
			if len(p.idle) > 0 { // read-only all, and no room for another
				c := p.idle[0]
				p.idle = append(p.idle[:0], p.idle[1:]...)
				p.out++
				p.mu.Unlock()
				return p.exchange(ctx, c)
			}
			if p.out == 0 {
				p.wakeLocked()
				p.mu.Unlock()
				if full == nil {
					full = pkcs11.CKR_SESSION_COUNT
				}
				return nil, fmt.Errorf("%w; all sessions of the token are taken: close some, or allow more", full)
			}
		}
		w := make(chan *conn, 1)
		p.waiters = append(p.waiters, w)
		p.mu.Unlock()
		c, err := p.wait(ctx, w)
		if err != nil {
			return nil, err
		}
		if c != nil {
			if rw && !c.rw {
				return p.exchange(ctx, c)
			}
			return c, nil
		}
		full, woken = nil, true // look again, before those who come now
		p.mu.Lock()
	}
}

// wait waits for put to hand over a session (which then counts as out already),
// or nil, which says to look again.
func (p *pool) wait(ctx context.Context, w chan *conn) (*conn, error) {
	select {
	case c := <-w:
		return c, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	for i := range p.waiters {
		if p.waiters[i] == w {
			p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
			p.mu.Unlock()
			return nil, fmt.Errorf("waiting for a free session: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
		}
	}
	p.mu.Unlock()
	if c := <-w; c != nil {
		p.put(c)
	} else {
		p.wake()
	}
	return nil, fmt.Errorf("waiting for a free session: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
}

// pop takes an idle session that suits; p.mu is held. Readers leave sessions
// that can write for those who need them, if there is another.
func (p *pool) pop(rw bool) *conn {
	best := -1
	for i := len(p.idle) - 1; i >= 0; i-- {
		if c := p.idle[i]; c.rw == rw {
			best = i
			break
		} else if c.rw && best < 0 {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	c := p.idle[best]
	p.idle = append(p.idle[:best], p.idle[best+1:]...)
	return c
}

func flagsFor(rw bool) pkcs11.SessionFlags {
	if rw {
		return pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION
	}
	return pkcs11.CKF_SERIAL_SESSION
}

// exchange closes c for a session that can write. The new one is opened first
// where there is room, so that the token stays logged in.
func (p *pool) exchange(ctx context.Context, c *conn) (*conn, error) {
	if s, err := p.m.OpenSession(ctx, p.slot, flagsFor(true)); err == nil {
		c.Session.Close()
		c.Session, c.rw = s, true
		return c, nil
	} else if !errors.Is(err, pkcs11.CKR_SESSION_COUNT) {
		p.put(c)
		return nil, err
	}
	c.Session.Close()
	p.mu.Lock()
	last := p.open == 1
	p.mu.Unlock()
	if last {
		p.onEmpty()
	}
	s, err := p.m.OpenSession(ctx, p.slot, flagsFor(true))
	if err != nil {
		p.gone()
		return nil, err
	}
	c.Session, c.rw = s, true
	return c, nil
}

// put gives a session back.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	if p.drained == nil && !p.closed {
		if len(p.waiters) > 0 {
			w := p.waiters[0]
			p.waiters = p.waiters[1:]
			w <- c // still out
			p.mu.Unlock()
			return
		}
		if len(p.idle) < maxIdle || c.keep {
			p.idle = append(p.idle, c)
			p.out--
			p.mu.Unlock()
			return
		}
	}
	p.mu.Unlock()
	p.drop(c)
}

// drop closes a session instead of giving it back: it is broken, or too many.
func (p *pool) drop(c *conn) {
	c.Session.Close()
	p.gone()
}

// adopt counts a session that was opened beside the pool as one of it.
func (p *pool) adopt() {
	p.mu.Lock()
	p.open++
	p.out++
	p.mu.Unlock()
}

// stay opens another session if c, about to be closed, is the last: otherwise
// the token would be logged out. If there is no room it cannot be helped.
func (p *pool) stay(c *conn) {
	p.mu.Lock()
	last := p.open == 1 && p.limit != 1 && !p.closed && p.drained == nil
	p.mu.Unlock()
	if !last {
		return
	}
	s, err := p.m.OpenSession(context.Background(), p.slot, flagsFor(false))
	if err != nil {
		return
	}
	p.adopt()
	p.put(&conn{Session: s})
}

// gone accounts for a session that is no more, and lets the next one in.
func (p *pool) gone() {
	p.mu.Lock()
	p.uncount()
	p.wakeLocked()
	empty := p.open == 0
	p.mu.Unlock()
	if empty {
		p.onEmpty()
	}
}

// uncount takes one off the open sessions that are out; p.mu is held.
func (p *pool) uncount() {
	p.open--
	p.out--
	if p.out == 0 && p.drained != nil {
		select {
		case p.drained <- struct{}{}:
		default:
		}
	}
}

// wake has the first of those who wait look again.
func (p *pool) wake() {
	p.mu.Lock()
	p.wakeLocked()
	p.mu.Unlock()
}

func (p *pool) wakeLocked() {
	if len(p.waiters) > 0 && p.drained == nil {
		w := p.waiters[0]
		p.waiters = p.waiters[1:]
		w <- nil
	}
}

// flush closes the idle sessions: after a reset of the token none is good.
func (p *pool) flush() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.out += len(idle)
	p.mu.Unlock()
	for _, c := range idle {
		p.drop(c)
	}
}

// drain waits until nobody has a session, closes all, and keeps it so until
// fill. The standard wants that for InitToken and for a login of the SO.
func (p *pool) drain(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return errTokenClosed
	}
	if p.drained != nil {
		p.mu.Unlock()
		return fmt.Errorf("%w: the token is being set up by another call", pkcs11.CKR_OPERATION_ACTIVE)
	}
	done := make(chan struct{}, 1)
	p.drained = done
	p.mu.Unlock()
	p.flush()
	p.mu.Lock()
	busy := p.out > 0
	p.mu.Unlock()
	if busy {
		select {
		case <-done:
		case <-ctx.Done():
			p.fill()
			return fmt.Errorf("waiting until all sessions are given back: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
		}
	}
	return nil
}

// fill ends drain.
func (p *pool) fill() {
	p.mu.Lock()
	p.drained = nil
	waiters := p.waiters
	p.waiters = nil
	p.mu.Unlock()
	for _, w := range waiters {
		w <- nil
	}
}

// close closes the idle sessions; the others are closed when they come back.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	waiters := p.waiters
	p.waiters = nil
	p.mu.Unlock()
	for _, w := range waiters {
		w <- nil
	}
	p.flush()
}
