package tpm

import (
	"context"
	"time"
)

// Cheap makes PINs cost little, and waiting for a TPM nothing.
func Cheap(o Options) *Options {
	o.Iterations = 1
	o.Simulated = true
	o.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return &o
}

// Unload removes everything of the token from the TPM, as if it had not been
// used yet.
func Unload(t *Token) {
	t.pool.all(func(c *channel) {
		if c.unloadAll() != nil {
			c.dirty = true
		}
	})
}

// Secret returns the token secret.
func Secret(t *Token) []byte {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.keys.secret
}

// AuthOf returns what a PIN is stretched to.
func AuthOf(t *Token, pin []byte) []byte {
	t.mu.RLock()
	defer t.mu.RUnlock()
	auth, err := t.rec.user.stretch(pin)
	if err != nil {
		panic(err)
	}
	return auth
}
