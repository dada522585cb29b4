// Package driver is what a silicon vendor implements to put a chip, or any
// other keeper of keys, under Cryptoki.
//
// # How to port
//
// Implement [Token] and [Object]: what the token is, which mechanisms it has,
// which objects are on it. Then implement, one interface at a time, what the
// chip can do. Each ability is an optional interface with one or two methods:
// on the token ([KeyPairGenerator], [Creator], [Destroyer], [RandomReader],
// [Authenticator], …) or on the object that has it ([Signer], [Decrypter],
// [Deriver], …). A private key that can sign is a Signer; that is all there is
// to it.
//
// Everything else is done above: sessions, handles, login state, the rules of
// attributes, search, multi-part operations, hashing before a signature,
// digests, verification and encryption with public keys, error codes for calls
// in the wrong order. A chip that signs 32-byte digests gives applications
// CKM_ECDSA, CKM_ECDSA_SHA256, multi-part signing, a crypto.Signer and TLS.
//
// The mechanism table is the only declaration of what the token can do. The
// conformance suite checks it against the interfaces in both directions: a
// mechanism in the table whose interface is missing fails, and so does an
// ability that the table does not mention.
//
// Run package conformance from a test in your own repository:
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, conformance.Target{Open: …, Profile: …})
//	}
//
// # Rules
//
// The methods of a token and of its objects are called one at a time, unless
// the token declares [Concurrent]. They may be called from any goroutine.
// Methods that take a context stop waiting for the device when it ends and
// return its error; they leave the device usable.
//
// Slices and templates given to a driver belong to the caller: copy what you
// keep. Slices and templates that a driver returns belong to the core, except
// what [Object.Attributes] returns: that is shared and never modified by
// either side.
//
// An error carries the code that an application can act on beside the device's
// own: fmt.Errorf("acme: slot %d: %w: %w", n, pkcs11.CKR_DEVICE_ERROR, status).
// Without a code it becomes CKR_DEVICE_ERROR. No error holds a PIN or a key.
//
// A driver that stores something takes a pal.Store. It closes only what it
// opened.
package driver

import (
	"context"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Token is a place where keys are kept: a chip, a file, a service.
type Token interface {
	// Info describes the token. It is called often and touches no device.
	Info() Info

	// Mechanisms returns the mechanism table, the same at every call, the
	// slice shared. It lists what the token itself does; the core adds digests,
	// verification, and the hashing variants of what is listed.
	Mechanisms() []Mechanism

	// Objects returns the token objects that exist now and may be shown in the
	// present login state. Session objects are not among them. The order is
	// that of creation, where the token knows it. If some cannot be read, a list
	// that is not nil holds the others, and the error names those that are
	// damaged: searches then go on, and fail only where one of them may have been
	// meant.
	Objects(ctx context.Context) ([]Object, error)

	// Close releases what the driver opened. Nothing is called after it.
	Close() error
}

// Info describes a token. Lengths are as in pkcs11.TokenInfo.
type Info struct {
	Label          string
	ManufacturerID string
	Model          string
	SerialNumber   string // unique per token and the same for ever
	// Flags holds CKF_TOKEN_INITIALIZED, CKF_LOGIN_REQUIRED,
	// CKF_USER_PIN_INITIALIZED, CKF_WRITE_PROTECTED and the flags about PIN
	// counters, as they are now. The core adds CKF_RNG and CKF_TOKEN_PRESENT.
	Flags           uint64
	MaxSessions     uint64 // pkcs11.EffectivelyInfinite for no limit of the token
	MinPINLen       uint64
	MaxPINLen       uint64
	HardwareVersion pkcs11.Version
	FirmwareVersion pkcs11.Version
	// Hardware says that the slot is CKF_HW_SLOT, and operations CKF_HW.
	Hardware bool
	// SlotDescription is the text for the slot, "" for one made of the model.
	SlotDescription string
}

// A Mechanism is a row of the mechanism table.
type Mechanism struct {
	Type pkcs11.MechanismType
	pkcs11.MechanismInfo
}

// An Object is something on a token: a key, a certificate, data. The driver
// returns the same Object value for the same object as long as the object lives
// and its Attributes have not changed.
type Object interface {
	// ID identifies the object among all of the token, for as long as it lives
	// and also in the next process. It is CKA_UNIQUE_ID, and says nothing about
	// the object. An ID is not used again for another object.
	ID() string

	// Attributes returns what may be shown of the object: everything but
	// secrets and private key components, in canonical form. A driver that
	// stored the complete template it was given returns that; one that reads a
	// chip states what it knows, at least CKA_CLASS and for keys CKA_KEY_TYPE
	// and the public components, and the core adds the defaults. The result is
	// shared: neither side modifies it.
	Attributes() pkcs11.Template
}

// An Indexed object can tell what searches are made by without making a template
// of its attributes. The core then asks for Attributes only when somebody wants
// one of the others, so that a token of thousands of objects opens in a fraction
// of the time and memory. It is for drivers that have stored the complete template
// they were given; both methods of one may be called from several goroutines at
// once, whether the token is Concurrent or not, and take no more than a moment.
type Indexed interface {
	Object
	// Index returns the values that Attributes has for the attributes in question.
	Index() Index
}

// An Index holds attributes of an object by which it is searched for.
type Index struct {
	Class   pkcs11.ObjectClass
	KeyType pkcs11.KeyType // of a key
	Token   bool
	Private bool
	Label   string
	ID      string // the bytes of CKA_ID
}

// Concurrent marks a token whose methods and whose objects' methods may be
// called from several goroutines at once.
type Concurrent interface {
	Concurrent()
}

// A Changer is a token whose objects may be changed by others, such as another
// process.
type Changer interface {
	// Changes returns a number that is different from the last one when the
	// objects, or the token's information, have changed other than through this
	// Token. It is asked before each search and is cheap: at most a system call.
	Changes() (uint64, error)
}

// A KeyPairGenerator generates key pairs.
//
// The templates are complete: class, key type, every attribute of the class
// with the caller's value or its default, computed ones such as CKA_LOCAL
// included; absent are the components that generation brings forth, and CKA_ID
// if the caller gave none. [CompletePublic] and [CompletePrivate] add those.
// CKA_TOKEN false asks for an object that is not stored: it lives until Destroy
// or Close. A driver that cannot do that returns CKR_TEMPLATE_INCONSISTENT.
type KeyPairGenerator interface {
	// GenerateKeyPair creates both objects, and removes the objects in replaces
	// (which may be nil), as one step: on an error, and after a power cut,
	// either nothing has happened or everything has.
	GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template, replaces []Object) (pub, priv Object, err error)
}

// A KeyGenerator generates secret keys. The rules are those of KeyPairGenerator.
type KeyGenerator interface {
	GenerateKey(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template, replaces []Object) (Object, error)
}

// A Creator creates objects from given values: certificates, public keys, data,
// and imported private and secret keys where the token allows it.
type Creator interface {
	// CreateObject stores an object, and removes those in replaces, as one step.
	// The template is complete and canonical, and includes the secret values,
	// which the caller wipes afterwards. The core has checked public keys; the
	// driver checks that the components of a private key belong together
	// (CKR_ATTRIBUTE_VALUE_INVALID), and adds what follows from them with
	// CompletePublic or CompletePrivate. A class it cannot store is
	// CKR_TEMPLATE_INCONSISTENT, no room is CKR_DEVICE_MEMORY.
	CreateObject(ctx context.Context, template pkcs11.Template, replaces []Object) (Object, error)
}

// A Copier copies objects, those with secret values included.
type Copier interface {
	// CopyObject creates an object with the secret values of o and the given
	// complete attributes.
	CopyObject(ctx context.Context, o Object, template pkcs11.Template) (Object, error)
}

// A Destroyer removes objects.
type Destroyer interface {
	// Destroy removes the objects as one step, session objects included.
	// Removing one that another process has already removed is no error.
	Destroy(ctx context.Context, objects ...Object) error
}

// An Updater changes attributes of objects it has stored.
type Updater interface {
	// Update replaces or adds the given attributes and returns the object as it
	// is now. The core has checked that they may be changed.
	Update(ctx context.Context, o Object, changed pkcs11.Template) (Object, error)
}

// A BackupPolicy is a token whose security officer may allow, when it is
// initialized, that keys leave it for a backup although they are not extractable.
type BackupPolicy interface {
	// BackupAllowed reports whether that was allowed for the token as it is. If so,
	// its keys are Exporters. It touches no device.
	BackupAllowed() bool
}

// A RandomReader is a token with a random number generator.
type RandomReader interface {
	// ReadRandom fills b, or returns an error and leaves b without meaning. It
	// never returns predictable bytes.
	ReadRandom(ctx context.Context, b []byte) error
}

// A RandomSeeder mixes additional material into the token's generator.
type RandomSeeder interface {
	SeedRandom(ctx context.Context, seed []byte) error
}

// A Resetter is a token whose device can be lost and reached again: a bus that
// hung, a service that was restarted.
type Resetter interface {
	// Resets returns how often that has happened since the token was opened.
	// It may be called at any time, also concurrently.
	Resets() uint64
}

// An Authenticator is a token with PINs.
type Authenticator interface {
	// Login checks the PIN and makes what it protects usable until Logout.
	// CKU_CONTEXT_SPECIFIC only checks the user's PIN again. The codes are
	// CKR_PIN_INCORRECT, CKR_PIN_LOCKED and CKR_USER_PIN_NOT_INITIALIZED. A
	// token that keeps tries counts them, durably, before it checks. pin is not
	// kept.
	Login(ctx context.Context, user pkcs11.UserType, pin []byte) error
	// Logout forgets what Login made usable.
	Logout(ctx context.Context) error
}

// A PINSetter changes PINs.
type PINSetter interface {
	// InitPIN sets the user's PIN; the SO is logged in.
	InitPIN(ctx context.Context, pin []byte) error
	// SetPIN changes the PIN of user, who need not be logged in.
	SetPIN(ctx context.Context, user pkcs11.UserType, oldPIN, newPIN []byte) error
}

// An Initializer can be made a new, empty token.
type Initializer interface {
	// InitToken destroys all objects and sets label and SO PIN as one step. On a
	// token that is initialized, soPIN must be the one it has: CKR_PIN_INCORRECT.
	InitToken(ctx context.Context, soPIN []byte, label string) error
}

// A Prober finds out whether the device is there and well. It may take as long
// as ctx allows.
type Prober interface {
	Probe(ctx context.Context) error
}

// A Signer is a key that signs or makes MACs.
type Signer interface {
	Object
	// Sign signs data with the mechanism. The core has checked that the table
	// has it, that it suits the key type and that the key may sign, and has
	// hashed if the table lacks the hashing variant. What data is and what the
	// signature looks like is what the standard says for the mechanism: ECDSA
	// takes a digest and returns r‖s, each as long as the order.
	Sign(ctx context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error)
}

// A Verifier is a key that verifies, where the core cannot (a MAC), or where the
// token is to do it. An invalid signature is CKR_SIGNATURE_INVALID.
type Verifier interface {
	Object
	Verify(ctx context.Context, m *pkcs11.Mechanism, data, signature []byte) error
}

// An Encrypter is a key that encrypts.
type Encrypter interface {
	Object
	Encrypt(ctx context.Context, m *pkcs11.Mechanism, plaintext []byte) ([]byte, error)
}

// A Decrypter is a key that decrypts. Every failure that depends on the
// plaintext is one and the same error.
type Decrypter interface {
	Object
	Decrypt(ctx context.Context, m *pkcs11.Mechanism, ciphertext []byte) ([]byte, error)
}

// A Deriver is a key from which others are derived.
type Deriver interface {
	Object
	// Derive creates the object that the template describes, which is complete
	// as for KeyGenerator, with the derived value. The peer's point in
	// pkcs11.ECDH1DeriveParams is the bare one. The parameter of
	// CKM_HKDF_DERIVE is *HKDFParams.
	Derive(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template, replaces []Object) (Object, error)
}

// HKDFParams is pkcs11.HKDFParams with the object that SaltKey is the handle of.
type HKDFParams struct {
	pkcs11.HKDFParams
	SaltKey Object // nil unless SaltType is CKF_HKDF_SALT_KEY
}

// An Exporter is an object that can give its secret values to the core: the
// core asks for an object that is not CKA_SENSITIVE, to show them, or that is
// CKA_EXTRACTABLE, to wrap it. What may be shown of a private object once the
// user is logged in, the CKA_VALUE of a data object among it, is in Attributes.
type Exporter interface {
	Object
	// Export returns the values of those of the types that the object has. The
	// caller wipes them.
	Export(ctx context.Context, types ...pkcs11.AttributeType) (pkcs11.Template, error)
}

// An Attester is a token that can prove to others where a key is.
type Attester interface {
	// Attest returns evidence that the private key o is in this token and was
	// generated there, in a format of the backend's, for which the backend has a
	// verifier. nonce is what the other side has chosen so that the evidence is
	// fresh; 1 to 32 bytes are good for every token. A key for which that cannot
	// be said, such as an imported one, is CKR_KEY_FUNCTION_NOT_PERMITTED.
	Attest(ctx context.Context, o Object, nonce []byte) ([]byte, error)
}

// A ChallengeAnswerer is an Attester whose evidence is convincing only after it
// has answered a challenge of the verifier.
type ChallengeAnswerer interface {
	Attester
	// AnswerChallenge returns the answer to a challenge, both in a format of the
	// backend's. A challenge that is malformed or for another token is
	// CKR_DATA_INVALID.
	AnswerChallenge(ctx context.Context, challenge []byte) ([]byte, error)
}
