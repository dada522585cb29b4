package cryptoki

import (
	"bytes"
	"context"
	"crypto"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/aesmode"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// cipherOp is an encryption or decryption under way; none if key is nil.
type cipherOp struct {
	key    *object
	row    *mechanism
	mech   *pkcs11.Mechanism
	pub    crypto.PublicKey // where the core encrypts
	chain  chain            // how data is cut into pieces for the driver
	blocks uint64           // for how many the counter lasts, if that is a ctr
	data   []byte           // parts that have not been given to the driver yet
	out    []byte           // the result, once there is one and the buffer was too short
	ready  bool             // out is the result
	multi  bool             // Update was called
	login  bool             // waits for the context-specific login
}

func (op *cipherOp) active() bool { return op.key != nil && !op.key.dead.Load() }

func (op *cipherOp) waits() bool { return op.active() && op.login }

func (op *cipherOp) authenticate() { op.login = false }

func (op *cipherOp) wipe() {
	clear(op.data)
	clear(op.out)
	*op = cipherOp{}
}

// A direction is encryption or decryption.
type direction struct {
	need *need
	op   func(*session) *cipherOp
	run  func(ctx context.Context, d driver.Object, op *cipherOp, data []byte) ([]byte, error)
}

var encryption = &direction{
	need: &needEncrypt,
	op:   func(se *session) *cipherOp { return &se.encrypt },
	run: func(ctx context.Context, d driver.Object, op *cipherOp, data []byte) ([]byte, error) {
		if op.pub != nil {
			return keys.Encrypt(op.pub, op.mech, data)
		}
		return d.(driver.Encrypter).Encrypt(ctx, op.mech, data)
	},
}

var decryption = &direction{
	need: &needDecrypt,
	op:   func(se *session) *cipherOp { return &se.decrypt },
	run: func(ctx context.Context, d driver.Object, op *cipherOp, data []byte) ([]byte, error) {
		return d.(driver.Decrypter).Decrypt(ctx, op.mech, data)
	},
}

// cipherInit begins an encryption or decryption.
func (se *session) cipherInit(op string, dir *direction, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	if err := se.check(op); err != nil {
		return err
	}
	if m == nil {
		return opErr(op, "", errNilMechanism)
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	c := dir.op(se)
	if c.active() {
		return opErr(op, "", errActive)
	}
	row, o, err := se.keyFor(dir.need, m, key)
	if err != nil {
		return opErr(op, "", err)
	}
	next := cipherOp{key: o, row: row, login: dir == decryption && o.state.Load().use()&alwaysAuthenticate != 0}
	if next.mech, err = cipherParameters(row, m); err != nil {
		return opErr(op, o.String(), err)
	}
	if next.chain = chainOf(&se.slot.mechs, m.Type); next.chain == ctr {
		next.blocks = aesmode.CounterBlocks(next.mech.Params.(*pkcs11.CTRParams))
	}
	able := false
	if dir == encryption {
		_, able = o.drv().(driver.Encrypter)
		if !able && o.class == pkcs11.CKO_PUBLIC_KEY {
			if next.pub, err = o.publicKey(); err != nil {
				return opErr(op, o.String(), err)
			}
			able = true
		}
	} else {
		_, able = o.drv().(driver.Decrypter)
	}
	if !able {
		return opErr(op, o.String(), fmt.Errorf("%w: the token does not %s with it", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, op[:7]))
	}
	c.wipe()
	*c = next
	return nil
}

// cipherParameters checks the parameter of a mechanism that encrypts and returns
// the mechanism with a parameter of its own memory.
func cipherParameters(row *mechanism, m *pkcs11.Mechanism) (*pkcs11.Mechanism, error) {
	own := &pkcs11.Mechanism{Type: m.Type}
	switch m.Type {
	case pkcs11.CKM_RSA_PKCS_OAEP:
		p, ok := m.Params.(*pkcs11.OAEPParams)
		if !ok || p == nil {
			return nil, badParams(m, "*pkcs11.OAEPParams")
		}
		if _, _, _, err := keys.OAEP(m); err != nil {
			return nil, err
		}
		c := *p
		c.Label = bytes.Clone(p.Label)
		own.Params = &c
	case pkcs11.CKM_AES_CBC, pkcs11.CKM_AES_CBC_PAD:
		iv, ok := m.Params.([]byte)
		if !ok || len(iv) != blockSize {
			return nil, badParams(m, "an initialization vector of 16 bytes")
		}
		own.Params = bytes.Clone(iv)
	case pkcs11.CKM_AES_CTR:
		p, ok := m.Params.(*pkcs11.CTRParams)
		if !ok || p == nil {
			return nil, badParams(m, "*pkcs11.CTRParams")
		}
		if p.CounterBits < 1 || p.CounterBits > 128 {
			return nil, fmt.Errorf("%w: a counter has 1 to 128 bits, not %d", pkcs11.CKR_MECHANISM_PARAM_INVALID, p.CounterBits)
		}
		c := *p
		own.Params = &c
	case pkcs11.CKM_AES_GCM:
		p, ok := m.Params.(*pkcs11.GCMParams)
		if !ok || p == nil {
			return nil, badParams(m, "*pkcs11.GCMParams")
		}
		if len(p.IV) == 0 || p.IVBits != 0 && p.IVBits != 8*uint64(len(p.IV)) {
			return nil, fmt.Errorf("%w: the initialization vector has %d bytes and says %d bits", pkcs11.CKR_MECHANISM_PARAM_INVALID, len(p.IV), p.IVBits)
		}
		if p.TagBits%8 != 0 || p.TagBits < 96 || p.TagBits > 128 {
			return nil, fmt.Errorf("%w: a tag has 96 to 128 bits in whole bytes, not %d", pkcs11.CKR_MECHANISM_PARAM_INVALID, p.TagBits)
		}
		c := *p
		c.IV, c.AAD = bytes.Clone(p.IV), bytes.Clone(p.AAD)
		own.Params = &c
	case pkcs11.CKM_AES_KEY_WRAP, pkcs11.CKM_AES_KEY_WRAP_PAD, pkcs11.CKM_AES_KEY_WRAP_KWP:
		if noParams(m) {
			return row.base, nil
		}
		size := 4
		if m.Type == pkcs11.CKM_AES_KEY_WRAP {
			size = 8
		}
		iv, ok := m.Params.([]byte)
		if !ok || len(iv) != size {
			return nil, badParams(m, fmt.Sprintf("an initial value of %d bytes or none", size))
		}
		own.Params = bytes.Clone(iv)
	default:
		if noParams(m) {
			return row.base, nil
		}
		if uint32(m.Type)&vendorDefined == 0 {
			return nil, badParams(m, "none")
		}
		own.Params = m.Params
	}
	return own, nil
}

// finish runs the operation over data, or what has been collected, and ends it
// unless the buffer is too short for the result, which is then kept for the next
// call: nothing is computed twice, and decryption tells its exact length. The
// size of an output that has not been computed is told from the key alone.
func (se *session) finish(ctx context.Context, opName string, dir *direction, final bool, data, out []byte) (int, error) {
	if err := se.check(opName); err != nil {
		return 0, err
	}
	se.mu.Lock()
	c := dir.op(se)
	if !c.active() {
		c.wipe()
		se.mu.Unlock()
		return 0, opErr(opName, "", errNotActive)
	}
	if c.multi && !final {
		se.mu.Unlock()
		return 0, opErr(opName, "", errMultiPart)
	}
	if c.ready {
		defer se.mu.Unlock()
		if len(out) < len(c.out) || out == nil {
			return len(c.out), opErr(opName, c.key.String(), short(out, len(c.out)))
		}
		n := copy(out, c.out)
		c.wipe()
		return n, nil
	}
	if c.multi {
		data = c.data
	}
	if out == nil {
		size := c.size(dir, len(data))
		se.mu.Unlock()
		return size, nil
	}
	op := *c
	*c = cipherOp{}
	se.mu.Unlock()

	var result []byte
	err := op.spend(len(data))
	if err == nil {
		result, err = se.cipherNow(ctx, dir, &op, data)
	}
	clear(op.data)
	if err != nil {
		return 0, opErr(opName, op.key.String(), err)
	}
	defer clear(result)
	if len(out) >= len(result) {
		return copy(out, result), nil
	}
	op.data, op.out, op.ready = nil, append([]byte(nil), result...), true
	se.mu.Lock()
	if !c.active() && !se.closed.Load() {
		*c = op
	}
	se.mu.Unlock()
	return len(result), opErr(opName, op.key.String(), short(out, len(result)))
}

func (se *session) cipherNow(ctx context.Context, dir *direction, op *cipherOp, data []byte) ([]byte, error) {
	if op.login {
		return nil, fmt.Errorf("%w: the key is CKA_ALWAYS_AUTHENTICATE: Login with CKU_CONTEXT_SPECIFIC before each use", pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	if op.pub != nil {
		return dir.run(ctx, nil, op, data)
	}
	s := se.slot
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.gate.release()
	out, err := dir.run(ctx, op.key.drv(), op, data)
	return out, deviceErr(err)
}

// cipherUpdate takes a part, and gives out what can be told already. A nil buffer
// asks how much that is, also where it is nothing, and the part is not taken.
func (se *session) cipherUpdate(ctx context.Context, opName string, dir *direction, part, out []byte) (int, error) {
	if err := se.check(opName); err != nil {
		return 0, err
	}
	se.mu.Lock()
	c := dir.op(se)
	if !c.active() || c.ready {
		c.wipe()
		se.mu.Unlock()
		return 0, opErr(opName, "", errNotActive)
	}
	n := c.chain.whole(dir, len(c.data)+len(part))
	if len(out) < n || out == nil {
		se.mu.Unlock()
		return n, opErr(opName, c.key.String(), short(out, n))
	}
	if n == 0 {
		defer se.mu.Unlock()
		if len(c.data)+len(part) > maxCollected {
			key := c.key
			c.wipe()
			return 0, opErr(opName, key.String(), fmt.Errorf("%w: %v takes its data in one piece, of at most %d bytes here", pkcs11.CKR_DATA_LEN_RANGE, c.mech, maxCollected))
		}
		c.multi = true
		c.data = gather(c.data, part)
		return 0, nil
	}
	op := *c
	*c = cipherOp{}
	se.mu.Unlock()

	all := append(append(make([]byte, 0, len(op.data)+len(part)), op.data...), part...)
	defer clear(all)
	piece := op
	piece.mech = op.chain.piece(op.mech)
	var result []byte
	err := op.spend(n)
	if err == nil {
		result, err = se.cipherNow(ctx, dir, &piece, all[:n])
	}
	if err == nil && len(result) != n {
		err = fmt.Errorf("%w: the token made %d bytes of %d", pkcs11.CKR_DEVICE_ERROR, len(result), n)
	}
	clear(op.data)
	if err != nil {
		clear(result)
		return 0, opErr(opName, op.key.String(), err)
	}
	op.chain.advance(dir, op.mech, all[:n], result)
	op.data, op.multi = append(op.data[:0], all[n:]...), true
	copy(out, result)
	clear(result)
	se.mu.Lock()
	if !c.active() && !se.closed.Load() {
		*c = op
	}
	se.mu.Unlock()
	return n, nil
}

func (se *session) EncryptInit(_ context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	return se.cipherInit("EncryptInit", encryption, m, key)
}

func (se *session) Encrypt(ctx context.Context, data, encrypted []byte) (int, error) {
	return se.finish(ctx, "Encrypt", encryption, false, data, encrypted)
}

func (se *session) EncryptUpdate(ctx context.Context, part, encrypted []byte) (int, error) {
	return se.cipherUpdate(ctx, "EncryptUpdate", encryption, part, encrypted)
}

func (se *session) EncryptFinal(ctx context.Context, encrypted []byte) (int, error) {
	return se.finish(ctx, "EncryptFinal", encryption, true, nil, encrypted)
}

func (se *session) DecryptInit(_ context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	return se.cipherInit("DecryptInit", decryption, m, key)
}

func (se *session) Decrypt(ctx context.Context, encrypted, data []byte) (int, error) {
	return se.finish(ctx, "Decrypt", decryption, false, encrypted, data)
}

func (se *session) DecryptUpdate(ctx context.Context, encrypted, part []byte) (int, error) {
	return se.cipherUpdate(ctx, "DecryptUpdate", decryption, encrypted, part)
}

func (se *session) DecryptFinal(ctx context.Context, part []byte) (int, error) {
	return se.finish(ctx, "DecryptFinal", decryption, true, nil, part)
}
