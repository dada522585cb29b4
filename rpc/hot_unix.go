//go:build unix

package rpc

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A hotConn is a connection that is read in one of two ways. As a rule the poller
// of the Go runtime waits for it, which costs no thread. While its client makes
// one call after another it is hot: taken from the poller, with a thread that
// sleeps in read(2) and that the kernel wakes without a detour by others. That
// halves what a call costs.
type hotConn struct {
	conn net.Conn // nil while hot
	file *os.File // while hot, in blocking mode
	fd   int      // that of file

	mu     sync.Mutex // for Close, and for what changes the above
	closed bool
}

// hotFrom returns rw as one that can be hot, or nil if it cannot.
func hotFrom(rw io.ReadWriteCloser) *hotConn {
	if c, ok := rw.(*net.UnixConn); ok {
		return &hotConn{conn: c}
	}
	return nil
}

// heat makes the connection hot. Nobody may read or write meanwhile.
func (h *hotConn) heat() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	raw, err := h.conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	fd := -1
	if cerr := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return cerr
	}
	if err != nil {
		return err
	}
	wait := unix.NsecToTimeval(int64(coolTime))
	if err := errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait), unix.SetNonblock(fd, false)); err != nil {
		unix.Close(fd)
		return err
	}
	h.conn.Close()
	h.conn, h.file, h.fd = nil, os.NewFile(uintptr(fd), ""), fd
	return nil
}

// cool gives the connection back to the poller. After an error it is still hot.
func (h *hotConn) cool() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	conn, err := net.FileConn(h.file) // of a copy
	if err != nil {
		return err
	}
	h.file.Close()
	h.conn, h.file = conn, nil
	return nil
}

func (h *hotConn) hot() bool { return h.conn == nil }

func (h *hotConn) Read(b []byte) (int, error) {
	if !h.hot() {
		return h.conn.Read(b)
	}
	for {
		n, err := unix.Read(h.fd, b)
		switch {
		case n > 0:
			return n, nil
		case n == 0:
			return 0, io.EOF
		case err == unix.EAGAIN:
			return 0, errCold
		case err != unix.EINTR: // a read with a time limit is not begun again
			return 0, err
		}
	}
}

func (h *hotConn) Write(b []byte) (done int, err error) {
	if !h.hot() {
		return h.conn.Write(b)
	}
	for done < len(b) {
		n, err := unix.Write(h.fd, b[done:])
		if err != nil && err != unix.EINTR {
			return done, err
		}
		done += max(n, 0)
	}
	return done, nil
}

// Close ends the connection; who reads or writes is woken.
func (h *hotConn) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	h.closed = true
	if h.conn != nil {
		return h.conn.Close()
	}
	return unix.Shutdown(h.fd, unix.SHUT_RDWR)
}

// release gives back what a hot connection has, after Close and when nobody reads
// or writes any more.
func (h *hotConn) release() { h.file.Close() }
