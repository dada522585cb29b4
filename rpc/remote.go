package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func init() {
	cryptoki.RegisterModule("unix", func(ctx context.Context, p *driver.Params) (cryptoki.Module, error) {
		path := p.String("path", "")
		opts := &ClientOptions{Timeout: time.Duration(p.Int("timeout", 60, 1, 86400)) * time.Second}
		if err := p.Unused(); err != nil {
			return nil, err
		}
		if path == "" {
			return nil, fmt.Errorf("%w: give the path of the server's socket: unix:path=/run/cryptoki/cryptoki.sock", pkcs11.CKR_ARGUMENTS_BAD)
		}
		return Dial(ctx, path, opts)
	})
	cryptoki.RegisterModule("p11-kit-remote", func(ctx context.Context, p *driver.Params) (cryptoki.Module, error) {
		module := p.String("module", "")
		opts := &ClientOptions{Timeout: time.Duration(p.Int("timeout", 60, 1, 86400)) * time.Second}
		if err := p.Unused(); err != nil {
			return nil, err
		}
		if module == "" {
			return nil, fmt.Errorf("%w: give the module: p11-kit-remote:module=/usr/lib/softhsm/libsofthsm2.so", pkcs11.CKR_ARGUMENTS_BAD)
		}
		return Remote(ctx, module, opts)
	})
}

// Remote runs a vendor's module, a shared library, in a process of its own,
// which p11-kit's command "p11-kit remote" provides, and returns it. If the
// module crashes, calls under way fail with CKR_DEVICE_REMOVED and the next call
// starts it again. If it hangs, they fail when their deadline or opts.Timeout is
// over, and once a call has gone without an answer for opts.Timeout, the process
// is killed. The process gets the environment of this one, and ends with Close.
func Remote(ctx context.Context, module string, opts *ClientOptions) (*Client, error) {
	info, err := os.Stat(module)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is no file; give the module's shared library", pkcs11.CKR_ARGUMENTS_BAD, module)
	}
	path, err := exec.LookPath("p11-kit")
	if err != nil {
		return nil, fmt.Errorf("%w: the command p11-kit runs foreign modules; install the package p11-kit: %w", pkcs11.CKR_FUNCTION_FAILED, err)
	}
	c, err := Command(ctx, opts, path, "remote", module)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) { // it ended at once
		err = fmt.Errorf("%w; is it a PKCS #11 library, and for this machine?", err)
	}
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", module, err)
	}
	return c, nil
}

// Command runs a program that speaks the protocol on its standard input and
// output, and returns the module behind it. See Remote.
func Command(ctx context.Context, opts *ClientOptions, name string, args ...string) (*Client, error) {
	return NewClient(ctx, func(context.Context) (io.ReadWriteCloser, error) { return start(name, args...) }, opts)
}

// A process is a program with pipes to it.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	said  tail
	close sync.Once
	gone  chan struct{} // closed when the process is no more, and all it said is in said

	patience time.Duration // as it was at the start: a test changes it meanwhile

	mu     sync.Mutex
	failed error // the first error of a pipe that nobody had closed
}

// patience is how long a program may take to go after the end of its input. Tests
// change it.
var patience = 2 * time.Second

func start(name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), gone: make(chan struct{}), patience: patience}
	p.cmd.Stderr = &p.said
	p.cmd.WaitDelay = p.patience // for children that keep its standard error
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	return n, p.explain(err)
}

func (p *process) Write(b []byte) (int, error) {
	n, err := p.in.Write(b)
	return n, p.explain(err)
}

// An explained error says how the program ended already.
type explained struct{ error }

func (e *explained) Unwrap() error { return e.error }

// explain adds to an error, after which the program is of no use, how it ended
// and what it said before. It closes the pipes, also for whoever uses the other one
// at the same time: who finds his closed by that gets the error that was the reason.
func (p *process) explain(err error) error {
	if err = p.reason(err); err == nil || errors.Is(err, os.ErrClosed) || errors.As(err, new(*explained)) {
		return err
	}
	p.Close()
	<-p.gone
	// Not its ordinary end, nor that of its pipes.
	if state := p.cmd.ProcessState; state != nil && !state.Success() {
		err = fmt.Errorf("%w; %s: %v", err, p.cmd.Path, state)
	}
	if said := p.said.String(); said != "" {
		err = fmt.Errorf("%w; %s said: %s", err, p.cmd.Path, said)
	}
	return &explained{err}
}

// reason returns err, or the first error if err is no more than a consequence.
func (p *process) reason(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
	case errors.Is(err, os.ErrClosed):
		if p.failed != nil {
			return p.failed
		}
	case p.failed == nil:
		p.failed = err
	}
	return err
}

// Close ends the program: by the end of its input, by force if it does not go.
// It does not wait for that.
func (p *process) Close() error {
	p.close.Do(func() {
		p.in.Close()
		p.out.Close()
		go func() {
			force := time.AfterFunc(p.patience, func() { p.cmd.Process.Kill() })
			p.cmd.Wait()
			force.Stop()
			close(p.gone)
		}()
	})
	return nil
}

// A tail keeps the end of what a program writes to its standard error.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 2000

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if n := len(t.b) - maxTail; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.b)), " ")
}
