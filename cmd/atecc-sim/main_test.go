package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
)

// start runs the program until the returned function stops it, which returns its
// standard output.
func start(t *testing.T, args ...string) (bus func() *ateccsim.Remote, stop func() string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- run(ctx, append(args, "--listen", "unix:"+socket), &out, &once{c: ready})
	}()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatal(err)
	}
	bus = func() *ateccsim.Remote {
		b, err := ateccsim.Dial(t.Context(), "unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	stop = func() string {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return out.String()
	}
	return bus, stop
}

// once closes a channel at the first write: the program says that it listens.
type once struct {
	c    chan struct{}
	done bool
}

func (o *once) Write(b []byte) (int, error) {
	if !o.done {
		o.done = true
		close(o.c)
	}
	return len(b), nil
}

// command sends a frame to an awake chip and reads n bytes.
func command(t *testing.T, b *ateccsim.Remote, frame []byte, n int) []byte {
	t.Helper()
	r := make([]byte, n)
	if err := b.Tx(0x60, append([]byte{3}, frame...), r); err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	wakeToken  = []byte{0x04, 0x11, 0x33, 0x43}
	success    = []byte{0x04, 0x00, 0x03, 0x40}
	execError  = []byte{0x04, 0x0f, 0x23, 0x42}
	lockConfig = []byte{0x07, 0x17, 0x80, 0, 0, 0x39, 0x8d}
	revision   = []byte{0x07, 0x30, 0, 0, 0, 0x03, 0x5d}
)

func wake(t *testing.T, b *ateccsim.Remote) {
	t.Helper()
	if err := b.Tx(0, []byte{0}, nil); !errors.Is(err, ateccsim.ErrNACK) {
		t.Fatalf("wake pulse: %v", err)
	}
	r := make([]byte, 4)
	if err := b.Tx(0x60, nil, r); err != nil || !bytes.Equal(r, wakeToken) {
		t.Fatalf("wake token % x, %v", r, err)
	}
}

// TestChipIsKept locks a chip, ends the program and finds it locked.
func TestChipIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chip")
	bus, stop := start(t, "--state", file, "--blank", "--trace")
	b := bus()
	wake(t, b)
	if r := command(t, b, lockConfig, 4); !bytes.Equal(r, success) {
		t.Fatalf("lock: % x", r)
	}
	// A second master finds the chip awake.
	if r := command(t, bus(), revision, 7); r[0] != 7 {
		t.Fatalf("info: % x", r)
	}
	if err := b.SetSpeed(1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SetSpeed: %v", err)
	}
	out := stop()
	for _, want := range []string{"wake pulse", "Lock configuration", "00: success", "Info p1=00", "W 60 [03 07 17 80 00 00 39 8d]"} {
		if !strings.Contains(out, want) {
			t.Errorf("trace has no %q:\n%s", want, out)
		}
	}
	bus, stop = start(t, "--state", file, "--json")
	b = bus()
	wake(t, b)
	if r := command(t, b, lockConfig, 4); !bytes.Equal(r, execError) {
		t.Errorf("second lock: % x", r)
	}
	var l line
	for s := range strings.Lines(stop()) {
		if err := json.Unmarshal([]byte(s), &l); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
	}
	if l.Read != "040f2342" || l.Result != "ack" || l.Note != "0f: execution error" {
		t.Errorf("last line %+v", l)
	}
}

func TestFaultsFlag(t *testing.T) {
	bus, stop := start(t, "--faults", "drop-wake:at=1,nack:at=2")
	b := bus()
	_ = b.Tx(0, []byte{0}, nil)
	if err := b.Tx(0x60, nil, make([]byte, 4)); !errors.Is(err, ateccsim.ErrNACK) {
		t.Errorf("after a dropped wake: %v", err)
	}
	wake(t, b)
	if err := b.Tx(0x60, []byte{0}, nil); !errors.Is(err, ateccsim.ErrNACK) {
		t.Errorf("second acknowledge: %v", err)
	}
	stop()
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{"--blank --config generic", "give one"},
		{"--config nothing", "trustflex"},
		{"--serial 0123", "18 hexadecimal digits"},
		{"--timing slow", "realistic"},
		{"--speed 0", "1 to 1000 kHz"},
		{"--faults rain", "drop-wake"},
		{"--faults nack:rate=2", "not valid"},
		{"--listen here", "unix:PATH"},
		{"chip", "no flag"},
		{"--help", "help requested"},
	} {
		err := run(t.Context(), strings.Fields(tt.args), new(bytes.Buffer), new(bytes.Buffer))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.want)
		}
	}
}
