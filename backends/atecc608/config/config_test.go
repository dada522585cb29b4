package config

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func plan(t *testing.T, name string) *Plan {
	t.Helper()
	p, err := Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNamedConfigurations(t *testing.T) {
	for _, name := range Names() {
		p := plan(t, name)
		if err := p.Zone.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if p.About == "" || p.Purpose[0] == "" {
			t.Errorf("%s does not say what it is for", name)
		}
	}
	if _, err := Named("other"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "generic") {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestGenericPolicies(t *testing.T) {
	z := &plan(t, "generic").Zone
	for n, want := range []string{
		"private key: signs, agrees, can be made anew, lockable",
		"private key: attests, can be made anew, lockable",
		"private key: signs, agrees, can be made anew, lockable",
		"private key: signs, agrees, can be made anew, lockable",
		"private key: signs, agrees, can be made anew, can be imported under slot 6, lockable",
		"AES keys: can be written under slot 6, lockable",
		"secret: can be written, lockable",
		"secret: stays",
		"data: can be read, can be written, lockable",
		"secret: can be written under slot 6, lockable",
		"data: can be read, can be written, lockable",
		"public key: can be read, can be written, lockable",
		"data: can be read, can be written, lockable",
		"public key: can be read, can be written, lockable",
		"public key: validated by slot 13, can be read, can be written while it is not valid",
		"public key: can be read, can be written, lockable",
	} {
		if got := z.Slot(n).Describe(); got != want {
			t.Errorf("slot %d: %s\nwant %s", n, got, want)
		}
	}
	if slot, on := z.IOProtection(); slot != 6 || !on || z.ECDH() != Clear || z.Address() != 0x60 {
		t.Errorf("I/O protection in slot %d: %v, ECDH %d, address %#x", slot, on, z.ECDH(), z.Address())
	}
}

func TestZone(t *testing.T) {
	var z Zone
	b, err := hex.DecodeString("0123eaa20000600305b7c470ee614d00c0000001")
	if err != nil {
		t.Fatal(err)
	}
	copy(z[:], b)
	z[offExtraAddress], z[offLockData], z[offLockConfig] = 0x6A, 0x55, 0
	z[offSlotLocked] = 0xFB
	if s := z.Serial(); hex.EncodeToString(s[:]) != "0123eaa205b7c470ee" {
		t.Errorf("serial number %x", s)
	}
	if z.Model() != "ATECC608B" || !z.AES() || z.Address() != 0x35 || !z.Locked() || z.DataLocked() {
		t.Errorf("%s, AES %v, address %#x, locked %v and %v", z.Model(), z.AES(), z.Address(), z.Locked(), z.DataLocked())
	}
	z[offChipMode] = 0
	if z.Address() != 0x60 {
		t.Errorf("address %#x without the extra one", z.Address())
	}
	for n, want := range map[int]bool{1: false, 2: true} {
		if z.Slot(n).Locked != want {
			t.Errorf("slot %d locked: %v", n, !want)
		}
	}
}

// A configuration that gives a key away is refused, with the slot and the bit.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		what string
		off  int
		bits byte // that change
		want string
	}{
		{"a private key that is read", 20, 0x80, "slot 0: its private key would be readable; set bit 7 of SlotConfig"},
		{"a private key that is read encrypted", 20, 0x40, "clear bit 6 of SlotConfig"},
		{"a private key that is no P-256 key", 96, 0x0C, "slot 0: KeyConfig bit 0"},
		{"a secret for everybody", 20, 0x08, ""}, // slot 1 is a private key
		{"ECDH of an odd slot", 22, 0x0C, "slot 1: what it agrees on would go into slot 1"},
		{"ECDH into a readable slot", 20 + 2*4, 0x08, ""}, // slot 5 is secret
		{"an I/O protection key that is read", 20 + 2*6, 0x80, "slot 6"},
		{"an I/O protection key of another type", 96 + 2*6, 0x04, "key type"},
		{"the transport lock", 68, 0x0A, "UseLock"},
		{"a clock that does not exist", 19, 0x08, "ChipMode"},
		{"a reserved address", 16, 0xC0, "address"},
		{"locked slots", 88, 0x01, "SlotLocked"},
		{"a PIN that is read", 97, 0x08, ""}, // ReqAuth is off
	} {
		z := plan(t, "generic").Zone
		z[tt.off] ^= tt.bits
		err := z.Check()
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.what, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %q", tt.what, err, tt.want)
		}
	}
	z := plan(t, "generic-pin").Zone
	z[20+2*7] ^= 0x80
	if err := z.Check(); err == nil || !strings.Contains(err.Error(), "slot 0: it is used after a check of the key in slot 7") {
		t.Errorf("a PIN that is read: %v", err)
	}
}

func TestPlanErrors(t *testing.T) {
	good, err := named.ReadFile("named/generic.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{"16:  C0", "15: 00 C0", "byte 15 cannot be chosen"},
		{"16:  C0", "16:  ", "byte 51"},
		{"32:  8F", "31:  8F", "byte 31 is given twice"},
		{"112: 3C", "113: 3C", "byte 128"},
		{"slot 3:", "slot 16:", "no slot 16"},
		{"slot 3:", "slot 2:", "two"},
		{"48:  0D", "48:  XX", "not hexadecimal"},
		{"48:  0D", "48  0D", "want OFFSET"},
		{"48:  0D", "forty:  0D", "neither"},
	} {
		text := strings.Replace(string(good), tt.old, tt.new, 1)
		if tt.new == "16:  " { // a byte short
			text = strings.Replace(string(good), "16:  C0 ", "16:  ", 1)
			tt.want = "byte 31 is missing"
		}
		if _, err := ParsePlan(text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q for %q: %v, want %q", tt.new, tt.old, err, tt.want)
		}
	}
}

func TestPlanOfDigitsAlone(t *testing.T) {
	want := plan(t, "generic")
	for _, b := range [][]byte{want.Zone[:], want.Zone[16:]} {
		p, err := ParsePlan(hex.EncodeToString(b[:20]) + "\n  " + hex.EncodeToString(b[20:]) + "\n")
		if err != nil || p.Zone != want.Zone {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

func TestApply(t *testing.T) {
	p := plan(t, "generic")
	var chip Zone
	for i := range chip {
		chip[i] = byte(i)
	}
	z := p.Apply(&chip)
	if z[15] != 15 || z[16] != 0xC0 || z[86] != 86 || z[87] != 87 || z[88] != 0xFF {
		t.Errorf("applied: % x", z)
	}
	if p.Written(&chip) {
		t.Error("another configuration counts as written")
	}
	z[offCounters]++
	z[offSlotLocked] = 0xFE
	if !p.Written(&z) {
		t.Error("a counter that counts, and a locked slot, make it another configuration")
	}
}

func FuzzParsePlan(f *testing.F) {
	for _, name := range Names() {
		b, err := named.ReadFile("named/" + name + ".txt")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("16: C0\nslot 3: x\n# y")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlan(text)
		if err != nil {
			return
		}
		// What parses describes itself, and the check names what it finds.
		for n := range Slots {
			if p.Zone.Slot(n).Describe() == "" {
				t.Errorf("slot %d has no description", n)
			}
		}
		if err := p.Zone.Check(); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
	})
}
