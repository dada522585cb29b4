package cryptoki

import (
	"bytes"
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func (se *session) DeriveKey(ctx context.Context, m *pkcs11.Mechanism, base pkcs11.ObjectHandle, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	const op = "DeriveKey"
	if err := se.check(op); err != nil {
		return 0, err
	}
	if m == nil {
		return 0, opErr(op, "", errNilMechanism)
	}
	_, o, err := se.keyFor(&needDerive, m, base)
	if err != nil {
		return 0, opErr(op, "", err)
	}
	deriver, ok := o.drv().(driver.Deriver)
	if !ok {
		return 0, opErr(op, o.String(), fmt.Errorf("%w: the token does not derive from it", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED))
	}
	mech, err := se.deriveParameters(m, o)
	if err != nil {
		return 0, opErr(op, o.String(), err)
	}
	full, err := rules.Derive(m, o.attrs(), template)
	if err != nil {
		return 0, opErr(op, o.String(), err)
	}
	token := full.Bool(pkcs11.CKA_TOKEN)
	if err := se.mayWrite(token, full.Bool(pkcs11.CKA_PRIVATE)); err != nil {
		return 0, opErr(op, o.String(), err)
	}
	h, err := se.create(ctx, token, replacing{template, full}, func(replaces []driver.Object) (driver.Object, error) {
		return deriver.Derive(ctx, mech, owned(full), replaces)
	})
	return h, opErr(op, o.String(), err)
}

// deriveParameters checks the parameter of a derivation, and returns the
// mechanism for the driver, with memory of its own.
func (se *session) deriveParameters(m *pkcs11.Mechanism, o *object) (*pkcs11.Mechanism, error) {
	switch m.Type {
	case pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKM_ECDH1_COFACTOR_DERIVE:
		p, ok := m.Params.(*pkcs11.ECDH1DeriveParams)
		if !ok || p == nil {
			return nil, badParams(m, "*pkcs11.ECDH1DeriveParams")
		}
		point, err := barePoint(o, p.PublicData)
		if err != nil {
			return nil, err
		}
		if p.KDF == pkcs11.CKD_NULL && len(p.SharedData) > 0 {
			return nil, fmt.Errorf("%w: CKD_NULL takes no shared data", pkcs11.CKR_MECHANISM_PARAM_INVALID)
		}
		c := *p
		c.PublicData, c.SharedData = point, bytes.Clone(p.SharedData)
		return &pkcs11.Mechanism{Type: m.Type, Params: &c}, nil
	case pkcs11.CKM_HKDF_DERIVE:
		p, ok := m.Params.(*pkcs11.HKDFParams)
		if !ok || p == nil {
			return nil, badParams(m, "*pkcs11.HKDFParams")
		}
		if !p.Extract && !p.Expand {
			return nil, fmt.Errorf("%w: HKDF without extract and without expand does nothing", pkcs11.CKR_MECHANISM_PARAM_INVALID)
		}
		c := &driver.HKDFParams{HKDFParams: *p}
		c.Salt, c.Info = bytes.Clone(p.Salt), bytes.Clone(p.Info)
		switch p.SaltType {
		case pkcs11.CKF_HKDF_SALT_NULL, pkcs11.CKF_HKDF_SALT_DATA:
		case pkcs11.CKF_HKDF_SALT_KEY:
			salt, err := se.slot.lookup(p.SaltKey, pkcs11.CKR_KEY_HANDLE_INVALID)
			if err != nil {
				return nil, fmt.Errorf("salt key: %w", err)
			}
			if salt.class != pkcs11.CKO_SECRET_KEY || salt.state.Load().use()&mayDerive == 0 {
				return nil, fmt.Errorf("salt key: %v: %w: it is no secret key with CKA_DERIVE", salt, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
			}
			c.SaltKey = salt.drv()
		default:
			return nil, fmt.Errorf("%w: unknown salt type %d", pkcs11.CKR_MECHANISM_PARAM_INVALID, p.SaltType)
		}
		return &pkcs11.Mechanism{Type: m.Type, Params: c}, nil
	}
	if !noParams(m) && uint32(m.Type)&vendorDefined == 0 {
		return nil, badParams(m, "none that this version knows")
	}
	return m, nil
}

// barePoint takes the DER OCTET STRING off a peer's point, if it has one: both
// forms are in use, and their lengths tell them apart. PKCS #11 v2.40
// mechanisms, §2.3.7.
func barePoint(o *object, point []byte) ([]byte, error) {
	pub, err := o.publicKey()
	if err != nil {
		return nil, err
	}
	size := pointSize(pub)
	if n := len(point) - size; n >= 2 && n <= 3 && point[0] == 0x04 {
		header := []byte{0x04, byte(size)}
		if size > 127 {
			header = []byte{0x04, 0x81, byte(size)}
		}
		if inner, ok := bytes.CutPrefix(point, header); ok {
			point = inner
		}
	}
	if len(point) != size {
		return nil, fmt.Errorf("%w: the peer's public key has %d bytes, not the %d of this curve", pkcs11.CKR_MECHANISM_PARAM_INVALID, len(point), size)
	}
	return bytes.Clone(point), nil
}
