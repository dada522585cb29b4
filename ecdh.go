package cryptoki

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"fmt"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An ECDH agrees on secrets with a private key that stays on the token. It is
// safe for concurrent use.
type ECDH struct {
	key *keyRef
	pub *ecdh.PublicKey
}

// ECDH returns the key agreement with the private key of that name: on P-256,
// P-384, P-521 or X25519. It fails if the key may not derive (CKA_DERIVE).
func (t *Token) ECDH(ctx context.Context, key string) (*ECDH, error) {
	k, mechs, err := t.private(ctx, key)
	if err != nil {
		return nil, err
	}
	var pub *ecdh.PublicKey
	switch p := k.pub.(type) {
	case *ecdsa.PublicKey:
		if pub, err = p.ECDH(); err != nil {
			return nil, fail(k.String(), fmt.Errorf("%w: %w", pkcs11.CKR_CURVE_NOT_SUPPORTED, err), "")
		}
	case *ecdh.PublicKey:
		pub = p
	default:
		return nil, fail(k.String(), fmt.Errorf("%w: a key of type %T agrees on no secret", pkcs11.CKR_KEY_TYPE_INCONSISTENT, p), "")
	}
	if k.mayNot(pkcs11.CKA_DERIVE) {
		return nil, fail(k.String(), fmt.Errorf("%w: the key may not derive (CKA_DERIVE is false)", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED), "generate it with KeySpec.Derive")
	}
	if !mechs.has(pkcs11.CKM_ECDH1_DERIVE) {
		return nil, fail(k.String(), fmt.Errorf("%w: the token has no %v", pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKM_ECDH1_DERIVE), mechs.cure)
	}
	return &ECDH{k, pub}, nil
}

// PublicKey returns the public key, for the peer.
func (e *ECDH) PublicKey() *ecdh.PublicKey { return e.pub }

// Public returns the public key as PublicKey does.
func (e *ECDH) Public() crypto.PublicKey { return e.pub }

// Curve returns the curve of the key.
func (e *ECDH) Curve() ecdh.Curve { return e.pub.Curve() }

// ECDH returns the secret that the key shares with remote, as the method of
// ecdh.PrivateKey does: the x coordinate, not hashed. It leaves the token: the
// caller derives keys from it and wipes it.
func (e *ECDH) ECDH(remote *ecdh.PublicKey) ([]byte, error) {
	if remote == nil || remote.Curve() != e.pub.Curve() {
		return nil, fail(e.key.String(), fmt.Errorf("%w: the peer's key is on another curve than %v", pkcs11.CKR_MECHANISM_PARAM_INVALID, e.pub.Curve()), "")
	}
	ctx := context.Background()
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE, Params: &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: remote.Bytes()}}
	size := (keys.KeyBits(e.key.pub) + 7) / 8
	var secret []byte
	err := e.key.use(ctx, func(c *conn, h pkcs11.ObjectHandle) error {
		derived, err := c.DeriveKey(ctx, m, h, pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_SECRET_KEY)),
			pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_GENERIC_SECRET)),
			pkcs11.Attr(pkcs11.CKA_TOKEN, false),
			pkcs11.Attr(pkcs11.CKA_PRIVATE, false),
			pkcs11.Attr(pkcs11.CKA_SENSITIVE, false),
			pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true),
			pkcs11.Attr(pkcs11.CKA_VALUE_LEN, uint64(size)),
		})
		if err != nil {
			return err
		}
		defer c.DestroyObject(context.WithoutCancel(ctx), derived)
		value := pkcs11.Template{{Type: pkcs11.CKA_VALUE}}
		if err := c.GetAttributeValue(ctx, derived, value); err != nil {
			return err
		}
		secret = value.Bytes(pkcs11.CKA_VALUE)
		return nil
	})
	if err == nil && len(secret) != size {
		err = fmt.Errorf("%w: the token made a secret of %d bytes, not %d", pkcs11.CKR_GENERAL_ERROR, len(secret), size)
	}
	if err != nil {
		return nil, fail(e.key.String(), err, "")
	}
	return secret, nil
}
