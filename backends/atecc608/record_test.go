package atecc608

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var updateGolden = flag.Bool("golden", false, "write testdata/v1.txt: only for a new version of the format")

// samples are records of each kind, whose bytes are in testdata/v1.txt for ever.
func samples() (*chipState, []*record) {
	chip := &chipState{serial: [9]byte{1, 0x23, 3, 4, 5, 6, 7, 8, 0xEE}, free: 0x1d, dirty: 4, label: "gateway", ioKey: bytes.Repeat([]byte{0x5a}, 32)}
	private := pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)), pkcs11.Attr(pkcs11.CKA_TOKEN, true),
		pkcs11.Attr(pkcs11.CKA_LABEL, "Device Priv TLS Key"), pkcs11.Attr(pkcs11.CKA_ID, []byte{1, 2, 3}),
		pkcs11.Attr(pkcs11.CKA_ALLOWED_MECHANISMS, []pkcs11.MechanismType{pkcs11.CKM_ECDSA}),
	}
	public := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PUBLIC_KEY)), pkcs11.Attr(pkcs11.CKA_LABEL, "Device Pub TLS Key")}
	return chip, []*record{
		{name: "o-0123456789abcdef", seq: 7, slot: 0, main: private, public: public},
		{name: "o-1123456789abcdef", seq: 8, slot: 2, flags: flagPending, replaces: []string{"o-0123456789abcdef", "o-2123456789abcdef"}, main: private, public: public},
		{name: "o-2123456789abcdef", seq: 1 << 31, slot: -1, public: public},
		{name: "o-3123456789abcdef", seq: 9, slot: 13, flags: flagOnChip, main: public},
	}
}

// Records that were written once are read for ever.
func TestGoldenRecords(t *testing.T) {
	chip, records := samples()
	lines := []string{"chip " + hex.EncodeToString(chip.marshal())}
	for _, r := range records {
		b, err := r.marshal()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, r.name+" "+hex.EncodeToString(b))
	}
	const name = "testdata/v1.txt"
	text := strings.Join(lines, "\n") + "\n"
	if *updateGolden {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(golden) != text {
		t.Error("records are written otherwise than they were: a new version of the format?")
	}
	for i, line := range strings.Split(strings.TrimSpace(string(golden)), "\n") {
		name, digits, _ := strings.Cut(line, " ")
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			got, err := parseChip(b)
			if err != nil || !reflect.DeepEqual(got, chip) {
				t.Errorf("the record of the chip is read as %v, %v", got, err)
			}
			continue
		}
		got, err := parseRecord(name, b)
		if err != nil || !same(got, records[i-1]) || got.name != records[i-1].name {
			t.Errorf("%s is read as %v, %v", name, got, err)
		}
	}
}

// A damaged record is one, whichever bit it is.
func TestDamagedRecords(t *testing.T) {
	chip, records := samples()
	all := [][]byte{chip.marshal()}
	for _, r := range records {
		b, err := r.marshal()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	for n, b := range all {
		parse := func(b []byte) error {
			if n == 0 {
				_, err := parseChip(b)
				return err
			}
			_, err := parseRecord("o-x", b)
			return err
		}
		for i := range b {
			for bit := range 8 {
				b[i] ^= 1 << bit
				if err := parse(b); !errors.Is(err, pal.ErrCorrupt) {
					t.Fatalf("record %d, byte %d, bit %d: %v", n, i, bit, err)
				}
				b[i] ^= 1 << bit
			}
			if err := parse(b[:i]); !errors.Is(err, pal.ErrCorrupt) {
				t.Fatalf("record %d, %d bytes of it: %v", n, i, err)
			}
		}
	}
}

// What parses is written as it was.
func FuzzRecords(f *testing.F) {
	chip, records := samples()
	b := chip.marshal()
	f.Add(b[1 : len(b)-4])
	for _, r := range records {
		b, err := r.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[1 : len(b)-4])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		b := seal(append([]byte{recordVersion}, content...)) // a fuzzer does not find a CRC
		if c, err := parseChip(b); err == nil {
			if again := c.marshal(); !bytes.Equal(again, b) {
				t.Errorf("%x is written as %x", b, again)
			}
		}
		r, err := parseRecord("o-x", b)
		if err != nil {
			return
		}
		again, err := r.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if other, err := parseRecord("o-x", again); err != nil || !same(r, other) {
			t.Errorf("%x is written as %x: %v", b, again, err)
		}
	})
}

// A record without a public key, which only somebody else can have written, is an
// error where it is used.
func TestRecordWithoutPublicKey(t *testing.T) {
	k := newPrivate(object{t: &Token{}, slot: 0, attrs: pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY))}})
	k.(*private).t.zone[20] = 0x85
	k.(*private).t.zone[96] = 0x33
	if _, err := k.(*private).Sign(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, make([]byte, 32)); !errors.Is(err, pkcs11.CKR_DEVICE_ERROR) {
		t.Error(err)
	}
}
