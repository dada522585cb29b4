package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var deleteCommand = command{
	name:    "delete",
	args:    "LABEL",
	summary: "destroy a key pair, a certificate or another object",
	about: `A private and a public key with the same label go together, and a certificate
with the issuers' that import chain has stored with it. If the label is that of a key
and of a certificate, --class says which. A destroyed key cannot be brought back.`,
	pins: wantUser,
	json: []field{{"deleted", "array of objects as list prints them"}},
	example: []example{
		{"", `cryptoki delete "Device Cert"`},
		{"without being asked", `cryptoki delete --class key --yes "old key"`},
	},
	flags: func(o *options) runFunc {
		var class string
		var yes bool
		o.choice(&class, "class,c", []string{"key", "private-key", "public-key", "certificate", "secret-key", "data", "all"}, "only objects of that class; key is a key pair")
		o.flag(&yes, "yes,y", "do not ask")
		return func(ctx context.Context, a *app, args []string) error {
			return a.destroy(ctx, args[0], class, yes)
		}
	},
}

func (a *app) destroy(ctx context.Context, name, class string, yes bool) error {
	if err := a.name(name); err != nil {
		return err
	}
	return a.with(ctx, mustLogin, func(t *cryptoki.Token) error {
		found, err := find(ctx, t, name, classes(class)...)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			what := "object"
			if class != "" && class != "all" {
				what = class
			}
			return notThere(what, name)
		}
		if found, err = withChains(ctx, t, found); err != nil {
			return err
		}
		kinds := map[string]bool{}
		var names []string
		for _, o := range found {
			kind := className(o.Class)
			if o.Class == pkcs11.CKO_PRIVATE_KEY || o.Class == pkcs11.CKO_PUBLIC_KEY {
				kind = "key"
			}
			kinds[kind] = true
			names = append(names, place{o.Class, o.Label}.String())
		}
		if class == "" && len(kinds) > 1 {
			return withHint(fmt.Errorf("%q names several things: %s; say which with --class", name, strings.Join(names, ", ")),
				"cryptoki delete --class certificate "+shellQuote(name))
		}
		if err := a.sure(ctx, yes, fmt.Sprintf("Destroy %s for ever?", oneLine(strings.Join(names, ", ")))); err != nil {
			return err
		}
		if err := t.Destroy(ctx, found...); err != nil {
			return err
		}
		if a.json {
			out := []object{}
			for _, o := range found {
				out = append(out, describe(o))
			}
			return a.printJSON(struct {
				Deleted []object `json:"deleted"`
			}{out})
		}
		for _, n := range names {
			if err := a.printf("deleted %s\n", n); err != nil {
				return err
			}
		}
		return nil
	})
}

// withChains adds the chains of the certificates that are in found. They come
// first: a delete that is interrupted can be repeated. The chain stays if the
// token has another certificate of that label.
func withChains(ctx context.Context, t *cryptoki.Token, found []cryptoki.Object) ([]cryptoki.Object, error) {
	var chains []cryptoki.Object
	in := func(list []cryptoki.Object) func(cryptoki.Object) bool {
		return func(o cryptoki.Object) bool {
			return slices.ContainsFunc(list, func(f cryptoki.Object) bool { return f.Handle == o.Handle })
		}
	}
	for _, o := range found {
		if o.Class != pkcs11.CKO_CERTIFICATE {
			continue
		}
		same, err := t.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, o.Class), pkcs11.Attr(pkcs11.CKA_LABEL, o.Label)})
		if err != nil {
			return nil, err
		}
		if len(slices.DeleteFunc(same, in(found))) > 0 {
			continue
		}
		chain, err := chainOf(ctx, t, o.Label)
		if err != nil {
			return nil, err
		}
		chain = slices.DeleteFunc(slices.DeleteFunc(chain, in(found)), in(chains))
		chains = append(chains, chain...)
	}
	return append(chains, found...), nil
}

// notThere is the error for an object that was named and is not on the token.
func notThere(what, name string) error {
	return withHint(fmt.Errorf("there is no %s %q on the token", what, name), "cryptoki list")
}

// classes are the object classes that a word stands for, none for all.
func classes(word string) []pkcs11.ObjectClass {
	switch word {
	case "", "all":
		return nil
	case "key":
		return []pkcs11.ObjectClass{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY}
	}
	for _, c := range []pkcs11.ObjectClass{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_CERTIFICATE, pkcs11.CKO_SECRET_KEY, pkcs11.CKO_DATA} {
		if className(c) == word {
			return []pkcs11.ObjectClass{c}
		}
	}
	return nil
}
