package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Cheap makes PINs cost little, and waiting for a TPM nothing.
func Cheap(o Options) *Options {
	o.Iterations = 1
	o.Simulated = true
	o.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return &o
}

// Unload removes everything of the token from the TPM, as if it had not been
// used yet.
func Unload(t *Token) {
	t.pool.all(func(c *channel) {
		if c.unloadAll() != nil {
			c.dirty = true
		}
	})
}

// Secret returns the token secret.
func Secret(t *Token) []byte {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.keys.secret
}

// AuthOf returns what a PIN is stretched to.
func AuthOf(t *Token, pin []byte) []byte {
	t.mu.RLock()
	defer t.mu.RUnlock()
	auth, err := t.rec.user.stretch(pin)
	if err != nil {
		panic(err)
	}
	return auth
}

// Recode parses a record with all that is in it, and writes it again.
func Recode(name string, b []byte) ([]byte, error) {
	switch {
	case name == nameToken:
		r, err := parseToken(b)
		if err != nil {
			return nil, err
		}
		for _, s := range []*sealed{&r.so, &r.user} {
			if s.private == nil {
				continue
			}
			if _, err := newKey(s.public, s.private); err != nil {
				return nil, err
			}
		}
		return r.encode(), nil
	case name == nameAbilities:
		a, err := parseAbilities(b)
		if err != nil {
			return nil, err
		}
		return a.encode(), nil
	case name == nameInventory:
		epoch, _, sealed, err := parseInventory(b)
		return appendCRC(append(append([]byte{withInventory, kindInventory}, epoch[:]...), sealed...)), err
	case name == namePersists:
		r, err := parsePersisting(b)
		return r.encode(), err
	case name == nameSessions:
		r, err := parseSessions(b)
		return r.encode(), err
	case name == nameAttestation:
		r, err := parseAttestation(b)
		if err != nil {
			return nil, err
		}
		_, err = newKey(r.blob.public, r.blob.private)
		return r.encode(), err
	case strings.HasPrefix(name, objectPrefix):
		r, err := parseBundle(name, b)
		if err != nil {
			return nil, err
		}
		for _, o := range r.objects {
			if o.flags&flagKey == 0 {
				continue
			}
			k, err := parseKeyBlob(o.blob)
			if err != nil {
				return nil, err
			}
			if _, err := newKey(k.public, k.private); err != nil {
				return nil, err
			}
			if !bytes.Equal(k.encode(), o.blob) {
				return nil, errors.New("the blob of a key is written otherwise")
			}
		}
		return r.encode(), nil
	}
	return nil, fmt.Errorf("what is a record %q?", name)
}

// OpenWithoutTPM returns the attributes of the objects in a store, as far as they
// show without a TPM: of a token without PIN all, and checked.
func OpenWithoutTPM(store pal.Store) ([]pkcs11.Template, error) {
	t := &Token{store: store}
	if err := t.openStore(); err != nil {
		return nil, err
	}
	_, err := t.load()
	var list []pkcs11.Template
	for _, o := range t.objects {
		list = append(list, o.attrs)
	}
	return list, errors.Join(append(t.damage, err)...)
}

// FillStock makes the token believe that it has n objects more.
func FillStock(t *Token, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range n {
		t.stock = append(t.stock, objectState{1, byte(i >> 8), byte(i)})
	}
}

// PersistentHandles returns the handles that the records of a token have.
func PersistentHandles(t *Token) (handles []uint32) {
	t.io.Lock()
	defer t.io.Unlock()
	for _, p := range t.allPersistent() {
		handles = append(handles, p.handle)
	}
	return handles
}

// LiveRecords returns the records that hold something of a token.
func LiveRecords(t *Token) (names []string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for name, r := range t.records {
		if len(r.objects) > 0 {
			names = append(names, name)
		}
	}
	return names
}
