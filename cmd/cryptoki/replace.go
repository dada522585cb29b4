package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A place is a class and a label under which something is to be stored.
type place struct {
	class pkcs11.ObjectClass
	label string
}

func (p place) String() string { return fmt.Sprintf("%s %q", classWords(p.class), p.label) }

func classWords(c pkcs11.ObjectClass) string {
	switch c {
	case pkcs11.CKO_PRIVATE_KEY:
		return "private key"
	case pkcs11.CKO_PUBLIC_KEY:
		return "public key"
	}
	return className(c)
}

// occupants returns what is in the places already; an error if there is
// something and replace is not set.
func occupants(ctx context.Context, t *cryptoki.Token, replace bool, places ...place) ([]cryptoki.Object, error) {
	var old []cryptoki.Object
	for _, p := range places {
		found, err := find(ctx, t, p.label, p.class)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 && !replace {
			return nil, existsAlready(p)
		}
		old = append(old, found...)
	}
	return old, nil
}

func existsAlready(p place) error {
	return withHint(fmt.Errorf("%s exists already; nothing was changed", p),
		"to put the new one in its place: --replace")
}

// interim is what a new object is called until the one that it replaces is gone.
func interim(label string) string { return label + " (new)" }

// exchange stores what create makes in the places, which old occupies. create is
// given how to name what goes where.
//
// Under a label that names a storage place the token replaces in one step. Under
// another the new objects are made under an interim label, then renamed, and
// only then the old ones are destroyed: whatever happens in between, the old or
// the new ones are there.
func exchange(ctx context.Context, t *cryptoki.Token, old []cryptoki.Object, places []place, create func(name func(string) string) error) error {
	same := func(s string) string { return s }
	err := create(same)
	if len(old) == 0 || err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var fresh []cryptoki.Object
	if err != nil {
		for _, p := range places { // of an earlier attempt
			left, err := find(ctx, t, interim(p.label), p.class)
			if err != nil {
				return err
			}
			if err := t.Destroy(ctx, left...); err != nil {
				return err
			}
		}
		if err := create(interim); err != nil {
			return err
		}
		for _, p := range places {
			made, err := find(ctx, t, interim(p.label), p.class)
			if err != nil {
				return err
			}
			for _, o := range made {
				if err := rename(ctx, t, o, p.label); err != nil {
					return err
				}
			}
			fresh = append(fresh, made...)
		}
	}
	if fresh == nil { // those of the old ones that the token has not replaced itself
		return t.Destroy(ctx, old...)
	}
	// Half of a pair may have been made under its own label before the other
	// half found its label taken: that half goes too.
	for _, p := range places {
		there, err := find(ctx, t, p.label, p.class)
		if err != nil {
			return err
		}
		gone := slices.DeleteFunc(there, func(o cryptoki.Object) bool {
			return slices.ContainsFunc(fresh, func(f cryptoki.Object) bool { return f.Handle == o.Handle })
		})
		if err := t.Destroy(ctx, gone...); err != nil {
			return err
		}
	}
	return nil
}

// rename gives an object another label.
func rename(ctx context.Context, t *cryptoki.Token, o cryptoki.Object, label string) error {
	s, err := t.Session(ctx, pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.SetAttributeValue(ctx, o.Handle, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, label)})
}
