//go:build cgo && linux

package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/interop/internal/tokens"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/go-cryptoki/cryptoki/rpc"
)

var p256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

// A side is a module as a C program has it, with a session and a key in it.
type side struct {
	p      *p11.Ctx
	s      p11.SessionHandle
	signer *signer
}

func load(b *testing.B, tok *tokens.Token) *side {
	b.Helper()
	tok.Use(b)
	p := p11.New(tok.Module)
	require.NotNil(b, p, tok.Module)
	require.NoError(b, p.Initialize())
	b.Cleanup(func() { p.Finalize(); p.Destroy() })
	slots, err := p.GetSlotList(true)
	require.NoError(b, err)
	s, err := p.OpenSession(slots[0], p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	require.NoError(b, err)
	if err := p.Login(s, p11.CKU_USER, tokens.PIN); err != p11.Error(p11.CKR_USER_ALREADY_LOGGED_IN) {
		require.NoError(b, err)
	}
	_, key, err := p.GenerateKeyPair(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_EC_KEY_PAIR_GEN, nil)},
		[]*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_EC_PARAMS, p256), p11.NewAttribute(p11.CKA_VERIFY, true)},
		[]*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, true), p11.NewAttribute(p11.CKA_SIGN, true)})
	require.NoError(b, err)
	return &side{p, s, newSigner(p, s, key)}
}

func (s *side) call() error { _, err := s.p.GetSessionInfo(s.s); return err }

// p11KitServer is p11-kit's own server in front of a token of SoftHSM2.
func p11KitServer(b *testing.B) *tokens.Token {
	b.Helper()
	tok := tokens.SoftHSM2(b)
	socket := filepath.Join(b.TempDir(), "p11-kit")
	cmd := proc.Command(b, "p11-kit", "server", "--foreground", "--name", socket, "--provider", tok.Module, "pkcs11:token="+tokens.Label)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+tok.Env["SOFTHSM2_CONF"])
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	_, err = bufio.NewReader(out).ReadString('\n') // it says its address when it listens
	require.NoError(b, err)
	return &tokens.Token{Name: "p11-kit server", Module: tokens.Client(b), Env: map[string]string{"P11_KIT_SERVER_ADDRESS": "unix:path=" + socket}}
}

// turn does 200 calls, and returns what one took.
func turn(b *testing.B, f func() error) time.Duration {
	const n = 200
	begin := time.Now()
	for range n {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(begin) / n
}

// pairs alternates turns of ours and of the others, and reports the medians.
func pairs(b *testing.B, ours func() error, others map[string]func() error) {
	b.Helper()
	turn(b, ours)
	var mine []time.Duration
	theirs, ratios := map[string][]time.Duration{}, map[string][]float64{}
	for name, f := range others {
		turn(b, f)
		theirs[name] = nil
	}
	for b.Loop() {
		t := turn(b, ours)
		mine = append(mine, t)
		for name, f := range others {
			o := turn(b, f)
			theirs[name] = append(theirs[name], o)
			ratios[name] = append(ratios[name], float64(t)/float64(o))
		}
		ratios["control"] = append(ratios["control"], float64(t)/float64(turn(b, ours)))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(micro(median(mine)), "ours-µs")
	for name := range theirs {
		b.ReportMetric(micro(median(theirs[name])), name+"-µs")
	}
	for name, r := range ratios {
		b.ReportMetric(median(r), "ours/"+name)
	}
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func median[T time.Duration | float64](list []T) T { return quantile(list, 0.5) }

func quantile[T time.Duration | float64](list []T, q float64) T {
	s := slices.Sorted(slices.Values(list))
	return s[int(q*float64(len(s)-1))]
}

// One call over the socket, C_GetSessionInfo. The floor is what two processes need
// at least that send each other the same bytes, as p11-kit-client.so does.
func BenchmarkCall(b *testing.B) {
	ours := load(b, tokens.Soft(b, tokens.Build(b)))
	peer := load(b, p11KitServer(b))
	pairs(b, ours.call, map[string]func() error{"p11kit": peer.call, "floor": floor(b)})
}

// The lengths of a call of C_GetSessionInfo and of its answer, header included.
const request, answer = 12 + 6 + 17, 12 + 44

// floor returns a ping-pong with another process, by blocking reads.
func floor(b *testing.B) func() error {
	b.Helper()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(b, err)
	other := os.NewFile(uintptr(ends[1]), "")
	cmd := proc.Command(b, os.Args[0], "-test.run=^TestFloor$")
	cmd.Env = append(os.Environ(), "FLOOR=3")
	cmd.ExtraFiles = []*os.File{other}
	require.NoError(b, cmd.Start())
	other.Close()
	b.Cleanup(func() { syscall.Close(ends[0]); cmd.Wait() })
	var buf [64]byte
	return func() error {
		for _, part := range []int{12, 6, 17} {
			if _, err := syscall.Write(ends[0], buf[:part]); err != nil {
				return err
			}
		}
		return errors.Join(readFull(ends[0], buf[:12]), readFull(ends[0], buf[:answer-12]))
	}
}

func readFull(fd int, b []byte) error {
	for n := 0; n < len(b); {
		k, err := syscall.Read(fd, b[n:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || k == 0 {
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
		n += k
	}
	return nil
}

// TestFloor is the other process of floor; by itself it does nothing.
func TestFloor(t *testing.T) {
	if os.Getenv("FLOOR") == "" {
		return
	}
	var buf [64]byte
	for readFull(3, buf[:request]) == nil {
		_, err := syscall.Write(3, buf[:answer])
		require.NoError(t, err)
	}
}

// C_SignInit and C_Sign, one call each, with a P-256 key of the token.
func BenchmarkSign(b *testing.B) {
	ours := load(b, tokens.Soft(b, tokens.Build(b)))
	peer := load(b, p11KitServer(b))
	hsm := load(b, tokens.SoftHSM2(b))
	pairs(b, ours.signer.sign, map[string]func() error{"p11kit": peer.signer.sign, "softhsm": hsm.signer.sign})
}

// pkcs11-tool -L, the whole program.
func BenchmarkList(b *testing.B) {
	tool := need.Program(b, "pkcs11-tool", "opensc")
	run := func(tok *tokens.Token) time.Duration {
		cmd := proc.Command(b, tool, "--module", tok.Module, "-L")
		cmd.Env = os.Environ()
		for k, v := range tok.Env {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		begin := time.Now()
		out, err := cmd.CombinedOutput()
		require.NoError(b, err, string(out))
		require.Contains(b, string(out), tokens.Label)
		return time.Since(begin)
	}
	ours, hsm := tokens.Soft(b, tokens.Build(b)), tokens.SoftHSM2(b)
	var a, h, more []time.Duration
	for b.Loop() {
		x, y := run(ours), run(hsm)
		a, h, more = append(a, x), append(h, y), append(more, x-y)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(micro(median(a))/1000, "ours-ms")
	b.ReportMetric(micro(median(h))/1000, "softhsm-ms")
	b.ReportMetric(micro(median(more))/1000, "more-ms")
}

// A client is a connection of a Go program, with a session and a key.
type client struct {
	*rpc.Client
	s   cryptoki.Session
	key pkcs11.ObjectHandle
}

// key makes a P-256 key of the token.
func key(b *testing.B, tok *tokens.Token) {
	b.Helper()
	token := tok.Open(b.Context(), b, &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		return []byte(tokens.PIN), nil
	}})
	_, err := token.GenerateKey(b.Context(), cryptoki.KeySpec{Label: "k", Algorithm: cryptoki.P256})
	require.NoError(b, err)
	require.NoError(b, token.Close())
}

func dial(b testing.TB, socket string) *client {
	b.Helper()
	ctx := b.Context()
	c, err := rpc.Dial(ctx, socket, nil)
	require.NoError(b, err)
	s, err := c.OpenSession(ctx, 1, pkcs11.CKF_SERIAL_SESSION)
	require.NoError(b, err)
	require.NoError(b, s.Login(ctx, pkcs11.CKU_USER, []byte(tokens.PIN)))
	require.NoError(b, s.FindObjectsInit(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}))
	found := make([]pkcs11.ObjectHandle, 1)
	n, err := s.FindObjects(ctx, found)
	require.NoError(b, err)
	require.Equal(b, 1, n)
	require.NoError(b, s.FindObjectsFinal(ctx))
	return &client{c, s, found[0]}
}

func (c *client) sign(ctx context.Context) error {
	if err := c.s.SignInit(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, c.key); err != nil {
		return err
	}
	_, err := c.s.Sign(ctx, make([]byte, 32), make([]byte, 64))
	return err
}

// 64 clients, 1,000 signatures each.
func BenchmarkClients(b *testing.B) {
	tok := tokens.Soft(b, tokens.Build(b))
	key(b, tok)
	clients := make([]*client, 64)
	for i := range clients {
		clients[i] = dial(b, tok.Socket)
	}
	for range 1 {
		cpu, idle, begin := processor(b, tok.PID), idleTime(b), time.Now()
		errs := make([]error, len(clients))
		var all sync.WaitGroup
		for i, c := range clients {
			all.Go(func() {
				for range 1000 {
					if err := c.sign(b.Context()); err != nil {
						errs[i] = err
						return
					}
				}
			})
		}
		all.Wait()
		for _, err := range errs {
			require.NoError(b, err)
		}
		took := time.Since(begin)
		b.ReportMetric(64000/took.Seconds(), "signatures/s")
		b.ReportMetric(float64(processor(b, tok.PID)-cpu)/float64(took), "cores")
		b.ReportMetric(float64(idleTime(b)-idle)/float64(took), "idle-cores")
		b.ReportMetric(status(b, tok.PID, "VmHWM"), "peak-MiB")
	}
	for _, c := range clients {
		c.Close()
	}
}

// 10,000 sessions that rest.
func BenchmarkIdleSessions(b *testing.B) {
	tok := tokens.Soft(b, tokens.Build(b))
	before := status(b, tok.PID, "VmRSS")
	for n := 0; n < 10000; {
		c, err := rpc.Dial(b.Context(), tok.Socket, nil)
		require.NoError(b, err)
		defer c.Close()
		for range 2500 {
			_, err := c.OpenSession(b.Context(), 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
			require.NoError(b, err)
			n++
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(before, "before-MiB")
	b.ReportMetric(status(b, tok.PID, "VmRSS"), "MiB")
}

// The 99th percentile of a client's signatures, alone and while another process
// floods the server with eight connections, which is stopped and goes on for each
// pair of turns of 1,000 signatures.
func BenchmarkFlood(b *testing.B) {
	tok := tokens.Soft(b, tokens.Build(b))
	key(b, tok)
	c := dial(b, tok.Socket)
	defer c.Close()
	p99 := func() (time.Duration, time.Duration) {
		took := make([]time.Duration, 1000)
		for i := range took {
			begin := time.Now()
			require.NoError(b, c.sign(b.Context()))
			took[i] = time.Since(begin)
		}
		return median(took), quantile(took, 0.99)
	}
	p99()
	for _, size := range []int{32, 4096, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			flood := proc.Command(b, os.Args[0], "-test.run=^TestFlooder$")
			flood.Env = append(os.Environ(), "FLOOD="+tok.Socket, fmt.Sprint("SIZE=", size))
			out, err := flood.StdoutPipe()
			require.NoError(b, err)
			require.NoError(b, flood.Start())
			defer flood.Wait()
			defer flood.Process.Kill()
			_, err = bufio.NewReader(out).ReadString('\n')
			require.NoError(b, err)
			var alone, flooded, tail, floodedTail []time.Duration
			var ratios, control []float64
			for b.Loop() {
				require.NoError(b, flood.Process.Signal(syscall.SIGSTOP))
				m0, q0 := p99()
				_, again := p99()
				require.NoError(b, flood.Process.Signal(syscall.SIGCONT))
				m1, q1 := p99()
				alone, tail = append(alone, m0), append(tail, q0)
				flooded, floodedTail = append(flooded, m1), append(floodedTail, q1)
				ratios, control = append(ratios, float64(q1)/float64(q0)), append(control, float64(again)/float64(q0))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(micro(median(alone)), "median-µs")
			b.ReportMetric(micro(median(tail)), "p99-µs")
			b.ReportMetric(micro(median(flooded)), "flooded-median-µs")
			b.ReportMetric(micro(median(floodedTail)), "flooded-p99-µs")
			b.ReportMetric(median(ratios), "p99-ratio")
			b.ReportMetric(median(control), "control")
		})
	}
}

// TestFlooder is the other process of BenchmarkFlood; by itself it does nothing.
func TestFlooder(t *testing.T) {
	socket := os.Getenv("FLOOD")
	if socket == "" {
		return
	}
	size, err := strconv.Atoi(os.Getenv("SIZE"))
	require.NoError(t, err)
	ctx := t.Context()
	var all sync.WaitGroup
	for range 8 {
		c, err := rpc.Dial(ctx, socket, nil)
		require.NoError(t, err)
		s, err := c.OpenSession(ctx, 1, pkcs11.CKF_SERIAL_SESSION)
		require.NoError(t, err)
		all.Go(func() {
			for out := make([]byte, size); s.GenerateRandom(ctx, out) == nil; {
			}
		})
	}
	fmt.Println("flooding")
	all.Wait()
}

// status reads a size of a process in MiB.
func status(b *testing.B, pid int, name string) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(b, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			require.NoError(b, err)
			return kib / 1024
		}
	}
	b.Fatalf("%s is not in the status of the process", name)
	return 0
}

// processor is the time that a process has used of processors.
func processor(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(b, err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		require.NoError(b, err)
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond // USER_HZ is 100
}

// idleTime is for how long the machine's processors have had nothing to do.
func idleTime(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile("/proc/stat")
	require.NoError(b, err)
	n, err := strconv.Atoi(strings.Fields(string(text))[4]) // of the line "cpu"
	require.NoError(b, err)
	return time.Duration(n) * 10 * time.Millisecond
}
