package conformance_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
)

// cheap makes the many logins of the suite cost little.
var cheap = &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}}

// TestCodes: each code that the standard lists for a function is wanted by a
// case, and comes, or is not applicable for a reason.
func TestCodes(t *testing.T) {
	cells := map[string][]string{} // "SignInit CKR_OK": the cases
	store := new(pal.Mem)
	everything := conformance.Target{
		Open: func(context.Context) (driver.Token, error) {
			return soft.New(store, cheap)
		},
		Profile: all,
	}
	nothing := conformance.Target{Open: func(context.Context) (driver.Token, error) { return bareToken{}, nil }}
	for _, target := range []conformance.Target{everything, vaultTarget(), nothing} {
		report, err := conformance.Check(t.Context(), target, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range report.Results {
			for _, code := range r.Codes {
				if !slices.Contains(cells[code], r.ID) {
					cells[code] = append(cells[code], r.ID)
				}
			}
		}
	}
	data, err := os.ReadFile("testdata/codes.txt")
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	var functions [][]string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "#":
		case fields[0] == "*":
			reasons[fields[1]] = strings.Join(fields[2:], " ")
		case fields[0] == "!":
			reasons[fields[1]+" "+fields[2]] = strings.Join(fields[3:], " ")
		default:
			functions = append(functions, fields)
		}
	}
	var page bytes.Buffer
	page.WriteString("# Functions and their return codes\n\n<!-- Written by go test ./conformance -run TestCodes -conformance.update; do not edit. -->\n\n" +
		"For each function of the interface the codes that PKCS #11 v2.40 §5 lists for it,\nand the cases that want the code and get it, or why none does.\n")
	used := map[string]bool{}
	for _, f := range functions {
		name := f[0]
		fmt.Fprintf(&page, "\n## %s\n\n| code | cases |\n|---|---|\n", name)
		for _, code := range append([]string{"OK"}, f[1:]...) {
			code = "CKR_" + code
			cases := cells[name+" "+code]
			own, general := reasons[name+" "+code], reasons[code]
			text := ""
			switch {
			case len(cases) > 0:
				if own != "" {
					t.Errorf("%s %s is said to be not applicable, and %s wants it", name, code, cases[0])
				}
				text = strings.Join(cases[:min(4, len(cases))], ", ")
				if len(cases) > 4 {
					text += fmt.Sprintf(" and %d more", len(cases)-4)
				}
			case own != "":
				used[name+" "+code] = true
				text = "not applicable: " + own
			case general != "":
				used[code] = true
				text = "not applicable: " + general
			default:
				t.Errorf("no case wants %s of %s, and there is no reason for it", code, name)
			}
			fmt.Fprintf(&page, "| %s | %s |\n", code, text)
		}
	}
	for reason := range reasons {
		if !used[reason] {
			t.Errorf("the reason for %s is for nothing", reason)
		}
	}
	const file = "../docs/CONFORMANCE-CODES.md"
	if conformance.Updating() {
		if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(bytes.ReplaceAll(have, []byte("\r\n"), []byte("\n")), page.Bytes()) {
		t.Errorf("%s is stale (%v): run go test ./conformance -run TestCodes -conformance.update", file, err)
	}
}
