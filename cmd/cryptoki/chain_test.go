package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func TestChainPlace(t *testing.T) {
	for label, want := range map[string]int{
		"A chain 1": 1, "A chain 12": 12,
		"A": 0, "A chain": 0, "A chain ": 0, "A chain 0": 0, "A chain 01": 0, "A chain +1": 0, "A chain -1": 0, "A chain 1 chain 1": 0, "B chain 1": 0, "AA chain 1": 0,
	} {
		if got := chainPlace("A", label); got != want {
			t.Errorf("%q is certificate %d of the chain of A, want %d", label, got, want)
		}
	}
}

// TestChainOfTwo has two certificates of one label: the chain goes with the last
// of them.
func TestChainOfTwo(t *testing.T) {
	ctx := t.Context()
	token := memoryToken(t, soft.Options{})
	story, err := os.ReadFile("testdata/script/backup.txt")
	must(t, err)
	block, _ := pem.Decode(story[strings.Index(string(story), "-----BEGIN"):])
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	s, err := token.Session(ctx, pkcs11.CKF_RW_SESSION)
	must(t, err)
	defer s.Close()
	for _, o := range []struct{ label, id string }{{"A", "1"}, {"A", "2"}, {"A chain 1", "3"}, {"A chain 2", "4"}, {"B chain 1", "5"}} {
		_, err := s.CreateObject(ctx, pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE), pkcs11.Attr(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509),
			pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_LABEL, o.label), pkcs11.Attr(pkcs11.CKA_ID, []byte(o.id)),
			pkcs11.Attr(pkcs11.CKA_SUBJECT, cert.RawSubject), pkcs11.Attr(pkcs11.CKA_VALUE, cert.Raw),
		})
		must(t, err)
	}
	for _, tt := range []struct {
		name string
		want []string
	}{
		{"pkcs11:object=A;id=1", []string{"A"}},
		{"A", []string{"A chain 2", "A chain 1", "A", "A"}},
		{"A chain 1", []string{"A chain 1"}},
	} {
		found, err := find(ctx, token, tt.name)
		must(t, err)
		all, err := withChains(ctx, token, found)
		must(t, err)
		var got []string
		for _, o := range all {
			got = append(got, o.Label)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q go, want %q", tt.name, got, tt.want)
		}
	}
}
