// Package attest checks what a TPM says about its keys: that a private key was
// generated in this very TPM and cannot leave it. It is for the other side, the
// certification authority or the fleet's service that decides whether a device
// gets a certificate, and needs neither a TPM nor anything but the standard
// library.
//
// # How it goes
//
// The verifier sends the device a nonce, and the device answers with [Evidence]
// (Token.Attest of package cryptoki, or "cryptoki attest"). In it are
//
//   - the certificate of the endorsement key (EK), which the maker of the TPM
//     signed;
//   - an attestation key (AK), with which the TPM signs only what it says itself;
//   - a statement, signed with the AK over the nonce, that the TPM has created the
//     key that it is about, and how (TPM2_CertifyCreation);
//   - a statement, likewise, of the platform's registers (TPM2_Quote).
//
// What the evidence alone cannot show is that the AK is in the same TPM as the
// EK, as an EK does not sign. Who has an AK's public part asks for that once
// with a challenge: a secret that the TPM with that EK gives out only if it has
// that AK too (TPM2_ActivateCredential). So the first time there are two round
// trips, and from then on one, with the AK that is known ([Policy.Known]):
//
//	e, err := attest.Parse(data)
//	challenge, secret, err := attest.NewChallenge(rand.Reader, e)
//	// … the device answers: Token.AnswerChallenge, "cryptoki attest --challenge"
//	result, err := attest.Verify(e, &attest.Policy{
//		Nonce: nonce, Roots: makers, Challenge: challenge, Secret: secret, Answer: answer,
//	})
//
// result.PublicKey then is the key to certify.
//
// The package trusts nothing in the evidence, and none of its errors says
// anything but what is wrong with it.
package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Version is the version of the formats of [Evidence], [Challenge] and [Answer].
const Version = 1

// maxInput is the longest evidence, challenge or answer that is read.
const maxInput = 256 << 10

// ErrInvalid is what every error about evidence that does not convince wraps.
var ErrInvalid = errors.New("attest: not proven")

// Evidence is what a TPM says about a key. It is kept and sent as JSON, in which
// byte strings are base64. The structures are as the TPM has made them, without
// the length in front that a TPM2B has.
type Evidence struct {
	// Version is 1.
	Version int `json:"version"`
	// EndorsementChain is the certificate of the EK, in DER, and those of the
	// authorities above it as far as the TPM has them. It is empty if the TPM has
	// no certificate.
	EndorsementChain [][]byte `json:"endorsementChain,omitempty"`
	// EndorsementKey is the EK's public key (SubjectPublicKeyInfo, DER). It is the
	// key of the certificate, if there is one. Its other parameters are those of
	// the standard template for its type. TCG EK Credential Profile, B.3.3, B.3.4.
	EndorsementKey []byte `json:"endorsementKey"`
	// AttestationKey is the AK, a TPMT_PUBLIC.
	AttestationKey []byte `json:"attestationKey"`
	// Key is the key that all this is about, a TPMT_PUBLIC.
	Key []byte `json:"key"`
	// CreationData is the TPMS_CREATION_DATA that the TPM has made with it.
	CreationData []byte `json:"creationData"`
	// Creation says that the TPM has created Key.
	Creation Statement `json:"creation"`
	// Quote says what is in the platform's registers, PCRs their values.
	Quote Statement `json:"quote"`
	// PCRs are the registers of the SHA-256 bank that Quote is about.
	PCRs []PCR `json:"pcrs"`
}

// A Statement is a TPMS_ATTEST and the AK's signature of it, a TPMT_SIGNATURE.
type Statement struct {
	Info      []byte `json:"info"`
	Signature []byte `json:"signature"`
}

// A PCR is a platform configuration register.
type PCR struct {
	Index int    `json:"index"` // 0 to 23
	Value []byte `json:"value"` // 32 bytes
}

// Parse reads evidence. It checks the form only: [Verify] does the rest.
func Parse(data []byte) (*Evidence, error) {
	e := new(Evidence)
	if err := decode(data, "evidence", e); err != nil {
		return nil, err
	}
	if err := e.form(); err != nil {
		return nil, err
	}
	return e, nil
}

// Marshal returns the evidence as JSON, with a newline at its end.
func (e *Evidence) Marshal() ([]byte, error) {
	if err := e.form(); err != nil {
		return nil, err
	}
	return encode(e)
}

func (e *Evidence) form() error {
	if err := version(e.Version); err != nil {
		return err
	}
	for name, b := range map[string][]byte{
		"endorsementKey": e.EndorsementKey, "attestationKey": e.AttestationKey,
		"key": e.Key, "creationData": e.CreationData,
		"creation.info": e.Creation.Info, "creation.signature": e.Creation.Signature,
		"quote.info": e.Quote.Info, "quote.signature": e.Quote.Signature,
	} {
		if len(b) == 0 {
			return fmt.Errorf("attest: evidence: %s is missing", name)
		}
	}
	last := -1
	for _, p := range e.PCRs {
		if p.Index <= last || p.Index > 23 || len(p.Value) != 32 {
			return fmt.Errorf("attest: evidence: pcrs: register %d is out of order or has not 32 bytes", p.Index)
		}
		last = p.Index
	}
	return nil
}

func version(v int) error {
	if v != Version {
		return fmt.Errorf("attest: version %d; this program knows version %d", v, Version)
	}
	return nil
}

func decode(data []byte, what string, v any) error {
	if len(data) > maxInput {
		return fmt.Errorf("attest: %s of %d bytes; there are at most %d", what, len(data), maxInput)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("attest: %s: %w", what, err)
	}
	if d.More() {
		return fmt.Errorf("attest: %s: something follows it", what)
	}
	return nil
}

func encode(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return append(b, '\n'), err
}
