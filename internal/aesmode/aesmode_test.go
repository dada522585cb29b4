package aesmode

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func block(t testing.TB, key string) cipher.Block {
	t.Helper()
	b, err := aes.NewCipher(unhex(t, key))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mechanism(typ pkcs11.MechanismType, params any) *pkcs11.Mechanism {
	return &pkcs11.Mechanism{Type: typ, Params: params}
}

const (
	key128 = "2b7e151628aed2a6abf7158809cf4f3c"
	key192 = "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b"
	key256 = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
)

// NIST SP 800-38A appendix F, RFC 3394 §4, RFC 5649 §6.
func TestKnownAnswers(t *testing.T) {
	const plain = "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51 30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710"
	iv := unhex(t, "000102030405060708090a0b0c0d0e0f")
	counter := &pkcs11.CTRParams{CounterBits: 128, Counter: [16]byte(unhex(t, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"))}
	for _, test := range []struct {
		name               string
		key, plain, cipher string
		m                  *pkcs11.Mechanism
	}{
		{"ECB, 128", key128, plain, "3ad77bb40d7a3660a89ecaf32466ef97 f5d3d58503b9699de785895a96fdbaaf 43b1cd7f598ece23881b00e3ed030688 7b0c785e27e8ad3f8223207104725dd4", mechanism(pkcs11.CKM_AES_ECB, nil)},
		{"ECB, 192", key192, plain, "bd334f1d6e45f25ff712a214571fa5cc 974104846d0ad3ad7734ecb3ecee4eef ef7afd2270e2e60adce0ba2face6444e 9a4b41ba738d6c72fb16691603c18e0e", mechanism(pkcs11.CKM_AES_ECB, nil)},
		{"ECB, 256", key256, plain, "f3eed1bdb5d2a03c064b5a7e3db181f8 591ccb10d410ed26dc5ba74a31362870 b6ed21b99ca6f4f9f153e7b1beafed1d 23304b7a39f9f3ff067d8d8f9e24ecc7", mechanism(pkcs11.CKM_AES_ECB, nil)},
		{"CBC, 128", key128, plain, "7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2 73bed6b8e3c1743b7116e69e22229516 3ff1caa1681fac09120eca307586e1a7", mechanism(pkcs11.CKM_AES_CBC, iv)},
		{"CBC, 192", key192, plain, "4f021db243bc633d7178183a9fa071e8 b4d9ada9ad7dedf4e5e738763f69145a 571b242012fb7ae07fa9baac3df102e0 08b0e27988598881d920a9e64f5615cd", mechanism(pkcs11.CKM_AES_CBC, iv)},
		{"CBC, 256", key256, plain, "f58c4c04d6e5f1ba779eabfb5f7bfbd6 9cfc4e967edb808d679f777bc6702c7d 39f23369a9d9bacfa530e26304231461 b2eb05e2c39be9fcda6c19078c6a9d1b", mechanism(pkcs11.CKM_AES_CBC, iv)},
		{"CTR, 128", key128, plain, "874d6191b620e3261bef6864990db6ce 9806f66b7970fdff8617187bb9fffdff 5ae4df3edbd5d35e5b4f09020db03eab 1e031dda2fbe03d1792170a0f3009cee", mechanism(pkcs11.CKM_AES_CTR, counter)},
		{"CTR, 192", key192, plain, "1abc932417521ca24f2b0459fe7e6e0b 090339ec0aa6faefd5ccc2c6f4ce8e94 1e36b26bd1ebc670d1bd1d665620abf7 4f78a7f6d29809585a97daec58c6b050", mechanism(pkcs11.CKM_AES_CTR, counter)},
		{"CTR, 256", key256, plain, "601ec313775789a5b7a7f504bbf3d228 f443e3ca4d62b59aca84e990cacaf5c5 2b0930daa23de94ce87017ba2d84988d dfc9c58db67aada613c2dd08457941a6", mechanism(pkcs11.CKM_AES_CTR, counter)},
		{"KW, 128 of 128", "000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "1fa68b0a8112b447 aef34bd8fb5a7b82 9d3e862371d2cfe5", mechanism(pkcs11.CKM_AES_KEY_WRAP, nil)},
		{"KW, 256 of 256", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f", "28c9f404c4b810f4 cbccb35cfb87f826 3f5786e2d80ed326 cbc7f0e71a99f43b fb988b9b7a02dd21", mechanism(pkcs11.CKM_AES_KEY_WRAP, nil)},
		{"KWP, 20 bytes", "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8", "c37b7e6492584340bed12207808941155068f738", "138bdeaa9b8fa7fc 61f97742e72248ee 5ae6ae5360d1ae6a 5f54f373fa543b6a", mechanism(pkcs11.CKM_AES_KEY_WRAP_KWP, nil)},
		{"KWP, 7 bytes", "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8", "466f7250617369", "afbeb0f07dfbf541 9200f2ccb50bb24f", mechanism(pkcs11.CKM_AES_KEY_WRAP_PAD, []byte{})},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, plain, sealed := block(t, test.key), unhex(t, test.plain), unhex(t, test.cipher)
			got, err := Encrypt(b, test.m, plain)
			if err != nil || !bytes.Equal(got, sealed) {
				t.Errorf("Encrypt: %x, %v; want %x", got, err, sealed)
			}
			got, err = Decrypt(b, test.m, sealed)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("Decrypt: %x, %v; want %x", got, err, plain)
			}
		})
	}
}

// Every last byte, and every block with one byte changed, beside the plain way to
// look at padding.
func TestPadding(t *testing.T) {
	check := func(b [blockSize]byte) {
		t.Helper()
		want := int(b[blockSize-1])
		good := want >= 1 && want <= blockSize
		for i := blockSize - 1; good && i >= blockSize-want; i-- {
			good = int(b[i]) == want
		}
		if n, ok := padding(b[:]); ok != good || ok && n != want {
			t.Errorf("%x: %d, %t; want %d, %t", b, n, ok, want, good)
		}
	}
	for n := range 256 {
		b := [blockSize]byte(bytes.Repeat([]byte{0xee}, blockSize))
		for i := range min(n, blockSize) {
			b[blockSize-1-i] = byte(n)
		}
		check(b)
		for i := range b {
			broken := b
			broken[i] ^= 0x01
			check(broken)
		}
	}
}

// A KWP ciphertext of every length field and padding that is not right.
func TestPaddingKWP(t *testing.T) {
	b := block(t, key128)
	m := mechanism(pkcs11.CKM_AES_KEY_WRAP_KWP, nil)
	for _, semiblocks := range []int{1, 3} {
		for length := range 40 {
			for _, dirty := range []int{-1, 0, 6, 7} { // a byte of the last semiblock that is not zero
				x := make([]byte, semiblock*(semiblocks+1))
				copy(x, initialValueKWP)
				x[7] = byte(length)
				if dirty >= 0 {
					x[len(x)-semiblock+dirty] = 1
				}
				if len(x) == blockSize {
					b.Encrypt(x, x)
				} else {
					wrapBlocks(b, x)
				}
				pad := semiblock*semiblocks - length
				want := pad >= 0 && pad < 8 && (dirty < 0 || dirty < semiblock-pad)
				got, err := Decrypt(b, m, x)
				if (err == nil) != want || want && len(got) != length {
					t.Errorf("%d semiblocks, length %d, byte %d dirty: %d bytes, %v", semiblocks, length, dirty, len(got), err)
				}
			}
		}
	}
}

// Short tags are those of the standard library where it has them, and the front
// of the full tag elsewhere.
func TestGCM(t *testing.T) {
	b := block(t, key256)
	plain, aad := []byte("attack at dawn, or a little later"), []byte("header")
	for _, size := range []int{1, 8, 12, 13, 16, 60} {
		for tag := minTag; tag <= fullTag; tag++ {
			iv := bytes.Repeat([]byte{7}, size)
			m := mechanism(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: iv, AAD: aad, TagBits: uint64(8 * tag)})
			sealed, err := Encrypt(b, m, plain)
			if err != nil {
				t.Fatal(err)
			}
			if size == 12 {
				std, err := cipher.NewGCMWithTagSize(b, tag)
				if err != nil {
					t.Fatal(err)
				}
				if want := std.Seal(nil, iv, plain, aad); !bytes.Equal(sealed, want) {
					t.Errorf("tag of %d bytes: %x; want %x", tag, sealed, want)
				}
			}
			got, err := Decrypt(b, m, sealed)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("IV of %d bytes, tag of %d: %q, %v", size, tag, got, err)
			}
			for i := range sealed {
				broken := slices.Clone(sealed)
				broken[i] ^= 1
				if got, err := Decrypt(b, m, broken); !errors.Is(err, pkcs11.CKR_ENCRYPTED_DATA_INVALID) || got != nil {
					t.Errorf("IV of %d bytes, tag of %d, byte %d changed: %v", size, tag, i, err)
				}
			}
		}
	}
}

func TestLengths(t *testing.T) {
	b := block(t, key128)
	iv := make([]byte, 16)
	for _, test := range []struct {
		m                *pkcs11.Mechanism
		encrypt, decrypt func(n int) bool
	}{
		{mechanism(pkcs11.CKM_AES_ECB, nil), multiple(16, 0), multiple(16, 0)},
		{mechanism(pkcs11.CKM_AES_CBC, iv), multiple(16, 0), multiple(16, 0)},
		{mechanism(pkcs11.CKM_AES_CBC_PAD, iv), multiple(1, 0), multiple(16, 16)},
		{mechanism(pkcs11.CKM_AES_CTR, &pkcs11.CTRParams{CounterBits: 32}), multiple(1, 0), multiple(1, 0)},
		{mechanism(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: iv, TagBits: 128}), multiple(1, 0), multiple(1, 16)},
		{mechanism(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: iv, TagBits: 96}), multiple(1, 0), multiple(1, 12)},
		{mechanism(pkcs11.CKM_AES_KEY_WRAP, nil), multiple(8, 16), multiple(8, 24)},
		{mechanism(pkcs11.CKM_AES_KEY_WRAP_KWP, nil), multiple(1, 1), multiple(8, 16)},
	} {
		for n := range 50 {
			out, err := Encrypt(b, test.m, make([]byte, n))
			if want := test.encrypt(n); (err == nil) != want || !want && !errors.Is(err, pkcs11.CKR_DATA_LEN_RANGE) {
				t.Errorf("Encrypt, %v, %d bytes: %v", test.m.Type, n, err)
			}
			if err == nil {
				if back, err := Decrypt(b, test.m, out); err != nil || len(back) != n {
					t.Errorf("Decrypt, %v, encrypted %d bytes: %d bytes, %v", test.m.Type, n, len(back), err)
				}
			}
			_, err = Decrypt(b, test.m, make([]byte, n))
			if want := !errors.Is(err, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE); want != test.decrypt(n) {
				t.Errorf("Decrypt, %v, %d bytes: %v", test.m.Type, n, err)
			}
		}
	}
}

func multiple(of, from int) func(int) bool {
	return func(n int) bool { return n%of == 0 && n >= from }
}

func TestParameters(t *testing.T) {
	b := block(t, key128)
	in := make([]byte, 32)
	for i, m := range []*pkcs11.Mechanism{
		mechanism(pkcs11.CKM_AES_ECB, make([]byte, 16)),
		mechanism(pkcs11.CKM_AES_CBC, nil),
		mechanism(pkcs11.CKM_AES_CBC, make([]byte, 15)),
		mechanism(pkcs11.CKM_AES_CBC_PAD, make([]byte, 17)),
		mechanism(pkcs11.CKM_AES_CTR, make([]byte, 16)),
		mechanism(pkcs11.CKM_AES_CTR, (*pkcs11.CTRParams)(nil)),
		mechanism(pkcs11.CKM_AES_CTR, &pkcs11.CTRParams{}),
		mechanism(pkcs11.CKM_AES_CTR, &pkcs11.CTRParams{CounterBits: 129}),
		mechanism(pkcs11.CKM_AES_GCM, nil),
		mechanism(pkcs11.CKM_AES_GCM, (*pkcs11.GCMParams)(nil)),
		mechanism(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{TagBits: 128}),
		mechanism(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: in, TagBits: 64}),
		mechanism(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: in, TagBits: 127}),
		mechanism(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: in, TagBits: 136}),
		mechanism(pkcs11.CKM_AES_KEY_WRAP, make([]byte, 4)),
		mechanism(pkcs11.CKM_AES_KEY_WRAP, "12345678"),
		mechanism(pkcs11.CKM_AES_KEY_WRAP_KWP, make([]byte, 8)),
	} {
		if _, err := Encrypt(b, m, in); !errors.Is(err, pkcs11.CKR_MECHANISM_PARAM_INVALID) {
			t.Errorf("%d: Encrypt, %v with %v: %v", i, m.Type, m.Params, err)
		}
		if _, err := Decrypt(b, m, in); !errors.Is(err, pkcs11.CKR_MECHANISM_PARAM_INVALID) {
			t.Errorf("%d: Decrypt, %v with %v: %v", i, m.Type, m.Params, err)
		}
	}
	for _, f := range []func(cipher.Block, *pkcs11.Mechanism, []byte) ([]byte, error){Encrypt, Decrypt} {
		if _, err := f(b, mechanism(pkcs11.CKM_AES_CCM, nil), in); !errors.Is(err, pkcs11.CKR_MECHANISM_INVALID) {
			t.Errorf("CKM_AES_CCM: %v", err)
		}
	}
}

// The initial value of a wrapped key is looked at, the caller's own too.
func TestInitialValue(t *testing.T) {
	b := block(t, key128)
	in := make([]byte, 24)
	for typ, n := range map[pkcs11.MechanismType]int{pkcs11.CKM_AES_KEY_WRAP: 8, pkcs11.CKM_AES_KEY_WRAP_KWP: 4} {
		own := bytes.Repeat([]byte{0x5a}, n)
		sealed, err := Encrypt(b, mechanism(typ, own), in)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decrypt(b, mechanism(typ, own), sealed); err != nil || !bytes.Equal(got, in) {
			t.Errorf("%v: %x, %v", typ, got, err)
		}
		if _, err := Decrypt(b, mechanism(typ, nil), sealed); !errors.Is(err, pkcs11.CKR_ENCRYPTED_DATA_INVALID) {
			t.Errorf("%v with another initial value: %v", typ, err)
		}
	}
}

func TestCounterBlocks(t *testing.T) {
	for _, test := range []struct {
		counter string
		bits    uint64
		want    uint64
	}{
		{"00000000000000000000000000000000", 1, 2},
		{"00000000000000000000000000000001", 1, 1},
		{"ffffffffffffffffffffffff00000000", 32, 1 << 32},
		{"000000000000000000000000fffffffe", 32, 2},
		{"000000000000000000000000fffffffe", 33, 1<<32 + 2},
		{"00000000000000000000000000000000", 64, 1<<64 - 1},
		{"00000000000000000000000000000001", 64, 1<<64 - 1},
		{"00000000000000000000000000000002", 64, 1<<64 - 2},
		{"0000000000000000fffffffffffffffe", 65, 1<<64 - 1},
		{"00000000000000fffffffffffffffffe", 72, 2},
		{"ffffffffffffffffffffffffffffffff", 128, 1},
	} {
		p := &pkcs11.CTRParams{CounterBits: test.bits, Counter: [16]byte(unhex(t, test.counter))}
		if got := CounterBlocks(p); got != test.want {
			t.Errorf("%s, %d bits: %d; want %d", test.counter, test.bits, got, test.want)
		}
	}
	p := &pkcs11.CTRParams{CounterBits: 2, Counter: [16]byte{15: 2}}
	m := mechanism(pkcs11.CKM_AES_CTR, p)
	if _, err := Encrypt(block(t, key128), m, make([]byte, 32)); err != nil {
		t.Errorf("two blocks for which the counter is enough: %v", err)
	}
	if _, err := Encrypt(block(t, key128), m, make([]byte, 33)); !errors.Is(err, pkcs11.CKR_DATA_LEN_RANGE) {
		t.Errorf("one byte more than the counter is enough for: %v", err)
	}
}

// What decrypts encrypts to the same bytes again; all else is one of two errors.
func FuzzDecrypt(f *testing.F) {
	b := block(f, key128)
	kinds := []*pkcs11.Mechanism{
		mechanism(pkcs11.CKM_AES_ECB, nil),
		mechanism(pkcs11.CKM_AES_CBC, make([]byte, 16)),
		mechanism(pkcs11.CKM_AES_CBC_PAD, make([]byte, 16)),
		mechanism(pkcs11.CKM_AES_CTR, &pkcs11.CTRParams{CounterBits: 128}),
		mechanism(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: make([]byte, 12), TagBits: 128}),
		mechanism(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: make([]byte, 7), TagBits: 104}),
		mechanism(pkcs11.CKM_AES_KEY_WRAP, nil),
		mechanism(pkcs11.CKM_AES_KEY_WRAP_KWP, nil),
	}
	for i, m := range kinds {
		for _, n := range []int{0, 8, 16, 20, 48} {
			if out, err := Encrypt(b, m, make([]byte, n)); err == nil {
				f.Add(uint8(i), out)
			}
		}
		f.Add(uint8(i), make([]byte, 24))
	}
	f.Fuzz(func(t *testing.T, i uint8, in []byte) {
		m := kinds[int(i)%len(kinds)]
		given := bytes.Clone(in)
		out, err := Decrypt(b, m, in)
		if !bytes.Equal(in, given) {
			t.Fatal("the ciphertext was modified")
		}
		if err != nil {
			if out != nil || !errors.Is(err, pkcs11.CKR_ENCRYPTED_DATA_INVALID) && !errors.Is(err, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE) {
				t.Fatalf("%v: %x, %v", m.Type, out, err)
			}
			return
		}
		again, err := Encrypt(b, m, out)
		if err != nil || !bytes.Equal(again, in) {
			t.Fatalf("%v: %x decrypts to %x, which encrypts to %x, %v", m.Type, in, out, again, err)
		}
	})
}

func BenchmarkDecrypt(b *testing.B) {
	for _, m := range []*pkcs11.Mechanism{
		mechanism(pkcs11.CKM_AES_CBC_PAD, make([]byte, 16)),
		mechanism(pkcs11.CKM_AES_GCM, &pkcs11.GCMParams{IV: make([]byte, 12), TagBits: 128}),
		mechanism(pkcs11.CKM_AES_KEY_WRAP_KWP, nil),
	} {
		for _, n := range []int{32, 1 << 14} {
			b.Run(fmt.Sprintf("%v/%d", m.Type, n), func(b *testing.B) {
				c := block(b, key128)
				in, err := Encrypt(c, m, make([]byte, n))
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(n))
				for b.Loop() {
					Decrypt(c, m, in)
				}
			})
		}
	}
}
