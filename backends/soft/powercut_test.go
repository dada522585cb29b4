package soft

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// flaky is a store over another that fails from its cut-th change on, before the
// change or, with late, after it was made. It is no Batcher: batching makes it
// one.
type flaky struct {
	pal.Store
	cut, changes int
	late         bool
	err          error // nil: the power is gone, nothing works any more
	once         bool  // only that change fails
}

type batching struct{ *flaky }

var errPower = errors.New("the power is gone")

func (f *flaky) change(do func() error) error {
	f.changes++
	fails := f.cut > 0 && (f.changes == f.cut || f.changes > f.cut && !f.once)
	if !fails {
		return do()
	}
	if f.late && f.changes == f.cut {
		do()
	}
	if f.err != nil {
		return f.err
	}
	return errPower
}

func (f *flaky) dead() bool { return f.cut > 0 && f.changes >= f.cut && f.err == nil }

func (f *flaky) Save(name string, data []byte) error {
	return f.change(func() error { return f.Store.Save(name, data) })
}

func (f *flaky) Remove(name string) error {
	return f.change(func() error { return f.Store.Remove(name) })
}

func (f *flaky) Load(name string) ([]byte, error) {
	if f.dead() {
		return nil, errPower
	}
	return f.Store.Load(name)
}

func (f *flaky) Names() ([]string, error) {
	if f.dead() {
		return nil, errPower
	}
	return f.Store.Names()
}

func (b batching) Batch(changes []pal.Change) error {
	return b.change(func() error { return b.Store.(pal.Batcher).Batch(changes) })
}

// plain hides that a store is a Batcher.
type plain struct{ pal.Store }

func clone(t testing.TB, from *pal.Mem) *pal.Mem {
	t.Helper()
	to := new(pal.Mem)
	names, err := from.Names()
	must(t, err)
	for _, name := range names {
		b, err := from.Load(name)
		must(t, err)
		must(t, to.Save(name, b))
	}
	return to
}

var (
	newUserPIN = []byte("another user PIN")
	newSOPIN   = []byte("another SO PIN")
)

// state describes a token as far as changes change it, and checks that there is
// nothing in the store that is not the token's.
func state(t *testing.T, store pal.Store) string {
	t.Helper()
	token := openToken(t, store)
	defer token.Close()
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
	var lines []string
	for _, o := range objects(t, token) {
		a := o.Attributes()
		line := fmt.Sprintf("\n%v %q", pkcs11.ObjectClass(a.Uint(pkcs11.CKA_CLASS)), a.Text(pkcs11.CKA_LABEL))
		if s, ok := o.(driver.Signer); ok && user {
			if _, err := s.Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, make([]byte, 32)); err != nil {
				t.Errorf("%s does not sign: %v", line, err)
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
	must(t, token.Logout(ctx))
	for _, pin := range [][]byte{soPIN, newSOPIN} {
		if token.Login(ctx, pkcs11.CKU_SO, pin) == nil {
			fmt.Fprintf(&b, "\nSO=%s", pin)
			break
		}
	}
	records := 0
	names, err := store.Names()
	must(t, err)
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, objectPrefix):
			records++
		case name != nameToken && name != nameTries:
			t.Errorf("record %s is left over", name)
		}
	}
	if user && records != len(lines) {
		t.Errorf("%d objects in %d records", len(lines), records)
	}
	if !user && records > 0 {
		fmt.Fprintf(&b, "\n%d records", records)
	}
	return b.String()
}

// steps are the changes of a token, made by the user or the SO.
var steps = []struct {
	name string
	so   bool
	do   func(t *testing.T, token *Token) error
}{
	{"generate", false, func(t *testing.T, token *Token) error {
		_, _, err := token.GenerateKeyPair(ctx, ecGen, publicTemplate(pkcs11.CKK_EC, "new", pkcs11.CKA_EC_PARAMS, oidP256), privateTemplate(pkcs11.CKK_EC, "new"), nil)
		return err
	}},
	{"generate in place of another pair", false, func(t *testing.T, token *Token) error {
		_, _, err := token.GenerateKeyPair(ctx, ecGen, publicTemplate(pkcs11.CKK_EC, "new", pkcs11.CKA_EC_PARAMS, oidP256), privateTemplate(pkcs11.CKK_EC, "new"), pair(token, "one"))
		return err
	}},
	{"create", false, func(t *testing.T, token *Token) error {
		_, err := token.CreateObject(ctx, append(common(pkcs11.CKO_DATA, "new", true), attrs(pkcs11.CKA_VALUE, []byte("data"))...), nil)
		return err
	}},
	{"create in place of another", false, func(t *testing.T, token *Token) error {
		_, err := token.CreateObject(ctx, append(common(pkcs11.CKO_DATA, "new", true), attrs(pkcs11.CKA_VALUE, []byte("data"))...), pair(token, "two")[:1])
		return err
	}},
	{"copy", false, func(t *testing.T, token *Token) error {
		priv := pair(token, "one")[1]
		_, err := token.CopyObject(ctx, priv, priv.Attributes().Clone().Set(pkcs11.Attr(pkcs11.CKA_LABEL, "copy")))
		return err
	}},
	{"update", false, func(t *testing.T, token *Token) error {
		_, err := token.Update(ctx, pair(token, "two")[1], attrs(pkcs11.CKA_LABEL, "renamed"))
		return err
	}},
	{"destroy", false, func(t *testing.T, token *Token) error {
		return token.Destroy(ctx, pair(token, "one")[0])
	}},
	{"destroy a pair", false, func(t *testing.T, token *Token) error {
		return token.Destroy(ctx, pair(token, "one")...)
	}},
	{"SetPIN", false, func(t *testing.T, token *Token) error {
		return token.SetPIN(ctx, pkcs11.CKU_USER, userPIN, newUserPIN)
	}},
	{"InitPIN", true, func(t *testing.T, token *Token) error {
		return token.InitPIN(ctx, newUserPIN)
	}},
	{"SetPIN of the SO", true, func(t *testing.T, token *Token) error {
		return token.SetPIN(ctx, pkcs11.CKU_SO, soPIN, newSOPIN)
	}},
	{"InitToken", true, func(t *testing.T, token *Token) error {
		return token.InitToken(ctx, soPIN, "afresh")
	}},
	{"Login", true, func(t *testing.T, token *Token) error {
		return token.Login(ctx, pkcs11.CKU_SO, soPIN)
	}},
}

// pair returns the public and private key of a label, in this order.
func pair(token *Token, label string) []driver.Object {
	list, err := token.Objects(ctx)
	if err != nil {
		return nil
	}
	list = slices.DeleteFunc(list, func(o driver.Object) bool { return o.Attributes().Text(pkcs11.CKA_LABEL) != label })
	slices.SortFunc(list, func(a, b driver.Object) int {
		return int(a.Attributes().Uint(pkcs11.CKA_CLASS)) - int(b.Attributes().Uint(pkcs11.CKA_CLASS))
	})
	return list
}

// TestPowerCut cuts the power before and after every change that a step makes to
// the store: afterwards the token is as before the step or as after it, and the
// store holds nothing else. The same for a store that fails once and goes on.
func TestPowerCut(t *testing.T) {
	base := new(pal.Mem)
	token := newToken(t, base)
	login(t, token)
	generateP256(t, token, "one")
	generateP256(t, token, "two")
	must(t, token.Close())
	before := state(t, clone(t, base))

	for _, batch := range []bool{true, false} {
		for _, step := range steps {
			name := step.name
			if !batch {
				name += " without Batch"
			}
			t.Run(name, func(t *testing.T) {
				// run makes the step over a store, and returns the records left.
				run := func(f *flaky) (*pal.Mem, int, error) {
					mem := clone(t, base)
					cut := f.cut // counted from when the step begins
					f.Store, f.cut = mem, 0
					var store pal.Store = f
					if batch {
						store = batching{f}
					}
					token := openToken(t, store)
					if step.so {
						must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
					} else {
						login(t, token)
					}
					objects(t, token)
					first := f.changes
					if cut > 0 {
						f.cut = first + cut
					}
					err := step.do(t, token)
					if f.once && !step.so {
						// The token goes on, and what it says is what the store holds.
						if _, err := token.CreateObject(ctx, common(pkcs11.CKO_DATA, "later", true), nil); err != nil {
							t.Errorf("after a change that failed: %v", err)
						}
						if n, want := len(objects(t, token)), len(records(t, mem)); n != want {
							t.Errorf("after a change that failed, the token has %d objects, the store %d", n, want)
						}
					}
					token.Close()
					return mem, f.changes - first, err
				}
				mem, n, err := run(&flaky{})
				must(t, err)
				after := state(t, plain{mem})
				if n == 0 {
					t.Fatal("the step changes nothing")
				}
				t.Logf("%d changes of the store", n)
				for cut := 1; cut <= n; cut++ {
					for _, late := range []bool{false, true} {
						for _, reason := range []error{nil, errors.New("EIO"), pal.ErrFull} {
							for _, once := range []bool{false, true} {
								if reason == nil && once {
									continue
								}
								f := &flaky{cut: cut, late: late, err: reason, once: once}
								mem, _, err := run(f)
								var where pal.Store = mem
								if !batch {
									where = plain{mem}
								}
								got := state(t, where)
								if once && !step.so {
									const later = "\nCKO_DATA \"later\""
									if !strings.Contains(got, later) {
										t.Errorf("what was created later is not there:\n%s", got)
									}
									got = strings.Replace(got, later, "", 1)
								}
								what := fmt.Sprintf("cut at %d of %d, late %v, reason %v, once %v", cut, n, late, reason, once)
								if got != before && got != after {
									t.Errorf("%s: the token is\n%s\nwant\n%s\nor\n%s", what, got, before, after)
								}
								if err == nil && got != after {
									t.Errorf("%s: no error, but the step is not made:\n%s", what, got)
								}
								if strings.Contains(fmt.Sprint(err), "PIN") && reason != nil {
									t.Errorf("%s: %v", what, err)
								}
							}
						}
					}
				}
			})
		}
	}
}

func records(t testing.TB, store pal.Store) []string {
	t.Helper()
	names, err := store.Names()
	must(t, err)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, objectPrefix) })
}
