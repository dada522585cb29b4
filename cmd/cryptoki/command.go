package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A command is a row of the table that the program, its help and docs/cli.md
// are made of.
type command struct {
	name    string // one word or two: "import certificate"
	args    string // "LABEL FILE", optional ones in brackets
	summary string // a line
	about   string // what the summary does not say
	local   bool   // it opens no token
	pins    wanted // the PINs that it may need
	json    []field
	array   bool // --json prints an array of these
	example []example
	// flags declares the flags and returns the function that runs the command
	// with what they were set to.
	flags func(*options) runFunc
}

type runFunc func(ctx context.Context, a *app, args []string) error

// A field of the JSON output. Fields keep their names and meaning; others may be
// added.
type field struct{ name, what string }

type example struct{ what, line string }

// commands is the table, in the order of the help.
var commands []*command

func init() {
	commands = []*command{
		&initCommand, &infoCommand, &listCommand,
		&keygenCommand, &csrCommand,
		&importCertificateCommand, &importChainCommand, &importKeyCommand, &importPublicKeyCommand,
		&importTPMKeyCommand,
		&exportCertificateCommand, &exportPublicKeyCommand, &exportKeyCommand, &exportTPMKeyCommand,
		&deleteCommand,
		&signCommand, &verifyCommand, &randomCommand,
		&backupCommand, &restoreCommand, &migrateCommand,
		&pinChangeCommand, &pinChangeSOCommand, &pinUnlockCommand,
		&slotListCommand, &slotLockCommand, &lockoutCommand, &lockoutResetCommand,
		&attestCommand, &verifyAttestationCommand,
		&serveCommand, &conformanceCommand, &doctorCommand, &versionCommand, &helpCommand,
	}
}

// lookup finds the command that args begin with, and what follows its name.
func lookup(args []string) (*command, []string, error) {
	if len(args) == 0 {
		return nil, nil, usagef("no command given")
	}
	if len(args) > 1 {
		if c := named(args[0] + " " + args[1]); c != nil {
			return c, args[2:], nil
		}
	}
	if c := named(args[0]); c != nil {
		return c, args[1:], nil
	}
	if group := grouped(args[0]); group != nil {
		var words []string
		for _, c := range group {
			words = append(words, strings.TrimPrefix(c.name, args[0]+" "))
		}
		if len(args) > 1 && !strings.HasPrefix(args[1], "-") {
			err := usagef("%s %q: want one of %s", args[0], args[1], strings.Join(words, ", "))
			return nil, nil, withHint(err, "cryptoki help "+args[0])
		}
		if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
			return named("help"), args[:1], nil
		}
		return nil, nil, withHint(usagef("%s what? one of %s", args[0], strings.Join(words, ", ")), "cryptoki help "+args[0])
	}
	return nil, nil, usagef("unknown command %q", args[0])
}

func named(name string) *command {
	i := slices.IndexFunc(commands, func(c *command) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return commands[i]
}

// grouped returns the commands of two words of which the first is given.
func grouped(word string) []*command {
	var group []*command
	for _, c := range commands {
		if strings.HasPrefix(c.name, word+" ") {
			group = append(group, c)
		}
	}
	return group
}

// checkArgs compares the number of arguments with what c.args names.
func (c *command) checkArgs(args []string) error {
	names := strings.Fields(c.args)
	need := 0
	for _, n := range names {
		if strings.Contains(n, "...") {
			return nil
		}
		if !strings.HasPrefix(n, "[") {
			need++
		}
	}
	switch {
	case len(args) < need:
		return usagef("%s: %s is missing", c.name, names[len(args)])
	case len(args) > len(names):
		return withHint(usagef("%s: %q is one argument too many", c.name, args[len(names)]),
			"a label with spaces needs quotes: "+fmt.Sprintf("%q", "Device Cert"))
	}
	return nil
}

// options returns the flags of c, with those that all commands share, and the
// function that runs it.
func (c *command) options(a *app) (*options, runFunc) {
	var own, all options
	run := c.flags(&own)
	all.list = slices.Concat(own.list, a.shared(c).list)
	return &all, run
}
