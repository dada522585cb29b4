package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	cryptoki "github.com/go-cryptoki/cryptoki"
)

// accepted asks cryptoki.Open which parameters the names of a scheme may have: the
// error for one that is unknown lists them.
func accepted(t *testing.T, scheme string) []string {
	t.Helper()
	token, err := cryptoki.Open(t.Context(), scheme+":no-such=1", nil)
	if err == nil {
		token.Close()
		t.Fatalf("%s: takes no-such=1", scheme)
	}
	_, list, ok := strings.Cut(err.Error(), scheme+" takes ")
	if !ok {
		t.Fatalf("%s: %v; want the parameters that it takes", scheme, err)
	}
	return strings.Split(list, ", ")
}

// TestNames compares what is written about names with what Open takes.
func TestNames(t *testing.T) {
	var names []string
	for _, s := range schemes {
		names = append(names, s.name)
		var keys, own []string
		for _, p := range s.parameters {
			own = append(own, p.key())
			for form := range strings.SplitSeq(p.form, ", ") {
				if !strings.HasPrefix(form, p.key()+"=") {
					t.Errorf("%s: %q is no form of %s", s.name, form, p.key())
				}
			}
		}
		for _, p := range everywhere {
			keys = append(keys, p.key())
		}
		keys = append(keys, own...)
		slices.Sort(keys)
		slices.Sort(own)
		if takes := accepted(t, s.name); !slices.Equal(takes, keys) {
			t.Errorf("%s takes %q, and what is documented is %q", s.name, takes, keys)
		}
		if s.parameters[0].key() != "dir" {
			continue // its document has no table
		}
		if table := tabled(t, "../../docs/"+s.doc); !slices.Equal(table, own) {
			t.Errorf("the table in docs/%s has %q, want %q", s.doc, table, own)
		}
	}
	slices.Sort(names)
	if all := cryptoki.Schemes(); !slices.Equal(all, names) {
		t.Errorf("schemes %q are documented, and there are %q", names, all)
	}
}

// tabled are the parameters in the first table of a document, sorted.
func tabled(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	_, rest, _ := strings.Cut(string(data), "\n|---|---|\n")
	rows, _, _ := strings.Cut(rest, "\n\n")
	var keys []string
	for _, code := range regexp.MustCompile("`[^`]*`").FindAllString(rows, -1) {
		for _, m := range regexp.MustCompile("[`;:]([a-z-]+)=").FindAllStringSubmatch(code, -1) {
			keys = append(keys, m[1])
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
