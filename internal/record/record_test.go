package record

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var p256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

// The encodings are golden: they are on disks and stay readable for ever.
var golden = []struct {
	name string
	t    pkcs11.Template
	hex  string
}{
	{"empty", pkcs11.Template{}, "00"},
	{"false", pkcs11.Template{{Type: pkcs11.CKA_CLASS, Value: uint64(0)}, {Type: pkcs11.CKA_TOKEN, Value: false}}, "02" + "0200" + "00"},
	{"private key", pkcs11.Template{
		{Type: pkcs11.CKA_CLASS, Value: uint64(pkcs11.CKO_PRIVATE_KEY)},
		{Type: pkcs11.CKA_TOKEN, Value: true},
		{Type: pkcs11.CKA_PRIVATE, Value: true},
		{Type: pkcs11.CKA_LABEL, Value: "key"},
		{Type: pkcs11.CKA_KEY_TYPE, Value: uint64(pkcs11.CKK_EC)},
		{Type: pkcs11.CKA_ID, Value: []byte{1, 2}},
		{Type: pkcs11.CKA_START_DATE, Value: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)},
		{Type: pkcs11.CKA_END_DATE, Value: time.Time{}},
		{Type: pkcs11.CKA_KEY_GEN_MECHANISM, Value: uint64(pkcs11.CKM_EC_KEY_PAIR_GEN)},
		{Type: pkcs11.CKA_EC_PARAMS, Value: p256},
	}, "0a" + "0203" + "01" + "01" + "04036b6579" + "e20f03" + "0b020102" + "6d81d2d409" + "0500" + "a205c020" + "cb010a06082a8648ce3d030107"},
	{"lists", pkcs11.Template{
		{Type: pkcs11.CKA_WRAP_TEMPLATE, Value: pkcs11.Template{{Type: pkcs11.CKA_EXTRACTABLE, Value: true}}},
		{Type: pkcs11.CKA_ALLOWED_MECHANISMS, Value: []pkcs11.MechanismType{pkcs11.CKM_ECDSA, 0x80000001}},
	}, "02" + "8fa180802003" + "019116" + "f63e" + "02" + "c120" + "8180808008"},
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			b, err := Append(nil, g.t)
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(b) != g.hex {
				t.Errorf("encoding is\n%x, want\n%s", b, g.hex)
			}
			stored, _ := hex.DecodeString(g.hex)
			back, err := Parse(stored)
			if err != nil {
				t.Fatal(err)
			}
			if !back.Equal(g.t) {
				t.Errorf("decoded %v, want %v", back, g.t)
			}
		})
	}
}

func TestAppendSortsAndConverts(t *testing.T) {
	b, err := Append([]byte("x"), pkcs11.Template{
		{Type: pkcs11.CKA_LABEL, Value: []byte("l")},
		{Type: pkcs11.CKA_CLASS, Value: pkcs11.CKO_DATA},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "x\x02\x02\x00\x14\x01l"; string(b) != want {
		t.Errorf("got %q, want %q", b, want)
	}
}

func TestAppendRefuses(t *testing.T) {
	deep := pkcs11.Template{}
	for range maxDepth + 1 {
		deep = pkcs11.Template{{Type: pkcs11.CKA_WRAP_TEMPLATE, Value: deep}}
	}
	for name, c := range map[string]struct {
		t    pkcs11.Template
		want pkcs11.Error
	}{
		"no value":      {pkcs11.Template{{Type: pkcs11.CKA_LABEL}}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		"wrong kind":    {pkcs11.Template{{Type: pkcs11.CKA_TOKEN, Value: "yes"}}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		"twice":         {pkcs11.Template{{Type: pkcs11.CKA_TOKEN, Value: true}, {Type: pkcs11.CKA_TOKEN, Value: true}}, pkcs11.CKR_TEMPLATE_INCONSISTENT},
		"year 10000":    {pkcs11.Template{{Type: pkcs11.CKA_END_DATE, Value: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		"too deep":      {deep, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
		"an error code": {pkcs11.Template{{Type: pkcs11.CKA_VALUE, Value: pkcs11.CKR_ATTRIBUTE_SENSITIVE}}, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID},
	} {
		if b, err := Append(nil, c.t); !errors.Is(err, c.want) {
			t.Errorf("%s: got %x, %v; want %v", name, b, err, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"nothing":                "",
		"count too large":        "05",
		"huge count":             "ffffffffffffffffff01",
		"trailing byte":          "0000",
		"value missing":          "0102",
		"number not minimal":     "01028000",
		"head not minimal":       "01828003",
		"bytes too short":        "011c0561",
		"type beyond 32 bits":    "0183808080800103",
		"wrong kind for type":    "010301",
		"text where bytes":       "018c0100",
		"inner template garbage": "0197a180802001ff",
	} {
		b, _ := hex.DecodeString(s)
		if got, err := Parse(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
		if got, err := Summarize(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: summary %+v, %v", name, got, err)
		}
	}
	day := []byte{1, 0x85, 0x11}
	for _, n := range []uint64{20261131, 20260229, 20261301, 10101, 99999999, 20260100, 120} {
		b := appendUvarint(day[:3:3], n)
		if got, err := Parse(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("date %d: got %v, %v", n, got, err)
		}
		if got, err := Summarize(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("date %d: summary %+v, %v", n, got, err)
		}
	}
	if got, err := Parse(appendUvarint(day[:3:3], 20240229)); err != nil || len(got) != 1 {
		t.Errorf("29 February 2024: %v, %v", got, err)
	}
}

func appendUvarint(b []byte, n uint64) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// summary is the Summary of a template.
func summary(t pkcs11.Template) Summary {
	return Summary{
		Class: t.Uint(pkcs11.CKA_CLASS), KeyType: t.Uint(pkcs11.CKA_KEY_TYPE),
		Token: t.Bool(pkcs11.CKA_TOKEN), Private: t.Bool(pkcs11.CKA_PRIVATE),
		Label: []byte(t.Text(pkcs11.CKA_LABEL)), ID: t.Bytes(pkcs11.CKA_ID),
	}
}

func (s Summary) equal(o Summary) bool {
	return s.Class == o.Class && s.KeyType == o.KeyType && s.Token == o.Token && s.Private == o.Private &&
		bytes.Equal(s.Label, o.Label) && bytes.Equal(s.ID, o.ID)
}

func TestSummarize(t *testing.T) {
	for _, g := range golden {
		b, _ := hex.DecodeString(g.hex)
		got, err := Summarize(b)
		if err != nil || !got.equal(summary(g.t)) {
			t.Errorf("%s: %+v, %v; want %+v", g.name, got, err, summary(g.t))
		}
		// What is within another template is not the object's.
		inner, err := Append(nil, pkcs11.Template{{Type: pkcs11.CKA_WRAP_TEMPLATE, Value: g.t}})
		if err != nil {
			continue // too deep
		}
		if got, err := Summarize(inner); err != nil || !got.equal(summary(nil)) {
			t.Errorf("%s within a template: %+v, %v", g.name, got, err)
		}
	}
}

// FuzzParse checks that whatever parses is what would be written.
func FuzzParse(f *testing.F) {
	for _, g := range golden {
		b, _ := hex.DecodeString(g.hex)
		f.Add(b)
	}
	f.Add([]byte{1, 0x8d, 0x11, 120}) // a day of the year 0
	f.Fuzz(func(t *testing.T, b []byte) {
		sum, sumErr := Summarize(b)
		tmpl, err := Parse(b)
		if (err == nil) != (sumErr == nil) {
			t.Fatalf("%x: Parse returns %v, Summarize %v", b, err, sumErr)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error without ErrMalformed: %v", err)
			}
			return
		}
		again, err := Append(nil, tmpl)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x parses as %v, which is written as %x, %v", b, tmpl, again, err)
		}
		if !sum.equal(summary(tmpl)) {
			t.Fatalf("%x: the summary is %+v; the template has %v", b, sum, tmpl)
		}
	})
}

// FuzzAppend checks that whatever is written is read back.
func FuzzAppend(f *testing.F) {
	f.Add(uint32(3), "label", []byte{1}, uint64(1<<40), true, 2026, 11)
	f.Fuzz(func(t *testing.T, typ uint32, text string, value []byte, n uint64, yes bool, year, day int) {
		mechs := []pkcs11.MechanismType{}
		for _, b := range value {
			mechs = append(mechs, pkcs11.MechanismType(b)<<(n%25))
		}
		in := pkcs11.Template{
			{Type: pkcs11.CKA_LABEL, Value: text},
			{Type: pkcs11.CKA_VALUE, Value: value},
			{Type: pkcs11.CKA_VALUE_LEN, Value: n},
			{Type: pkcs11.CKA_TOKEN, Value: yes},
			{Type: pkcs11.CKA_END_DATE, Value: time.Date(1+(year&0xfff), 5, day, 0, 0, 0, 0, time.UTC)},
			{Type: pkcs11.CKA_ALLOWED_MECHANISMS, Value: mechs},
		}
		in = append(in, pkcs11.Attribute{Type: pkcs11.CKA_UNWRAP_TEMPLATE, Value: in.Clone()})
		if a, err := (pkcs11.Attribute{Type: pkcs11.AttributeType(typ), Value: value}).Canonical(); err == nil && !in.Has(a.Type) {
			in = append(in, a)
		}
		b, err := Append(nil, in)
		if err != nil {
			if errors.Is(err, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID) {
				return // a year out of range
			}
			t.Fatal(err)
		}
		out, err := Parse(b)
		if err != nil || !out.Equal(in) {
			t.Fatalf("%v was written as %x and read as %v, %v", in, b, out, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	enc, _ := hex.DecodeString(golden[2].hex)
	b.ReportAllocs()
	for b.Loop() {
		Parse(enc)
	}
}

func BenchmarkSummarize(b *testing.B) {
	enc, _ := hex.DecodeString(golden[2].hex)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Summarize(enc); err != nil {
			b.Fatal(err)
		}
	}
}
