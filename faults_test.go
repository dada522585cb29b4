package cryptoki_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A changed is a module that behaves in some ways as others do: the real core
// underneath, with what a test wants put in front of it.
type changed struct {
	cryptoki.Module
	without  []pkcs11.MechanismType // not in the list of mechanisms
	info     func(*pkcs11.TokenInfo)
	hide     []pkcs11.AttributeType // attributes that objects do not show
	mostData int                    // that a signature takes, in bytes; 0 for what the core takes
	noPlace  bool                   // creating never replaces: as CKA_ID is always given

	// before is asked before a call; an error is its result. op is the name of
	// the method.
	before func(op string, s *changedSession) error

	searched func(pkcs11.Template) // hears of each search

	mu     sync.Mutex
	logins [][]byte
	opened atomic.Int64
	closed atomic.Int64
}

func (m *changed) ask(op string, s *changedSession) error {
	if m.before == nil {
		return nil
	}
	return m.before(op, s)
}

func (m *changed) Mechanisms(ctx context.Context, slot pkcs11.SlotID) ([]pkcs11.MechanismType, error) {
	list, err := m.Module.Mechanisms(ctx, slot)
	return slices.DeleteFunc(list, func(t pkcs11.MechanismType) bool { return slices.Contains(m.without, t) }), err
}

func (m *changed) TokenInfo(ctx context.Context, slot pkcs11.SlotID) (pkcs11.TokenInfo, error) {
	info, err := m.Module.TokenInfo(ctx, slot)
	if m.info != nil {
		m.info(&info)
	}
	return info, err
}

func (m *changed) OpenSession(ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
	if err := m.ask("OpenSession", nil); err != nil {
		return nil, err
	}
	s, err := m.Module.OpenSession(ctx, slot, flags)
	if err != nil {
		return nil, err
	}
	m.opened.Add(1)
	return &changedSession{Session: s, m: m, rw: flags&pkcs11.CKF_RW_SESSION != 0}, nil
}

type changedSession struct {
	cryptoki.Session
	m  *changed
	rw bool
}

func (s *changedSession) Close() error {
	s.m.closed.Add(1)
	return s.Session.Close()
}

func (s *changedSession) Login(ctx context.Context, user pkcs11.UserType, pin []byte) error {
	if err := s.m.ask("Login", s); err != nil {
		return err
	}
	s.m.mu.Lock()
	s.m.logins = append(s.m.logins, slices.Clone(pin))
	s.m.mu.Unlock()
	return s.Session.Login(ctx, user, pin)
}

func (s *changedSession) SignInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	if err := s.m.ask("SignInit", s); err != nil {
		return err
	}
	return s.Session.SignInit(ctx, m, key)
}

func (s *changedSession) Sign(ctx context.Context, data, sig []byte) (int, error) {
	if err := s.m.ask("Sign", s); err != nil {
		return 0, err
	}
	if most := s.m.mostData; most > 0 && len(data) > most {
		return 0, pkcs11.CKR_DATA_LEN_RANGE
	}
	return s.Session.Sign(ctx, data, sig)
}

func (s *changedSession) SessionCancel(ctx context.Context, flags uint64) error {
	if err := s.m.ask("SessionCancel", s); err != nil {
		return err
	}
	return s.Session.SessionCancel(ctx, flags)
}

func (s *changedSession) InitPIN(ctx context.Context, pin []byte) error {
	if err := s.m.ask("InitPIN", s); err != nil {
		return err
	}
	return s.Session.InitPIN(ctx, pin)
}

func (s *changedSession) CreateObject(ctx context.Context, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	if err := s.m.ask("CreateObject", s); err != nil {
		return 0, err
	}
	if s.m.noPlace && !template.Has(pkcs11.CKA_ID) {
		template = append(slices.Clone(template), pkcs11.Attr(pkcs11.CKA_ID, []byte{0xee}))
		h, err := s.Session.CreateObject(ctx, template)
		if err == nil {
			err = s.Session.SetAttributeValue(ctx, h, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_ID, []byte{})})
		}
		return h, err
	}
	return s.Session.CreateObject(ctx, template)
}

func (s *changedSession) GetAttributeValue(ctx context.Context, object pkcs11.ObjectHandle, template pkcs11.Template) error {
	err := s.Session.GetAttributeValue(ctx, object, template)
	for i, a := range template {
		if slices.Contains(s.m.hide, a.Type) && a.Value != nil {
			template[i].Value = pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
			if err == nil {
				err = pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
			}
		}
	}
	return err
}

func (s *changedSession) FindObjectsInit(ctx context.Context, template pkcs11.Template) error {
	if s.m.searched != nil {
		s.m.searched(template)
	}
	for _, a := range template {
		if slices.Contains(s.m.hide, a.Type) { // what nobody has, nothing matches
			template = append(slices.Clone(template), pkcs11.Attr(pkcs11.CKA_LABEL, "no such label"))
		}
	}
	return s.Session.FindObjectsInit(ctx, template)
}
