package cryptoki

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A device is a token with what the applications that use it share. Each of them
// has a slot of its own over it.
type device struct {
	token driver.Token
	gate  *gate
	mechs mechanisms

	// What the token can do beside keeping objects; nil where it cannot.
	random  driver.RandomReader
	auth    driver.Authenticator
	changer driver.Changer

	// logging is a semaphore of one: a login or logout is under way. It guards
	// who and how many applications are logged in.
	logging chan struct{}
	who     loginState
	logged  int

	sessions atomic.Int64  // of all applications
	changes  atomic.Uint64 // counts what applications changed of the token's objects
}

func newDevice(token driver.Token, table mechanisms) *device {
	d := &device{token: token, gate: newGate(token), mechs: table, logging: make(chan struct{}, 1)}
	d.random, _ = token.(driver.RandomReader)
	d.auth, _ = token.(driver.Authenticator)
	d.changer, _ = token.(driver.Changer)
	return d
}

// checkIn checks a PIN for one more application, and has the driver make usable
// what it protects if this is the first. logging is held, and the gate.
func (d *device) checkIn(ctx context.Context, user pkcs11.UserType, pin []byte) error {
	who := loginUser
	if user == pkcs11.CKU_SO {
		who = loginSO
	}
	switch {
	case d.logged == 0:
		if err := d.auth.Login(ctx, user, pin); err != nil {
			return deviceErr(err)
		}
	case who == loginUser && d.who == loginUser:
		if err := d.auth.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, pin); err != nil {
			return deviceErr(err)
		}
	case d.who == loginSO:
		return fmt.Errorf("%w: the SO is logged in from another application; it has to log out first", pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN)
	default:
		return fmt.Errorf("%w: the user is logged in from another application; it has to log out before the SO logs in", pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN)
	}
	d.who = who
	d.logged++
	return nil
}

// checkOut is the opposite of checkIn.
func (d *device) checkOut(ctx context.Context) error {
	if d.logged--; d.logged > 0 {
		return nil
	}
	d.who = loginNone
	return deviceErr(d.auth.Logout(ctx))
}

// ApplicationOptions change how an application shares the tokens of a module. A
// nil pointer and the zero value mean the defaults.
type ApplicationOptions struct {
	// Party says with whom the application shares its turns at a device that does
	// one thing at a time: those who wait are served in turn party by party, so
	// that an application that floods the device makes others wait for one of its
	// calls and not for all. It is a comparable value, such as a process id. The
	// default is a party for each application.
	Party any
}

// NewApplication returns a module over the tokens of m for another application,
// as the standard has it for programs: with sessions, object handles and a login
// of its own (PKCS #11 v2.40 §5.6: all sessions of one application share one
// login). Session objects are not seen by others; token objects are, at once.
//
// m was made by NewModule or by NewApplication; another module cannot be shared,
// and the error wraps CKR_ARGUMENTS_BAD. Close ends the application; closing the
// module that NewModule returned ends them all.
//
// Each application logs in by itself, and the PIN is checked every time. As a
// driver knows one login at a time, the SO and the user cannot be logged in from
// two applications: the second gets CKR_USER_ANOTHER_ALREADY_LOGGED_IN.
func NewApplication(m Module, opts *ApplicationOptions) (Module, error) {
	of, ok := m.(*module)
	if !ok {
		return nil, fmt.Errorf("cryptoki: a module of another making (%T) cannot be shared between applications: %w", m, pkcs11.CKR_ARGUMENTS_BAD)
	}
	root := of.root
	app := &module{opts: root.opts, root: root}
	app.party = app
	if opts != nil && opts.Party != nil {
		app.party = opts.Party
	}
	for _, s := range root.slots {
		app.slots = append(app.slots, newSlot(app, s.id, s.device))
	}
	root.mu.Lock()
	defer root.mu.Unlock()
	if root.closed.Load() {
		return nil, opErr("NewApplication", "", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	}
	if root.apps == nil {
		root.apps = make(map[*module]struct{})
	}
	root.apps[app] = struct{}{}
	return app, nil
}

// Waiting returns how many calls wait for the devices of a module of NewModule, of
// all its applications; 0 for another module.
func Waiting(m Module) int {
	of, ok := m.(*module)
	if !ok {
		return 0
	}
	n := 0
	for _, s := range of.root.slots {
		n += s.gate.queue()
	}
	return n
}

// applications are those of a root module.
type applications struct {
	mu   sync.Mutex
	apps map[*module]struct{}
}
