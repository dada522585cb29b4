package attest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A Challenge asks a device to show that an attestation key is in the TPM that
// has an endorsement key: it holds a secret that this TPM gives out only then.
// It is sent as JSON and is no secret itself.
type Challenge struct {
	// Version is 1.
	Version int `json:"version"`
	// EndorsementKey is the EK's public key (SubjectPublicKeyInfo, DER).
	EndorsementKey []byte `json:"endorsementKey"`
	// AttestationKeyName is the TPM's Name of the AK.
	AttestationKeyName []byte `json:"attestationKeyName"`
	// Credential is a TPMS_ID_OBJECT, Seed a TPM2B_ENCRYPTED_SECRET without its
	// length: what TPM2_ActivateCredential takes.
	Credential []byte `json:"credential"`
	Seed       []byte `json:"seed"`
}

// An Answer is what a device answers to a Challenge.
type Answer struct {
	// Version is 1.
	Version int `json:"version"`
	// Secret is what was in the challenge.
	Secret []byte `json:"secret"`
}

// ParseChallenge reads a challenge and checks its form.
func ParseChallenge(data []byte) (*Challenge, error) {
	c := new(Challenge)
	if err := decode(data, "challenge", c); err != nil {
		return nil, err
	}
	if err := version(c.Version); err != nil {
		return nil, err
	}
	if len(c.EndorsementKey) == 0 || len(c.AttestationKeyName) == 0 || len(c.Credential) == 0 || len(c.Seed) == 0 {
		return nil, errors.New("attest: challenge: a part of it is missing")
	}
	return c, nil
}

// Marshal returns the challenge as JSON, with a newline at its end.
func (c *Challenge) Marshal() ([]byte, error) { return encode(c) }

// ParseAnswer reads an answer and checks its form.
func ParseAnswer(data []byte) (*Answer, error) {
	a := new(Answer)
	if err := decode(data, "answer", a); err != nil {
		return nil, err
	}
	if err := version(a.Version); err != nil {
		return nil, err
	}
	if len(a.Secret) == 0 {
		return nil, errors.New("attest: answer: the secret is missing")
	}
	return a, nil
}

// Marshal returns the answer as JSON, with a newline at its end.
func (a *Answer) Marshal() ([]byte, error) { return encode(a) }

// secretSize is the length of the secret in a challenge, in bytes.
const secretSize = 32

// NewChallenge makes a challenge for the two keys in the evidence, with
// randomness from rand. The verifier keeps the secret of 32 bytes to itself until
// the answer is there, and uses it once.
func NewChallenge(rand io.Reader, e *Evidence) (c *Challenge, secret []byte, err error) {
	if err := e.form(); err != nil {
		return nil, nil, err
	}
	ak, err := parsePublic(e.AttestationKey)
	if err != nil {
		return nil, nil, fmt.Errorf("attest: attestation key: %w", err)
	}
	name, err := ak.name()
	if err != nil {
		return nil, nil, fmt.Errorf("attest: attestation key: %w", err)
	}
	secret = make([]byte, secretSize)
	if _, err := io.ReadFull(rand, secret); err != nil {
		return nil, nil, fmt.Errorf("attest: random numbers: %w", err)
	}
	c = &Challenge{Version: Version, EndorsementKey: e.EndorsementKey, AttestationKeyName: name}
	seed, err := c.makeSeed(rand, e)
	if err != nil {
		return nil, nil, fmt.Errorf("attest: endorsement key: %w", err)
	}
	c.Credential = protect(seed, name, secret)
	return c, secret, nil
}

// makeSeed makes a seed that only the EK can decrypt. Part 1, B.10.4, C.6.4. The
// hash algorithm of the standard EK templates is SHA-256.
func (c *Challenge) makeSeed(rand io.Reader, e *Evidence) ([]byte, error) {
	const label = "IDENTITY"
	key, err := e.endorsementKey()
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		seed := make([]byte, sha256.Size)
		if _, err := io.ReadFull(rand, seed); err != nil {
			return nil, err
		}
		c.Seed, err = rsa.EncryptOAEP(sha256.New(), rand, key, seed, []byte(label+"\x00"))
		return seed, err
	case *ecdsa.PublicKey:
		public, err := key.ECDH()
		if err != nil {
			return nil, err
		}
		own, err := ecdh.P256().GenerateKey(rand)
		if err != nil {
			return nil, err
		}
		z, err := own.ECDH(public)
		if err != nil {
			return nil, err
		}
		point, peer := own.PublicKey().Bytes()[1:], public.Bytes()[1:]
		n := len(point) / 2
		c.Seed = append(sized(point[:n]), sized(point[n:])...)
		return kdfE(z, label, point[:n], peer[:n]), nil
	}
	panic("unreachable")
}

// protect makes a TPMS_ID_OBJECT. Part 1, 24.4.
func protect(seed, name, secret []byte) []byte {
	block, err := aes.NewCipher(kdfA(seed, "STORAGE", name, 128))
	if err != nil {
		panic(err) // the length is fixed and allowed
	}
	identity := sized(secret)
	//lint:ignore SA1019 The TPM knows no other mode, and a MAC follows.
	cipher.NewCFBEncrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(identity, identity)
	h := hmac.New(sha256.New, kdfA(seed, "INTEGRITY", nil, 256))
	h.Write(identity)
	h.Write(name)
	return append(sized(h.Sum(nil)), identity...)
}

// kdfA is KDFa with SHA-256. Part 1, 11.4.10.2.
func kdfA(key []byte, label string, contextU []byte, bits uint32) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte{0, 0, 0, 1})
	h.Write(append([]byte(label), 0))
	h.Write(contextU)
	h.Write(binary.BigEndian.AppendUint32(nil, bits))
	return h.Sum(nil)[:bits/8]
}

// kdfE is KDFe with SHA-256, for 256 bits. Part 1, 11.4.10.3.
func kdfE(z []byte, label string, partyU, partyV []byte) []byte {
	h := sha256.New()
	h.Write([]byte{0, 0, 0, 1})
	h.Write(z)
	h.Write(append([]byte(label), 0))
	h.Write(partyU)
	h.Write(partyV)
	return h.Sum(nil)
}

// sized returns a TPM2B.
func sized(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// check finds out whether the answer shows that the two keys of the evidence are
// in one TPM.
func (c *Challenge) check(e *Evidence, secret []byte, answer *Answer) error {
	ak, err := parsePublic(e.AttestationKey)
	if err != nil {
		return err
	}
	name, err := ak.name()
	if err != nil {
		return err
	}
	switch {
	case !equal(c.AttestationKeyName, name):
		return errors.New("the challenge was for another attestation key")
	case !equal(c.EndorsementKey, e.EndorsementKey):
		return errors.New("the challenge was for another endorsement key")
	case answer == nil || len(answer.Secret) == 0:
		return errors.New("there is no answer to the challenge")
	case len(secret) != secretSize:
		return fmt.Errorf("the secret of the challenge has %d bytes, not %d: it is not what was made with the challenge", len(secret), secretSize)
	case subtle.ConstantTimeCompare(secret, answer.Secret) != 1:
		return errors.New("the answer to the challenge is wrong: it is not in the TPM with the endorsement key")
	}
	return nil
}
