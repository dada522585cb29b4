package cryptoki

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Lock order. A goroutine that holds one of these takes only those further down:
//
//	device.logging    a semaphore: one login or logout at a time
//	slot.refreshing   a semaphore: one reading of the driver's objects at a time
//	gate              the token's own: held while a driver is called
//	slot.mu           sessions, login state, objects and their indexes; never of two slots at once
//	session.mu        the operations of a session
//
// slot.mu and session.mu are never held while a driver is called. An operation
// is taken out of its session while it runs, so that session.mu need not be
// held either.

// ModuleOptions change how a module made by NewModule behaves. A nil pointer and
// the zero value mean the defaults.
type ModuleOptions struct {
	// MaxSessions limits the sessions per token, beside the token's own limit.
	// The default is no limit.
	MaxSessions int
}

type module struct {
	opts    ModuleOptions
	slots   []*slot
	closed  atomic.Bool
	handles atomic.Uint64 // the last object handle given

	root  *module // the one that has the tokens; itself, or for an application another
	party any     // with whom it shares its turns at a device
	applications
}

var _ Module = (*module)(nil)

// NewModule returns the Cryptoki of this package over the given tokens, one slot
// each, numbered from 1 in their order. The module owns the tokens from now on:
// its Close closes them.
//
// The errors concern what the tokens say of themselves: a mechanism listed twice
// for instance. The tokens are then not closed.
func NewModule(opts *ModuleOptions, tokens ...driver.Token) (Module, error) {
	m := &module{}
	m.root, m.party = m, m
	if opts != nil {
		m.opts = *opts
	}
	for i, token := range tokens {
		if token == nil {
			return nil, fmt.Errorf("cryptoki: token %d is nil: %w", i+1, pkcs11.CKR_ARGUMENTS_BAD)
		}
		table, err := newMechanisms(token.Mechanisms())
		if err != nil {
			return nil, fmt.Errorf("cryptoki: token %q: %w", token.Info().Label, err)
		}
		m.slots = append(m.slots, newSlot(m, pkcs11.SlotID(i+1), newDevice(token, table)))
	}
	return m, nil
}

// slot returns the slot of that id, after the checks that every function makes.
func (m *module) slot(op string, id pkcs11.SlotID) (*slot, error) {
	if m.closed.Load() {
		return nil, opErr(op, "", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	}
	if id < 1 || uint64(id) > uint64(len(m.slots)) {
		return nil, opErr(op, "", fmt.Errorf("slot %d: %w: the module has slots 1 to %d", id, pkcs11.CKR_SLOT_ID_INVALID, len(m.slots)))
	}
	return m.slots[id-1], nil
}

func (m *module) Info(context.Context) (pkcs11.Info, error) {
	if m.closed.Load() {
		return pkcs11.Info{}, opErr("Info", "", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	}
	return pkcs11.Info{
		CryptokiVersion:    pkcs11.Version{Major: 2, Minor: 40},
		ManufacturerID:     "go-cryptoki",
		LibraryDescription: "Go Cryptoki",
		LibraryVersion:     pkcs11.Version{Major: 0, Minor: 1},
	}, nil
}

func (m *module) Slots(_ context.Context, tokenPresent bool) ([]pkcs11.SlotID, error) {
	if m.closed.Load() {
		return nil, opErr("Slots", "", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	}
	ids := make([]pkcs11.SlotID, len(m.slots))
	for i, s := range m.slots {
		ids[i] = s.id
	}
	return ids, nil
}

func (m *module) SlotInfo(_ context.Context, id pkcs11.SlotID) (pkcs11.SlotInfo, error) {
	s, err := m.slot("SlotInfo", id)
	if err != nil {
		return pkcs11.SlotInfo{}, err
	}
	info := s.token.Info()
	si := pkcs11.SlotInfo{
		Description:     info.SlotDescription,
		ManufacturerID:  info.ManufacturerID,
		Flags:           pkcs11.CKF_TOKEN_PRESENT,
		HardwareVersion: info.HardwareVersion,
		FirmwareVersion: info.FirmwareVersion,
	}
	if si.Description == "" {
		si.Description = info.Model + " " + info.SerialNumber
	}
	if info.Hardware {
		si.Flags |= pkcs11.CKF_HW_SLOT
	}
	return si, nil
}

func (m *module) TokenInfo(_ context.Context, id pkcs11.SlotID) (pkcs11.TokenInfo, error) {
	s, err := m.slot("TokenInfo", id)
	if err != nil {
		return pkcs11.TokenInfo{}, err
	}
	info := s.token.Info()
	flags := info.Flags
	if s.random != nil {
		flags |= pkcs11.CKF_RNG
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return pkcs11.TokenInfo{
		Label:              info.Label,
		ManufacturerID:     info.ManufacturerID,
		Model:              info.Model,
		SerialNumber:       info.SerialNumber,
		Flags:              flags,
		MaxSessionCount:    s.maxSessions(),
		SessionCount:       uint64(len(s.sessions)),
		MaxRwSessionCount:  s.maxSessions(),
		RwSessionCount:     uint64(s.rwSessions),
		MaxPinLen:          info.MaxPINLen,
		MinPinLen:          info.MinPINLen,
		TotalPublicMemory:  pkcs11.Unavailable,
		FreePublicMemory:   pkcs11.Unavailable,
		TotalPrivateMemory: pkcs11.Unavailable,
		FreePrivateMemory:  pkcs11.Unavailable,
		HardwareVersion:    info.HardwareVersion,
		FirmwareVersion:    info.FirmwareVersion,
	}, nil
}

func (m *module) Mechanisms(_ context.Context, id pkcs11.SlotID) ([]pkcs11.MechanismType, error) {
	s, err := m.slot("Mechanisms", id)
	if err != nil {
		return nil, err
	}
	return s.mechs.list(), nil
}

func (m *module) MechanismInfo(_ context.Context, id pkcs11.SlotID, t pkcs11.MechanismType) (pkcs11.MechanismInfo, error) {
	s, err := m.slot("MechanismInfo", id)
	if err != nil {
		return pkcs11.MechanismInfo{}, err
	}
	row, ok := s.mechs.rows[t]
	if !ok {
		return pkcs11.MechanismInfo{}, opErr("MechanismInfo", t.String(), fmt.Errorf("%w: the token does not have it", pkcs11.CKR_MECHANISM_INVALID))
	}
	return row.info, nil
}

func (m *module) InitToken(ctx context.Context, id pkcs11.SlotID, soPIN []byte, label string) error {
	const op = "InitToken"
	s, err := m.slot(op, id)
	if err != nil {
		return err
	}
	if len(label) > 32 {
		return opErr(op, "", fmt.Errorf("%w: a token label has at most 32 bytes, not %d", pkcs11.CKR_ARGUMENTS_BAD, len(label)))
	}
	init, ok := s.token.(driver.Initializer)
	if !ok {
		return opErr(op, "", fmt.Errorf("%w: this token cannot be initialized", pkcs11.CKR_FUNCTION_NOT_SUPPORTED))
	}
	if open := s.device.sessions.Load(); open > 0 {
		return opErr(op, "", fmt.Errorf("%w: %d sessions are open; close them first", pkcs11.CKR_SESSION_EXISTS, open))
	}
	if err := s.acquire(ctx); err != nil {
		return opErr(op, "", err)
	}
	err = init.InitToken(ctx, soPIN, label)
	s.gate.release()
	if err != nil {
		return opErr(op, "", deviceErr(err))
	}
	s.mu.Lock()
	s.objects.clear()
	s.loaded = false
	s.changed() // for the other applications
	s.mu.Unlock()
	return nil
}

func (m *module) OpenSession(ctx context.Context, id pkcs11.SlotID, flags pkcs11.SessionFlags) (Session, error) {
	const op = "OpenSession"
	s, err := m.slot(op, id)
	if err != nil {
		return nil, err
	}
	if flags&pkcs11.CKF_SERIAL_SESSION == 0 {
		return nil, opErr(op, "", fmt.Errorf("%w: flags lack CKF_SERIAL_SESSION", pkcs11.CKR_SESSION_PARALLEL_NOT_SUPPORTED))
	}
	if flags&^(pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION) != 0 {
		return nil, opErr(op, "", fmt.Errorf("%w: unknown session flags %#x", pkcs11.CKR_ARGUMENTS_BAD, flags))
	}
	if err := ctx.Err(); err != nil {
		return nil, opErr(op, "", deviceErr(err))
	}
	se := &session{slot: s, flags: flags}
	if err := s.addSession(se); err != nil {
		return nil, opErr(op, "", err)
	}
	return se, nil
}

func (m *module) CloseAllSessions(_ context.Context, id pkcs11.SlotID) error {
	s, err := m.slot("CloseAllSessions", id)
	if err != nil {
		return err
	}
	return opErr("CloseAllSessions", "", s.closeAll())
}

func (m *module) Close() error {
	if m.closed.Swap(true) {
		return opErr("Close", "", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	}
	var errs []error
	if m.root == m {
		m.mu.Lock()
		apps := m.apps
		m.apps = nil
		m.mu.Unlock()
		for app := range apps {
			if !app.closed.Swap(true) {
				errs = append(errs, app.end())
			}
		}
	} else {
		m.root.mu.Lock()
		delete(m.root.apps, m)
		m.root.mu.Unlock()
	}
	errs = append(errs, m.end())
	return opErr("Close", "", errors.Join(errs...))
}

// end closes the sessions, and the tokens if they are this module's.
func (m *module) end() error {
	var errs []error
	for _, s := range m.slots {
		errs = append(errs, s.closeAll())
		if m.root == m {
			s.gate.shut()
			errs = append(errs, s.token.Close())
		}
		s.mu.Lock()
		s.objects.clear()
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// deviceErr gives an error of a driver the code that it lacks.
func deviceErr(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		var code pkcs11.Error
		if !errors.As(err, &code) {
			return fmt.Errorf("%w: %w", pkcs11.CKR_FUNCTION_CANCELED, err)
		}
	}
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return fmt.Errorf("%w: %w", pkcs11.CKR_DEVICE_ERROR, err)
	}
	return err
}

// opErr wraps err in an OpError, and keeps nil nil.
func opErr(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	return &OpError{Op: op, Subject: subject, Err: err}
}
