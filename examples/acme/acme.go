// Package acme is a template for silicon vendors: a driver for a secure
// element that makes P-256 keys in its slots and signs digests. Copy it, put
// your chip's commands into a [Chip], change what differs, and run the tests:
// the suite in package conformance says what is missing.
//
// The chip keeps the private keys and nothing else. What is shown of them, and
// public keys and certificates, are records in a pal.Batcher. A slot whose key
// no record names is free, so an interruption between the chip and the records
// leaves nothing behind.
package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// mechanisms is what the chip does. The core adds hashing before a signature,
// digests and verification.
var mechanisms = []driver.Mechanism{
	{Type: pkcs11.CKM_EC_KEY_PAIR_GEN, MechanismInfo: pkcs11.MechanismInfo{
		MinKeySize: 256, MaxKeySize: 256,
		Flags: pkcs11.CKF_HW | pkcs11.CKF_GENERATE_KEY_PAIR | pkcs11.CKF_EC_F_P | pkcs11.CKF_EC_NAMEDCURVE | pkcs11.CKF_EC_UNCOMPRESS,
	}},
	{Type: pkcs11.CKM_ECDSA, MechanismInfo: pkcs11.MechanismInfo{
		MinKeySize: 256, MaxKeySize: 256,
		Flags: pkcs11.CKF_HW | pkcs11.CKF_SIGN | pkcs11.CKF_EC_F_P | pkcs11.CKF_EC_NAMEDCURVE | pkcs11.CKF_EC_UNCOMPRESS,
	}},
}

// A Token is the driver's token.
type Token struct {
	chip    Chip
	store   pal.Batcher
	objects []driver.Object
}

// What the token can do beyond driver.Token. Leave out what yours cannot.
var _ interface {
	driver.Token
	driver.KeyPairGenerator
	driver.Creator
	driver.Destroyer
	driver.RandomReader
} = (*Token)(nil)

// New returns the token of a chip, with its records in store. It borrows both.
func New(chip Chip, store pal.Batcher) (*Token, error) {
	t := &Token{chip: chip, store: store}
	names, err := store.Names()
	if err != nil {
		return nil, fmt.Errorf("acme: %w", err)
	}
	slices.Sort(names) // the order of creation: see create
	for _, name := range names {
		b, err := store.Load(name)
		if err != nil {
			return nil, fmt.Errorf("acme: %w", err)
		}
		o, err := t.decode(name, b)
		if err != nil {
			return nil, fmt.Errorf("acme: record %s: %w: %w", name, pkcs11.CKR_DEVICE_ERROR, err)
		}
		t.objects = append(t.objects, o)
	}
	return t, nil
}

// Info implements driver.Token.
func (t *Token) Info() driver.Info {
	return driver.Info{
		Label:          "Acme secure element",
		ManufacturerID: "Acme",
		Model:          "AC1",
		SerialNumber:   t.chip.Serial(),
		Flags:          pkcs11.CKF_TOKEN_INITIALIZED,
		MaxSessions:    pkcs11.EffectivelyInfinite,
		Hardware:       true,
	}
}

// Mechanisms implements driver.Token.
func (t *Token) Mechanisms() []driver.Mechanism { return mechanisms }

// Objects implements driver.Token.
func (t *Token) Objects(context.Context) ([]driver.Object, error) {
	return slices.DeleteFunc(slices.Clone(t.objects), func(o driver.Object) bool {
		return !o.Attributes().Bool(pkcs11.CKA_TOKEN)
	}), nil
}

// Close implements driver.Token. It closes nothing, since New opened nothing.
func (t *Token) Close() error { return nil }

// ReadRandom implements driver.RandomReader.
func (t *Token) ReadRandom(ctx context.Context, b []byte) error {
	if err := t.chip.Random(ctx, b); err != nil {
		return fmt.Errorf("acme: random: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
	}
	return nil
}

// GenerateKeyPair implements driver.KeyPairGenerator.
func (t *Token) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template, replaces []driver.Object) (pub, priv driver.Object, err error) {
	if curve, err := driver.Curve(public); err != nil {
		return nil, nil, fmt.Errorf("acme: %w", err)
	} else if curve != elliptic.P256() {
		return nil, nil, fmt.Errorf("acme: the chip has P-256 only, not %s: %w", curve.Params().Name, pkcs11.CKR_CURVE_NOT_SUPPORTED)
	}
	slot, err := t.freeSlot()
	if err != nil {
		return nil, nil, err
	}
	xy, err := t.chip.Generate(ctx, slot)
	if err != nil {
		return nil, nil, fmt.Errorf("acme: slot %d: %w: %w", slot, pkcs11.CKR_DEVICE_ERROR, err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, xy...))
	if err != nil {
		return nil, nil, fmt.Errorf("acme: slot %d: public key: %w: %w", slot, pkcs11.CKR_DEVICE_ERROR, err)
	}
	if public, private, err = driver.CompletePair(public, private, key); err != nil {
		return nil, nil, err
	}
	made, err := t.create(replaces,
		&object{token: t, attrs: public, slot: none},
		&object{token: t, attrs: private, slot: slot})
	if err != nil {
		return nil, nil, err
	}
	return made[0], made[1], nil
}

// CreateObject implements driver.Creator: public keys, certificates and data.
// The chip takes no private keys.
func (t *Token) CreateObject(_ context.Context, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	switch class := pkcs11.ObjectClass(template.Uint(pkcs11.CKA_CLASS)); class {
	case pkcs11.CKO_PUBLIC_KEY:
		pub, err := driver.PublicKey(template)
		if err != nil {
			return nil, err
		}
		if template, err = driver.CompletePublic(template, pub); err != nil {
			return nil, err
		}
	case pkcs11.CKO_CERTIFICATE, pkcs11.CKO_DATA:
		template = template.Clone()
	default:
		return nil, fmt.Errorf("acme: the chip cannot store a %v: %w", class, pkcs11.CKR_TEMPLATE_INCONSISTENT)
	}
	made, err := t.create(replaces, &object{token: t, attrs: template, slot: none})
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// Destroy implements driver.Destroyer.
func (t *Token) Destroy(_ context.Context, objects ...driver.Object) error {
	_, err := t.create(objects)
	return err
}

// create adds objects and removes others, as one step.
func (t *Token) create(replaces []driver.Object, made ...*object) ([]driver.Object, error) {
	var changes []pal.Change
	for _, o := range replaces {
		if o.Attributes().Bool(pkcs11.CKA_TOKEN) {
			changes = append(changes, pal.Change{Name: o.ID()})
		}
	}
	objects := make([]driver.Object, len(made))
	for i, o := range made {
		// The public key is made before the private key, and the names sort so.
		o.id = t.nextID(i)
		objects[i] = o.typed()
		if o.attrs.Bool(pkcs11.CKA_TOKEN) {
			b, err := o.encode()
			if err != nil {
				return nil, fmt.Errorf("acme: %w", err)
			}
			changes = append(changes, pal.Change{Name: o.id, Data: b})
		}
	}
	if len(changes) > 0 {
		if err := t.store.Batch(changes); errors.Is(err, pal.ErrFull) {
			return nil, fmt.Errorf("acme: %w: %w", pkcs11.CKR_DEVICE_MEMORY, err)
		} else if err != nil {
			return nil, fmt.Errorf("acme: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
		}
	}
	gone := func(o driver.Object) bool { return slices.Contains(replaces, o) }
	t.objects = append(slices.DeleteFunc(t.objects, gone), objects...)
	return objects, nil
}

// nextID returns the name of a new record: a number that counts up, so that the
// names sort by age, and random bytes, so that none is used again.
func (t *Token) nextID(i int) string {
	var last uint64
	for _, o := range t.objects {
		var n uint64
		fmt.Sscanf(o.ID(), "o-%x-", &n)
		last = max(last, n)
	}
	var b [8]byte
	rand.Read(b[:])
	return fmt.Sprintf("o-%08x-%s", last+1+uint64(i), hex.EncodeToString(b[:]))
}

// freeSlot returns a slot that no object names.
func (t *Token) freeSlot() (int, error) {
	var used [Slots]bool
	for _, o := range t.objects {
		if k, ok := o.(*key); ok {
			used[k.slot] = true
		}
	}
	if slot := slices.Index(used[:], false); slot >= 0 {
		return slot, nil
	}
	return 0, fmt.Errorf("acme: all %d key slots are in use; destroy a key: %w", Slots, pkcs11.CKR_DEVICE_MEMORY)
}
