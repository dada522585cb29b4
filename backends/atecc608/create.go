package atecc608

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// CreateObject stores certificates, public keys and data in the Store, and private
// and secret keys in slots.
func (t *Token) CreateObject(ctx context.Context, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	if err := t.enter(ctx); err != nil {
		return nil, err
	}
	defer t.leave()
	switch pkcs11.ObjectClass(template.Uint(pkcs11.CKA_CLASS)) {
	case pkcs11.CKO_PRIVATE_KEY:
		return t.importPrivate(ctx, template, replaces)
	case pkcs11.CKO_SECRET_KEY:
		return t.importSecret(ctx, template, replaces)
	}
	if t.opts.Store == nil {
		return nil, fmt.Errorf("atecc608: %w: there is no store for such objects; name a directory (dir=PATH), or have them in data slots of the chip (store=slots)", pkcs11.CKR_TOKEN_WRITE_PROTECTED)
	}
	r := &record{name: newName(), slot: -1, main: template.Clone()}
	if pkcs11.ObjectClass(template.Uint(pkcs11.CKA_CLASS)) == pkcs11.CKO_PUBLIC_KEY {
		pub, err := driver.PublicKey(template)
		if err != nil {
			return nil, fmt.Errorf("atecc608: %w", err)
		}
		if r.main, err = driver.CompletePublic(r.main, pub); err != nil {
			return nil, fmt.Errorf("atecc608: %w", err)
		}
	}
	err := t.change(ctx, func() error {
		gone, err := t.replacing(replaces)
		if err != nil {
			return err
		}
		if err := t.choosePublic(ctx, r, gone); err != nil {
			return err
		}
		return t.store(ctx, r, gone)
	})
	if err != nil {
		return nil, err
	}
	return t.objects[r.name], nil
}

// choosePublic finds the slot of a public key that has a place in the chip: the
// one with its label, if it can be written and nothing is in it. Everything else is
// in the store alone.
func (t *Token) choosePublic(ctx context.Context, r *record, gone []part) error {
	if pkcs11.ObjectClass(r.main.Uint(pkcs11.CKA_CLASS)) != pkcs11.CKO_PUBLIC_KEY || !r.main.Bool(pkcs11.CKA_TOKEN) || checkCurve(r.main) != nil {
		return nil
	}
	if err := t.readSlots(ctx); err != nil {
		return err
	}
	for n := range config.Slots {
		s := t.zone.Slot(n)
		if !s.PublicKey() || t.inSlots.keeps(n) || s.Validated() || !s.WritesClear() || t.publicLabel(n) != r.main.Text(pkcs11.CKA_LABEL) {
			continue
		}
		have := t.recordOf(n)
		replaced := have != nil && slices.ContainsFunc(gone, func(p part) bool { return p.main && p.r.name == have.name })
		if have == nil && t.chipSlots[n] != nil || have != nil && !replaced {
			continue
		}
		r.slot, r.flags = n, flagOnChip|flagPending
		return nil
	}
	return nil
}

// writePublic writes the public key of a record into its slot.
func (t *Token) writePublic(ctx context.Context, r *record) error {
	pub, err := driver.PublicKey(r.main)
	if err != nil {
		return fmt.Errorf("atecc608: %w", err)
	}
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok {
		return fmt.Errorf("atecc608: slot %d: %w: the record has no key on P-256", r.slot, pkcs11.CKR_DEVICE_ERROR)
	}
	if err := t.dev.WritePublicKey(ctx, r.slot, key); err != nil {
		return fmt.Errorf("atecc608: slot %d: %w", r.slot, err)
	}
	if t.chipSlots != nil {
		t.chipSlots[r.slot] = &chipSlot{key: key}
	}
	r.flags &^= flagPending
	return t.save(r)
}

// store saves the record of an object that is not a private or secret key.
func (t *Token) store(ctx context.Context, r *record, gone []part) error {
	t.seq++
	r.seq = t.seq
	for _, p := range gone {
		if p.whole() {
			r.replaces = append(r.replaces, p.r.name)
		}
	}
	if err := t.save(r); err != nil {
		return err
	}
	if r.flags&flagOnChip != 0 {
		if err := t.writePublic(ctx, r); err != nil {
			return err
		}
	}
	for _, p := range gone {
		if old := t.records[p.r.name]; old != nil {
			if err := t.drop(old, p.main || p.r.main == nil, p.public || p.r.public == nil); err != nil {
				return err
			}
		}
	}
	return t.wipe(ctx)
}

// Destroy removes objects. The slot of a private or secret key is overwritten with
// a new one that nobody uses; a key that the chip's policy keeps there stays an
// object: CKR_ACTION_PROHIBITED.
func (t *Token) Destroy(ctx context.Context, objects ...driver.Object) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer t.leave()
	return t.change(ctx, func() error {
		gone, err := t.replacing(objects)
		if err != nil {
			return err
		}
		for _, p := range gone {
			if err := t.drop(p.r, p.main || p.r.main == nil, p.public || p.r.public == nil); err != nil {
				return err
			}
		}
		return t.wipe(ctx)
	})
}

// kept says why what is in a slot cannot be overwritten, nil if it can.
func (t *Token) kept(slot int) error {
	s := t.zone.Slot(slot)
	if s.Generates() || s.Imports() || s.WritesClear() || s.WritesInvalid() || s.WritesEncrypted() {
		return nil
	}
	return fmt.Errorf("atecc608: slot %d: %w: %s", slot, pkcs11.CKR_ACTION_PROHIBITED, stays(s.Locked))
}

func stays(locked bool) string {
	if locked {
		return "the slot is locked for good, and what is in it stays"
	}
	return "the chip's configuration keeps the key there for good (SlotConfig bit 13)"
}

// Update changes attributes of an object. One that the store did not know gets a
// record.
func (t *Token) Update(ctx context.Context, o driver.Object, changed pkcs11.Template) (driver.Object, error) {
	if err := t.enter(ctx); err != nil {
		return nil, err
	}
	defer t.leave()
	b, ok := o.(based)
	if !ok {
		return nil, fmt.Errorf("atecc608: %w: an object of another token", pkcs11.CKR_OBJECT_HANDLE_INVALID)
	}
	public := strings.HasSuffix(o.ID(), publicSuffix)
	id := o.ID()
	err := t.change(ctx, func() error {
		r, err := t.adopt(b.base())
		if err != nil {
			return err
		}
		if r == nil {
			return fmt.Errorf("atecc608: %w: the object has been destroyed", pkcs11.CKR_OBJECT_HANDLE_INVALID)
		}
		next := *r
		id = r.name
		part := &next.main
		if public {
			id += publicSuffix
			part = &next.public
		}
		*part = part.Clone()
		for _, a := range changed.Clone() {
			*part = part.Set(a)
		}
		if t.session[r] {
			delete(t.session, r)
			t.session[&next] = true
		}
		return t.save(&next)
	})
	if err != nil {
		return nil, err
	}
	return t.objects[id], nil
}
