package compcert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
)

func simulated(t testing.TB) *Family {
	t.Helper()
	text, err := os.ReadFile("../templates/simulated.pem")
	if err != nil {
		t.Fatal(err)
	}
	f, err := ParseTemplates(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The certificates of other chips than those that the templates were taken from
// are rebuilt, byte by byte.
func TestRebuildsTheFactorysCertificates(t *testing.T) {
	f := simulated(t)
	for i, make := range []func([9]byte, *mrand.ChaCha8) (*ateccsim.State, error){
		func(s [9]byte, r *mrand.ChaCha8) (*ateccsim.State, error) { return ateccsim.TrustFLEX(s, r) },
		func(s [9]byte, r *mrand.ChaCha8) (*ateccsim.State, error) { return ateccsim.TrustGO(s, r) },
	} {
		serial := [9]byte{1, 0x23, byte(i), 0xFE, 0xDC, 4, 5, 0xAB, 0xEE}
		state, err := make(serial, mrand.NewChaCha8([32]byte{byte(i), 7}))
		if err != nil {
			t.Fatal(err)
		}
		chain, err := state.Chain()
		if err != nil {
			t.Fatal(err)
		}
		device, signer := chain[0], chain[1]
		rootKey, signerKey := f.Roots[0].PublicKey.(*ecdsa.PublicKey), signer.PublicKey.(*ecdsa.PublicKey)
		for _, tt := range []struct {
			slot int
			want *x509.Certificate
			chip *Chip
		}{
			{12, signer, &Chip{Serial: [9]byte(state.Serial()), Key: signerKey, Issuer: rootKey}},
			{10, device, &Chip{Serial: [9]byte(state.Serial()), Key: device.PublicKey.(*ecdsa.PublicKey), Issuer: signerKey}},
		} {
			c, err := Parse(state.Slot(tt.slot))
			if err != nil {
				t.Fatal(err)
			}
			if b, err := c.Bytes(); err != nil || !bytes.Equal(b, state.Slot(tt.slot)) {
				t.Errorf("slot %d: %x, %v", tt.slot, b, err)
			}
			cert, template, err := c.Rebuild(f.Templates, tt.chip)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(cert.Raw, tt.want.Raw) || template.CertSlot != tt.slot {
				t.Errorf("slot %d is rebuilt as another certificate:\n%x\n%x", tt.slot, cert.Raw, tt.want.Raw)
			}
			b, err := template.Compress(tt.want, c.Signer, c.Serial, tt.chip)
			if err != nil || !bytes.Equal(b, state.Slot(tt.slot)) {
				t.Errorf("slot %d is compressed to %x, %v", tt.slot, b, err)
			}
			// Another chip, or another issuer, has no such certificate.
			other := *tt.chip
			other.Key = f.Roots[0].PublicKey.(*ecdsa.PublicKey)
			if _, _, err := c.Rebuild(f.Templates, &other); err == nil {
				t.Error("a certificate is rebuilt for another key")
			}
			other = *tt.chip
			other.Issuer = device.PublicKey.(*ecdsa.PublicKey)
			if _, _, err := c.Rebuild(f.Templates, &other); err == nil {
				t.Error("a certificate is rebuilt with another issuer")
			}
			c.Template = 9
			if _, _, err := c.Rebuild(f.Templates, tt.chip); err == nil || !strings.Contains(err.Error(), "no template number 9") {
				t.Errorf("an unknown template: %v", err)
			}
		}
	}
}

// A family is made of one certificate, whatever is in it.
func TestCompress(t *testing.T) {
	issuerKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	issuer := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Signer a1b2"}, IsCA: true, BasicConstraintsValid: true, SubjectKeyId: keyID(&issuerKey.PublicKey)}
	issue := func(serial [9]byte, key *ecdsa.PrivateKey, from, to time.Time, number *big.Int) *x509.Certificate {
		der := must(x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: number, Subject: pkix.Name{CommonName: fmt.Sprintf("chip %x", serial)},
			NotBefore: from, NotAfter: to, SubjectKeyId: keyID(&key.PublicKey), DNSNames: []string{fmt.Sprintf("%x.example.com", serial)},
		}, issuer, &key.PublicKey, issuerKey))
		return must(x509.ParseCertificate(der))
	}
	first, second := [9]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, [9]byte{9, 8, 7, 6, 5, 4, 3, 2, 1}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	hour := time.Date(2026, 11, 5, 13, 0, 0, 0, time.UTC)
	sample := issue(first, key, hour, hour.AddDate(5, 0, 0), new(big.Int).SetBytes(append([]byte{0x40}, first[:]...)))
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sample.Raw, Headers: map[string]string{
		"Template": "5", "Chain": "2", "Certificate-Slot": "10", "Key-Slot": "0", "Signer": "a1b2", "Chip-Serial": hex.EncodeToString(first[:])}})
	family, err := ParseTemplates(text)
	if err != nil {
		t.Fatal(err)
	}
	template := family.Templates[0]
	chip := &Chip{Serial: second, Key: &must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).PublicKey, Issuer: &issuerKey.PublicKey}
	for _, tt := range []struct {
		what     string
		from, to time.Time
		source   SerialSource
		ok       bool
	}{
		{"30 years, into GeneralizedTime", hour, hour.AddDate(30, 0, 0), SerialOfChip, true},
		{"for ever", hour, forever, SerialOfChip, true},
		{"60 years of the second format", hour.AddDate(40, 0, 0), hour.AddDate(100, 0, 0), SerialOfChip, true},
		{"minutes", hour.Add(time.Minute), hour.AddDate(1, 0, 0).Add(time.Minute), SerialOfChip, false},
		{"days", hour, hour.AddDate(1, 0, 1), SerialOfChip, false},
		{"no time", hour, hour, SerialOfChip, false},
		{"another serial number", hour, hour.AddDate(3, 0, 0), SerialOfSigner, false},
		{"a serial number that is stored", hour, hour.AddDate(3, 0, 0), 0, false},
	} {
		k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		chip.Key = &k.PublicKey
		cert := issue(second, k, tt.from, tt.to, new(big.Int).SetBytes(append([]byte{0x40}, second[:]...)))
		b, err := template.Compress(cert, 0xA1B2, tt.source, chip)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.what, err)
		}
		if err != nil {
			continue
		}
		c, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := c.Rebuild(family.Templates, chip)
		if err != nil || !bytes.Equal(again.Raw, cert.Raw) {
			t.Errorf("%s: rebuilt as another: %v", tt.what, err)
		}
		for i := range 64 {
			b[i] ^= 0x10
			if c, err := Parse(b); err == nil {
				if _, _, err := c.Rebuild(family.Templates, chip); err == nil {
					t.Fatalf("%s: a wrong byte %d of the signature is not noticed", tt.what, i)
				}
			}
			b[i] ^= 0x10
		}
	}
}

func TestSerialNumbers(t *testing.T) {
	key := must(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32)))
	chip := &Chip{Serial: [9]byte{1, 0x23, 3, 4, 5, 6, 7, 8, 0xEE}, Key: &key.PublicKey}
	c := &Compressed{Signer: 0xF600, NotBefore: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), Years: 28}
	dates := []byte{0xD5, 0xD5, 0x1C} // 26, 11, 21, 8, 28
	hash := func(b []byte) string {
		sum := sha256.Sum256(append(bytes.Clone(b), dates...))
		sum[0] = sum[0]&0x3F | 0x40
		return hex.EncodeToString(sum[:16])
	}
	point := must(key.PublicKey.Bytes())
	for source, want := range map[SerialSource]string{
		SerialOfChip:     "400123030405060708ee",
		SerialOfSigner:   "40f600",
		SerialOfKeyHash:  hash(point[1:]),
		SerialOfChipHash: hash(chip.Serial[:]),
	} {
		c.Serial = source
		got, err := c.serialNumber(chip, 16)
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("source %#x: %x, %v; want %s", byte(source), got, err, want)
		}
	}
}

// The worked bits of the dates: 2000+14, 5 March, 13 h, 28 years.
func TestDates(t *testing.T) {
	c := &Compressed{NotBefore: time.Date(2014, 3, 5, 13, 0, 0, 0, time.UTC), Years: 28}
	b := must(c.Bytes())
	if got := hex.EncodeToString(b[64:]); got != "7195bc0000000000" {
		t.Errorf("dates %s", got)
	}
	c.Format, c.Years, c.NotBefore = 1, 100, c.NotBefore.AddDate(50, 0, 0)
	again := must(Parse(must(c.Bytes())))
	if *again != *c {
		t.Errorf("%+v is read as %+v", c, again)
	}
}

func TestParseRefuses(t *testing.T) {
	good := must((&Compressed{NotBefore: time.Date(2026, 2, 28, 23, 0, 0, 0, time.UTC), Years: 1}).Bytes())
	for _, tt := range []struct {
		what string
		off  int
		v    byte
	}{{"30 February", 65, good[65]&0x83 | 30<<2}, {"month 0", 64, good[64] &^ 7}, {"hour 31", 65, good[65] | 3}, {"format 3", 70, 3}, {"the last byte", 71, 1}} {
		b := bytes.Clone(good)
		b[tt.off] = tt.v
		if tt.what == "month 0" {
			b[65] &^= 0x80
		}
		if _, err := Parse(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
	if _, err := Parse(bytes.Repeat([]byte{0xFF}, 72)); !errors.Is(err, ErrFormat) {
		t.Errorf("an empty slot: %v", err)
	}
	if _, err := Parse(good[:71]); !errors.Is(err, ErrFormat) {
		t.Errorf("71 bytes: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, template := range []func([9]byte) (*ateccsim.State, error){
		func(s [9]byte) (*ateccsim.State, error) { return ateccsim.TrustFLEX(s, nil) },
	} {
		state := must(template(ateccsim.DefaultSerial))
		f.Add(bytes.Clone(state.Slot(10)))
		f.Add(bytes.Clone(state.Slot(12)))
	}
	family := simulated(f)
	key := family.Roots[0].PublicKey.(*ecdsa.PublicKey)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			return
		}
		again, err := c.Bytes()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is %+v, and that %x, %v", b, c, again, err)
		}
		if _, _, err := c.Rebuild(family.Templates, &Chip{Key: key, Issuer: key}); err == nil {
			t.Error("a signature of nobody verifies")
		}
	})
}

func FuzzTemplates(f *testing.F) {
	text, err := os.ReadFile("../templates/simulated.pem")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) {
		family, err := ParseTemplates(b)
		if err != nil {
			return
		}
		for _, template := range family.Templates {
			key := template.sample.PublicKey.(*ecdsa.PublicKey)
			c := &Compressed{NotBefore: template.sample.NotBefore, Serial: SerialOfChip, Format: 1}
			if body, err := template.body(c, &Chip{Key: key}); err == nil {
				if elements, err := sequence(body); err != nil || len(elements) != 8 {
					t.Errorf("what is rebuilt is no TBSCertificate: %v", err)
				}
			}
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
