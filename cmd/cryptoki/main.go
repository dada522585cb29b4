// Command cryptoki makes, fills and uses a token from the command line: the
// device's key is made in the token and stays there, a certificate is installed
// beside it, updates are verified. See docs/cli.md.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/go-cryptoki/cryptoki/backends/soft"
	_ "github.com/go-cryptoki/cryptoki/backends/tpm"
	_ "github.com/go-cryptoki/cryptoki/rpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second one ends the program, whatever it waits for
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, pins: newPins()}
	status := a.main(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// An app is one run of the program.
type app struct {
	stdin  *os.File
	stdout *os.File
	stderr *os.File

	token    string // the name, "" for $CRYPTOKI_TOKEN
	model    string // of the token, once it is open
	json     bool
	wantHelp bool
	pins     pins

	stdinTaken string // what reads standard input, "" if nothing does
}

// shared declares the flags that all commands have, as far as c needs them; for
// nil, all of them.
func (a *app) shared(c *command) *options {
	var o options
	if c == nil || !c.local {
		o.str(&a.token, "token,t", "NAME", "the token, such as soft:dir=/var/lib/gateway/token (default: $CRYPTOKI_TOKEN)")
	}
	wanted := wantUser | wantSO | wantNew
	if c != nil {
		wanted = c.pins
	}
	a.pins.flags(&o, wanted)
	if c == nil || c.json != nil {
		o.flag(&a.json, "json", "print JSON")
	}
	o.flag(&a.wantHelp, "help,h", "print this help")
	return &o
}

func (a *app) main(ctx context.Context, args []string) int {
	// Flags that all commands share may stand before the command.
	args, err := a.shared(nil).parse(args, true)
	if err != nil {
		return report(a.stderr, nil, err)
	}
	if len(args) == 0 {
		if a.wantHelp {
			return report(a.stderr, nil, a.overview(a.stdout))
		}
		a.overview(a.stderr)
		return 2
	}
	cmd, args, err := lookup(args)
	if err != nil {
		return report(a.stderr, nil, err)
	}
	return report(a.stderr, cmd, a.run(ctx, cmd, args))
}

func (a *app) run(ctx context.Context, cmd *command, args []string) error {
	o, run := cmd.options(a)
	args, err := o.parse(args, false)
	switch {
	case a.wantHelp:
		return a.describe(a.stdout, cmd)
	case err != nil:
		return err
	case a.json && cmd.json == nil:
		return usagef("%s has no JSON output", cmd.name)
	}
	if err := cmd.checkArgs(args); err != nil {
		return err
	}
	if err := a.readFDs(); err != nil {
		return err
	}
	err = run(ctx, a, args)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}
