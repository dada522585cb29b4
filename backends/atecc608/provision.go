package atecc608

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"

	"periph.io/x/conn/v3/i2c"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// ProvisionOptions say what a chip is to become.
type ProvisionOptions struct {
	// Chip is how the chip is reached.
	Chip atecc.Opts

	// Plan is the configuration. Nil for a chip that is locked already, whose I/O
	// protection key is to be set.
	Plan *config.Plan

	// Store is the token's. It gets the I/O protection key, before the chip does.
	Store pal.Store

	// Slots are those of Options.Slots, if there is no Store. They get the label.
	Slots []int

	// IOKey is the I/O protection key, 32 bytes. Default: that in the Store, or a
	// random one. Slots keep none, so that with them it must be given.
	IOKey []byte

	// PIN is the user's, for a configuration that asks for one.
	PIN []byte

	// Label is the label of the token. Default: model and serial number.
	Label string

	// DryRun keeps ProvisionName from making the directory.
	DryRun bool
}

// A Step is a part of provisioning.
type Step struct {
	Text string // what it does
	// Final is set of what can never be undone.
	Final bool
	// Done is set of what a chip that was interrupted has behind it.
	Done bool

	run func(context.Context) error
}

// A Provisioning makes a token of a chip: it writes the configuration, locks it,
// writes the keys that protect others, locks the rest. Each step can be done
// again, so that one which was interrupted goes on where it was, with the same
// options.
type Provisioning struct {
	Zone  config.Zone // as it is now
	Want  config.Zone // as it will be
	Steps []Step

	dev     *atecc.Device
	opts    ProvisionOptions
	inSlots *slotStore // nil if the records are not in slots
	named   bool       // the slots have the label already
	state   *chipState
}

// ErrNotLocked says that a chip was provisioned as far as it goes without locking
// anything.
var ErrNotLocked = errors.New("nothing was locked")

// Provision finds out what is to be done to make a token of the chip on bus. It
// changes nothing; Run does. The error wraps CKR_TOKEN_WRITE_PROTECTED if the chip
// is locked and has another configuration than the plan.
func Provision(ctx context.Context, bus i2c.Bus, opts *ProvisionOptions) (*Provisioning, error) {
	p := &Provisioning{opts: *opts}
	if n := len(p.opts.IOKey); n != 0 && n != 32 {
		return nil, fmt.Errorf("atecc608: provision: %w: the I/O protection key has %d bytes, not 32", pkcs11.CKR_ARGUMENTS_BAD, n)
	}
	if p.opts.Plan != nil {
		if err := p.opts.Plan.Zone.Check(); err != nil {
			return nil, fmt.Errorf("atecc608: provision: %w: the configuration is not safe: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
		}
	}
	var err error
	if p.dev, err = atecc.New(ctx, bus, &p.opts.Chip); err != nil {
		return nil, fmt.Errorf("atecc608: %w", err)
	}
	if err := p.plan(ctx); err != nil {
		return nil, errors.Join(err, p.dev.Close())
	}
	return p, nil
}

// Close lets the chip sleep.
func (p *Provisioning) Close() error {
	if p.state != nil {
		clear(p.state.ioKey)
	}
	return p.dev.Close()
}

// plan makes the list of steps.
func (p *Provisioning) plan(ctx context.Context) error {
	p.Zone = config.Zone(p.dev.Config())
	p.Want = p.Zone
	if p.opts.Plan != nil {
		p.Want = p.opts.Plan.Apply(&p.Zone)
		if p.Zone.Locked() && !p.opts.Plan.Written(&p.Zone) {
			return fmt.Errorf("atecc608: provision: %w: the chip has another configuration, and it is locked for ever; use the token as it is, or another chip", pkcs11.CKR_TOKEN_WRITE_PROTECTED)
		}
	} else if !p.Zone.Locked() {
		return fmt.Errorf("atecc608: provision: %w: the chip is not configured; name a configuration, such as generic", pkcs11.CKR_ARGUMENTS_BAD)
	}
	if p.opts.Slots != nil {
		if slot, on := p.Want.IOProtection(); on && p.opts.IOKey == nil && !p.Zone.Slot(slot).Locked {
			return fmt.Errorf("atecc608: provision: %w: the I/O protection key cannot be kept in slots that everybody may read; give one (io-key=FILE)", pkcs11.CKR_ARGUMENTS_BAD)
		}
		var err error
		if p.inSlots, err = newSlotStore(p.dev, p.Want, p.opts.Slots, p.opts.IOKey); err != nil {
			return err
		}
		if p.Zone.DataLocked() { // before, it is not read
			p.opts.Store = p.inSlots
		}
	}
	if err := p.loadState(); err != nil {
		return err
	}
	add := func(final, done bool, run func(context.Context) error, format string, args ...any) {
		p.Steps = append(p.Steps, Step{Text: fmt.Sprintf(format, args...), Final: final, Done: done, run: run})
	}
	want := atecc.Config(p.Want)
	locked, dataLocked := p.Zone.Locked(), p.Zone.DataLocked()
	if p.opts.Plan != nil {
		add(false, locked || p.opts.Plan.Written(&p.Zone), func(ctx context.Context) error { return p.dev.WriteConfig(ctx, &want) }, "write the configuration")
		add(true, locked, func(ctx context.Context) error { return p.dev.LockConfig(ctx, &want) }, "lock the configuration")
	}
	for n := range config.Slots {
		// A key that can never be made anew is made now.
		s := p.Want.Slot(n)
		if s.PrivateKey() && !s.Generates() && !s.Imports() {
			add(false, dataLocked, func(ctx context.Context) error { _, err := p.dev.GenerateKey(ctx, n); return err }, "make the key of slot %d, which stays", n)
		}
	}
	if err := p.planSecrets(ctx, add); err != nil {
		return err
	}
	add(true, dataLocked, func(ctx context.Context) error { return p.dev.LockData(ctx, nil) }, "lock the data zone: from then on the policies of the slots are in force")
	if p.inSlots != nil && p.opts.Label != "" {
		add(false, p.named, func(context.Context) error {
			p.opts.Store = p.inSlots
			return p.saveState()
		}, "write the label into %v", p.inSlots)
	}
	if slot, on := p.Want.IOProtection(); on && p.Want.Slot(slot).Lockable() && p.keepsIOKey() {
		add(true, p.Zone.Slot(slot).Locked && dataLocked, func(ctx context.Context) error {
			// A key that is not the one we know would be locked out for ever.
			if err := p.verifyIOKey(ctx, slot); err != nil {
				return err
			}
			return p.dev.LockSlot(ctx, slot)
		}, "lock slot %d, so that nobody replaces the I/O protection key", slot)
	}
	return nil
}

// keepsIOKey reports whether the I/O protection key is known, or is made and kept.
func (p *Provisioning) keepsIOKey() bool {
	return p.opts.IOKey != nil || p.opts.Store != nil && p.inSlots == nil
}

type adder func(final, done bool, run func(context.Context) error, format string, args ...any)

// planSecrets adds the steps that write the I/O protection key and the PIN. A chip
// whose policies are in force takes them where those allow it.
func (p *Provisioning) planSecrets(ctx context.Context, add adder) error {
	slot, on := p.Want.IOProtection()
	if on && p.keepsIOKey() {
		s, have := p.Want.Slot(slot), p.Zone.Slot(slot)
		done := p.Zone.DataLocked() && have.Locked
		switch {
		case done && len(p.state.ioKey) == 0:
			return fmt.Errorf("atecc608: provision: slot %d: %w: the I/O protection key is locked and not known here; give it (io-key=FILE)", slot, pkcs11.CKR_ARGUMENTS_BAD)
		case p.Zone.DataLocked() && !have.WritesClear():
			done = true // by policy it stays what it is
		}
		if len(p.state.ioKey) == 0 {
			p.state.ioKey = make([]byte, 32)
			rand.Read(p.state.ioKey)
		}
		add(false, done, func(ctx context.Context) error {
			if err := p.saveState(); err != nil {
				return err
			}
			return p.dev.WriteSlot(ctx, slot, 0, p.state.ioKey)
		}, "write an I/O protection key into slot %d, known to this host alone (%s)", slot, s.Describe())
	}
	t := &Token{zone: p.Want}
	if slot, on := t.pinSlot(); on {
		if n := len(p.opts.PIN); !p.Zone.DataLocked() && (n < minPIN || n > maxPIN) {
			return fmt.Errorf("atecc608: provision: %w: the configuration asks for a user PIN of %d to %d bytes, in slot %d", pkcs11.CKR_PIN_LEN_RANGE, minPIN, maxPIN, slot)
		}
		add(false, p.Zone.DataLocked(), func(ctx context.Context) error {
			key := t.pinKey(p.opts.PIN)
			defer clear(key)
			return p.dev.WriteSlot(ctx, slot, 0, key)
		}, "write the key made of the user's PIN into slot %d", slot)
	}
	return nil
}

// loadState reads the store's record of the chip, or makes one.
func (p *Provisioning) loadState() error {
	p.state = &chipState{serial: p.Zone.Serial(), label: p.opts.Label}
	if p.opts.Store != nil {
		c, err := loadChip(p.opts.Store)
		if err != nil && !notThere(err) {
			return err
		}
		if err == nil {
			if c.serial != p.state.serial {
				return fmt.Errorf("atecc608: provision: %w: the store belongs to the chip with serial number %X, this one has %X; give each chip a store of its own", pkcs11.CKR_TOKEN_NOT_RECOGNIZED, c.serial, p.state.serial)
			}
			p.named = c.label == p.opts.Label
			if p.opts.Label != "" {
				c.label = p.opts.Label
			}
			p.state = c
		}
	}
	if len(p.opts.IOKey) > 0 {
		p.state.ioKey = append([]byte(nil), p.opts.IOKey...)
	}
	return nil
}

func (p *Provisioning) saveState() error {
	if p.opts.Store == nil {
		return nil
	}
	return saveChip(p.opts.Store, p.state)
}

// verifyIOKey has the chip prove that it holds the key that the host knows.
func (p *Provisioning) verifyIOKey(ctx context.Context, slot int) error {
	var challenge [32]byte
	rand.Read(challenge[:])
	want, err := p.dev.MACOf(slot, p.state.ioKey, challenge[:])
	if err != nil {
		return err
	}
	got, err := p.dev.MAC(ctx, slot, challenge[:])
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		return fmt.Errorf("slot %d: %w: it holds another I/O protection key than the one known here, and was not locked", slot, pkcs11.CKR_DATA_INVALID)
	}
	return nil
}

// Run does the steps that are left. Without lock it stops before the first final
// one: the error is ErrNotLocked then. report, which may be nil, is called before
// each step.
func (p *Provisioning) Run(ctx context.Context, lock bool, report func(Step)) error {
	if lock {
		// Label and I/O protection key must not be lost once the chip is locked.
		if err := p.saveState(); err != nil {
			return err
		}
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Done {
			continue
		}
		if s.Final && !lock {
			return fmt.Errorf("atecc608: provision: %w: next would be to %s", ErrNotLocked, s.Text)
		}
		if report != nil {
			report(*s)
		}
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("atecc608: %s: %w", s.Text, err)
		}
		s.Done = true
	}
	p.Zone = config.Zone(p.dev.Config())
	return nil
}

// ProvisionName is Provision for the chip of a token name. The bus and the
// directory, which it makes if need be, are open until the function it returns is
// called.
func ProvisionName(ctx context.Context, params *driver.Params, opts *ProvisionOptions) (_ *Provisioning, closing func() error, err error) {
	n, err := parseName(params)
	if err != nil {
		return nil, nil, err
	}
	o := *opts
	o.Chip, o.Slots = n.opts.Chip, n.opts.Slots
	n.flash.Create = n.dir != "" && !o.DryRun
	var read Options
	if err := n.read(&read); err != nil {
		return nil, nil, err
	}
	if len(read.IOKey) > 0 {
		o.IOKey = read.IOKey
	}
	if o.Label == "" {
		o.Label = n.opts.Label
	}
	bus, store, closeParts, err := n.openParts(ctx)
	if o.DryRun && errors.Is(err, fs.ErrNotExist) && n.dir != "" {
		n.dir = ""
		bus, _, closeParts, err = n.openParts(ctx)
		store = new(pal.Mem) // the directory that there would be
	}
	if err != nil {
		return nil, nil, err
	}
	o.Store = store
	p, err := Provision(ctx, bus, &o)
	if err != nil {
		return nil, nil, errors.Join(err, closeParts())
	}
	return p, func() error { return errors.Join(p.Close(), closeParts()) }, nil
}
