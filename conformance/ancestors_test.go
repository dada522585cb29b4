package conformance

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// An ancestor is where cases come from.
type ancestor struct {
	section, name, about string
	as                   []string // cases that stand for it
	none                 string   // why it has none
}

// readAncestors reads testdata/ancestors.txt and adds the model-based tests.
func readAncestors(t *testing.T) []ancestor {
	t.Helper()
	data, err := os.ReadFile("testdata/ancestors.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []ancestor
	section := ""
	for i, part := range strings.Split(string(data), "\n\n# ") {
		if i == 0 {
			continue // what the file is
		}
		title, lines, _ := strings.Cut(part, "\n")
		section = title
		for line := range strings.Lines(lines) {
			fields := strings.Split(strings.TrimSpace(line), " | ")
			a := ancestor{section: section, name: strings.TrimRight(fields[0], " |")}
			if len(fields) > 1 {
				a.about = strings.TrimSpace(fields[1])
			}
			if len(fields) > 2 {
				if as, ok := strings.CutPrefix(strings.TrimSpace(fields[2]), "= "); ok {
					a.as = strings.Fields(as)
				} else {
					a.none = fields[2]
				}
			}
			all = append(all, a)
		}
	}
	for _, m := range machines {
		group, _, _ := strings.Cut(m.name, "/")
		for line := range strings.Lines(m.paths) {
			if number, path, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && line[0] != '#' {
				a := ancestor{section: "The paths of the model-based tests", name: fmt.Sprintf("MBT %s path %s", group, number), about: path}
				if !slices.ContainsFunc(all, func(b ancestor) bool { return b.name == a.name }) {
					all = append(all, a)
				}
			}
		}
	}
	for _, name := range sortedKeys(behaviours) {
		b := behaviours[name]
		about := b.say
		if b.instead != "" {
			about += " (" + b.instead + ")"
		}
		all = append(all, ancestor{section: "The behaviours of the model-based tests", name: "MBT behaviour " + name, about: about})
	}
	return all
}

// TestAncestors: nothing that the suites before tested is lost, and no case
// names an ancestor that is not known.
func TestAncestors(t *testing.T) {
	cases := map[string][]string{}
	ids := map[string]bool{}
	for _, c := range Cases() {
		if ids[c.ID] {
			t.Errorf("there are two cases %s", c.ID)
		}
		ids[c.ID] = true
		for _, a := range c.Ancestors {
			cases[a] = append(cases[a], c.ID)
		}
		if c.Name == "" || c.Clause == "" || c.Family == "" {
			t.Errorf("%s lacks its name, clause or family", c.ID)
		}
	}
	known := map[string]bool{}
	for _, a := range readAncestors(t) {
		if known[a.name] {
			t.Errorf("%s is listed twice", a.name)
		}
		known[a.name] = true
		has := len(cases[a.name]) + len(a.as)
		if has == 0 && a.none == "" {
			t.Errorf("%s (%s) has no case, and no reason for it", a.name, a.about)
		}
		if has > 0 && a.none != "" {
			t.Errorf("%s has cases, and a reason to have none", a.name)
		}
		for _, id := range a.as {
			if !ids[id] {
				t.Errorf("%s: there is no case %s", a.name, id)
			}
		}
	}
	for name := range cases {
		if !known[name] {
			t.Errorf("%v come from %q, which is not in the list", cases[name], name)
		}
	}
	// As many as there are in the reference.
	if n := len(behaviours); n != 96 {
		t.Errorf("there are %d behaviours, not 96", n)
	}
}

// TestPage: docs/CONFORMANCE.md is what the cases are now.
func TestPage(t *testing.T) {
	const name = "../docs/CONFORMANCE.md"
	page := writePage(t)
	if *update {
		if err := os.MkdirAll("../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, page, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(bytes.ReplaceAll(have, []byte("\r\n"), []byte("\n")), page) {
		t.Fatalf("%s is stale (%v): run go test ./conformance -run TestPage -conformance.update", name, err)
	}
}

const pageHead = `# Conformance

<!-- Written by go test ./conformance -run TestPage -conformance.update; do not edit. -->

Package conformance is one suite for every backend. From a test:

` + "```go" + `
func TestConformance(t *testing.T) {
	conformance.Run(t, conformance.Target{
		Open:     func(ctx context.Context) (driver.Token, error) { return acme.New(ctx, bus, nil) },
		Profile:  conformance.Profile{EC: true, Generate: true},
		Outcomes: "testdata/outcomes.txt",
	})
}
` + "```" + `

A case is skipped only for what is not declared, and the reason names it: a row
that the mechanism table lacks, a switch of the profile that is off, an ability
that the driver does not implement. A case that checks nothing fails. The list of
outcomes is a file that each backend commits (write it with
-conformance.update), so that a new skip shows in review.

The table of functions and return codes is in [CONFORMANCE-CODES.md](CONFORMANCE-CODES.md).

The suite is itself tested: mutants_test.go has modules and drivers that are
wrong in one way each, and each must be caught by a case that it names.

`

func writePage(t *testing.T) []byte {
	var b bytes.Buffer
	b.WriteString(pageHead)
	b.WriteString("## Families\n\n| family | cases |\n|---|---|\n")
	for _, f := range families {
		fmt.Fprintf(&b, "| %s | %d |\n", f[0].Family, len(f))
	}
	b.WriteString("\n## Cases\n\nThe cases of the model-based tests are further down.\n")
	for _, f := range families {
		if f[0].Family == "mbt" {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n| case | what must hold | clause | needs |\n|---|---|---|---|\n", f[0].Family)
		for _, c := range f {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.ID, cell(c.Name), cell(c.Clause), cell(strings.Join(c.Needs(), "; ")))
		}
	}
	cases := map[string][]string{}
	for _, c := range Cases() {
		for _, a := range c.Ancestors {
			cases[a] = append(cases[a], c.ID)
		}
	}
	b.WriteString("\n## Ancestors\n\nWhat was tested before, or was wrong, and the cases that it has become.\n")
	section := ""
	for _, a := range readAncestors(t) {
		if a.section != section {
			section = a.section
			fmt.Fprintf(&b, "\n### %s\n\n| ancestor | about | cases |\n|---|---|---|\n", section)
		}
		ids := append(slices.Clone(cases[a.name]), a.as...)
		text := strings.Join(ids, ", ")
		if len(ids) > 6 {
			text = fmt.Sprintf("%s and %d more", strings.Join(ids[:6], ", "), len(ids)-6)
		}
		if a.none != "" {
			text = "none: " + a.none
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", a.name, cell(a.about), cell(text))
	}
	return b.Bytes()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }
