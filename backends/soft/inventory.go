package soft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The tag of a record says that it is the token's, not that it is the newest, nor
// that there is no other. The inventory does: it is a sum over all objects, of
// their names and how many times each was changed, and their number, sealed with
// the token's key and written with every change, in the same step.
//
// The sum is the exclusive or of one encrypted block for each object, so that a
// change costs the same however many objects there are. (It is the set hash of
// Clarke and others, "Incremental Multiset Hash Functions and Their Application
// to Memory Integrity Checking", 2003, with a secret key and kept secret itself.)
// Somebody without the key who removes objects or puts old ones back would have to
// guess 128 bits.
type inventory struct {
	sum   element
	count int
}

type element [16]byte

func (e *element) add(other element) {
	for i := range e {
		e[i] ^= other[i]
	}
}

// A delta is what a change of one record does to the inventory.
type delta struct {
	element
	more int
}

func (v inventory) after(deltas []delta) inventory {
	for _, d := range deltas {
		v.sum.add(d.element)
		v.count += d.more
	}
	return v
}

// element sets e to what stands for an object in the sum. Only names of newName's
// making have one; it is zero for others.
func (k *keyring) element(e *element, name string, changes uint32) (ok bool) {
	*e = element{}
	const digits = 16
	hex, ok := strings.CutPrefix(name, objectPrefix)
	if !ok || len(hex) != digits {
		return false
	}
	var number uint64
	for _, c := range []byte(hex) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		default:
			return false
		}
		number = number<<4 | uint64(c)
	}
	binary.BigEndian.PutUint64(e[:], number)
	binary.BigEndian.PutUint32(e[8:], changes)
	k.elements.Encrypt(e[:], e[:])
	return true
}

// An inventoryRecord is the record "inventory". On a store that makes several
// changes as one step both inventories are the same; on another one it is written
// first, and the objects are those of the one or of the other.
type inventoryRecord struct {
	epoch         [8]byte
	before, after inventory
}

const inventoryLen = 2 * (16 + 4)

func (r inventoryRecord) encode(k *keyring) (b []byte) {
	b = append(make([]byte, 0, 2+len(r.epoch)+sealLen+inventoryLen+crcLen), withInventory, kindInventory)
	b = append(b, r.epoch[:]...)
	plain := make([]byte, 0, inventoryLen)
	for _, v := range []inventory{r.before, r.after} {
		plain = append(plain, v.sum[:]...)
		plain = binary.BigEndian.AppendUint32(plain, uint32(v.count))
	}
	return appendCRC(seal(b, k.book, plain, objectData(nil, kindInventory, nameInventory, b)))
}

// parseInventory takes a record apart as far as that is possible without a key.
func parseInventory(b []byte) (epoch [8]byte, header, sealed []byte, err error) {
	rest, err := body(nameInventory, kindInventory, b)
	if err != nil {
		return epoch, nil, nil, err
	}
	if len(rest) != 8+sealLen+inventoryLen || b[0] < withInventory {
		return epoch, nil, nil, damaged(nameInventory, "it has %d bytes and version %d", len(b), b[0])
	}
	return [8]byte(rest[:8]), b[:2+8], rest[8:], nil
}

// openInventory returns what the inventory of the store says; of a token that has
// had no objects yet there is none. b is nil if there is no record. t.mu is held.
func (t *Token) openInventory(b []byte) (r inventoryRecord, err error) {
	r.epoch = t.rec.epoch
	if b == nil {
		return r, nil
	}
	epoch, header, sealed, err := parseInventory(b)
	if err != nil || epoch != r.epoch {
		return r, err
	}
	plain, err := open(t.keys.book, sealed, objectData(nil, kindInventory, nameInventory, header))
	if err != nil {
		return r, damaged(nameInventory, "somebody else has changed it")
	}
	for i, v := range []*inventory{&r.before, &r.after} {
		p := plain[i*(16+4):]
		v.sum = element(p[:16])
		v.count = int(binary.BigEndian.Uint32(p[16:]))
	}
	return r, nil
}

// hasInventory reports whether objects are counted. t.mu is held.
func (t *Token) hasInventory() bool { return t.rec != nil && t.rec.version >= withInventory }

// takeStock compares the objects that were found with the inventory. What is
// broken was there and could not be read, or is not the token's. If the objects
// are not the right ones, none of them is to be trusted. t.mu is held.
func (t *Token) takeStock(b []byte, found inventory, broken []string) error {
	r, err := t.openInventory(b)
	if err != nil {
		return t.accepted(found, err)
	}
	for _, want := range []inventory{r.after, r.before} {
		if lost, ok := t.keys.explain(want, found, broken); ok {
			t.stock, t.lost = want, lost
			return nil
		}
	}
	what := "an older state of an object is in the place of a newer one"
	switch n := found.count - r.after.count; {
	case n > 0:
		what = fmt.Sprintf("%d of the objects were destroyed, and are back", n)
	case n < 0 && -n > len(broken):
		what = fmt.Sprintf("%d objects are missing", -n-len(broken))
	}
	return t.accepted(found, damaged(nameInventory, "%s", what))
}

// accepted is nil if the objects found are to be taken for the token's. t.mu is held.
func (t *Token) accepted(found inventory, err error) error {
	switch {
	case !errors.Is(err, pal.ErrCorrupt):
		return err
	case t.opts.AcceptObjects:
		t.stock, t.lost = found, nil
		return nil
	}
	return fmt.Errorf("%w; restore the records from a backup, or, if you know why, have the token accept the objects that are there (soft:…;accept=true)", err)
}

// explain reports whether the objects found are those of the inventory, apart from
// broken ones, and how often those were changed that belong to it. That is found by
// trying, which is no help to an attacker: it makes 128 bits to be guessed 112.
func (k *keyring) explain(want, found inventory, broken []string) (lost map[string]uint32, ok bool) {
	if want == found {
		return nil, true
	}
	missing := want.count - found.count
	if missing < 0 || missing > len(broken) {
		return nil, false
	}
	limit := triesEach(len(broken), missing)
	table := make([][]element, len(broken)) // grows as it is needed
	want.sum.add(found.sum)
	lost = make(map[string]uint32)
	var try func(i, missing int, rest element) bool
	try = func(i, missing int, rest element) bool {
		if i == len(broken) || missing == 0 {
			return missing == 0 && rest == element{}
		}
		if missing < len(broken)-i && try(i+1, missing, rest) {
			return true // it does not belong to the token
		}
		for n := range limit {
			if n == len(table[i]) {
				var e element
				if !k.element(&e, broken[i], uint32(n)) {
					break
				}
				table[i] = append(table[i], e)
			}
			next := rest
			next.add(table[i][n])
			if try(i+1, missing-1, next) {
				lost[broken[i]] = uint32(n)
				return true
			}
		}
		return false
	}
	return lost, try(0, missing, want.sum)
}

// triesEach is how many numbers of changes are tried for each of the records that
// belong to the token, so that it takes no more than 2^16 tries to find them among
// those that are broken.
func triesEach(broken, belong int) int {
	const most = 1 << 16
	choices := uint64(1) // of so many among the broken ones
	for i := range belong {
		if choices = choices * uint64(broken-i) / uint64(i+1); choices > most {
			return 0
		}
	}
	for n := uint64(most); n > 0; n /= 2 {
		tries := choices
		for i := 0; i < belong && tries <= most; i++ {
			tries *= n
		}
		if tries <= most {
			return int(n)
		}
	}
	return 0
}

// count notes what the records of a change do to the inventory. t.mu is held.
func (t *Token) count(c *change) error {
	c.saved, c.removed = c.saved[:0], c.removed[:0]
	if !t.hasInventory() || len(c.save)+len(c.remove) == 0 {
		return nil
	}
	for _, s := range c.save {
		r, err := parseObject(s.Name, s.Data)
		if err != nil {
			return err
		}
		d := t.without(s.Name)
		var e element
		if !t.keys.element(&e, s.Name, r.changes()) {
			return fmt.Errorf("soft: %q is no name of an object: %w", s.Name, pkcs11.CKR_FUNCTION_FAILED)
		}
		d.add(e)
		d.more++
		c.saved = append(c.saved, d)
	}
	for _, name := range c.remove {
		c.removed = append(c.removed, t.without(name))
	}
	return nil
}

// without is what the inventory loses with an object that may not be there.
func (t *Token) without(name string) (d delta) {
	changes, there := t.lost[name]
	if o := t.objects[name]; o != nil {
		changes, there = o.changes, true
	}
	if there {
		return t.uncounted(name, changes)
	}
	return d
}

// uncounted is what the inventory loses with an object. t.mu is held.
func (t *Token) uncounted(name string, changes uint32) delta {
	d := delta{more: -1}
	t.keys.element(&d.element, name, changes)
	return d
}

// inventoryChange is how the record changes while the objects change from before to
// after; nil if there is none. t.io is held, and t.mu is not.
func (t *Token) inventoryChange(before, after inventory) ([]pal.Change, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if !t.hasInventory() {
		return nil, nil
	}
	if t.keys == nil {
		return nil, errNotLoggedIn // any more
	}
	return []pal.Change{{Name: nameInventory, Data: inventoryRecord{t.rec.epoch, before, after}.encode(t.keys)}}, nil
}

// announce writes, to a store that cannot change several records as one step, that
// the inventory is about to change, and returns what it will be. t.io is held.
func (t *Token) announce(deltas ...[]delta) (inventory, error) {
	next := t.stock
	for _, d := range deltas {
		next = next.after(d)
	}
	if next == t.stock {
		return next, nil
	}
	cs, err := t.inventoryChange(t.stock, next)
	for _, c := range cs {
		err = t.wrote(t.store.Save(c.Name, c.Data))
	}
	return next, err
}
