package cryptoki_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pal"
)

func goKey(t testing.TB, alg cryptoki.Algorithm) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case cryptoki.P256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case cryptoki.Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case cryptoki.RSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		t.Fatalf("no key for %s", alg)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A signature through the Token, which ends as DER where Go's does, allocates
// little more than the key by itself.
func TestSignerAllocations(t *testing.T) {
	for _, test := range []struct {
		alg  cryptoki.Algorithm
		opts crypto.SignerOpts
		more float64
	}{
		{cryptoki.P256, crypto.SHA256, 2},
		{cryptoki.Ed25519, crypto.Hash(0), 2},
		{cryptoki.RSA2048, crypto.SHA256, 4},
	} {
		key := goKey(t, test.alg)
		token := setUp(t, newModule(t, &pal.Mem{}, false), &cryptoki.Options{PIN: pinOf(userPIN)})
		if err := token.ImportPrivateKey(t.Context(), "k", key); err != nil {
			t.Fatal(err)
		}
		s, err := token.Signer(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		count := func(key crypto.Signer) float64 {
			return testing.AllocsPerRun(50, func() {
				if _, err := key.Sign(rand.Reader, digest[:], test.opts); err != nil {
					t.Fatal(err)
				}
			})
		}
		raw, ours := count(key), count(s)
		t.Logf("%s: %v allocations, %v of the bare key", test.alg, ours, raw)
		if ours > raw+test.more {
			t.Errorf("%s: %v allocations for a signature, %v for one with the bare key; want at most %v more", test.alg, ours, raw, test.more)
		}
	}
}
