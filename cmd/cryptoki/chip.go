package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/driver"
)

// A chipSetup is what init is told about a chip.
type chipSetup struct {
	config            string
	lock, dryRun, yes bool
}

// chipScheme begins the name of a chip.
const chipScheme = "atecc608"

// asItIs is the configuration of a chip that comes locked.
const asItIs = "keep"

// initChip makes a token of an ATECC608: it shows what there is to do, asks, and
// does it as far as it may.
func (a *app) initChip(ctx context.Context, label string, c chipSetup) error {
	name, err := a.tokenName()
	if err != nil {
		return err
	}
	params, _, err := a.parseName(name)
	if err != nil {
		return err
	}
	if params.Scheme != chipScheme {
		return usagef("init: --config is for chips: a token name that begins with atecc608:")
	}
	opts := atecc608.ProvisionOptions{Label: label, DryRun: c.dryRun}
	if opts.Plan, err = readPlan(c.config); err != nil {
		return err
	}
	if opts.Plan != nil && wantsPIN(&opts.Plan.Zone) && !c.dryRun {
		if opts.PIN, err = a.fresh(ctx, &a.pins.user, "new user PIN"); err != nil {
			return err
		}
		defer clear(opts.PIN)
	} else if c.dryRun {
		opts.PIN = make([]byte, 8) // nobody's
	}
	p, closing, err := atecc608.ProvisionName(ctx, params, &opts)
	if err != nil {
		return err
	}
	err = a.provision(ctx, p, opts.Plan, c)
	if cerr := closing(); err == nil {
		err = cerr
	}
	return err
}

// readPlan finds a configuration by its name, or reads its file.
func readPlan(name string) (*config.Plan, error) {
	if name == asItIs {
		return nil, nil
	}
	plan, err := config.Named(name)
	if err == nil {
		return plan, nil
	}
	text, ferr := os.ReadFile(name)
	if ferr != nil {
		return nil, withHint(fmt.Errorf("--config %s: neither the name of a configuration (%s, %s) nor a file that can be read: %w", name, strings.Join(config.Names(), ", "), asItIs, ferr), "cryptoki help init")
	}
	if plan, err = config.ParsePlan(string(text)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	plan.Name = name
	return plan, nil
}

// wantsPIN reports whether keys of the configuration are used after a check of
// another slot.
func wantsPIN(z *config.Zone) bool {
	for n := range config.Slots {
		s := z.Slot(n)
		if _, on := s.Authorized(); on && s.PrivateKey() {
			return true
		}
	}
	return false
}

func (a *app) provision(ctx context.Context, p *atecc608.Provisioning, plan *config.Plan, c chipSetup) error {
	serial := p.Zone.Serial()
	chip := fmt.Sprintf("%s %X", p.Zone.Model(), serial)
	if err := a.showPlan(chip, p, plan); err != nil {
		return err
	}
	left, final := 0, 0
	for _, s := range p.Steps {
		if !s.Done {
			left++
			if s.Final {
				final++
			}
		}
	}
	switch {
	case left == 0:
		return a.printf("chip %s is ready; there is nothing to do\n", chip)
	case c.dryRun:
		return a.printf("nothing was changed\n")
	case c.lock && final > 0:
		if err := a.sure(ctx, c.yes, fmt.Sprintf("Configure and lock chip %s for ever?", chip)); err != nil {
			return err
		}
	}
	err := p.Run(ctx, c.lock, func(s atecc608.Step) { a.note("%s", s.Text) })
	if errors.Is(err, atecc608.ErrNotLocked) {
		return a.printf("chip %s is written and nothing is locked; to go on, with --lock, is for ever\n", chip)
	}
	if err != nil {
		return withHint(err, "the same command goes on where it was")
	}
	return a.printf("chip %s is ready\n", chip)
}

// showPlan shows the 128 bytes, the slots and the steps.
func (a *app) showPlan(chip string, p *atecc608.Provisioning, plan *config.Plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "chip %s", chip)
	if plan != nil {
		fmt.Fprintf(&b, ", configuration %s\n", plan.Name)
		if plan.About != "" {
			fmt.Fprintf(&b, "\n%s\n", plan.About)
		}
	} else {
		b.WriteString(", as it is\n")
	}
	b.WriteString("\n")
	for i := 0; i < len(p.Want); i += 16 {
		fmt.Fprintf(&b, "%3d: % X\n", i, p.Want[i:i+16])
	}
	b.WriteString("\n")
	for n := range config.Slots {
		fmt.Fprintf(&b, "slot %2d  ", n)
		if plan != nil && plan.Purpose[n] != "" {
			fmt.Fprintf(&b, "%s; ", plan.Purpose[n])
		}
		fmt.Fprintln(&b, p.Want.Slot(n).Describe())
	}
	b.WriteString("\n")
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%d. %s", i+1, s.Text)
		switch {
		case s.Done:
			b.WriteString(" (done)")
		case s.Final:
			b.WriteString(" (for ever)")
		}
		b.WriteString("\n")
	}
	return a.printf("%s\n", b.String())
}

var slotListCommand = command{
	name:    "slot list",
	summary: "show what the slots of a chip are for",
	about:   `It reads the chip's configuration, and changes nothing.`,
	json: []field{
		{"slot", "its number"}, {"policy", "what its configuration bits mean, in words"},
		{"locked", "whether its content is locked for ever"}, {"lockable", "whether it could be"},
		{"records", "whether the token keeps its labels and certificates there (store=slots)"},
		{"slotConfig", "the 16 bits"}, {"keyConfig", "the 16 bits"},
	},
	array:   true,
	example: []example{{"", "cryptoki -t atecc608:bus=1 slot list"}},
	flags: func(*options) runFunc {
		return func(ctx context.Context, a *app, _ []string) error {
			return a.withChip(ctx, func(t *atecc608.Token) error { return a.listSlots(t) })
		}
	},
}

type slotInfo struct {
	Slot       int    `json:"slot"`
	Policy     string `json:"policy"`
	Locked     bool   `json:"locked"`
	Lockable   bool   `json:"lockable"`
	Records    bool   `json:"records"`
	SlotConfig uint16 `json:"slotConfig"`
	KeyConfig  uint16 `json:"keyConfig"`
}

func (a *app) listSlots(t *atecc608.Token) error {
	z := t.Config()
	var list []slotInfo
	rows := [][]string{{"SLOT", "POLICY"}}
	for n := range config.Slots {
		s := z.Slot(n)
		policy, records := s.Describe(), slices.Contains(t.RecordSlots(), n)
		list = append(list, slotInfo{n, policy, s.Locked, s.Lockable(), records, s.Config, s.Key})
		if records {
			policy = "records; " + policy
		}
		rows = append(rows, []string{fmt.Sprint(n), policy})
	}
	if a.json {
		return a.printJSON(list)
	}
	return a.table(rows)
}

var slotLockCommand = command{
	name:    "slot lock",
	args:    "N",
	summary: "lock what is in a slot of a chip, for ever",
	about: `A key in a locked slot can be used and never be replaced or destroyed; a
certificate or public key can be read and never be written.`,
	example: []example{{"the device's key stays what it is", "cryptoki -t 'atecc608:bus=1;dir=/var/lib/gateway/chip' slot lock 0"}},
	flags: func(o *options) runFunc {
		var yes bool
		o.flag(&yes, "yes,y", "do not ask before")
		return func(ctx context.Context, a *app, args []string) error {
			var slot int
			if n, err := fmt.Sscanf(args[0], "%d", &slot); n != 1 || err != nil || fmt.Sprint(slot) != args[0] || slot < 0 || slot >= config.Slots {
				return usagef("slot lock: %q is no slot; they are 0 to 15", args[0])
			}
			return a.withChip(ctx, func(t *atecc608.Token) error {
				z := t.Config()
				if z.Slot(slot).Locked {
					return a.printf("slot %d is locked already\n", slot)
				}
				if err := a.sure(ctx, yes, fmt.Sprintf("Lock slot %d (%s) for ever?", slot, z.Slot(slot).Describe())); err != nil {
					return err
				}
				if err := t.LockSlot(ctx, slot); err != nil {
					return err
				}
				return a.printf("slot %d is locked\n", slot)
			})
		}
	},
}

// withChip opens the chip itself, below what all tokens have.
func (a *app) withChip(ctx context.Context, f func(*atecc608.Token) error) error {
	name, err := a.tokenName()
	if err != nil {
		return err
	}
	params, check, err := a.parseName(name)
	if err != nil {
		return err
	}
	if params.Scheme != chipScheme {
		return usagef("this command is for chips: a token name that begins with atecc608:")
	}
	token, err := driver.OpenParams(ctx, params)
	if err != nil {
		return a.explainOpen(err)
	}
	t := token.(*atecc608.Token)
	if err = check(t.Info()); err == nil {
		err = a.explain(f(t))
	}
	if cerr := t.Close(); err == nil {
		err = cerr
	}
	return err
}
