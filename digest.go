package cryptoki

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// digestOp is a digest under way; none if hash is nil.
type digestOp struct {
	hash  *hasher
	multi bool // DigestUpdate or DigestKey was called
}

func (se *session) DigestInit(_ context.Context, m *pkcs11.Mechanism) error {
	const op = "DigestInit"
	if err := se.check(op); err != nil {
		return err
	}
	if m == nil {
		return opErr(op, "", errNilMechanism)
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if se.digest.hash != nil {
		return opErr(op, "", errActive)
	}
	row, err := se.slot.mechs.find(m.Type, pkcs11.CKF_DIGEST)
	if err != nil {
		return opErr(op, "", err)
	}
	// The parameter is ignored: callers of corePKCS11 leave it uninitialized.
	se.digest = digestOp{hash: se.takeHash(row.hash)}
	return nil
}

func (se *session) Digest(_ context.Context, data, digest []byte) (int, error) {
	const op = "Digest"
	if err := se.check(op); err != nil {
		return 0, err
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	d := &se.digest
	if d.hash == nil {
		return 0, opErr(op, "", errNotActive)
	}
	if d.multi {
		return 0, opErr(op, "", errMultiPart)
	}
	if size := d.hash.Size(); len(digest) < size {
		return size, opErr(op, "", short(digest, size))
	}
	d.hash.Write(data)
	return se.sum(digest), nil
}

// sum ends the digest. se.mu is held.
func (se *session) sum(digest []byte) int {
	h := se.digest.hash
	n := copy(digest, h.Sum(h.sum[:0]))
	se.keepHash(h)
	se.digest = digestOp{}
	return n
}

func (se *session) DigestUpdate(_ context.Context, part []byte) error {
	const op = "DigestUpdate"
	if err := se.check(op); err != nil {
		return err
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if se.digest.hash == nil {
		return opErr(op, "", errNotActive)
	}
	se.digest.multi = true
	se.digest.hash.Write(part)
	return nil
}

func (se *session) DigestKey(ctx context.Context, key pkcs11.ObjectHandle) error {
	const op = "DigestKey"
	if err := se.check(op); err != nil {
		return err
	}
	se.mu.Lock()
	d := se.digest
	se.mu.Unlock()
	if d.hash == nil {
		return opErr(op, "", errNotActive)
	}
	value, err := se.digestibleValue(ctx, key)
	se.mu.Lock()
	defer se.mu.Unlock()
	if err != nil {
		se.digest = digestOp{}
		return opErr(op, "", err)
	}
	defer clear(value)
	if se.digest.hash != d.hash {
		return opErr(op, "", errNotActive)
	}
	se.digest.multi = true
	se.digest.hash.Write(value)
	return nil
}

// digestibleValue returns the value of a secret key that may be shown. The
// standard allows for refusing others (CKR_KEY_INDIGESTIBLE), and a digest of a
// sensitive key would tell a guesser whether the guess is right.
func (se *session) digestibleValue(ctx context.Context, h pkcs11.ObjectHandle) ([]byte, error) {
	o, err := se.slot.lookup(h, pkcs11.CKR_KEY_HANDLE_INVALID)
	if err != nil {
		return nil, err
	}
	if o.class != pkcs11.CKO_SECRET_KEY {
		return nil, fmt.Errorf("%v: %w: only secret keys are digested", o, pkcs11.CKR_KEY_INDIGESTIBLE)
	}
	attrs := o.attrs()
	if attrs.Bool(pkcs11.CKA_SENSITIVE) || !attrs.Bool(pkcs11.CKA_EXTRACTABLE) {
		return nil, fmt.Errorf("%v: %w: it is sensitive or not extractable", o, pkcs11.CKR_KEY_INDIGESTIBLE)
	}
	v, err := se.export(ctx, o.drv(), pkcs11.CKA_VALUE)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", o, err)
	}
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("%v: %w: the token does not give its value", o, pkcs11.CKR_KEY_INDIGESTIBLE)
	}
	return b, nil
}

func (se *session) DigestFinal(_ context.Context, digest []byte) (int, error) {
	const op = "DigestFinal"
	if err := se.check(op); err != nil {
		return 0, err
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if se.digest.hash == nil {
		return 0, opErr(op, "", errNotActive)
	}
	if size := se.digest.hash.Size(); len(digest) < size {
		return size, opErr(op, "", short(digest, size))
	}
	return se.sum(digest), nil
}

var (
	errNilMechanism = fmt.Errorf("%w: the mechanism is nil", pkcs11.CKR_ARGUMENTS_BAD)
	errActive       = fmt.Errorf("%w: such an operation is under way in this session; finish it, or end it with SessionCancel", pkcs11.CKR_OPERATION_ACTIVE)
	errNotActive    = fmt.Errorf("%w: begin with the Init function; an error, a destroyed key and a logout end an operation", pkcs11.CKR_OPERATION_NOT_INITIALIZED)
	errMultiPart    = fmt.Errorf("%w: the operation has been given parts; end it with the Final function", pkcs11.CKR_OPERATION_ACTIVE)
)

// short answers a buffer that is too short for an output of size bytes: nil for
// the nil buffer that asks for the size. PKCS #11 v2.40 §5.2.
func short(buf []byte, size int) error {
	if buf == nil {
		return nil
	}
	return fmt.Errorf("%w: the output has %d bytes, the buffer %d", pkcs11.CKR_BUFFER_TOO_SMALL, size, len(buf))
}
