package keys

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func TestHashTable(t *testing.T) {
	key := rsaKey(t)
	if len(Hashes()) != 11 {
		t.Errorf("%d hash functions", len(Hashes()))
	}
	for _, h := range Hashes() {
		t.Run(h.String(), func(t *testing.T) {
			if !h.Available() {
				t.Fatal("not linked in")
			}
			m, ok := HashMechanism(h)
			if back, ok2 := Hash(m); !ok || !ok2 || back != h {
				t.Errorf("mechanism %v, back %v", m, back)
			}
			// The names of the mechanisms are made of the name of the hash.
			stem := strings.TrimPrefix(m.String(), "CKM_")
			for suffix, general := range map[string]bool{"_HMAC": false, "_HMAC_GENERAL": true} {
				mac, ok := pkcs11.ParseMechanism(stem + suffix)
				if back, g, ok2 := HMAC(mac); !ok || !ok2 || back != h || g != general {
					t.Errorf("%v: %v, general %v", mac, back, g)
				}
			}
			if h != crypto.SHA512_224 && h != crypto.SHA512_256 {
				word := strings.ReplaceAll(stem, "SHA_1", "SHA1")
				for name, base := range map[string]pkcs11.MechanismType{
					word + "_RSA_PKCS":     pkcs11.CKM_RSA_PKCS,
					word + "_RSA_PKCS_PSS": pkcs11.CKM_RSA_PKCS_PSS,
					"ECDSA_" + word:        pkcs11.CKM_ECDSA,
				} {
					m, ok := pkcs11.ParseMechanism(name)
					if !ok {
						t.Errorf("no mechanism %s", name)
					}
					if b, back, ok := Split(m); !ok || b != base || back != h {
						t.Errorf("Split(%v) = %v, %v", m, b, back)
					}
					if j, ok := Join(base, h); !ok || j != m {
						t.Errorf("Join(%v, %v) = %v", base, h, j)
					}
				}
				g, ok := MGF(h)
				if back, ok2 := MGFHash(g); !ok || !ok2 || back != h || g.String() != "CKG_MGF1_"+word {
					t.Errorf("%v, back %v", g, back)
				}
			} else if _, ok := MGF(h); ok {
				t.Error("an MGF that the standard does not have")
			}

			// crypto/rsa prepends a prefix of its own to a digest, and none to
			// what is signed without a hash.
			digest := bytes.Repeat([]byte{7}, h.Size())
			info, err := AppendDigestInfo([]byte("x"), h, digest)
			if err != nil || info[0] != 'x' {
				t.Fatal(info, err)
			}
			info = info[1:]
			want, err := rsa.SignPKCS1v15(rand.Reader, key, h, digest)
			if err != nil {
				t.Fatal(err)
			}
			got, err := rsa.SignPKCS1v15(rand.Reader, key, 0, info)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("DigestInfo %x is not that of crypto/rsa", info)
			}
			var parsed struct {
				Algorithm struct {
					OID    asn1.ObjectIdentifier
					Params asn1.RawValue
				}
				Digest []byte
			}
			if rest, err := asn1.Unmarshal(info, &parsed); err != nil || len(rest) > 0 || !bytes.Equal(parsed.Digest, digest) {
				t.Errorf("DigestInfo %x: %v", info, err)
			}
			if back, d, ok := ParseDigestInfo(info); !ok || back != h || !bytes.Equal(d, digest) {
				t.Errorf("ParseDigestInfo: %v, %x, %v", back, d, ok)
			}
			if _, err := AppendDigestInfo(nil, h, digest[1:]); !errors.Is(err, pkcs11.CKR_DATA_LEN_RANGE) {
				t.Errorf("short digest: %v", err)
			}
		})
	}
}

func TestWhatIsNoHash(t *testing.T) {
	for _, m := range []pkcs11.MechanismType{0, pkcs11.CKM_RSA_PKCS, pkcs11.CKM_ECDSA, pkcs11.CKM_MD5, 0x80000001} {
		if h, ok := Hash(m); ok {
			t.Errorf("Hash(%v) = %v", m, h)
		}
		if b, h, ok := Split(m); ok {
			t.Errorf("Split(%v) = %v, %v", m, b, h)
		}
		if h, _, ok := HMAC(m); ok {
			t.Errorf("HMAC(%v) = %v", m, h)
		}
	}
	for _, h := range []crypto.Hash{0, crypto.MD5, crypto.SHA512_256} {
		for _, base := range []pkcs11.MechanismType{pkcs11.CKM_ECDSA, pkcs11.CKM_RSA_PKCS, pkcs11.CKM_RSA_PKCS_PSS} {
			if m, ok := Join(base, h); ok {
				t.Errorf("Join(%v, %v) = %v", base, h, m)
			}
		}
	}
	if m, ok := Join(pkcs11.CKM_EDDSA, crypto.SHA512); ok {
		t.Errorf("Join(CKM_EDDSA, SHA512) = %v", m)
	}
	if _, ok := MGFHash(0); ok {
		t.Error("MGFHash(0)")
	}
	if _, err := AppendDigestInfo(nil, crypto.MD5, make([]byte, 16)); !errors.Is(err, pkcs11.CKR_MECHANISM_INVALID) {
		t.Errorf("MD5: %v", err)
	}
}

// FuzzParseDigestInfo: what parses is encoded to the same bytes.
func FuzzParseDigestInfo(f *testing.F) {
	for _, h := range Hashes() {
		info, err := AppendDigestInfo(nil, h, make([]byte, h.Size()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(info)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, digest, ok := ParseDigestInfo(data)
		if !ok {
			return
		}
		if again, err := AppendDigestInfo(nil, h, digest); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x becomes %x, %v", data, again, err)
		}
	})
}
