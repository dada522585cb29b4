package conformance_test

import (
	"context"
	"sync"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// lies are what a mutant does instead of the right thing. Each is given the
// right module or session; nil functions are not replaced.
type lies struct {
	slots         func(m cryptoki.Module, ctx context.Context, present bool) ([]pkcs11.SlotID, error)
	tokenInfo     func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID) (pkcs11.TokenInfo, error)
	mechanismInfo func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, typ pkcs11.MechanismType) (pkcs11.MechanismInfo, error)
	initToken     func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, soPIN []byte, label string) error
	openSession   func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error)
	closeAll      func(m cryptoki.Module, ctx context.Context, slot pkcs11.SlotID) error
	closeModule   func(m cryptoki.Module) error

	close        func(s *liar) error
	info         func(s *liar, ctx context.Context) (pkcs11.SessionInfo, error)
	login        func(s *liar, ctx context.Context, user pkcs11.UserType, pin []byte) error
	logout       func(s *liar, ctx context.Context) error
	initPIN      func(s *liar, ctx context.Context, pin []byte) error
	setPIN       func(s *liar, ctx context.Context, oldPIN, newPIN []byte) error
	create       func(s *liar, ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error)
	copy         func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) (pkcs11.ObjectHandle, error)
	destroy      func(s *liar, ctx context.Context, h pkcs11.ObjectHandle) error
	get          func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error
	set          func(s *liar, ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error
	findInit     func(s *liar, ctx context.Context, t pkcs11.Template) error
	find         func(s *liar, ctx context.Context, h []pkcs11.ObjectHandle) (int, error)
	findFinal    func(s *liar, ctx context.Context) error
	digestInit   func(s *liar, ctx context.Context, m *pkcs11.Mechanism) error
	digest       func(s *liar, ctx context.Context, data, digest []byte) (int, error)
	digestUpdate func(s *liar, ctx context.Context, part []byte) error
	digestFinal  func(s *liar, ctx context.Context, digest []byte) (int, error)
	signInit     func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	sign         func(s *liar, ctx context.Context, data, sig []byte) (int, error)
	signFinal    func(s *liar, ctx context.Context, sig []byte) (int, error)
	verifyInit   func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	verify       func(s *liar, ctx context.Context, data, sig []byte) error
	verifyFinal  func(s *liar, ctx context.Context, sig []byte) error
	generate     func(s *liar, ctx context.Context, m *pkcs11.Mechanism, pub, priv pkcs11.Template) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error)
	cancel       func(s *liar, ctx context.Context, flags uint64) error
	encrypt      func(s *liar, ctx context.Context, data, out []byte) (int, error)
	decryptInit  func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	decrypt      func(s *liar, ctx context.Context, data, out []byte) (int, error)
	decryptFinal func(s *liar, ctx context.Context, out []byte) (int, error)
	digestKey    func(s *liar, ctx context.Context, key pkcs11.ObjectHandle) error
	generateKey  func(s *liar, ctx context.Context, m *pkcs11.Mechanism, t pkcs11.Template) (pkcs11.ObjectHandle, error)
	wrap         func(s *liar, ctx context.Context, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle, out []byte) (int, error)
	unwrap       func(s *liar, ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle, wrapped []byte, t pkcs11.Template) (pkcs11.ObjectHandle, error)
	derive       func(s *liar, ctx context.Context, m *pkcs11.Mechanism, base pkcs11.ObjectHandle, t pkcs11.Template) (pkcs11.ObjectHandle, error)
	random       func(s *liar, ctx context.Context, b []byte) error
}

// A liarModule is a module with some functions replaced.
type liarModule struct {
	cryptoki.Module
	l     *lies
	notes *notes
}

// notes is what a mutant remembers; it lasts as long as the medium.
type notes struct {
	mu    sync.Mutex
	key   pkcs11.ObjectHandle
	bytes map[string][]byte
	other cryptoki.Session
	all   []cryptoki.Session
}

// A liar is a session with some functions replaced.
type liar struct {
	cryptoki.Session
	l     *lies
	notes *notes // of the module
	mech  *pkcs11.Mechanism
	key   pkcs11.ObjectHandle
	text  string
	open  bool
}

func (m *liarModule) Slots(ctx context.Context, present bool) ([]pkcs11.SlotID, error) {
	if m.l.slots != nil {
		return m.l.slots(m.Module, ctx, present)
	}
	return m.Module.Slots(ctx, present)
}

func (m *liarModule) TokenInfo(ctx context.Context, slot pkcs11.SlotID) (pkcs11.TokenInfo, error) {
	if m.l.tokenInfo != nil {
		return m.l.tokenInfo(m.Module, ctx, slot)
	}
	return m.Module.TokenInfo(ctx, slot)
}

func (m *liarModule) MechanismInfo(ctx context.Context, slot pkcs11.SlotID, typ pkcs11.MechanismType) (pkcs11.MechanismInfo, error) {
	if m.l.mechanismInfo != nil {
		return m.l.mechanismInfo(m.Module, ctx, slot, typ)
	}
	return m.Module.MechanismInfo(ctx, slot, typ)
}

func (m *liarModule) InitToken(ctx context.Context, slot pkcs11.SlotID, soPIN []byte, label string) error {
	if m.l.initToken != nil {
		return m.l.initToken(m.Module, ctx, slot, soPIN, label)
	}
	return m.Module.InitToken(ctx, slot, soPIN, label)
}

func (m *liarModule) OpenSession(ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
	open := m.Module.OpenSession
	if m.l.openSession != nil {
		open = func(ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
			return m.l.openSession(m.Module, ctx, slot, flags)
		}
	}
	s, err := open(ctx, slot, flags)
	if err != nil {
		return nil, err
	}
	m.notes.mu.Lock()
	m.notes.all = append(m.notes.all, s)
	m.notes.mu.Unlock()
	return &liar{Session: s, l: m.l, notes: m.notes}, nil
}

func (m *liarModule) CloseAllSessions(ctx context.Context, slot pkcs11.SlotID) error {
	if m.l.closeAll != nil {
		return m.l.closeAll(m.Module, ctx, slot)
	}
	return m.Module.CloseAllSessions(ctx, slot)
}

func (m *liarModule) Close() error {
	if m.l.closeModule != nil {
		return m.l.closeModule(m.Module)
	}
	return m.Module.Close()
}

func (s *liar) Close() error {
	if s.l.close != nil {
		return s.l.close(s)
	}
	return s.Session.Close()
}

func (s *liar) Info(ctx context.Context) (pkcs11.SessionInfo, error) {
	if s.l.info != nil {
		return s.l.info(s, ctx)
	}
	return s.Session.Info(ctx)
}

func (s *liar) SessionCancel(ctx context.Context, flags uint64) error {
	if s.l.cancel != nil {
		return s.l.cancel(s, ctx, flags)
	}
	return s.Session.SessionCancel(ctx, flags)
}

func (s *liar) Login(ctx context.Context, user pkcs11.UserType, pin []byte) error {
	if s.l.login != nil {
		return s.l.login(s, ctx, user, pin)
	}
	return s.Session.Login(ctx, user, pin)
}

func (s *liar) Logout(ctx context.Context) error {
	if s.l.logout != nil {
		return s.l.logout(s, ctx)
	}
	return s.Session.Logout(ctx)
}

func (s *liar) InitPIN(ctx context.Context, pin []byte) error {
	if s.l.initPIN != nil {
		return s.l.initPIN(s, ctx, pin)
	}
	return s.Session.InitPIN(ctx, pin)
}

func (s *liar) SetPIN(ctx context.Context, oldPIN, newPIN []byte) error {
	if s.l.setPIN != nil {
		return s.l.setPIN(s, ctx, oldPIN, newPIN)
	}
	return s.Session.SetPIN(ctx, oldPIN, newPIN)
}

func (s *liar) CreateObject(ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
	if s.l.create != nil {
		return s.l.create(s, ctx, t)
	}
	return s.Session.CreateObject(ctx, t)
}

func (s *liar) CopyObject(ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
	if s.l.copy != nil {
		return s.l.copy(s, ctx, h, t)
	}
	return s.Session.CopyObject(ctx, h, t)
}

func (s *liar) DestroyObject(ctx context.Context, h pkcs11.ObjectHandle) error {
	if s.l.destroy != nil {
		return s.l.destroy(s, ctx, h)
	}
	return s.Session.DestroyObject(ctx, h)
}

func (s *liar) GetAttributeValue(ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
	if s.l.get != nil {
		return s.l.get(s, ctx, h, t)
	}
	return s.Session.GetAttributeValue(ctx, h, t)
}

func (s *liar) SetAttributeValue(ctx context.Context, h pkcs11.ObjectHandle, t pkcs11.Template) error {
	if s.l.set != nil {
		return s.l.set(s, ctx, h, t)
	}
	return s.Session.SetAttributeValue(ctx, h, t)
}

func (s *liar) FindObjectsInit(ctx context.Context, t pkcs11.Template) error {
	if s.l.findInit != nil {
		return s.l.findInit(s, ctx, t)
	}
	return s.Session.FindObjectsInit(ctx, t)
}

func (s *liar) FindObjects(ctx context.Context, h []pkcs11.ObjectHandle) (int, error) {
	if s.l.find != nil {
		return s.l.find(s, ctx, h)
	}
	return s.Session.FindObjects(ctx, h)
}

func (s *liar) FindObjectsFinal(ctx context.Context) error {
	if s.l.findFinal != nil {
		return s.l.findFinal(s, ctx)
	}
	return s.Session.FindObjectsFinal(ctx)
}

func (s *liar) DigestInit(ctx context.Context, m *pkcs11.Mechanism) error {
	if s.l.digestInit != nil {
		return s.l.digestInit(s, ctx, m)
	}
	return s.Session.DigestInit(ctx, m)
}

func (s *liar) Digest(ctx context.Context, data, digest []byte) (int, error) {
	if s.l.digest != nil {
		return s.l.digest(s, ctx, data, digest)
	}
	return s.Session.Digest(ctx, data, digest)
}

func (s *liar) DigestUpdate(ctx context.Context, part []byte) error {
	if s.l.digestUpdate != nil {
		return s.l.digestUpdate(s, ctx, part)
	}
	return s.Session.DigestUpdate(ctx, part)
}

func (s *liar) DigestFinal(ctx context.Context, digest []byte) (int, error) {
	if s.l.digestFinal != nil {
		return s.l.digestFinal(s, ctx, digest)
	}
	return s.Session.DigestFinal(ctx, digest)
}

func (s *liar) SignInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	if s.l.signInit != nil {
		return s.l.signInit(s, ctx, m, key)
	}
	return s.Session.SignInit(ctx, m, key)
}

func (s *liar) Sign(ctx context.Context, data, sig []byte) (int, error) {
	if s.l.sign != nil {
		return s.l.sign(s, ctx, data, sig)
	}
	return s.Session.Sign(ctx, data, sig)
}

func (s *liar) SignFinal(ctx context.Context, sig []byte) (int, error) {
	if s.l.signFinal != nil {
		return s.l.signFinal(s, ctx, sig)
	}
	return s.Session.SignFinal(ctx, sig)
}

func (s *liar) VerifyInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	if s.l.verifyInit != nil {
		return s.l.verifyInit(s, ctx, m, key)
	}
	return s.Session.VerifyInit(ctx, m, key)
}

func (s *liar) Verify(ctx context.Context, data, sig []byte) error {
	if s.l.verify != nil {
		return s.l.verify(s, ctx, data, sig)
	}
	return s.Session.Verify(ctx, data, sig)
}

func (s *liar) VerifyFinal(ctx context.Context, sig []byte) error {
	if s.l.verifyFinal != nil {
		return s.l.verifyFinal(s, ctx, sig)
	}
	return s.Session.VerifyFinal(ctx, sig)
}

func (s *liar) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, pub, priv pkcs11.Template) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error) {
	if s.l.generate != nil {
		return s.l.generate(s, ctx, m, pub, priv)
	}
	return s.Session.GenerateKeyPair(ctx, m, pub, priv)
}

func (s *liar) GenerateRandom(ctx context.Context, b []byte) error {
	if s.l.random != nil {
		return s.l.random(s, ctx, b)
	}
	return s.Session.GenerateRandom(ctx, b)
}

func (s *liar) Encrypt(ctx context.Context, data, out []byte) (int, error) {
	if s.l.encrypt != nil {
		return s.l.encrypt(s, ctx, data, out)
	}
	return s.Session.Encrypt(ctx, data, out)
}

func (s *liar) DecryptInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	if s.l.decryptInit != nil {
		return s.l.decryptInit(s, ctx, m, key)
	}
	return s.Session.DecryptInit(ctx, m, key)
}

func (s *liar) Decrypt(ctx context.Context, data, out []byte) (int, error) {
	if s.l.decrypt != nil {
		return s.l.decrypt(s, ctx, data, out)
	}
	return s.Session.Decrypt(ctx, data, out)
}

func (s *liar) DecryptFinal(ctx context.Context, out []byte) (int, error) {
	if s.l.decryptFinal != nil {
		return s.l.decryptFinal(s, ctx, out)
	}
	return s.Session.DecryptFinal(ctx, out)
}

func (s *liar) DigestKey(ctx context.Context, key pkcs11.ObjectHandle) error {
	if s.l.digestKey != nil {
		return s.l.digestKey(s, ctx, key)
	}
	return s.Session.DigestKey(ctx, key)
}

func (s *liar) GenerateKey(ctx context.Context, m *pkcs11.Mechanism, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
	if s.l.generateKey != nil {
		return s.l.generateKey(s, ctx, m, t)
	}
	return s.Session.GenerateKey(ctx, m, t)
}

func (s *liar) WrapKey(ctx context.Context, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle, out []byte) (int, error) {
	if s.l.wrap != nil {
		return s.l.wrap(s, ctx, m, wrapping, key, out)
	}
	return s.Session.WrapKey(ctx, m, wrapping, key, out)
}

func (s *liar) UnwrapKey(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle, wrapped []byte, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
	if s.l.unwrap != nil {
		return s.l.unwrap(s, ctx, m, key, wrapped, t)
	}
	return s.Session.UnwrapKey(ctx, m, key, wrapped, t)
}

func (s *liar) DeriveKey(ctx context.Context, m *pkcs11.Mechanism, base pkcs11.ObjectHandle, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
	if s.l.derive != nil {
		return s.l.derive(s, ctx, m, base, t)
	}
	return s.Session.DeriveKey(ctx, m, base, t)
}
