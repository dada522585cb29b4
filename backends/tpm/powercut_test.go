package tpm_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	newUserPIN = []byte("another user PIN")
	newSOPIN   = []byte("another SO PIN")
)

// A step is one operation that changes a token.
type step struct {
	name    string
	who     pkcs11.UserType // who is logged in
	nobody  bool            // if it is nobody
	blank   bool            // the token is not initialized before
	persist bool            // new keys are made persistent
	do      func(t testing.TB, token *tpm.Token) error
}

// steps are the operations that change a token, each at least once.
var steps = []step{
	{name: "generate a pair", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error { return generatePair(t, token) }},
	{name: "generate in place of another pair", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		return generatePair(t, token, labeled(token, "one")...)
	}},
	{name: "generate a persistent pair", who: pkcs11.CKU_USER, persist: true, do: func(t testing.TB, token *tpm.Token) error { return generatePair(t, token) }},
	{name: "generate in place of a persistent pair", who: pkcs11.CKU_USER, persist: true, do: func(t testing.TB, token *tpm.Token) error {
		return generatePair(t, token, labeled(token, "persistent")...)
	}},
	{name: "generate a secret key", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		_, err := token.GenerateKey(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN}, object(pkcs11.CKO_SECRET_KEY, "new", true,
			pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_AES)), pkcs11.Attr(pkcs11.CKA_VALUE_LEN, uint64(16)), pkcs11.Attr(pkcs11.CKA_SENSITIVE, true)), nil)
		return err
	}},
	{name: "import a key", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		_, err := token.CreateObject(t.Context(), object(pkcs11.CKO_PRIVATE_KEY, "new", true, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_EC)),
			pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256), pkcs11.Attr(pkcs11.CKA_VALUE, bytes.Repeat([]byte{1}, 32)), pkcs11.Attr(pkcs11.CKA_SIGN, true), pkcs11.Attr(pkcs11.CKA_SENSITIVE, true)), nil)
		return err
	}},
	{name: "store a secret that is kept outside", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		_, err := token.CreateObject(t.Context(), object(pkcs11.CKO_SECRET_KEY, "new", true, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_GENERIC_SECRET)),
			pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true), pkcs11.Attr(pkcs11.CKA_VALUE, bytes.Repeat([]byte{2}, 32))), nil)
		return err
	}},
	{name: "a certificate", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error { return certificate(t, token, "new") }},
	{name: "a certificate in place of another", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		return certificate(t, token, "new", labeled(token, "certificate")...)
	}},
	{name: "a certificate by the SO", who: pkcs11.CKU_SO, do: func(t testing.TB, token *tpm.Token) error { return certificate(t, token, "new") }},
	{name: "update a private object", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		_, err := token.Update(t.Context(), labeled(token, "one")[1], pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "renamed")})
		return err
	}},
	{name: "update a public object", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		_, err := token.Update(t.Context(), labeled(token, "certificate")[0], pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "renamed")})
		return err
	}},
	{name: "make a key persistent", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		return token.Persist(t.Context(), labeled(token, "one")[1])
	}},
	{name: "destroy one of a pair", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		return token.Destroy(t.Context(), labeled(token, "one")[0])
	}},
	{name: "destroy a pair", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		return token.Destroy(t.Context(), labeled(token, "one")...)
	}},
	{name: "destroy a persistent key", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		return token.Destroy(t.Context(), labeled(token, "persistent")[1])
	}},
	{name: "destroy everything", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		list, err := token.Objects(t.Context())
		return errors.Join(err, token.Destroy(t.Context(), list...))
	}},
	{name: "SetPIN", who: pkcs11.CKU_USER, do: func(t testing.TB, token *tpm.Token) error {
		return token.SetPIN(t.Context(), pkcs11.CKU_USER, userPIN, newUserPIN)
	}},
	{name: "InitPIN", who: pkcs11.CKU_SO, do: func(t testing.TB, token *tpm.Token) error { return token.InitPIN(t.Context(), newUserPIN) }},
	{name: "SetPIN of the SO", nobody: true, do: func(t testing.TB, token *tpm.Token) error {
		return token.SetPIN(t.Context(), pkcs11.CKU_SO, soPIN, newSOPIN)
	}},
	{name: "InitToken", nobody: true, do: func(t testing.TB, token *tpm.Token) error { return token.InitToken(t.Context(), soPIN, "afresh") }},
	{name: "InitToken for the first time", nobody: true, blank: true, do: func(t testing.TB, token *tpm.Token) error { return token.InitToken(t.Context(), soPIN, "first") }},
}

func object(class pkcs11.ObjectClass, label string, private bool, more ...pkcs11.Attribute) pkcs11.Template {
	return append(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(class)), pkcs11.Attr(pkcs11.CKA_TOKEN, true),
		pkcs11.Attr(pkcs11.CKA_PRIVATE, private), pkcs11.Attr(pkcs11.CKA_LABEL, label)}, more...)
}

func generatePair(t testing.TB, token *tpm.Token, replaces ...driver.Object) error {
	public, private := templates("new", true)
	_, _, err := token.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public.Set(pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)), private, replaces)
	return err
}

func certificate(t testing.TB, token *tpm.Token, label string, replaces ...driver.Object) error {
	_, err := token.CreateObject(t.Context(), object(pkcs11.CKO_CERTIFICATE, label, false, pkcs11.Attr(pkcs11.CKA_VALUE, []byte("the certificate"))), replaces)
	return err
}

// labeled returns the objects of a label, the public key of a pair first.
func labeled(token *tpm.Token, label string) []driver.Object {
	list, _ := token.Objects(context.Background())
	list = slices.DeleteFunc(list, func(o driver.Object) bool { return o.Attributes().Text(pkcs11.CKA_LABEL) != label })
	slices.SortFunc(list, func(a, b driver.Object) int {
		return cmp.Compare(a.Attributes().Uint(pkcs11.CKA_CLASS), b.Attributes().Uint(pkcs11.CKA_CLASS))
	})
	return list
}

// A device is a TPM and a store, both of which lose power at the same time.
type device struct {
	transport.TPM
	pal.Store

	mu    sync.Mutex
	cut   int   // which of the changes fails; 0: none
	late  bool  // it is made all the same
	err   error // of the store, which goes on; nil: the power is gone
	n     int   // changes
	where []string
}

var errPower = errors.New("the power is gone")

// change counts a change, and makes it unless something is wrong.
func (d *device) change(what string, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	d.where = append(d.where, what)
	switch {
	case d.cut == 0 || d.n < d.cut || d.err != nil && d.n > d.cut:
		return do()
	}
	if d.late && d.n == d.cut {
		do()
	}
	return cmp.Or(d.err, errPower)
}

func (d *device) dead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cut > 0 && d.n >= d.cut && d.err == nil
}

func (d *device) Send(command []byte) (answer []byte, err error) {
	if tpmtest.CommandCode(command) == tpm2.TPMCCEvictControl {
		err = d.change("EvictControl", func() error { answer, err = d.TPM.Send(command); return err })
		return answer, err
	}
	if d.dead() {
		return nil, errPower
	}
	return d.TPM.Send(command)
}

func (d *device) Save(name string, data []byte) error {
	return d.change("save "+name, func() error { return d.Store.Save(name, data) })
}

func (d *device) Remove(name string) error {
	return d.change("remove "+name, func() error { return d.Store.Remove(name) })
}

func (d *device) Load(name string) ([]byte, error) {
	if d.dead() {
		return nil, errPower
	}
	return d.Store.Load(name)
}

func (d *device) Names() ([]string, error) {
	if d.dead() {
		return nil, errPower
	}
	return d.Store.Names()
}

type batching struct{ *device }

func (b batching) Batch(changes []pal.Change) error {
	return b.change(fmt.Sprintf("batch of %d", len(changes)), func() error { return b.Store.(pal.Batcher).Batch(changes) })
}

// A base is a token before a step, and the TPM that it is on.
type base struct {
	state []byte
	store *pal.Mem
}

func newBase(t *testing.T, persist bool) *base {
	t.Helper()
	sim, store := patient(t), new(pal.Mem)
	token := initialized(t, sim, store, tpm.Options{})
	newEC(t, token, "one")
	if key := newEC(t, token, "persistent"); persist {
		require.NoError(t, token.Persist(t.Context(), key))
	}
	require.NoError(t, certificate(t, token, "certificate"))
	_, err := token.CreateObject(t.Context(), object(pkcs11.CKO_DATA, "private", true, pkcs11.Attr(pkcs11.CKA_VALUE, []byte("data"))), nil)
	require.NoError(t, err)
	require.NoError(t, token.Close())
	return &base{sim.State(), store}
}

// begin returns a TPM in the state before a step.
func (b *base) begin(t *testing.T, s *step) *tpmtest.TPM {
	t.Helper()
	if s.blank {
		return patient(t)
	}
	return tpmtest.StartConfig(t, tpmtest.Config{State: b.state})
}

// run does a step. enter is called before it begins.
func (s *step) run(t testing.TB, sim transport.TPM, store pal.Store, enter func()) error {
	t.Helper()
	token, err := tpm.New(t.Context(), sim, store, tpm.Cheap(tpm.Options{Persist: s.persist}))
	if err != nil {
		return err
	}
	defer token.Close()
	switch {
	case s.nobody:
	case s.who == pkcs11.CKU_SO:
		err = token.Login(t.Context(), s.who, soPIN)
	default:
		err = token.Login(t.Context(), s.who, userPIN)
	}
	if err != nil {
		return err
	}
	if _, err := token.Objects(t.Context()); err != nil {
		return err
	}
	enter()
	return s.do(t, token)
}

// inspect says what the token is, as far as steps change it. It is an error if it
// cannot be opened, read, used or changed, or if the store or the TPM holds something
// that is not the token's.
func inspect(t testing.TB, sim *tpmtest.TPM, store pal.Store) (what string, err error) {
	t.Helper()
	ctx := t.Context()
	token, err := tpm.New(ctx, sim, store, tpm.Cheap(tpm.Options{}))
	if err != nil {
		return "", err
	}
	defer token.Close()
	if token.Info().Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
		names, err := store.Names()
		if len(names) > 0 {
			err = fmt.Errorf("records %q without a token", names)
		}
		return "not initialized", err
	}
	what = token.Info().Label
	user := false
	for _, pin := range [][]byte{userPIN, newUserPIN} {
		if token.Login(ctx, pkcs11.CKU_USER, pin) == nil {
			what += fmt.Sprintf(", the user's PIN is %q", pin)
			user = true
			break
		}
	}
	list, err := token.Objects(ctx)
	if err != nil {
		return what, err
	}
	what += ": " + joined(list)
	if user {
		for _, o := range list {
			key, ok := o.(driver.Signer)
			if !ok || o.Attributes().Uint(pkcs11.CKA_CLASS) != uint64(pkcs11.CKO_PRIVATE_KEY) {
				continue
			}
			if err := trySign(ctx, key); err != nil {
				return what, err
			}
			// The public half, if it is there, is that of the private one.
			for _, other := range labeled(token, o.Attributes().Text(pkcs11.CKA_LABEL)) {
				pub, err := driver.PublicKey(other.Attributes())
				mine, _ := driver.PublicKey(o.Attributes())
				if err == nil && !pub.(*ecdsa.PublicKey).Equal(mine) {
					return what, fmt.Errorf("the keys of the pair %v are not of one pair", o)
				}
			}
		}
		o, err := token.CreateObject(ctx, object(pkcs11.CKO_DATA, "another", true), nil)
		if err == nil {
			err = token.Destroy(ctx, o)
		}
		if err != nil {
			return what, fmt.Errorf("the token cannot be changed: %w", err)
		}
	}
	want := append(tpm.LiveRecords(token), "token", "abilities", "inventory", "attestation")
	handles := append(tpm.PersistentHandles(token), 0x81000001)
	if err := token.Logout(ctx); err != nil {
		return what, err
	}
	for _, pin := range [][]byte{soPIN, newSOPIN} {
		if token.Login(ctx, pkcs11.CKU_SO, pin) == nil {
			what += fmt.Sprintf(", the SO's PIN is %q", pin)
			if _, err := token.Objects(ctx); err != nil {
				return what, err
			}
			if !user {
				// So that what InitToken has left behind goes.
				o, err := token.CreateObject(ctx, object(pkcs11.CKO_DATA, "another", false), nil)
				if err == nil {
					err = token.Destroy(ctx, o)
				}
				if err != nil {
					return what, fmt.Errorf("the token cannot be changed: %w", err)
				}
			}
			break
		}
	}
	if err := token.Close(); err != nil {
		return what, err
	}
	names, err := store.Names()
	if err != nil {
		return what, err
	}
	for _, name := range names {
		if !slices.Contains(want, name) {
			return what, fmt.Errorf("the record %s is of no use", name)
		}
	}
	loaded, err := tpmtest.Loaded(sim)
	if err != nil || len(loaded) > 0 {
		return what, fmt.Errorf("in the TPM there are %x: %w", loaded, err)
	}
	persistent, err := tpmtest.Persistent(sim)
	for _, h := range persistent {
		if !slices.Contains(handles, uint32(h)) {
			return what, fmt.Errorf("the persistent key %#x is of no use", h)
		}
	}
	return what, err
}

// TestPowerCut cuts the power of the TPM and the store before and after every change
// of either: afterwards the token is as before the step or as after it, works, and
// neither holds anything else. The same for a store that fails once and goes on.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	b := newBase(t, true)
	for i, s := range steps {
		for j, kind := range []string{"", " without Batch"} {
			if (i+j)%2 != 0 || raceEnabled && (i+j)%6 != 0 {
				continue // every second step on each kind of store: it takes long
			}
			t.Run(s.name+kind, func(t *testing.T) {
				t.Parallel()
				testPowerCut(t, b, &s, kind == "")
			})
		}
	}
}

func testPowerCut(t *testing.T, b *base, s *step, batch bool) {
	wrap := func(m pal.Store) pal.Store {
		if batch {
			return m
		}
		return plain{m}
	}
	cut := func(d *device) (what string, broken, err error) {
		sim, mem := b.begin(t, s), new(pal.Mem)
		defer sim.Kill()
		if !s.blank {
			mem = clone(t, b.store)
		}
		d.TPM, d.Store = sim, mem
		n := d.cut // counted from where the step begins
		d.cut = 0
		var store pal.Store = d
		if batch {
			store = batching{d}
		}
		err = s.run(t, d, store, func() {
			d.mu.Lock()
			d.n, d.cut, d.where = 0, n, nil
			d.mu.Unlock()
		})
		if d.err == nil {
			sim.Restart()
		}
		what, broken = inspect(t, sim, wrap(mem))
		return what, broken, err
	}
	before := "not initialized"
	if !s.blank {
		sim := b.begin(t, s)
		var err error
		before, err = inspect(t, sim, wrap(clone(t, b.store)))
		require.NoError(t, err)
		sim.Kill()
	}
	whole := new(device)
	after, broken, err := cut(whole)
	require.NoError(t, err)
	require.NoError(t, broken)
	require.NotEmpty(t, whole.where)
	changes := whole.where
	for n := 1; n <= len(changes); n++ {
		devices := []*device{{}, {late: true}}
		if changes[n-1] != "EvictControl" {
			devices = append(devices, &device{err: syscall.EIO, late: true}, &device{err: []error{syscall.EIO, pal.ErrFull, pal.ErrReadOnly}[n%3]})
		}
		for _, d := range devices {
			d.cut = n
			where := fmt.Sprintf("%s of %q, late %v, error %v", changes[n-1], changes, d.late, d.err)
			what, broken, err := cut(d)
			switch {
			case broken != nil:
				t.Errorf("%s: %s: %v", where, what, broken)
			case what != before && what != after:
				t.Errorf("%s: the token is\n%s\nbefore it was\n%s\nafter it would be\n%s", where, what, before, after)
			case err == nil && what != after:
				t.Errorf("%s: no error, but the token is\n%s", where, what)
			case errors.Is(err, pkcs11.CKR_PIN_INCORRECT):
				t.Errorf("%s: taken for a wrong PIN: %v", where, err)
			}
		}
	}
}

// TestPowerCutOnMedium cuts the power before, within and after every call to the
// medium under fileflash, with what was not synced lost, kept, torn and in another
// order. The TPM is the one before the step each time; TestPowerCut is about it.
func TestPowerCutOnMedium(t *testing.T) {
	t.Parallel()
	b := newBase(t, false)
	for i, s := range steps {
		if i%2 != 0 || raceEnabled && i%8 != 0 {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			testPowerCutOnMedium(t, b, &s)
		})
	}
}

func testPowerCutOnMedium(t *testing.T, b *base, s *step) {
	openMedium := func(m *paltest.Medium) pal.Store {
		store, err := fileflash.OpenFS(m, "medium", nil)
		require.NoError(t, err)
		return store
	}
	start := paltest.NewMedium()
	if !s.blank {
		store := openMedium(start)
		records, err := paltest.Records(b.store)
		require.NoError(t, err)
		for name, data := range records {
			require.NoError(t, store.Save(name, data))
		}
	}
	check := func(m *paltest.Medium) (string, error) {
		sim := b.begin(t, s)
		defer sim.Kill()
		return inspect(t, sim, openMedium(m))
	}
	before, err := check(start.Clone())
	require.NoError(t, err)
	run := func(m *paltest.Medium) error {
		sim := b.begin(t, s)
		defer sim.Kill()
		err := s.run(t, sim, openMedium(m), m.Done)
		m.Done()
		return err
	}
	end := start.Clone()
	require.NoError(t, run(end))
	after, err := check(end)
	require.NoError(t, err)
	// Many media hold the same records. What a store makes of a medium is for its own
	// tests.
	known := map[string]string{}
	found := func(c *paltest.Cut) error {
		records, err := paltest.Records(openMedium(c.Medium))
		if err != nil {
			return err
		}
		key := fmt.Sprint(records)
		what, ok := known[key]
		if !ok {
			if what, err = check(c.Medium); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			known[key] = what
		}
		if what != before && what != after || c.Done == 2 && what != after || c.Done == 0 && what != before {
			return fmt.Errorf("the token is\n%s\nbefore it was\n%s\nafter it would be\n%s", what, before, after)
		}
		return nil
	}
	paltest.PowerCuts(t, start, run, found)
	paltest.Kills(t, start, run, found)
	require.Greater(t, len(known), 1)
}
