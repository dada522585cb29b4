package soft

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// BenchmarkSign compares a signature by a token's key with one by the same key of
// the standard library.
func BenchmarkSign(b *testing.B) {
	token := newToken(b, new(pal.Mem))
	login(b, token)
	digest := sha256.Sum256([]byte("message"))
	for _, c := range signing {
		if !slices.Contains([]string{"ECDSA P-256", "Ed25519", "RSA PKCS #1", "RSA PSS"}, c.name) {
			continue
		}
		_, priv := generateKind(b, token, c.key)
		data := c.data
		if data == nil {
			data = digest[:]
		}
		o := priv.(stored).base()
		k, err := o.use()
		must(b, err)
		defer k.release()
		b.Run(c.name+"/token", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				s := priv.(driver.Signer)
				for pb.Next() {
					if _, err := s.Sign(ctx, c.m, data); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
		b.Run(c.name+"/raw", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					rawSign(k, c.m, data)
				}
			})
		})
	}
}

func rawSign(k *key, m *pkcs11.Mechanism, data []byte) {
	switch {
	case k.ec != nil:
		ecdsa.SignASN1(rand.Reader, k.ec, data)
	case k.ed != nil:
		ed25519.Sign(k.ed, data)
	case m.Type == pkcs11.CKM_RSA_PKCS_PSS:
		rsa.SignPSS(rand.Reader, k.rsa, crypto.SHA256, data, &rsa.PSSOptions{SaltLength: 32})
	case m.Type == pkcs11.CKM_RSA_PKCS:
		_, digest, _ := keys.ParseDigestInfo(data)
		rsa.SignPKCS1v15(nil, k.rsa, crypto.SHA256, digest)
	}
}

// fill puts n objects into a token, half of them private.
func fill(tb testing.TB, token *Token, n int) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic256, rand.Reader)
	must(tb, err)
	private, err := keys.PrivateAttributes(key)
	must(tb, err)
	public, err := keys.PublicAttributes(&key.PublicKey)
	must(tb, err)
	merge := func(a, b pkcs11.Template) pkcs11.Template {
		for _, x := range b {
			a = a.Set(x)
		}
		return a
	}
	for i := range n / 2 {
		label, id := fmt.Sprintf("device key %d", i), sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		_, err := token.CreateObject(ctx, merge(publicTemplate(pkcs11.CKK_EC, label, pkcs11.CKA_ID, id[:20]), public), nil)
		must(tb, err)
		_, err = token.CreateObject(ctx, merge(privateTemplate(pkcs11.CKK_EC, label, pkcs11.CKA_ID, id[:20]), private), nil)
		must(tb, err)
	}
}

// BenchmarkOpen opens a token of 10,000 objects, logs in, and reads them.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{10, 10000} {
		for _, kind := range []string{"mem", "fileflash"} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				var store pal.Store = new(pal.Mem)
				dir := privateDir(b)
				if kind == "fileflash" {
					s, err := fileflash.Open(dir, nil)
					must(b, err)
					store = s
				}
				token := newToken(b, store)
				login(b, token)
				fill(b, token, n)
				token.Close()
				for b.Loop() {
					if kind == "fileflash" {
						s, err := fileflash.Open(dir, nil)
						must(b, err)
						store = s
					}
					token, err := New(store, cheap)
					must(b, err)
					login(b, token)
					if got := len(objects(b, token)); got != n {
						b.Fatalf("%d objects", got)
					}
					token.Close()
				}
			})
		}
	}
}

// BenchmarkKDF is what a PIN costs by default. With -tags purego it is without
// assembly, as on ARM.
func BenchmarkKDF(b *testing.B) {
	for b.Loop() {
		DefaultKDF.key(userPIN, [16]byte{})
	}
}
