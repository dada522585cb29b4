package tpm

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/internal/record"
	"github.com/go-cryptoki/cryptoki/pal"
)

// loadToken reads the token's record. t.io is held.
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
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.setToken(rec)
}

// setToken makes rec the token's record. If it is that of another token than
// before, everybody is logged out. t.mu is held.
func (t *Token) setToken(rec *tokenRecord) error {
	same := t.rec != nil && rec != nil && t.rec.epoch == rec.epoch
	if same && t.keys != nil {
		if _, err := open(t.keys.meta(), rec.mac, rec.signed); err != nil {
			return damaged(nameToken, "somebody else has changed it")
		}
	}
	if !same {
		t.rec = nil
		t.forget()
		t.loaded.Store(false)
	}
	t.rec = rec
	defer t.publish()
	if same || rec == nil || rec.flags&flagNoPIN == 0 {
		return nil
	}
	keys, err := t.checked(rec, bytes.Clone(rec.open))
	if err != nil {
		t.rec = nil
		return err
	}
	t.keys = keys
	return nil
}

// forget wipes the keys, and drops the private objects. The keys of a token
// without PIN go only if it is closed or another one now. t.mu is held.
func (t *Token) forget() {
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
	for id, o := range t.objects {
		if o.private {
			delete(t.objects, id)
		}
	}
}

// watch notes whether others have changed the store. t.io is held.
func (t *Token) watch() error {
	if t.watcher == nil {
		if t.locker != nil {
			t.reread = true // there is no way to tell
			t.loaded.Store(false)
		}
		return nil
	}
	now, err := t.watcher.Changes()
	if err != nil {
		return storeError("changes", err)
	}
	if now != t.seen {
		t.seen, t.reread = now, true
		t.loaded.Store(false)
		t.others.Add(1)
	}
	return nil
}

// refresh reads the objects if they have not been, or if others have changed
// something. locked says that no other process changes them meanwhile. t.io is held.
func (t *Token) refresh(locked bool) error {
	t.mu.RLock()
	closed := t.closed
	t.mu.RUnlock()
	if closed {
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
	suspect, err := t.load()
	if err != nil || !suspect || locked || t.locker == nil {
		return err
	}
	// Another process may have changed them while they were read.
	unlock, err := t.lock()
	if err != nil {
		return nil
	}
	defer unlock()
	_, err = t.load()
	return err
}

// load reads the objects. They are suspect if they are not those of the inventory.
// t.io is held.
func (t *Token) load() (suspect bool, err error) {
	names, err := t.store.Names()
	if err != nil {
		return false, storeError("names of the records", err)
	}
	records := make(map[string]*bundle)
	var stale []string
	var damage []error
	for _, name := range names {
		if !strings.HasPrefix(name, objectPrefix) {
			continue
		}
		b, err := t.store.Load(name)
		if notThere(err) {
			continue // removed meanwhile
		}
		if err != nil {
			damage = append(damage, storeError("record "+name, err))
			continue
		}
		r, err := parseBundle(name, b)
		if err != nil {
			damage = append(damage, err)
			continue
		}
		if t.rec == nil || r.epoch != t.rec.epoch {
			stale = append(stale, name)
			continue
		}
		records[name] = r
	}
	gone := replaced(records)
	t.mu.Lock()
	defer t.mu.Unlock()
	hidden, wrong := t.takeStock(records, gone)
	damage = append(damage, wrong...)
	objects := make(map[objectID]*object, len(records))
	for name, r := range records {
		for i := range r.objects {
			s := &r.objects[i]
			if gone[s.id] || hidden[s.state()] {
				continue
			}
			t.seq = max(t.seq, s.seq)
			o, err := t.decode(name, s, t.objects[s.id])
			if err != nil {
				damage = append(damage, err)
			}
			if o != nil {
				objects[o.id] = o
			}
		}
	}
	t.objects, t.records, t.ordered, t.damage, t.stale = objects, records, nil, damage, stale
	t.loaded.Store(true)
	return len(wrong) > 0, nil
}

// decode makes an object of a stored one. If it is the one that have was made
// of, and have was checked as far as it can be now, it is have. It returns nil
// for an object that is not for whoever is logged in. t.mu is held.
func (t *Token) decode(name string, s *stored, have *object) (*object, error) {
	private := s.flags&flagPrivate != 0
	if private && !t.mayUsePrivate() {
		return nil, nil
	}
	if have != nil && have.sameAs(s) && (have.checked || t.keys == nil) {
		return have, nil
	}
	enc := s.attrs
	if t.keys != nil {
		var err error
		data := s.data(t.rec.epoch)
		if private {
			enc, err = open(t.keys.private, s.attrs, data)
		} else {
			_, err = open(t.keys.public, s.mac, append(data, enc...))
		}
		if err != nil {
			return nil, damaged(name, "somebody else has changed it")
		}
	}
	if have != nil && have.sameAs(s) {
		have.checked = true
		return have, nil
	}
	attrs, err := record.Parse(enc)
	if err != nil {
		return nil, damaged(name, "%v", err)
	}
	o := &object{t: t, id: s.id, seq: s.seq, record: name, attrs: attrs, private: private, checked: t.keys != nil, sealedAttrs: s.attrs}
	switch {
	case s.flags&flagKey != 0:
		if o.blob, err = parseKeyBlob(s.blob); err == nil {
			err = o.setKey()
		}
		if err != nil {
			return nil, damaged(name, "%v", err)
		}
	case s.flags&flagSecret != 0:
		o.value = &value{sealed: s.blob}
	}
	o.self = o.kind()
	if have != nil && have.key != nil && o.key != nil && bytes.Equal(have.key.name, o.key.name) && have.key.persistent == o.key.persistent {
		o.key = have.key // only attributes have changed
	}
	return o, nil
}

// A change is a change of token objects that happens as one step: one record is
// saved, and records that it makes superfluous are removed afterwards. If they
// cannot be, or the power goes before, the record says what is gone.
type change struct {
	add    []*object
	remove []*object
}

// commit makes a change.
func (t *Token) commit(make func() (*change, error)) error {
	release, err := t.exclusive()
	if err != nil {
		return err
	}
	defer release()
	if err := t.refresh(true); err != nil {
		return err
	}
	t.mu.Lock()
	c, err := make()
	if err == nil && (slices.ContainsFunc(c.add, (*object).isStored) || slices.ContainsFunc(c.remove, (*object).isStored)) {
		err = t.mayChange()
	}
	if err != nil {
		t.mu.Unlock()
		return err
	}
	for i, o := range c.remove {
		if now := t.objects[o.id]; o.isStored() && now != nil {
			c.remove[i] = now
		}
	}
	name, b, coming, err := t.encode(c)
	var announced, changes []pal.Change
	stock := t.stock
	if err == nil && name != "" {
		announced, err = t.announce(persistentOf(c.remove)...)
	}
	if err == nil && name != "" {
		changes, stock, err = t.changes(name, b, coming, t.statesOf(c.remove))
	}
	t.mu.Unlock()
	if err != nil {
		return err
	}
	if err := t.wrote(t.write(append(announced, changes...))); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stock = stock
	t.apply(c, name, b)
	t.stale = slices.DeleteFunc(t.stale, func(name string) bool {
		err := t.store.Remove(name)
		return err == nil || notThere(err)
	})
	return nil
}

// persistentOf returns the keys of objects that are persistent.
func persistentOf(objects []*object) (list []persisting) {
	for _, o := range objects {
		if o.isStored() && o.key != nil && o.key.persistent != 0 {
			list = append(list, persisting{o.key.persistent, o.key.name})
		}
	}
	return list
}

// statesOf returns the states of objects that are stored. t.mu is held.
func (t *Token) statesOf(objects []*object) (states []objectState) {
	for _, o := range objects {
		r := t.records[o.record]
		if !o.isStored() || r == nil {
			continue
		}
		for i := range r.objects {
			if r.objects[i].id == o.id {
				states = append(states, r.objects[i].state())
			}
		}
	}
	return states
}

// mayChange reports why token objects cannot be changed now. t.mu is held.
func (t *Token) mayChange() error {
	switch {
	case t.closed:
		return errClosed
	case t.rec == nil:
		return errUninitialized
	case t.keys == nil:
		return errNotLoggedIn
	}
	return nil
}

// encode makes the record of a change, and returns the states of the objects that
// the change adds. If b is nil, the record of that name is removed, and if name is
// empty, nothing is stored. t.mu is held.
func (t *Token) encode(c *change) (name string, b []byte, coming []objectState, err error) {
	if name, r := t.onlyFrom(c); r != nil {
		if len(r.objects) == 0 && len(r.replaces) == 0 {
			return name, nil, nil, nil
		}
		b := r.encode()
		return name, b, nil, checkSize(b)
	}
	r := &bundle{}
	if t.rec != nil {
		r.epoch = t.rec.epoch
	}
	for _, o := range c.add {
		if !o.isStored() {
			continue
		}
		s, err := t.store1(o)
		if err != nil {
			return "", nil, nil, err
		}
		r.objects = append(r.objects, s)
		coming = append(coming, s.state())
		if name == "" {
			name = objectPrefix + hex.EncodeToString(o.id[:])
		}
	}
	for _, o := range c.remove {
		if o.isStored() {
			r.replaces = append(r.replaces, o.id)
		}
	}
	if len(r.objects) == 0 && len(r.replaces) == 0 {
		return "", nil, nil, nil
	}
	if name == "" {
		id := newID()
		name = objectPrefix + hex.EncodeToString(id[:])
	}
	for _, o := range c.add {
		o.record = name
	}
	b = r.encode()
	return name, b, coming, checkSize(b)
}

// onlyFrom returns what becomes of the record from which alone objects are
// removed, if there is such a one and nothing is added. t.mu is held.
func (t *Token) onlyFrom(c *change) (name string, rest *bundle) {
	if slices.ContainsFunc(c.add, (*object).isStored) {
		return "", nil
	}
	gone := make(map[objectID]bool)
	for _, o := range c.remove {
		if !o.isStored() {
			continue
		}
		if name == "" {
			name = o.record
		}
		if o.record != name {
			return "", nil
		}
		gone[o.id] = true
	}
	r := t.records[name]
	if r == nil {
		return "", nil
	}
	keep := slices.DeleteFunc(slices.Clone(r.objects), func(s stored) bool { return gone[s.id] })
	return name, &bundle{epoch: r.epoch, replaces: r.replaces, objects: keep}
}

// apply makes the objects what the store holds now, and removes what it need not
// hold any more. t.io and t.mu are held.
func (t *Token) apply(c *change, name string, b []byte) {
	t.ordered = nil
	if b == nil {
		delete(t.records, name)
	} else if r, err := parseBundle(name, b); err == nil {
		t.records[name] = r
	}
	for _, o := range c.add {
		if o.isStored() {
			t.objects[o.id] = o
		} else {
			t.session[o] = struct{}{}
		}
	}
	for _, o := range c.remove {
		if !o.isStored() {
			delete(t.session, o)
		} else if t.objects[o.id] != nil {
			delete(t.objects, o.id)
		}
		o.drop()
	}
	t.tidy()
}

// replaced returns the objects that records say are gone. They may be in a record
// all the same, which has to go before the one that says so.
func replaced(records map[string]*bundle) map[objectID]bool {
	gone := make(map[objectID]bool)
	for _, r := range records {
		for _, id := range r.replaces {
			gone[id] = true
		}
	}
	return gone
}

// tidy removes records of which nothing is left, and objects from records of
// which something is. What fails is done the next time: the records say what is
// gone. t.io and t.mu are held.
func (t *Token) tidy() {
	gone := replaced(t.records)
	if len(gone) == 0 {
		return
	}
	clean := true
	for name, r := range t.records {
		if !slices.ContainsFunc(r.objects, func(s stored) bool { return gone[s.id] }) {
			continue
		}
		keep := slices.DeleteFunc(slices.Clone(r.objects), func(s stored) bool { return gone[s.id] })
		if len(keep) == 0 && len(r.replaces) == 0 {
			if err := t.store.Remove(name); err != nil && !notThere(err) {
				clean = false
				continue
			}
			delete(t.records, name)
			continue
		}
		next := &bundle{epoch: r.epoch, replaces: r.replaces, objects: keep}
		if t.store.Save(name, next.encode()) != nil {
			clean = false
			continue
		}
		t.records[name] = next
	}
	if !clean {
		return
	}
	for name, r := range t.records {
		if len(r.replaces) > 0 && len(r.objects) == 0 {
			if err := t.store.Remove(name); err == nil || notThere(err) {
				delete(t.records, name)
			}
		}
	}
}

// removeOld removes the objects of another epoch, and their inventory. t.io is held.
func (t *Token) removeOld(epoch [8]byte) {
	names, err := t.store.Names()
	if err != nil {
		return
	}
	for _, name := range names {
		b, err := t.store.Load(name)
		if err != nil {
			continue
		}
		var of [8]byte
		switch {
		case name == nameInventory:
			of, _, _, err = parseInventory(b)
		case strings.HasPrefix(name, objectPrefix):
			var r *bundle
			if r, err = parseBundle(name, b); err == nil {
				of = r.epoch
			}
		default:
			continue
		}
		if err != nil || of != epoch {
			t.store.Remove(name)
		}
	}
}

// exclusive keeps others of this process (t.io) and other processes from the store
// until release is called.
func (t *Token) exclusive() (release func(), err error) {
	t.io.Lock()
	unlock, err := t.lock()
	if err != nil {
		t.io.Unlock()
		return nil, err
	}
	return func() {
		unlock()
		t.io.Unlock()
	}, nil
}

// lock keeps other processes from changing the store. t.io is held.
func (t *Token) lock() (unlock func(), err error) {
	if t.locker == nil {
		return func() {}, nil
	}
	u, err := t.locker.Lock()
	if err != nil {
		if isReadOnly(err) {
			t.noteReadOnly()
		}
		return nil, storeError("lock", err)
	}
	return func() { u() }, nil
}

func (t *Token) noteReadOnly() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readOnly = true
	t.publish()
}

// wrote is what to do with the error of the store after writing. What was to be
// written may be there all the same, so the objects are read again.
func (t *Token) wrote(err error) error {
	if err == nil {
		return nil
	}
	t.reread = true
	t.loaded.Store(false)
	if isReadOnly(err) {
		t.noteReadOnly()
	}
	return storeError("write", err)
}

// knownAbilities returns what the store says that a TPM with this firmware can
// do, or nil.
func (t *Token) knownAbilities(f firmware) *abilities {
	t.io.Lock()
	defer t.io.Unlock()
	b, err := t.store.Load(nameAbilities)
	if err != nil {
		return nil
	}
	a, err := parseAbilities(b)
	if err != nil || a.firmware != f {
		return nil
	}
	return a
}

// saveAbilities keeps what was probed, if that can be.
func (t *Token) saveAbilities() {
	release, err := t.exclusive()
	if err != nil {
		return
	}
	defer release()
	t.storeAbilities()
}

func (t *Token) storeAbilities() {
	if err := t.store.Save(nameAbilities, t.abilities.encode()); isReadOnly(err) {
		t.noteReadOnly()
	}
}
