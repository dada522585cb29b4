//go:build ignore

// gen writes zconstants.go from constants.txt: go generate ./pkcs11
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
)

// families maps the prefix of a constant to its Go type and says whether the
// values of the family have names worth looking up, and whether names are
// parsed.
var families = []struct {
	prefix, typ, doc string
	named, parsed    bool
}{
	{"CKR", "Error", "Error codes", true, false},
	{"CKA", "AttributeType", "Attribute types", true, true},
	{"CKO", "ObjectClass", "Object classes", true, false},
	{"CKK", "KeyType", "Key types", true, false},
	{"CKC", "CertificateType", "Certificate types", true, false},
	{"CKU", "UserType", "User types", true, false},
	{"CKS", "SessionState", "Session states", true, false},
	{"CKM", "MechanismType", "Mechanisms", true, true},
	{"CKG", "MGFType", "Mask generation functions", true, false},
	{"CKZ", "SourceType", "Sources of an encoding parameter", false, false},
	{"CKD", "KDFType", "Key derivation functions", true, false},
	{"CKP", "ProfileID", "Profiles", true, false},
	{"CKH", "HardwareFeature", "Hardware features", true, false},
	{"CKF", "", "Flags; which of them belong together tells the type that holds them", false, false},
}

type constant struct {
	name  string
	value uint64
	kind  string
	alias bool
}

func main() {
	text, err := os.ReadFile("constants.txt")
	if err != nil {
		log.Fatal(err)
	}
	byPrefix := map[string][]constant{}
	for n, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 2 {
			log.Fatalf("constants.txt:%d: want a name and a value", n+1)
		}
		c := constant{name: f[0]}
		if c.value, err = strconv.ParseUint(f[1], 0, 64); err != nil {
			log.Fatalf("constants.txt:%d: %v", n+1, err)
		}
		for _, word := range f[2:] {
			switch word {
			case "alias":
				c.alias = true
			case "bool", "ulong", "text", "date", "mechanisms", "template":
				c.kind = word
			default:
				log.Fatalf("constants.txt:%d: unknown word %q", n+1, word)
			}
		}
		prefix, _, _ := strings.Cut(c.name, "_")
		byPrefix[prefix] = append(byPrefix[prefix], c)
	}

	var b bytes.Buffer
	fmt.Fprintf(&b, "// Code generated from constants.txt by gen.go; DO NOT EDIT.\n\npackage pkcs11\n")
	for _, fam := range families {
		list := byPrefix[fam.prefix]
		delete(byPrefix, fam.prefix)
		fmt.Fprintf(&b, "\n// %s.\nconst (\n", fam.doc)
		for _, c := range list {
			if fam.prefix == "CKR" && c.value == 0 {
				continue // a nil error
			}
			fmt.Fprintf(&b, "%s %s = %#x\n", c.name, fam.typ, c.value)
		}
		fmt.Fprintf(&b, ")\n")
		if !fam.named {
			continue
		}
		sort.SliceStable(list, func(i, j int) bool { return list[i].value < list[j].value })
		fmt.Fprintf(&b, "\nvar names%s = []name{\n", fam.prefix)
		for _, c := range list {
			if !c.alias && !(fam.prefix == "CKR" && c.value == 0) {
				fmt.Fprintf(&b, "{%#x, %q},\n", c.value, c.name)
			}
		}
		fmt.Fprintf(&b, "}\n")
		if fam.parsed {
			fmt.Fprintf(&b, "\nvar aliases%s = []name{\n", fam.prefix)
			for _, c := range list {
				if c.alias {
					fmt.Fprintf(&b, "{%#x, %q},\n", c.value, c.name)
				}
			}
			fmt.Fprintf(&b, "}\n")
		}
		if fam.prefix != "CKA" {
			continue
		}
		fmt.Fprintf(&b, "\n// Kind tells which Go type the Value of an attribute of type t has. Types that\n// this package does not know, vendor-defined ones among them, are bytes.\n")
		fmt.Fprintf(&b, "func (t AttributeType) Kind() Kind {\nswitch t {\n")
		for _, k := range []struct{ word, kind string }{
			{"bool", "KindBool"}, {"ulong", "KindUint"}, {"text", "KindText"},
			{"date", "KindDate"}, {"mechanisms", "KindMechanisms"}, {"template", "KindTemplate"},
		} {
			var names []string
			for _, c := range list {
				if c.kind == k.word && !c.alias {
					names = append(names, c.name)
				}
			}
			fmt.Fprintf(&b, "case %s:\nreturn %s\n", strings.Join(names, ", "), k.kind)
		}
		fmt.Fprintf(&b, "}\nreturn KindBytes\n}\n")
	}
	for prefix := range byPrefix {
		log.Fatalf("constants.txt: unknown family %s", prefix)
	}
	out, err := format.Source(b.Bytes())
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("zconstants.go", out, 0o644); err != nil {
		log.Fatal(err)
	}
}
