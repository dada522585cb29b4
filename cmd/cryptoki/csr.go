package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/url"
	"strings"

	cryptoki "github.com/go-cryptoki/cryptoki"
)

var csrCommand = command{
	name:    "csr",
	args:    "LABEL",
	summary: "write a certificate request for a private key",
	about: `The request (PKCS #10) is signed by the key and written in PEM. The subject is
written as in RFC 4514, the most specific part first; \, is a comma in a value.`,
	pins: wantUser,
	example: []example{
		{"", `cryptoki csr "Device Priv TLS Key" --subject CN=dev-1,O=Acme -o device.csr`},
		{"with other names", `cryptoki csr "Device Priv TLS Key" --subject 'CN=gw 7,O=Acme\, Inc.' --dns gw7.example --uri urn:dev:mac:0024befffe804ff1 --ip 10.0.0.7`},
		{"check it", "openssl req -in device.csr -noout -verify -text"},
	},
	flags: func(o *options) runFunc {
		var c csr
		o.str(&c.subject, "subject,s", "NAME", "distinguished name, such as CN=dev-1,O=Acme")
		o.strs(&c.dns, "dns", "NAME", "DNS name to add")
		o.strs(&c.uris, "uri", "URI", "URI to add")
		o.strs(&c.ips, "ip", "ADDRESS", "IP address to add")
		o.str(&c.out, "out,o", "FILE", "write to FILE instead of standard output")
		o.flag(&c.der, "der", "write DER instead of PEM")
		return func(ctx context.Context, a *app, args []string) error { return a.csr(ctx, args[0], c) }
	},
}

type csr struct {
	subject, out   string
	dns, uris, ips []string
	der            bool
}

// template returns what the request asks for.
func (c csr) template() (*x509.CertificateRequest, error) {
	t := new(x509.CertificateRequest)
	if c.subject == "" && len(c.dns)+len(c.uris)+len(c.ips) == 0 {
		return nil, usagef("csr: --subject is missing: whose certificate shall it be?")
	}
	if c.subject != "" {
		der, err := parseSubject(c.subject)
		if err != nil {
			return nil, &usageError{err.Error()}
		}
		t.RawSubject = der
	}
	for _, s := range c.dns {
		if !isDNSName(s) {
			return nil, usagef("--dns %q is no DNS name", s)
		}
		t.DNSNames = append(t.DNSNames, s)
	}
	for _, s := range c.uris {
		u, err := url.Parse(s)
		if err != nil || u.Scheme == "" || !isASCII(s) {
			return nil, usagef("--uri %q is no absolute URI", s)
		}
		t.URIs = append(t.URIs, u)
	}
	for _, s := range c.ips {
		ip := net.ParseIP(s)
		if ip == nil {
			return nil, usagef("--ip %q is no IP address", s)
		}
		t.IPAddresses = append(t.IPAddresses, ip)
	}
	return t, nil
}

func isDNSName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(s, "*."), ".") {
		if part == "" || len(part) > 63 || part[0] == '-' || part[len(part)-1] == '-' ||
			strings.IndexFunc(part, func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
			}) >= 0 {
			return false
		}
	}
	return true
}

func (a *app) csr(ctx context.Context, key string, c csr) error {
	if err := a.name(key); err != nil {
		return err
	}
	template, err := c.template()
	if err != nil {
		return err
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		der, err := t.CertificateRequest(ctx, key, template)
		if err != nil {
			return err
		}
		if !c.der {
			der = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		}
		return a.writeOutput(c.out, der, 0o644)
	})
}
