package soft

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The kinds of private keys, by what they can do.
type (
	ecKey         struct{ keyObject } // P-256, P-384, P-521
	edKey         struct{ keyObject } // Ed25519
	montgomeryKey struct{ keyObject } // X25519
	rsaKey        struct{ keyObject }
)

var (
	_ driver.Signer    = ecKey{}
	_ driver.Deriver   = ecKey{}
	_ driver.Signer    = edKey{}
	_ driver.Deriver   = montgomeryKey{}
	_ driver.Signer    = rsaKey{}
	_ driver.Decrypter = rsaKey{}
	_ driver.Exporter  = ecKey{}
)

// Sign makes a hedged ECDSA signature, r‖s, of a digest of any length but 0.
func (k ecKey) Sign(ctx context.Context, m *pkcs11.Mechanism, digest []byte) ([]byte, error) {
	if m.Type != pkcs11.CKM_ECDSA {
		return nil, wrongMechanism(m)
	}
	if len(digest) == 0 {
		return nil, fmt.Errorf("soft: %v of no data: %w", m.Type, pkcs11.CKR_DATA_LEN_RANGE)
	}
	p, err := k.use()
	if err != nil {
		return nil, err
	}
	defer p.release()
	der, err := ecdsa.SignASN1(rand.Reader, p.ec, digest)
	if err != nil {
		return nil, failed(m, err)
	}
	raw := make([]byte, 2*((p.ec.Curve.Params().BitSize+7)/8))
	if err := keys.RawSignature(raw, der); err != nil {
		return nil, failed(m, err)
	}
	return raw, nil
}

// Sign makes an Ed25519 signature of a message.
func (k edKey) Sign(ctx context.Context, m *pkcs11.Mechanism, message []byte) ([]byte, error) {
	if m.Type != pkcs11.CKM_EDDSA {
		return nil, wrongMechanism(m)
	}
	var opts *ed25519.Options
	if m.Params != nil {
		var err error
		if opts, err = keys.EdDSA(m); err != nil {
			return nil, err
		}
	}
	p, err := k.use()
	if err != nil {
		return nil, err
	}
	defer p.release()
	if opts == nil {
		return ed25519.Sign(p.ed, message), nil
	}
	if opts.Hash == crypto.SHA512 {
		sum := sha512.Sum512(message)
		message = sum[:]
	}
	sig, err := p.ed.Sign(nil, message, opts)
	if err != nil {
		return nil, failed(m, err)
	}
	return sig, nil
}

// Sign makes an RSA signature: CKM_RSA_PKCS of a DigestInfo or of anything that
// fits, CKM_RSA_PKCS_PSS of a digest, CKM_RSA_X_509 of a block.
func (k rsaKey) Sign(ctx context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	p, err := k.use()
	if err != nil {
		return nil, err
	}
	defer p.release()
	switch m.Type {
	case pkcs11.CKM_RSA_PKCS:
		return signPKCS1(p.rsa, m, data)
	case pkcs11.CKM_RSA_PKCS_PSS:
		return signPSS(p.rsa, m, data)
	case pkcs11.CKM_RSA_X_509:
		return rawRSA(p.rsa, m, data)
	}
	return nil, wrongMechanism(m)
}

func signPKCS1(key *rsa.PrivateKey, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	if most := key.Size() - 11; len(data) > most {
		return nil, fmt.Errorf("soft: %v of %d bytes; this key signs at most %d: %w", m.Type, len(data), most, pkcs11.CKR_DATA_LEN_RANGE)
	}
	// A DigestInfo that is known is signed as what it is: that is the approved
	// service of the FIPS 140 module, signing bytes as they are is not.
	hash, digest, ok := keys.ParseDigestInfo(data)
	if !ok {
		hash, digest = 0, data
	}
	sig, err := rsa.SignPKCS1v15(nil, key, hash, digest)
	if err != nil {
		return nil, failed(m, err)
	}
	return sig, nil
}

func signPSS(key *rsa.PrivateKey, m *pkcs11.Mechanism, digest []byte) ([]byte, error) {
	hash, mgf, salt, err := keys.PSS(m, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	if len(digest) != hash.Size() {
		return nil, fmt.Errorf("soft: %v of %d bytes; a %v digest has %d: %w", m.Type, len(digest), hash, hash.Size(), pkcs11.CKR_DATA_LEN_RANGE)
	}
	if salt == 0 || mgf != hash {
		// crypto/rsa takes 0 for "as long as possible" and knows one hash function
		// only.
		em := keys.PadPSS(key.N.BitLen()-1, hash, mgf, salt, digest)
		defer clear(em)
		return rawRSA(key, m, em)
	}
	sig, err := rsa.SignPSS(rand.Reader, key, hash, digest, &rsa.PSSOptions{SaltLength: salt, Hash: hash})
	if err != nil {
		return nil, failed(m, err)
	}
	return sig, nil
}

func wrongMechanism(m *pkcs11.Mechanism) error {
	return fmt.Errorf("soft: %v: %w: not for this key", m.Type, pkcs11.CKR_MECHANISM_INVALID)
}

// failed is the error about an operation that Go's crypto refuses.
func failed(m *pkcs11.Mechanism, err error) error {
	return fmt.Errorf("soft: %v: %w: %w", m.Type, pkcs11.CKR_FUNCTION_FAILED, err)
}
