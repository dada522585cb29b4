package main

import (
	"context"
	"fmt"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/driver"
)

var doctorCommand = command{
	name:    "doctor",
	args:    "[NAME]",
	summary: "find out what is wrong with the token",
	about: `It looks at what the token's name describes from the outside inwards (the
directory before the records, the bus before the chip), says what it finds and
what to do about it, asks for no PIN and changes nothing. It is for tokens that
do not open, too. NAME is a token's name, as for -t. The exit status is 1 if there
is a problem; warnings leave it at 0.`,
	json: []field{
		{"severity", "ok, warning (works, and deserves attention) or problem"},
		{"name", "what was looked at: a word that stays the same"},
		{"text", "what was found"},
		{"cure", "what to do; empty if nothing"},
	},
	array: true,
	example: []example{
		{"", "cryptoki doctor"},
		{"", "cryptoki doctor soft:dir=/var/lib/gateway/token"},
		{"for a monitor: whatever is not in order", `cryptoki doctor --json | jq -r '.[] | select(.severity != "ok") | "\(.text): \(.cure)"'`},
	},
	flags: func(o *options) runFunc {
		var quiet bool
		o.flag(&quiet, "quiet,q", "leave out what is in order")
		return func(ctx context.Context, a *app, args []string) error {
			if len(args) > 0 {
				if a.token != "" && a.token != args[0] {
					return usagef("doctor: two tokens named, %s and %s", a.token, args[0])
				}
				a.token = args[0]
			}
			return a.doctor(ctx, quiet)
		}
	},
}

type finding struct {
	Severity string `json:"severity"`
	Name     string `json:"name"`
	Text     string `json:"text"`
	Cure     string `json:"cure"`
}

func (a *app) doctor(ctx context.Context, quiet bool) error {
	name, err := a.tokenName()
	if err != nil {
		return err
	}
	found, err := cryptoki.Diagnose(ctx, name)
	if err != nil {
		return err
	}
	list := []finding{}
	count := map[driver.Severity]int{}
	for _, f := range found {
		count[f.Severity]++
		if !quiet || f.Severity != driver.Good {
			list = append(list, finding{f.Severity.String(), f.Name, f.Text, f.Cure})
		}
	}
	if a.json {
		err = a.printJSON(list)
	} else {
		var rows [][]string
		for _, f := range list {
			rows = append(rows, []string{f.Severity, f.Name, f.Text})
			if f.Cure != "" {
				rows = append(rows, []string{"", "", "-> " + f.Cure})
			}
		}
		err = a.table(rows)
	}
	if err != nil {
		return err
	}
	if n := count[driver.Problem]; n > 0 {
		return fmt.Errorf("%s: %s", name, plural(n, "problem"))
	}
	return nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
