//go:build unix

package cryptoki_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func TestPINFromFD(t *testing.T) {
	// No os.File, which would close the descriptor a second time when nobody needs it
	// any more, and what has the number by then.
	var pipe [2]int
	if err := syscall.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Write(pipe[1], []byte("12345678\n")); err != nil {
		t.Fatal(err)
	}
	syscall.Close(pipe[1])
	source := cryptoki.PINFromFD(pipe[0])
	for range 2 { // the second time from memory, wiped in between as a Token does
		pin, err := source(t.Context(), pkcs11.CKU_USER, pkcs11.TokenInfo{})
		if err != nil || string(pin) != "12345678" {
			t.Fatalf("%q, error %v", pin, err)
		}
		clear(pin)
	}
	if _, err := ask(cryptoki.PINFromFD(-1)); err == nil || !strings.Contains(err.Error(), "file descriptor -1") {
		t.Errorf("-1: error %v", err)
	}
}
