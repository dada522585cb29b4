package cryptoki_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// words returns the findings as severity and name.
func words(found []driver.Finding) string {
	var w []string
	for _, f := range found {
		w = append(w, f.Severity.String()+" "+f.Name)
	}
	return strings.Join(w, ", ")
}

func TestDiagnoseModule(t *testing.T) {
	ctx := t.Context()
	m := &changed{}
	var flags uint64
	open := true
	closed := 0
	cryptoki.RegisterModule("sick", func(context.Context, *driver.Params) (cryptoki.Module, error) {
		if !open {
			return nil, errors.New("nobody listens on the socket")
		}
		token, err := soft.New(&pal.Mem{}, &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}})
		if err != nil {
			return nil, err
		}
		if err := token.InitToken(ctx, soPIN, "sick"); err != nil {
			return nil, err
		}
		m.Module, err = cryptoki.NewModule(nil, token)
		m.info = func(i *pkcs11.TokenInfo) { i.Flags = flags }
		return closing{m, &closed}, err
	})
	const (
		ready = pkcs11.CKF_TOKEN_INITIALIZED | pkcs11.CKF_LOGIN_REQUIRED | pkcs11.CKF_USER_PIN_INITIALIZED
		good  = "ok open, ok token, "
	)
	for _, c := range []struct {
		name, params, want string
		flags              uint64
	}{
		{"healthy", "", good + "ok user-pin, ok so-pin", ready},
		{"not initialized", "", "ok open, problem token", 0},
		{"no user PIN yet", "", good + "warning user-pin, ok so-pin", pkcs11.CKF_TOKEN_INITIALIZED | pkcs11.CKF_LOGIN_REQUIRED},
		{"no user PIN needed", "", good + "ok user-pin, ok so-pin", pkcs11.CKF_TOKEN_INITIALIZED},
		{"low", "", good + "warning user-pin, ok so-pin", ready | pkcs11.CKF_USER_PIN_COUNT_LOW},
		{"final", "", good + "warning user-pin, warning so-pin", ready | pkcs11.CKF_USER_PIN_FINAL_TRY | pkcs11.CKF_SO_PIN_FINAL_TRY},
		{"locked", "", good + "problem user-pin, warning so-pin", ready | pkcs11.CKF_USER_PIN_LOCKED | pkcs11.CKF_SO_PIN_LOCKED},
		{"another token", "token=other", "ok open, problem token", ready},
		{"unknown parameter", "wheels=3", "problem open", ready},
		{"no PIN file", "pin-file=/nonexistent", good + "ok user-pin, ok so-pin, problem pin-file", ready},
	} {
		flags = c.flags
		found, err := cryptoki.Diagnose(ctx, "sick:"+c.params)
		if err != nil || words(found) != c.want {
			t.Errorf("%s: %s, error %v; want %s", c.name, words(found), err, c.want)
		}
		for _, f := range found {
			if f.Text == "" || (f.Cure == "") != (f.Severity == driver.Good) {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
	}
	if closed != 10 {
		t.Errorf("%d modules were closed of 10", closed)
	}
	open = false
	found, err := cryptoki.Diagnose(ctx, "sick:")
	if err != nil || words(found) != "problem open" || !strings.Contains(found[0].Text, "nobody listens") {
		t.Errorf("%+v, error %v", found, err)
	}
}

func TestDiagnose(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	pin := filepath.Join(dir, "pin")
	if err := os.WriteFile(pin, []byte("1357-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := "soft:mem=true;token=x;pin-file=" + pin
	found, err := cryptoki.Diagnose(ctx, name)
	if err != nil || len(found) == 0 || words(found[len(found)-1:]) != "ok pin-file" {
		t.Errorf("%+v, error %v", found, err)
	}
	if err := os.Chmod(pin, 0o640); err != nil {
		t.Fatal(err)
	}
	found, err = cryptoki.Diagnose(ctx, name)
	if err != nil || len(found) == 0 || words(found[len(found)-1:]) != "problem pin-file" {
		t.Errorf("%+v, error %v", found, err)
	}
	for _, f := range found {
		if strings.Contains(f.Text+f.Cure, "1357") {
			t.Errorf("the PIN is in %+v", f)
		}
	}
	if _, err := cryptoki.Diagnose(ctx, "soft"); err == nil || !strings.HasPrefix(err.Error(), "cryptoki: diagnose: ") {
		t.Errorf("malformed name: error %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := cryptoki.Diagnose(ended, "soft:mem=true"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: error %v", err)
	}
}
