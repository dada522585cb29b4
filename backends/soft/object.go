package soft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/record"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An object is an object as the store has it, or a session object. It does not
// change: an update makes another one, which shares the secret.
type object struct {
	t       *Token
	name    string // of the record, or of what would be one
	seq     uint64
	enc     []byte                          // the attributes, encoded
	attrs   atomic.Pointer[pkcs11.Template] // made of enc at first use
	class   pkcs11.ObjectClass
	keyType pkcs11.KeyType
	token   bool
	private bool
	changes uint32 // how many times it was changed
	checked bool   // with the token's keys; t.mu guards it
	crc     uint32 // of the record
	label   string
	id      string  // CKA_ID
	secret  *secret // nil: there is none
	self    driver.Object
}

// stored is what every object of this package is.
type stored interface {
	driver.Indexed
	base() *object
}

func (o *object) base() *object { return o }

// ID is the name of the object's record without the prefix.
func (o *object) ID() string { return o.name[len(objectPrefix):] }

// Attributes returns everything but secret values.
func (o *object) Attributes() pkcs11.Template {
	if t := o.attrs.Load(); t != nil {
		return *t
	}
	t, err := record.Parse(o.enc)
	if err != nil {
		return nil // it is not: fill has checked enc
	}
	o.attrs.CompareAndSwap(nil, &t)
	return *o.attrs.Load()
}

// Index returns what searches are made by.
func (o *object) Index() driver.Index {
	return driver.Index{Class: o.class, KeyType: o.keyType, Token: o.token, Private: o.private, Label: o.label, ID: o.id}
}

// fill makes o an object of its encoded attributes, which it keeps. Strings that it
// has in common with like, which may be nil, are shared: the keys of a pair mostly have
// the same label and the same id.
func (o *object) fill(t *Token, name string, seq uint64, enc []byte, like *object) error {
	s, err := record.Summarize(enc)
	if err == nil && s.Class == pkcs11.Unavailable {
		err = errors.New("it has no class")
	}
	if err != nil {
		return err
	}
	o.t, o.name, o.seq, o.enc = t, name, seq, enc
	o.class, o.keyType, o.token, o.private = pkcs11.ObjectClass(s.Class), pkcs11.KeyType(s.KeyType), s.Token, s.Private
	if like != nil && like.label == string(s.Label) {
		o.label = like.label
	} else {
		o.label = string(s.Label)
	}
	if like != nil && like.id == string(s.ID) {
		o.id = like.id
	} else {
		o.id = string(s.ID)
	}
	return nil
}

// String names the object and shows nothing of it.
func (o *object) String() string { return "soft: object " + o.ID() }

// GoString is String.
func (o *object) GoString() string { return o.String() }

// kind returns the object with the abilities that its class and key type have.
func (o *object) kind() driver.Object {
	switch o.class {
	case pkcs11.CKO_PRIVATE_KEY:
		switch o.keyType {
		case pkcs11.CKK_EC:
			return ecKey{keyObject{o}}
		case pkcs11.CKK_EC_EDWARDS:
			return edKey{keyObject{o}}
		case pkcs11.CKK_EC_MONTGOMERY:
			return montgomeryKey{keyObject{o}}
		case pkcs11.CKK_RSA:
			return rsaKey{keyObject{o}}
		}
	case pkcs11.CKO_SECRET_KEY:
		switch o.keyType {
		case pkcs11.CKK_AES:
			return aesKey{secretKey{keyObject{o}}}
		case pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_HKDF:
			return baseKey{secretKey{keyObject{o}}}
		}
		return secretKey{keyObject{o}}
	}
	return o
}

// A keyObject is an object with secret values.
type keyObject struct{ *object }

// Export returns secret values.
func (k keyObject) Export(ctx context.Context, types ...pkcs11.AttributeType) (pkcs11.Template, error) {
	all, err := k.values()
	if err != nil {
		return nil, err
	}
	var out pkcs11.Template
	for _, a := range all {
		if slices.Contains(types, a.Type) {
			out = append(out, a)
		} else {
			clear(a.Bytes())
		}
	}
	return out, nil
}

// secret is the secret part of an object.
type secret struct {
	sealed []byte // as in the record; nil for a session object

	// Of a session object the encoded values; whether the object is destroyed, or
	// the token closed. t.mu guards both.
	plain []byte
	gone  bool

	parsing sync.Mutex // held while the key is parsed

	key atomic.Pointer[key] // nil until it is used
}

// dropKey forgets the parsed key. s may be nil.
func (s *secret) dropKey() {
	if s == nil {
		return
	}
	if k := s.key.Swap(nil); k != nil {
		k.release()
	}
}

// drop forgets all that is not in the store. s may be nil. t.mu is held.
func (s *secret) drop() {
	if s == nil {
		return
	}
	s.gone = true
	clear(s.plain)
	s.plain = nil
	s.dropKey()
}

// use returns the parsed key. The caller releases it.
func (o *object) use() (*key, error) {
	if k := o.secret.key.Load(); k != nil && k.retain() {
		return k, nil
	}
	return o.parse()
}

// parse opens the secret part and keeps the key, until Logout.
func (o *object) parse() (*key, error) {
	s := o.secret
	s.parsing.Lock()
	defer s.parsing.Unlock()
	if k := s.key.Load(); k != nil && k.retain() {
		return k, nil // somebody was faster
	}
	// Logout waits until the key is where it finds it.
	o.t.mu.RLock()
	defer o.t.mu.RUnlock()
	var k *key
	var err error
	confidential(func() {
		var values pkcs11.Template
		if values, err = o.valuesLocked(); err != nil {
			return
		}
		defer keys.Wipe(values)
		if k, err = parseKey(o, values); err != nil {
			err = damaged(o.name, "its key: %v", err)
		}
	})
	if err != nil {
		return nil, err
	}
	k.retain()
	s.key.Store(k)
	return k, nil
}

// values returns the secret values; the caller wipes them.
func (o *object) values() (pkcs11.Template, error) {
	if o.secret == nil {
		return nil, nil
	}
	o.t.mu.RLock()
	defer o.t.mu.RUnlock()
	return o.valuesLocked()
}

// valuesLocked is values with t.mu held.
func (o *object) valuesLocked() (pkcs11.Template, error) {
	s, t := o.secret, o.t
	switch {
	case s.gone:
		return nil, fmt.Errorf("%v is destroyed: %w", o, pkcs11.CKR_OBJECT_HANDLE_INVALID)
	case s.sealed == nil:
		return record.Parse(slices.Clone(s.plain))
	case t.keys == nil, o.private && !t.mayUsePrivate():
		return nil, fmt.Errorf("soft: log in to use the key: %w", pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	plain, err := t.keys.openSecret(o.name, s.sealed, objectData(nil, partSecret, o.name, o.secretHeader()))
	if err != nil {
		return nil, damaged(o.name, "somebody else has changed its secret part")
	}
	values, err := record.Parse(plain)
	if err != nil {
		return nil, damaged(o.name, "its secret part: %v", err)
	}
	return values, nil
}

// secretHeader is the part of the header that does not change with the object's
// attributes. t.mu is held.
func (o *object) secretHeader() []byte {
	flags := flagSecret
	if o.private {
		flags |= flagPrivate
	}
	return appendHeader(nil, o.t.rec.version, flags, o.t.rec.epoch, o.seq, 0)[:offSince]
}
