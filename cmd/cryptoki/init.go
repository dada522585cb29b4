package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var initCommand = command{
	name:    "init",
	summary: "make a token new and empty, and set its PINs",
	about: `The SO PIN is what a forgotten user PIN is replaced with; the user PIN is what
the keys are used with. If the token's name is a directory that does not exist,
it is made. On a token that is initialized already, --erase destroys everything
on it, and the SO PIN must be the one that it has.

A chip (atecc608:) becomes a token once, by --config: the configuration, its 128
bytes and what each slot is for are shown; --lock, which is asked for and can
never be undone, makes it final. What was interrupted goes on when the same
command is given again. generic is a TLS identity, generic-pin the same with a
user PIN, generic-slots the same for a token that keeps its labels and certificates
in the chip (store=slots), keep a chip that comes configured.`,
	pins: wantUser | wantSO,
	json: tokenFields,
	example: []example{
		{"a new token; both PINs are asked for", "cryptoki -t soft:dir=/var/lib/gateway/token init --label gateway"},
		{"without a terminal", "cryptoki init --label gateway --so-pin-file so.pin --pin-file user.pin"},
		{"a blank chip: look first, then make it final", "cryptoki -t 'atecc608:bus=1;dir=/var/lib/gateway/chip' init --config generic --dry-run"},
		{"", "cryptoki -t 'atecc608:bus=1;dir=/var/lib/gateway/chip' init --config generic --lock"},
		{"from a password manager, the SO PIN in the first line", "pass gateway | cryptoki init --label gateway --so-pin-fd 0 --pin-fd 0"},
	},
	flags: func(o *options) runFunc {
		var s cryptoki.Setup
		var noPIN, backup, yes bool
		var chip chipSetup
		o.str(&s.Label, "label,l", "NAME", "label of the token, at most 32 bytes")
		o.flag(&s.Erase, "erase", "destroy everything on a token that is initialized already")
		o.flag(&yes, "yes,y", "do not ask before --erase and --lock")
		o.flag(&noPIN, "no-user-pin", "set no user PIN: for a token that needs none, or one that the SO sets later")
		o.flag(&backup, "backup", "let backup copy keys that are not extractable: the SO's decision, for as long as the token lives")
		o.str(&chip.config, "config", "NAME|FILE", "configure a chip: generic, generic-pin, generic-slots, keep, or a file")
		o.flag(&chip.lock, "lock", "lock the chip, for ever")
		o.flag(&chip.dryRun, "dry-run", "show what there is to do to a chip, and change nothing")
		return func(ctx context.Context, a *app, _ []string) error {
			if chip.config != "" {
				if a.json {
					return usagef("init: --config has no JSON output")
				}
				chip.yes = yes
				return a.initChip(ctx, s.Label, chip)
			} else if chip.lock || chip.dryRun {
				return usagef("init: --lock and --dry-run are for chips: give --config too")
			}
			if backup {
				name, err := a.tokenName()
				if err != nil {
					return err
				}
				a.token = name + ";backup=true"
			}
			return a.initialize(ctx, s, noPIN, yes)
		}
	},
}

func (a *app) initialize(ctx context.Context, s cryptoki.Setup, noPIN, yes bool) error {
	if s.Label == "" || len(s.Label) > 32 {
		return usagef("init: --label is missing or longer than 32 bytes")
	}
	t, err := a.openNew(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	info, err := t.Info(ctx)
	if err != nil {
		return err
	}
	if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 {
		unfinished := info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED == 0 && info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0 &&
			info.Label == s.Label && !noPIN
		if !s.Erase && !unfinished {
			return withHint(fmt.Errorf("token %q is initialized already; nothing was changed", info.Label),
				"to destroy everything on it: cryptoki init --erase")
		}
		if s.Erase {
			if err := a.sure(ctx, yes, fmt.Sprintf("Destroy everything on token %q?", info.Label)); err != nil {
				return err
			}
		}
	}
	prompt := "new SO PIN"
	ask := a.fresh
	if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 {
		prompt, ask = fmt.Sprintf("SO PIN of token %q", info.Label), a.existing
	}
	if s.SOPIN, err = ask(ctx, &a.pins.so, prompt); err != nil {
		return err
	}
	defer clear(s.SOPIN)
	if !noPIN {
		if s.UserPIN, err = a.fresh(ctx, &a.pins.user, "new user PIN"); err != nil {
			return err
		}
		defer clear(s.UserPIN)
	}
	a.model = info.Model
	if err := t.Initialize(ctx, s); err != nil {
		return a.explain(err)
	}
	if info, err = t.Info(ctx); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(tokenJSON(info))
	}
	return a.printf("token %q is ready, serial number %s\n", info.Label, info.SerialNumber)
}

// openNew opens the token to be initialized, making its directory if that is
// missing and the backend can.
func (a *app) openNew(ctx context.Context) (*cryptoki.Token, error) {
	t, err := a.open(ctx, noLogin)
	if !errors.Is(err, fs.ErrNotExist) {
		return t, a.explainOpen(err)
	}
	name, nerr := a.tokenName()
	if nerr != nil || strings.Contains(name, "create=") || !takes(name, "create") {
		return nil, a.explainOpen(err)
	}
	t, err = cryptoki.Open(ctx, name+";create=true", nil)
	return t, a.explainOpen(err)
}

// sure asks before something is destroyed.
func (a *app) sure(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	ok, err := a.confirm(ctx, question)
	if errors.Is(err, errNoTerminal) {
		return errors.New("there is no terminal to ask for confirmation on; give --yes")
	}
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}
