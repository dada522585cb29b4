package compcert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// A Template is what the certificates of a family have in common.
type Template struct {
	Number byte // that compressed certificates name it by
	Chain  byte
	// CertSlot is the slot of the compressed certificate, KeySlot that of the
	// private or public key that it is for.
	CertSlot, KeySlot int

	sample *x509.Certificate
	signer string  // the number of the signer in 4 digits, as the sample has it
	serial [9]byte // of the sample's chip
	issuer []byte  // the issuer's key identifier in the sample

	version, algorithm, issuerName, subject asn1.RawValue
	spki, extensions                        asn1.RawValue
	generalized                             bool // dates before 2050 are GeneralizedTime too
	serialSize                              int
}

// A Family is the templates of one vendor and the root that the chains end in.
type Family struct {
	Templates []*Template
	Roots     []*x509.Certificate
}

// ParseTemplates reads a family from PEM: certificates without headers are
// roots, the others templates. The headers are
//
//	Template: 3                      number that compressed certificates name
//	Chain: 0                         number of the chain, 0 if absent
//	Certificate-Slot: 10             where the compressed certificate is
//	Key-Slot: 0                      where the key is that it is for
//	Signer: 608B                     number of the signer in this certificate
//	Chip-Serial: 0123EAA205B7C47001  of the chip that this certificate was issued for
//
// Any certificate of the family will do. Text outside of the PEM blocks is a
// comment.
func ParseTemplates(text []byte) (*Family, error) {
	f := new(Family)
	for n := 1; ; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("compcert: templates: block %d is a %q, not a CERTIFICATE", n, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("compcert: templates: block %d: %w", n, err)
		}
		if len(block.Headers) == 0 {
			f.Roots = append(f.Roots, cert)
			continue
		}
		t, err := newTemplate(cert, block.Headers)
		if err != nil {
			return nil, fmt.Errorf("compcert: templates: block %d: %w", n, err)
		}
		f.Templates = append(f.Templates, t)
	}
	if len(f.Templates) == 0 {
		return nil, errors.New("compcert: templates: there is no certificate with the headers of a template")
	}
	return f, nil
}

func newTemplate(cert *x509.Certificate, headers map[string]string) (*Template, error) {
	t := &Template{sample: cert}
	for name, value := range headers {
		var err error
		number := func(most int) int {
			v, e := strconv.ParseUint(value, 10, 8)
			if e != nil || int(v) > most {
				err = fmt.Errorf("it is a number from 0 to %d", most)
			}
			return int(v)
		}
		switch name {
		case "Template":
			t.Number = byte(number(15))
		case "Chain":
			t.Chain = byte(number(15))
		case "Certificate-Slot":
			t.CertSlot = number(15)
		case "Key-Slot":
			t.KeySlot = number(15)
		case "Signer":
			if b, e := hex.DecodeString(value); e != nil || len(b) != 2 {
				err = errors.New("it is a number of 4 hexadecimal digits")
			}
			t.signer = value
		case "Chip-Serial":
			b, e := hex.DecodeString(value)
			if e != nil || len(b) != 9 {
				err = errors.New("it is a number of 18 hexadecimal digits")
			}
			copy(t.serial[:], b)
		default:
			err = errors.New("there is no such header")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, value, err)
		}
	}
	for _, name := range []string{"Template", "Certificate-Slot", "Key-Slot", "Signer"} {
		if headers[name] == "" {
			return nil, fmt.Errorf("the header %s is missing", name)
		}
	}
	return t, t.analyze()
}

// analyze takes the sample apart.
func (t *Template) analyze() error {
	if key, ok := t.sample.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return errors.New("the certificate is not for a key on P-256")
	}
	if t.sample.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fmt.Errorf("the certificate is signed with %v, not with ECDSA and SHA-256", t.sample.SignatureAlgorithm)
	}
	elements, err := sequence(t.sample.RawTBSCertificate)
	if err != nil || len(elements) != 8 {
		return fmt.Errorf("a certificate of version 3 with extensions has 8 parts, this one %d", len(elements))
	}
	t.version, t.algorithm, t.issuerName = elements[0], elements[2], elements[3]
	t.subject, t.spki, t.extensions = elements[5], elements[6], elements[7]
	t.serialSize = len(elements[1].Bytes)
	if t.serialSize > 1 && elements[1].Bytes[0] == 0 {
		t.serialSize--
	}
	dates, err := sequence(elements[4].FullBytes)
	if err != nil || len(dates) != 2 {
		return errors.New("the certificate's dates are not two")
	}
	t.generalized = dates[0].Tag == asn1.TagGeneralizedTime && t.sample.NotBefore.Year() < 2050
	t.issuer = t.sample.AuthorityKeyId
	return nil
}

// sequence returns the elements of a SEQUENCE.
func sequence(der []byte) ([]asn1.RawValue, error) {
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 || outer.Tag != asn1.TagSequence || !outer.IsCompound {
		return nil, errors.New("no sequence")
	}
	var elements []asn1.RawValue
	for b := outer.Bytes; len(b) > 0; {
		var e asn1.RawValue
		rest, err := asn1.Unmarshal(b, &e)
		if err != nil {
			return nil, err
		}
		elements = append(elements, e)
		b = rest
	}
	return elements, nil
}

// rebuild makes the certificate and checks its signature.
func (t *Template) rebuild(c *Compressed, chip *Chip) (*x509.Certificate, error) {
	body, err := t.body(c, chip)
	if err != nil {
		return nil, err
	}
	sig, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(c.Signature[:32]), new(big.Int).SetBytes(c.Signature[32:])})
	if err != nil {
		return nil, err
	}
	bits, err := asn1.Marshal(asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)})
	if err != nil {
		return nil, err
	}
	der := wrap(asn1.TagSequence|0x20, body, t.algorithm.FullBytes, bits)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("compcert: what was rebuilt is no certificate: %w", err)
	}
	if chip.Issuer == nil {
		return nil, errors.New("compcert: the issuer's public key is not known")
	}
	if err := (&x509.Certificate{PublicKey: chip.Issuer, PublicKeyAlgorithm: x509.ECDSA}).CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		return nil, fmt.Errorf("compcert: the signature is not the issuer's: %w", err)
	}
	return cert, nil
}

// body returns the TBSCertificate.
func (t *Template) body(c *Compressed, chip *Chip) ([]byte, error) {
	serial, err := c.serialNumber(chip, t.serialSize)
	if err != nil {
		return nil, err
	}
	point, err := chip.Key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("compcert: %w", err)
	}
	sample, err := t.sample.PublicKey.(*ecdsa.PublicKey).Bytes()
	if err != nil {
		return nil, fmt.Errorf("compcert: %w", err)
	}
	number := fmt.Sprintf("%04X", c.Signer)
	if t.signer != strings.ToUpper(t.signer) {
		number = strings.ToLower(number)
	}
	// All of these keep their lengths.
	text := func(b []byte) []byte {
		b = bytes.ReplaceAll(b, []byte(t.signer), []byte(number))
		b = bytes.ReplaceAll(b, []byte(fmt.Sprintf("%X", t.serial)), []byte(fmt.Sprintf("%X", chip.Serial)))
		return bytes.ReplaceAll(b, []byte(fmt.Sprintf("%x", t.serial)), []byte(fmt.Sprintf("%x", chip.Serial)))
	}
	extensions := bytes.ReplaceAll(t.extensions.FullBytes, keyID(t.sample.PublicKey.(*ecdsa.PublicKey)), keyID(chip.Key))
	if len(t.issuer) == 20 && chip.Issuer != nil {
		extensions = bytes.ReplaceAll(extensions, t.issuer, keyID(chip.Issuer))
	}
	if serial[0] >= 0x80 {
		serial = append([]byte{0}, serial...)
	}
	return wrap(asn1.TagSequence|0x20,
		t.version.FullBytes,
		wrap(asn1.TagInteger, serial),
		t.algorithm.FullBytes,
		text(t.issuerName.FullBytes),
		wrap(asn1.TagSequence|0x20, t.date(c.NotBefore), t.date(c.notAfter())),
		text(t.subject.FullBytes),
		bytes.ReplaceAll(t.spki.FullBytes, sample, point),
		text(extensions),
	), nil
}

// date encodes as RFC 5280, 4.1.2.5, has it, or as the sample does.
func (t *Template) date(d time.Time) []byte {
	if d.Year() >= 2050 || t.generalized {
		return wrap(asn1.TagGeneralizedTime, []byte(d.Format("20060102150405Z")))
	}
	return wrap(asn1.TagUTCTime, []byte(d.Format("060102150405Z")))
}

// wrap is an element with the tag around the parts.
func wrap(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	b := []byte{tag}
	switch n := len(content); {
	case n < 0x80:
		b = append(b, byte(n))
	case n < 0x100:
		b = append(b, 0x81, byte(n))
	default:
		b = append(b, 0x82, byte(n>>8), byte(n))
	}
	return append(b, content...)
}

// Compress makes the 72 bytes of a certificate that follows the template. chip
// says whose it is. A certificate that would not be rebuilt exactly is an error.
func (t *Template) Compress(cert *x509.Certificate, signer uint16, source SerialSource, chip *Chip) ([]byte, error) {
	c := &Compressed{NotBefore: cert.NotBefore, Signer: signer, Template: t.Number, Chain: t.Chain, Serial: source}
	if !cert.NotAfter.Equal(forever) {
		c.Years = cert.NotAfter.Year() - cert.NotBefore.Year()
		if c.Years == 0 || !cert.NotAfter.Equal(c.notAfter()) {
			return nil, fmt.Errorf("compcert: valid from %v to %v: only whole years fit", cert.NotBefore, cert.NotAfter)
		}
	}
	if cert.NotBefore.Year() > 2031 || c.Years > 31 {
		c.Format = 1
	}
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(cert.Signature, &sig); err != nil || len(rest) > 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > 256 || sig.S.BitLen() > 256 {
		return nil, errors.New("compcert: the certificate is not signed with ECDSA on P-256")
	}
	sig.R.FillBytes(c.Signature[:32])
	sig.S.FillBytes(c.Signature[32:])
	b, err := c.Bytes()
	if err != nil {
		return nil, err
	}
	again, err := t.rebuild(c, chip)
	if err != nil {
		return nil, fmt.Errorf("compcert: the certificate does not follow template %d: %w", t.Number, err)
	}
	if !bytes.Equal(again.Raw, cert.Raw) {
		return nil, fmt.Errorf("compcert: the certificate does not follow template %d: it would be rebuilt as another", t.Number)
	}
	return b, nil
}
