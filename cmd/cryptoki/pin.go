package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// wanted says which PINs a command may need.
type wanted int

const (
	wantUser wanted = 1 << iota
	wantSO
	wantNew
	wantPassword
	wantFrom
)

// A secret is a PIN and where it may come from. Never from the command line or
// the environment, which others can read.
type secret struct {
	name       string // "user PIN"
	flag       string // "pin": --pin-file, --pin-fd
	credential string // in $CREDENTIALS_DIRECTORY
	file       string
	fd         int    // -1 if not given
	kept       []byte // what fd gave
}

type pins struct {
	so, user, next secret
	password, from secret // of a backup; the user PIN of the token to migrate from
	lastTry        bool
	uri            *pkcs11.URI // of an object, with a pin-source
}

func newPins() pins {
	return pins{
		user: secret{name: "user PIN", flag: "pin", credential: "cryptoki-pin", fd: -1},
		so:   secret{name: "SO PIN", flag: "so-pin", credential: "cryptoki-so-pin", fd: -1},
		next: secret{name: "new PIN", flag: "new-pin", credential: "cryptoki-new-pin", fd: -1},

		password: secret{name: "backup password", flag: "password", credential: "cryptoki-backup-password", fd: -1},
		from:     secret{name: "PIN to migrate from", flag: "from-pin", credential: "cryptoki-from-pin", fd: -1},
	}
}

// flags declares the flags of the PINs that are wanted.
func (p *pins) flags(o *options, w wanted) {
	for _, s := range []struct {
		want wanted
		*secret
	}{{wantUser, &p.user}, {wantSO, &p.so}, {wantNew, &p.next}, {wantPassword, &p.password}, {wantFrom, &p.from}} {
		if w&s.want == 0 {
			continue
		}
		o.str(&s.file, s.flag+"-file", "FILE", fmt.Sprintf("read the %s from FILE, which only its owner may access", s.name))
		o.num(&s.fd, s.flag+"-fd", "N", fmt.Sprintf("read the %s from file descriptor N, one line", s.name), 0, 1<<20)
	}
	if w&(wantUser|wantSO) != 0 {
		o.flag(&p.lastTry, "last-try", "use a PIN although one more wrong one locks it")
	}
}

// given reads the PIN from where the command line or the service manager says,
// nil if they say nothing. The caller wipes it.
func (a *app) given(s *secret) ([]byte, error) {
	switch {
	case s.file != "" && s.fd >= 0:
		return nil, usagef("--%s-file and --%[1]s-fd: only one of them", s.flag)
	case s.file != "":
		return hintMode(cryptoki.PINFromFile(s.file)(context.Background(), pkcs11.CKU_USER, pkcs11.TokenInfo{}))
	case s.fd >= 0:
		return bytes.Clone(s.kept), nil
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		if _, err := os.Lstat(filepath.Join(dir, s.credential)); !errors.Is(err, fs.ErrNotExist) {
			return hintMode(cryptoki.PINFromCredential(s.credential)(context.Background(), pkcs11.CKU_USER, pkcs11.TokenInfo{}))
		}
	}
	return nil, nil
}

// hintMode leaves a PIN alone, and turns a nil one without an error into one:
// what is given is not nothing.
func hintMode(pin []byte, err error) ([]byte, error) {
	if err == nil && pin == nil {
		pin = []byte{}
	}
	return pin, err
}

// readFDs reads the PINs that come from descriptors, in the order of the fields
// of pins: before the program opens anything, so that a number that was not
// handed down cannot be a file of its own.
func (a *app) readFDs() error {
	fds := map[int]*os.File{}
	for _, s := range []*secret{&a.pins.so, &a.pins.user, &a.pins.next, &a.pins.password, &a.pins.from} {
		if s.fd < 0 {
			continue
		}
		f := fds[s.fd]
		if f == nil {
			if s.fd == 0 {
				if err := a.takeStdin("a PIN"); err != nil {
					return err
				}
				f = a.stdin
			} else {
				f = os.NewFile(uintptr(s.fd), "PIN")
			}
			fds[s.fd] = f
		}
		pin, err := readPIN(f)
		if err != nil {
			return fmt.Errorf("%s: file descriptor %d: %w", s.name, s.fd, err)
		}
		s.kept = pin
	}
	return nil
}

// readPIN reads a line byte by byte, so that what follows is left for the next
// reader: several PINs may come from one descriptor.
func readPIN(f *os.File) ([]byte, error) {
	if f == nil {
		return nil, errors.New("not open")
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.New("not open")
	}
	if info.IsDir() {
		return nil, errors.New("this is a directory")
	}
	return readLine(f)
}

// maxPIN is the longest PIN in bytes that is read.
const maxPIN = 4096

func readLine(r io.Reader) ([]byte, error) {
	line := make([]byte, 0, maxPIN)
	defer func() { clear(line[:cap(line)]) }()
	var b [1]byte
	for {
		n, err := r.Read(b[:])
		switch {
		case n == 1 && b[0] == '\n', n == 0 && errors.Is(err, io.EOF):
			if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
				return nil, errors.New("no PIN there: the line is empty")
			}
			return bytes.Clone(line), nil
		case n == 0 && err != nil:
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return nil, err
		case n == 1 && len(line) == maxPIN:
			return nil, fmt.Errorf("more than %d bytes are not a PIN", maxPIN)
		case n == 1:
			line = append(line, b[0])
		}
	}
}

// existing returns a PIN that the token has already, from where it is given or
// else typed. The caller wipes it.
func (a *app) existing(ctx context.Context, s *secret, prompt string) ([]byte, error) {
	pin, err := a.given(s)
	if pin != nil || err != nil {
		return pin, err
	}
	pin, err = a.ask(ctx, prompt+": ")
	if errors.Is(err, errNoTerminal) {
		return nil, noPIN(s)
	}
	return pin, err
}

// fresh returns a PIN to be set, from where it is given or else typed twice.
func (a *app) fresh(ctx context.Context, s *secret, prompt string) ([]byte, error) {
	pin, err := a.given(s)
	if pin != nil || err != nil {
		return pin, err
	}
	pin, err = a.ask(ctx, prompt+": ")
	if errors.Is(err, errNoTerminal) {
		return nil, noPIN(s)
	}
	if err != nil {
		return nil, err
	}
	again, err := a.ask(ctx, prompt+" again: ")
	defer clear(again)
	if err != nil {
		clear(pin)
		return nil, err
	}
	if !slices.Equal(pin, again) {
		clear(pin)
		return nil, fmt.Errorf("%s: the two are different; nothing was changed", s.name)
	}
	return pin, nil
}

// noPIN says where a PIN can come from.
func noPIN(s *secret) error {
	return withHint(fmt.Errorf("no %s given, and no terminal to ask on: use --%s-file FILE, --%[2]s-fd N or $CREDENTIALS_DIRECTORY/%s", s.name, s.flag, s.credential),
		fmt.Sprintf("in a systemd unit: LoadCredential=%s:/path/of/the/file", s.credential))
}

// userPIN is asked by the facade when the token wants the user's PIN. If must is
// not set, a PIN that is not given is done without.
func (a *app) userPIN(must bool) cryptoki.PINFunc {
	return func(ctx context.Context, _ pkcs11.UserType, info pkcs11.TokenInfo) ([]byte, error) {
		pin, err := a.given(&a.pins.user)
		if pin == nil && err == nil && a.pins.uri != nil {
			pin, err = a.pins.uri.PIN()
		}
		if pin != nil || err != nil || !must {
			return pin, err
		}
		return a.existing(ctx, &a.pins.user, fmt.Sprintf("user PIN of token %q", info.Label))
	}
}
