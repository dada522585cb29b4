package soft

import (
	"crypto/elliptic"
	"crypto/sha256"
	"testing"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var elliptic256 = elliptic.P256()

// kinds are the key pairs that the token generates.
var kinds = []struct {
	name   string
	gen    pkcs11.MechanismType
	typ    pkcs11.KeyType
	params []any
}{
	{"P-256", pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKK_EC, []any{pkcs11.CKA_EC_PARAMS, oidP256}},
	{"P-384", pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKK_EC, []any{pkcs11.CKA_EC_PARAMS, oidP384}},
	{"P-521", pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKK_EC, []any{pkcs11.CKA_EC_PARAMS, oidP521}},
	{"Ed25519", pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN, pkcs11.CKK_EC_EDWARDS, []any{pkcs11.CKA_EC_PARAMS, oidEd25519}},
	{"X25519", pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN, pkcs11.CKK_EC_MONTGOMERY, []any{pkcs11.CKA_EC_PARAMS, oidX25519}},
	{"RSA-2048", pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKK_RSA, []any{pkcs11.CKA_MODULUS_BITS, uint64(2048), pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}}},
}

func generateKind(t testing.TB, token *Token, name string) (pub, priv driver.Object) {
	t.Helper()
	for _, k := range kinds {
		if k.name == name {
			pub, priv, err := token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: k.gen}, publicTemplate(k.typ, name, k.params...), privateTemplate(k.typ, name), nil)
			must(t, err)
			return pub, priv
		}
	}
	t.Fatalf("no kind %s", name)
	return nil, nil
}

func pss(hash pkcs11.MechanismType, mgf pkcs11.MGFType, salt uint64) *pkcs11.Mechanism {
	return &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: &pkcs11.PSSParams{HashAlg: hash, MGF: mgf, SaltLen: salt}}
}

func digestInfo() []byte {
	digest := sha256.Sum256([]byte("message"))
	b, err := keys.AppendDigestInfo(nil, 5, digest[:])
	if err != nil {
		panic(err)
	}
	return b
}

// padded is a block as PKCS #1 v1.5 pads it, for a key of 2048 bits.
func padded(data []byte) []byte {
	b := []byte{0, 1}
	for len(b) < 256-1-len(data) {
		b = append(b, 0xff)
	}
	return append(append(b, 0), data...)
}

var signing = []struct {
	name, key string
	m         *pkcs11.Mechanism
	data      []byte // nil: a SHA-256 digest
}{
	{"ECDSA P-256", "P-256", &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, nil},
	{"ECDSA P-256, 20 bytes", "P-256", &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, make([]byte, 20)},
	{"ECDSA P-256, 64 bytes", "P-256", &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")},
	{"ECDSA P-384", "P-384", &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, nil},
	{"ECDSA P-521", "P-521", &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, nil},
	{"Ed25519", "Ed25519", &pkcs11.Mechanism{Type: pkcs11.CKM_EDDSA}, []byte("message")},
	{"Ed25519 of nothing", "Ed25519", &pkcs11.Mechanism{Type: pkcs11.CKM_EDDSA}, []byte{}},
	{"Ed25519ctx", "Ed25519", &pkcs11.Mechanism{Type: pkcs11.CKM_EDDSA, Params: &pkcs11.EDDSAParams{Context: []byte("c")}}, []byte("message")},
	{"Ed25519ph", "Ed25519", &pkcs11.Mechanism{Type: pkcs11.CKM_EDDSA, Params: &pkcs11.EDDSAParams{Prehash: true}}, []byte("message")},
	{"RSA PKCS #1", "RSA-2048", &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}, digestInfo()},
	{"RSA PKCS #1 of bytes", "RSA-2048", &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}, []byte("not a DigestInfo")},
	{"RSA PKCS #1 of most bytes", "RSA-2048", &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}, make([]byte, 245)},
	{"RSA PSS", "RSA-2048", pss(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, 32), nil},
	{"RSA PSS, salt of 20", "RSA-2048", pss(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, 20), nil},
	{"RSA PSS, no salt", "RSA-2048", pss(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, 0), nil},
	{"RSA PSS, other MGF, salt of most", "RSA-2048", pss(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA512, 222), nil},
	{"RSA X.509", "RSA-2048", &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_X_509}, append([]byte{0, 2}, make([]byte, 254)...)},
	{"RSA X.509, short", "RSA-2048", &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_X_509}, []byte{3}},
	{"RSA X.509, padded", "RSA-2048", &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_X_509}, padded([]byte("data"))},
	{"RSA X.509, padded, first zero left out", "RSA-2048", &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_X_509}, padded([]byte("data"))[1:]},
}

// TestSign signs with every mechanism, with keys that are new and with the same
// after a restart, and verifies with package keys.
func TestSign(t *testing.T) {
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	for _, k := range kinds {
		generateKind(t, token, k.name)
	}
	digest := sha256.Sum256([]byte("message"))
	for _, when := range []string{"new", "after a restart"} {
		for _, c := range signing {
			t.Run(c.name+" "+when, func(t *testing.T) {
				data := c.data
				if data == nil {
					data = digest[:]
				}
				priv := find(t, token, pkcs11.CKO_PRIVATE_KEY, c.key).(driver.Signer)
				sig, err := priv.Sign(ctx, c.m, data)
				must(t, err)
				verify(t, find(t, token, pkcs11.CKO_PUBLIC_KEY, c.key), c.m, data, sig)
				if again, _ := priv.Sign(ctx, c.m, data); c.m.Type == pkcs11.CKM_ECDSA && string(again) == string(sig) {
					t.Error("the signature is not hedged: two are the same")
				}
			})
		}
		must(t, token.Close())
		token = openToken(t, store)
		login(t, token)
	}
}
