package wipe_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"reflect"
	"testing"
	"unsafe"

	"github.com/go-cryptoki/cryptoki/internal/wipe"
)

// The key itself is the beginning of a key schedule of AES.
var key = []byte("a key of thirty-two random bytes")

// memory is what an interface that holds a pointer, or a struct of one, points to.
func memory(i any, n int) []byte {
	if p, ok := i.(unsafe.Pointer); ok {
		return unsafe.Slice((*byte)(p), n)
	}
	return unsafe.Slice((*byte)((*[2]unsafe.Pointer)(unsafe.Pointer(&i))[1]), n)
}

func words(b []byte) []byte { // the key as little-endian machines keep it where there is no assembly
	out := make([]byte, len(b))
	for i := range b {
		out[i] = b[i&^3|3-i&3]
	}
	return out
}

func holds(b []byte) bool { return bytes.Contains(b, key) || bytes.Contains(b, words(key)) }

func TestBlock(t *testing.T) {
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	m := memory(b, 480)
	if !holds(m) {
		t.Fatal("the key is not where this test looks for it")
	}
	wipe.Block(b)
	if !bytes.Equal(m, make([]byte, len(m))) {
		t.Error("the key schedule is still there")
	}
}

func TestAEAD(t *testing.T) {
	for name, make := range map[string]func(cipher.Block) (cipher.AEAD, error){
		"GCM":                   cipher.NewGCM,
		"GCM with random nonce": cipher.NewGCMWithRandomNonce,
	} {
		t.Run(name, func(t *testing.T) {
			b, err := aes.NewCipher(key)
			if err != nil {
				t.Fatal(err)
			}
			a, err := make(b)
			if err != nil {
				t.Fatal(err)
			}
			m := memory(a, 480)
			if !holds(m) {
				t.Fatal("the key is not where this test looks for it")
			}
			wipe.AEAD(a)
			if holds(m) {
				t.Error("the key schedule is still there")
			}
		})
	}
}

func TestStream(t *testing.T) {
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	s := cipher.NewCTR(b, make([]byte, aes.BlockSize))
	m := memory(s, 480)
	if !holds(m) {
		t.Fatal("the key is not where this test looks for it")
	}
	wipe.Stream(s)
	if holds(m) {
		t.Error("the key schedule is still there")
	}
}

func TestMAC(t *testing.T) {
	h := hmac.New(sha256.New, key)
	v := reflect.ValueOf(h).Elem()
	pad := v.FieldByName("ipad").Bytes()
	inner := memory(v.FieldByName("inner").Elem().UnsafePointer(), 32)
	if pad[0] != key[0]^0x36 || bytes.Equal(inner, make([]byte, 32)) {
		t.Fatal("the key is not where this test looks for it")
	}
	wipe.MAC(h)
	if !bytes.Equal(pad, make([]byte, len(pad))) || !bytes.Equal(inner, make([]byte, 32)) {
		t.Error("the key is still there")
	}
}

func TestRSA(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	n := k.N.Bytes()
	fips := reflect.ValueOf(k.Precomputed).FieldByName("fips").Elem()
	dp := fips.FieldByName("dP").Bytes()
	if !bytes.Equal(dp, k.Precomputed.Dp.FillBytes(make([]byte, len(dp)))) { // one in 256 begins with a zero
		t.Fatal("an exponent is not where this test looks for it")
	}
	prime, exponent := k.Primes[0].Bits(), k.Precomputed.Dq.Bits()
	wipe.RSA(k)
	if !bytes.Equal(dp, make([]byte, len(dp))) || prime[0] != 0 || exponent[0] != 0 {
		t.Error("the private key is still there")
	}
	if !bytes.Equal(k.N.Bytes(), n) {
		t.Error("the public key is gone")
	}
}
