package rules

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// x509Certificate is as much of a certificate as its attributes repeat. Package
// x509 refuses certificates for keys and with extensions that it does not know;
// keeping one takes less than using it. RFC 5280 §4.1.
type x509Certificate struct {
	TBS       tbsCertificate
	Algorithm asn1.RawValue
	Signature asn1.BitString
}

type tbsCertificate struct {
	Version    int `asn1:"optional,explicit,default:0,tag:0"`
	Serial     asn1.RawValue
	Algorithm  asn1.RawValue
	Issuer     asn1.RawValue
	Validity   asn1.RawValue
	Subject    asn1.RawValue
	PublicKey  spki
	Extensions asn1.RawValue `asn1:"optional"`
}

type spki struct {
	Raw       asn1.RawContent
	Algorithm asn1.RawValue
	Key       asn1.BitString
}

// parseCertificate parses one DER certificate. Dates, signature and trust are
// nobody's business here: the qualification tests store expired ones.
func parseCertificate(der []byte) (*tbsCertificate, string) {
	var c x509Certificate
	rest, err := asn1.Unmarshal(der, &c)
	switch {
	case err != nil:
		return nil, "not an X.509 certificate in DER; a PEM file is to be decoded first"
	case len(rest) > 0:
		return nil, "bytes follow the certificate; store each of a chain by itself"
	}
	t := &c.TBS
	for _, seq := range []asn1.RawValue{c.Algorithm, t.Algorithm, t.Issuer, t.Validity, t.Subject, t.PublicKey.Algorithm} {
		if seq.Class != asn1.ClassUniversal || seq.Tag != asn1.TagSequence || !seq.IsCompound {
			return nil, "not an X.509 certificate in DER"
		}
	}
	if t.Serial.Class != asn1.ClassUniversal || t.Serial.Tag != asn1.TagInteger || len(t.Serial.Bytes) == 0 {
		return nil, "its serial number is not an INTEGER"
	}
	return t, ""
}

// keyID returns the CKA_ID that the keys to the certificate have by default.
func (t *tbsCertificate) keyID() []byte {
	if pub, err := x509.ParsePKIXPublicKey(t.PublicKey.Raw); err == nil {
		if id := keys.DefaultID(pub); id != nil {
			return id
		}
	}
	sum := sha256.Sum256(t.PublicKey.Key.RightAlign())
	return sum[:20:20]
}

// certificate checks CKA_VALUE, and takes from it what was not given. A
// CKA_SUBJECT that was is taken as it is, although the standard wants DER and
// the same as in the certificate: the qualification tests send "TestSubject".
func (d *draft) certificate() error {
	value := d.bytes(pkcs11.CKA_VALUE)
	t, wrong := parseCertificate(value)
	if wrong != "" {
		return d.fail(pkcs11.CKA_VALUE, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "%s", wrong)
	}
	if info := d.bytes(pkcs11.CKA_PUBLIC_KEY_INFO); info != nil && string(info) != string(t.PublicKey.Raw) {
		return d.fail(pkcs11.CKA_PUBLIC_KEY_INFO, pkcs11.CKR_TEMPLATE_INCONSISTENT, "it is not the one in CKA_VALUE; leave it out")
	}
	d.describe(t)
	return d.checkValue(certificateCheckValue(value))
}

// certificateCheckValue returns the CKA_CHECK_VALUE of a certificate. §4.6.2.
func certificateCheckValue(der []byte) []byte {
	sum := sha1.Sum(der)
	return sum[:3:3]
}

func (d *draft) describe(t *tbsCertificate) {
	d.fill(pkcs11.CKA_SUBJECT, t.Subject.FullBytes)
	d.fill(pkcs11.CKA_ISSUER, t.Issuer.FullBytes)
	d.fill(pkcs11.CKA_SERIAL_NUMBER, t.Serial.FullBytes)
	d.fill(pkcs11.CKA_PUBLIC_KEY_INFO, []byte(t.PublicKey.Raw))
	d.fill(pkcs11.CKA_ID, t.keyID())
}
