package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// ClientOptions change how a Client behaves. A nil pointer and the zero value
// mean the defaults.
type ClientOptions struct {
	// Timeout limits every call whose context has no deadline; a minute by
	// default. A server that has not answered until then is given up: the
	// connection is closed, and the next call makes a new one.
	Timeout time.Duration
}

// A Client is a cryptoki.Module in another process. A connection that breaks is
// made anew by the next call that needs one: calls under way then fail with
// CKR_DEVICE_REMOVED and the sessions of before with CKR_SESSION_HANDLE_INVALID,
// which a cryptoki.Token mends by itself.
//
// The protocol carries codes and no texts, so that errors are short. It has no
// form for the parameters of some mechanisms; those are not in Mechanisms, unless
// the server is one of this package.
type Client struct {
	dial    func(ctx context.Context) (io.ReadWriteCloser, error)
	timeout time.Duration

	dialing chan struct{} // a semaphore of one
	mu      sync.Mutex
	link    *link
	closed  bool
}

var _ cryptoki.Module = (*Client)(nil)

// NewClient returns the module that is reached by the connections which dial
// makes, after having connected once. The error wraps CKR_DEVICE_REMOVED if
// nobody is there, CKR_DEVICE_ERROR if somebody else is.
func NewClient(ctx context.Context, dial func(ctx context.Context) (io.ReadWriteCloser, error), opts *ClientOptions) (*Client, error) {
	c := &Client{dial: dial, timeout: time.Minute, dialing: make(chan struct{}, 1)}
	if opts != nil && opts.Timeout > 0 {
		c.timeout = opts.Timeout
	}
	limited, cancel := c.limit(ctx)
	defer cancel()
	if _, err := c.connect(limited); err != nil {
		return nil, c.inTime(ctx, limited, err)
	}
	return c, nil
}

// Dial returns the module behind a Unix socket.
func Dial(ctx context.Context, path string, opts *ClientOptions) (*Client, error) {
	return NewClient(ctx, func(ctx context.Context) (io.ReadWriteCloser, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}, opts)
}

func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

// A link is one connection.
type link struct {
	rw      io.ReadWriteCloser
	version uint8
	own     bool

	out  chan struct{} // a semaphore of one, for writing
	code uint32        // the last one used

	mu      sync.Mutex
	waiting map[uint32]waiter
	err     error // why the link is dead
	dead    chan struct{}
}

// A waiter waits for the answer to a call.
type waiter struct {
	answer chan []byte // of one; nil if the caller has gone
	since  time.Time
}

var errLost = fmt.Errorf("%w: the connection to the other process is lost", pkcs11.CKR_DEVICE_REMOVED)

// connect returns the connection, a new one if there is none.
func (c *Client) connect(ctx context.Context) (*link, error) {
	c.mu.Lock()
	l, closed := c.link, c.closed
	c.mu.Unlock()
	if closed {
		return nil, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED
	}
	if l != nil && l.alive() {
		return l, nil
	}
	select {
	case c.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("connecting: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
	}
	defer func() { <-c.dialing }()
	c.mu.Lock()
	l, closed = c.link, c.closed
	c.mu.Unlock()
	if closed {
		return nil, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED
	}
	if l != nil && l.alive() {
		return l, nil
	}
	l, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		l.kill(errLost)
		return nil, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED
	}
	c.link = l
	return l, nil
}

// open makes a connection, in the newest version that both sides know.
func (c *Client) open(ctx context.Context) (*link, error) {
	// A server of p11-kit before 0.25 hangs up on all but 0, a later one may
	// choose a version newer than ours.
	var first error
	for _, version := range []uint8{ownVersion, maxVersion, minVersion} {
		l, again, err := c.greet(ctx, version)
		if err == nil {
			return l, nil
		}
		if first == nil {
			first = err
		}
		if !again || ctx.Err() != nil {
			return nil, err
		}
	}
	return nil, first
}

// greet connects and asks for one version. again says that another might do.
func (c *Client) greet(ctx context.Context, version uint8) (l *link, again bool, err error) {
	rw, err := c.dial(ctx)
	if err != nil {
		if errors.As(err, new(pkcs11.Error)) {
			return nil, false, err
		}
		return nil, false, fmt.Errorf("%w: %w", pkcs11.CKR_DEVICE_REMOVED, err)
	}
	stop := context.AfterFunc(ctx, func() { abort(rw) })
	defer stop()
	hello := []byte{version}
	if _, err = rw.Write(hello); err == nil {
		_, err = io.ReadFull(rw, hello)
	}
	if err != nil || hello[0] > maxVersion && hello[0] != version {
		rw.Close()
		if ctx.Err() != nil {
			return nil, false, fmt.Errorf("connecting: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
		}
		if err == nil {
			err = fmt.Errorf("it chose version %d", hello[0])
		}
		return nil, true, fmt.Errorf("%w: the other side does not speak p11-kit's protocol: %w", pkcs11.CKR_DEVICE_ERROR, err)
	}
	l = &link{rw: rw, version: min(hello[0], maxVersion), own: hello[0] == ownVersion,
		out: make(chan struct{}, 1), waiting: make(map[uint32]waiter), dead: make(chan struct{})}
	go l.read()
	err = l.call(ctx, callInitialize, func(w *writer) error {
		w.bytes([]byte(handshake))
		w.byte(0)
		w.bytes([]byte{0})
		return nil
	}, nil)
	if err != nil && ctx.Err() != nil {
		abort(rw)
		l.kill(errLost)
		return nil, false, fmt.Errorf("C_Initialize: %w", tooLate(ctx))
	}
	if err != nil {
		l.kill(errLost)
		if p, ok := rw.(*process); ok {
			err = p.explain(err)
		}
		return nil, false, fmt.Errorf("C_Initialize: %w", err)
	}
	if !stop() {
		l.kill(errLost)
		return nil, false, fmt.Errorf("connecting: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
	}
	return l, false, nil
}

func (l *link) alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err == nil
}

// kill ends the link; calls under way fail with err.
func (l *link) kill(err error) {
	if l.end(err) {
		l.rw.Close()
	}
}

// end has calls under way fail with err, and no other begin. It reports whether it
// was the first to do so.
func (l *link) end(err error) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first = l.err == nil; first {
		l.err = err
		close(l.dead)
	}
	return first
}

// giveUp is kill for a server that has let its time pass. Whoever calls when that is
// gone gets another one: the link ends first.
func (l *link) giveUp(err error) {
	l.end(err)
	abort(l.rw)
}

// abort closes a connection whose other side has let its time pass. A program that
// hangs does not notice the end of its input, and this one may end before it could
// make it go: it is killed at once.
func abort(rw io.Closer) {
	if p, ok := rw.(*process); ok {
		p.cmd.Process.Kill()
	}
	rw.Close()
}

// read hands the answers to those who wait for them.
func (l *link) read() {
	head := make([]byte, headerLen)
	for {
		if _, err := io.ReadFull(l.rw, head); err != nil {
			l.kill(fmt.Errorf("%w: %w", errLost, err))
			return
		}
		code := binary.BigEndian.Uint32(head)
		options, length := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[8:])
		if total := uint64(options) + uint64(length); total > maxAnswer {
			l.kill(fmt.Errorf("%w: it sends an answer of %d bytes", errLost, total))
			return
		}
		body, err := readAll(l.rw, int(options)+int(length))
		if err != nil {
			l.kill(fmt.Errorf("%w: %w", errLost, err))
			return
		}
		l.mu.Lock()
		w, ok := l.waiting[code]
		delete(l.waiting, code)
		l.mu.Unlock()
		if ok {
			if w.answer != nil {
				w.answer <- body[options:]
			}
			continue
		}
		l.kill(fmt.Errorf("%w: it answers what nobody asked", errLost))
		return
	}
}

// maxAnswer limits an answer, in bytes.
const maxAnswer = 16 << 20

// readAll reads n bytes, without believing that there are so many.
func readAll(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, 0, min(n, 64<<10))
	for len(b) < n {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		k, err := io.ReadFull(r, b[len(b):min(cap(b), n)])
		b = b[:len(b)+k]
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// call makes a call: build writes the arguments, parse reads the results.
func (l *link) call(ctx context.Context, id callID, build func(*writer) error, parse func(*reader) error) error {
	m := messages.Get().(*message)
	defer m.free()
	w := &m.w
	w.version, w.own, w.ulong = l.version, l.own, 8
	w.begin(id, calls[id].request)
	if build != nil {
		if err := build(w); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", pkcs11.CKR_FUNCTION_CANCELED, err)
	}
	ch := make(chan []byte, 1)

	code, err := l.send(ctx, w, ch)
	if err != nil {
		return err
	}

	select {
	case body := <-ch:
		return l.parse(id, body, parse)
	case <-l.dead:
		select {
		case body := <-ch:
			return l.parse(id, body, parse)
		default:
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.err
	case <-ctx.Done():
		l.mu.Lock()
		if w, ok := l.waiting[code]; ok {
			l.waiting[code] = waiter{nil, w.since} // whatever comes is for nobody
		}
		l.mu.Unlock()
		return tooLate(ctx)
	}
}

func tooLate(ctx context.Context) error {
	return fmt.Errorf("waiting for the other process: %w: %w", pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
}

// send sends a call, whose answer goes to ch. If the other side does not take all
// of it until ctx ends, the link is of no use any more.
func (l *link) send(ctx context.Context, w *writer, ch chan []byte) (code uint32, err error) {
	select {
	case l.out <- struct{}{}:
	case <-ctx.Done():
		return 0, tooLate(ctx)
	}
	defer func() { <-l.out }()
	if l.code++; l.code == 0 {
		l.code = 1
	}
	l.mu.Lock()
	if err = l.err; err == nil {
		l.waiting[l.code] = waiter{ch, time.Now()}
	}
	l.mu.Unlock()
	if err != nil {
		return 0, err
	}
	var sent atomic.Bool
	stop := context.AfterFunc(ctx, func() {
		if !sent.Load() {
			l.giveUp(fmt.Errorf("%w: it did not take a call: %w", errLost, ctx.Err()))
		}
	})
	defer stop()
	_, err = l.rw.Write(w.finish(l.code))
	sent.Store(true)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return 0, tooLate(ctx)
	default:
		l.kill(fmt.Errorf("%w: %w", errLost, err))
	}
	return l.code, nil
}

// stuck reports whether a call has waited for limit, and its caller has gone.
func (l *link) stuck(limit time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.waiting {
		if w.answer == nil && time.Since(w.since) >= limit {
			return true
		}
	}
	return false
}

func (l *link) parse(id callID, body []byte, parse func(*reader) error) error {
	defer clear(body)
	r := &reader{b: body, version: l.version, own: l.own}
	got, sig := callID(r.uint32()), r.array()
	want := id
	if got == callError {
		want = callError
	}
	if r.err == nil && (got != want || string(sig) != calls[want].response) {
		r.fail("it answers another call")
	}
	if r.err != nil {
		err := fmt.Errorf("%w: %w", errLost, r.err)
		l.kill(err)
		return err
	}
	if got == callError {
		code := r.uint64()
		if err := r.end(); err != nil {
			return err
		}
		if code == 0 || code > 0xffffffff {
			return fmt.Errorf("%w: it answers with the error %#x", pkcs11.CKR_DEVICE_ERROR, code)
		}
		return pkcs11.Error(code)
	}
	if parse != nil {
		if err := parse(r); err != nil {
			return err
		}
	}
	return r.end()
}

// call is link.call for calls that are about no session.
func (c *Client) call(ctx context.Context, op string, id callID, build func(*writer) error, parse func(*reader) error) error {
	_, err := c.callOn(ctx, id, build, parse)
	return opErr(op, err)
}

func (c *Client) callOn(ctx context.Context, id callID, build func(*writer) error, parse func(*reader) error) (*link, error) {
	given := ctx
	ctx, cancel := c.limit(ctx)
	defer cancel()
	l, err := c.connect(ctx)
	if err != nil {
		return nil, c.inTime(given, ctx, err)
	}
	return l, c.finish(given, ctx, l, l.call(ctx, id, build, parse))
}

// inTime is the error that a call ended with, which says so if our time was over
// and not the caller's.
func (c *Client) inTime(given, limited context.Context, err error) error {
	if limited.Err() == nil || given.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: no answer within %v: it hangs, or needs a longer timeout", pkcs11.CKR_DEVICE_ERROR, c.timeout)
}

// finish gives a server up that has not answered in our time. The caller's may
// have been too short for what it asked.
func (c *Client) finish(given, limited context.Context, l *link, err error) error {
	switch {
	case err == nil || limited.Err() == nil:
	case given.Err() != nil:
		if l.stuck(c.timeout) {
			l.giveUp(fmt.Errorf("%w: it has not answered a call within %v", errLost, c.timeout))
		}
	default:
		err = c.inTime(given, limited, err)
		l.giveUp(fmt.Errorf("%w: it had not answered another call within %v", errLost, c.timeout))
	}
	return err
}

func opErr(op string, err error) error {
	if err == nil {
		return nil
	}
	return &cryptoki.OpError{Op: op, Err: err}
}

// Info implements cryptoki.Module.
func (c *Client) Info(ctx context.Context) (info pkcs11.Info, err error) {
	err = c.call(ctx, "Info", callGetInfo, nil, func(r *reader) error {
		info.CryptokiVersion, info.ManufacturerID = r.cryptoki(), r.padded(32)
		r.uint64()
		info.LibraryDescription, info.LibraryVersion = r.padded(32), r.cryptoki()
		return nil
	})
	return info, err
}

// maxList is how long lists of slots and mechanisms may be.
const maxList = 4096

// Slots implements cryptoki.Module.
func (c *Client) Slots(ctx context.Context, tokenPresent bool) ([]pkcs11.SlotID, error) {
	var slots []pkcs11.SlotID
	err := c.call(ctx, "Slots", callGetSlotList, func(w *writer) error {
		w.bool(tokenPresent)
		w.uint32(maxList)
		return nil
	}, func(r *reader) error {
		list, _ := r.ulongs(maxList)
		for _, id := range list {
			slots = append(slots, pkcs11.SlotID(id))
		}
		return nil
	})
	return slots, err
}

// SlotInfo implements cryptoki.Module.
func (c *Client) SlotInfo(ctx context.Context, slot pkcs11.SlotID) (info pkcs11.SlotInfo, err error) {
	err = c.call(ctx, "SlotInfo", callGetSlotInfo, numbers(uint64(slot)), func(r *reader) error {
		info = pkcs11.SlotInfo{Description: r.padded(64), ManufacturerID: r.padded(32), Flags: r.uint64(),
			HardwareVersion: r.cryptoki(), FirmwareVersion: r.cryptoki()}
		return nil
	})
	return info, err
}

// TokenInfo implements cryptoki.Module.
func (c *Client) TokenInfo(ctx context.Context, slot pkcs11.SlotID) (info pkcs11.TokenInfo, err error) {
	err = c.call(ctx, "TokenInfo", callGetTokenInfo, numbers(uint64(slot)), func(r *reader) error {
		info = r.tokenInfo()
		return nil
	})
	return info, err
}

// Mechanisms implements cryptoki.Module. What the protocol cannot carry is not in
// the list.
func (c *Client) Mechanisms(ctx context.Context, slot pkcs11.SlotID) ([]pkcs11.MechanismType, error) {
	var all []uint64
	l, err := c.callOn(ctx, callGetMechanismList, func(w *writer) error {
		w.uint64(uint64(slot))
		w.uint32(maxList)
		return nil
	}, func(r *reader) error {
		all, _ = r.ulongs(maxList)
		return nil
	})
	if err != nil {
		return nil, opErr("Mechanisms", err)
	}
	list := make([]pkcs11.MechanismType, 0, len(all))
	for _, t := range all {
		m := pkcs11.MechanismType(t)
		if _, ok := paramOf(m, l.own); ok && uint64(m) == t {
			list = append(list, m)
		}
	}
	return list, nil
}

// MechanismInfo implements cryptoki.Module.
func (c *Client) MechanismInfo(ctx context.Context, slot pkcs11.SlotID, m pkcs11.MechanismType) (info pkcs11.MechanismInfo, err error) {
	err = c.call(ctx, "MechanismInfo", callGetMechanismInfo, numbers(uint64(slot), uint64(m)), func(r *reader) error {
		info = pkcs11.MechanismInfo{MinKeySize: r.uint64(), MaxKeySize: r.uint64(), Flags: r.uint64()}
		return nil
	})
	return info, err
}

// InitToken implements cryptoki.Module.
func (c *Client) InitToken(ctx context.Context, slot pkcs11.SlotID, soPIN []byte, label string) error {
	const op = "InitToken"
	if len(label) > 32 {
		return opErr(op, fmt.Errorf("%w: a token label has at most 32 bytes, not %d", pkcs11.CKR_ARGUMENTS_BAD, len(label)))
	}
	limited, cancel := c.limit(ctx)
	defer cancel()
	l, err := c.connect(limited)
	if err != nil {
		return opErr(op, c.inTime(ctx, limited, err))
	}
	if l.version == 0 {
		err = l.call(limited, callInitToken, func(w *writer) error {
			w.uint64(uint64(slot))
			w.bytes(soPIN)
			// The module on the other side reads 32 bytes.
			w.array(append([]byte(label), make32(' ')[len(label):]...))
			return nil
		}, nil)
	} else {
		err = l.call(limited, callInitToken2, func(w *writer) error {
			w.uint64(uint64(slot))
			w.bytes(soPIN)
			w.padded(label, 32)
			return nil
		}, nil)
	}
	return opErr(op, c.finish(ctx, limited, l, err))
}

func make32(c byte) []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = c
	}
	return b
}

// OpenSession implements cryptoki.Module.
func (c *Client) OpenSession(ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
	s := &clientSession{c: c}
	l, err := c.callOn(ctx, callOpenSession, numbers(uint64(slot), uint64(flags)), func(r *reader) error {
		s.handle = r.uint64()
		return nil
	})
	if err != nil {
		return nil, opErr("OpenSession", err)
	}
	s.l = l
	return s, nil
}

// CloseAllSessions implements cryptoki.Module.
func (c *Client) CloseAllSessions(ctx context.Context, slot pkcs11.SlotID) error {
	return c.call(ctx, "CloseAllSessions", callCloseAllSessions, numbers(uint64(slot)), nil)
}

// Close implements cryptoki.Module.
func (c *Client) Close() error {
	c.mu.Lock()
	l, closed := c.link, c.closed
	c.closed, c.link = true, nil
	c.mu.Unlock()
	if closed {
		return opErr("Close", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	}
	if l != nil && l.alive() {
		ctx, cancel := context.WithTimeout(context.Background(), min(c.timeout, 5*time.Second))
		defer cancel()
		// The end of the connection says the same.
		if l.call(ctx, callFinalize, nil, nil); ctx.Err() != nil {
			abort(l.rw)
		}
	}
	if l != nil {
		l.kill(errLost)
	}
	return nil
}

// numbers builds a call with numbers only.
func numbers(list ...uint64) func(*writer) error {
	return func(w *writer) error {
		for _, v := range list {
			w.uint64(v)
		}
		return nil
	}
}
