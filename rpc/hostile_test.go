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
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/stretchr/testify/require"
)

// wait is how long something may take that must happen. It takes milliseconds on a
// machine that has nothing else to do.
const wait = time.Minute

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(b) }
func (l *lines) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// listening serves a module, and returns the socket and the log.
func listening(t testing.TB, opts Options) (path string, log *lines, s *Server) {
	t.Helper()
	log = &lines{}
	opts.Log = slog.New(slog.NewTextHandler(log, nil))
	path = filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	s = NewServer(softModule(t), &opts)
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return path, log, s
}

func connect(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * wait))
	return c
}

// exchange sends a message and returns the body of the answer.
func exchange(t testing.TB, c net.Conn, msg []byte) []byte {
	t.Helper()
	body, err := answered(t, c, msg)
	require.NoError(t, err)
	return body
}

func answered(t testing.TB, c net.Conn, msg []byte) ([]byte, error) {
	t.Helper()
	if _, err := c.Write(msg); err != nil {
		return nil, err
	}
	head := make([]byte, headerLen)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, err
	}
	require.EqualValues(t, 7, binary.BigEndian.Uint32(head))
	body := make([]byte, binary.BigEndian.Uint32(head[8:]))
	_, err := io.ReadFull(c, body)
	return body, err
}

func initialized(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c := connect(t, path)
	require.NoError(t, initialize(t, c))
	return c
}

// patient is initialized for a server that soon gives slow peers up: if it takes the
// test for one, it is asked again.
func patient(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c := connect(t, path)
	err := initialize(t, c)
	for tries := 1; err != nil && tries < 100; tries++ {
		t.Logf("given up: %v", err)
		c = connect(t, path)
		err = initialize(t, c)
	}
	require.NoError(t, err)
	return c
}

// initialize says hello. The error is that of the connection.
func initialize(t testing.TB, c net.Conn) error {
	t.Helper()
	msg := hello()
	version := make([]byte, 1)
	if _, err := c.Write(msg[:1]); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, version); err != nil {
		return err
	}
	require.EqualValues(t, 2, version[0])
	body, err := answered(t, c, msg[1:])
	if err == nil {
		require.Zero(t, codeIn(t, body))
	}
	return err
}

// codeIn is the CKR code of an answer.
func codeIn(t testing.TB, body []byte) pkcs11.Error {
	t.Helper()
	r := &reader{b: body}
	id, sig := callID(r.uint32()), r.array()
	require.NoError(t, r.err)
	require.Equal(t, calls[id].response, string(sig))
	if id != callError {
		return 0
	}
	return pkcs11.Error(r.uint64())
}

// ended asserts that the server hangs up.
func ended(t testing.TB, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
}

// Messages that are none end the connection of who sent them, with one line in
// the log; everybody else goes on.
func TestGarbage(t *testing.T) {
	path, log, _ := listening(t, Options{MaxMessage: 1 << 20})
	other := initialized(t, path)
	header := func(options, length uint32, body ...byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, 7)
		b = binary.BigEndian.AppendUint32(b, options)
		return append(binary.BigEndian.AppendUint32(b, length), body...)
	}
	wrongSignature := request(callGetInfo, nil)
	copy(wrongSignature[headerLen+4:], []byte{0, 0, 0, 9})
	for name, msg := range map[string][]byte{
		"too long":             header(0, 1<<20),
		"too long by options":  header(1<<31, 1<<31),
		"all ones":             bytes.Repeat([]byte{0xff}, 100),
		"empty":                header(0, 0),
		"no signature":         header(0, 4, 0, 0, 0, 3),
		"unknown call":         header(0, 8, 0, 0, 1, 0, 0, 0, 0, 0),
		"the error call":       header(0, 8, 0, 0, 0, 0, 0, 0, 0, 0),
		"another signature":    wrongSignature,
		"a signature cut off":  header(0, 8, 0, 0, 0, 3, 0, 0, 0, 200),
		"HTTP":                 []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"a header and the end": header(0, 100),
	} {
		t.Run(name, func(t *testing.T) {
			before := strings.Count(log.String(), "\n")
			c := initialized(t, path)
			_, err := c.Write(msg)
			require.NoError(t, err)
			require.NoError(t, c.CloseWrite())
			ended(t, c)
			require.Eventually(t, func() bool { return strings.Count(log.String(), "\n") == before+1 }, wait, time.Millisecond, "one line:\n%s", log)
			require.Zero(t, codeIn(t, exchange(t, other, request(callGetInfo, nil))), "the other client")
		})
	}
}

// Arguments that are none are CKR_DEVICE_ERROR for the call, and calls out of
// order have the code that they have in C.
func TestBadCalls(t *testing.T) {
	path, _, _ := listening(t, Options{})
	c := connect(t, path)
	_, err := c.Write([]byte{2})
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, codeIn(t, exchange(t, c, request(callGetInfo, nil))))
	require.Equal(t, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, codeIn(t, exchange(t, c, request(callFinalize, nil))))
	require.Equal(t, pkcs11.CKR_DEVICE_ERROR, codeIn(t, exchange(t, c, request(callInitialize, func(w *writer) {
		w.bytes([]byte("another service"))
		w.byte(0)
		w.bytes(nil)
	}))))
	init := hello()[1:]
	require.Zero(t, codeIn(t, exchange(t, c, init)))
	require.Equal(t, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED, codeIn(t, exchange(t, c, init)))

	session := func() uint64 {
		body := exchange(t, c, request(callOpenSession, func(w *writer) { w.uint64(1); w.uint64(6) }))
		require.Zero(t, codeIn(t, body))
		return binary.BigEndian.Uint64(body[len(body)-8:])
	}
	h := session()
	for name, msg := range map[string][]byte{
		"no arguments":       request(callSignInit, nil),
		"half a number":      request(callGetSessionInfo, func(w *writer) { w.uint32(0) }),
		"too many arguments": request(callLogout, func(w *writer) { w.uint64(h); w.byte(1) }),
		"a long template":    request(callFindObjectsInit, func(w *writer) { w.uint64(h); w.uint32(1 << 30) }),
		"a long array":       request(callDigestUpdate, func(w *writer) { w.uint64(h); w.byte(1); w.uint32(1 << 30) }),
		"a long list": request(callFindObjectsInit, func(w *writer) {
			w.uint64(h)
			w.uint32(1)
			w.uint32(0x40000600)
			w.byte(1)
			w.uint32(8)
			w.uint32(1 << 29)
		}),
		"templates too deep": request(callFindObjectsInit, func(w *writer) { w.uint64(h); nest(w, 9) }),
		"questions too deep": request(callGetAttributeValue, func(w *writer) { w.uint64(h); w.uint64(1); ask(w, 10) }),
		"a wrong counter": request(callEncryptInit, func(w *writer) {
			w.uint64(h)
			w.uint32(0x1086)
			w.byte(1)
			w.uint64(1)
			w.array([]byte{1})
			w.uint64(1)
		}),
		"a label of 31 bytes": request(callInitToken2, func(w *writer) { w.uint64(1); w.bytes(nil); w.padded("x", 31) }),
	} {
		require.Equal(t, pkcs11.CKR_DEVICE_ERROR, codeIn(t, exchange(t, c, msg)), name)
	}
	require.Equal(t, pkcs11.CKR_SESSION_HANDLE_INVALID, codeIn(t, exchange(t, c, request(callLogout, func(w *writer) { w.uint64(h + 1) }))))
	require.Equal(t, pkcs11.CKR_OPERATION_NOT_INITIALIZED, codeIn(t, exchange(t, c, request(callSignFinal, func(w *writer) { w.uint64(h); w.uint32(100) }))))
	for _, id := range []callID{callGetOperationState, callMessageSignFinal, callSignRecoverInit, callEncapsulateKey, callAsyncGetID} {
		require.Equal(t, pkcs11.CKR_FUNCTION_NOT_SUPPORTED, codeIn(t, exchange(t, c, request(id, func(w *writer) { w.uint64(h) }))), id)
	}
	require.Equal(t, pkcs11.CKR_NO_EVENT, codeIn(t, exchange(t, c, request(callWaitForSlotEvent, func(w *writer) { w.uint64(1) }))))
	// After C_Finalize handles are void, and C_Initialize begins anew.
	require.Zero(t, codeIn(t, exchange(t, c, request(callFinalize, nil))))
	require.Zero(t, codeIn(t, exchange(t, c, init)))
	require.Equal(t, pkcs11.CKR_SESSION_HANDLE_INVALID, codeIn(t, exchange(t, c, request(callLogout, func(w *writer) { w.uint64(h) }))))
	require.NotEqual(t, h, session(), "handles are not used again")
}

func nest(w *writer, depth int) {
	w.uint32(1)
	w.uint32(uint32(pkcs11.CKA_WRAP_TEMPLATE))
	w.byte(1)
	w.uint32(24)
	if depth > 0 {
		nest(w, depth-1)
	} else {
		w.uint32(0)
	}
}

func ask(w *writer, depth int) {
	w.uint32(1)
	w.uint32(uint32(pkcs11.CKA_WRAP_TEMPLATE))
	w.uint32(24)
	if depth > 0 {
		ask(w, depth-1)
	} else {
		w.uint32(0)
	}
}

// A peer that begins a message and does not go on, or that does not take its
// answers, is given up; one that rests between messages is not.
func TestSlow(t *testing.T) {
	path, log, s := listening(t, Options{MessageTime: 200 * time.Millisecond})
	resting := patient(t, path)
	for name, behave := range map[string]func(c *net.UnixConn){
		"no version":     func(*net.UnixConn) {},
		"half a header":  func(c *net.UnixConn) { c.Write(hello()[:7]) },
		"half a message": func(c *net.UnixConn) { c.Write(hello()[:40]) },
		"takes nothing": func(c *net.UnixConn) {
			c.Write(hello())
			c.Write(request(callOpenSession, func(w *writer) { w.uint64(1); w.uint64(6) }))
			for range 100 {
				if _, err := c.Write(request(callGenerateRandom, func(w *writer) { w.uint64(1); w.uint32(1 << 20) })); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := strings.Count(log.String(), "slow peer")
			c := connect(t, path)
			go behave(c)
			require.Eventually(t, func() bool {
				return s.Connections() == 1 && strings.Count(log.String(), "slow peer") == before+1
			}, wait, time.Millisecond)
			c.Close()
		})
	}
	require.Zero(t, codeIn(t, exchange(t, resting, request(callGetInfo, nil))))
}

// A client that dies in the middle of each call leaves nothing behind.
func TestClientDies(t *testing.T) {
	var open sync.WaitGroup
	m := softModule(t)
	path, _, s := listening(t, Options{Application: func(context.Context, Peer) (cryptoki.Module, error) {
		app, err := cryptoki.NewApplication(m, nil)
		if err == nil {
			open.Add(1)
			app = &counted{app, open.Done}
		}
		return app, err
	}})
	for id := callGetInfo; id < callMax; id++ {
		for _, whole := range []bool{false, true} {
			c := initialized(t, path)
			msg := request(callOpenSession, func(w *writer) { w.uint64(1); w.uint64(6) })
			require.Zero(t, codeIn(t, exchange(t, c, msg)))
			msg = request(id, func(w *writer) { w.uint64(1); w.uint64(1); w.uint64(1) })
			if !whole {
				msg = msg[:len(msg)-1]
			}
			c.Write(msg)
			c.Close()
		}
	}
	require.Eventually(t, func() bool { return s.Connections() == 0 }, wait, time.Millisecond)
	open.Wait()
	info, err := m.TokenInfo(t.Context(), 1)
	require.NoError(t, err)
	require.Zero(t, info.SessionCount)
}

type counted struct {
	cryptoki.Module
	closed func()
}

func (c *counted) Close() error { defer c.closed(); return c.Module.Close() }

// Limits are for each client, and one that reaches them is refused alone.
func TestLimits(t *testing.T) {
	path, log, s := listening(t, Options{MaxConnections: 3, MaxSessions: 2, MaxMessage: 1 << 16})
	a := initialized(t, path)
	open := request(callOpenSession, func(w *writer) { w.uint64(1); w.uint64(6) })
	require.Zero(t, codeIn(t, exchange(t, a, open)))
	require.Zero(t, codeIn(t, exchange(t, a, open)))
	require.Equal(t, pkcs11.CKR_SESSION_COUNT, codeIn(t, exchange(t, a, open)))
	require.Equal(t, pkcs11.CKR_ARGUMENTS_BAD, codeIn(t, exchange(t, a, request(callGenerateRandom, func(w *writer) { w.uint64(1); w.uint32(1 << 30) }))))
	b := initialized(t, path)
	require.Zero(t, codeIn(t, exchange(t, b, open)))
	initialized(t, path)
	refused := connect(t, path)
	ended(t, refused)
	require.Contains(t, log.String(), "too many connections")
	require.NoError(t, b.Close())
	require.Eventually(t, func() bool { return s.Connections() == 2 }, wait, time.Millisecond)
	initialized(t, path)
}

// A length that a header or an array claims costs no memory before it is there.
func TestClaimsCostNothing(t *testing.T) {
	path, _, _ := listening(t, Options{MaxMessage: 1 << 30})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 100 {
		c := initialized(t, path)
		b := binary.BigEndian.AppendUint32(nil, 7)
		b = binary.BigEndian.AppendUint32(b, 0)
		c.Write(binary.BigEndian.AppendUint32(b, 1<<29))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(16<<20))
}

// A server refuses a client with the code of the reason.
func TestRefused(t *testing.T) {
	path, log, _ := listening(t, Options{Application: func(context.Context, Peer) (cryptoki.Module, error) {
		return nil, fmt.Errorf("%w: not on Sundays", pkcs11.CKR_FUNCTION_REJECTED)
	}})
	_, err := Dial(t.Context(), path, nil)
	require.ErrorIs(t, err, pkcs11.CKR_FUNCTION_REJECTED)
	require.Contains(t, log.String(), "not on Sundays")
}

// The end of the server: calls under way finish, idle clients are let go.
func TestShutdown(t *testing.T) {
	entered, resume := make(chan struct{}), make(chan struct{})
	m := softModule(t)
	path, _, s := listening(t, Options{Application: func(context.Context, Peer) (cryptoki.Module, error) {
		return &holding{m, entered, resume}, nil
	}})
	idle := initialized(t, path)
	busy := initialized(t, path)
	done := make(chan pkcs11.Error, 1)
	go func() {
		done <- codeIn(t, exchange(t, busy, request(callInitToken2, func(w *writer) { w.uint64(1); w.bytes(nil); w.padded("x", 32) })))
	}()
	<-entered
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(t.Context()) }()
	ended(t, idle)
	select {
	case <-down:
		t.Fatal("it did not wait for the call")
	default:
	}
	close(resume)
	require.Zero(t, <-done)
	require.NoError(t, <-down)
	ended(t, busy)
	_, err := net.Dial("unix", path)
	require.Error(t, err)
}

type holding struct {
	cryptoki.Module
	entered, resume chan struct{}
}

func (h *holding) InitToken(context.Context, pkcs11.SlotID, []byte, string) error {
	close(h.entered)
	<-h.resume
	return nil
}

func (h *holding) Close() error { return nil }

// A foreign module, which cannot be shared, is one client's at a time.
func TestLent(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	s := NewServer(&foreign{softModule(t)}, nil)
	go s.Serve(l)
	defer s.Close()
	a, err := Dial(t.Context(), l.Addr().String(), nil)
	require.NoError(t, err)
	_, err = a.OpenSession(t.Context(), 1, 6)
	require.NoError(t, err)
	_, err = Dial(t.Context(), l.Addr().String(), nil)
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_MEMORY)
	require.NoError(t, a.Close())
	require.Eventually(t, func() bool { return s.Connections() == 0 }, wait, time.Millisecond)
	b, err := Dial(t.Context(), l.Addr().String(), nil)
	require.NoError(t, err)
	info, err := b.TokenInfo(t.Context(), 1)
	require.NoError(t, err)
	require.Zero(t, info.SessionCount, "the sessions of the client before are closed")
	require.NoError(t, b.Close())
}

type foreign struct{ cryptoki.Module }
