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

// Derive makes a secret key with CKM_ECDH1_DERIVE: the TPM computes the shared
// point, and the key is made of it here. That is what the standard wants of it;
// the secret leaves the TPM, encrypted on the bus.
func (k ecKey) Derive(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	switch m.Type {
	case pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKM_ECDH1_COFACTOR_DERIVE:
	default:
		return nil, wrongMechanism(m)
	}
	p, ok := m.Params.(*pkcs11.ECDH1DeriveParams)
	if !ok || p == nil {
		return nil, fmt.Errorf("tpm: %v wants *pkcs11.ECDH1DeriveParams: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	hash, ok := keys.KDFHash(p.KDF)
	if !ok {
		return nil, fmt.Errorf("tpm: %v: KDF %v: %w", m.Type, p.KDF, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	if hash == 0 && len(p.SharedData) > 0 {
		return nil, fmt.Errorf("tpm: %v: shared data without a KDF: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	peer, err := k.peer(p.PublicData)
	if err != nil {
		return nil, fmt.Errorf("tpm: %v: the other's public key: %w: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID, err)
	}
	size := (len(peer) - 1) / 2
	n, err := derivedLen(m, template, size, hash != 0)
	if err != nil {
		return nil, err
	}
	shared := bytes.Clone(p.SharedData)
	z, err := k.zgen(ctx, peer[1:1+size], peer[1+size:])
	if err != nil {
		return nil, failed("derive a key", err)
	}
	defer clear(z)
	// Truncation takes bytes off the front.
	secret := z[max(len(z)-n, 0):]
	if hash != 0 {
		secret = keys.X963(hash, z, shared, n)
		defer clear(secret)
	}
	return k.t.createSecret(ctx, template, secret, replaces)
}

// peer parses a public key on the curve of k, and returns its point.
func (k ecKey) peer(point []byte) ([]byte, error) {
	pub, err := keys.PublicKey(pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_EC)),
		pkcs11.Attr(pkcs11.CKA_EC_PARAMS, k.attrs.Bytes(pkcs11.CKA_EC_PARAMS)),
		pkcs11.Attr(pkcs11.CKA_EC_POINT, point),
	})
	if err != nil {
		return nil, err
	}
	return pub.(*ecdsa.PublicKey).Bytes()
}

// zgen is TPM2_ECDH_ZGen: the x coordinate of the shared point.
func (k ecKey) zgen(ctx context.Context, x, y []byte) ([]byte, error) {
	params := putSized(nil, putSized(putSized(nil, x), y))
	out, err := k.t.do(ctx, k.key, tpm2.TPMCCECDHZGen, params, attrEncrypt)
	if err != nil {
		return nil, err
	}
	defer clear(out)
	r := reader{b: out}
	p := reader{b: r.sized()}
	z := bytes.TrimLeft(p.sized(), "\x00")
	p.sized()
	if !r.done() || !p.done() || len(z) > len(x) {
		return nil, &commandError{tpm2.TPMCCECDHZGen, errGarbled}
	}
	full := make([]byte, len(x))
	copy(full[len(x)-len(z):], z)
	return full, nil
}

// derivedLen returns how many bytes the template asks for, of most that there
// are. Without CKA_VALUE_LEN all of a shared secret is taken.
func derivedLen(m *pkcs11.Mechanism, template pkcs11.Template, most int, kdf bool) (int, error) {
	n := template.Uint(pkcs11.CKA_VALUE_LEN)
	if !template.Has(pkcs11.CKA_VALUE_LEN) {
		if kdf {
			return 0, fmt.Errorf("tpm: %v: %v: %w", m.Type, pkcs11.CKA_VALUE_LEN, pkcs11.CKR_TEMPLATE_INCOMPLETE)
		}
		return most, nil
	}
	if kdf {
		most = maxSecret
	}
	if n == 0 || n > uint64(most) {
		return 0, fmt.Errorf("tpm: %v: %d bytes of at most %d: %w", m.Type, n, most, pkcs11.CKR_KEY_SIZE_RANGE)
	}
	return int(n), nil
}
