package acme

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An object is what a record says.
type object struct {
	token *Token
	id    string
	attrs pkcs11.Template
	slot  int // of a private key, or none
}

const none = -1

// ID implements driver.Object.
func (o *object) ID() string { return o.id }

// Attributes implements driver.Object.
func (o *object) Attributes() pkcs11.Template { return o.attrs }

// typed returns the object with the abilities that it has.
func (o *object) typed() driver.Object {
	if o.slot != none {
		return &key{o}
	}
	return o
}

// A key is a private key in a slot of the chip.
type key struct{ *object }

var _ driver.Signer = (*key)(nil)

// Sign implements driver.Signer: CKM_ECDSA over a digest.
func (k *key) Sign(ctx context.Context, _ *pkcs11.Mechanism, data []byte) ([]byte, error) {
	// The standard takes digests of any length and truncates long ones; this
	// chip takes 32 bytes.
	digest := make([]byte, 32)
	if len(data) > len(digest) {
		data = data[:len(digest)]
	}
	copy(digest[len(digest)-len(data):], data)
	sig, err := k.token.chip.Sign(ctx, k.slot, digest)
	if err != nil {
		return nil, fmt.Errorf("acme: slot %d: %w: %w", k.slot, pkcs11.CKR_DEVICE_ERROR, err)
	}
	// A glitch must not get out: a faulty signature may give the key away.
	pub, err := driver.PublicKey(k.attrs)
	if err != nil {
		return nil, err
	}
	if err := driver.Verify(pub, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, data, sig); err != nil {
		return nil, fmt.Errorf("acme: slot %d: the signature is wrong: %w", k.slot, pkcs11.CKR_DEVICE_ERROR)
	}
	return sig, nil
}

// A record is a byte for the version of the format, one for the slot, 0xff for
// none, and the attributes.
const version = 1

var errRecord = errors.New("not a record of this driver")

func (o *object) encode() ([]byte, error) {
	return driver.AppendTemplate([]byte{version, byte(o.slot)}, o.attrs)
}

func (t *Token) decode(name string, b []byte) (driver.Object, error) {
	if len(b) < 2 || b[0] != version {
		return nil, errRecord
	}
	o := &object{token: t, id: name, slot: none}
	if b[1] != 0xff {
		o.slot = int(b[1])
	}
	if o.slot >= Slots {
		return nil, errRecord
	}
	var err error
	if o.attrs, err = driver.ParseTemplate(b[2:]); err != nil {
		return nil, err
	}
	return o.typed(), nil
}
