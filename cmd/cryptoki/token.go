package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// login says what a command wants of the user's PIN.
type login int

const (
	noLogin   login = iota // it does without
	mayLogin               // it uses one that is given, and asks for none
	mustLogin              // it asks for one
)

// tokenName is the name of the token that the command is about.
func (a *app) tokenName() (string, error) {
	name := a.token
	if name == "" {
		name = os.Getenv("CRYPTOKI_TOKEN")
	}
	if name == "" {
		return "", withHint(usagef("no token named: give -t NAME or set $CRYPTOKI_TOKEN"),
			"cryptoki -t soft:dir=/var/lib/gateway/token info")
	}
	return name, nil
}

// open opens the token.
func (a *app) open(ctx context.Context, l login) (*cryptoki.Token, error) {
	name, err := a.tokenName()
	if err != nil {
		return nil, err
	}
	opts := &cryptoki.Options{LastTry: a.pins.lastTry}
	if l != noLogin {
		opts.PIN = a.userPIN(l == mustLogin)
	}
	return cryptoki.Open(ctx, a.lastTry(name), opts)
}

// lastTry makes a name say what --last-try does: a TPM keeps a last try of its own.
func (a *app) lastTry(name string) string {
	if a.pins.lastTry && strings.HasPrefix(name, "tpm:") && !strings.Contains(name, "last-try=") {
		return name + ";last-try=true"
	}
	return name
}

// inTPM reports whether the token is in a TPM, which another process may serve.
func (a *app) inTPM() bool {
	return strings.HasPrefix(a.model, "TPM ")
}

// onChip reports whether the token is an ATECC608.
func (a *app) onChip() bool {
	return strings.HasPrefix(a.model, "ATECC608")
}

// with opens the token, runs f, and closes it again.
func (a *app) with(ctx context.Context, l login, f func(*cryptoki.Token) error) error {
	t, err := a.open(ctx, l)
	if err != nil {
		return a.explainOpen(err)
	}
	info, err := t.Info(ctx)
	a.model = info.Model
	if err == nil && l != noLogin {
		err = ready(info)
	}
	if err == nil {
		err = a.explain(f(t))
	}
	if cerr := t.Close(); err == nil {
		err = cerr
	}
	return err
}

// ready says what to do first with a token that is new.
func ready(info pkcs11.TokenInfo) error {
	if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
		return withHint(errors.New("the token is not initialized yet"), "cryptoki init --label NAME")
	}
	return nil
}

// explain adds to an error of the facade what a person at a shell does about it.
func (a *app) explain(err error) error {
	if h := (*hintError)(nil); err == nil || errors.As(err, &h) {
		return err
	}
	switch {
	case errors.Is(err, cryptoki.ErrLastTry):
		return withHint(err, "if you are sure of the PIN: --last-try", "otherwise "+a.unlocking("the SO sets a new one: "))
	case errors.Is(err, pkcs11.CKR_PIN_LOCKED):
		return withHint(err, a.unlocking(""))
	case errors.Is(err, pkcs11.CKR_USER_PIN_NOT_INITIALIZED) && !a.onChip():
		return withHint(err, "the SO sets one: cryptoki pin unlock")
	case errors.Is(err, pkcs11.CKR_MECHANISM_INVALID):
		return withHint(err, "what the token can do: cryptoki info --mechanisms")
	case errors.Is(err, pkcs11.CKR_TOKEN_WRITE_PROTECTED):
		return fmt.Errorf("%w: the token cannot be written; check that its name does not say readonly=true, that its file system is mounted for writing, and the owner and the permissions of its files; of a token that is served, what the configuration of cryptoki serve allows", err)
	}
	return err
}

// unlocking is what to do about a PIN that is locked. A TPM counts wrong PINs of
// the user, the SO and everybody else together, so that the SO cannot help.
func (a *app) unlocking(why string) string {
	if a.inTPM() {
		return "wait until the TPM forgets wrong PINs (cryptoki lockout), or: cryptoki lockout reset"
	}
	return why + "cryptoki pin unlock"
}

// explainOpen adds what to do about a token that does not open, where the error
// does not say it.
func (a *app) explainOpen(err error) error {
	name, _ := a.tokenName()
	unreached := errors.As(err, new(*net.OpError))
	absent := errors.Is(err, pkcs11.CKR_TOKEN_NOT_PRESENT)
	switch {
	case absent && errors.Is(err, fs.ErrNotExist) && !unreached && strings.HasPrefix(name, chipScheme+":"):
		return withHint(err, "to make a token of a blank chip, look first: cryptoki init --config generic --dry-run")
	case absent && errors.Is(err, fs.ErrNotExist) && !unreached:
		return withHint(err, "to make a new token there: cryptoki init --label NAME")
	case absent, unreached, errors.Is(err, syscall.EACCES):
		return withHint(err, "what is wrong, and what to do: cryptoki doctor")
	}
	return err
}

// name checks the name of an object, a label or a pkcs11: URI, that comes from
// the command line.
func (a *app) name(s string) error {
	if s == "" {
		return usagef("the label is empty")
	}
	if !pkcs11.IsURI(s) {
		return nil
	}
	uri, err := pkcs11.ParseURI(s)
	if err != nil {
		return usagef("%v", err)
	}
	if uri.HasPIN() {
		if strings.Contains(strings.ToLower(s), "pin-value=") {
			return withHint(usagef("the URI holds a PIN (pin-value), which every process of the machine can see"),
				"use pin-source=file:PATH in it, or --pin-file FILE")
		}
		a.pins.uri = uri
	}
	return nil
}

// label checks a label under which something is to be stored.
func label(s string) error {
	switch {
	case s == "":
		return usagef("the label is empty")
	case pkcs11.IsURI(s):
		return usagef("a new object is given a label, not a URI")
	case strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' }) >= 0:
		return usagef("label %q has characters that cannot be shown", s)
	}
	return nil
}

// find returns the objects of that name, label or URI, that are of one of the
// classes, of any if there are none.
func find(ctx context.Context, t *cryptoki.Token, name string, classes ...pkcs11.ObjectClass) ([]cryptoki.Object, error) {
	filter := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, name)}
	if pkcs11.IsURI(name) {
		uri, err := pkcs11.ParseURI(name)
		if err != nil {
			return nil, err
		}
		info, err := t.Info(ctx)
		if err != nil {
			return nil, err
		}
		if !uri.MatchToken(info) {
			return nil, fmt.Errorf("%s: this is about another token than %q, serial %s", uri, info.Label, info.SerialNumber)
		}
		filter = uri.ObjectTemplate()
	}
	all, err := t.Objects(ctx, filter)
	if err != nil || len(classes) == 0 {
		return all, err
	}
	return slices.DeleteFunc(all, func(o cryptoki.Object) bool { return !slices.Contains(classes, o.Class) }), nil
}

// className is the word for a class in commands, output and JSON.
func className(c pkcs11.ObjectClass) string {
	switch c {
	case pkcs11.CKO_PRIVATE_KEY:
		return "private-key"
	case pkcs11.CKO_PUBLIC_KEY:
		return "public-key"
	case pkcs11.CKO_CERTIFICATE:
		return "certificate"
	case pkcs11.CKO_SECRET_KEY:
		return "secret-key"
	case pkcs11.CKO_DATA:
		return "data"
	}
	return c.String()
}
