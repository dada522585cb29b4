package wycheproof

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// newModule returns a software token with its user logged in, which lasts as long
// as the session that comes with it.
func newModule(t testing.TB) (cryptoki.Module, pkcs11.SlotID) {
	t.Helper()
	token, err := soft.New(new(pal.Mem), &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}})
	must(t, err)
	module, err := cryptoki.NewModule(nil, token)
	must(t, err)
	t.Cleanup(func() { module.Close() })
	ctx := t.Context()
	slots, err := module.Slots(ctx, true)
	must(t, err)
	soPIN, userPIN := []byte("so-pin-87654321"), []byte("user-pin-123456")
	must(t, module.InitToken(ctx, slots[0], soPIN, "wycheproof"))
	s, err := module.OpenSession(ctx, slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	must(t, err)
	must(t, s.Login(ctx, pkcs11.CKU_SO, soPIN))
	must(t, s.InitPIN(ctx, userPIN))
	must(t, s.Logout(ctx))
	must(t, s.Login(ctx, pkcs11.CKU_USER, userPIN))
	return module, slots[0]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A session is the session of one test.
type session struct {
	cryptoki.Session
	t testing.TB
	n int // of operations
}

func openSession(t testing.TB, m cryptoki.Module, slot pkcs11.SlotID) *session {
	t.Helper()
	s, err := m.OpenSession(t.Context(), slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return &session{Session: s, t: t}
}

func mech(typ pkcs11.MechanismType, params any) *pkcs11.Mechanism {
	return &pkcs11.Mechanism{Type: typ, Params: params}
}

func template(list ...any) pkcs11.Template {
	var t pkcs11.Template
	for i := 0; i < len(list); i += 2 {
		t = append(t, pkcs11.Attr(list[i].(pkcs11.AttributeType), list[i+1]))
	}
	return t
}

// create creates a session object.
func (s *session) create(class pkcs11.ObjectClass, typ pkcs11.KeyType, more ...any) (pkcs11.ObjectHandle, error) {
	return s.CreateObject(s.t.Context(), append(template(pkcs11.CKA_CLASS, class, pkcs11.CKA_KEY_TYPE, typ), template(more...)...))
}

// secret creates a secret key that may be shown.
func (s *session) secret(typ pkcs11.KeyType, value []byte, more ...any) (pkcs11.ObjectHandle, error) {
	return s.create(pkcs11.CKO_SECRET_KEY, typ, append([]any{pkcs11.CKA_VALUE, value, pkcs11.CKA_SENSITIVE, false, pkcs11.CKA_EXTRACTABLE, true}, more...)...)
}

func (s *session) destroy(h pkcs11.ObjectHandle) {
	if h != 0 {
		must(s.t, s.DestroyObject(s.t.Context(), h))
	}
}

// value returns the value of a secret key that may be shown, and destroys it.
func (s *session) value(h pkcs11.ObjectHandle, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer s.destroy(h)
	a := pkcs11.Template{{Type: pkcs11.CKA_VALUE}}
	if err := s.GetAttributeValue(s.t.Context(), h, a); err != nil {
		return nil, err
	}
	return a[0].Bytes(), nil
}

// output calls f for the size and then for the output.
func output(f func(out []byte) (int, error)) ([]byte, error) {
	n, err := f(nil)
	if err != nil {
		return nil, err
	}
	out := make([]byte, n)
	n, err = f(out)
	if err != nil {
		return nil, err
	}
	return out[:n], nil
}

// The operations below do every fourth operation a second time in parts, and
// want that to come to the same.

func (s *session) again() bool { s.n++; return s.n%4 == 0 }

func (s *session) verify(m *pkcs11.Mechanism, key pkcs11.ObjectHandle, msg, sig []byte) error {
	ctx := s.t.Context()
	if err := s.VerifyInit(ctx, m, key); err != nil {
		return err
	}
	one := s.Verify(ctx, msg, sig)
	if !s.again() {
		return one
	}
	must(s.t, s.VerifyInit(ctx, m, key))
	must(s.t, s.VerifyUpdate(ctx, msg[:len(msg)/3]))
	must(s.t, s.VerifyUpdate(ctx, msg[len(msg)/3:]))
	return s.same("VerifyFinal", one, s.VerifyFinal(ctx, sig))
}

func (s *session) sign(m *pkcs11.Mechanism, key pkcs11.ObjectHandle, msg []byte) ([]byte, error) {
	ctx := s.t.Context()
	if err := s.SignInit(ctx, m, key); err != nil {
		return nil, err
	}
	one, err := output(func(out []byte) (int, error) { return s.Sign(ctx, msg, out) })
	if err != nil || !s.again() {
		return one, err
	}
	must(s.t, s.SignInit(ctx, m, key))
	must(s.t, s.SignUpdate(ctx, msg[:len(msg)/3]))
	must(s.t, s.SignUpdate(ctx, msg[len(msg)/3:]))
	two, err := output(func(out []byte) (int, error) { return s.SignFinal(ctx, out) })
	return one, parts(one, two, err)
}

func (s *session) digest(m pkcs11.MechanismType, msg []byte) ([]byte, error) {
	ctx := s.t.Context()
	must(s.t, s.DigestInit(ctx, mech(m, nil)))
	one, err := output(func(out []byte) (int, error) { return s.Digest(ctx, msg, out) })
	if err != nil || !s.again() {
		return one, err
	}
	must(s.t, s.DigestInit(ctx, mech(m, nil)))
	must(s.t, s.DigestUpdate(ctx, msg[:len(msg)/3]))
	must(s.t, s.DigestUpdate(ctx, msg[len(msg)/3:]))
	two, err := output(func(out []byte) (int, error) { return s.DigestFinal(ctx, out) })
	return one, parts(one, two, err)
}

// parts compares the output of an operation in one step with that in parts.
func parts(one, two []byte, err error) error {
	if err == nil && !bytes.Equal(one, two) {
		err = fmt.Errorf("in one step: %x; in parts: %x", one, two)
	}
	return err
}

func (s *session) encrypt(m *pkcs11.Mechanism, key pkcs11.ObjectHandle, plain []byte) ([]byte, error) {
	ctx := s.t.Context()
	return s.cipher(plain,
		func() error { return s.EncryptInit(ctx, m, key) },
		func(in, out []byte) (int, error) { return s.Encrypt(ctx, in, out) },
		func(in, out []byte) (int, error) { return s.EncryptUpdate(ctx, in, out) },
		func(out []byte) (int, error) { return s.EncryptFinal(ctx, out) })
}

func (s *session) decrypt(m *pkcs11.Mechanism, key pkcs11.ObjectHandle, sealed []byte) ([]byte, error) {
	ctx := s.t.Context()
	return s.cipher(sealed,
		func() error { return s.DecryptInit(ctx, m, key) },
		func(in, out []byte) (int, error) { return s.Decrypt(ctx, in, out) },
		func(in, out []byte) (int, error) { return s.DecryptUpdate(ctx, in, out) },
		func(out []byte) (int, error) { return s.DecryptFinal(ctx, out) })
}

func (s *session) cipher(in []byte, init func() error, whole, update func(in, out []byte) (int, error), final func(out []byte) (int, error)) ([]byte, error) {
	if err := init(); err != nil {
		return nil, err
	}
	one, oneErr := output(func(out []byte) (int, error) { return whole(in, out) })
	if !s.again() {
		return one, oneErr
	}
	must(s.t, init())
	var two []byte
	var err error
	cut := len(in) / 2
	for _, part := range [][]byte{in[:cut], in[cut:]} {
		var out []byte
		if out, err = output(func(out []byte) (int, error) { return update(part, out) }); err != nil {
			return one, s.same("Update", oneErr, err)
		}
		two = append(two, out...)
	}
	last, err := output(final)
	if err = s.same("Final", oneErr, err); err != nil {
		return nil, err
	}
	return one, parts(one, append(two, last...), nil)
}

// same returns the outcome of an operation in one step, if in parts it was the
// same.
func (s *session) same(what string, one, parts error) error {
	if pkcs11.CodeOf(one) != pkcs11.CodeOf(parts) || (one == nil) != (parts == nil) {
		return fmt.Errorf("in one step: %v; %s: %v", one, what, parts)
	}
	return one
}

// errOutput says that an operation came to something else than it should have:
// a failure for valid vectors, as good as refused for the others.
var errOutput = errors.New("another result than expected")

func compare(got, want []byte, err error) error {
	if err == nil && !bytes.Equal(got, want) {
		return fmt.Errorf("%w: %x; want %x", errOutput, got, want)
	}
	return err
}

func isOne(err error, codes []pkcs11.Error) bool {
	return slices.ContainsFunc(codes, func(c pkcs11.Error) bool { return pkcs11.CodeOf(err) == c })
}
