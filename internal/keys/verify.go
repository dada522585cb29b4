package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Verify checks a signature. The mechanisms are those that do not hash
// (see [Split] for the others):
//
//   - CKM_ECDSA: data is a digest of any length but 0, of which the leftmost
//     bits count; the signature is r‖s, each as long as the order.
//   - CKM_RSA_PKCS: data is a DigestInfo or whatever else was signed.
//   - CKM_RSA_X_509: data is a block without padding.
//   - CKM_RSA_PKCS_PSS: data is the digest that the parameters name.
//   - CKM_EDDSA: data is the message, also for Ed25519ph.
//
// A signature of another length than the key makes is CKR_SIGNATURE_LEN_RANGE,
// a wrong one CKR_SIGNATURE_INVALID, data of a length that the mechanism does not
// take CKR_DATA_LEN_RANGE, a key of another type CKR_KEY_TYPE_INCONSISTENT,
// parameters that the mechanism does not take CKR_MECHANISM_PARAM_INVALID and
// any other mechanism CKR_MECHANISM_INVALID.
func Verify(pub crypto.PublicKey, m *pkcs11.Mechanism, data, sig []byte) error {
	switch m.Type {
	case pkcs11.CKM_ECDSA:
		if k, ok := pub.(*ecdsa.PublicKey); ok {
			if err := noParams(m); err != nil {
				return err
			}
			return verifyECDSA(k, data, sig)
		}
	case pkcs11.CKM_EDDSA:
		if k, ok := pub.(ed25519.PublicKey); ok && len(k) == ed25519.PublicKeySize {
			return verifyEdDSA(k, m, data, sig)
		}
	case pkcs11.CKM_RSA_PKCS, pkcs11.CKM_RSA_X_509, pkcs11.CKM_RSA_PKCS_PSS:
		k, ok := pub.(*rsa.PublicKey)
		if !ok {
			break
		}
		if m.Type == pkcs11.CKM_RSA_PKCS_PSS {
			return verifyRSAPSS(k, m, data, sig)
		}
		if err := noParams(m); err != nil {
			return err
		}
		if m.Type == pkcs11.CKM_RSA_PKCS {
			return verifyRSAPKCS(k, data, sig)
		}
		return verifyRSAX509(k, data, sig)
	default:
		return fmt.Errorf("%v: %w", m.Type, pkcs11.CKR_MECHANISM_INVALID)
	}
	return fmt.Errorf("%v with a key of type %v: %w", m.Type, KeyType(pub), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
}

func verifyECDSA(pub *ecdsa.PublicKey, digest, sig []byte) error {
	if len(digest) == 0 {
		return fmt.Errorf("no data: %w", pkcs11.CKR_DATA_LEN_RANGE)
	}
	if n := (pub.Curve.Params().BitSize + 7) / 8; len(sig) != 2*n {
		return sigLen(len(sig), 2*n)
	}
	der, err := AppendDER(make([]byte, 0, maxDER), sig)
	if err != nil {
		return err
	}
	if !ecdsa.VerifyASN1(pub, digest, der) {
		return errSignature
	}
	return nil
}

func verifyEdDSA(pub ed25519.PublicKey, m *pkcs11.Mechanism, data, sig []byte) error {
	opts, err := EdDSA(m)
	if err != nil {
		return err
	}
	if len(sig) != ed25519.SignatureSize {
		return sigLen(len(sig), ed25519.SignatureSize)
	}
	if opts.Hash == 0 && opts.Context == "" {
		if !ed25519.Verify(pub, data, sig) {
			return errSignature
		}
		return nil
	}
	if opts.Hash == crypto.SHA512 {
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	if ed25519.VerifyWithOptions(pub, data, sig, opts) != nil {
		return errSignature
	}
	return nil
}

// EdDSA returns the parameters of CKM_EDDSA as crypto/ed25519 has them. If Hash
// is not zero, crypto/ed25519 wants the SHA-512 digest of what the mechanism is
// given. Parameters without a flag and with an empty context are Ed25519.
// The error wraps CKR_MECHANISM_PARAM_INVALID.
func EdDSA(m *pkcs11.Mechanism) (*ed25519.Options, error) {
	p, ok := m.Params.(*pkcs11.EDDSAParams)
	if !ok {
		return &ed25519.Options{}, noParams(m)
	}
	if p == nil {
		return &ed25519.Options{}, nil
	}
	if len(p.Context) > 255 {
		return nil, fmt.Errorf("%v: context of %d bytes, at most 255: %w", m.Type, len(p.Context), pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	opts := &ed25519.Options{Context: string(p.Context)}
	if p.Prehash {
		opts.Hash = crypto.SHA512
	}
	return opts, nil
}

// Encrypt encrypts with an RSA public key: CKM_RSA_PKCS, CKM_RSA_PKCS_OAEP and
// CKM_RSA_X_509. The errors are those of Verify, and CKR_DATA_INVALID for a
// block that is not below the modulus.
func Encrypt(pub crypto.PublicKey, m *pkcs11.Mechanism, plaintext []byte) ([]byte, error) {
	switch m.Type {
	case pkcs11.CKM_RSA_PKCS, pkcs11.CKM_RSA_X_509, pkcs11.CKM_RSA_PKCS_OAEP:
	default:
		return nil, fmt.Errorf("%v: %w", m.Type, pkcs11.CKR_MECHANISM_INVALID)
	}
	k, ok := pub.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%v with a key of type %v: %w", m.Type, KeyType(pub), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}
	if m.Type == pkcs11.CKM_RSA_PKCS_OAEP {
		return encryptOAEP(k, m, plaintext)
	}
	if err := noParams(m); err != nil {
		return nil, err
	}
	if m.Type == pkcs11.CKM_RSA_X_509 {
		block, err := rsaBlock(k, plaintext)
		if err != nil {
			return nil, err
		}
		defer clear(block)
		out, _ := rawRSA(k, block)
		return out, nil
	}
	if most := k.Size() - 11; len(plaintext) > most {
		return nil, fmt.Errorf("%d bytes of data, this key takes at most %d: %w", len(plaintext), most, pkcs11.CKR_DATA_LEN_RANGE)
	}
	out, err := rsa.EncryptPKCS1v15(rand.Reader, k, plaintext) //nolint:staticcheck // the mechanism is what the caller asks for
	return out, refused(err)
}

var errSignature = fmt.Errorf("the signature does not match: %w", pkcs11.CKR_SIGNATURE_INVALID)

// verdict turns what crypto/rsa says of a signature into a code. It refuses to
// look at keys and hash functions that FIPS 140 mode does not allow.
func verdict(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, rsa.ErrVerification) {
		return errSignature
	}
	return refused(err)
}

func refused(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", pkcs11.CKR_FUNCTION_REJECTED, err)
}

func sigLen(have, want int) error {
	return fmt.Errorf("signature of %d bytes, this key makes %d: %w", have, want, pkcs11.CKR_SIGNATURE_LEN_RANGE)
}

// noParams checks that a mechanism that takes no parameter has none.
func noParams(m *pkcs11.Mechanism) error {
	switch p := m.Params.(type) {
	case nil:
		return nil
	case []byte:
		if len(p) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%v takes no parameter of type %T: %w", m.Type, m.Params, pkcs11.CKR_MECHANISM_PARAM_INVALID)
}
