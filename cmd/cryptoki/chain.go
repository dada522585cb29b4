package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strconv"
	"strings"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// chainLabel is the label of the i-th certificate of a chain: 0 is the first one,
// 1 its issuer's.
func chainLabel(name string, i int) string {
	if i == 0 {
		return name
	}
	return fmt.Sprintf("%s chain %d", name, i)
}

// chainPlace is the opposite of chainLabel; 0 for a label that is not in the chain
// of that name.
func chainPlace(name, label string) int {
	n, ok := strings.CutPrefix(label, name+" chain ")
	i, err := strconv.Atoi(n)
	if !ok || err != nil || i < 1 || chainLabel(name, i) != label {
		return 0
	}
	return i
}

// chainOf returns the issuers' certificates that import chain has stored with the
// certificate of that label, the last one first.
func chainOf(ctx context.Context, t *cryptoki.Token, name string) ([]cryptoki.Object, error) {
	all, err := t.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_CERTIFICATE)})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(o cryptoki.Object) bool { return chainPlace(name, o.Label) == 0 })
	slices.SortStableFunc(all, func(a, b cryptoki.Object) int { return chainPlace(name, b.Label) - chainPlace(name, a.Label) })
	return all, nil
}

// staleChain returns what the token has of a chain that is not that of certs, which
// get the name: what comes after them. With a certificate that comes alone, not
// many, it is the whole chain, unless the first in it issued the certificate.
func staleChain(ctx context.Context, t *cryptoki.Token, name string, certs []*x509.Certificate, many bool) ([]cryptoki.Object, error) {
	chain, err := chainOf(ctx, t, name)
	if err != nil {
		return nil, err
	}
	if !many && slices.ContainsFunc(chain, func(o cryptoki.Object) bool {
		issuer, err := o.Certificate()
		return err == nil && chainPlace(name, o.Label) == 1 && certs[0].CheckSignatureFrom(issuer) == nil
	}) {
		return nil, nil
	}
	return slices.DeleteFunc(chain, func(o cryptoki.Object) bool { return chainPlace(name, o.Label) < len(certs) }), nil
}
