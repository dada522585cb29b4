package rules

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var update = flag.Bool("update", false, "write docs/attributes.md")

// The page is printed from the tables, so that it cannot say anything else.
func TestAttributesPageIsCurrent(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "attributes.md")
	want := page()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/attributes.md is not what the tables say; run go test ./internal/rules -run Page -update")
	}
}

func page() []byte {
	var b bytes.Buffer
	b.WriteString(intro)
	for i := range tables {
		t := &tables[i]
		fmt.Fprintf(&b, "\n## %v\n\n", t.class)
		if t.keyTypes != 0 {
			var names []string
			for _, k := range keyTypes {
				if t.keyTypes&k.set != 0 {
					names = append(names, k.typ.String())
				}
			}
			fmt.Fprintf(&b, "Key types: %s.\n\n", strings.Join(names, ", "))
		}
		b.WriteString("| attribute | value | key types | create | generate | unwrap | derive | set | copy | read | default |\n")
		b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
		for _, part := range t.rows {
			for _, r := range part {
				if r.keys != 0 && r.keys&t.keyTypes == 0 {
					continue
				}
				if r.typ == pkcs11.CKA_PRIVATE {
					r.def = t.private
				}
				if r.typ == pkcs11.CKA_ID && t.class == pkcs11.CKO_SECRET_KEY {
					r.def, r.note = none, ""
				}
				fmt.Fprintf(&b, "| %v | %v | %s |", r.typ, r.typ.Kind(), keyNames(r.keys&t.keyTypes))
				for op, g := range r.in {
					s := [...]string{"may", "**must**", "no"}[g]
					if !t.made[op] {
						s = ""
					} else if r.set == bySO && operation(op) == opCreate {
						s = "may; true by the SO"
					} else if r.set == bySO {
						s = "false"
					}
					fmt.Fprintf(&b, " %s |", s)
				}
				read := "yes"
				if r.secret {
					read = "if SENSITIVE=F and EXTRACTABLE=T"
				}
				fmt.Fprintf(&b, " %s | %s | %s | %s |\n", changeName(r.set), changeName(r.copy), read, defaultName(t, r))
			}
		}
	}
	return b.Bytes()
}

const intro = `# Attributes

<!-- Printed from internal/rules/table.go by: go test ./internal/rules -run Page -update -->

Which attributes objects have, who gives them their values, and who may change
them. The rules hold for every backend: they are applied before a driver sees a
template.

- **create, generate, unwrap, derive**: what the template of the call says about
  the attribute. *must*: without it the call fails with CKR_TEMPLATE_INCOMPLETE.
  *may*: the default is taken if it is absent. *no*: CKR_ATTRIBUTE_READ_ONLY.
  An empty column: no such object is made that way. An attribute that is not in
  the table is CKR_ATTRIBUTE_TYPE_INVALID.
- **set, copy**: SetAttributeValue and CopyObject. *yes*: any value. *F→T*,
  *T→F*: only in that direction. *SO*: only by the SO. *no*: never. Anything else
  is CKR_ATTRIBUTE_READ_ONLY. An object with CKA_MODIFIABLE, CKA_COPYABLE or
  CKA_DESTROYABLE false answers CKR_ACTION_PROHIBITED, and so does a trusted
  certificate that somebody other than the SO changes. A copy is not trusted.
- **default**: the value if nobody gives one. *use* means: true for the key types
  named, unless the template sets some other use; a template that names uses
  names all of them. *absent* means that the attribute then does not exist, and
  nothing is restricted.

Data, private keys and secret keys are CKA_PRIVATE unless the template says
otherwise, certificates and public keys are not: listings work before login.

An empty CKA_ID, CKA_ALLOWED_MECHANISMS and the like counts as absent; an empty
CKA_CHECK_VALUE says that none is wanted. A label loses one trailing NUL. An
attribute that is given twice with the same value counts once, with different
values the template is CKR_TEMPLATE_INCONSISTENT.

## Departures from the standard

- CKA_SUBJECT of a certificate may be left out, as may CKA_ISSUER and
  CKA_SERIAL_NUMBER: they are read from CKA_VALUE. The standard demands it. One
  that is given is kept as it is, DER or not: the FreeRTOS qualification tests
  give the text TestSubject. A certificate that is only a URL is refused.
- Uses of a key, such as CKA_SIGN, can be taken away afterwards and not be added.
- A key with CKA_WRAP keeps CKA_ENCRYPT and CKA_DECRYPT as they are.
- CKA_EC_POINT may be read from private keys where the driver knows it.

## Wrapping

A key with CKA_EXTRACTABLE false is never wrapped (CKR_KEY_UNEXTRACTABLE), and
one with CKA_WRAP_WITH_TRUSTED only under a key with CKA_TRUSTED. A key that is
CKA_SENSITIVE is moreover wrapped (else CKR_KEY_NOT_WRAPPABLE) only under a key
that cannot show it again:

- a secret key with CKA_WRAP, but neither CKA_ENCRYPT nor CKA_DECRYPT, that was
  generated on this token (CKA_LOCAL), always sensitive and never extractable; or
- a key that the SO has declared CKA_TRUSTED.

An unwrapped key is sensitive (CKA_SENSITIVE false is CKR_TEMPLATE_INCONSISTENT)
unless the unwrapping key has CKA_DECRYPT, or may itself be read: then the caller
could have had the value anyway.

To take a backup to another token, import the same wrapping key into both, have
the SO set CKA_TRUSTED on it, and generate the keys with CKA_EXTRACTABLE true.
`

func keyNames(set keySet) string {
	var names []string
	for _, n := range []struct {
		set  keySet
		name string
	}{
		{rsa, "RSA"}, {ec, "EC"}, {edwards, "Edwards"}, {montgomery, "Montgomery"},
		{aes, "AES"}, {generic, "generic"}, {hmac, "HMAC"}, {hkdf, "HKDF"},
	} {
		if set&n.set != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ", ")
}

func changeName(c change) string {
	return [...]string{"no", "yes", "F→T", "T→F", "SO"}[c]
}

func defaultName(t *table, r row) string {
	if r.use {
		if names := keyNames(r.uses & t.keyTypes); names != "" {
			return "use: " + names
		}
		return "false"
	}
	computed := map[pkcs11.AttributeType]string{
		pkcs11.CKA_LOCAL:             "true if generated here, and for copies of such",
		pkcs11.CKA_KEY_GEN_MECHANISM: "the mechanism if generated here, else unavailable",
		pkcs11.CKA_ALWAYS_SENSITIVE:  "false, but CKA_SENSITIVE if generated here; derived: if the base key's is true",
		pkcs11.CKA_NEVER_EXTRACTABLE: "false, but not CKA_EXTRACTABLE if generated here; derived: if the base key's is true",
	}
	if s := computed[r.typ]; s != "" {
		return s
	}
	if (r.typ == pkcs11.CKA_CLASS || r.typ == pkcs11.CKA_KEY_TYPE) && !t.made[opGenerate] {
		return ""
	}
	if r.note != "" {
		return r.note
	}
	switch v := r.def.(type) {
	case nil:
		if r.in[opCreate] == must {
			return ""
		}
		return "absent"
	case uint64:
		if r.typ == pkcs11.CKA_NAME_HASH_ALGORITHM {
			return pkcs11.MechanismType(v).String()
		}
	case []byte:
		if len(v) == 0 {
			return "empty"
		}
		return hex.EncodeToString(v)
	case string:
		if v == "" {
			return "empty"
		}
	case time.Time:
		return "empty"
	}
	return fmt.Sprint(r.def)
}
