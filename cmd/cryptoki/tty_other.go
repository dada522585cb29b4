//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package main

import (
	"context"
	"errors"
	"os"
)

var errNoTerminal = errors.New("no terminal")

// isTerminal reports whether a person sees f.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// ask would read without echo, which is written for Unix only: elsewhere a PIN
// comes from a file or a descriptor.
func (a *app) ask(context.Context, string) ([]byte, error) { return nil, errNoTerminal }

func (a *app) confirm(context.Context, string) (bool, error) { return false, errNoTerminal }

// onTerminalNow reports whether there is a terminal to ask on.
func onTerminalNow() bool { return false }
