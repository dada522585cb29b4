package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var objectFields = []field{
	{"label", ""},
	{"class", "private-key, public-key, certificate, secret-key or data"},
	{"type", "of the key: P-256, RSA-2048, Ed25519, AES-256, …"},
	{"id", "CKA_ID in hexadecimal; a key pair and its certificate share it"},
	{"flags", "array of words: sign, verify, encrypt, decrypt, derive, wrap, unwrap; extractable; imported (not generated in the token); private; session (not stored)"},
	{"uri", "a pkcs11: URI for the object; every command takes it for the label"},
	{"subject", "of a certificate, as are the following"},
	{"issuer", ""}, {"serial", "in hexadecimal"}, {"notBefore", "in UTC, RFC 3339"}, {"notAfter", ""},
	{"sha256", "the fingerprint"},
}

var listCommand = command{
	name:    "list",
	args:    "[LABEL]",
	summary: "list the keys and certificates",
	about: `Without a PIN it lists what everybody may see: certificates and public keys.
LABEL, or a pkcs11: URI, selects.`,
	pins:  wantUser,
	json:  objectFields,
	array: true,
	example: []example{
		{"", "cryptoki list --pin-file user.pin"},
		{"what everybody may see", "cryptoki list --public"},
		{"certificates that end this month", `cryptoki list --class certificate --json | jq -r '.[] | select(.notAfter < "2026-12") | .label'`},
	},
	flags: func(o *options) runFunc {
		var class string
		var public bool
		o.choice(&class, "class,c", classNames, "only objects of that class")
		o.flag(&public, "public", "do not ask for a PIN: list what everybody may see")
		return func(ctx context.Context, a *app, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
				if err := a.name(name); err != nil {
					return err
				}
			}
			l := mustLogin
			if public {
				l = noLogin
			} else if !onTerminalNow() {
				l = mayLogin
			}
			return a.with(ctx, l, func(t *cryptoki.Token) error { return a.list(ctx, t, name, class, public) })
		}
	},
}

var classNames = []string{"private-key", "public-key", "certificate", "secret-key", "data"}

type object struct {
	Label     string   `json:"label"`
	Class     string   `json:"class"`
	Type      string   `json:"type,omitempty"`
	ID        string   `json:"id,omitempty"`
	Flags     []string `json:"flags"`
	URI       string   `json:"uri"`
	Subject   string   `json:"subject,omitempty"`
	Issuer    string   `json:"issuer,omitempty"`
	NotBefore string   `json:"notBefore,omitempty"`
	NotAfter  string   `json:"notAfter,omitempty"`
	Serial    string   `json:"serial,omitempty"`
	SHA256    string   `json:"sha256,omitempty"`

	cert *x509.Certificate
}

func (a *app) list(ctx context.Context, t *cryptoki.Token, name, class string, public bool) error {
	var found []cryptoki.Object
	var err error
	if name == "" {
		found, err = t.Objects(ctx, nil)
	} else {
		found, err = find(ctx, t, name)
	}
	if err != nil {
		return err
	}
	objects := []object{}
	private := false
	for _, o := range found {
		private = private || o.Class == pkcs11.CKO_PRIVATE_KEY
		if class == "" || className(o.Class) == class {
			objects = append(objects, describe(o))
		}
	}
	if !public && !private && (class == "" || class == "private-key") {
		a.noteHidden(ctx, t)
	}
	if name != "" && len(objects) == 0 {
		return notThere("object", name)
	}
	if a.json {
		return a.printJSON(objects)
	}
	if len(objects) == 0 {
		a.note("the token has none")
		return nil
	}
	rows := [][]string{{"LABEL", "CLASS", "TYPE", "ID", "FLAGS"}}
	for _, o := range objects {
		flags := strings.Join(o.Flags, " ")
		if o.cert != nil {
			word := "until"
			if time.Now().After(o.cert.NotAfter) {
				word = "EXPIRED"
			}
			flags = strings.TrimSpace(fmt.Sprintf("%s %s %s", flags, word, o.cert.NotAfter.UTC().Format(time.DateOnly)))
		}
		id := o.ID
		if len(id) > 16 {
			id = id[:16] + "…"
		}
		rows = append(rows, []string{o.Label, o.Class, o.Type, id, flags})
	}
	return a.table(rows)
}

// noteHidden says why no private keys are listed, if that is for want of a PIN.
func (a *app) noteHidden(ctx context.Context, t *cryptoki.Token) {
	info, err := t.Info(ctx)
	if err != nil || info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0 || info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED == 0 {
		return
	}
	s, err := t.Session(ctx, 0)
	if err != nil {
		return
	}
	defer s.Close()
	if si, err := s.Info(ctx); err == nil && si.State == pkcs11.CKS_RO_PUBLIC_SESSION {
		a.note("no PIN given, private objects are not shown: --pin-file FILE")
	}
}

// describe is what list shows of an object.
func describe(o cryptoki.Object) object {
	d := object{
		Label: o.Label, Class: className(o.Class), ID: hex.EncodeToString(o.ID), Flags: objectFlags(o), Type: objectType(o),
		URI: (&pkcs11.URI{Object: o.Label, ID: o.ID, Type: pkcs11.URIType(o.Class)}).String(),
	}
	if cert, err := o.Certificate(); err == nil {
		sum := sha256.Sum256(cert.Raw)
		d.cert = cert
		d.Subject, d.Issuer = cert.Subject.String(), cert.Issuer.String()
		d.NotBefore, d.NotAfter = cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339)
		d.Serial, d.SHA256 = cert.SerialNumber.Text(16), hex.EncodeToString(sum[:])
	}
	return d
}

// objectType names the key that o is, or is the certificate of.
func objectType(o cryptoki.Object) string {
	if o.Class == pkcs11.CKO_DATA {
		return ""
	}
	if pub, err := o.PublicKey(); err == nil {
		return keyName(pub)
	}
	if o.Class == pkcs11.CKO_CERTIFICATE {
		return "damaged"
	}
	switch o.KeyType {
	case pkcs11.CKK_AES, pkcs11.CKK_GENERIC_SECRET:
		name := strings.TrimPrefix(o.KeyType.String(), "CKK_")
		if n := o.Attributes.Uint(pkcs11.CKA_VALUE_LEN); n != pkcs11.Unavailable {
			name += fmt.Sprintf("-%d", 8*n)
		}
		return name
	}
	return strings.TrimPrefix(o.KeyType.String(), "CKK_")
}

// keyName names a kind of key as keygen does.
func keyName(pub crypto.PublicKey) string {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return pub.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", pub.N.BitLen())
	}
	return fmt.Sprintf("%T", pub)
}

func objectFlags(o cryptoki.Object) []string {
	words := []string{}
	for _, f := range []struct {
		attr pkcs11.AttributeType
		word string
	}{
		{pkcs11.CKA_SIGN, "sign"}, {pkcs11.CKA_VERIFY, "verify"}, {pkcs11.CKA_ENCRYPT, "encrypt"}, {pkcs11.CKA_DECRYPT, "decrypt"},
		{pkcs11.CKA_DERIVE, "derive"}, {pkcs11.CKA_WRAP, "wrap"}, {pkcs11.CKA_UNWRAP, "unwrap"},
		{pkcs11.CKA_EXTRACTABLE, "extractable"}, {pkcs11.CKA_ALWAYS_AUTHENTICATE, "pin-each-time"},
	} {
		if o.Attributes.Bool(f.attr) {
			words = append(words, f.word)
		}
	}
	isKey := slices.Contains([]pkcs11.ObjectClass{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY}, o.Class)
	if local, ok := o.Attributes.Get(pkcs11.CKA_LOCAL); ok && isKey && !local.Bool() {
		words = append(words, "imported")
	}
	if o.Attributes.Bool(pkcs11.CKA_PRIVATE) && !isKey {
		words = append(words, "private")
	}
	if token, ok := o.Attributes.Get(pkcs11.CKA_TOKEN); ok && !token.Bool() {
		words = append(words, "session")
	}
	return words
}
