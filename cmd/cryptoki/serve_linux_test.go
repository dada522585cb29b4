package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/rpc"
)

// The daemon as systemd runs it: the socket is passed, and readiness, reloading,
// the watchdog and stopping are reported.
func TestServeUnderSystemd(t *testing.T) {
	program, err := exec.LookPath("cryptoki")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	token := "soft:dir=" + filepath.Join(dir, "token")
	tk, err := cryptoki.Open(t.Context(), token+";create=true", nil)
	require.NoError(t, err)
	require.NoError(t, tk.Initialize(t.Context(), cryptoki.Setup{Label: "gateway", SOPIN: []byte("87654321"), UserPIN: []byte("12345678")}))
	require.NoError(t, tk.Close())
	conf := filepath.Join(dir, "cryptoki.toml")
	write := func(text string) { require.NoError(t, os.WriteFile(conf, []byte(text), 0o600)) }
	write("[[token]]\nname = \"" + token + "\"\n")

	socket := filepath.Join(dir, "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	require.NoError(t, err)
	passed, err := l.File()
	require.NoError(t, err)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	require.NoError(t, err)
	defer notify.Close()
	heard := make(chan string, 100)
	go func() {
		b := make([]byte, 1000)
		for {
			n, err := notify.Read(b)
			if err != nil {
				close(heard)
				return
			}
			heard <- string(b[:n])
		}
	}()
	// until waits for a message, and skips others: the watchdog's come for ever.
	until := func(want string) {
		t.Helper()
		for late := time.After(time.Minute); ; {
			select {
			case got, ok := <-heard:
				require.True(t, ok, "nothing more is heard")
				if strings.HasPrefix(got, want) {
					return
				}
			case <-late:
				t.Fatalf("no %s", want)
			}
		}
	}

	// systemd names the process that the socket is for.
	cmd := proc.Command(t, "sh", "-c", `LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0" serve --config "$1"`, program, conf)
	cmd.ExtraFiles = []*os.File{passed}
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "WATCHDOG_USEC=300000")
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	passed.Close()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()

	until("READY=1")
	c, err := rpc.Dial(t.Context(), socket, nil)
	require.NoError(t, err)
	info, err := c.TokenInfo(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, "gateway", info.Label)
	until("WATCHDOG=1")

	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	until("RELOADING=1\nMONOTONIC_USEC=")
	until("READY=1")
	write("[[tokens]]\n")
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	until("RELOADING=1")
	until("READY=1")

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	until("STOPPING=1")
	require.NoError(t, <-done)
	require.Contains(t, log.String(), "configuration reloaded")
	require.Contains(t, log.String(), `unknown key \"tokens\"`)
	_, err = os.Stat(socket)
	require.NoError(t, err, "the socket is systemd's and stays")
	require.NoError(t, l.Close())
	_, err = c.TokenInfo(t.Context(), 1)
	require.Error(t, err)
	c.Close()
}

// A device that never answers holds a command, but not against a second signal.
func TestSignals(t *testing.T) {
	program, err := exec.LookPath("cryptoki")
	require.NoError(t, err)
	socket := filepath.Join(t.TempDir(), "tpm")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	cmd := proc.Command(t, program, "list", "-t", "tpm:dir="+t.TempDir()+";swtpm=unix:"+socket)
	require.NoError(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	c, err := l.Accept()
	require.NoError(t, err)
	defer c.Close()
	_, err = io.ReadFull(c, make([]byte, 10))
	require.NoError(t, err, "the header of a command")
	// The program is not seen to have taken the first one: so many until it ends.
	again, late := time.NewTicker(10*time.Millisecond), time.After(time.Minute)
	defer again.Stop()
	for {
		select {
		case err := <-done:
			status := err.(*exec.ExitError).Sys().(syscall.WaitStatus)
			require.True(t, status.Signaled() && status.Signal() == syscall.SIGTERM, "%v", err)
			return
		case <-again.C:
			cmd.Process.Signal(syscall.SIGTERM)
		case <-late:
			t.Fatal("it waits for the device still")
		}
	}
}

// A reload that is asked for before the daemon is ready does not end it.
func TestServeReloadsEarly(t *testing.T) {
	program, err := exec.LookPath("cryptoki")
	require.NoError(t, err)
	dir := t.TempDir()
	bus, err := net.Listen("unix", filepath.Join(dir, "bus"))
	require.NoError(t, err)
	defer bus.Close()
	cmd := proc.Command(t, program, "serve", "-t", "atecc608:bus=unix:"+bus.Addr().String()+";dir="+dir, "--socket", filepath.Join(dir, "socket"))
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	chip, err := bus.Accept() // which does not answer, and then is gone
	require.NoError(t, err)
	_, err = chip.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGHUP))
	require.NoError(t, chip.Close())
	cmd.Wait()
	require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%v", cmd.ProcessState)
	require.Contains(t, log.String(), "i2csock")
}

// The units that the documentation offers name what the command has.
func TestUnits(t *testing.T) {
	service, err := os.ReadFile(filepath.Join("..", "..", "systemd", "cryptoki.service"))
	require.NoError(t, err)
	require.Contains(t, string(service), "ExecStart=/usr/local/bin/cryptoki serve\n")
	require.Contains(t, string(service), "RestartSec=5\n", "five starts in 10 s are the last ones")
	analyze := need.Program(t, "systemd-analyze", "systemd")
	dir := t.TempDir()
	for _, unit := range []string{"cryptoki.service", "cryptoki.socket"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "systemd", unit))
		require.NoError(t, err)
		b = bytes.ReplaceAll(b, []byte("/usr/local/bin/cryptoki"), []byte("/bin/true"))
		b = bytes.ReplaceAll(b, []byte("ExecReload=kill"), []byte("ExecReload=/bin/kill"))
		b = bytes.ReplaceAll(b, []byte("User=cryptoki\n"), nil)
		require.NoError(t, os.WriteFile(filepath.Join(dir, unit), b, 0o644))
	}
	out, err := proc.Command(t, analyze, "verify", filepath.Join(dir, "cryptoki.service"), filepath.Join(dir, "cryptoki.socket")).CombinedOutput()
	require.NotContains(t, string(out), "cryptoki.s", "%v", err)
}
