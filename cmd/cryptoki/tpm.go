package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var lockoutCommand = command{
	name:    "lockout",
	summary: "show how many wrong PINs a TPM still takes",
	about: `The count is one for all that is in the TPM, whoever uses it. A right PIN does not
reset it: wrong ones are forgotten with time, one after the other. It needs no PIN.`,
	json: []field{
		{"locked", "whether the TPM checks no PIN"},
		{"tries", "wrong ones that are not forgotten yet"},
		{"limit", "how many lock the TPM"},
		{"intervalSeconds", "after how many seconds with power one is forgotten; 0 for never"},
	},
	example: []example{{"", "cryptoki lockout"}},
	flags: func(*options) runFunc {
		return func(ctx context.Context, a *app, _ []string) error {
			return a.withTPM(ctx, noLogin, func(t *tpm.Token) error {
				l, err := t.Lockout(ctx)
				if err != nil {
					return err
				}
				return a.printLockout(l)
			})
		}
	},
}

func (a *app) printLockout(l tpm.Lockout) error {
	if a.json {
		return a.printJSON(struct {
			Locked   bool   `json:"locked"`
			Tries    uint32 `json:"tries"`
			Limit    uint32 `json:"limit"`
			Interval int64  `json:"intervalSeconds"`
		}{l.Locked, l.Tries, l.Limit, int64(l.Interval / time.Second)})
	}
	state := "not locked"
	if l.Locked {
		state = "locked"
	}
	forgets := "wrong PINs are not forgotten"
	if l.Interval > 0 {
		forgets = fmt.Sprintf("one is forgotten every %v with power", l.Interval)
	}
	return a.table([][]string{
		{"state", state},
		{"wrong PINs", fmt.Sprintf("%d of the %d that lock the TPM", l.Tries, l.Limit)},
		{"recovery", forgets},
	})
}

var lockoutResetCommand = command{
	name:    "lockout reset",
	summary: "make a TPM forget wrong PINs",
	about: `It takes the TPM's lockout authorization, which is empty where nobody has set one.
A wrong value locks that authorization itself, often for a day. The SO PIN is not
that value.`,
	example: []example{
		{"", "cryptoki lockout reset"},
		{"with an authorization value", "cryptoki lockout reset --auth-file /root/lockout"},
	},
	flags: func(o *options) runFunc {
		var path string
		authFile(o, &path, "the lockout authorization")
		return func(ctx context.Context, a *app, _ []string) error {
			auth, err := a.readAuth(path)
			if err != nil {
				return err
			}
			defer clear(auth)
			return a.withTPM(ctx, noLogin, func(t *tpm.Token) error { return t.ResetLockout(ctx, auth) })
		}
	},
}

var importTPMKeyCommand = command{
	name:    "import tpm-key",
	args:    "LABEL FILE",
	summary: "store a private key that this TPM has wrapped in a file",
	about: `FILE is a TPM key file (PEM, TSS2 PRIVATE KEY), such as OpenSSL's tpm2 provider
makes; - is standard input. The key must have been made in this TPM, under the
storage key that the token uses. The file goes on to work.`,
	pins: wantUser,
	json: []field{{"id", "CKA_ID of the two objects, hexadecimal"}},
	example: []example{
		{"", `cryptoki import tpm-key "Device Priv TLS Key" device.tss2.pem`},
	},
	flags: func(o *options) runFunc {
		var path string
		authFile(o, &path, "the key's authorization value in the file")
		return func(ctx context.Context, a *app, args []string) error {
			if err := label(args[0]); err != nil {
				return err
			}
			file, err := a.readInput(args[1], maxInput)
			if err != nil {
				return err
			}
			auth, err := a.readAuth(path)
			if err != nil {
				return err
			}
			defer clear(auth)
			return a.withTPM(ctx, mustLogin, func(t *tpm.Token) error {
				if _, err := tpmKey(ctx, t, args[0]); err == nil {
					return fmt.Errorf("there is a private key %q already; delete it first, or choose another label", args[0])
				}
				_, key, err := t.ImportTSS2(ctx, file, auth, args[0])
				if err != nil {
					return err
				}
				id := hex.EncodeToString(key.Attributes().Bytes(pkcs11.CKA_ID))
				if a.json {
					return a.printJSON(struct {
						ID string `json:"id"`
					}{id})
				}
				return a.printf("imported private key %q and its public key, id %s\n", args[0], id)
			})
		}
	},
}

var exportTPMKeyCommand = command{
	name:    "export tpm-key",
	args:    "LABEL",
	summary: "write a private key for other programs on this TPM",
	about: `What is written is a TPM key file (PEM, TSS2 PRIVATE KEY), for OpenSSL's tpm2
provider and others. The key in it is wrapped by the TPM and works in no other one.
Without --auth-file, everybody can use it who can read the file and use the TPM.`,
	pins: wantUser,
	example: []example{
		{"", `cryptoki export tpm-key "Device Priv TLS Key" -o device.tss2.pem`},
	},
	flags: func(o *options) runFunc {
		var path, out string
		authFile(o, &path, "the authorization value that the key gets in the file, at most 32 bytes")
		o.str(&out, "out,o", "FILE", "write to FILE instead of standard output")
		return func(ctx context.Context, a *app, args []string) error {
			auth, err := a.readAuth(path)
			if err != nil {
				return err
			}
			defer clear(auth)
			return a.withTPM(ctx, mustLogin, func(t *tpm.Token) error {
				key, err := tpmKey(ctx, t, args[0])
				if err != nil {
					return err
				}
				file, err := t.ExportTSS2(ctx, key, auth)
				if err != nil {
					return err
				}
				return a.writeOutput(out, file, 0o600)
			})
		}
	},
}

func authFile(o *options, path *string, what string) {
	o.str(path, "auth-file", "FILE", "read "+what+" from FILE, without the line's end (default: empty)")
}

func (a *app) readAuth(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := a.readInput(path, maxInput)
	return bytes.TrimRight(b, "\r\n"), err
}

// withTPM opens a token in a TPM, for what Cryptoki has no function for.
func (a *app) withTPM(ctx context.Context, l login, f func(*tpm.Token) error) error {
	name, err := a.tokenName()
	if err != nil {
		return err
	}
	params, check, err := a.parseName(a.lastTry(name))
	if err != nil {
		return err
	}
	if params.Scheme != "tpm" {
		return usagef("this command is for TPMs: a token name that begins with tpm:")
	}
	opened, err := driver.OpenParams(ctx, params)
	if err != nil {
		return a.explainOpen(err)
	}
	t := opened.(*tpm.Token)
	a.model = t.Info().Model
	if err = check(t.Info()); err == nil && l != noLogin {
		err = a.loginTPM(ctx, t)
	}
	if err == nil {
		err = a.explain(f(t))
	}
	if cerr := t.Close(); err == nil {
		err = cerr
	}
	return err
}

func (a *app) loginTPM(ctx context.Context, t *tpm.Token) error {
	info := t.Info()
	switch {
	case info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0:
		return withHint(errors.New("the token is not initialized yet"), "cryptoki init --label NAME")
	case info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0:
		return nil
	}
	pin, err := a.userPIN(true)(ctx, pkcs11.CKU_USER, pkcs11.TokenInfo{Label: info.Label})
	if err != nil {
		return err
	}
	defer clear(pin)
	return a.explain(t.Login(ctx, pkcs11.CKU_USER, pin))
}

// tpmKey finds a private key by its label.
func tpmKey(ctx context.Context, t *tpm.Token, label string) (driver.Object, error) {
	objects, err := t.Objects(ctx)
	if err != nil {
		return nil, err
	}
	var found []driver.Object
	for _, o := range objects {
		if attrs := o.Attributes(); attrs.Uint(pkcs11.CKA_CLASS) == uint64(pkcs11.CKO_PRIVATE_KEY) && attrs.Text(pkcs11.CKA_LABEL) == label {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("private key %q: %w", label, fs.ErrNotExist)
	}
	return nil, fmt.Errorf("private key %q: there are %d of that name", label, len(found))
}
