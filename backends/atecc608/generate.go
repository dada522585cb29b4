package atecc608

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// GenerateKeyPair makes a key pair on P-256 in a slot whose policy allows it and
// that is free. A key that is replaced stays until the new one is there, in
// another slot; only if all slots are taken is it overwritten at once.
func (t *Token) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template, replaces []driver.Object) (pub, priv driver.Object, err error) {
	if err := t.enter(ctx); err != nil {
		return nil, nil, err
	}
	defer t.leave()
	if m.Type != pkcs11.CKM_EC_KEY_PAIR_GEN {
		return nil, nil, fmt.Errorf("atecc608: %v: %w: the chip makes keys on P-256 alone", m.Type, pkcs11.CKR_MECHANISM_INVALID)
	}
	if err := checkCurve(public); err != nil {
		return nil, nil, err
	}
	if err := checkPrivate(private); err != nil {
		return nil, nil, err
	}
	if t.opts.Store == nil && private.Bool(pkcs11.CKA_TOKEN) {
		return t.generateUnstored(ctx, private.Text(pkcs11.CKA_LABEL))
	}
	r := &record{name: newName(), main: private.Clone(), public: public.Clone()}
	err = t.change(ctx, func() error {
		gone, err := t.replacing(replaces)
		if err != nil {
			return err
		}
		slot, over, err := t.pick(ctx, private, gone, config.Slot.Generates, "makes keys")
		if err != nil {
			return err
		}
		r.slot = slot
		return t.place(ctx, r, gone, over, func() (*ecdsa.PublicKey, error) { return t.generate(ctx, slot) })
	})
	if err != nil {
		return nil, nil, err
	}
	return t.objects[r.name+publicSuffix], t.objects[r.name], nil
}

// generateUnstored makes the key of the slot that has the label: without a store,
// nothing else remembers it.
func (t *Token) generateUnstored(ctx context.Context, label string) (pub, priv driver.Object, err error) {
	var labels []string
	for n := range config.Slots {
		s := t.zone.Slot(n)
		if !s.Generates() || !s.ShowsPublic() {
			continue
		}
		own, _ := t.labels(n)
		labels = append(labels, fmt.Sprintf("%q", own))
		if own != label {
			continue
		}
		if err := t.findKey(ctx, n); err != nil {
			return nil, nil, err
		}
		if t.chipKeys[n] != nil && !t.isFree(n) {
			return nil, nil, fmt.Errorf("atecc608: slot %d: %w: it holds the key %q; to make it anew, name a directory (dir=PATH), or say that it may be overwritten (free=%d)", n, pkcs11.CKR_ACTION_PROHIBITED, label, n)
		}
		key, err := t.generate(ctx, n)
		if err != nil {
			delete(t.chipKeys, n)
			return nil, nil, fmt.Errorf("atecc608: slot %d: %w", n, err)
		}
		t.state.free &^= 1 << n
		t.chipKeys[n] = key
		if err := t.arrange(ctx); err != nil {
			return nil, nil, err
		}
		id := foundID(n, key)
		return t.objects[id+publicSuffix], t.objects[id], nil
	}
	return nil, nil, fmt.Errorf("atecc608: %w: without a store a key is known by the label of its slot alone: %s; name a directory for other labels (dir=PATH)", pkcs11.CKR_TOKEN_WRITE_PROTECTED, strings.Join(labels, ", "))
}

// change runs an operation that changes the store and the chip, and brings the
// objects up to date. The gate is held.
func (t *Token) change(ctx context.Context, f func() error) error {
	return t.locked(func() error {
		if err := t.watch(); err != nil {
			return err
		}
		if t.opts.Store != nil && t.stale {
			if err := t.load(ctx); err != nil {
				return err
			}
		}
		err := f()
		if err != nil {
			// What was begun is found and settled when the records are read again.
			t.stale = true
			return err
		}
		if t.watcher != nil {
			// This change is no other's.
			if t.seen, err = t.watcher.Changes(); err != nil {
				return storeError("changes", err)
			}
		}
		return t.arrange(ctx)
	})
}

// place puts a new key in the slot of r and the records in order: first the key,
// then the record, which makes it and what it replaces one change, then what is
// left of the old ones. If the slot is that of a key that is replaced, a pending
// record goes first, so that nobody takes the new key for the old one.
func (t *Token) place(ctx context.Context, r *record, gone []part, over *record, make func() (*ecdsa.PublicKey, error)) error {
	if !r.main.Bool(pkcs11.CKA_TOKEN) {
		t.session[r] = true
	}
	t.seq++
	r.seq = t.seq
	for _, p := range gone {
		if p.whole() {
			r.replaces = append(r.replaces, p.r.name)
		}
	}
	keep := r.main.Bool(pkcs11.CKA_TOKEN)
	switch {
	case over != nil && keep:
		r.flags |= flagPending
		if err := t.save(r); err != nil {
			return err
		}
	case !t.isFree(r.slot):
		// From now on a key in the slot is nobody's unless a record names it.
		t.state.free |= 1 << r.slot
		if err := t.saveChip(); err != nil {
			return err
		}
	}
	delete(t.chipKeys, r.slot)
	pub, err := make()
	if err != nil {
		delete(t.session, r)
		return fmt.Errorf("atecc608: slot %d: %w", r.slot, err)
	}
	if err := t.complete(r, pub); err != nil {
		delete(t.session, r)
		return err
	}
	for _, p := range gone {
		if old := t.records[p.r.name]; old != nil && old.name != r.name {
			if err := t.drop(old, p.main || p.r.main == nil, p.public || p.r.public == nil); err != nil {
				return err
			}
		}
	}
	return t.wipe(ctx)
}

// complete gives a record the public key that is in its slot, and saves it.
func (t *Token) complete(r *record, pub *ecdsa.PublicKey) error {
	c := *r
	c.flags &^= flagPending
	var err error
	if c.main != nil {
		if c.main, err = driver.CompletePrivate(c.main, pub); err != nil {
			return fmt.Errorf("atecc608: slot %d: %w", r.slot, err)
		}
		if s := t.zone.Slot(r.slot); restricts(s) && !c.main.Has(pkcs11.CKA_ALLOWED_MECHANISMS) {
			c.main = c.main.Set(pkcs11.Attr(pkcs11.CKA_ALLOWED_MECHANISMS, allowed(s)))
		}
	}
	if c.public != nil {
		if c.public, err = driver.CompletePublic(c.public, pub); err != nil {
			return fmt.Errorf("atecc608: slot %d: %w", r.slot, err)
		}
	}
	main, public := r.main, r.public
	*r = c
	if err := t.save(r); err != nil {
		r.main, r.public = main, public
		return err
	}
	return nil
}

// A part is what of a record is to go.
type part struct {
	r            *record
	main, public bool
}

// whole reports whether nothing is left of the record.
func (p part) whole() bool {
	return (p.main || p.r.main == nil) && (p.public || p.r.public == nil)
}

// replacing finds the records of objects that are to go. What is on the chip alone
// gets a record, so that there is something to remove. What the chip keeps for good
// is refused before anything is changed.
func (t *Token) replacing(objects []driver.Object) ([]part, error) {
	var gone []part
	for _, o := range objects {
		b, ok := o.(based)
		if !ok {
			return nil, fmt.Errorf("atecc608: %w: an object of another token", pkcs11.CKR_OBJECT_HANDLE_INVALID)
		}
		if o := b.base(); o.slot >= 0 && !strings.HasSuffix(o.id, publicSuffix) && (o.rec == nil || !t.session[t.records[o.rec.name]]) {
			if err := t.kept(o.slot); err != nil {
				return nil, err
			}
		}
		r, err := t.adopt(b.base())
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue
		}
		i := slices.IndexFunc(gone, func(p part) bool { return p.r.name == r.name })
		if i < 0 {
			gone = append(gone, part{r: r})
			i = len(gone) - 1
		}
		if strings.HasSuffix(o.ID(), publicSuffix) {
			gone[i].public = true
		} else {
			gone[i].main = true
		}
	}
	return gone, nil
}

// adopt returns the record of an object as it is now, nil if it is gone. A key
// that the store did not know gets one.
func (t *Token) adopt(o *object) (*record, error) {
	if o.rec != nil {
		return t.records[o.rec.name], nil
	}
	if t.opts.Store == nil {
		return nil, fmt.Errorf("atecc608: slot %d: %w: without a store the token only shows what is on the chip; name a directory (dir=PATH)", o.slot, pkcs11.CKR_TOKEN_WRITE_PROTECTED)
	}
	pub := t.chipKeys[o.slot]
	if r := t.recordOf(o.slot); r != nil && pub != nil {
		// The other key of the pair has made it a record just now.
		if have, err := driver.PublicKey(r.main); err == nil && pub.Equal(have) {
			return r, nil
		}
	}
	if o.slot < 0 || pub == nil || foundID(o.slot, pub) != strings.TrimSuffix(o.id, publicSuffix) {
		if r := t.recordOf(o.slot); r != nil && r.name == strings.TrimSuffix(o.id, publicSuffix) {
			return r, nil
		}
		return nil, fmt.Errorf("atecc608: %s: %w: what the chip holds there stays", o.id, pkcs11.CKR_ACTION_PROHIBITED)
	}
	t.seq++
	r := &record{name: newName(), seq: t.seq, slot: o.slot}
	r.main, r.public = t.found(o.slot, pub)
	return r, t.save(r)
}

func checkCurve(public pkcs11.Template) error {
	curve, err := driver.Curve(public)
	if err != nil {
		return fmt.Errorf("atecc608: %w", err)
	}
	if curve != elliptic.P256() {
		return fmt.Errorf("atecc608: %w: the chip has keys on P-256 alone, not on %s", pkcs11.CKR_CURVE_NOT_SUPPORTED, curve.Params().Name)
	}
	return nil
}

// checkPrivate refuses what no slot can be.
func checkPrivate(t pkcs11.Template) error {
	for _, bad := range []struct {
		typ  pkcs11.AttributeType
		is   bool
		text string
	}{
		{pkcs11.CKA_EXTRACTABLE, true, "a key never leaves the chip"},
		{pkcs11.CKA_SENSITIVE, false, "a key never leaves the chip"},
	} {
		if a, ok := t.Get(bad.typ); ok && a.Bool() == bad.is {
			return fmt.Errorf("atecc608: %v is %v: %w: %s", bad.typ, bad.is, pkcs11.CKR_TEMPLATE_INCONSISTENT, bad.text)
		}
	}
	return nil
}

// pick chooses the slot for a private key: one whose policy allows it and all that
// the template says the key is for, and that no key is in. If all are taken, it is
// that of a key which is replaced, and over is its record.
func (t *Token) pick(ctx context.Context, private pkcs11.Template, gone []part, able func(config.Slot) bool, verb string) (slot int, over *record, err error) {
	var taken, unfit []string
	var candidates []int
	for n := range config.Slots {
		s := t.zone.Slot(n)
		if !s.PrivateKey() {
			continue
		}
		if why := unsuitable(s, private, able, verb); why != "" {
			unfit = append(unfit, fmt.Sprintf("slot %d: %s", n, why))
			continue
		}
		candidates = append(candidates, n)
	}
	if len(candidates) == 0 {
		return 0, nil, fmt.Errorf("atecc608: %w: no slot of this chip can hold such a key (%s)", pkcs11.CKR_TEMPLATE_INCONSISTENT, strings.Join(unfit, "; "))
	}
	slices.SortStableFunc(candidates, func(a, b int) int { return t.rank(a, private) - t.rank(b, private) })
	for _, n := range candidates {
		if t.recordOf(n) != nil {
			continue
		}
		if t.isFree(n) {
			return n, nil, nil
		}
		if err := t.findKey(ctx, n); err != nil {
			return 0, nil, err
		}
		if t.chipKeys[n] == nil {
			return n, nil, nil
		}
	}
	slices.Sort(candidates)
	for _, n := range candidates {
		for _, p := range gone {
			if p.main && p.r.slot == n && p.r.main != nil {
				return n, p.r, nil
			}
		}
		taken = append(taken, fmt.Sprint(n))
	}
	return 0, nil, fmt.Errorf("atecc608: %w: the chip is full, with keys in slots %s: destroy one that is not needed, or name slots whose keys may be overwritten (free=N)", pkcs11.CKR_DEVICE_MEMORY, strings.Join(taken, ", "))
}

// unsuitable says which bit keeps a key as private describes it out of the slot, ""
// if none does.
func unsuitable(s config.Slot, private pkcs11.Template, able func(config.Slot) bool, verb string) string {
	switch {
	case s.Locked:
		return "it is locked for good"
	case !s.ShowsPublic():
		return "the chip does not tell its public key (KeyConfig bit 1)"
	case !able(s) && verb == "makes keys":
		return "its key cannot be made anew (SlotConfig bit 13)"
	case !able(s):
		return "its key cannot be imported (SlotConfig bit 14)"
	case private.Bool(pkcs11.CKA_SIGN) && !s.SignsDigests():
		return "its key does not sign digests (SlotConfig bit 0)"
	case private.Bool(pkcs11.CKA_DERIVE) && !s.ECDH():
		return "its key does not agree on secrets (SlotConfig bit 2)"
	}
	return ""
}

// rank is low for slots that are made for the key: slot 0 is the device's, one
// that takes imported keys is kept for those, one that signs no digests is taken
// only for keys that need not.
func (t *Token) rank(slot int, private pkcs11.Template) int {
	s := t.zone.Slot(slot)
	r := 16 - slot
	if private.Text(pkcs11.CKA_LABEL) == devicePrivateKey {
		r = slot
	} else if slot == 0 {
		r += 16
	}
	if s.Imports() {
		r += 32
	}
	if s.SignsDigests() && !private.Bool(pkcs11.CKA_SIGN) {
		r += 64
	}
	return r
}

// overwrite makes an end of the key in a slot.
func (t *Token) overwrite(ctx context.Context, slot int) error {
	s := t.zone.Slot(slot)
	switch {
	case s.Generates():
		_, err := t.generate(ctx, slot)
		return err
	case s.Imports():
		protects := t.known(s.WriteKey())
		if protects == nil {
			return fmt.Errorf("%w: the key in slot %d that protects it is not known here; give it (io-key=FILE)", pkcs11.CKR_ACTION_PROHIBITED, s.WriteKey())
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		return t.use(ctx, slot, func(seq *atecc.Sequence) error { return seq.ImportKey(slot, key, protects) })
	}
	return t.overwriteSlot(ctx, slot)
}
