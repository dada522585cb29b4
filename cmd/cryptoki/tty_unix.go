//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var errNoTerminal = errors.New("no terminal")

// isTerminal reports whether a person sees f.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), getTermios)
	return err == nil
}

// ask prints a prompt on the terminal and reads a line without echo. It uses
// /dev/tty, since standard input and output may be files.
func (a *app) ask(ctx context.Context, prompt string) ([]byte, error) {
	return onTerminal(ctx, prompt, false)
}

// confirm asks a question that is answered with the word yes.
func (a *app) confirm(ctx context.Context, question string) (bool, error) {
	answer, err := onTerminal(ctx, question+" Type yes: ", true)
	return string(answer) == "yes", err
}

func onTerminal(ctx context.Context, prompt string, echo bool) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	defer tty.Close()
	fd := int(tty.Fd())
	old, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, errNoTerminal
	}
	mode := *old
	mode.Lflag |= unix.ICANON | unix.ISIG
	mode.Lflag &^= unix.ECHO
	if echo {
		mode.Lflag |= unix.ECHO
	}
	mode.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, setTermios, &mode); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	defer unix.IoctlSetTermios(fd, setTermios, old)
	fmt.Fprint(tty, prompt)
	type result struct {
		line []byte
		err  error
	}
	read := make(chan result, 1)
	go func() {
		line, err := readLine(tty)
		read <- result{line, err}
	}()
	var r result
	select {
	case r = <-read:
	case <-ctx.Done(): // ^C: the reader stays behind, the program ends
		r.err = ctx.Err()
	}
	if !echo || r.err != nil {
		fmt.Fprintln(tty)
	}
	return r.line, r.err
}

// onTerminalNow reports whether there is a terminal to ask on.
func onTerminalNow() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	tty.Close()
	return true
}
