package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/google/go-tpm/tpm2/transport"
	"golang.org/x/sys/unix"
)

// Device returns a Dialer of a TPM device: /dev/tpmrm0, which is behind the
// resource manager of Linux, or /dev/tpm0, which serves one process at a time.
func Device(path string) Dialer {
	return func(ctx context.Context) (transport.TPMCloser, error) {
		var fd int
		err := uninterrupted(func() (err error) {
			fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
			return err
		})
		if err != nil {
			return nil, opened(path, err)
		}
		return newDevice(path, fd), nil
	}
}

func newDevice(path string, fd int) *device {
	d := &device{path: path, fd: fd, commands: make(chan exchange), done: make(chan struct{})}
	go d.own()
	return d
}

// A device is an open TPM device. One goroutine owns the descriptor: who waits for
// a response may give up, and the response is read all the same. An unread one
// keeps the kernel from taking the next command for two minutes.
//
// The descriptor is blocking: the kernel then executes the command within
// write(2), and signals, of which Go sends many to itself, are dealt with by
// calling again.
type device struct {
	path     string
	fd       int
	commands chan exchange
	done     chan struct{}
	close    sync.Once
}

type exchange struct {
	command []byte
	result  chan<- result
}

type result struct {
	response []byte
	err      error
}

func (d *device) own() {
	for {
		select {
		case x := <-d.commands:
			b, err := d.exchange(x.command)
			x.result <- result{b, err}
		case <-d.done:
			unix.Close(d.fd)
			return
		}
	}
}

// Send sends a command and returns the response.
func (d *device) Send(command []byte) ([]byte, error) {
	ch := make(chan result, 1)
	select {
	case d.commands <- exchange{command, ch}:
		r := <-ch
		return r.response, r.err
	case <-d.done:
		return nil, os.ErrClosed
	}
}

// Close closes the device, after the command that is being executed. The kernel
// then removes from the TPM what this descriptor has put there.
func (d *device) Close() error {
	d.close.Do(func() { close(d.done) })
	return nil
}

func (d *device) exchange(command []byte) ([]byte, error) {
	err := d.write(command)
	if errors.Is(err, unix.EBUSY) {
		// A response is waiting that nobody has read.
		d.read()
		err = d.write(command)
	}
	if err != nil {
		return nil, err
	}
	b, err := d.read()
	if err != nil {
		return nil, err
	}
	if len(b) < headerSize || uint64(binary.BigEndian.Uint32(b[2:])) != uint64(len(b)) {
		return nil, fmt.Errorf("%s: %d bytes: %w", d.path, len(b), errGarbled)
	}
	return b, nil
}

func (d *device) write(b []byte) error {
	n := 0
	err := uninterrupted(func() (err error) {
		n, err = unix.Write(d.fd, b)
		return err
	})
	if err == nil && n != len(b) {
		err = unix.EIO
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: d.path, Err: err}
	}
	return nil
}

func (d *device) read() ([]byte, error) {
	b := make([]byte, maxMessage)
	n := 0
	err := uninterrupted(func() (err error) {
		n, err = unix.Read(d.fd, b)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: d.path, Err: err}
	}
	return b[:n], nil
}

// uninterrupted calls f again as long as a signal has interrupted it.
func uninterrupted(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
