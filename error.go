package cryptoki

import (
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An OpError is what the functions of a Module and its sessions fail with: the
// call, what it was about, and the cause, which wraps a pkcs11.Error.
//
//	if errors.Is(err, pkcs11.CKR_USER_NOT_LOGGED_IN) { … }
type OpError struct {
	Op      string // "SignInit"
	Subject string // what it was about: `private key "Device Priv TLS Key"`; may be empty
	Err     error
}

func (e *OpError) Error() string {
	var b strings.Builder
	b.WriteString("cryptoki: ")
	b.WriteString(e.Op)
	if e.Subject != "" {
		b.WriteString(": ")
		b.WriteString(e.Subject)
	}
	b.WriteString(": ")
	b.WriteString(e.Err.Error())
	return b.String()
}

func (e *OpError) Unwrap() error { return e.Err }

// Code returns the code of the standard that e wraps.
func (e *OpError) Code() pkcs11.Error { return pkcs11.CodeOf(e.Err) }
