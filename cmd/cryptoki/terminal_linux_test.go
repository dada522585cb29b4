package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"golang.org/x/sys/unix"
)

// A console is a terminal with the program at it.
type console struct {
	t      *testing.T
	keys   *os.File // what a person types, and sees
	tty    *os.File
	screen bytes.Buffer
	cmd    *exec.Cmd
}

// newConsole starts the program with a terminal of its own, to which standard
// output and error go too.
func newConsole(t *testing.T, args ...string) *console {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		need.Missing(t, "no pseudo-terminals here: %v; mount devpts", err)
	}
	t.Cleanup(func() { keys.Close() })
	raw, err := keys.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	c := &console{t: t, keys: keys, tty: tty}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// testscript.Main makes the test binary the program of the name it is called by.
	link := filepath.Join(t.TempDir(), "cryptoki")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	c.cmd = proc.Command(t, link, args...)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = tty, tty, tty
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// expect reads what appears until text does.
func (c *console) expect(text string) {
	c.t.Helper()
	seen := c.screen.Len()
	c.keys.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4096)
	for !strings.Contains(c.screen.String()[seen:], text) {
		n, err := c.keys.Read(buf)
		if err != nil {
			c.t.Fatalf("waiting for %q: %v; on the screen: %q", text, err, &c.screen)
		}
		c.screen.Write(buf[:n])
	}
}

func (c *console) send(keys string) {
	c.t.Helper()
	if _, err := io.WriteString(c.keys, keys); err != nil {
		c.t.Fatal(err)
	}
}

// echo reports whether the terminal shows what is typed.
func (c *console) echo() bool {
	c.t.Helper()
	mode, err := unix.IoctlGetTermios(int(c.tty.Fd()), unix.TCGETS)
	if err != nil {
		c.t.Fatal(err)
	}
	return mode.Lflag&unix.ECHO != 0
}

// wait waits for the program to end and returns its exit status.
func (c *console) wait() int {
	c.t.Helper()
	err := c.cmd.Wait()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		c.t.Fatal(err)
	}
	return c.cmd.ProcessState.ExitCode()
}

// A PIN that is typed is not shown, and the terminal is afterwards as it was.
func TestTypedPIN(t *testing.T) {
	const so, user = "2468-so", "1357-user"
	name := "soft:dir=" + filepath.Join(t.TempDir(), "token")
	c := newConsole(t, "-t", name, "init", "--label", "gateway")
	for _, step := range []struct{ prompt, keys string }{
		{"new SO PIN: ", so}, {"new SO PIN again: ", so}, {"new user PIN: ", user}, {"new user PIN again: ", user},
	} {
		c.expect(step.prompt)
		if c.echo() {
			t.Errorf("%q: the terminal shows what is typed", step.prompt)
		}
		c.send(step.keys + "\n")
	}
	c.expect("is ready")
	if status := c.wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for _, pin := range []string{so, user} {
		if strings.Contains(c.screen.String(), pin) {
			t.Errorf("a PIN is on the screen: %q", &c.screen)
		}
	}
	if !c.echo() {
		t.Error("the terminal stays without echo")
	}

	// ^C at the question ends the program and leaves the terminal in order.
	c = newConsole(t, "-t", name, "keygen", "k")
	c.expect(`user PIN of token "gateway": `)
	c.send("1357\x03")
	c.expect("cryptoki: interrupted")
	if status := c.wait(); status != 1 {
		t.Errorf("exit status %d after ^C", status)
	}
	if !c.echo() {
		t.Error("the terminal stays without echo after ^C")
	}

	// Binary does not go to a terminal.
	c = newConsole(t, "-t", name, "random", "32")
	c.expect("binary does not go to a terminal")
	if status := c.wait(); status != 2 {
		t.Errorf("exit status %d for binary on a terminal", status)
	}
}
