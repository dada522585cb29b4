package cryptoki

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A gate is what a call to a driver goes through: one at a time for a token that
// is not driver.Concurrent, and none after the module is closed.
//
// Callers that wait are served in turn by the party they belong to, each party
// first come, first served: one that floods the token makes another wait for at
// most one call.
type gate struct {
	concurrent bool
	open       sync.RWMutex // read-locked by calls, locked for ever by shut

	mu      sync.Mutex
	busy    bool // somebody has the token's turn
	parties []*party
}

// A party is one of those who wait for the token.
type party struct {
	who     any
	waiting []chan struct{} // each of one; the turn is handed over by a send
}

func newGate(token driver.Token) *gate {
	_, concurrent := token.(driver.Concurrent)
	return &gate{concurrent: concurrent}
}

// acquire waits for the token's turn, as one of the party who. The error wraps
// CKR_FUNCTION_CANCELED when ctx ended first.
func (g *gate) acquire(ctx context.Context, who any) error {
	if !g.concurrent {
		if err := g.take(ctx, who); err != nil {
			return err
		}
	}
	if !g.open.TryRLock() {
		// Only shut locks open, and for good: from its first moment this fails.
		if !g.concurrent {
			g.pass()
		}
		return pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED
	}
	return nil
}

func (g *gate) release() {
	g.open.RUnlock()
	if !g.concurrent {
		g.pass()
	}
}

// take waits for the turn.
func (g *gate) take(ctx context.Context, who any) error {
	g.mu.Lock()
	if !g.busy {
		g.busy = true
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{}, 1)
	i := slices.IndexFunc(g.parties, func(p *party) bool { return p.who == who })
	if i < 0 {
		i = len(g.parties)
		g.parties = append(g.parties, &party{who: who})
	}
	p := g.parties[i]
	p.waiting = append(p.waiting, turn)
	g.mu.Unlock()

	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	if i := slices.Index(p.waiting, turn); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		if len(p.waiting) == 0 {
			g.parties = slices.DeleteFunc(g.parties, func(q *party) bool { return q == p })
		}
		g.mu.Unlock()
	} else {
		g.mu.Unlock()
		<-turn // it was handed over just now
		g.pass()
	}
	return fmt.Errorf("waiting for the token: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
}

// pass hands the turn to the party that has waited longest since it had it.
func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.parties) == 0 {
		g.busy = false
		return
	}
	p := g.parties[0]
	g.parties = slices.Delete(g.parties, 0, 1)
	turn := p.waiting[0]
	p.waiting = slices.Delete(p.waiting, 0, 1)
	if len(p.waiting) > 0 {
		g.parties = append(g.parties, p)
	}
	turn <- struct{}{}
}

// queue returns how many callers wait.
func (g *gate) queue() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, p := range g.parties {
		n += len(p.waiting)
	}
	return n
}

// shut waits for the calls under way and refuses those that come later.
func (g *gate) shut() {
	g.open.Lock()
}
