// Package compcert compresses X.509 certificates to the 72 bytes that fit a slot
// of a CryptoAuthentication chip, and rebuilds them.
//
// A compressed certificate holds what differs between the certificates of a
// family, as far as the chip does not know it anyway: the signature, the dates,
// the number of the signer. The rest is in a [Template], which is data: any
// certificate of the family, together with the serial number of the chip that it
// was issued for. A vendor's chips need one such file; see [ParseTemplates].
//
// What is rebuilt is checked: its signature must be its issuer's.
package compcert

import (
	"crypto/ecdsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Size is the number of bytes of a compressed certificate.
const Size = 72

// A Compressed is a compressed certificate, taken apart.
type Compressed struct {
	Signature [64]byte // r‖s
	NotBefore time.Time
	// Years is how long the certificate is valid, 0 for ever (until the end of
	// the year 9999).
	Years    int
	Signer   uint16       // number of the signer's key
	Template byte         // number of the template, 0 to 15
	Chain    byte         // number of the chain, 0 to 15
	Serial   SerialSource // how the serial number is made
	Format   byte         // 0, 1 or 2
}

// A SerialSource says what the serial number of a certificate is made of.
type SerialSource byte

// The sources that are neither stored on the chip nor given up. Where they are
// a hash, the first bytes of SHA-256 are taken, as many as the template's serial
// number has, and the first two bits are made 01.
const (
	SerialOfChip     SerialSource = 0x8 // 40 and the serial number of the chip
	SerialOfSigner   SerialSource = 0x9 // 40 and the number of the signer
	SerialOfKeyHash  SerialSource = 0xA // hash of the public key and the dates
	SerialOfChipHash SerialSource = 0xB // hash of the serial number of the chip and the dates
)

// ErrFormat is the error of bytes that are no compressed certificate.
var ErrFormat = errors.New("no compressed certificate")

// Parse takes 72 bytes apart.
func Parse(b []byte) (*Compressed, error) {
	if len(b) != Size {
		return nil, fmt.Errorf("%w: it has %d bytes, not %d", ErrFormat, len(b), Size)
	}
	c := &Compressed{
		Signer:   binary.BigEndian.Uint16(b[67:]),
		Template: b[69] >> 4, Chain: b[69] & 0xF,
		Serial: SerialSource(b[70] >> 4), Format: b[70] & 0xF,
	}
	copy(c.Signature[:], b)
	year, month, day := int(b[64]>>3), int(b[64]&7)<<1|int(b[65]>>7), int(b[65]>>2&31)
	hour := int(b[65]&3)<<3 | int(b[66]>>5)
	c.Years = int(b[66] & 31)
	switch c.Format {
	case 0:
		if b[71] != 0 {
			return nil, fmt.Errorf("%w: its last byte is %#02x", ErrFormat, b[71])
		}
	case 1, 2:
		if b[71]&0xF != 0 {
			return nil, fmt.Errorf("%w: its last byte is %#02x", ErrFormat, b[71])
		}
		year |= int(b[71]>>6) << 5
		c.Years |= int(b[71]>>4&3) << 5
	default:
		return nil, fmt.Errorf("%w: format %d is not known", ErrFormat, c.Format)
	}
	c.NotBefore = time.Date(2000+year, time.Month(month), day, hour, 0, 0, 0, time.UTC)
	if c.NotBefore.Month() != time.Month(month) || c.NotBefore.Day() != day || hour > 23 {
		return nil, fmt.Errorf("%w: there is no day %d-%02d-%02d, hour %d", ErrFormat, 2000+year, month, day, hour)
	}
	return c, nil
}

// Bytes returns the 72 bytes. Dates that do not fit are an error.
func (c *Compressed) Bytes() ([]byte, error) {
	b := make([]byte, Size)
	copy(b, c.Signature[:])
	d, err := c.dates()
	if err != nil {
		return nil, err
	}
	copy(b[64:], d[:3])
	binary.BigEndian.PutUint16(b[67:], c.Signer)
	if c.Template > 15 || c.Chain > 15 || c.Serial > 15 || c.Format > 2 {
		return nil, fmt.Errorf("compcert: template %d, chain %d, serial number source %d, format %d: out of range", c.Template, c.Chain, c.Serial, c.Format)
	}
	b[69] = c.Template<<4 | c.Chain
	b[70] = byte(c.Serial)<<4 | c.Format
	b[71] = d[3]
	return b, nil
}

// dates returns the three bytes of dates and the last byte of the certificate.
func (c *Compressed) dates() (d [4]byte, err error) {
	t := c.NotBefore.UTC()
	year, most, mostYears := t.Year()-2000, 31, 31
	if c.Format > 0 {
		most, mostYears = 127, 127
	}
	if t.Minute() != 0 || t.Second() != 0 || t.Nanosecond() != 0 || year < 0 || year > most || c.Years < 0 || c.Years > mostYears {
		return d, fmt.Errorf("compcert: valid from %v for %d years: only full hours from 2000 to %d and at most %d years fit", t, c.Years, 2000+most, mostYears)
	}
	month, day, hour := int(t.Month()), t.Day(), t.Hour()
	d[0] = byte(year&31)<<3 | byte(month>>1)
	d[1] = byte(month&1)<<7 | byte(day)<<2 | byte(hour>>3)
	d[2] = byte(hour&7)<<5 | byte(c.Years&31)
	d[3] = byte(year>>5)<<6 | byte(c.Years>>5)<<4
	return d, nil
}

// notAfter is when the certificate expires.
func (c *Compressed) notAfter() time.Time {
	if c.Years == 0 {
		return forever
	}
	return c.NotBefore.AddDate(c.Years, 0, 0)
}

// forever is the date of a certificate that does not expire. RFC 5280, 4.1.2.5.
var forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// A Chip is what the chip knows of the certificates on it.
type Chip struct {
	Serial [9]byte
	// Key is the public key that the certificate is for.
	Key *ecdsa.PublicKey
	// Issuer is the public key of the issuer.
	Issuer *ecdsa.PublicKey
}

// serialNumber is the content of the INTEGER; size is that of the template.
func (c *Compressed) serialNumber(chip *Chip, size int) ([]byte, error) {
	d, err := c.dates()
	if err != nil {
		return nil, err
	}
	hash := func(b []byte) ([]byte, error) {
		if size < 1 || size > sha256.Size {
			return nil, fmt.Errorf("compcert: the template's serial number has %d bytes, a hash 32", size)
		}
		sum := sha256.Sum256(append(b, d[:3]...))
		sum[0] = sum[0]&0x3F | 0x40
		return sum[:size], nil
	}
	switch c.Serial {
	case SerialOfChip:
		return append([]byte{0x40}, chip.Serial[:]...), nil
	case SerialOfSigner:
		return []byte{0x40, byte(c.Signer >> 8), byte(c.Signer)}, nil
	case SerialOfKeyHash:
		p, err := chip.Key.Bytes()
		if err != nil {
			return nil, fmt.Errorf("compcert: %w", err)
		}
		return hash(p[1:])
	case SerialOfChipHash:
		return hash(append([]byte(nil), chip.Serial[:]...))
	}
	return nil, fmt.Errorf("compcert: serial number source %#x is not supported: the serial number is stored elsewhere", byte(c.Serial))
}

// Rebuild returns the certificate. Of the templates it takes the first one of the
// number that c names with which the signature is the issuer's. Without any the
// error says so: another family's templates are needed.
func (c *Compressed) Rebuild(templates []*Template, chip *Chip) (*x509.Certificate, *Template, error) {
	tried := 0
	var last error
	for _, t := range templates {
		if t.Number != c.Template || t.Chain != c.Chain {
			continue
		}
		tried++
		cert, err := t.rebuild(c, chip)
		if err == nil {
			return cert, t, nil
		}
		last = err
	}
	if tried == 0 {
		return nil, nil, fmt.Errorf("compcert: there is no template number %d of chain %d", c.Template, c.Chain)
	}
	return nil, nil, fmt.Errorf("compcert: none of the %d templates number %d fits: %w", tried, c.Template, last)
}

func keyID(key *ecdsa.PublicKey) []byte {
	b, err := key.Bytes()
	if err != nil {
		return nil
	}
	sum := sha1.Sum(b)
	return sum[:]
}
