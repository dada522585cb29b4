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

	"github.com/go-cryptoki/cryptoki/backends/atecc608/i2csock"
)

// The replies on a socket; its framing is that of package i2csock.
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

// A Remote is a bus at the other end of a socket that Serve answers.
type Remote = i2csock.Remote

// Dial connects to a bus: network is "unix" or "tcp".
func Dial(ctx context.Context, network, address string) (*Remote, error) {
	return i2csock.Dial(ctx, network, address)
}
