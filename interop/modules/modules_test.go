package modules

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "run the whole suite on the modules of others, and rewrite docs/modules.md")

var pageOnly = flag.Bool("page", false, "with -update, write the page of the runs that are recorded")

// record is what a run leaves: a line for each case, in the form of the lists of
// outcomes of our backends, with what is wrong.
func record(results []conformance.Result) []byte {
	var b bytes.Buffer
	for _, r := range results {
		fmt.Fprintf(&b, "%s %s", r.Outcome, r.ID)
		switch r.Outcome {
		case conformance.Skip:
			fmt.Fprintf(&b, ": %s", r.Reason)
		case conformance.Fail:
			fmt.Fprintf(&b, ": %s", symptom(r))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

var (
	// What is another in each run: the number of a slot, and all but the beginning of
	// what may be random.
	number = regexp.MustCompile(`([0-9a-f]{4})[0-9a-f]{12,}…?|\d{4,}`)
	step   = regexp.MustCompile(`^step \d+, [^:]*: `)
	call   = regexp.MustCompile(`^(?:s\d+\.|Module\.)?(\w+)\((CKM_\w+)?`)
)

// symptom says what is wrong, in one line that is the same in each run.
func symptom(r conformance.Result) string {
	f := r.Failures[0]
	var s strings.Builder
	if m := call.FindStringSubmatch(f.Call); m != nil {
		s.WriteString(strings.Join(strings.Fields(m[1]+" "+m[2]), " ") + ": ")
	}
	if what := step.ReplaceAllString(f.What, ""); what != "the code is another" {
		s.WriteString(short(what) + "; ")
	}
	if f.Got != "" || f.Want != "" {
		fmt.Fprintf(&s, "got %s, want %s", short(f.Got), short(f.Want))
	}
	return strings.TrimSuffix(number.ReplaceAllString(s.String(), "${1}…"), "; ")
}

func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 120 {
		s = strings.ToValidUTF8(s[:120], "") + "…"
	}
	return s
}

func run(t *testing.T, f foreign, chosen func(conformance.Case) bool) []conformance.Result {
	report, err := conformance.Check(t.Context(), f.target(t), &conformance.CheckOptions{Select: chosen})
	require.NotNil(t, report, "%v", err)
	if err != nil {
		t.Logf("%s: %v", f.name, err)
	}
	return report.Results
}

func recorded(f foreign) string { return filepath.Join("testdata", f.name+".txt") }

// TestModules runs, with -update, the whole suite on the modules of others and
// writes the page. Without, it runs the cases of the differences that the page
// names: each must fail as it did.
func TestModules(t *testing.T) {
	for _, f := range foreigns {
		t.Run(f.name, func(t *testing.T) {
			if *update && !*pageOnly {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				// The cases of the differences count as they are alone, as CI runs them:
				// what went before them is of no account.
				all := run(t, f, nil)
				alone := map[string]conformance.Result{}
				for _, r := range run(t, f, func(c conformance.Case) bool { return named(f, c.ID) }) {
					alone[r.ID] = r
				}
				for i, r := range all {
					if a, ok := alone[r.ID]; ok {
						all[i] = a
					}
				}
				require.NoError(t, os.WriteFile(recorded(f), record(all), 0o644))
				return
			}
			got := parseLines(string(record(run(t, f, func(c conformance.Case) bool { return named(f, c.ID) }))))
			for _, d := range differences {
				for _, id := range d.cases {
					if d.module == f.name {
						d.shows(t, id, got[id])
					}
				}
			}
		})
	}
	t.Run("page", func(t *testing.T) {
		page := filepath.Join(root(), "docs", "modules.md")
		got := render(t)
		if *update {
			require.NoError(t, os.WriteFile(page, []byte(got), 0o644))
			return
		}
		want, err := os.ReadFile(page)
		require.NoError(t, err)
		require.Equal(t, string(want), got, "docs/modules.md is not in step with the outcomes: go test ./modules -update")
	})
}

// Every difference is in a case that fails in the way it says.
func TestDifferencesAreRecorded(t *testing.T) {
	seen := map[string]int{}
	for _, d := range differences {
		i := slices.IndexFunc(foreigns, func(f foreign) bool { return f.name == d.module })
		require.GreaterOrEqual(t, i, 0, d.module)
		outcomes := parse(t, recorded(foreigns[i]))
		for _, id := range d.cases {
			d.shows(t, id, outcomes[id])
		}
		require.NotEmpty(t, d.does)
		require.NotEmpty(t, d.demands)
		require.Contains(t, d.clause, "§")
		seen[d.module]++
	}
	require.GreaterOrEqual(t, len(differences), 10)
	for _, f := range foreigns {
		require.NotZero(t, seen[f.name], f.name)
	}
}

func named(f foreign, id string) bool {
	return slices.ContainsFunc(differences, func(d difference) bool { return d.module == f.name && slices.Contains(d.cases, id) })
}

// shows requires that a case fails in the way of the difference.
func (d difference) shows(t *testing.T, id string, o outcome) {
	t.Helper()
	require.Equal(t, "fail", o.verdict, "%s, %s: docs/modules.md names a difference that is no more: take it out, and go test ./modules -update", d.module, id)
	require.Contains(t, o.text, d.symptom, "%s, %s", d.module, id)
}
