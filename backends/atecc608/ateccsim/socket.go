package ateccsim

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// The framing on a socket. A request is 'W' or 'R', the 7-bit address, a length
// of two bytes, low one first, and for W that many bytes. The reply is one of
// these and, for an R that was acknowledged, exactly the bytes asked for. A length
// of 0 is the address alone between a start and a stop condition.
//
// 'P' takes the chip's power away (0 instead of an address) or gives it (1); its
// length is 0.
const (
	replyACK  = 0
	replyNACK = 1
	replyBus  = 2 // the transfer failed otherwise
)

// Serve lets every connection that l accepts be a master of the bus, until ctx
// is done or l fails, and closes l and the connections. It returns nil if ctx
// ended it.
func Serve(ctx context.Context, l net.Listener, bus i2c.Bus) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		conn, err := l.Accept()
		if err != nil {
			stopped := ctx.Err() != nil
			_ = l.Close()
			if stopped {
				return nil
			}
			return fmt.Errorf("ateccsim: serve: %w", err)
		}
		wg.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			defer conn.Close()
			serveMaster(conn, bus)
		})
	}
}

// serveMaster ends when the client goes or sends what is no request.
func serveMaster(conn io.ReadWriter, bus i2c.Bus) {
	r := bufio.NewReader(conn)
	var head [4]byte
	var buf []byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := int(binary.LittleEndian.Uint16(head[2:]))
		if cap(buf) < n+1 {
			buf = make([]byte, n+1)
		}
		// The reply is in front of the data, so that both go in one write.
		reply, data := buf[:1], buf[1:n+1]
		var err error
		switch head[0] {
		case 'W':
			if _, err := io.ReadFull(r, data); err != nil {
				return
			}
			err = busTx(bus, uint16(head[1]), 'W', data)
			clear(data)
			data = nil
		case 'R':
			err = busTx(bus, uint16(head[1]), 'R', data)
		case 'P':
			if n != 0 || !switchPower(bus, head[1]) {
				return
			}
		default:
			return
		}
		switch {
		case err == nil:
			reply[0] = replyACK
			reply = append(reply, data...)
		case errors.Is(err, ErrNACK):
			reply[0] = replyNACK
		default:
			reply[0] = replyBus
		}
		_, err = conn.Write(reply)
		clear(reply)
		if err != nil {
			return
		}
	}
}

// busTx is one transfer; without data it is the address alone, which no Tx is.
func busTx(bus i2c.Bus, addr uint16, kind byte, data []byte) error {
	if c, ok := bus.(*Chip); ok && len(data) == 0 {
		return c.probe(addr, kind == 'R')
	}
	if kind == 'W' {
		return bus.Tx(addr, data, nil)
	}
	return bus.Tx(addr, nil, data)
}

// switchPower reports whether there is a power switch in that position.
func switchPower(bus i2c.Bus, on byte) bool {
	p, ok := bus.(interface {
		PowerOn()
		PowerOff()
	})
	if !ok || on > 1 {
		return false
	}
	if on == 1 {
		p.PowerOn()
	} else {
		p.PowerOff()
	}
	return true
}

// A Remote is a bus at the other end of a socket that Serve answers. Its methods
// are safe for concurrent use.
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
		return nil, fmt.Errorf("ateccsim: is atecc-sim running there?: %w", err)
	}
	return &Remote{conn: conn, r: bufio.NewReader(conn), name: network + ":" + address}, nil
}

// String is the address of the socket.
func (b *Remote) String() string { return b.name }

// SetSpeed always fails: the speed is set where the chip runs, as on Linux.
func (b *Remote) SetSpeed(physic.Frequency) error {
	return fmt.Errorf("ateccsim: %s: set speed: %w", b.name, errors.ErrUnsupported)
}

// Tx is one transfer. Writing and reading in one are two on a socket, with a
// stop between them. No acknowledge is ErrNACK.
func (b *Remote) Tx(addr uint16, w, r []byte) error {
	if addr > 0x7F || len(w) > 0xFFFF || len(r) > 0xFFFF {
		return fmt.Errorf("ateccsim: %s: transfer of %d and %d bytes at address %#x: too long, or not a 7-bit address", b.name, len(w), len(r), addr)
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
	_, err := b.conn.Write(append(q, w...))
	var reply byte
	if err == nil {
		reply, err = b.r.ReadByte()
	}
	if err == nil && reply == replyACK {
		_, err = io.ReadFull(b.r, r)
	}
	if err != nil {
		b.err = fmt.Errorf("ateccsim: %s: %w", b.name, err)
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

// PowerOff takes the chip's power away, as [Chip.PowerOff] does.
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
