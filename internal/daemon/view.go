package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A view is what one client sees: the slots of the tokens that it may use,
// numbered from 1, as one module.
type view struct {
	slots   []viewSlot
	modules []cryptoki.Module // to close, each once
	done    func()
}

type viewSlot struct {
	cryptoki.Module
	id       pkcs11.SlotID // over there
	readOnly bool
}

var _ cryptoki.Module = (*view)(nil)

func (v *view) slot(op string, id pkcs11.SlotID) (*viewSlot, error) {
	if id < 1 || uint64(id) > uint64(len(v.slots)) {
		return nil, &cryptoki.OpError{Op: op, Err: fmt.Errorf("slot %d: %w", id, pkcs11.CKR_SLOT_ID_INVALID)}
	}
	return &v.slots[id-1], nil
}

// Info implements cryptoki.Module.
func (v *view) Info(context.Context) (pkcs11.Info, error) {
	return pkcs11.Info{
		CryptokiVersion:    pkcs11.Version{Major: 2, Minor: 40},
		ManufacturerID:     "go-cryptoki",
		LibraryDescription: "Go Cryptoki daemon",
		LibraryVersion:     pkcs11.Version{Major: 0, Minor: 1},
	}, nil
}

// Slots implements cryptoki.Module.
func (v *view) Slots(ctx context.Context, tokenPresent bool) ([]pkcs11.SlotID, error) {
	var ids []pkcs11.SlotID
	for i, s := range v.slots {
		if tokenPresent {
			info, err := s.SlotInfo(ctx, s.id)
			if err != nil || info.Flags&pkcs11.CKF_TOKEN_PRESENT == 0 {
				continue
			}
		}
		ids = append(ids, pkcs11.SlotID(i+1))
	}
	return ids, nil
}

// SlotInfo implements cryptoki.Module.
func (v *view) SlotInfo(ctx context.Context, id pkcs11.SlotID) (pkcs11.SlotInfo, error) {
	s, err := v.slot("SlotInfo", id)
	if err != nil {
		return pkcs11.SlotInfo{}, err
	}
	return s.SlotInfo(ctx, s.id)
}

// TokenInfo implements cryptoki.Module.
func (v *view) TokenInfo(ctx context.Context, id pkcs11.SlotID) (pkcs11.TokenInfo, error) {
	s, err := v.slot("TokenInfo", id)
	if err != nil {
		return pkcs11.TokenInfo{}, err
	}
	info, err := s.TokenInfo(ctx, s.id)
	if s.readOnly {
		info.Flags |= pkcs11.CKF_WRITE_PROTECTED
	}
	return info, err
}

// Mechanisms implements cryptoki.Module.
func (v *view) Mechanisms(ctx context.Context, id pkcs11.SlotID) ([]pkcs11.MechanismType, error) {
	s, err := v.slot("Mechanisms", id)
	if err != nil {
		return nil, err
	}
	return s.Mechanisms(ctx, s.id)
}

// MechanismInfo implements cryptoki.Module.
func (v *view) MechanismInfo(ctx context.Context, id pkcs11.SlotID, m pkcs11.MechanismType) (pkcs11.MechanismInfo, error) {
	s, err := v.slot("MechanismInfo", id)
	if err != nil {
		return pkcs11.MechanismInfo{}, err
	}
	return s.MechanismInfo(ctx, s.id, m)
}

func protected(op string) error {
	return &cryptoki.OpError{Op: op, Err: fmt.Errorf("%w: this client may use the token but not change it", pkcs11.CKR_TOKEN_WRITE_PROTECTED)}
}

// InitToken implements cryptoki.Module.
func (v *view) InitToken(ctx context.Context, id pkcs11.SlotID, soPIN []byte, label string) error {
	s, err := v.slot("InitToken", id)
	if err != nil {
		return err
	}
	if s.readOnly {
		return protected("InitToken")
	}
	return s.InitToken(ctx, s.id, soPIN, label)
}

// OpenSession implements cryptoki.Module.
func (v *view) OpenSession(ctx context.Context, id pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
	s, err := v.slot("OpenSession", id)
	if err != nil {
		return nil, err
	}
	if s.readOnly && flags&pkcs11.CKF_RW_SESSION != 0 {
		return nil, protected("OpenSession")
	}
	session, err := s.OpenSession(ctx, s.id, flags)
	if err != nil {
		return nil, err
	}
	return &viewSession{session, id}, nil
}

// CloseAllSessions implements cryptoki.Module.
func (v *view) CloseAllSessions(ctx context.Context, id pkcs11.SlotID) error {
	s, err := v.slot("CloseAllSessions", id)
	if err != nil {
		return err
	}
	return s.CloseAllSessions(ctx, s.id)
}

// Close ends the client.
func (v *view) Close() error {
	var errs []error
	for _, m := range v.modules {
		errs = append(errs, m.Close())
	}
	v.done()
	return errors.Join(errs...)
}

// A viewSession knows its slot by the client's number.
type viewSession struct {
	cryptoki.Session
	slot pkcs11.SlotID
}

func (s *viewSession) Info(ctx context.Context) (pkcs11.SessionInfo, error) {
	info, err := s.Session.Info(ctx)
	info.Slot = s.slot
	return info, err
}

// absent is the module of a token whose own does not open: a slot with nothing in
// it.
type absent struct{}

var _ cryptoki.Module = absent{}

func notPresent(op string) error {
	return &cryptoki.OpError{Op: op, Err: fmt.Errorf("%w: its module does not start; the log of cryptoki serve says why", pkcs11.CKR_TOKEN_NOT_PRESENT)}
}

func (absent) Info(context.Context) (pkcs11.Info, error) {
	return pkcs11.Info{}, notPresent("Info")
}

func (absent) Slots(context.Context, bool) ([]pkcs11.SlotID, error) {
	return []pkcs11.SlotID{1}, nil
}

// SlotInfo says that a token may come: without that flag there would have to be one
// (PKCS #11 section 3.2, CK_SLOT_INFO).
func (absent) SlotInfo(context.Context, pkcs11.SlotID) (pkcs11.SlotInfo, error) {
	return pkcs11.SlotInfo{Description: "a module that does not start", ManufacturerID: "go-cryptoki", Flags: pkcs11.CKF_REMOVABLE_DEVICE}, nil
}

func (absent) TokenInfo(context.Context, pkcs11.SlotID) (pkcs11.TokenInfo, error) {
	return pkcs11.TokenInfo{}, notPresent("TokenInfo")
}

func (absent) Mechanisms(context.Context, pkcs11.SlotID) ([]pkcs11.MechanismType, error) {
	return nil, notPresent("Mechanisms")
}

func (absent) MechanismInfo(context.Context, pkcs11.SlotID, pkcs11.MechanismType) (pkcs11.MechanismInfo, error) {
	return pkcs11.MechanismInfo{}, notPresent("MechanismInfo")
}

func (absent) InitToken(context.Context, pkcs11.SlotID, []byte, string) error {
	return notPresent("InitToken")
}

func (absent) OpenSession(context.Context, pkcs11.SlotID, pkcs11.SessionFlags) (cryptoki.Session, error) {
	return nil, notPresent("OpenSession")
}

func (absent) CloseAllSessions(context.Context, pkcs11.SlotID) error {
	return notPresent("CloseAllSessions")
}

func (absent) Close() error { return nil }
