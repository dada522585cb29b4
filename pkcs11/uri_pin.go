package pkcs11

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// maxPINFile is how many bytes a file with a PIN may have.
const maxPINFile = 4096

// HasPIN reports whether u says what the PIN is or where it comes from.
func (u *URI) HasPIN() bool { return u.pin != nil || u.PINSource != "" }

// PIN returns the PIN that u carries as pin-value or that is in the file that
// pin-source names, without one newline at its end; nil if u says nothing of a
// PIN. The caller wipes it.
//
// A pin-source is an absolute path, written as such or as file:/path. The file
// has at most 4096 bytes and is readable for nobody but its owner. Other
// sources that RFC 7512 mentions, commands above all, are refused: a URI out of
// a configuration file must not run programs. The errors wrap
// CKR_ARGUMENTS_BAD, or what the operating system says.
func (u *URI) PIN() ([]byte, error) {
	if u.pin != nil {
		return bytes.Clone(u.pin), nil
	}
	if u.PINSource == "" {
		return nil, nil
	}
	path, err := pinPath(u.PINSource)
	if err != nil {
		return nil, err
	}
	pin, err := readPIN(path)
	if err != nil {
		return nil, fmt.Errorf("pin-source: %w", err)
	}
	return pin, nil
}

func pinPath(source string) (string, error) {
	path := source
	if len(path) >= 5 && strings.EqualFold(path[:5], "file:") {
		path = path[5:]
		if rest, ok := strings.CutPrefix(path, "//"); ok {
			// file:///path, or with a host, which must be this one.
			host, _, _ := strings.Cut(rest, "/")
			if host != "" && host != "localhost" {
				return "", fmt.Errorf("pin-source: %q is on another host: %w", source, CKR_ARGUMENTS_BAD)
			}
			path = rest[len(host):]
		}
	}
	switch {
	case strings.HasPrefix(path, "|"):
		return "", fmt.Errorf("pin-source: commands are not run; write the PIN into a file of mode 0600 and give pin-source=file:/path: %w", CKR_ARGUMENTS_BAD)
	case !strings.HasPrefix(path, "/"):
		return "", fmt.Errorf("pin-source: %q is not an absolute path: %w", source, CKR_ARGUMENTS_BAD)
	}
	return path, nil
}

// readPIN looks at the file before it opens it, since opening a pipe may block,
// and again afterwards, since only then it is known to be the one that is read.
func readPIN(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if err := checkPINFile(path, info); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if err := checkPINFile(path, info); err != nil {
		return nil, err
	}
	var buf [maxPINFile + 1]byte
	defer clear(buf[:])
	n, err := io.ReadFull(f, buf[:])
	switch {
	case err == nil:
		return nil, fmt.Errorf("%s: longer than %d bytes: %w", path, maxPINFile, CKR_ARGUMENTS_BAD)
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	}
	pin := bytes.TrimSuffix(buf[:n], []byte("\n"))
	if len(pin) < n {
		pin = bytes.TrimSuffix(pin, []byte("\r"))
	}
	if len(pin) == 0 {
		return nil, fmt.Errorf("%s: empty: %w", path, CKR_ARGUMENTS_BAD)
	}
	return bytes.Clone(pin), nil
}

func checkPINFile(path string, info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file: %w", path, CKR_ARGUMENTS_BAD)
	}
	// Windows tells permissions otherwise.
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("%s: mode %#o lets others read the PIN; run: chmod 600 %s: %w", path, perm, path, CKR_ARGUMENTS_BAD)
	}
	return nil
}
