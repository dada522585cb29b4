package rpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Peer is the process at the other end of a connection.
type Peer struct {
	// Known says that the system vouches for the rest (SO_PEERCRED of a Unix
	// socket on Linux). It does not for a pipe or for TCP.
	Known         bool
	PID, UID, GID int
}

func (p Peer) String() string {
	if !p.Known {
		return "unknown peer"
	}
	return fmt.Sprintf("pid %d uid %d", p.PID, p.UID)
}

// Options change how a Server behaves. A nil pointer and the zero value mean the
// defaults.
type Options struct {
	// Application returns the module for one client, which is an application of
	// its own: it is called at each C_Initialize, and the module is closed at
	// C_Finalize or when the connection ends. An error refuses the client; it
	// gets the code that the error wraps. The default is cryptoki.NewApplication
	// on the server's module.
	Application func(ctx context.Context, peer Peer) (cryptoki.Module, error)

	// MaxConnections is how many there may be at once, 1024 by default; and
	// MaxPerPeer how many of one user, 256 by default. One more is closed at
	// once. MaxSessions is for each connection, 4096 by default.
	MaxConnections, MaxPerPeer, MaxSessions int
	// MaxMessage limits a message in bytes, both ways, and the random bytes of
	// one call; 4 MiB by default.
	MaxMessage int
	// MaxCalls is how many calls of one connection may be under way at once, 8 by
	// default. Further ones wait.
	MaxCalls int
	// MessageTime is how long a peer may take for the rest of a message that it
	// has begun, and to take an answer; 10 s by default. Between messages it may
	// rest as long as it likes.
	MessageTime time.Duration
	// CallTime limits a call that needs the device, waiting included; 60 s by
	// default. The client gets CKR_FUNCTION_CANCELED.
	CallTime time.Duration

	// Log gets a line for each connection refused or ended by an error, none by
	// default. It holds no data of calls.
	Log *slog.Logger
	// Observe, if not nil, is told of each call when it ends. It is called from
	// several goroutines and must not wait.
	Observe func(Call)
}

// A Call is one that a client made.
type Call struct {
	Name     string // "C_Sign"
	Peer     Peer
	Duration time.Duration
	Code     pkcs11.Error // 0 for CKR_OK
}

// A Server serves a module to the clients of p11-kit's protocol.
type Server struct {
	module cryptoki.Module
	opts   Options

	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	perUser   map[int]int
	turns     map[int]*turn // by process
	draining  bool
	wg        sync.WaitGroup
	watching  bool

	hot atomic.Int32 // how many connections are hot

	// Who has called, and who has called without asking for much.
	any, modest callers
}

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("rpc: server closed")

// NewServer returns a server of the module, which stays the caller's to close,
// after the server. A module of cryptoki.NewModule is shared, so that each
// client has sessions, handles and a login of its own; for another one, set
// Options.Application: with no more than the module itself, one client at a
// time can use it.
func NewServer(m cryptoki.Module, opts *Options) *Server {
	s := &Server{module: m, listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{}, perUser: map[int]int{}, turns: map[int]*turn{}}
	if opts != nil {
		s.opts = *opts
	}
	o := &s.opts
	def(&o.MaxConnections, 1024)
	def(&o.MaxPerPeer, 256)
	def(&o.MaxSessions, 4096)
	def(&o.MaxMessage, 4<<20)
	def(&o.MaxCalls, 8)
	def(&o.MessageTime, 10*time.Second)
	def(&o.CallTime, time.Minute)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Application == nil {
		o.Application = s.application()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// application is the default of Options.Application.
func (s *Server) application() func(context.Context, Peer) (cryptoki.Module, error) {
	var busy atomic.Bool
	return func(_ context.Context, peer Peer) (cryptoki.Module, error) {
		opts := &cryptoki.ApplicationOptions{}
		if peer.Known {
			opts.Party = peer.PID
		}
		app, err := cryptoki.NewApplication(s.module, opts)
		if err == nil || !errors.Is(err, pkcs11.CKR_ARGUMENTS_BAD) {
			return app, err
		}
		if busy.Swap(true) {
			return nil, fmt.Errorf("%w: another client has the module, which cannot be shared", pkcs11.CKR_DEVICE_MEMORY)
		}
		return &lent{Module: s.module, back: func() { busy.Store(false) }}, nil
	}
}

// lent is a module that one client has for itself.
type lent struct {
	cryptoki.Module
	back func()
	once sync.Once
}

// Close closes the client's sessions, not the module.
func (l *lent) Close() error {
	ctx := context.Background()
	slots, err := l.Slots(ctx, true)
	for _, slot := range slots {
		err = errors.Join(err, l.CloseAllSessions(ctx, slot))
	}
	l.once.Do(l.back)
	return err
}

// Serve accepts connections until Shutdown or Close, and returns
// ErrServerClosed then. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		l.Close()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
		l.Close()
	}()
	for pause := 5 * time.Millisecond; ; {
		c, err := l.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			s.start(c)
			continue
		}
		s.mu.Lock()
		draining := s.draining
		s.mu.Unlock()
		if draining {
			return ErrServerClosed
		}
		if ne, ok := err.(net.Error); !ok || !ne.Timeout() && !isTemporary(err) {
			return fmt.Errorf("rpc: accept: %w", err)
		}
		// Out of descriptors: others will close some.
		s.opts.Log.Warn("cannot accept a connection", "error", err)
		select {
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		case <-s.ctx.Done():
			return ErrServerClosed
		}
	}
}

// ServeConn serves one connection, a pipe for instance, until it ends. It closes
// rw. The error is nil if the client ended the connection between two messages.
func (s *Server) ServeConn(rw io.ReadWriteCloser) error {
	c := s.admit(rw)
	if c == nil {
		rw.Close()
		return ErrServerClosed
	}
	return s.run(c)
}

func (s *Server) start(rw net.Conn) {
	if c := s.admit(rw); c != nil {
		go s.run(c)
	} else {
		rw.Close()
	}
}

// admit counts a connection in, nil if there are too many.
func (s *Server) admit(rw io.ReadWriteCloser) *conn {
	c := &conn{server: s, rw: rw, socket: hotFrom(rw), peer: peerOf(rw), sessions: make(map[uint64]cryptoki.Session)}
	if c.socket != nil {
		c.rw = c.socket
	}
	c.calls = make(chan struct{}, s.opts.MaxCalls)
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	why := ""
	switch {
	case s.draining:
		why = "the server is shutting down"
	case len(s.conns) >= s.opts.MaxConnections:
		why = "there are too many connections"
	case c.peer.Known && s.perUser[c.peer.UID] >= s.opts.MaxPerPeer:
		why = "the user has too many connections"
	}
	if why != "" {
		c.cancel()
		s.opts.Log.Warn("connection refused", "peer", c.peer.String(), "reason", why)
		return nil
	}
	s.conns[c] = struct{}{}
	c.turn = newTurn()
	if c.peer.Known {
		s.perUser[c.peer.UID]++
		if t := s.turns[c.peer.PID]; t != nil {
			c.turn = t
		}
		s.turns[c.peer.PID] = c.turn
		c.turn.conns++
	}
	s.wg.Add(1)
	if !s.watching {
		s.watching = true
		go s.watch()
	}
	return c
}

func (s *Server) run(c *conn) error {
	defer s.wg.Done()
	err := c.serve()
	s.mu.Lock()
	delete(s.conns, c)
	if c.peer.Known {
		if s.perUser[c.peer.UID]--; s.perUser[c.peer.UID] == 0 {
			delete(s.perUser, c.peer.UID)
		}
		if c.turn.conns--; c.turn.conns == 0 {
			delete(s.turns, c.peer.PID)
		}
	}
	quiet := s.draining
	s.mu.Unlock()
	if err != nil && !quiet {
		s.opts.Log.Warn("connection ended", "peer", c.peer.String(), "error", err)
	}
	return err
}

// watch ends connections whose peer does not send or does not take what it
// should in time. One goroutine for all is cheaper than a timer for each
// message.
func (s *Server) watch() {
	tick := time.NewTicker(max(s.opts.MessageTime/8, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			s.mu.Lock()
			if len(s.conns) == 0 {
				s.watching = false
				s.mu.Unlock()
				return
			}
			for c := range s.conns {
				for _, since := range []*atomic.Int64{&c.reading, &c.writing} {
					if t := since.Load(); t != 0 && now.UnixNano()-t > int64(s.opts.MessageTime) {
						c.slow.Store(true)
						c.rw.Close()
					}
				}
				if t := c.working.Load(); t != 0 && now.UnixNano()-t > int64(s.opts.CallTime) {
					c.cancel() // which ends the connection, too
				}
			}
			s.mu.Unlock()
		}
	}
}

// Connections returns how many clients there are.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Shutdown accepts no more connections, lets the calls under way end, and then
// closes the connections. When ctx ends first, it cancels what is under way and
// returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		s.cancel()
		return nil
	case <-ctx.Done():
		s.Close()
		return ctx.Err()
	}
}

// Close ends all connections at once, and the calls under way.
func (s *Server) Close() error {
	s.cancel()
	s.mu.Lock()
	s.draining = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.rw.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// A conn is a connection, and the application behind it.
type conn struct {
	server *Server
	rw     io.ReadWriteCloser
	socket *hotConn // rw, if it can be hot
	peer   Peer
	ctx    context.Context
	cancel context.CancelFunc
	calls  chan struct{} // a place for each call under way
	turn   *turn         // shared by the connections of a process

	version uint8
	own     bool
	ulong   uint8 // only the reading goroutine changes it

	lastCall time.Time // of the reading goroutine, see warm
	closely  int       // how many calls have followed each other closely

	// Since when, in Unix nanoseconds, a message is being read or written, and a
	// call answered by the reading goroutine; 0 while not.
	reading, writing, working atomic.Int64
	slow                      atomic.Bool          // the watch has closed the connection
	slowCalls                 [callMax]atomic.Bool // see apart

	state struct {
		sync.Mutex
		active   int  // calls under way
		draining bool // close when there are none
	}

	out sync.Mutex // guards writing to rw

	mu       sync.Mutex
	module   cryptoki.Module // nil before C_Initialize
	stop     chan struct{}   // closed at C_Finalize
	sessions map[uint64]cryptoki.Session
	last     uint64 // the last session handle given
}

// serve answers the calls of one client until it goes.
func (c *conn) serve() (err error) {
	defer func() {
		c.cancel()
		c.rw.Close()
		for range cap(c.calls) { // wait for the calls under way
			c.calls <- struct{}{}
		}
		if c.socket != nil && c.socket.hot() {
			c.server.hot.Add(-1)
			c.socket.release()
		}
		c.finalize()
	}()
	c.reading.Store(time.Now().UnixNano())
	var hello [1]byte
	if _, err := io.ReadFull(c.rw, hello[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // nobody wanted anything
		}
		return c.ended(fmt.Errorf("reading the version: %w", err))
	}
	c.version, c.own, c.ulong = min(hello[0], maxVersion), hello[0] == ownVersion, 8
	if !c.own {
		hello[0] = c.version
	}
	if _, err := c.rw.Write(hello[:]); err != nil {
		return c.ended(fmt.Errorf("writing the version: %w", err))
	}

	in := &input{c: c, buf: make([]byte, 1024)}
	for {
		code, body, err := in.message()
		if err != nil {
			return c.ended(err)
		}
		if err := c.dispatch(code, body); err != nil {
			return c.ended(err)
		}
	}
}

// ended is the error that a connection ends with: nil if the client just went.
func (c *conn) ended(err error) error {
	switch {
	case c.slow.Load():
		return fmt.Errorf("the peer took longer than %v for a message: %w", c.server.opts.MessageTime, errSlow)
	case errors.Is(err, errGone), c.ctx.Err() != nil, errors.Is(err, net.ErrClosed):
		return nil
	}
	return err
}

var (
	errGone = errors.New("the client is gone")
	errSlow = errors.New("slow peer")
)

// An input reads messages. Its buffer grows with what has arrived, not with what
// a header promises, and shrinks again after a large message.
type input struct {
	c        *conn
	buf      []byte
	from, to int // what has been read and not used
}

// message returns the next message, which is valid until the next call.
func (in *input) message() (code uint32, body []byte, err error) {
	if in.from == in.to {
		in.from, in.to = 0, 0
		if len(in.buf) > 64<<10 {
			in.buf = make([]byte, 1024)
		}
	}
	if err := in.need(headerLen); err != nil {
		return 0, nil, err
	}
	head := in.buf[in.from:]
	code = binary.BigEndian.Uint32(head)
	options, length := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[8:])
	total := uint64(headerLen) + uint64(options) + uint64(length)
	if limit := in.c.server.opts.MaxMessage; total > uint64(limit) {
		return 0, nil, fmt.Errorf("%w: a message of %d bytes, the limit is %d", errMessage, total, limit)
	}
	if err := in.need(int(total)); err != nil {
		return 0, nil, err
	}
	body = in.buf[in.from+headerLen+int(options) : in.from+int(total)]
	in.from += int(total)
	in.c.reading.Store(0)
	return code, body, nil
}

// need reads until there are n bytes.
func (in *input) need(n int) error {
	for in.to-in.from < n {
		if in.from > 0 && (in.to == len(in.buf) || len(in.buf)-in.from < n) {
			copy(in.buf, in.buf[in.from:in.to])
			clear(in.buf[in.to-in.from : in.to])
			in.from, in.to = 0, in.to-in.from
		}
		if in.to == len(in.buf) {
			grown := make([]byte, min(max(2*len(in.buf), 4096), max(n, 2*len(in.buf))))
			copy(grown, in.buf)
			clear(in.buf)
			in.buf = grown
		}
		begun := in.to > in.from
		if begun && in.c.reading.Load() == 0 {
			in.c.reading.Store(time.Now().UnixNano())
		}
		k, err := in.read()
		in.to += k
		switch {
		case k > 0:
		case err == io.EOF && !begun:
			return errGone
		case err == io.EOF:
			return fmt.Errorf("%w: the connection ended in the middle of one", errMessage)
		case err != nil:
			return fmt.Errorf("reading a message: %w", err)
		}
	}
	return nil
}

// read reads what is there, or waits for it.
func (in *input) read() (int, error) {
	for {
		n, err := in.c.rw.Read(in.buf[in.to:])
		if err != errCold {
			return n, err
		}
		in.c.cool()
	}
}

// drain closes the connection when no call is under way.
func (c *conn) drain() {
	c.state.Lock()
	defer c.state.Unlock()
	c.state.draining = true
	if c.state.active == 0 {
		c.rw.Close()
	}
}

func (c *conn) enter() {
	c.state.Lock()
	c.state.active++
	c.state.Unlock()
}

func (c *conn) leave() {
	c.state.Lock()
	c.state.active--
	if c.state.draining && c.state.active == 0 {
		c.rw.Close()
	}
	c.state.Unlock()
}

// dispatch answers a message, by another goroutine if it may take long.
func (c *conn) dispatch(code uint32, body []byte) error {
	r := reader{b: body, version: c.version, own: c.own, ulong: &c.ulong}
	id := callID(r.uint32())
	sig := r.array()
	if r.err != nil || id == callError || id >= callMax {
		return fmt.Errorf("%w: no call has the number %d", errMessage, id)
	}
	if string(sig) != calls[id].request {
		return fmt.Errorf("%w: %v has another signature", errMessage, id)
	}
	m := messages.Get().(*message)
	m.code, m.id, m.r = code, id, r
	now := time.Now()
	c.warm(now)
	c.enter()
	if !c.apart(id) {
		c.working.Store(now.UnixNano())
		c.answer(c.ctx, m)
		c.working.Store(0)
		clear(body)
		c.leave()
		return nil
	}
	m.r.b = bytes.Clone(r.b)
	clear(body)
	// The size of a CK_ULONG is the reading goroutine's, and templates of calls
	// that may wait do not change it.
	ulong := c.ulong
	m.r.ulong = &ulong
	select {
	case c.calls <- struct{}{}:
	case <-c.ctx.Done():
		clear(m.r.b)
		c.leave()
		return errGone
	}
	go func() {
		ctx := c.ctx
		if id != callWaitForSlotEvent {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.server.opts.CallTime)
			defer cancel()
		}
		mine := m.r.b
		c.answer(ctx, m)
		clear(mine)
		<-c.calls
		c.leave()
	}()
	return nil
}

// long is how much time a call has to take for the next one of its kind to get a
// goroutine of its own.
const long = time.Millisecond

// apart reports whether a call is answered by a goroutine of its own. That costs
// some microseconds, and gains a client with several threads that one does not
// wait for the other, and that a client that dies is noticed: so it is for calls
// that took long the last time.
func (c *conn) apart(id callID) bool {
	return mayWait[id] && (alwaysApart[id] || c.slowCalls[id].Load())
}

// answer performs a call, sends what comes of it, and frees m.
func (c *conn) answer(ctx context.Context, m *message) {
	begin := time.Now()
	id, r, w := m.id, &m.r, &m.w
	w.version, w.own, w.ulong = c.version, c.own, *r.ulong
	w.begin(id, calls[id].response)
	placed := c.takeTurn(ctx, id, begin)
	size, from := len(r.b), time.Now()
	err := c.call(ctx, id, r, w)
	if bulk[id] && id != callGenerateRandom { // which does so itself
		c.computed(ctx, size, from)
	}
	if placed {
		<-c.turn.place
	}
	if mayWait[id] {
		if took := time.Since(begin) > long; took != c.slowCalls[id].Load() {
			c.slowCalls[id].Store(took)
		}
	}
	w.ulong = *r.ulong
	var failed pkcs11.Error
	if err != nil {
		failed = pkcs11.CodeOf(err)
		clear(w.b)
		w.begin(callError, calls[callError].response)
		w.uint64(uint64(failed))
		if errors.Is(err, errMessage) {
			c.server.opts.Log.Warn("malformed call", "peer", c.peer.String(), "call", id.String(), "error", err)
		}
	}
	c.send(w.finish(m.code))
	m.free()
	if c.server.opts.Observe != nil {
		c.server.opts.Observe(Call{Name: id.String(), Peer: c.peer, Duration: time.Since(begin), Code: failed})
	}
}

// send writes an answer. An error ends the connection, which the reader notices.
func (c *conn) send(b []byte) {
	c.out.Lock()
	defer c.out.Unlock()
	c.writing.Store(time.Now().UnixNano())
	if _, err := c.rw.Write(b); err != nil {
		c.rw.Close()
	}
	c.writing.Store(0)
}
