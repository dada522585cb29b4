package conformance_test

import (
	"context"
	"testing"

	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
)

var all = conformance.Profile{RSA: true, EC: true, Import: true, Generate: true, JITP: true}

// vaultTarget is a vault on a medium of its own.
func vaultTarget() conformance.Target {
	m := &medium{}
	return conformance.Target{
		Open:    func(context.Context) (driver.Token, error) { return &vault{medium: m}, nil },
		Profile: all,
	}
}

func TestVault(t *testing.T) {
	conformance.Run(t, vaultTarget())
}
