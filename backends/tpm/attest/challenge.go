package attest

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
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
	ek, err := e.endorsementKey()
	if err != nil {
		return nil, nil, fmt.Errorf("attest: endorsement key: %w", err)
	}
	seed, err := c.makeSeed(rand, ek)
	if err != nil {
		return nil, nil, fmt.Errorf("attest: endorsement key: %w", err)
	}
	c.Credential = suiteOf(ek).protect(seed, name, secret)
	return c, secret, nil
}

// A suite is what a TPM does with an endorsement key: the algorithm of its Name is
// also that of key derivation and HMAC, and it encrypts with AES.
type suite struct {
	hash    func() hash.Hash
	aesBits uint32
}

// suiteOf is that of the standard templates for such a key. EK Credential Profile,
// B.3 and B.4.
func suiteOf(ek crypto.PublicKey) suite {
	if k, ok := ek.(*ecdsa.PublicKey); ok && k.Curve == elliptic.P384() {
		return suite{sha512.New384, 256} // H-3
	}
	return suite{sha256.New, 128} // L-1, L-2, H-1, H-2
}

// makeSeed makes a seed that only the EK can decrypt. Part 1, B.10.4, C.6.4.
func (c *Challenge) makeSeed(rand io.Reader, ek crypto.PublicKey) ([]byte, error) {
	const label = "IDENTITY"
	switch ek := ek.(type) {
	case *rsa.PublicKey:
		h := suiteOf(ek).hash()
		seed := make([]byte, h.Size())
		if _, err := io.ReadFull(rand, seed); err != nil {
			return nil, err
		}
		var err error
		c.Seed, err = rsa.EncryptOAEP(h, rand, ek, seed, []byte(label+"\x00"))
		return seed, err
	case *ecdsa.PublicKey:
		public, err := ek.ECDH()
		if err != nil {
			return nil, err
		}
		own, err := public.Curve().GenerateKey(rand)
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
		return suiteOf(ek).kdfE(z, label, point[:n], peer[:n]), nil
	}
	panic("unreachable")
}

// protect makes a TPMS_ID_OBJECT. Part 1, 24.4.
func (s suite) protect(seed, name, secret []byte) []byte {
	block, err := aes.NewCipher(s.kdfA(seed, "STORAGE", name, s.aesBits))
	if err != nil {
		panic(err) // the length is fixed and allowed
	}
	identity := sized(secret)
	//lint:ignore SA1019 The TPM knows no other mode, and a MAC follows.
	cipher.NewCFBEncrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(identity, identity)
	h := hmac.New(s.hash, s.kdfA(seed, "INTEGRITY", nil, uint32(8*s.hash().Size())))
	h.Write(identity)
	h.Write(name)
	return append(sized(h.Sum(nil)), identity...)
}

// kdfA is KDFa, for as many bits as the hash has at most. Part 1, 11.4.10.2.
func (s suite) kdfA(key []byte, label string, contextU []byte, bits uint32) []byte {
	h := hmac.New(s.hash, key)
	h.Write([]byte{0, 0, 0, 1})
	h.Write(append([]byte(label), 0))
	h.Write(contextU)
	h.Write(binary.BigEndian.AppendUint32(nil, bits))
	return h.Sum(nil)[:bits/8]
}

// kdfE is KDFe, for as many bits as the hash has. Part 1, 11.4.10.3.
func (s suite) kdfE(z []byte, label string, partyU, partyV []byte) []byte {
	h := s.hash()
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
