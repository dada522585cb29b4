package rules

import (
	"crypto/sha1"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// parseCertificate parses one DER certificate. Dates, signature and trust are
// nobody's business here: the qualification tests store expired ones.
func parseCertificate(der []byte) (c keys.Certificate, wrong string) {
	c, trailing, ok := keys.ParseCertificate(der)
	switch {
	case trailing:
		return c, "bytes follow the certificate; store each of a chain by itself"
	case !ok:
		return c, "not an X.509 certificate in DER; a PEM file is to be decoded first"
	}
	return c, ""
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
	if info := d.bytes(pkcs11.CKA_PUBLIC_KEY_INFO); info != nil && string(info) != string(t.Info) {
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

func (d *draft) describe(t keys.Certificate) {
	d.fill(pkcs11.CKA_SUBJECT, t.Subject)
	d.fill(pkcs11.CKA_ISSUER, t.Issuer)
	d.fill(pkcs11.CKA_SERIAL_NUMBER, t.Serial)
	d.fill(pkcs11.CKA_PUBLIC_KEY_INFO, t.Info)
	d.fill(pkcs11.CKA_ID, keys.InfoID(t.Info))
}
