package ateccsim

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"math/rand/v2"
	"testing"
	"time"
)

func TestFactoryCertificates(t *testing.T) {
	for _, tt := range []struct {
		name     string
		make     func() (*State, error)
		template byte
	}{
		{"TrustFLEX", func() (*State, error) { return TrustFLEX(DefaultSerial, rand.NewChaCha8([32]byte{1})) }, 4},
		{"TrustGO", func() (*State, error) { return TrustGO(DefaultSerial, rand.NewChaCha8([32]byte{1})) }, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := must(t)(tt.make())
			if again := must(t)(tt.make()); *again != *s {
				t.Error("the same random numbers make another chip")
			}
			chain, err := s.Chain()
			if err != nil {
				t.Fatal(err)
			}
			device, signer := chain[0], chain[1]
			roots, between := x509.NewCertPool(), x509.NewCertPool()
			roots.AddCert(Root())
			between.AddCert(signer)
			if _, err := device.Verify(x509.VerifyOptions{
				Roots: roots, Intermediates: between, CurrentTime: deviceIssued.Add(time.Hour),
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			}); err != nil {
				t.Error(err)
			}
			if want := "sn0123EAA205B7C47001"; device.Subject.CommonName != want {
				t.Errorf("subject is %q, want %q", device.Subject.CommonName, want)
			}
			c := newChip(t, s, nil)
			wakeUp(t, c)
			public := wantStatus(t, c, StatusOK, opGenKey, 0, 0)
			checkCompressed(t, c, 10, device, public, tt.template)
			key := append(c.ee.Slot(11)[4:36:36], c.ee.Slot(11)[40:]...)
			checkCompressed(t, c, 12, signer, key, 1)
			// A driver verifies the compressed signature with the stored key.
			sum := digest(device.RawTBSCertificate)
			wantStatus(t, c, StatusOK, opNonce, 0x43, 0, sum[:])
			wantStatus(t, c, StatusOK, opVerify, 0x22, 4, c.ee.Slot(10)[:64], key)
		})
	}
	if _, err := Blank(DefaultSerial).Chain(); err == nil {
		t.Error("a blank chip has certificates")
	}
}

// checkCompressed reads a slot on the bus and takes the certificate apart.
func checkCompressed(t *testing.T, c *Chip, slot int, cert *x509.Certificate, public []byte, template byte) {
	t.Helper()
	var b []byte
	for block := range 3 {
		b = append(b, wantStatus(t, c, StatusOK, opRead, 0x82, uint16(block<<8|slot<<3))...)
	}
	b = b[:72]
	issuer := factoryKey("signer")
	if slot == 12 {
		issuer = factoryKey("root")
	}
	x, err := issuer.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := verify(x[1:], digestOf(cert.RawTBSCertificate), b[:64]); !ok || err != nil {
		t.Errorf("slot %d: the signature does not verify: %v", slot, err)
	}
	// Year and month, day, hour, years, from the bits.
	v := uint32(b[64])<<16 | uint32(b[65])<<8 | uint32(b[66])
	from := time.Date(2000+int(v>>19), time.Month(v>>15&15), int(v>>10&31), int(v>>5&31), 0, 0, 0, time.UTC)
	if !cert.NotBefore.Equal(from) || !cert.NotAfter.Equal(from.AddDate(int(v&31), 0, 0)) {
		t.Errorf("slot %d: dates %x of %v to %v", slot, b[64:67], cert.NotBefore, cert.NotAfter)
	}
	if got := hex.EncodeToString(b[67:]); got != "608b"+hex.EncodeToString([]byte{template << 4, 0xA0, 0}) {
		t.Errorf("slot %d ends in %s", slot, got)
	}
	sum := digest(public, b[64:67])
	sum[0] = sum[0]&0x3F | 0x40
	if !bytes.Equal(cert.SerialNumber.Bytes(), sum[:16]) {
		t.Errorf("slot %d: serial number %x, want %x", slot, cert.SerialNumber, sum[:16])
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		t.Fatalf("slot %d: key %T", slot, cert.PublicKey)
	}
	got, err := key.Bytes()
	if err != nil || !bytes.Equal(got[1:], public) {
		t.Errorf("slot %d: certificate is for another key", slot)
	}
	if _, err := ecdh.P256().NewPublicKey(got); err != nil {
		t.Error(err)
	}
}
