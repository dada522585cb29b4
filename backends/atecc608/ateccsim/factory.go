package ateccsim

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"sync"
	"time"
)

// What TrustFLEX and TrustGO find in the slots of the certificates: the device's
// and the signer's, compressed to 72 bytes, and the signer's public key.
const (
	slotDeviceKey  = 0
	slotDeviceCert = 10
	slotSignerKey  = 11
	slotSignerCert = 12
)

// The factory's certificates, as far as they do not differ between chips. The
// templates and the signer have the numbers that a compressed certificate names.
const (
	factoryName     = "Simulated ATECC608"
	factorySigner   = 0x608B
	templateSigner  = 1
	templateTrustGO = 3
	templateFLEX    = 4
	serialFromKey   = 0xA // SHA-256 of public key and dates
	serialSize      = 16  // bytes of a certificate's serial number

	signerYears = 31
	deviceYears = 28
)

var (
	signerIssued = time.Date(2024, time.March, 5, 9, 0, 0, 0, time.UTC)
	deviceIssued = time.Date(2025, time.October, 16, 21, 0, 0, 0, time.UTC)
	rootIssued   = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)
	rootExpires  = time.Date(2064, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// Root is the certificate in which the chains of [TrustFLEX] and [TrustGO] end.
// It is the same in every process. Its private key is in this package for all to
// see: it vouches for nothing outside of tests.
func Root() *x509.Certificate { return theFactory().root }

// Chain is the certificates of a chip that [TrustFLEX] or [TrustGO] made: the
// device's, the signer's, the root's. They are issued anew, not read from the
// slots, so that what a driver rebuilds can be compared with them byte by byte.
//
// The device's has the subject "sn" and the serial number in 18 hexadecimal
// digits as its common name, the signer's "Signer" and its number in 4. Serial
// numbers are the first 16 bytes of SHA-256 over the public key (X ‖ Y) and the
// three bytes of the dates, the first two bits made 01. Key identifiers are
// SHA-1 of 04 ‖ X ‖ Y. Years from 2050 on are a GeneralizedTime.
func (s *State) Chain() ([]*x509.Certificate, error) {
	if len(bytes.Trim(s.Slot(slotDeviceCert), "\xff")) == 0 {
		return nil, errors.New("ateccsim: slot 10 has no certificate: this chip is not pre-provisioned")
	}
	device, err := theFactory().device(s, s.Slot(slotDeviceCert)[69]>>4)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{device, theFactory().signer, Root()}, nil
}

// A factory signs the certificates of chips. Its signatures are deterministic,
// and so are its certificates.
type factory struct {
	signerKey    *ecdsa.PrivateKey
	root, signer *x509.Certificate
}

var theFactory = sync.OnceValue(func() *factory {
	rootKey, signerKey := factoryKey("root"), factoryKey("signer")
	must := func(c *x509.Certificate, err error) *x509.Certificate {
		if err != nil {
			panic("ateccsim: a built-in certificate is malformed: " + err.Error())
		}
		return c
	}
	root := must(issue(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: factorySubject("Root"),
		NotBefore: rootIssued, NotAfter: rootExpires,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil, &rootKey.PublicKey, rootKey))
	signer := must(issue(&x509.Certificate{
		SerialNumber: keySerial(&signerKey.PublicKey, signerIssued, signerYears),
		Subject:      factorySubject(fmt.Sprintf("Signer %04X", factorySigner)),
		NotBefore:    signerIssued, NotAfter: signerIssued.AddDate(signerYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, root, &signerKey.PublicKey, rootKey))
	return &factory{signerKey: signerKey, root: root, signer: signer}
})

// device issues the certificate of the key in slot 0.
func (f *factory) device(s *State, template byte) (*x509.Certificate, error) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), s.Slot(slotDeviceKey)[4:36])
	if err != nil {
		return nil, fmt.Errorf("ateccsim: slot %d has no key: %w", slotDeviceKey, err)
	}
	usage := x509.KeyUsageDigitalSignature
	if template == templateTrustGO {
		usage |= x509.KeyUsageKeyAgreement
	}
	return issue(&x509.Certificate{
		SerialNumber: keySerial(&key.PublicKey, deviceIssued, deviceYears),
		Subject:      factorySubject(fmt.Sprintf("sn%X", s.Serial())),
		NotBefore:    deviceIssued, NotAfter: deviceIssued.AddDate(deviceYears, 0, 0),
		BasicConstraintsValid: true, KeyUsage: usage,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, f.signer, &key.PublicKey, f.signerKey)
}

// provision writes the certificates into slots 10 to 12.
func (f *factory) provision(s *State, template byte) error {
	device, err := f.device(s, template)
	if err != nil {
		return err
	}
	public, err := f.signerKey.PublicKey.Bytes()
	if err != nil {
		return err
	}
	slot := s.Slot(slotSignerKey)
	clear(slot)
	copy(slot[4:], public[1:33])
	copy(slot[40:], public[33:])
	if err := compress(s.Slot(slotSignerCert), f.signer, signerYears, templateSigner); err != nil {
		return err
	}
	return compress(s.Slot(slotDeviceCert), device, deviceYears, template)
}

// compress is the 72 bytes that tell a certificate from its template: signature,
// dates, signer, numbers of the template and of the chain, source of the serial
// number and version of the format, 0.
func compress(b []byte, cert *x509.Certificate, years int, template byte) error {
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(cert.Signature, &sig); err != nil || len(rest) > 0 {
		return fmt.Errorf("ateccsim: signature of a certificate: %w", err)
	}
	sig.R.FillBytes(b[0:32])
	sig.S.FillBytes(b[32:64])
	copy(b[64:67], encodeDates(cert.NotBefore, years))
	binary.BigEndian.PutUint16(b[67:], factorySigner)
	b[69] = template << 4
	b[70] = serialFromKey << 4
	b[71] = 0
	return nil
}

// encodeDates is year (from 2000), month, day, hour and the years of validity in
// 5, 4, 5, 5 and 5 bits.
func encodeDates(t time.Time, years int) []byte {
	v := uint32(t.Year()-2000)<<19 | uint32(t.Month())<<15 | uint32(t.Day())<<10 | uint32(t.Hour())<<5 | uint32(years)
	return []byte{byte(v >> 16), byte(v >> 8), byte(v)}
}

func keySerial(key *ecdsa.PublicKey, issued time.Time, years int) *big.Int {
	public, err := key.Bytes()
	if err != nil {
		return new(big.Int) // which CreateCertificate refuses
	}
	sum := sha256.Sum256(append(public[1:], encodeDates(issued, years)...))
	sum[0] = sum[0]&0x3F | 0x40
	return new(big.Int).SetBytes(sum[:serialSize])
}

func factorySubject(name string) pkix.Name {
	return pkix.Name{Organization: []string{factoryName}, CommonName: name}
}

// factoryKey is a key that anyone can compute.
func factoryKey(name string) *ecdsa.PrivateKey {
	sum := sha256.Sum256([]byte("ateccsim test " + name))
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), sum[:])
	if err != nil {
		panic("ateccsim: the key of the test " + name + " is none")
	}
	return key
}

// issue signs a certificate; without a parent it signs itself.
func issue(t, parent *x509.Certificate, public *ecdsa.PublicKey, by *ecdsa.PrivateKey) (*x509.Certificate, error) {
	t.SubjectKeyId, t.SignatureAlgorithm = keyID(public), x509.ECDSAWithSHA256
	if parent == nil {
		parent = t
	}
	der, err := x509.CreateCertificate(nil, t, parent, public, steady{by})
	if err != nil {
		return nil, fmt.Errorf("ateccsim: issue %q: %w", t.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func keyID(public *ecdsa.PublicKey) []byte {
	b, err := public.Bytes()
	if err != nil {
		return nil
	}
	sum := sha1.Sum(b)
	return sum[:]
}

// steady signs without a random number (RFC 6979), and so always the same.
type steady struct{ *ecdsa.PrivateKey }

func (s steady) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.PrivateKey.Sign(nil, digest, opts)
}
