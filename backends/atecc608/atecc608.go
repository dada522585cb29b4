// Package atecc608 is a token whose private keys never leave an ATECC608A or B on
// an I²C bus.
//
//	bus, err := i2creg.Open("1")
//	store, err := fileflash.Open("/var/lib/gateway/chip", nil)
//	token, err := atecc608.New(ctx, bus, &atecc608.Options{Store: store})
//
// As a token name it is atecc608:bus=1;dir=/var/lib/gateway/chip; see
// docs/atecc608.md for all parameters.
//
// What a slot of the chip is good for, the chip's configuration says; it is read
// once. Private keys are in slots. Labels, CKA_ID, certificates and other public
// objects are records in a Store, as the chip has little room for them, or in data
// slots of the chip, if there is to be nothing else. Without either the token shows
// what is on the chip, under labels of Options.
//
// Nothing is ever locked unless [Token.LockSlot] or [Provision] is called.
package atecc608

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"periph.io/x/conn/v3/i2c"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/compcert"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Options of a token. The zero value shows the one chip on the bus as it is.
type Options struct {
	// Chip is how the chip is reached.
	Chip atecc.Opts

	// Store keeps what the chip has no room for. It belongs to one chip, whose
	// serial number is in it, and stays open when the token is closed. Default:
	// none.
	Store pal.Store

	// Slots are data slots in which the token keeps that instead of in a Store: two
	// copies, packed, so that a key pair and its certificate want about 800 bytes of
	// slots. Everybody on the bus reads what is there, and may overwrite it, which
	// is why the I/O protection key never is. Empty but not nil: those of
	// DataSlots. Default: none.
	Slots []int

	// Label is the label of the token. Default: that of the Store, or model and
	// serial number.
	Label string

	// Labels are the labels of slots with keys that the Store does not know.
	// Default: the device's TLS key for slot 0, "Slot N Key" for others.
	Labels map[int]string

	// Free are slots whose keys may be overwritten though the Store does not know
	// them, such as those that a TrustFLEX part comes with in slots 2 to 4.
	// Default: only slots without a key are taken for new ones.
	Free []int

	// IOKey is the I/O protection key, 32 bytes, with which keys are imported and
	// derived secrets come encrypted. Default: what Provision has put into the
	// Store; with Slots, none.
	IOKey []byte

	// Certificates are the families of certificates that pre-provisioned chips
	// have in compressed form. Default: the simulator's.
	Certificates []*compcert.Family
}

// A Token is a chip. It is a driver.Token, and safe for concurrent use: operations
// follow one another.
type Token struct {
	dev     *atecc.Device
	opts    Options
	closing func() error // closes what open opened; nil if nothing

	inSlots *slotStore // the store, if it is in slots; else nil
	locker  pal.Locker // nil if the store is none; likewise the next
	watcher pal.Watcher

	mechs  []driver.Mechanism
	info   atomic.Pointer[driver.Info]
	others atomic.Uint64 // counts changes by others

	gate    chan struct{} // holds a token while no operation runs; it guards what follows
	zone    config.Zone
	state   *chipState
	closed  bool
	seen    uint64 // what watcher said when the records were read
	stale   bool   // the records are to be read
	seq     uint32 // of the newest record
	records map[string]*record
	objects map[string]driver.Object // by ID
	order   []driver.Object          // token objects
	damage  []error                  // about records that are not in records
	session map[*record]bool         // session objects

	chipKeys  map[int]*ecdsa.PublicKey // of private keys that no record names; nil value: none there
	chipSlots map[int]*chipSlot        // what was read of slots; nil: to be read
	chipObjs  []driver.Object          // certificates and other things in slots; nil: to be read
	login     []byte                   // key made of the user's PIN; nil: logged out
}

var _ interface {
	driver.Token
	driver.Changer
	driver.KeyPairGenerator
	driver.Creator
	driver.Destroyer
	driver.Updater
	driver.RandomReader
	driver.Prober
} = (*Token)(nil)

// New returns the token of the chip on bus, which stays the caller's and may be
// shared with others. opts may be nil.
//
// New reads the configuration and the store's record of the chip, and finishes
// what an interrupted change has left to do. It changes nothing else. A chip that
// is not locked yet is CKR_TOKEN_NOT_RECOGNIZED: see [Provision].
func New(ctx context.Context, bus i2c.Bus, opts *Options) (*Token, error) {
	t := &Token{gate: make(chan struct{}, 1), records: make(map[string]*record), session: make(map[*record]bool), chipKeys: make(map[int]*ecdsa.PublicKey), stale: true}
	if opts != nil {
		t.opts = *opts
	}
	if err := t.opts.check(); err != nil {
		return nil, err
	}
	var err error
	if t.dev, err = atecc.New(ctx, bus, &t.opts.Chip); err != nil {
		return nil, fmt.Errorf("atecc608: %w", err)
	}
	if err := t.start(ctx); err != nil {
		return nil, errors.Join(err, t.dev.Close())
	}
	return t, nil
}

func (o *Options) check() error {
	if n := len(o.IOKey); n != 0 && n != 32 {
		return fmt.Errorf("atecc608: options: %w: the I/O protection key has %d bytes, not 32", pkcs11.CKR_ARGUMENTS_BAD, n)
	}
	if len(o.Label) > 32 {
		return fmt.Errorf("atecc608: options: %w: the label has more than 32 bytes", pkcs11.CKR_ARGUMENTS_BAD)
	}
	if o.Store != nil && o.Slots != nil {
		return fmt.Errorf("atecc608: options: %w: records are in a store or in slots, not in both", pkcs11.CKR_ARGUMENTS_BAD)
	}
	for _, n := range o.Free {
		if n < 0 || n > 15 {
			return fmt.Errorf("atecc608: options: %w: there is no slot %d that could be free; there are 0 to 15", pkcs11.CKR_ARGUMENTS_BAD, n)
		}
	}
	for n := range o.Labels {
		if n < 0 || n > 15 {
			return fmt.Errorf("atecc608: options: %w: there is no slot %d that could have a label; there are 0 to 15", pkcs11.CKR_ARGUMENTS_BAD, n)
		}
	}
	return nil
}

func (t *Token) start(ctx context.Context) error {
	t.zone = config.Zone(t.dev.Config())
	if !t.zone.Locked() || !t.zone.DataLocked() {
		which := "configuration"
		if t.zone.Locked() {
			which = "data zone"
		}
		return fmt.Errorf("atecc608: %v: %w: its %s is not locked, so that no key in it is safe; provision it: cryptoki init --config generic --lock", t.dev, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, which)
	}
	if t.opts.Slots != nil {
		var err error
		if t.inSlots, err = newSlotStore(t.dev, t.zone, t.opts.Slots, t.opts.IOKey); err != nil {
			return err
		}
		t.opts.Store = t.inSlots
	}
	t.locker, _ = t.opts.Store.(pal.Locker)
	t.watcher, _ = t.opts.Store.(pal.Watcher)
	defer t.leave() // there is nobody yet that could be in
	return t.locked(func() error {
		if err := t.loadChip(ctx); err != nil {
			return err
		}
		t.publish()
		t.mechs = t.mechanisms()
		if t.opts.Store == nil {
			return nil
		}
		return t.load(ctx)
	})
}

// enter waits until no operation runs.
func (t *Token) enter(ctx context.Context) error {
	select {
	case <-t.gate:
	case <-ctx.Done():
		return ctx.Err()
	}
	if t.closed {
		t.leave()
		return errClosed
	}
	return nil
}

func (t *Token) leave() { t.gate <- struct{}{} }

// locked runs f with the store held against other processes.
func (t *Token) locked(f func() error) error {
	if t.locker == nil {
		return f()
	}
	unlock, err := t.locker.Lock()
	if err != nil {
		return storeError("lock the store", err)
	}
	return errors.Join(f(), unlock())
}

// Info describes the token as it was last read.
func (t *Token) Info() driver.Info { return *t.info.Load() }

// publish makes what Info returns. The gate is held.
func (t *Token) publish() {
	serial, revision := t.zone.Serial(), t.zone.Revision()
	i := driver.Info{
		Label:          t.opts.Label,
		ManufacturerID: "Microchip Technology Inc",
		Model:          t.zone.Model(),
		// SN[0] is 01 in every chip.
		SerialNumber:    fmt.Sprintf("%X", serial[1:]),
		Flags:           pkcs11.CKF_TOKEN_INITIALIZED,
		MaxSessions:     pkcs11.EffectivelyInfinite,
		HardwareVersion: pkcs11.Version{Major: revision[2], Minor: revision[3]},
		Hardware:        true,
		SlotDescription: fmt.Sprintf("%s at address 0x%02X", t.zone.Model(), t.dev.Address()),
	}
	if _, on := t.pinSlot(); on {
		i.Flags |= pkcs11.CKF_LOGIN_REQUIRED | pkcs11.CKF_USER_PIN_INITIALIZED
		i.MinPINLen, i.MaxPINLen = minPIN, maxPIN
	}
	if i.Label == "" {
		i.Label = t.state.label
	}
	if i.Label == "" {
		i.Label = fmt.Sprintf("%s %X", t.zone.Model(), serial[1:])
	}
	t.info.Store(&i)
}

// Changes counts the changes by other processes.
func (t *Token) Changes() (uint64, error) {
	// While an operation runs it need not wait: a change by others is noticed at
	// the next call.
	select {
	case <-t.gate:
		defer t.leave()
		if err := t.watch(); err != nil {
			return 0, err
		}
	default:
	}
	return t.others.Load(), nil
}

// watch notes whether others have changed the store. the gate is held.
func (t *Token) watch() error {
	if t.watcher == nil {
		return nil
	}
	now, err := t.watcher.Changes()
	if err != nil {
		return storeError("changes", err)
	}
	if now != t.seen {
		t.seen, t.stale = now, true
		t.others.Add(1)
	}
	return nil
}

// Objects returns the keys of the chip, and what the store has. The first call
// after New may take some tenths of a second, as the chip then computes the
// public keys that the store does not know.
func (t *Token) Objects(ctx context.Context) ([]driver.Object, error) {
	if err := t.enter(ctx); err != nil {
		return nil, err
	}
	defer t.leave()
	if err := t.watch(); err != nil {
		return nil, err
	}
	if t.stale && t.opts.Store != nil {
		if err := t.locked(func() error { return t.load(ctx) }); err != nil {
			return nil, err
		}
	}
	if err := t.arrange(ctx); err != nil {
		return nil, err
	}
	return slices.Clone(t.order), errors.Join(append(t.tampered(), t.damage...)...)
}

// tampered compares the public keys that the store has in slots with what is in
// them.
func (t *Token) tampered() (errs []error) {
	for _, r := range t.bySeq() {
		if r.flags&flagOnChip == 0 || r.main == nil {
			continue
		}
		want, err := driver.PublicKey(r.main)
		if c := t.chipSlots[r.slot]; err != nil || c == nil || !keys.Equal(want, c.key) {
			errs = append(errs, fmt.Errorf("atecc608: slot %d: %w: it does not hold the public key %q: somebody has changed the chip or the directory", r.slot, pkcs11.CKR_DEVICE_ERROR, r.main.Text(pkcs11.CKA_LABEL)))
		}
	}
	return errs
}

// ReadRandom fills b with random numbers of the chip, 32 bytes at a time.
func (t *Token) ReadRandom(ctx context.Context, b []byte) error {
	if err := t.dev.Random(ctx, b); err != nil {
		return fmt.Errorf("atecc608: %w", err)
	}
	return nil
}

// Probe reads the configuration of the chip and compares its serial number.
func (t *Token) Probe(ctx context.Context) error {
	z, err := t.dev.ReadConfig(ctx)
	if err != nil {
		return fmt.Errorf("atecc608: %w", err)
	}
	now := config.Zone(z)
	if now.Serial() != t.state.serial {
		return fmt.Errorf("atecc608: %w: another chip answers at address 0x%02X: serial number %X, not %X", pkcs11.CKR_DEVICE_REMOVED, t.dev.Address(), now.Serial(), t.state.serial)
	}
	return nil
}

// Device is the driver of the chip, for what the token does not do. What it
// changes in slots with keys, the token does not notice.
func (t *Token) Device() *atecc.Device { return t.dev }

// Config is the configuration zone as it was last read or changed.
func (t *Token) Config() config.Zone { return config.Zone(t.dev.Config()) }

// RecordSlots are the slots in which the token keeps its records, none if it has a
// Store for them.
func (t *Token) RecordSlots() []int {
	if t.inSlots == nil {
		return nil
	}
	return slices.Clone(t.inSlots.slots)
}

// Close lets the chip sleep and closes what opening by name has opened.
func (t *Token) Close() error {
	<-t.gate
	defer t.leave()
	if t.closed {
		return nil
	}
	t.closed = true
	clear(t.state.ioKey)
	clear(t.login)
	for r := range t.session {
		clear(r.value)
	}
	err := t.dev.Close()
	if t.closing != nil {
		err = errors.Join(err, t.closing())
	}
	return err
}

var errClosed = fmt.Errorf("atecc608: the token is closed: %w", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
