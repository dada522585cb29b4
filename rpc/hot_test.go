//go:build unix

package rpc

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// heated returns a server and a connection to it that is hot.
func heated(t testing.TB, opts Options) (*Server, *net.UnixConn, *lines) {
	t.Helper()
	procs := runtime.GOMAXPROCS(4) // there are places also with one processor
	t.Cleanup(func() { runtime.GOMAXPROCS(procs) })
	path, log, s := listening(t, opts)
	c := patient(t, path)
	heat(t, s, c)
	return s, c, log
}

// heat calls until the connection is hot, the only one that is.
func heat(t testing.TB, s *Server, c net.Conn) {
	t.Helper()
	var hot int32
	for ; hot == 0; hot = s.hot.Load() { // until warmCalls in a row have come quickly
		require.Zero(t, codeIn(t, exchange(t, c, request(callGetInfo, nil))))
	}
	require.EqualValues(t, 1, hot)
}

// A connection whose calls follow each other is hot, one that rests is not, and it
// may change as often as it likes.
func TestHot(t *testing.T) {
	s, c, _ := heated(t, Options{})
	for range 5 {
		require.Eventually(t, func() bool { return s.hot.Load() == 0 }, wait, time.Millisecond)
		heat(t, s, c)
	}
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return s.Connections() == 0 && s.hot.Load() == 0 }, wait, time.Millisecond)
}

// There are fewer hot connections than processors; the others are served too.
func TestHotPlaces(t *testing.T) {
	s, c, _ := heated(t, Options{})
	runtime.GOMAXPROCS(1)
	require.Zero(t, hotPlaces())
	require.Eventually(t, func() bool { return s.hot.Load() == 0 }, wait, time.Millisecond)
	for range 10 * warmCalls {
		require.Zero(t, codeIn(t, exchange(t, c, request(callGetInfo, nil))))
		require.Zero(t, s.hot.Load())
	}
}

// What ends a connection ends a hot one, whose thread sleeps in the kernel.
func TestHotEnds(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *Server, c *net.UnixConn){
		"the client goes": func(_ *testing.T, _ *Server, c *net.UnixConn) { c.Close() },
		"the client goes in the middle of a message": func(_ *testing.T, _ *Server, c *net.UnixConn) {
			c.Write(request(callGetInfo, nil)[:5])
			c.Close()
		},
		"the client goes before the answer": func(_ *testing.T, _ *Server, c *net.UnixConn) {
			c.Write(request(callGetInfo, nil))
			c.Close()
		},
		"the server shuts down": func(t *testing.T, s *Server, _ *net.UnixConn) { require.NoError(t, s.Shutdown(t.Context())) },
		"the server closes":     func(t *testing.T, s *Server, _ *net.UnixConn) { require.NoError(t, s.Close()) },
		"half a message":        func(_ *testing.T, _ *Server, c *net.UnixConn) { c.Write(request(callGetInfo, nil)[:15]) },
		"answers are not taken": func(_ *testing.T, _ *Server, c *net.UnixConn) {
			go func() {
				msg := request(callGetInfo, nil)
				for {
					if _, err := c.Write(msg); err != nil {
						return
					}
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c, _ := heated(t, Options{MessageTime: 200 * time.Millisecond})
			end(t, s, c)
			require.Eventually(t, func() bool { return s.Connections() == 0 && s.hot.Load() == 0 }, wait, time.Millisecond)
		})
	}
}

// Calls that a client with several threads sends together, some of which are
// answered by goroutines of their own, all have their answers.
func TestHotPipeline(t *testing.T) {
	_, c, _ := heated(t, Options{})
	const n = 200
	go func() {
		for i := range n {
			msg := request(callGetInfo, nil)
			if i%10 == 0 {
				msg = request(callLogin, func(w *writer) { w.uint64(99); w.uint64(1); w.bytes([]byte("1234")) })
			}
			c.Write(msg[:15])
			c.Write(msg[15:])
		}
	}()
	for range n {
		head := make([]byte, headerLen)
		_, err := io.ReadFull(c, head)
		require.NoError(t, err)
		body := make([]byte, int(head[10])<<8|int(head[11]))
		_, err = io.ReadFull(c, body)
		require.NoError(t, err)
		codeIn(t, body)
	}
}
