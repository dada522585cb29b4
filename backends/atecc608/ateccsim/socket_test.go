package ateccsim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"
)

// serve lets c be reached on a socket until the test ends.
func serve(t testing.TB, c *Chip) (address string) {
	t.Helper()
	address, _ = serveAndTell(t, c)
	return address
}

// serveAndTell is serve that tells of each connection that the server has left.
func serveAndTell(t testing.TB, c *Chip) (address string, left <-chan struct{}) {
	t.Helper()
	address = filepath.Join(t.TempDir(), "s")
	inner, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	l := teller{inner, make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return address, l.left
}

// A teller is a listener that tells when a connection is closed on this side.
type teller struct {
	net.Listener
	left chan struct{}
}

func (l teller) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return told{conn, sync.OnceFunc(func() { l.left <- struct{}{} })}, nil
}

type told struct {
	net.Conn
	tell func()
}

func (c told) Close() error {
	err := c.Conn.Close()
	c.tell()
	return err
}

func dial(t testing.TB, address string) *Remote {
	t.Helper()
	b, err := Dial(t.Context(), "unix", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// raw connects without the framing of Remote.
func raw(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// exchange writes a request and reads a reply of that length.
func exchange(t testing.TB, conn net.Conn, request, reply string) {
	t.Helper()
	if _, err := conn.Write(unhex(t, request)); err != nil {
		t.Fatal(err)
	}
	want := unhex(t, reply)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s is answered by %x (%v), want %x", request, got, err, want)
	}
}

// TestFraming is what a client sends and gets, byte for byte: 57 is W, 52 is R.
func TestFraming(t *testing.T) {
	conn := raw(t, serve(t, newChip(t, Blank(DefaultSerial), nil)))
	exchange(t, conn, "57 60 0100 00", "01") // asleep
	exchange(t, conn, "52 60 0400", "01")
	exchange(t, conn, "57 00 0100 01", "01") // the wake pulse is not acknowledged
	exchange(t, conn, "52 60 0400", "00 04113343")
	exchange(t, conn, "57 60 0800 03 07300000 00035d", "00")
	exchange(t, conn, "57 60 0100 00", "00")
	exchange(t, conn, "52 60 0100", "00 07")
	exchange(t, conn, "52 60 0800", "00 0000600383bb ffff") // as many as asked for
	exchange(t, conn, "57 35 0100 00", "01")
	exchange(t, conn, "57 60 0100 02", "00")
	exchange(t, conn, "52 60 0100", "01")
	// In pieces, and two at once.
	for _, b := range unhex(t, "57 00 0100") {
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	exchange(t, conn, "01 52 60 0400", "01 00 04113343")
}

// TestAddressAlone is a scan of the bus, and the wake pulse of drivers that send
// no byte after it.
func TestAddressAlone(t *testing.T) {
	conn := raw(t, serve(t, newChip(t, Blank(DefaultSerial), nil)))
	exchange(t, conn, "57 60 0000", "01")
	exchange(t, conn, "57 00 0000", "01")
	exchange(t, conn, "57 60 0000", "00")
	exchange(t, conn, "52 60 0000", "00")
	exchange(t, conn, "57 61 0000", "01")
	exchange(t, conn, "52 60 0400", "00 04113343")
}

// TestBadFraming ends the connection of who sends it, and no other.
func TestBadFraming(t *testing.T) {
	c := newChip(t, Blank(DefaultSerial), nil)
	address := serve(t, c)
	good := dial(t, address)
	_ = good.Tx(0, []byte{0}, nil)
	for _, request := range []string{"00000000", "58 60 0100 00", "47455420 2f20", "50 02 0000", "50 01 0100"} {
		conn := raw(t, address)
		if _, err := conn.Write(unhex(t, request)); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); len(b) != 0 {
			t.Errorf("%s is answered by %x, %v", request, b, err)
		}
	}
	r := make([]byte, 4)
	if err := good.Tx(0x60, nil, r); err != nil || !bytes.Equal(r, unhex(t, "04113343")) {
		t.Errorf("another client reads %x, %v", r, err)
	}
}

// TestClientDies leaves requests, commands and answers unfinished. The next
// client finds the chip as a master finds it on a wire, and gets along.
func TestClientDies(t *testing.T) {
	c := newChip(t, Blank(DefaultSerial), nil)
	address, left := serveAndTell(t, c)
	for _, tt := range []struct{ request, reply string }{
		{"57", ""}, {"57 60 08", ""}, {"57 60 0800 03 0730", ""}, // a part of a request never reaches the bus
		{"57 00 0100 00 57 60 0300 03 0730", "01"},              // a part of a command does
		{"57 00 0100 00 57 60 0800 03073000 0000035d 52", "01"}, // an answer is not fetched
	} {
		request := tt.request
		conn := raw(t, address)
		exchange(t, conn, request, tt.reply)
		_ = conn.Close()
		<-left // or what it has sent would come in between
		b := dial(t, address)
		_ = b.Tx(0, []byte{0}, nil)
		_ = b.Tx(0x60, []byte{wordReset}, nil)
		_ = b.Tx(0x60, []byte{wordSleep}, nil)
		_ = b.Tx(0, []byte{0}, nil)
		r := make([]byte, 7)
		if err := b.Tx(0x60, unhex(t, "03 07 30 00 00 00 03 5d"), r); err != nil || !bytes.Equal(r, unhex(t, "07 00 00 60 03 83 bb")) {
			t.Errorf("after %s: %x, %v", request, r, err)
		}
		_ = b.Tx(0x60, []byte{wordSleep}, nil)
	}
}

// TestSeveralMasters has each send whole commands. Whether an answer is still
// there to read is a matter of luck, as on a wire, but each transfer is whole.
func TestSeveralMasters(t *testing.T) {
	address := serve(t, newChip(t, Blank(DefaultSerial), nil))
	_ = dial(t, address).Tx(0, []byte{0}, nil)
	var wg sync.WaitGroup
	for range 4 {
		b := dial(t, address)
		wg.Go(func() {
			w := unhex(t, "03 07 30 00 00 00 03 5d")
			r := make([]byte, 7)
			for range 50 {
				if err := b.Tx(0x60, w, nil); err != nil {
					t.Error(err)
				}
				err := b.Tx(0x60, []byte{wordReset}, r)
				if err != nil || !bytes.Equal(r, unhex(t, "07 00 00 60 03 83 bb")) && !bytes.Equal(r, bytes.Repeat([]byte{0xFF}, 7)) {
					t.Errorf("read %x, %v", r, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestPowerSwitch(t *testing.T) {
	c := newChip(t, Blank(DefaultSerial), nil)
	b := dial(t, serve(t, c))
	_ = b.Tx(0, []byte{0}, nil)
	if err := b.PowerOff(); err != nil || !c.Off() {
		t.Fatalf("power off: %v", err)
	}
	_ = b.Tx(0, []byte{0}, nil)
	if err := b.Tx(0x60, nil, make([]byte, 4)); !errors.Is(err, ErrNACK) {
		t.Errorf("without power: %v", err)
	}
	if err := b.PowerOn(); err != nil || c.Off() {
		t.Fatalf("power on: %v", err)
	}
	_ = b.Tx(0, []byte{0}, nil)
	if err := b.Tx(0x60, nil, make([]byte, 4)); err != nil {
		t.Error(err)
	}
	// A bus that is no chip has no switch.
	client, server := net.Pipe()
	go func() { serveMaster(server, new(i2ctest.Record)); _ = server.Close() }()
	_, _ = client.Write([]byte{'P', 1, 0, 0})
	if b, err := io.ReadAll(client); len(b) != 0 || err != nil {
		t.Errorf("%x, %v", b, err)
	}
}

func TestRemoteTransfers(t *testing.T) {
	b := dial(t, serve(t, newChip(t, Blank(DefaultSerial), nil)))
	if err := b.Tx(0x80, []byte{0}, nil); err == nil || errors.Is(err, ErrNACK) {
		t.Errorf("an address of 8 bits: %v", err)
	}
	if err := b.Tx(0x60, make([]byte, 1<<16), nil); err == nil || errors.Is(err, ErrNACK) {
		t.Errorf("64 KiB: %v", err)
	}
	if err := b.Tx(0x60, nil, nil); err != nil {
		t.Errorf("no byte: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	first := b.Tx(0, []byte{0}, nil)
	if first == nil || errors.Is(first, ErrNACK) || !errors.Is(b.Tx(0, []byte{0}, nil), first) {
		t.Errorf("after Close: %v", first)
	}
}

// FuzzFraming: any bytes on the socket end in replies or in a closed connection.
func FuzzFraming(f *testing.F) {
	f.Add([]byte("W\x00\x01\x00\x00R\x60\x04\x00"))
	f.Add([]byte("W\x00\x00\x00W\x60\x08\x00\x03\x07\x30\x00\x00\x00\x03\x5dR\x60\x07\x00P\x00\x00\x00"))
	f.Add([]byte("R\x60\xff\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := newChip(t, Blank(DefaultSerial), nil)
		out := new(bytes.Buffer)
		serveMaster(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(in), out}, c)
		if out.Len() > 1<<16*(1+len(in)/4) {
			t.Errorf("%d bytes are answered by %d", len(in), out.Len())
		}
	})
}
