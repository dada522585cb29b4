// Package conformance is the suite that a token has to pass: the qualification
// tests of FreeRTOS (FIT, AFQP, the model-based paths, the integration tests of
// corePKCS11), the defects of the reference implementation turned into cases,
// what real clients need, and what the standard says where those are silent.
//
// A backend runs it from a test of its own:
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, conformance.Target{
//			Open:    func(ctx context.Context) (driver.Token, error) { return acme.New(ctx, bus, nil) },
//			Profile: conformance.Profile{EC: true, Generate: true},
//		})
//	}
//
// and a command runs it against any module with [Check].
//
// # What is skipped
//
// A case is skipped only for what is not declared: a row that the mechanism
// table lacks, a switch of the [Profile] that is off, or an ability that the
// driver does not implement. The reason names it. A case that checks nothing
// fails. [Report.Outcomes] is a list, one line a case, that a backend commits
// ([Target.Outcomes]), so that a new skip shows in review.
//
// # What it does to a token
//
// A token that is not initialized is initialized, and is the suite's from then
// on. On one that is, the suite makes objects under labels of its own, removes
// them at the end, and touches nothing else; cases that would are skipped
// unless [Target.Destructive] is set.
package conformance

import (
	"context"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/driver"
)

// A Target is what is tested, and how much of it. Exactly one of Open and
// OpenModule is set.
type Target struct {
	// Name is what reports call the target; "" is the label of its token.
	Name string

	// Open opens the token. It is called several times, each time after the
	// token before was closed, and opens the same medium: what was stored is
	// still there.
	Open func(ctx context.Context) (driver.Token, error)
	// Options are for the module that the suite makes of the token.
	Options *cryptoki.ModuleOptions

	// OpenModule opens a module instead, under the same terms.
	OpenModule func(ctx context.Context) (cryptoki.Module, error)

	// Profile says what the token is meant to do. The zero Profile stands for
	// what its mechanism table says, and for Import what creating a private
	// key says.
	Profile Profile

	// Slot is the index, not the ID, of the slot in the list of those with a
	// token: PKCS11_TEST_SLOT_NUMBER.
	Slot int
	// SOPIN and UserPIN are the PINs; "0000" by default, as FreeRTOS has it.
	SOPIN, UserPIN []byte
	// NoSO says that the token has a user PIN and nobody who is an SO: a chip.
	NoSO bool
	// TokenLabel is the label that InitToken gives; "FreeRTOS" by default.
	TokenLabel string
	// Labels are where the qualification tests put their credentials. By
	// default they are the well-known labels of package cryptoki if the token is
	// the suite's to use, and test labels otherwise.
	Labels *Labels

	// Loads are the numbers of threads and loops of each multi-thread case; by
	// default 2×10 and 4×50, the values FreeRTOS boards use.
	Loads []Load
	// Deadline is how long one case may take; 60 s by default.
	Deadline time.Duration
	// Sequential makes the cases run one at a time, for a chip with few slots.
	Sequential bool
	// Destructive allows everything, on a token that holds objects too: it is
	// initialized anew.
	Destructive bool

	// Outcomes is the file, relative to the test, that Run compares
	// Report.Outcomes with; "" for none. The test flag -conformance.update
	// writes it.
	Outcomes string
}

// A Profile is what a token is meant to do: the switches of the qualification
// tests. Each comment begins with the switch of FreeRTOS that it is.
type Profile struct {
	RSA            bool `json:"rsa"`            // PKCS11_TEST_RSA_KEY_SUPPORT: RSA-2048 keys
	EC             bool `json:"ec"`             // PKCS11_TEST_EC_KEY_SUPPORT: keys on P-256
	Import         bool `json:"import"`         // PKCS11_TEST_IMPORT_PRIVATE_KEY_SUPPORT: CreateObject takes private keys
	Generate       bool `json:"generate"`       // PKCS11_TEST_GENERATE_KEYPAIR_SUPPORT: GenerateKeyPair, for EC
	Preprovisioned bool `json:"preprovisioned"` // PKCS11_TEST_PREPROVISIONED_SUPPORT: credentials are there and stay
	JITP           bool `json:"jitp"`           // PKCS11_TEST_JITP_CODEVERIFY_ROOT_CERT_SUPPORTED: places for root, JITP and code-verification
}

// Labels are where the qualification tests put their credentials.
type Labels struct {
	PrivateKey, PublicKey, Cert, RootCert, CodeVerifyKey, JITPCert string
}

var placeLabels = Labels{
	PrivateKey: cryptoki.DevicePrivateKey, PublicKey: cryptoki.DevicePublicKey, Cert: cryptoki.DeviceCert,
	RootCert: cryptoki.RootCert, CodeVerifyKey: cryptoki.CodeVerifyKey, JITPCert: cryptoki.JITPCert,
}

var testLabels = Labels{
	PrivateKey: "Test Priv Key", PublicKey: "Test Pub TLS Key", Cert: "Test Cert",
	RootCert: "Test Root Cert", CodeVerifyKey: "Test Code Verify Key", JITPCert: "Test JITP Cert",
}

// A Load is how hard a multi-thread case works.
type Load struct {
	Threads int
	Loops   int // of each thread
}

func (t Target) withDefaults() Target {
	if t.SOPIN == nil {
		t.SOPIN = []byte("0000")
	}
	if t.UserPIN == nil {
		t.UserPIN = []byte("0000")
	}
	if t.TokenLabel == "" {
		t.TokenLabel = "FreeRTOS"
	}
	if len(t.Loads) == 0 {
		t.Loads = []Load{{2, 10}, {4, 50}}
	}
	if t.Deadline == 0 {
		t.Deadline = time.Minute
	}
	return t
}
