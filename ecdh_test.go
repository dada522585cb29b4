package cryptoki_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func TestECDH(t *testing.T) {
	token := newToken(t)
	ctx := t.Context()
	for alg, curve := range map[cryptoki.Algorithm]ecdh.Curve{cryptoki.P256: ecdh.P256(), cryptoki.P384: ecdh.P384(), cryptoki.P521: ecdh.P521()} {
		if _, err := token.GenerateKey(ctx, cryptoki.KeySpec{Label: string(alg), Algorithm: alg, Derive: true}); err != nil {
			t.Fatal(err)
		}
		key, err := token.ECDH(ctx, string(alg))
		if err != nil {
			t.Fatal(err)
		}
		peer, err := curve.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := key.ECDH(peer.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := peer.ECDH(key.PublicKey())
		if err != nil || !bytes.Equal(ours, theirs) || key.Curve() != curve {
			t.Errorf("%s: secrets %x and %x, error %v", alg, ours, theirs, err)
		}
		other, _ := ecdh.X25519().GenerateKey(rand.Reader)
		for _, bad := range []*ecdh.PublicKey{nil, other.PublicKey()} {
			if _, err := key.ECDH(bad); !errors.Is(err, pkcs11.CKR_MECHANISM_PARAM_INVALID) {
				t.Errorf("%s with a key on another curve: error %v", alg, err)
			}
		}
	}
	// The derived objects are gone again.
	if left, err := token.Objects(ctx, pkcs11.Template{class(pkcs11.CKO_SECRET_KEY)}); err != nil || len(left) != 0 {
		t.Errorf("secret keys %v, error %v", left, err)
	}
	generate(t, token, "signs", cryptoki.P256)
	if _, err := token.ECDH(ctx, "signs"); !errors.Is(err, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED) {
		t.Errorf("a key that may not derive: error %v", err)
	}
	generate(t, token, "ed", cryptoki.Ed25519)
	if _, err := token.ECDH(ctx, "ed"); !errors.Is(err, pkcs11.CKR_KEY_TYPE_INCONSISTENT) {
		t.Errorf("Ed25519: error %v", err)
	}
}
