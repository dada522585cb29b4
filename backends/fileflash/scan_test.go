package fileflash

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
)

// Looking whether an entry is durable moves the window; its head was then read
// from where another one is, and records at the end of a window were lost.
func TestReopenLogLongerThanTheWindow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := Open(dir, &Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	const n = 3 * windowSize / 500
	data := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 500+i%7) }
	for i := range n {
		if err := s.Save(fmt.Sprintf("o-%d", i), data(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range n {
		if b, err := s.Load(fmt.Sprintf("o-%d", i)); err != nil {
			t.Error(err)
		} else if !bytes.Equal(b, data(i)) {
			t.Errorf("record %d is another one", i)
		}
	}
}
