package cryptoki

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// errNoWrap says that keys travel neither out of the token nor into it in
// wrapped form.
var errNoWrap = fmt.Errorf("%w: keys are not wrapped or derived by this version", pkcs11.CKR_FUNCTION_NOT_SUPPORTED)

func (se *session) WrapKey(_ context.Context, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle, wrapped []byte) (int, error) {
	if err := se.check("WrapKey"); err != nil {
		return 0, err
	}
	return 0, opErr("WrapKey", "", errNoWrap)
}

func (se *session) UnwrapKey(_ context.Context, m *pkcs11.Mechanism, unwrapping pkcs11.ObjectHandle, wrapped []byte, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	if err := se.check("UnwrapKey"); err != nil {
		return 0, err
	}
	return 0, opErr("UnwrapKey", "", errNoWrap)
}

func (se *session) DeriveKey(_ context.Context, m *pkcs11.Mechanism, base pkcs11.ObjectHandle, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	if err := se.check("DeriveKey"); err != nil {
		return 0, err
	}
	return 0, opErr("DeriveKey", "", errNoWrap)
}
