package cryptoki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"errors"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func someCertificate(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(0x81), 120), Subject: pkix.Name{CommonName: "gw-1", Organization: []string{"Example"}},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<31, 0), DNSNames: []string{"gw-1.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCertificateParts(t *testing.T) {
	der := someCertificate(t)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	serial, info, err := certificateParts(der)
	if err != nil || !bytes.Equal(info, cert.RawSubjectPublicKeyInfo) || len(serial) != 2+17 || !bytes.Equal(serial[3:], cert.SerialNumber.Bytes()) {
		t.Errorf("serial %x, key %x, error %v; want serial %x, key %x", serial, info, err, cert.SerialNumber, cert.RawSubjectPublicKeyInfo)
	}
	for n := range der[:len(der)-1] {
		if _, _, err := certificateParts(der[:n]); !errors.Is(err, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID) {
			t.Fatalf("the first %d of %d bytes: error %v", n, len(der), err)
		}
	}
}

// What crypto/x509 takes, certificateParts takes apart in the same way.
func FuzzCertificateParts(f *testing.F) {
	f.Add(someCertificate(f))
	f.Add([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, der []byte) {
		serial, info, err := certificateParts(der)
		cert, xerr := x509.ParseCertificate(der)
		if xerr != nil {
			return
		}
		if err != nil || !bytes.Equal(info, cert.RawSubjectPublicKeyInfo) || len(serial) < 3 {
			t.Errorf("serial %x, key %x, error %v; x509 found key %x", serial, info, err, cert.RawSubjectPublicKeyInfo)
		}
	})
}
