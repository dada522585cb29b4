package cryptoki

import (
	"context"
	"crypto"
	"fmt"
	"hash"
	"sync"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A session holds its operations as values. One that runs is taken out of its
// field, and put back if it goes on, so that no lock is held meanwhile.
type session struct {
	slot   *slot
	flags  pkcs11.SessionFlags
	closed atomic.Bool
	owns   bool // has made session objects; slot.mu guards it

	mu      sync.Mutex
	find    findOp
	digest  digestOp
	sign    signOp
	verify  verifyOp
	encrypt cipherOp
	decrypt cipherOp
	hashes  map[crypto.Hash]*hasher // idle ones, to be used again
}

var _ Destroyer = (*session)(nil)

func (se *session) rw() bool { return se.flags&pkcs11.CKF_RW_SESSION != 0 }

// drop forgets the operations of a session that has been closed.
func (se *session) drop() {
	se.mu.Lock()
	defer se.mu.Unlock()
	se.find, se.digest, se.hashes = findOp{}, digestOp{}, nil
	se.sign.wipe()
	se.verify.wipe()
	se.encrypt.wipe()
	se.decrypt.wipe()
}

func (se *session) Close() error {
	if err := se.check("Close"); err != nil {
		return err
	}
	if se.closed.Swap(true) {
		return opErr("Close", "", errSessionClosed)
	}
	return opErr("Close", "", se.slot.closeSession(se))
}

func (se *session) Info(context.Context) (pkcs11.SessionInfo, error) {
	if err := se.check("Info"); err != nil {
		return pkcs11.SessionInfo{}, err
	}
	s := se.slot
	s.mu.RLock()
	login := s.login
	if s.userLocked() {
		login = loginUser
	}
	s.mu.RUnlock()
	state := pkcs11.CKS_RO_PUBLIC_SESSION
	switch {
	case login == loginSO:
		state = pkcs11.CKS_RW_SO_FUNCTIONS
	case login == loginUser && se.rw():
		state = pkcs11.CKS_RW_USER_FUNCTIONS
	case login == loginUser:
		state = pkcs11.CKS_RO_USER_FUNCTIONS
	case se.rw():
		state = pkcs11.CKS_RW_PUBLIC_SESSION
	}
	return pkcs11.SessionInfo{Slot: s.id, State: state, Flags: se.flags}, nil
}

func (se *session) SessionCancel(_ context.Context, flags uint64) error {
	const op = "SessionCancel"
	if err := se.check(op); err != nil {
		return err
	}
	const known = pkcs11.CKF_FIND_OBJECTS | pkcs11.CKF_DIGEST | pkcs11.CKF_SIGN | pkcs11.CKF_VERIFY |
		pkcs11.CKF_ENCRYPT | pkcs11.CKF_DECRYPT |
		// Operations that there cannot be are cancelled already.
		pkcs11.CKF_MESSAGE_ENCRYPT | pkcs11.CKF_MESSAGE_DECRYPT | pkcs11.CKF_MESSAGE_SIGN | pkcs11.CKF_MESSAGE_VERIFY |
		pkcs11.CKF_SIGN_RECOVER | pkcs11.CKF_VERIFY_RECOVER | pkcs11.CKF_GENERATE | pkcs11.CKF_GENERATE_KEY_PAIR |
		pkcs11.CKF_WRAP | pkcs11.CKF_UNWRAP | pkcs11.CKF_DERIVE
	if flags&^known != 0 {
		return opErr(op, "", fmt.Errorf("%w: flags %#x name no operation", pkcs11.CKR_ARGUMENTS_BAD, flags&^known))
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	if flags&pkcs11.CKF_FIND_OBJECTS != 0 {
		se.find = findOp{}
	}
	if flags&pkcs11.CKF_DIGEST != 0 {
		se.digest = digestOp{}
	}
	if flags&pkcs11.CKF_SIGN != 0 {
		se.sign.wipe()
	}
	if flags&pkcs11.CKF_VERIFY != 0 {
		se.verify.wipe()
	}
	if flags&pkcs11.CKF_ENCRYPT != 0 {
		se.encrypt.wipe()
	}
	if flags&pkcs11.CKF_DECRYPT != 0 {
		se.decrypt.wipe()
	}
	return nil
}

// A hasher is a hash with room for its sum, so that the room is not allocated
// anew for each.
type hasher struct {
	hash.Hash
	kind crypto.Hash
	sum  [64]byte
}

// takeHash returns a fresh hash, one used before if there is one. se.mu is held.
func (se *session) takeHash(h crypto.Hash) *hasher {
	if x := se.hashes[h]; x != nil {
		delete(se.hashes, h)
		x.Reset()
		return x
	}
	return &hasher{Hash: h.New(), kind: h}
}

// keepHash takes back a hash that is no longer needed. se.mu is held.
func (se *session) keepHash(x *hasher) {
	if x == nil || se.closed.Load() {
		return
	}
	if se.hashes == nil {
		se.hashes = make(map[crypto.Hash]*hasher)
	}
	se.hashes[x.kind] = x
}
