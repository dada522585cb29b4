package main

import (
	"context"
	"errors"
	"fmt"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var pinChangeCommand = command{
	name:    "pin change",
	summary: "change the user PIN",
	pins:    wantUser | wantNew,
	example: []example{
		{"both are asked for", "cryptoki pin change"},
		{"without a terminal", "cryptoki pin change --pin-file user.pin --new-pin-file new.pin"},
	},
	flags: func(*options) runFunc {
		return func(ctx context.Context, a *app, _ []string) error {
			return a.changePIN(ctx, pkcs11.CKU_USER, &a.pins.user)
		}
	},
}

var pinChangeSOCommand = command{
	name:    "pin change-so",
	summary: "change the SO PIN",
	pins:    wantSO | wantNew,
	example: []example{{"", "cryptoki pin change-so"}},
	flags: func(*options) runFunc {
		return func(ctx context.Context, a *app, _ []string) error {
			return a.changePIN(ctx, pkcs11.CKU_SO, &a.pins.so)
		}
	},
}

var pinUnlockCommand = command{
	name:    "pin unlock",
	summary: "set a new user PIN with the SO PIN",
	about:   `For a user PIN that is locked, forgotten or not set yet. Keys stay as they are.`,
	pins:    wantSO | wantNew,
	example: []example{{"", "cryptoki pin unlock"}},
	flags: func(*options) runFunc {
		return func(ctx context.Context, a *app, _ []string) error { return a.unlock(ctx) }
	},
}

func (a *app) changePIN(ctx context.Context, user pkcs11.UserType, s *secret) error {
	return a.with(ctx, noLogin, func(t *cryptoki.Token) error {
		info, err := t.Info(ctx)
		if err != nil {
			return err
		}
		if err := a.tries(info, user, s); err != nil {
			return err
		}
		old, err := a.existing(ctx, s, fmt.Sprintf("%s of token %q", s.name, info.Label))
		if err != nil {
			return err
		}
		defer clear(old)
		next, err := a.fresh(ctx, &a.pins.next, "new "+s.name)
		if err != nil {
			return err
		}
		defer clear(next)
		if err := t.ChangePIN(ctx, user, old, next); err != nil {
			return err
		}
		return a.printf("the %s is changed\n", s.name)
	})
}

// tries refuses what would lock a PIN, or burn a try on one that is locked.
func (a *app) tries(info pkcs11.TokenInfo, user pkcs11.UserType, s *secret) error {
	locked, final := uint64(pkcs11.CKF_USER_PIN_LOCKED), uint64(pkcs11.CKF_USER_PIN_FINAL_TRY)
	if user == pkcs11.CKU_SO {
		locked, final = pkcs11.CKF_SO_PIN_LOCKED, pkcs11.CKF_SO_PIN_FINAL_TRY
	}
	switch {
	case info.Flags&locked != 0 && a.inTPM():
		return withHint(fmt.Errorf("the TPM of token %q is locked after wrong PINs, for the %s too: %w", info.Label, s.name, pkcs11.CKR_PIN_LOCKED), a.unlocking(""))
	case info.Flags&locked != 0 && user == pkcs11.CKU_SO:
		return fmt.Errorf("the SO PIN of token %q is locked for ever: %w", info.Label, pkcs11.CKR_PIN_LOCKED)
	case info.Flags&locked != 0:
		return withHint(fmt.Errorf("the user PIN of token %q is locked: %w", info.Label, pkcs11.CKR_PIN_LOCKED), "cryptoki pin unlock")
	case info.Flags&final != 0 && !a.pins.lastTry:
		return withHint(fmt.Errorf("the next wrong %s locks token %q", s.name, info.Label), "if you are sure of it: --last-try")
	}
	return nil
}

func (a *app) unlock(ctx context.Context) error {
	return a.with(ctx, noLogin, func(t *cryptoki.Token) error {
		info, err := t.Info(ctx)
		if err != nil {
			return err
		}
		if err := a.tries(info, pkcs11.CKU_SO, &a.pins.so); err != nil {
			return err
		}
		so, err := a.existing(ctx, &a.pins.so, fmt.Sprintf("SO PIN of token %q", info.Label))
		if err != nil {
			return err
		}
		defer clear(so)
		next, err := a.fresh(ctx, &a.pins.next, "new user PIN")
		if err != nil {
			return err
		}
		defer clear(next)
		s, err := t.Session(ctx, pkcs11.CKF_RW_SESSION)
		if err != nil {
			return err
		}
		defer s.Close()
		if err := s.Login(ctx, pkcs11.CKU_SO, so); err != nil {
			return err
		}
		err = s.InitPIN(ctx, next)
		if err := errors.Join(err, s.Logout(context.WithoutCancel(ctx))); err != nil {
			return err
		}
		return a.printf("the user PIN is set\n")
	})
}
