package atecc608

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// loadChip reads the store's record of the chip. A new store gets one when it is
// first written to. The gate is held.
func (t *Token) loadChip(ctx context.Context) error {
	t.state = &chipState{serial: t.zone.Serial(), ioKey: slices.Clone(t.opts.IOKey)}
	for _, n := range t.opts.Free {
		t.state.free |= 1 << n
	}
	if t.opts.Store == nil {
		return nil
	}
	c, err := loadChip(t.opts.Store)
	if notThere(err) {
		// In a slot without a key there is none that anybody could miss.
		return nil
	} else if err != nil {
		return err
	}
	if c.serial != t.state.serial {
		return fmt.Errorf("atecc608: %w: the store belongs to the chip with serial number %X, this one has %X; give each chip a store of its own", pkcs11.CKR_TOKEN_NOT_RECOGNIZED, c.serial, t.state.serial)
	}
	c.free |= t.state.free
	if t.opts.IOKey != nil {
		c.ioKey = t.state.ioKey
	}
	t.state = c
	return nil
}

// loadChip reads the record of the chip.
func loadChip(store pal.Store) (*chipState, error) {
	b, err := store.Load(chipRecord)
	if notThere(err) {
		return nil, err
	} else if err != nil {
		return nil, storeError("record of the chip", err)
	}
	defer clear(b)
	c, err := parseChip(b)
	if err != nil {
		return nil, storeError("record of the chip", err)
	}
	return c, nil
}

// load reads the records, and finishes what was interrupted. The gate is held, and
// the store.
func (t *Token) load(ctx context.Context) error {
	if t.watcher != nil {
		now, err := t.watcher.Changes()
		if err != nil {
			return storeError("changes", err)
		}
		t.seen = now
	}
	if c, err := loadChip(t.opts.Store); err == nil && c.serial == t.state.serial {
		t.state.free, t.state.dirty = t.state.free|c.free, c.dirty
	}
	names, err := t.opts.Store.Names()
	if err != nil {
		return storeError("names", err)
	}
	old := t.records
	t.records, t.damage = make(map[string]*record, len(old)), nil
	for r := range t.session {
		t.records[r.name] = r
	}
	for _, name := range names {
		if !isObject(name) {
			continue
		}
		b, err := t.opts.Store.Load(name)
		if notThere(err) {
			continue
		}
		var r *record
		if err == nil {
			r, err = parseRecord(name, b)
		}
		if err != nil {
			t.damage = append(t.damage, storeError("record "+name, err))
			continue
		}
		if have := old[name]; have != nil && same(have, r) {
			r = have
		}
		t.records[name] = r
		t.seq = max(t.seq, r.seq)
	}
	t.stale = false
	return t.recover(ctx)
}

func same(a, b *record) bool {
	return a.slot == b.slot && a.flags == b.flags && a.seq == b.seq && slices.Equal(a.replaces, b.replaces) &&
		a.main.Equal(b.main) && a.public.Equal(b.public)
}

// recover finishes what a power cut, or a bus that failed, has interrupted.
func (t *Token) recover(ctx context.Context) error {
	for _, r := range t.bySeq() {
		if t.records[r.name] != r {
			continue // replaced by one before it
		}
		if r.flags&flagPending != 0 {
			if err := t.settle(ctx, r); err != nil {
				return err
			}
			if t.records[r.name] != r {
				continue
			}
		}
		for _, name := range r.replaces {
			if old := t.records[name]; old != nil {
				if err := t.drop(old, true, true); err != nil {
					return err
				}
			}
		}
	}
	return t.wipe(ctx)
}

// settle finds out whether the key of a pending record was made: then it is there
// to stay, and what was in its slot is gone, else it never was.
func (t *Token) settle(ctx context.Context, r *record) error {
	if r.flags&flagOnChip != 0 {
		return t.writePublic(ctx, r)
	}
	pub, err := t.publicKey(ctx, r.slot)
	if err != nil && !errors.Is(err, atecc.StatusECC) {
		return fmt.Errorf("atecc608: slot %d: find out which key it holds: %w", r.slot, err)
	}
	for _, name := range r.replaces {
		old := t.records[name]
		if old == nil || old.slot != r.slot || pub == nil {
			continue
		}
		was, err := keys.PublicKey(old.attributes())
		if err == nil && keys.Equal(was, pub) {
			return t.remove(r) // nothing has happened
		}
	}
	if pub == nil {
		return t.remove(r)
	}
	return t.complete(r, pub)
}

// attributes are those of the private key, or of what is left of the pair.
func (r *record) attributes() pkcs11.Template {
	if r.main != nil {
		return r.main
	}
	return r.public
}

// bySeq returns the records in the order of creation.
func (t *Token) bySeq() []*record {
	list := make([]*record, 0, len(t.records))
	for _, r := range t.records {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *record) int {
		return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.name, b.name))
	})
	return list
}

// recordOf returns the record that names the slot, nil if there is none. Of a
// pending one and the one before it, it is the pending one.
func (t *Token) recordOf(slot int) *record {
	var found *record
	for _, r := range t.records {
		if r.slot == slot && r.main != nil && (found == nil || r.seq > found.seq) {
			found = r
		}
	}
	return found
}

// findKeys looks for keys that no record names, once. The gate is held.
func (t *Token) findKeys(ctx context.Context) error {
	for n := range config.Slots {
		s := t.zone.Slot(n)
		if !s.ShowsPublic() || t.isFree(n) || t.recordOf(n) != nil {
			continue
		}
		if _, on := s.Authorized(); on && t.login == nil {
			continue
		}
		if err := t.findKey(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// findKey looks for a key in a slot, once.
func (t *Token) findKey(ctx context.Context, slot int) error {
	if _, known := t.chipKeys[slot]; known {
		return nil
	}
	pub, err := t.publicKey(ctx, slot)
	if errors.Is(err, atecc.StatusECC) || errors.Is(err, atecc.StatusExec) {
		pub = nil // without a key
	} else if err != nil {
		return fmt.Errorf("atecc608: slot %d: %w", slot, err)
	}
	t.chipKeys[slot] = pub
	return nil
}

// isFree reports whether the store says that nothing in the slot is of use.
func (t *Token) isFree(slot int) bool { return t.state.free>>slot&1 != 0 }

// saveChip writes the record of the chip.
func (t *Token) saveChip() error {
	if t.opts.Store == nil {
		return nil
	}
	return saveChip(t.opts.Store, t.state)
}

func saveChip(store pal.Store, c *chipState) error {
	if _, ok := store.(*slotStore); ok {
		// Everybody may read it.
		public := *c
		public.ioKey, c = nil, &public
	}
	b := c.marshal()
	defer clear(b)
	if err := store.Save(chipRecord, b); err != nil {
		return storeError("record of the chip", err)
	}
	return nil
}

// save writes a record, and makes it one of t's.
func (t *Token) save(r *record) error {
	if t.opts.Store != nil && !t.session[r] {
		b, err := r.marshal()
		if err != nil {
			return err
		}
		if err := t.opts.Store.Save(r.name, b); err != nil {
			return storeError("record "+r.name, err)
		}
	}
	t.records[r.name] = r
	return nil
}

// remove deletes a record.
func (t *Token) remove(r *record) error {
	if t.opts.Store != nil && !t.session[r] {
		if err := t.opts.Store.Remove(r.name); err != nil && !notThere(err) {
			return storeError("remove record "+r.name, err)
		}
	}
	delete(t.records, r.name)
	delete(t.session, r)
	clear(r.value)
	return nil
}

// drop removes the private key or other main object of a record, its public key,
// or both. A slot whose key goes is noted to be wiped first, so that it is wiped
// whatever happens.
func (t *Token) drop(r *record, main, public bool) error {
	left := *r
	if main {
		left.main = nil
	}
	if public {
		left.public = nil
	}
	if main && r.main != nil && r.slot >= 0 {
		if other := t.recordOf(r.slot); other == r {
			t.state.free |= 1 << r.slot
			t.state.dirty |= 1 << r.slot
			if err := t.saveChip(); err != nil {
				return err
			}
		}
	}
	if left.main == nil && left.public == nil {
		return t.remove(r)
	}
	if t.session[r] {
		t.session[&left] = true
		delete(t.session, r)
	}
	return t.save(&left)
}

// wipe overwrites the keys in dirty slots. If somebody has locked one since, its
// key stays, and shows again.
func (t *Token) wipe(ctx context.Context) error {
	changed := false
	for n := range config.Slots {
		if t.state.dirty>>n&1 == 0 {
			continue
		}
		if t.kept(n) != nil {
			t.state.free &^= 1 << n
		} else if t.recordOf(n) == nil {
			if err := t.overwrite(ctx, n); err != nil {
				return fmt.Errorf("atecc608: slot %d: overwrite a destroyed key: %w", n, err)
			}
		}
		t.state.dirty &^= 1 << n
		delete(t.chipKeys, n)
		delete(t.chipSlots, n)
		changed = true
	}
	if !changed {
		return nil
	}
	return t.saveChip()
}
