package tpm

import (
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The tag of an object says that it is the token's, not that it is the newest one,
// nor that no other is missing: somebody who can write the store could put back a
// root CA that was replaced. So the record "inventory" lists the states of all
// objects, sealed with a key made of the token secret. It changes in the same step
// as they do; on a store that makes one change at a time it is written before, with
// what is about to change.
type inventory struct {
	states []objectState
	// A change of which nobody knows whether it was made: what it adds to the
	// states, and what it takes away. Objects that it adds are in one record.
	coming, going []objectState
}

// An objectState stands for all that is stored of an object. Who looks for another
// object of the same state has only those that the token has had to choose from.
type objectState [8]byte

func (o *stored) state() (s objectState) {
	sum := sha256.Sum256(o.append(nil))
	copy(s[:], sum[:])
	return s
}

// maxObjects is how many objects a token has room for: their states fit in a record,
// beside those of some that change.
const maxObjects = 2000

// now returns the states that there should be, given those that were found.
func (v *inventory) now(found map[objectState]bool) []objectState {
	isFound := func(s objectState) bool { return found[s] }
	made := slices.ContainsFunc(v.coming, isFound) || len(v.coming) == 0 && !slices.ContainsFunc(v.going, isFound)
	if !made {
		return v.states
	}
	return v.after()
}

// after returns the states once the change is made.
func (v *inventory) after() []objectState {
	kept := slices.DeleteFunc(slices.Clone(v.states), func(s objectState) bool { return slices.Contains(v.going, s) })
	return append(kept, v.coming...)
}

// encode makes the record; a is what seals it.
func (v *inventory) encode(a cipher.AEAD, epoch [8]byte) ([]byte, error) {
	var plain []byte
	for _, list := range [][]objectState{v.states, v.coming, v.going} {
		plain = put16(plain, uint16(len(list)))
		for _, s := range list {
			plain = append(plain, s[:]...)
		}
	}
	header := append([]byte{withInventory, kindInventory}, epoch[:]...)
	b := appendCRC(append(header, seal(a, plain, header)...))
	if len(v.states) > maxObjects || len(b) > pal.MaxRecord {
		return nil, fmt.Errorf("tpm: a token has room for %d objects: %w", maxObjects, pkcs11.CKR_DEVICE_MEMORY)
	}
	return b, nil
}

// parseInventory takes a record apart as far as that is possible without a key.
func parseInventory(b []byte) (epoch [8]byte, header, sealed []byte, err error) {
	rest, err := body(nameInventory, kindInventory, b)
	if err != nil {
		return epoch, nil, nil, err
	}
	if len(rest) < 8+sealLen {
		return epoch, nil, nil, damaged(nameInventory, "%d bytes are too few", len(b))
	}
	return [8]byte(rest), b[:2+8], rest[8:], nil
}

// openInventory reads the record. A token that has had no objects yet has none. t.io
// and t.mu are held.
func (t *Token) openInventory() (*inventory, error) {
	b, err := t.store.Load(nameInventory)
	if notThere(err) {
		return new(inventory), nil
	}
	if err != nil {
		return nil, storeError("record "+nameInventory, err)
	}
	epoch, header, sealed, err := parseInventory(b)
	if err != nil {
		return nil, err
	}
	if epoch != t.rec.epoch {
		return new(inventory), nil // of the token before it was initialized anew
	}
	plain, err := open(t.keys.inventory(), sealed, header)
	if err != nil {
		return nil, damaged(nameInventory, "somebody else has changed it")
	}
	v := new(inventory)
	d := reader{b: plain}
	for _, list := range []*[]objectState{&v.states, &v.coming, &v.going} {
		for n := d.u16(); n > 0 && !d.bad; n-- {
			var s objectState
			copy(s[:], d.take(len(s)))
			*list = append(*list, s)
		}
	}
	if !d.done() {
		return nil, damaged(nameInventory, "its fields do not fit its length")
	}
	return v, nil
}

// takeStock compares the records, without what is gone, with the inventory. It
// returns what is not in that, and what is to be said about it. t.io and t.mu are
// held.
func (t *Token) takeStock(records map[string]*bundle, gone map[objectID]bool) (hidden map[objectState]bool, damage []error) {
	t.stock = nil
	if t.rec == nil || t.rec.version < withInventory || t.keys == nil {
		return nil, nil
	}
	found := make(map[objectState]bool)
	for _, r := range records {
		for i := range r.objects {
			if s := &r.objects[i]; !gone[s.id] {
				found[s.state()] = true
			}
		}
	}
	v, err := t.openInventory()
	if err != nil {
		damage = append(damage, err)
		v = new(inventory)
	}
	states := v.now(found)
	want := make(map[objectState]bool)
	missing := 0
	for _, s := range states {
		want[s] = true
		if !found[s] {
			missing++
		}
	}
	if missing > 0 {
		damage = append(damage, damaged(nameInventory, "objects are missing: %d", missing))
	}
	if t.opts.AcceptObjects {
		for s := range found {
			t.stock = append(t.stock, s)
		}
		return nil, nil
	}
	hidden = make(map[objectState]bool)
	for name, r := range records {
		for i := range r.objects {
			if s := r.objects[i].state(); found[s] && !want[s] {
				hidden[s] = true
				damage = append(damage, damaged(name, "an object is in it that was destroyed, or an older state of one"))
			}
		}
	}
	t.stock = states
	if n := len(damage); n > 0 {
		damage[n-1] = fmt.Errorf("%w; restore the records from a backup, or, if you know why, have the token accept what is there (tpm:…;accept=true)", damage[n-1])
	}
	return hidden, damage
}

// changes returns what has to be written so that a record of objects changes, b
// being nil if it goes, and what the stock is then. t.mu is held.
func (t *Token) changes(name string, b []byte, coming, going []objectState) ([]pal.Change, []objectState, error) {
	c := []pal.Change{{Name: name, Data: b}}
	if t.rec.version < withInventory {
		return c, nil, nil
	}
	v := &inventory{t.stock, coming, going}
	after := v.after()
	if _, ok := t.store.(pal.Batcher); ok {
		v = &inventory{states: after}
	}
	list, err := v.encode(t.keys.inventory(), t.rec.epoch)
	if err != nil {
		return nil, nil, err
	}
	return append([]pal.Change{{Name: nameInventory, Data: list}}, c...), after, nil
}

// write makes changes, in one step if the store can. t.io is held.
func (t *Token) write(changes []pal.Change) error {
	if b, ok := t.store.(pal.Batcher); ok && len(changes) > 1 {
		return b.Batch(changes)
	}
	for _, c := range changes {
		var err error
		if c.Data != nil {
			err = t.store.Save(c.Name, c.Data)
		} else if err = t.store.Remove(c.Name); notThere(err) {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
