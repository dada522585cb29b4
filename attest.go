package cryptoki

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Attest returns evidence that the private key of that name is in the token and
// was generated there, for somebody else to check; nonce is what that somebody
// has chosen, 1 to 32 bytes, so that the evidence is fresh. The format is the
// backend's: evidence of a TPM is checked by package backends/tpm/attest. A token
// that cannot attest, and one in another process, returns
// CKR_FUNCTION_NOT_SUPPORTED; a key that was imported is
// CKR_KEY_FUNCTION_NOT_PERMITTED.
func (t *Token) Attest(ctx context.Context, key string, nonce []byte) ([]byte, error) {
	k, _, err := t.private(ctx, key)
	if err != nil {
		return nil, err
	}
	var evidence []byte
	err = k.use(ctx, func(c *conn, h pkcs11.ObjectHandle) error {
		a, ok := c.Session.(Attester)
		if !ok {
			return noAttestation("the module attests no keys")
		}
		evidence, err = a.Attest(ctx, h, nonce)
		return err
	})
	if err != nil {
		return nil, fail(k.String(), err, "")
	}
	return evidence, nil
}

// AnswerChallenge returns the answer to a challenge with which the other side
// wants to know whether the evidence of Attest is this token's. Formats and errors
// are as for Attest; a challenge that is for another token is CKR_DATA_INVALID.
func (t *Token) AnswerChallenge(ctx context.Context, challenge []byte) ([]byte, error) {
	var answer []byte
	err := t.do(ctx, false, func(c *conn) (err error) {
		a, ok := c.Session.(Attester)
		if !ok {
			return noAttestation("the module answers no challenges")
		}
		answer, err = a.AnswerChallenge(ctx, challenge)
		return err
	})
	if err != nil {
		return nil, fail("challenge", err, "")
	}
	return answer, nil
}

func noAttestation(why string) error {
	return fmt.Errorf("%s: %w", why, pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
}

// Attest implements Attester.
func (se *session) Attest(ctx context.Context, h pkcs11.ObjectHandle, nonce []byte) ([]byte, error) {
	const op = "Attest"
	if err := se.check(op); err != nil {
		return nil, err
	}
	s := se.slot
	o, err := s.lookup(h, pkcs11.CKR_KEY_HANDLE_INVALID)
	if err != nil {
		return nil, opErr(op, "", err)
	}
	attester, ok := s.token.(driver.Attester)
	if !ok {
		return nil, opErr(op, o.String(), noAttestation("this token attests no keys"))
	}
	d := o.drv()
	if d == nil || o.attrs().Uint(pkcs11.CKA_CLASS) != uint64(pkcs11.CKO_PRIVATE_KEY) {
		return nil, opErr(op, o.String(), fmt.Errorf("it is no private key of the token: %w", pkcs11.CKR_KEY_TYPE_INCONSISTENT))
	}
	if err := s.acquire(ctx); err != nil {
		return nil, opErr(op, o.String(), err)
	}
	defer s.gate.release()
	evidence, err := attester.Attest(ctx, d, nonce)
	if err != nil {
		return nil, opErr(op, o.String(), deviceErr(err))
	}
	return evidence, nil
}

// AnswerChallenge implements Attester.
func (se *session) AnswerChallenge(ctx context.Context, challenge []byte) ([]byte, error) {
	const op = "AnswerChallenge"
	if err := se.check(op); err != nil {
		return nil, err
	}
	s := se.slot
	answerer, ok := s.token.(driver.ChallengeAnswerer)
	if !ok {
		return nil, opErr(op, "", noAttestation("this token answers no challenges"))
	}
	if err := s.acquire(ctx); err != nil {
		return nil, opErr(op, "", err)
	}
	defer s.gate.release()
	answer, err := answerer.AnswerChallenge(ctx, challenge)
	if err != nil {
		return nil, opErr(op, "", deviceErr(err))
	}
	return answer, nil
}
