package tpm

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/record"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An object is an object of the store, or a session object. It does not change:
// an update makes another one.
type object struct {
	t           *Token
	id          objectID
	seq         uint64 // 0: a session object
	record      string // the name of the record that it is in
	attrs       pkcs11.Template
	private     bool
	checked     bool   // with the token's keys; t.mu guards it
	sealedAttrs []byte // as the store has them
	self        driver.Object

	blob  *keyBlob // of a key in the TPM
	key   *tpmKey
	value *value // of a secret key that is not in the TPM
}

// A value is a secret value outside of the TPM: one that was derived with a key
// in it, or that may be exported.
type value struct {
	sealed []byte // as in the record; nil of a session object
	plain  []byte // of a session object; t.mu guards it
}

// own is what every object of this package is.
type own interface {
	driver.Object
	base() *object
}

func (o *object) base() *object { return o }

// ID names the object for as long as it lives.
func (o *object) ID() string { return hex.EncodeToString(o.id[:]) }

// Attributes returns everything but secret values.
func (o *object) Attributes() pkcs11.Template { return o.attrs }

// String names the object and shows nothing of it.
func (o *object) String() string { return "tpm: object " + o.ID() }

// GoString is String.
func (o *object) GoString() string { return o.String() }

func (o *object) isStored() bool { return o.seq != 0 }

// sameAs reports whether the object is the one that is stored so.
func (o *object) sameAs(s *stored) bool {
	if !bytes.Equal(o.sealedAttrs, s.attrs) {
		return false
	}
	switch {
	case o.blob != nil:
		return bytes.Equal(o.blob.encode(), s.blob)
	case o.value != nil:
		return bytes.Equal(o.value.sealed, s.blob)
	}
	return s.blob == nil
}

// newID makes an identifier that no object has had.
func newID() (id objectID) {
	rand.Read(id[:])
	return id
}

// kind returns the object with the abilities that its class and key type have.
func (o *object) kind() driver.Object {
	switch {
	case o.key != nil && o.key.public.typ == tpm2.TPMAlgECC:
		return ecKey{o}
	case o.key != nil && o.key.public.typ == tpm2.TPMAlgRSA:
		return rsaKey{o}
	case o.key != nil:
		return macKey{o}
	case o.value != nil:
		return hostKey{o}
	}
	return o
}

// setKey makes the key of the blob, and the attributes that follow from its
// public area: what the record says of them is not trusted. Part 2, 8.3.
func (o *object) setKey() error {
	k, err := newKey(o.blob.public, o.blob.private)
	if err != nil {
		return err
	}
	k.persistent, k.session = o.blob.persistent, !o.isStored()
	p := k.public
	if class := o.attrs.Uint(pkcs11.CKA_CLASS); (class == uint64(pkcs11.CKO_PRIVATE_KEY)) != (p.key != nil) ||
		p.key == nil && class != uint64(pkcs11.CKO_SECRET_KEY) {
		return fmt.Errorf("an object of class %v with a key of type %#x", pkcs11.ObjectClass(class), uint16(p.typ))
	}
	local := p.has(objSensitiveDataOrigin)
	fixed := p.has(objFixedTPM | objFixedParent)
	attrs := o.attrs.
		Set(pkcs11.Attr(pkcs11.CKA_LOCAL, local)).
		Set(pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, false)).
		Set(pkcs11.Attr(pkcs11.CKA_SENSITIVE, true)).
		Set(pkcs11.Attr(pkcs11.CKA_ALWAYS_SENSITIVE, local && fixed)).
		Set(pkcs11.Attr(pkcs11.CKA_NEVER_EXTRACTABLE, local && fixed))
	if p.key != nil {
		components, err := keys.PublicAttributes(p.key)
		if err != nil {
			return err
		}
		for _, a := range components {
			if a.Type != pkcs11.CKA_EC_POINT && a.Type != pkcs11.CKA_MODULUS_BITS {
				attrs = attrs.Set(a)
			}
		}
	}
	o.attrs, o.key = attrs, k
	return nil
}

// store1 makes what is stored of an object. t.mu is held.
func (t *Token) store1(o *object) (stored, error) {
	s := stored{id: o.id, seq: o.seq}
	if o.private {
		s.flags |= flagPrivate
	}
	switch {
	case o.blob != nil:
		s.flags |= flagKey
		s.blob = o.blob.encode()
	case o.value != nil:
		s.flags |= flagSecret
		if o.value.sealed == nil {
			o.value.sealed = seal(t.keys.value(o.id), o.value.plain, o.id[:])
			clear(o.value.plain)
			o.value.plain = nil
		}
		s.blob = o.value.sealed
	}
	enc, err := record.Append(nil, o.attrs)
	if err != nil {
		return s, err
	}
	if len(enc) > pal.MaxRecord {
		return s, tooLarge(len(enc))
	}
	data := s.data(t.rec.epoch)
	if o.private {
		s.attrs = seal(t.keys.private, enc, data)
	} else {
		s.attrs = enc
		s.mac = seal(t.keys.public, nil, append(data, enc...))
	}
	o.sealedAttrs, o.checked = s.attrs, true
	return s, nil
}

func checkSize(b []byte) error {
	if len(b) > pal.MaxRecord {
		return tooLarge(len(b))
	}
	return nil
}

func tooLarge(n int) error {
	return fmt.Errorf("tpm: the object takes %d bytes; the store has room for objects of %d: %w", n, pal.MaxRecord, pkcs11.CKR_DEVICE_MEMORY)
}

// drop forgets what is not in the store. t.mu is held.
func (o *object) drop() {
	if o.value != nil {
		clear(o.value.plain)
		o.value.plain = nil
	}
}

// newObject makes an object of its attributes; setKey or a value come after.
// t.mu is held.
func (t *Token) newObject(attrs pkcs11.Template) *object {
	o := &object{t: t, id: newID(), attrs: attrs.Clone(), private: attrs.Bool(pkcs11.CKA_PRIVATE)}
	if attrs.Bool(pkcs11.CKA_TOKEN) {
		t.seq++
		o.seq = t.seq
	}
	return o
}

// own returns the object behind one that this token returned.
func (t *Token) own(o driver.Object) (*object, error) {
	if s, ok := o.(own); ok && s.base().t == t {
		return s.base(), nil
	}
	return nil, fmt.Errorf("tpm: not an object of this token: %w", pkcs11.CKR_OBJECT_HANDLE_INVALID)
}

// put stores new objects, or keeps them as session objects, and removes others,
// as one step. made is called with t.mu held.
func (t *Token) put(ctx context.Context, replaces []driver.Object, made func() ([]*object, error)) ([]*object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var c change
	for _, r := range replaces {
		o, err := t.own(r)
		if err != nil {
			return nil, err
		}
		c.remove = append(c.remove, o)
	}
	err := t.commit(func() (*change, error) {
		if t.closed {
			return nil, errClosed
		}
		var err error
		c.add, err = made()
		for _, o := range c.add {
			if o.self == nil {
				o.self = o.kind()
			}
		}
		return &c, err
	})
	if err != nil {
		return nil, err
	}
	t.release(ctx, c.remove)
	return c.add, nil
}

// release removes the keys of objects that are destroyed from the TPM. What
// cannot be removed now is when room is needed, or at Close.
func (t *Token) release(ctx context.Context, gone []*object) {
	for _, o := range gone {
		if o.key == nil || t.foreign.Load() {
			continue
		}
		k := o.key
		if k.persistent != 0 {
			t.tidyTPM(ctx)
			continue
		}
		err := t.with(context.WithoutCancel(ctx), k, func(c *channel) error { return c.unload(k) })
		if err != nil {
			t.log(ctx, "a key that is destroyed is still in the TPM", "reason", err)
		}
	}
}

// Destroy removes objects, and persistent keys from the TPM.
func (t *Token) Destroy(ctx context.Context, objects ...driver.Object) error {
	_, err := t.put(ctx, objects, func() ([]*object, error) { return nil, nil })
	return err
}

// Update changes attributes of an object.
func (t *Token) Update(ctx context.Context, o driver.Object, changed pkcs11.Template) (driver.Object, error) {
	from, err := t.own(o)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, a := range changed {
		switch a.Type {
		case pkcs11.CKA_CLASS, pkcs11.CKA_KEY_TYPE, pkcs11.CKA_TOKEN, pkcs11.CKA_PRIVATE:
			return nil, fmt.Errorf("tpm: %v: %w", a.Type, pkcs11.CKR_ATTRIBUTE_READ_ONLY)
		}
		if (from.key != nil || from.value != nil) && isSecret(a.Type) {
			return nil, fmt.Errorf("tpm: %v: %w", a.Type, pkcs11.CKR_ATTRIBUTE_READ_ONLY)
		}
	}
	release, err := t.exclusive()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := t.refresh(true); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	gone := fmt.Errorf("%v is destroyed: %w", from, pkcs11.CKR_OBJECT_HANDLE_INVALID)
	if !from.isStored() {
		if _, ok := t.session[from]; !ok {
			return nil, gone
		}
		next := from.changed(changed)
		delete(t.session, from)
		t.session[next] = struct{}{}
		return next.self, nil
	}
	if err := t.mayChange(); err != nil {
		return nil, err
	}
	now := t.objects[from.id]
	if now == nil || t.records[now.record] == nil {
		return nil, gone
	}
	next := now.changed(changed)
	if err := t.saveObject(next); err != nil {
		return nil, err
	}
	return next.self, nil
}

// changed returns the object with other attributes.
func (o *object) changed(attrs pkcs11.Template) *object {
	next := *o
	next.attrs = slices.Clone(o.attrs)
	for _, a := range attrs.Clone() {
		next.attrs = next.attrs.Set(a)
	}
	next.self = next.kind()
	return &next
}

// saveObject writes the record of an object that is stored already, as it is now.
// t.io and t.mu are held.
func (t *Token) saveObject(next *object) error {
	s, err := t.store1(next)
	if err != nil {
		return err
	}
	old := t.records[next.record]
	r := &bundle{epoch: old.epoch, replaces: old.replaces, objects: slices.Clone(old.objects)}
	i := slices.IndexFunc(r.objects, func(s stored) bool { return s.id == next.id })
	if i < 0 {
		return fmt.Errorf("%v is destroyed: %w", next, pkcs11.CKR_OBJECT_HANDLE_INVALID)
	}
	going := r.objects[i].state()
	r.objects[i] = s
	b := r.encode()
	if err := checkSize(b); err != nil {
		return err
	}
	changes, stock, err := t.changes(next.record, b, []objectState{s.state()}, []objectState{going})
	if err != nil {
		return err
	}
	if err := t.write(changes); err != nil {
		t.reread = true
		t.loaded.Store(false)
		return storeError("write", err)
	}
	t.stock = stock
	t.records[next.record] = r
	t.objects[next.id] = next
	t.ordered = nil
	return nil
}

// isSecret reports whether an attribute of a private or secret key is one that
// is kept apart.
func isSecret(t pkcs11.AttributeType) bool {
	switch t {
	case pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
		pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT:
		return true
	}
	return false
}
