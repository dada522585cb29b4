package pkcs11

import (
	"fmt"
	"log/slog"
)

// A Mechanism is a CK_MECHANISM. Params is nil, or a pointer to the parameter
// struct that the type takes, or []byte where the standard defines the
// parameter as bytes (an initialization vector, say) and for vendor-defined
// mechanisms. A Mechanism is not modified and not kept by those it is given to.
type Mechanism struct {
	Type   MechanismType
	Params any
}

// String names the mechanism without its parameters.
func (m Mechanism) String() string { return m.Type.String() }

// Format is String for every verb, so that no parameter gets into a log by
// accident.
func (m Mechanism) Format(s fmt.State, verb rune) { formatText(s, verb, m.String()) }

// LogValue is String.
func (m Mechanism) LogValue() slog.Value { return slog.StringValue(m.String()) }

// PSSParams is CK_RSA_PKCS_PSS_PARAMS, of CKM_RSA_PKCS_PSS and its hashing
// variants. PKCS #11 v2.40 mechanisms, §2.1.10.
type PSSParams struct {
	HashAlg MechanismType // the digest that the data is, CKM_SHA256 say
	MGF     MGFType
	SaltLen uint64 // in bytes
}

// OAEPParams is CK_RSA_PKCS_OAEP_PARAMS. PKCS #11 v2.40 mechanisms, §2.1.8.
type OAEPParams struct {
	HashAlg MechanismType
	MGF     MGFType
	Source  SourceType // CKZ_DATA_SPECIFIED, or 0 with an empty label
	Label   []byte
}

// ECDH1DeriveParams is CK_ECDH1_DERIVE_PARAMS. PKCS #11 v2.40 mechanisms, §2.3.7.
type ECDH1DeriveParams struct {
	KDF        KDFType
	SharedData []byte
	PublicData []byte // the peer's point, raw or as a DER OCTET STRING
}

// EDDSAParams is CK_EDDSA_PARAMS; a nil pointer is pure Ed25519.
// PKCS #11 v3.0 mechanisms, §2.3.9.
type EDDSAParams struct {
	Prehash bool
	Context []byte
}

// GCMParams is CK_GCM_PARAMS. PKCS #11 v2.40 mechanisms, §2.12.3.
type GCMParams struct {
	IV      []byte
	IVBits  uint64 // 0 for 8 × len(IV)
	AAD     []byte
	TagBits uint64
}

// CTRParams is CK_AES_CTR_PARAMS. PKCS #11 v2.40 mechanisms, §2.10.
type CTRParams struct {
	CounterBits uint64
	Counter     [16]byte
}

// MACGeneralParams is CK_MAC_GENERAL_PARAMS: the length of the tag in bytes.
type MACGeneralParams struct{ MACLen uint64 }

// HKDFParams is CK_HKDF_PARAMS. PKCS #11 v3.0 mechanisms, §2.62.
type HKDFParams struct {
	Extract, Expand bool
	PRF             MechanismType // CKM_SHA256, say
	SaltType        uint64        // CKF_HKDF_SALT_NULL, _DATA or _KEY
	Salt            []byte
	SaltKey         ObjectHandle
	Info            []byte
}
