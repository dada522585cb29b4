package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A tpmKey is a key, or a seal object, as the TPM loads it.
type tpmKey struct {
	public     *publicArea
	private    []byte // contents of a TPM2B_PRIVATE
	name       []byte
	persistent uint32      // handle, 0: none
	evicted    atomic.Bool // somebody has removed the persistent key

	// own is the authorization value of a key that has not the token secret.
	own []byte
	// session says that the value is that of the process.
	session bool
}

func newKey(public, private []byte) (*tpmKey, error) {
	pub, err := parsePublic(public)
	if err != nil {
		return nil, err
	}
	return &tpmKey{public: pub, private: private, name: pub.name}, nil
}

// authOf returns the authorization value of a key, which the caller clears.
func (t *Token) authOf(k *tpmKey) ([]byte, error) {
	if k.own != nil {
		return bytes.Clone(k.own), nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch {
	case t.closed:
		return nil, errClosed
	case k.session:
		return bytes.Clone(t.process), nil
	case t.keys == nil:
		return nil, fmt.Errorf("tpm: log in to use the key: %w", pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	return bytes.Clone(t.keys.secret), nil
}

// isOurs reports whether a Name is that of a key of this token.
func (t *Token) isOurs(name []byte) bool {
	if _, ok := t.names.Load(string(name)); ok {
		return true
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, b := range t.records {
		for i := range b.objects {
			o := &b.objects[i]
			if o.flags&flagKey == 0 {
				continue
			}
			if k, err := parseKeyBlob(o.blob); err == nil && k.persistent == 0 {
				if pub, err := parsePublic(k.public); err == nil && bytes.Equal(pub.name, name) {
					return true
				}
			}
		}
	}
	if r := t.rec; r != nil {
		for _, s := range []*sealed{&r.so, &r.user} {
			if s.private == nil {
				continue
			}
			if pub, err := parsePublic(s.public); err == nil && bytes.Equal(pub.name, name) {
				return true
			}
		}
	}
	return false
}

// authorize returns the authorization to use a key: the session that is kept, or
// a password on a bus that needs no protection. attrs are those of the session.
func (c *channel) authorize(value []byte, attrs byte) (authorization, error) {
	if c.t.opts.BusProtection == BusNone && attrs&attrEncrypt == 0 {
		return authorization{value: value}, nil
	}
	s, err := c.hot()
	if err != nil {
		return authorization{}, err
	}
	return authorization{session: s, value: value, attrs: attrs | attrContinue}, nil
}

// A created object is what TPM2_Create returns.
type created struct {
	key      *tpmKey
	creation []byte // TPMS_CREATION_DATA
	hash     []byte // of it
	ticket   []byte // TPMT_TK_CREATION
}

func (c *created) blob() *keyBlob {
	return &keyBlob{public: c.key.public.raw, private: c.key.private, creation: c.creation, ticket: c.ticket}
}

// create makes an object under the parent, with an authorization value, and with
// data if it is one of given data. Both go encrypted, in a session that is salted
// to the parent.
func (c *channel) create(template, auth, data []byte) (*created, error) {
	s, err := c.start(true)
	if err != nil {
		return nil, err
	}
	defer c.end(s)
	sensitive := putSized(putSized(make([]byte, 0, 4+len(auth)+len(data)), auth), data)
	defer clear(sensitive)
	params := putSized(make([]byte, 0, len(sensitive)+len(template)+16), sensitive)
	defer clear(params)
	params = put32(putSized(putSized(params, template), nil), 0) // no outside info, no PCRs
	r, err := c.exec(&command{
		code:    tpm2.TPMCCCreate,
		handles: []entity{c.t.srk.Load().entity()},
		needs:   1,
		// The session ends with the command.
		auths:  []authorization{{session: s, attrs: attrDecrypt | attrEncrypt}},
		params: params,
	})
	if err != nil {
		return nil, unsure(err)
	}
	p := r.reader()
	private, public := bytes.Clone(p.sized()), bytes.Clone(p.sized())
	out := &created{creation: bytes.Clone(p.sized()), hash: bytes.Clone(p.sized()), ticket: bytes.Clone(p.b)}
	p.u16()
	p.u32()
	p.sized()
	if !p.done() {
		return nil, &commandError{tpm2.TPMCCCreate, errGarbled}
	}
	if out.key, err = newKey(public, private); err != nil {
		return nil, &commandError{tpm2.TPMCCCreate, err}
	}
	if !sameTemplate(template, out.key.public) {
		return nil, &commandError{tpm2.TPMCCCreate, errors.New("the TPM has made another object than was asked for")}
	}
	return out, nil
}

// unsure is what to make of a wrong authorization by a session that was just
// started, and that authorizes nothing with a secret: what started it was changed
// on the way.
func unsure(err error) error {
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("%w: %w", errForged, err)
	}
	return err
}

// sameTemplate reports whether an object has the type and the attributes of the
// template that it was made of.
func sameTemplate(template []byte, p *publicArea) bool {
	r := reader{b: template}
	return tpm2.TPMAlgID(r.u16()) == p.typ && tpm2.TPMAlgID(r.u16()) == p.nameAlg && r.u32() == p.attributes && !r.bad
}
