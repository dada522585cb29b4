package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var conformanceCommand = command{
	name:    "conformance",
	args:    "[CASE...]",
	summary: "run the conformance suite against the token",
	about: `A token that is not initialized is initialized and is the suite's from then on;
its PINs are "0000" unless they are given. On one that is, the suite makes
objects under labels of its own and removes them at the end; --destructive lets
it initialize the token anew and run every case. CASE is the id of a case or of a
family, such as fit. The exit status is 1 if a case fails. The token is opened several
times: soft:mem=true, which is forgotten each time, will not do.`,
	pins: wantUser | wantSO,
	json: []field{
		{"target", ""}, {"token", "what the token says of itself"}, {"profile", "what it is meant to do"},
		{"profileDerived", "whether that is what the mechanism table says"}, {"mechanisms", ""}, {"start", ""}, {"durationNanoseconds", ""},
		{"passed", ""}, {"failed", ""}, {"skipped", ""},
		{"results", "array of id, family, name, clause, outcome (pass, fail, skip), reason, failures"},
	},
	example: []example{
		{"on a new token", "cryptoki -t 'soft:dir=/tmp/check;create=true' conformance"},
		{"a report for CI", "cryptoki conformance --json --destructive --yes > report.json"},
	},
	flags: func(o *options) runFunc {
		var c conformanceRun
		o.flag(&c.destructive, "destructive", "run every case: the token is initialized anew, everything on it is destroyed")
		o.flag(&c.yes, "yes,y", "do not ask before --destructive")
		o.flag(&c.list, "list", "list the cases instead of running them")
		o.str(&c.html, "html", "FILE", "write the report as one HTML page to FILE")
		o.str(&c.junit, "junit", "FILE", "write the report as JUnit XML to FILE")
		o.str(&c.outcomes, "outcomes", "FILE", "write a line for each case to FILE: outcome, id, and why it was skipped")
		return func(ctx context.Context, a *app, args []string) error { return a.conformance(ctx, args, c) }
	},
}

type conformanceRun struct {
	destructive, yes, list bool
	html, junit, outcomes  string
}

func (a *app) conformance(ctx context.Context, args []string, c conformanceRun) error {
	chosen := func(k conformance.Case) bool {
		if len(args) == 0 {
			return true
		}
		for _, arg := range args {
			if strings.EqualFold(arg, k.ID) || strings.EqualFold(arg, k.Family) {
				return true
			}
		}
		return false
	}
	for _, arg := range args {
		known := false
		for _, k := range conformance.Cases() {
			known = known || strings.EqualFold(arg, k.ID) || strings.EqualFold(arg, k.Family)
		}
		if !known {
			return withHint(usagef("conformance: there is no case or family %q", arg), "cryptoki conformance --list")
		}
	}
	if c.list {
		rows := [][]string{{"CASE", "FAMILY", "WHAT"}}
		for _, k := range conformance.Cases() {
			if chosen(k) {
				rows = append(rows, []string{k.ID, k.Family, k.Name})
			}
		}
		return a.table(rows)
	}
	name, err := a.tokenName()
	if err != nil {
		return err
	}
	if c.destructive {
		if err := a.sure(ctx, c.yes, fmt.Sprintf("Destroy everything on %s?", name)); err != nil {
			return err
		}
	}
	target := conformance.Target{Name: name, Destructive: c.destructive}
	params, _, err := a.parseName(name)
	if err != nil {
		return err
	}
	if err := a.conformancePINs(ctx, &target); err != nil {
		return err
	}
	defer func() { clear(target.UserPIN); clear(target.SOPIN) }()
	target.OpenModule = func(ctx context.Context) (cryptoki.Module, error) {
		t, err := cryptoki.Open(ctx, name, nil)
		if err != nil {
			return nil, err
		}
		return t.Module(), nil
	}
	if isBackend(params.Scheme) {
		// The suite looks at what the driver can do, where it can see it.
		target.OpenModule = nil
		target.Open = func(ctx context.Context) (driver.Token, error) {
			params, _, err := a.parseName(name)
			if err != nil {
				return nil, err
			}
			return driver.OpenParams(ctx, params)
		}
	}
	opts := &conformance.CheckOptions{Select: chosen}
	if isTerminal(a.stderr) {
		opts.Progress = func(r conformance.Result, done, total int) {
			fmt.Fprintf(a.stderr, "\r\x1b[K%d/%d %s", done, total, r.ID)
			if done == total {
				fmt.Fprint(a.stderr, "\r\x1b[K")
			}
		}
	}
	report, err := conformance.Check(ctx, target, opts)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{c.html, func(w io.Writer) error { return conformance.WriteHTML(w, report) }},
		{c.junit, report.WriteJUnit},
		{c.outcomes, func(w io.Writer) error { _, err := w.Write(report.Outcomes()); return err }},
	} {
		if f.path == "" {
			continue
		}
		var b bytes.Buffer
		if err := f.write(&b); err != nil {
			return err
		}
		if err := a.writeOutput(f.path, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if a.json {
		err = report.WriteJSON(a.stdout)
	} else {
		err = report.WriteText(a.stdout)
	}
	if err != nil {
		return fmt.Errorf("standard output: %w", cause(err))
	}
	if report.Failed > 0 {
		return fmt.Errorf("%s: %d of %d cases failed", name, report.Failed, len(report.Results))
	}
	return nil
}

// conformancePINs finds the PINs. The suite's own are for a token that is its
// own: on another they would be wrong ones, and use up tries.
func (a *app) conformancePINs(ctx context.Context, target *conformance.Target) error {
	return a.with(ctx, noLogin, func(t *cryptoki.Token) error {
		info, err := t.Info(ctx)
		if err != nil {
			return err
		}
		has := func(flag uint64) bool { return info.Flags&flag != 0 }
		user, so := a.given, a.given
		ask := func(s *secret) ([]byte, error) {
			return a.existing(ctx, s, fmt.Sprintf("%s of token %q", s.name, info.Label))
		}
		if has(pkcs11.CKF_TOKEN_INITIALIZED) {
			if has(pkcs11.CKF_LOGIN_REQUIRED) && has(pkcs11.CKF_USER_PIN_INITIALIZED) && !target.Destructive {
				user = ask
			}
			if target.Destructive {
				so = ask
			}
		}
		if target.SOPIN, err = so(&a.pins.so); err != nil {
			return err
		}
		target.UserPIN, err = user(&a.pins.user)
		return err
	})
}

func isBackend(scheme string) bool {
	for _, s := range driver.Schemes() {
		if s == scheme {
			return true
		}
	}
	return false
}
