package cryptoki

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki/internal/wipe"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Options are what a Token needs to know beyond where it is. A nil pointer and
// the zero value mean the defaults.
type Options struct {
	// PIN is asked for the user's PIN when the token wants a login: at the first
	// use, and again after the token has logged out by itself. Without it the
	// token is used logged out and shows its public objects only. See PINFromFile
	// and its siblings. A PIN that was refused is not tried again.
	PIN PINFunc

	// LastTry allows a login although one more wrong PIN would lock the token
	// (CKF_USER_PIN_FINAL_TRY). The default is to fail with ErrLastTry.
	LastTry bool

	// Token selects one of several tokens by its label, or by a pkcs11: URI. The
	// default is the only one there is.
	Token string

	// MaxSessions limits the sessions that the Token has open at once, beside
	// the token's own limit. The default is no limit. Who wants one more waits.
	MaxSessions int

	// Log hears what is worth knowing and no error: that a wrong PIN was entered
	// since the last login, that the token was logged in again. The WarnContext of
	// a slog.Logger is one. The default is silence. It may be called from any
	// goroutine.
	Log func(ctx context.Context, msg string, args ...any)
}

// ErrLastTry is why a Token does not log in when one more wrong PIN would lock
// the token and Options.LastTry does not allow it.
var ErrLastTry = errors.New("the next wrong PIN locks the token")

// A Token is one token of a module, for applications: signers, certificates and
// TLS by name, without sessions and handles. It opens and keeps the sessions
// that its methods need, as a sql.DB does with connections, within the token's
// limits; it logs in when the token wants it; and it finds a key again after the
// token was reset. It is safe for concurrent use.
//
// Methods that take the name of an object accept its label, or a pkcs11: URI
// (RFC 7512) that selects one. If there is none the error wraps fs.ErrNotExist;
// if there are several it lists them.
type Token struct {
	m    Module
	slot pkcs11.SlotID
	opts Options
	own  bool // m is closed with the Token
	pool pool

	// Login state. settled means that there is nothing to do before a session
	// can be used: logged in, no login required, or no PIN to be had. era counts
	// the times that it was found otherwise.
	settled atomic.Bool
	inside  atomic.Bool // settled by being logged in
	era     atomic.Uint64
	turn    chan struct{} // one login at a time
	refused struct {
		pin  []byte // HMAC under key of the PIN that was refused last
		key  [32]byte
		low  bool // CKF_USER_PIN_COUNT_LOW was set afterwards
		code error
	}
}

// NewToken returns the token in a slot of m, which it borrows: the module stays
// open after Close. Use one Token for all of a program's dealings with a slot.
func NewToken(ctx context.Context, m Module, slot pkcs11.SlotID, opts *Options) (*Token, error) {
	t := &Token{m: m, slot: slot, turn: make(chan struct{}, 1)}
	if opts != nil {
		t.opts = *opts
	}
	info, err := m.TokenInfo(ctx, slot)
	if err != nil {
		return nil, fail("slot "+fmt.Sprint(slot), err, "")
	}
	t.pool = pool{m: m, slot: slot, limit: t.opts.MaxSessions, onEmpty: t.unsettle}
	if n := info.MaxSessionCount; n != pkcs11.Unavailable && n != pkcs11.EffectivelyInfinite && n < 1<<30 {
		if t.pool.limit <= 0 || int(n) < t.pool.limit {
			t.pool.limit = int(n)
		}
	}
	return t, nil
}

// Close closes the sessions, and the module if Open made it. Operations under
// way end first or fail; nothing else may be called afterwards.
func (t *Token) Close() error {
	t.pool.close()
	select {
	case t.turn <- struct{}{}:
		t.forget()
		<-t.turn
	default: // somebody asks for a PIN, and may do so for long
	}
	if t.own {
		return t.m.Close()
	}
	return nil
}

// String names the slot, so that printing a Token shows nothing of what it keeps to
// know a PIN by that was refused.
func (t *Token) String() string { return fmt.Sprintf("token in slot %d", t.slot) }

// GoString is String.
func (t *Token) GoString() string { return t.String() }

// Module returns the module that the token is in.
func (t *Token) Module() Module { return t.m }

// Slot returns the slot that the token is in.
func (t *Token) Slot() pkcs11.SlotID { return t.slot }

// Info describes the token as it is now. It needs no login.
func (t *Token) Info(ctx context.Context) (pkcs11.TokenInfo, error) {
	return t.m.TokenInfo(ctx, t.slot)
}

// Mechanisms returns what the token can do. It needs no login.
func (t *Token) Mechanisms(ctx context.Context) (map[pkcs11.MechanismType]pkcs11.MechanismInfo, error) {
	list, err := t.m.Mechanisms(ctx, t.slot)
	if err != nil {
		return nil, err
	}
	mechs := make(map[pkcs11.MechanismType]pkcs11.MechanismInfo, len(list))
	for _, m := range list {
		info, err := t.m.MechanismInfo(ctx, t.slot, m)
		if err != nil {
			return nil, err
		}
		mechs[m] = info
	}
	return mechs, nil
}

// Session returns a session of its own, logged in if there is a PIN, for what
// the Token has no method for. The caller closes it, and meanwhile it counts
// against the token's limit. flags may hold CKF_RW_SESSION; CKF_SERIAL_SESSION
// is understood. Logging out in it logs all of the Token's sessions out.
func (t *Token) Session(ctx context.Context, flags pkcs11.SessionFlags) (Session, error) {
	c, err := t.conn(ctx, flags&pkcs11.CKF_RW_SESSION != 0, true)
	if err != nil {
		return nil, fail("session", err, "")
	}
	if c.rw != (flags&pkcs11.CKF_RW_SESSION != 0) || c.keep {
		// A reader was lent a session that can write; it wants one that cannot.
		s, err := t.m.OpenSession(ctx, t.slot, flags|pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			t.pool.put(c)
			return nil, fail("session", err, "")
		}
		t.pool.adopt()
		t.pool.put(c)
		c = &conn{Session: s, rw: flags&pkcs11.CKF_RW_SESSION != 0}
	}
	return &lentSession{Session: c.Session, t: t, c: c}, nil
}

// A lentSession is a session that an application has; its Close tells the pool.
type lentSession struct {
	Session
	t      *Token
	c      *conn
	closed atomic.Bool
}

func (s *lentSession) Close() error {
	if s.closed.Swap(true) {
		return s.Session.Close() // which says what that means
	}
	s.t.pool.stay(s.c)
	err := s.Session.Close()
	s.t.pool.gone()
	return err
}

// Random returns the token's random number generator. Its reads fill the whole
// slice or fail.
func (t *Token) Random() io.Reader { return randomReader{t} }

type randomReader struct{ t *Token }

func (r randomReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	ctx := context.Background()
	for try := 0; ; try++ {
		c, err := r.t.conn(ctx, false, false)
		if err == nil {
			err = c.GenerateRandom(ctx, b)
			if r.t.done(ctx, c, err) && try == 0 {
				continue
			}
		}
		if err != nil {
			clear(b)
			return 0, fail("random", err, "")
		}
		return len(b), nil
	}
}

// conn borrows a session, logged in if login asks for it and it can be done.
func (t *Token) conn(ctx context.Context, rw, login bool) (*conn, error) {
	c, err := t.pool.get(ctx, rw)
	if err != nil {
		return nil, err
	}
	c.era = t.era.Load()
	if login && !t.settled.Load() {
		if err := t.login(ctx, c); err != nil {
			t.done(ctx, c, err)
			return nil, err
		}
		c.era = t.era.Load()
	}
	return c, nil
}

// done gives a session back after an operation that ended with err, and repairs
// what err says is broken: sessions that are gone, a token that has logged out.
// It reports whether the operation may succeed if it is done again, with handles
// looked up again.
func (t *Token) done(ctx context.Context, c *conn, err error) bool {
	if err == nil {
		t.pool.put(c)
		return false
	}
	var code pkcs11.Error
	if !errors.As(err, &code) {
		code = 0
	}
	ctx = context.WithoutCancel(ctx)
	switch code {
	case pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED,
		pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_PRESENT:
		first := c.era == t.era.Load()
		t.pool.drop(c)
		if first {
			t.pool.flush()
			t.unsettle()
			t.log(ctx, "sessions lost, opening new ones", err)
		}
		return true
	case pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED:
		t.pool.put(c)
		return false
	}
	// The operation may still be there. What cannot cancel it is of no use.
	if cerr := c.SessionCancel(ctx, pkcs11.CKF_SIGN|pkcs11.CKF_VERIFY|pkcs11.CKF_DIGEST|pkcs11.CKF_ENCRYPT|pkcs11.CKF_DECRYPT|pkcs11.CKF_FIND_OBJECTS); cerr != nil && !c.keep {
		t.pool.stay(c)
		defer t.pool.drop(c)
	} else {
		defer t.pool.put(c)
	}
	switch code {
	case pkcs11.CKR_USER_NOT_LOGGED_IN:
		if c.era == t.era.Load() {
			t.unsettle()
		}
		return true
	case pkcs11.CKR_OBJECT_HANDLE_INVALID, pkcs11.CKR_KEY_HANDLE_INVALID:
		// A logout takes the handles of private objects with it.
		if t.stillIn(ctx, c) != nil && c.era == t.era.Load() {
			t.unsettle()
		}
		return true
	case pkcs11.CKR_OPERATION_ACTIVE:
		return true
	}
	return false
}

// do runs f with a session, once more if the token had lost its sessions or its
// login. f looks up what it needs by name or identity each time. Changes (rw) are
// repeated only after errors that say that nothing has been done.
func (t *Token) do(ctx context.Context, rw bool, f func(c *conn) error) error {
	for try := 0; ; try++ {
		c, err := t.conn(ctx, rw, true)
		if err != nil {
			return err
		}
		err = f(c)
		again := t.done(ctx, c, err)
		if rw && (errors.Is(err, pkcs11.CKR_DEVICE_REMOVED) || errors.Is(err, pkcs11.CKR_TOKEN_NOT_PRESENT)) {
			again = false
		}
		if !again || try > 0 {
			return err
		}
	}
}

// unsettle notes that the token is not, or may not be, logged in.
func (t *Token) unsettle() {
	t.settled.Store(false)
	t.era.Add(1)
}

// stillIn finds out whether the token was logged out behind our back: private
// objects have then vanished without an error. The error is one after which do
// logs in again.
func (t *Token) stillIn(ctx context.Context, c *conn) error {
	if !t.inside.Load() {
		return nil
	}
	info, err := c.Info(ctx)
	if err != nil {
		return err
	}
	if info.State == pkcs11.CKS_RO_PUBLIC_SESSION || info.State == pkcs11.CKS_RW_PUBLIC_SESSION {
		return pkcs11.CKR_USER_NOT_LOGGED_IN
	}
	return nil
}

// login logs the token in through the session, if it wants that and there is a
// PIN. One goroutine does it, the others wait.
func (t *Token) login(ctx context.Context, c *conn) error {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for a login: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
	}
	defer func() { <-t.turn }()
	if t.settled.Load() {
		return nil
	}
	info, err := t.m.TokenInfo(ctx, t.slot)
	if err != nil {
		return err
	}
	settle := func() error { t.settled.Store(true); return nil }
	t.inside.Store(false)
	if info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0 || info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED == 0 {
		return settle()
	}
	var pin []byte
	if info.Flags&pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH == 0 {
		if t.opts.PIN == nil {
			return settle()
		}
		pin, err = t.askPIN(ctx, pkcs11.CKU_USER, info)
		if err != nil {
			return err
		}
		if pin == nil {
			return settle()
		}
	}
	err = c.Login(ctx, pkcs11.CKU_USER, pin)
	defer clear(pin)
	switch {
	case err == nil, errors.Is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN):
		if t.era.Load() > 0 {
			t.log(ctx, "logged in again", nil)
		}
		t.forget()
		t.inside.Store(true)
		return settle()
	case errors.Is(err, pkcs11.CKR_PIN_INCORRECT):
		t.refuse(ctx, pin, err)
	}
	return &subjectError{"login", err, pinCure(err)}
}

// askPIN asks Options.PIN, unless it is clear that the answer would be of no
// use. The caller wipes the result. t.turn is held.
func (t *Token) askPIN(ctx context.Context, user pkcs11.UserType, info pkcs11.TokenInfo) ([]byte, error) {
	switch {
	case info.Flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return nil, &subjectError{"login", pkcs11.CKR_PIN_LOCKED, pinCure(pkcs11.CKR_PIN_LOCKED)}
	case info.Flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0 && !t.opts.LastTry:
		return nil, &subjectError{"login", fmt.Errorf("%w: %w", ErrLastTry, pkcs11.CKR_ACTION_PROHIBITED),
			"make sure of the PIN and set Options.LastTry, or have the SO set a new one"}
	case info.Flags&pkcs11.CKF_USER_PIN_COUNT_LOW != 0:
		t.log(ctx, "a wrong PIN was entered since the last login", nil)
	}
	pin, err := t.opts.PIN(ctx, user, info)
	if err != nil {
		clear(pin)
		return nil, &subjectError{"login", err, ""}
	}
	if pin == nil || t.refused.pin == nil {
		return pin, nil
	}
	if t.refused.low && info.Flags&pkcs11.CKF_USER_PIN_COUNT_LOW == 0 {
		t.forget() // somebody has logged in since, or set a PIN
		return pin, nil
	}
	if hmac.Equal(t.refused.pin, t.pinMAC(pin)) {
		clear(pin)
		return nil, &subjectError{"login", t.refused.code, pinCure(pkcs11.CKR_PIN_INCORRECT)}
	}
	return pin, nil
}

// refuse remembers that the token refused pin, without keeping it.
func (t *Token) refuse(ctx context.Context, pin []byte, code error) {
	if pin == nil {
		return
	}
	rand.Read(t.refused.key[:])
	t.refused.pin = t.pinMAC(pin)
	t.refused.code = code
	info, err := t.m.TokenInfo(ctx, t.slot)
	t.refused.low = err == nil && info.Flags&pkcs11.CKF_USER_PIN_COUNT_LOW != 0
}

func (t *Token) pinMAC(pin []byte) []byte {
	h := hmac.New(sha256.New, t.refused.key[:])
	defer wipe.MAC(h) // which has the PIN in its last block
	h.Write(pin)
	return h.Sum(nil)
}

// forget forgets what was refused. t.turn is held.
func (t *Token) forget() {
	clear(t.refused.key[:])
	clear(t.refused.pin)
	t.refused.pin = nil
}

// log tells Options.Log.
func (t *Token) log(ctx context.Context, msg string, err error) {
	if t.opts.Log == nil {
		return
	}
	args := []any{"slot", uint64(t.slot)}
	if err != nil {
		args = append(args, "error", err)
	}
	t.opts.Log(ctx, "cryptoki: "+msg, args...)
}

// A subjectError says what a method of the facade was about, why it failed, and
// what to do.
type subjectError struct {
	subject string
	err     error
	cure    string // may be empty
}

func (e *subjectError) Error() string {
	s := "cryptoki: " + e.subject + ": " + trimPrefix(e.err.Error())
	if e.cure != "" {
		s += "; " + e.cure
	}
	return s
}

func (e *subjectError) Unwrap() error { return e.err }

// fail wraps err in a subjectError, and keeps nil nil.
func fail(subject string, err error, cure string) error {
	if err == nil {
		return nil
	}
	return &subjectError{subject, err, cure}
}
