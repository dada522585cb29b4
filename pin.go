package cryptoki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A PINFunc is asked for a PIN when a token wants one: Options.PIN. user is
// CKU_USER, or CKU_CONTEXT_SPECIFIC for a key that wants the user's PIN each
// time it is used. The result is wiped after use. A nil slice without an error
// means that there is none: the token is used logged out, and shows its public
// objects only. It may be called from any goroutine, by one at a time.
type PINFunc func(ctx context.Context, user pkcs11.UserType, token pkcs11.TokenInfo) ([]byte, error)

// maxPINFile is how much a PIN source may hold: more is not a PIN.
const maxPINFile = 4 << 10

// PINFromFile returns a PINFunc that reads the PIN from a file each time it is
// asked. The file must be a regular one that only its owner can access (mode
// 0600 or less; not checked on Windows) and hold at most 4096 bytes; one newline
// at the end, LF or CR LF, is not part of the PIN.
func PINFromFile(path string) PINFunc {
	return func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		return readPINFile(path, true)
	}
}

// PINFromCredential returns a PINFunc that reads the PIN from the systemd
// credential of that name: the file $CREDENTIALS_DIRECTORY/name, as LoadCredential=
// and LoadCredentialEncrypted= of a unit provide it.
func PINFromCredential(name string) PINFunc {
	return func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		if name == "" || name != filepath.Base(name) || name == "." || name == ".." {
			return nil, fmt.Errorf("PIN credential %q: a credential's name is a file name without a directory", name)
		}
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, fmt.Errorf("PIN credential %q: $CREDENTIALS_DIRECTORY is not set; add LoadCredential=%s:/path to the systemd unit", name, name)
		}
		return readPINFile(filepath.Join(dir, name), false)
	}
}

// PINFromFD returns a PINFunc that reads the PIN from an open file descriptor,
// up to its end, once, at the first time it is asked; the descriptor is then
// closed. Later it answers with the PIN it has read, which stays in memory.
func PINFromFD(fd int) PINFunc {
	var (
		once = make(chan struct{}, 1)
		pin  []byte
		err  error
		done bool
	)
	return func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		once <- struct{}{}
		defer func() { <-once }()
		if !done {
			done = true
			name := fmt.Sprintf("file descriptor %d", fd)
			if fd < 0 {
				err = fmt.Errorf("PIN from %s: there is no such descriptor", name)
			} else if f := os.NewFile(uintptr(fd), name); f == nil {
				err = fmt.Errorf("PIN from %s: there is no such descriptor", name)
			} else {
				pin, err = readPIN(f, "PIN from "+name)
				f.Close()
			}
		}
		return bytes.Clone(pin), err
	}
}

// readPINFile reads a PIN file. private demands that nobody else can access it: a
// credential need not look so, since systemd guards the directory and may let the
// service in with an access list, which shows as group bits of the mode.
func readPINFile(path string, private bool) ([]byte, error) {
	subject := fmt.Sprintf("PIN file %q", path)
	f, err := os.Open(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: it is not a regular file", subject)
	}
	if mode := info.Mode().Perm(); private && mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s: others can access it (mode %04o): run chmod 600 %s", subject, mode, path)
	}
	return readPIN(f, subject)
}

// readPIN reads a PIN to the end of r.
func readPIN(r io.Reader, subject string) ([]byte, error) {
	buf := make([]byte, maxPINFile+1)
	n, err := io.ReadFull(r, buf)
	switch {
	case err == nil:
		clear(buf)
		return nil, fmt.Errorf("%s: more than %d bytes are not a PIN", subject, maxPINFile)
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		clear(buf)
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	pin := buf[:n]
	if n := len(pin); n > 0 && pin[n-1] == '\n' {
		pin = pin[:n-1]
		if n := len(pin); n > 0 && pin[n-1] == '\r' {
			pin = pin[:n-1]
		}
	}
	if len(pin) == 0 {
		return nil, fmt.Errorf("%s: it is empty", subject)
	}
	out := bytes.Clone(pin)
	clear(buf)
	return out, nil
}

// pinCure says what to do about a refused login.
func pinCure(err error) string {
	switch {
	case errors.Is(err, pkcs11.CKR_PIN_LOCKED):
		return "the SO sets a new user PIN to unlock it; a TPM unlocks itself with time"
	case errors.Is(err, pkcs11.CKR_PIN_INCORRECT):
		return "the PIN is not tried again; correct its source"
	case errors.Is(err, pkcs11.CKR_USER_PIN_NOT_INITIALIZED):
		return "set a user PIN with Token.Initialize"
	case errors.Is(err, pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN):
		return "another session has the SO logged in; log it out"
	}
	return ""
}

// trimPrefix takes the prefix of this package off the text of a nested error.
func trimPrefix(s string) string { return strings.TrimPrefix(s, "cryptoki: ") }
