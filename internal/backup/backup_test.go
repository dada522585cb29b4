package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/record"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var update = flag.Bool("update", false, "write the golden file of the present format version; never of an older one")

var (
	cheap    = KDF{MemoryKiB: 8, Passes: 1, Threads: 1}
	password = []byte("a long password")
)

func contents() *Contents {
	return &Contents{
		Token: pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "gateway"), pkcs11.Attr(pkcs11.CKA_SERIAL_NUMBER, []byte("0123456789abcdef"))},
		Objects: []pkcs11.Template{
			{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_PRIVATE, false),
				pkcs11.Attr(pkcs11.CKA_LABEL, "config"), pkcs11.Attr(pkcs11.CKA_VALUE, []byte("some data"))},
			{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
				pkcs11.Attr(pkcs11.CKA_LABEL, "key"), pkcs11.Attr(pkcs11.CKA_VALUE, []byte("0123456789abcdef"))},
		},
		Missing: []Missing{{
			Object: pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), pkcs11.Attr(pkcs11.CKA_LABEL, "fixed"), pkcs11.Attr(pkcs11.CKA_ID, []byte{1})},
			Reason: "it is not extractable",
		}},
	}
}

// text is what the contents are, for comparing.
func text(t *testing.T, c *Contents) string {
	t.Helper()
	var b strings.Builder
	line := func(what string, o pkcs11.Template) {
		enc, err := record.Append(nil, o)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %x\n", what, enc)
	}
	line("token", c.Token)
	for _, o := range c.Objects {
		line("object", o)
	}
	for _, m := range c.Missing {
		line("missing: "+m.Reason, m.Object)
	}
	return b.String()
}

func seal(t testing.TB, c *Contents) []byte {
	t.Helper()
	file, err := Seal(c, password, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSealAndOpen(t *testing.T) {
	for name, c := range map[string]*Contents{"objects": contents(), "nothing": {Token: contents().Token}} {
		file := seal(t, c)
		got, err := Open(file, password)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if a, b := text(t, got), text(t, c); a != b {
			t.Errorf("%s: got\n%swant\n%s", name, a, b)
		}
		if bytes.Equal(file, seal(t, c)) {
			t.Errorf("%s: two backups are the same file", name)
		}
	}
}

func TestNothingShows(t *testing.T) {
	file := seal(t, contents())
	for _, s := range []string{"gateway", "config", "some data", "0123456789abcdef", "fixed", "password"} {
		if bytes.Contains(file, []byte(s)) {
			t.Errorf("%q is in the file", s)
		}
	}
}

// TestEveryBit has every bit of a file count, and every length.
func TestEveryBit(t *testing.T) {
	file := seal(t, contents())
	try := func(what string, b []byte) {
		t.Helper()
		c, err := Open(b, password)
		if err == nil || c != nil {
			t.Errorf("%s: opened", what)
		}
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrPassword) && !errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range file {
		if i >= offKDF && i < offSalt {
			continue // another cost: see below
		}
		for bit := range 8 {
			b := bytes.Clone(file)
			b[i] ^= 1 << bit
			try(fmt.Sprintf("byte %d, bit %d", i, bit), b)
		}
	}
	for n := range file {
		try(fmt.Sprintf("%d bytes", n), file[:n])
	}
	try("a byte more", append(bytes.Clone(file), 0))
	for _, kdf := range []KDF{{16, 1, 1}, {8, 2, 1}, {8, 1, 2}, {0, 1, 1}, {8, 0, 1}, {8, 1, 0}, {64<<10 + 1, 1, 1}, {1 << 31, 1, 1}, {8, 65, 1}, {8, 1, 255}} {
		b := bytes.Clone(file)
		binary.BigEndian.PutUint32(b[offKDF:], kdf.MemoryKiB)
		binary.BigEndian.PutUint16(b[offKDF+4:], kdf.Passes)
		b[offKDF+6] = kdf.Threads
		try(fmt.Sprint(kdf), b)
	}
}

func TestErrors(t *testing.T) {
	file := seal(t, contents())
	newer := bytes.Clone(file)
	newer[0] = 2
	for name, tt := range map[string]struct {
		file, password []byte
		want           error
	}{
		"wrong password": {file, []byte("another password"), ErrPassword},
		"no password":    {file, nil, ErrPassword},
		"a newer format": {newer, password, ErrVersion},
		"another file":   {[]byte("-----BEGIN CERTIFICATE-----" + strings.Repeat("x", 100)), password, ErrMalformed},
		"an empty file":  {nil, password, ErrMalformed},
	} {
		if _, err := Open(tt.file, tt.password); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := Seal(contents(), password, KDF{}); err == nil {
		t.Error("a password that costs nothing")
	}
	bad := &Contents{Objects: []pkcs11.Template{{pkcs11.Attr(pkcs11.CKA_LABEL, 7)}}}
	if _, err := Seal(bad, password, cheap); err == nil {
		t.Error("an attribute of a wrong kind")
	}
}

func TestWipe(t *testing.T) {
	c := contents()
	c.Wipe()
	if v := c.Objects[1].Bytes(pkcs11.CKA_VALUE); !bytes.Equal(v, make([]byte, 16)) {
		t.Errorf("the value is %q", v)
	}
}

// TestGolden opens the backup of each format version, for ever.
func TestGolden(t *testing.T) {
	const name = "testdata/v1.backup"
	if *update {
		if err := os.WriteFile(name, seal(t, contents()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(file, password)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := text(t, c), text(t, contents()); a != b {
		t.Errorf("got\n%swant\n%s", a, b)
	}
}

// FuzzDecode decodes anything that has passed authentication; what decodes encodes
// to what decodes to the same.
func FuzzDecode(f *testing.F) {
	whole, err := contents().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 1, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%v", err)
			}
			return
		}
		enc, err := c.encode()
		if err != nil {
			t.Fatalf("%x decodes and does not encode: %v", b, err)
		}
		again, err := decode(enc)
		if err != nil || text(t, again) != text(t, c) {
			t.Errorf("%x becomes %x: %v", b, enc, err)
		}
	})
}

// FuzzOpen opens anything.
func FuzzOpen(f *testing.F) {
	file := seal(f, contents())
	f.Add(file)
	f.Add(file[:headerLen])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > headerLen && b[0] == version && string(b[1:offKDF]) == magic {
			b = bytes.Clone(b) // at the least cost
			copy(b[offKDF:], file[offKDF:offSalt])
		}
		if c, err := Open(b, password); err == nil && text(t, c) != text(t, contents()) {
			t.Errorf("%x is a backup of something else", b)
		}
	})
}
