package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

func somePrivateKeys(t testing.TB) []crypto.PrivateKey {
	t.Helper()
	var list []crypto.PrivateKey
	add := func(key crypto.PrivateKey, err error) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, key)
	}
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		add(ecdsa.GenerateKey(c, rand.Reader))
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	add(ed, err)
	add(ecdh.X25519().GenerateKey(rand.Reader))
	add(rsa.GenerateKey(rand.Reader, 2048))
	return list
}

// Both encodings are byte for byte those of crypto/x509, and read what it writes.
func TestEncodingsAreThoseOfX509(t *testing.T) {
	for _, key := range somePrivateKeys(t) {
		pub := key.(interface{ Public() crypto.PublicKey }).Public()
		want, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		got, err := MarshalInfo(pub)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%T: SubjectPublicKeyInfo %x, %v; x509 writes %x", pub, got, err, want)
		}
		if back, err := parseInfo(want); err != nil || !Equal(back, pub) {
			t.Errorf("%T: parsed %v, %v", pub, back, err)
		}
		if got, want := InfoID(want), DefaultID(pub); !bytes.Equal(got, want) || len(got) != 20 {
			t.Errorf("%T: InfoID %x, DefaultID %x", pub, got, want)
		}

		want, err = x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := MarshalPKCS8(key); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%T: PKCS #8 differs from what x509 writes (error %v)", key, err)
		}
		attrs, err := ParsePKCS8(want)
		if err != nil {
			t.Errorf("%T: %v", key, err)
			continue
		}
		back, err := PrivateKey(attrs)
		if err != nil || !back.(interface{ Equal(crypto.PrivateKey) bool }).Equal(key) {
			t.Errorf("%T: another key comes back (error %v)", key, err)
		}
		for n := range want {
			if _, err := ParsePKCS8(want[:n]); err == nil {
				t.Fatalf("%T: the first %d of %d bytes are taken for a key", key, n, len(want))
			}
		}
	}
}

func FuzzParseInfo(f *testing.F) {
	for _, key := range somePrivateKeys(f) {
		der, _ := x509.MarshalPKIXPublicKey(key.(interface{ Public() crypto.PublicKey }).Public())
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		pub, err := parseInfo(der)
		if err != nil {
			return
		}
		again, err := MarshalInfo(pub)
		if err != nil || !bytes.Equal(again, der) {
			t.Errorf("%x parses, and is written as %x (error %v)", der, again, err)
		}
		if _, err := x509.ParsePKIXPublicKey(der); err != nil {
			t.Errorf("%x parses here, x509 says %v", der, err)
		}
	})
}

func FuzzParsePKCS8(f *testing.F) {
	for _, key := range somePrivateKeys(f) {
		der, _ := x509.MarshalPKCS8PrivateKey(key)
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		attrs, err := ParsePKCS8(der)
		if err != nil {
			return
		}
		key, err := PrivateKey(attrs)
		if err != nil {
			t.Fatalf("%x parses to no key: %v", der, err)
		}
		if _, err := MarshalPKCS8(key); err != nil {
			t.Errorf("%x: %v", der, err)
		}
	})
}

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

func TestParseCertificate(t *testing.T) {
	der := someCertificate(t)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c, _, ok := ParseCertificate(der)
	if !ok || !bytes.Equal(c.Info, cert.RawSubjectPublicKeyInfo) || !bytes.Equal(c.Subject, cert.RawSubject) || !bytes.Equal(c.Issuer, cert.RawIssuer) ||
		len(c.Serial) != 2+17 || !bytes.Equal(c.Serial[3:], cert.SerialNumber.Bytes()) {
		t.Errorf("got %x (%v), want the parts of %x", c, ok, der)
	}
	if _, trailing, ok := ParseCertificate(append(der[:len(der):len(der)], der...)); ok || !trailing {
		t.Errorf("two certificates: trailing %v, ok %v", trailing, ok)
	}
	for n := range der {
		if _, _, ok := ParseCertificate(der[:n]); ok {
			t.Fatalf("the first %d of %d bytes are taken for a certificate", n, len(der))
		}
	}
}

// What crypto/x509 takes, ParseCertificate takes apart in the same way.
func FuzzParseCertificate(f *testing.F) {
	f.Add(someCertificate(f))
	f.Add([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, der []byte) {
		c, _, ok := ParseCertificate(der)
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		if !ok || !bytes.Equal(c.Info, cert.RawSubjectPublicKeyInfo) || !bytes.Equal(c.Subject, cert.RawSubject) || !bytes.Equal(c.Issuer, cert.RawIssuer) {
			t.Errorf("got %x (%v) of %x", c, ok, der)
		}
	})
}
