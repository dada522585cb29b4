package cryptoki

import (
	"context"
	"fmt"
	"sync"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A slot is what one application has of a token: its sessions, its login state
// and its view of the objects.
type slot struct {
	module *module
	id     pkcs11.SlotID
	*device

	refreshing chan struct{} // a semaphore of one: the driver's objects are being read

	mu         sync.RWMutex
	sessions   map[*session]struct{}
	rwSessions int
	login      loginState
	logins     uint64 // counts logins and logouts
	objects    objectIndex
	loaded     bool   // the driver's objects have been read in this login state
	seen       uint64 // what changer said when they were
	seenHere   uint64 // what device.changes was
	damage     error  // what the driver could not read of them
}

func newSlot(m *module, id pkcs11.SlotID, d *device) *slot {
	s := &slot{
		module:     m,
		id:         id,
		device:     d,
		refreshing: make(chan struct{}, 1),
		sessions:   make(map[*session]struct{}),
	}
	s.objects.clear()
	return s
}

// acquire waits for the token's turn. See gate.
func (s *slot) acquire(ctx context.Context) error { return s.gate.acquire(ctx, s.module.party) }

// changed notes, for the other applications, that this one has changed the
// token's objects. s.mu is held.
func (s *slot) changed() {
	now := s.device.changes.Add(1)
	if s.seenHere == now-1 {
		s.seenHere = now // nobody else did, so there is nothing to read again
	}
}

// maxSessions is the limit, pkcs11.EffectivelyInfinite if there is none.
func (s *slot) maxSessions() uint64 {
	limit := s.token.Info().MaxSessions
	if limit == pkcs11.Unavailable {
		limit = pkcs11.EffectivelyInfinite
	}
	if own := uint64(max(s.module.opts.MaxSessions, 0)); own > 0 && (limit == pkcs11.EffectivelyInfinite || own < limit) {
		limit = own
	}
	return limit
}

func (s *slot) addSession(se *session) error {
	limit := s.maxSessions()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.module.closed.Load() {
		return pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED
	}
	if limit != pkcs11.EffectivelyInfinite && uint64(len(s.sessions)) >= limit {
		return fmt.Errorf("%w: %d sessions are open, the limit; close one", pkcs11.CKR_SESSION_COUNT, limit)
	}
	if !se.rw() && s.login == loginSO {
		return fmt.Errorf("%w: log the SO out before opening a read-only session", pkcs11.CKR_SESSION_READ_WRITE_SO_EXISTS)
	}
	s.sessions[se] = struct{}{}
	s.device.sessions.Add(1)
	if se.rw() {
		s.rwSessions++
	}
	return nil
}

// closeSession ends se. The last session takes the login with it.
func (s *slot) closeSession(se *session) error {
	last := func() bool { return len(s.sessions) <= 1 && s.login != loginNone }
	s.mu.Lock()
	if last() {
		// This will log out, so it waits for its turn, outside of s.mu.
		s.mu.Unlock()
		s.logging <- struct{}{}
		defer func() { <-s.logging }()
		s.mu.Lock()
	}
	if _, ok := s.sessions[se]; !ok {
		s.mu.Unlock()
		return nil
	}
	delete(s.sessions, se)
	s.device.sessions.Add(-1)
	if se.rw() {
		s.rwSessions--
	}
	var dead []*object
	if se.owns {
		dead = s.objects.removeWhere(func(o *object) bool { return o.owner == se })
	}
	logout := len(s.sessions) == 0 && s.login != loginNone
	if logout {
		dead = append(dead, s.logoutLocked()...)
	}
	s.mu.Unlock()
	se.drop()
	return s.abandon(dead, logout)
}

// closeAll ends every session.
func (s *slot) closeAll() error {
	s.logging <- struct{}{}
	defer func() { <-s.logging }()
	s.mu.Lock()
	all := s.sessions
	s.sessions = make(map[*session]struct{})
	s.device.sessions.Add(-int64(len(all)))
	s.rwSessions = 0
	for se := range all {
		se.closed.Store(true)
	}
	dead := s.objects.removeWhere(func(o *object) bool { return o.owner != nil })
	logout := s.login != loginNone
	if logout {
		dead = append(dead, s.logoutLocked()...)
	}
	s.mu.Unlock()
	for se := range all {
		se.drop()
	}
	return s.abandon(dead, logout)
}

// abandon has the driver forget session objects, and log out, for which logging
// is held. What the driver cannot do any more is no reason to keep a session open,
// so only the logout's error counts.
func (s *slot) abandon(dead []*object, logout bool) error {
	var session []driver.Object
	for _, o := range dead {
		if d := o.drv(); o.owner != nil && d != nil {
			session = append(session, d)
		}
	}
	if len(session) == 0 && !logout {
		return nil
	}
	ctx := context.Background()
	if err := s.acquire(ctx); err != nil {
		return nil // the token is closed, and forgets all by itself
	}
	defer s.gate.release()
	if len(session) > 0 {
		if d, ok := s.token.(driver.Destroyer); ok {
			d.Destroy(ctx, session...)
		}
	}
	if logout {
		return s.checkOut(ctx)
	}
	return nil
}

// refresh brings the objects up to date with the driver: when they have not been
// read yet, or the driver says that somebody else changed them.
func (s *slot) refresh(ctx context.Context) error {
	s.mu.RLock()
	loaded := s.loaded && s.seenHere == s.device.changes.Load()
	seen := s.seen
	s.mu.RUnlock()
	if loaded && s.changer == nil {
		return nil
	}
	if loaded {
		now, err := s.changer.Changes()
		if err == nil && now == seen {
			return nil
		}
	}

	select {
	case s.refreshing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for the token's objects: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
	}
	defer func() { <-s.refreshing }()
	for {
		if done, err := s.reload(ctx); done || err != nil {
			return err
		}
	}
}

// reload reads the driver's objects. It reports false if somebody logged in or
// out, or initialized the token, meanwhile: then they have to be read again.
func (s *slot) reload(ctx context.Context) (done bool, err error) {
	if err := s.acquire(ctx); err != nil {
		return false, err
	}
	var now uint64
	if s.changer != nil {
		if now, err = s.changer.Changes(); err != nil {
			s.gate.release()
			return false, deviceErr(err)
		}
	}
	here := s.device.changes.Load()
	s.mu.Lock()
	if s.loaded && now == s.seen && here == s.seenHere {
		s.mu.Unlock()
		s.gate.release()
		return true, nil // another goroutine was faster
	}
	s.objects.beginReplace()
	login := s.logins
	s.mu.Unlock()
	list, err := s.token.Objects(ctx)
	s.gate.release()

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && list == nil {
		s.objects.abortReplace()
		return false, deviceErr(err)
	}
	if login != s.logins || s.objects.touched == nil {
		s.objects.abortReplace()
		return false, nil
	}
	damage := deviceErr(err)
	if err := s.objects.endReplace(list, s.newHandles); err != nil {
		return false, err
	}
	s.loaded, s.seen, s.damage = true, now, damage
	s.seenHere = max(s.seenHere, here)
	return true, nil
}

// newHandles sets n handles aside that no object has had, and returns the first.
func (s *slot) newHandles(n int) pkcs11.ObjectHandle {
	return pkcs11.ObjectHandle(s.module.handles.Add(uint64(n)) - uint64(n) + 1)
}

// insert adds an object that the driver has just created and returns it. If a
// refresh has met it already, that is the one.
func (s *slot) insert(d driver.Object, owner *session) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if owner != nil && owner.closed.Load() {
		return nil, pkcs11.CKR_SESSION_HANDLE_INVALID
	}
	if owner == nil {
		s.changed()
	}
	if o := s.objects.byDriverID[d.ID()]; o != nil {
		s.objects.touch(d.ID())
		return o, nil
	}
	o, err := newObject(s.newHandles(1), d, owner)
	if err != nil {
		return nil, err
	}
	s.objects.add(o)
	if owner != nil {
		owner.owns = true
	}
	return o, nil
}

// remove forgets objects that have been destroyed.
func (s *slot) remove(objects ...*object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range objects {
		s.objects.remove(o)
		if o.token {
			s.changed()
		}
	}
}

// lookup returns the object of a handle if se may see it. bad is the code for a
// handle that is not valid: CKR_OBJECT_HANDLE_INVALID or CKR_KEY_HANDLE_INVALID.
func (s *slot) lookup(h pkcs11.ObjectHandle, bad pkcs11.Error) (*object, error) {
	s.mu.RLock()
	o := s.objects.byHandle.get(h)
	visible := o != nil && (!o.private || s.userLocked())
	hidden := o == nil && s.objects.loggedOut[h]
	s.mu.RUnlock()
	if visible {
		return o, nil
	}
	if (hidden || o != nil) && bad == pkcs11.CKR_KEY_HANDLE_INVALID {
		return nil, fmt.Errorf("object %d: %w: log in and search for the key again", h, pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	return nil, fmt.Errorf("object %d: %w: no such object, or it has been destroyed or hidden by a logout", h, bad)
}
