package wycheproof

import "github.com/go-cryptoki/cryptoki/pkcs11"

// runs says how the files of each family are gone through, by patterns of their
// names without _test.json.
var runs = map[string]func(*file){
	"aes_cbc_pkcs5":     runCBC,
	"aes_gcm":           runGCM,
	"aes_gmac":          runGMAC,
	"aes_cmac":          runMAC,
	"aes_wrap aes_kwp":  runKeyWrap,
	"hmac_sha[0-9]*":    runMAC,
	"hkdf_*":            runHKDF,
	"ed25519":           runEd25519,
	"x25519":            runX25519,
	"rsa_signature_*":   runRSAVerify,
	"rsa_pkcs1_*_gen":   runRSASign,
	"rsa_pkcs1_????":    runRSADecrypt,
	"rsa_oaep_*":        runRSADecrypt,
	"rsa_three_primes*": runRSADecrypt,

	"rsa_pss_*_sha[0-9]* rsa_pss_misc rsa_pss_misc_params": runRSAVerify,

	"ecdsa_secp256r1_sha[0-9]* ecdsa_secp384r1_sha[0-9]* ecdsa_secp521r1_sha[0-9]*": runECDSA,

	"ecdh_secp256r1_ecpoint ecdh_secp384r1_ecpoint ecdh_secp521r1_ecpoint": runECDH,

	// Curves that are not there have to be refused with the code that says so.
	"ecdsa_brainpool* ecdsa_secp160* ecdsa_secp192* ecdsa_secp224* ecdsa_secp256k1* ed448": runOtherPublic,
	"ecdh_brainpool* ecdh_secp224r1 ecdh_secp224r1_ecpoint ecdh_secp256k1 ecdh_sect* x448": runOtherPrivate,
}

// notRun are the files that are not gone through, and why.
var notRun = map[string]string{
	"ecdh_secp256r1 ecdh_secp384r1 ecdh_secp521r1 ecdh_*_pem ecdh_*_webcrypto x25519_??? x448_???": "the points of other files as SPKI, PEM or JWK, which callers of Cryptoki take apart",
	"ecdsa_secp256r1_shake* ecdsa_secp384r1_shake* ecdsa_secp521r1_shake* rsa_pss_*_shake*":        "PKCS #11 has no mechanism that signs with SHAKE",
	"ec_prime_order_curves": "parameters of curves to look at, nothing to compute",
	"primality":             "no function tells primes",
	"json_web_*":            "not of Cryptoki",

	"a128cbc_hs256 a192cbc_hs384 a256cbc_hs512 aead_aes_siv_cmac aes_siv_cmac aes_gcm_siv aes_eax aes_ff1_* c2sp_chunked_* kmac*": "PKCS #11 has no such mechanism",
	"aes_ccm aes_xts chacha20_poly1305 xchacha20_poly1305 pbes2_* pbkdf2_* mlkem_* mldsa_*":                                       "the token does not have the mechanism",
	"aegis* aria_* ascon* bls_* camellia_* dsa_* hmac_sm3 morus* seed_* siphash* sm4_* vmac_*":                                    "the token does not have the algorithm",
}

// policy says whether a vector that may be accepted or refused is, by its flags:
// one that says no is enough to have it refused.
var policy = map[string]bool{
	// X25519. The shared secret of a point of low order is zero whatever the
	// private key is: RFC 7748 §6.1 says MAY abort, RFC 9180 and TLS 1.3 MUST.
	"ZeroSharedSecret":       false,
	"LowOrderPublic":         true, // the zero decides
	"Twist":                  true, // the ladder works on the twist as well
	"NonCanonicalPublic":     true, // RFC 7748 §5: MUST accept
	"SmallPublicKey":         true, // for RSA, too: a small exponent
	"SpecialPublicKey":       true,
	"EdgeCaseShared":         true,
	"EdgeCaseMultiplication": true,
	"Ktv":                    true,

	// ECDH. The token says CKF_EC_UNCOMPRESS.
	"CompressedPublic": false,
	"CompressedPoint":  false,

	// RSA.
	"MissingNull":            false, // RFC 8017 §9.2 note 1 leaves it open; forgers like freedom
	"WeakHash":               true,  // SHA-1, where the caller says so
	"Constructed":            true,
	"EncryptionWithLabel":    true,
	"SmallIntegerCiphertext": true,

	// AES-KW of one semiblock is ECB with a constant: RFC 3394 §2 wants two.
	"ShortKey": false,
}

// An exception is a reason not to do what a vector says, and the code with which
// it is refused then; 0 if the vector cannot be put to a session at all.
type exception struct {
	code   pkcs11.Error
	reason string
}

var exceptions = map[string]exception{
	"other-curve":  {pkcs11.CKR_CURVE_NOT_SUPPORTED, "the curves are P-256, P-384, P-521, Ed25519 and X25519"},
	"rsa-size":     {pkcs11.CKR_KEY_SIZE_RANGE, "private RSA keys have 2048 to 4096 bits"},
	"three-primes": {pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "private RSA keys have two primes in PKCS #11"},
	"long-key":     {pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "secret keys have at most 4096 bytes"},
	"no-mgf":       {0, "PKCS #11 has no CKG_MGF1 with SHA-512/224 and SHA-512/256"},
	"not-raw":      {0, "the DER of the signature is invalid, or not of two numbers that fit: there is no r‖s to verify"},
}
