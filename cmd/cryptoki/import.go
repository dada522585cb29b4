package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var importedFields = []field{{"imported", "array of objects as list prints them"}, {"replaced", "array of what was replaced"}}

const certificateCheck = `The certificate must belong to its key: the private key that --key names; or
"Device Priv TLS Key" for "Device Cert", "Claim Key" for "Claim Cert", the key
with the same label for another, if there is one.`

var importCertificateCommand = command{
	name:    "import certificate",
	args:    "LABEL FILE",
	summary: "store a certificate, PEM or DER",
	about: certificateCheck + ` FILE is - for standard input.

A chain that import chain has stored with an earlier certificate of that label
stays if the new one has the same issuer; otherwise --replace removes it.`,
	pins: wantUser,
	json: importedFields,
	example: []example{
		{"the device's certificate", `cryptoki import certificate "Device Cert" device.pem`},
		{"renewal", `cryptoki import certificate "Device Cert" device.pem --replace`},
		{"the CA that servers are checked with", `cryptoki import certificate "Root Cert" AmazonRootCA1.pem`},
	},
	flags: func(o *options) runFunc {
		var c certImport
		c.flags(o)
		return func(ctx context.Context, a *app, args []string) error {
			return a.importCertificates(ctx, args[0], args[1], c, false)
		}
	},
}

var importChainCommand = command{
	name:    "import chain",
	args:    "LABEL FILE",
	summary: "store a certificate and those of its issuers, from one file",
	about: `The file has several certificates, the device's first and each one's issuer
after it. The first gets LABEL, the others "LABEL chain 1", "LABEL chain 2", …;
of a longer chain that was there, --replace leaves nothing. delete LABEL removes them all.
` + certificateCheck,
	pins: wantUser,
	json: importedFields,
	example: []example{
		{"", `cryptoki import chain "Device Cert" fullchain.pem`},
	},
	flags: func(o *options) runFunc {
		var c certImport
		c.flags(o)
		return func(ctx context.Context, a *app, args []string) error {
			return a.importCertificates(ctx, args[0], args[1], c, true)
		}
	},
}

type certImport struct {
	key            string
	replace, force bool
}

func (c *certImport) flags(o *options) {
	o.str(&c.key, "key,k", "LABEL", "the private key that the certificate must belong to")
	o.flag(&c.replace, "replace", "put it in the place of one that has the label")
	o.flag(&c.force, "force", "store it although it belongs to another key, or the chain is none")
}

// readCertificates reads one certificate, or several if many.
func (a *app) readCertificates(path string, many bool) ([]*x509.Certificate, error) {
	blocks, err := a.readBlocks(path)
	if err != nil {
		return nil, err
	}
	found, err := pick(path, blocks, kindCertificate)
	if err == nil && !many {
		var b block
		b, err = only(path, blocks, kindCertificate)
		found = []block{b}
	}
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for i, b := range found {
		cert, err := x509.ParseCertificate(b.der)
		if err != nil {
			which := "the certificate"
			if len(found) > 1 {
				which = fmt.Sprintf("certificate %d", i+1)
			}
			return nil, fmt.Errorf("%s: %s is damaged: %w; copy the file again", fileName(path), which, plainX509(err))
		}
		certs = append(certs, cert)
	}
	return certs, nil
}

// checkChain checks that each certificate is followed by its issuer's.
func checkChain(path string, certs []*x509.Certificate) error {
	for i := 1; i < len(certs); i++ {
		if err := certs[i-1].CheckSignatureFrom(certs[i]); err != nil {
			return fmt.Errorf("%s: certificate %d (%s) was not issued by certificate %d (%s); put the device's first and each one's issuer after it, or use --force",
				fileName(path), i, certs[i-1].Subject, i+1, certs[i].Subject)
		}
	}
	return nil
}

// keyFor returns the private key that a certificate of that label is to belong
// to, and whether it must exist.
func (c certImport) keyFor(label string) (key string, must bool) {
	switch {
	case c.key != "":
		return c.key, true
	case label == cryptoki.DeviceCert:
		return cryptoki.DevicePrivateKey, false
	case label == cryptoki.ClaimCert:
		return cryptoki.ClaimKey, false
	}
	return label, false
}

func (a *app) importCertificates(ctx context.Context, name, path string, c certImport, many bool) error {
	if err := label(name); err != nil {
		return err
	}
	if c.key != "" {
		if err := a.name(c.key); err != nil {
			return err
		}
	}
	certs, err := a.readCertificates(path, many)
	if err != nil {
		return err
	}
	if many && !c.force {
		if err := checkChain(path, certs); err != nil {
			return err
		}
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		if err := a.checkKey(ctx, t, name, path, certs[0].PublicKey, c); err != nil {
			return err
		}
		var places []place
		for i := range certs {
			places = append(places, place{pkcs11.CKO_CERTIFICATE, chainLabel(name, i)})
		}
		old, err := occupants(ctx, t, c.replace, places...)
		if err != nil {
			return err
		}
		stale, err := staleChain(ctx, t, name, certs, many)
		if err != nil {
			return err
		}
		if len(stale) > 0 && !c.replace {
			return existsAlready(place{pkcs11.CKO_CERTIFICATE, stale[len(stale)-1].Label})
		}
		// The issuers first: the device's certificate is of use when they are there.
		for i := len(places) - 1; i >= 0; i-- {
			p := places[i]
			if err := exchange(ctx, t, at(old, p), places[i:i+1], func(name func(string) string) error {
				return t.ImportCertificate(ctx, name(p.label), certs[i])
			}); err != nil {
				return err
			}
		}
		if err := t.Destroy(ctx, stale...); err != nil {
			return err
		}
		if err := a.imported(ctx, t, append(old, stale...), places); err != nil {
			return err
		}
		now := time.Now()
		for i, cert := range certs {
			switch {
			case now.After(cert.NotAfter):
				a.note("certificate %q expired on %s", places[i].label, cert.NotAfter.UTC().Format(time.DateOnly))
			case now.Before(cert.NotBefore):
				a.note("certificate %q is valid from %s only; is the clock right?", places[i].label, cert.NotBefore.UTC().Format(time.RFC3339))
			}
		}
		return nil
	})
}

// at returns those of the objects that are in the place.
func at(objects []cryptoki.Object, p place) []cryptoki.Object {
	var s []cryptoki.Object
	for _, o := range objects {
		if o.Class == p.class && o.Label == p.label {
			s = append(s, o)
		}
	}
	return s
}

// checkKey checks that a certificate belongs to the key that it should.
func (a *app) checkKey(ctx context.Context, t *cryptoki.Token, name, path string, pub crypto.PublicKey, c certImport) error {
	if c.force {
		return nil
	}
	key, must := c.keyFor(name)
	found, err := find(ctx, t, key, pkcs11.CKO_PRIVATE_KEY)
	if err != nil {
		return err
	}
	if len(found) == 0 && !must {
		if key != name {
			a.note("there is no private key %q yet, so whether the certificate belongs to it was not checked", key)
		}
		return nil
	}
	signer, err := t.Signer(ctx, key)
	if err != nil {
		return err
	}
	if keys.Equal(signer.Public(), pub) {
		return nil
	}
	return withHint(fmt.Errorf("%s: the certificate is for another key than private key %q; nothing was changed", fileName(path), key),
		"request one for this key: cryptoki csr "+shellQuote(key), "to store it all the same: --force")
}

var importKeyCommand = command{
	name:    "import key",
	args:    "LABEL FILE",
	summary: "store a private key from a file, and its public key",
	about: `PKCS #8, PKCS #1 or SEC 1, PEM or DER, not encrypted. A key that was in a file
may have been copied: prefer keygen. FILE is - for standard input.`,
	pins: wantUser,
	json: importedFields,
	example: []example{
		{"", `cryptoki import key "Device Priv TLS Key" device.key`},
		{"an encrypted one, which is not decrypted on the disk", `openssl pkey -in device.key | cryptoki import key "Device Priv TLS Key" -`},
	},
	flags: func(o *options) runFunc {
		var replace bool
		o.flag(&replace, "replace", "put it in the place of one that has the label; the old key is destroyed")
		return func(ctx context.Context, a *app, args []string) error {
			return a.importKey(ctx, args[0], args[1], replace)
		}
	},
}

func (a *app) importKey(ctx context.Context, name, path string, replace bool) error {
	if err := label(name); err != nil {
		return err
	}
	blocks, err := a.readBlocks(path)
	if err != nil {
		return err
	}
	defer func() {
		for _, b := range blocks {
			clear(b.der)
		}
	}()
	b, err := only(path, blocks, kindPrivate)
	if err != nil {
		return err
	}
	key, err := parsePrivateKey(b.der)
	if err != nil {
		return fmt.Errorf("%s: the private key is damaged or of a kind that is not supported: %w", fileName(path), err)
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		places := []place{{pkcs11.CKO_PRIVATE_KEY, name}, {pkcs11.CKO_PUBLIC_KEY, publicLabel(name)}}
		old, err := occupants(ctx, t, replace, places...)
		if err != nil {
			return err
		}
		err = exchange(ctx, t, old, places, func(name func(string) string) error {
			return t.ImportPrivateKey(ctx, name(places[0].label), key)
		})
		if err != nil {
			return err
		}
		if err := a.imported(ctx, t, old, places); err != nil {
			return err
		}
		if path != "-" {
			a.note("%s still holds the key: remove it", path)
		}
		return nil
	})
}

var importPublicKeyCommand = command{
	name:    "import public-key",
	args:    "LABEL FILE",
	summary: "store a public key that verifies",
	about:   `SubjectPublicKeyInfo or PKCS #1, PEM or DER. FILE is - for standard input.`,
	pins:    wantUser,
	json:    importedFields,
	example: []example{
		{"the key that updates are verified with", `cryptoki import public-key "Code Verify Key" release.pub`},
	},
	flags: func(o *options) runFunc {
		var replace bool
		o.flag(&replace, "replace", "put it in the place of one that has the label")
		return func(ctx context.Context, a *app, args []string) error {
			return a.importPublicKey(ctx, args[0], args[1], replace)
		}
	},
}

func (a *app) importPublicKey(ctx context.Context, name, path string, replace bool) error {
	if err := label(name); err != nil {
		return err
	}
	blocks, err := a.readBlocks(path)
	if err != nil {
		return err
	}
	b, err := only(path, blocks, kindPublic)
	if err != nil {
		return err
	}
	pub, err := parsePublicKey(b.der)
	if err != nil {
		return fmt.Errorf("%s: the public key is damaged or of a kind that is not supported: %w", fileName(path), err)
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		places := []place{{pkcs11.CKO_PUBLIC_KEY, name}}
		old, err := occupants(ctx, t, replace, places...)
		if err != nil {
			return err
		}
		if err := exchange(ctx, t, old, places, func(name func(string) string) error {
			return t.ImportPublicKey(ctx, name(places[0].label), pub)
		}); err != nil {
			return err
		}
		return a.imported(ctx, t, old, places)
	})
}

// imported prints what was stored and what it replaced.
func (a *app) imported(ctx context.Context, t *cryptoki.Token, old []cryptoki.Object, places []place) error {
	replaced := []string{}
	for _, o := range old {
		replaced = append(replaced, place{o.Class, o.Label}.String())
	}
	objects := []object{}
	for _, p := range places {
		found, err := find(ctx, t, p.label, p.class)
		if err != nil {
			return err
		}
		for _, o := range found {
			objects = append(objects, describe(o))
		}
	}
	if a.json {
		return a.printJSON(struct {
			Imported []object `json:"imported"`
			Replaced []string `json:"replaced"`
		}{objects, replaced})
	}
	for _, s := range replaced {
		if err := a.printf("replaced %s\n", s); err != nil {
			return err
		}
	}
	for i, o := range objects {
		if err := a.printf("imported %s, %s, id %s\n", places[min(i, len(places)-1)], o.Type, o.ID); err != nil {
			return err
		}
	}
	return nil
}
