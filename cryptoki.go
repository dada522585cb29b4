// Package cryptoki keeps private keys where nobody can copy them, behind a
// Go-native Cryptoki (PKCS #11) interface with interchangeable backends.
//
// Applications open a [Token] by name and take what they need from it:
//
//	token, err := cryptoki.Open(ctx, "soft:dir=/var/lib/gateway/token", nil)
//	cert, err := token.TLSCertificate(ctx, cryptoki.DeviceCert, cryptoki.DevicePrivateKey)
//	conn, err := tls.Dial("tcp", "broker:8883", &tls.Config{Certificates: []tls.Certificate{cert}})
//
// Underneath is [Module], Cryptoki itself: [NewModule] makes one of any
// driver.Token, and adds what the standard asks for: sessions, login, the rules
// of attributes, search and operations.
package cryptoki

import (
	"context"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Module is an implementation of Cryptoki: the core of this package over
// drivers, or one in another process. It is safe for concurrent use.
//
// The functions are those of the standard without the C_: they fail with the
// codes that it names, wrapped in an [OpError]. After Close every one returns
// CKR_CRYPTOKI_NOT_INITIALIZED.
type Module interface {
	// Info describes the module. PKCS #11 v2.40 §5.4, C_GetInfo.
	Info(ctx context.Context) (pkcs11.Info, error)
	// Slots returns the slots, those with a token only if tokenPresent.
	// §5.5, C_GetSlotList.
	Slots(ctx context.Context, tokenPresent bool) ([]pkcs11.SlotID, error)
	// SlotInfo describes a slot. §5.5, C_GetSlotInfo.
	SlotInfo(ctx context.Context, slot pkcs11.SlotID) (pkcs11.SlotInfo, error)
	// TokenInfo describes the token in a slot. §5.5, C_GetTokenInfo.
	TokenInfo(ctx context.Context, slot pkcs11.SlotID) (pkcs11.TokenInfo, error)
	// Mechanisms returns what the token can do. The slice belongs to the caller.
	// §5.5, C_GetMechanismList.
	Mechanisms(ctx context.Context, slot pkcs11.SlotID) ([]pkcs11.MechanismType, error)
	// MechanismInfo describes one of them. §5.5, C_GetMechanismInfo.
	MechanismInfo(ctx context.Context, slot pkcs11.SlotID, m pkcs11.MechanismType) (pkcs11.MechanismInfo, error)
	// InitToken makes the token new and empty, with the given label of at most
	// 32 bytes. If the token is initialized already, all its objects are
	// destroyed and soPIN must be its SO PIN. No session may be open.
	// §5.5, C_InitToken.
	InitToken(ctx context.Context, slot pkcs11.SlotID, soPIN []byte, label string) error
	// OpenSession opens a session. Flags hold CKF_SERIAL_SESSION always, and
	// CKF_RW_SESSION for one that may change token objects. §5.6, C_OpenSession.
	OpenSession(ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (Session, error)
	// CloseAllSessions closes every session with the token, which logs it out.
	// §5.6, C_CloseAllSessions.
	CloseAllSessions(ctx context.Context, slot pkcs11.SlotID) error
	// Close closes all sessions and releases the tokens. §5.4, C_Finalize.
	Close() error
}

// A Session is a connection between an application and a token. Its methods are
// the functions of the standard, named as there without the C_, over object
// handles, and fail with the codes that it names.
//
// A session carries at most one search, one digest, one signature, one
// verification, one encryption and one decryption at a time, independent of
// each other. Its methods may be called from several goroutines, but the steps
// of one operation belong together: concurrent work wants a session for each.
//
// Output goes into a buffer of the caller, and the number of bytes is returned.
// If the buffer is nil, the method returns how many bytes it needs and does
// nothing else; if it is too short, the error is CKR_BUFFER_TOO_SMALL and the
// number what it needs. In both cases the operation goes on, as §5.2 says. The
// number may be larger than the output turns out to be for decryption.
//
// After Close every method returns CKR_SESSION_HANDLE_INVALID, also when the
// session was closed by CloseAllSessions; after the module's Close,
// CKR_CRYPTOKI_NOT_INITIALIZED.
//
// The sections are those of PKCS #11 v2.40, unless another version is named.
type Session interface {
	// Close ends the session, its operations and its session objects. The last
	// session of a token to close logs the token out. §5.6, C_CloseSession.
	Close() error
	// Info describes the session. §5.6, C_GetSessionInfo.
	Info(ctx context.Context) (pkcs11.SessionInfo, error)
	// SessionCancel ends the operations that flags name: CKF_SIGN, CKF_VERIFY,
	// CKF_DIGEST, CKF_ENCRYPT, CKF_DECRYPT, CKF_FIND_OBJECTS. It is no error if
	// there are none. PKCS #11 v3.0 §5.6, C_SessionCancel.
	SessionCancel(ctx context.Context, flags uint64) error

	// Login logs all sessions with the token in. pin is not kept; the caller
	// wipes it. §5.6, C_Login.
	Login(ctx context.Context, user pkcs11.UserType, pin []byte) error
	// Logout logs all sessions with the token out. §5.6, C_Logout.
	Logout(ctx context.Context) error
	// InitPIN sets the user's PIN; the SO is logged in. §5.5, C_InitPIN.
	InitPIN(ctx context.Context, pin []byte) error
	// SetPIN changes the PIN of whoever is logged in, the user's if nobody is.
	// §5.5, C_SetPIN.
	SetPIN(ctx context.Context, oldPIN, newPIN []byte) error

	// CreateObject creates an object of the values in the template, which is
	// not kept. §5.7, C_CreateObject.
	CreateObject(ctx context.Context, template pkcs11.Template) (pkcs11.ObjectHandle, error)
	// CopyObject copies an object, with the changes in the template.
	// §5.7, C_CopyObject.
	CopyObject(ctx context.Context, object pkcs11.ObjectHandle, template pkcs11.Template) (pkcs11.ObjectHandle, error)
	// DestroyObject destroys an object and cancels, in all sessions, operations
	// with it. §5.7, C_DestroyObject.
	DestroyObject(ctx context.Context, object pkcs11.ObjectHandle) error
	// GetObjectSize returns about how many bytes the object takes on the token,
	// pkcs11.Unavailable if that is unknown. §5.7, C_GetObjectSize.
	GetObjectSize(ctx context.Context, object pkcs11.ObjectHandle) (uint64, error)
	// GetAttributeValue fills in the values that the template names. All
	// attributes are tried: one that cannot be read gets its reason, a
	// pkcs11.Error, as value, and the error is one of the reasons. Values are
	// copies. §5.7, C_GetAttributeValue.
	GetAttributeValue(ctx context.Context, object pkcs11.ObjectHandle, template pkcs11.Template) error
	// SetAttributeValue changes attributes, all or none. §5.7, C_SetAttributeValue.
	SetAttributeValue(ctx context.Context, object pkcs11.ObjectHandle, template pkcs11.Template) error
	// FindObjectsInit starts a search for the objects that have all attributes
	// of the template; an empty one matches every object. §5.7, C_FindObjectsInit.
	FindObjectsInit(ctx context.Context, template pkcs11.Template) error
	// FindObjects fills objects with the next handles found and returns their
	// number: 0 when there are no more. §5.7, C_FindObjects.
	FindObjects(ctx context.Context, objects []pkcs11.ObjectHandle) (int, error)
	// FindObjectsFinal ends the search. §5.7, C_FindObjectsFinal.
	FindObjectsFinal(ctx context.Context) error

	// EncryptInit, Encrypt, EncryptUpdate and EncryptFinal encrypt, in one step
	// or several. §5.8.
	EncryptInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	Encrypt(ctx context.Context, data, encrypted []byte) (int, error)
	EncryptUpdate(ctx context.Context, part, encrypted []byte) (int, error)
	EncryptFinal(ctx context.Context, encrypted []byte) (int, error)

	// DecryptInit, Decrypt, DecryptUpdate and DecryptFinal decrypt. §5.9.
	DecryptInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	Decrypt(ctx context.Context, encrypted, data []byte) (int, error)
	DecryptUpdate(ctx context.Context, encrypted, part []byte) (int, error)
	DecryptFinal(ctx context.Context, part []byte) (int, error)

	// DigestInit, Digest, DigestUpdate, DigestKey and DigestFinal hash. §5.10.
	DigestInit(ctx context.Context, m *pkcs11.Mechanism) error
	Digest(ctx context.Context, data, digest []byte) (int, error)
	DigestUpdate(ctx context.Context, part []byte) error
	DigestKey(ctx context.Context, key pkcs11.ObjectHandle) error
	DigestFinal(ctx context.Context, digest []byte) (int, error)

	// SignInit, Sign, SignUpdate and SignFinal sign or make a MAC. §5.11.
	SignInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	Sign(ctx context.Context, data, signature []byte) (int, error)
	SignUpdate(ctx context.Context, part []byte) error
	SignFinal(ctx context.Context, signature []byte) (int, error)

	// VerifyInit, Verify, VerifyUpdate and VerifyFinal verify a signature or a
	// MAC. §5.12.
	VerifyInit(ctx context.Context, m *pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	Verify(ctx context.Context, data, signature []byte) error
	VerifyUpdate(ctx context.Context, part []byte) error
	VerifyFinal(ctx context.Context, signature []byte) error

	// GenerateKey generates a secret key. §5.13, C_GenerateKey.
	GenerateKey(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template) (pkcs11.ObjectHandle, error)
	// GenerateKeyPair generates a key pair, both objects or none.
	// §5.13, C_GenerateKeyPair.
	GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template) (pub, priv pkcs11.ObjectHandle, err error)
	// WrapKey encrypts a key under another. §5.13, C_WrapKey.
	WrapKey(ctx context.Context, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle, wrapped []byte) (int, error)
	// UnwrapKey decrypts a wrapped key and creates it. §5.13, C_UnwrapKey.
	UnwrapKey(ctx context.Context, m *pkcs11.Mechanism, unwrapping pkcs11.ObjectHandle, wrapped []byte, template pkcs11.Template) (pkcs11.ObjectHandle, error)
	// DeriveKey derives a key from another. §5.13, C_DeriveKey.
	DeriveKey(ctx context.Context, m *pkcs11.Mechanism, base pkcs11.ObjectHandle, template pkcs11.Template) (pkcs11.ObjectHandle, error)

	// SeedRandom mixes seed into the token's generator. §5.14, C_SeedRandom.
	SeedRandom(ctx context.Context, seed []byte) error
	// GenerateRandom fills b, of any length but 0, with random bytes.
	// §5.14, C_GenerateRandom.
	GenerateRandom(ctx context.Context, b []byte) error
}

// A Destroyer is a Session that destroys several objects as one step, as far as
// the token can: a key pair leaves no half behind when the power goes. Sessions
// of a module made by NewModule are Destroyers.
type Destroyer interface {
	Session
	// DestroyObjects destroys all the objects, or none if one of them must not be
	// destroyed or does not exist. See DestroyObject.
	DestroyObjects(ctx context.Context, objects ...pkcs11.ObjectHandle) error
}

// An Attester is a Session that can prove to others where a key is. Sessions of a
// module made by NewModule are Attesters, and return CKR_FUNCTION_NOT_SUPPORTED if
// their token is not a driver.Attester, or a driver.ChallengeAnswerer.
type Attester interface {
	Session
	// Attest returns evidence about a private key: see driver.Attester.
	Attest(ctx context.Context, key pkcs11.ObjectHandle, nonce []byte) ([]byte, error)
	// AnswerChallenge answers a challenge: see driver.ChallengeAnswerer.
	AnswerChallenge(ctx context.Context, challenge []byte) ([]byte, error)
}
