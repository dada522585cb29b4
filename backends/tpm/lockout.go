package tpm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Lockout is the state of the TPM's protection from dictionary attacks. It is
// one for everything in the TPM that is protected, whoever uses it.
type Lockout struct {
	// Locked says that no PIN is checked, a right one neither.
	Locked bool
	// Tries is how many wrong values were given that are not forgotten yet, and
	// Limit how many of them lock the TPM.
	Tries, Limit uint32
	// Interval is how long it takes, while the TPM has power, until one is
	// forgotten, and with that how long a locked TPM takes at most to check a PIN
	// again. 0 means that they are not forgotten.
	Interval time.Duration
	// Recovery is how long the lockout authorization is locked itself after a
	// wrong value for it; 0 means until the TPM is started again.
	Recovery time.Duration
}

// Lockout asks the TPM for the state. It needs no PIN.
func (t *Token) Lockout(ctx context.Context) (Lockout, error) {
	var l *lockout
	err := t.use(ctx, nil, func(c *channel, _ entity) error {
		read, err := c.readLockout()
		l = read
		return err
	})
	if err != nil {
		return Lockout{}, failed("read the lockout", err)
	}
	return Lockout{Locked: l.isLocked(), Tries: l.tries, Limit: l.limit, Interval: l.interval, Recovery: l.recovery}, nil
}

// ResetLockout makes the TPM forget all wrong tries, with the lockout
// authorization, which is empty on a TPM where nobody has set one. A wrong value
// is CKR_PIN_INCORRECT, and locks that authorization for Lockout.Recovery:
// CKR_PIN_LOCKED. It does not go over the bus in the clear.
func (t *Token) ResetLockout(ctx context.Context, auth []byte) error {
	auth = append([]byte(nil), auth...) // use may go on when ctx has ended
	err := t.use(ctx, nil, func(c *channel, _ entity) error {
		a, end, err := c.hierarchy(auth)
		if err != nil {
			return err
		}
		defer end()
		_, err = c.exec(&command{
			code:    tpm2.TPMCCDictionaryAttackLockReset,
			handles: []entity{{handle: uint32(tpm2.TPMRHLockout)}},
			needs:   1, auths: []authorization{a},
		})
		if err != nil {
			return &spentError{err}
		}
		_, err = c.readLockout()
		return err
	})
	if ctx.Err() == nil {
		clear(auth)
	}
	switch {
	case errors.Is(err, tpm2.TPMRCLockout):
		return fmt.Errorf("tpm: reset the lockout: its authorization is locked after a wrong value; it is open again %s: %w: %w", t.recoversAuth(), pkcs11.CKR_PIN_LOCKED, inside(err))
	case isAbout(err, tpm2.TPMRCAuthFail, tpm2.TPMRCBadAuth):
		return fmt.Errorf("tpm: reset the lockout: wrong lockout authorization; it is locked now, and open again %s: %w: %w", t.recoversAuth(), pkcs11.CKR_PIN_INCORRECT, inside(err))
	}
	return failed("reset the lockout", err)
}

// recoversAuth says when the lockout authorization may be tried again.
func (t *Token) recoversAuth() string {
	if l := t.lockout.Load(); l != nil && l.recovery > 0 {
		return fmt.Sprintf("after %v with power", l.recovery)
	}
	return "when the TPM is started again"
}
