package rpc

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// alwaysApart are the calls that take long with every token.
var alwaysApart = [callMax]bool{
	callWaitForSlotEvent: true, callInitToken: true, callInitToken2: true, callInitPIN: true, callSetPIN: true,
	callLogin: true, callLoginUser: true, callGenerateKeyPair: true,
}

// mayWait are the calls that may need the device, or much time, or wait for
// those that do.
var mayWait = [callMax]bool{
	callFinalize: true, callInitToken: true, callInitToken2: true, callCloseSession: true, callCloseAllSessions: true,
	callInitPIN: true, callSetPIN: true, callLogin: true, callLoginUser: true, callLogout: true,
	callCreateObject: true, callCopyObject: true, callDestroyObject: true, callSetAttributeValue: true,
	callEncrypt: true, callEncryptUpdate: true, callEncryptFinal: true,
	callDecrypt: true, callDecryptUpdate: true, callDecryptFinal: true,
	callSign: true, callSignFinal: true, callVerify: true, callVerifyFinal: true,
	callDigestEncryptUpdate: true, callDecryptDigestUpdate: true, callSignEncryptUpdate: true, callDecryptVerifyUpdate: true,
	callGenerateKey: true, callGenerateKeyPair: true, callWrapKey: true, callUnwrapKey: true,
	callDeriveKey: true, callDeriveKey2: true, callSeedRandom: true, callGenerateRandom: true,
	callWaitForSlotEvent: true,
}

// maxFound limits one answer to C_FindObjects.
const maxFound = 1 << 16

var (
	errNotInitialized = fmt.Errorf("%w: the client has not called C_Initialize", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	errNoSession      = fmt.Errorf("%w: the client has no such session", pkcs11.CKR_SESSION_HANDLE_INVALID)
	errUnsupported    = fmt.Errorf("%w", pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
)

// call performs one call: it reads the arguments from r, and writes the results
// to w.
func (c *conn) call(ctx context.Context, id callID, r *reader, w *writer) error {
	switch id {
	case callInitialize:
		return c.initialize(ctx, r)
	case callFinalize:
		if err := r.end(); err != nil {
			return err
		}
		if !c.finalize() {
			return errNotInitialized
		}
		return nil
	}
	c.mu.Lock()
	m, stop := c.module, c.stop
	c.mu.Unlock()
	if m == nil {
		return errNotInitialized
	}
	if id <= callOpenSession || id == callCloseAllSessions || id == callInitToken2 || id == callWaitForSlotEvent {
		return c.moduleCall(ctx, m, stop, id, r, w)
	}
	h := r.uint64()
	if r.err != nil {
		return r.err
	}
	c.mu.Lock()
	s := c.sessions[h]
	c.mu.Unlock()
	if s == nil {
		return errNoSession
	}
	return c.sessionCall(ctx, s, h, id, r, w)
}

func (c *conn) initialize(ctx context.Context, r *reader) error {
	hello, _ := r.bytes()
	r.byte()
	r.bytes() // a string for a module of p11-kit
	if err := r.end(); err != nil {
		return err
	}
	if string(hello) != handshake {
		return fmt.Errorf("%w: the client says another handshake", errMessage)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.module != nil {
		return pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED
	}
	m, err := c.server.opts.Application(ctx, c.peer)
	if err != nil {
		c.server.opts.Log.Warn("client refused", "peer", c.peer.String(), "error", err)
		return err
	}
	c.module, c.stop = m, make(chan struct{})
	return nil
}

// finalize closes the application, if there is one.
func (c *conn) finalize() bool {
	c.mu.Lock()
	m, stop := c.module, c.stop
	c.module, c.stop = nil, nil
	clear(c.sessions)
	c.mu.Unlock()
	if m == nil {
		return false
	}
	close(stop)
	m.Close()
	return true
}

// moduleCall is a call that is about no session.
func (c *conn) moduleCall(ctx context.Context, m cryptoki.Module, stop <-chan struct{}, id callID, r *reader, w *writer) error {
	switch id {
	case callGetInfo:
		if err := r.end(); err != nil {
			return err
		}
		info, err := m.Info(ctx)
		if err != nil {
			return err
		}
		w.cryptoki(info.CryptokiVersion)
		w.padded(info.ManufacturerID, 32)
		w.uint64(0)
		w.padded(info.LibraryDescription, 32)
		w.cryptoki(info.LibraryVersion)
		return nil
	case callGetSlotList:
		present, room := r.byte() != 0, r.uint32()
		if err := r.end(); err != nil {
			return err
		}
		slots, err := m.Slots(ctx, present)
		if err != nil {
			return err
		}
		list := make([]uint64, len(slots))
		for i, s := range slots {
			list[i] = uint64(s)
		}
		w.list(list, room)
		return nil
	case callWaitForSlotEvent:
		return c.waitForSlotEvent(ctx, stop, r)
	}

	slot := pkcs11.SlotID(r.uint64())
	switch id {
	case callGetSlotInfo:
		if err := r.end(); err != nil {
			return err
		}
		info, err := m.SlotInfo(ctx, slot)
		if err != nil {
			return err
		}
		w.padded(info.Description, 64)
		w.padded(info.ManufacturerID, 32)
		w.uint64(info.Flags)
		w.cryptoki(info.HardwareVersion)
		w.cryptoki(info.FirmwareVersion)
	case callGetTokenInfo:
		if err := r.end(); err != nil {
			return err
		}
		info, err := m.TokenInfo(ctx, slot)
		if err != nil {
			return err
		}
		w.tokenInfo(&info)
	case callGetMechanismList:
		room := r.uint32()
		if err := r.end(); err != nil {
			return err
		}
		mechanisms, err := m.Mechanisms(ctx, slot)
		if err != nil {
			return err
		}
		list := make([]uint64, len(mechanisms))
		for i, m := range mechanisms {
			list[i] = uint64(m)
		}
		w.list(list, room)
	case callGetMechanismInfo:
		t := r.uint64()
		if err := r.end(); err != nil {
			return err
		}
		if t > math.MaxUint32 {
			return fmt.Errorf("%w: %#x", pkcs11.CKR_MECHANISM_INVALID, t)
		}
		info, err := m.MechanismInfo(ctx, slot, pkcs11.MechanismType(t))
		if err != nil {
			return err
		}
		w.uint64(info.MinKeySize)
		w.uint64(info.MaxKeySize)
		w.uint64(info.Flags)
	case callInitToken, callInitToken2:
		pin, _ := r.bytes()
		var label string
		if id == callInitToken2 {
			label = r.padded(32)
		} else {
			// A C program hands over 32 bytes without a NUL at the end, so what
			// comes here may be longer.
			b := r.array()
			label = strings.TrimRight(string(b[:min(len(b), 32)]), " ")
		}
		if err := r.end(); err != nil {
			return err
		}
		return m.InitToken(ctx, slot, pin, label)
	case callOpenSession:
		flags := r.uint64()
		if err := r.end(); err != nil {
			return err
		}
		return c.openSession(ctx, m, slot, pkcs11.SessionFlags(flags), w)
	case callCloseAllSessions:
		if err := r.end(); err != nil {
			return err
		}
		if err := m.CloseAllSessions(ctx, slot); err != nil {
			return err
		}
		// Which of them were with that token the sessions know.
		c.mu.Lock()
		defer c.mu.Unlock()
		for h, s := range c.sessions {
			if _, err := s.Info(ctx); pkcs11.CodeOf(err) == pkcs11.CKR_SESSION_HANDLE_INVALID && err != nil {
				delete(c.sessions, h)
			}
		}
	default:
		return errUnsupported
	}
	return nil
}

func (c *conn) openSession(ctx context.Context, m cryptoki.Module, slot pkcs11.SlotID, flags pkcs11.SessionFlags, w *writer) error {
	c.mu.Lock()
	full := len(c.sessions) >= c.server.opts.MaxSessions
	c.mu.Unlock()
	if full {
		return fmt.Errorf("%w: the client has %d sessions", pkcs11.CKR_SESSION_COUNT, c.server.opts.MaxSessions)
	}
	s, err := m.OpenSession(ctx, slot, flags)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.module != m {
		s.Close()
		return errNotInitialized
	}
	c.last++
	c.sessions[c.last] = s
	w.uint64(c.last)
	return nil
}

// waitForSlotEvent waits for what never happens: tokens do not come and go.
func (c *conn) waitForSlotEvent(ctx context.Context, stop <-chan struct{}, r *reader) error {
	flags := r.uint64()
	if err := r.end(); err != nil {
		return err
	}
	if flags&pkcs11.CKF_DONT_BLOCK != 0 {
		return pkcs11.CKR_NO_EVENT
	}
	select {
	case <-stop:
	case <-ctx.Done():
	}
	return pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED
}

// list writes an au of a list for which the client has room, or asks the length
// with none.
func (w *writer) list(list []uint64, room uint32) {
	if room == 0 || uint64(room) < uint64(len(list)) {
		w.count(len(list))
		return
	}
	w.ulongs(list)
}

func (w *writer) tokenInfo(info *pkcs11.TokenInfo) {
	w.padded(info.Label, 32)
	w.padded(info.ManufacturerID, 32)
	w.padded(info.Model, 16)
	w.padded(info.SerialNumber, 16)
	for _, v := range [...]uint64{
		info.Flags, info.MaxSessionCount, info.SessionCount, info.MaxRwSessionCount, info.RwSessionCount, info.MaxPinLen, info.MinPinLen,
		info.TotalPublicMemory, info.FreePublicMemory, info.TotalPrivateMemory, info.FreePrivateMemory,
	} {
		w.uint64(v)
	}
	w.cryptoki(info.HardwareVersion)
	w.cryptoki(info.FirmwareVersion)
	if info.UTCTime.IsZero() {
		w.padded("", 16)
	} else {
		w.padded(info.UTCTime.UTC().Format("20060102150405")+"00", 16)
	}
}

func (r *reader) tokenInfo() pkcs11.TokenInfo {
	info := pkcs11.TokenInfo{Label: r.padded(32), ManufacturerID: r.padded(32), Model: r.padded(16), SerialNumber: r.padded(16)}
	for _, v := range [...]*uint64{
		&info.Flags, &info.MaxSessionCount, &info.SessionCount, &info.MaxRwSessionCount, &info.RwSessionCount, &info.MaxPinLen, &info.MinPinLen,
		&info.TotalPublicMemory, &info.FreePublicMemory, &info.TotalPrivateMemory, &info.FreePrivateMemory,
	} {
		*v = r.uint64()
	}
	info.HardwareVersion, info.FirmwareVersion = r.cryptoki(), r.cryptoki()
	if s := r.padded(16); len(s) >= 14 {
		info.UTCTime, _ = time.Parse("20060102150405", s[:14])
	}
	return info
}

// produce writes an ay: what produce puts into a buffer as large as the client's
// room, or how much it needs.
func (c *conn) produce(w *writer, room room, produce func(out []byte) (int, error)) error {
	var out []byte
	if !room.null {
		// A client may claim any room; what an operation needs is found out when
		// that is much.
		n := int(min(room.size, uint32(c.server.opts.MaxMessage)))
		if n > 4096 {
			if need, err := produce(nil); err == nil {
				n = min(n, need)
			}
		}
		out = w.output(n)
	}
	n, err := produce(out)
	switch {
	case room.null && err == nil:
		w.size(n)
	case err == nil:
		w.bytes(out[:n])
	case pkcs11.CodeOf(err) == pkcs11.CKR_BUFFER_TOO_SMALL:
		w.size(n)
	default:
		return err
	}
	return nil
}

// sessionCall is a call about session s, whose handle is h.
func (c *conn) sessionCall(ctx context.Context, s cryptoki.Session, h uint64, id callID, r *reader, w *writer) error {
	switch id {
	case callCloseSession:
		if err := r.end(); err != nil {
			return err
		}
		c.mu.Lock()
		delete(c.sessions, h)
		c.mu.Unlock()
		return s.Close()
	case callGetSessionInfo:
		if err := r.end(); err != nil {
			return err
		}
		info, err := s.Info(ctx)
		if err != nil {
			return err
		}
		w.uint64(uint64(info.Slot))
		w.uint64(uint64(info.State))
		w.uint64(uint64(info.Flags))
		w.uint64(info.DeviceError)
		return nil
	case callSessionCancel:
		flags := r.uint64()
		if err := r.end(); err != nil {
			return err
		}
		return s.SessionCancel(ctx, flags)
	case callInitPIN:
		pin, _ := r.bytes()
		if err := r.end(); err != nil {
			return err
		}
		return s.InitPIN(ctx, pin)
	case callSetPIN:
		oldPIN, _ := r.bytes()
		newPIN, _ := r.bytes()
		if err := r.end(); err != nil {
			return err
		}
		return s.SetPIN(ctx, oldPIN, newPIN)
	case callLogin, callLoginUser:
		user := r.uint64()
		pin, _ := r.bytes()
		if id == callLoginUser {
			if name, _ := r.bytes(); len(name) > 0 {
				return fmt.Errorf("%w: users have no names here", pkcs11.CKR_ARGUMENTS_BAD)
			}
		}
		if err := r.end(); err != nil {
			return err
		}
		if user > math.MaxUint32 {
			return pkcs11.CKR_USER_TYPE_INVALID
		}
		return s.Login(ctx, pkcs11.UserType(user), pin)
	case callLogout:
		if err := r.end(); err != nil {
			return err
		}
		return s.Logout(ctx)
	case callCreateObject, callCopyObject, callDestroyObject, callGetObjectSize, callGetAttributeValue, callSetAttributeValue,
		callFindObjectsInit, callFindObjects, callFindObjectsFinal:
		return c.objectCall(ctx, s, id, r, w)
	case callGenerateKey, callGenerateKeyPair, callWrapKey, callUnwrapKey, callDeriveKey, callDeriveKey2:
		return c.keyCall(ctx, s, id, r, w)
	case callSeedRandom:
		seed, _ := r.bytes()
		if err := r.end(); err != nil {
			return err
		}
		return s.SeedRandom(ctx, seed)
	case callGenerateRandom:
		room := r.room()
		if err := r.end(); err != nil {
			return err
		}
		if room.size > uint32(c.server.opts.MaxMessage) {
			return fmt.Errorf("%w: %d random bytes, the limit is %d", pkcs11.CKR_ARGUMENTS_BAD, room.size, c.server.opts.MaxMessage)
		}
		if room.size == 0 {
			// Programs try this to see whether there is a generator. Old clients
			// send it as a NULL pointer.
			w.bytes(nil)
			return nil
		}
		return c.produce(w, room, func(out []byte) (int, error) {
			if out == nil {
				return int(room.size), nil
			}
			for rest := out; len(rest) > 0; {
				part, begin := rest[:min(len(rest), quantum)], time.Now()
				if err := s.GenerateRandom(ctx, part); err != nil {
					return 0, err
				}
				rest = rest[len(part):]
				c.computed(ctx, len(part), begin)
				runtime.Gosched() // others are waiting, perhaps
			}
			return len(out), nil
		})
	}
	return c.operationCall(ctx, s, id, r, w)
}

func (c *conn) objectCall(ctx context.Context, s cryptoki.Session, id callID, r *reader, w *writer) error {
	switch id {
	case callCreateObject:
		t := r.template()
		if err := r.end(); err != nil {
			return err
		}
		o, err := s.CreateObject(ctx, t)
		w.uint64(uint64(o))
		return err
	case callFindObjectsInit:
		t := r.template()
		if err := r.end(); err != nil {
			return err
		}
		return s.FindObjectsInit(ctx, t)
	case callFindObjects:
		room := r.uint32()
		if err := r.end(); err != nil {
			return err
		}
		found := make([]pkcs11.ObjectHandle, min(room, maxFound))
		n, err := s.FindObjects(ctx, found)
		if err != nil {
			return err
		}
		w.byte(1)
		w.uint32(uint32(n))
		for _, h := range found[:n] {
			w.uint64(uint64(h))
		}
		return nil
	case callFindObjectsFinal:
		if err := r.end(); err != nil {
			return err
		}
		return s.FindObjectsFinal(ctx)
	}
	o := pkcs11.ObjectHandle(r.uint64())
	switch id {
	case callCopyObject:
		t := r.template()
		if err := r.end(); err != nil {
			return err
		}
		o, err := s.CopyObject(ctx, o, t)
		w.uint64(uint64(o))
		return err
	case callDestroyObject:
		if err := r.end(); err != nil {
			return err
		}
		return s.DestroyObject(ctx, o)
	case callGetObjectSize:
		if err := r.end(); err != nil {
			return err
		}
		n, err := s.GetObjectSize(ctx, o)
		w.uint64(n)
		return err
	case callSetAttributeValue:
		t := r.template()
		if err := r.end(); err != nil {
			return err
		}
		return s.SetAttributeValue(ctx, o, t)
	}
	wants := r.wants(0)
	if err := r.end(); err != nil {
		return err
	}
	values := make(pkcs11.Template, len(wants))
	for i, want := range wants {
		values[i].Type = want.typ
		if want.room == 4 && formOf(want.typ, r.version) == formUlong {
			*r.ulong = 4 // a 32-bit program's CK_ULONG
		}
	}
	w.ulong = *r.ulong
	err := s.GetAttributeValue(ctx, o, values)
	return w.answer(wants, values, err)
}

func (c *conn) keyCall(ctx context.Context, s cryptoki.Session, id callID, r *reader, w *writer) error {
	m := r.mechanism()
	if r.err == nil && m == nil {
		return fmt.Errorf("%w: no mechanism is given", pkcs11.CKR_ARGUMENTS_BAD)
	}
	switch id {
	case callGenerateKey:
		t := r.template()
		if err := r.end(); err != nil {
			return err
		}
		o, err := s.GenerateKey(ctx, m, t)
		w.uint64(uint64(o))
		return err
	case callGenerateKeyPair:
		pub, priv := r.template(), r.template()
		if err := r.end(); err != nil {
			return err
		}
		a, b, err := s.GenerateKeyPair(ctx, m, pub, priv)
		w.uint64(uint64(a))
		w.uint64(uint64(b))
		return err
	case callWrapKey:
		wrapping, key, room := pkcs11.ObjectHandle(r.uint64()), pkcs11.ObjectHandle(r.uint64()), r.room()
		if err := r.end(); err != nil {
			return err
		}
		return c.produce(w, room, func(out []byte) (int, error) { return s.WrapKey(ctx, m, wrapping, key, out) })
	case callUnwrapKey:
		key := pkcs11.ObjectHandle(r.uint64())
		wrapped, _ := r.bytes()
		t := r.template()
		if err := r.end(); err != nil {
			return err
		}
		o, err := s.UnwrapKey(ctx, m, key, wrapped, t)
		w.uint64(uint64(o))
		return err
	}
	base, t := pkcs11.ObjectHandle(r.uint64()), r.template()
	if err := r.end(); err != nil {
		return err
	}
	o, err := s.DeriveKey(ctx, m, base, t)
	if id == callDeriveKey {
		w.uint64(uint64(o))
		return err
	}
	// The answer of C_DeriveKey2 has what the mechanism changed in its parameter
	// also when it failed.
	if err != nil {
		w.uint64(uint64(pkcs11.CodeOf(err)))
		w.updatedParams(m)
		return nil
	}
	w.uint64(0)
	w.updatedParams(m)
	w.uint64(uint64(o))
	return nil
}

// operationCall is a call of a cryptographic operation.
func (c *conn) operationCall(ctx context.Context, s cryptoki.Session, id callID, r *reader, w *writer) error {
	switch id {
	case callEncryptInit:
		return c.init(ctx, s, r, pkcs11.CKF_ENCRYPT, s.EncryptInit)
	case callDecryptInit:
		return c.init(ctx, s, r, pkcs11.CKF_DECRYPT, s.DecryptInit)
	case callSignInit:
		return c.init(ctx, s, r, pkcs11.CKF_SIGN, s.SignInit)
	case callVerifyInit:
		return c.init(ctx, s, r, pkcs11.CKF_VERIFY, s.VerifyInit)
	case callDigestInit:
		m := r.mechanism()
		if err := r.end(); err != nil {
			return err
		}
		if m == nil {
			return s.SessionCancel(ctx, pkcs11.CKF_DIGEST)
		}
		return s.DigestInit(ctx, m)
	case callDigestKey:
		key := pkcs11.ObjectHandle(r.uint64())
		if err := r.end(); err != nil {
			return err
		}
		return s.DigestKey(ctx, key)
	case callDigestUpdate:
		return c.update(ctx, r, s.DigestUpdate)
	case callSignUpdate:
		return c.update(ctx, r, s.SignUpdate)
	case callVerifyUpdate:
		return c.update(ctx, r, s.VerifyUpdate)
	case callVerifyFinal:
		return c.update(ctx, r, s.VerifyFinal)
	case callVerify:
		data, _ := r.bytes()
		sig, _ := r.bytes()
		if err := r.end(); err != nil {
			return err
		}
		return s.Verify(ctx, data, sig)
	case callEncrypt:
		return c.transform(ctx, r, w, s.Encrypt)
	case callEncryptUpdate:
		return c.transform(ctx, r, w, s.EncryptUpdate)
	case callDecrypt:
		return c.transform(ctx, r, w, s.Decrypt)
	case callDecryptUpdate:
		return c.transform(ctx, r, w, s.DecryptUpdate)
	case callDigest:
		return c.transform(ctx, r, w, s.Digest)
	case callSign:
		return c.transform(ctx, r, w, s.Sign)
	case callEncryptFinal:
		return c.final(ctx, r, w, s.EncryptFinal)
	case callDecryptFinal:
		return c.final(ctx, r, w, s.DecryptFinal)
	case callDigestFinal:
		return c.final(ctx, r, w, s.DigestFinal)
	case callSignFinal:
		return c.final(ctx, r, w, s.SignFinal)
	case callDigestEncryptUpdate:
		return c.transform(ctx, r, w, both(s.EncryptUpdate, s.DigestUpdate, true))
	case callSignEncryptUpdate:
		return c.transform(ctx, r, w, both(s.EncryptUpdate, s.SignUpdate, true))
	case callDecryptDigestUpdate:
		return c.transform(ctx, r, w, both(s.DecryptUpdate, s.DigestUpdate, false))
	case callDecryptVerifyUpdate:
		return c.transform(ctx, r, w, both(s.DecryptUpdate, s.VerifyUpdate, false))
	}
	return fmt.Errorf("%v: %w", id, errUnsupported)
}

// both is a dual-function operation (PKCS #11 v2.40 §5.13) made of its two parts:
// what transforms, and what is fed its input or its output.
func both(transform func(context.Context, []byte, []byte) (int, error), feed func(context.Context, []byte) error, input bool) func(context.Context, []byte, []byte) (int, error) {
	return func(ctx context.Context, in, out []byte) (int, error) {
		n, err := transform(ctx, in, out)
		if err != nil || out == nil {
			return n, err
		}
		part := out[:n]
		if input {
			part = in
		}
		if len(part) == 0 {
			return n, nil
		}
		return n, feed(ctx, part)
	}
}

// init begins an operation with a key, or cancels it, as PKCS #11 v3.0 §5.1.8 has
// it for a mechanism that is a NULL pointer.
func (c *conn) init(ctx context.Context, s cryptoki.Session, r *reader, flag uint64, init func(context.Context, *pkcs11.Mechanism, pkcs11.ObjectHandle) error) error {
	m, key := r.mechanism(), pkcs11.ObjectHandle(r.uint64())
	if err := r.end(); err != nil {
		return err
	}
	if m == nil {
		return s.SessionCancel(ctx, flag)
	}
	return init(ctx, m, key)
}

func (c *conn) update(ctx context.Context, r *reader, update func(context.Context, []byte) error) error {
	part, _ := r.bytes()
	if err := r.end(); err != nil {
		return err
	}
	return update(ctx, part)
}

func (c *conn) transform(ctx context.Context, r *reader, w *writer, transform func(ctx context.Context, in, out []byte) (int, error)) error {
	in, _ := r.bytes()
	room := r.room()
	if err := r.end(); err != nil {
		return err
	}
	return c.produce(w, room, func(out []byte) (int, error) { return transform(ctx, in, out) })
}

func (c *conn) final(ctx context.Context, r *reader, w *writer, final func(context.Context, []byte) (int, error)) error {
	room := r.room()
	if err := r.end(); err != nil {
		return err
	}
	return c.produce(w, room, func(out []byte) (int, error) { return final(ctx, out) })
}
