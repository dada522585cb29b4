package cryptoki_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	pinFile := write(t, filepath.Join(dir, "pin"), string(userPIN)+"\n", 0o600)
	name := "soft:dir=" + filepath.Join(dir, "token")
	ctx := t.Context()

	token, err := cryptoki.Open(ctx, name+";create=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Initialize(ctx, cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPIN}); err != nil {
		t.Fatal(err)
	}
	if err := token.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Info(ctx); !errors.Is(err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) {
		t.Errorf("after Close: error %v", err)
	}

	for _, test := range []struct {
		name string
		opts *cryptoki.Options
	}{
		{name + ";pin-file=" + pinFile, nil},
		{name + ";pin-file=" + pinFile, &cryptoki.Options{PIN: pinOf([]byte("not asked"))}},
		{name + ";token=gateway", &cryptoki.Options{PIN: pinOf(userPIN), Token: "overruled"}},
		{name, &cryptoki.Options{PIN: pinOf(userPIN), Token: "gateway"}},
		{name, &cryptoki.Options{Token: "pkcs11:token=gateway?pin-source=file:" + pinFile}},
	} {
		token, err := cryptoki.Open(ctx, test.name, test.opts)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		s, err := token.Session(ctx, 0)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if info, err := s.Info(ctx); err != nil || info.State != pkcs11.CKS_RO_USER_FUNCTIONS {
			t.Errorf("%s: session in state %v, error %v; want it logged in", test.name, info.State, err)
		}
		token.Close()
	}

	for bad, want := range map[string]string{
		"soft":                          `token name "soft": want scheme:key=value`,
		"hard:dir=x":                    `no backend "hard" in this program (it has: `,
		"atecc608:bus=1":                `to add it: import _ "github.com/go-cryptoki/cryptoki/backends/atecc608"`,
		name + ";pinfile=x":             `"pinfile"`,
		name + ";token=other":           `there is no token "other"; there are "gateway"`,
		name + ";token=pkcs11:bad":      "pkcs11:bad",
		name + ";token=pkcs11:token=xx": `there is no token "pkcs11:token=xx"`,
	} {
		token, err := cryptoki.Open(ctx, bad, nil)
		if err == nil {
			token.Close()
		}
		if err == nil || !strings.HasPrefix(err.Error(), "cryptoki: open") || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "cryptoki: ") != 1 {
			t.Errorf("%s: error %v; want one about %s", bad, err, want)
		}
	}
	// The token is not left open, and locked, by a failed attempt.
	token, err = cryptoki.Open(ctx, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	token.Close()
}

func TestRegisterModule(t *testing.T) {
	var closed int
	cryptoki.RegisterModule("two", func(ctx context.Context, params *driver.Params) (cryptoki.Module, error) {
		if params.Bool("fail", false) {
			return nil, errors.New("no such luck")
		}
		var tokens []driver.Token
		for _, label := range strings.Split(params.String("labels", "one,two"), ",") {
			token, err := soft.New(&pal.Mem{}, &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}})
			if err != nil {
				return nil, err
			}
			if err := token.InitToken(ctx, soPIN, label); err != nil {
				return nil, err
			}
			tokens = append(tokens, token)
		}
		m, err := cryptoki.NewModule(nil, tokens...)
		return closing{m, &closed}, err
	})
	ctx := t.Context()
	for name, want := range map[string]string{
		"two:token=one":              "one",
		"two:token=two":              "two",
		"two:token=pkcs11:slot-id=2": "two",
		"two:labels=x":               "x",
	} {
		token, err := cryptoki.Open(ctx, name, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info, err := token.Info(ctx); err != nil || info.Label != want {
			t.Errorf("%s: token %q, error %v; want %q", name, info.Label, err, want)
		}
		token.Close()
	}
	opened := closed
	for name, want := range map[string]string{
		"two:":                   `there are 2 tokens, "one", "two": select one with token=LABEL`,
		"two:labels=x,x;token=x": `2 tokens are called "x"`,
		"two:token=three":        `there is no token "three"`,
		"two:wheels=3":           `"wheels"`,
		"two:fail=true":          "no such luck",
	} {
		if _, err := cryptoki.Open(ctx, name, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v; want one about %s", name, err, want)
		}
	}
	if n := closed - opened; n != 4 {
		t.Errorf("of 4 modules that were opened in vain, %d were closed", n)
	}
	for _, scheme := range []string{"two", "soft"} {
		if msg := fmt.Sprint(panicOf(func() {
			cryptoki.RegisterModule(scheme, func(context.Context, *driver.Params) (cryptoki.Module, error) { return nil, nil })
		})); !strings.Contains(msg, scheme) {
			t.Errorf("registering %q again: %v", scheme, msg)
		}
	}
}

type closing struct {
	cryptoki.Module
	n *int
}

func (c closing) Close() error { *c.n++; return c.Module.Close() }

func panicOf(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

// NewToken borrows the module.
func TestNewTokenLeavesTheModuleOpen(t *testing.T) {
	m := newModule(t, &pal.Mem{}, false)
	if _, err := cryptoki.NewToken(t.Context(), m, 7, nil); !errors.Is(err, pkcs11.CKR_SLOT_ID_INVALID) || !strings.HasPrefix(err.Error(), "cryptoki: slot 7: ") {
		t.Errorf("no such slot: error %v", err)
	}
	token := setUp(t, m, nil)
	if token.Module() != m || token.Slot() != 1 {
		t.Error("another module or slot")
	}
	if err := token.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := m.TokenInfo(t.Context(), 1); err != nil || info.SessionCount != 0 {
		t.Errorf("%d sessions, error %v", info.SessionCount, err)
	}
}

func TestRandomAndMechanisms(t *testing.T) {
	token := newToken(t)
	a, b := make([]byte, 40), make([]byte, 40)
	for _, buf := range [][]byte{a, b, nil} {
		if n, err := token.Random().Read(buf); n != len(buf) || err != nil {
			t.Errorf("%d bytes, error %v", n, err)
		}
	}
	if bytes.Equal(a, b) || bytes.Equal(a, make([]byte, 40)) {
		t.Errorf("random bytes %x and %x", a, b)
	}
	mechs, err := token.Mechanisms(t.Context())
	if err != nil || mechs[pkcs11.CKM_ECDSA].Flags&pkcs11.CKF_SIGN == 0 || mechs[pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN].MaxKeySize != 4096 {
		t.Errorf("mechanisms %v, error %v", mechs, err)
	}
	token.Close()
	if n, err := token.Random().Read(a); n != 0 || err == nil || !bytes.Equal(a, make([]byte, 40)) {
		t.Errorf("after Close: %d bytes, error %v, buffer %x", n, err, a)
	}
}
