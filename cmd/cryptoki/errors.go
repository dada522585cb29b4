package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// A hintError says on further lines what to do about an error.
type hintError struct {
	err   error
	hints []string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

func withHint(err error, hints ...string) error { return &hintError{err, hints} }

// A usageError is a command line that is wrong: exit status 2.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// An incompleteError says that something was done but for a part that cannot be:
// exit status 3.
type incompleteError struct{ msg string }

func (e *incompleteError) Error() string { return e.msg }

// errSilent ends a command that has said already why it fails: exit status 1.
var errSilent = errors.New("")

// report prints err and its hints, and returns the exit status.
func report(w io.Writer, cmd *command, err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, errSilent) {
		return 1
	}
	fmt.Fprintf(w, "cryptoki: %s\n", oneLine(strings.TrimPrefix(err.Error(), "cryptoki: ")))
	usage, incomplete := errors.As(err, new(*usageError)), errors.As(err, new(*incompleteError))
	seen := map[string]bool{}
	hint := func(s string) {
		if !seen[s] {
			seen[s] = true
			fmt.Fprintf(w, "cryptoki: hint: %s\n", oneLine(s))
		}
	}
	for h := (*hintError)(nil); errors.As(err, &h); err = h.err {
		for _, s := range h.hints {
			hint(s)
		}
	}
	if usage {
		if cmd != nil {
			hint("cryptoki help " + cmd.name)
		} else if len(seen) == 0 {
			hint("cryptoki help")
		}
		return 2
	}
	if incomplete {
		return 3
	}
	return 1
}

// oneLine keeps a message on its line, and a terminal safe from what names from
// files may contain.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
