package cryptoki

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A chip is a driver that can be interfered with: it keeps its objects in a
// list, is not driver.Concurrent, notices when two calls overlap, and stops in
// the middle of a call where a test asks for it.
type chip struct {
	t       testing.TB
	inside  atomic.Int32
	changes atomic.Uint64

	mu      sync.Mutex
	objects []driver.Object
	next    int
	pin     string
	login   bool
	closed  bool
	fail    error
	partial bool                     // fail is about some objects only
	hold    map[string]chan struct{} // a call by that name waits until it is closed
	entered map[string]chan struct{} // and closes this one first
}

func newChip(t testing.TB) *chip {
	return &chip{t: t, pin: "1234", hold: map[string]chan struct{}{}, entered: map[string]chan struct{}{}}
}

// call begins a call to the driver; the result ends it.
func (c *chip) call(name string) func() {
	if c.inside.Add(1) != 1 {
		c.t.Errorf("%s: called while another call is under way", name)
	}
	c.mu.Lock()
	hold, entered := c.hold[name], c.entered[name]
	if c.closed {
		c.t.Errorf("%s: called after Close", name)
	}
	c.mu.Unlock()
	if hold != nil {
		close(entered)
		<-hold
	}
	return func() { c.inside.Add(-1) }
}

// stop makes the next calls of that name wait. It returns a channel that is
// closed when the first has come, and a function that lets it go on.
func (c *chip) stop(name string) (entered <-chan struct{}, resume func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold[name], c.entered[name] = make(chan struct{}), make(chan struct{})
	return c.entered[name], func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		close(c.hold[name])
		delete(c.hold, name)
	}
}

func (c *chip) Info() driver.Info {
	return driver.Info{Label: "chip", Model: "chip", SerialNumber: "1", MinPINLen: 4, MaxPINLen: 8,
		Flags: pkcs11.CKF_TOKEN_INITIALIZED | pkcs11.CKF_LOGIN_REQUIRED | pkcs11.CKF_USER_PIN_INITIALIZED}
}

func (c *chip) Mechanisms() []driver.Mechanism {
	return []driver.Mechanism{
		{Type: pkcs11.CKM_EC_KEY_PAIR_GEN, MechanismInfo: pkcs11.MechanismInfo{MinKeySize: 256, MaxKeySize: 256, Flags: pkcs11.CKF_GENERATE_KEY_PAIR}},
		{Type: pkcs11.CKM_ECDSA, MechanismInfo: pkcs11.MechanismInfo{MinKeySize: 256, MaxKeySize: 256, Flags: pkcs11.CKF_SIGN}},
	}
}

func (c *chip) Changes() (uint64, error) { return c.changes.Load(), nil }

func (c *chip) Objects(context.Context) ([]driver.Object, error) {
	c.mu.Lock()
	if c.fail != nil && !c.partial {
		defer c.mu.Unlock()
		return nil, c.fail
	}
	var list []driver.Object
	for _, o := range c.objects {
		if c.login || !o.Attributes().Bool(pkcs11.CKA_PRIVATE) {
			list = append(list, o)
		}
	}
	fail := c.fail
	c.mu.Unlock()
	defer c.call("Objects")()
	return list, fail
}

func (c *chip) Close() error {
	if c.inside.Load() != 0 {
		c.t.Error("Close: called while another call is under way")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

func (c *chip) Login(_ context.Context, _ pkcs11.UserType, pin []byte) error {
	defer c.call("Login")()
	c.mu.Lock()
	defer c.mu.Unlock()
	if string(pin) != c.pin {
		return pkcs11.CKR_PIN_INCORRECT
	}
	c.login = true
	return nil
}

func (c *chip) Logout(context.Context) error {
	defer c.call("Logout")()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.login = false
	return nil
}

func (c *chip) put(attrs pkcs11.Template, key *ecdsa.PrivateKey) driver.Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	o := &chipObject{c, fmt.Sprint("o", c.next), attrs, key}
	if attrs.Bool(pkcs11.CKA_TOKEN) {
		c.objects = append(c.objects, o)
	}
	if key != nil {
		return chipKey{o}
	}
	return o
}

func (c *chip) CreateObject(_ context.Context, t pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	defer c.call("CreateObject")()
	o := c.put(t, nil)
	c.drop(replaces)
	return o, nil
}

func (c *chip) GenerateKeyPair(_ context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template, replaces []driver.Object) (driver.Object, driver.Object, error) {
	defer c.call("GenerateKeyPair")()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if public, err = driver.CompletePublic(public, key.Public()); err != nil {
		return nil, nil, err
	}
	if private, err = driver.CompletePrivate(private, key.Public()); err != nil {
		return nil, nil, err
	}
	pub := c.put(public, nil)
	priv := c.put(private, key)
	c.drop(replaces)
	return pub, priv, nil
}

func (c *chip) drop(objects []driver.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects = slices.DeleteFunc(c.objects, func(o driver.Object) bool {
		return slices.ContainsFunc(objects, func(d driver.Object) bool { return d.ID() == o.ID() })
	})
}

func (c *chip) Destroy(_ context.Context, objects ...driver.Object) error {
	defer c.call("Destroy")()
	c.drop(objects)
	return nil
}

type chipObject struct {
	chip  *chip
	id    string
	attrs pkcs11.Template
	key   *ecdsa.PrivateKey
}

func (o *chipObject) ID() string                  { return o.id }
func (o *chipObject) Attributes() pkcs11.Template { return o.attrs }

type chipKey struct{ *chipObject }

func (k chipKey) Sign(_ context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	defer k.chip.call("Sign")()
	if m.Type != pkcs11.CKM_ECDSA {
		return nil, fmt.Errorf("the core asks for %v, which the table does not have", m.Type)
	}
	der, err := ecdsa.SignASN1(rand.Reader, k.key, data)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, 64)
	return raw, keys.RawSignature(raw, der)
}

var (
	_ driver.Creator          = (*chip)(nil)
	_ driver.KeyPairGenerator = (*chip)(nil)
	_ driver.Destroyer        = (*chip)(nil)
	_ driver.Authenticator    = (*chip)(nil)
	_ driver.Changer          = (*chip)(nil)
	_ driver.Signer           = chipKey{}
)

var p256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

// open returns a module over the chip with a session, logged in.
func open(t testing.TB, c *chip) (Module, Session) {
	t.Helper()
	m, err := NewModule(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	se := openSession(t, m)
	if err := se.Login(t.Context(), pkcs11.CKU_USER, []byte("1234")); err != nil {
		t.Fatal(err)
	}
	return m, se
}

func openSession(t testing.TB, m Module) Session {
	t.Helper()
	se, err := m.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	return se
}

func generate(t testing.TB, se Session, label string) (pub, priv pkcs11.ObjectHandle) {
	t.Helper()
	pub, priv, err := se.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
		pkcs11.Template{{Type: pkcs11.CKA_EC_PARAMS, Value: p256}, {Type: pkcs11.CKA_TOKEN, Value: true}, {Type: pkcs11.CKA_LABEL, Value: label}},
		pkcs11.Template{{Type: pkcs11.CKA_TOKEN, Value: true}, {Type: pkcs11.CKA_LABEL, Value: label}})
	if err != nil {
		t.Fatal(err)
	}
	return pub, priv
}

func find(t testing.TB, se Session, template pkcs11.Template) []pkcs11.ObjectHandle {
	t.Helper()
	if err := se.FindObjectsInit(t.Context(), template); err != nil {
		t.Fatal(err)
	}
	defer se.FindObjectsFinal(t.Context())
	found := make([]pkcs11.ObjectHandle, 100)
	n, err := se.FindObjects(t.Context(), found)
	if err != nil {
		t.Fatal(err)
	}
	return found[:n]
}

func wantCode(t testing.TB, what string, err error, code pkcs11.Error) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Errorf("%s: got %v, want %v", what, err, code)
	}
}

func TestHashesForAChipThatSignsDigests(t *testing.T) {
	_, se := open(t, newChip(t))
	pub, priv := generate(t, se, "k")
	message := bytes.Repeat([]byte("a gateway "), 100)
	for _, mech := range []pkcs11.MechanismType{pkcs11.CKM_ECDSA_SHA256, pkcs11.CKM_ECDSA_SHA384, pkcs11.CKM_ECDSA_SHA3_256} {
		m := &pkcs11.Mechanism{Type: mech}
		sig := make([]byte, 64)
		if err := se.SignInit(t.Context(), m, priv); err != nil {
			t.Fatal(err)
		}
		for part := range slices.Chunk(message, 7) {
			if err := se.SignUpdate(t.Context(), part); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := se.SignFinal(t.Context(), sig); err != nil {
			t.Fatal(err)
		}
		if err := se.VerifyInit(t.Context(), m, pub); err != nil {
			t.Fatal(err)
		}
		if err := se.Verify(t.Context(), message, sig); err != nil {
			t.Errorf("%v: what was signed in parts does not verify in one: %v", mech, err)
		}
		sig[40] ^= 1
		se.VerifyInit(t.Context(), m, pub)
		wantCode(t, "a changed signature", se.Verify(t.Context(), message, sig), pkcs11.CKR_SIGNATURE_INVALID)
	}
}

func TestCallsToADriverDoNotOverlap(t *testing.T) {
	m, first := open(t, newChip(t))
	_, priv := generate(t, first, "k")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			se := openSession(t, m)
			defer se.Close()
			for range 20 {
				if err := se.SignInit(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, priv); err != nil {
					t.Error(err)
				}
				if _, err := se.Sign(t.Context(), make([]byte, 32), make([]byte, 64)); err != nil {
					t.Error(err)
				}
			}
			if i%2 == 0 {
				pub, _ := generate(t, se, fmt.Sprint("other ", i))
				if err := se.DestroyObject(t.Context(), pub); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestWaitingForTheTokenHonoursTheContext(t *testing.T) {
	c := newChip(t)
	m, se := open(t, c)
	_, priv := generate(t, se, "k")
	entered, resume := c.stop("Sign")
	done := make(chan error)
	go func() {
		se.SignInit(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, priv)
		_, err := se.Sign(t.Context(), make([]byte, 32), make([]byte, 64))
		done <- err
	}()
	<-entered
	other := openSession(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := other.SignInit(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, priv); err != nil {
		t.Fatal(err)
	}
	_, err := other.Sign(ctx, make([]byte, 32), make([]byte, 64))
	wantCode(t, "a signature whose context ended", err, pkcs11.CKR_FUNCTION_CANCELED)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not wrap context.Canceled", err)
	}
	resume()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A search may read the driver's list while others change the token: what they
// did is newer than the list.
func TestChangesDuringAReadingOfTheObjects(t *testing.T) {
	c := newChip(t)
	m, se := open(t, c)
	pub, priv := generate(t, se, "old")
	entered, resume := c.stop("Objects")
	c.changes.Add(1)
	found := make(chan []pkcs11.ObjectHandle)
	go func() { found <- find(t, openSession(t, m), pkcs11.Template{{Type: pkcs11.CKA_LABEL, Value: "new"}}) }()
	<-entered // the list with "old" and without "new" is on its way
	c.inside.Store(0)

	s := m.(*module).slots[0]
	// Straight to the index: the chip's only call under way is Objects.
	s.remove(s.objects.byHandle.get(pub))
	created, err := s.insert(c.put(pkcs11.Template{{Type: pkcs11.CKA_CLASS, Value: uint64(pkcs11.CKO_DATA)},
		{Type: pkcs11.CKA_LABEL, Value: "new"}, {Type: pkcs11.CKA_TOKEN, Value: true}}, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	resume()
	if got := <-found; !slices.Equal(got, []pkcs11.ObjectHandle{created.handle}) {
		t.Errorf("found %v, want the new object %v", got, created.handle)
	}
	if got := find(t, se, nil); !slices.Equal(got, []pkcs11.ObjectHandle{priv, created.handle}) {
		t.Errorf("objects are %v, want %v and %v: the removed one is back or the new one gone", got, priv, created.handle)
	}
	c.inside.Store(0)
}

// What one application creates the others see, also if its own search has met the
// object before the call that creates it is over.
func TestCreatedObjectIsMetFirst(t *testing.T) {
	c := newChip(t)
	m, se := open(t, c)
	other, err := NewApplication(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs := openSession(t, other)
	find(t, se, nil)
	c.changes.Add(1)
	find(t, theirs, nil)
	created := c.put(pkcs11.Template{{Type: pkcs11.CKA_CLASS, Value: uint64(pkcs11.CKO_DATA)},
		{Type: pkcs11.CKA_LABEL, Value: "new"}, {Type: pkcs11.CKA_TOKEN, Value: true},
		{Type: pkcs11.CKA_PRIVATE, Value: false}}, nil)
	if got := find(t, se, nil); len(got) != 1 {
		t.Fatalf("found %v, want one object", got)
	}
	if _, err := m.(*module).slots[0].insert(created, nil); err != nil {
		t.Fatal(err)
	}
	if got := find(t, theirs, nil); len(got) != 1 {
		t.Errorf("another application finds %v, want one object", got)
	}
}

func TestObjectsOfOthersAppearAndVanish(t *testing.T) {
	c := newChip(t)
	_, se := open(t, c)
	find(t, se, nil)
	template := pkcs11.Template{{Type: pkcs11.CKA_LABEL, Value: "foreign"}}
	foreign := c.put(pkcs11.Template{{Type: pkcs11.CKA_CLASS, Value: uint64(pkcs11.CKO_DATA)},
		{Type: pkcs11.CKA_LABEL, Value: "foreign"}, {Type: pkcs11.CKA_TOKEN, Value: true}}, nil)
	if got := find(t, se, template); len(got) != 0 {
		t.Errorf("found %v before the driver said that something changed", got)
	}
	c.changes.Add(1)
	got := find(t, se, template)
	if len(got) != 1 {
		t.Fatalf("found %v, want one object", got)
	}
	c.drop([]driver.Object{foreign})
	c.changes.Add(1)
	if again := find(t, se, template); len(again) != 0 {
		t.Errorf("found %v after the object was removed", again)
	}
	wantCode(t, "the handle", se.GetAttributeValue(t.Context(), got[0], pkcs11.Template{{Type: pkcs11.CKA_LABEL}}), pkcs11.CKR_OBJECT_HANDLE_INVALID)
}

func TestAFailingDriverIsNamed(t *testing.T) {
	c := newChip(t)
	_, se := open(t, c)
	c.mu.Lock()
	c.fail = errors.New("i2c: no acknowledge")
	c.mu.Unlock()
	err := se.FindObjectsInit(t.Context(), nil)
	wantCode(t, "a search", err, pkcs11.CKR_DEVICE_ERROR)
	if err == nil || !errors.Is(err, c.fail) {
		t.Errorf("%v does not wrap the driver's error", err)
	}
}

// One damaged object does not hide the others, and is not passed over in silence.
func TestADamagedObject(t *testing.T) {
	c := newChip(t)
	_, se := open(t, c)
	_, priv := generate(t, se, "key")
	c.mu.Lock()
	c.fail, c.partial = errors.New("record o-17 is damaged"), true
	c.mu.Unlock()
	c.changes.Add(1)
	key := pkcs11.Template{{Type: pkcs11.CKA_LABEL, Value: "key"}, {Type: pkcs11.CKA_CLASS, Value: pkcs11.CKO_PRIVATE_KEY}}
	if got := find(t, se, key); !slices.Equal(got, []pkcs11.ObjectHandle{priv}) {
		t.Errorf("found %v, want the key %v", got, priv)
	}
	for name, template := range map[string]pkcs11.Template{
		"a search for what is not found": {{Type: pkcs11.CKA_LABEL, Value: "Root Cert"}},
		"a search for everything":        nil,
	} {
		err := se.FindObjectsInit(t.Context(), template)
		wantCode(t, name, err, pkcs11.CKR_DEVICE_ERROR)
		if !errors.Is(err, c.fail) {
			t.Errorf("%s: %v does not say what is damaged", name, err)
		}
	}
	c.mu.Lock()
	c.fail = nil
	c.mu.Unlock()
	c.changes.Add(1)
	if got := find(t, se, nil); len(got) != 2 {
		t.Errorf("found %d objects after the damage was mended, want 2", len(got))
	}
}

func TestCloseWaitsForCallsAndEndsAll(t *testing.T) {
	c := newChip(t)
	m, se := open(t, c)
	_, priv := generate(t, se, "k")
	entered, resume := c.stop("Sign")
	signed := make(chan error)
	go func() {
		se.SignInit(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, priv)
		_, err := se.Sign(t.Context(), make([]byte, 32), make([]byte, 64))
		signed <- err
	}()
	<-entered
	closed := make(chan error)
	go func() { closed <- m.Close() }()
	for !m.(*module).closed.Load() {
	}
	wantCode(t, "a search after Close", se.FindObjectsInit(t.Context(), nil), pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	resume()
	if err := <-signed; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	wantCode(t, "a second Close", m.Close(), pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
}

// Destroying a key ends the operations with it in every session, which are then
// free for others.
func TestDestroyingAKeyEndsItsOperations(t *testing.T) {
	m, se := open(t, newChip(t))
	pub, priv := generate(t, se, "doomed")
	_, other := generate(t, se, "other")
	ecdsa := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	if err := se.SignInit(t.Context(), ecdsa, priv); err != nil {
		t.Fatal(err)
	}
	if err := se.VerifyInit(t.Context(), ecdsa, pub); err != nil {
		t.Fatal(err)
	}
	second := openSession(t, m)
	for _, h := range []pkcs11.ObjectHandle{pub, priv} {
		if err := second.DestroyObject(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	_, err := se.Sign(t.Context(), make([]byte, 32), make([]byte, 64))
	wantCode(t, "Sign with a destroyed key", err, pkcs11.CKR_OPERATION_NOT_INITIALIZED)
	wantCode(t, "Verify with a destroyed key", se.Verify(t.Context(), make([]byte, 32), make([]byte, 64)), pkcs11.CKR_OPERATION_NOT_INITIALIZED)
	if err := se.SignInit(t.Context(), ecdsa, other); err != nil {
		t.Errorf("SignInit after the key of the last operation was destroyed: %v", err)
	}
}

// The last session to close takes the login along also when another login is
// waiting at that moment: the driver and the core agree afterwards.
func TestLoginAndCloseAtTheSameTime(t *testing.T) {
	c := newChip(t)
	m, err := NewModule(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for range 200 {
		se := openSession(t, m)
		var wg sync.WaitGroup
		wg.Go(func() { se.Login(t.Context(), pkcs11.CKU_USER, []byte("1234")) })
		wg.Go(func() { se.Close() })
		wg.Wait()
		se.Close()
		c.mu.Lock()
		login := c.login
		c.mu.Unlock()
		if login {
			t.Fatal("no session is open and the driver is logged in")
		}
	}
}
