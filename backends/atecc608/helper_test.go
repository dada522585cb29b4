package atecc608_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
)

// provisioned is a chip with the generic configuration, locked, without keys but
// the one for I/O protection.
func provisioned(t testing.TB) *ateccsim.State {
	t.Helper()
	s, err := ateccsim.Generic(ateccsim.DefaultSerial, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		b := s.Slot(n)
		for i := range b {
			b[i] = 0xFF
		}
	}
	return s
}

func newChip(t testing.TB, s *ateccsim.State, opts *ateccsim.Options) *ateccsim.Chip {
	t.Helper()
	c, err := ateccsim.New(s, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// opener opens the same chip and store again and again.
func opener(c *ateccsim.Chip, store pal.Store, opts atecc608.Options) func(context.Context) (driver.Token, error) {
	return func(ctx context.Context) (driver.Token, error) {
		o := opts
		o.Store = store
		o.Chip = atecc.Opts{Address: o.Chip.Address}
		token, err := atecc608.New(ctx, c, &o)
		if err != nil {
			return nil, err // a nil *Token is no nil driver.Token
		}
		return token, nil
	}
}
