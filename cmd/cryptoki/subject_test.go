package main

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
)

func TestParseSubject(t *testing.T) {
	for _, test := range []struct {
		in, want string // want as RFC 2253 has it, or part of the error
		ok       bool
	}{
		{"CN=dev-1,O=Acme", "CN=dev-1,O=Acme", true},
		{"cn=dev-1, o = Acme ; c=DE", "CN=dev-1,O=Acme,C=DE", true},
		{`CN=gw 7,O=Acme\, Inc.`, `CN=gw 7,O=Acme\, Inc.`, true},
		{`CN=a\2Cb`, `CN=a\,b`, true},
		{`CN=Acm\C3\A9`, "CN=Acmé", true},
		{"CN=Acmé 漢字", "CN=Acmé 漢字", true},
		{`CN=a\ `, `CN=a\ `, true},
		{"CN=a=b", "CN=a=b", true},
		{"CN=dev+SERIALNUMBER=12,O=Acme", "SERIALNUMBER=12+CN=dev,O=Acme", true},
		{"UID=joe,DC=example,DC=com", "0.9.2342.19200300.100.1.1=#13036a6f65,0.9.2342.19200300.100.1.25=#13076578616d706c65,0.9.2342.19200300.100.1.25=#1303636f6d", true},
		{"2.5.4.3=dev", "CN=dev", true},
		{"OID.2.5.4.3=dev", "CN=dev", true},

		{"", "it is empty", false},
		{"/CN=dev/O=Acme", "openssl's notation", false},
		{"dev-1", `"dev-1" is not type=value`, false},
		{"CN=x,Inc.", `"Inc." is not type=value`, false},
		{"CN=", "the value is empty", false},
		{"CN=a,", "is not type=value", false},
		{"CN=a,,O=b", `"" is not type=value`, false},
		{"CN=x,Inc.,O=y", `"Inc." is not type=value`, false},
		{"XY=a", `"XY" is no attribute; known are CN`, false},
		{"3.1.2=a", "no object identifier", false},
		{"2.5.04.3=a", "is no attribute", false},
		{`CN=a\`, "a backslash ends it", false},
		{`CN=a\xb`, "a backslash needs", false},
		{`CN=a\2`, "a backslash needs", false},
		{`CN="a"`, `must be written \"`, false},
		{"CN=#0402", "hexadecimal (#…) is not understood", false},
		{`CN=a\00b`, "control character", false},
		{`CN=\FF`, "not UTF-8", false},
		{"C=Germany", "the value has 7 characters, at most 2", false},
		{"C=D", "the value has 1 characters instead of 2", false},
		{"CN=" + strings.Repeat("x", 65), "at most 64", false},
		{"SERIALNUMBER=a_b", "has characters other than", false},
		{"EMAILADDRESS=é@example.com", "not ASCII", false},
		{"CN=a+CN=b", "two attributes of the same type", false},
	} {
		der, err := parseSubject(test.in)
		if !test.ok {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q: got %v, want an error with %q", test.in, err, test.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.in, err)
			continue
		}
		var rdns pkix.RDNSequence
		if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
			t.Errorf("%q: DER %x: %v", test.in, der, err)
		} else if got := rdns.String(); got != test.want {
			t.Errorf("%q: got %s, want %s", test.in, got, test.want)
		}
	}
}

// What parses means the same to encoding/asn1, and written as crypto/x509 writes
// it, parses to the same DER.
func FuzzParseSubject(f *testing.F) {
	for _, s := range []string{"CN=dev-1,O=Acme", `CN=gw 7+O=Acme\, Inc.`, `CN=a\2Cb;C=DE`, "2.5.4.3=x", `CN=\ \#`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		der, err := parseSubject(s)
		if err != nil {
			return
		}
		var rdns pkix.RDNSequence
		if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
			t.Fatalf("%q: DER %x: %v", s, der, err)
		}
		text := rdns.String()
		if strings.Contains(text, "=#") {
			return // attributes that crypto/x509 has no name for
		}
		again, err := parseSubject(text)
		if err != nil {
			t.Fatalf("%q: as %q: %v", s, text, err)
		}
		if !bytes.Equal(again, der) {
			t.Fatalf("%q: %x, but as %q: %x", s, der, text, again)
		}
	})
}
