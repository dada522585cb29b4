//go:build linux && !386 && !race

package clients

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/stretchr/testify/require"
)

var (
	update = flag.Bool("update", false, "rewrite docs/interop.md")
	page   = filepath.Join("..", "..", "docs", "interop.md")
)

// A target is a token under a module that C programs load.
type target struct {
	name   string // the column
	module string
	env    []string
	lacks  map[string]string // what it cannot do, and why; by what rows need
	noPIN  bool              // it is initialized, and has no PIN
}

const (
	label = "wall"
	pin   = "12345678"
	soPIN = "87654321"
)

// multiarch is where Debian puts libraries of this machine.
func multiarch() string {
	out, err := exec.Command("gcc", "-print-multiarch").Output()
	if s := strings.TrimSpace(string(out)); err == nil && s != "" {
		return "/usr/lib/" + s
	}
	return "/usr/lib/x86_64-linux-gnu"
}

// build compiles a command of the module.
func build(t *testing.T, dir, command string) string {
	t.Helper()
	bin := filepath.Join(dir, filepath.Base(command))
	cmd := proc.Command(t, "go", "build", "-o", bin, command)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return bin
}

// background runs a program until the end of the test.
func background(t *testing.T, log string, env []string, name string, args ...string) {
	t.Helper()
	f, err := os.Create(log)
	require.NoError(t, err)
	cmd := proc.Command(t, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = f, f
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		done := make(chan struct{})
		go func() { cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-done
		}
		f.Close()
	})
}

func waitFor(t *testing.T, path string) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 2*time.Minute, 5*time.Millisecond, "nobody listens on %s", path)
}

// served is a token of ours behind cryptoki serve.
func served(t *testing.T, dir, cryptoki, name, token string, lacks map[string]string) target {
	t.Helper()
	sub := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(sub, 0o755))
	socket := filepath.Join(sub, "cryptoki.sock")
	background(t, filepath.Join(sub, "serve.log"), nil, cryptoki, "serve", "-t", token, "--socket", socket)
	waitFor(t, socket)
	// Programs that give up root must reach it, too.
	require.NoError(t, os.Chmod(socket, 0o666))
	return target{
		name:   name,
		module: filepath.Join(multiarch(), "pkcs11", "p11-kit-client.so"),
		env:    []string{"P11_KIT_SERVER_ADDRESS=unix:path=" + socket},
		lacks:  lacks,
	}
}

// initToken gives the token its label and PINs.
func initToken(t *testing.T, tg target) {
	t.Helper()
	if tg.noPIN {
		return
	}
	for _, args := range [][]string{
		{"--init-token", "--slot-index", "0", "--label", label, "--so-pin", soPIN},
		{"--init-pin", "--token-label", label, "--login", "--login-type", "so", "--so-pin", soPIN, "--pin", pin},
	} {
		cmd := proc.Command(t, "pkcs11-tool", append([]string{"--module", tg.module}, args...)...)
		cmd.Env = append(os.Environ(), tg.env...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", tg.name, out)
	}
}

// softHSM is the control: a token that all these programs are tested with by
// those who make them.
func softHSM(t *testing.T, dir string) target {
	t.Helper()
	need.File(t, "softhsm2", "/usr/lib/softhsm/libsofthsm2.so")
	sub := filepath.Join(dir, "softhsm")
	require.NoError(t, os.MkdirAll(filepath.Join(sub, "tokens"), 0o755))
	conf := filepath.Join(sub, "softhsm2.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n", sub), 0o644))
	return target{name: "SoftHSM2", module: "/usr/lib/softhsm/libsofthsm2.so", env: []string{"SOFTHSM2_CONF=" + conf}, lacks: map[string]string{
		"threads": "SoftHSM2 2.6 crashes or hangs when threads initialize it at the same time, not always in the same way.",
	}}
}

// An outcome is what a cell of the table says.
type outcome struct {
	mark string // "yes", "no", "gap"
	note string
}

// The wall: every program with every token.
func TestClients(t *testing.T) {
	for _, r := range rows {
		for _, p := range r.programs {
			p.need(t)
		}
	}
	need.File(t, "p11-kit-modules", filepath.Join(multiarch(), "pkcs11", "p11-kit-client.so"))
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	cryptoki := build(t, dir, "./cmd/cryptoki")
	targets := []target{softHSM(t, dir)}
	targets = append(targets, ours(t, dir, cryptoki)...)

	outcomes := make([][]outcome, len(rows))
	for i := range outcomes {
		outcomes[i] = make([]outcome, len(targets))
	}
	ca := newCA(t, dir)
	t.Run("all", func(t *testing.T) {
		for k, tg := range targets {
			t.Run(tg.name, func(t *testing.T) {
				t.Parallel()
				initToken(t, tg)
				prepare(t, tg, ca, dir)
				for i, r := range rows {
					t.Run(r.name, func(t *testing.T) {
						if why := gap(tg, r); why != "" {
							outcomes[i][k] = outcome{"gap", why}
							return
						}
						if err := run(t, tg, r, dir, ca); err != nil {
							outcomes[i][k] = outcome{"no", err.Error()}
							t.Log(err)
							return
						}
						outcomes[i][k] = outcome{mark: "yes"}
					})
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	text := render(targets, outcomes)
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(text), 0o644))
		return
	}
	want, err := os.ReadFile(page)
	require.NoError(t, err)
	compare(t, string(want), text, targets, outcomes)
}

// gap is why a target cannot do what a row needs, "" if it can.
func gap(tg target, r row) string {
	for _, n := range r.needs {
		if why, ok := tg.lacks[n]; ok {
			return why
		}
	}
	return ""
}

// compare fails for every cell that is not what the page says.
func compare(t *testing.T, want, got string, targets []target, outcomes [][]outcome) {
	t.Helper()
	if want == got {
		return
	}
	lines := strings.Split(want, "\n")
	for i, r := range rows {
		line := tableLine(r, outcomes[i])
		if slices.Contains(lines, line) {
			continue
		}
		var notes []string
		for k, o := range outcomes[i] {
			if o.mark == "no" {
				notes = append(notes, targets[k].name+": "+o.note)
			}
		}
		t.Errorf("%s, %s: the page has another line than\n%s\n%s", r.client, r.name, line, strings.Join(notes, "\n"))
	}
	if !t.Failed() {
		t.Errorf("docs/interop.md is not what this test writes: go test ./clients -update")
	}
}

// patience is what a script may take: some seconds, on a machine that does nothing
// else.
const patience = 3 * time.Minute

// run runs a row's script for a target.
func run(t *testing.T, tg target, r row, dir string, ca *authority) error {
	t.Helper()
	work := filepath.Join(dir, strings.ToLower(strings.NewReplacer(" ", "-", "/", "-").Replace(tg.name+"-"+r.client+"-"+r.name)))
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	// A program that hangs is killed with everything that it started.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", prelude+r.script)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), tg.env...)
	cmd.Env = append(cmd.Env, "MODULE="+tg.module, "LABEL="+label, "PIN="+pin, "SOPIN="+soPIN, "HOME="+work, "CA="+ca.dir,
		"DEVICE="+filepath.Join(dir, "device-"+strings.ToLower(tg.name)), "LIBS="+multiarch(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin",
		"LC_ALL=C", "PORT="+freePort())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	setGroup(cmd)
	err := cmd.Run()
	if cmd.Process != nil {
		killGroup(cmd)
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it took longer than %v", patience)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, tail(out.String()))
	}
	return nil
}

// port is the next that freePort tries: below those that the kernel gives away by
// itself, to a client of another row for instance.
var port atomic.Int32

func init() { port.Store(int32(10000 + os.Getpid()%10000)) }

// freePort is a port on which nobody listens, and that no other row is given.
func freePort() string {
	for range 10000 {
		address := fmt.Sprintf("127.0.0.1:%d", port.Add(1))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return strings.TrimPrefix(address, "127.0.0.1:")
		}
	}
	return "0"
}

func tail(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 1500 {
		s = "… " + s[len(s)-1500:]
	}
	return s
}
