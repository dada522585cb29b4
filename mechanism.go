package cryptoki

import (
	"crypto"
	"fmt"
	"slices"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"

	// The digests that the core computes.
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha3"
	_ "crypto/sha512"
)

// mechanisms is the mechanism table of a slot: the driver's rows, and what the
// core adds to them.
type mechanisms struct {
	rows map[pkcs11.MechanismType]*mechanism
}

// A mechanism is a row of the table.
type mechanism struct {
	typ  pkcs11.MechanismType
	info pkcs11.MechanismInfo

	// base is what the driver, or the verification in software, is called with
	// where there are no parameters: typ itself, or for a hashing variant that
	// the core takes apart the mechanism that signs the digest. hash is then the
	// digest, as it is for mechanisms that digest, and 0 for all others.
	base *pkcs11.Mechanism
	hash crypto.Hash

	keyTypes []pkcs11.KeyType // nil: any
}

// newMechanisms completes a driver's table: with digests, with verification and
// public-key encryption beside the private-key operation, and with the hashing
// variants of what signs digests.
func newMechanisms(table []driver.Mechanism) (mechanisms, error) {
	t := mechanisms{rows: make(map[pkcs11.MechanismType]*mechanism, len(table)+32)}
	for _, d := range table {
		if _, dup := t.rows[d.Type]; dup {
			return t, fmt.Errorf("the driver's mechanism table has %v twice: %w", d.Type, pkcs11.CKR_DEVICE_ERROR)
		}
		row := &mechanism{typ: d.Type, info: d.MechanismInfo, base: &pkcs11.Mechanism{Type: d.Type}, keyTypes: keyTypesOf(d.Type)}
		if asymmetric(row.keyTypes) {
			if row.info.Flags&pkcs11.CKF_SIGN != 0 {
				row.info.Flags |= pkcs11.CKF_VERIFY
			}
			if row.info.Flags&pkcs11.CKF_DECRYPT != 0 {
				row.info.Flags |= pkcs11.CKF_ENCRYPT
			}
			if row.info.Flags&pkcs11.CKF_UNWRAP != 0 {
				row.info.Flags |= pkcs11.CKF_WRAP
			}
		}
		t.rows[d.Type] = row
	}
	for _, d := range table {
		if d.Flags&(pkcs11.CKF_SIGN|pkcs11.CKF_VERIFY) == 0 {
			continue
		}
		for _, hash := range keys.Hashes() {
			variant, ok := keys.Join(d.Type, hash)
			if !ok {
				continue
			}
			if _, own := t.rows[variant]; own {
				continue
			}
			t.rows[variant] = &mechanism{
				typ: variant,
				info: pkcs11.MechanismInfo{
					MinKeySize: d.MinKeySize,
					MaxKeySize: d.MaxKeySize,
					Flags:      t.rows[d.Type].info.Flags &^ (pkcs11.CKF_ENCRYPT | pkcs11.CKF_DECRYPT | pkcs11.CKF_WRAP | pkcs11.CKF_UNWRAP),
				},
				base:     &pkcs11.Mechanism{Type: d.Type},
				hash:     hash,
				keyTypes: keyTypesOf(d.Type),
			}
		}
	}
	for _, hash := range keys.Hashes() {
		m, _ := keys.HashMechanism(hash)
		if row, own := t.rows[m]; own {
			row.hash = hash
			row.info.Flags |= pkcs11.CKF_DIGEST
			continue
		}
		t.rows[m] = &mechanism{typ: m, hash: hash, info: pkcs11.MechanismInfo{Flags: pkcs11.CKF_DIGEST}}
	}
	return t, nil
}

// keyTypesOf returns the key types that a mechanism works with, nil for any and
// for mechanisms without a key.
func keyTypesOf(m pkcs11.MechanismType) []pkcs11.KeyType {
	switch m {
	case pkcs11.CKM_RSA_PKCS, pkcs11.CKM_RSA_X_509, pkcs11.CKM_RSA_PKCS_PSS, pkcs11.CKM_RSA_PKCS_OAEP:
		return []pkcs11.KeyType{pkcs11.CKK_RSA}
	case pkcs11.CKM_ECDSA:
		return []pkcs11.KeyType{pkcs11.CKK_EC}
	case pkcs11.CKM_EDDSA:
		return []pkcs11.KeyType{pkcs11.CKK_EC_EDWARDS}
	case pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKM_ECDH1_COFACTOR_DERIVE:
		return []pkcs11.KeyType{pkcs11.CKK_EC, pkcs11.CKK_EC_MONTGOMERY}
	case pkcs11.CKM_AES_ECB, pkcs11.CKM_AES_CBC, pkcs11.CKM_AES_CBC_PAD, pkcs11.CKM_AES_CTR, pkcs11.CKM_AES_GCM,
		pkcs11.CKM_AES_CMAC, pkcs11.CKM_AES_CMAC_GENERAL, pkcs11.CKM_AES_KEY_WRAP, pkcs11.CKM_AES_KEY_WRAP_PAD, pkcs11.CKM_AES_KEY_WRAP_KWP:
		return []pkcs11.KeyType{pkcs11.CKK_AES}
	case pkcs11.CKM_SHA_1_HMAC, pkcs11.CKM_SHA_1_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA_1_HMAC}
	case pkcs11.CKM_SHA224_HMAC, pkcs11.CKM_SHA224_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA224_HMAC}
	case pkcs11.CKM_SHA256_HMAC, pkcs11.CKM_SHA256_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA256_HMAC}
	case pkcs11.CKM_SHA384_HMAC, pkcs11.CKM_SHA384_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA384_HMAC}
	case pkcs11.CKM_SHA512_HMAC, pkcs11.CKM_SHA512_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA512_HMAC}
	case pkcs11.CKM_SHA512_224_HMAC, pkcs11.CKM_SHA512_224_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA512_224_HMAC}
	case pkcs11.CKM_SHA512_256_HMAC, pkcs11.CKM_SHA512_256_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA512_256_HMAC}
	case pkcs11.CKM_SHA3_224_HMAC, pkcs11.CKM_SHA3_224_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA3_224_HMAC}
	case pkcs11.CKM_SHA3_256_HMAC, pkcs11.CKM_SHA3_256_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA3_256_HMAC}
	case pkcs11.CKM_SHA3_384_HMAC, pkcs11.CKM_SHA3_384_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA3_384_HMAC}
	case pkcs11.CKM_SHA3_512_HMAC, pkcs11.CKM_SHA3_512_HMAC_GENERAL:
		return []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA3_512_HMAC}
	case pkcs11.CKM_HKDF_DERIVE, pkcs11.CKM_HKDF_DATA:
		return []pkcs11.KeyType{pkcs11.CKK_HKDF, pkcs11.CKK_GENERIC_SECRET}
	}
	if base, _, ok := keys.Split(m); ok {
		return keyTypesOf(base)
	}
	return nil
}

func asymmetric(types []pkcs11.KeyType) bool {
	return slices.Contains(types, pkcs11.CKK_RSA) || slices.Contains(types, pkcs11.CKK_EC) || slices.Contains(types, pkcs11.CKK_EC_EDWARDS)
}

// suits reports whether a key of that class and type can be used with the
// mechanism.
func (m *mechanism) suits(class pkcs11.ObjectClass, typ pkcs11.KeyType) bool {
	if m.keyTypes == nil {
		return true
	}
	if asymmetric(m.keyTypes) == (class == pkcs11.CKO_SECRET_KEY) {
		return false
	}
	return slices.Contains(m.keyTypes, typ)
}

// find returns the row of a mechanism that the token has for the purpose flag.
func (t *mechanisms) find(m pkcs11.MechanismType, flag uint64) (*mechanism, error) {
	row, ok := t.rows[m]
	if !ok {
		return nil, fmt.Errorf("%w: the token does not have %v", pkcs11.CKR_MECHANISM_INVALID, m)
	}
	if row.info.Flags&flag == 0 {
		return nil, fmt.Errorf("%w: the token does not have %v for this", pkcs11.CKR_MECHANISM_INVALID, m)
	}
	return row, nil
}

// list returns the types in the order of their values.
func (t *mechanisms) list() []pkcs11.MechanismType {
	list := make([]pkcs11.MechanismType, 0, len(t.rows))
	for m := range t.rows {
		list = append(list, m)
	}
	slices.Sort(list)
	return list
}
