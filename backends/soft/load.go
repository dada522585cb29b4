package soft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/go-cryptoki/cryptoki/internal/record"
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
		if _, err := open(t.keys.meta(), rec.mac, rec.signed); err != nil {
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
	if _, err := open(keys.meta(), rec.mac, rec.signed); err != nil {
		keys.wipe()
		return nil, damaged(nameToken, "somebody else has changed it")
	}
	return keys, nil
}

// forget wipes the keys, and drops the private objects and whatever else needs
// them. The keys of a token without PIN go only if it is closed or another one
// now. t.mu is held.
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
	for name, o := range t.objects {
		o.secret.dropKey()
		if o.private {
			delete(t.objects, name)
		}
	}
}

// refresh reads the objects if they have not been, or if others have changed
// something. t.io is held.
func (t *Token) refresh() error {
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
	return t.load()
}

func (t *Token) isClosed() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.closed
}

// load reads the objects. t.io is held.
func (t *Token) load() error {
	names, err := t.store.Names()
	if err != nil {
		return storeError("names of the records", err)
	}
	var skip map[string]bool
	var damage []error
	passing := false // a record could not be read now, and may be later
	for _, name := range names {
		if name == nameJournal {
			b, err := t.store.Load(nameJournal)
			if notThere(err) {
				continue
			}
			if err != nil {
				return storeError("record "+nameJournal, err)
			}
			j, err := parseJournal(b)
			if err != nil {
				damage = append(damage, err)
				continue
			}
			lose, _, err := t.losers(j, names)
			if err != nil {
				return storeError("record "+nameJournal, err)
			}
			skip = make(map[string]bool)
			for _, name := range lose {
				skip[name] = true
			}
		}
	}

	type item struct {
		name string
		data []byte
		seq  uint64
		made *object
		err  error
	}
	items := make([]item, 0, len(names))

	t.mu.Lock()
	defer t.mu.Unlock()
	// Records are decoded while the next ones are read: a small machine has
	// four cores.
	var decoding sync.WaitGroup
	begun := 0
	begin := func() {
		part := items[begun:]
		begun = len(items)
		decoding.Go(func() {
			d := decoder{t: t}
			for i := range part {
				it := &part[i]
				it.made, it.seq, it.err = d.decode(it.name, it.data, t.objects[it.name])
				it.data = nil
			}
		})
	}
	for _, name := range names {
		if !strings.HasPrefix(name, objectPrefix) || skip[name] {
			continue
		}
		b, err := t.store.Load(name)
		if notThere(err) {
			continue // removed meanwhile
		}
		if err != nil {
			damage = append(damage, storeError("record "+name, err))
			passing = passing || !errors.Is(err, pal.ErrCorrupt)
			continue
		}
		items = append(items, item{name: name, data: b})
		if len(items)-begun == 256 {
			begin()
		}
	}
	begin()
	decoding.Wait()
	objects := make(map[string]*object, len(items))
	for _, it := range items {
		if it.err != nil {
			damage = append(damage, it.err)
		}
		if it.made != nil {
			objects[it.name] = it.made
		}
		t.seq = max(t.seq, it.seq)
	}
	for name, o := range t.objects {
		if now := objects[name]; now == nil || now.secret != o.secret {
			o.secret.drop()
		}
	}
	t.objects, t.ordered, t.damage = objects, nil, damage
	t.loaded.Store(!passing)
	if passing {
		t.others.Add(1) // so that whoever keeps what Objects returned asks again
	}
	return nil
}

// A decoder makes objects of records. Several may work at once.
type decoder struct {
	t    *Token
	data []byte // associated data
}

// decode makes an object of a record. If the record is that of which have was
// made, and have was checked as far as it can be now, it is have. It returns nil
// for an object that is not for whoever is logged in. t.mu is held.
func (d *decoder) decode(name string, b []byte, have *object) (o *object, seq uint64, err error) {
	t := d.t
	r, err := parseObject(name, b)
	if err != nil {
		return nil, 0, err
	}
	if t.rec == nil || r.epoch() != t.rec.epoch {
		return nil, 0, damaged(name, "it belongs to another token, or to this one before it was initialized anew")
	}
	seq = r.seq()
	crc := binary.BigEndian.Uint32(b[len(b)-crcLen:])
	private := r.flags()&flagPrivate != 0
	if private && !t.mayUsePrivate() {
		return nil, seq, nil
	}
	if have != nil && have.crc == crc && (have.checked || t.keys == nil) {
		return have, seq, nil
	}
	enc := r.attrs
	if t.keys != nil {
		d.data = objectData(d.data[:0], partAttrs, name, r.header)
		if private {
			enc, err = open(t.keys.private, r.attrs, d.data)
			r.secret = bytes.Clone(r.secret) // and not the rest of the record
		} else {
			d.data = append(d.data, enc...)
			_, err = open(t.keys.public, r.mac, d.data)
		}
		if err != nil {
			return nil, seq, damaged(name, "somebody else has changed it")
		}
	}
	if have != nil && have.crc == crc {
		have.checked = true // it was listed before login
		return have, seq, nil
	}
	if o, err = t.newObject(name, seq, enc); err != nil {
		return nil, seq, damaged(name, "%v", err)
	}
	o.private, o.crc, o.checked = private, crc, t.keys != nil
	if r.flags()&flagSecret != 0 {
		o.secret = &secret{sealed: r.secret}
		if have != nil && have.secret != nil && bytes.Equal(have.secret.sealed, r.secret) {
			o.secret = have.secret // only attributes have changed
		}
	}
	o.self = o.kind()
	return o, seq, nil
}

// The parts of an object's record that are sealed by themselves.
const (
	partAttrs  = 'a'
	partSecret = 's'
)

// newObject makes an object of its encoded attributes, which it keeps.
func (t *Token) newObject(name string, seq uint64, enc []byte) (*object, error) {
	attrs, err := record.Parse(enc)
	if err != nil {
		return nil, err
	}
	return &object{
		t:       t,
		name:    name,
		seq:     seq,
		attrs:   attrs,
		class:   pkcs11.ObjectClass(attrs.Uint(pkcs11.CKA_CLASS)),
		keyType: pkcs11.KeyType(attrs.Uint(pkcs11.CKA_KEY_TYPE)),
	}, nil
}
