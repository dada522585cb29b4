package tpm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The kinds of private keys, by what they can do.
type (
	ecKey  struct{ *object } // P-256, P-384, P-521
	rsaKey struct{ *object }
)

var (
	_ driver.Signer    = ecKey{}
	_ driver.Deriver   = ecKey{}
	_ driver.Signer    = rsaKey{}
	_ driver.Decrypter = rsaKey{}
)

// do executes a command with the key: its handle is the first one, and nothing
// else is authorized. The first parameter is encrypted. If attrs has attrEncrypt,
// so is that of the response.
func (t *Token) do(ctx context.Context, k *tpmKey, code tpm2.TPMCC, params []byte, attrs byte) ([]byte, error) {
	auth, err := t.authOf(k)
	if err != nil {
		return nil, err
	}
	var out []byte
	err = t.use(ctx, k, func(c *channel, key entity) error {
		a, err := c.authorize(auth, attrDecrypt|attrs)
		if err != nil {
			return err
		}
		r, err := c.exec(&command{code: code, handles: []entity{key}, needs: 1, auths: []authorization{a}, params: params})
		out = r.params
		return err
	})
	if err != nil {
		return nil, err
	}
	clear(auth)
	return out, nil
}

// Sign makes an ECDSA signature, r‖s, of a digest of any length but 0.
//
// A TPM wants a digest that is as long as the hash function it is told; of a
// longer one only the leftmost bits count, and a shorter one is a number with
// zeros in front. So every digest becomes one of the length of the order, or of
// SHA-512 on P-521. FIPS 186-5, 6.4.1.
func (k ecKey) Sign(ctx context.Context, m *pkcs11.Mechanism, digest []byte) ([]byte, error) {
	if m.Type != pkcs11.CKM_ECDSA {
		return nil, wrongMechanism(m)
	}
	if len(digest) == 0 {
		return nil, fmt.Errorf("tpm: %v of no data: %w", m.Type, pkcs11.CKR_DATA_LEN_RANGE)
	}
	pub := k.key.public.key.(*ecdsa.PublicKey)
	n := (pub.Curve.Params().BitSize + 7) / 8
	var params []byte
	for _, c := range curves {
		if c.curve != pub.Curve {
			continue
		}
		if len(digest) > c.size && c.size < n {
			return nil, fmt.Errorf("tpm: %v of %d bytes with a key on %s; a TPM signs at most %d: %w", m.Type, len(digest), pub.Curve.Params().Name, c.size, pkcs11.CKR_DATA_LEN_RANGE)
		}
		sized := make([]byte, c.size)
		copy(sized[max(c.size-len(digest), 0):], digest)
		params = put16(put16(putSized(nil, sized), uint16(tpm2.TPMAlgECDSA)), uint16(c.hash))
	}
	digest = bytes.Clone(digest)
	out, err := k.t.do(ctx, k.key, tpm2.TPMCCSign, noTicket(params), 0)
	if err != nil {
		return nil, failed("sign", err)
	}
	r := reader{b: out}
	scheme, _ := tpm2.TPMAlgID(r.u16()), r.u16()
	x, y := bytes.TrimLeft(r.sized(), "\x00"), bytes.TrimLeft(r.sized(), "\x00")
	if !r.done() || scheme != tpm2.TPMAlgECDSA || len(x) > n || len(y) > n {
		return nil, failed("sign", &commandError{tpm2.TPMCCSign, errGarbled})
	}
	sig := make([]byte, 2*n)
	copy(sig[n-len(x):], x)
	copy(sig[2*n-len(y):], y)
	if err := verified(keys.Verify(pub, m, digest, sig)); err != nil {
		return nil, err
	}
	return sig, nil
}

// noTicket appends the ticket that says nothing about a digest.
func noTicket(b []byte) []byte {
	return putSized(put32(put16(b, uint16(tpm2.TPMSTHashCheck)), uint32(tpm2.TPMRHNull)), nil)
}

// verified is what to make of the verification of a signature by the TPM. A
// wrong one is kept from everybody: it may tell of the key.
func verified(err error) error {
	if err != nil {
		return fmt.Errorf("tpm: the TPM's signature does not verify, a fault of the TPM or somebody on the bus: %w: %v", pkcs11.CKR_DEVICE_ERROR, err)
	}
	return nil
}

func wrongMechanism(m *pkcs11.Mechanism) error {
	return fmt.Errorf("tpm: %v: %w: not for this key", m.Type, pkcs11.CKR_MECHANISM_INVALID)
}
