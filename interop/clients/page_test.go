//go:build linux && !386 && !race

package clients

import (
	"fmt"
	"strings"
)

const heading = `# Programs that work with our tokens

Each line is something that people do with a program of Debian 12, each column a
token: SoftHSM2, loaded by the program itself, as the control; and tokens of this
module behind ` + "`cryptoki serve`" + `, which the program reaches through p11-kit-client.so.
The scripts are in interop/clients; ` + "`go test ./clients -update`" + ` in interop writes this
page, and a cell that changes fails CI.

yes: works. no: does not, with the reason below. –: cannot, for the token lacks what it
takes, as said below.

`

// render makes the page.
func render(targets []target, outcomes [][]outcome) string {
	var b strings.Builder
	b.WriteString(heading)
	b.WriteString("| program | what |")
	for _, tg := range targets {
		fmt.Fprintf(&b, " %s |", tg.name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(targets)) + "\n")
	for i, r := range rows {
		b.WriteString(tableLine(r, outcomes[i]) + "\n")
	}
	for _, tg := range targets {
		reasons := map[string]bool{}
		for _, r := range rows {
			if why := gap(tg, r); why != "" && !reasons[why] {
				if len(reasons) == 0 {
					fmt.Fprintf(&b, "\n## What %s cannot do\n\n", tg.name)
				}
				reasons[why] = true
				fmt.Fprintf(&b, "- %s\n", why)
			}
		}
	}
	first := true
	for i, r := range rows {
		for k, tg := range targets {
			if outcomes[i][k].mark != "no" {
				continue
			}
			if first {
				b.WriteString("\n## What does not work\n\n")
				first = false
			}
			fmt.Fprintf(&b, "- %s, %s, with %s: %s\n", r.client, r.name, tg.name, r.reason(tg.name))
		}
	}
	return b.String()
}

func tableLine(r row, outcomes []outcome) string {
	line := fmt.Sprintf("| %s | %s |", r.client, r.name)
	for _, o := range outcomes {
		mark := o.mark
		if mark == "gap" {
			mark = "–"
		}
		line += " " + mark + " |"
	}
	return line
}

// reason is what is known of a failure.
func (r row) reason(target string) string {
	for _, k := range []string{r.client + ", " + r.name + ", " + target, r.client + ", " + r.name} {
		if why, ok := known[k]; ok {
			return why
		}
	}
	return "not understood"
}

// known are failures whose reason is known, by row, or by row and column.
var known = map[string]string{
	"pkcs11-tool, --test-ec, SoftHSM2":   "the tool signs with CKM_ECDSA_SHA1, which SoftHSM2 2.6 does not have.",
	"pkcs11-tool, --test-fork, SoftHSM2": "C_Initialize fails in the child: CKR_CRYPTOKI_ALREADY_INITIALIZED.",
	"mosquitto, mosquitto_pub":           "version 2.0.11 opens the key as a file before it looks at the engine: \"Problem setting TLS options: File not found\".",
}
