package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/examples/internal/factory"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
)

// A mosquitto is a broker that runs for a test, and demands certificates.
type mosquitto struct {
	addr string

	mu   sync.Mutex
	more *sync.Cond
	log  []string
	seen int // lines of it
	over bool
}

// startMosquitto starts a broker that trusts the root of f, on a free port of
// loopback, and waits until it serves.
func startMosquitto(t *testing.T, f *factory.Factory) *mosquitto {
	t.Helper()
	program := need.Program(t, "mosquitto", "mosquitto")
	dir := t.TempDir()
	cert, err := f.ServerCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "ca.crt"), "CERTIFICATE", f.Root.Raw)
	writePEM(t, filepath.Join(dir, "server.crt"), "CERTIFICATE", cert.Certificate[0])
	writePEM(t, filepath.Join(dir, "server.key"), "PRIVATE KEY", key)

	// Somebody else may take the port between finding it and using it.
	for range 5 {
		port := freePort(t)
		m := &mosquitto{addr: fmt.Sprintf("127.0.0.1:%d", port)}
		m.more = sync.NewCond(&m.mu)
		conf := fmt.Sprintf(`listener %d 127.0.0.1
cafile ca.crt
certfile server.crt
keyfile server.key
require_certificate true
use_identity_as_username true
allow_anonymous false
log_dest stderr
log_type all
connection_messages true
`, port)
		if os.Getuid() == 0 {
			conf += "user root\n" // else it becomes a user that cannot read dir
		}
		if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := proc.Command(t, program, "-c", "conf")
		cmd.Dir = dir
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for lines := bufio.NewScanner(stderr); lines.Scan(); {
				m.add(lines.Text())
			}
			m.end()
		}()
		t.Cleanup(func() {
			cmd.Process.Kill()
			<-done
			cmd.Wait()
			if t.Failed() {
				t.Logf("mosquitto's log:\n%s", strings.Join(m.log, "\n"))
			}
		})
		if m.saw(t, `mosquitto version .* running`) {
			return m
		}
		m.seen = 0
		if !m.saw(t, `Address already in use`) {
			t.Fatal("mosquitto did not start")
		}
	}
	t.Fatal("mosquitto found no free port")
	return nil
}

func (m *mosquitto) add(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, line)
	m.more.Broadcast()
}

func (m *mosquitto) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	m.more.Broadcast()
}

// saw waits until a line of the log matches that comes after those it has seen
// before. It reports false if there is none within a minute, or before the
// broker ends.
func (m *mosquitto) saw(t *testing.T, pattern string) bool {
	re := regexp.MustCompile(pattern)
	ctx := deadline(t)
	defer context.AfterFunc(ctx, func() {
		m.mu.Lock() // not between a look at ctx and the wait
		defer m.mu.Unlock()
		m.more.Broadcast()
	})()
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; ; m.seen++ {
		for m.seen >= len(m.log) {
			if m.over || ctx.Err() != nil {
				return false
			}
			m.more.Wait()
		}
		if re.MatchString(m.log[m.seen]) {
			m.seen++
			return true
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// deadline is a context for what takes a broker milliseconds.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// The same story with a broker that others have written, and another TLS.
func TestMosquitto(t *testing.T) {
	for _, key := range []string{"p256", "rsa2048"} {
		for _, version := range []string{"1.2", "1.3"} {
			t.Run(key+", TLS "+version, func(t *testing.T) {
				data := t.TempDir()
				m := startMosquitto(t, openFactory(t, data))
				name := "gw-" + key
				args := []string{"--data", data, "--broker", m.addr, "--tls", version}
				out := gatewayRun(t, append(args, "--key", key, "--client-id", name)...)
				wantSteps(t, out, "key pair", "certificate", "connect", "message")
				if !strings.Contains(out, "TLS "+version) {
					t.Errorf("not over TLS %s:\n%s", version, out)
				}
				// It knows who connected from the certificate.
				m.wantConnected(t, name)

				out = gatewayRun(t, args...)
				wantSteps(t, out, "identity", "connect", "message")
				m.wantConnected(t, name)
			})
		}
	}
}

func TestMosquittoRefuses(t *testing.T) {
	data, otherData := t.TempDir(), t.TempDir()
	m := startMosquitto(t, openFactory(t, data))
	gatewayRun(t, "--data", data, "--broker", m.addr)
	gatewayRun(t, "--data", otherData) // with a CA of its own
	m.wantConnected(t, "example-gateway")

	good := identity(t, data)
	other := identity(t, otherData)
	stolen := good // the certificate is public, the key is not
	stolen.PrivateKey = other.PrivateKey
	for _, tt := range []struct {
		name   string
		certs  []tls.Certificate
		reason string // in the broker's log
	}{
		{"no certificate", nil, "peer did not return a certificate"},
		{"another CA's certificate", []tls.Certificate{other}, "certificate verify failed"},
		{"a certificate that belongs to another key", []tls.Certificate{stolen}, "bad signature|bad rsa signature"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tt.name+", "+tls.VersionName(version), func(t *testing.T) {
				conn, err := connect(deadline(t), m.addr, "example-gateway", &tls.Config{
					Certificates: tt.certs,
					RootCAs:      openFactory(t, data).Pool(),
					MinVersion:   version,
					MaxVersion:   version,
				})
				if err == nil {
					conn.close()
					t.Error("the broker let the client in")
				}
				if !m.saw(t, tt.reason) {
					t.Errorf("the broker did not refuse it because of %q", tt.reason)
				}
			})
		}
	}

	t.Run("the program says why", func(t *testing.T) {
		root := filepath.Join(data, "factory", factory.RootFile)
		line := gatewayFails(t, "--data", otherData, "--broker", m.addr, "--ca", root)
		if !m.saw(t, "certificate verify failed") || !strings.Contains(line, m.addr) {
			t.Error(line)
		}
		line = gatewayFails(t, "--data", otherData, "--broker", m.addr)
		if !strings.Contains(line, "--ca") {
			t.Error(line)
		}
	})
	// And it lets in whom it should, still.
	gatewayRun(t, "--data", data, "--broker", m.addr)
	m.wantConnected(t, "example-gateway")
}

// wantConnected waits until a client has connected whose certificate has that
// name.
func (m *mosquitto) wantConnected(t *testing.T, name string) {
	t.Helper()
	if !m.saw(t, `New client connected from .* as `+name+` \(.*u'`+name+`'\)`) {
		t.Errorf("mosquitto saw no client %s", name)
	}
}

func openFactory(t *testing.T, data string) *factory.Factory {
	t.Helper()
	f, err := factory.Open(filepath.Join(data, "factory"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// identity is the certificate and the signer of the token in data.
func identity(t *testing.T, data string) tls.Certificate {
	t.Helper()
	cert, err := open(t, data).TLSCertificate(t.Context(), cryptoki.DeviceCert, cryptoki.DevicePrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
