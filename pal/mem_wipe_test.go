package pal

import (
	"bytes"
	"testing"
)

func TestMemWipes(t *testing.T) {
	var m Mem
	secret := bytes.Repeat([]byte{0x5a}, 64)
	for _, forget := range []func() error{
		func() error { return m.Remove("key") },
		func() error { return m.Save("key", []byte("new")) },
		func() error { return m.Batch([]Change{{Name: "key"}}) },
	} {
		if err := m.Save("key", secret); err != nil {
			t.Fatal(err)
		}
		kept := m.records["key"]
		if err := forget(); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(kept, []byte{0x5a}) {
			t.Error("the record's bytes are still in memory")
		}
	}
}
