package modules

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/stretchr/testify/require"
)

type outcome struct{ verdict, text string }

// parse reads a list of outcomes.
func parse(t *testing.T, path string) map[string]outcome {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return parseLines(string(data))
}

func parseLines(data string) map[string]outcome {
	all := map[string]outcome{}
	for line := range strings.Lines(data) {
		verdict, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		id, text, _ := strings.Cut(rest, ": ")
		all[id] = outcome{verdict, text}
	}
	return all
}

type column struct {
	name     string
	outcomes map[string]outcome
}

func columns(t *testing.T) []column {
	var all []column
	for _, c := range []struct{ name, file string }{
		{"soft", "soft/testdata/outcomes.txt"}, {"tpm", "tpm/testdata/outcomes.txt"}, {"atecc608", "atecc608/testdata/outcomes-generic.txt"},
	} {
		all = append(all, column{c.name, parse(t, filepath.Join(root(), "backends", c.file))})
	}
	for _, f := range foreigns {
		all = append(all, column{f.name, parse(t, recorded(f))})
	}
	return all
}

const heading = `# Modules of others beside ours

<!-- Written by go test ./modules -update, in interop; do not edit. -->

The conformance suite judges any module that is a shared library:

    cryptoki conformance -t "p11-kit-remote:module=/usr/lib/softhsm/libsofthsm2.so;token=test"

Here it has judged two that Debian 12 has, SoftHSM2 2.6.1 and tpm2-pkcs11 1.9.0 on
swtpm behind tpm2-abrmd, beside our backends: soft, tpm on swtpm, and atecc608 on the
simulated chip in its generic configuration. ` + "`go test ./modules -update`" + ` in interop runs the
suite on the two and writes this page; our columns are the lists of outcomes that the
backends commit and their tests hold them to. CI runs the cases of the differences
below again, and compares the page with the lists.

## The matrix

Passed, failed and skipped cases by family. A case is skipped for what the token does
not declare, such as a mechanism or the import of keys. One fault of a module may fail
many cases: tpm2-pkcs11 answers C_Sign with CKR_GENERAL_ERROR where the data has a
length that cannot be signed (21 cases), and refuses to import with
CKR_ATTRIBUTE_VALUE_INVALID (20).

`

func render(t *testing.T) string {
	cols := columns(t)
	var b strings.Builder
	b.WriteString(heading)
	b.WriteString("| family |")
	for _, c := range cols {
		fmt.Fprintf(&b, " %s |", c.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(cols)) + "\n")
	var names []string
	families := map[string][]string{}
	for _, c := range conformance.Cases() {
		if families[c.Family] == nil {
			names = append(names, c.Family)
		}
		families[c.Family] = append(families[c.Family], c.ID)
		families["all"] = append(families["all"], c.ID)
	}
	for _, name := range append(names, "all") {
		fmt.Fprintf(&b, "| %s |", name)
		for _, c := range cols {
			n := map[string]int{}
			for _, id := range families[name] {
				o, ok := c.outcomes[id]
				require.True(t, ok, "%s has no outcome of %s: go test ./modules -update", c.name, id)
				n[o.verdict]++
			}
			fmt.Fprintf(&b, " %d / %d / %d |", n["pass"], n["fail"], n["skip"])
		}
		b.WriteByte('\n')
	}
	renderDifferences(&b)
	renderFailures(&b, cols)
	return b.String()
}

func renderDifferences(b *strings.Builder) {
	fmt.Fprintf(b, `
## Differences to the standard

Both modules say that they are of version 2.40, and sections are those of that
version's base specification, or of its mechanisms where that is said. What 3.0 added
is not asked of them.

| | module | case | what it does | what the standard demands | clause |
|---|---|---|---|---|---|
`)
	for i, d := range differences {
		fmt.Fprintf(b, "| %d | %s | %s | %s | %s | %s |\n", i+1, d.module, strings.Join(d.cases, ", "), d.does, d.demands, d.clause)
	}
}

// renderFailures lists the cases that fail, by what is wrong.
func renderFailures(b *strings.Builder, cols []column) {
	b.WriteString(`
## All cases in which they differ

Our backends pass every case that they do not skip. These are the cases that fail
with the modules of others, put together by what is wrong; a number refers to the table
above. What has none is no accusation: the suite asks for more than the standard there
(a code where the standard leaves the choice, operations beside each other in one
session, attributes that may be empty, what FreeRTOS needs), or p11-kit 0.24 is in the
way (it knows neither the parameters of ECDH, AES-CTR and AES-GCM nor the label of
OAEP, closes sessions of slots that do not exist, and has no empty buffers), or
another failure came first.
`)
	for _, f := range foreigns {
		i := slices.IndexFunc(cols, func(c column) bool { return c.name == f.name })
		var symptoms []string
		cases := map[string][]string{}
		for _, c := range conformance.Cases() {
			if o := cols[i].outcomes[c.ID]; o.verdict == "fail" {
				if cases[o.text] == nil {
					symptoms = append(symptoms, o.text)
				}
				cases[o.text] = append(cases[o.text], c.ID)
			}
		}
		fmt.Fprintf(b, "\n### %s %s\n\n| what | cases | |\n|---|---|---|\n", f.name, f.version)
		for _, s := range symptoms {
			fmt.Fprintf(b, "| %s | %s | %s |\n", escape(s), strings.Join(cases[s], ", "), numberOf(f, s))
		}
	}
}

// numberOf returns the number of the difference that shows so.
func numberOf(f foreign, symptom string) string {
	for i, d := range differences {
		if d.module == f.name && strings.Contains(symptom, d.symptom) {
			return fmt.Sprint(i + 1)
		}
	}
	return ""
}

func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(s)
}
