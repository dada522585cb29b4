package soft

import (
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Sizes of keys: RSA in bits, others in bytes.
const (
	minRSA    = 2048
	maxRSA    = 4096
	maxSecret = 4096
)

// Mechanisms returns what the token does. Digests, verification, encryption with
// public keys and hashing before a signature are the core's.
//
// Keys are wrapped with what tells a changed ciphertext from one that is not and
// needs nothing new for each key, and with RSA as the standard pads it. The
// other modes of AES would have the caller choose an initialization vector, on
// which the secrecy of the keys then hangs, and CKM_RSA_X_509 wraps a short key
// as its cube.
func (t *Token) Mechanisms() []driver.Mechanism { return mechanisms }

var mechanisms = func() []driver.Mechanism {
	const ecFlags = pkcs11.CKF_EC_F_P | pkcs11.CKF_EC_NAMEDCURVE | pkcs11.CKF_EC_UNCOMPRESS
	const crypt, mac = pkcs11.CKF_ENCRYPT | pkcs11.CKF_DECRYPT, pkcs11.CKF_SIGN | pkcs11.CKF_VERIFY
	const wrap = pkcs11.CKF_WRAP | pkcs11.CKF_UNWRAP
	row := func(typ pkcs11.MechanismType, least, most, flags uint64) driver.Mechanism {
		return driver.Mechanism{Type: typ, MechanismInfo: pkcs11.MechanismInfo{MinKeySize: least, MaxKeySize: most, Flags: flags}}
	}
	table := []driver.Mechanism{
		row(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, minRSA, maxRSA, pkcs11.CKF_GENERATE_KEY_PAIR),
		row(pkcs11.CKM_RSA_PKCS, minRSA, maxRSA, pkcs11.CKF_SIGN|pkcs11.CKF_DECRYPT|pkcs11.CKF_UNWRAP),
		row(pkcs11.CKM_RSA_X_509, minRSA, maxRSA, pkcs11.CKF_SIGN|pkcs11.CKF_DECRYPT),
		row(pkcs11.CKM_RSA_PKCS_OAEP, minRSA, maxRSA, pkcs11.CKF_DECRYPT|pkcs11.CKF_UNWRAP),
		row(pkcs11.CKM_RSA_PKCS_PSS, minRSA, maxRSA, pkcs11.CKF_SIGN),

		row(pkcs11.CKM_EC_KEY_PAIR_GEN, 256, 521, pkcs11.CKF_GENERATE_KEY_PAIR|ecFlags),
		row(pkcs11.CKM_ECDSA, 256, 521, pkcs11.CKF_SIGN|ecFlags),
		row(pkcs11.CKM_ECDH1_DERIVE, 255, 521, pkcs11.CKF_DERIVE|ecFlags),
		row(pkcs11.CKM_ECDH1_COFACTOR_DERIVE, 255, 521, pkcs11.CKF_DERIVE|ecFlags),
		row(pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN, 255, 255, pkcs11.CKF_GENERATE_KEY_PAIR|ecFlags),
		row(pkcs11.CKM_EDDSA, 255, 255, pkcs11.CKF_SIGN|ecFlags),
		row(pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN, 255, 255, pkcs11.CKF_GENERATE_KEY_PAIR|ecFlags),

		row(pkcs11.CKM_AES_KEY_GEN, 16, 32, pkcs11.CKF_GENERATE),
		row(pkcs11.CKM_AES_ECB, 16, 32, crypt),
		row(pkcs11.CKM_AES_CBC, 16, 32, crypt),
		row(pkcs11.CKM_AES_CBC_PAD, 16, 32, crypt),
		row(pkcs11.CKM_AES_CTR, 16, 32, crypt),
		row(pkcs11.CKM_AES_GCM, 16, 32, crypt),
		row(pkcs11.CKM_AES_KEY_WRAP, 16, 32, crypt|wrap),
		row(pkcs11.CKM_AES_KEY_WRAP_PAD, 16, 32, crypt|wrap),
		row(pkcs11.CKM_AES_KEY_WRAP_KWP, 16, 32, crypt|wrap),
		row(pkcs11.CKM_AES_CMAC, 16, 32, mac),
		row(pkcs11.CKM_AES_CMAC_GENERAL, 16, 32, mac),

		row(pkcs11.CKM_GENERIC_SECRET_KEY_GEN, 1, maxSecret, pkcs11.CKF_GENERATE),
		row(pkcs11.CKM_HKDF_KEY_GEN, 1, maxSecret, pkcs11.CKF_GENERATE),
		row(pkcs11.CKM_HKDF_DERIVE, 1, maxSecret, pkcs11.CKF_DERIVE),
	}
	for _, typ := range hmacs {
		table = append(table, row(typ, 1, maxSecret, mac))
	}
	for _, typ := range hmacKeys {
		table = append(table, row(typ, 1, maxSecret, pkcs11.CKF_GENERATE))
	}
	return table
}()

var hmacs = []pkcs11.MechanismType{
	pkcs11.CKM_SHA_1_HMAC, pkcs11.CKM_SHA_1_HMAC_GENERAL,
	pkcs11.CKM_SHA224_HMAC, pkcs11.CKM_SHA224_HMAC_GENERAL,
	pkcs11.CKM_SHA256_HMAC, pkcs11.CKM_SHA256_HMAC_GENERAL,
	pkcs11.CKM_SHA384_HMAC, pkcs11.CKM_SHA384_HMAC_GENERAL,
	pkcs11.CKM_SHA512_HMAC, pkcs11.CKM_SHA512_HMAC_GENERAL,
	pkcs11.CKM_SHA512_224_HMAC, pkcs11.CKM_SHA512_224_HMAC_GENERAL,
	pkcs11.CKM_SHA512_256_HMAC, pkcs11.CKM_SHA512_256_HMAC_GENERAL,
	pkcs11.CKM_SHA3_224_HMAC, pkcs11.CKM_SHA3_224_HMAC_GENERAL,
	pkcs11.CKM_SHA3_256_HMAC, pkcs11.CKM_SHA3_256_HMAC_GENERAL,
	pkcs11.CKM_SHA3_384_HMAC, pkcs11.CKM_SHA3_384_HMAC_GENERAL,
	pkcs11.CKM_SHA3_512_HMAC, pkcs11.CKM_SHA3_512_HMAC_GENERAL,
}

var hmacKeys = []pkcs11.MechanismType{
	pkcs11.CKM_SHA_1_KEY_GEN, pkcs11.CKM_SHA224_KEY_GEN, pkcs11.CKM_SHA256_KEY_GEN,
	pkcs11.CKM_SHA384_KEY_GEN, pkcs11.CKM_SHA512_KEY_GEN, pkcs11.CKM_SHA512_224_KEY_GEN,
	pkcs11.CKM_SHA512_256_KEY_GEN, pkcs11.CKM_SHA3_224_KEY_GEN, pkcs11.CKM_SHA3_256_KEY_GEN,
	pkcs11.CKM_SHA3_384_KEY_GEN, pkcs11.CKM_SHA3_512_KEY_GEN,
}
