package cryptoki_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func ask(f cryptoki.PINFunc) (string, error) {
	pin, err := f(context.Background(), pkcs11.CKU_USER, pkcs11.TokenInfo{})
	return string(pin), err
}

func write(t *testing.T, path, content string, mode fs.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPINFromFile(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		content string
		mode    fs.FileMode
		want    string
		err     string
	}{
		"plain":                  {"12345678", 0o600, "12345678", ""},
		"read-only":              {"12345678", 0o400, "12345678", ""},
		"newline":                {"12345678\n", 0o600, "12345678", ""},
		"newline of Windows":     {"12345678\r\n", 0o600, "12345678", ""},
		"two newlines":           {"12345678\n\n", 0o600, "12345678\n", ""},
		"blanks are part of it":  {" 1234 \n", 0o600, " 1234 ", ""},
		"4096 bytes":             {strings.Repeat("x", 4096), 0o600, strings.Repeat("x", 4096), ""},
		"4097 bytes":             {strings.Repeat("x", 4097), 0o600, "", "more than 4096 bytes"},
		"empty":                  {"", 0o600, "", "it is empty"},
		"only a newline":         {"\n", 0o600, "", "it is empty"},
		"readable for the group": {"12345678", 0o640, "", "mode 0640): run chmod 600 "},
		"readable for all":       {"12345678", 0o604, "", "mode 0604): run chmod 600 "},
	} {
		if runtime.GOOS == "windows" && test.mode&0o077 != 0 {
			continue // modes mean nothing there
		}
		path := write(t, filepath.Join(dir, name), test.content, test.mode)
		got, err := ask(cryptoki.PINFromFile(path))
		switch {
		case test.err == "" && (err != nil || got != test.want):
			t.Errorf("%s: %q, error %v; want %q", name, got, err, test.want)
		case test.err != "" && (err == nil || got != "" || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: %q, error %v; want an error about %q", name, got, err, test.err)
		case err != nil && strings.Contains(err.Error(), "1234"):
			t.Errorf("%s: the error shows the PIN: %v", name, err)
		}
	}
	if _, err := ask(cryptoki.PINFromFile(filepath.Join(dir, "none"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: error %v", err)
	}
	if _, err := ask(cryptoki.PINFromFile(dir)); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: error %v", err)
	}
}

func TestPINFromCredential(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	// systemd lets the service in with an access list, which shows as group bits.
	write(t, filepath.Join(dir, "token-pin"), "12345678\n", 0o440)
	if got, err := ask(cryptoki.PINFromCredential("token-pin")); err != nil || got != "12345678" {
		t.Errorf("%q, error %v", got, err)
	}
	for _, name := range []string{"", ".", "..", "../token-pin", "a/b"} {
		if got, err := ask(cryptoki.PINFromCredential(name)); err == nil || !strings.Contains(err.Error(), "without a directory") {
			t.Errorf("%q: %q, error %v", name, got, err)
		}
	}
	if _, err := ask(cryptoki.PINFromCredential("none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such credential: error %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := ask(cryptoki.PINFromCredential("token-pin")); err == nil || !strings.Contains(err.Error(), "LoadCredential=token-pin:") {
		t.Errorf("outside of a unit: error %v", err)
	}
}
