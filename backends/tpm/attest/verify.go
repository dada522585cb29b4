package attest

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// A Policy is what a verifier asks of evidence.
type Policy struct {
	// Nonce is what the verifier has sent for this evidence, and for no other.
	Nonce []byte

	// Roots are the authorities of the TPM makers that are trusted, Intermediates
	// certificates that may help to get there; those in the evidence are used too.
	Roots, Intermediates *x509.CertPool
	// EndorsementKeys are EKs that are trusted without a certificate, for TPMs
	// that have none: SHA-256 hashes of their SubjectPublicKeyInfo in DER, as
	// recorded when the device was made.
	EndorsementKeys [][]byte

	// Known are the Names ([Result.AttestationKeyName]) of attestation keys that
	// are known, from an earlier challenge, to be in the TPM with the EK: the
	// verifier keeps them beside [Result.EndorsementKey]. Challenge, Secret and
	// Answer are how one is known the first time.
	Known [][]byte
	// Challenge is what [NewChallenge] has made for this evidence, Secret what it
	// has returned with it, and Answer what the device has answered.
	Challenge *Challenge
	Secret    []byte
	Answer    *Answer

	// PublicKey is the key that has to be in the evidence, such as that of a
	// certificate request. Nil leaves it to the caller to look at
	// [Result.PublicKey].
	PublicKey crypto.PublicKey
	// PCRs are values that registers have to have. Registers that are not named
	// may have any.
	PCRs map[int][]byte

	// Time is when the certificates have to be valid, now if it is zero.
	Time time.Time
}

// A Result is what was proven.
type Result struct {
	// PublicKey is the key, *ecdsa.PublicKey or *rsa.PublicKey. Its private part
	// was generated in the TPM that has the EK, and cannot leave it.
	PublicKey crypto.PublicKey
	// KeyName is the TPM's Name of the key.
	KeyName []byte
	// AttestationKeyName is the Name of the AK, to be known by the next time.
	AttestationKeyName []byte
	// EndorsementKey is the SHA-256 hash of the EK's SubjectPublicKeyInfo: it
	// identifies the TPM.
	EndorsementKey [sha256.Size]byte
	// EndorsementCertificate is the EK's, nil if there is none.
	EndorsementCertificate *x509.Certificate
	// PCRs are the values of the platform's registers.
	PCRs map[int][]byte
}

// Verify checks all that the evidence says. An error wraps [ErrInvalid] and says
// what does not hold; without an error everything that the Result says does.
func Verify(e *Evidence, p *Policy) (*Result, error) {
	if err := e.form(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	r := new(Result)
	for _, step := range []struct {
		name  string
		check func(*Evidence, *Policy, *Result) error
	}{
		{"endorsement key", checkEndorsement},
		{"attestation key", checkAttestationKey},
		{"key", checkKey},
		{"creation", checkCreation},
		{"quote", checkQuote},
	} {
		if err := step.check(e, p, r); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, step.name, err)
		}
	}
	return r, nil
}

// checkAttestationKey finds out whether the AK signs only what the TPM says, and
// is in the TPM with the EK.
func checkAttestationKey(e *Evidence, p *Policy, r *Result) error {
	ak, err := parsePublic(e.AttestationKey)
	if err != nil {
		return err
	}
	const want = fixedTPM | fixedParent | sensitiveDataOrigin | restricted | sign
	if !ak.has(want) || ak.has(decrypt) {
		return errors.New("its attributes allow to sign what the TPM did not say")
	}
	if r.AttestationKeyName, err = ak.name(); err != nil {
		return err
	}
	for _, name := range p.Known {
		if equal(name, r.AttestationKeyName) {
			return nil
		}
	}
	if p.Challenge == nil {
		return errors.New("it is not known to be in the TPM with the endorsement key; challenge the device for it once")
	}
	return p.Challenge.check(e, p.Secret, p.Answer)
}

// checkKey finds out whether the key is bound to its TPM.
func checkKey(e *Evidence, p *Policy, r *Result) error {
	key, err := parsePublic(e.Key)
	if err != nil {
		return err
	}
	switch {
	case !key.has(sensitiveDataOrigin):
		return errors.New("it was not generated in a TPM, but imported")
	case !key.has(fixedTPM | fixedParent):
		return errors.New("its attributes allow it to leave the TPM")
	}
	if r.KeyName, err = key.name(); err != nil {
		return err
	}
	r.PublicKey = key.key
	if p.PublicKey != nil && !key.key.(interface{ Equal(crypto.PublicKey) bool }).Equal(p.PublicKey) {
		return errors.New("it is another one than the one asked about")
	}
	return nil
}

// statement checks what all statements have in common.
func statement(s Statement, typ int, e *Evidence, p *Policy) (*attested, error) {
	ak, err := parsePublic(e.AttestationKey)
	if err != nil {
		return nil, err
	}
	if err := checkSignature(ak.key, s.Info, s.Signature); err != nil {
		return nil, err
	}
	a, err := parseAttested(s.Info, typ)
	if err != nil {
		return nil, err
	}
	if len(p.Nonce) == 0 {
		return nil, errors.New("the verifier has given no nonce")
	}
	if subtle.ConstantTimeCompare(a.extraData, p.Nonce) != 1 {
		return nil, errors.New("the nonce is another one: the evidence is old, or for somebody else")
	}
	return a, nil
}

// checkCreation finds out whether the TPM has created the key.
func checkCreation(e *Evidence, p *Policy, r *Result) error {
	a, err := statement(e.Creation, attestCreation, e, p)
	if err != nil {
		return err
	}
	c, err := a.creation()
	if err != nil {
		return err
	}
	if !equal(c.name, r.KeyName) {
		return errors.New("it is about another key")
	}
	key, _ := parsePublic(e.Key)
	digest, err := sum(key.nameAlg, e.CreationData)
	if err != nil {
		return err
	}
	if !equal(c.hash, digest) {
		return errors.New("the creation data are others than the TPM has made")
	}
	data, err := parseCreationData(e.CreationData)
	if err != nil {
		return fmt.Errorf("creation data: %w", err)
	}
	return checkSigner(a, e, data)
}

// checkSigner finds out whether the AK is a sister of the key: its qualified Name
// is made of that of the parent, which the creation data have, and its own. Part
// 1, 27.5.
func checkSigner(a *attested, e *Evidence, data creationData) error {
	ak, err := parsePublic(e.AttestationKey)
	if err != nil {
		return err
	}
	name, err := ak.name()
	if err != nil {
		return err
	}
	digest, err := sum(ak.nameAlg, data.qualifiedParent, name)
	if err != nil {
		return err
	}
	if !equal(a.signer, nameOf(ak.nameAlg, digest)) {
		return errors.New("the attestation key has another parent than the key")
	}
	return nil
}

// checkQuote finds out what is in the platform's registers.
func checkQuote(e *Evidence, p *Policy, r *Result) error {
	a, err := statement(e.Quote, attestQuote, e, p)
	if err != nil {
		return err
	}
	data, err := parseCreationData(e.CreationData)
	if err != nil {
		return err
	}
	if err := checkSigner(a, e, data); err != nil {
		return err
	}
	q, err := a.quote()
	if err != nil {
		return err
	}
	r.PCRs = make(map[int][]byte)
	var values []byte
	var indices []int
	for _, pcr := range e.PCRs {
		indices = append(indices, pcr.Index)
		values = append(values, pcr.Value...)
		r.PCRs[pcr.Index] = pcr.Value
	}
	if fmt.Sprint(indices) != fmt.Sprint(q.indices) {
		return errors.New("it is about other registers than the evidence has")
	}
	// The digest is made with the hash of the AK's scheme, SHA-256 for ours.
	s := reader{b: e.Quote.Signature}
	s.u16()
	digest, err := sum(s.u16(), values)
	if err != nil {
		return err
	}
	if !equal(q.digest, digest) {
		return errors.New("the registers have other values than the evidence says")
	}
	for index, want := range p.PCRs {
		if !bytes.Equal(r.PCRs[index], want) {
			return fmt.Errorf("register %d has not the value that it should have", index)
		}
	}
	return nil
}
