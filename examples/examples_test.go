// Package examples_test runs the small examples, one after the other, on one
// token: a device is provisioned, connects, and verifies an update.
package examples_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/examples/internal/factory"
	"github.com/go-cryptoki/cryptoki/internal/proc"
)

type programs struct {
	t        *testing.T
	bin, dir string
}

func build(t *testing.T) programs {
	t.Helper()
	p := programs{t, t.TempDir(), t.TempDir()}
	out, err := proc.Command(t, "go", "build", "-o", p.bin+"/", "./tls-client", "./provision", "./ota-verify").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return p
}

// run runs a program in the directory of the test.
func (p programs) run(input, name string, args ...string) (stdout, stderr string, err error) {
	var o, e bytes.Buffer
	cmd := proc.Command(p.t, filepath.Join(p.bin, name), args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.dir, strings.NewReader(input), &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// must is run for what succeeds.
func (p programs) must(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	stdout, stderr, err := p.run(input, name, args...)
	if err != nil || stderr != "" {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr)
	}
	return stdout
}

func (p programs) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p programs) writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	p.write(t, name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestExamples(t *testing.T) {
	p := build(t)
	f, err := factory.New()
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "user.pin", []byte("123456\n"))
	p.write(t, "so.pin", []byte("87654321\n"))

	// The device makes its key; the factory signs, and says whom to trust.
	csr, _ := pem.Decode([]byte(p.must(t, "", "provision", "-t", "soft:dir=token;create=true",
		"-pin-file", "user.pin", "-so-pin-file", "so.pin", "-name", "device-7")))
	if csr == nil {
		t.Fatal("provision printed no PEM")
	}
	cert, err := f.SignCSR(csr.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	updateKey, err := x509.MarshalPKIXPublicKey(f.UpdateKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	p.writePEM(t, "device.crt", "CERTIFICATE", cert.Raw)
	p.writePEM(t, "ca.crt", "CERTIFICATE", f.Root.Raw)
	p.writePEM(t, "update.pem", "PUBLIC KEY", updateKey)
	p.must(t, "", "provision", "-t", "soft:dir=token", "-pin-file", "user.pin",
		"-cert", "device.crt", "-root", "ca.crt", "-update-key", "update.pem")

	t.Run("tls-client", func(t *testing.T) { testTLSClient(t, p, f) })
	t.Run("ota-verify", func(t *testing.T) { testOTAVerify(t, p, f) })
	t.Run("provision refuses what does not belong", func(t *testing.T) {
		other, err := f.SignCSR(otherCSR(t))
		if err != nil {
			t.Fatal(err)
		}
		p.writePEM(t, "other.crt", "CERTIFICATE", other.Raw)
		for _, tt := range []struct{ file, want string }{
			{"other.crt", "another key"},
			{"update.pem", "BEGIN CERTIFICATE"},
			{"missing.crt", "missing.crt"},
		} {
			_, stderr, err := p.run("", "provision", "-t", "soft:dir=token", "-pin-file", "user.pin", "-cert", tt.file)
			if err == nil || !strings.Contains(stderr, tt.want) {
				t.Errorf("%s: %v, %q; want an error about %q", tt.file, err, stderr, tt.want)
			}
		}
	})
}

// The server answers with the name in the client's certificate.
func testTLSClient(t *testing.T, p programs, f *factory.Factory) {
	cert, err := f.ServerCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	clients := f.Pool()
	clients.AddCert(f.DeviceCA) // the device has no certificate of it to show
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 5)
				if _, err := conn.Read(b); err == nil {
					peer := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
					conn.Write([]byte(string(b) + ", " + peer.Subject.CommonName))
				}
			}()
		}
	}()
	got := p.must(t, "hello", "tls-client", "soft:dir=token", "user.pin", l.Addr().String())
	if got != "hello, device-7" {
		t.Errorf("the server answered %q", got)
	}
	if _, stderr, err := p.run("", "tls-client", "soft:dir=token", "so.pin", l.Addr().String()); err == nil || !strings.Contains(stderr, "CKR_PIN_INCORRECT") {
		t.Errorf("with a wrong PIN: %v, %q", err, stderr)
	}
}

func testOTAVerify(t *testing.T, p programs, f *factory.Factory) {
	image := bytes.Repeat([]byte("firmware"), 100_000)
	digest := sha256.Sum256(image)
	sig, err := ecdsa.SignASN1(rand.Reader, f.UpdateKey, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "image.sig", sig)
	p.write(t, "image", image)
	if out := p.must(t, "", "ota-verify", "soft:dir=token", "user.pin", "image", "image.sig"); !strings.HasPrefix(out, "ok") {
		t.Errorf("printed %q", out)
	}
	image[len(image)/2] ^= 1
	p.write(t, "image", image)
	_, stderr, err := p.run("", "ota-verify", "soft:dir=token", "user.pin", "image", "image.sig")
	if err == nil || !strings.Contains(stderr, "WRONG SIGNATURE") {
		t.Errorf("a changed image: %v, %q", err, stderr)
	}
	p.write(t, "image.sig", sig[1:])
	if _, stderr, err := p.run("", "ota-verify", "soft:dir=token", "user.pin", "image", "image.sig"); err == nil || !strings.Contains(stderr, "WRONG SIGNATURE") {
		t.Errorf("a damaged signature: %v, %q", err, stderr)
	}
}

func otherCSR(t *testing.T) []byte {
	t.Helper()
	f, err := factory.New()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, f.UpdateKey)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// What the README shows is part of a program that was run.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "```go\n")
	snippet, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("no Go in README.md")
	}
	program, err := os.ReadFile("tls-client/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.ReplaceAll(string(program), "\n\t", "\n"), snippet) {
		t.Errorf("tls-client/main.go does not have what the README shows:\n%s", snippet)
	}
}
