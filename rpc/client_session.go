package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A clientSession is a session of the other process.
type clientSession struct {
	c      *Client
	l      *link
	handle uint64
	closed atomic.Bool
}

var _ cryptoki.Session = (*clientSession)(nil)

// call makes a call about the session; build writes what comes after its handle.
func (s *clientSession) call(ctx context.Context, op string, id callID, build func(*writer) error, parse func(*reader) error) error {
	return opErr(op, s.raw(ctx, id, build, parse))
}

func (s *clientSession) raw(ctx context.Context, id callID, build func(*writer) error, parse func(*reader) error) error {
	if err := s.check(); err != nil {
		return err
	}
	limited, cancel := s.c.limit(ctx)
	defer cancel()
	err := s.l.call(limited, id, func(w *writer) error {
		w.uint64(s.handle)
		if build != nil {
			return build(w)
		}
		return nil
	}, parse)
	return s.c.finish(ctx, limited, s.l, err)
}

func (s *clientSession) check() error {
	s.c.mu.Lock()
	down := s.c.closed
	s.c.mu.Unlock()
	switch {
	case down:
		return pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED
	case s.closed.Load():
		return fmt.Errorf("%w: the session is closed", pkcs11.CKR_SESSION_HANDLE_INVALID)
	case !s.l.alive():
		return fmt.Errorf("%w: it went with the connection to the other process; open another", pkcs11.CKR_SESSION_HANDLE_INVALID)
	}
	return nil
}

func (s *clientSession) Close() error {
	const op = "Close"
	if err := s.check(); err != nil {
		return opErr(op, err)
	}
	if s.closed.Swap(true) {
		return opErr(op, pkcs11.CKR_SESSION_HANDLE_INVALID)
	}
	ctx, cancel := s.c.limit(context.Background())
	defer cancel()
	return opErr(op, s.l.call(ctx, callCloseSession, numbers(s.handle), nil))
}

func (s *clientSession) Info(ctx context.Context) (info pkcs11.SessionInfo, err error) {
	err = s.call(ctx, "Info", callGetSessionInfo, nil, func(r *reader) error {
		info = pkcs11.SessionInfo{Slot: pkcs11.SlotID(r.uint64()), State: pkcs11.SessionState(r.uint64()),
			Flags: pkcs11.SessionFlags(r.uint64()), DeviceError: r.uint64()}
		return nil
	})
	return info, err
}

func (s *clientSession) SessionCancel(ctx context.Context, flags uint64) error {
	const op = "SessionCancel"
	if err := s.check(); err != nil {
		return opErr(op, err)
	}
	if s.l.version < 1 {
		return opErr(op, fmt.Errorf("%w: version 0 of p11-kit's protocol cannot cancel operations", pkcs11.CKR_FUNCTION_NOT_SUPPORTED))
	}
	return s.call(ctx, op, callSessionCancel, numbers(flags), nil)
}

func (s *clientSession) Login(ctx context.Context, user pkcs11.UserType, pin []byte) error {
	return s.call(ctx, "Login", callLogin, func(w *writer) error {
		w.uint64(uint64(user))
		w.bytes(pin)
		return nil
	}, nil)
}

func (s *clientSession) Logout(ctx context.Context) error {
	return s.call(ctx, "Logout", callLogout, nil, nil)
}

func (s *clientSession) InitPIN(ctx context.Context, pin []byte) error {
	return s.call(ctx, "InitPIN", callInitPIN, arrays(pin), nil)
}

func (s *clientSession) SetPIN(ctx context.Context, oldPIN, newPIN []byte) error {
	return s.call(ctx, "SetPIN", callSetPIN, arrays(oldPIN, newPIN), nil)
}

func arrays(list ...[]byte) func(*writer) error {
	return func(w *writer) error {
		for _, b := range list {
			w.bytes(b)
		}
		return nil
	}
}

// made reads the handle of an object that a call has made.
func made(h *pkcs11.ObjectHandle) func(*reader) error {
	return func(r *reader) error {
		*h = pkcs11.ObjectHandle(r.uint64())
		return nil
	}
}

func (s *clientSession) CreateObject(ctx context.Context, t pkcs11.Template) (h pkcs11.ObjectHandle, err error) {
	err = s.call(ctx, "CreateObject", callCreateObject, func(w *writer) error { return w.template(t) }, made(&h))
	return h, err
}

func (s *clientSession) CopyObject(ctx context.Context, o pkcs11.ObjectHandle, t pkcs11.Template) (h pkcs11.ObjectHandle, err error) {
	err = s.call(ctx, "CopyObject", callCopyObject, func(w *writer) error {
		w.uint64(uint64(o))
		return w.template(t)
	}, made(&h))
	return h, err
}

func (s *clientSession) DestroyObject(ctx context.Context, o pkcs11.ObjectHandle) error {
	return s.call(ctx, "DestroyObject", callDestroyObject, numbers(uint64(o)), nil)
}

func (s *clientSession) GetObjectSize(ctx context.Context, o pkcs11.ObjectHandle) (n uint64, err error) {
	err = s.call(ctx, "GetObjectSize", callGetObjectSize, numbers(uint64(o)), func(r *reader) error {
		n = r.uint64()
		return nil
	})
	return n, err
}

func (s *clientSession) SetAttributeValue(ctx context.Context, o pkcs11.ObjectHandle, t pkcs11.Template) error {
	return s.call(ctx, "SetAttributeValue", callSetAttributeValue, func(w *writer) error {
		w.uint64(uint64(o))
		return w.template(t)
	}, nil)
}

// firstRoom is what is offered for a value of unknown length at first.
const firstRoom = 1024

// offer is the room offered for an attribute.
func offer(t pkcs11.AttributeType, version uint8) uint32 {
	switch formOf(t, version) {
	case formByte:
		return 1
	case formUlong, formDate:
		return 8
	case formTemplate:
		return 0
	}
	switch t.Kind() {
	case pkcs11.KindBool:
		return 1
	case pkcs11.KindUint:
		return 8
	}
	return firstRoom
}

func (s *clientSession) GetAttributeValue(ctx context.Context, o pkcs11.ObjectHandle, t pkcs11.Template) error {
	return opErr("GetAttributeValue", s.getAttributes(ctx, o, t))
}

func (s *clientSession) getAttributes(ctx context.Context, o pkcs11.ObjectHandle, t pkcs11.Template) error {
	if err := s.check(); err != nil {
		return err
	}
	wants := make([]wanted, len(t))
	for i := range t {
		wants[i] = wanted{t[i].Type, offer(t[i].Type, s.l.version)}
	}
	missing, code, err := s.fetch(ctx, o, wants, t)
	if err != nil || len(missing) == 0 {
		return err
	}
	// One code stands for all attributes that are missing. If there are several,
	// each is asked for by itself.
	var first error
	for _, i := range missing {
		one := t[i : i+1]
		reason := code
		if len(missing) > 1 {
			rest, c, err := s.fetch(ctx, o, wants[i:i+1], one)
			if err != nil {
				return err
			}
			if len(rest) == 0 {
				continue
			}
			reason = c
		}
		if reason == pkcs11.CKR_BUFFER_TOO_SMALL {
			if reason, err = s.fetchLong(ctx, o, one); err != nil {
				return err
			}
		}
		if reason != 0 {
			t[i].Value = reason
			if first == nil {
				first = reason
			}
		}
	}
	return first
}

// fetch makes one call. It fills in what comes of it, and returns the indexes of
// what is missing with the code for them.
func (s *clientSession) fetch(ctx context.Context, o pkcs11.ObjectHandle, wants []wanted, t pkcs11.Template) (missing []int, code pkcs11.Error, err error) {
	err = s.raw(ctx, callGetAttributeValue, func(w *writer) error {
		w.uint64(uint64(o))
		w.wants(wants)
		return nil
	}, func(r *reader) error {
		if n := r.uint32(); r.err == nil && int(n) != len(t) {
			r.fail("it answers with other attributes")
		}
		for i := range t {
			a, n := r.attribute(0)
			if r.err == nil && a.Type != t[i].Type {
				r.fail("it answers with other attributes")
			}
			if r.err != nil {
				return r.err
			}
			if n == null || wants[i].room == 0 && !whole(a, n) {
				missing = append(missing, i)
				t[i].Value = pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
				continue
			}
			if b, ok := a.Value.([]byte); ok {
				a.Value = append([]byte{}, b...)
			}
			t[i].Value = a.Value
		}
		code = pkcs11.Error(r.uint64())
		return nil
	})
	switch {
	case err != nil:
		return nil, 0, err
	case code == 0 && len(missing) > 0:
		code = pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
	case code != 0 && len(missing) == 0:
		return nil, 0, code
	}
	return missing, code, nil
}

// whole reports whether a template of n bytes has come with the answer to a
// question for its length. It does from our own server, and when it is empty.
func whole(a pkcs11.Attribute, n uint32) bool {
	t, ok := a.Value.(pkcs11.Template)
	return ok && (n == 0 || len(t) > 0)
}

// maxValue is the longest value of an attribute that is fetched.
const maxValue = 4 << 20

// fetchLong fetches one attribute that did not fit.
func (s *clientSession) fetchLong(ctx context.Context, o pkcs11.ObjectHandle, t pkcs11.Template) (pkcs11.Error, error) {
	var size uint32
	err := s.raw(ctx, callGetAttributeValue, func(w *writer) error {
		w.uint64(uint64(o))
		w.wants([]wanted{{t[0].Type, 0}})
		return nil
	}, func(r *reader) error {
		r.uint32()
		r.uint32()
		if r.byte() != 0 {
			size = r.uint32()
		}
		r.b = nil // the value is not there
		return nil
	})
	if err != nil {
		return 0, err
	}
	if size == 0 || size > maxValue {
		return pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, nil
	}
	missing, code, err := s.fetch(ctx, o, []wanted{{t[0].Type, size}}, t)
	if len(missing) == 0 {
		code = 0
	}
	return code, err
}

func (s *clientSession) FindObjectsInit(ctx context.Context, t pkcs11.Template) error {
	return s.call(ctx, "FindObjectsInit", callFindObjectsInit, func(w *writer) error { return w.template(t) }, nil)
}

func (s *clientSession) FindObjects(ctx context.Context, objects []pkcs11.ObjectHandle) (int, error) {
	n := 0
	err := s.call(ctx, "FindObjects", callFindObjects, func(w *writer) error {
		w.uint32(uint32(min(len(objects), maxFound)))
		return nil
	}, func(r *reader) error {
		list, _ := r.ulongs(len(objects))
		for i, h := range list {
			objects[i] = pkcs11.ObjectHandle(h)
		}
		n = len(list)
		return nil
	})
	return n, err
}

func (s *clientSession) FindObjectsFinal(ctx context.Context) error {
	return s.call(ctx, "FindObjectsFinal", callFindObjectsFinal, nil, nil)
}

func (s *clientSession) init(ctx context.Context, op string, id callID, m *pkcs11.Mechanism, key ...pkcs11.ObjectHandle) error {
	return s.call(ctx, op, id, func(w *writer) error {
		if err := w.mechanism(m); err != nil {
			return err
		}
		for _, h := range key {
			w.uint64(uint64(h))
		}
		return nil
	}, nil)
}

// output makes a call whose result goes into out, or is counted if out is nil.
func (s *clientSession) output(ctx context.Context, op string, id callID, out []byte, build func(*writer) error) (int, error) {
	n := 0
	short := false
	err := s.call(ctx, op, id, func(w *writer) error {
		if build != nil {
			if err := build(w); err != nil {
				return err
			}
		}
		w.room(out)
		return nil
	}, func(r *reader) error {
		b, size := r.bytes()
		n = int(size)
		short = out != nil && (b == nil || len(b) > len(out))
		if !short {
			copy(out, b)
		}
		return nil
	})
	if err == nil && short {
		err = opErr(op, pkcs11.CKR_BUFFER_TOO_SMALL)
	}
	return n, err
}

func (s *clientSession) EncryptInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	return s.init(ctx, "EncryptInit", callEncryptInit, m, key)
}

func (s *clientSession) Encrypt(ctx context.Context, data, encrypted []byte) (int, error) {
	return s.output(ctx, "Encrypt", callEncrypt, encrypted, arrays(data))
}

func (s *clientSession) EncryptUpdate(ctx context.Context, part, encrypted []byte) (int, error) {
	return s.output(ctx, "EncryptUpdate", callEncryptUpdate, encrypted, arrays(part))
}

func (s *clientSession) EncryptFinal(ctx context.Context, encrypted []byte) (int, error) {
	return s.output(ctx, "EncryptFinal", callEncryptFinal, encrypted, nil)
}

func (s *clientSession) DecryptInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	return s.init(ctx, "DecryptInit", callDecryptInit, m, key)
}

func (s *clientSession) Decrypt(ctx context.Context, encrypted, data []byte) (int, error) {
	return s.output(ctx, "Decrypt", callDecrypt, data, arrays(encrypted))
}

func (s *clientSession) DecryptUpdate(ctx context.Context, encrypted, part []byte) (int, error) {
	return s.output(ctx, "DecryptUpdate", callDecryptUpdate, part, arrays(encrypted))
}

func (s *clientSession) DecryptFinal(ctx context.Context, part []byte) (int, error) {
	return s.output(ctx, "DecryptFinal", callDecryptFinal, part, nil)
}

func (s *clientSession) DigestInit(ctx context.Context, m *pkcs11.Mechanism) error {
	return s.init(ctx, "DigestInit", callDigestInit, m)
}

func (s *clientSession) Digest(ctx context.Context, data, digest []byte) (int, error) {
	return s.output(ctx, "Digest", callDigest, digest, arrays(data))
}

func (s *clientSession) DigestUpdate(ctx context.Context, part []byte) error {
	return s.call(ctx, "DigestUpdate", callDigestUpdate, arrays(part), nil)
}

func (s *clientSession) DigestKey(ctx context.Context, key pkcs11.ObjectHandle) error {
	return s.call(ctx, "DigestKey", callDigestKey, numbers(uint64(key)), nil)
}

func (s *clientSession) DigestFinal(ctx context.Context, digest []byte) (int, error) {
	return s.output(ctx, "DigestFinal", callDigestFinal, digest, nil)
}

func (s *clientSession) SignInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	return s.init(ctx, "SignInit", callSignInit, m, key)
}

func (s *clientSession) Sign(ctx context.Context, data, signature []byte) (int, error) {
	return s.output(ctx, "Sign", callSign, signature, arrays(data))
}

func (s *clientSession) SignUpdate(ctx context.Context, part []byte) error {
	return s.call(ctx, "SignUpdate", callSignUpdate, arrays(part), nil)
}

func (s *clientSession) SignFinal(ctx context.Context, signature []byte) (int, error) {
	return s.output(ctx, "SignFinal", callSignFinal, signature, nil)
}

func (s *clientSession) VerifyInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	return s.init(ctx, "VerifyInit", callVerifyInit, m, key)
}

func (s *clientSession) Verify(ctx context.Context, data, signature []byte) error {
	return s.call(ctx, "Verify", callVerify, arrays(data, signature), nil)
}

func (s *clientSession) VerifyUpdate(ctx context.Context, part []byte) error {
	return s.call(ctx, "VerifyUpdate", callVerifyUpdate, arrays(part), nil)
}

func (s *clientSession) VerifyFinal(ctx context.Context, signature []byte) error {
	return s.call(ctx, "VerifyFinal", callVerifyFinal, arrays(signature), nil)
}

func (s *clientSession) GenerateKey(ctx context.Context, m *pkcs11.Mechanism, t pkcs11.Template) (h pkcs11.ObjectHandle, err error) {
	err = s.call(ctx, "GenerateKey", callGenerateKey, func(w *writer) error {
		return errors.Join(w.mechanism(m), w.template(t))
	}, made(&h))
	return h, err
}

func (s *clientSession) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template) (pub, priv pkcs11.ObjectHandle, err error) {
	err = s.call(ctx, "GenerateKeyPair", callGenerateKeyPair, func(w *writer) error {
		return errors.Join(w.mechanism(m), w.template(public), w.template(private))
	}, func(r *reader) error {
		pub, priv = pkcs11.ObjectHandle(r.uint64()), pkcs11.ObjectHandle(r.uint64())
		return nil
	})
	return pub, priv, err
}

func (s *clientSession) WrapKey(ctx context.Context, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle, wrapped []byte) (int, error) {
	return s.output(ctx, "WrapKey", callWrapKey, wrapped, func(w *writer) error {
		if err := w.mechanism(m); err != nil {
			return err
		}
		w.uint64(uint64(wrapping))
		w.uint64(uint64(key))
		return nil
	})
}

func (s *clientSession) UnwrapKey(ctx context.Context, m *pkcs11.Mechanism, unwrapping pkcs11.ObjectHandle, wrapped []byte, t pkcs11.Template) (h pkcs11.ObjectHandle, err error) {
	err = s.call(ctx, "UnwrapKey", callUnwrapKey, func(w *writer) error {
		if err := w.mechanism(m); err != nil {
			return err
		}
		w.uint64(uint64(unwrapping))
		w.bytes(wrapped)
		return w.template(t)
	}, made(&h))
	return h, err
}

func (s *clientSession) DeriveKey(ctx context.Context, m *pkcs11.Mechanism, base pkcs11.ObjectHandle, t pkcs11.Template) (h pkcs11.ObjectHandle, err error) {
	const op = "DeriveKey"
	if err := s.check(); err != nil {
		return 0, opErr(op, err)
	}
	build := func(w *writer) error {
		if err := w.mechanism(m); err != nil {
			return err
		}
		w.uint64(uint64(base))
		return w.template(t)
	}
	if s.l.version < 2 {
		err = s.call(ctx, op, callDeriveKey, build, made(&h))
		return h, err
	}
	var failed uint64
	err = s.call(ctx, op, callDeriveKey2, build, func(r *reader) error {
		failed = r.uint64()
		if form, _ := paramOf(m.Type, r.own); form != paramNone || r.own {
			r.byte()
		}
		if failed == 0 {
			h = pkcs11.ObjectHandle(r.uint64())
		}
		return nil
	})
	if err == nil && failed != 0 {
		err = opErr(op, pkcs11.Error(failed))
	}
	return h, err
}

func (s *clientSession) SeedRandom(ctx context.Context, seed []byte) error {
	return s.call(ctx, "SeedRandom", callSeedRandom, arrays(seed), nil)
}

// randomPart is how many random bytes are fetched by one call.
const randomPart = 1 << 20

func (s *clientSession) GenerateRandom(ctx context.Context, b []byte) error {
	const op = "GenerateRandom"
	if len(b) == 0 {
		if err := s.check(); err != nil {
			return opErr(op, err)
		}
		return opErr(op, fmt.Errorf("%w: no bytes are asked for", pkcs11.CKR_ARGUMENTS_BAD))
	}
	for rest := b; len(rest) > 0; {
		part := rest[:min(len(rest), randomPart)]
		n, err := s.output(ctx, op, callGenerateRandom, part, nil)
		if err == nil && n != len(part) {
			err = opErr(op, fmt.Errorf("%w: %d random bytes came instead of %d", pkcs11.CKR_DEVICE_ERROR, n, len(part)))
		}
		if err != nil {
			clear(b)
			return err
		}
		rest = rest[len(part):]
	}
	return nil
}
