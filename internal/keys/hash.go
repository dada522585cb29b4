package keys

import (
	"crypto"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha3"
	_ "crypto/sha512"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A digest is a row of the table of hash functions, which are all linked in:
// the mechanism, the mechanisms that hash with it, its MGF1, and the last part
// of its OID.
type digest struct {
	hash                    crypto.Hash
	mech, hmac, hmacGeneral pkcs11.MechanismType
	rsaPKCS, rsaPSS, ecdsa  pkcs11.MechanismType // 0 for none
	mgf                     pkcs11.MGFType       // 0 for none
	prefix                  string               // of DigestInfo
}

// nist is the DigestInfo of a hash of n bytes under 2.16.840.1.101.3.4.2.
func nist(oid, n byte) string {
	return string([]byte{tagSequence, 17 + n, tagSequence, 13, tagOID, 9, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, oid, tagNull, 0, tagOctetString, n})
}

var digests = []digest{
	{crypto.SHA256, pkcs11.CKM_SHA256, pkcs11.CKM_SHA256_HMAC, pkcs11.CKM_SHA256_HMAC_GENERAL,
		pkcs11.CKM_SHA256_RSA_PKCS, pkcs11.CKM_SHA256_RSA_PKCS_PSS, pkcs11.CKM_ECDSA_SHA256, pkcs11.CKG_MGF1_SHA256, nist(1, 32)},
	{crypto.SHA384, pkcs11.CKM_SHA384, pkcs11.CKM_SHA384_HMAC, pkcs11.CKM_SHA384_HMAC_GENERAL,
		pkcs11.CKM_SHA384_RSA_PKCS, pkcs11.CKM_SHA384_RSA_PKCS_PSS, pkcs11.CKM_ECDSA_SHA384, pkcs11.CKG_MGF1_SHA384, nist(2, 48)},
	{crypto.SHA512, pkcs11.CKM_SHA512, pkcs11.CKM_SHA512_HMAC, pkcs11.CKM_SHA512_HMAC_GENERAL,
		pkcs11.CKM_SHA512_RSA_PKCS, pkcs11.CKM_SHA512_RSA_PKCS_PSS, pkcs11.CKM_ECDSA_SHA512, pkcs11.CKG_MGF1_SHA512, nist(3, 64)},
	{crypto.SHA224, pkcs11.CKM_SHA224, pkcs11.CKM_SHA224_HMAC, pkcs11.CKM_SHA224_HMAC_GENERAL,
		pkcs11.CKM_SHA224_RSA_PKCS, pkcs11.CKM_SHA224_RSA_PKCS_PSS, pkcs11.CKM_ECDSA_SHA224, pkcs11.CKG_MGF1_SHA224, nist(4, 28)},
	{crypto.SHA512_224, pkcs11.CKM_SHA512_224, pkcs11.CKM_SHA512_224_HMAC, pkcs11.CKM_SHA512_224_HMAC_GENERAL, 0, 0, 0, 0, nist(5, 28)},
	{crypto.SHA512_256, pkcs11.CKM_SHA512_256, pkcs11.CKM_SHA512_256_HMAC, pkcs11.CKM_SHA512_256_HMAC_GENERAL, 0, 0, 0, 0, nist(6, 32)},
	{crypto.SHA3_224, pkcs11.CKM_SHA3_224, pkcs11.CKM_SHA3_224_HMAC, pkcs11.CKM_SHA3_224_HMAC_GENERAL,
		pkcs11.CKM_SHA3_224_RSA_PKCS, pkcs11.CKM_SHA3_224_RSA_PKCS_PSS, pkcs11.CKM_ECDSA_SHA3_224, pkcs11.CKG_MGF1_SHA3_224, nist(7, 28)},
	{crypto.SHA3_256, pkcs11.CKM_SHA3_256, pkcs11.CKM_SHA3_256_HMAC, pkcs11.CKM_SHA3_256_HMAC_GENERAL,
		pkcs11.CKM_SHA3_256_RSA_PKCS, pkcs11.CKM_SHA3_256_RSA_PKCS_PSS, pkcs11.CKM_ECDSA_SHA3_256, pkcs11.CKG_MGF1_SHA3_256, nist(8, 32)},
	{crypto.SHA3_384, pkcs11.CKM_SHA3_384, pkcs11.CKM_SHA3_384_HMAC, pkcs11.CKM_SHA3_384_HMAC_GENERAL,
		pkcs11.CKM_SHA3_384_RSA_PKCS, pkcs11.CKM_SHA3_384_RSA_PKCS_PSS, pkcs11.CKM_ECDSA_SHA3_384, pkcs11.CKG_MGF1_SHA3_384, nist(9, 48)},
	{crypto.SHA3_512, pkcs11.CKM_SHA3_512, pkcs11.CKM_SHA3_512_HMAC, pkcs11.CKM_SHA3_512_HMAC_GENERAL,
		pkcs11.CKM_SHA3_512_RSA_PKCS, pkcs11.CKM_SHA3_512_RSA_PKCS_PSS, pkcs11.CKM_ECDSA_SHA3_512, pkcs11.CKG_MGF1_SHA3_512, nist(10, 64)},
	{crypto.SHA1, pkcs11.CKM_SHA_1, pkcs11.CKM_SHA_1_HMAC, pkcs11.CKM_SHA_1_HMAC_GENERAL,
		pkcs11.CKM_SHA1_RSA_PKCS, pkcs11.CKM_SHA1_RSA_PKCS_PSS, pkcs11.CKM_ECDSA_SHA1, pkcs11.CKG_MGF1_SHA1,
		"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14"},
}

func digestOf(h crypto.Hash) *digest {
	for i := range digests {
		if digests[i].hash == h {
			return &digests[i]
		}
	}
	return nil
}

// Hashes returns the hash functions that all functions here know, CKM_SHA_1
// and the SHA-2 and SHA-3 families.
func Hashes() []crypto.Hash {
	h := make([]crypto.Hash, len(digests))
	for i := range digests {
		h[i] = digests[i].hash
	}
	return h
}

// Hash returns the hash function of a digesting mechanism, CKM_SHA256 say.
func Hash(m pkcs11.MechanismType) (crypto.Hash, bool) {
	for i := range digests {
		if digests[i].mech == m {
			return digests[i].hash, true
		}
	}
	return 0, false
}

// HashMechanism is the reverse of Hash.
func HashMechanism(h crypto.Hash) (pkcs11.MechanismType, bool) {
	if d := digestOf(h); d != nil {
		return d.mech, true
	}
	return 0, false
}

// HMAC returns the hash function of CKM_…_HMAC or CKM_…_HMAC_GENERAL; general
// tells which of the two it is: one whose parameter is the length of the MAC.
func HMAC(m pkcs11.MechanismType) (h crypto.Hash, general, ok bool) {
	for i := range digests {
		switch d := &digests[i]; m {
		case d.hmac:
			return d.hash, false, true
		case d.hmacGeneral:
			return d.hash, true, true
		}
	}
	return 0, false, false
}

// Split takes a mechanism that hashes and signs apart: CKM_ECDSA_SHA256 is
// CKM_ECDSA of a SHA-256 digest, CKM_SHA256_RSA_PKCS is CKM_RSA_PKCS of a
// DigestInfo, CKM_SHA256_RSA_PKCS_PSS is CKM_RSA_PKCS_PSS of a digest with the
// same parameters. ok is false for every other mechanism.
func Split(m pkcs11.MechanismType) (base pkcs11.MechanismType, h crypto.Hash, ok bool) {
	if m == 0 {
		return 0, 0, false
	}
	for i := range digests {
		switch d := &digests[i]; m {
		case d.ecdsa:
			return pkcs11.CKM_ECDSA, d.hash, true
		case d.rsaPKCS:
			return pkcs11.CKM_RSA_PKCS, d.hash, true
		case d.rsaPSS:
			return pkcs11.CKM_RSA_PKCS_PSS, d.hash, true
		}
	}
	return 0, 0, false
}

// Join is the reverse of Split.
func Join(base pkcs11.MechanismType, h crypto.Hash) (m pkcs11.MechanismType, ok bool) {
	d := digestOf(h)
	if d == nil {
		return 0, false
	}
	switch base {
	case pkcs11.CKM_ECDSA:
		m = d.ecdsa
	case pkcs11.CKM_RSA_PKCS:
		m = d.rsaPKCS
	case pkcs11.CKM_RSA_PKCS_PSS:
		m = d.rsaPSS
	}
	return m, m != 0
}

// MGFHash returns the hash function of an MGF1.
func MGFHash(g pkcs11.MGFType) (crypto.Hash, bool) {
	if g == 0 {
		return 0, false
	}
	for i := range digests {
		if digests[i].mgf == g {
			return digests[i].hash, true
		}
	}
	return 0, false
}

// MGF is the reverse of MGFHash.
func MGF(h crypto.Hash) (pkcs11.MGFType, bool) {
	if d := digestOf(h); d != nil && d.mgf != 0 {
		return d.mgf, true
	}
	return 0, false
}

// AppendDigestInfo appends the DER encoding of the DigestInfo of a digest, the
// data that CKM_RSA_PKCS wants. RFC 8017 §9.2. The error, for a digest that is
// not as long as h makes it, wraps CKR_DATA_LEN_RANGE, for an unknown hash
// function CKR_MECHANISM_INVALID.
func AppendDigestInfo(dst []byte, h crypto.Hash, digest []byte) ([]byte, error) {
	d := digestOf(h)
	if d == nil {
		return dst, fmt.Errorf("hash function %v: %w", h, pkcs11.CKR_MECHANISM_INVALID)
	}
	if len(digest) != h.Size() {
		return dst, fmt.Errorf("%v digest of %d bytes: %w", h, len(digest), pkcs11.CKR_DATA_LEN_RANGE)
	}
	return append(append(dst, d.prefix...), digest...), nil
}

// ParseDigestInfo is the reverse of AppendDigestInfo. The digest shares the
// memory of data. Encodings that AppendDigestInfo does not make are not ok.
func ParseDigestInfo(data []byte) (h crypto.Hash, digest []byte, ok bool) {
	for i := range digests {
		d := &digests[i]
		if n := len(d.prefix); len(data) == n+d.hash.Size() && string(data[:n]) == d.prefix {
			return d.hash, data[n:], true
		}
	}
	return 0, nil, false
}
