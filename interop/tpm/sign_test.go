//go:build cgo && linux

package tpm

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
	p11 "github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	backend "github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

const (
	soPIN = "12345678"
	pin   = "87654321"
)

var (
	p256   = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	digest = make([]byte, 32)
)

// A bench gives each side a way to a TPM.
type bench struct {
	tpm     *tpmtest.TPM     // nil: each side has one of its own
	manager *tpmtest.Manager // of tpm
}

func start(b testing.TB) *tpmtest.TPM {
	b.Helper()
	tpm := tpmtest.Start(b)
	require.NoError(b, tpmtest.SetLockout(tpm, 1000, 1, 1))
	return tpm
}

// A counter counts the commands of a side, whichever connection they come through.
type counter struct{ n atomic.Int64 }

type counted struct {
	*counter
	tpm transport.TPM
}

func (c counted) Send(command []byte) ([]byte, error) {
	c.n.Add(1)
	return c.tpm.Send(command)
}

func (c counted) Close() error {
	if space, ok := c.tpm.(*tpmtest.Space); ok {
		return space.Close()
	}
	return nil
}

// socket returns a socket that speaks as swtpm does. With a resource manager each
// connection has handles of its own, unless they are shared.
func (u *bench) socket(b testing.TB, shared bool) (string, *counter) {
	b.Helper()
	tpm, c := u.tpm, new(counter)
	if tpm == nil {
		tpm = start(b)
	}
	open := func() transport.TPM { return counted{c, tpm} }
	if u.manager != nil {
		open = func() transport.TPM { return counted{c, u.manager.Open()} }
		if shared {
			space := u.manager.Open()
			b.Cleanup(func() { space.Close() })
			open = func() transport.TPM { return struct{ transport.TPM }{counted{c, space}} }
		}
	}
	hub := tpmtest.NewHub(b, tpm, open)
	require.NoError(b, os.Symlink(tpm.Socket()+".ctrl", hub.Socket()+".ctrl"))
	return hub.Socket(), c
}

// A side makes n signatures and says how long that took.
type side struct {
	sign     func(n int) (time.Duration, error)
	commands *counter
}

// ours is a new token of backends/tpm, with the user logged in. It keeps its
// connection, which it would otherwise give to others twice a second: what it does
// for that is no part of a signature.
func (u *bench) ours(b testing.TB, persist bool) *side {
	b.Helper()
	ctx := b.Context()
	socket, commands := u.socket(b, false)
	store, err := fileflash.Open(filepath.Join(b.TempDir(), "token"), &fileflash.Options{Create: true})
	require.NoError(b, err)
	b.Cleanup(func() { store.Close() })
	made, err := backend.New(ctx, nil, store, &backend.Options{Persist: persist, Simulated: true, Dial: func(ctx context.Context) (transport.TPMCloser, error) {
		conn, err := backend.Swtpm("unix", socket)(ctx)
		if err != nil {
			return nil, err
		}
		return struct{ transport.TPMCloser }{conn}, nil
	}})
	require.NoError(b, err)
	m, err := cryptoki.NewModule(nil, made)
	require.NoError(b, err)
	b.Cleanup(func() { m.Close() })
	token, err := cryptoki.NewToken(ctx, m, 1, nil)
	require.NoError(b, err)
	b.Cleanup(func() { token.Close() })
	require.NoError(b, token.Initialize(ctx, cryptoki.Setup{Label: "bench", SOPIN: []byte(soPIN), UserPIN: []byte(pin)}))
	s, err := token.Module().OpenSession(ctx, token.Slot(), pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	require.NoError(b, err)
	require.NoError(b, s.Login(ctx, pkcs11.CKU_USER, []byte(pin)))
	_, key, err := s.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_VERIFY, true), pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_SIGN, true)})
	require.NoError(b, err)
	out := make([]byte, 64)
	return &side{timed(func() error {
		if err := s.SignInit(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, key); err != nil {
			return err
		}
		_, err := s.Sign(ctx, digest, out)
		return err
	}), commands}
}

// tpm2PKCS11 is a new token of that module, with the user logged in.
func (u *bench) tpm2PKCS11(b testing.TB) *side {
	b.Helper()
	library := need.File(b, "libtpm2-pkcs11-1", "/usr/lib/*/libtpm2_pkcs11.so.1")
	// It makes a connection for each command, and knows its handles in all of them.
	socket, commands := u.socket(b, true)
	b.Setenv("TPM2_PKCS11_STORE", b.TempDir())
	b.Setenv("TPM2_PKCS11_TCTI", "swtpm:path="+socket)
	b.Setenv("TPM2_PKCS11_LOG_LEVEL", "0")
	b.Setenv("TSS2_LOG", "all+none")
	p := p11.New(library)
	require.NotNil(b, p, "%s cannot be loaded", library)
	b.Cleanup(p.Destroy)
	require.NoError(b, p.Initialize())
	b.Cleanup(func() { p.Finalize() })
	slots, err := p.GetSlotList(true)
	require.NoError(b, err)
	require.NoError(b, p.InitToken(slots[0], soPIN, "bench"))
	s, err := p.OpenSession(slots[0], p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	require.NoError(b, err)
	require.NoError(b, p.Login(s, p11.CKU_SO, soPIN))
	require.NoError(b, p.InitPIN(s, pin))
	require.NoError(b, p.Logout(s))
	require.NoError(b, p.Login(s, p11.CKU_USER, pin))
	_, key, err := p.GenerateKeyPair(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_EC_KEY_PAIR_GEN, nil)},
		[]*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_EC_PARAMS, p256), p11.NewAttribute(p11.CKA_VERIFY, true)},
		[]*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, true), p11.NewAttribute(p11.CKA_SIGN, true)})
	require.NoError(b, err)
	mechanism := []*p11.Mechanism{p11.NewMechanism(p11.CKM_ECDSA, nil)}
	return &side{timed(func() error {
		if err := p.SignInit(s, mechanism, key); err != nil {
			return err
		}
		_, err := p.Sign(s, digest)
		return err
	}), commands}
}

var withTPMKMS = flag.Bool("tpmkms", false, "compare with smallstep's tpmkms too: downloads and compiles it")

// tpmkmsModule is what the program in testdata/tpmkms is compiled with. It is no
// requirement of this module, since it has a thousand of its own.
const tpmkmsModule = "go.step.sm/crypto@v0.91.1"

var (
	compile  sync.Once
	compiled string // the program, in a directory that TestMain removes
)

func TestMain(m *testing.M) {
	code := m.Run()
	if compiled != "" {
		os.RemoveAll(filepath.Dir(compiled))
	}
	os.Exit(code)
}

// tpmkms is smallstep's library, in a process of its own.
func (u *bench) tpmkms(b testing.TB) *side {
	b.Helper()
	compile.Do(func() {
		dir, err := os.MkdirTemp("", "tpmkms")
		require.NoError(b, err)
		compiled = filepath.Join(dir, "tpmkms")
		source, err := os.ReadFile("testdata/tpmkms/main.go")
		require.NoError(b, err)
		require.NoError(b, os.WriteFile(filepath.Join(dir, "main.go"), source, 0o600))
		for _, args := range [][]string{{"mod", "init", "tpmkms"}, {"get", tpmkmsModule}, {"mod", "tidy"}, {"build", "-o", compiled}} {
			cmd := proc.Command(b, "go", args...)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=", "GOWORK=off")
			out, err := cmd.CombinedOutput()
			require.NoError(b, err, "go %v: %s", args, out)
		}
	})
	// It makes a connection for each command.
	socket, commands := u.socket(b, true)
	cmd := proc.Command(b, compiled, socket, b.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	pipe, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	out := bufio.NewReader(pipe)
	return &side{func(n int) (time.Duration, error) {
		if _, err := fmt.Fprintln(in, n); err != nil {
			return 0, err
		}
		line, err := out.ReadString('\n')
		if err != nil {
			return 0, err
		}
		took, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		return time.Duration(took), err
	}, commands}
}

// timed calls f n times.
func timed(f func() error) func(n int) (time.Duration, error) {
	return func(n int) (time.Duration, error) {
		begin := time.Now()
		for range n {
			if err := f(); err != nil {
				return 0, err
			}
		}
		return time.Since(begin), nil
	}
}

const signatures = 20 // of a turn

// turn makes them and returns what one takes.
func turn(b testing.TB, s *side) time.Duration {
	b.Helper()
	took, err := s.sign(signatures)
	require.NoError(b, err)
	return took / signatures
}

func BenchmarkBare(b *testing.B) { compare(b, &bench{}, false) }

func BenchmarkResourceManager(b *testing.B) {
	tpm := start(b)
	compare(b, &bench{tpm, tpmtest.NewManager(tpm)}, false)
}

func BenchmarkResourceManagerPersistent(b *testing.B) {
	tpm := start(b)
	compare(b, &bench{tpm, tpmtest.NewManager(tpm)}, true)
}

// TestSides has what is compared by default do its work once.
func TestSides(t *testing.T) {
	check := func(t *testing.T, u *bench) {
		for _, s := range []*side{u.ours(t, false), u.ours(t, true), u.tpm2PKCS11(t)} {
			require.Equal(t, 1.0, perSignature(t, s), "commands in a signature")
		}
	}
	t.Run("bare", func(t *testing.T) { check(t, &bench{}) })
	t.Run("resource manager", func(t *testing.T) {
		tpm := start(t)
		check(t, &bench{tpm, tpmtest.NewManager(tpm)})
	})
}

// perSignature counts the commands in a signature.
func perSignature(b testing.TB, s *side) float64 {
	b.Helper()
	turn(b, s) // so that everything is loaded
	before := s.commands.n.Load()
	turn(b, s)
	return float64(s.commands.n.Load()-before) / signatures
}

func compare(b *testing.B, u *bench, persist bool) {
	ours := u.ours(b, persist)
	others := map[string]*side{"tpm2-pkcs11": u.tpm2PKCS11(b)}
	if *withTPMKMS {
		others["tpmkms"] = u.tpmkms(b)
	}
	commands := map[string]float64{"ours": perSignature(b, ours)}
	for name, s := range others {
		commands[name] = perSignature(b, s)
	}
	var mine, control []float64
	theirs, ratios := map[string][]float64{}, map[string][]float64{}
	for b.Loop() {
		for name, s := range others {
			t, o := turn(b, ours), turn(b, s)
			mine = append(mine, micro(t))
			theirs[name] = append(theirs[name], micro(o))
			ratios[name] = append(ratios[name], float64(o)/float64(t))
		}
		control = append(control, float64(turn(b, ours))/float64(turn(b, ours)))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(mine), "ours-µs")
	b.ReportMetric(median(control), "control")
	for name, n := range commands {
		b.ReportMetric(n, name+"-commands")
	}
	for name := range others {
		b.ReportMetric(median(theirs[name]), name+"-µs")
		b.ReportMetric(median(ratios[name]), name+"/ours")
	}
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
