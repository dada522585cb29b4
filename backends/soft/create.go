package soft

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/record"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A draft is an object in the making: attributes and secret values, encoded.
type draft struct {
	enc     []byte
	secret  []byte // nil: none
	private bool
	token   bool
}

func newDraft(attrs, secret pkcs11.Template) (*draft, error) {
	d := &draft{private: attrs.Bool(pkcs11.CKA_PRIVATE), token: attrs.Bool(pkcs11.CKA_TOKEN)}
	var err error
	if d.enc, err = record.Append(make([]byte, 0, room(attrs)), attrs); err != nil {
		return nil, err
	}
	if secret != nil {
		// In one piece, so that no copy is left behind when it grows.
		if d.secret, err = record.Append(make([]byte, 0, room(secret)), secret); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// room is enough for what record.Append makes of secret attributes, and mostly for
// others.
func room(t pkcs11.Template) int {
	n := 8
	for _, a := range t {
		n += 8 + len(a.Bytes()) + len(a.Text())
	}
	return n
}

func (d *draft) wipe() { clear(d.secret) }

// CreateObject stores an object of given values.
func (t *Token) CreateObject(ctx context.Context, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	d, err := imported(template)
	if err != nil {
		return nil, err
	}
	defer d.wipe()
	made, err := t.create(ctx, []*draft{d}, replaces)
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// imported checks the values of a new object and divides them into what is shown
// and what is not.
func imported(template pkcs11.Template) (*draft, error) {
	switch class := pkcs11.ObjectClass(template.Uint(pkcs11.CKA_CLASS)); class {
	case pkcs11.CKO_DATA, pkcs11.CKO_CERTIFICATE:
		return newDraft(template, nil)
	case pkcs11.CKO_PUBLIC_KEY:
		pub, err := keys.PublicKey(template)
		if err != nil {
			return nil, err
		}
		attrs, err := driver.CompletePublic(template, pub)
		if err != nil {
			return nil, err
		}
		return newDraft(attrs, nil)
	case pkcs11.CKO_PRIVATE_KEY:
		key, err := keys.PrivateKey(template)
		if err != nil {
			return nil, err
		}
		return privateDraft(template, key)
	case pkcs11.CKO_SECRET_KEY:
		value, ok := template.Get(pkcs11.CKA_VALUE)
		if !ok || len(value.Bytes()) == 0 {
			return nil, fmt.Errorf("soft: %v: %w", pkcs11.CKA_VALUE, pkcs11.CKR_TEMPLATE_INCOMPLETE)
		}
		return secretDraft(template, value.Bytes())
	default:
		return nil, fmt.Errorf("soft: %w: objects of class %v cannot be stored", pkcs11.CKR_TEMPLATE_INCONSISTENT, class)
	}
}

// privateDraft makes a draft of a private key, and wipes key.
func privateDraft(template pkcs11.Template, key any) (*draft, error) {
	p, err := split(key)
	if err != nil {
		return nil, err
	}
	defer keys.Wipe(p.secret)
	attrs, err := driver.CompletePrivate(template, p.public)
	if err != nil {
		return nil, err
	}
	return newDraft(attrs, p.secret)
}

// parts are what is kept of a private key.
type parts struct {
	public crypto.PublicKey
	secret pkcs11.Template // the caller wipes it
}

// split returns the parts of a private key, and wipes it.
func split(key any) (*parts, error) {
	parsed, err := ownKey(key)
	if err != nil {
		return nil, err
	}
	defer parsed.wipe()
	all, err := keys.PrivateAttributes(key)
	if err != nil {
		return nil, err
	}
	p := &parts{public: parsed.public()}
	for _, a := range all {
		if isSecret(a.Type) {
			p.secret = append(p.secret, a)
		}
	}
	return p, nil
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

// secretDraft makes a draft of a secret key.
func secretDraft(template pkcs11.Template, value []byte) (*draft, error) {
	attrs := make(pkcs11.Template, 0, len(template)+2)
	for _, a := range template {
		if !isSecret(a.Type) {
			attrs = append(attrs, a)
		}
	}
	if n, ok := attrs.Get(pkcs11.CKA_VALUE_LEN); ok && n.Uint() != uint64(len(value)) {
		return nil, fmt.Errorf("soft: %w: %v is %d, the value has %d bytes", pkcs11.CKR_TEMPLATE_INCONSISTENT, n.Type, n.Uint(), len(value))
	}
	attrs = attrs.Set(pkcs11.Attr(pkcs11.CKA_VALUE_LEN, uint64(len(value))))
	check, err := checkValue(pkcs11.KeyType(attrs.Uint(pkcs11.CKA_KEY_TYPE)), value)
	if err != nil {
		return nil, err
	}
	switch have, ok := attrs.Get(pkcs11.CKA_CHECK_VALUE); {
	case !ok:
		attrs = append(attrs, pkcs11.Attr(pkcs11.CKA_CHECK_VALUE, check))
	case len(have.Bytes()) > 0 && !slices.Equal(have.Bytes(), check):
		return nil, fmt.Errorf("soft: %w: %v is not that of the value", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, have.Type)
	}
	return newDraft(attrs, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_VALUE, value)})
}

// CopyObject creates an object with the secret values of o.
func (t *Token) CopyObject(ctx context.Context, o driver.Object, template pkcs11.Template) (driver.Object, error) {
	from, err := t.own(o)
	if err != nil {
		return nil, err
	}
	values, err := from.values()
	if err != nil {
		return nil, err
	}
	defer keys.Wipe(values)
	d, err := newDraft(template, values)
	if err != nil {
		return nil, err
	}
	defer d.wipe()
	made, err := t.create(ctx, []*draft{d}, nil)
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// own returns the object behind one that this token returned.
func (t *Token) own(o driver.Object) (*object, error) {
	if s, ok := o.(stored); ok && s.base().t == t {
		return s.base(), nil
	}
	return nil, fmt.Errorf("soft: not an object of this token: %w", pkcs11.CKR_OBJECT_HANDLE_INVALID)
}

// create makes objects of drafts and removes others, as one step.
func (t *Token) create(ctx context.Context, drafts []*draft, replaces []driver.Object) ([]driver.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	old := make([]*object, len(replaces))
	for i, o := range replaces {
		var err error
		if old[i], err = t.own(o); err != nil {
			return nil, err
		}
	}
	made := make([]*object, len(drafts))
	c := &change{}
	c.prepare = func(c *change) error {
		if t.closed {
			return errClosed
		}
		stored := slices.ContainsFunc(drafts, func(d *draft) bool { return d.token }) ||
			slices.ContainsFunc(old, func(o *object) bool { return o.isStored() })
		if stored {
			if err := t.mayChange(); err != nil {
				return err
			}
		}
		for i, d := range drafts {
			o, data, err := t.build(newName(), d)
			if err != nil {
				return err
			}
			if made[i] = o; data != nil {
				c.add(o.name, data)
			}
		}
		for _, o := range old {
			if !o.isStored() {
				continue
			}
			if o.private && !t.mayUsePrivate() {
				return fmt.Errorf("soft: log in to destroy a private object: %w", pkcs11.CKR_USER_NOT_LOGGED_IN)
			}
			c.remove = append(c.remove, o.name)
		}
		return nil
	}
	c.apply = func() {
		for _, o := range made {
			t.put(o)
		}
		for _, o := range old {
			t.take(o)
		}
	}
	if err := t.commit(c); err != nil {
		return nil, err
	}
	out := make([]driver.Object, len(made))
	for i, o := range made {
		out[i] = o.self
	}
	return out, nil
}

// newName returns a name that no object has had.
func newName() string {
	var b [8]byte
	rand.Read(b[:])
	return objectPrefix + hex.EncodeToString(b[:])
}

// isStored reports whether the object is one of the store.
func (o *object) isStored() bool { return o.seq != 0 }

// put adds an object. t.mu is held.
func (t *Token) put(o *object) {
	if !o.isStored() {
		t.session[o] = struct{}{}
		return
	}
	t.objects[o.name] = o
}

// take forgets an object that is destroyed. t.mu is held.
func (t *Token) take(o *object) {
	if now := t.objects[o.name]; now != nil {
		delete(t.objects, o.name)
		now.secret.drop()
	}
	delete(t.lost, o.name)
	delete(t.session, o)
	o.secret.drop()
}

// build makes an object of a draft, and the record of one that is stored. t.mu
// is held.
func (t *Token) build(name string, d *draft) (*object, []byte, error) {
	if !d.token {
		o, err := t.newObject(name, 0, d.enc)
		if err != nil {
			return nil, nil, err
		}
		o.private, o.checked = d.private, true
		if d.secret != nil {
			o.secret = &secret{plain: slices.Clone(d.secret)}
		}
		o.self = o.kind()
		return o, nil, nil
	}
	t.seq++
	var sealed []byte
	if d.secret != nil {
		header := appendHeader(nil, t.rec.version, d.flags(), t.rec.epoch, t.seq, 0)[:offSince]
		sealed = t.keys.sealSecret(name, d.secret, objectData(nil, partSecret, name, header))
	}
	return t.record(name, t.seq, 0, d, sealed)
}

func (d *draft) flags() (f objectFlags) {
	if d.private {
		f |= flagPrivate
	}
	if d.secret != nil {
		f |= flagSecret
	}
	return f
}

// record makes an object and its record of encoded attributes and a secret part
// that is sealed already. t.mu is held.
func (t *Token) record(name string, seq uint64, changes uint32, d *draft, sealed []byte) (*object, []byte, error) {
	o, err := t.newObject(name, seq, d.enc)
	if err != nil {
		return nil, nil, err
	}
	b := make([]byte, 0, headerLen(t.rec.version)+len(d.enc)+sealLen+len(sealed)+crcLen)
	b = appendHeader(b, t.rec.version, d.flags(), t.rec.epoch, seq, changes)
	n := len(d.enc)
	if d.private {
		n += sealLen
	}
	if size := cap(b); size > pal.MaxRecord || n > 1<<16-1 {
		return nil, nil, fmt.Errorf("soft: the object takes %d bytes; the store has room for objects of %d: %w", size, pal.MaxRecord, pkcs11.CKR_DEVICE_MEMORY)
	}
	setAttrLen(b, n)
	data := objectData(nil, partAttrs, name, b)
	if d.private {
		b = seal(b, t.keys.private, d.enc, data)
	} else {
		b = append(b, d.enc...)
		b = seal(b, t.keys.public, nil, append(data, d.enc...))
	}
	b = appendCRC(append(b, sealed...))
	o.private, o.checked, o.changes = d.private, true, changes
	o.crc = binary.BigEndian.Uint32(b[len(b)-crcLen:])
	if sealed != nil {
		o.secret = &secret{sealed: sealed}
	}
	o.self = o.kind()
	return o, b, nil
}

// Destroy removes objects.
func (t *Token) Destroy(ctx context.Context, objects ...driver.Object) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := t.create(ctx, nil, objects)
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
			return nil, fmt.Errorf("soft: %v: %w", a.Type, pkcs11.CKR_ATTRIBUTE_READ_ONLY)
		}
		if from.secret != nil && isSecret(a.Type) {
			return nil, fmt.Errorf("soft: %v: %w", a.Type, pkcs11.CKR_ATTRIBUTE_READ_ONLY)
		}
	}
	var now, next *object
	c := &change{}
	c.prepare = func(c *change) error {
		if t.closed {
			return errClosed
		}
		now = from
		if from.isStored() {
			if err := t.mayChange(); err != nil {
				return err
			}
			if now = t.objects[from.name]; now == nil {
				return fmt.Errorf("%v is destroyed: %w", from, pkcs11.CKR_OBJECT_HANDLE_INVALID)
			}
		} else if _, ok := t.session[from]; !ok {
			return fmt.Errorf("%v is destroyed: %w", from, pkcs11.CKR_OBJECT_HANDLE_INVALID)
		}
		attrs := slices.Clone(now.Attributes())
		for _, a := range changed {
			attrs = attrs.Set(a)
		}
		d, err := newDraft(attrs, nil)
		if err != nil {
			return err
		}
		if !now.isStored() {
			next, _, err = t.build(now.name, d)
		} else {
			var sealed, data []byte
			if now.secret != nil {
				sealed = now.secret.sealed
				d.secret = sealed // for the flag
			}
			if next, data, err = t.record(now.name, now.seq, now.changes+1, d, sealed); err == nil {
				c.add(now.name, data)
			}
		}
		if err != nil {
			return err
		}
		next.secret = now.secret
		next.self = next.kind()
		return nil
	}
	c.apply = func() {
		delete(t.session, now)
		t.put(next)
	}
	if err := t.commit(c); err != nil {
		return nil, err
	}
	return next.self, nil
}
