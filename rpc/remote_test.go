//go:build unix

package rpc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/go-cryptoki/cryptoki/rpc"
	"github.com/stretchr/testify/require"
)

const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// softHSMConf makes a SoftHSM2 of its own for a test.
func softHSMConf(t testing.TB) {
	t.Helper()
	need.File(t, "softhsm2", softHSM)
	need.Program(t, "p11-kit", "p11-kit p11-kit-modules")
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	require.NoError(t, os.Mkdir(tokens, 0o700))
	conf := filepath.Join(dir, "softhsm2.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens), 0o600))
	t.Setenv("SOFTHSM2_CONF", conf)
}

// remote returns SoftHSM2 in a process of its own, with a token.
func remote(t testing.TB, opts *rpc.ClientOptions) *rpc.Client {
	t.Helper()
	softHSMConf(t)
	first, err := rpc.Remote(t.Context(), softHSM, nil)
	require.NoError(t, err)
	slots, err := first.Slots(t.Context(), true)
	require.NoError(t, err)
	token, err := cryptoki.NewToken(t.Context(), first, slots[0], nil)
	require.NoError(t, err)
	require.NoError(t, token.Initialize(t.Context(), cryptoki.Setup{Label: "hsm", SOPIN: []byte("87654321"), UserPIN: []byte("12345678")}))
	token.Close()
	require.NoError(t, first.Close())
	// SoftHSM2 gives the token's slot its lasting number when it starts.
	ctx, cancel := patient(t)
	defer cancel()
	m, err := rpc.Remote(ctx, softHSM, opts)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// patient is a context for a call that succeeds, whatever the timeout of the module
// is: the machine may be slow.
func patient(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), time.Minute)
}

// tokenOf returns the token of a module.
func tokenOf(t testing.TB, m cryptoki.Module) *cryptoki.Token {
	t.Helper()
	slots, err := m.Slots(t.Context(), true)
	require.NoError(t, err)
	token, err := cryptoki.NewToken(t.Context(), m, slots[0], &cryptoki.Options{PIN: pinOf("12345678")})
	require.NoError(t, err)
	return token
}

func signal(t testing.TB, pid int, s syscall.Signal) {
	t.Helper()
	require.NotZero(t, pid)
	require.NoError(t, syscall.Kill(pid, s))
}

// gone waits until there is no such process, dead ones that nobody has waited for
// included.
func gone(t testing.TB, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH }, time.Minute, time.Millisecond)
}

func TestRemote(t *testing.T) {
	ctx := t.Context()
	m := remote(t, nil)
	info, err := m.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, "SoftHSM", info.ManufacturerID)
	require.Equal(t, pkcs11.Version{Major: 2, Minor: 40}, info.CryptokiVersion)
	pid := m.PID()
	require.NoError(t, m.Close())
	gone(t, pid)
	_, err = m.Info(ctx)
	require.ErrorIs(t, err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
}

// A token of a foreign module does what other tokens do.
func TestRemoteToken(t *testing.T) {
	ctx := t.Context()
	remote(t, nil)
	token, err := cryptoki.Open(ctx, "p11-kit-remote:module="+softHSM+";token=hsm", &cryptoki.Options{PIN: pinOf("12345678")})
	require.NoError(t, err)
	defer token.Close()
	for _, kind := range []cryptoki.Algorithm{cryptoki.P256, cryptoki.P384, cryptoki.RSA2048} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			name := fmt.Sprint("key ", kind)
			made, err := token.GenerateKey(ctx, cryptoki.KeySpec{Label: name, Algorithm: kind})
			require.NoError(t, err)
			signer, err := token.Signer(ctx, name)
			require.NoError(t, err)
			require.Equal(t, made.Public(), signer.Public())
			digest := sha256.Sum256([]byte("message"))
			sig, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
			require.NoError(t, err)
			switch pub := signer.Public().(type) {
			case *ecdsa.PublicKey:
				require.True(t, ecdsa.VerifyASN1(pub, digest[:], sig))
			case *rsa.PublicKey:
				require.NoError(t, rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig))
			}
			handshake(t, token, name)
		})
	}
}

// handshake authenticates a TLS client with a key of the token.
func handshake(t *testing.T, token *cryptoki.Token, name string) {
	t.Helper()
	ctx := t.Context()
	signer, err := token.Signer(ctx, name)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"device"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, signer.Public(), signer)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.NoError(t, token.ImportCertificate(ctx, name, cert))
	pair, err := token.TLSCertificate(ctx, name, name)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)

	a, b := net.Pipe()
	server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
	client := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "device"})
	done := make(chan error, 1)
	go func() {
		done <- server.HandshakeContext(ctx)
		a.Close()
	}()
	err = client.HandshakeContext(ctx)
	_, readErr := client.Read(make([]byte, 1)) // the server's verdict on the certificate
	require.NoError(t, <-done)
	require.NoError(t, err)
	require.Error(t, readErr)
}

// The module dies in the middle of a call: that is lost, and the next one starts
// it again.
func TestRemoteCrash(t *testing.T) {
	ctx := t.Context()
	m := remote(t, nil)
	token := tokenOf(t, m)
	_, err := token.GenerateKey(ctx, cryptoki.KeySpec{Label: "key", Algorithm: cryptoki.P256})
	require.NoError(t, err)
	signer, err := token.Signer(ctx, "key")
	require.NoError(t, err)
	s, err := m.OpenSession(ctx, token.Slot(), pkcs11.CKF_SERIAL_SESSION)
	require.NoError(t, err)

	pid := m.PID()
	signal(t, pid, syscall.SIGSTOP)
	failed := make(chan error)
	go func() { failed <- s.GenerateRandom(ctx, make([]byte, 8)) }()
	require.Eventually(t, func() bool { return m.Waiting() == 1 }, time.Minute, time.Millisecond)
	signal(t, pid, syscall.SIGKILL)
	err = <-failed
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_REMOVED)
	require.ErrorContains(t, err, "signal: killed")
	gone(t, pid)

	_, err = s.Info(ctx)
	require.ErrorIs(t, err, pkcs11.CKR_SESSION_HANDLE_INVALID)
	_, err = m.Info(ctx)
	require.NoError(t, err)
	require.NotEqual(t, pid, m.PID())
	// What the token holds is there as before, and so is the login.
	digest := sha256.Sum256(nil)
	sig, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	require.NoError(t, err)
	require.True(t, ecdsa.VerifyASN1(signer.Public().(*ecdsa.PublicKey), digest[:], sig))
}

// The module dies while nobody asks anything.
func TestRemoteCrashBetweenCalls(t *testing.T) {
	m := remote(t, nil)
	pid := m.PID()
	signal(t, pid, syscall.SIGKILL)
	gone(t, pid)
	_, err := m.Info(t.Context())
	if err != nil { // it was noticed by this call, or before
		require.ErrorIs(t, err, pkcs11.CKR_DEVICE_REMOVED)
		_, err = m.Info(t.Context())
	}
	require.NoError(t, err)
}

// A module that hangs is killed when its time is over.
func TestRemoteHang(t *testing.T) {
	m := remote(t, &rpc.ClientOptions{Timeout: 300 * time.Millisecond})
	pid := m.PID()
	signal(t, pid, syscall.SIGSTOP)
	_, err := m.Info(t.Context())
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
	require.ErrorContains(t, err, "300ms")
	gone(t, pid)
	require.NoError(t, retry(t, m))
}

// retry asks a module that has gone: the first call may be the one that notices.
func retry(t testing.TB, m *rpc.Client) (err error) {
	ctx, cancel := patient(t)
	defer cancel()
	for range 20 {
		if _, err = m.Info(ctx); err == nil {
			return nil
		}
	}
	return err
}

// hurry asks with a deadline that a module that is stopped does not keep.
func hurry(t testing.TB, m *rpc.Client) error {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := m.Info(ctx)
	return err
}

// The caller's deadline ends a call, and not the module: the caller may have been in
// a hurry.
func TestRemoteDeadline(t *testing.T) {
	m := remote(t, nil)
	pid := m.PID()
	signal(t, pid, syscall.SIGSTOP)
	err := hurry(t, m)
	require.ErrorIs(t, err, pkcs11.CKR_FUNCTION_CANCELED)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	signal(t, pid, syscall.SIGCONT)
	_, err = m.Info(t.Context())
	require.NoError(t, err, "the late answer was taken for that of this call")
	require.Equal(t, pid, m.PID())
}

// A module that has answered nobody within its own time is killed, however little
// time the callers give it.
func TestRemoteDeadlines(t *testing.T) {
	m := remote(t, &rpc.ClientOptions{Timeout: 300 * time.Millisecond})
	pid := m.PID()
	signal(t, pid, syscall.SIGSTOP)
	require.Eventually(t, func() bool { hurry(t, m); return m.PID() != pid }, time.Minute, time.Millisecond)
	gone(t, pid)
}

// A module that does not even read is no reason to wait.
func TestRemoteDoesNotRead(t *testing.T) {
	m := remote(t, nil)
	token := tokenOf(t, m)
	s, err := token.Module().OpenSession(t.Context(), token.Slot(), pkcs11.CKF_SERIAL_SESSION)
	require.NoError(t, err)
	require.NoError(t, s.DigestInit(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_SHA256}))
	pid := m.PID()
	signal(t, pid, syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var calls sync.WaitGroup
	for range 2 { // one fills the pipe, the other waits for its turn
		calls.Go(func() {
			err := s.DigestUpdate(ctx, make([]byte, 1<<20))
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
	calls.Wait()
	gone(t, pid) // half of a call cannot be taken back
	_, err = m.Info(t.Context())
	require.NoError(t, err)
}

// A program that hangs is killed as soon as its time is over: this one may end
// before it could do so later.
func TestRemoteHangLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		hang  string // after it has written its number
		limit time.Duration
		text  string
	}{
		{"before the greeting", "exec sleep 10000", 0, "no answer within 500ms"},
		{"before it is initialized", "head -c 1; exec sleep 10000", 0, "no answer within 500ms"},
		{"for the caller", "head -c 1; exec sleep 10000", 500 * time.Millisecond, "context deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rpc.SetPatience(t, time.Hour)
			file := filepath.Join(t.TempDir(), "pid")
			var pid int
			for pid == 0 { // on a slow machine its time may be over before it has begun
				ctx := t.Context()
				if c.limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.limit)
					defer cancel()
				}
				_, err := rpc.Command(ctx, &rpc.ClientOptions{Timeout: 500 * time.Millisecond}, "/bin/sh", "-c", "echo $$ > "+file+"; "+c.hang)
				require.ErrorContains(t, err, c.text)
				text, _ := os.ReadFile(file)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
			}
			gone(t, pid)
		})
	}
	t.Run("in a call", func(t *testing.T) {
		rpc.SetPatience(t, time.Hour)
		m := remote(t, &rpc.ClientOptions{Timeout: 300 * time.Millisecond})
		for name, call := range map[string]func() error{
			"a question":    func() error { _, err := m.Info(t.Context()); return err },
			"initializing":  func() error { return m.InitToken(t.Context(), 0, []byte("12345678"), "x") },
			"a slot's call": func() error { return m.CloseAllSessions(t.Context(), 0) },
		} {
			require.NoError(t, retry(t, m))
			pid := m.PID()
			signal(t, pid, syscall.SIGSTOP)
			err := call()
			require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR, name)
			require.ErrorContains(t, err, "no answer within 300ms", name)
			gone(t, pid)
		}
		require.NoError(t, retry(t, m))
		pid := m.PID()
		signal(t, pid, syscall.SIGSTOP)
		require.NoError(t, m.Close())
		gone(t, pid)
	})
}

// Closing does not wait for a module that hangs, and leaves nothing of it.
func TestRemoteCloseOfAHungModule(t *testing.T) {
	m := remote(t, nil)
	pid := m.PID()
	signal(t, pid, syscall.SIGSTOP)
	require.NoError(t, m.Close())
	gone(t, pid)
}

func TestRemoteRefuses(t *testing.T) {
	need.Program(t, "p11-kit", "p11-kit p11-kit-modules")
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	require.NoError(t, os.WriteFile(text, []byte("This is no module."), 0o600))
	for _, c := range []struct {
		name, module string
		code         pkcs11.Error
		text         string
	}{
		{"a file that is not there", filepath.Join(dir, "none.so"), pkcs11.CKR_ARGUMENTS_BAD, "none.so"},
		{"a directory", dir, pkcs11.CKR_ARGUMENTS_BAD, dir},
		{"a file that is no library", text, pkcs11.CKR_DEVICE_ERROR, "is it a PKCS #11 library"},
		{"nothing", "", pkcs11.CKR_ARGUMENTS_BAD, "p11-kit-remote:module="},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := cryptoki.Open(t.Context(), "p11-kit-remote:module="+c.module, nil)
			require.ErrorIs(t, err, c.code)
			require.ErrorContains(t, err, c.text)
		})
	}
	t.Run("a library that is no module", func(t *testing.T) {
		libraries, err := filepath.Glob("/usr/lib/*/libp11-kit.so.0")
		require.NoError(t, err)
		require.NotEmpty(t, libraries)
		_, err = rpc.Remote(t.Context(), libraries[0], nil)
		require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
		require.ErrorContains(t, err, libraries[0])
	})
	t.Run("an option that is none", func(t *testing.T) {
		_, err := cryptoki.Open(t.Context(), "p11-kit-remote:modul="+text, nil)
		require.ErrorContains(t, err, "modul")
	})
	t.Run("without p11-kit", func(t *testing.T) {
		t.Setenv("PATH", dir)
		_, err := rpc.Remote(t.Context(), text, nil)
		require.ErrorIs(t, err, pkcs11.CKR_FUNCTION_FAILED)
		require.ErrorContains(t, err, "install the package p11-kit")
	})
	t.Run("a module that does not initialize", func(t *testing.T) {
		need.File(t, "softhsm2", softHSM)
		t.Setenv("SOFTHSM2_CONF", filepath.Join(dir, "none.conf"))
		_, err := rpc.Remote(t.Context(), softHSM, nil)
		require.ErrorIs(t, err, pkcs11.CKR_GENERAL_ERROR)
		require.ErrorContains(t, err, softHSM)
		require.ErrorContains(t, err, "C_Initialize")
	})
}

// What a program says before it goes is in the error.
func TestCommandSays(t *testing.T) {
	for _, c := range []struct{ name, script, text string }{
		{"at once", "echo the licence is over >&2; exit 3", "exit status 3; /bin/sh said: the licence is over"},
		{"after the greeting", "head -c 1; echo the licence >&2; echo is over >&2", "/bin/sh said: the licence is over"},
		{"when it has closed its input only", "dd bs=1 count=1 >/dev/null 2>&1; exec <&-; printf '\\002'; echo the licence is over >&2; sleep 0.1", "/bin/sh said: the licence is over"},
		{"much", "yes much | head -c 100000 >&2; echo the end >&2; exit 1", "the end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := rpc.Command(t.Context(), nil, "/bin/sh", "-c", c.script)
			require.Error(t, err)
			require.ErrorContains(t, err, c.text)
			require.Less(t, len(err.Error()), 3000)
			require.Equal(t, 1, strings.Count(err.Error(), c.text), "%v", err)
		})
	}
	_, err := rpc.Command(t.Context(), nil, filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_REMOVED)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Goroutines share one module, and two modules do not know of each other.
func TestRemoteConcurrent(t *testing.T) {
	ctx := t.Context()
	first := remote(t, nil)
	a := tokenOf(t, first)
	second := remote(t, nil) // with a configuration, and tokens, of its own
	b := tokenOf(t, second)
	require.NotEqual(t, first.PID(), second.PID())
	_, err := a.GenerateKey(ctx, cryptoki.KeySpec{Label: "key", Algorithm: cryptoki.P256})
	require.NoError(t, err)
	_, err = b.Signer(ctx, "key")
	require.Error(t, err, "the key of the first module")
	_, err = b.GenerateKey(ctx, cryptoki.KeySpec{Label: "key", Algorithm: cryptoki.P256})
	require.NoError(t, err)

	var group sync.WaitGroup
	errs := make(chan error, 16)
	for i := range cap(errs) {
		token := []*cryptoki.Token{a, b}[i%2]
		group.Go(func() {
			signer, err := token.Signer(ctx, "key")
			if err != nil {
				errs <- err
				return
			}
			for j := range 20 {
				digest := sha256.Sum256(fmt.Append(nil, i, j))
				sig, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
				if err != nil || !ecdsa.VerifyASN1(signer.Public().(*ecdsa.PublicKey), digest[:], sig) {
					errs <- fmt.Errorf("signature %d of goroutine %d: %v", j, i, err)
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	// One that dies does not take the other with it.
	signal(t, first.PID(), syscall.SIGKILL)
	_, err = second.Info(ctx)
	require.NoError(t, err)
}

// No goroutine is left of modules that came and went.
func TestRemoteLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	m := remote(t, nil)
	for range 5 {
		pid := m.PID()
		signal(t, pid, syscall.SIGKILL)
		gone(t, pid)
		require.NoError(t, retry(t, m))
	}
	require.NoError(t, m.Close())
	// The condition has a goroutine of its own.
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, time.Minute, time.Millisecond)
}
