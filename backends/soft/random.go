package soft

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"fmt"

	"github.com/go-cryptoki/cryptoki/internal/drbg"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// newGenerator makes the token's random number generator. It is used with
// neither t.io nor t.mu held, since the seed may be a record of the store.
func (t *Token) newGenerator() error {
	o := &drbg.Options{Sources: t.opts.Entropy}
	if t.opts.Seed != nil {
		o.Seed = ioSeed{t, t.opts.Seed}
	}
	g, err := drbg.New(o)
	if err != nil {
		return fmt.Errorf("soft: options: %w: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
	}
	t.random = g
	return nil
}

// ioSeed is a seed that is used while the token does not use its store.
type ioSeed struct {
	t *Token
	pal.Seed
}

func (s ioSeed) Lock() (unlock func(), err error) {
	s.t.io.Lock()
	l, ok := s.Seed.(pal.LockedSeed)
	if !ok {
		return s.t.io.Unlock, nil
	}
	inner, err := l.Lock()
	if err != nil {
		s.t.io.Unlock()
		return nil, err
	}
	return func() {
		inner()
		s.t.io.Unlock()
	}, nil
}

// draw fills b with random bytes for a key, a salt or whoever asks. Without a good
// source of entropy it fails, and leaves zeros.
func (t *Token) draw(b []byte) error {
	if err := t.random.Read(b); err != nil {
		return fmt.Errorf("soft: no random numbers: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
	}
	return nil
}

// ReadRandom fills b from the token's generator: CTR_DRBG over the sources that
// Options name. After an error b holds zeros.
func (t *Token) ReadRandom(ctx context.Context, b []byte) error {
	return t.draw(b)
}

// generateEC generates a key by rejection sampling: FIPS 186-5, A.2.2. Since Go
// 1.26, crypto/ecdsa does not take randomness from its caller.
func (t *Token) generateEC(curve elliptic.Curve) (*parts, error) {
	bits := curve.Params().BitSize
	d := make([]byte, (bits+7)/8)
	// A candidate is refused with a chance of 2^-32 at most, but for P-521 of less
	// than one half, of which 64 in a row do not happen.
	for range 64 {
		if err := t.draw(d); err != nil {
			return nil, err
		}
		if extra := len(d)*8 - bits; extra > 0 {
			d[0] &= 0xff >> extra
		}
		if key, err := ecdsa.ParseRawPrivateKey(curve, d); err == nil { // it is 1 to n−1
			wipeInt(key.D)
			return &parts{&key.PublicKey, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_VALUE, d)}}, nil
		}
	}
	clear(d)
	return nil, fmt.Errorf("soft: 64 candidates for a key of %s, and none is one: %w", curve.Params().Name, pkcs11.CKR_DEVICE_ERROR)
}

func (t *Token) generateEd25519() (*parts, error) {
	seed := make([]byte, ed25519.SeedSize)
	defer clear(seed)
	if err := t.draw(seed); err != nil {
		return nil, err
	}
	return split(ed25519.NewKeyFromSeed(seed))
}

func (t *Token) generateX25519() (*parts, error) {
	k := make([]byte, 32)
	defer clear(k)
	if err := t.draw(k); err != nil {
		return nil, err
	}
	key, err := ecdh.X25519().NewPrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("soft: X25519 key: %w: %w", pkcs11.CKR_FUNCTION_FAILED, err)
	}
	return split(key)
}
