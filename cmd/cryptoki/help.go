package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
)

var helpCommand = command{
	name:    "help",
	args:    "[COMMAND] [WHAT]",
	summary: "explain a command",
	local:   true,
	example: []example{{"", "cryptoki help import certificate"}, {"how tokens are named", "cryptoki help names"}},
	flags: func(*options) runFunc {
		return func(_ context.Context, a *app, args []string) error {
			if len(args) == 0 {
				return a.overview(a.stdout)
			}
			if len(args) == 1 && args[0] == "names" {
				return helpNames(a.stdout)
			}
			if group := grouped(args[0]); len(args) == 1 && group != nil {
				for i, c := range group {
					if i > 0 {
						fmt.Fprintln(a.stdout)
					}
					if err := a.describe(a.stdout, c); err != nil {
						return err
					}
				}
				return nil
			}
			c, rest, err := lookup(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return usagef("unknown command %q", strings.Join(args, " "))
			}
			return a.describe(a.stdout, c)
		}
	},
}

// overview lists the commands.
func (a *app) overview(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString("cryptoki makes, fills and uses a token: keys that nobody can copy.\n\nusage: cryptoki [-t TOKEN] COMMAND [FLAGS] [ARGUMENTS]\n\n")
	width := 0
	for _, c := range commands {
		width = max(width, len(c.name))
	}
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, c.name, c.summary)
	}
	b.WriteString(`
The token is named with -t NAME or $CRYPTOKI_TOKEN, as in
soft:dir=/var/lib/gateway/token. A LABEL may be a pkcs11: URI.

  cryptoki help COMMAND   flags and examples of a command
  cryptoki help names     how tokens are named, with all parameters
`)
	_, err := w.Write(b.Bytes())
	return err
}

// describe explains a command.
func (a *app) describe(w io.Writer, c *command) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "cryptoki %s: %s\n\nusage: %s\n", c.name, c.summary, c.usage())
	if c.about != "" {
		fmt.Fprintf(&b, "\n%s\n", c.about)
	}
	o, _ := c.options(&app{pins: newPins()})
	if len(o.list) > 0 {
		b.WriteString("\nflags:\n")
		width := 0
		for _, opt := range o.list {
			width = max(width, len(opt.title()))
		}
		width = min(width, 28)
		for _, opt := range o.list {
			title := opt.title()
			if len(title) > width {
				fmt.Fprintf(&b, "  %s\n", title)
				title = ""
			}
			fmt.Fprintf(&b, "  %-*s  %s\n", width, title, opt.text())
		}
	}
	if len(c.json) > 0 {
		what := "an object"
		if c.array {
			what = "an array of objects"
		}
		fmt.Fprintf(&b, "\n--json prints %s with\n", what)
		for _, f := range c.json {
			fmt.Fprintf(&b, "  %-18s %s\n", f.name, f.what)
		}
	}
	b.WriteString("\nexamples:\n")
	for _, e := range c.example {
		if e.what != "" {
			fmt.Fprintf(&b, "  # %s\n", e.what)
		}
		fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(e.line, "\n", "\n  "))
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n"))
	return err
}

// usage is the line that shows how a command is written.
func (c *command) usage() string {
	s := "cryptoki "
	if !c.local {
		s += "-t TOKEN "
	}
	s += c.name
	if c.args != "" {
		s += " " + c.args
	}
	return s + " [FLAGS]"
}

// title is what the help shows of a flag on the left.
func (o *option) title() string {
	s := "--" + o.long
	if o.short != "" {
		s = "-" + o.short + ", " + s
	}
	if o.value != "" {
		s += " " + o.value
	}
	return s
}

// text is what it shows on the right.
func (o *option) text() string {
	if o.def != "" {
		return fmt.Sprintf("%s (default: %s)", o.usage, o.def)
	}
	return o.usage
}

// markdown writes docs/cli.md.
func markdown(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(docsHead)
	markdownNames(&b)
	for _, c := range commands {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n    %s\n", c.name, strings.ToUpper(c.summary[:1])+c.summary[1:], c.usage())
		if c.about != "" {
			fmt.Fprintf(&b, "\n%s\n", escapeMarkdown(c.about))
		}
		own := &options{}
		c.flags(own)
		shared := (&app{pins: newPins()}).shared(c)
		flags := append(own.list, shared.list...)
		rows := 0
		for _, o := range flags {
			if o.long == "token" || o.long == "help" {
				continue
			}
			if rows == 0 {
				b.WriteString("\n| flag | |\n|---|---|\n")
			}
			rows++
			fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(o.title(), "|", "\\|"), escapeMarkdown(strings.ReplaceAll(o.text(), "|", "\\|")))
		}
		if len(c.json) > 0 {
			what := "an object"
			if c.array {
				what = "an array of objects"
			}
			fmt.Fprintf(&b, "\n`--json` prints %s with\n\n", what)
			for _, f := range c.json {
				if f.what == "" {
					fmt.Fprintf(&b, "- `%s`\n", f.name)
				} else {
					fmt.Fprintf(&b, "- `%s`: %s\n", f.name, f.what)
				}
			}
		}
		b.WriteString("\n```sh\n")
		for _, e := range c.example {
			if e.what != "" {
				fmt.Fprintf(&b, "# %s\n", e.what)
			}
			fmt.Fprintf(&b, "%s\n", e.line)
		}
		b.WriteString("```\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

// escapeMarkdown keeps < and * from being markup.
func escapeMarkdown(s string) string {
	return strings.NewReplacer("<", "\\<", "*", "\\*", "$", "\\$").Replace(s)
}

const docsHead = `# The command cryptoki

<!-- Made from the table in cmd/cryptoki by go test ./cmd/cryptoki -run TestDocs -update. -->

    go install github.com/go-cryptoki/cryptoki/cmd/cryptoki@latest

**The token** is named with ` + "`-t NAME`" + ` (` + "`--token`" + `) or ` + "`$CRYPTOKI_TOKEN`" + `: a backend and its
parameters, as in ` + "`soft:dir=/var/lib/gateway/token`" + `: [below](#names-of-tokens).
**Objects** are named by their label, or by a ` + "`pkcs11:`" + ` URI (RFC 7512) as ` + "`list --json`" + ` prints
it. Flags may stand before and after the arguments; ` + "`--`" + ` ends them.

**PINs** never come from the command line or the environment, which other processes can read. They come from

1. ` + "`--pin-file FILE`" + `, a regular file that only its owner may access, without the newline at its end;
   ` + "`--pin-fd N`" + `, a line of an open file descriptor. Several PINs from one descriptor are a line
   each, the SO's first, the user's next, a new one last;
2. ` + "`$CREDENTIALS_DIRECTORY/cryptoki-pin`" + `, as systemd provides it with
   ` + "`LoadCredentialEncrypted=cryptoki-pin`" + `;
3. the terminal, where they are not shown.

For the SO PIN it is ` + "`--so-pin-file`, `--so-pin-fd` and `cryptoki-so-pin`" + `, for a new one
` + "`--new-pin-file`, `--new-pin-fd` and `cryptoki-new-pin`" + `. A PIN that one more wrong try would lock is
not used without ` + "`--last-try`" + `.

**Output** is for people; ` + "`--json`" + ` is for programs: fields keep their names and meaning, others may be
added. Errors and notes go to standard error, each in a line that begins with ` + "`cryptoki: `" + `.
**The exit status** is 0, 1 for an error, 2 for a command line that is wrong, 3 if ` + "`--all`" + ` was given and
objects could not be moved (backup, restore, migrate). After an error the token holds what it held
before, unless the message says otherwise; a wrong PIN counts.
SIGINT and SIGTERM end a command as soon as the device has answered; sent again, they end it at once,
which is like a power cut: nothing that was there is lost.
`
