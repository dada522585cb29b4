package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// An Outcome is what became of a case.
type Outcome string

// The outcomes.
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	Skip Outcome = "skip"
)

// A Report is what a run of the suite found. It marshals to JSON.
type Report struct {
	Target     string         `json:"target"`
	Token      TokenReport    `json:"token"`
	Profile    Profile        `json:"profile"`
	Derived    bool           `json:"profileDerived"` // the profile is what the mechanism table says
	Mechanisms []MechanismRow `json:"mechanisms"`
	Start      time.Time      `json:"start"`
	Duration   time.Duration  `json:"durationNanoseconds"`
	Passed     int            `json:"passed"`
	Failed     int            `json:"failed"`
	Skipped    int            `json:"skipped"`
	Results    []Result       `json:"results"`
}

// A TokenReport is what the token says of itself.
type TokenReport struct {
	Label        string `json:"label"`
	Manufacturer string `json:"manufacturer"`
	Model        string `json:"model"`
	Serial       string `json:"serial"`
	Hardware     string `json:"hardware"` // versions
	Firmware     string `json:"firmware"`
}

// A MechanismRow is a row of the token's mechanism table.
type MechanismRow struct {
	Name  string `json:"name"`
	Flags string `json:"flags"`
	Min   uint64 `json:"minKeySize"`
	Max   uint64 `json:"maxKeySize"`
}

// A Result is what became of one case.
type Result struct {
	ID        string        `json:"id"`
	Family    string        `json:"family"`
	Name      string        `json:"name"`
	Clause    string        `json:"clause"`
	Ancestors []string      `json:"ancestors,omitempty"`
	Outcome   Outcome       `json:"outcome"`
	Reason    string        `json:"reason,omitempty"` // of a skip: what is not declared
	Failures  []Failure     `json:"failures,omitempty"`
	Checks    int           `json:"checks"`
	Calls     int           `json:"calls"`
	Codes     []string      `json:"codes,omitempty"` // "SignInit CKR_OK": what was wanted of which function, and came
	Log       []string      `json:"log,omitempty"`   // the calls made, of long cases the first and last
	Duration  time.Duration `json:"durationNanoseconds"`
}

// A Failure is one thing that is wrong.
type Failure struct {
	What string `json:"what"`
	Call string `json:"call,omitempty"` // the last call before
	Got  string `json:"got,omitempty"`
	Want string `json:"want,omitempty"`
}

func (f Failure) String() string {
	var b strings.Builder
	b.WriteString(f.What)
	if f.Call != "" {
		b.WriteString("\n  after " + f.Call)
	}
	if f.Got != "" || f.Want != "" {
		b.WriteString("\n  got   " + f.Got + "\n  want  " + f.Want)
	}
	return b.String()
}

func (e *env) newReport() *Report {
	r := &Report{
		Target: e.target.Name, Profile: e.profile, Derived: e.derived, Start: time.Now(),
		Token: TokenReport{
			Label: e.info.Label, Manufacturer: e.info.ManufacturerID, Model: e.info.Model, Serial: e.info.SerialNumber,
			Hardware: e.info.HardwareVersion.String(), Firmware: e.info.FirmwareVersion.String(),
		},
	}
	if r.Target == "" {
		r.Target = e.info.Label
	}
	types := slices.Clone(e.types)
	slices.Sort(types)
	for _, m := range slices.Compact(types) {
		info := e.rows[m]
		r.Mechanisms = append(r.Mechanisms, MechanismRow{m.String(), flagNames(info.Flags), info.MinKeySize, info.MaxKeySize})
	}
	return r
}

func (r *Report) add(res Result) {
	switch res.Outcome {
	case Pass:
		r.Passed++
	case Fail:
		r.Failed++
	case Skip:
		r.Skipped++
	}
	r.Results = append(r.Results, res)
}

// finish puts the results in the order of the suite.
func (r *Report) finish() {
	r.Duration = time.Since(r.Start)
	order := map[string]int{}
	for i, c := range Cases() {
		order[c.ID] = i
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int { return order[a.ID] - order[b.ID] })
}

// Outcomes returns a line for each case: its outcome, its ID and, of a skip,
// the reason.
func (r *Report) Outcomes() []byte {
	var b bytes.Buffer
	for _, res := range r.Results {
		fmt.Fprintf(&b, "%s %s", res.Outcome, res.ID)
		if res.Reason != "" {
			fmt.Fprintf(&b, ": %s", res.Reason)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText writes the report for people: the families, each failure with its
// calls, and what was skipped for which reason.
func (r *Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s %s, serial %s\n", r.Target, r.Token.Manufacturer, r.Token.Model, r.Token.Serial)
	fmt.Fprintf(&b, "profile: %s", r.Profile)
	if r.Derived {
		b.WriteString(" (from the mechanism table)")
	}
	b.WriteString("\n\n")
	type count struct{ pass, fail, skip int }
	counts := map[string]*count{}
	var names []string
	reasons := map[string][]string{}
	for _, res := range r.Results {
		c := counts[res.Family]
		if c == nil {
			c = &count{}
			counts[res.Family] = c
			names = append(names, res.Family)
		}
		switch res.Outcome {
		case Pass:
			c.pass++
		case Fail:
			c.fail++
		case Skip:
			c.skip++
			reasons[res.Reason] = append(reasons[res.Reason], res.ID)
		}
	}
	for _, name := range names {
		c := counts[name]
		fmt.Fprintf(&b, "%-12s %4d passed", name, c.pass)
		if c.fail > 0 {
			fmt.Fprintf(&b, "  %4d FAILED", c.fail)
		}
		if c.skip > 0 {
			fmt.Fprintf(&b, "  %4d skipped", c.skip)
		}
		b.WriteByte('\n')
	}
	for _, res := range r.Results {
		if res.Outcome == Fail {
			fmt.Fprintf(&b, "\nFAIL %s %s\n%s", res.ID, res.Name, indent(res.details()))
		}
	}
	if len(reasons) > 0 {
		b.WriteString("\nskipped:\n")
		for _, reason := range sortedKeys(reasons) {
			fmt.Fprintf(&b, "  %s: %d cases\n", reason, len(reasons[reason]))
		}
	}
	fmt.Fprintf(&b, "\n%d passed, %d failed, %d skipped in %v\n", r.Passed, r.Failed, r.Skipped, r.Duration.Round(time.Millisecond))
	_, err := w.Write(b.Bytes())
	return err
}

// String lists the switches that are on.
func (p Profile) String() string {
	var on []string
	for _, f := range []struct {
		on   bool
		name string
	}{{p.RSA, "RSA"}, {p.EC, "EC"}, {p.Import, "import"}, {p.Generate, "generate"}, {p.Preprovisioned, "preprovisioned"}, {p.JITP, "JITP"}} {
		if f.on {
			on = append(on, f.name)
		}
	}
	if on == nil {
		return "nothing"
	}
	return strings.Join(on, ", ")
}

// details returns all that is known of a failure.
func (r Result) details() string {
	var b strings.Builder
	for _, f := range r.Failures {
		fmt.Fprintln(&b, f)
	}
	fmt.Fprintf(&b, "clause: %s\n", r.Clause)
	if len(r.Ancestors) > 0 {
		fmt.Fprintf(&b, "from: %s\n", strings.Join(r.Ancestors, ", "))
	}
	b.WriteString("calls:\n")
	for _, call := range r.Log {
		fmt.Fprintf(&b, "  %s\n", call)
	}
	return b.String()
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n  ") + "\n"
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
