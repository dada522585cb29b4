package main

import (
	"fmt"
	"strconv"
	"strings"
)

// An option is a flag of a command: the parser, the help and docs/cli.md all
// read the same list.
type option struct {
	long  string // without dashes
	short string // one letter, or ""
	value string // what the help calls the value, "" for a switch
	usage string
	def   string // what it is if not given, for the help; "" for nothing
	set   func(string) error
	given bool
}

// options are the flags of one command, in the order of the help.
type options struct{ list []*option }

func (o *options) add(name, value, def, usage string, set func(string) error) {
	long, short, _ := strings.Cut(name, ",")
	o.list = append(o.list, &option{long: long, short: short, value: value, usage: usage, def: def, set: set})
}

// str declares a flag with a value; name is "long" or "long,s". What p holds is
// the default.
func (o *options) str(p *string, name, value, usage string) {
	o.add(name, value, *p, usage, func(s string) error { *p = s; return nil })
}

// strs declares a flag that may be given several times.
func (o *options) strs(p *[]string, name, value, usage string) {
	o.add(name, value, "", usage+" (may be repeated)", func(s string) error { *p = append(*p, s); return nil })
}

// choice declares a flag whose value is one of several words.
func (o *options) choice(p *string, name string, words []string, usage string) {
	o.add(name, strings.Join(words, "|"), *p, usage, func(s string) error {
		for _, w := range words {
			if strings.EqualFold(s, w) {
				*p = w
				return nil
			}
		}
		return fmt.Errorf("%q is none of %s", s, strings.Join(words, ", "))
	})
}

// num declares a flag whose value is a number, -1 if it is not given.
func (o *options) num(p *int, name, value, usage string, lo, hi int) {
	def := ""
	if *p >= lo {
		def = strconv.Itoa(*p)
	}
	o.add(name, value, def, usage, func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			return fmt.Errorf("%q is not a number from %d to %d", s, lo, hi)
		}
		*p = n
		return nil
	})
}

// flag declares a switch.
func (o *options) flag(p *bool, name, usage string) {
	o.add(name, "", "", usage, func(s string) error {
		v, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		*p = v
		return nil
	})
}

// parse sets the flags in args, which may stand before, between and after the
// arguments, and returns the latter. -- ends the flags; - is an argument. If
// leading is set, parsing stops at the first argument.
func (o *options) parse(args []string, leading bool) (rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		switch {
		case arg == "--":
			return append(rest, args[1:]...), nil
		case arg == "-" || !strings.HasPrefix(arg, "-"):
			if leading {
				return args, nil
			}
			rest = append(rest, arg)
			args = args[1:]
		default:
			if args, err = o.take(arg, args[1:]); err != nil {
				return nil, err
			}
		}
	}
	return rest, nil
}

// take sets the flag arg, whose value may be the first of args.
func (o *options) take(arg string, args []string) ([]string, error) {
	name, value, has := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
	long := strings.HasPrefix(arg, "--")
	opt := o.find(name, long)
	if opt == nil {
		return nil, o.unknown(arg, name)
	}
	switch {
	case opt.value == "" && !has:
		value = "true"
	case opt.value != "" && !has:
		if len(args) == 0 {
			return nil, usagef("flag %s needs a value: %s", arg, opt.value)
		}
		value, args = args[0], args[1:]
	}
	if err := opt.set(value); err != nil {
		return nil, usagef("flag --%s: %v", opt.long, err)
	}
	opt.given = true
	return args, nil
}

func (o *options) find(name string, long bool) *option {
	if long && name == "backend" {
		name = "token" // what it is called elsewhere
	}
	for _, opt := range o.list {
		if long && opt.long == name || !long && opt.short == name && name != "" {
			return opt
		}
	}
	return nil
}

// unknown never repeats a value: --pin=1234 must not end up in a log.
func (o *options) unknown(arg, name string) error {
	dashes := "--"
	if !strings.HasPrefix(arg, "--") {
		dashes = "-"
	}
	switch name {
	case "pin", "so-pin", "new-pin", "new-so-pin", "from-pin", "password", "p":
		return withHint(usagef("flag %s%s: a PIN on the command line is visible to every process of the machine", dashes, name),
			"use --pin-file FILE, --pin-fd N or $CREDENTIALS_DIRECTORY/cryptoki-pin, or type it when asked")
	}
	if dashes == "-" && o.find(name, true) != nil {
		return usagef("unknown flag -%s: write --%s", name, name)
	}
	return usagef("unknown flag %s%s", dashes, name)
}
