package soft

import (
	"context"
	"crypto/hkdf"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A baseKey is a secret key of which others can be derived.
type baseKey struct{ secretKey }

var (
	_ driver.Deriver = baseKey{}
	_ driver.Signer  = baseKey{}
)

// Derive makes a secret key with CKM_HKDF_DERIVE, RFC 5869. PKCS #11 v3.0
// mechanisms §2.62.
func (k baseKey) Derive(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	if m.Type != pkcs11.CKM_HKDF_DERIVE {
		return nil, wrongMechanism(m)
	}
	params, ok := m.Params.(*driver.HKDFParams)
	if !ok || params == nil {
		return nil, fmt.Errorf("soft: %v wants *driver.HKDFParams: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	hash, ok := keys.Hash(params.PRF)
	if !ok {
		return nil, fmt.Errorf("soft: %v with the hash %v: %w", m.Type, params.PRF, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	n := hash.Size() // of what is extracted
	if params.Expand {
		n *= 255 // at most
	}
	n, err := derivedLen(m, template, n, params.Expand)
	if err != nil {
		return nil, err
	}
	p, err := k.use()
	if err != nil {
		return nil, err
	}
	defer p.release()
	secret := p.raw
	if params.Extract {
		salt, wipe, err := k.salt(params)
		if err != nil {
			return nil, err
		}
		defer wipe()
		if secret, err = hkdf.Extract(hash.New, p.raw, salt); err != nil {
			return nil, failed(m, err)
		}
		defer clear(secret)
	}
	if params.Expand {
		if secret, err = hkdf.Expand(hash.New, secret, string(params.Info), n); err != nil {
			return nil, failed(m, err)
		}
		defer clear(secret)
	}
	return k.t.createSecret(ctx, template, secret[:min(n, len(secret))], replaces)
}

// salt returns the salt and what is to be done after its use. No salt is as many
// zeros as the hash has bytes, which HMAC makes of nothing.
func (k baseKey) salt(p *driver.HKDFParams) (salt []byte, wipe func(), err error) {
	switch p.SaltType {
	case pkcs11.CKF_HKDF_SALT_NULL:
		return nil, func() {}, nil
	case pkcs11.CKF_HKDF_SALT_DATA:
		return p.Salt, func() {}, nil
	}
	o, err := k.t.own(p.SaltKey)
	if err != nil {
		return nil, nil, fmt.Errorf("salt: %w", err)
	}
	if o.class != pkcs11.CKO_SECRET_KEY {
		return nil, nil, fmt.Errorf("soft: the salt is no secret key: %w", pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}
	s, err := o.use()
	if err != nil {
		return nil, nil, err
	}
	return s.raw, s.release, nil
}

// derivedLen returns how many bytes a derived key has: CKA_VALUE_LEN, of which
// most are possible, or most, if that is not just a limit.
func derivedLen(m *pkcs11.Mechanism, template pkcs11.Template, most int, limit bool) (int, error) {
	a, ok := template.Get(pkcs11.CKA_VALUE_LEN)
	switch {
	case ok && (a.Uint() < 1 || a.Uint() > maxSecret || a.Uint() > uint64(most)):
		return 0, fmt.Errorf("soft: %v makes keys of 1 to %d bytes here, not %d: %w", m.Type, min(most, maxSecret), a.Uint(), pkcs11.CKR_KEY_SIZE_RANGE)
	case ok:
		return int(a.Uint()), nil
	case limit:
		return 0, fmt.Errorf("soft: %v makes keys of any length: %w: add %v to the template", m.Type, pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_VALUE_LEN)
	case template.Uint(pkcs11.CKA_KEY_TYPE) == uint64(pkcs11.CKK_AES) && most != 16 && most != 24 && most != 32:
		return 0, fmt.Errorf("soft: %v makes %d bytes, no AES key: %w: add %v to the template", m.Type, most, pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKA_VALUE_LEN)
	}
	return most, nil
}
