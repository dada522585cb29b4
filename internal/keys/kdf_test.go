package keys

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"testing"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Two answers of NIST's CAVS 12.0 for X9.63, with SHA-256.
func TestX963(t *testing.T) {
	for _, tt := range []struct{ z, info, want string }{
		{"96c05619d56c328ab95fe84b18264b08725b85e33fd34f08", "", "443024c3dae66b95e6f5670601558f71"},
		{"22518b10e70f2a3f243810ae3254139efbee04aa57c7af7d", "75eef81aa3041e33b80971203d2c0c52",
			"c498af77161cc59f2962b9a713e2b215152d139766ce34a776df11866a69bf2e52a13d9c7c6fc878c50c5ea0bc7b00e0da2447cfd874f6cf92f30d0097111485500c90c3af8b487872d04685d14c8d1dc8d7fa08beb0ce0ababc11f0bd496269142d43525a78e5bc79a17f59676a5706dc54d54d4d1f0bd7e386128ec26afc21"},
	} {
		z, _ := hex.DecodeString(tt.z)
		info, _ := hex.DecodeString(tt.info)
		want, _ := hex.DecodeString(tt.want)
		for n := range len(want) + 1 {
			got := X963(crypto.SHA256, z, info, n)
			if !bytes.Equal(got, want[:n]) {
				t.Fatalf("%d bytes: %x, want %x", n, got, want[:n])
			}
			if rest := got[n:cap(got)]; !bytes.Equal(rest, make([]byte, len(rest))) {
				t.Fatalf("%d bytes: what was not asked for is left behind them", n)
			}
		}
	}
}

func TestKDFHash(t *testing.T) {
	for kdf, want := range map[pkcs11.KDFType]crypto.Hash{
		pkcs11.CKD_NULL: 0, pkcs11.CKD_SHA1_KDF: crypto.SHA1, pkcs11.CKD_SHA224_KDF: crypto.SHA224,
		pkcs11.CKD_SHA256_KDF: crypto.SHA256, pkcs11.CKD_SHA384_KDF: crypto.SHA384, pkcs11.CKD_SHA512_KDF: crypto.SHA512,
	} {
		if got, ok := KDFHash(kdf); got != want || !ok {
			t.Errorf("%v: %v, %v", kdf, got, ok)
		}
	}
	if got, ok := KDFHash(pkcs11.CKD_CPDIVERSIFY_KDF); ok {
		t.Errorf("another KDF: %v", got)
	}
}
