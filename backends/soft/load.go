package soft

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// loadToken reads the token's record and the counters. t.io is held, or nobody
// else knows t yet.
func (t *Token) loadToken() error {
	var rec *tokenRecord
	b, err := t.store.Load(nameToken)
	switch {
	case err == nil:
		if rec, err = parseToken(b); err != nil {
			return err
		}
	case !notThere(err):
		return storeError("record "+nameToken, err)
	}
	tries, err := t.loadTries(rec)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.setToken(rec, tries)
}

func (t *Token) loadTries(rec *tokenRecord) (triesRecord, error) {
	if rec == nil {
		return triesRecord{}, nil
	}
	b, err := t.store.Load(nameTries)
	if notThere(err) {
		return triesRecord{epoch: rec.epoch}, nil
	}
	if err != nil {
		return triesRecord{}, storeError("record "+nameTries, err)
	}
	tries, err := parseTries(b)
	if err != nil {
		return tries, err
	}
	if tries.epoch != rec.epoch {
		tries = triesRecord{epoch: rec.epoch}
	}
	return tries, nil
}

// setToken makes rec the token's record. If it is that of another token than
// before, everybody is logged out. t.mu is held.
func (t *Token) setToken(rec *tokenRecord, tries triesRecord) error {
	same := t.rec != nil && rec != nil && t.rec.epoch == rec.epoch
	if same && t.keys != nil {
		if err := t.keys.check(rec); err != nil {
			return damaged(nameToken, "somebody else has changed it")
		}
	}
	if !same {
		t.rec = nil
		t.forget()
		t.unspent = [2]byte{}
	}
	t.rec, t.tries = rec, tries
	defer t.publish()
	if same || rec == nil || rec.flags&flagNoPIN == 0 {
		return nil
	}
	tokenKey, err := t.unsealed(rec, rec.open)
	if err != nil {
		t.rec = nil
		return err
	}
	if t.keys, err = t.checked(rec, bytes.Clone(tokenKey)); err != nil {
		t.rec = nil
		return err
	}
	return nil
}

// unsealed returns what the platform has sealed, or b itself if it has not.
func (t *Token) unsealed(rec *tokenRecord, b []byte) ([]byte, error) {
	if rec.flags&flagSealed == 0 {
		return b, nil
	}
	if t.sealer == nil {
		return nil, fmt.Errorf("soft: the token key is sealed by a platform's key, and this store has none: %w", pkcs11.CKR_DEVICE_ERROR)
	}
	b, err := t.sealer.Unseal(b)
	if err != nil {
		return nil, fmt.Errorf("soft: the platform does not open the token key; was the store copied from another device? %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
	}
	return b, nil
}

// checked returns the keys made of the token key if the token's record is
// authentic. It takes the token key over.
func (t *Token) checked(rec *tokenRecord, tokenKey []byte) (*keyring, error) {
	if len(tokenKey) != tokenKeyLen {
		return nil, damaged(nameToken, "the token key has %d bytes", len(tokenKey))
	}
	keys := newKeyring(tokenKey)
	if err := keys.check(rec); err != nil {
		keys.wipe()
		return nil, damaged(nameToken, "somebody else has changed it")
	}
	return keys, nil
}

// forget wipes the keys, and drops the private objects and whatever else needs
// them. The keys of a token without PIN go only if it is closed or another one
// now. t.mu is held.
func (t *Token) forget() {
	if t.refused != nil {
		t.refused = nil
		t.loaded.Store(false) // whoever comes next finds out
	}
	was := t.role
	t.role, t.ordered = nobody, nil
	if t.rec != nil && t.rec.flags&flagNoPIN != 0 && !t.closed {
		if was != nobody {
			t.loaded.Store(false) // private objects show again
		}
		return
	}
	if t.keys != nil {
		t.keys.wipe()
		t.keys = nil
	}
	for name, o := range t.objects {
		o.secret.dropKey()
		if o.private {
			delete(t.objects, name)
		}
	}
}

// refresh reads the objects if they have not been, or if others have changed
// something. t.io is held.
func (t *Token) refresh(locked bool) error {
	if t.isClosed() {
		return errClosed
	}
	if err := t.watch(); err != nil {
		return err
	}
	if t.loaded.Load() {
		return nil
	}
	if t.reread {
		if err := t.loadToken(); err != nil {
			return err
		}
		t.reread = false
	}
	return t.load(locked)
}

func (t *Token) isClosed() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.closed
}

// load reads the objects. locked says that no other process changes them
// meanwhile. t.io is held.
func (t *Token) load(locked bool) error {
	if err := t.readObjects(); err != nil || t.refused == nil || locked || t.locker == nil {
		return err
	}
	// Another process may have changed them while they were read.
	unlock, err := t.lock()
	if err != nil {
		return nil
	}
	defer unlock()
	return t.readObjects()
}

// readObjects reads the objects. It sets t.refused if they are not the right ones.
func (t *Token) readObjects() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &reader{t: t, counts: t.hasInventory() && t.keys != nil}
	defer r.decoding.Wait()
	if err := r.readAll(); err != nil {
		return err
	}
	var damage []error
	skip, err := r.losers()
	if errors.Is(err, pal.ErrCorrupt) {
		damage = append(damage, err)
	} else if err != nil {
		return err
	}
	passing := false // a record could not be read now, and may be later
	n := 0
	for _, b := range r.batches {
		n += len(b.items)
	}
	objects, ordered := make(map[string]*object, n), make([]*object, 0, n)
	var found inventory
	var broken []string
	for _, b := range r.batches {
		<-b.decoded // the next ones are being decoded meanwhile
		found.sum.add(b.found.sum)
		found.count += b.found.count
		t.seq = max(t.seq, b.seq)
		for i := range b.items {
			it := &b.items[i]
			if skip[it.name] {
				if r.counts && it.failure == nil {
					found = found.after([]delta{t.uncounted(it.name, it.changes)})
				}
				continue
			}
			if it.failure != nil {
				damage = append(damage, it.failure.err)
				passing = passing || it.failure.passing
				broken = append(broken, it.name)
			} else if it.unnamed {
				damage = append(damage, damaged(it.name, "it has no name of an object"))
			}
			if it.made != nil {
				objects[it.name] = it.made
				ordered = append(ordered, it.made)
			}
		}
	}
	t.refused = nil
	switch err := r.inventoryErr; {
	case !t.hasInventory():
	case err != nil:
		passing = passing || !errors.Is(err, pal.ErrCorrupt)
		t.refused = t.accepted(found, storeError("record "+nameInventory, err))
	case r.counts:
		t.refused = t.takeStock(r.inventory, found, broken)
	case r.inventory != nil:
		if _, _, _, err := parseInventory(r.inventory); err != nil {
			damage = append(damage, err)
		}
	}
	if t.refused != nil && t.keys == nil {
		damage, t.refused = append(damage, t.refused), nil
	}
	if t.refused != nil {
		t.refused = errors.Join(append([]error{t.refused}, damage...)...)
		clear(objects)
		ordered = nil
	}
	for name, o := range t.objects {
		if now := objects[name]; now == nil || now.secret != o.secret {
			o.secret.drop()
		}
	}
	sortObjects(ordered)
	t.objects, t.ordered, t.damage = objects, ordered, damage
	t.loaded.Store(!passing)
	if passing {
		t.others.Add(1) // so that whoever keeps what Objects returned asks again
	}
	return nil
}

// sortObjects sorts objects in the order of their creation, which is about that
// of the records in the store.
func sortObjects(list []*object) {
	slices.SortFunc(list, func(a, b *object) int {
		if a.seq != b.seq {
			return cmp.Compare(a.seq, b.seq)
		}
		return cmp.Compare(a.name, b.name)
	})
}

// A reader reads the records of objects and decodes them, in batches, while the
// next ones are read: a small machine has four cores. t.mu is held meanwhile.
type reader struct {
	t        *Token
	counts   bool // the objects, for the inventory
	batches  []*batch
	decoding sync.WaitGroup
	room     []byte // where copies of records go
	quick    decoder

	journal      []byte
	journalErr   error // why it could not be read
	inventory    []byte
	inventoryErr error
}

type batch struct {
	items   []readItem
	decoded chan struct{} // closed when they are, and what follows is known
	found   inventory     // of those that are no failures, if they are counted
	seq     uint64        // the highest
}

type readItem struct {
	name    string
	data    []byte // nil if it is decoded already
	made    *object
	failure *readFailure
	changes uint32 // of the object
	unnamed bool   // it has no name of an object, and no element in the inventory
}

// A readFailure is why a record is no object.
type readFailure struct {
	err     error
	passing bool // it could not be read, which need not be damage
}

const (
	batchLen = 256
	maxRoom  = 64 << 10
)

// readAll reads all records.
func (r *reader) readAll() error {
	r.quick.t = r.t
	defer r.begin() // the last batch
	if bulk, ok := r.t.store.(pal.BulkLoader); ok {
		if err := bulk.LoadAll(func(name string, data []byte, err error) { r.add(name, data, err, false) }); err != nil {
			return storeError("read the records", err)
		}
		return nil
	}
	names, err := r.t.store.Names()
	if err != nil {
		return storeError("names of the records", err)
	}
	for _, name := range names {
		if name != nameJournal && name != nameInventory && !strings.HasPrefix(name, objectPrefix) {
			continue
		}
		data, err := r.t.store.Load(name)
		if !notThere(err) { // it may have been removed meanwhile
			r.add(name, data, err, true)
		}
	}
	return nil
}

// add takes a record. If it is not owned, it is copied.
func (r *reader) add(name string, data []byte, err error, owned bool) {
	if name == nameJournal {
		r.journal, r.journalErr = bytes.Clone(data), err
		return
	}
	if name == nameInventory {
		r.inventory, r.inventoryErr = bytes.Clone(data), err
		return
	}
	if !strings.HasPrefix(name, objectPrefix) {
		return
	}
	it, seq := readItem{name: name}, uint64(0)
	switch {
	case err != nil:
		it.failure = &readFailure{storeError("record "+name, err), !errors.Is(err, pal.ErrCorrupt)}
	case r.t.objects[name].isOf(data, r.t.keys != nil):
		seq = r.quick.item(&it, data) // nothing is kept of the record
	case owned:
		it.data = data
	default:
		it.data = r.copy(data)
	}
	if len(r.batches) == 0 || len(r.last().items) == batchLen {
		r.begin()
		r.batches = append(r.batches, &batch{items: make([]readItem, 0, batchLen), decoded: make(chan struct{})})
	}
	b := r.last()
	b.items, b.seq = append(b.items, it), max(b.seq, seq)
}

func (r *reader) last() *batch { return r.batches[len(r.batches)-1] }

// isOf reports whether o, which may be nil, was made of the record, and need not
// be checked again for somebody with or without the token's keys.
func (o *object) isOf(data []byte, keys bool) bool {
	return o != nil && (o.checked || !keys) && len(data) > crcLen && binary.BigEndian.Uint32(data[len(data)-crcLen:]) == o.crc
}

func (r *reader) copy(data []byte) []byte {
	if cap(r.room)-len(r.room) < len(data) {
		r.room = make([]byte, 0, max(len(data), min(2*cap(r.room), maxRoom), 1024))
	}
	n := len(r.room)
	r.room = append(r.room, data...)
	return r.room[n:len(r.room):len(r.room)]
}

// begin starts the decoding of the last batch.
func (r *reader) begin() {
	if len(r.batches) == 0 {
		return
	}
	b := r.last()
	r.decoding.Go(func() {
		defer close(b.decoded)
		d := decoder{t: r.t}
		if len(r.t.objects) == 0 {
			d.room = len(b.items) // all are new; those that are made together mostly end together
		}
		for i := range b.items {
			it := &b.items[i]
			if it.data != nil {
				b.seq = max(b.seq, d.item(it, it.data))
				it.data = nil
			}
			if it.failure == nil && r.counts {
				it.unnamed = !r.t.keys.element(&d.element, it.name, it.changes)
				b.found.sum.add(d.element)
				b.found.count++
			}
		}
	})
}

// losers returns which records the journal, if there is one, takes for absent.
func (r *reader) losers() (map[string]bool, error) {
	if r.journalErr != nil {
		return nil, storeError("record "+nameJournal, r.journalErr)
	}
	if r.journal == nil {
		return nil, nil
	}
	j, err := parseJournal(r.journal)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, b := range r.batches {
		for i := range b.items {
			names = append(names, b.items[i].name) // the rest is being written
		}
	}
	lose, _, err := r.t.losers(j, names)
	if err != nil {
		return nil, storeError("record "+nameJournal, err)
	}
	skip := make(map[string]bool)
	for _, name := range lose {
		skip[name] = true
	}
	return skip, nil
}

// A decoder makes objects of records. Several may work at once.
type decoder struct {
	t       *Token
	data    []byte // associated data
	element element
	last    *object // that was made

	// Objects come from these, room of them at most, if it is not 0.
	room    int
	objects []object
	secrets []secret
}

const roomLen = 64

func (d *decoder) newObject() (o *object) { return next(&d.objects, min(d.room, roomLen)) }
func (d *decoder) newSecret() (s *secret) { return next(&d.secrets, min(d.room, roomLen)) }

// next takes the next of a list, and makes a list of n if that is empty.
func next[T any](list *[]T, n int) *T {
	if len(*list) == 0 {
		*list = make([]T, max(n, 1))
	}
	first := &(*list)[0]
	*list = (*list)[1:]
	return first
}

// item makes an object of an item's record and returns its number.
func (d *decoder) item(it *readItem, data []byte) (seq uint64) {
	var err error
	if it.made, seq, it.changes, err = d.decode(it.name, data, d.t.objects[it.name]); err != nil {
		it.failure = &readFailure{err: err}
	}
	return seq
}

// decode makes an object of a record, which it keeps. If the record is that of
// which have was made, and have was checked as far as it can be now, it is have,
// and the record is not kept. It returns nil for an object that is not for whoever
// is logged in. t.mu is held.
func (d *decoder) decode(name string, b []byte, have *object) (o *object, seq uint64, changes uint32, err error) {
	t := d.t
	r, err := parseObject(name, b)
	if err != nil {
		return nil, 0, 0, err
	}
	if t.rec == nil || r.epoch() != t.rec.epoch || r.header[0] != t.rec.version {
		return nil, 0, 0, damaged(name, "it belongs to another token, or to this one before it was initialized anew")
	}
	seq, changes = r.seq(), r.changes()
	crc := binary.BigEndian.Uint32(b[len(b)-crcLen:])
	private := r.flags()&flagPrivate != 0
	if private && !t.mayUsePrivate() {
		return nil, seq, changes, nil
	}
	if have.isOf(b, t.keys != nil) {
		return have, seq, changes, nil
	}
	enc := r.attrs
	if t.keys != nil {
		d.data = objectData(d.data[:0], partAttrs, name, r.header)
		if private {
			enc, err = t.keys.private.Open(enc[:0], nil, enc, d.data)
		} else {
			d.data = append(d.data, enc...)
			_, err = t.keys.public.Open(nil, nil, r.mac, d.data)
		}
		if err != nil {
			return nil, seq, changes, damaged(name, "somebody else has changed it")
		}
	}
	if have != nil && have.crc == crc {
		have.checked = true // it was listed before login
		return have, seq, changes, nil
	}
	o = d.newObject()
	if err = o.fill(t, name, seq, enc, d.last); err != nil {
		return nil, seq, changes, damaged(name, "%v", err)
	}
	d.last = o
	o.private, o.changes, o.crc, o.checked = private, r.changes(), crc, t.keys != nil
	if r.flags()&flagSecret != 0 {
		if have != nil && have.secret != nil && bytes.Equal(have.secret.sealed, r.secret) {
			o.secret = have.secret // only attributes have changed
		} else {
			o.secret = d.newSecret()
			o.secret.sealed = r.secret
		}
	}
	o.self = o.kind()
	return o, seq, changes, nil
}

// The parts of an object's record that are sealed by themselves.
const (
	partAttrs  = 'a'
	partSecret = 's'
)

// newObject makes an object of its encoded attributes, which it keeps.
func (t *Token) newObject(name string, seq uint64, enc []byte) (*object, error) {
	o := new(object)
	if err := o.fill(t, name, seq, enc, nil); err != nil {
		return nil, err
	}
	return o, nil
}
