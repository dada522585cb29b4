//go:build !unix

package rpc

import (
	"errors"
	"io"
	"net"
)

// A hotConn is a connection that can be read without the runtime's poller; there
// is none on this system.
type hotConn struct{ net.Conn }

func hotFrom(io.ReadWriteCloser) *hotConn { return nil }
func (*hotConn) heat() error              { return errors.ErrUnsupported }
func (*hotConn) cool() error              { return errors.ErrUnsupported }
func (*hotConn) hot() bool                { return false }
func (*hotConn) release()                 {}
