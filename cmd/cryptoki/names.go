package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A scheme is what the name of a token begins with, and the parameters that may
// follow. The help and docs/cli.md are made of this table, and a test compares it
// with what the backends take.
type scheme struct {
	name       string
	what       string
	doc        string // the file in docs that tells more
	parameters []parameter
}

// A parameter is written as in "dir=PATH"; several forms are separated by ", ".
type parameter struct{ form, what string }

// takes reports whether a token's name may have the parameter, too.
func takes(name, parameter string) bool {
	before, _, _ := strings.Cut(name, ":")
	for _, s := range schemes {
		for _, p := range s.parameters {
			if s.name == before && p.key() == parameter {
				return true
			}
		}
	}
	return false
}

// key returns the name of the parameter.
func (p parameter) key() string {
	key, _, _ := strings.Cut(p.form, "=")
	return key
}

var (
	dirParameters = []parameter{
		{"dir=PATH", "the directory of the token's records"},
		{"create=true", "make the directory if it does not exist"},
		{"readonly=true", "change nothing in it; signing works"},
	}
	memParameter    = parameter{"mem=true", "in memory instead of a directory, gone when it is closed"}
	nopinParameter  = parameter{"nopin=true", "init makes a token without user PIN"}
	acceptParameter = parameter{"accept=true", "take the objects that are there for the token's, although some are missing or old"}
	timeout         = parameter{"timeout=SECONDS", "how long a call may go without an answer: 60 by default"}
)

var schemes = []scheme{
	{"soft", "a token in software", "soft.md", append(dirParameters[:3:3],
		memParameter, nopinParameter, acceptParameter,
		parameter{"backup=true", "init makes a token whose keys may all leave it in a backup"},
		parameter{"entropy=LIST", "what random numbers start from, separated by commas: system, hwrng, or the path of a device"},
		parameter{"seed=PATH, seed=store", "and a seed, in a file or in the token's store"},
	)},
	{"tpm", "a token in a TPM 2.0", "tpm.md", append(dirParameters[:3:3],
		memParameter, nopinParameter, acceptParameter,
		parameter{"device=PATH", "the TPM: /dev/tpmrm0 by default"},
		parameter{"swtpm=unix:PATH, swtpm=tcp:HOST:PORT", "instead: a TPM in software, on the socket where it takes commands"},
		parameter{"simulated=true", "allow a TPM in software on a device"},
		parameter{"persist=true", "new keys are made persistent in the TPM"},
		parameter{"bus=none", "no protection on the bus when keys are used: full by default"},
		parameter{"channels=N", "connections that are used at once: 2 on /dev/tpmrm*, else 1"},
		parameter{"parent=HANDLE", "another storage key than 0x81000001"},
		parameter{"owner-auth=FILE", "the authorization of the TPM's owner, if it is not empty"},
		parameter{"endorsement-auth=FILE", "that of the endorsement hierarchy, if it is not empty"},
		parameter{"last-try=true", "check a PIN although a wrong one would lock the TPM"},
	)},
	{"atecc608", "a token in an ATECC608", "atecc608.md", append(dirParameters[:3:3],
		parameter{"bus=N, bus=PATH, bus=unix:PATH, bus=tcp:HOST:PORT", "/dev/i2c-N, another device, or a simulated chip"},
		parameter{"address=N", "the 7-bit address, such as 0x60; without it, the chip that answers, if it is alone"},
		parameter{"store=slots, store=N,N,…", "keep records in data slots of the chip instead of a directory: all that suit, or these"},
		parameter{"label=TEXT", "the label of the token"},
		parameter{"labels=N:LABEL,…", "labels of the keys in slots that the directory does not know"},
		parameter{"free=N,N,…", "slots whose keys may be overwritten though the directory does not know them"},
		parameter{"io-key=FILE", "the I/O protection key; without it, the one that init has put into the directory"},
		parameter{"certificates=FILE", "templates of compressed certificates"},
	)},
	{"unix", "a token of another process, which runs cryptoki serve or p11-kit server", "serve.md", []parameter{
		{"path=PATH", "the socket"}, timeout,
	}},
	{"p11-kit-remote", "a token of another module, a shared library, which p11-kit runs", "serve.md", []parameter{
		{"module=PATH", "the library"}, timeout,
	}},
}

// everywhere are the parameters of every scheme. serve does without, for its clients
// log in.
var everywhere = []parameter{
	{"token=LABEL, token=URI", "the token of that label, or that a pkcs11: URI describes; needed if there are several"},
	{"pin-file=PATH", "read the user PIN from this file, which only its owner may access, before any other source"},
}

const namesAbout = `The name of a token is a scheme, a colon, and parameters separated by semicolons,
as in soft:dir=/var/lib/gateway/token;readonly=true: in a shell it needs quotes. In a
value, %3B is a semicolon and %25 a percent sign. An unknown parameter is an error.`

const everywhereAbout = "every scheme, but not for serve"

// helpNames explains names on a terminal.
func helpNames(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", namesAbout)
	table := func(title string, list []parameter) {
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, p := range list {
			form, width := p.form, 24
			if utf8.RuneCountInString(form) > width {
				fmt.Fprintf(&b, "  %s\n", form)
				form = ""
			}
			fmt.Fprintf(&b, "  %-*s  %s\n", width, form, p.what)
		}
	}
	for _, s := range schemes {
		table(fmt.Sprintf("%s: %s", s.name, s.what), s.parameters)
	}
	table(everywhereAbout+":", everywhere)
	_, err := w.Write(b.Bytes())
	return err
}

// markdownNames explains them in docs/cli.md.
func markdownNames(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## Names of tokens\n\n%s\nA program in Go gives the same names to `cryptoki.Open`; `cryptoki help names` prints this.\n", escapeMarkdown(namesAbout))
	table := func(title string, list []parameter) {
		fmt.Fprintf(b, "\n%s\n|---|---|\n", title)
		for _, p := range list {
			forms := strings.Split(p.form, ", ")
			fmt.Fprintf(b, "| `%s` | %s |\n", strings.Join(forms, "`, `"), escapeMarkdown(p.what))
		}
	}
	for _, s := range schemes {
		table(fmt.Sprintf("| `%s:` | [%s](%s) |", s.name, s.what, s.doc), s.parameters)
	}
	table(fmt.Sprintf("| | %s |", everywhereAbout), everywhere)
}

// parseName parses a name for a command that opens the backend itself, and takes
// out of it what cryptoki.Open does: the file of the user PIN, which is where the
// PIN comes from then, and the token that is meant, which check compares with.
func (a *app) parseName(name string) (params *driver.Params, check func(driver.Info) error, err error) {
	if params, err = driver.ParseName(name); err != nil {
		return nil, nil, err
	}
	if path := params.String("pin-file", ""); path != "" {
		a.pins.user.file, a.pins.user.fd = path, -1
	}
	want := params.String("token", "")
	return params, func(info driver.Info) error {
		is := want == "" || want == info.Label
		if pkcs11.IsURI(want) {
			uri, err := pkcs11.ParseURI(want)
			if err != nil {
				return err
			}
			is = uri.MatchToken(pkcs11.TokenInfo{Label: info.Label, ManufacturerID: info.ManufacturerID, Model: info.Model, SerialNumber: info.SerialNumber})
		}
		if !is {
			return fmt.Errorf("%w: there is no token %q; there is %q", pkcs11.CKR_TOKEN_NOT_PRESENT, want, info.Label)
		}
		return nil
	}, nil
}
