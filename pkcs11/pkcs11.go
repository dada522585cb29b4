// Package pkcs11 is the vocabulary of Cryptoki: the types, constants and error
// codes of PKCS #11 under the names of the standard, and RFC 7512 URIs.
//
// It holds no behaviour. Applications, the core, drivers and the remote
// protocol all speak it, and it imports nothing of this module.
//
// The constants are those of version 2.40 and the ones of 3.0 to 3.2 that this
// module uses. Values that a token returns and this package does not know are
// passed through unchanged and print as numbers.
package pkcs11

//go:generate go run gen.go

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

type (
	// AttributeType is a CK_ATTRIBUTE_TYPE.
	AttributeType uint32
	// MechanismType is a CK_MECHANISM_TYPE.
	MechanismType uint32
	// ObjectClass is a CK_OBJECT_CLASS, the value of CKA_CLASS.
	ObjectClass uint32
	// KeyType is a CK_KEY_TYPE, the value of CKA_KEY_TYPE.
	KeyType uint32
	// CertificateType is a CK_CERTIFICATE_TYPE, the value of CKA_CERTIFICATE_TYPE.
	CertificateType uint32
	// HardwareFeature is a CK_HW_FEATURE_TYPE.
	HardwareFeature uint32
	// ProfileID is a CK_PROFILE_ID, the value of CKA_PROFILE_ID.
	ProfileID uint32
	// UserType is a CK_USER_TYPE: whom a PIN belongs to.
	UserType uint32
	// SessionState is a CK_STATE.
	SessionState uint32
	// MGFType is a CK_RSA_PKCS_MGF_TYPE.
	MGFType uint32
	// SourceType is a CK_RSA_PKCS_OAEP_SOURCE_TYPE.
	SourceType uint32
	// KDFType is a CK_EC_KDF_TYPE.
	KDFType uint32

	// SlotID identifies a slot of a module. It is opaque: neither an index nor
	// stable when tokens come and go.
	SlotID uint64
	// ObjectHandle names an object within a running module, for all its
	// sessions. Handles are never 0 and never used twice.
	ObjectHandle uint64
)

type name struct {
	value uint64
	name  string
}

// lookup finds v in a table sorted by value.
func lookup(names []name, v uint64) (string, bool) {
	i := sort.Search(len(names), func(i int) bool { return names[i].value >= v })
	if i < len(names) && names[i].value == v {
		return names[i].name, true
	}
	return "", false
}

func nameOf(prefix string, names []name, v uint64) string {
	if s, ok := lookup(names, v); ok {
		return s
	}
	return fmt.Sprintf("%s_0x%X", prefix, v)
}

// String returns the name in the standard, or CKA_0x… for an unknown value.
func (t AttributeType) String() string { return nameOf("CKA", namesCKA, uint64(t)) }

// String returns the name in the standard, or CKM_0x… for an unknown value.
func (t MechanismType) String() string { return nameOf("CKM", namesCKM, uint64(t)) }

// String returns the name in the standard, or CKO_0x… for an unknown value.
func (c ObjectClass) String() string { return nameOf("CKO", namesCKO, uint64(c)) }

// String returns the name in the standard, or CKK_0x… for an unknown value.
func (t KeyType) String() string { return nameOf("CKK", namesCKK, uint64(t)) }

// String returns the name in the standard, or CKC_0x… for an unknown value.
func (t CertificateType) String() string { return nameOf("CKC", namesCKC, uint64(t)) }

// String returns the name in the standard, or CKH_0x… for an unknown value.
func (t HardwareFeature) String() string { return nameOf("CKH", namesCKH, uint64(t)) }

// String returns the name in the standard, or CKP_0x… for an unknown value.
func (p ProfileID) String() string { return nameOf("CKP", namesCKP, uint64(p)) }

// String returns the name in the standard, or CKU_0x… for an unknown value.
func (u UserType) String() string { return nameOf("CKU", namesCKU, uint64(u)) }

// String returns the name in the standard, or CKS_0x… for an unknown value.
func (s SessionState) String() string { return nameOf("CKS", namesCKS, uint64(s)) }

// String returns the name in the standard, or CKG_0x… for an unknown value.
func (t MGFType) String() string { return nameOf("CKG", namesCKG, uint64(t)) }

// String returns the name in the standard, or CKD_0x… for an unknown value.
func (t KDFType) String() string { return nameOf("CKD", namesCKD, uint64(t)) }

// ParseMechanism returns the mechanism with the given name, with or without
// CKM_, in any case, with - for _: "ECDSA-SHA256" is CKM_ECDSA_SHA256. It also
// takes what String makes of an unknown one: CKM_0x80000001.
func ParseMechanism(s string) (MechanismType, bool) {
	v, ok := parseName("CKM_", namesCKM, aliasesCKM, s)
	return MechanismType(v), ok
}

// ParseAttributeType returns the attribute type with the given name, written
// as ParseMechanism allows.
func ParseAttributeType(s string) (AttributeType, bool) {
	v, ok := parseName("CKA_", namesCKA, aliasesCKA, s)
	return AttributeType(v), ok
}

func parseName(prefix string, names, aliases []name, s string) (uint64, bool) {
	s = strings.ReplaceAll(strings.ToUpper(s), "-", "_")
	if !strings.HasPrefix(s, prefix) {
		s = prefix + s
	}
	for _, table := range [][]name{names, aliases} {
		for _, n := range table {
			if n.name == s {
				return n.value, true
			}
		}
	}
	if hex, ok := strings.CutPrefix(s[len(prefix):], "0X"); ok {
		v, err := strconv.ParseUint(hex, 16, 32)
		return v, err == nil
	}
	return 0, false
}
