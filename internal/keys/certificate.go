package keys

// A Certificate is as much of an X.509 certificate as the attributes of a
// certificate object repeat, each part in DER and sharing its memory.
type Certificate struct {
	Serial  []byte
	Issuer  []byte
	Subject []byte
	Info    []byte // SubjectPublicKeyInfo
}

// ParseCertificate takes one DER certificate apart, RFC 5280 §4.1. It looks at
// nothing that it does not return: crypto/x509 refuses certificates for keys and
// with extensions that it does not know, and keeping one takes less than using
// it. ok is false for anything else, also for a certificate that something
// follows, of which trailing tells.
func ParseCertificate(der []byte) (c Certificate, trailing, ok bool) {
	const version = 0xa0
	ok = true
	// next takes the next element, of that tag, off b.
	next := func(b *[]byte, tag byte) (element, content []byte) {
		content, rest, good := readTLV(*b, tag)
		if !good {
			ok = false
			return nil, nil
		}
		element, *b = (*b)[:len(*b)-len(rest):len(*b)-len(rest)], rest
		return element, content
	}
	_, cert := next(&der, tagSequence)
	_, tbs := next(&cert, tagSequence)
	next(&cert, tagSequence)  // signature algorithm
	next(&cert, tagBitString) // signature
	ok = ok && len(cert) == 0
	if len(tbs) > 0 && tbs[0] == version {
		next(&tbs, version)
	}
	c.Serial, _ = next(&tbs, tagInteger)
	next(&tbs, tagSequence) // signature algorithm
	c.Issuer, _ = next(&tbs, tagSequence)
	next(&tbs, tagSequence) // validity
	c.Subject, _ = next(&tbs, tagSequence)
	c.Info, _ = next(&tbs, tagSequence)
	for ok && len(tbs) > 0 { // unique identifiers and extensions: [1] to [3]
		if tag := tbs[0] & 0x1f; tbs[0] < 0x80 || tag < 1 || tag > 3 {
			ok = false
			break
		}
		next(&tbs, tbs[0])
	}
	if _, _, good := splitInfo(c.Info); !good || len(c.Serial) < 3 {
		ok = false
	}
	return c, ok && len(der) > 0, ok && len(der) == 0
}
