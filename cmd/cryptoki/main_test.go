package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/cli.md")

// TestDocs compares docs/cli.md with the table of commands.
func TestDocs(t *testing.T) {
	const path = "../../docs/cli.md"
	var b bytes.Buffer
	if err := markdown(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, b.Bytes()) {
		t.Errorf("docs/cli.md is not what the commands say; go test ./cmd/cryptoki -run TestDocs -update rewrites it\n%s", diffLine(have, b.Bytes()))
	}
}

// diffLine returns the first line that differs.
func diffLine(have, want []byte) string {
	h, w := bytes.Split(have, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range max(len(h), len(w)) {
		var a, b []byte
		if i < len(h) {
			a = h[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if !bytes.Equal(a, b) {
			return "got  " + string(a) + "\nwant " + string(b)
		}
	}
	return ""
}

// TestCommands holds the table to what the help relies on.
func TestCommands(t *testing.T) {
	for _, c := range commands {
		if c.summary == "" || len(c.example) == 0 || c.flags == nil {
			t.Errorf("command %q has no summary, no example or does nothing", c.name)
		}
		o, _ := c.options(&app{pins: newPins()})
		seen := map[string]bool{}
		for _, opt := range o.list {
			for _, name := range []string{opt.long, opt.short} {
				if name != "" && seen[name] {
					t.Errorf("command %q has flag %q twice", c.name, name)
				}
				seen[name] = true
			}
			if opt.usage == "" {
				t.Errorf("command %q: flag --%s is not explained", c.name, opt.long)
			}
		}
	}
}

// TestReportHints looks for the hints of an error wherever they are in it.
func TestReportHints(t *testing.T) {
	inner := withHint(errors.New("no power"), "switch it on")
	for name, err := range map[string]error{
		"alone":   inner,
		"wrapped": fmt.Errorf("chip: %w", inner),
		"joined":  errors.Join(fmt.Errorf("chip: %w", inner), nil),
		"twice":   withHint(fmt.Errorf("chip: %w", inner), "switch it on"),
	} {
		var b bytes.Buffer
		if status := report(&b, nil, err); status != 1 || bytes.Count(b.Bytes(), []byte("cryptoki: hint: switch it on\n")) != 1 {
			t.Errorf("%s: status %d and %q; want 1 and the hint once", name, status, b.String())
		}
	}
	var b bytes.Buffer
	if status := report(&b, nil, withHint(usagef("what?"), "look")); status != 2 {
		t.Errorf("a hint and a wrong command line: status %d, %q; want 2", status, b.String())
	}
}
