// Package i2csock reaches an I²C bus through a socket: that of a simulated chip,
// or of another program that owns the bus.
//
// A request is 'W' or 'R', the 7-bit address, a length of two bytes, low one
// first, and for W that many bytes. The reply is one byte (0 acknowledged, 1 not
// acknowledged, 2 the transfer failed otherwise) and, for an R that was
// acknowledged, exactly the bytes asked for. A length of 0 is the address alone
// between a start and a stop condition. 'P' takes the power of a simulated chip
// away (0 instead of an address) or gives it (1); its length is 0.
package i2csock

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// The replies.
const (
	replyACK  = 0
	replyNACK = 1
)

// ErrNACK is the error of a transfer that nobody acknowledged: the chip is
// asleep or busy, the address is another, or it was a wake pulse.
var ErrNACK = errors.New("no acknowledge on the I²C bus")

// ErrBus is the error of a transfer on a bus that is stuck.
var ErrBus = errors.New("the I²C bus is stuck")

// patience is how long a transfer may take, which a context does not end. The slowest
// takes some milliseconds.
var patience = 30 * time.Second

// A Remote is a bus at the other end of a socket. Its methods are safe for
// concurrent use.
type Remote struct {
	mu   sync.Mutex
	conn net.Conn
	r    *bufio.Reader
	name string
	err  error // of the connection; it stays
}

var _ i2c.BusCloser = (*Remote)(nil)

// Dial connects to a bus: network is "unix" or "tcp".
func Dial(ctx context.Context, network, address string) (*Remote, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("i2csock: is atecc-sim running there?: %w", err)
	}
	return &Remote{conn: conn, r: bufio.NewReader(conn), name: network + ":" + address}, nil
}

// String is the address of the socket.
func (b *Remote) String() string { return b.name }

// SetSpeed always fails: the speed is set where the chip runs, as on Linux.
func (b *Remote) SetSpeed(physic.Frequency) error {
	return fmt.Errorf("i2csock: %s: set speed: %w", b.name, errors.ErrUnsupported)
}

// Tx is one transfer. Writing and reading in one are two on a socket, with a
// stop between them. No acknowledge is ErrNACK. No answer within 30 seconds is an error
// that wraps os.ErrDeadlineExceeded, after which the bus is of no more use.
func (b *Remote) Tx(addr uint16, w, r []byte) error {
	if addr > 0x7F || len(w) > 0xFFFF || len(r) > 0xFFFF {
		return fmt.Errorf("i2csock: %s: transfer of %d and %d bytes at address %#x: too long, or not a 7-bit address", b.name, len(w), len(r), addr)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(w) > 0 {
		if err := b.transfer('W', addr, len(w), w, nil); err != nil {
			return err
		}
	}
	if len(r) > 0 {
		return b.transfer('R', addr, len(r), nil, r)
	}
	return nil
}

func (b *Remote) transfer(kind byte, addr uint16, n int, w, r []byte) error {
	if b.err != nil {
		return b.err
	}
	q := append(make([]byte, 0, 4+len(w)), kind, byte(addr), byte(n), byte(n>>8))
	b.conn.SetDeadline(time.Now().Add(patience))
	_, err := b.conn.Write(append(q, w...))
	var reply byte
	if err == nil {
		reply, err = b.r.ReadByte()
	}
	if err == nil && reply == replyACK {
		_, err = io.ReadFull(b.r, r)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("no answer within %v; does atecc-sim still run there, or does another program listen?: %w", patience, err)
	}
	if err != nil {
		b.err = fmt.Errorf("i2csock: %s: %w", b.name, err)
		return b.err
	}
	switch reply {
	case replyACK:
		return nil
	case replyNACK:
		return ErrNACK
	}
	return ErrBus
}

// PowerOff takes the chip's power away, with which it is gone at once.
func (b *Remote) PowerOff() error { return b.power(0) }

// PowerOn gives the chip power.
func (b *Remote) PowerOn() error { return b.power(1) }

func (b *Remote) power(on uint16) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.transfer('P', on, 0, nil, nil)
}

// Close closes the connection.
func (b *Remote) Close() error { return b.conn.Close() }
