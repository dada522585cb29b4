package cryptoki

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// loginState says who is logged in to a token. There is one for all sessions.
type loginState uint8

const (
	loginNone loginState = iota
	loginUser
	loginSO
)

// userLocked reports whether private objects may be used: the user is logged in,
// or the token asks for no login. s.mu is held.
func (s *slot) userLocked() bool {
	return s.login == loginUser || s.login == loginNone && !s.wantsLogin()
}

func (s *slot) wantsLogin() bool {
	return s.auth != nil && s.token.Info().Flags&pkcs11.CKF_LOGIN_REQUIRED != 0
}

func (se *session) Login(ctx context.Context, user pkcs11.UserType, pin []byte) error {
	const op = "Login"
	if err := se.check(op); err != nil {
		return err
	}
	s := se.slot
	switch user {
	case pkcs11.CKU_CONTEXT_SPECIFIC:
		return opErr(op, "", se.loginContext(ctx, pin))
	case pkcs11.CKU_USER, pkcs11.CKU_SO:
	default:
		return opErr(op, "", fmt.Errorf("%w: %v", pkcs11.CKR_USER_TYPE_INVALID, user))
	}
	if s.auth == nil || user == pkcs11.CKU_USER && !s.wantsLogin() {
		return nil // nothing is protected: everybody is the user
	}
	select {
	case s.logging <- struct{}{}:
	case <-ctx.Done():
		return opErr(op, "", fmt.Errorf("waiting for another login: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err()))
	}
	defer func() { <-s.logging }()
	if err := s.mayLogin(user); err != nil {
		return opErr(op, "", err)
	}
	if err := s.acquire(ctx); err != nil {
		return opErr(op, "", err)
	}
	defer s.gate.release()
	if err := s.checkIn(ctx, user, pin); err != nil {
		return opErr(op, "", err)
	}
	s.mu.Lock()
	closed := len(s.sessions) == 0
	if !closed {
		s.login = loginUser
		if user == pkcs11.CKU_SO {
			s.login = loginSO
		}
		s.logins++
		s.loaded = false
		s.objects.loggedOut = nil
	}
	s.mu.Unlock()
	if closed {
		// The last session was closed meanwhile, and the login with it.
		return opErr(op, "", errors.Join(errSessionClosed, s.checkOut(ctx)))
	}
	return nil
}

// mayLogin checks what the states of sessions and login say about a login.
func (s *slot) mayLogin(user pkcs11.UserType) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.login != loginNone {
		return alreadyLoggedIn(s.login, user)
	}
	if user == pkcs11.CKU_SO && s.rwSessions < len(s.sessions) {
		return fmt.Errorf("%w: the SO logs in when no read-only session is open; %d are", pkcs11.CKR_SESSION_READ_ONLY_EXISTS, len(s.sessions)-s.rwSessions)
	}
	return nil
}

func alreadyLoggedIn(who loginState, user pkcs11.UserType) error {
	if (who == loginSO) == (user == pkcs11.CKU_SO) {
		return pkcs11.CKR_USER_ALREADY_LOGGED_IN
	}
	return fmt.Errorf("%w: log out first", pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN)
}

// loginContext authenticates the operations of this session whose key is
// CKA_ALWAYS_AUTHENTICATE. It changes no session's state.
func (se *session) loginContext(ctx context.Context, pin []byte) error {
	s := se.slot
	se.mu.Lock()
	waiting := se.sign.waits() || se.decrypt.waits() || se.encrypt.waits()
	se.mu.Unlock()
	if !waiting {
		return fmt.Errorf("%w: no operation waits for a context-specific login", pkcs11.CKR_OPERATION_NOT_INITIALIZED)
	}
	if s.auth == nil {
		return fmt.Errorf("%w: the token has no PIN", pkcs11.CKR_USER_PIN_NOT_INITIALIZED)
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	err := s.auth.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, pin)
	s.gate.release()
	if err != nil {
		return deviceErr(err)
	}
	se.mu.Lock()
	defer se.mu.Unlock()
	se.sign.authenticate()
	se.decrypt.authenticate()
	se.encrypt.authenticate()
	return nil
}

func (se *session) Logout(ctx context.Context) error {
	const op = "Logout"
	if err := se.check(op); err != nil {
		return err
	}
	s := se.slot
	select {
	case s.logging <- struct{}{}:
	case <-ctx.Done():
		return opErr(op, "", fmt.Errorf("waiting for another login: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err()))
	}
	defer func() { <-s.logging }()
	s.mu.Lock()
	if s.login == loginNone {
		required := s.wantsLogin()
		s.mu.Unlock()
		if !required {
			return nil // Login is nothing on this token, and so is Logout
		}
		return opErr(op, "", pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	dead := s.logoutLocked()
	s.mu.Unlock()
	return opErr(op, "", s.abandon(dead, true))
}

// logoutLocked makes the slot logged out. Handles of private objects become
// invalid, also for the time after the next login, and private session objects
// are gone (PKCS #11 v2.40 §5.6, C_Logout). It returns those for abandon. s.mu is
// held.
func (s *slot) logoutLocked() []*object {
	s.login = loginNone
	s.logins++
	s.loaded = false
	dead := s.objects.removeWhere(func(o *object) bool { return o.private })
	s.objects.loggedOut = make(map[pkcs11.ObjectHandle]bool, len(dead))
	for _, o := range dead {
		s.objects.loggedOut[o.handle] = true
	}
	return dead
}

func (se *session) InitPIN(ctx context.Context, pin []byte) error {
	const op = "InitPIN"
	if err := se.check(op); err != nil {
		return err
	}
	s := se.slot
	if !se.rw() {
		return opErr(op, "", fmt.Errorf("%w: open the session with CKF_RW_SESSION", pkcs11.CKR_SESSION_READ_ONLY))
	}
	s.mu.RLock()
	so := s.login == loginSO
	s.mu.RUnlock()
	if !so {
		return opErr(op, "", fmt.Errorf("%w: log in as SO first", pkcs11.CKR_USER_NOT_LOGGED_IN))
	}
	return se.setPIN(ctx, op, pin, func(p driver.PINSetter) error { return p.InitPIN(ctx, pin) })
}

func (se *session) SetPIN(ctx context.Context, oldPIN, newPIN []byte) error {
	const op = "SetPIN"
	if err := se.check(op); err != nil {
		return err
	}
	s := se.slot
	if !se.rw() {
		return opErr(op, "", fmt.Errorf("%w: open the session with CKF_RW_SESSION", pkcs11.CKR_SESSION_READ_ONLY))
	}
	user := pkcs11.CKU_USER
	s.mu.RLock()
	if s.login == loginSO {
		user = pkcs11.CKU_SO
	}
	s.mu.RUnlock()
	return se.setPIN(ctx, op, newPIN, func(p driver.PINSetter) error { return p.SetPIN(ctx, user, oldPIN, newPIN) })
}

func (se *session) setPIN(ctx context.Context, op string, pin []byte, set func(driver.PINSetter) error) error {
	s := se.slot
	p, ok := s.token.(driver.PINSetter)
	if !ok {
		return opErr(op, "", fmt.Errorf("%w: this token has no PIN to set", pkcs11.CKR_FUNCTION_NOT_SUPPORTED))
	}
	info := s.token.Info()
	if n := uint64(len(pin)); outOfRange(n, info.MinPINLen, info.MaxPINLen) {
		return opErr(op, "", fmt.Errorf("%w: a PIN of this token has %d to %d bytes, not %d", pkcs11.CKR_PIN_LEN_RANGE, info.MinPINLen, info.MaxPINLen, n))
	}
	if err := s.acquire(ctx); err != nil {
		return opErr(op, "", err)
	}
	defer s.gate.release()
	return opErr(op, "", deviceErr(set(p)))
}
