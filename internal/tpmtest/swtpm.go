package tpmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/google/go-tpm/tpm2/transport"
)

// startTimeout is how long an swtpm may take to answer. It takes 5 ms; the rest
// is for machines that do something else.
const startTimeout = 30 * time.Second

// maxResponse is the longest response that a TPM gives.
const maxResponse = 4096

// A TPM is a software TPM that belongs to one test. It is a transport.TPM itself,
// over a connection that it keeps and that several goroutines may use; what
// needs the socket, another program for instance, takes [TPM.Socket] after
// [TPM.Disconnect], since swtpm serves one connection at a time, or a [Hub].
type TPM struct {
	t      testing.TB
	dir    string
	swtpm  string // the program
	config Config

	mu      sync.Mutex
	process *process
	conn    net.Conn
}

var _ transport.TPMCloser = (*TPM)(nil)

// A Config says how an swtpm is started. The zero value is a fresh TPM that has
// had its Startup(CLEAR), as an operating system hands it over.
type Config struct {
	// NoStartup leaves the TPM without its Startup: it answers everything with
	// TPM_RC_INITIALIZE.
	NoStartup bool
	// Endorsed gives the TPM endorsement keys and certificates for them, made by
	// a certification authority of the test's own ([TPM.Roots]).
	Endorsed bool
	// State is what [TPM.State] of another one has returned: this is the same TPM.
	State []byte
}

// Start starts a fresh swtpm, which ends with the test. Without the program the
// test is skipped, or fails if CI=true.
func Start(t testing.TB) *TPM { return StartConfig(t, Config{}) }

// StartConfig is Start with other settings.
func StartConfig(t testing.TB, config Config) *TPM {
	t.Helper()
	swtpm := need.Program(t, "swtpm", "swtpm")
	// Not t.TempDir: a socket's path has at most 107 bytes.
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	s := &TPM{t: t, dir: dir, config: config, swtpm: swtpm}
	t.Cleanup(func() {
		s.Kill()
		os.RemoveAll(dir)
	})
	if err := os.Mkdir(s.state(), 0o700); err != nil {
		t.Fatal(err)
	}
	if config.Endorsed {
		s.endorse()
	}
	if config.State != nil {
		if err := os.WriteFile(s.permanent(), config.State, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Restart()
	return s
}

func (s *TPM) state() string { return filepath.Join(s.dir, "state") }

func (s *TPM) permanent() string { return filepath.Join(s.state(), "tpm2-00.permall") }

// State cuts the power and returns what the TPM keeps without it, for
// [Config.State]: its seeds, persistent objects, and what else it has in
// non-volatile memory. Newer versions of libtpms read what older ones have written.
func (s *TPM) State() []byte {
	s.t.Helper()
	s.Kill()
	state, err := os.ReadFile(s.permanent())
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

// Dir returns the directory of this TPM, for files that should go with it.
func (s *TPM) Dir() string { return s.dir }

// Socket returns the path of the socket on which swtpm takes commands. The
// control socket is beside it, under the name that tpm2-tss expects. swtpm
// serves one connection at a time: a second one waits until the first is closed.
func (s *TPM) Socket() string { return filepath.Join(s.dir, "tpm") }

// TCTI returns what tpm2-tss wants to know: the value for TPM2TOOLS_TCTI and
// TPM2OPENSSL_TCTI.
func (s *TPM) TCTI() string { return "swtpm:path=" + s.Socket() }

// Send sends one command and returns its response.
func (s *TPM) Send(command []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		conn, err := dial(s.Socket())
		if err != nil {
			return nil, err
		}
		s.conn = conn
	}
	response, err := exchange(s.conn, command)
	if err != nil {
		s.conn.Close()
		s.conn = nil
	}
	return response, err
}

// Close closes the connection. The next Send makes a new one.
func (s *TPM) Close() error {
	s.Disconnect()
	return nil
}

// Disconnect gives the socket free for somebody else. The next Send makes a new
// connection.
func (s *TPM) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// Kill cuts the power: nothing is written any more, and what the TPM had in its
// volatile memory is gone.
func (s *TPM) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// Restart cuts the power, if there is any, and gives it back: the state is kept.
func (s *TPM) Restart() {
	s.t.Helper()
	s.Kill()
	flags := "not-need-init"
	if !s.config.NoStartup {
		flags += ",startup-clear"
	}
	log := filepath.Join(s.dir, "log")
	// swtpm wants absolute paths.
	command := exec.Command(s.swtpm, "socket", "--tpm2",
		"--tpmstate", "dir="+s.state(),
		"--server", "type=unixio,path="+s.Socket(),
		"--ctrl", "type=unixio,path="+s.Socket()+".ctrl",
		"--flags", flags,
		"--log", "file="+log+",level=1")
	os.Remove(s.Socket())
	os.Remove(s.Socket() + ".ctrl")
	p, err := startProcess(command)
	if err != nil {
		s.t.Fatalf("swtpm: %v", err)
	}
	s.mu.Lock()
	s.process = p
	s.mu.Unlock()
	// The socket appears before swtpm listens on it; dial tries again.
	if _, err := s.Send(getRandom(8)); err != nil {
		text, _ := os.ReadFile(log)
		s.t.Fatalf("swtpm does not answer: %v\n%s", err, text)
	}
}

// Wipe replaces the TPM by a fresh one: no key of the old one loads any more.
func (s *TPM) Wipe() {
	s.t.Helper()
	s.Kill()
	if err := os.RemoveAll(s.state()); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Mkdir(s.state(), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.Restart()
}

// Reset is a power-on reset under the open connection, as a suspend that loses
// the TPM's memory is: objects and sessions are gone. The TPM waits for its
// Startup if startup is false.
func (s *TPM) Reset(startup bool) {
	s.t.Helper()
	const cmdInit = 2
	s.control(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, cmdInit), 0))
	if startup {
		if _, err := s.Send(startupClear()); err != nil {
			s.t.Fatalf("startup: %v", err)
		}
	}
}

// control sends one request to swtpm's control socket. See swtpm_ioctls(3).
func (s *TPM) control(request []byte) {
	s.t.Helper()
	conn, err := dial(s.Socket() + ".ctrl")
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(request); err != nil {
		s.t.Fatal(err)
	}
	var result [4]byte
	if _, err := io.ReadFull(conn, result[:]); err != nil {
		s.t.Fatalf("swtpm control: %v", err)
	}
	if code := binary.BigEndian.Uint32(result[:]); code != 0 {
		s.t.Fatalf("swtpm control: result %#x", code)
	}
}

// dial connects, and tries again while nobody listens yet or the queue, which is
// one long, is full.
func dial(path string) (net.Conn, error) {
	for deadline := time.Now().Add(startTimeout); ; {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		again := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOENT)
		if !again || time.Now().After(deadline) {
			return nil, err
		}
		time.Sleep(500 * time.Microsecond)
	}
}

func exchange(conn io.ReadWriter, command []byte) ([]byte, error) {
	if _, err := conn.Write(command); err != nil {
		return nil, err
	}
	return readMessage(conn)
}

// readMessage reads one command or response: they have the same header.
func readMessage(r io.Reader) ([]byte, error) {
	message := make([]byte, headerSize, maxResponse)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, err
	}
	size := int64(binary.BigEndian.Uint32(message[2:]))
	if size < headerSize || size > maxResponse {
		return nil, fmt.Errorf("a message of %d bytes", size)
	}
	message = message[:size]
	_, err := io.ReadFull(r, message[headerSize:])
	return message, err
}

// A process is a running program that dies with the test, however that ends.
type process struct {
	command *exec.Cmd
	done    chan struct{}
}

func startProcess(command *exec.Cmd) (*process, error) {
	var output strings.Builder
	command.Stderr = &output
	dieWithParent(command)
	p := &process{command: command, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel counts the thread that started the process as its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			command.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

func (p *process) kill() {
	p.command.Process.Kill()
	<-p.done
}

// NeedProvider is need.File for OpenSSL's provider for TPMs.
func NeedProvider(t testing.TB) {
	t.Helper()
	openssl := need.Program(t, "openssl", "openssl")
	// The provider itself loads only where it finds a TPM.
	output, err := proc.Command(t, openssl, "version", "-m").Output() // MODULESDIR: "…"
	if err != nil {
		t.Fatalf("openssl version -m: %v", err)
	}
	_, dir, _ := strings.Cut(string(output), `"`)
	dir, _, _ = strings.Cut(dir, `"`)
	need.File(t, "tpm2-openssl", filepath.Join(dir, "tpm2.so"))
}
