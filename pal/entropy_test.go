package pal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

func TestSystemEntropy(t *testing.T) {
	paltest.TestEntropySource(t, func(*testing.T) pal.EntropySource { return pal.SystemEntropy })
}

// chip is a token with a generator.
type chip struct{ err error }

func (c chip) ReadRandom(ctx context.Context, b []byte) error {
	if c.err != nil {
		return c.err
	}
	return pal.SystemEntropy.ReadEntropy(b)
}

func TestTokenEntropy(t *testing.T) {
	paltest.TestEntropySource(t, func(*testing.T) pal.EntropySource { return pal.TokenEntropy(chip{}) })
	asleep := errors.New("the chip does not wake up")
	if err := pal.TokenEntropy(chip{asleep}).ReadEntropy(make([]byte, 1)); !errors.Is(err, asleep) {
		t.Errorf("the error is %v, want one that wraps %v", err, asleep)
	}
}
