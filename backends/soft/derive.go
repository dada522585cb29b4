package soft

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Derive makes a secret key with CKM_ECDH1_DERIVE.
func (k ecKey) Derive(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	p, err := k.use()
	if err != nil {
		return nil, err
	}
	defer p.release()
	own, err := p.ec.ECDH()
	if err != nil {
		return nil, failed(m, err)
	}
	return k.derive(ctx, m, own, template, replaces)
}

// Derive makes a secret key with CKM_ECDH1_DERIVE.
func (k montgomeryKey) Derive(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	p, err := k.use()
	if err != nil {
		return nil, err
	}
	defer p.release()
	return k.derive(ctx, m, p.ecdh, template, replaces)
}

// derive is ECDH, with the cofactor or without: it is 1 on the NIST curves.
// PKCS #11 v2.40 mechanisms §2.3.8.
func (k keyObject) derive(ctx context.Context, m *pkcs11.Mechanism, own *ecdh.PrivateKey, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	switch m.Type {
	case pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKM_ECDH1_COFACTOR_DERIVE:
	default:
		return nil, wrongMechanism(m)
	}
	p, ok := m.Params.(*pkcs11.ECDH1DeriveParams)
	if !ok || p == nil {
		return nil, fmt.Errorf("soft: %v wants *pkcs11.ECDH1DeriveParams: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	hash, ok := keys.KDFHash(p.KDF)
	if !ok {
		return nil, fmt.Errorf("soft: %v: KDF %v: %w", m.Type, p.KDF, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	if hash == 0 && len(p.SharedData) > 0 {
		return nil, fmt.Errorf("soft: %v: shared data without a KDF: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	peer, err := k.peer(p.PublicData)
	if err != nil {
		return nil, fmt.Errorf("soft: %v: the other's public key: %w: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID, err)
	}
	z, err := own.ECDH(peer)
	if err != nil {
		return nil, fmt.Errorf("soft: %v: the other's public key: %w: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID, err)
	}
	defer clear(z)
	n := len(z)
	if hash != 0 {
		n = maxSecret
	}
	if n, err = derivedLen(m, template, n, hash != 0); err != nil {
		return nil, err
	}
	// Truncation takes bytes off the front.
	value := z[max(len(z)-n, 0):]
	if hash != 0 {
		value = keys.X963(hash, z, p.SharedData, n)
		defer clear(value)
	}
	return k.t.createSecret(ctx, template, value, replaces)
}

// peer parses a public key on the curve of k.
func (k keyObject) peer(point []byte) (*ecdh.PublicKey, error) {
	pub, err := keys.PublicKey(pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PUBLIC_KEY)),
		pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(k.keyType)),
		pkcs11.Attr(pkcs11.CKA_EC_PARAMS, k.Attributes().Bytes(pkcs11.CKA_EC_PARAMS)),
		pkcs11.Attr(pkcs11.CKA_EC_POINT, point),
	})
	if err != nil {
		return nil, err
	}
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return pub.ECDH()
	case *ecdh.PublicKey:
		return pub, nil
	}
	return nil, pkcs11.CKR_KEY_TYPE_INCONSISTENT
}
