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
