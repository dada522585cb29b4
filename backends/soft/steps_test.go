package soft

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	newUserPIN = []byte("another user PIN")
	newSOPIN   = []byte("another SO PIN")
	wrongPIN   = []byte("not the PIN")
)

// A step is one operation that changes a token.
type step struct {
	name  string
	who   role // who is logged in
	blank bool // the token is not initialized before
	// spends is whose tries are counted while it goes on: a step that is cut off
	// may have spent one.
	spends []role
	do     func(token *Token) error
}

// several reports whether the step changes several records, or is the shortest of
// those that change one.
func (s *step) several() bool {
	switch s.name {
	case "generate a pair", "generate in place of another pair", "destroy a pair", "SetPIN", "InitToken", "create", "login with a wrong PIN":
		return true
	}
	return false
}

// steps are the operations that change a token, each at least once.
var steps = []step{
	{name: "generate a pair", who: userRole, do: func(token *Token) error { return generatePair(token, nil) }},
	{name: "generate in place of another pair", who: userRole, do: with("one", generatePair)},
	{name: "generate a secret key", who: userRole, do: func(token *Token) error {
		_, err := token.GenerateKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN},
			append(common(pkcs11.CKO_SECRET_KEY, "new", true), attrs(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES, pkcs11.CKA_VALUE_LEN, uint64(32))...), nil)
		return err
	}},
	// Unwrapping is this, too, as far as the token is concerned.
	{name: "create", who: userRole, do: func(token *Token) error { return createData(token, "new", true, nil) }},
	{name: "create in place of another", who: userRole, do: with("two", func(token *Token, p []driver.Object) error { return createData(token, "new", false, p[:1]) })},
	{name: "import a key", who: userRole, do: func(token *Token) error {
		value := make([]byte, 32)
		value[31] = 1
		_, err := token.CreateObject(ctx, privateTemplate(pkcs11.CKK_EC, "new", pkcs11.CKA_EC_PARAMS, oidP256, pkcs11.CKA_VALUE, value), nil)
		return err
	}},
	{name: "derive", who: userRole, do: with("one", func(token *Token, p []driver.Object) error {
		_, err := p[1].(driver.Deriver).Derive(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE,
			Params: &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: p[0].Attributes().Bytes(pkcs11.CKA_EC_POINT)}},
			append(common(pkcs11.CKO_SECRET_KEY, "new", true), attrs(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET)...), nil)
		return err
	})},
	{name: "copy", who: userRole, do: with("one", func(token *Token, p []driver.Object) error {
		_, err := token.CopyObject(ctx, p[1], p[1].Attributes().Clone().Set(pkcs11.Attr(pkcs11.CKA_LABEL, "copy")))
		return err
	})},
	{name: "update a private object", who: userRole, do: with("two", func(token *Token, p []driver.Object) error {
		_, err := token.Update(ctx, p[1], attrs(pkcs11.CKA_LABEL, "renamed"))
		return err
	})},
	{name: "update a public object", who: userRole, do: with("two", func(token *Token, p []driver.Object) error {
		_, err := token.Update(ctx, p[0], attrs(pkcs11.CKA_LABEL, "renamed"))
		return err
	})},
	{name: "destroy", who: userRole, do: with("one", func(token *Token, p []driver.Object) error { return token.Destroy(ctx, p[0]) })},
	{name: "destroy a pair", who: userRole, do: with("one", func(token *Token, p []driver.Object) error { return token.Destroy(ctx, p...) })},
	{name: "destroy everything", who: userRole, do: func(token *Token) error {
		list, err := token.Objects(ctx)
		if err != nil {
			return err
		}
		return token.Destroy(ctx, list...)
	}},
	{name: "create as the SO", who: soRole, do: func(token *Token) error { return createData(token, "new", false, nil) }},
	{name: "SetPIN", who: userRole, spends: []role{userRole}, do: func(token *Token) error {
		return token.SetPIN(ctx, pkcs11.CKU_USER, userPIN, newUserPIN)
	}},
	{name: "InitPIN", who: soRole, do: func(token *Token) error { return token.InitPIN(ctx, newUserPIN) }},
	{name: "InitPIN after wrong ones", who: soRole, spends: []role{userRole}, do: func(token *Token) error {
		if err := token.Login(ctx, pkcs11.CKU_USER, wrongPIN); !errors.Is(err, pkcs11.CKR_PIN_INCORRECT) {
			return fmt.Errorf("a wrong PIN: %w", err)
		}
		return token.InitPIN(ctx, newUserPIN)
	}},
	{name: "SetPIN of the SO", who: soRole, spends: []role{soRole}, do: func(token *Token) error {
		return token.SetPIN(ctx, pkcs11.CKU_SO, soPIN, newSOPIN)
	}},
	{name: "InitToken", spends: []role{soRole}, do: func(token *Token) error { return token.InitToken(ctx, soPIN, "afresh") }},
	{name: "InitToken for the first time", blank: true, do: func(token *Token) error { return token.InitToken(ctx, soPIN, "first") }},
	{name: "login", spends: []role{userRole}, do: func(token *Token) error { return token.Login(ctx, pkcs11.CKU_USER, userPIN) }},
	{name: "login with a wrong PIN", spends: []role{userRole}, do: func(token *Token) error { return refused(token.Login(ctx, pkcs11.CKU_USER, wrongPIN)) }},
	{name: "login with a wrong SO PIN", spends: []role{soRole}, do: func(token *Token) error { return refused(token.Login(ctx, pkcs11.CKU_SO, wrongPIN)) }},
	{name: "InitToken with a wrong SO PIN", spends: []role{soRole}, do: func(token *Token) error { return refused(token.InitToken(ctx, wrongPIN, "afresh")) }},
}

// refused is nil for the refusal of a wrong PIN.
func refused(err error) error {
	switch {
	case err == nil:
		return errors.New("a wrong PIN was accepted")
	case errors.Is(err, pkcs11.CKR_PIN_INCORRECT):
		return nil
	}
	return err
}

func generatePair(token *Token, replaces []driver.Object) error {
	_, _, err := token.GenerateKeyPair(ctx, ecGen, publicTemplate(pkcs11.CKK_EC, "new", pkcs11.CKA_EC_PARAMS, oidP256), privateTemplate(pkcs11.CKK_EC, "new"), replaces)
	return err
}

func createData(token *Token, label string, private bool, replaces []driver.Object) error {
	_, err := token.CreateObject(ctx, append(common(pkcs11.CKO_DATA, label, private), attrs(pkcs11.CKA_VALUE, []byte("data"))...), replaces)
	return err
}

// with gives a step the public and private key of a label, in this order.
func with(label string, do func(token *Token, p []driver.Object) error) func(token *Token) error {
	return func(token *Token) error {
		p, err := findPair(token, label)
		if err != nil {
			return err
		}
		return do(token, p)
	}
}

func findPair(token *Token, label string) ([]driver.Object, error) {
	list, err := token.Objects(ctx)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(o driver.Object) bool { return o.Attributes().Text(pkcs11.CKA_LABEL) != label })
	slices.SortFunc(list, func(a, b driver.Object) int {
		return int(a.Attributes().Uint(pkcs11.CKA_CLASS)) - int(b.Attributes().Uint(pkcs11.CKA_CLASS))
	})
	return list, nil
}

// pair is findPair without the error.
func pair(token *Token, label string) []driver.Object {
	p, _ := findPair(token, label)
	return p
}

// enter makes the token's user or SO log in, whoever the step wants.
func (s *step) enter(token *Token) error {
	switch s.who {
	case userRole:
		return token.Login(ctx, pkcs11.CKU_USER, userPIN)
	case soRole:
		return token.Login(ctx, pkcs11.CKU_SO, soPIN)
	}
	return nil
}

// A condition is what a token is, as far as steps change it.
type condition struct {
	what  string // label, PINs and objects
	tries [2]int // wrong PINs of SO and user
}

// between returns an error if got is neither the condition before a step nor the
// one after it, apart from tries that the step spends.
func (s *step) between(got, before, after condition) error {
	if got.what != before.what && got.what != after.what {
		return fmt.Errorf("the token is\n%s\nwant\n%s\nor\n%s", got.what, before.what, after.what)
	}
	for i, who := range []role{soRole, userRole} {
		n := got.tries[i]
		if n != before.tries[i] && n != after.tries[i] && !(slices.Contains(s.spends, who) && n == before.tries[i]+1) {
			return fmt.Errorf("%d wrong PINs of the %v are counted; before there were %d, after %d", n, who, before.tries[i], after.tries[i])
		}
	}
	return nil
}

// same returns an error if got is not want.
func same(got, want condition) error {
	if got != want {
		return fmt.Errorf("the token is\n%s, wrong PINs %d\nwant\n%s, wrong PINs %d", got.what, got.tries, want.what, want.tries)
	}
	return nil
}

// inspect finds the condition of the token in a store. It is an error if the
// token cannot be opened, read, used or changed, if a key does not belong to the
// other one of its pair, or if the store holds something that is not the token's.
func inspect(store pal.Store) (c condition, err error) {
	token, err := New(store, cheap)
	if err != nil {
		return c, err
	}
	defer token.Close()
	if token.rec == nil {
		names, err := store.Names()
		if len(names) > 0 {
			return c, fmt.Errorf("records %q without a token", names)
		}
		c.what = "not initialized"
		return c, err
	}
	c.tries = [2]int{int(token.tries.so), int(token.tries.user)}
	var b strings.Builder
	fmt.Fprintf(&b, "%q", token.Info().Label)
	user := false
	for _, pin := range [][]byte{userPIN, newUserPIN} {
		if token.Login(ctx, pkcs11.CKU_USER, pin) == nil {
			fmt.Fprintf(&b, " user=%s", pin)
			user = true
			break
		}
	}
	list, err := token.Objects(ctx)
	if err != nil {
		return c, err
	}
	lines := make([]string, len(list))
	for i, o := range list {
		a := o.Attributes()
		lines[i] = fmt.Sprintf("\n%v %q", pkcs11.ObjectClass(a.Uint(pkcs11.CKA_CLASS)), a.Text(pkcs11.CKA_LABEL))
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
	if user {
		if err := useAll(list); err != nil {
			return c, err
		}
		// It can be changed, and changed back.
		o, err := token.CreateObject(ctx, common(pkcs11.CKO_DATA, "another", true), nil)
		if err == nil {
			err = token.Destroy(ctx, o)
		}
		if err != nil {
			return c, fmt.Errorf("the token cannot be changed: %w", err)
		}
	}
	if err := token.Logout(ctx); err != nil {
		return c, err
	}
	for _, pin := range [][]byte{soPIN, newSOPIN} {
		if token.Login(ctx, pkcs11.CKU_SO, pin) == nil {
			fmt.Fprintf(&b, "\nSO=%s", pin)
			break
		}
	}
	names, err := store.Names()
	if err != nil {
		return c, err
	}
	stored := 0
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, objectPrefix):
			stored++
		case name != nameToken && name != nameTries && name != nameInventory:
			return c, fmt.Errorf("record %s is left over", name)
		}
	}
	if user && stored != len(list) {
		return c, fmt.Errorf("%d objects in %d records", len(list), stored)
	}
	if !user && stored > 0 {
		fmt.Fprintf(&b, "\n%d records", stored)
	}
	c.what = b.String()
	return c, nil
}

// useAll opens the secret part of all keys, and compares private keys with the
// public ones of the same label.
func useAll(list []driver.Object) error {
	public := map[string]any{}
	for _, o := range list {
		if a := o.Attributes(); a.Uint(pkcs11.CKA_CLASS) == uint64(pkcs11.CKO_PUBLIC_KEY) {
			key, err := keys.PublicKey(a)
			if err != nil {
				return err
			}
			public[a.Text(pkcs11.CKA_LABEL)] = key
		}
	}
	for _, o := range list {
		a := o.Attributes()
		switch a.Uint(pkcs11.CKA_CLASS) {
		case uint64(pkcs11.CKO_PRIVATE_KEY):
			key, err := o.(stored).base().use()
			if err != nil {
				return err
			}
			own := key.public().(*ecdsa.PublicKey)
			key.release()
			if pub := public[a.Text(pkcs11.CKA_LABEL)]; pub != nil && !own.Equal(pub) {
				return fmt.Errorf("the keys of %q are no pair", a.Text(pkcs11.CKA_LABEL))
			}
		case uint64(pkcs11.CKO_SECRET_KEY):
			v, err := o.(driver.Exporter).Export(ctx, pkcs11.CKA_VALUE)
			if err != nil {
				return err
			}
			if n := len(v.Bytes(pkcs11.CKA_VALUE)); uint64(n) != a.Uint(pkcs11.CKA_VALUE_LEN) {
				return fmt.Errorf("the secret key %q has %d bytes", a.Text(pkcs11.CKA_LABEL), n)
			}
		}
	}
	return nil
}

// stepBase fills a token with what steps change: two key pairs.
func stepBase(t testing.TB, store pal.Store) {
	t.Helper()
	token := newToken(t, store)
	login(t, token)
	generateP256(t, token, "one")
	generateP256(t, token, "two")
	must(t, token.Close())
}
