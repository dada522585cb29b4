package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

type export struct {
	out string
	der bool
}

func (e *export) flags(o *options) {
	o.str(&e.out, "out,o", "FILE", "write to FILE instead of standard output")
	o.flag(&e.der, "der", "write DER instead of PEM")
}

// write writes DER as PEM of that type, or as it is.
func (e export) write(a *app, typ string, der []byte) error {
	if e.der {
		if e.out == "" && isTerminal(a.stdout) {
			return usagef("DER does not go to a terminal: -o FILE")
		}
		return a.writeOutput(e.out, der, 0o644)
	}
	return a.writeOutput(e.out, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o644)
}

var exportCertificateCommand = command{
	name:    "export certificate",
	args:    "LABEL",
	summary: "write a certificate",
	pins:    wantUser,
	example: []example{{"", `cryptoki export certificate "Device Cert" | openssl x509 -noout -text`}},
	flags: func(o *options) runFunc {
		var e export
		e.flags(o)
		return func(ctx context.Context, a *app, args []string) error {
			if err := a.name(args[0]); err != nil {
				return err
			}
			return a.with(ctx, mayLogin, func(t *cryptoki.Token) error {
				cert, err := t.Certificate(ctx, args[0])
				if err != nil {
					return err
				}
				return e.write(a, "CERTIFICATE", cert.Raw)
			})
		}
	},
}

var exportPublicKeyCommand = command{
	name:    "export public-key",
	args:    "LABEL",
	summary: "write a public key",
	about:   `LABEL is that of a public key, a private key or a certificate.`,
	pins:    wantUser,
	example: []example{{"", `cryptoki export public-key "Device Pub TLS Key" -o device.pub`}},
	flags: func(o *options) runFunc {
		var e export
		e.flags(o)
		return func(ctx context.Context, a *app, args []string) error {
			if err := a.name(args[0]); err != nil {
				return err
			}
			return a.with(ctx, mayLogin, func(t *cryptoki.Token) error {
				pub, err := t.PublicKey(ctx, args[0])
				if err != nil {
					return err
				}
				der, err := x509.MarshalPKIXPublicKey(pub)
				if err != nil {
					return err
				}
				return e.write(a, "PUBLIC KEY", der)
			})
		}
	},
}

// publicPEM is a public key in PEM.
func publicPEM(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

var exportKeyCommand = command{
	name:    "export key",
	args:    "LABEL",
	summary: "write a private key, if it was made to leave the token",
	about: `A key leaves the token only if whoever made it said so (CKA_EXTRACTABLE, and not
CKA_SENSITIVE): what keygen and import key make never does. It is written in
PKCS #8, not encrypted, to a file that only its owner can read.`,
	pins:    wantUser,
	example: []example{{"keep a copy under a passphrase", `cryptoki export key "session key" | openssl pkcs8 -topk8 -out backup.pem`}},
	flags: func(o *options) runFunc {
		var e export
		e.flags(o)
		return func(ctx context.Context, a *app, args []string) error { return a.exportKey(ctx, args[0], e) }
	},
}

func (a *app) exportKey(ctx context.Context, name string, e export) error {
	if err := a.name(name); err != nil {
		return err
	}
	if e.out == "" && isTerminal(a.stdout) {
		return usagef("export key: a private key does not go to a terminal: -o FILE")
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		key, err := privateKey(ctx, t, name)
		if err != nil {
			return err
		}
		why := ""
		switch {
		case !key.Attributes.Bool(pkcs11.CKA_EXTRACTABLE):
			why = "it was made not to be extractable"
		case key.Attributes.Bool(pkcs11.CKA_SENSITIVE):
			why = "it was made sensitive: it can only be wrapped under another key, by a program"
		}
		if why != "" {
			return fmt.Errorf("private key %q does not leave the token: %s, and that cannot be changed; make a new key if this one must move: %w", key.Label, why, pkcs11.CKR_KEY_UNEXTRACTABLE)
		}
		der, err := pkcs8(ctx, t, key)
		if err != nil {
			return fmt.Errorf("private key %q: %w", key.Label, err)
		}
		defer clear(der)
		if !e.der {
			der = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
			defer clear(der)
		}
		return a.writeOutput(e.out, der, 0o600)
	})
}

// privateKey returns the one private key of that name.
func privateKey(ctx context.Context, t *cryptoki.Token, name string) (cryptoki.Object, error) {
	found, err := find(ctx, t, name, pkcs11.CKO_PRIVATE_KEY)
	if err == nil && len(found) != 1 {
		if _, err = t.Signer(ctx, name); err == nil { // which says why better than we can
			err = fmt.Errorf("private key %q: there are %d of that name", name, len(found))
		}
	}
	if err != nil {
		return cryptoki.Object{}, err
	}
	return found[0], nil
}

// pkcs8 reads the components of a key that the token shows.
func pkcs8(ctx context.Context, t *cryptoki.Token, key cryptoki.Object) ([]byte, error) {
	s, err := t.Session(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	secret := []pkcs11.AttributeType{pkcs11.CKA_VALUE}
	if key.KeyType == pkcs11.CKK_RSA {
		secret = []pkcs11.AttributeType{pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
			pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT}
	}
	template := slices.Clip(key.Attributes)
	for _, typ := range secret {
		value := pkcs11.Template{{Type: typ}}
		if err := s.GetAttributeValue(ctx, key.Handle, value); err != nil {
			if typ != secret[0] && errors.Is(err, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) {
				continue // the rest of an RSA key follows from the exponents
			}
			return nil, err
		}
		defer keys.Wipe(value)
		template = append(template, value...)
	}
	private, err := keys.PrivateKey(template)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(private)
}
