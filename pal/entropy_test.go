package pal_test

import (
	"bytes"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
)

func TestSystemEntropy(t *testing.T) {
	if err := pal.SystemEntropy.Health(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 100 {
		b := make([]byte, 32)
		if err := pal.SystemEntropy.ReadEntropy(b); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(b, make([]byte, 32)) || seen[string(b)] {
			t.Fatalf("%x is no entropy", b)
		}
		seen[string(b)] = true
	}
	if err := pal.SystemEntropy.ReadEntropy(nil); err != nil {
		t.Errorf("nothing asked: %v", err)
	}
}
