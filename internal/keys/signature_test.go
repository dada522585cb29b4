package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// number returns n bytes without leading zeros, the first with or without its
// high bit.
func number(n int, high bool) []byte {
	v := bytes.Repeat([]byte{0x5a}, n)
	if high {
		v[0] |= 0x80
	}
	return v
}

func TestSignatureOfEveryLength(t *testing.T) {
	for _, size := range []int{32, 48, 66} {
		for lenR := 1; lenR <= size; lenR++ {
			for _, lenS := range []int{1, size / 2, size - 1, size, lenR} {
				for high := range 4 {
					r, s := number(lenR, high&1 != 0), number(lenS, high&2 != 0)
					want, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
					if err != nil {
						t.Fatal(err)
					}
					raw := make([]byte, 2*size)
					copy(raw[size-lenR:], r)
					copy(raw[2*size-lenS:], s)
					der, err := AppendDER(nil, raw)
					if err != nil || !bytes.Equal(der, want) {
						t.Fatalf("AppendDER of %d and %d bytes: %x, %v; encoding/asn1 makes %x", lenR, lenS, der, err, want)
					}
					if len(der) > len(raw)+9 {
						t.Fatalf("%d bytes of DER for %d of r‖s", len(der), len(raw))
					}
					back := bytes.Repeat([]byte{0xff}, 2*size)
					if err := RawSignature(back, der); err != nil || !bytes.Equal(back, raw) {
						t.Fatalf("RawSignature(%x) = %x, %v; want %x", der, back, err, raw)
					}
				}
			}
		}
	}
}

func TestRawSignatureRefuses(t *testing.T) {
	for name, der := range map[string]string{
		"nothing":                      "",
		"empty sequence":               "3000",
		"one integer":                  "3003020101",
		"three integers":               "3009020101020101020101",
		"trailing byte":                "300602010102010100",
		"byte after s in the sequence": "300702010102010100",
		"length one short":             "3005020101020101",
		"length one long":              "3007020101020101",
		"long form of a short length":  "308106020101020101",
		"indefinite length":            "30800201010201010000",
		"padded r":                     "30070202000102 0101",
		"padded r, second bit set":     "30070202007f020101",
		"padded s":                     "3007020101 02020001",
		"negative r":                   "3006020181020101",
		"zero r":                       "3006020100020101",
		"zero s":                       "3006020101020100",
		"empty r":                      "30050200020101",
		"long form inside":             "300702810101020101",
		"other tag":                    "3106020101020101",
		"bit string for r":             "3006030101020101",
		"r too long by a byte":         "3026022101" + fmt.Sprintf("%064x", 0) + "020101",
		"s too long by a byte":         "3026020101022101" + fmt.Sprintf("%064x", 0),
	} {
		der = string(bytes.ReplaceAll([]byte(der), []byte(" "), nil))
		if err := RawSignature(make([]byte, 64), unhex(t, der)); !errors.Is(err, pkcs11.CKR_SIGNATURE_INVALID) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, n := range []int{0, 1, 63, 133, 134} {
		if err := RawSignature(make([]byte, n), unhex(t, "3006020101020101")); !errors.Is(err, pkcs11.CKR_SIGNATURE_LEN_RANGE) {
			t.Errorf("r‖s of %d bytes: %v", n, err)
		}
	}
}

// The reference refused the shortest signatures that there are.
func TestShortestSignature(t *testing.T) {
	raw := make([]byte, 64)
	raw[31], raw[63] = 1, 1
	der, err := AppendDER(nil, raw)
	if err != nil || !bytes.Equal(der, unhex(t, "3006020101020101")) {
		t.Fatalf("%x, %v", der, err)
	}
}

func TestAppendDERRefuses(t *testing.T) {
	for _, n := range []int{0, 1, 63, 65, 133, 134, 512} {
		if _, err := AppendDER(nil, number(max(n, 1), true)[:n]); !errors.Is(err, pkcs11.CKR_SIGNATURE_LEN_RANGE) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, at := range []int{0, 32} { // the half that is zero
		raw := number(64, true)
		clear(raw[at : at+32])
		if _, err := AppendDER(nil, raw); !errors.Is(err, pkcs11.CKR_SIGNATURE_INVALID) {
			t.Errorf("zero at %d: %v", at, err)
		}
	}
	dst := []byte{1, 2, 3}
	if got, err := AppendDER(dst, nil); err == nil || !bytes.Equal(got, dst) {
		t.Errorf("dst becomes %x", got)
	}
}

func TestSignaturesAllocateNothing(t *testing.T) {
	raw, der := number(64, true), make([]byte, 0, maxDER)
	if n := testing.AllocsPerRun(100, func() {
		var err error
		if der, err = AppendDER(der[:0], raw); err != nil {
			t.Fatal(err)
		}
		if err = RawSignature(raw, der); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRawSignature: what is taken for DER is encoded to the same bytes, and
// encoding/asn1 agrees.
func FuzzRawSignature(f *testing.F) {
	f.Add(unhex(f, "3006020101020101"), uint8(32))
	f.Add(unhex(f, "30090204ffffffff020101"), uint8(32))
	f.Fuzz(func(t *testing.T, der []byte, size uint8) {
		raw := make([]byte, 2*int(size))
		if RawSignature(raw, der) != nil {
			return
		}
		again, err := AppendDER(nil, raw)
		if err != nil || !bytes.Equal(again, der) {
			t.Fatalf("%x becomes %x and that %x, %v", der, raw, again, err)
		}
		var sig struct{ R, S *big.Int }
		if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) > 0 {
			t.Fatalf("encoding/asn1 does not take %x: %v", der, err)
		}
		if sig.R.Cmp(new(big.Int).SetBytes(raw[:size])) != 0 || sig.S.Cmp(new(big.Int).SetBytes(raw[size:])) != 0 {
			t.Fatalf("%x is %x", der, raw)
		}
	})
}

func BenchmarkSignatureEncodings(b *testing.B) {
	raw, der := number(64, true), make([]byte, 0, maxDER)
	b.ReportAllocs()
	for b.Loop() {
		der, _ = AppendDER(der[:0], raw)
		if err := RawSignature(raw, der); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		digest := make([]byte, 32)
		der, err := ecdsa.SignASN1(rand.Reader, key, digest)
		if err != nil {
			b.Fatal(err)
		}
		raw := make([]byte, 2*((c.Params().BitSize+7)/8))
		if err := RawSignature(raw, der); err != nil {
			b.Fatal(err)
		}
		m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
		b.Run(c.Params().Name+"/here", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Verify(&key.PublicKey, m, digest, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.Params().Name+"/ecdsa", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !ecdsa.VerifyASN1(&key.PublicKey, digest, der) {
					b.Fatal("invalid")
				}
			}
		})
	}
}
