package soft_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// ciphers are the AES mechanisms; the data is a multiple of unit and at least
// least bytes.
var ciphers = []struct {
	m           *pkcs11.Mechanism
	unit, least int
}{
	{mech(pkcs11.CKM_AES_ECB, nil), 16, 0},
	{mech(pkcs11.CKM_AES_CBC, []byte("0123456789abcdef")), 16, 0},
	{mech(pkcs11.CKM_AES_CBC_PAD, []byte("0123456789abcdef")), 1, 0},
	{mech(pkcs11.CKM_AES_CTR, &pkcs11.CTRParams{CounterBits: 128, Counter: [16]byte{7: 1, 8: 255, 9: 255, 10: 255, 11: 255, 12: 255, 13: 255, 14: 255, 15: 254}}), 1, 0},
	{mech(pkcs11.CKM_AES_CTR, &pkcs11.CTRParams{CounterBits: 3, Counter: [16]byte{15: 2}}), 1, 0},
	{mech(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: []byte("nonce"), AAD: []byte("aad"), TagBits: 104}), 1, 0},
	{mech(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: []byte("0123456789ab"), TagBits: 128}), 1, 0},
	{mech(pkcs11.CKM_AES_KEY_WRAP, nil), 8, 16},
	{mech(pkcs11.CKM_AES_KEY_WRAP_PAD, nil), 1, 1},
	{mech(pkcs11.CKM_AES_KEY_WRAP_KWP, nil), 1, 1},
}

// A way is one direction of a Session.
type way struct {
	name   string
	init   func(*testing.T, cryptoki.Session, *pkcs11.Mechanism, pkcs11.ObjectHandle) error
	whole  func(*testing.T, cryptoki.Session, []byte, []byte) (int, error)
	update func(*testing.T, cryptoki.Session, []byte, []byte) (int, error)
	final  func(*testing.T, cryptoki.Session, []byte) (int, error)
}

var encrypting = way{"encrypt",
	func(t *testing.T, s cryptoki.Session, m *pkcs11.Mechanism, h pkcs11.ObjectHandle) error {
		return s.EncryptInit(t.Context(), m, h)
	},
	func(t *testing.T, s cryptoki.Session, in, out []byte) (int, error) {
		return s.Encrypt(t.Context(), in, out)
	},
	func(t *testing.T, s cryptoki.Session, in, out []byte) (int, error) {
		return s.EncryptUpdate(t.Context(), in, out)
	},
	func(t *testing.T, s cryptoki.Session, out []byte) (int, error) {
		return s.EncryptFinal(t.Context(), out)
	},
}

var decrypting = way{"decrypt",
	func(t *testing.T, s cryptoki.Session, m *pkcs11.Mechanism, h pkcs11.ObjectHandle) error {
		return s.DecryptInit(t.Context(), m, h)
	},
	func(t *testing.T, s cryptoki.Session, in, out []byte) (int, error) {
		return s.Decrypt(t.Context(), in, out)
	},
	func(t *testing.T, s cryptoki.Session, in, out []byte) (int, error) {
		return s.DecryptUpdate(t.Context(), in, out)
	},
	func(t *testing.T, s cryptoki.Session, out []byte) (int, error) {
		return s.DecryptFinal(t.Context(), out)
	},
}

// run does the whole of an operation over parts, of which one alone is given in
// one step, as careful callers in C do: each step asks for the size first, and
// tries a buffer that is too short.
func (w way) run(t *testing.T, s cryptoki.Session, m *pkcs11.Mechanism, h pkcs11.ObjectHandle, parts ...[]byte) ([]byte, error) {
	t.Helper()
	must(t, w.init(t, s, m, h))
	var out []byte
	step := func(call func(out []byte) (int, error)) error {
		size, err := call(nil)
		if err != nil {
			return err
		}
		// Only the greatest length of a result is announced; a buffer that is too
		// short even so is told the real one.
		for have := min(1, size); ; have = size {
			buf := make([]byte, have)
			n, err := call(buf)
			if errors.Is(err, pkcs11.CKR_BUFFER_TOO_SMALL) && n > have && n <= size {
				size = n
				continue
			}
			out = append(out, buf[:max(min(n, have), 0)]...)
			return err
		}
	}
	if len(parts) == 1 {
		return out, step(func(out []byte) (int, error) { return w.whole(t, s, parts[0], out) })
	}
	for _, part := range parts {
		if err := step(func(out []byte) (int, error) { return w.update(t, s, part, out) }); err != nil {
			return nil, err
		}
	}
	return out, step(func(out []byte) (int, error) { return w.final(t, s, out) })
}

// Encrypted and decrypted in one step and in parts, however they are cut, the
// output is the same.
func TestParts(t *testing.T) {
	s := newSession(t)
	for i, c := range ciphers {
		key := importKey(t, s, pkcs11.CKK_AES, bytes.Repeat([]byte{byte(i)}, 16+8*(i%3)))
		for _, n := range []int{0, 1, 15, 16, 17, 32, 47, 48} {
			if n%c.unit != 0 || n < c.least {
				continue
			}
			t.Run(fmt.Sprintf("%v, %d, %d bytes", c.m.Type, i, n), func(t *testing.T) {
				plain := make([]byte, n)
				rand.Read(plain)
				sealed, err := encrypting.run(t, s, c.m, key, plain)
				must(t, err)
				for _, w := range []way{encrypting, decrypting} {
					in, want := plain, sealed
					if w.name == "decrypt" {
						in, want = sealed, plain
					}
					for cut := range len(in) + 1 {
						got, err := w.run(t, s, c.m, key, in[:cut], in[cut:])
						if err != nil || !bytes.Equal(got, want) {
							t.Errorf("%s, cut at %d: %x, %v; want %x", w.name, cut, got, err, want)
						}
					}
					var bytewise [][]byte
					for i := range in {
						bytewise = append(bytewise, in[i:i+1])
					}
					got, err := w.run(t, s, c.m, key, append(bytewise, nil, nil)...)
					if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s byte by byte: %x, %v; want %x", w.name, got, err, want)
					}
					if got, err := w.run(t, s, c.m, key, in); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s in one step: %x, %v; want %x", w.name, got, err, want)
					}
				}
			})
		}
	}
}

// A counter is not used twice, whether it ends inside a part, with the last part,
// or between two.
func TestCounterEnds(t *testing.T) {
	s := newSession(t)
	key := importKey(t, s, pkcs11.CKK_AES, make([]byte, 16))
	m := mech(pkcs11.CKM_AES_CTR, &pkcs11.CTRParams{CounterBits: 4, Counter: [16]byte{15: 13}}) // for three blocks
	for _, w := range []way{encrypting, decrypting} {
		for n := range 70 {
			for _, cut := range []int{-1, 0, 10, 16, 32, 40, 48, 50} {
				if cut > n {
					continue
				}
				parts := [][]byte{make([]byte, n)}
				if cut >= 0 {
					parts = [][]byte{make([]byte, cut), make([]byte, n-cut)}
				}
				out, err := w.run(t, s, m, key, parts...)
				if n <= 48 && (err != nil || len(out) != n) || n > 48 && !errors.Is(err, pkcs11.CKR_DATA_LEN_RANGE) {
					t.Errorf("%s %d bytes, cut at %d: %d bytes, %v", w.name, n, cut, len(out), err)
				}
			}
		}
	}
}

// Whatever is wrong with a ciphertext has one code, and ends the operation.
func TestDamagedCiphertext(t *testing.T) {
	s := newSession(t)
	key := importKey(t, s, pkcs11.CKK_AES, make([]byte, 32))
	for _, c := range ciphers {
		switch c.m.Type {
		case pkcs11.CKM_AES_ECB, pkcs11.CKM_AES_CBC, pkcs11.CKM_AES_CTR:
			continue // they do not notice
		}
		sealed, err := encrypting.run(t, s, c.m, key, make([]byte, 24))
		must(t, err)
		first := ""
		for i := range sealed {
			if c.m.Type == pkcs11.CKM_AES_CBC_PAD && i < 8 {
				continue // it changes the data before the padding, which nobody notices
			}
			broken := bytes.Clone(sealed)
			broken[i] ^= 0x20
			for _, parts := range [][][]byte{{broken}, {broken[:5], broken[5:]}} {
				out, err := decrypting.run(t, s, c.m, key, parts...)
				if !errors.Is(err, pkcs11.CKR_ENCRYPTED_DATA_INVALID) {
					t.Errorf("%v, byte %d changed: %x, %v", c.m.Type, i, out, err)
					continue
				}
				var code *cryptoki.OpError
				if !errors.As(err, &code) {
					t.Fatalf("%v: %T", c.m.Type, err)
				}
				if text := code.Err.Error(); first == "" {
					first = text
				} else if text != first {
					t.Errorf("%v, byte %d changed: %q, another error than %q", c.m.Type, i, text, first)
				}
				if _, err := s.Decrypt(t.Context(), sealed, make([]byte, 99)); !errors.Is(err, pkcs11.CKR_OPERATION_NOT_INITIALIZED) {
					t.Errorf("%v: the operation goes on after an error: %v", c.m.Type, err)
				}
			}
		}
		if first == "" {
			t.Errorf("%v: no damage was noticed", c.m.Type)
		}
	}
}

func TestLengthsOfCiphers(t *testing.T) {
	s := newSession(t)
	key := importKey(t, s, pkcs11.CKK_AES, make([]byte, 32))
	iv := make([]byte, 16)
	for _, test := range []struct {
		m    *pkcs11.Mechanism
		w    way
		n    int
		want pkcs11.Error
	}{
		{mech(pkcs11.CKM_AES_ECB, nil), encrypting, 17, pkcs11.CKR_DATA_LEN_RANGE},
		{mech(pkcs11.CKM_AES_CBC, iv), encrypting, 31, pkcs11.CKR_DATA_LEN_RANGE},
		{mech(pkcs11.CKM_AES_KEY_WRAP, nil), encrypting, 20, pkcs11.CKR_DATA_LEN_RANGE},
		{mech(pkcs11.CKM_AES_ECB, nil), decrypting, 17, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE},
		{mech(pkcs11.CKM_AES_CBC, iv), decrypting, 31, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE},
		{mech(pkcs11.CKM_AES_CBC_PAD, iv), decrypting, 0, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE},
		{mech(pkcs11.CKM_AES_CBC_PAD, iv), decrypting, 31, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE},
		{mech(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: iv, TagBits: 128}), decrypting, 15, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE},
		{mech(pkcs11.CKM_AES_KEY_WRAP, nil), decrypting, 16, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE},
		{mech(pkcs11.CKM_AES_KEY_WRAP_KWP, nil), decrypting, 20, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE},
	} {
		for _, parts := range [][][]byte{{make([]byte, test.n)}, {make([]byte, test.n/2), make([]byte, test.n-test.n/2)}} {
			_, err := test.w.run(t, s, test.m, key, parts...)
			wantCode(t, fmt.Sprintf("%s %d bytes in %d parts with %v", test.w.name, test.n, len(parts), test.m.Type), err, test.want)
		}
	}
}

// The driver's Encrypter and Decrypter come with AES keys and with no others.
func TestOnlyAESEncrypts(t *testing.T) {
	s := newSession(t)
	for _, typ := range []pkcs11.KeyType{pkcs11.CKK_GENERIC_SECRET, pkcs11.CKK_SHA256_HMAC, pkcs11.CKK_HKDF} {
		key := importKey(t, s, typ, make([]byte, 32), pkcs11.CKA_ENCRYPT, true)
		wantCode(t, fmt.Sprintf("encrypt with %v", typ), s.EncryptInit(t.Context(), mech(pkcs11.CKM_AES_ECB, nil), key), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}
	key := importKey(t, s, pkcs11.CKK_AES, make([]byte, 32), pkcs11.CKA_SIGN, true)
	for _, typ := range []pkcs11.MechanismType{pkcs11.CKM_SHA256_HMAC, pkcs11.CKM_SHA512_224_HMAC, pkcs11.CKM_SHA512_256_HMAC} {
		wantCode(t, fmt.Sprintf("%v with AES", typ), s.SignInit(t.Context(), mech(typ, nil), key), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}
}

func TestSecretKeyGeneration(t *testing.T) {
	s := newSession(t)
	for _, test := range []struct {
		gen  pkcs11.MechanismType
		size int // 0: the mechanism's own
		typ  pkcs11.KeyType
		want uint64
	}{
		{pkcs11.CKM_AES_KEY_GEN, 16, pkcs11.CKK_AES, 16},
		{pkcs11.CKM_AES_KEY_GEN, 24, pkcs11.CKK_AES, 24},
		{pkcs11.CKM_AES_KEY_GEN, 32, pkcs11.CKK_AES, 32},
		{pkcs11.CKM_GENERIC_SECRET_KEY_GEN, 1, pkcs11.CKK_GENERIC_SECRET, 1},
		{pkcs11.CKM_GENERIC_SECRET_KEY_GEN, 4096, pkcs11.CKK_GENERIC_SECRET, 4096},
		{pkcs11.CKM_HKDF_KEY_GEN, 48, pkcs11.CKK_HKDF, 48},
		{pkcs11.CKM_SHA_1_KEY_GEN, 0, pkcs11.CKK_SHA_1_HMAC, 20},
		{pkcs11.CKM_SHA256_KEY_GEN, 0, pkcs11.CKK_SHA256_HMAC, 32},
		{pkcs11.CKM_SHA512_224_KEY_GEN, 0, pkcs11.CKK_SHA512_224_HMAC, 28},
		{pkcs11.CKM_SHA3_512_KEY_GEN, 0, pkcs11.CKK_SHA3_512_HMAC, 64},
	} {
		tmpl := template(pkcs11.CKA_SENSITIVE, false, pkcs11.CKA_EXTRACTABLE, true)
		if test.size != 0 {
			tmpl = append(tmpl, pkcs11.Attr(pkcs11.CKA_VALUE_LEN, test.size))
		}
		h, err := s.GenerateKey(t.Context(), mech(test.gen, nil), tmpl)
		must(t, err)
		if typ := pkcs11.KeyType(get(t, s, h, pkcs11.CKA_KEY_TYPE).Uint()); typ != test.typ {
			t.Errorf("%v makes a %v", test.gen, typ)
		}
		if n := get(t, s, h, pkcs11.CKA_VALUE_LEN).Uint(); n != test.want || len(get(t, s, h, pkcs11.CKA_VALUE).Bytes()) != int(n) {
			t.Errorf("%v makes %d bytes; want %d", test.gen, n, test.want)
		}
		if n := len(get(t, s, h, pkcs11.CKA_CHECK_VALUE).Bytes()); n != 3 {
			t.Errorf("%v: a check value of %d bytes", test.gen, n)
		}
	}
	_, err := s.GenerateKey(t.Context(), mech(pkcs11.CKM_GENERIC_SECRET_KEY_GEN, nil), template(pkcs11.CKA_VALUE_LEN, 5000))
	if code := pkcs11.CodeOf(err); code != pkcs11.CKR_KEY_SIZE_RANGE && code != pkcs11.CKR_ATTRIBUTE_VALUE_INVALID {
		t.Errorf("5000 bytes: %v", err)
	}
}

// FIPS 197 appendix B has the key; the check value is known from GlobalPlatform's
// way to make it.
func TestCheckValue(t *testing.T) {
	s := newSession(t)
	h := importKey(t, s, pkcs11.CKK_AES, unhex(t, "2b7e151628aed2a6abf7158809cf4f3c"))
	if got := get(t, s, h, pkcs11.CKA_CHECK_VALUE).Bytes(); !bytes.Equal(got, unhex(t, "7df76b")) {
		t.Errorf("%x; want 7df76b", got)
	}
}
