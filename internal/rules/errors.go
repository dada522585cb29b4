package rules

import (
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// fail returns the error of this package: what it is about, the attribute, the
// code, and the cause with the cure.
func fail(what string, typ pkcs11.AttributeType, code pkcs11.Error, format string, args ...any) error {
	return fmt.Errorf("%s: %v: %w: %s", what, typ, code, fmt.Sprintf(format, args...))
}

func (s *spec) fail(typ pkcs11.AttributeType, code pkcs11.Error, format string, args ...any) error {
	return fail(s.name, typ, code, format, args...)
}
