package keys

import (
	"crypto"
	"encoding/binary"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// KDFHash returns the hash function with which X963 is that key derivation
// function, 0 for CKD_NULL. It reports false for one that is not X9.63's.
// PKCS #11 v2.40 mechanisms §2.3.7.
func KDFHash(kdf pkcs11.KDFType) (crypto.Hash, bool) {
	switch kdf {
	case pkcs11.CKD_NULL:
		return 0, true
	case pkcs11.CKD_SHA1_KDF:
		return crypto.SHA1, true
	case pkcs11.CKD_SHA224_KDF:
		return crypto.SHA224, true
	case pkcs11.CKD_SHA256_KDF:
		return crypto.SHA256, true
	case pkcs11.CKD_SHA384_KDF:
		return crypto.SHA384, true
	case pkcs11.CKD_SHA512_KDF:
		return crypto.SHA512, true
	}
	return 0, false
}

// X963 is the key derivation function of ANSI X9.63, SEC 1 §3.6.1: n bytes, from a
// shared secret and what both sides know.
func X963(hash crypto.Hash, z, info []byte, n int) []byte {
	out := make([]byte, 0, n+hash.Size())
	h := hash.New()
	for counter := uint32(1); len(out) < n; counter++ {
		h.Reset()
		h.Write(z)
		h.Write(binary.BigEndian.AppendUint32(nil, counter))
		h.Write(info)
		out = h.Sum(out)
	}
	clear(out[n:])
	return out[:n]
}
