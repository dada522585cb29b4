package soft

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

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

// TestPowerCut cuts the power before and after every change that a step makes to
// the store: afterwards the token is as before the step or as after it, and the
// store holds nothing else. The same for a store that fails once and goes on.
func TestPowerCut(t *testing.T) {
	base := new(pal.Mem)
	stepBase(t, base)
	for _, batch := range []bool{true, false} {
		for _, step := range steps {
			name := step.name
			if !batch {
				name += " without Batch"
			}
			t.Run(name, func(t *testing.T) { testPowerCut(t, base, step, batch) })
		}
	}
}

func testPowerCut(t *testing.T, base *pal.Mem, step step, batch bool) {
	if step.blank {
		base = new(pal.Mem)
	}
	reopened := func(mem *pal.Mem) (condition, error) {
		if batch {
			return inspect(mem)
		}
		return inspect(plain{mem})
	}
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
		must(t, step.enter(token))
		objects(t, token)
		first := f.changes
		if cut > 0 {
			f.cut = first + cut
		}
		err := step.do(token)
		if f.once && step.who == userRole {
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
	before, err := reopened(clone(t, base))
	must(t, err)
	mem, n, err := run(&flaky{})
	must(t, err)
	after, err := reopened(mem)
	must(t, err)
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
					what := fmt.Sprintf("cut at %d of %d, late %v, reason %v, once %v", cut, n, late, reason, once)
					mem, _, err := run(&flaky{cut: cut, late: late, err: reason, once: once})
					got, broken := reopened(mem)
					if broken != nil {
						t.Errorf("%s: %v", what, broken)
						continue
					}
					if once && step.who == userRole {
						const later = "\nCKO_DATA \"later\""
						if !strings.Contains(got.what, later) {
							t.Errorf("what was created later is not there:\n%s", got.what)
						}
						got.what = strings.Replace(got.what, later, "", 1)
					}
					if d := step.between(got, before, after); d != nil {
						t.Errorf("%s: %v", what, d)
					}
					if err == nil && got.what != after.what {
						t.Errorf("%s: no error, but the step is not made:\n%s", what, got.what)
					}
					if errors.Is(err, pkcs11.CKR_PIN_INCORRECT) {
						t.Errorf("%s: a store that fails is taken for a wrong PIN: %v", what, err)
					}
				}
			}
		}
	}
}

func records(t testing.TB, store pal.Store) []string {
	t.Helper()
	names, err := store.Names()
	must(t, err)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, objectPrefix) })
}
