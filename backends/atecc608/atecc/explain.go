package atecc

import "github.com/go-cryptoki/cryptoki/pkcs11"

// refused is the error for a status.
func (s *Sequence) refused(c *command, status Status) error {
	return &Error{Op: c.name, Slot: c.slot, Status: status, Code: pkcs11.CKR_DEVICE_ERROR}
}
