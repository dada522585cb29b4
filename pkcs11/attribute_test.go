package pkcs11

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestCanonical(t *testing.T) {
	type myInt int8
	date := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	mechs := []MechanismType{CKM_ECDSA}
	for _, c := range []struct {
		typ  AttributeType
		give any
		want any // nil for CKR_ATTRIBUTE_VALUE_INVALID
	}{
		{CKA_TOKEN, true, true},
		{CKA_TOKEN, 1, nil},
		{CKA_TOKEN, []byte{1}, nil},
		{CKA_TOKEN, "true", nil},
		{CKA_TOKEN, nil, nil},
		{CKA_CLASS, uint64(3), uint64(3)},
		{CKA_CLASS, CKO_PRIVATE_KEY, uint64(3)},
		{CKA_CLASS, 3, uint64(3)},
		{CKA_CLASS, int8(3), uint64(3)},
		{CKA_CLASS, int16(3), uint64(3)},
		{CKA_CLASS, int32(3), uint64(3)},
		{CKA_CLASS, int64(3), uint64(3)},
		{CKA_CLASS, uint(3), uint64(3)},
		{CKA_CLASS, uint8(3), uint64(3)},
		{CKA_CLASS, uint16(3), uint64(3)},
		{CKA_CLASS, uint32(3), uint64(3)},
		{CKA_CLASS, uintptr(3), uint64(3)},
		{CKA_CLASS, myInt(3), uint64(3)},
		{CKA_CLASS, uint64(math.MaxUint64), uint64(math.MaxUint64)},
		{CKA_CLASS, -1, nil},
		{CKA_CLASS, int64(-1), nil},
		{CKA_CLASS, myInt(-1), nil},
		{CKA_CLASS, 3.0, nil},
		{CKA_CLASS, true, nil},
		{CKA_CLASS, []byte{3, 0, 0, 0}, nil},
		{CKA_CLASS, CKR_ATTRIBUTE_SENSITIVE, nil},
		{CKA_CLASS, nil, nil},
		{CKA_KEY_TYPE, CKK_EC, uint64(3)},
		{CKA_CERTIFICATE_TYPE, CKC_X_509, uint64(0)},
		{CKA_KEY_GEN_MECHANISM, CKM_EC_KEY_PAIR_GEN, uint64(0x1040)},
		{CKA_HW_FEATURE_TYPE, CKH_CLOCK, uint64(2)},
		{CKA_PROFILE_ID, CKP_BASELINE_PROVIDER, uint64(1)},
		{CKA_LABEL, "a", "a"},
		{CKA_LABEL, []byte("a"), "a"},
		{CKA_LABEL, []byte(nil), ""},
		{CKA_LABEL, 'a', nil},
		{CKA_LABEL, nil, nil},
		{CKA_ID, []byte{1}, []byte{1}},
		{CKA_ID, "a", []byte("a")},
		{CKA_ID, "", []byte{}},
		{CKA_ID, 1, nil},
		{CKA_ID, [1]byte{1}, nil},
		{CKA_ID, nil, nil},
		{CKA_START_DATE, date, date},
		{CKA_START_DATE, time.Time{}, time.Time{}},
		{CKA_START_DATE, "20260701", nil},
		{CKA_ALLOWED_MECHANISMS, mechs, mechs},
		{CKA_ALLOWED_MECHANISMS, []uint32{1}, nil},
		{CKA_WRAP_TEMPLATE, Template{{CKA_TOKEN, true}}, Template{{CKA_TOKEN, true}}},
		{CKA_WRAP_TEMPLATE, []Attribute{{CKA_TOKEN, true}}, Template{{CKA_TOKEN, true}}},
		{CKA_WRAP_TEMPLATE, map[string]int{}, nil},
		{0x80001234, []byte{1}, []byte{1}},
		{0x80001234, true, nil},
	} {
		got, err := Attr(c.typ, c.give).Canonical()
		if c.want == nil {
			if !errors.Is(err, CKR_ATTRIBUTE_VALUE_INVALID) || !strings.Contains(fmt.Sprint(err), c.typ.String()) {
				t.Errorf("%v of %T: %v, %v", c.typ, c.give, got, err)
			}
			continue
		}
		if err != nil || got.Type != c.typ || !reflect.DeepEqual(got.Value, c.want) {
			t.Errorf("%v of %T: %#v, %v; want %#v", c.typ, c.give, got.Value, err, c.want)
			continue
		}
		if again, err := got.Canonical(); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%v: canonical of canonical: %v, %v", c.typ, again, err)
		}
		if !got.Equal(Attr(c.typ, c.give)) {
			t.Errorf("%v of %T is not equal to its canonical form", c.typ, c.give)
		}
	}
}

func TestGetters(t *testing.T) {
	tmpl := Template{
		{CKA_CLASS, CKO_DATA}, {CKA_TOKEN, true}, {CKA_LABEL, "a"}, {CKA_ID, []byte{1}}, {CKA_LABEL, "second"},
		{CKA_VALUE, CKR_ATTRIBUTE_SENSITIVE}, {CKA_VALUE_LEN, CKR_ATTRIBUTE_TYPE_INVALID}, {CKA_PRIVATE, nil},
	}
	if tmpl.Uint(CKA_CLASS) != 0 || !tmpl.Bool(CKA_TOKEN) || tmpl.Text(CKA_LABEL) != "a" || !bytes.Equal(tmpl.Bytes(CKA_ID), []byte{1}) || !tmpl.Has(CKA_PRIVATE) {
		t.Error("values that are there")
	}
	if tmpl.Uint(CKA_KEY_TYPE) != Unavailable || tmpl.Bool(CKA_SIGN) || tmpl.Text(CKA_APPLICATION) != "" || tmpl.Bytes(CKA_SUBJECT) != nil || tmpl.Has(CKA_SIGN) {
		t.Error("values that are not there")
	}
	if tmpl.Uint(CKA_VALUE_LEN) != Unavailable || tmpl.Bytes(CKA_VALUE) != nil || tmpl.Bool(CKA_PRIVATE) || tmpl.Text(CKA_ID) != "" || tmpl.Uint(CKA_TOKEN) != Unavailable {
		t.Error("values of another kind")
	}
	a, _ := tmpl.Get(CKA_VALUE)
	if !errors.Is(a.Err(), CKR_ATTRIBUTE_SENSITIVE) || tmpl[0].Err() != nil || (Attribute{}).Err() != nil {
		t.Errorf("Err: %v", a.Err())
	}
}

func TestSet(t *testing.T) {
	tmpl := Template{{CKA_LABEL, "a"}, {CKA_TOKEN, true}}
	got := tmpl.Set(Attr(CKA_LABEL, "b")).Set(Attr(CKA_ID, []byte{1}))
	if want := (Template{{CKA_LABEL, "b"}, {CKA_TOKEN, true}, {CKA_ID, []byte{1}}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestAttributeEqual(t *testing.T) {
	noon := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		a, b Attribute
		want bool
	}{
		{Attr(CKA_LABEL, "a"), Attr(CKA_LABEL, []byte("a")), true},
		{Attr(CKA_LABEL, "a"), Attr(CKA_LABEL, "A"), false},
		{Attr(CKA_LABEL, "a"), Attr(CKA_APPLICATION, "a"), false},
		{Attr(CKA_ID, "a"), Attr(CKA_ID, []byte("a")), true},
		{Attr(CKA_ID, []byte{}), Attr(CKA_ID, []byte(nil)), true},
		{Attr(CKA_ID, []byte{0}), Attr(CKA_ID, []byte{}), false},
		{Attr(CKA_CLASS, 2), Attr(CKA_CLASS, CKO_PUBLIC_KEY), true},
		{Attr(CKA_CLASS, 2), Attr(CKA_CLASS, -2), false},
		{Attr(CKA_CLASS, 2), Attr(CKA_CLASS, nil), false},
		{Attr(CKA_CLASS, nil), Attr(CKA_CLASS, nil), false},
		{Attr(CKA_VALUE, CKR_ATTRIBUTE_SENSITIVE), Attr(CKA_VALUE, CKR_ATTRIBUTE_SENSITIVE), false},
		{Attr(CKA_START_DATE, noon), Attr(CKA_START_DATE, noon.Add(time.Hour)), true},
		{Attr(CKA_START_DATE, noon), Attr(CKA_START_DATE, noon.AddDate(0, 0, 1)), false},
		{Attr(CKA_START_DATE, time.Time{}), Attr(CKA_START_DATE, time.Time{}), true},
		{Attr(CKA_ALLOWED_MECHANISMS, []MechanismType{1, 2}), Attr(CKA_ALLOWED_MECHANISMS, []MechanismType{1, 2}), true},
		{Attr(CKA_ALLOWED_MECHANISMS, []MechanismType{1, 2}), Attr(CKA_ALLOWED_MECHANISMS, []MechanismType{2, 1}), false},
		{Attr(CKA_WRAP_TEMPLATE, Template{{CKA_TOKEN, true}, {CKA_ID, "a"}}), Attr(CKA_WRAP_TEMPLATE, []Attribute{{CKA_ID, []byte("a")}, {CKA_TOKEN, true}}), true},
		{Attr(CKA_WRAP_TEMPLATE, Template{{CKA_TOKEN, true}}), Attr(CKA_WRAP_TEMPLATE, Template{{CKA_TOKEN, false}}), false},
	} {
		if got := c.a.Equal(c.b); got != c.want {
			t.Errorf("%v and %v (%T): %v", c.a, c.b, c.b.Value, got)
		}
		if got := c.b.Equal(c.a); got != c.want {
			t.Errorf("%v and %v, the other way round: %v", c.b, c.a, got)
		}
	}
}

func TestTemplateEqual(t *testing.T) {
	a, b := Attr(CKA_TOKEN, true), Attr(CKA_LABEL, "b")
	for _, c := range []struct {
		t, u Template
		want bool
	}{
		{nil, nil, true}, {nil, Template{}, true}, {nil, Template{a}, false},
		{Template{a, b}, Template{b, a}, true}, {Template{a, b}, Template{a}, false},
		{Template{a, a}, Template{a, b}, false}, {Template{a, b, b}, Template{a, a, b}, false}, {Template{a, a}, Template{a, a}, true},
	} {
		if c.t.Equal(c.u) != c.want || c.u.Equal(c.t) != c.want {
			t.Errorf("%v and %v: not %v", c.t, c.u, c.want)
		}
	}
}

func TestTemplateClone(t *testing.T) {
	if Template(nil).Clone() != nil {
		t.Error("a clone of nil")
	}
	inner := []byte{1}
	tmpl := Template{{CKA_ID, []byte{1}}, {CKA_ALLOWED_MECHANISMS, []MechanismType{1}}, {CKA_WRAP_TEMPLATE, Template{{CKA_ID, inner}}}, {CKA_LABEL, "a"}, {CKA_VALUE, nil}, {CKA_SUBJECT, []byte{}}}
	clone := tmpl.Clone()
	if !reflect.DeepEqual(clone, tmpl) {
		t.Fatalf("%v, want %v", clone, tmpl)
	}
	clone[0].Value.([]byte)[0], clone[1].Value.([]MechanismType)[0], clone[2].Value.(Template)[0].Value.([]byte)[0], clone[3].Value = 2, 2, 2, "b"
	if tmpl.Bytes(CKA_ID)[0] != 1 || tmpl[1].Value.([]MechanismType)[0] != 1 || inner[0] != 1 || tmpl.Text(CKA_LABEL) != "a" {
		t.Errorf("the clone shares memory: %v", tmpl)
	}
}

func TestAttributeString(t *testing.T) {
	for want, a := range map[string]Attribute{
		"CKA_LABEL":                                   {CKA_LABEL, nil},
		`CKA_LABEL="a\n"`:                             {CKA_LABEL, "a\n"},
		"CKA_LABEL=[1 bytes]":                         {CKA_LABEL, []byte("a")},
		"CKA_TOKEN=true":                              {CKA_TOKEN, true},
		"CKA_CLASS=CKO_PRIVATE_KEY":                   {CKA_CLASS, 3},
		"CKA_CLASS=CKO_0x80000003":                    {CKA_CLASS, uint32(0x80000003)},
		"CKA_KEY_TYPE=CKK_EC":                         {CKA_KEY_TYPE, CKK_EC},
		"CKA_CERTIFICATE_TYPE=CKC_X_509":              {CKA_CERTIFICATE_TYPE, 0},
		"CKA_KEY_GEN_MECHANISM=CKM_EC_KEY_PAIR_GEN":   {CKA_KEY_GEN_MECHANISM, uint64(0x1040)},
		"CKA_MODULUS_BITS=2048":                       {CKA_MODULUS_BITS, 2048},
		"CKA_MODULUS_BITS=[struct {}]":                {CKA_MODULUS_BITS, struct{}{}},
		"CKA_ID=0a":                                   {CKA_ID, []byte{10}},
		"CKA_EC_PARAMS=0603":                          {CKA_EC_PARAMS, []byte{6, 3}},
		"CKA_VALUE=[2 bytes]":                         {CKA_VALUE, []byte{6, 3}},
		"CKA_VALUE=[4 bytes]":                         {CKA_VALUE, "1234"},
		"CKA_VALUE=[int]":                             {CKA_VALUE, 1234},
		"CKA_VALUE=[[2]uint8]":                        {CKA_VALUE, [2]byte{1, 2}},
		"CKA_PRIME_1=[*big.Int]":                      {CKA_PRIME_1, big.NewInt(7)},
		"CKA_VALUE=[bool]":                            {CKA_VALUE, true},
		"CKA_TOKEN=[int]":                             {CKA_TOKEN, 1},
		"CKA_0x80000001=[1 bytes]":                    {0x80000001, []byte{1}},
		"CKA_START_DATE=2026-07-01":                   {CKA_START_DATE, time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)},
		"CKA_VALUE=CKR_ATTRIBUTE_SENSITIVE":           {CKA_VALUE, CKR_ATTRIBUTE_SENSITIVE},
		"CKA_ALLOWED_MECHANISMS=[CKM_ECDSA CKM_0x99]": {CKA_ALLOWED_MECHANISMS, []MechanismType{CKM_ECDSA, 0x99}},
		"CKA_WRAP_TEMPLATE={CKA_TOKEN=true, CKA_VALUE=[1 bytes]}": {CKA_WRAP_TEMPLATE, Template{{CKA_TOKEN, true}, {CKA_VALUE, []byte{1}}}},
	} {
		if got := a.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := (Template{}).String() + Template(nil).String(); got != "{}{}" {
		t.Errorf("empty templates: %s", got)
	}
	if got := fmt.Sprintf("%-12v|%q", Attr(CKA_TOKEN, nil), Attr(CKA_TOKEN, nil)); got != `CKA_TOKEN   |"CKA_TOKEN"` {
		t.Errorf("flags: %s", got)
	}
}

// noTime keeps the digits of the time out of a log.
var noTime = &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}}

// No way of printing shows a secret: neither of an attribute nor of what
// contains one.
func TestPrintingShowsNoSecret(t *testing.T) {
	secret := []byte("\xde\xad\xbe\xefSeCrEt")
	traces := []string{
		"SeCrEt", "deadbeef", "DEADBEEF", "de ad be", "222 173 190", "0xde, 0xad", "336 255 276", "11011110 10101101",
		"53654372", "U2VDckV0", "3q2+71", new(big.Int).SetBytes(secret).String(),
	}
	type holder struct {
		A  Attribute
		T  Template
		P  *Attribute
		V  any
		M  Mechanism
		L  []Template
		By map[string]Attribute
	}
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%e", "%t", "%20v", "%#x", "% x", "%+q", "%#q"}
	for _, v := range []any{secret, string(secret), [10]byte(secret), new(big.Int).SetBytes(secret), []any{secret}, struct{ K []byte }{secret}, &struct{ K string }{string(secret)}} {
		for _, typ := range []AttributeType{CKA_VALUE, CKA_PRIVATE_EXPONENT, CKA_CLASS, CKA_TOKEN, CKA_START_DATE, CKA_WRAP_TEMPLATE, CKA_ALLOWED_MECHANISMS, 0x80000001} {
			a := Attr(typ, v)
			nested := Template{{CKA_LABEL, "x"}, {CKA_WRAP_TEMPLATE, Template{a}}, a}
			m := Mechanism{CKM_AES_GCM, v}
			h := holder{A: a, T: nested, P: &a, V: nested, M: m, L: []Template{nested}, By: map[string]Attribute{"a": a}}
			var shown []string
			for _, x := range []any{a, &a, nested, &nested, h, &h, []any{a, nested, m}, m, &m} {
				for _, verb := range verbs {
					shown = append(shown, verb+": "+fmt.Sprintf(verb, x))
				}
			}
			var log bytes.Buffer
			for _, h := range []slog.Handler{slog.NewTextHandler(&log, noTime), slog.NewJSONHandler(&log, noTime)} {
				slog.New(h).Info("m", "a", a, "t", nested, "m", m, "p", &a, "pm", &m)
			}
			shown = append(shown, log.String(), fmt.Errorf("%v: %w", nested, CKR_TEMPLATE_INCONSISTENT).Error())
			if _, err := a.Canonical(); err != nil {
				shown = append(shown, err.Error())
			}
			for _, s := range shown {
				for _, trace := range traces {
					if strings.Contains(s, trace) {
						t.Errorf("%v of %T shows %q: %.300s", typ, v, trace, s)
					}
				}
			}
		}
	}
}
