//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

// Package processes_test has processes that share a token, and kills them.
package processes_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/conformance/model"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The test binary is its own second process: SOFT_CHILD says what it does, its
// arguments follow.
func TestMain(m *testing.M) {
	if child := os.Getenv("SOFT_CHILD"); child != "" {
		if err := children[child](context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var children = map[string]func(ctx context.Context, args []string) error{
	"change": childChange,
	"model":  childModel,
	"hold":   childHold,
}

func child(t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	c := proc.Command(t, exe, args...)
	c.Env = append(os.Environ(), "SOFT_CHILD="+what)
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	soPIN    = []byte("so-pin-87654321")
	userPINs = [][]byte{[]byte("user-pin-123456"), []byte("user-pin-654321")}
)

// A process is a token as one process has it open.
type process struct {
	*cryptoki.Token
	module cryptoki.Module
	flash  *fileflash.Store
	soft   *soft.Token
}

// open opens the token of a directory. pin is the index of the user's PIN.
func open(ctx context.Context, dir string, pin int, opts fileflash.Options) (*process, error) {
	flash, err := fileflash.Open(dir, &opts)
	if err != nil {
		return nil, err
	}
	p := &process{flash: flash}
	// Argon2id is not what is tested.
	if p.soft, err = soft.New(flash, &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}}); err != nil {
		return nil, errors.Join(err, flash.Close())
	}
	if p.module, err = cryptoki.NewModule(nil, p.soft); err != nil {
		return nil, errors.Join(err, flash.Close())
	}
	p.Token, err = cryptoki.NewToken(ctx, p.module, 1, &cryptoki.Options{
		PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
			return slices.Clone(userPINs[pin]), nil
		},
	})
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *process) close() error {
	var err error
	if p.Token != nil {
		err = p.Token.Close()
	}
	return errors.Join(err, p.module.Close(), p.flash.Close())
}

func mustOpen(t *testing.T, dir string, pin int, opts fileflash.Options) *process {
	t.Helper()
	p, err := open(t.Context(), dir, pin, opts)
	must(t, err)
	t.Cleanup(func() { p.close() })
	return p
}

// newToken makes a token in a new directory.
func newToken(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	p := mustOpen(t, dir, 0, fileflash.Options{})
	must(t, p.Initialize(t.Context(), cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPINs[0]}))
	must(t, p.close())
	return dir
}

// list describes all objects, sorted.
func (p *process) list(ctx context.Context) ([]string, error) {
	objects, err := p.Objects(ctx, nil)
	if err != nil {
		return nil, err
	}
	lines := make([]string, len(objects))
	for i, o := range objects {
		lines[i] = fmt.Sprintf("%v %s", o.Class, o.Label)
	}
	slices.Sort(lines)
	return lines, nil
}

// childModel makes random calls through the core beside other processes, each
// compared with a model, and tells which objects it leaves.
func childModel(ctx context.Context, args []string) error {
	number, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	calls, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	p, err := open(ctx, args[0], 0, fileflash.Options{})
	if err != nil {
		return err
	}
	defer p.close()
	anchor, err := p.module.OpenSession(ctx, 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	if err := anchor.Login(ctx, pkcs11.CKU_USER, userPINs[0]); err != nil {
		return err
	}
	left, err := model.Beside(ctx, p.module, model.Config{UserPIN: userPINs[0], SOPIN: soPIN, LoginToWrite: true, Calls: calls, Seed: 1}, number)
	if err != nil {
		return err
	}
	for _, line := range left {
		fmt.Println(line)
	}
	return nil
}

// TestEightProcesses: eight processes make 200 random calls each on one token. No
// call does what its model does not, and the objects in the end are those of the
// models; a reader that was there all the time sees them, too.
func TestEightProcesses(t *testing.T) {
	const processes, calls = 8, 200
	dir := newToken(t)
	reader := mustOpen(t, dir, 0, fileflash.Options{})
	running := make([]*exec.Cmd, processes)
	outputs := make([]strings.Builder, 2*processes)
	for i := range running {
		c := child(t, "model", dir, strconv.Itoa(i), strconv.Itoa(calls))
		c.Stdout, c.Stderr = &outputs[2*i], &outputs[2*i+1]
		must(t, c.Start())
		running[i] = c
	}
	done := make(chan error, processes)
	for i, c := range running {
		go func() {
			err := c.Wait()
			if err != nil {
				err = fmt.Errorf("process %d: %w: %s", i, err, &outputs[2*i+1])
			}
			done <- err
		}()
	}
	searches := 0
	for left := processes; left > 0; {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			left--
		default: // meanwhile it reads
			if _, err := reader.list(t.Context()); err != nil {
				t.Fatal(err)
			}
			searches++
		}
	}
	want := map[string]bool{}
	for i := range running {
		for line := range strings.Lines(outputs[2*i].String()) {
			want[strings.TrimSpace(line)] = true
		}
	}
	if len(want) < processes {
		t.Errorf("only %d objects are left", len(want))
	}
	for name, p := range map[string]*process{"the reader": reader, "a new process": mustOpen(t, dir, 0, fileflash.Options{})} {
		_, err := p.list(t.Context()) // logs in, and looks what has changed
		must(t, err)
		objects, err := p.soft.Objects(t.Context())
		must(t, err)
		got := map[string]bool{}
		for _, o := range objects {
			a := o.Attributes()
			id := a.Bytes(pkcs11.CKA_ID)
			if len(id) == 0 {
				id = a.Bytes(pkcs11.CKA_OBJECT_ID)
			}
			got[model.Describe(pkcs11.ObjectClass(a.Uint(pkcs11.CKA_CLASS)), a.Text(pkcs11.CKA_LABEL), id)] = true
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s sees\n%s\nthe models\n%s", name, strings.Join(slices.Sorted(maps.Keys(got)), "\n"), strings.Join(slices.Sorted(maps.Keys(want)), "\n"))
		}
	}
	t.Logf("%d objects, %d searches of the reader", len(want), searches)
}
