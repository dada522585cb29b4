// Package tokens starts what the tests of this module compare: tokens of ours
// behind cryptoki serve, which C programs reach through p11-kit-client.so, and
// SoftHSM2, which they load.
package tokens

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	_ "github.com/go-cryptoki/cryptoki/rpc" // the scheme unix
)

// The label and the PINs of the tokens.
const (
	Label = "interop"
	PIN   = "12345678"
	SOPIN = "87654321"
)

// A Token is one that a program reaches by loading a module.
type Token struct {
	Name   string
	Module string // the path of the library
	// Env are variables that the library reads when it is loaded.
	Env map[string]string
	// Lacks are reasons, by what the token cannot do: "RSA", "P-384", "AES",
	// "GCM", "login".
	Lacks map[string]string
	// Socket is the one of cryptoki serve, "" for SoftHSM2.
	Socket string
	// PID is the process of cryptoki serve.
	PID int
}

// Use sets the variables until the end of the test.
func (tok *Token) Use(tb testing.TB) {
	tb.Helper()
	for k, v := range tok.Env {
		tb.Setenv(k, v)
	}
}

// softHSM are where distributions have SoftHSM2, and client p11-kit-client.so.
var (
	softHSM = []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so"}
	client  = []string{"/usr/lib/*-linux-*/pkcs11/p11-kit-client.so", "/usr/lib64/pkcs11/p11-kit-client.so", "/usr/lib/pkcs11/p11-kit-client.so"}
)

// Client is the path of the distribution's p11-kit-client.so.
func Client(tb testing.TB) string {
	tb.Helper()
	return need.File(tb, "p11-kit-modules", client...)
}

// SoftHSM2 returns a new token of SoftHSM2.
func SoftHSM2(tb testing.TB) *Token {
	tb.Helper()
	tok := &Token{Name: "SoftHSM2", Module: need.File(tb, "softhsm2", softHSM...)}
	dir := tb.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	must(tb, os.Mkdir(filepath.Join(dir, "tokens"), 0o700))
	must(tb, os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", filepath.Join(dir, "tokens")), 0o600))
	tok.Env = map[string]string{"SOFTHSM2_CONF": conf}
	cmd := proc.Command(tb, need.Program(tb, "softhsm2-util", "softhsm2"), "--init-token", "--free", "--label", Label, "--so-pin", SOPIN, "--pin", PIN)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+conf)
	out, err := cmd.CombinedOutput()
	must(tb, err, out)
	return tok
}

// Soft returns a new software token.
func Soft(tb testing.TB, bin *Commands) *Token {
	tb.Helper()
	tok := serve(tb, bin, "soft", "soft:create=true;dir="+filepath.Join(tb.TempDir(), "token"))
	initialize(tb, tok)
	return tok
}

// TPM returns a new token in a software TPM.
func TPM(tb testing.TB, bin *Commands) *Token {
	tb.Helper()
	sim := tpmtest.Start(tb)
	sim.Disconnect() // it serves one at a time
	tok := serve(tb, bin, "TPM", "tpm:swtpm=unix:"+sim.Socket()+";create=true;dir="+filepath.Join(tb.TempDir(), "token"))
	tok.Lacks["GCM"] = "the AES keys of a TPM have no GCM"
	initialize(tb, tok)
	return tok
}

// ATECC608 returns a new token in a simulated ATECC608, with two slots for keys
// and no PIN.
func ATECC608(tb testing.TB, bin *Commands) *Token {
	tb.Helper()
	socket := filepath.Join(short(tb), "chip")
	background(tb, filepath.Join(bin.dir, "atecc-sim"), "--listen", "unix:"+socket, "--config", "generic")
	listening(tb, socket)
	tok := serve(tb, bin, "ATECC608", "atecc608:bus=unix:"+socket+";free=2,3;create=true;label="+Label+";dir="+filepath.Join(tb.TempDir(), "token"))
	tok.Lacks["RSA"] = "the chip has P-256 and no RSA"
	tok.Lacks["P-384"] = "the chip has no curve but P-256"
	tok.Lacks["AES"] = "the generic configuration has no slot for AES keys that are generated"
	tok.Lacks["login"] = "the token has no PIN"
	return tok
}

// Commands are the commands of the module, compiled.
type Commands struct{ dir string }

// Build compiles them.
func Build(tb testing.TB) *Commands {
	tb.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		tb.Fatal("where is the source?")
	}
	c := &Commands{tb.TempDir()}
	cmd := proc.Command(tb, "go", "build", "-o", c.dir, "./cmd/cryptoki", "./cmd/atecc-sim")
	cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	must(tb, err, out)
	return c
}

// serve runs cryptoki serve until the end of the test.
func serve(tb testing.TB, bin *Commands, name, token string) *Token {
	tb.Helper()
	tok := &Token{Name: name, Module: Client(tb), Lacks: map[string]string{}}
	tok.Socket = filepath.Join(short(tb), "socket")
	tok.PID = background(tb, filepath.Join(bin.dir, "cryptoki"), "serve", "-t", token, "--socket", tok.Socket)
	listening(tb, tok.Socket)
	tok.Env = map[string]string{"P11_KIT_SERVER_ADDRESS": "unix:path=" + tok.Socket}
	return tok
}

// Open opens the token through its socket, as a Go program does.
func (tok *Token) Open(ctx context.Context, tb testing.TB, opts *cryptoki.Options) *cryptoki.Token {
	tb.Helper()
	token, err := cryptoki.Open(ctx, "unix:path="+tok.Socket, opts)
	must(tb, err)
	return token
}

func initialize(tb testing.TB, tok *Token) {
	tb.Helper()
	token := tok.Open(tb.Context(), tb, nil)
	must(tb, token.Initialize(tb.Context(), cryptoki.Setup{Label: Label, SOPIN: []byte(SOPIN), UserPIN: []byte(PIN)}))
	must(tb, token.Close())
}

// background runs a program until the end of the test.
func background(tb testing.TB, name string, args ...string) (pid int) {
	tb.Helper()
	var out bytes.Buffer
	cmd := proc.Command(tb, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	must(tb, cmd.Start())
	tb.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		kill.Stop()
		if tb.Failed() {
			tb.Logf("%s: %s", filepath.Base(name), &out)
		}
	})
	return cmd.Process.Pid
}

// short is a directory whose name leaves room for a socket's.
func short(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "")
	must(tb, err)
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func listening(tb testing.TB, socket string) {
	tb.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(2 * time.Millisecond) {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("nobody listens: %v", err)
		}
	}
}

func must(tb testing.TB, err error, out ...[]byte) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%v %s", err, bytes.Join(out, nil))
	}
}
