package tpmtest

import (
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-tpm/tpm2/transport"
)

var hubs atomic.Int64

// A Hub serves a TPM to any number of processes on a socket of its own, one
// command at a time, as /dev/tpm0 would without its lock or, over a [Manager],
// as /dev/tpmrm0 does. It speaks what swtpm speaks.
type Hub struct {
	listener net.Listener
	mu       sync.Mutex
	conns    map[net.Conn]bool
	over     bool // no more are taken
}

// NewHub serves on a socket in the directory of tpm. open is called for each
// connection, and what it returns is closed with it if it has a Close; commands
// of several connections are handed on as they come. It ends with the test.
func NewHub(t testing.TB, tpm *TPM, open func() transport.TPM) *Hub {
	t.Helper()
	path := filepath.Join(tpm.Dir(), "hub"+strconv.FormatInt(hubs.Add(1), 10))
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	h := &Hub{listener: listener, conns: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.conns[conn] = true
			if h.over { // it came while the test ended
				conn.Close()
			}
			h.mu.Unlock()
			serving.Go(func() {
				h.serve(conn, open())
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		h.mu.Lock()
		h.over = true
		h.mu.Unlock()
		h.Hangup()
		serving.Wait()
	})
	return h
}

// Socket returns the path of the socket.
func (h *Hub) Socket() string { return h.listener.Addr().String() }

// Hangup closes every connection. New ones are taken.
func (h *Hub) Hangup() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for conn := range h.conns {
		conn.Close()
	}
}

func (h *Hub) serve(conn net.Conn, tpm transport.TPM) {
	defer func() {
		conn.Close()
		h.mu.Lock()
		delete(h.conns, conn)
		h.mu.Unlock()
		if c, ok := tpm.(transport.TPMCloser); ok {
			c.Close()
		}
	}()
	for {
		command, err := readMessage(conn)
		if err != nil {
			return
		}
		response, err := tpm.Send(command)
		if err != nil {
			return
		}
		if _, err := conn.Write(response); err != nil {
			return
		}
	}
}
