package acme

import (
	"context"
	"testing"

	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
)

func TestConformance(t *testing.T) {
	var (
		chip  Simulator
		store pal.Mem
	)
	conformance.Run(t, conformance.Target{
		Open:    func(context.Context) (driver.Token, error) { return New(&chip, &store) },
		Profile: conformance.Profile{EC: true, Generate: true},
		// Cases at the same time would use more keys than the chip has slots.
		Sequential: true,
	})
}
