package pkcs11

import (
	"context"
	"errors"
	"io/fs"
)

// Error is a CKR code: what went wrong, in the terms of the standard. It is
// comparable, and every error of this module that a caller may want to act on
// wraps one:
//
//	if errors.Is(err, pkcs11.CKR_PIN_INCORRECT) { … }
//
// CKR_OK is a nil error and has no constant.
type Error uint32

// Error returns the name in the standard, such as CKR_PIN_INCORRECT.
func (e Error) Error() string { return nameOf("CKR", namesCKR, uint64(e)) }

// Is lets a code match the standard library's error of the same meaning:
// errors.ErrUnsupported, fs.ErrPermission and context.Canceled.
func (e Error) Is(target error) bool {
	switch target {
	case errors.ErrUnsupported:
		switch e {
		case CKR_FUNCTION_NOT_SUPPORTED, CKR_MECHANISM_INVALID, CKR_CURVE_NOT_SUPPORTED, CKR_RANDOM_NO_RNG:
			return true
		}
	case fs.ErrPermission:
		switch e {
		case CKR_USER_NOT_LOGGED_IN, CKR_PIN_INCORRECT, CKR_PIN_LOCKED, CKR_KEY_FUNCTION_NOT_PERMITTED,
			CKR_SESSION_READ_ONLY, CKR_TOKEN_WRITE_PROTECTED, CKR_ACTION_PROHIBITED:
			return true
		}
	case context.Canceled:
		return e == CKR_FUNCTION_CANCELED
	}
	return false
}

// CodeOf returns the code that err wraps, 0 if err is nil, and CKR_GENERAL_ERROR
// if it wraps none. It is for those who must hand out a bare number: the C
// interface and the remote protocol.
func CodeOf(err error) Error {
	if err == nil {
		return 0
	}
	var e Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return CKR_FUNCTION_CANCELED
	}
	return CKR_GENERAL_ERROR
}
