package cryptoki

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A keyRef is a private key as a Token knows it: by what stays the same when
// handles do not.
type keyRef struct {
	t      *Token
	label  string
	id     []byte // CKA_ID
	unique string // CKA_UNIQUE_ID; "" if the token has no such thing
	typ    pkcs11.KeyType
	pub    crypto.PublicKey
	each   bool // CKA_ALWAYS_AUTHENTICATE: wants the PIN each time
	attrs  pkcs11.Template
	handle atomic.Uint64 // 0 when it must be looked up
}

func (k *keyRef) String() string { return fmt.Sprintf("private key %q", k.label) }

// mayNot reports whether the key says that it may not be used so. A token that
// does not tell is believed to find out itself.
func (k *keyRef) mayNot(use pkcs11.AttributeType) bool {
	a, ok := k.attrs.Get(use)
	return ok && !a.Bool()
}

// private returns the private key of that name, and what may be done with it.
func (t *Token) private(ctx context.Context, name string) (k *keyRef, mechs mechanismSet, err error) {
	err = t.do(ctx, false, func(c *conn) error {
		k, err = t.findKey(ctx, c, name)
		return err
	})
	if err == nil {
		mechs, err = t.mechanismSet(ctx, k)
	}
	if err != nil {
		return nil, mechs, nameError(pkcs11.CKO_PRIVATE_KEY, name, err)
	}
	return k, mechs, nil
}

// findKey finds the private key of that name.
func (t *Token) findKey(ctx context.Context, c *conn, name string) (*keyRef, error) {
	o, err := t.one(ctx, c, pkcs11.CKO_PRIVATE_KEY, name)
	if err != nil {
		return nil, err
	}
	return t.newKeyRef(ctx, c, o)
}

func (t *Token) newKeyRef(ctx context.Context, c *conn, o Object) (*keyRef, error) {
	pub, err := publicHalf(ctx, c, o)
	if err != nil {
		return nil, err
	}
	k := &keyRef{
		t: t, label: o.Label, id: o.ID, typ: o.KeyType, pub: pub, attrs: o.Attributes,
		unique: o.Attributes.Text(pkcs11.CKA_UNIQUE_ID),
		each:   o.Attributes.Bool(pkcs11.CKA_ALWAYS_AUTHENTICATE),
	}
	k.handle.Store(uint64(o.Handle))
	return k, nil
}

// publicHalf returns the public key of a private key object: what the token
// shows of it on the object itself, or else on the public key or the certificate
// with the same CKA_ID. Labels do not matter.
func publicHalf(ctx context.Context, c *conn, o Object) (crypto.PublicKey, error) {
	pub, err := keys.PublicKey(o.Attributes)
	if err == nil {
		return pub, nil
	}
	if !errors.Is(err, pkcs11.CKR_TEMPLATE_INCOMPLETE) {
		return nil, fail(o.String(), err, "")
	}
	if len(o.ID) > 0 {
		for _, filter := range []pkcs11.Template{
			{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PUBLIC_KEY)), pkcs11.Attr(pkcs11.CKA_ID, o.ID), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(o.KeyType))},
			{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_CERTIFICATE)), pkcs11.Attr(pkcs11.CKA_ID, o.ID)},
		} {
			found, err := look(ctx, c, filter, shownAttributes)
			if err != nil {
				return nil, err
			}
			for _, half := range found {
				if pub, err := half.PublicKey(); err == nil {
					return pub, nil
				}
			}
		}
	}
	return nil, fail(o.String(), fmt.Errorf("%w: the token shows no public key for it", pkcs11.CKR_KEY_HANDLE_INVALID),
		"import the public key, or the certificate, with the same CKA_ID")
}

// locate returns the key's handle, looked up again if need be.
func (k *keyRef) locate(ctx context.Context, c *conn) (pkcs11.ObjectHandle, error) {
	if h := k.handle.Load(); h != 0 {
		return pkcs11.ObjectHandle(h), nil
	}
	filter := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY))}
	switch {
	case k.unique != "":
		filter = append(filter, pkcs11.Attr(pkcs11.CKA_UNIQUE_ID, k.unique))
	case len(k.id) > 0:
		filter = append(filter, pkcs11.Attr(pkcs11.CKA_ID, k.id), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(k.typ)))
	default:
		filter = append(filter, pkcs11.Attr(pkcs11.CKA_LABEL, k.label), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(k.typ)))
	}
	found, err := look(ctx, c, filter, shownAttributes)
	if err != nil {
		return 0, err
	}
	for _, o := range found {
		// The Signer has said what its public key is: another key will not do.
		if pub, err := publicHalf(ctx, c, o); err == nil && keys.Equal(pub, k.pub) {
			k.handle.Store(uint64(o.Handle))
			return o.Handle, nil
		}
	}
	if err := k.t.stillIn(ctx, c); err != nil {
		return 0, err
	}
	return 0, &subjectError{k.String(), fmt.Errorf("it is gone from the token: %w", errNotFound), k.t.notFoundCure(ctx, c, pkcs11.CKO_PRIVATE_KEY)}
}

// sign signs data with the key; once more if the token had lost its login, its
// sessions or the handle. It is use, without a closure on the hot path.
func (k *keyRef) sign(ctx context.Context, m *pkcs11.Mechanism, data, sig []byte) (int, error) {
	for try := 0; ; try++ {
		c, err := k.t.conn(ctx, false, true)
		if err != nil {
			return 0, err
		}
		n := 0
		h, err := k.locate(ctx, c)
		if err == nil {
			err = c.SignInit(ctx, m, h)
		}
		if err == nil && k.each {
			err = k.t.authenticate(ctx, c)
		}
		if err == nil {
			n, err = c.Sign(ctx, data, sig)
		}
		again := k.t.done(ctx, c, err)
		if again {
			k.handle.Store(0)
		}
		if !again || try > 0 {
			return n, err
		}
	}
}

func (k *keyRef) decrypt(ctx context.Context, m *pkcs11.Mechanism, data, plain []byte) (n int, err error) {
	err = k.use(ctx, func(c *conn, h pkcs11.ObjectHandle) error {
		if err := c.DecryptInit(ctx, m, h); err != nil {
			return err
		}
		if k.each {
			if err := k.t.authenticate(ctx, c); err != nil {
				return err
			}
		}
		n, err = c.Decrypt(ctx, data, plain)
		return err
	})
	return n, err
}

// use runs f with a session and the key's handle; once more as sign does.
func (k *keyRef) use(ctx context.Context, f func(c *conn, h pkcs11.ObjectHandle) error) error {
	for try := 0; ; try++ {
		c, err := k.t.conn(ctx, false, true)
		if err != nil {
			return err
		}
		h, err := k.locate(ctx, c)
		if err == nil {
			err = f(c, h)
		}
		again := k.t.done(ctx, c, err)
		if again {
			k.handle.Store(0)
		}
		if !again || try > 0 {
			return err
		}
	}
}

// authenticate gives the user's PIN for one operation of a key that wants it.
func (t *Token) authenticate(ctx context.Context, c *conn) error {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for a login: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
	}
	defer func() { <-t.turn }()
	info, err := t.m.TokenInfo(ctx, t.slot)
	if err != nil {
		return err
	}
	var pin []byte
	if info.Flags&pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH == 0 {
		if t.opts.PIN != nil {
			pin, err = t.askPIN(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, info)
		}
		if err != nil {
			return err
		}
		if pin == nil {
			return fmt.Errorf("%w: the key wants the PIN for each use: give Options.PIN", pkcs11.CKR_FUNCTION_REJECTED)
		}
	}
	defer clear(pin)
	err = c.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, pin)
	if errors.Is(err, pkcs11.CKR_PIN_INCORRECT) {
		t.refuse(ctx, pin, err)
	}
	return err
}

// A mechanismSet is what can be done with a key: the mechanisms of the token
// that the key allows.
type mechanismSet struct {
	types []pkcs11.MechanismType // sorted
	cure  string                 // what to say when one is missing
}

func (s mechanismSet) has(m pkcs11.MechanismType) bool {
	_, ok := slices.BinarySearch(s.types, m)
	return ok
}

func (t *Token) mechanismSet(ctx context.Context, k *keyRef) (s mechanismSet, err error) {
	list, err := t.m.Mechanisms(ctx, t.slot)
	if err != nil {
		return s, err
	}
	if a, ok := k.attrs.Get(pkcs11.CKA_ALLOWED_MECHANISMS); ok {
		if allowed, _ := a.Value.([]pkcs11.MechanismType); len(allowed) > 0 {
			list = slices.DeleteFunc(list, func(m pkcs11.MechanismType) bool { return !slices.Contains(allowed, m) })
			s.cure = "the key allows some mechanisms only (CKA_ALLOWED_MECHANISMS)"
		}
	}
	slices.Sort(list)
	s.types = list
	return s, nil
}
