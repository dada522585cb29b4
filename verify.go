package cryptoki

import (
	"context"
	"crypto"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// verifyOp is a verification under way; none if key is nil.
type verifyOp struct {
	inputs
	verifier driver.Verifier  // nil where the core verifies,
	pub      crypto.PublicKey // with this
	size     int              // of the signature, in bytes; 0 if it is not known
}

func (op *verifyOp) wipe() {
	clear(op.data)
	*op = verifyOp{}
}

// publicKey is a key parsed from attributes, or why it could not be.
type publicKey struct {
	key crypto.PublicKey
	err error
}

// publicKey returns the public key that the object is, or belongs to, parsed at
// the first call.
func (o *object) publicKey() (crypto.PublicKey, error) {
	st := o.state.Load()
	p := st.pub.Load()
	if p == nil {
		p = &publicKey{}
		p.key, p.err = keys.PublicKey(st.attrs())
		st.pub.Store(p)
	}
	return p.key, p.err
}

func (se *session) VerifyInit(_ context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	const op = "VerifyInit"
	if err := se.check(op); err != nil {
		return err
	}
	if m == nil {
		return opErr(op, "", errNilMechanism)
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if se.verify.active() {
		return opErr(op, "", errActive)
	}
	row, o, err := se.keyFor(&needVerify, m, key)
	if err != nil {
		return opErr(op, "", err)
	}
	v := verifyOp{}
	v.verifier, _ = o.drv().(driver.Verifier)
	if v.verifier == nil {
		if o.class != pkcs11.CKO_PUBLIC_KEY {
			return opErr(op, o.String(), fmt.Errorf("%w: the token does not verify with it", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED))
		}
		if v.pub, err = o.publicKey(); err != nil {
			return opErr(op, o.String(), err)
		}
	}
	if v.inputs, err = se.begin(row, m, o); err != nil {
		return opErr(op, "", err)
	}
	v.login = false
	if v.size, err = signatureSize(v.mech, o); err != nil {
		return opErr(op, o.String(), err)
	}
	if row.keyTypes == nil {
		v.size = 0
	}
	se.verify = v
	return nil
}

func (se *session) Verify(ctx context.Context, data, signature []byte) error {
	const op = "Verify"
	if err := se.check(op); err != nil {
		return err
	}
	se.mu.Lock()
	if !se.verify.active() {
		se.verify.wipe()
		se.mu.Unlock()
		return opErr(op, "", errNotActive)
	}
	if se.verify.multi {
		se.mu.Unlock()
		return opErr(op, "", errMultiPart)
	}
	return se.finishVerify(ctx, op, data, signature)
}

func (se *session) VerifyUpdate(_ context.Context, part []byte) error {
	const op = "VerifyUpdate"
	if err := se.check(op); err != nil {
		return err
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if !se.verify.active() {
		se.verify.wipe()
		return opErr(op, "", errNotActive)
	}
	if err := se.verify.update(part); err != nil {
		key := se.verify.key
		se.verify.wipe()
		return opErr(op, key.String(), err)
	}
	return nil
}

func (se *session) VerifyFinal(ctx context.Context, signature []byte) error {
	const op = "VerifyFinal"
	if err := se.check(op); err != nil {
		return err
	}
	se.mu.Lock()
	if !se.verify.active() {
		se.verify.wipe()
		se.mu.Unlock()
		return opErr(op, "", errNotActive)
	}
	return se.finishVerify(ctx, op, nil, signature)
}

// finishVerify verifies, and ends the operation whatever comes. se.mu is held on
// entry and not on return.
func (se *session) finishVerify(ctx context.Context, opName string, data, signature []byte) error {
	op := se.verify
	se.verify = verifyOp{}
	se.mu.Unlock()

	err := se.verifyNow(ctx, &op, data, signature)

	clear(op.data)
	if op.hash != nil {
		se.mu.Lock()
		se.keepHash(op.hash)
		se.mu.Unlock()
	}
	if err != nil {
		return opErr(opName, op.key.String(), err)
	}
	return nil
}

func (se *session) verifyNow(ctx context.Context, op *verifyOp, data, signature []byte) error {
	if op.multi {
		data = op.data
	} else if op.hash != nil {
		op.hash.Write(data)
	}
	if op.size != 0 && len(signature) != op.size {
		return fmt.Errorf("%w: a signature by this key has %d bytes, not %d", pkcs11.CKR_SIGNATURE_LEN_RANGE, op.size, len(signature))
	}
	input, err := op.input(data)
	if err != nil {
		return err
	}
	if op.verifier == nil {
		return keys.Verify(op.pub, op.mech, input, signature)
	}
	s := se.slot
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.gate.release()
	return deviceErr(op.verifier.Verify(ctx, op.mech, input, signature))
}
