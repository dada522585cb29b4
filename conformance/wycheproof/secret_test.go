package wycheproof

import (
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// badCiphertext are the codes of decryption.
var badCiphertext = []pkcs11.Error{pkcs11.CKR_ENCRYPTED_DATA_INVALID, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE}

type cipherVector struct {
	vector
	Key, IV, AAD, Msg, Ct, Tag hexBytes
}

type cipherGroup struct {
	TagSize uint64
	Tests   []cipherVector
}

// seal decrypts, and encrypts what is valid.
func (f *file) seal(m *pkcs11.Mechanism, v cipherVector, sealed []byte, refusals ...pkcs11.Error) {
	key, err := f.secret(pkcs11.CKK_AES, v.Key)
	must(f.t, err)
	defer f.destroy(key)
	got, err := f.decrypt(m, key, sealed)
	err = compare(got, v.Msg, err)
	if err == nil && v.Result == "valid" {
		got, err = f.encrypt(m, key, v.Msg)
		err = compare(got, sealed, err)
	}
	f.judge(v.vector, "", err, refusals...)
}

func runCBC(f *file) {
	for _, g := range groups[cipherGroup](f.t, f.name) {
		for _, v := range g.Tests {
			f.seal(mech(pkcs11.CKM_AES_CBC_PAD, []byte(v.IV)), v, v.Ct, badCiphertext...)
		}
	}
}

func runGCM(f *file) {
	for _, g := range groups[cipherGroup](f.t, f.name) {
		for _, v := range g.Tests {
			m := mech(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: v.IV, AAD: v.AAD, TagBits: g.TagSize})
			refusals := badCiphertext
			if len(v.IV) == 0 {
				refusals = []pkcs11.Error{pkcs11.CKR_MECHANISM_PARAM_INVALID}
			}
			f.seal(m, v, append([]byte(v.Ct), v.Tag...), refusals...)
		}
	}
}

// runGMAC authenticates data without a plaintext: GMAC is GCM of nothing.
func runGMAC(f *file) {
	for _, g := range groups[cipherGroup](f.t, f.name) {
		for _, v := range g.Tests {
			m := mech(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: v.IV, AAD: v.Msg, TagBits: g.TagSize})
			v.Msg = nil
			f.seal(m, v, v.Tag, badCiphertext...)
		}
	}
}

var hmacs = map[string]pkcs11.MechanismType{
	"sha1": pkcs11.CKM_SHA_1_HMAC, "sha224": pkcs11.CKM_SHA224_HMAC, "sha256": pkcs11.CKM_SHA256_HMAC, "sha384": pkcs11.CKM_SHA384_HMAC, "sha512": pkcs11.CKM_SHA512_HMAC,
	"sha512_224": pkcs11.CKM_SHA512_224_HMAC, "sha512_256": pkcs11.CKM_SHA512_256_HMAC,
	"sha3_224": pkcs11.CKM_SHA3_224_HMAC, "sha3_256": pkcs11.CKM_SHA3_256_HMAC, "sha3_384": pkcs11.CKM_SHA3_384_HMAC, "sha3_512": pkcs11.CKM_SHA3_512_HMAC,
}

var generals = map[pkcs11.MechanismType]pkcs11.MechanismType{
	pkcs11.CKM_AES_CMAC:   pkcs11.CKM_AES_CMAC_GENERAL,
	pkcs11.CKM_SHA_1_HMAC: pkcs11.CKM_SHA_1_HMAC_GENERAL, pkcs11.CKM_SHA224_HMAC: pkcs11.CKM_SHA224_HMAC_GENERAL, pkcs11.CKM_SHA256_HMAC: pkcs11.CKM_SHA256_HMAC_GENERAL,
	pkcs11.CKM_SHA384_HMAC: pkcs11.CKM_SHA384_HMAC_GENERAL, pkcs11.CKM_SHA512_HMAC: pkcs11.CKM_SHA512_HMAC_GENERAL,
	pkcs11.CKM_SHA512_224_HMAC: pkcs11.CKM_SHA512_224_HMAC_GENERAL, pkcs11.CKM_SHA512_256_HMAC: pkcs11.CKM_SHA512_256_HMAC_GENERAL,
	pkcs11.CKM_SHA3_224_HMAC: pkcs11.CKM_SHA3_224_HMAC_GENERAL, pkcs11.CKM_SHA3_256_HMAC: pkcs11.CKM_SHA3_256_HMAC_GENERAL,
	pkcs11.CKM_SHA3_384_HMAC: pkcs11.CKM_SHA3_384_HMAC_GENERAL, pkcs11.CKM_SHA3_512_HMAC: pkcs11.CKM_SHA3_512_HMAC_GENERAL,
}

// runMAC makes and verifies HMACs and CMACs: whole ones with both mechanisms,
// shortened ones with the general one.
func runMAC(f *file) {
	typ, keyType, full := pkcs11.CKM_AES_CMAC, pkcs11.CKK_AES, 16
	if hash, ok := strings.CutPrefix(strings.TrimSuffix(f.name, "_test.json"), "hmac_"); ok {
		if typ, ok = hmacs[hash]; !ok {
			f.t.Fatalf("HMAC with %q", hash)
		}
		keyType = pkcs11.CKK_GENERIC_SECRET
	}
	for _, g := range groups[cipherGroup](f.t, f.name) {
		for _, v := range g.Tests {
			key, err := f.secret(keyType, v.Key, pkcs11.CKA_SIGN, true, pkcs11.CKA_VERIFY, true)
			if err != nil {
				// An AES key of another length, which no vector is valid with.
				f.judge(v.vector, "", err, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
				continue
			}
			ways := []*pkcs11.Mechanism{mech(generals[typ], &pkcs11.MACGeneralParams{MACLen: g.TagSize / 8})}
			if whole, err := f.sign(mech(typ, nil), key, nil); err != nil {
				f.t.Fatal(err)
			} else if full = len(whole); uint64(full) == g.TagSize/8 {
				ways = append(ways, mech(typ, nil))
			}
			var outcome error
			for _, m := range ways {
				err := f.verify(m, key, v.Msg, v.Tag)
				if made, signErr := f.sign(m, key, v.Msg); signErr != nil {
					err = signErr
				} else if same := compare(made, v.Tag, nil); (same == nil) != (err == nil) {
					f.t.Errorf("%s %d: made %x, but verification says %v", f.name, v.ID, made, err)
				}
				if err != nil {
					outcome = err
				}
			}
			f.judge(v.vector, "", outcome, badSignature...)
			f.destroy(key)
		}
	}
}

// runKeyWrap wraps and unwraps a secret key, and encrypts and decrypts the same
// bytes.
func runKeyWrap(f *file) {
	m := mech(pkcs11.CKM_AES_KEY_WRAP, nil)
	if strings.Contains(f.name, "kwp") {
		m = mech(pkcs11.CKM_AES_KEY_WRAP_KWP, nil)
	}
	ctx := f.t.Context()
	fresh := template(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY, pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET, pkcs11.CKA_SENSITIVE, false, pkcs11.CKA_EXTRACTABLE, true)
	for _, g := range groups[cipherGroup](f.t, f.name) {
		for _, v := range g.Tests {
			kek, err := f.secret(pkcs11.CKK_AES, v.Key, pkcs11.CKA_WRAP, true, pkcs11.CKA_UNWRAP, true, pkcs11.CKA_ENCRYPT, true, pkcs11.CKA_DECRYPT, true)
			must(f.t, err)
			plain, decryptErr := f.decrypt(m, kek, v.Ct)
			decryptErr = compare(plain, v.Msg, decryptErr)
			if decryptErr != nil && !isOne(decryptErr, badCiphertext) {
				f.t.Errorf("%s %d: decrypted: %v", f.name, v.ID, decryptErr)
			}
			value, err := f.value(f.UnwrapKey(ctx, m, kek, v.Ct, fresh))
			err = compare(value, v.Msg, err)
			if (err == nil) != (decryptErr == nil) {
				f.t.Errorf("%s %d: unwrapped: %v, but decrypted: %v", f.name, v.ID, err, decryptErr)
			}
			if v.Result == "valid" && err == nil {
				key, createErr := f.secret(pkcs11.CKK_GENERIC_SECRET, v.Msg)
				must(f.t, createErr)
				sealed, wrapErr := output(func(out []byte) (int, error) { return f.WrapKey(ctx, m, kek, key, out) })
				err = compare(sealed, v.Ct, wrapErr)
				f.destroy(key)
				if sealed, encryptErr := f.encrypt(m, kek, v.Msg); err == nil {
					err = compare(sealed, v.Ct, encryptErr)
				}
			}
			f.judge(v.vector, "", err, pkcs11.CKR_WRAPPED_KEY_INVALID, pkcs11.CKR_WRAPPED_KEY_LEN_RANGE)
			f.destroy(kek)
		}
	}
}

func runHKDF(f *file) {
	hash := map[string]pkcs11.MechanismType{"hkdf_sha1": pkcs11.CKM_SHA_1, "hkdf_sha256": pkcs11.CKM_SHA256, "hkdf_sha384": pkcs11.CKM_SHA384, "hkdf_sha512": pkcs11.CKM_SHA512}[strings.TrimSuffix(f.name, "_test.json")]
	for _, g := range groups[struct {
		Tests []struct {
			vector
			IKM, Salt, Info, OKM hexBytes
			Size                 uint64
		}
	}](f.t, f.name) {
		for _, v := range g.Tests {
			key, err := f.secret(pkcs11.CKK_HKDF, v.IKM)
			must(f.t, err)
			p := &pkcs11.HKDFParams{Extract: true, Expand: true, PRF: hash, SaltType: pkcs11.CKF_HKDF_SALT_NULL, Info: v.Info}
			if len(v.Salt) > 0 {
				p.SaltType, p.Salt = pkcs11.CKF_HKDF_SALT_DATA, v.Salt
			}
			got, err := f.value(f.DeriveKey(f.t.Context(), mech(pkcs11.CKM_HKDF_DERIVE, p), key, template(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY, pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET,
				pkcs11.CKA_SENSITIVE, false, pkcs11.CKA_EXTRACTABLE, true, pkcs11.CKA_VALUE_LEN, v.Size)))
			except := ""
			if v.Size > 4096 {
				except = "long-key"
			}
			f.judge(v.vector, except, compare(got, v.OKM, err), pkcs11.CKR_KEY_SIZE_RANGE)
			f.destroy(key)
		}
	}
}
