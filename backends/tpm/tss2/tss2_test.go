package tss2

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

var keys = map[string]*Key{
	"loadable": {Type: Loadable, EmptyAuth: true, Parent: 0x40000001, Public: []byte("public"), Private: []byte("private")},
	"persistent parent": {Type: Loadable, Parent: 0x81000001, Public: []byte("public"),
		Private: bytes.Repeat([]byte{0x80}, 300)},
	"importable": {Type: Importable, Secret: []byte("seed"), Parent: 0x40000001, RSAParent: true,
		Public: bytes.Repeat([]byte("p"), 0x80), Private: bytes.Repeat([]byte("q"), 0xFD)},
	"sealed, with everything": {Type: Sealed, EmptyAuth: true, Policy: []byte{0x30, 0}, AuthPolicy: []byte{0x30, 2, 5, 0},
		Description: "Schlüssel", Parent: 1, Public: []byte{0}, Private: []byte{0}},
}

func TestRoundTrip(t *testing.T) {
	for name, k := range keys {
		t.Run(name, func(t *testing.T) {
			der, err := k.Marshal()
			require.NoError(t, err)
			got, err := Parse(der)
			require.NoError(t, err)
			require.Equal(t, k, got)
			require.Equal(t, k.Policy != nil, got.HasPolicy())

			text, err := k.MarshalPEM()
			require.NoError(t, err)
			got, err = ParsePEM(append([]byte("a certificate comes first\n-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), text...))
			require.NoError(t, err)
			require.Equal(t, k, got)
		})
	}
}

// The DER of a small key, byte for byte.
func TestEncoding(t *testing.T) {
	der, err := keys["loadable"].Marshal()
	require.NoError(t, err)
	want := "3028 0606 6781050a0103 a003 0101ff 0204 40000001 0408 0006 7075626c6963 0409 0007 70726976617465"
	require.Equal(t, strings.ReplaceAll(want, " ", ""), hex.EncodeToString(der))
}

// What other programs write and a strict reader would not take.
func TestOthersPeculiarities(t *testing.T) {
	for name, test := range map[string]struct {
		der    string
		parent uint32
		empty  bool
	}{
		"TRUE that is 1":         {"0606 6781050a0103 a003 010101 0204 40000001 0406 0004 01020304 0408 0006 010203040506", 0x40000001, true},
		"FALSE that is said":     {"0606 6781050a0103 a003 010100 0204 40000001 0406 0004 01020304 0408 0006 010203040506", 0x40000001, false},
		"a negative parent":      {"0606 6781050a0103 0204 81000001 0406 0004 01020304 0408 0006 010203040506", 0x81000001, false},
		"parent 0":               {"0606 6781050a0103 0201 00 0406 0004 01020304 0408 0006 010203040506", 0x40000001, false},
		"an element of tomorrow": {"0606 6781050a0103 a904 02020123 0204 40000001 0406 0004 01020304 0408 0006 010203040506", 0x40000001, false},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := Parse(element(tagSequence, unhex(t, test.der)))
			require.NoError(t, err)
			require.Equal(t, test.parent, k.Parent)
			require.Equal(t, test.empty, k.EmptyAuth)
			require.Equal(t, []byte{1, 2, 3, 4}, k.Public)
			require.Equal(t, []byte{1, 2, 3, 4, 5, 6}, k.Private)
		})
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct{ der, want string }{
		"nothing":                    {"", "missing"},
		"another type":               {"0606 6781050a0106 0204 40000001 0406 0004 01020304 0408 0006 010203040506", "type"},
		"another arc":                {"0603 2a0304 0204 40000001 0406 0004 01020304 0408 0006 010203040506", "type"},
		"lengths that differ":        {"0606 6781050a0103 0204 40000001 0406 0005 01020304 0408 0006 010203040506", "pubkey"},
		"cut":                        {"0606 6781050a0103 0204 40000001 0406 0004 01020304 0408 0006 0102030405", "cut off"},
		"more than there should be":  {"0606 6781050a0103 0204 40000001 0406 0004 01020304 0408 0006 010203040506 00", "1 bytes more"},
		"an empty private part":      {"0606 6781050a0103 0204 40000001 0406 0004 01020304 0402 0000", "empty"},
		"importable without secret":  {"0606 6781050a0104 0204 40000001 0406 0004 01020304 0408 0006 010203040506", "secret"},
		"a parent of 5 bytes":        {"0606 6781050a0103 0205 0140000001 0406 0004 01020304 0408 0006 010203040506", "handle"},
		"elements in another order":  {"0606 6781050a0103 a503 0101ff a003 0101ff 0204 40000001 0404 0002 0102 0406 0004 01020304", "belongs"},
		"an element twice":           {"0606 6781050a0103 a003 0101ff a003 0101ff 0204 40000001 0404 0002 0102 0406 0004 01020304", "belongs"},
		"a truth value of two bytes": {"0606 6781050a0103 a004 0102ffff 0204 40000001 0404 0002 0102 0406 0004 01020304", "truth value"},
		"an indefinite length":       {"0606 6781050a0103 0204 40000001 0480 0000", "cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(element(tagSequence, unhex(t, test.der)))
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := Parse(unhex(t, "3003 0606"))
	require.ErrorContains(t, err, "cut off")
	_, err = Parse(unhex(t, "3000 00"))
	require.ErrorContains(t, err, "1 bytes more")
	_, err = ParsePEM([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	require.ErrorIs(t, err, ErrNoKey)
	_, err = Parse(make([]byte, maxFile+1))
	require.ErrorContains(t, err, "at most")
}

func TestNotWritten(t *testing.T) {
	for name, k := range map[string]*Key{
		"no type":           {Parent: 1, Public: []byte{1}, Private: []byte{1}},
		"no parent":         {Type: Loadable, Public: []byte{1}, Private: []byte{1}},
		"no public part":    {Type: Loadable, Parent: 1, Private: []byte{1}},
		"a part too long":   {Type: Loadable, Parent: 1, Public: make([]byte, 1<<16), Private: []byte{1}},
		"a file too long":   {Type: Loadable, Parent: 1, Public: make([]byte, 1<<15), Private: make([]byte, 1<<15)},
		"not UTF-8":         {Type: Loadable, Parent: 1, Public: []byte{1}, Private: []byte{1}, Description: "\xff"},
		"importable, alone": {Type: Importable, Parent: 1, Public: []byte{1}, Private: []byte{1}},
	} {
		_, err := k.MarshalPEM()
		require.Error(t, err, name)
	}
}

// What is read is written so that it reads the same, and then byte for byte.
func FuzzParse(f *testing.F) {
	for _, k := range keys {
		der, err := k.Marshal()
		require.NoError(f, err)
		f.Add(der)
	}
	f.Add(unhex(f, "302506066781050a0103a003010101020440000001040600040102030404080006010203040506"))
	f.Fuzz(func(t *testing.T, der []byte) {
		k, err := Parse(der)
		if err != nil {
			return
		}
		out, err := k.Marshal()
		if err != nil {
			t.Fatalf("read from %x, but not written: %v", der, err)
		}
		again, err := Parse(out)
		require.NoError(t, err)
		require.Equal(t, k, again)
		once, err := again.Marshal()
		require.NoError(t, err)
		require.Equal(t, out, once)
	})
}

func FuzzParsePEM(f *testing.F) {
	text, err := keys["loadable"].MarshalPEM()
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte("-----BEGIN " + BlockType + "-----\nMAA=\n-----END " + BlockType + "-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParsePEM(text)
		if err != nil {
			return
		}
		out, err := k.MarshalPEM()
		require.NoError(t, err)
		block, rest := pem.Decode(out)
		require.NotNil(t, block)
		require.Empty(t, rest)
	})
}
