package cryptoki

import (
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// certificateParts returns the DER of the serial number and of the
// SubjectPublicKeyInfo of an X.509 certificate, which share memory with it. It
// looks at nothing else, RFC 5280 §4.1: a program that only signs does without
// crypto/x509, which is a tenth of it on a small machine.
func certificateParts(der []byte) (serial, info []byte, err error) {
	const integer, sequence, version = 0x02, 0x30, 0xa0
	ok := true
	// next takes the next element, of that tag, off p.
	next := func(p *[]byte, tag byte) (whole, body []byte) {
		n, header := derLength(*p)
		if !ok || header == 0 || (*p)[0] != tag {
			ok = false
			return nil, nil
		}
		whole, body = (*p)[:header+n], (*p)[header:header+n]
		*p = (*p)[header+n:]
		return whole, body
	}
	_, cert := next(&der, sequence)
	_, tbs := next(&cert, sequence)
	if len(tbs) > 0 && tbs[0] == version {
		next(&tbs, version)
	}
	serial, _ = next(&tbs, integer)
	for range 4 { // signature algorithm, issuer, validity, subject
		next(&tbs, sequence)
	}
	info, _ = next(&tbs, sequence)
	if !ok {
		return nil, nil, fmt.Errorf("%w: not an X.509 certificate in DER", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
	}
	return serial, info, nil
}

// derLength returns how long the element at the beginning of p is: its content
// and its header, which is 0 if there is no whole element.
func derLength(p []byte) (n, header int) {
	if len(p) < 2 {
		return 0, 0
	}
	n, header = int(p[1]), 2
	if n >= 0x80 {
		bytes := n & 0x7f
		if bytes == 0 || bytes > 3 || len(p) < 2+bytes {
			return 0, 0
		}
		n = 0
		for _, b := range p[2 : 2+bytes] {
			n = n<<8 | int(b)
		}
		header += bytes
	}
	if n > len(p)-header {
		return 0, 0
	}
	return n, header
}
