package cryptoki

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// maxCollected is how much data the core collects for a mechanism that cannot be
// fed in parts, in bytes.
const maxCollected = 16 << 20

// signOp is a signature or MAC under way; none if key is nil.
type signOp struct {
	inputs
	signer driver.Signer
	size   int // of the signature, in bytes
}

// inputs is what a signature and a verification have in common: a key, a
// mechanism, and data that is hashed or collected.
type inputs struct {
	key   *object
	row   *mechanism
	mech  *pkcs11.Mechanism // what the driver, or the software, is called with
	hash  *hasher           // of a hashing variant that the core takes apart
	data  []byte            // parts collected without a hash
	multi bool              // Update was called
	login bool              // waits for the context-specific login
}

// active reports whether the operation is there. Destroying its key ends it.
func (in *inputs) active() bool { return in.key != nil && !in.key.dead.Load() }

func (in *inputs) waits() bool { return in.active() && in.login }

func (in *inputs) authenticate() { in.login = false }

func (op *signOp) wipe() {
	clear(op.data)
	*op = signOp{}
}

// begin prepares the data side of an operation with a key. se.mu is held.
func (se *session) begin(row *mechanism, m *pkcs11.Mechanism, o *object) (inputs, error) {
	mech, err := parameters(row, m, o)
	if err != nil {
		return inputs{}, fmt.Errorf("%v: %w", o, err)
	}
	in := inputs{key: o, row: row, mech: mech, login: o.state.Load().use()&alwaysAuthenticate != 0}
	if row.hash != 0 {
		in.hash = se.takeHash(row.hash)
	}
	return in, nil
}

// update takes a part of the data. se.mu is held.
func (in *inputs) update(part []byte) error {
	in.multi = true
	if in.hash != nil {
		in.hash.Write(part)
		return nil
	}
	if len(in.data)+len(part) > maxCollected {
		return fmt.Errorf("%w: %v takes its data in one piece, of at most %d bytes here", pkcs11.CKR_DATA_LEN_RANGE, in.row.typ, maxCollected)
	}
	in.data = gather(in.data, part)
	return nil
}

// gather appends a part to what has been collected, and leaves no copy behind
// when that moves.
func gather(data, part []byte) []byte {
	if n := len(data) + len(part); n > cap(data) {
		grown := append(make([]byte, 0, max(n, 2*cap(data))), data...)
		clear(data)
		data = grown
	}
	return append(data, part...)
}

// input returns what the base mechanism is given for data: itself, its digest or
// a DigestInfo of that.
func (in *inputs) input(data []byte) ([]byte, error) {
	if in.hash == nil {
		return data, checkLength(in.mech, in.key, data)
	}
	digest := in.hash.Sum(in.hash.sum[:0])
	if in.mech.Type == pkcs11.CKM_RSA_PKCS {
		return keys.AppendDigestInfo(nil, in.hash.kind, digest)
	}
	return digest, nil
}

func (se *session) SignInit(_ context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	const op = "SignInit"
	if err := se.check(op); err != nil {
		return err
	}
	if m == nil {
		return opErr(op, "", errNilMechanism)
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if se.sign.active() {
		return opErr(op, "", errActive)
	}
	row, o, err := se.keyFor(&needSign, m, key)
	if err != nil {
		return opErr(op, "", err)
	}
	signer, ok := o.drv().(driver.Signer)
	if !ok {
		return opErr(op, o.String(), fmt.Errorf("%w: the token does not sign with it", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED))
	}
	in, err := se.begin(row, m, o)
	if err != nil {
		return opErr(op, "", err)
	}
	size, err := signatureSize(in.mech, o)
	if err != nil {
		return opErr(op, o.String(), err)
	}
	se.sign = signOp{inputs: in, signer: signer, size: size}
	return nil
}

func (se *session) Sign(ctx context.Context, data, signature []byte) (int, error) {
	const op = "Sign"
	if err := se.check(op); err != nil {
		return 0, err
	}
	se.mu.Lock()
	if !se.sign.active() {
		se.sign.wipe()
		se.mu.Unlock()
		return 0, opErr(op, "", errNotActive)
	}
	if se.sign.multi {
		se.mu.Unlock()
		return 0, opErr(op, "", errMultiPart)
	}
	return se.finishSign(ctx, op, data, signature)
}

func (se *session) SignUpdate(_ context.Context, part []byte) error {
	const op = "SignUpdate"
	if err := se.check(op); err != nil {
		return err
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if !se.sign.active() {
		se.sign.wipe()
		return opErr(op, "", errNotActive)
	}
	if err := se.sign.update(part); err != nil {
		key := se.sign.key
		se.sign.wipe()
		return opErr(op, key.String(), err)
	}
	return nil
}

func (se *session) SignFinal(ctx context.Context, signature []byte) (int, error) {
	const op = "SignFinal"
	if err := se.check(op); err != nil {
		return 0, err
	}
	se.mu.Lock()
	if !se.sign.active() {
		se.sign.wipe()
		se.mu.Unlock()
		return 0, opErr(op, "", errNotActive)
	}
	return se.finishSign(ctx, op, nil, signature)
}

// finishSign signs the data, or what has been collected, and ends the operation
// unless the buffer is too short. se.mu is held on entry and not on return.
func (se *session) finishSign(ctx context.Context, opName string, data, signature []byte) (int, error) {
	if size := se.sign.size; len(signature) < size {
		se.mu.Unlock()
		return size, opErr(opName, "", short(signature, size))
	}
	// The operation is this call's now: it ends whatever comes.
	op := se.sign
	se.sign = signOp{}
	se.mu.Unlock()

	n, err := se.signNow(ctx, &op, data, signature)

	clear(op.data)
	if op.hash != nil {
		se.mu.Lock()
		se.keepHash(op.hash)
		se.mu.Unlock()
	}
	if err != nil {
		return 0, opErr(opName, op.key.String(), err)
	}
	return n, nil
}

func (se *session) signNow(ctx context.Context, op *signOp, data, signature []byte) (int, error) {
	if op.login {
		return 0, fmt.Errorf("%w: the key is CKA_ALWAYS_AUTHENTICATE: Login with CKU_CONTEXT_SPECIFIC before each use", pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	if op.multi {
		data = op.data
	} else if op.hash != nil {
		op.hash.Write(data)
	}
	input, err := op.input(data)
	if err != nil {
		return 0, err
	}
	s := se.slot
	if err := s.acquire(ctx); err != nil {
		return 0, err
	}
	sig, err := op.signer.Sign(ctx, op.mech, input)
	s.gate.release()
	if err != nil {
		return 0, deviceErr(err)
	}
	if len(sig) > len(signature) {
		return 0, fmt.Errorf("%w: the token made a signature of %d bytes, not %d", pkcs11.CKR_DEVICE_ERROR, len(sig), op.size)
	}
	return copy(signature, sig), nil
}
