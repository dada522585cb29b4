package soft

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func openFlash(t testing.TB, dir string) *fileflash.Store {
	t.Helper()
	store, err := fileflash.Open(dir, nil)
	must(t, err)
	t.Cleanup(func() { store.Close() })
	return store
}

// TestTwoProcesses: what one token changes, the other sees at its next search.
// Two stores of one directory are to each other as those of two processes.
func TestTwoProcesses(t *testing.T) {
	dir := privateDir(t)
	a := newToken(t, openFlash(t, dir))
	login(t, a)
	b := openToken(t, openFlash(t, dir))
	login(t, b)
	seen, err := b.Changes()
	must(t, err)
	changed := func(what string, want bool) {
		t.Helper()
		now, err := b.Changes()
		must(t, err)
		if (now != seen) != want {
			t.Errorf("%s: changes %d, then %d", what, seen, now)
		}
		seen = now
	}
	changed("nothing happened", false)
	_, priv := generateP256(t, a, "key")
	changed("a generated", true)
	changed("nothing more", false)
	other := find(t, b, pkcs11.CKO_PRIVATE_KEY, "key")
	if other.ID() != priv.ID() {
		t.Errorf("IDs %s and %s", priv.ID(), other.ID())
	}
	if find(t, b, pkcs11.CKO_PRIVATE_KEY, "key") != other {
		t.Error("the same object has two values")
	}
	must(t, use([]driver.Object{priv, other}))

	_, err = a.Update(ctx, priv, attrs(pkcs11.CKA_LABEL, "renamed"))
	must(t, err)
	changed("a updated", true)
	renamed := find(t, b, pkcs11.CKO_PRIVATE_KEY, "renamed")
	if renamed == other {
		t.Error("the object has other attributes, and is the same value")
	}
	must(t, use([]driver.Object{renamed}))
	if renamed.(stored).base().secret != other.(stored).base().secret {
		t.Error("the key is parsed again, and the old one stays after Logout")
	}

	// Both change; each sees both.
	_, err = b.Update(ctx, other, attrs(pkcs11.CKA_ID, []byte("id"))) // of the object as it was
	must(t, err)
	changed("b updated", false)
	if got := find(t, a, pkcs11.CKO_PRIVATE_KEY, "renamed"); string(got.Attributes().Bytes(pkcs11.CKA_ID)) != "id" {
		t.Errorf("b's update took a's back: %v", got.Attributes())
	}

	must(t, b.Destroy(ctx, renamed))
	if list := objects(t, a); len(list) != 1 {
		t.Errorf("a has %d objects", len(list))
	}
	must(t, a.Destroy(ctx, priv)) // is gone already
	_, err = a.Update(ctx, priv, attrs(pkcs11.CKA_LABEL, "x"))
	wantCode(t, "update of what is gone", err, pkcs11.CKR_OBJECT_HANDLE_INVALID)
	wantCode(t, "sign with what is gone", use([]driver.Object{priv}), pkcs11.CKR_OBJECT_HANDLE_INVALID)

	// PINs.
	must(t, a.SetPIN(ctx, pkcs11.CKU_USER, userPIN, newUserPIN))
	wantCode(t, "old PIN", b.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, userPIN), pkcs11.CKR_PIN_INCORRECT)
	must(t, b.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, newUserPIN))
	wantCode(t, "wrong", b.Login(ctx, pkcs11.CKU_SO, userPIN), pkcs11.CKR_PIN_INCORRECT)
	objects(t, a)
	wantFlags(t, a, soFlags, pkcs11.CKF_SO_PIN_COUNT_LOW)

	// A token that is initialized anew is another one.
	generateP256(t, b, "last")
	must(t, a.Logout(ctx))
	must(t, a.InitToken(ctx, soPIN, "afresh"))
	changed("a initialized", true)
	if list := objects(t, b); len(list) != 0 || b.Info().Label != "afresh" {
		t.Errorf("b has %d objects, label %q", len(list), b.Info().Label)
	}
	_, err = b.CreateObject(ctx, common(pkcs11.CKO_DATA, "x", false), nil)
	wantCode(t, "create with the old key", err, pkcs11.CKR_USER_NOT_LOGGED_IN)
	must(t, a.Login(ctx, pkcs11.CKU_SO, soPIN))
	must(t, a.InitPIN(ctx, userPIN))
	login(t, b)
	generateP256(t, b, "first")
}

// TestReadOnlyDirectory signs, and changes nothing.
func TestReadOnlyDirectory(t *testing.T) {
	dir := privateDir(t)
	token := newToken(t, openFlash(t, dir))
	login(t, token)
	generateP256(t, token, "key")
	before, err := os.ReadFile(filepath.Join(dir, "flash.log"))
	must(t, err)
	store, err := fileflash.Open(dir, &fileflash.Options{ReadOnly: true})
	must(t, err)
	defer store.Close()
	token = openToken(t, store)
	wantCode(t, "wrong PIN", token.Login(ctx, pkcs11.CKU_USER, soPIN), pkcs11.CKR_PIN_INCORRECT)
	login(t, token)
	must(t, use(objects(t, token)))
	_, err = token.CreateObject(ctx, common(pkcs11.CKO_DATA, "x", false), nil)
	wantCode(t, "create", err, pkcs11.CKR_TOKEN_WRITE_PROTECTED)
	wantCode(t, "set PIN", token.SetPIN(ctx, pkcs11.CKU_USER, userPIN, newUserPIN), pkcs11.CKR_TOKEN_WRITE_PROTECTED)
	wantFlags(t, token, pkcs11.CKF_WRITE_PROTECTED, pkcs11.CKF_WRITE_PROTECTED)
	if after, err := os.ReadFile(filepath.Join(dir, "flash.log")); err != nil || string(after) != string(before) {
		t.Errorf("the log is another one: %v", err)
	}
}

// TestConcurrent has goroutines of two tokens over one directory do everything
// at once, for the race detector, and counts what is left.
func TestConcurrent(t *testing.T) {
	dir := privateDir(t)
	newToken(t, openFlash(t, dir))
	const workers, rounds = 6, 25
	tokens := []*Token{openToken(t, openFlash(t, dir)), openToken(t, openFlash(t, dir))}
	for _, token := range tokens {
		login(t, token)
	}
	left := make([]map[string]bool, workers)
	var wg sync.WaitGroup
	for w := range workers {
		left[w] = map[string]bool{}
		wg.Go(func() {
			token, mine := tokens[w%2], left[w]
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range rounds {
				label := fmt.Sprintf("worker %d object %d", w, i)
				var made []driver.Object
				if r.IntN(2) == 0 {
					pub, priv, err := token.GenerateKeyPair(ctx, ecGen, publicTemplate(pkcs11.CKK_EC, label, pkcs11.CKA_EC_PARAMS, oidP256), privateTemplate(pkcs11.CKK_EC, label), nil)
					if err != nil {
						t.Error(err)
						return
					}
					made = []driver.Object{pub, priv}
					if err := use(made); err != nil {
						t.Error(err)
					}
				} else {
					o, err := token.CreateObject(ctx, append(common(pkcs11.CKO_DATA, label, r.IntN(2) == 0), attrs(pkcs11.CKA_VALUE, []byte(label))...), nil)
					if err != nil {
						t.Error(err)
						return
					}
					made = []driver.Object{o}
				}
				if r.IntN(3) == 0 {
					label += " renamed"
					for j, o := range made {
						now, err := token.Update(ctx, o, attrs(pkcs11.CKA_LABEL, label))
						if err != nil {
							t.Error(err)
							return
						}
						made[j] = now
					}
				}
				if r.IntN(3) == 0 {
					if err := token.Destroy(ctx, made...); err != nil {
						t.Error(err)
					}
					continue
				}
				for _, o := range made {
					mine[o.ID()+label] = true
				}
				if _, err := token.Objects(ctx); err != nil {
					t.Error(err)
				}
				token.Info()
				token.Changes()
			}
		})
	}
	wg.Wait()
	want := map[string]bool{}
	for _, m := range left {
		for k := range m {
			want[k] = true
		}
	}
	for i, token := range append(tokens, openToken(t, openFlash(t, dir))) {
		if i == 2 {
			login(t, token)
		}
		got := map[string]bool{}
		for _, o := range objects(t, token) {
			got[o.ID()+o.Attributes().Text(pkcs11.CKA_LABEL)] = true
		}
		for k := range want {
			if !got[k] {
				t.Errorf("token %d: %s is not there", i, k)
			}
		}
		if len(got) != len(want) {
			t.Errorf("token %d has %d objects, want %d", i, len(got), len(want))
		}
		if err := use(objects(t, token)); err != nil {
			t.Error(err)
		}
	}
}

// TestLogoutWhileSigning: a signature under way ends well, or says that nobody
// is logged in.
func TestLogoutWhileSigning(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	login(t, token)
	pub, _ := generateP256(t, token, "key")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	digest := make([]byte, 32)
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				list, err := token.Objects(ctx)
				if err != nil {
					t.Error(err)
				}
				for _, o := range list {
					s, ok := o.(driver.Signer)
					if !ok {
						continue
					}
					for range 5 {
						sig, err := s.Sign(ctx, m, digest)
						if err == nil {
							verify(t, pub, m, digest, sig)
						} else if !errors.Is(err, pkcs11.CKR_USER_NOT_LOGGED_IN) {
							t.Error(err)
						}
					}
				}
			}
		})
	}
	for range 50 {
		must(t, token.Logout(ctx))
		login(t, token)
	}
	close(stop)
	wg.Wait()
}

// counting counts the changes of a store, as many as a medium would sync.
type counting struct {
	*fileflash.Store
	mu    sync.Mutex
	syncs int
}

func (c *counting) Save(name string, data []byte) error {
	c.count()
	return c.Store.Save(name, data)
}

func (c *counting) Remove(name string) error {
	c.count()
	return c.Store.Remove(name)
}

func (c *counting) Batch(changes []pal.Change) error {
	c.count()
	return c.Store.Batch(changes)
}

func (c *counting) count() {
	c.mu.Lock()
	c.syncs++
	c.mu.Unlock()
}

// TestOneChangeOfTheStore: every change of objects is one change of a store that
// is a Batcher, and changes that wait for another go together.
func TestOneChangeOfTheStore(t *testing.T) {
	store := &counting{Store: openFlash(t, privateDir(t))}
	token := newToken(t, store)
	login(t, token)
	count := func(what string, want int, do func()) {
		t.Helper()
		store.syncs = 0
		do()
		if store.syncs != want {
			t.Errorf("%s: %d changes, want %d", what, store.syncs, want)
		}
	}
	count("key pair", 1, func() { generateP256(t, token, "one") })
	count("key pair in place of another", 1, func() { generateP256(t, token, "two", pair(token, "one")...) })
	count("create", 1, func() {
		_, err := token.CreateObject(ctx, common(pkcs11.CKO_DATA, "data", true), nil)
		must(t, err)
	})
	count("update", 1, func() {
		_, err := token.Update(ctx, pair(token, "data")[0], attrs(pkcs11.CKA_LABEL, "renamed"))
		must(t, err)
	})
	count("destroy all", 1, func() { must(t, token.Destroy(ctx, objects(t, token)...)) })
	count("session objects", 0, func() {
		o, err := token.CreateObject(ctx, common(pkcs11.CKO_DATA, "data", true).Set(pkcs11.Attr(pkcs11.CKA_TOKEN, false)), nil)
		must(t, err)
		must(t, token.Destroy(ctx, o))
	})
	count("login", 2, func() {
		must(t, token.Logout(ctx))
		login(t, token)
	})
	count("signature", 0, func() {
		generateP256(t, token, "key")
		store.syncs = 0
		must(t, use(objects(t, token)))
	})
	o := pair(token, "key")
	count("12 that wait, and 2 of one object", 2, func() {
		token.io.Lock()
		var wg sync.WaitGroup
		queued := func(n int) {
			for {
				token.queueMu.Lock()
				have := len(token.queue)
				token.queueMu.Unlock()
				if have == n {
					return
				}
				runtime.Gosched()
			}
		}
		for i := range 12 {
			wg.Go(func() {
				_, err := token.CreateObject(ctx, common(pkcs11.CKO_DATA, fmt.Sprint(i), true), nil)
				must(t, err)
			})
		}
		queued(12)
		// One that touches the same object as another has to wait for it.
		for i := range 2 {
			wg.Go(func() {
				_, err := token.Update(ctx, o[0], pkcs11.Template{[]pkcs11.Attribute{pkcs11.Attr(pkcs11.CKA_ID, []byte{1}), pkcs11.Attr(pkcs11.CKA_LABEL, "x")}[i]})
				must(t, err)
			})
		}
		queued(14)
		token.io.Unlock()
		wg.Wait()
	})
	count("2 of writers that were 2 before, one later than the other", 1, func() {
		defer func(d time.Duration) { maxGather = d }(maxGather)
		maxGather = time.Hour
		token.io.Lock()
		token.writers, token.writeTime = 2, 2*time.Hour
		token.io.Unlock()
		var wg sync.WaitGroup
		create := func() {
			_, err := token.CreateObject(ctx, common(pkcs11.CKO_DATA, "one of two", true), nil)
			must(t, err)
		}
		wg.Go(create)
		for token.io.TryLock() { // until the first waits for the second
			token.io.Unlock()
			runtime.Gosched()
		}
		wg.Go(create)
		wg.Wait()
	})
	if o := pair(token, "x"); len(o) != 1 || string(o[0].Attributes().Bytes(pkcs11.CKA_ID)) != "\x01" {
		t.Errorf("two updates of one object at once: %v", o)
	}
}

// TestOneOfManyFails: a change that the store refuses does not take those down
// that were to be written with it.
func TestOneOfManyFails(t *testing.T) {
	store := &picky{Mem: new(pal.Mem)}
	token := newToken(t, store)
	login(t, token)
	token.io.Lock()
	errs := make([]error, 5)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = token.CreateObject(ctx, append(common(pkcs11.CKO_DATA, fmt.Sprint(i), false), attrs(pkcs11.CKA_VALUE, make([]byte, 1000*i))...), nil)
		})
	}
	for {
		token.queueMu.Lock()
		n := len(token.queue)
		token.queueMu.Unlock()
		if n == len(errs) {
			break
		}
		runtime.Gosched()
	}
	token.io.Unlock()
	wg.Wait()
	for i, err := range errs {
		if i < 4 && err != nil {
			t.Errorf("%d: %v", i, err)
		} else if i == 4 {
			wantCode(t, "the large one", err, pkcs11.CKR_DEVICE_MEMORY)
		}
	}
	if n := len(objects(t, token)); n != 4 {
		t.Errorf("%d objects", n)
	}
}

// picky has no room for large records.
type picky struct{ *pal.Mem }

func (p *picky) Save(name string, data []byte) error {
	if len(data) > 4000 {
		return pal.ErrFull
	}
	return p.Mem.Save(name, data)
}

func (p *picky) Batch(changes []pal.Change) error {
	if slices.ContainsFunc(changes, func(c pal.Change) bool { return len(c.Data) > 4000 }) {
		return pal.ErrFull
	}
	return p.Mem.Batch(changes)
}

func TestOpenByName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "token")
	_, err := driver.Open(ctx, "soft:dir="+dir)
	wantCode(t, "no directory", err, pkcs11.CKR_TOKEN_NOT_PRESENT)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "create=true") {
		t.Errorf("no directory: %v", err)
	}
	for _, name := range []string{"soft:", "soft:mem=true;dir=x", "soft:dir=", "soft:mem=perhaps", "soft:dir=x;colour=red"} {
		if token, err := driver.Open(ctx, name); err == nil || token != nil {
			t.Errorf("%s: %v, %v", name, token, err)
		}
	}
	for _, name := range []string{"soft:mem=true", "soft:dir=" + dir + ";create=true", "soft:dir=" + dir} {
		token, err := driver.Open(ctx, name)
		must(t, err)
		token.(*Token).opts.KDF = cheap.KDF
		if token.Info().Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			must(t, token.(driver.Initializer).InitToken(ctx, soPIN, "x"))
		}
		must(t, token.Close())
		if _, err := token.Objects(ctx); !errors.Is(err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) {
			t.Errorf("after Close: %v", err)
		}
		must(t, token.Close())
	}
	// The store is closed with the token, so that it can be removed.
	must(t, os.Chmod(dir, 0o777))
	_, err = driver.Open(ctx, "soft:dir="+dir)
	if !errors.Is(err, fileflash.ErrUnsafe) {
		t.Errorf("a directory that others can write: %v", err)
	}
}

// told is a source that says when it is read.
type told struct {
	pal.EntropySource
	read func()
}

func (s *told) ReadEntropy(b []byte) error {
	s.read()
	return s.EntropySource.ReadEntropy(b)
}

// TestCanceled: an RSA key is not begun if nobody waits for it, and the caller who
// stops waiting does not wait for the key. The test does, lest it disturb others.
func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(pal.Mem)
		newToken(t, store)
		source := &told{EntropySource: pal.SystemEntropy}
		token := withRandomness(t, store, nil, source)
		login(t, token)
		for _, when := range []string{"before", "meanwhile"} {
			ctx, cancel := context.WithCancel(ctx)
			begun := false
			source.read = func() {
				begun = true
				cancel()
			}
			if when == "before" {
				cancel()
			}
			_, _, err := token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN},
				publicTemplate(pkcs11.CKK_RSA, "x", pkcs11.CKA_MODULUS_BITS, uint64(2048)), privateTemplate(pkcs11.CKK_RSA, "x"), nil)
			wantCode(t, when, err, pkcs11.CKR_FUNCTION_CANCELED)
			if !errors.Is(err, context.Canceled) || begun != (when == "meanwhile") {
				t.Errorf("canceled %s: %v; begun: %t", when, err, begun)
			}
		}
		if n := len(objects(t, token)); n != 0 {
			t.Errorf("%d objects", n)
		}
	})
}
