package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/examples/internal/factory"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The test binary is the program itself if it is told so: a restart in a test
// is a new process. A PIN costs what it does without tests if it is told that, too.
func TestMain(m *testing.M) {
	if os.Getenv("GATEWAY_EXAMPLE_MAIN") == "1" {
		if os.Getenv("GATEWAY_EXAMPLE_KDF") != "default" {
			soft.DefaultKDF = soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}
		}
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// command is the program with these arguments.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(deadline(t), self, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // it says where it hangs
	cmd.WaitDelay = 5 * time.Second
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "GATEWAY_EXAMPLE_MAIN=1")
	return cmd
}

// gatewayRun runs the program, which succeeds, and returns what it prints.
func gatewayRun(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command(t, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("gateway %q: %v\n%s%s", args, err, &stdout, &stderr)
	}
	return stdout.String()
}

// gatewayFails runs the program, which fails with status 1 and one line, and
// returns that.
func gatewayFails(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command(t, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("gateway %q: %v, want exit status 1\n%s%s", args, err, &stdout, &stderr)
	}
	line, ok := strings.CutPrefix(strings.TrimSuffix(stderr.String(), "\n"), "gateway: ")
	if !ok || strings.Contains(line, "\n") {
		t.Errorf("gateway %q printed %q, want one line that begins with gateway:", args, stderr.String())
	}
	return line
}

func wantSteps(t *testing.T, out string, steps ...string) {
	t.Helper()
	for _, step := range steps {
		if !strings.Contains(out, "\n"+step+" ") {
			t.Errorf("no step %q in\n%s", step, out)
		}
	}
}

// open opens the token that the program has made in data.
func open(t *testing.T, data string) *cryptoki.Token {
	t.Helper()
	token, err := cryptoki.Open(t.Context(), "soft:dir="+filepath.Join(data, "token"), &cryptoki.Options{
		PIN: cryptoki.PINFromFile(filepath.Join(data, "user.pin")),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { token.Close() })
	return token
}

// The main job: an identity is made and used; after a restart it is there.
func TestOwnBroker(t *testing.T) {
	t.Setenv("GATEWAY_EXAMPLE_KDF", "default")
	for _, key := range []string{"p256", "rsa2048"} {
		t.Run(key, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			out := gatewayRun(t, "--data", data, "--key", key)
			wantSteps(t, out, "token", "key pair", "root CA", "JITP CA", "update key", "CSR", "certificate", "broker", "connect", "message", "done")
			if !strings.Contains(out, "TLS 1.3") {
				t.Errorf("not connected over TLS 1.3:\n%s", out)
			}
			before := places(t, data)
			out = gatewayRun(t, "--data", data)
			wantSteps(t, out, "token", "identity", "connect", "message", "done")
			if strings.Contains(out, "key pair") {
				t.Errorf("the second run made something anew:\n%s", out)
			}
			if after := places(t, data); after != before {
				t.Errorf("the second run changed the token: %s\nwas %s", after, before)
			}
		})
	}
}

func TestBackendByName(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	wantSteps(t, gatewayRun(t, "--data", data, "-t", "soft:mem=true"), "key pair", "certificate", "connect", "message")
	if _, err := os.Stat(filepath.Join(data, "token")); err == nil {
		t.Error("the default token was made too")
	}
}

// places describes what is in the six storage places, one object in each.
func places(t *testing.T, data string) string {
	t.Helper()
	token := open(t, data)
	defer token.Close()
	var b strings.Builder
	for _, p := range []struct {
		class pkcs11.ObjectClass
		label string
	}{
		{pkcs11.CKO_PRIVATE_KEY, cryptoki.DevicePrivateKey},
		{pkcs11.CKO_PUBLIC_KEY, cryptoki.DevicePublicKey},
		{pkcs11.CKO_CERTIFICATE, cryptoki.DeviceCert},
		{pkcs11.CKO_CERTIFICATE, cryptoki.RootCert},
		{pkcs11.CKO_PUBLIC_KEY, cryptoki.CodeVerifyKey},
		{pkcs11.CKO_CERTIFICATE, cryptoki.JITPCert},
	} {
		objects, err := token.Objects(t.Context(), pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, uint64(p.class)),
			pkcs11.Attr(pkcs11.CKA_LABEL, p.label),
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(objects) != 1 {
			t.Fatalf("%d objects in place %q, want 1", len(objects), p.label)
		}
		fmt.Fprintf(&b, "%s: %x\n", p.label, objects[0].ID)
	}
	return b.String()
}

// The program is killed as soon as it has printed a line, whichever up to the
// last that changes the token: the next run goes on and succeeds.
func TestKilledAtEveryStep(t *testing.T) {
	out, _, _ := strings.Cut(gatewayRun(t, "--data", filepath.Join(t.TempDir(), "data")), "\ncertificate ")
	lines := strings.Count(out, "\n") + 2
	kills := 0
	for line := range lines {
		data := filepath.Join(t.TempDir(), "data")
		cmd := command(t, "--data", data)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		n, last := 0, ""
		for in := bufio.NewScanner(out); in.Scan(); n++ {
			if n == line {
				last = in.Text()
				cmd.Process.Kill()
			}
		}
		if cmd.Wait() != nil { // else it was faster
			kills++
		}
		again := gatewayRun(t, "--data", data)
		wantSteps(t, again, "connect", "message", "done")
		places(t, data)
		if t.Failed() {
			t.Fatalf("killed after %q", last)
		}
	}
	if kills == 0 {
		t.Errorf("the program ended %d times before it could be killed", lines)
	}
}

func TestBadInput(t *testing.T) {
	base := filepath.Join(t.TempDir(), "data")
	gatewayRun(t, "--data", base)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "no PEM\n")

	for _, tt := range []struct {
		name    string
		prepare func(data string) []string // more arguments
		want    []string
	}{
		{"another argument", func(string) []string { return []string{"start"} }, []string{`"start"`, "--help"}},
		{"an unknown flag", func(string) []string { return []string{"--brokr", "x"} }, []string{"-brokr", "--help"}},
		{"an unknown key type", func(string) []string { return []string{"--key", "dsa"} }, []string{"dsa", "p256", "rsa2048"}},
		{"an unknown TLS version", func(string) []string { return []string{"--tls", "1.1"} }, []string{"1.1", "1.2 or 1.3"}},
		{"another key type than the identity's", func(string) []string { return []string{"--key", "rsa2048"} }, []string{"P-256", "--data"}},
		{"a backend that is not there", func(string) []string { return []string{"--backend", "chip:bus=1"} }, []string{`no backend "chip"`, "soft"}},
		{"a backend with an unknown parameter", func(string) []string { return []string{"--token", "soft:dri=x"} }, []string{`"dri"`, "dir"}},
		{"a broker without a port", func(string) []string { return []string{"--broker", "broker"} }, []string{"broker", "host:port"}},
		{"a broker that is not there", func(string) []string { return []string{"--broker", deaf(t)} }, []string{"127.0.0.1", "refused"}},
		{"a CA file that is not there", func(string) []string { return []string{"--ca", "missing.pem"} }, []string{"missing.pem"}},
		{"a CA file without certificates", func(string) []string { return []string{"--ca", file} }, []string{file, "PEM"}},
		{"data that is a file", func(string) []string { return []string{"--data", file} }, []string{file}},
		{"no PIN file", func(data string) []string {
			remove(t, filepath.Join(data, "user.pin"))
			return nil
		}, []string{"user.pin", "--pin-file"}},
		{"a PIN file that others can read", func(data string) []string {
			chmod(t, filepath.Join(data, "user.pin"), 0o644)
			return nil
		}, []string{"user.pin", "chmod 600"}},
		{"a wrong PIN", func(data string) []string {
			write(t, filepath.Join(data, "user.pin"), "not the one\n")
			return nil
		}, []string{"CKR_PIN_INCORRECT"}},
		{"a token directory that others can write", func(data string) []string {
			chmod(t, filepath.Join(data, "token"), 0o777)
			return nil
		}, []string{"token", "chmod"}},
		{"a damaged token", func(data string) []string {
			name := filepath.Join(data, "token", "flash.log")
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for i := len(b) / 4; i < len(b)*3/4; i += 64 { // some of it is in use
				b[i] ^= 1
			}
			write(t, name, string(b))
			return nil
		}, []string{"token"}},
		{"a damaged factory", func(data string) []string {
			write(t, filepath.Join(data, "factory", "factory.pem"), "?")
			return nil
		}, []string{"factory.pem", "remove"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(data, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"", "token", "user.pin", "so.pin", "token/flash.log"} {
				perm := os.FileMode(0o600)
				if !strings.Contains(name, ".") {
					perm = 0o700
				}
				chmod(t, filepath.Join(data, name), perm) // which CopyFS does not keep
			}
			args := append([]string{"--data", data}, tt.prepare(data)...)
			before := read(t, filepath.Join(data, "token", "flash.log"))
			line := gatewayFails(t, args...)
			t.Log(line)
			for _, want := range tt.want {
				if !strings.Contains(line, want) {
					t.Errorf("the error does not mention %q: %s", want, line)
				}
			}
			// The store is a log: what was in it is there, before the room for what
			// follows. A login adds to it, since wrong PINs are counted.
			if !strings.HasPrefix(read(t, filepath.Join(data, "token", "flash.log")), strings.TrimRight(before, "\x00")) {
				t.Error("the token has changed")
			}
		})
	}
}

// deaf returns an address of loopback at which nobody listens, and nobody else can
// until the end of the test: it is that of a client.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

func TestBrokerAsksForALPNOnPort443(t *testing.T) {
	f, err := factory.New()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := f.ServerCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr string
		want string
	}{{"127.0.0.1:443", "x-amzn-mqtt-ca"}, {"127.0.0.1:8883", ""}} {
		config, err := clientConfig(tt.addr, &tls.Config{RootCAs: f.Pool()})
		if err != nil {
			t.Fatal(err)
		}
		client, server := net.Pipe()
		done := make(chan error, 1)
		var got string
		go func() {
			conn := tls.Server(server, &tls.Config{
				Certificates: []tls.Certificate{cert},
				GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					got = strings.Join(hello.SupportedProtos, ",")
					return nil, nil
				},
				NextProtos:             []string{"x-amzn-mqtt-ca"},
				SessionTicketsDisabled: true, // nobody reads one from the pipe
			})
			done <- conn.HandshakeContext(deadline(t))
		}()
		if err := tls.Client(client, config).HandshakeContext(deadline(t)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got != tt.want {
			t.Errorf("%s: the client offers %q, want %q", tt.addr, got, tt.want)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func chmod(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}
