package config

import (
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed named/*.txt
var named embed.FS

// A Plan is a configuration to be written to a chip, and what its slots are for.
type Plan struct {
	Name  string
	About string
	// Zone holds bytes 16 to 127; the bytes that the chip does not let anybody
	// choose (0 to 15, 86 and 87) have no meaning.
	Zone    Zone
	Purpose [Slots]string
}

// Names returns the names of the configurations that Named knows.
func Names() []string {
	files, err := fs.ReadDir(named, "named")
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".txt"))
	}
	return names
}

// Named returns a configuration by its name. The error wraps fs.ErrNotExist if
// there is none.
func Named(name string) (*Plan, error) {
	b, err := named.ReadFile("named/" + name + ".txt")
	if err != nil {
		return nil, fmt.Errorf("configuration %q: %w; there are %s", name, fs.ErrNotExist, strings.Join(Names(), ", "))
	}
	p, err := ParsePlan(string(b))
	if err != nil {
		return nil, err
	}
	p.Name = name
	return p, nil
}

// ParsePlan reads a configuration: the bytes 16 to 127 in hexadecimal, each line
// after the offset of its first byte and a colon, and the purposes of slots.
//
//	# what the configuration is for
//	16: C0 00 00 00 85 20 …
//	slot 0: device TLS key
//
// A number sign begins a comment; those before the first line are About. Nothing
// but hexadecimal digits is taken, too: all 128 bytes, or those from 16 on. The
// plan is not checked: see Zone.Check.
func ParsePlan(text string) (*Plan, error) {
	p := new(Plan)
	if b, err := hex.DecodeString(strings.Join(strings.Fields(text), "")); err == nil && (len(b) == Size || len(b) == Size-offAddress) {
		copy(p.Zone[Size-len(b):], b)
		return p, nil
	}
	var have [Size]bool
	begun := false
	number := 0
	for line := range strings.Lines(text) {
		number++
		line, comment, _ := strings.Cut(strings.TrimSpace(line), "#")
		if line = strings.TrimSpace(line); line == "" {
			if comment = strings.TrimSpace(comment); !begun && (comment != "" || p.About != "") {
				p.About += comment + "\n"
			}
			continue
		}
		begun = true
		if err := p.line(line, &have); err != nil {
			return nil, fmt.Errorf("configuration: line %d: %w", number, err)
		}
	}
	p.About = strings.TrimSpace(p.About)
	for i := offAddress; i < Size; i++ {
		if !have[i] {
			return nil, fmt.Errorf("configuration: byte %d is missing; all of 16 to 127 are needed", i)
		}
	}
	return p, nil
}

func (p *Plan) line(line string, have *[Size]bool) error {
	head, rest, ok := strings.Cut(line, ":")
	if !ok {
		return errors.New("want OFFSET: BYTES or slot N: PURPOSE")
	}
	rest = strings.TrimSpace(rest)
	if n, ok := strings.CutPrefix(head, "slot "); ok {
		slot, err := strconv.ParseUint(strings.TrimSpace(n), 10, 8)
		if err != nil || slot >= Slots {
			return fmt.Errorf("there is no slot %s", n)
		}
		if p.Purpose[slot] != "" || rest == "" {
			return fmt.Errorf("slot %d has no purpose, or two", slot)
		}
		p.Purpose[slot] = rest
		return nil
	}
	at, err := strconv.ParseUint(strings.TrimSpace(head), 10, 8)
	if err != nil {
		return fmt.Errorf("%q is neither an offset nor a slot", head)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(rest), ""))
	if err != nil {
		return fmt.Errorf("%q is not hexadecimal", rest)
	}
	for i, v := range b {
		o := int(at) + i
		if o < offAddress || o >= Size {
			return fmt.Errorf("byte %d cannot be chosen; bytes 16 to 127 can", o)
		}
		if have[o] {
			return fmt.Errorf("byte %d is given twice", o)
		}
		have[o], p.Zone[o] = true, v
	}
	return nil
}

// Apply returns the zone that a chip has once the plan is written: the bytes that
// cannot be chosen are those of chip.
func (p *Plan) Apply(chip *Zone) Zone {
	z := p.Zone
	copy(z[:offAddress], chip[:offAddress])
	copy(z[offLockData:offSlotLocked], chip[offLockData:offSlotLocked])
	return z
}

// Written reports whether the chip has the configuration already, as far as it
// can be chosen; counters that have counted do not matter.
func (p *Plan) Written(chip *Zone) bool {
	z := p.Apply(chip)
	copy(z[offCounters:offUseLock], chip[offCounters:offUseLock])
	copy(z[offSlotLocked:offChipOptions], chip[offSlotLocked:offChipOptions])
	return z == *chip
}
