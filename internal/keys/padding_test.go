package keys

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"testing"
)

// What crypto/rsa encrypts is unpadded, and nothing that was changed is.
func TestUnpad(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(c []byte) []byte {
		return new(big.Int).Exp(new(big.Int).SetBytes(c), key.D, key.N).FillBytes(make([]byte, key.Size()))
	}
	for _, n := range []int{0, 1, 31, 190} {
		data := bytes.Repeat([]byte{byte(n)}, n)
		c, err := rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, data) //nolint:staticcheck // the padding is what is tested
		if err != nil {
			t.Fatal(err)
		}
		em := raw(c)
		if got, ok := UnpadPKCS1(em); !ok || !bytes.Equal(got, data) {
			t.Errorf("PKCS #1 of %d bytes: %x, %v", n, got, ok)
		}
		for _, i := range []int{0, 1, 5} {
			bad := bytes.Clone(em)
			if bad[i] ^= 1; i == 5 {
				bad[i] = 0
			}
			if got, ok := UnpadPKCS1(bad); ok {
				t.Errorf("PKCS #1 with byte %d changed: %x", i, got)
			}
		}
		c, err = rsa.EncryptOAEP(crypto.SHA256.New(), rand.Reader, &key.PublicKey, data, []byte("label"))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := UnpadOAEP(raw(c), crypto.SHA256, crypto.SHA256, []byte("label")); !ok || !bytes.Equal(got, data) {
			t.Errorf("OAEP of %d bytes: %x, %v", n, got, ok)
		}
		if got, ok := UnpadOAEP(raw(c), crypto.SHA256, crypto.SHA256, []byte("table")); ok {
			t.Errorf("OAEP with another label: %x", got)
		}
		for i := range key.Size() {
			bad := raw(c)
			bad[i] ^= 4
			if got, ok := UnpadOAEP(bad, crypto.SHA256, crypto.SHA256, []byte("label")); ok {
				t.Errorf("OAEP with byte %d changed: %x", i, got)
			}
		}
	}
	if _, ok := UnpadPKCS1(append([]byte{0, 2}, bytes.Repeat([]byte{9}, 254)...)); ok {
		t.Error("PKCS #1 without an end of the padding")
	}
}

// What is padded here verifies there.
func TestPad(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(em []byte) []byte {
		return new(big.Int).Exp(new(big.Int).SetBytes(em), key.D, key.N).FillBytes(make([]byte, key.Size()))
	}
	digest := bytes.Repeat([]byte{7}, 32)
	info, err := AppendDigestInfo(nil, crypto.SHA256, digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest, raw(PadPKCS1(key.Size(), info))); err != nil {
		t.Error("PKCS #1:", err)
	}
	for _, salt := range []int{1, 20, 32, 222} {
		em := PadPSS(key.N.BitLen()-1, crypto.SHA256, crypto.SHA256, salt, digest)
		if err := rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, digest, raw(em), &rsa.PSSOptions{SaltLength: salt}); err != nil {
			t.Errorf("PSS with a salt of %d bytes: %v", salt, err)
		}
	}
}
