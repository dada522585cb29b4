package record

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// StoreError adds to an error of a pal.Store the code that says what it means, and
// what can be done: CKR_TOKEN_WRITE_PROTECTED, CKR_DEVICE_MEMORY,
// CKR_TOKEN_NOT_RECOGNIZED for what a newer program has written, or
// CKR_DEVICE_ERROR. what is who was doing what: "soft: write".
func StoreError(what string, err error) error {
	code, cure := pkcs11.CKR_DEVICE_ERROR, ""
	switch {
	case errors.Is(err, pal.ErrReadOnly):
		code, cure = pkcs11.CKR_TOKEN_WRITE_PROTECTED, "; to change the token, make its store writable"
	case errors.Is(err, pal.ErrFull):
		code, cure = pkcs11.CKR_DEVICE_MEMORY, "; destroy objects, or make room on the medium"
	case errors.Is(err, errors.ErrUnsupported) && !errors.As(err, new(syscall.Errno)):
		code = pkcs11.CKR_TOKEN_NOT_RECOGNIZED
	case errors.Is(err, syscall.EIO):
		cure = "; the medium may be failing: look at the kernel's log, and make a backup"
	}
	return fmt.Errorf("%s: %w: %w%s", what, code, err, cure)
}
