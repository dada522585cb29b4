package cryptoki

import (
	"fmt"
	"math/bits"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Where several things are wrong with a call, the first of this list is reported:
//
//  1. the module is closed: CKR_CRYPTOKI_NOT_INITIALIZED
//  2. the session is closed: CKR_SESSION_HANDLE_INVALID
//  3. an argument is nil that must not be: CKR_ARGUMENTS_BAD
//  4. the operation is active, or is not: CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED
//  5. the mechanism: CKR_MECHANISM_INVALID
//  6. the handle: CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN
//  7. the class, type and size of the key: CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_SIZE_RANGE
//  8. what the key may do: CKR_KEY_FUNCTION_NOT_PERMITTED
//  9. the mechanism's parameter: CKR_MECHANISM_PARAM_INVALID
//  10. the template: CKR_TEMPLATE_INCONSISTENT and its kin
//  11. the session and the login: CKR_SESSION_READ_ONLY, CKR_USER_NOT_LOGGED_IN
//  12. lengths: CKR_BUFFER_TOO_SMALL, CKR_DATA_LEN_RANGE
//
// check is steps 1 and 2, keyFor steps 5 to 8, mayWrite step 11.

var errSessionClosed = fmt.Errorf("%w: the session is closed", pkcs11.CKR_SESSION_HANDLE_INVALID)

// check makes the checks that every method of a session begins with.
func (se *session) check(op string) error {
	if se.slot.module.closed.Load() {
		return opErr(op, "", pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
	}
	if se.closed.Load() {
		return opErr(op, "", errSessionClosed)
	}
	return nil
}

// need is what an operation asks of a key: the flag of the mechanism, the
// attribute of the key, and the classes that it may have.
type need struct {
	flag    uint64
	use     usage
	attr    pkcs11.AttributeType
	classes [2]pkcs11.ObjectClass
}

var (
	needSign    = need{pkcs11.CKF_SIGN, maySign, pkcs11.CKA_SIGN, [2]pkcs11.ObjectClass{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY}}
	needVerify  = need{pkcs11.CKF_VERIFY, mayVerify, pkcs11.CKA_VERIFY, [2]pkcs11.ObjectClass{pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_SECRET_KEY}}
	needEncrypt = need{pkcs11.CKF_ENCRYPT, mayEncrypt, pkcs11.CKA_ENCRYPT, [2]pkcs11.ObjectClass{pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_SECRET_KEY}}
	needDecrypt = need{pkcs11.CKF_DECRYPT, mayDecrypt, pkcs11.CKA_DECRYPT, [2]pkcs11.ObjectClass{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY}}
	needWrap    = need{pkcs11.CKF_WRAP, mayWrap, pkcs11.CKA_WRAP, [2]pkcs11.ObjectClass{pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_SECRET_KEY}}
	needUnwrap  = need{pkcs11.CKF_UNWRAP, mayUnwrap, pkcs11.CKA_UNWRAP, [2]pkcs11.ObjectClass{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY}}
	needDerive  = need{pkcs11.CKF_DERIVE, mayDerive, pkcs11.CKA_DERIVE, [2]pkcs11.ObjectClass{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY}}
)

// keyFor returns the row of the mechanism and the key of that handle if they may
// be used together for what n says.
func (se *session) keyFor(n *need, m *pkcs11.Mechanism, h pkcs11.ObjectHandle) (*mechanism, *object, error) {
	row, err := se.slot.mechs.find(m.Type, n.flag)
	if err != nil {
		return nil, nil, err
	}
	o, err := se.slot.lookup(h, pkcs11.CKR_KEY_HANDLE_INVALID)
	if err != nil {
		return nil, nil, err
	}
	if !o.isKey() {
		return nil, nil, fmt.Errorf("%v: %w: it is not a key", o, pkcs11.CKR_KEY_HANDLE_INVALID)
	}
	if (o.class != n.classes[0] && o.class != n.classes[1]) || !row.suits(o.class, o.keyType) {
		return nil, nil, fmt.Errorf("%v: %w: a %v key of class %v is not for %v with %v", o, pkcs11.CKR_KEY_TYPE_INCONSISTENT, o.keyType, o.class, n.attr, m.Type)
	}
	st := o.state.Load()
	// The sizes of other keys follow from their types, and with public keys the
	// core itself works.
	if o.keyType == pkcs11.CKK_RSA && o.class == pkcs11.CKO_PRIVATE_KEY {
		if n := modulusBits(st.attrs()); n < row.info.MinKeySize || n > row.info.MaxKeySize && row.info.MaxKeySize != 0 {
			return nil, nil, fmt.Errorf("%v: %w: it has %d bits, the token does %v with %d to %d", o, pkcs11.CKR_KEY_SIZE_RANGE, n, m.Type, row.info.MinKeySize, row.info.MaxKeySize)
		}
	}
	if st.use()&n.use == 0 {
		return nil, nil, fmt.Errorf("%v: %w: its %v is false", o, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, n.attr)
	}
	if st.use()&restricted != 0 {
		if err := allowed(st.attrs(), m.Type); err != nil {
			return nil, nil, fmt.Errorf("%v: %w", o, err)
		}
	}
	return row, o, nil
}

// modulusBits returns the size of an RSA key.
func modulusBits(attrs pkcs11.Template) uint64 {
	n := attrs.Bytes(pkcs11.CKA_MODULUS)
	for len(n) > 0 && n[0] == 0 {
		n = n[1:]
	}
	if len(n) == 0 {
		return 0
	}
	return uint64(8*(len(n)-1) + bits.Len8(n[0]))
}

// allowed checks CKA_ALLOWED_MECHANISMS.
func allowed(attrs pkcs11.Template, m pkcs11.MechanismType) error {
	a, ok := attrs.Get(pkcs11.CKA_ALLOWED_MECHANISMS)
	if !ok {
		return nil
	}
	list, _ := a.Value.([]pkcs11.MechanismType)
	for _, t := range list {
		if t == m {
			return nil
		}
	}
	return fmt.Errorf("%w: %v is not among its CKA_ALLOWED_MECHANISMS", pkcs11.CKR_MECHANISM_INVALID, m)
}

// mayWrite checks that the session may create, change or destroy an object with
// these properties.
func (se *session) mayWrite(token, private bool) error {
	if token {
		if !se.rw() {
			return fmt.Errorf("%w: open the session with CKF_RW_SESSION to change token objects", pkcs11.CKR_SESSION_READ_ONLY)
		}
		if se.slot.token.Info().Flags&pkcs11.CKF_WRITE_PROTECTED != 0 {
			return pkcs11.CKR_TOKEN_WRITE_PROTECTED
		}
	}
	if private {
		se.slot.mu.RLock()
		user := se.slot.userLocked()
		se.slot.mu.RUnlock()
		if !user {
			return fmt.Errorf("%w: a private object (CKA_PRIVATE) wants the user logged in", pkcs11.CKR_USER_NOT_LOGGED_IN)
		}
	}
	return nil
}
