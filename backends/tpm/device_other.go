//go:build !linux

package tpm

import (
	"context"
	"fmt"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Device returns a Dialer of a TPM device. It is for Linux; elsewhere the Dialer
// fails, and Options.Dial may be one of the caller's own.
func Device(path string) Dialer {
	return func(context.Context) (transport.TPMCloser, error) {
		return nil, fmt.Errorf("tpm: %s: TPM devices are supported on Linux: %w", path, pkcs11.CKR_TOKEN_NOT_PRESENT)
	}
}
