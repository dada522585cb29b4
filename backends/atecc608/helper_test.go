package atecc608_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/sha256"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"math/rand/v2"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
)

// provisioned is a chip with the generic configuration, locked, without keys but
// the one for I/O protection.
func provisioned(t testing.TB) *ateccsim.State {
	t.Helper()
	s, err := ateccsim.Generic(ateccsim.DefaultSerial, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		b := s.Slot(n)
		for i := range b {
			b[i] = 0xFF
		}
	}
	return s
}

func newChip(t testing.TB, s *ateccsim.State, opts *ateccsim.Options) *ateccsim.Chip {
	t.Helper()
	c, err := ateccsim.New(s, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// opener opens the same chip and store again and again.
func opener(c *ateccsim.Chip, store pal.Store, opts atecc608.Options) func(context.Context) (driver.Token, error) {
	return func(ctx context.Context) (driver.Token, error) {
		o := opts
		o.Store = store
		o.Chip = atecc.Opts{Address: o.Chip.Address}
		token, err := atecc608.New(ctx, c, &o)
		if err != nil {
			return nil, err // a nil *Token is no nil driver.Token
		}
		return token, nil
	}
}

// p256 is CKA_EC_PARAMS.
var p256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

// generateTemplates are complete ones, as the core makes them.
func generateTemplates(publicLabel, label string) (public, private pkcs11.Template) {
	common := pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_EC)),
		pkcs11.Attr(pkcs11.CKA_TOKEN, true),
		pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256),
		pkcs11.Attr(pkcs11.CKA_LOCAL, true),
	}
	public = append(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PUBLIC_KEY)), pkcs11.Attr(pkcs11.CKA_LABEL, publicLabel)}, common...)
	private = append(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)), pkcs11.Attr(pkcs11.CKA_LABEL, label),
		pkcs11.Attr(pkcs11.CKA_SIGN, true), pkcs11.Attr(pkcs11.CKA_DERIVE, true), pkcs11.Attr(pkcs11.CKA_SENSITIVE, true), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, false)}, common...)
	return public, private
}

func generate(t testing.TB, token *atecc608.Token, publicLabel, label string, replaces []driver.Object) (pub, priv driver.Object) {
	t.Helper()
	public, private := generateTemplates(publicLabel, label)
	pub, priv, err := token.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public, private, replaces)
	if err != nil {
		t.Fatal(err)
	}
	return pub, priv
}

func importTemplate(t testing.TB, label string) pkcs11.Template {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	value, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	_, private := generateTemplates("", label)
	return append(private.Set(pkcs11.Attr(pkcs11.CKA_LOCAL, false)), pkcs11.Attr(pkcs11.CKA_VALUE, value))
}

func publicTemplate(t testing.TB, label string) pkcs11.Template {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	attrs, err := driver.CompletePublic(pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PUBLIC_KEY)), pkcs11.Attr(pkcs11.CKA_TOKEN, true),
		pkcs11.Attr(pkcs11.CKA_LABEL, label), pkcs11.Attr(pkcs11.CKA_VERIFY, true)}, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return attrs
}

func aesTemplate(label string) pkcs11.Template {
	return pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_SECRET_KEY)), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_AES)),
		pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_LABEL, label), pkcs11.Attr(pkcs11.CKA_VALUE, []byte("0123456789abcdef")),
		pkcs11.Attr(pkcs11.CKA_ENCRYPT, true), pkcs11.Attr(pkcs11.CKA_DECRYPT, true),
	}
}

var ecdsaMechanism = &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}

// signs reports whether a key signs as its public key says.
func signs(ctx context.Context, o driver.Object) error {
	digest := sha256.Sum256([]byte("a message"))
	sig, err := o.(driver.Signer).Sign(ctx, ecdsaMechanism, digest[:])
	if err != nil {
		return err
	}
	pub, err := driver.PublicKey(o.Attributes())
	if err != nil {
		return err
	}
	return driver.Verify(pub, ecdsaMechanism, digest[:], sig)
}

func mustSign(t testing.TB, o driver.Object) {
	t.Helper()
	if err := signs(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}
