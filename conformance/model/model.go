// Package model is a reference model of Cryptoki and a tester that drives it and
// a Module side by side with random calls.
//
// The model knows sessions, login, objects and operations as the standard
// describes them, and nothing of drivers, locks, indexes or storage. Where the
// two disagree, the sequence of calls is made shorter as long as they do, and
// printed together with the seed that brings it forth again.
package model

import (
	"crypto/sha256"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// who is logged in.
type who int

const (
	nobody who = iota
	user
	so
)

// world is what the model believes about a token with its sessions.
type world struct {
	login    who
	logouts  int
	sessions []*session
	objects  []*object
	shared   bool // others log in and out: the login never changes
	badPINs  [2]int

	// loginToWrite: nobody changes token objects without a login.
	loginToWrite bool
}

type session struct {
	closed bool
	rw     bool
	find   *search
	digest *data
	sign   *operation
	verify *operation
}

// data is what an operation has been given so far.
type data struct {
	bytes []byte
	multi bool
}

type operation struct {
	data
	key    *object
	lives  int // of the key when the operation began
	hashes bool
}

// alive reports whether the operation is still there: one with a key that was
// destroyed, or that a logout has hidden, is not.
func (op *operation) alive() bool { return op != nil && op.key.valid && op.lives == op.key.lives }

// search is a set, for the standard promises no order. The handles of private
// objects in it are good until the next logout.
type search struct {
	left    map[*object]bool
	logouts int
}

type object struct {
	tag     string // unique and unchangeable, to know it again by
	class   pkcs11.ObjectClass
	pair    int // which key pair it is of
	token   bool
	private bool
	fixed   bool // CKA_MODIFIABLE is false
	single  bool // CKA_COPYABLE is false
	forever bool // CKA_DESTROYABLE is false
	useless bool // CKA_SIGN or CKA_VERIFY is false
	label   string
	value   []byte
	owner   *session // of a session object
	origin  origin

	exists bool // on the token
	valid  bool // the handle last seen is good
	hidden bool // the handle became invalid by the logout that is still in force
	lives  int  // how many handles have become invalid
}

// none is CKR_OK, which has no constant because it is a nil error.
const none = pkcs11.Error(0)

func (w *world) userMay() bool { return w.login == user }

func (w *world) sees(o *object) bool { return o.exists && (!o.private || w.userMay()) }

// logout makes handles of private objects invalid for good, and private session
// objects vanish. PKCS #11 v2.40 §5.6, C_Logout.
func (w *world) logout() {
	w.login = nobody
	w.logouts++
	for _, o := range w.objects {
		o.hidden = false
		if o.exists && o.private {
			o.hidden = o.valid
			o.valid = false
			o.lives++
			if o.owner != nil {
				o.exists = false
			}
		}
	}
}

func (w *world) open(rw bool) pkcs11.Error {
	if !rw && w.login == so {
		return pkcs11.CKR_SESSION_READ_WRITE_SO_EXISTS
	}
	w.sessions = append(w.sessions, &session{rw: rw})
	return none
}

func (w *world) openSessions() (n, readOnly int) {
	for _, s := range w.sessions {
		if !s.closed {
			n++
			if !s.rw {
				readOnly++
			}
		}
	}
	return
}

func (w *world) close(s *session) pkcs11.Error {
	if s.closed {
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	w.shut(s)
	if n, _ := w.openSessions(); n == 0 && w.login != nobody && !w.shared {
		w.logout()
	}
	return none
}

func (w *world) shut(s *session) {
	s.closed = true
	for _, o := range w.objects {
		if o.owner == s {
			o.exists, o.valid = false, false
		}
	}
}

func (w *world) closeAll() pkcs11.Error {
	for _, s := range w.sessions {
		if !s.closed {
			w.shut(s)
		}
	}
	if w.login != nobody {
		w.logout()
	}
	return none
}

func (w *world) logIn(s *session, as pkcs11.UserType, good bool) pkcs11.Error {
	if s.closed {
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if as == pkcs11.CKU_CONTEXT_SPECIFIC {
		return pkcs11.CKR_OPERATION_NOT_INITIALIZED
	}
	next := user
	if as == pkcs11.CKU_SO {
		next = so
	}
	if w.login == next {
		return pkcs11.CKR_USER_ALREADY_LOGGED_IN
	}
	if w.login != nobody {
		return pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN
	}
	if _, readOnly := w.openSessions(); next == so && readOnly > 0 {
		return pkcs11.CKR_SESSION_READ_ONLY_EXISTS
	}
	if !good {
		return pkcs11.CKR_PIN_INCORRECT
	}
	w.login = next
	for _, o := range w.objects {
		o.hidden = false
	}
	return none
}

func (w *world) logOut(s *session) pkcs11.Error {
	if s.closed {
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if w.login == nobody {
		return pkcs11.CKR_USER_NOT_LOGGED_IN
	}
	w.logout()
	return none
}

func (w *world) state(s *session) pkcs11.SessionState {
	switch {
	case w.login == so:
		return pkcs11.CKS_RW_SO_FUNCTIONS
	case w.login == user && s.rw:
		return pkcs11.CKS_RW_USER_FUNCTIONS
	case w.login == user:
		return pkcs11.CKS_RO_USER_FUNCTIONS
	case s.rw:
		return pkcs11.CKS_RW_PUBLIC_SESSION
	}
	return pkcs11.CKS_RO_PUBLIC_SESSION
}

// mayMake says whether an object like o may come into being in s.
func (w *world) mayMake(s *session, o *object) pkcs11.Error {
	if o.token && !s.rw {
		return pkcs11.CKR_SESSION_READ_ONLY
	}
	if o.private && !w.userMay() || w.barred(o) {
		return pkcs11.CKR_USER_NOT_LOGGED_IN
	}
	return none
}

// barred reports whether changing o wants a login that is not there.
func (w *world) barred(o *object) bool { return w.loginToWrite && o.token && w.login == nobody }

func (w *world) make(s *session, objects ...*object) pkcs11.Error {
	if s.closed {
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	for _, o := range objects {
		if code := w.mayMake(s, o); code != none {
			return code
		}
	}
	for _, o := range objects {
		if !o.token {
			o.owner = s
		}
		o.exists, o.valid = true, true
		w.objects = append(w.objects, o)
	}
	return none
}

func (w *world) copy(s *session, from, to *object) pkcs11.Error {
	if s.closed {
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if !from.valid {
		return pkcs11.CKR_OBJECT_HANDLE_INVALID
	}
	if from.single {
		return pkcs11.CKR_ACTION_PROHIBITED
	}
	return w.make(s, to)
}

func (w *world) destroy(s *session, o *object) pkcs11.Error {
	switch {
	case s.closed:
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	case !o.valid:
		return pkcs11.CKR_OBJECT_HANDLE_INVALID
	case o.forever:
		return pkcs11.CKR_ACTION_PROHIBITED
	case o.token && !s.rw:
		return pkcs11.CKR_SESSION_READ_ONLY
	case w.barred(o):
		return pkcs11.CKR_USER_NOT_LOGGED_IN
	}
	o.exists, o.valid = false, false
	return none
}

// get returns what reading an attribute yields.
func (w *world) get(s *session, o *object, t pkcs11.AttributeType) (any, pkcs11.Error) {
	if s.closed {
		return nil, pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if !o.valid {
		return nil, pkcs11.CKR_OBJECT_HANDLE_INVALID
	}
	switch t {
	case pkcs11.CKA_LABEL:
		return o.label, none
	case pkcs11.CKA_CLASS:
		return uint64(o.class), none
	case pkcs11.CKA_TOKEN:
		return o.token, none
	case pkcs11.CKA_PRIVATE:
		return o.private, none
	case pkcs11.CKA_VALUE:
		switch o.class {
		case pkcs11.CKO_DATA:
			return o.value, none
		case pkcs11.CKO_PRIVATE_KEY:
			return nil, pkcs11.CKR_ATTRIBUTE_SENSITIVE
		}
	}
	return nil, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
}

func (w *world) relabel(s *session, o *object, label string) pkcs11.Error {
	switch {
	case s.closed:
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	case !o.valid:
		return pkcs11.CKR_OBJECT_HANDLE_INVALID
	case o.fixed:
		return pkcs11.CKR_ACTION_PROHIBITED
	case o.token && !s.rw:
		return pkcs11.CKR_SESSION_READ_ONLY
	case w.barred(o):
		return pkcs11.CKR_USER_NOT_LOGGED_IN
	}
	o.label = label
	return none
}

// A query is what a search asks for; zero values ask for nothing.
type query struct {
	label  string
	class  pkcs11.ObjectClass
	byCls  bool
	tokens bool
}

func (q query) matches(o *object) bool {
	return (q.label == "" || o.label == q.label) && (!q.byCls || o.class == q.class) && (!q.tokens || o.token)
}

func (w *world) findInit(s *session, q query) pkcs11.Error {
	if s.closed {
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if s.find != nil {
		return pkcs11.CKR_OPERATION_ACTIVE
	}
	s.find = &search{left: map[*object]bool{}, logouts: w.logouts}
	for _, o := range w.objects {
		if w.sees(o) && q.matches(o) {
			s.find.left[o] = true
		}
	}
	return none
}

// findMore says what a call with room for limit objects may return: exactly
// want of those left that are still there.
func (w *world) findMore(s *session, limit int) (want int, code pkcs11.Error) {
	if s.closed {
		return 0, pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if s.find == nil {
		return 0, pkcs11.CKR_OPERATION_NOT_INITIALIZED
	}
	if limit == 0 {
		s.find = nil
		return 0, pkcs11.CKR_ARGUMENTS_BAD
	}
	for o := range s.find.left {
		if !o.exists || o.private && s.find.logouts != w.logouts {
			delete(s.find.left, o)
		}
	}
	return min(limit, len(s.find.left)), none
}

func (w *world) findFinal(s *session) pkcs11.Error {
	if s.closed {
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if s.find == nil {
		return pkcs11.CKR_OPERATION_NOT_INITIALIZED
	}
	s.find = nil
	return none
}

func (w *world) digestInit(s *session) pkcs11.Error {
	if s.closed {
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if s.digest != nil {
		return pkcs11.CKR_OPERATION_ACTIVE
	}
	s.digest = &data{}
	return none
}

func (w *world) digestUpdate(s *session, b []byte) pkcs11.Error {
	if s.closed {
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if s.digest == nil {
		return pkcs11.CKR_OPERATION_NOT_INITIALIZED
	}
	s.digest.bytes, s.digest.multi = append(s.digest.bytes, b...), true
	return none
}

// digest ends a digest, in one step over b or after updates. room is the size of
// the buffer, -1 for none.
func (w *world) digest(s *session, final bool, b []byte, room int) (sum []byte, n int, code pkcs11.Error) {
	switch {
	case s.closed:
		return nil, 0, pkcs11.CKR_SESSION_HANDLE_INVALID
	case s.digest == nil:
		return nil, 0, pkcs11.CKR_OPERATION_NOT_INITIALIZED
	case s.digest.multi && !final:
		return nil, 0, pkcs11.CKR_OPERATION_ACTIVE
	case room < 0:
		return nil, sha256.Size, none
	case room < sha256.Size:
		return nil, sha256.Size, pkcs11.CKR_BUFFER_TOO_SMALL
	}
	if !final {
		s.digest.bytes = b
	}
	d := sha256.Sum256(s.digest.bytes)
	s.digest = nil
	return d[:], sha256.Size, none
}

// begin is SignInit and VerifyInit with an ECDSA key of the class that fits.
func (w *world) begin(s *session, op **operation, o *object, fits pkcs11.ObjectClass, hashes bool) pkcs11.Error {
	switch {
	case s.closed:
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	case (*op).alive():
		return pkcs11.CKR_OPERATION_ACTIVE
	case !o.valid && o.hidden:
		return pkcs11.CKR_USER_NOT_LOGGED_IN
	case !o.valid || o.class == pkcs11.CKO_DATA:
		return pkcs11.CKR_KEY_HANDLE_INVALID
	case o.class != fits:
		return pkcs11.CKR_KEY_TYPE_INCONSISTENT
	case o.useless:
		return pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED
	}
	*op = &operation{key: o, lives: o.lives, hashes: hashes}
	return none
}

func (w *world) update(s *session, op **operation, b []byte) pkcs11.Error {
	if s.closed {
		return pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if !(*op).alive() {
		*op = nil
		return pkcs11.CKR_OPERATION_NOT_INITIALIZED
	}
	(*op).bytes, (*op).multi = append((*op).bytes, b...), true
	return none
}

// sign ends a signature. signed is the operation with all its data if there is
// one to be made.
func (w *world) sign(s *session, final bool, b []byte, room int) (signed *operation, n int, code pkcs11.Error) {
	op := s.sign
	switch {
	case s.closed:
		return nil, 0, pkcs11.CKR_SESSION_HANDLE_INVALID
	case !op.alive():
		s.sign = nil
		return nil, 0, pkcs11.CKR_OPERATION_NOT_INITIALIZED
	case op.multi && !final:
		return nil, 0, pkcs11.CKR_OPERATION_ACTIVE
	case room < 0:
		return nil, 64, none
	case room < 64:
		return nil, 64, pkcs11.CKR_BUFFER_TOO_SMALL
	}
	s.sign = nil
	if !final {
		op.bytes = b
	}
	if n := len(op.bytes); !op.hashes && (n == 0 || n > 64) {
		return nil, 0, pkcs11.CKR_DATA_LEN_RANGE
	}
	return op, 64, none
}

// made is a signature that was made, to be verified later.
type made struct {
	pair   int
	hashes bool
	data   []byte
	bytes  []byte
}

// ends takes the verification that a call ends out of the session.
func (w *world) ends(s *session, final bool) (*operation, pkcs11.Error) {
	op := s.verify
	switch {
	case s.closed:
		return nil, pkcs11.CKR_SESSION_HANDLE_INVALID
	case !op.alive():
		s.verify = nil
		return nil, pkcs11.CKR_OPERATION_NOT_INITIALIZED
	case op.multi && !final:
		return nil, pkcs11.CKR_OPERATION_ACTIVE
	}
	s.verify = nil
	return op, none
}

// judge says whether a signature is good for the data that the verification was
// given.
func (op *operation) judge(m *made, signature []byte, changed bool) pkcs11.Error {
	if len(signature) != 64 {
		return pkcs11.CKR_SIGNATURE_LEN_RANGE
	}
	if n := len(op.bytes); !op.hashes && (n == 0 || n > 64) {
		return pkcs11.CKR_DATA_LEN_RANGE
	}
	if m == nil || changed || m.pair != op.key.pair {
		return pkcs11.CKR_SIGNATURE_INVALID
	}
	if digested(m.hashes, m.data) != digested(op.hashes, op.bytes) {
		return pkcs11.CKR_SIGNATURE_INVALID
	}
	return none
}

// digested is the number that ECDSA on P-256 signs, as text: the digest, or the
// leftmost 32 bytes of data that is longer.
func digested(hashes bool, b []byte) string {
	if hashes {
		sum := sha256.Sum256(b)
		b = sum[:]
	}
	if len(b) > 32 {
		b = b[:32]
	}
	return strings.TrimLeft(string(b), "\x00")
}
