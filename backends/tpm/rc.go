package tpm

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A wait is for how long, and from which pause on, a command is sent again that
// the TPM was not able to start. The same bytes are sent: nonces have not
// changed.
type wait struct {
	budget, first time.Duration
}

// retries are the codes that say "not now". Part 2, 6.6.3.
var retries = map[tpm2.TPMRC]wait{
	tpm2.TPMRCRetry:         {5 * time.Second, time.Millisecond},
	tpm2.TPMRCYielded:       {5 * time.Second, time.Millisecond},
	tpm2.TPMRCTesting:       {10 * time.Second, time.Millisecond},
	tpm2.TPMRCNVRate:        {5 * time.Second, 100 * time.Millisecond},
	tpm2.TPMRCNVUnavailable: {time.Second, 10 * time.Millisecond},
}

const longestPause = 500 * time.Millisecond

// A repair is what to do before a command that has failed is tried once more.
type repair int

const (
	noRepair      repair = iota
	forgetHandles        // handles are gone: load keys again
	newSession           // the session is gone, or another than we think
	makeRoom             // unload what is ours
	startUp              // the TPM has been reset and waits for TPM2_Startup
	reconnect            // the connection is of no use
	again                // nothing to repair
)

// repairOf says what may help after an error. Nothing is tried again that could
// cost a try of a PIN: see Token.unseal.
func repairOf(err error) repair {
	var spent *spentError
	if errors.As(err, &spent) {
		return noRepair
	}
	var lost *transportError
	if errors.As(err, &lost) {
		return reconnect
	}
	var rc tpm2.TPMRC
	if !errors.As(err, &rc) {
		return noRepair
	}
	switch {
	case rc >= tpm2.TPMRCReferenceH0 && rc <= tpm2.TPMRCReferenceH6, isHandle(rc):
		return forgetHandles
	case rc >= tpm2.TPMRCReferenceS0 && rc <= tpm2.TPMRCReferenceS6, errors.Is(rc, tpm2.TPMRCBadAuth),
		rc == tpm2.TPMRCContextGap, isSessionHandle(rc):
		return newSession
	case rc == tpm2.TPMRCObjectMemory, rc == tpm2.TPMRCMemory, rc == tpm2.TPMRCObjectHandles,
		rc == tpm2.TPMRCSessionMemory, rc == tpm2.TPMRCSessionHandles:
		return makeRoom
	case rc == tpm2.TPMRCInitialize:
		return startUp
	case rc == tpm2.TPMRCCanceled, rc == tpm2.TPMRCPCRChanged:
		return again
	}
	return noRepair
}

// isHandle reports whether the code says that a handle of a command is none.
func isHandle(rc tpm2.TPMRC) bool {
	var f tpm2.TPMFmt1Error
	if !errors.Is(rc, tpm2.TPMRCHandle) && !errors.Is(rc, tpm2.TPMRCValue) || !errors.As(rc, &f) {
		return false
	}
	ok, _ := f.Handle()
	return ok
}

// isSessionHandle reports whether the code is about the handle of a session.
func isSessionHandle(rc tpm2.TPMRC) bool {
	var f tpm2.TPMFmt1Error
	if !errors.As(rc, &f) {
		return false
	}
	ok, _ := f.Session()
	return ok && (errors.Is(rc, tpm2.TPMRCHandle) || errors.Is(rc, tpm2.TPMRCValue))
}

// codes translates what a TPM answers into what an application can act on. The
// first row that matches counts.
var codes = []struct {
	rc   tpm2.TPMRC
	code pkcs11.Error
	hint string
}{
	{tpm2.TPMRCAuthFail, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "the authorization value of the key is another one; is the record of the key from another token?"},
	{tpm2.TPMRCBadAuth, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "the authorization value is another one"},
	{tpm2.TPMRCLockout, pkcs11.CKR_PIN_LOCKED, "the TPM is locked after too many wrong authorizations"},
	{tpm2.TPMRCAuthUnavailable, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "the key cannot be used with an authorization value"},
	{tpm2.TPMRCAuthMissing, pkcs11.CKR_FUNCTION_FAILED, "a mistake in this program"},
	{tpm2.TPMRCAuthType, pkcs11.CKR_FUNCTION_FAILED, "a mistake in this program"},
	{tpm2.TPMRCAuthContext, pkcs11.CKR_FUNCTION_FAILED, "a mistake in this program"},
	{tpm2.TPMRCPolicyFail, pkcs11.CKR_FUNCTION_REJECTED, "the policy of the key forbids it"},
	{tpm2.TPMRCPolicy, pkcs11.CKR_FUNCTION_REJECTED, "the policy of the key forbids it"},
	{tpm2.TPMRCPCR, pkcs11.CKR_FUNCTION_REJECTED, "the policy of the key forbids it"},
	{tpm2.TPMRCPCRChanged, pkcs11.CKR_FUNCTION_REJECTED, "the platform has changed since the policy was checked"},
	{tpm2.TPMRCExpired, pkcs11.CKR_FUNCTION_REJECTED, "the policy has expired"},
	{tpm2.TPMRCPolicyCC, pkcs11.CKR_FUNCTION_REJECTED, "the policy of the key forbids it"},
	{tpm2.TPMRCObjectMemory, pkcs11.CKR_DEVICE_MEMORY, "all object slots of the TPM are taken by others; tpm2_flushcontext -t frees them"},
	{tpm2.TPMRCMemory, pkcs11.CKR_DEVICE_MEMORY, "the TPM has no memory left; tpm2_flushcontext -t frees some"},
	{tpm2.TPMRCObjectHandles, pkcs11.CKR_DEVICE_MEMORY, "the TPM has no object handles left"},
	{tpm2.TPMRCSessionMemory, pkcs11.CKR_DEVICE_MEMORY, "all session slots of the TPM are taken by others; tpm2_flushcontext -l frees them"},
	{tpm2.TPMRCSessionHandles, pkcs11.CKR_DEVICE_MEMORY, "the TPM has no session handles left; tpm2_flushcontext -l frees them"},
	{tpm2.TPMRCIntegrity, pkcs11.CKR_KEY_HANDLE_INVALID, "the key was made by another TPM, or its record is damaged"},
	{tpm2.TPMRCSize, pkcs11.CKR_DATA_LEN_RANGE, ""},
	{tpm2.TPMRCValue, pkcs11.CKR_DATA_INVALID, ""},
	{tpm2.TPMRCRange, pkcs11.CKR_DATA_INVALID, ""},
	{tpm2.TPMRCScheme, pkcs11.CKR_MECHANISM_PARAM_INVALID, "the TPM does not have that scheme"},
	{tpm2.TPMRCHash, pkcs11.CKR_MECHANISM_PARAM_INVALID, "the TPM does not have that hash function"},
	{tpm2.TPMRCMode, pkcs11.CKR_MECHANISM_PARAM_INVALID, ""},
	{tpm2.TPMRCKDF, pkcs11.CKR_MECHANISM_PARAM_INVALID, ""},
	{tpm2.TPMRCMGF, pkcs11.CKR_MECHANISM_PARAM_INVALID, ""},
	{tpm2.TPMRCAsymmetric, pkcs11.CKR_MECHANISM_PARAM_INVALID, "the TPM does not have that algorithm"},
	{tpm2.TPMRCSymmetric, pkcs11.CKR_MECHANISM_PARAM_INVALID, "the TPM does not have that algorithm"},
	{tpm2.TPMRCKey, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "the key is of another kind"},
	{tpm2.TPMRCAttributes, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "the key was not made for this"},
	{tpm2.TPMRCType, pkcs11.CKR_KEY_TYPE_INCONSISTENT, ""},
	{tpm2.TPMRCCurve, pkcs11.CKR_CURVE_NOT_SUPPORTED, "the TPM does not have that curve"},
	{tpm2.TPMRCKeySize, pkcs11.CKR_KEY_SIZE_RANGE, "the TPM does not have that key size"},
	{tpm2.TPMRCECCPoint, pkcs11.CKR_MECHANISM_PARAM_INVALID, "the point is not on the curve"},
	{tpm2.TPMRCNoResult, pkcs11.CKR_MECHANISM_PARAM_INVALID, "the result is the point at infinity"},
	{tpm2.TPMRCSignature, pkcs11.CKR_SIGNATURE_INVALID, ""},
	{tpm2.TPMRCTicket, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "the key is restricted"},
	{tpm2.TPMRCNVSpace, pkcs11.CKR_DEVICE_MEMORY, "the TPM's non-volatile memory is full; tpm2_getcap handles-persistent lists what is in it"},
	{tpm2.TPMRCNVDefined, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "the handle is taken"},
	{tpm2.TPMRCNVLocked, pkcs11.CKR_ACTION_PROHIBITED, ""},
	{tpm2.TPMRCNVAuthorization, pkcs11.CKR_USER_NOT_LOGGED_IN, ""},
	{tpm2.TPMRCNVUninitialized, pkcs11.CKR_OBJECT_HANDLE_INVALID, ""},
	{tpm2.TPMRCNVRange, pkcs11.CKR_DATA_LEN_RANGE, ""},
	{tpm2.TPMRCNVSize, pkcs11.CKR_DATA_LEN_RANGE, ""},
	{tpm2.TPMRCCommandCode, pkcs11.CKR_MECHANISM_INVALID, "the TPM does not have the command"},
	{tpm2.TPMRCDisabled, pkcs11.CKR_FUNCTION_NOT_SUPPORTED, "the command is disabled"},
	{tpm2.TPMRCCommandSize, pkcs11.CKR_FUNCTION_NOT_SUPPORTED, ""},
	{tpm2.TPMRCHierarchy, pkcs11.CKR_TOKEN_WRITE_PROTECTED, "the storage hierarchy is disabled; enable it in the firmware settings"},
	{tpm2.TPMRCFailure, pkcs11.CKR_DEVICE_ERROR, "the TPM is in failure mode until it is reset, or the operation failed in it"},
	{tpm2.TPMRCInitialize, pkcs11.CKR_DEVICE_ERROR, "the TPM was reset and not started"},
	{tpm2.TPMRCReboot, pkcs11.CKR_DEVICE_ERROR, "the TPM wants a reboot"},
	{tpm2.TPMRCUpgrade, pkcs11.CKR_DEVICE_ERROR, "the TPM's firmware is being upgraded"},
	{tpm2.TPMRCRetry, pkcs11.CKR_DEVICE_ERROR, "the TPM is busy"},
	{tpm2.TPMRCYielded, pkcs11.CKR_DEVICE_ERROR, "the TPM is busy"},
	{tpm2.TPMRCTesting, pkcs11.CKR_DEVICE_ERROR, "the TPM tests itself and does not come to an end"},
	{tpm2.TPMRCNVRate, pkcs11.CKR_DEVICE_ERROR, "the TPM slows writing down to spare its memory"},
	{tpm2.TPMRCNVUnavailable, pkcs11.CKR_DEVICE_ERROR, "the TPM's non-volatile memory is not there"},
}

// failed turns an error about a command into one about what it was for: with
// the code that fits, unless there is one already.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	err = inside(err)
	var has pkcs11.Error
	if errors.As(err, &has) {
		return fmt.Errorf("tpm: %s: %w", what, err)
	}
	var rc tpm2.TPMRC
	if errors.As(err, &rc) {
		for _, row := range codes {
			if !errors.Is(rc, row.rc) {
				continue
			}
			if row.hint == "" {
				return fmt.Errorf("tpm: %s: %w: %w", what, row.code, err)
			}
			return fmt.Errorf("tpm: %s: %s: %w: %w", what, row.hint, row.code, err)
		}
	}
	return fmt.Errorf("tpm: %s: %w: %w", what, pkcs11.CKR_DEVICE_ERROR, err)
}

// inside is an error to be wrapped by another one of this package, which begins with
// "tpm: " itself.
func inside(err error) error {
	if text := strings.TrimPrefix(err.Error(), "tpm: "); text != err.Error() {
		return &insideError{text, err}
	}
	return err
}

type insideError struct {
	text string
	err  error
}

func (e *insideError) Error() string { return e.text }
func (e *insideError) Unwrap() error { return e.err }

var commandNames = map[tpm2.TPMCC]string{
	tpm2.TPMCCActivateCredential:         "TPM2_ActivateCredential",
	tpm2.TPMCCCertify:                    "TPM2_Certify",
	tpm2.TPMCCCertifyCreation:            "TPM2_CertifyCreation",
	tpm2.TPMCCCreate:                     "TPM2_Create",
	tpm2.TPMCCCreatePrimary:              "TPM2_CreatePrimary",
	tpm2.TPMCCDictionaryAttackLockReset:  "TPM2_DictionaryAttackLockReset",
	tpm2.TPMCCDictionaryAttackParameters: "TPM2_DictionaryAttackParameters",
	tpm2.TPMCCECDHZGen:                   "TPM2_ECDH_ZGen",
	tpm2.TPMCCEvictControl:               "TPM2_EvictControl",
	tpm2.TPMCCFlushContext:               "TPM2_FlushContext",
	tpm2.TPMCCGetCapability:              "TPM2_GetCapability",
	tpm2.TPMCCGetRandom:                  "TPM2_GetRandom",
	tpm2.TPMCCMAC:                        "TPM2_HMAC",
	tpm2.TPMCCMACStart:                   "TPM2_HMAC_Start",
	tpm2.TPMCCImport:                     "TPM2_Import",
	tpm2.TPMCCLoad:                       "TPM2_Load",
	tpm2.TPMCCObjectChangeAuth:           "TPM2_ObjectChangeAuth",
	tpm2.TPMCCQuote:                      "TPM2_Quote",
	tpm2.TPMCCReadClock:                  "TPM2_ReadClock",
	tpm2.TPMCCReadPublic:                 "TPM2_ReadPublic",
	tpm2.TPMCCRSADecrypt:                 "TPM2_RSA_Decrypt",
	tpm2.TPMCCSequenceComplete:           "TPM2_SequenceComplete",
	tpm2.TPMCCSequenceUpdate:             "TPM2_SequenceUpdate",
	tpm2.TPMCCShutdown:                   "TPM2_Shutdown",
	tpm2.TPMCCSign:                       "TPM2_Sign",
	tpm2.TPMCCStartAuthSession:           "TPM2_StartAuthSession",
	tpm2.TPMCCStartup:                    "TPM2_Startup",
	tpm2.TPMCCTestParms:                  "TPM2_TestParms",
	tpm2.TPMCCUnseal:                     "TPM2_Unseal",
}

func commandName(cc tpm2.TPMCC) string {
	if name, ok := commandNames[cc]; ok {
		return name
	}
	return fmt.Sprintf("command %#x", uint32(cc))
}
