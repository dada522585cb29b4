package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	cryptoki "github.com/go-cryptoki/cryptoki"
)

var randomCommand = command{
	name:    "random",
	args:    "N",
	summary: "write N bytes of the token's random number generator",
	about:   `It needs no PIN. Binary, or as text with a newline at the end.`,
	example: []example{
		{"", "cryptoki random 32 --hex"},
		{"mix a hardware generator into the kernel's", "cryptoki random 512 > /dev/urandom"},
	},
	flags: func(o *options) runFunc {
		var asHex, asBase64 bool
		o.flag(&asHex, "hex", "in hexadecimal")
		o.flag(&asBase64, "base64", "in base64")
		return func(ctx context.Context, a *app, args []string) error {
			n, err := strconv.ParseUint(args[0], 0, 40)
			if err != nil {
				return usagef("random: %q is not a number of bytes", args[0])
			}
			if asHex && asBase64 {
				return usagef("--hex and --base64: only one of them")
			}
			if !asHex && !asBase64 && isTerminal(a.stdout) {
				return usagef("random: binary does not go to a terminal: --hex or --base64, or write to a file")
			}
			return a.with(ctx, noLogin, func(t *cryptoki.Token) error {
				return a.random(ctx, t, int64(n), asHex, asBase64)
			})
		}
	},
}

func (a *app) random(ctx context.Context, t *cryptoki.Token, n int64, asHex, asBase64 bool) error {
	out := bufio.NewWriter(a.stdout)
	var w io.Writer = out
	end := func() error { return nil }
	switch {
	case asHex:
		w = hex.NewEncoder(out)
	case asBase64:
		enc := base64.NewEncoder(base64.StdEncoding, out)
		w, end = enc, enc.Close
	}
	random := t.Random()
	var buf [4096]byte
	defer clear(buf[:])
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := buf[:min(n, int64(len(buf)))]
		if _, err := io.ReadFull(random, part); err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("standard output: %w", cause(err))
		}
		n -= int64(len(part))
	}
	err := end()
	if asHex || asBase64 {
		out.WriteByte('\n')
	}
	if ferr := out.Flush(); err == nil && ferr != nil {
		err = fmt.Errorf("standard output: %w", cause(ferr))
	}
	return err
}
