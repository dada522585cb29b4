package cryptoki

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// randomTurn is how many bytes a device that does one thing at a time is asked for
// before others have their turn: a secure element takes 20 ms and more for 32.
const randomTurn = 64

func (se *session) GenerateRandom(ctx context.Context, b []byte) error {
	const op = "GenerateRandom"
	if err := se.check(op); err != nil {
		return err
	}
	if len(b) == 0 {
		return opErr(op, "", fmt.Errorf("%w: no bytes are asked for", pkcs11.CKR_ARGUMENTS_BAD))
	}
	s := se.slot
	if s.random == nil {
		return opErr(op, "", fmt.Errorf("%w: this token has no random number generator", pkcs11.CKR_RANDOM_NO_RNG))
	}
	for rest := b; len(rest) > 0; {
		turn := rest
		if !s.gate.concurrent {
			turn = rest[:min(len(rest), randomTurn)]
		}
		err := s.acquire(ctx)
		if err == nil {
			err = deviceErr(s.random.ReadRandom(ctx, turn))
			s.gate.release()
		}
		if err != nil {
			clear(b) // nothing that looks random is left behind
			return opErr(op, "", err)
		}
		rest = rest[len(turn):]
	}
	return nil
}

func (se *session) SeedRandom(ctx context.Context, seed []byte) error {
	const op = "SeedRandom"
	if err := se.check(op); err != nil {
		return err
	}
	if len(seed) == 0 {
		return opErr(op, "", fmt.Errorf("%w: the seed is empty", pkcs11.CKR_ARGUMENTS_BAD))
	}
	s := se.slot
	if s.random == nil {
		return opErr(op, "", fmt.Errorf("%w: this token has no random number generator", pkcs11.CKR_RANDOM_NO_RNG))
	}
	seeder, ok := s.token.(driver.RandomSeeder)
	if !ok {
		return opErr(op, "", fmt.Errorf("%w: the token's generator takes no seed", pkcs11.CKR_RANDOM_SEED_NOT_SUPPORTED))
	}
	if err := s.acquire(ctx); err != nil {
		return opErr(op, "", err)
	}
	defer s.gate.release()
	return opErr(op, "", deviceErr(seeder.SeedRandom(ctx, seed)))
}
