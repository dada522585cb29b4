package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/internal/proc"
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
	for _, want := range []string{"wake pulse", "# Lock configuration (p1=80 p2=0000)", "# Lock: 00: success", "# Info revision (p1=00", "W 60 [03 07 17 80 00 00 39 8d]"} {
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
	if l.Read != "040f2342" || l.Result != "ack" || l.Command != "Lock" || l.Note != "Lock: 0f: execution error" {
		t.Errorf("last line %+v", l)
	}
}

// TestFaultsFlag has each fault happen by its rule on the command line.
func TestFaultsFlag(t *testing.T) {
	nack := func(t *testing.T, b *ateccsim.Remote, w []byte) {
		t.Helper()
		if err := b.Tx(0x60, w, nil); !errors.Is(err, ateccsim.ErrNACK) {
			t.Errorf("W [% x]: %v, want ErrNACK", w, err)
		}
	}
	write := func(word byte) []byte { // a word of a blank chip's configuration
		return frame(0x12, 0, uint16(word), []byte{1, 2, 3, 4})
	}
	for _, tt := range []struct {
		rule string
		run  func(t *testing.T, b *ateccsim.Remote)
	}{
		{"drop-wake:at=1,nack:at=2", func(t *testing.T, b *ateccsim.Remote) {
			_ = b.Tx(0, []byte{0}, nil)
			nack(t, b, []byte{0})
			wake(t, b)
			nack(t, b, []byte{0})
		}},
		{"corrupt-in:at=1:op=0x30", func(t *testing.T, b *ateccsim.Remote) {
			wake(t, b)
			if r := command(t, b, revision, 4); !bytes.Equal(r, []byte{4, 0xFF, 1, 0x42}) {
				t.Errorf("answer % x", r)
			}
		}},
		{"corrupt-out:at=2", func(t *testing.T, b *ateccsim.Remote) {
			wake(t, b)
			if r := command(t, b, revision, 7); bytes.Equal(r, []byte{7, 0, 0, 0x60, 3, 0x83, 0xBB}) {
				t.Errorf("answer % x", r)
			}
		}},
		{"short-read:at=2,seed=2", func(t *testing.T, b *ateccsim.Remote) {
			wake(t, b)
			if r := command(t, b, revision, 7); r[6] != 0xFF {
				t.Errorf("answer % x", r)
			}
		}},
		{"stuck-bus:at=1", func(t *testing.T, b *ateccsim.Remote) {
			if err := b.Tx(0, []byte{0}, nil); !errors.Is(err, ateccsim.ErrBus) {
				t.Errorf("wake pulse: %v", err)
			}
			wake(t, b)
		}},
		{"watchdog:at=3", func(t *testing.T, b *ateccsim.Remote) {
			wake(t, b)
			nack(t, b, []byte{0})
			wake(t, b)
		}},
		{"watchdog-cut:at=3", func(t *testing.T, b *ateccsim.Remote) {
			wake(t, b)
			if err := b.Tx(0x60, write(5), nil); err != nil {
				t.Error(err)
			}
			nack(t, b, []byte{0})
			wake(t, b)
			if r := command(t, b, frame(2, 0, 5, nil)[1:], 7); !bytes.Equal(r[1:5], []byte{1, 2, 0x87, 0x20}) {
				t.Errorf("word 5 is % x", r)
			}
		}},
		{"power-cut:at=3", func(t *testing.T, b *ateccsim.Remote) {
			wake(t, b)
			if err := b.Tx(0x60, write(5), nil); err != nil {
				t.Error(err)
			}
			_ = b.Tx(0, []byte{0}, nil)
			nack(t, b, []byte{0})
			if err := b.PowerOn(); err != nil {
				t.Fatal(err)
			}
			wake(t, b)
			if r := command(t, b, frame(2, 0, 5, nil)[1:], 7); !bytes.Equal(r[1:5], []byte{1, 2, 0x87, 0x20}) {
				t.Errorf("word 5 is % x", r)
			}
		}},
		{"power-cut-tx:at=3", func(t *testing.T, b *ateccsim.Remote) {
			wake(t, b)
			nack(t, b, []byte{0})
			_ = b.Tx(0, []byte{0}, nil)
			nack(t, b, []byte{0})
		}},
		{"health-test:count=1", func(t *testing.T, b *ateccsim.Remote) {
			wake(t, b)
			if r := command(t, b, frame(0x1B, 0, 0, nil)[1:], 4); r[1] != 8 {
				t.Errorf("answer % x", r)
			}
		}},
		{"self-test:at=1:tests=0x10", func(t *testing.T, b *ateccsim.Remote) {
			wake(t, b)
			if r := command(t, b, frame(0x77, 0x3B, 0, nil)[1:], 4); r[1] != 0x10 {
				t.Errorf("answer % x", r)
			}
			if r := command(t, b, revision, 4); r[1] != 7 {
				t.Errorf("answer % x", r)
			}
		}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			bus, stop := start(t, "--faults", tt.rule, "--trace")
			tt.run(t, bus())
			kind, _, _ := strings.Cut(tt.rule, ":")
			if out := stop(); !strings.Contains(out, "fault: "+kind) {
				t.Errorf("the trace has no fault:\n%s", out)
			}
		})
	}
}

// frame is a write of a command.
func frame(op, p1 byte, p2 uint16, data []byte) []byte {
	g := append([]byte{byte(7 + len(data)), op, p1, byte(p2), byte(p2 >> 8)}, data...)
	var r uint16
	for _, b := range g {
		for i := range 8 {
			d := uint16(b>>i)&1 ^ r>>15
			r = r<<1 ^ 0x8005*d
		}
	}
	return append(append([]byte{3}, g...), byte(r), byte(r>>8))
}

// TestCertificates prints a chain that ends in the root, for the chip of a file
// that the program made.
func TestCertificates(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chip")
	var first, out, notes bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &out} {
		if err := run(t.Context(), []string{"--certificates", "--config", "trustgo", "--state", file}, w, &notes); err != nil {
			t.Fatal(err)
		}
	}
	if first.String() != out.String() {
		t.Error("the chip of the file has other certificates")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	var chain []*x509.Certificate
	for rest := out.Bytes(); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	if len(chain) != 3 || !chain[2].Equal(ateccsim.Root()) {
		t.Fatalf("%d certificates", len(chain))
	}
	roots.AddCert(chain[2])
	between.AddCert(chain[1])
	opts := x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: chain[0].NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := chain[0].Verify(opts); err != nil {
		t.Error(err)
	}
	if err := run(t.Context(), []string{"--certificates"}, &out, &notes); err == nil || !strings.Contains(err.Error(), "not pre-provisioned") {
		t.Errorf("a blank chip: %v", err)
	}
}

// TestMain lets the tests start the program itself.
func TestMain(m *testing.M) {
	if os.Getenv("ATECC_SIM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestTermination stops the program by a signal, in the middle of a command, and
// starts it again with the same chip.
func TestTermination(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "chip"), filepath.Join(dir, "s")
	for life := range 2 {
		cmd := proc.Command(t, os.Args[0], "--state", file, "--timing", "full", "--listen", "unix:"+socket, "--config", "generic")
		cmd.Env = append(os.Environ(), "ATECC_SIM=1")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stderr)
		for lines.Scan() && !strings.Contains(lines.Text(), "at address") {
			if !strings.Contains(lines.Text(), "is used") || life == 0 {
				t.Errorf("stderr: %s", lines.Text())
			}
		}
		b, err := ateccsim.Dial(t.Context(), "unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = b.Tx(0, []byte{0}, nil)
		for end := time.Now().Add(time.Minute); b.Tx(0x60, []byte{0}, nil) != nil; {
			if time.Now().After(end) {
				t.Fatal("it does not wake up")
			}
		}
		if err := b.Tx(0x60, frame(0x24, 1, 1, nil), nil); err != nil { // Counter 1 up, 25 ms
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, stderr); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("life %d ended with %v", life, err)
		}
		s, err := ateccsim.LoadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// ffff is shifted right once for each step.
		if want := byte(0x7F >> life); s.Config[60] != want {
			t.Errorf("counter 1 begins with %02x, want %02x", s.Config[60], want)
		}
	}
	if left, err := filepath.Glob(file + ".*"); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
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
		{"--open rain", "random-first"},
		{"chip", "no flag"},
		{"--help", "help requested"},
	} {
		err := run(t.Context(), strings.Fields(tt.args), new(bytes.Buffer), new(bytes.Buffer))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.want)
		}
	}
}
