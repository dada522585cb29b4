package pkcs11

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func mustParse(tb testing.TB, s string) *URI {
	tb.Helper()
	u, err := ParseURI(s)
	if err != nil {
		tb.Fatalf("ParseURI(%q): %v", s, err)
	}
	return u
}

// The examples of RFC 7512 §3, and what String makes of them.
var uriExamples = []struct{ in, out string }{
	{"pkcs11:", "pkcs11:"},
	{"pkcs11:object=my-pubkey;type=public", ""},
	{"pkcs11:object=my-key;type=private?pin-source=file:/etc/token", ""},
	{"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin",
		"pkcs11:model=1.0;manufacturer=Snake%20Oil%2C%20Inc.;serial=;token=The%20Software%20PKCS%2311%20Softtoken;id=%69%95%3E%5C%F4%BD%EC%91;object=my-certificate;type=cert?pin-source=file:/etc/token_pin"},
	{"pkcs11:object=my-sign-key;type=private?module-name=mypkcs11", ""},
	{"pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1", ""},
	{"pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?pin-value=the-pin",
		"pkcs11:manufacturer=Snake%20Oil%2C%20Inc.;token=Software%20PKCS%2311%20softtoken?pin-value=the-pin"},
	{"pkcs11:slot-description=Sun%20Metaslot", ""},
	{"pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;library-version=1.23",
		"pkcs11:library-description=Soft%20Token%20Library;library-manufacturer=Snake%20Oil%2C%20Inc.;library-version=1.23"},
	{"pkcs11:token=My%20token%25%20created%20by%20Joe;library-version=3;id=%01%02%03%Ba%dd%Ca%fe%04%05%06",
		"pkcs11:library-version=3.0;token=My%20token%25%20created%20by%20Joe;id=%01%02%03%BA%DD%CA%FE%04%05%06"},
	{"pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=my-certificate;type=cert", ""},
	{"pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=my-certificate;type=cert",
		"pkcs11:token=Name%20with%20a%20small%20A%20with%20acute%3A%20%C3%A1;object=my-certificate;type=cert"},
	{"pkcs11:token=my-token;object=my-certificate;type=cert;vendor-aaa=value-a?pin-source=file:/etc/token_pin&vendor-bbb=value-b", ""},
}

func TestURIExamplesOfTheRFC(t *testing.T) {
	for _, e := range uriExamples {
		want := e.out
		if want == "" {
			want = e.in
		}
		u := mustParse(t, e.in)
		if got := u.StringWithPIN(); got != want {
			t.Errorf("%s\nbecomes %s,\n   want %s", e.in, got, want)
		}
		if again := mustParse(t, u.StringWithPIN()); !reflect.DeepEqual(again, u) {
			t.Errorf("%s comes back as %s", e.in, again)
		}
	}
	u := mustParse(t, uriExamples[3].in)
	if u.Token != "The Software PKCS#11 Softtoken" || u.Manufacturer != "Snake Oil, Inc." || u.Model != "1.0" ||
		u.Object != "my-certificate" || u.Type != "cert" || !bytes.Equal(u.ID, []byte{0x69, 0x95, 0x3e, 0x5c, 0xf4, 0xbd, 0xec, 0x91}) ||
		u.PINSource != "file:/etc/token_pin" {
		t.Errorf("fields: %+v", *u)
	}
}

// What p11tool of GnuTLS 3.7.9 prints for a SoftHSM token comes out as it went in.
func TestURIOfP11tool(t *testing.T) {
	const s = "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=5a1b9a5a34e8d8ef;token=gw;id=%0A%FF;object=Device%20Cert;type=cert"
	if got := mustParse(t, s).String(); got != s {
		t.Errorf("becomes %s", got)
	}
}

func TestParseURI(t *testing.T) {
	slot, version := SlotID(17), Version{2, 4}
	for in, want := range map[string]URI{
		"PKCS11:TOKEN=a;Type=PRIVATE":                               {Token: "a", Type: "private"},
		"pkcs11:slot-id=017;slot-manufacturer=m;slot-description=d": {SlotID: &slot, SlotManufacturer: "m", SlotDescription: "d"},
		"pkcs11:library-version=2.04":                               {LibraryVersion: &version},
		"pkcs11:id=%00%0a%fF;object=a=b&c":                          {ID: []byte{0, 10, 255}, Object: "a=b&c"},
		"pkcs11:id=abc":                                             {ID: []byte("abc")},
		"pkcs11:id=":                                                {ID: []byte{}},
		"pkcs11:object=%2F":                                         {Object: "/"},
		"pkcs11:object=:[]@!$'()*+,=&-._~":                          {Object: ":[]@!$'()*+,=&-._~"},
		"pkcs11:?module-name=:[]@!$'()*+,=/?|":                      {ModuleName: ":[]@!$'()*+,=/?|"},
		"pkcs11:?":                                                  {},
		"pkcs11:type=data":                                          {Type: "data"},
		"pkcs11:type=secret-key":                                    {Type: "secret-key"},
		"pkcs11:x-b=1;x-a=%20?v=2&v=1&u=3":                          {Vendor: []URIAttribute{{"x-a", " "}, {"x-b", "1"}}, VendorQuery: []URIAttribute{{"u", "3"}, {"v", "2"}, {"v", "1"}}},
		"pkcs11:token=%E2%82%AC":                                    {Token: "€"},
		"pkcs11:?pin-source=%7C/bin/pin":                            {PINSource: "|/bin/pin"},
		"pkcs11:serial=0;model=m;manufacturer=f;library-manufacturer=l": {Serial: "0", Model: "m", Manufacturer: "f", LibraryManufacturer: "l"},
	} {
		got, err := ParseURI(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
}

func TestParseURIRefuses(t *testing.T) {
	for in, text := range map[string]string{
		"":                                    "pkcs11:",
		"pkcs11":                              "pkcs11:",
		"pkcs12:token=a":                      "pkcs11:",
		"slot_1-id_01":                        "pkcs11:",
		"pkcs11:token":                        "name=value",
		"pkcs11:=a":                           "name=value",
		"pkcs11:token=a;":                     "name=value",
		"pkcs11:;token=a":                     "name=value",
		"pkcs11:token=a;;object=b":            "name=value",
		"pkcs11:to%6ben=a":                    "name=value",
		"pkcs11:token =a":                     "name=value",
		"pkcs11:?module-name=a&":              "name=value",
		"pkcs11:token=a;token=a":              "twice",
		"pkcs11:token=a;TOKEN=b":              "twice",
		"pkcs11:x-a=1;x-a=1":                  "twice",
		"pkcs11:id=a;id=a":                    "twice",
		"pkcs11:?pin-source=/a&pin-source=/":  "twice",
		"pkcs11:?pin-value=a&pin-value=a":     "twice",
		"pkcs11:?pin-value=a&pin-source=/a":   "both",
		"pkcs11:token=a b":                    "%20",
		"pkcs11:token=a/b":                    "%2F",
		"pkcs11:token=a|b":                    "%7C",
		"pkcs11:token=a#b":                    "%23",
		"pkcs11:token=\xc3\xa1":               "%C3",
		"pkcs11:?module-name=a;b":             "%3B",
		"pkcs11:?module-name=a#b":             "%23",
		"pkcs11:token=%":                      "%25",
		"pkcs11:token=%4":                     "%25",
		"pkcs11:token=%4g":                    "%25",
		"pkcs11:token=%+4":                    "%25",
		"pkcs11:token=%FF":                    "UTF-8",
		"pkcs11:token=a%00":                   "NUL",
		"pkcs11:object=a%00":                  "NUL",
		"pkcs11:type=key":                     "secret-key",
		"pkcs11:type=":                        "secret-key",
		"pkcs11:type=%70ublic":                "secret-key",
		"pkcs11:library-version=":             "0 to 255",
		"pkcs11:library-version=1.":           "0 to 255",
		"pkcs11:library-version=.1":           "0 to 255",
		"pkcs11:library-version=256":          "0 to 255",
		"pkcs11:library-version=1.256":        "0 to 255",
		"pkcs11:library-version=1.2.3":        "0 to 255",
		"pkcs11:library-version=+1":           "0 to 255",
		"pkcs11:slot-id=":                     "decimal",
		"pkcs11:slot-id=-1":                   "decimal",
		"pkcs11:slot-id=0x1":                  "decimal",
		"pkcs11:slot-id=18446744073709551616": "decimal",
		"pkcs11:pin-value=1234":               "question mark",
		"pkcs11:module-path=%2Fa":             "question mark",
		"pkcs11:?token=a":                     "question mark",
		"pkcs11:?id=a":                        "question mark",
		"pkcs11:?module-path=lib.so":          "absolute",
	} {
		u, err := ParseURI(in)
		if err == nil || u != nil {
			t.Errorf("%q is taken for %v", in, u)
			continue
		}
		if !errors.Is(err, CKR_ARGUMENTS_BAD) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v; want a word of %q", in, err, text)
		}
	}
}

func TestURIShowsNoPIN(t *testing.T) {
	const pin = "5eCr3t"
	u := mustParse(t, "pkcs11:token=a?pin-value="+pin+"&module-name=m")
	type holder struct {
		U  URI
		P  *URI
		In struct{ V any }
	}
	h := holder{U: *u, P: u}
	h.In.V = *u
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, noTime), slog.NewJSONHandler(&log, noTime)} {
		slog.New(h).Info("m", "u", u, "v", *u)
	}
	shown := []string{u.String(), fmt.Errorf("%v", u).Error(), log.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%o", "%c", "%U"} {
		for _, x := range []any{u, *u, h, &h, []any{*u}} {
			shown = append(shown, fmt.Sprintf(verb, x))
		}
	}
	for _, s := range shown {
		for _, trace := range []string{pin, "53 101 67", "0x35, 0x65", "65 145 103", "35654372", "U+0035"} {
			if strings.Contains(s, trace) {
				t.Errorf("%q of the PIN is in %s", trace, s)
			}
		}
	}
	if strings.Contains(log.String(), "Manufacturer") {
		t.Errorf("a URI is logged as a struct: %s", log.String())
	}
	if !strings.Contains(u.StringWithPIN(), pin) || !strings.Contains(u.String(), "module-name=m") {
		t.Errorf("%s, %s", u, u.StringWithPIN())
	}
	if _, err := ParseURI(u.String()); err == nil {
		t.Error("a redacted URI is parsed: its PIN would be tried")
	}
	for _, bad := range []string{"pkcs11:?pin-value=" + pin + " ", "pkcs11:?pin-value=" + pin + "%zz", "pkcs11:?pin-value=" + pin + "&" + pin,
		"pkcs11:?pin-value=" + pin + "&pin-source=/x", "pkcs11:pin-value=" + pin, "pkcs11:?pin-value=" + pin + "&pin-value=" + pin, "pkcs11:?PIN-VALUE=" + pin + "\"", "pkcs1:?pin-value=" + pin} {
		if _, err := ParseURI(bad); err == nil || strings.Contains(err.Error(), pin) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestURIMatch(t *testing.T) {
	info := Info{ManufacturerID: "Maker", LibraryDescription: "Lib", LibraryVersion: Version{1, 2}}
	slot := SlotInfo{Description: "Slot zero", ManufacturerID: "Slotmaker"}
	token := TokenInfo{Label: "Gateway", ManufacturerID: "Chipmaker", Model: "M1", SerialNumber: "0001"}
	padded := TokenInfo{Label: "Gateway                         ", ManufacturerID: "Chipmaker ", Model: "M1 ", SerialNumber: "0001 "}
	bare := TokenInfo{Label: "x"}
	object := Template{Attr(CKA_CLASS, CKO_PRIVATE_KEY), Attr(CKA_LABEL, "k"), Attr(CKA_ID, []byte{1, 2})}
	noLabel := Template{Attr(CKA_CLASS, uint64(CKO_DATA)), Attr(CKA_LABEL, ""), Attr(CKA_ID, []byte{})}
	for _, c := range []struct {
		uri  string
		what string
		got  func(*URI) bool
		want bool
	}{
		{"pkcs11:", "module", func(u *URI) bool { return u.MatchModule(info) }, true},
		{"pkcs11:", "slot", func(u *URI) bool { return u.MatchSlot(0, slot) }, true},
		{"pkcs11:", "token", func(u *URI) bool { return u.MatchToken(token) }, true},
		{"pkcs11:", "object", func(u *URI) bool { return u.MatchObject(object) }, true},
		{"pkcs11:", "object without attributes", func(u *URI) bool { return u.MatchObject(nil) }, true},
		{"pkcs11:token=Gateway;serial=0001;model=M1;manufacturer=Chipmaker", "token", func(u *URI) bool { return u.MatchToken(token) }, true},
		{"pkcs11:token=Gateway;serial=0001;model=M1;manufacturer=Chipmaker", "padded token", func(u *URI) bool { return u.MatchToken(padded) }, true},
		{"pkcs11:token=Gateway%20%20", "token", func(u *URI) bool { return u.MatchToken(token) }, true},
		{"pkcs11:token=%20Gateway", "token", func(u *URI) bool { return u.MatchToken(token) }, false},
		{"pkcs11:token=gateway", "token", func(u *URI) bool { return u.MatchToken(token) }, false},
		{"pkcs11:token=Gate", "token", func(u *URI) bool { return u.MatchToken(token) }, false},
		{"pkcs11:serial=1", "token", func(u *URI) bool { return u.MatchToken(token) }, false},
		{"pkcs11:model=M2", "token", func(u *URI) bool { return u.MatchToken(token) }, false},
		{"pkcs11:manufacturer=Maker", "token", func(u *URI) bool { return u.MatchToken(token) }, false},
		{"pkcs11:serial=", "token", func(u *URI) bool { return u.MatchToken(token) }, false},
		{"pkcs11:serial=", "token without serial", func(u *URI) bool { return u.MatchToken(bare) }, true},
		{"pkcs11:slot-id=5;slot-description=Slot%20zero;slot-manufacturer=Slotmaker", "slot", func(u *URI) bool { return u.MatchSlot(5, slot) }, true},
		{"pkcs11:slot-id=5", "other slot", func(u *URI) bool { return u.MatchSlot(0, slot) }, false},
		{"pkcs11:slot-id=0", "slot 0", func(u *URI) bool { return u.MatchSlot(0, slot) }, true},
		{"pkcs11:slot-description=x", "slot", func(u *URI) bool { return u.MatchSlot(0, slot) }, false},
		{"pkcs11:slot-manufacturer=x", "slot", func(u *URI) bool { return u.MatchSlot(0, slot) }, false},
		{"pkcs11:library-manufacturer=Maker;library-description=Lib;library-version=1.2", "module", func(u *URI) bool { return u.MatchModule(info) }, true},
		{"pkcs11:library-version=1", "module", func(u *URI) bool { return u.MatchModule(info) }, false},
		{"pkcs11:library-version=1.20", "module", func(u *URI) bool { return u.MatchModule(info) }, false},
		{"pkcs11:library-manufacturer=x", "module", func(u *URI) bool { return u.MatchModule(info) }, false},
		{"pkcs11:library-description=x", "module", func(u *URI) bool { return u.MatchModule(info) }, false},
		{"pkcs11:object=k;id=%01%02;type=private", "object", func(u *URI) bool { return u.MatchObject(object) }, true},
		{"pkcs11:object=k%20", "object", func(u *URI) bool { return u.MatchObject(object) }, false},
		{"pkcs11:object=K", "object", func(u *URI) bool { return u.MatchObject(object) }, false},
		{"pkcs11:object=", "object", func(u *URI) bool { return u.MatchObject(object) }, false},
		{"pkcs11:object=;id=", "object with empty label and ID", func(u *URI) bool { return u.MatchObject(noLabel) }, true},
		{"pkcs11:object=", "object without attributes", func(u *URI) bool { return u.MatchObject(nil) }, false},
		{"pkcs11:id=%01", "object", func(u *URI) bool { return u.MatchObject(object) }, false},
		{"pkcs11:type=public", "object", func(u *URI) bool { return u.MatchObject(object) }, false},
		{"pkcs11:type=data", "data object", func(u *URI) bool { return u.MatchObject(noLabel) }, true},
		{"pkcs11:tokn=Gateway", "token", func(u *URI) bool { return u.MatchToken(token) }, false},
		{"pkcs11:tokn=Gateway", "slot", func(u *URI) bool { return u.MatchSlot(0, slot) }, false},
		{"pkcs11:tokn=Gateway", "module", func(u *URI) bool { return u.MatchModule(info) }, false},
		{"pkcs11:tokn=Gateway", "object", func(u *URI) bool { return u.MatchObject(object) }, false},
		{"pkcs11:x-note=a;token=Gateway?other=b", "token", func(u *URI) bool { return u.MatchToken(token) }, true},
	} {
		if got := c.got(mustParse(t, c.uri)); got != c.want {
			t.Errorf("%s matches %s: %v", c.uri, c.what, got)
		}
	}
	if got := mustParse(t, "pkcs11:x-a=1;tokn=2;Objekt=3?q=4").Unknown(); !slices.Equal(got, []string{"objekt", "tokn"}) {
		t.Errorf("Unknown: %v", got)
	}
}

func TestURIObjectTemplate(t *testing.T) {
	for s, want := range map[string]Template{
		"pkcs11:token=a":                   nil,
		"pkcs11:type=data":                 {Attr(CKA_CLASS, CKO_DATA)},
		"pkcs11:object=a;id=%01;type=cert": {Attr(CKA_LABEL, "a"), Attr(CKA_ID, []byte{1}), Attr(CKA_CLASS, CKO_CERTIFICATE)},
		"pkcs11:object=":                   {Attr(CKA_LABEL, "")},
	} {
		u := mustParse(t, s)
		got := u.ObjectTemplate()
		if !got.Equal(want) {
			t.Errorf("%s: %v, want %v", s, got, want)
		}
		for _, a := range got {
			if c, err := a.Canonical(); err != nil || !reflect.DeepEqual(c, a) {
				t.Errorf("%s: %v is not canonical", s, a)
			}
		}
		if u.SelectsObject() != (want.Has(CKA_LABEL) || want.Has(CKA_ID)) {
			t.Errorf("%s: SelectsObject is %v", s, u.SelectsObject())
		}
	}
	for _, c := range []ObjectClass{CKO_CERTIFICATE, CKO_DATA, CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_SECRET_KEY} {
		if got, ok := (URI{Type: URIType(c)}).Class(); !ok || got != c {
			t.Errorf("%v is %q and back %v", c, URIType(c), got)
		}
	}
	if URIType(CKO_MECHANISM) != "" {
		t.Error("a word for CKO_MECHANISM")
	}
}

func TestURIPIN(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	long := strings.Repeat("x", 4096)
	for _, c := range []struct{ name, text, want string }{
		{"plain", "1234", "1234"}, {"newline", "1234\n", "1234"}, {"crlf", "1234\r\n", "1234"}, {"two newlines", "1234\n\n", "1234\n"},
		{"blank", " 1234 \n", " 1234 "}, {"carriage return", "1234\r", "1234\r"}, {"long", long, long},
	} {
		path := write(c.name, c.text, 0o600)
		for _, prefix := range []string{"", "file:", "FILE:", "file://", "file://localhost"} {
			u := &URI{PINSource: prefix + path}
			u = mustParse(t, u.String())
			if got, err := u.PIN(); err != nil || string(got) != c.want || !u.HasPIN() {
				t.Errorf("%s, %s%s: %.20q, %v", c.name, prefix, path, got, err)
			}
		}
	}
	if runtime.GOOS != "windows" {
		for _, mode := range []os.FileMode{0o640, 0o604, 0o644, 0o660, 0o601, 0o610} {
			path := write("open", "1234", mode)
			_, err := (&URI{PINSource: path}).PIN()
			if !errors.Is(err, CKR_ARGUMENTS_BAD) || !strings.Contains(fmt.Sprint(err), "chmod 600 "+path) || strings.Contains(err.Error(), "1234") {
				t.Errorf("mode %#o: %v", mode, err)
			}
		}
		if _, err := (&URI{PINSource: write("read-only", "1234", 0o400)}).PIN(); err != nil {
			t.Error(err)
		}
	}
	for what, source := range map[string]string{
		"too long":   write("too long", long+"x", 0o600),
		"empty":      write("empty", "", 0o600),
		"newline":    write("only a newline", "\n", 0o600),
		"directory":  dir,
		"device":     "/dev/null",
		"command":    "|/bin/echo 1234",
		"a command":  "file:|/bin/echo",
		"relative":   "pin.txt",
		"relative 2": "file:pin.txt",
		"host":       "file://server/pin",
		"http":       "http://localhost/pin",
		"dialog":     "builtin-dialog",
	} {
		if pin, err := (&URI{PINSource: source}).PIN(); !errors.Is(err, CKR_ARGUMENTS_BAD) || pin != nil {
			t.Errorf("%s: %q, %v", what, pin, err)
		}
	}
	if _, err := (&URI{PINSource: filepath.Join(dir, "none")}).PIN(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	u := mustParse(t, "pkcs11:?pin-value=%00%FFa")
	pin, err := u.PIN()
	if err != nil || string(pin) != "\x00\xffa" {
		t.Errorf("pin-value: %q, %v", pin, err)
	}
	clear(pin)
	if again, _ := u.PIN(); string(again) != "\x00\xffa" {
		t.Error("wiping the PIN changes the URI")
	}
	if pin, err := mustParse(t, "pkcs11:?pin-value=").PIN(); err != nil || pin == nil || len(pin) > 0 {
		t.Errorf("empty pin-value: %v, %v", pin, err)
	}
	u = mustParse(t, "pkcs11:")
	if pin, err := u.PIN(); err != nil || pin != nil || u.HasPIN() {
		t.Errorf("no PIN: %v, %v", pin, err)
	}
}

// FuzzParseURI: what parses is written so that it parses to the same, and that
// writing does not change it.
func FuzzParseURI(f *testing.F) {
	for _, e := range uriExamples {
		f.Add(e.in)
	}
	f.Add("pkcs11:slot-id=1;slot-description=a;slot-manufacturer=;x-y=;id=?pin-value=&a=&a=%00")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil {
			if u != nil || !errors.Is(err, CKR_ARGUMENTS_BAD) {
				t.Fatalf("%v, %v", u, err)
			}
			return
		}
		out := u.StringWithPIN()
		again, err := ParseURI(out)
		if err != nil || !reflect.DeepEqual(u, again) {
			t.Fatalf("%q becomes %q: %v", s, out, err)
		}
		if twice := again.StringWithPIN(); twice != out {
			t.Fatalf("%q becomes %q and that %q", s, out, twice)
		}
		if u.pin == nil && u.String() != out {
			t.Fatalf("%q and %q", u, out)
		}
		for _, c := range []byte(out) {
			if c <= ' ' || c >= 0x7f || strings.IndexByte("\"'<>\\^`{|}#$!()*&", c) >= 0 && c != '&' {
				t.Fatalf("%q wants quotes", out)
			}
		}
		// What a URI says of an object is what it finds.
		if len(u.Unknown()) == 0 && !u.MatchObject(u.ObjectTemplate()) {
			t.Fatalf("%q does not match %v", s, u.ObjectTemplate())
		}
	})
}
