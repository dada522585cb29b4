package main

import (
	"context"
	"fmt"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var migrateCommand = command{
	name:    "migrate",
	summary: "copy the objects of another token to this one",
	about: `--from names the other token, of any kind. Keys that are sensitive but extractable
are wrapped by it under a key of this run. The other token is not changed; this one
keeps what it has, so that migrate can be repeated.

Keys that are not extractable stay where they are, unless that token was made with
init --backup. They and what this token does not take are listed; with --all, the
exit status is 3 then.`,
	pins: wantUser | wantFrom,
	json: resultFields,
	example: []example{
		{"to another directory", "cryptoki -t soft:dir=/data/token migrate --from soft:dir=/var/lib/gateway/token"},
		{"from SoftHSM2, as far as it and p11-kit let keys go", "cryptoki migrate --from 'p11-kit-remote:module=/usr/lib/softhsm/libsofthsm2.so;token=old'"},
		{"without a terminal", "cryptoki migrate --from soft:dir=/old --from-pin-file old.pin --pin-file user.pin"},
	},
	flags: func(o *options) runFunc {
		var from string
		o.str(&from, "from,f", "NAME", "the token to copy from, such as soft:dir=/old")
		all := demandAll(o)
		return func(ctx context.Context, a *app, _ []string) error { return a.migrate(ctx, from, *all) }
	},
}

func (a *app) migrate(ctx context.Context, from string, all bool) error {
	if from == "" {
		return usagef("migrate: --from is missing")
	}
	if name, err := a.tokenName(); err != nil {
		return err
	} else if name == from {
		return usagef("migrate: --from is the token itself")
	}
	// The one that is written to first, so that nothing is asked for in vain.
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		source, err := cryptoki.Open(ctx, a.lastTry(from), &cryptoki.Options{LastTry: a.pins.lastTry, PIN: a.fromPIN})
		if err != nil {
			return err
		}
		defer source.Close()
		info, err := source.Info(ctx)
		if err == nil {
			err = ready(info)
		}
		if err != nil {
			return fmt.Errorf("--from: %w", err)
		}
		if err := a.mustSee(ctx, source); err != nil {
			return fmt.Errorf("--from: %w", err)
		}
		c, err := collect(ctx, source)
		if err != nil {
			return fmt.Errorf("--from: %w", err)
		}
		defer c.Wipe()
		return a.put(ctx, t, c, result{done: "migrated", all: all})
	})
}

// fromPIN is asked when the token to migrate from wants its PIN.
func (a *app) fromPIN(ctx context.Context, _ pkcs11.UserType, info pkcs11.TokenInfo) ([]byte, error) {
	return a.existing(ctx, &a.pins.from, fmt.Sprintf("user PIN of token %q, to migrate from", info.Label))
}
