package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// env is what the cases of a run share: the module, and what is known of the
// token.
type env struct {
	target  Target
	profile Profile
	derived bool // the profile is what the mechanism table says
	labels  Labels
	slot    pkcs11.SlotID
	info    pkcs11.TokenInfo
	types   []pkcs11.MechanismType
	rows    map[pkcs11.MechanismType]pkcs11.MechanismInfo
	owned   bool // the suite may do everything
	can     abilities
	asked   sync.Once // the driver, what it implements

	// gate lets parallel cases in together and serial ones alone. It is held
	// for the whole of a case; mu, below it, guards what follows.
	gate sync.RWMutex
	mu   sync.Mutex
	// mod is nil while the module is closed.
	mod cryptoki.Module
	// keeper is a session that keeps the user logged in for parallel cases.
	keeper cryptoki.Session
	// used are the labels of objects that the suite made.
	used map[string]bool
	// keys are the key pairs that cases share; their handles are good for mod.
	// keysMu is above mu.
	keysMu sync.Mutex
	keys   map[string]keyPair
	// hung is the case that did not come back, which has the module.
	hung string
}

// abilities are what the driver implements or, for a module, what a trial says.
type abilities struct {
	create, destroy, update, copy, export, random, login, setPIN, initialize, cancel bool
}

// newEnv opens the target, initializes its token if need be and may be, and
// finds out what it is.
func newEnv(ctx context.Context, target Target) (*env, error) {
	e := &env{target: target.withDefaults(), keys: map[string]keyPair{}, used: map[string]bool{}}
	if (target.Open == nil) == (target.OpenModule == nil) {
		return nil, errors.New("conformance: a Target has either Open or OpenModule")
	}
	if err := e.setUp(ctx); err != nil {
		if e.mod != nil {
			e.mod.Close()
		}
		return nil, fmt.Errorf("conformance: set up: %w", err)
	}
	return e, nil
}

func (e *env) setUp(ctx context.Context) error {
	mod, err := e.module(ctx)
	if err != nil {
		return err
	}
	slots, err := mod.Slots(ctx, true)
	if err != nil {
		return err
	}
	if e.target.Slot >= len(slots) {
		return fmt.Errorf("slot index %d: there are %d slots with a token", e.target.Slot, len(slots))
	}
	e.slot = slots[e.target.Slot]
	if err := e.initialize(ctx); err != nil {
		return err
	}
	e.rows = map[pkcs11.MechanismType]pkcs11.MechanismInfo{}
	if e.types, err = mod.Mechanisms(ctx, e.slot); err != nil {
		return err
	}
	for _, m := range e.types {
		if e.rows[m], err = mod.MechanismInfo(ctx, e.slot, m); err != nil {
			return fmt.Errorf("%v is listed: %w", m, err)
		}
	}
	return e.explore(ctx)
}

// initialize makes the token ready: initialized, with a user PIN if it has PINs.
func (e *env) initialize(ctx context.Context) error {
	var err error
	if e.info, err = e.mod.TokenInfo(ctx, e.slot); err != nil {
		return err
	}
	fresh, made := e.info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0, false
	e.owned = fresh || e.target.Destructive
	if e.owned {
		err := e.mod.InitToken(ctx, e.slot, e.target.SOPIN, e.target.TokenLabel)
		if err != nil && (fresh || !errors.Is(err, pkcs11.CKR_FUNCTION_NOT_SUPPORTED)) {
			return fmt.Errorf("initialize the token: %w", err)
		}
		made = err == nil
	}
	return e.initPIN(ctx, made)
}

// initPIN sets the user PIN if the token wants one and has none. It has none after
// InitToken, whatever it says.
func (e *env) initPIN(ctx context.Context, none bool) error {
	var err error
	if e.info, err = e.mod.TokenInfo(ctx, e.slot); err != nil {
		return err
	}
	if e.info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0 || e.info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED != 0 && !none {
		return nil
	}
	s, err := e.mod.OpenSession(ctx, e.slot, rwSession)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Login(ctx, pkcs11.CKU_SO, e.target.SOPIN); err != nil {
		return err
	}
	if err := s.InitPIN(ctx, e.target.UserPIN); err != nil {
		return err
	}
	if err := s.Logout(ctx); err != nil {
		return err
	}
	e.info, err = e.mod.TokenInfo(ctx, e.slot)
	return err
}

const (
	roSession = pkcs11.SessionFlags(pkcs11.CKF_SERIAL_SESSION)
	rwSession = pkcs11.SessionFlags(pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
)

// explore settles the profile, the labels and, of a module that is not made of
// a driver here, the abilities.
func (e *env) explore(ctx context.Context) error {
	e.can.random = e.info.Flags&pkcs11.CKF_RNG != 0
	e.can.login = e.info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0
	e.can.cancel = true
	s, err := e.mod.OpenSession(ctx, e.slot, rwSession)
	if err != nil {
		return err
	}
	defer s.Close()
	if e.can.login {
		if err := s.Login(ctx, pkcs11.CKU_USER, e.target.UserPIN); err != nil {
			return err
		}
	}
	if e.target.OpenModule != nil {
		e.tryOut(ctx, s)
	}
	e.profile = e.target.Profile
	if e.profile == (Profile{}) {
		e.derived = true
		e.profile = Profile{
			RSA:      e.has(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_SIGN, 2048),
			EC:       e.has(pkcs11.CKM_ECDSA, pkcs11.CKF_SIGN, 256),
			Generate: e.has(pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKF_GENERATE_KEY_PAIR, 256),
			JITP:     e.can.create,
			Import:   e.can.create && e.importWorks(ctx, s),
		}
	}
	if e.profile.Import && e.profile.EC {
		e.can.export = e.takes(ctx, s, append(ecPrivateTemplate(trialLabel, ecKey), attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true)))
	}
	return e.chooseLabels(ctx, s)
}

// importWorks reports whether the token takes a private key from outside.
func (e *env) importWorks(ctx context.Context, s cryptoki.Session) bool {
	return e.takes(ctx, s, ecPrivateTemplate(trialLabel, ecKey)) || e.takes(ctx, s, rsaPrivateTemplate(trialLabel, rsaKey))
}

const trialLabel = "conformance trial"

// takes reports whether the token creates such an object: one of the session, or
// one that can be destroyed again.
func (e *env) takes(ctx context.Context, s cryptoki.Session, template pkcs11.Template) bool {
	for _, token := range []bool{false, true} {
		if token && !e.can.destroy {
			return false
		}
		h, err := s.CreateObject(ctx, template.Set(attr(pkcs11.CKA_TOKEN, token)))
		if err == nil {
			s.DestroyObject(ctx, h)
			return true
		}
	}
	return false
}

// tryOut finds the abilities of a module with an object that lives as long as
// the session.
func (e *env) tryOut(ctx context.Context, s cryptoki.Session) {
	e.can.setPIN = e.can.login
	e.can.initialize = true
	e.can.cancel = !errors.Is(s.SessionCancel(ctx, 0), pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
	h, err := s.CreateObject(ctx, certTemplate(trialLabel, ecCert).Set(pkcs11.Attr(pkcs11.CKA_TOKEN, false)))
	if err != nil {
		return
	}
	e.can.create = true
	e.can.update = !errors.Is(s.SetAttributeValue(ctx, h, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, trialLabel+" 2")}), pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
	_, err = s.CopyObject(ctx, h, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, trialLabel+" 3")})
	e.can.copy = !errors.Is(err, pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
	e.can.destroy = s.DestroyObject(ctx, h) == nil
}

// ours is what the modules of package cryptoki say of themselves. They have places.
const ours = "go-cryptoki"

func (e *env) chooseLabels(ctx context.Context, s cryptoki.Session) error {
	info, err := e.mod.Info(ctx)
	if err != nil {
		return err
	}
	switch {
	case e.target.Labels != nil:
		e.labels = *e.target.Labels
	case info.ManufacturerID != ours:
		e.labels = testLabels // which a module of somebody else does not take for places
	case e.owned || e.profile.Preprovisioned:
		e.labels = placeLabels
	default:
		e.labels = testLabels
	}
	if e.owned || e.profile.Preprovisioned {
		return nil
	}
	for _, label := range []string{e.labels.PrivateKey, e.labels.PublicKey, e.labels.Cert, e.labels.RootCert, e.labels.CodeVerifyKey, e.labels.JITPCert} {
		found, err := findAll(ctx, s, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, label)})
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return fmt.Errorf("the token holds an object with the label %q, which the suite would replace: set Destructive, or choose other Labels", label)
		}
	}
	return nil
}

// has reports whether the mechanism table has the row.
func (e *env) has(m pkcs11.MechanismType, flags, bits uint64) bool {
	info, ok := e.rows[m]
	return ok && info.Flags&flags == flags && (bits == 0 || info.MinKeySize <= bits && bits <= info.MaxKeySize)
}

// module returns the module, and opens it if it is closed.
func (e *env) module(ctx context.Context) (cryptoki.Module, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.open(ctx)
}

func (e *env) open(ctx context.Context) (cryptoki.Module, error) {
	if e.mod != nil {
		return e.mod, nil
	}
	ctx = context.WithoutCancel(ctx) // the module outlives the case
	if e.target.OpenModule != nil {
		mod, err := e.target.OpenModule(ctx)
		if err == nil {
			e.mod = mod // else it may be a nil pointer, which is no nil interface
		}
		return e.mod, err
	}
	token, err := e.target.Open(ctx)
	if err != nil {
		return nil, err
	}
	// Not again when a case has closed the module: others read the answers.
	e.asked.Do(func() { e.ask(token) })
	if e.mod, err = cryptoki.NewModule(e.target.Options, token); err != nil {
		token.Close()
		e.mod = nil
	}
	return e.mod, err
}

// ask notes what the driver implements.
func (e *env) ask(token driver.Token) {
	_, e.can.create = token.(driver.Creator)
	_, e.can.destroy = token.(driver.Destroyer)
	_, e.can.update = token.(driver.Updater)
	_, e.can.copy = token.(driver.Copier)
	_, e.can.setPIN = token.(driver.PINSetter)
	_, e.can.initialize = token.(driver.Initializer)
}

// closed is called after the module was closed: no handle means anything now.
func (e *env) closed() {
	e.keysMu.Lock()
	clear(e.keys)
	e.keysMu.Unlock()
	e.mu.Lock()
	e.mod, e.keeper = nil, nil
	e.mu.Unlock()
}

// prepare makes the module ready for a case: closed sessions and nobody logged
// in for a serial one, a logged-in user for a parallel one.
func (e *env) prepare(ctx context.Context, serial bool) error {
	if serial { // which logs out, after which handles of private keys are void
		e.keysMu.Lock()
		clear(e.keys)
		e.keysMu.Unlock()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	mod, err := e.open(ctx)
	if err != nil {
		return err
	}
	if serial {
		e.keeper = nil
		return mod.CloseAllSessions(ctx, e.slot)
	}
	if e.keeper != nil {
		return nil
	}
	s, err := mod.OpenSession(ctx, e.slot, rwSession)
	if err != nil {
		return err
	}
	if e.can.login {
		if err := s.Login(ctx, pkcs11.CKU_USER, e.target.UserPIN); err != nil && !errors.Is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
			return err
		}
	}
	e.keeper = s
	return nil
}

// remember notes a label that the suite uses, so that it can clean up.
func (e *env) remember(label string) {
	e.mu.Lock()
	e.used[label] = true
	e.mu.Unlock()
}

// tearDown removes what the suite made, and closes the module.
func (e *env) tearDown(ctx context.Context) error {
	if e.hung != "" {
		return nil
	}
	if err := e.prepare(ctx, false); err != nil {
		return err
	}
	if e.can.destroy && !e.profile.Preprovisioned {
		for label := range e.used {
			found, err := findAll(ctx, e.keeper, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, label)})
			if err != nil {
				return err
			}
			for _, h := range found {
				e.keeper.DestroyObject(ctx, h)
			}
		}
	}
	mod := e.mod
	e.closed()
	return mod.Close()
}

// findAll searches from beginning to end.
func findAll(ctx context.Context, s cryptoki.Session, template pkcs11.Template) ([]pkcs11.ObjectHandle, error) {
	if err := s.FindObjectsInit(ctx, template); err != nil {
		return nil, err
	}
	var all []pkcs11.ObjectHandle
	buf := make([]pkcs11.ObjectHandle, 64)
	for {
		n, err := s.FindObjects(ctx, buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return all, s.FindObjectsFinal(ctx)
		}
		if all = append(all, buf[:n]...); len(all) > maxFound {
			return nil, fmt.Errorf("%w: a search found %d objects and goes on: it does not seem to end", pkcs11.CKR_DEVICE_ERROR, len(all))
		}
	}
}

// maxFound is more than a token under test has objects.
const maxFound = 1 << 20
