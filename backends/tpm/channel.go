package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

const (
	// A session is not kept for longer than this without use: what the resource
	// manager of Linux has saved and nobody uses stops all others when the
	// counter of contexts has gone round. Part 1, 30.6, the context gap.
	idleSession = 30 * time.Second
	// usesOfSession is how often a session is used, for the same reason.
	usesOfSession = 1000
	// virtualHandles is where a resource manager's handles of objects begin that
	// no TPM gives out itself.
	virtualHandles = 0x80ff0000
)

// A channel is a connection to the TPM and what we have in the TPM through it:
// at most one session, and as many keys as there is room for. One goroutine at a
// time uses it, whoever holds its place in the pool.
type channel struct {
	t       *Token
	tpm     transport.TPM // nil: not connected
	closer  io.Closer     // nil: not ours
	ctx     context.Context
	session *session
	loaded  []loadedKey // the least recently used first

	dirty  bool     // something of ours may be in the TPM that we know no handle of
	strays []uint32 // handles that could not be flushed

	// others are the sessions that were in the TPM before ours, once they are
	// listed. Where there is no resource manager a TPM serves one connection at a
	// time, so that sessions which appear afterwards are ours, known or not.
	others []uint32
	listed bool

	since time.Time // of the connection

	// beside is not nil when an endorsement key of ours may be in the TPM, beside
	// what had these handles before.
	beside []uint32
}

type loadedKey struct {
	key    *tpmKey
	handle uint32
}

// A transportError is a command that got no response.
type transportError struct{ err error }

func (e *transportError) Error() string { return "no response from the TPM: " + inside(e.err).Error() }
func (e *transportError) Unwrap() error { return e.err }

// Is says that such an error is CKR_DEVICE_ERROR, or CKR_DEVICE_REMOVED.
func (e *transportError) Is(target error) bool {
	if code, ok := target.(pkcs11.Error); ok {
		return code == e.code()
	}
	return false
}

func (e *transportError) As(target any) bool {
	if code, ok := target.(*pkcs11.Error); ok {
		*code = e.code()
		return true
	}
	return false
}

func (e *transportError) code() pkcs11.Error {
	if removed(e.err) {
		return pkcs11.CKR_DEVICE_REMOVED
	}
	return pkcs11.CKR_DEVICE_ERROR
}

// send sends the bytes of a command until the TPM has taken it, and returns its
// response.
func (c *channel) send(cc tpm2.TPMCC, b []byte) ([]byte, error) {
	if c.tpm == nil {
		return nil, &transportError{errNotConnected}
	}
	var waited time.Duration
	for pause := time.Duration(0); ; {
		answer, err := c.tpm.Send(b)
		if err != nil {
			return nil, &transportError{err}
		}
		if len(answer) < headerSize || len(answer) > maxMessage {
			return nil, errGarbled
		}
		rc := tpm2.TPMRC(uint32(answer[8])<<8 | uint32(answer[9]))
		w, ok := retries[rc]
		if !ok || waited >= w.budget {
			return answer, nil
		}
		if pause == 0 && rc == tpm2.TPMRCNVRate {
			c.t.log(c.ctx, "the TPM limits how often it is written to; something writes too much", "command", commandName(cc))
		}
		pause = min(max(2*pause, w.first), longestPause)
		d := pause + rand.N(pause/4+1)
		if err := c.t.sleep(c.ctx, d); err != nil {
			return nil, fmt.Errorf("%w: %w: %w", errCanceled, pkcs11.CKR_FUNCTION_CANCELED, err)
		}
		waited += d
	}
}

// run executes a command whose handles need no authorization.
func (c *channel) run(code tpm2.TPMCC, handles []entity, params []byte) (response, error) {
	return c.exec(&command{code: code, handles: handles, params: params})
}

// load makes a key usable and returns its handle and Name.
func (c *channel) load(k *tpmKey) (entity, error) {
	if k.persistent != 0 && !k.evicted.Load() {
		return entity{k.persistent, k.name}, nil
	}
	if i := slices.IndexFunc(c.loaded, func(l loadedKey) bool { return l.key == k }); i >= 0 {
		l := c.loaded[i]
		if i != len(c.loaded)-1 {
			c.loaded = append(slices.Delete(c.loaded, i, i+1), l)
		}
		return entity{l.handle, k.name}, nil
	}
	if c.t.srk.Load() == nil {
		return entity{}, errNoSRK
	}
	for len(c.loaded) >= c.t.room() {
		if err := c.unload(c.loaded[0].key); err != nil {
			return entity{}, err
		}
	}
	h, err := c.loadBlob(k)
	if err != nil {
		return entity{}, err
	}
	c.loaded = append(c.loaded, loadedKey{k, h})
	return entity{h, k.name}, nil
}

// loadBlob loads an object under the parent, beside what c.loaded knows.
func (c *channel) loadBlob(k *tpmKey) (uint32, error) {
	c.t.names.Store(string(k.name), true)
	r, err := c.exec(&command{
		code:    tpm2.TPMCCLoad,
		handles: []entity{c.t.srk.Load().entity()},
		needs:   1,
		auths:   []authorization{{}},
		params:  putSized(putSized(nil, k.private), k.public.raw),
		returns: true,
	})
	if err != nil {
		return 0, err
	}
	// The authorization is empty, and so is the HMAC of the response: what is
	// loaded shows in the Name, and in the HMAC of the first use.
	p := r.reader()
	if name := p.sized(); !p.done() || !bytes.Equal(name, k.name) || r.handle>>24 != 0x80 {
		c.dirty = true
		return 0, &commandError{tpm2.TPMCCLoad, errGarbled}
	}
	c.t.learn(r.handle)
	return r.handle, nil
}

// flush removes an object or a session from the TPM. One that is gone already is
// no error, but a reason to look what is there.
func (c *channel) flush(handle uint32) error {
	_, err := c.run(tpm2.TPMCCFlushContext, nil, put32(nil, handle))
	var rc tpm2.TPMRC
	if errors.As(err, &rc) && (errors.Is(rc, tpm2.TPMRCHandle) || errors.Is(rc, tpm2.TPMRCValue) || rc == tpm2.TPMRCReferenceH0) {
		c.dirty = true
		return nil
	}
	if err != nil {
		c.dirty = true
		c.strays = append(c.strays, handle)
	}
	return err
}

// unload removes a key, if it is loaded.
func (c *channel) unload(k *tpmKey) error {
	i := slices.IndexFunc(c.loaded, func(l loadedKey) bool { return l.key == k })
	if i < 0 {
		return nil
	}
	h := c.loaded[i].handle
	c.loaded = slices.Delete(c.loaded, i, i+1)
	return c.flush(h)
}

// unloadAll removes everything of ours.
func (c *channel) unloadAll() error {
	var errs []error
	for len(c.loaded) > 0 {
		errs = append(errs, c.unload(c.loaded[0].key))
	}
	return errors.Join(append(errs, c.endSession())...)
}

// forget takes everything for gone.
func (c *channel) forget() {
	c.loaded, c.strays = nil, nil
	if c.session != nil {
		c.session.lost = true
	}
	c.session = nil
}

// hot returns the session that is kept, or a new one.
func (c *channel) hot() (*session, error) {
	if s := c.session; s != nil {
		if !s.lost && s.uses < usesOfSession && c.t.clock().Sub(s.last) < idleSession {
			s.uses++
			s.last = c.t.clock()
			return s, nil
		}
		if err := c.endSession(); err != nil {
			return nil, err
		}
	}
	if err := c.listOthers(); err != nil {
		return nil, err
	}
	s, err := c.start(false)
	if err != nil {
		return nil, err
	}
	c.session = s
	c.noteSession(s.handle)
	return s, nil
}

// endSession removes the session that is kept.
func (c *channel) endSession() error {
	s := c.session
	if s == nil {
		return nil
	}
	c.session = nil
	if s.handle == 0 {
		return nil
	}
	return c.flush(s.handle)
}

// end removes a session that was started for one purpose.
func (c *channel) end(s *session) {
	if s != nil && s.handle != 0 {
		c.flush(s.handle)
	}
}

// handles lists the handles of a range.
func (c *channel) handles(first uint32) ([]uint32, error) {
	var list []uint32
	for {
		r, err := c.capability(tpm2.TPMCapHandles, first, 254)
		if err != nil {
			return nil, err
		}
		more, n := r.u8() != 0, 0
		if tpm2.TPMCap(r.u32()) != tpm2.TPMCapHandles {
			return nil, errGarbled
		}
		for n = int(r.u32()); n > 0 && !r.bad; n-- {
			list = append(list, r.u32())
		}
		if !r.done() {
			return nil, errGarbled
		}
		if !more || len(list) == 0 || len(list) > 1000 {
			return list, nil
		}
		first = list[len(list)-1] + 1
	}
}

func (c *channel) capability(cap tpm2.TPMCap, property, count uint32) (*reader, error) {
	r, err := c.run(tpm2.TPMCCGetCapability, nil, put32(put32(put32(nil, uint32(cap)), property), count))
	if err != nil {
		return nil, err
	}
	return r.reader(), nil
}

// settle removes what a process of this token that died has left in the TPM, if a
// record says that there was such a one. An object is ours if its Name is that of
// a key of this token, a session if it is in the record.
func (c *channel) settle() error {
	if c.t.managed.Load() {
		return nil
	}
	r, ok := c.t.unclean()
	if !ok {
		return nil
	}
	if err := c.sweepObjects(); err != nil {
		return err
	}
	return c.endRecorded(r)
}

// listOthers lists the sessions of others, before one of ours is there.
func (c *channel) listOthers() error {
	if c.listed || c.t.managed.Load() {
		return nil
	}
	sessions, err := c.handles(firstSession)
	if err != nil {
		return err
	}
	c.others, c.listed = sessions, true
	return nil
}

const (
	firstTransient uint32 = 0x80000000
	firstSession   uint32 = 0x02000000
)

// sweep removes what is ours and not known, after a response was lost. A new
// connection does the same on a resource manager.
func (c *channel) sweep() error {
	if c.t.managed.Load() {
		return nil
	}
	if err := c.sweepObjects(); err != nil {
		return err
	}
	if !c.listed {
		return nil
	}
	sessions, err := c.handles(firstSession)
	if err != nil {
		return err
	}
	for _, h := range sessions {
		if slices.Contains(c.others, h) || c.session != nil && c.session.handle == h {
			continue
		}
		if err := c.flush(h); err != nil {
			return err
		}
	}
	return nil
}

func (c *channel) sweepObjects() error {
	transient, err := c.handles(firstTransient)
	if err != nil {
		return err
	}
	for _, h := range transient {
		if slices.ContainsFunc(c.loaded, func(l loadedKey) bool { return l.handle == h }) {
			continue
		}
		pub, err := c.readPublic(h)
		if err != nil {
			continue // gone, or a sequence
		}
		if c.t.isOurs(pub.name) {
			if err := c.flush(h); err != nil {
				return err
			}
		}
	}
	return nil
}

// repair does what may make a command succeed that has failed with err. It
// returns nil if it is worth to try again, and otherwise the error to report.
func (c *channel) repair(err error) error {
	switch repairOf(err) {
	case forgetHandles:
		c.t.log(c.ctx, "the TPM has lost our keys, they are loaded again", "reason", err)
		c.forgetKeys()
	case newSession:
		if c.session == nil {
			return err
		}
		c.endSession()
	case makeRoom:
		if c.unloadAll() != nil || c.sweep() != nil {
			return err
		}
	case startUp:
		c.t.log(c.ctx, "the TPM was reset, it is started again", "reason", err)
		c.forget()
		c.dirty = true // in case it was not
		if c.startup() != nil {
			return err
		}
	case reconnect:
		c.forget()
		if rerr := c.reconnect(err); errors.Is(rerr, errForeign) {
			return rerr
		} else if rerr != nil {
			return err
		}
	case again:
	default:
		return err
	}
	return nil
}

// diagnose looks whether an error comes from the TPM being another one.
func (c *channel) diagnose(err error) error {
	if err == nil || c.tpm == nil || errors.Is(err, errForeign) || c.t.srk.Load() == nil {
		return err
	}
	if rc, ok := rcOf(err); ok && (isHandle(rc) || errors.Is(rc, tpm2.TPMRCIntegrity)) {
		if serr := c.same(); errors.Is(serr, errForeign) {
			return serr
		}
	}
	return err
}

func rcOf(err error) (rc tpm2.TPMRC, ok bool) {
	ok = errors.As(err, &rc)
	return rc, ok
}

// forgetKeys takes loaded keys for gone, and removes those that are not.
func (c *channel) forgetKeys() {
	for _, l := range c.loaded {
		c.flush(l.handle)
	}
	c.loaded = nil
	c.dirty = true // a handle may have been a wrong one
}

// startup is TPM2_Startup(CLEAR). That the TPM is started already is no error.
func (c *channel) startup() error {
	_, err := c.run(tpm2.TPMCCStartup, nil, put16(nil, uint16(tpm2.TPMSUClear)))
	if errors.Is(err, tpm2.TPMRCInitialize) {
		return nil
	}
	return err
}

// disconnect closes the connection if we have opened it.
func (c *channel) disconnect() {
	if c.closer != nil {
		c.closer.Close()
		c.tpm, c.closer = nil, nil
	}
	c.others, c.listed = nil, false
}

// reconnect opens a new connection, and makes sure that the TPM at its end is
// the one that it was.
func (c *channel) reconnect(cause error) error {
	if c.t.opts.Dial == nil {
		// The one that was given is all there is. It may be of use again.
		c.t.log(c.ctx, "the TPM did not respond, it is asked again", "reason", cause)
		return c.same()
	}
	c.disconnect()
	if err := c.connect(); err != nil {
		return err
	}
	c.t.log(c.ctx, "the connection to the TPM was lost and is made again", "reason", cause)
	if err := c.same(); err != nil {
		return err
	}
	c.dirty = false
	return c.settle()
}

// connect dials.
func (c *channel) connect() error {
	tpm, err := c.t.opts.Dial(c.ctx)
	if err != nil {
		return &transportError{err}
	}
	c.tpm, c.closer, c.since = tpm, tpm, c.t.clock()
	return nil
}

// same makes sure that this is the TPM that has our keys.
func (c *channel) same() error {
	c.dirty = true
	if c.t.srk.Load() == nil {
		return nil
	}
	pub, err := c.readPublic(c.t.srk.Load().handle)
	if errors.Is(err, tpm2.TPMRCInitialize) {
		if err = c.startup(); err == nil {
			pub, err = c.readPublic(c.t.srk.Load().handle)
		}
	}
	if err == nil && bytes.Equal(pub.name, c.t.srk.Load().name) {
		return nil
	}
	if err == nil || errors.Is(err, tpm2.TPMRCHandle) {
		c.t.log(c.ctx, errForeign.Error())
		return errForeign
	}
	return err
}

// clean removes what a failed command may have left.
func (c *channel) clean() error {
	if !c.dirty {
		return nil
	}
	if c.session != nil && c.session.lost {
		c.endSession()
	}
	strays := c.strays
	c.strays = nil
	for i, h := range strays {
		if err := c.flush(h); err != nil {
			c.strays = append(c.strays, strays[i+1:]...)
			return err
		}
	}
	if err := c.sweep(); err != nil {
		return err
	}
	if err := c.flushBeside(); err != nil {
		return err
	}
	c.dirty = false
	return nil
}
