package soft_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// shown are the attributes of a derived key that may be looked at.
var shown = template(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY, pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET,
	pkcs11.CKA_SENSITIVE, false, pkcs11.CKA_EXTRACTABLE, true)

func derive(t testing.TB, s cryptoki.Session, m *pkcs11.Mechanism, base pkcs11.ObjectHandle, tmpl pkcs11.Template) []byte {
	t.Helper()
	h, err := s.DeriveKey(t.Context(), m, base, tmpl)
	must(t, err)
	return get(t, s, h, pkcs11.CKA_VALUE).Bytes()
}

func sized(n int) pkcs11.Template {
	return append(shown[:len(shown):len(shown)], pkcs11.Attr(pkcs11.CKA_VALUE_LEN, n))
}

// Both sides derive the same, whichever way the point is given, and a length
// takes the bytes that the standard says.
func TestECDH(t *testing.T) {
	s := newSession(t)
	for kind, size := range map[string]int{"P-256": 32, "P-384": 48, "P-521": 66, "X25519": 32} {
		t.Run(kind, func(t *testing.T) {
			pubA, privA := generatePair(t, s, kind, nil, template(pkcs11.CKA_DERIVE, true))
			pubB, privB := generatePair(t, s, kind, nil, template(pkcs11.CKA_DERIVE, true))
			pointA, pointB := get(t, s, pubA, pkcs11.CKA_EC_POINT).Bytes(), get(t, s, pubB, pkcs11.CKA_EC_POINT).Bytes()
			bareB := pointB
			if kind != "X25519" {
				bareB = pointB[len(pointB)-2*size-1:]
			}
			null := func(point []byte) *pkcs11.Mechanism {
				return mech(pkcs11.CKM_ECDH1_DERIVE, &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: point})
			}
			z := derive(t, s, null(pointB), privA, shown)
			if len(z) != size {
				t.Errorf("%d bytes; want %d", len(z), size)
			}
			wrapped := append([]byte{0x04, byte(len(bareB))}, bareB...)
			if len(bareB) > 127 {
				wrapped = append([]byte{0x04, 0x81, byte(len(bareB))}, bareB...)
			}
			for what, m := range map[string]*pkcs11.Mechanism{"bare": null(bareB), "in an OCTET STRING": null(wrapped),
				"with cofactor": mech(pkcs11.CKM_ECDH1_COFACTOR_DERIVE, &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: pointB})} {
				if got := derive(t, s, m, privA, shown); !bytes.Equal(got, z) {
					t.Errorf("%s: %x; want %x", what, got, z)
				}
			}
			if got := derive(t, s, null(pointA), privB, shown); !bytes.Equal(got, z) {
				t.Errorf("the other side: %x; want %x", got, z)
			}
			if got := derive(t, s, null(pointB), privA, sized(16)); !bytes.Equal(got, z[size-16:]) {
				t.Errorf("16 bytes: %x; want the last of %x", got, z)
			}
			m := mech(pkcs11.CKM_ECDH1_DERIVE, &pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_SHA256_KDF, PublicData: pointB, SharedData: []byte("shared")})
			var want []byte
			for i := uint32(1); len(want) < 50; i++ {
				sum := sha256.Sum256(append(binary.BigEndian.AppendUint32(bytes.Clone(z), i), "shared"...))
				want = append(want, sum[:]...)
			}
			if got := derive(t, s, m, privA, sized(50)); !bytes.Equal(got, want[:50]) {
				t.Errorf("CKD_SHA256_KDF: %x; want %x", got, want[:50])
			}
			for kdf := pkcs11.CKD_SHA1_KDF; kdf <= pkcs11.CKD_SHA512_KDF; kdf++ {
				if kdf == pkcs11.CKD_SHA1_KDF_ASN1 || kdf == pkcs11.CKD_SHA1_KDF_CONCATENATE {
					continue
				}
				a := derive(t, s, mech(pkcs11.CKM_ECDH1_DERIVE, &pkcs11.ECDH1DeriveParams{KDF: kdf, PublicData: pointB}), privA, sized(100))
				b := derive(t, s, mech(pkcs11.CKM_ECDH1_DERIVE, &pkcs11.ECDH1DeriveParams{KDF: kdf, PublicData: pointA}), privB, sized(100))
				if !bytes.Equal(a, b) || bytes.Equal(a, want) {
					t.Errorf("%v: %x and %x", kdf, a, b)
				}
			}
			// An AES key that works.
			aes := template(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY, pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES, pkcs11.CKA_ENCRYPT, true, pkcs11.CKA_VALUE_LEN, 32)
			key, err := s.DeriveKey(t.Context(), m, privA, aes)
			must(t, err)
			if _, err := encrypting.run(t, s, mech(pkcs11.CKM_AES_ECB, nil), key, make([]byte, 16)); err != nil {
				t.Error(err)
			}
			short := bytes.Clone(bareB[:len(bareB)-1])
			off := bytes.Clone(bareB)
			off[len(off)-1] ^= 1
			for what, test := range map[string]struct {
				params any
				tmpl   pkcs11.Template
				want   pkcs11.Error
			}{
				"no parameter":         {nil, shown, pkcs11.CKR_MECHANISM_PARAM_INVALID},
				"nil":                  {(*pkcs11.ECDH1DeriveParams)(nil), shown, pkcs11.CKR_MECHANISM_PARAM_INVALID},
				"no point":             {&pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL}, shown, pkcs11.CKR_MECHANISM_PARAM_INVALID},
				"a short point":        {&pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: short}, shown, pkcs11.CKR_MECHANISM_PARAM_INVALID},
				"a long point":         {&pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: append(bytes.Clone(bareB), 0)}, shown, pkcs11.CKR_MECHANISM_PARAM_INVALID},
				"no KDF":               {&pkcs11.ECDH1DeriveParams{PublicData: bareB}, shown, pkcs11.CKR_MECHANISM_PARAM_INVALID},
				"another KDF":          {&pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_CPDIVERSIFY_KDF, PublicData: bareB}, shown, pkcs11.CKR_MECHANISM_PARAM_INVALID},
				"shared data, no KDF":  {&pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: bareB, SharedData: []byte{1}}, shown, pkcs11.CKR_MECHANISM_PARAM_INVALID},
				"too long":             {&pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_NULL, PublicData: bareB}, sized(size + 1), pkcs11.CKR_KEY_SIZE_RANGE},
				"a KDF without length": {&pkcs11.ECDH1DeriveParams{KDF: pkcs11.CKD_SHA256_KDF, PublicData: bareB}, shown, pkcs11.CKR_TEMPLATE_INCOMPLETE},
			} {
				_, err := s.DeriveKey(t.Context(), mech(pkcs11.CKM_ECDH1_DERIVE, test.params), privA, test.tmpl)
				wantCode(t, what, err, test.want)
			}
			if kind != "X25519" {
				_, err := s.DeriveKey(t.Context(), null(off), privA, shown)
				wantCode(t, "a point off the curve", err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
			} else {
				_, err := s.DeriveKey(t.Context(), null(make([]byte, 32)), privA, shown)
				wantCode(t, "a point of low order", err, pkcs11.CKR_MECHANISM_PARAM_INVALID)
			}
		})
	}
}

// RFC 5869 appendix A.1, in one step and in its two.
func TestHKDF(t *testing.T) {
	s := newSession(t)
	ikm := importKey(t, s, pkcs11.CKK_GENERIC_SECRET, bytes.Repeat([]byte{0x0b}, 22), pkcs11.CKA_DERIVE, true)
	salt, info := unhex(t, "000102030405060708090a0b0c"), unhex(t, "f0f1f2f3f4f5f6f7f8f9")
	prk := unhex(t, "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
	okm := unhex(t, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
	saltKey := importKey(t, s, pkcs11.CKK_GENERIC_SECRET, salt, pkcs11.CKA_DERIVE, true)
	prkKey := importKey(t, s, pkcs11.CKK_HKDF, prk)
	hkdf := func(p pkcs11.HKDFParams) *pkcs11.Mechanism {
		if p.PRF == 0 {
			p.PRF = pkcs11.CKM_SHA256
		}
		if p.SaltType == 0 {
			p.SaltType = pkcs11.CKF_HKDF_SALT_NULL
		}
		return mech(pkcs11.CKM_HKDF_DERIVE, &p)
	}
	data := pkcs11.HKDFParams{Extract: true, Expand: true, SaltType: pkcs11.CKF_HKDF_SALT_DATA, Salt: salt, Info: info}
	byKey := pkcs11.HKDFParams{Extract: true, Expand: true, SaltType: pkcs11.CKF_HKDF_SALT_KEY, SaltKey: saltKey, Info: info}
	extract := pkcs11.HKDFParams{Extract: true, SaltType: pkcs11.CKF_HKDF_SALT_DATA, Salt: salt}
	for what, test := range map[string]struct {
		p    pkcs11.HKDFParams
		base pkcs11.ObjectHandle
		tmpl pkcs11.Template
		want []byte
	}{
		"salt as data":            {data, ikm, sized(42), okm},
		"salt as key":             {byKey, ikm, sized(42), okm},
		"extract":                 {extract, ikm, shown, prk},
		"extract, 16 bytes":       {extract, ikm, sized(16), prk[:16]},
		"expand":                  {pkcs11.HKDFParams{Expand: true, Info: info}, prkKey, sized(42), okm},
		"expand, and salt unused": {pkcs11.HKDFParams{Expand: true, Info: info, SaltType: pkcs11.CKF_HKDF_SALT_DATA, Salt: salt}, prkKey, sized(42), okm},
		// Appendix A.3.
		"no salt, no info": {pkcs11.HKDFParams{Extract: true, Expand: true}, ikm, sized(42),
			unhex(t, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")},
	} {
		if got := derive(t, s, hkdf(test.p), test.base, test.tmpl); !bytes.Equal(got, test.want) {
			t.Errorf("%s: %x; want %x", what, got, test.want)
		}
	}
	mute := importKey(t, s, pkcs11.CKK_GENERIC_SECRET, salt, pkcs11.CKA_DERIVE, false)
	aes := template(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY, pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES)
	for what, test := range map[string]struct {
		m    *pkcs11.Mechanism
		tmpl pkcs11.Template
		want pkcs11.Error
	}{
		"no parameter":       {mech(pkcs11.CKM_HKDF_DERIVE, nil), sized(16), pkcs11.CKR_MECHANISM_PARAM_INVALID},
		"no step":            {hkdf(pkcs11.HKDFParams{}), sized(16), pkcs11.CKR_MECHANISM_PARAM_INVALID},
		"no hash":            {hkdf(pkcs11.HKDFParams{Extract: true, PRF: pkcs11.CKM_ECDSA}), sized(16), pkcs11.CKR_MECHANISM_PARAM_INVALID},
		"a salt of no kind":  {hkdf(pkcs11.HKDFParams{Extract: true, SaltType: 8}), sized(16), pkcs11.CKR_MECHANISM_PARAM_INVALID},
		"no salt key":        {hkdf(pkcs11.HKDFParams{Extract: true, SaltType: pkcs11.CKF_HKDF_SALT_KEY, SaltKey: 999}), sized(16), pkcs11.CKR_KEY_HANDLE_INVALID},
		"salt not to derive": {hkdf(pkcs11.HKDFParams{Extract: true, SaltType: pkcs11.CKF_HKDF_SALT_KEY, SaltKey: mute}), sized(16), pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED},
		"extract too much":   {hkdf(extract), sized(33), pkcs11.CKR_KEY_SIZE_RANGE},
		"no length":          {hkdf(data), shown, pkcs11.CKR_TEMPLATE_INCOMPLETE},
		"no AES key":         {hkdf(pkcs11.HKDFParams{Extract: true, PRF: pkcs11.CKM_SHA_1}), aes, pkcs11.CKR_TEMPLATE_INCOMPLETE},
	} {
		_, err := s.DeriveKey(t.Context(), test.m, ikm, test.tmpl)
		wantCode(t, what, err, test.want)
	}
	_, err := s.DeriveKey(t.Context(), hkdf(data), mute, sized(16))
	wantCode(t, "a base key not to derive", err, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	_, err = s.DeriveKey(t.Context(), hkdf(data), importKey(t, s, pkcs11.CKK_AES, make([]byte, 16), pkcs11.CKA_DERIVE, true), sized(16))
	wantCode(t, "an AES key as base", err, pkcs11.CKR_KEY_TYPE_INCONSISTENT)
}

// RSA decryption and its one error; the core encrypts.
func TestRSADecrypt(t *testing.T) {
	s := newSession(t)
	pub, priv := generatePair(t, s, "RSA", template(pkcs11.CKA_ENCRYPT, true), template(pkcs11.CKA_DECRYPT, true))
	for _, m := range []*pkcs11.Mechanism{
		mech(pkcs11.CKM_RSA_PKCS, nil), oaep,
		mech(pkcs11.CKM_RSA_PKCS_OAEP, &pkcs11.OAEPParams{HashAlg: pkcs11.CKM_SHA_1, MGF: pkcs11.CKG_MGF1_SHA1}),
	} {
		for _, n := range []int{0, 1, 32, 190} {
			if n == 190 && m.Type == pkcs11.CKM_RSA_PKCS {
				n = 245
			}
			plain := bytes.Repeat([]byte{0x5a}, n)
			sealed, err := encrypting.run(t, s, m, pub, plain)
			must(t, err)
			for _, parts := range [][][]byte{{sealed}, {sealed[:100], sealed[100:]}} {
				got, err := decrypting.run(t, s, m, priv, parts...)
				if err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%v, %d bytes in %d parts: %x, %v", m.Type, n, len(parts), got, err)
				}
			}
			if sealed[77] ^= 1; m.Type == pkcs11.CKM_RSA_PKCS {
				// Not by chance padded right.
				sealed, err = encrypting.run(t, s, mech(pkcs11.CKM_RSA_X_509, nil), pub, make([]byte, 256))
				must(t, err)
			}
			_, err = decrypting.run(t, s, m, priv, sealed)
			wantCode(t, fmt.Sprintf("%v, damaged", m.Type), err, pkcs11.CKR_ENCRYPTED_DATA_INVALID)
			_, err = decrypting.run(t, s, m, priv, sealed[1:])
			wantCode(t, fmt.Sprintf("%v, shortened", m.Type), err, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE)
		}
	}
	raw := mech(pkcs11.CKM_RSA_X_509, nil)
	block := make([]byte, 256)
	block[200] = 7
	sealed, err := encrypting.run(t, s, raw, pub, block)
	must(t, err)
	if got, err := decrypting.run(t, s, raw, priv, sealed); err != nil || !bytes.Equal(got, block) {
		t.Errorf("CKM_RSA_X_509: %x, %v", got, err)
	}
}

// The token says in its table which RSA keys it works with. Others can be kept,
// and used to verify, which the core does.
func TestRSAKeySize(t *testing.T) {
	s := newSession(t)
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	parts, err := keys.PrivateAttributes(key)
	must(t, err)
	h, err := s.CreateObject(t.Context(), append(template(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKA_UNWRAP, true, pkcs11.CKA_SIGN, true, pkcs11.CKA_DECRYPT, true), parts...))
	must(t, err)
	wantCode(t, "sign", s.SignInit(t.Context(), mech(pkcs11.CKM_SHA256_RSA_PKCS, nil), h), pkcs11.CKR_KEY_SIZE_RANGE)
	wantCode(t, "decrypt", s.DecryptInit(t.Context(), oaep, h), pkcs11.CKR_KEY_SIZE_RANGE)
	_, err = s.UnwrapKey(t.Context(), oaep, h, make([]byte, 128), template(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY, pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES))
	wantCode(t, "unwrap", err, pkcs11.CKR_KEY_SIZE_RANGE)
	pub, err := keys.PublicAttributes(&key.PublicKey)
	must(t, err)
	h, err = s.CreateObject(t.Context(), append(template(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKA_VERIFY, true), pub...))
	must(t, err)
	digest := sha256.Sum256([]byte("message"))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	must(t, err)
	must(t, s.VerifyInit(t.Context(), mech(pkcs11.CKM_SHA256_RSA_PKCS, nil), h))
	must(t, s.Verify(t.Context(), []byte("message"), sig))
}
