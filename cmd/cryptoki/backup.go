package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/backup"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// minPassword is the shortest password in bytes that a new backup gets: whoever
// has the file can try passwords for as long as he likes.
const minPassword = 12

// backupKDF is what trying a password costs; less in most tests.
var backupKDF = backup.DefaultKDF

var backupCommand = command{
	name:    "backup",
	args:    "FILE",
	summary: "copy the objects of the token to one encrypted file",
	about: `The file is encrypted and authenticated as a whole under a password of at least
12 bytes, which is asked for, or read as PINs are. Anybody who has the file can try
passwords: take a long one. The token stays as it is; its PINs are not in the file.
FILE must not exist.

Keys that are not extractable are not in it, unless the token was made with init
--backup. They are listed; with --all, the exit status is 3 then.`,
	pins: wantUser | wantPassword,
	json: resultFields,
	example: []example{
		{"", "cryptoki backup gateway.backup"},
		{"without a terminal", "cryptoki backup gateway.backup --pin-file user.pin --password-file backup.password"},
		{"in a script that relies on a whole one", "cryptoki backup gateway.backup --all"},
	},
	flags: func(o *options) runFunc {
		all := demandAll(o)
		return func(ctx context.Context, a *app, args []string) error { return a.backup(ctx, args[0], *all) }
	},
}

var restoreCommand = command{
	name:    "restore",
	args:    "FILE",
	summary: "create the objects of a backup in the token",
	about: `The token may be of any kind; init makes a new one. Objects that it has already,
by class, label and ID, stay as they are, so that restore can be repeated after an
interruption. A restored key works as before, but CKA_LOCAL, CKA_ALWAYS_SENSITIVE and
CKA_NEVER_EXTRACTABLE are false, since it has been elsewhere.

What the backup had to leave out and what this token does not take are listed, and
with --all the exit status is 3 then.`,
	pins: wantUser | wantPassword,
	json: resultFields,
	example: []example{
		{"to another device", "cryptoki init --label gateway && cryptoki restore gateway.backup"},
	},
	flags: func(o *options) runFunc {
		all := demandAll(o)
		return func(ctx context.Context, a *app, args []string) error { return a.restore(ctx, args[0], *all) }
	},
}

func (a *app) backup(ctx context.Context, path string, all bool) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: it exists already; nothing was written", path)
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		if err := a.mustSee(ctx, t); err != nil {
			return err
		}
		c, err := collect(ctx, t)
		if err != nil {
			return err
		}
		defer c.Wipe()
		password, err := a.fresh(ctx, &a.pins.password, "new "+a.pins.password.name)
		if err != nil {
			return err
		}
		defer clear(password)
		if len(password) < minPassword {
			return fmt.Errorf("%s: it has %d bytes, and needs at least %d", a.pins.password.name, len(password), minPassword)
		}
		file, err := backup.Seal(c, password, backupKDF)
		if err != nil {
			return err
		}
		if err := a.writeOutput(path, file, 0o600); err != nil {
			return err
		}
		r := result{done: "backed up", all: all}
		for _, o := range c.Objects {
			r.Objects = append(r.Objects, describeTemplate(o, ""))
		}
		for _, m := range c.Missing {
			r.Missing = append(r.Missing, describeTemplate(m.Object, m.Reason))
		}
		return a.printResult(r)
	})
}

// mustSee fails if the token wants a login and nobody is logged in: then its
// private objects would be missing without a word.
func (a *app) mustSee(ctx context.Context, t *cryptoki.Token) error {
	info, err := t.Info(ctx)
	if err != nil || info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0 {
		return err
	}
	s, err := t.Session(ctx, 0)
	if err != nil {
		return err
	}
	defer s.Close()
	state, err := s.Info(ctx)
	if err != nil {
		return err
	}
	if state.State != pkcs11.CKS_RO_USER_FUNCTIONS && state.State != pkcs11.CKS_RW_USER_FUNCTIONS {
		return fmt.Errorf("token %q: nobody is logged in, and what is private cannot be seen: %w", info.Label, pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	return nil
}

func (a *app) restore(ctx context.Context, path string, all bool) error {
	file, err := a.readInput(path, backup.MaxSize)
	if err != nil {
		return err
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		password, err := a.existing(ctx, &a.pins.password, a.pins.password.name)
		if err != nil {
			return err
		}
		c, err := backup.Open(file, password)
		clear(password)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		defer c.Wipe()
		return a.put(ctx, t, c, result{done: "restored", all: all})
	})
}

// backupAllowed reports whether the token lets all keys into a backup.
func backupAllowed(ctx context.Context, t *cryptoki.Token) (bool, error) {
	s, err := t.Module().OpenSession(ctx, t.Slot(), pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		return false, err
	}
	defer s.Close()
	b, ok := s.(cryptoki.Backuper)
	if !ok {
		return false, nil
	}
	return b.BackupAllowed(ctx)
}
