package atecc608_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A scene is a chip and a store at a moment.
type scene struct {
	state   *ateccsim.State
	records map[string][]byte
	keys    int // private keys on the token
}

// store is the scene's, anew.
func (s *scene) store(t testing.TB) *pal.Mem {
	t.Helper()
	m := new(pal.Mem)
	for name, b := range s.records {
		if err := m.Save(name, b); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// newScene is a chip with the device's key and its certificate, and as many
// others as there are slots if it is to be full.
func newScene(t testing.TB, full bool) *scene {
	t.Helper()
	state := provisioned(t)
	chip, store := newChip(t, state, nil), new(pal.Mem)
	token, err := atecc608.New(t.Context(), chip, &atecc608.Options{Store: store, IOKey: state.Slot(6)[:32]})
	if err != nil {
		t.Fatal(err)
	}
	generate(t, token, "Device Pub TLS Key", "Device Priv TLS Key", nil)
	s := &scene{keys: 1}
	for n := 0; full && n < 3; n++ {
		label := fmt.Sprint("Key ", n)
		generate(t, token, label, label, nil)
		s.keys++
	}
	if err := token.Close(); err != nil {
		t.Fatal(err)
	}
	s.state, s.records = chip.State(), make(map[string][]byte)
	names, err := store.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if s.records[name], err = store.Load(name); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// open opens a token with a bound on each operation.
func (s *scene) open(ctx context.Context, chip *ateccsim.Chip, store pal.Store) (*atecc608.Token, error) {
	return atecc608.New(ctx, chip, &atecc608.Options{Store: store, IOKey: s.state.Slot(6)[:32], Chip: atecc.Opts{Timeout: 20 * time.Second}})
}

// An operation of which each transfer is disturbed.
type operation struct {
	name string
	full bool // on a chip without a free slot
	keys int  // how many private keys there are more afterwards
	run  func(ctx context.Context, t testing.TB, token *atecc608.Token) error
}

var operations = []operation{
	{name: "sign", run: func(ctx context.Context, t testing.TB, token *atecc608.Token) error {
		return withKey(ctx, token, signs)
	}},
	{name: "agree", run: func(ctx context.Context, t testing.TB, token *atecc608.Token) error {
		return withKey(ctx, token, agrees)
	}},
	{name: "generate", keys: 1, run: func(ctx context.Context, t testing.TB, token *atecc608.Token) error {
		public, private := generateTemplates("New", "New")
		_, priv, err := token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public, private, nil)
		if err == nil {
			err = signs(ctx, priv)
		}
		return err
	}},
	{name: "replace", run: replace},
	{name: "replace on a full chip", full: true, run: replace},
	{name: "import", keys: 1, run: func(ctx context.Context, t testing.TB, token *atecc608.Token) error {
		priv, err := token.CreateObject(ctx, importTemplate(t, "Imported"), nil)
		if err == nil {
			err = signs(ctx, priv)
		}
		return err
	}},
	{name: "destroy", keys: -1, run: func(ctx context.Context, t testing.TB, token *atecc608.Token) error {
		objects, err := token.Objects(ctx)
		if err != nil {
			return err
		}
		return token.Destroy(ctx, labelled(objects, "Device Priv TLS Key", "Device Pub TLS Key")...)
	}},
	{name: "store a certificate", run: func(ctx context.Context, t testing.TB, token *atecc608.Token) error {
		_, err := token.CreateObject(ctx, pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_CERTIFICATE)), pkcs11.Attr(pkcs11.CKA_LABEL, "Device Cert"),
			pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_VALUE, bytes.Repeat([]byte{0x30}, 600)),
		}, nil)
		return err
	}},
	{name: "write a public key into its slot", run: func(ctx context.Context, t testing.TB, token *atecc608.Token) error {
		first, err := token.CreateObject(ctx, publicTemplate(t, "Code Verify Key"), nil)
		if err != nil {
			return err
		}
		_, err = token.CreateObject(ctx, publicTemplate(t, "Code Verify Key"), []driver.Object{first})
		return err
	}},
	{name: "import an AES key", run: func(ctx context.Context, t testing.TB, token *atecc608.Token) error {
		key, err := token.CreateObject(ctx, aesTemplate("AES"), nil)
		if err == nil {
			_, err = key.(driver.Encrypter).Encrypt(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_ECB}, make([]byte, 16))
		}
		return err
	}},
}

func labelled(objects []driver.Object, labels ...string) []driver.Object {
	return slices.DeleteFunc(slices.Clone(objects), func(o driver.Object) bool {
		return !slices.Contains(labels, o.Attributes().Text(pkcs11.CKA_LABEL))
	})
}

// withKey runs f with the device's key.
func withKey(ctx context.Context, token *atecc608.Token, f func(context.Context, driver.Object) error) error {
	objects, err := token.Objects(ctx)
	if err != nil {
		return err
	}
	found := labelled(objects, "Device Priv TLS Key")
	if len(found) != 1 {
		return fmt.Errorf("%d keys of the device", len(found))
	}
	return f(ctx, found[0])
}

func agrees(ctx context.Context, key driver.Object) error {
	peer, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	secret, err := key.(driver.Deriver).Derive(ctx,
		&pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE, Params: &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: peer.PublicKey().Bytes()}},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_SECRET_KEY)), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_GENERIC_SECRET)), pkcs11.Attr(pkcs11.CKA_TOKEN, false)}, nil)
	if err != nil {
		return err
	}
	value, err := secret.(driver.Exporter).Export(ctx, pkcs11.CKA_VALUE)
	if err != nil {
		return err
	}
	pub, err := driver.PublicKey(key.Attributes())
	if err != nil {
		return err
	}
	own, err := pub.(interface {
		ECDH() (*ecdh.PublicKey, error)
	}).ECDH()
	if err != nil {
		return err
	}
	want, err := peer.ECDH(own)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, value.Bytes(pkcs11.CKA_VALUE)) {
		return errors.New("the chip agreed on another secret")
	}
	return nil
}

func replace(ctx context.Context, t testing.TB, token *atecc608.Token) error {
	objects, err := token.Objects(ctx)
	if err != nil {
		return err
	}
	public, private := generateTemplates("Device Pub TLS Key", "Device Priv TLS Key")
	_, priv, err := token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public, private, labelled(objects, "Device Priv TLS Key", "Device Pub TLS Key"))
	if err == nil {
		err = signs(ctx, priv)
	}
	return err
}

var busFaults = []ateccsim.FaultKind{
	ateccsim.DropWake, ateccsim.CorruptIn, ateccsim.CorruptOut, ateccsim.NACK, ateccsim.StuckBus,
	ateccsim.ShortRead, ateccsim.WatchdogNow, ateccsim.HealthTest, ateccsim.PowerCutTx, ateccsim.PowerCut,
}

var every = flag.Bool("faults", false, "inject each fault at each transfer")

// Each fault at each transfer, and a power cut before each byte that is written,
// end in success or in an error; chip and store agree afterwards, nothing is lost
// and nothing is left over.
func TestFaults(t *testing.T) {
	scenes := map[bool]*scene{false: newScene(t, false), true: newScene(t, true)}
	for number, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			for i, kind := range busFaults {
				// What the driver makes good is looked at in every third place, in another
				// for each operation; all of them are with -faults.
				first, step := 1+(i+number)%3, 3
				switch {
				case slow || testing.Short():
					first, step = 1+(i+number)%11, 11
				case *every || kind == ateccsim.PowerCut || kind == ateccsim.PowerCutTx:
					first, step = 1, 1
				}
				synctest.Test(t, func(t *testing.T) {
					failed := 0
					for at := first; ; at += step {
						err, fired := disturb(t, scenes[op.full], op, kind, at)
						if !fired {
							break
						}
						if err != nil {
							failed++
						}
					}
					t.Logf("%s: %d of the faults were errors", kind, failed)
				})
			}
		})
	}
}

// disturb runs an operation with one fault, and checks what is left. fired is
// false if the fault did not happen.
func disturb(t *testing.T, s *scene, op operation, kind ateccsim.FaultKind, at int) (err error, fired bool) {
	t.Helper()
	faults := ateccsim.NewFaults(uint64(at), ateccsim.Rule{Kind: kind, At: at, Count: 1})
	chip := newChip(t, s.state, &ateccsim.Options{Faults: faults})
	store := s.store(t)
	start := time.Now()
	token, err := s.open(t.Context(), chip, store)
	if err == nil {
		err = op.run(t.Context(), t, token)
		token.Close()
	}
	what := fmt.Sprintf("%s, fault %d", kind, at)
	if err != nil {
		var code pkcs11.Error
		if !errors.As(err, &code) {
			t.Fatalf("%s: an error without a code: %v", what, err)
		}
	}
	if took := time.Since(start); took > 2*time.Minute {
		t.Fatalf("%s: it took %v", what, took)
	}
	if faults.Fired() == 0 {
		return err, false
	}
	chip.PowerOff()
	chip.PowerOn()
	s.check(t, what, chip, store, op, err)
	return err, true
}

// check opens the token again, without faults, and looks whether it is as it was or
// as it should be.
func (s *scene) check(t *testing.T, what string, chip *ateccsim.Chip, store pal.Store, op operation, failure error) {
	t.Helper()
	token, err := s.open(t.Context(), chip, store)
	if err != nil {
		t.Fatalf("%s: open again: %v", what, err)
	}
	defer token.Close()
	objects, err := token.Objects(t.Context())
	if err != nil {
		t.Fatalf("%s: objects: %v", what, err)
	}
	private := 0
	for _, o := range objects {
		if _, ok := o.(driver.Signer); !ok || !o.Attributes().Bool(pkcs11.CKA_SIGN) || o.Attributes().Uint(pkcs11.CKA_CLASS) != uint64(pkcs11.CKO_PRIVATE_KEY) {
			continue
		}
		private++
		if err := signs(t.Context(), o); err != nil {
			t.Fatalf("%s: %s does not sign: %v (after %v)", what, o.Attributes().Text(pkcs11.CKA_LABEL), err, failure)
		}
	}
	if private != s.keys+op.keys && (failure == nil || private != s.keys) {
		t.Fatalf("%s: there are %d keys, before there were %d (after %v)", what, private, s.keys, failure)
	}
	if op.keys >= 0 {
		if err := withKey(t.Context(), token, func(context.Context, driver.Object) error { return nil }); err != nil {
			t.Fatalf("%s: %v (after %v)", what, err, failure)
		}
	}
	// What is not an object takes no slot.
	for n := private; n < 4; n++ {
		generate(t, token, "fill", "fill", nil)
	}
	public, priv := generateTemplates("more", "more")
	if _, _, err := token.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public, priv, nil); !errors.Is(err, pkcs11.CKR_DEVICE_MEMORY) {
		t.Fatalf("%s: a fifth key: %v", what, err)
	}
}

// A crash is a store that fails from some change on: what the process had done
// until then is all that is left of it.
type crash struct {
	*pal.Mem
	left int
}

var errCrash = errors.New("crashed")

func (c *crash) change(f func() error) error {
	if c.left == 0 {
		return errCrash
	}
	c.left--
	return f()
}

func (c *crash) Save(name string, b []byte) error {
	return c.change(func() error { return c.Mem.Save(name, b) })
}
func (c *crash) Remove(name string) error {
	return c.change(func() error { return c.Mem.Remove(name) })
}
func (c *crash) Batch(changes []pal.Change) error {
	return c.change(func() error { return c.Mem.Batch(changes) })
}

// The process dies before each change of the store.
func TestCrashes(t *testing.T) {
	scenes := map[bool]*scene{false: newScene(t, false), true: newScene(t, true)}
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scenes[op.full]
				for at := 0; ; at++ {
					chip, store := newChip(t, s.state, nil), &crash{s.store(t), at}
					token, err := s.open(t.Context(), chip, store)
					if err == nil {
						err = op.run(t.Context(), t, token)
						token.Close()
					}
					s.check(t, fmt.Sprintf("crash at change %d", at+1), chip, store.Mem, op, err)
					if store.left > 0 {
						if err != nil {
							t.Errorf("without a crash: %v", err)
						}
						break
					}
				}
			})
		})
	}
}
