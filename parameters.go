package cryptoki

import (
	"crypto/rsa"
	"fmt"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// parameters checks the parameter of a mechanism that signs or verifies, and
// returns the mechanism that the driver or the software is called with: the base
// of a hashing variant, with a parameter of its own memory.
func parameters(row *mechanism, m *pkcs11.Mechanism, o *object) (*pkcs11.Mechanism, error) {
	switch row.base.Type {
	case pkcs11.CKM_RSA_PKCS_PSS:
		return pssParameters(row, m, o)
	case pkcs11.CKM_EDDSA:
		p, ok := m.Params.(*pkcs11.EDDSAParams)
		if !ok && !noParams(m) {
			return nil, badParams(m, "*pkcs11.EDDSAParams or nil")
		}
		if p == nil || !p.Prehash && len(p.Context) == 0 {
			return row.base, nil
		}
		c := *p
		c.Context = append([]byte(nil), p.Context...)
		return &pkcs11.Mechanism{Type: row.base.Type, Params: &c}, nil
	}
	if _, general, ok := keys.HMAC(m.Type); ok && general || m.Type == pkcs11.CKM_AES_CMAC_GENERAL {
		p, ok := m.Params.(*pkcs11.MACGeneralParams)
		if !ok || p == nil {
			return nil, badParams(m, "*pkcs11.MACGeneralParams")
		}
		c := *p
		return &pkcs11.Mechanism{Type: m.Type, Params: &c}, nil
	}
	if noParams(m) {
		return row.base, nil
	}
	if uint32(m.Type)&vendorDefined != 0 {
		return m, nil
	}
	return nil, badParams(m, "none")
}

// noParams reports whether the mechanism has no parameter, or no bytes of one,
// which is the same to callers in C.
func noParams(m *pkcs11.Mechanism) bool {
	b, ok := m.Params.([]byte)
	return m.Params == nil || ok && len(b) == 0 && uint32(m.Type)&vendorDefined == 0
}

// vendorDefined is CKM_VENDOR_DEFINED, the bit of mechanisms that the standard
// does not know.
const vendorDefined = 0x80000000

func badParams(m *pkcs11.Mechanism, want string) error {
	return fmt.Errorf("%w: %v takes %s as parameter, not %T", pkcs11.CKR_MECHANISM_PARAM_INVALID, m.Type, want, m.Params)
}

func pssParameters(row *mechanism, m *pkcs11.Mechanism, o *object) (*pkcs11.Mechanism, error) {
	p, ok := m.Params.(*pkcs11.PSSParams)
	if !ok || p == nil {
		return nil, badParams(m, "*pkcs11.PSSParams")
	}
	pub, err := o.publicKey()
	if err != nil {
		return nil, err
	}
	key, _ := pub.(*rsa.PublicKey)
	h, _, _, err := keys.PSS(m, key)
	if err != nil {
		return nil, err
	}
	if row.hash != 0 && h != row.hash {
		return nil, fmt.Errorf("%w: %v hashes with %v, its parameter says %v", pkcs11.CKR_MECHANISM_PARAM_INVALID, m.Type, row.hash, p.HashAlg)
	}
	c := *p
	return &pkcs11.Mechanism{Type: row.base.Type, Params: &c}, nil
}

// checkLength checks the length of data that is signed or verified as it is.
func checkLength(m *pkcs11.Mechanism, o *object, data []byte) error {
	switch m.Type {
	case pkcs11.CKM_ECDSA:
		// A digest longer than the order counts with its leftmost bits.
		if len(data) == 0 || len(data) > 64 {
			return fmt.Errorf("%w: CKM_ECDSA signs a digest of 1 to 64 bytes, not %d; CKM_ECDSA_SHA256 hashes", pkcs11.CKR_DATA_LEN_RANGE, len(data))
		}
	case pkcs11.CKM_RSA_PKCS:
		if k := len(o.attrs().Bytes(pkcs11.CKA_MODULUS)); len(data) > k-11 {
			return fmt.Errorf("%w: CKM_RSA_PKCS takes at most %d bytes with this key, not %d", pkcs11.CKR_DATA_LEN_RANGE, k-11, len(data))
		}
	case pkcs11.CKM_RSA_X_509:
		if k := len(o.attrs().Bytes(pkcs11.CKA_MODULUS)); len(data) == 0 || len(data) > k {
			return fmt.Errorf("%w: CKM_RSA_X_509 takes 1 to %d bytes with this key, not %d", pkcs11.CKR_DATA_LEN_RANGE, k, len(data))
		}
	case pkcs11.CKM_RSA_PKCS_PSS:
		if p, ok := m.Params.(*pkcs11.PSSParams); ok {
			if h, ok := keys.Hash(p.HashAlg); ok && len(data) != h.Size() {
				return fmt.Errorf("%w: CKM_RSA_PKCS_PSS with %v signs a digest of %d bytes, not %d", pkcs11.CKR_DATA_LEN_RANGE, p.HashAlg, h.Size(), len(data))
			}
		}
	}
	return nil
}

// signatureSize returns how many bytes a signature or MAC has.
func signatureSize(m *pkcs11.Mechanism, o *object) (int, error) {
	if h, general, ok := keys.HMAC(m.Type); ok {
		return macSize(m, general, h.Size())
	}
	switch m.Type {
	case pkcs11.CKM_AES_CMAC, pkcs11.CKM_AES_CMAC_GENERAL:
		return macSize(m, m.Type == pkcs11.CKM_AES_CMAC_GENERAL, 16)
	}
	attrs := o.attrs()
	switch o.keyType {
	case pkcs11.CKK_EC:
		curve, err := keys.Curve(attrs.Bytes(pkcs11.CKA_EC_PARAMS))
		if err != nil {
			return 0, err
		}
		return 2 * ((curve.Params().N.BitLen() + 7) / 8), nil
	case pkcs11.CKK_EC_EDWARDS:
		return 64, nil
	case pkcs11.CKK_RSA:
		return len(attrs.Bytes(pkcs11.CKA_MODULUS)), nil
	}
	return 1024, nil // a vendor's own: an upper bound will do
}

func macSize(m *pkcs11.Mechanism, general bool, full int) (int, error) {
	if !general {
		return full, nil
	}
	p, _ := m.Params.(*pkcs11.MACGeneralParams)
	if p == nil || p.MACLen < 1 || p.MACLen > uint64(full) {
		return 0, fmt.Errorf("%w: %v makes MACs of 1 to %d bytes", pkcs11.CKR_MECHANISM_PARAM_INVALID, m.Type, full)
	}
	return int(p.MACLen), nil
}
