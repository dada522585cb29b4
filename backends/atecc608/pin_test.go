package atecc608_test

import (
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/pal"
)

// A chip whose keys want the user's PIN.
func TestConformanceWithPIN(t *testing.T) {
	conform(t, "outcomes-pin.txt", func(t testing.TB) conformance.Target {
		chip, store := newChip(t, ateccsim.Blank(ateccsim.DefaultSerial), nil), new(pal.Mem)
		if _, err := provision(t.Context(), chip, true, atecc608.ProvisionOptions{Plan: plan(t, "generic-pin"), Store: store, PIN: []byte("0000")}); err != nil {
			t.Fatal(err)
		}
		return conformance.Target{
			Open:    opener(chip, store, atecc608.Options{}),
			NoSO:    true,
			Profile: conformance.Profile{EC: true, Generate: true, JITP: true},
		}
	})
}
