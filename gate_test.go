package cryptoki

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/stretchr/testify/require"
)

// One party that has many calls waiting makes another wait for one of them.
func TestGateIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		require.NoError(t, g.acquire(t.Context(), "first"))
		var mu sync.Mutex
		var order []string
		var done sync.WaitGroup
		call := func(who, name string) {
			done.Go(func() {
				if err := g.acquire(t.Context(), who); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				g.release()
			})
			synctest.Wait() // it stands in the queue now
		}
		for i := range 4 {
			call("flood", fmt.Sprint("flood", i))
		}
		call("b", "b0")
		call("c", "c0")
		call("b", "b1")
		require.Equal(t, 7, g.queue())
		g.release()
		done.Wait()
		require.Equal(t, []string{"flood0", "b0", "c0", "flood1", "b1", "flood2", "flood3"}, order)
		require.False(t, g.busy)
		require.Empty(t, g.parties)
	})
}

// A caller that stops waiting leaves no trace, also when the turn reaches it at
// that moment.
func TestGateCancelled(t *testing.T) {
	g := &gate{}
	require.NoError(t, g.acquire(t.Context(), 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := g.acquire(ctx, 2)
	require.ErrorIs(t, err, pkcs11.CKR_FUNCTION_CANCELED)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, g.parties)
	g.release()

	var all sync.WaitGroup
	for who := range 4 {
		all.Go(func() {
			for range 500 {
				ctx, cancel := context.WithCancel(t.Context())
				if who%2 == 0 {
					go cancel()
				}
				if err := g.acquire(ctx, who); err == nil {
					g.release()
				} else if !errors.Is(err, pkcs11.CKR_FUNCTION_CANCELED) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	require.False(t, g.busy)
	require.Empty(t, g.parties)
	g.shut()
	require.ErrorIs(t, g.acquire(t.Context(), 1), pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
}

// Whoever calls while the gate is being shut neither gets through afterwards nor
// keeps it from being shut.
func TestGateShutAmongCalls(t *testing.T) {
	for i := range 10000 {
		g := &gate{concurrent: i%2 == 0}
		var all sync.WaitGroup
		for who := range 4 {
			all.Go(func() {
				for g.acquire(t.Context(), who) == nil {
					g.release()
				}
			})
		}
		g.shut()
		require.ErrorIs(t, g.acquire(t.Context(), 1), pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
		all.Wait()
	}
}
