package cryptoki

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

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
	if err := s.gate.acquire(ctx); err != nil {
		return opErr(op, "", err)
	}
	err := s.random.ReadRandom(ctx, b)
	s.gate.release()
	if err != nil {
		clear(b) // nothing that looks random is left behind
		return opErr(op, "", deviceErr(err))
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
	if err := s.gate.acquire(ctx); err != nil {
		return opErr(op, "", err)
	}
	defer s.gate.release()
	return opErr(op, "", deviceErr(seeder.SeedRandom(ctx, seed)))
}
