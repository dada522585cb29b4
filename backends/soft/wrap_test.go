package soft_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// wrapped wraps a key as a caller in C does, who asks for the size first.
func wrapped(t *testing.T, s cryptoki.Session, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle) []byte {
	t.Helper()
	size, err := s.WrapKey(t.Context(), m, wrapping, key, nil)
	must(t, err)
	n, err := s.WrapKey(t.Context(), m, wrapping, key, make([]byte, size-1))
	if !errors.Is(err, pkcs11.CKR_BUFFER_TOO_SMALL) || n != size {
		t.Errorf("a buffer one byte too short: %d, %v; want %d, CKR_BUFFER_TOO_SMALL", n, err, size)
	}
	out := make([]byte, size)
	n, err = s.WrapKey(t.Context(), m, wrapping, key, out)
	must(t, err)
	if n != size {
		t.Errorf("%d bytes, %d were announced", n, size)
	}
	return out[:n]
}

var oaep = mech(pkcs11.CKM_RSA_PKCS_OAEP, &pkcs11.OAEPParams{HashAlg: pkcs11.CKM_SHA256, MGF: pkcs11.CKG_MGF1_SHA1, Source: pkcs11.CKZ_DATA_SPECIFIED, Label: []byte("l")})

// A sensitive secret key travels under one that was generated for it, and what
// comes out has the same value and is as well kept.
func TestWrapSecretKeys(t *testing.T) {
	s := newSession(t)
	kek, err := s.GenerateKey(t.Context(), mech(pkcs11.CKM_AES_KEY_GEN, nil), template(pkcs11.CKA_VALUE_LEN, 32, pkcs11.CKA_WRAP, true, pkcs11.CKA_UNWRAP, true))
	must(t, err)
	rsaPub, rsaPriv := generatePair(t, s, "RSA", template(pkcs11.CKA_WRAP, true), template(pkcs11.CKA_UNWRAP, true))
	for _, test := range []struct {
		m                    *pkcs11.Mechanism
		wrapping, unwrapping pkcs11.ObjectHandle
		sensitive            bool
	}{
		{mech(pkcs11.CKM_AES_KEY_WRAP, nil), kek, kek, true},
		{mech(pkcs11.CKM_AES_KEY_WRAP, []byte("12345678")), kek, kek, true},
		{mech(pkcs11.CKM_AES_KEY_WRAP_PAD, nil), kek, kek, true},
		{mech(pkcs11.CKM_AES_KEY_WRAP_KWP, nil), kek, kek, true},
		{mech(pkcs11.CKM_AES_KEY_WRAP_KWP, []byte("1234")), kek, kek, true},
		{mech(pkcs11.CKM_RSA_PKCS, nil), rsaPub, rsaPriv, false}, // for a sensitive one the SO has to trust it
		{oaep, rsaPub, rsaPriv, false},
	} {
		for _, n := range []int{16, 24, 32} {
			t.Run(fmt.Sprintf("%v, AES-%d", test.m.Type, 8*n), func(t *testing.T) {
				key, err := s.GenerateKey(t.Context(), mech(pkcs11.CKM_AES_KEY_GEN, nil), template(pkcs11.CKA_VALUE_LEN, n,
					pkcs11.CKA_SENSITIVE, test.sensitive, pkcs11.CKA_EXTRACTABLE, true, pkcs11.CKA_ENCRYPT, true))
				must(t, err)
				sealed := wrapped(t, s, test.m, test.wrapping, key)
				fresh := template(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY, pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES, pkcs11.CKA_DECRYPT, true)
				again, err := s.UnwrapKey(t.Context(), test.m, test.unwrapping, sealed, fresh)
				must(t, err)
				if a, b := get(t, s, key, pkcs11.CKA_CHECK_VALUE).Bytes(), get(t, s, again, pkcs11.CKA_CHECK_VALUE).Bytes(); !bytes.Equal(a, b) {
					t.Errorf("check value %x, of the original %x", b, a)
				}
				if a := get(t, s, again, pkcs11.CKA_VALUE_LEN).Uint(); a != uint64(n) {
					t.Errorf("CKA_VALUE_LEN %d", a)
				}
				for typ, want := range map[pkcs11.AttributeType]bool{pkcs11.CKA_SENSITIVE: true, pkcs11.CKA_EXTRACTABLE: false,
					pkcs11.CKA_ALWAYS_SENSITIVE: false, pkcs11.CKA_NEVER_EXTRACTABLE: false, pkcs11.CKA_LOCAL: false} {
					if got := get(t, s, again, typ).Bool(); got != want {
						t.Errorf("%v %t", typ, got)
					}
				}
				ecb := mech(pkcs11.CKM_AES_ECB, nil)
				text, err := encrypting.run(t, s, ecb, key, []byte("0123456789abcdef"))
				must(t, err)
				if plain, err := decrypting.run(t, s, ecb, again, text); err != nil || string(plain) != "0123456789abcdef" {
					t.Errorf("decrypted with the unwrapped key: %q, %v", plain, err)
				}
				for i := 0; i < len(sealed); i += len(sealed)/40 + 1 {
					broken := bytes.Clone(sealed)
					broken[i] ^= 1
					if h, err := s.UnwrapKey(t.Context(), test.m, test.unwrapping, broken, fresh); !errors.Is(err, pkcs11.CKR_WRAPPED_KEY_INVALID) && !(test.m.Type == pkcs11.CKM_RSA_PKCS && err == nil) {
						t.Errorf("byte %d changed: %d, %v; want CKR_WRAPPED_KEY_INVALID", i, h, err)
					}
				}
				for _, cut := range []int{1, 8, len(sealed) - 1} {
					_, err := s.UnwrapKey(t.Context(), test.m, test.unwrapping, sealed[:len(sealed)-cut], fresh)
					if !errors.Is(err, pkcs11.CKR_WRAPPED_KEY_INVALID) && !errors.Is(err, pkcs11.CKR_WRAPPED_KEY_LEN_RANGE) {
						t.Errorf("%d bytes cut off: %v", cut, err)
					}
				}
			})
		}
	}
}

// Private keys travel as PKCS #8, of any length, and sign as before.
func TestWrapPrivateKeys(t *testing.T) {
	s := newSession(t)
	kek, err := s.GenerateKey(t.Context(), mech(pkcs11.CKM_AES_KEY_GEN, nil), template(pkcs11.CKA_VALUE_LEN, 32, pkcs11.CKA_WRAP, true, pkcs11.CKA_UNWRAP, true))
	must(t, err)
	for kind, m := range map[string]*pkcs11.Mechanism{
		"P-256": mech(pkcs11.CKM_ECDSA_SHA256, nil), "P-384": mech(pkcs11.CKM_ECDSA_SHA256, nil), "P-521": mech(pkcs11.CKM_ECDSA_SHA256, nil),
		"Ed25519": mech(pkcs11.CKM_EDDSA, nil), "RSA": mech(pkcs11.CKM_SHA256_RSA_PKCS, nil), "X25519": nil,
	} {
		t.Run(kind, func(t *testing.T) {
			pub, priv := generatePair(t, s, kind, nil, template(pkcs11.CKA_EXTRACTABLE, true, pkcs11.CKA_ID, []byte(kind)))
			kwp := mech(pkcs11.CKM_AES_KEY_WRAP_KWP, nil)
			sealed := wrapped(t, s, kwp, kek, priv)
			typ := get(t, s, priv, pkcs11.CKA_KEY_TYPE).Uint()
			again, err := s.UnwrapKey(t.Context(), kwp, kek, sealed, template(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKA_KEY_TYPE, typ))
			must(t, err)
			if a, b := get(t, s, again, pkcs11.CKA_PUBLIC_KEY_INFO), get(t, s, priv, pkcs11.CKA_PUBLIC_KEY_INFO); !a.Equal(b) {
				t.Errorf("CKA_PUBLIC_KEY_INFO %x, of the original %x", a.Bytes(), b.Bytes())
			}
			if m != nil {
				must(t, s.SignInit(t.Context(), m, again))
				sig := make([]byte, 512)
				n, err := s.Sign(t.Context(), []byte("message"), sig)
				must(t, err)
				must(t, s.VerifyInit(t.Context(), m, pub))
				must(t, s.Verify(t.Context(), []byte("message"), sig[:n]))
			}
			for _, other := range []pkcs11.KeyType{pkcs11.CKK_RSA, pkcs11.CKK_EC, pkcs11.CKK_EC_EDWARDS} {
				if uint64(other) == typ {
					continue
				}
				_, err := s.UnwrapKey(t.Context(), kwp, kek, sealed, template(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKA_KEY_TYPE, other))
				if code := pkcs11.CodeOf(err); code != pkcs11.CKR_TEMPLATE_INCONSISTENT && code != pkcs11.CKR_WRAPPED_KEY_INVALID {
					t.Errorf("unwrapped as %v: %v", other, err)
				}
			}
			if _, err := s.WrapKey(t.Context(), mech(pkcs11.CKM_RSA_PKCS, nil), pub, priv, make([]byte, 512)); err == nil {
				t.Error("wrapped with a public key that may not")
			}
		})
	}
}

// What is not for wrapping does not wrap: other modes, keys that are too long for
// the mechanism, keys that stay.
func TestNotWrapped(t *testing.T) {
	s := newSession(t)
	kek := importKey(t, s, pkcs11.CKK_AES, make([]byte, 32), pkcs11.CKA_WRAP, true, pkcs11.CKA_UNWRAP, true)
	pub, _ := generatePair(t, s, "RSA", template(pkcs11.CKA_WRAP, true), template(pkcs11.CKA_UNWRAP, true))
	key := importKey(t, s, pkcs11.CKK_GENERIC_SECRET, make([]byte, 20))
	long := importKey(t, s, pkcs11.CKK_GENERIC_SECRET, make([]byte, 246))
	stays, err := s.GenerateKey(t.Context(), mech(pkcs11.CKM_AES_KEY_GEN, nil), template(pkcs11.CKA_VALUE_LEN, 32))
	must(t, err)
	secret, err := s.GenerateKey(t.Context(), mech(pkcs11.CKM_AES_KEY_GEN, nil), template(pkcs11.CKA_VALUE_LEN, 32, pkcs11.CKA_EXTRACTABLE, true))
	must(t, err)
	for _, test := range []struct {
		m             *pkcs11.Mechanism
		wrapping, key pkcs11.ObjectHandle
		want          pkcs11.Error
	}{
		{mech(pkcs11.CKM_AES_CBC_PAD, make([]byte, 16)), kek, key, pkcs11.CKR_MECHANISM_INVALID},
		{mech(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: make([]byte, 12), TagBits: 128}), kek, key, pkcs11.CKR_MECHANISM_INVALID},
		{mech(pkcs11.CKM_RSA_X_509, nil), pub, key, pkcs11.CKR_MECHANISM_INVALID},
		{mech(pkcs11.CKM_AES_KEY_WRAP, nil), kek, key, pkcs11.CKR_KEY_SIZE_RANGE}, // 20 bytes
		{mech(pkcs11.CKM_AES_KEY_WRAP, make([]byte, 7)), kek, key, pkcs11.CKR_MECHANISM_PARAM_INVALID},
		{mech(pkcs11.CKM_RSA_PKCS, nil), pub, long, pkcs11.CKR_KEY_SIZE_RANGE},
		{oaep, pub, long, pkcs11.CKR_KEY_SIZE_RANGE},
		{mech(pkcs11.CKM_AES_KEY_WRAP_KWP, nil), kek, stays, pkcs11.CKR_KEY_UNEXTRACTABLE},
		{mech(pkcs11.CKM_AES_KEY_WRAP_KWP, nil), kek, secret, pkcs11.CKR_KEY_NOT_WRAPPABLE}, // the value of kek was outside
		{oaep, pub, secret, pkcs11.CKR_KEY_NOT_WRAPPABLE},
		{mech(pkcs11.CKM_AES_KEY_WRAP_KWP, nil), key, key, pkcs11.CKR_WRAPPING_KEY_TYPE_INCONSISTENT},
		{mech(pkcs11.CKM_AES_KEY_WRAP_KWP, nil), 99, key, pkcs11.CKR_WRAPPING_KEY_HANDLE_INVALID},
		{mech(pkcs11.CKM_AES_KEY_WRAP_KWP, nil), kek, pub, pkcs11.CKR_KEY_HANDLE_INVALID},
	} {
		_, err := s.WrapKey(t.Context(), test.m, test.wrapping, test.key, make([]byte, 1024))
		wantCode(t, fmt.Sprintf("%v of key %d under %d", test.m.Type, test.key, test.wrapping), err, test.want)
	}
}
