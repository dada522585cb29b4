package tpm

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pal"
)

// A key becomes persistent, and ceases to be, in two places: the TPM and the record
// that has its handle. The record "persisting" says which keys are about to, so that
// none stays in the TPM that no record knows when the power goes in between.
type persistingRecord []persisting

type persisting struct {
	handle uint32
	name   []byte
}

func (r persistingRecord) encode() []byte {
	b := []byte{version, kindPersists}
	for _, p := range r {
		b = putSized(put32(b, p.handle), p.name)
	}
	return appendCRC(b)
}

func parsePersisting(b []byte) (r persistingRecord, err error) {
	rest, err := body(namePersists, kindPersists, b)
	if err != nil {
		return nil, err
	}
	d := reader{b: rest}
	for len(d.b) > 0 && !d.bad {
		r = append(r, persisting{d.u32(), d.sized()})
	}
	if !d.done() {
		return nil, damaged(namePersists, "its fields do not fit its length")
	}
	return r, nil
}

// loadPersisting returns what the record says. t.io is held.
func (t *Token) loadPersisting() (persistingRecord, error) {
	b, err := t.store.Load(namePersists)
	if notThere(err) {
		return nil, nil
	}
	if err != nil {
		return nil, storeError("record "+namePersists, err)
	}
	return parsePersisting(b)
}

// announce returns the change of the store that has to come before keys are made
// persistent or removed; none if there are none. t.io is held.
func (t *Token) announce(keys ...persisting) ([]pal.Change, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	r, err := t.loadPersisting()
	if err != nil && !errors.Is(err, pal.ErrCorrupt) {
		return nil, err
	}
	return []pal.Change{{Name: namePersists, Data: append(r, keys...).encode()}}, nil
}

// announceOne announces one key, in a change of its own.
func (t *Token) announceOne(p persisting) error {
	release, err := t.exclusive()
	if err != nil {
		return err
	}
	defer release()
	changes, err := t.announce(p)
	if err != nil {
		return err
	}
	return t.wrote(t.write(changes))
}

// persistent returns the handle of an object's key, if it is persistent.
func (o *stored) persistent() (p persisting, ok bool) {
	if o.flags&flagKey == 0 {
		return p, false
	}
	k, err := parseKeyBlob(o.blob)
	if err != nil || k.persistent == 0 {
		return p, false
	}
	pub, err := parsePublic(k.public)
	if err != nil {
		return p, false
	}
	return persisting{k.persistent, pub.name}, true
}

// allPersistent returns the persistent keys of all records. t.io is held.
func (t *Token) allPersistent() (list []persisting) {
	names, err := t.store.Names()
	if err != nil {
		return nil
	}
	for _, name := range names {
		if !strings.HasPrefix(name, objectPrefix) {
			continue
		}
		b, err := t.store.Load(name)
		if err != nil {
			continue
		}
		r, err := parseBundle(name, b)
		if err != nil {
			continue
		}
		for i := range r.objects {
			if p, ok := r.objects[i].persistent(); ok {
				list = append(list, p)
			}
		}
	}
	return list
}

// settlePersistent removes from the TPM what was announced and is of no object of
// the token, and forgets the rest. What cannot be removed is when the token is
// opened the next time.
func (c *channel) settlePersistent() {
	t := c.t
	t.io.Lock()
	announced, err := t.loadPersisting()
	if len(announced) > 0 {
		err = t.refresh(false)
	}
	t.io.Unlock()
	var done persistingRecord
	for _, p := range announced {
		if err != nil {
			break
		}
		var pub *publicArea
		pub, err = c.readPublic(p.handle)
		if err == nil && bytes.Equal(pub.name, p.name) && !t.hasPersistent(p) {
			err = c.evict(entity(p), p.handle)
		}
		if errors.Is(err, tpm2.TPMRCHandle) {
			err = nil // it is not there
		}
		if err == nil {
			done = append(done, p)
		}
	}
	if len(done) > 0 {
		err = errors.Join(err, t.forgetPersisting(done))
	}
	if err != nil && !isReadOnly(err) {
		t.log(c.ctx, "a persistent key of no use may stay in the TPM", "reason", err)
	}
}

// hasPersistent reports whether a record has a key at its handle.
func (t *Token) hasPersistent(p persisting) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	gone := replaced(t.records)
	for _, r := range t.records {
		for i := range r.objects {
			if gone[r.objects[i].id] {
				continue
			}
			if have, ok := r.objects[i].persistent(); ok && have.handle == p.handle && bytes.Equal(have.name, p.name) {
				return true
			}
		}
	}
	return false
}

// forgetPersisting takes out of the record what is settled.
func (t *Token) forgetPersisting(done persistingRecord) error {
	release, err := t.exclusive()
	if err != nil {
		return err
	}
	defer release()
	r, err := t.loadPersisting()
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(r, func(p persisting) bool {
		return slices.ContainsFunc(done, func(d persisting) bool { return d.handle == p.handle && bytes.Equal(d.name, p.name) })
	})
	c := pal.Change{Name: namePersists}
	if len(rest) > 0 {
		c.Data = rest.encode()
	}
	return t.write([]pal.Change{c})
}

// tidyTPM does what settlePersistent does, now that something has changed.
func (t *Token) tidyTPM(ctx context.Context) {
	t.use(context.WithoutCancel(ctx), nil, func(c *channel, _ entity) error {
		c.settlePersistent()
		return nil
	})
}
