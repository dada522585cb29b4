package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// logLimit is how many calls a case keeps: half of them the first, half of them
// the last.
const logLimit = 120

// A recorder notes the calls of a case: their names, what they were about and
// what became of them; of data, PINs and values only how long they are.
type recorder struct {
	mu       sync.Mutex
	n        int
	first    []string
	rest     []string // a ring of the last ones
	threads  []string // the logs of threads
	last     string
	sessions int
}

func (r *recorder) note(call, result string) {
	s := call + " = " + result
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	r.last = s
	if len(r.first) < logLimit/2 {
		r.first = append(r.first, s)
		return
	}
	if len(r.rest) == logLimit/2 {
		copy(r.rest, r.rest[1:])
		r.rest = r.rest[:logLimit/2-1]
	}
	r.rest = append(r.rest, s)
}

// lastCall returns the call that was noted last, with its result.
func (r *recorder) lastCall() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// lastOp returns the function that was called last: "SignInit".
func (r *recorder) lastOp() string {
	op, _, _ := strings.Cut(r.lastCall(), "(")
	if i := strings.LastIndexByte(op, '.'); i >= 0 && !strings.HasPrefix(op, "Module.") {
		op = op[i+1:]
	}
	return op
}

func (r *recorder) calls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

func (r *recorder) log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	log := append([]string(nil), r.first...)
	if r.threads == nil && r.n > len(r.first)+len(r.rest) {
		log = append(log, fmt.Sprintf("… %d calls …", r.n-len(r.first)-len(r.rest)))
	}
	return append(append(log, r.rest...), r.threads...)
}

// absorb adds the calls of a thread, and its log if the case failed.
func (r *recorder) absorb(title string, thread *recorder, failed bool) {
	n, log := thread.calls(), thread.log()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n += n
	if failed {
		r.threads = append(append(r.threads, title), log...)
	}
}

// codeName is what the log and failures show of an error.
func codeName(err error) string {
	if err == nil {
		return "CKR_OK"
	}
	var code pkcs11.Error
	if errors.As(err, &code) {
		return code.Error()
	}
	return fmt.Sprintf("an error without a code: %v", err)
}

func size(b []byte) string {
	if b == nil {
		return "nil"
	}
	return fmt.Sprintf("[%d bytes]", len(b))
}

func mechName(m *pkcs11.Mechanism) string {
	if m == nil {
		return "nil"
	}
	return m.Type.String()
}

// A module is a Module that notes its calls.
type module struct {
	cryptoki.Module
	t *T
}

func (m *module) note(err error, call string) error {
	m.t.rec.note(call, codeName(err))
	return err
}

func (m *module) Info(ctx context.Context) (pkcs11.Info, error) {
	v, err := m.Module.Info(ctx)
	return v, m.note(err, "Info()")
}

func (m *module) Slots(ctx context.Context, tokenPresent bool) ([]pkcs11.SlotID, error) {
	v, err := m.Module.Slots(ctx, tokenPresent)
	return v, m.note(err, fmt.Sprintf("Slots(%v)", tokenPresent))
}

func (m *module) SlotInfo(ctx context.Context, slot pkcs11.SlotID) (pkcs11.SlotInfo, error) {
	v, err := m.Module.SlotInfo(ctx, slot)
	return v, m.note(err, fmt.Sprintf("SlotInfo(%d)", slot))
}

func (m *module) TokenInfo(ctx context.Context, slot pkcs11.SlotID) (pkcs11.TokenInfo, error) {
	v, err := m.Module.TokenInfo(ctx, slot)
	return v, m.note(err, fmt.Sprintf("TokenInfo(%d)", slot))
}

func (m *module) Mechanisms(ctx context.Context, slot pkcs11.SlotID) ([]pkcs11.MechanismType, error) {
	v, err := m.Module.Mechanisms(ctx, slot)
	return v, m.note(err, fmt.Sprintf("Mechanisms(%d)", slot))
}

func (m *module) MechanismInfo(ctx context.Context, slot pkcs11.SlotID, typ pkcs11.MechanismType) (pkcs11.MechanismInfo, error) {
	v, err := m.Module.MechanismInfo(ctx, slot, typ)
	return v, m.note(err, fmt.Sprintf("MechanismInfo(%d, %v)", slot, typ))
}

func (m *module) InitToken(ctx context.Context, slot pkcs11.SlotID, soPIN []byte, label string) error {
	return m.note(m.Module.InitToken(ctx, slot, soPIN, label), fmt.Sprintf("InitToken(%d, PIN, %q)", slot, label))
}

func (m *module) OpenSession(ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
	s, err := m.Module.OpenSession(ctx, slot, flags)
	call := fmt.Sprintf("OpenSession(%d, %#x)", slot, uint64(flags))
	if err != nil {
		return nil, m.note(err, call)
	}
	m.t.rec.mu.Lock()
	m.t.rec.sessions++
	name := fmt.Sprintf("s%d", m.t.rec.sessions)
	m.t.rec.mu.Unlock()
	m.t.rec.note(call, name)
	rs := &session{Session: s, t: m.t, name: name}
	m.t.opened(rs)
	return rs, nil
}

func (m *module) CloseAllSessions(ctx context.Context, slot pkcs11.SlotID) error {
	return m.note(m.Module.CloseAllSessions(ctx, slot), fmt.Sprintf("CloseAllSessions(%d)", slot))
}

func (m *module) Close() error { return m.note(m.Module.Close(), "Module.Close()") }

// A session is a Session that notes its calls, and what it creates.
type session struct {
	cryptoki.Session
	t    *T
	name string
}

func (s *session) note(err error, format string, args ...any) error {
	s.t.rec.note(s.name+"."+fmt.Sprintf(format, args...), codeName(err))
	return err
}

func (s *session) noteN(n int, err error, format string, args ...any) (int, error) {
	result := codeName(err)
	if err == nil || errors.Is(err, pkcs11.CKR_BUFFER_TOO_SMALL) {
		result = strings.TrimPrefix(fmt.Sprintf("%d, %s", n, result), "CKR_OK")
	}
	s.t.rec.note(s.name+"."+fmt.Sprintf(format, args...), result)
	return n, err
}

func (s *session) noteObject(h pkcs11.ObjectHandle, err error, format string, args ...any) (pkcs11.ObjectHandle, error) {
	call := s.name + "." + fmt.Sprintf(format, args...)
	if err != nil {
		s.t.rec.note(call, codeName(err))
		return h, err
	}
	s.t.rec.note(call, fmt.Sprintf("object %d", h))
	s.t.created(h)
	return h, nil
}

func (s *session) Close() error { return s.note(s.Session.Close(), "Close()") }

func (s *session) Info(ctx context.Context) (pkcs11.SessionInfo, error) {
	v, err := s.Session.Info(ctx)
	return v, s.note(err, "Info()")
}

func (s *session) SessionCancel(ctx context.Context, flags uint64) error {
	return s.note(s.Session.SessionCancel(ctx, flags), "SessionCancel(%#x)", flags)
}

func (s *session) Login(ctx context.Context, user pkcs11.UserType, pin []byte) error {
	return s.note(s.Session.Login(ctx, user, pin), "Login(%v, PIN)", user)
}

func (s *session) Logout(ctx context.Context) error {
	return s.note(s.Session.Logout(ctx), "Logout()")
}

func (s *session) InitPIN(ctx context.Context, pin []byte) error {
	return s.note(s.Session.InitPIN(ctx, pin), "InitPIN(PIN)")
}

func (s *session) SetPIN(ctx context.Context, oldPIN, newPIN []byte) error {
	return s.note(s.Session.SetPIN(ctx, oldPIN, newPIN), "SetPIN(PIN, PIN)")
}

func (s *session) CreateObject(ctx context.Context, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	h, err := s.Session.CreateObject(ctx, template)
	return s.noteObject(h, err, "CreateObject(%v)", template)
}

func (s *session) CopyObject(ctx context.Context, object pkcs11.ObjectHandle, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	h, err := s.Session.CopyObject(ctx, object, template)
	return s.noteObject(h, err, "CopyObject(%d, %v)", object, template)
}

func (s *session) DestroyObject(ctx context.Context, object pkcs11.ObjectHandle) error {
	return s.note(s.Session.DestroyObject(ctx, object), "DestroyObject(%d)", object)
}

func (s *session) GetObjectSize(ctx context.Context, object pkcs11.ObjectHandle) (uint64, error) {
	n, err := s.Session.GetObjectSize(ctx, object)
	return n, s.note(err, "GetObjectSize(%d)", object)
}

func (s *session) GetAttributeValue(ctx context.Context, object pkcs11.ObjectHandle, template pkcs11.Template) error {
	asked := make([]string, len(template))
	for i, a := range template {
		asked[i] = a.Type.String()
	}
	err := s.Session.GetAttributeValue(ctx, object, template)
	return s.note(err, "GetAttributeValue(%d, %s)", object, strings.Join(asked, " "))
}

func (s *session) SetAttributeValue(ctx context.Context, object pkcs11.ObjectHandle, template pkcs11.Template) error {
	return s.note(s.Session.SetAttributeValue(ctx, object, template), "SetAttributeValue(%d, %v)", object, template)
}

func (s *session) FindObjectsInit(ctx context.Context, template pkcs11.Template) error {
	return s.note(s.Session.FindObjectsInit(ctx, template), "FindObjectsInit(%v)", template)
}

func (s *session) FindObjects(ctx context.Context, objects []pkcs11.ObjectHandle) (int, error) {
	n, err := s.Session.FindObjects(ctx, objects)
	return s.noteN(n, err, "FindObjects(%d)", len(objects))
}

func (s *session) FindObjectsFinal(ctx context.Context) error {
	return s.note(s.Session.FindObjectsFinal(ctx), "FindObjectsFinal()")
}

func (s *session) EncryptInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	return s.note(s.Session.EncryptInit(ctx, m, key), "EncryptInit(%s, %d)", mechName(m), key)
}

func (s *session) Encrypt(ctx context.Context, data, encrypted []byte) (int, error) {
	n, err := s.Session.Encrypt(ctx, data, encrypted)
	return s.noteN(n, err, "Encrypt(%s, %s)", size(data), size(encrypted))
}

func (s *session) EncryptUpdate(ctx context.Context, part, encrypted []byte) (int, error) {
	n, err := s.Session.EncryptUpdate(ctx, part, encrypted)
	return s.noteN(n, err, "EncryptUpdate(%s, %s)", size(part), size(encrypted))
}

func (s *session) EncryptFinal(ctx context.Context, encrypted []byte) (int, error) {
	n, err := s.Session.EncryptFinal(ctx, encrypted)
	return s.noteN(n, err, "EncryptFinal(%s)", size(encrypted))
}

func (s *session) DecryptInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	return s.note(s.Session.DecryptInit(ctx, m, key), "DecryptInit(%s, %d)", mechName(m), key)
}

func (s *session) Decrypt(ctx context.Context, encrypted, data []byte) (int, error) {
	n, err := s.Session.Decrypt(ctx, encrypted, data)
	return s.noteN(n, err, "Decrypt(%s, %s)", size(encrypted), size(data))
}

func (s *session) DecryptUpdate(ctx context.Context, encrypted, part []byte) (int, error) {
	n, err := s.Session.DecryptUpdate(ctx, encrypted, part)
	return s.noteN(n, err, "DecryptUpdate(%s, %s)", size(encrypted), size(part))
}

func (s *session) DecryptFinal(ctx context.Context, part []byte) (int, error) {
	n, err := s.Session.DecryptFinal(ctx, part)
	return s.noteN(n, err, "DecryptFinal(%s)", size(part))
}

func (s *session) DigestInit(ctx context.Context, m *pkcs11.Mechanism) error {
	return s.note(s.Session.DigestInit(ctx, m), "DigestInit(%s)", mechName(m))
}

func (s *session) Digest(ctx context.Context, data, digest []byte) (int, error) {
	n, err := s.Session.Digest(ctx, data, digest)
	return s.noteN(n, err, "Digest(%s, %s)", size(data), size(digest))
}

func (s *session) DigestUpdate(ctx context.Context, part []byte) error {
	return s.note(s.Session.DigestUpdate(ctx, part), "DigestUpdate(%s)", size(part))
}

func (s *session) DigestKey(ctx context.Context, key pkcs11.ObjectHandle) error {
	return s.note(s.Session.DigestKey(ctx, key), "DigestKey(%d)", key)
}

func (s *session) DigestFinal(ctx context.Context, digest []byte) (int, error) {
	n, err := s.Session.DigestFinal(ctx, digest)
	return s.noteN(n, err, "DigestFinal(%s)", size(digest))
}

func (s *session) SignInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	return s.note(s.Session.SignInit(ctx, m, key), "SignInit(%s, %d)", mechName(m), key)
}

func (s *session) Sign(ctx context.Context, data, signature []byte) (int, error) {
	n, err := s.Session.Sign(ctx, data, signature)
	return s.noteN(n, err, "Sign(%s, %s)", size(data), size(signature))
}

func (s *session) SignUpdate(ctx context.Context, part []byte) error {
	return s.note(s.Session.SignUpdate(ctx, part), "SignUpdate(%s)", size(part))
}

func (s *session) SignFinal(ctx context.Context, signature []byte) (int, error) {
	n, err := s.Session.SignFinal(ctx, signature)
	return s.noteN(n, err, "SignFinal(%s)", size(signature))
}

func (s *session) VerifyInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	return s.note(s.Session.VerifyInit(ctx, m, key), "VerifyInit(%s, %d)", mechName(m), key)
}

func (s *session) Verify(ctx context.Context, data, signature []byte) error {
	return s.note(s.Session.Verify(ctx, data, signature), "Verify(%s, %s)", size(data), size(signature))
}

func (s *session) VerifyUpdate(ctx context.Context, part []byte) error {
	return s.note(s.Session.VerifyUpdate(ctx, part), "VerifyUpdate(%s)", size(part))
}

func (s *session) VerifyFinal(ctx context.Context, signature []byte) error {
	return s.note(s.Session.VerifyFinal(ctx, signature), "VerifyFinal(%s)", size(signature))
}

func (s *session) GenerateKey(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	h, err := s.Session.GenerateKey(ctx, m, template)
	return s.noteObject(h, err, "GenerateKey(%s, %v)", mechName(m), template)
}

func (s *session) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template) (pub, priv pkcs11.ObjectHandle, err error) {
	pub, priv, err = s.Session.GenerateKeyPair(ctx, m, public, private)
	call := fmt.Sprintf("%s.GenerateKeyPair(%s, %v, %v)", s.name, mechName(m), public, private)
	if err != nil {
		s.t.rec.note(call, codeName(err))
		return pub, priv, err
	}
	s.t.rec.note(call, fmt.Sprintf("objects %d, %d", pub, priv))
	s.t.created(pub)
	s.t.created(priv)
	return pub, priv, nil
}

func (s *session) WrapKey(ctx context.Context, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle, wrapped []byte) (int, error) {
	n, err := s.Session.WrapKey(ctx, m, wrapping, key, wrapped)
	return s.noteN(n, err, "WrapKey(%s, %d, %d, %s)", mechName(m), wrapping, key, size(wrapped))
}

func (s *session) UnwrapKey(ctx context.Context, m *pkcs11.Mechanism, unwrapping pkcs11.ObjectHandle, wrapped []byte, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	h, err := s.Session.UnwrapKey(ctx, m, unwrapping, wrapped, template)
	return s.noteObject(h, err, "UnwrapKey(%s, %d, %s, %v)", mechName(m), unwrapping, size(wrapped), template)
}

func (s *session) DeriveKey(ctx context.Context, m *pkcs11.Mechanism, base pkcs11.ObjectHandle, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	h, err := s.Session.DeriveKey(ctx, m, base, template)
	return s.noteObject(h, err, "DeriveKey(%s, %d, %v)", mechName(m), base, template)
}

func (s *session) SeedRandom(ctx context.Context, seed []byte) error {
	return s.note(s.Session.SeedRandom(ctx, seed), "SeedRandom(%s)", size(seed))
}

func (s *session) GenerateRandom(ctx context.Context, b []byte) error {
	return s.note(s.Session.GenerateRandom(ctx, b), "GenerateRandom(%s)", size(b))
}
