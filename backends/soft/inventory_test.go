package soft

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// rootCA stores a certificate.
func rootCA(t *testing.T, token *Token, value string, replaces ...driver.Object) driver.Object {
	t.Helper()
	o, err := token.CreateObject(ctx, append(common(pkcs11.CKO_CERTIFICATE, "Root Cert", false), attrs(pkcs11.CKA_VALUE, []byte(value))...), replaces)
	must(t, err)
	return o
}

// history is what the store of a token has held: before a root CA was replaced
// and a key renamed, and after.
type history struct {
	before, after *pal.Mem
	old, now, key string // records of the root CAs, and of the key that was renamed
}

func newHistory(t *testing.T, wrap func(*pal.Mem) pal.Store) history {
	t.Helper()
	mem := new(pal.Mem)
	token := newToken(t, wrap(mem))
	login(t, token)
	_, priv := generateP256(t, token, "key")
	old := rootCA(t, token, "the old root")
	h := history{before: clone(t, mem), old: objectPrefix + old.ID(), key: objectPrefix + priv.ID()}
	h.now = objectPrefix + rootCA(t, token, "the new root", old).ID()
	_, err := token.Update(ctx, priv, attrs(pkcs11.CKA_LABEL, "renamed"))
	must(t, err)
	must(t, createData(token, "last", false, nil))
	h.after = clone(t, mem)
	must(t, token.Close())
	return h
}

// put makes a record of the store what it was in another one: absent, perhaps.
func put(t *testing.T, store, from *pal.Mem, name string) {
	t.Helper()
	b, err := from.Load(name)
	if notThere(err) {
		if err := store.Remove(name); !notThere(err) {
			must(t, err)
		}
		return
	}
	must(t, err)
	must(t, store.Save(name, b))
}

var kindsOfStore = map[string]func(*pal.Mem) pal.Store{
	"with Batch":    func(m *pal.Mem) pal.Store { return m },
	"without Batch": func(m *pal.Mem) pal.Store { return plain{m} },
}

// TestOldRecords: somebody who writes the store puts authentic records of earlier
// back, or takes some away. After login no object is released, whichever it was,
// and none can be changed.
func TestOldRecords(t *testing.T) {
	for kind, wrap := range kindsOfStore {
		h := newHistory(t, wrap)
		for _, tt := range []struct {
			name string
			do   func(t *testing.T, store *pal.Mem)
			says string
		}{
			{"the old root CA is back", func(t *testing.T, s *pal.Mem) { put(t, s, h.before, h.old) }, "1 of the objects were destroyed"},
			{"the old root CA is back for the new one", func(t *testing.T, s *pal.Mem) { put(t, s, h.before, h.old); put(t, s, h.before, h.now) }, "older state"},
			{"the new root CA is gone", func(t *testing.T, s *pal.Mem) { put(t, s, h.before, h.now) }, "1 objects are missing"},
			{"the key has its old name", func(t *testing.T, s *pal.Mem) { put(t, s, h.before, h.key) }, "older state"},
			{"the inventory is gone", func(t *testing.T, s *pal.Mem) { must(t, s.Remove(nameInventory)) }, "are back"},
			{"the inventory is the old one", func(t *testing.T, s *pal.Mem) { put(t, s, h.before, nameInventory) }, "inventory"},
			{"all objects are gone", func(t *testing.T, s *pal.Mem) {
				for _, name := range records(t, s) {
					must(t, s.Remove(name))
				}
			}, "4 objects are missing"},
			{"damage covers it", func(t *testing.T, s *pal.Mem) {
				put(t, s, h.before, h.old)
				must(t, s.Save(h.now, []byte("damaged")))
			}, "inventory"},
			{"damage elsewhere covers it", func(t *testing.T, s *pal.Mem) {
				put(t, s, h.before, h.key)
				must(t, s.Save(h.now, []byte("damaged")))
			}, "inventory"},
		} {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				mem := clone(t, h.after)
				tt.do(t, mem)
				token := openToken(t, wrap(mem))
				if _, err := token.Objects(ctx); err != nil && !strings.Contains(tt.name, "damage") {
					t.Errorf("before login: %v", err)
				}
				login(t, token)
				for range 2 {
					list, err := token.Objects(ctx)
					if len(list) > 0 || !errors.Is(err, pal.ErrCorrupt) || !errors.Is(err, pkcs11.CKR_DEVICE_ERROR) ||
						!strings.Contains(err.Error(), "record inventory") || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "accept=true") {
						t.Errorf("%d objects, %v", len(list), err)
					}
				}
				if err := createData(token, "x", true, nil); !errors.Is(err, pal.ErrCorrupt) {
					t.Errorf("create: %v", err)
				}
				must(t, token.Close())

				// Somebody who knows why takes what is there.
				accepts := *cheap
				accepts.AcceptObjects = true
				token, err := New(wrap(mem), &accepts)
				must(t, err)
				login(t, token)
				list, err := token.Objects(ctx)
				if (err != nil) != strings.Contains(tt.name, "damage") {
					t.Errorf("accepted: %v", err)
				}
				must(t, useAll(list))
				must(t, createData(token, "x", true, nil))
				must(t, token.Close())
				token = openToken(t, wrap(mem))
				login(t, token)
				if again, _ := token.Objects(ctx); len(again) != len(list)+1 {
					t.Errorf("%d objects after they were accepted, want %d", len(again), len(list)+1)
				}
			})
		}
	}
}

// TestOldRecordsWithoutPIN: the token that everybody can open counts as well. It helps
// against accidents only.
func TestOldRecordsWithoutPIN(t *testing.T) {
	store := new(pal.Mem)
	token, err := New(store, &Options{KDF: cheap.KDF, NoPIN: true})
	must(t, err)
	must(t, token.InitToken(ctx, soPIN, "x"))
	rootCA(t, token, "root")
	must(t, token.Close())
	must(t, store.Remove(records(t, store)[0]))
	token = openToken(t, store)
	if list, err := token.Objects(ctx); len(list) > 0 || !errors.Is(err, pal.ErrCorrupt) {
		t.Errorf("%d objects, %v", len(list), err)
	}
}

// TestDamageDoesNotHideTheRest: records that are damaged by accident, however often
// they were changed, or that are not the token's, leave the others usable, and the
// token can be changed.
func TestDamageDoesNotHideTheRest(t *testing.T) {
	for kind, wrap := range kindsOfStore {
		t.Run(kind, func(t *testing.T) {
			mem := new(pal.Mem)
			token := newToken(t, wrap(mem))
			login(t, token)
			var names []string
			for i := range 6 {
				o := rootCA(t, token, "root")
				for range []int{0, 300, 2, 0, 1, 0}[i] {
					var err error
					o, err = token.Update(ctx, o, attrs(pkcs11.CKA_ID, []byte("id")))
					must(t, err)
				}
				names = append(names, objectPrefix+o.ID())
			}
			must(t, token.Close())
			base := clone(t, mem)
			for _, damaged := range [][]int{{0}, {1}, {2}, {0, 2}, {3, 4, 5}, {0, 2, 3, 5}} {
				mem := clone(t, base)
				must(t, mem.Save(objectPrefix+"0123456789abcdef", []byte("of somebody else")))
				for _, i := range damaged {
					must(t, mem.Save(names[i], []byte("damaged")))
				}
				token := openToken(t, wrap(mem))
				login(t, token)
				check := func(more int) {
					t.Helper()
					list, err := token.Objects(ctx)
					if len(list) != len(names)-len(damaged)+more || !errors.Is(err, pal.ErrCorrupt) {
						t.Fatalf("%v are damaged: %d objects, %v", damaged, len(list), err)
					}
				}
				check(0)
				must(t, createData(token, "new", false, nil))
				check(1)
				must(t, token.Close())
				token = openToken(t, wrap(mem))
				login(t, token)
				check(1)
				must(t, token.Destroy(ctx, find2(t, token, "new")))
				check(0)
			}
		})
	}
}

// find2 is find where records are damaged.
func find2(t *testing.T, token *Token, label string) driver.Object {
	t.Helper()
	list, _ := token.Objects(ctx)
	i := slices.IndexFunc(list, func(o driver.Object) bool { return o.Attributes().Text(pkcs11.CKA_LABEL) == label })
	if i < 0 {
		t.Fatalf("there is no %q", label)
	}
	return list[i]
}

// TestDamagedObjectIsDestroyed: one that is damaged while the program runs can be
// destroyed by who had found it before.
func TestDamagedObjectIsDestroyed(t *testing.T) {
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	root := rootCA(t, token, "root")
	rootCA(t, token, "another")
	must(t, store.Save(objectPrefix+root.ID(), []byte("damaged")))
	login(t, token)
	if list, err := token.Objects(ctx); len(list) != 1 || !errors.Is(err, pal.ErrCorrupt) {
		t.Errorf("%d objects, %v", len(list), err)
	}
	must(t, token.Destroy(ctx, root))
	login(t, token)
	if n := len(objects(t, token)); n != 1 {
		t.Errorf("%d objects", n)
	}
}

// TestInventoryOfAnotherUser: the SO does not see private objects, and counts them.
func TestInventoryOfAnotherUser(t *testing.T) {
	for kind, wrap := range kindsOfStore {
		h := newHistory(t, wrap)
		mem := clone(t, h.after)
		token := openToken(t, wrap(mem))
		login(t, token)
		priv := find(t, token, pkcs11.CKO_PRIVATE_KEY, "renamed")
		must(t, token.Logout(ctx))
		must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
		if n := len(objects(t, token)); n != 3 {
			t.Errorf("%s: the SO sees %d objects", kind, n)
		}
		wantCode(t, "the SO destroys a private key", token.Destroy(ctx, priv), pkcs11.CKR_USER_NOT_LOGGED_IN)
		must(t, createData(token, "of the SO", false, nil))
		must(t, token.Logout(ctx))
		login(t, token)
		if n := len(objects(t, token)); n != 5 {
			t.Errorf("%s: %d objects", kind, n)
		}
		must(t, token.Logout(ctx))
		put(t, mem, h.before, h.key)
		must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
		if list, err := token.Objects(ctx); len(list) > 0 || !errors.Is(err, pal.ErrCorrupt) {
			t.Errorf("%s: the SO, with an old record: %d objects, %v", kind, len(list), err)
		}
	}
}

// TestElements: objects and their changes all count differently.
func TestElements(t *testing.T) {
	keys := newKeyring(make([]byte, tokenKeyLen))
	seen := map[element]bool{{}: true}
	for _, name := range []string{"o-0000000000000000", "o-0000000000000001", "o-ffffffffffffffff"} {
		for _, n := range []uint32{0, 1, 2, 255, 256, 1<<32 - 1} {
			var e element
			if !keys.element(&e, name, n) || seen[e] {
				t.Errorf("%s, %d changes: %x", name, n, e)
			}
			seen[e] = true
		}
	}
	for _, name := range []string{"", "o-", "o-1", "o-000000000000000", "o-00000000000000000", "o-000000000000000g", "o-00000000000000aA", "x"} {
		if e := (element{1}); keys.element(&e, name, 0) || e != (element{}) {
			t.Errorf("%q has an element", name)
		}
	}
}

// meddled is a store that several processes use, one of which changes it while
// another reads it without the lock.
type meddled struct {
	*pal.Mem
	lock   sync.Mutex
	meddle func() // after the names were read; nil: nobody does
}

func (m *meddled) Lock() (func() error, error) {
	m.lock.Lock()
	return func() error { m.lock.Unlock(); return nil }, nil
}

func (m *meddled) Names() ([]string, error) {
	names, err := m.Mem.Names()
	if f := m.meddle; f != nil {
		m.meddle = nil
		f()
	}
	return names, err
}

// TestChangedWhileRead: a search that reads the names before a change by another
// process, and the inventory after it, reads again.
func TestChangedWhileRead(t *testing.T) {
	store := &meddled{Mem: new(pal.Mem)}
	a, b := newToken(t, store), openToken(t, store)
	login(t, a)
	login(t, b)
	rootCA(t, a, "the old root")
	old := find(t, b, pkcs11.CKO_CERTIFICATE, "Root Cert")
	for _, change := range []func(){
		func() { rootCA(t, b, "the new root", old) },
		func() { must(t, createData(b, "another", false, nil)) },
		func() { generateP256(t, b, "key") },
	} {
		store.meddle = change
		objects(t, a)
	}
	if n := len(objects(t, a)); n != 4 {
		t.Errorf("%d objects", n)
	}
}
