//go:build !linux

package atecc

import (
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func openNumber(n int) (i2c.BusCloser, error) {
	return nil, fmt.Errorf("atecc: bus %d: %w: buses have numbers on Linux only", n, pkcs11.CKR_ARGUMENTS_BAD)
}
