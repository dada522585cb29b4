package main

import (
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An attribute of a distinguished name. max is the upper bound of RFC 5280,
// appendix A.1, in characters.
type nameAttribute struct {
	oid asn1.ObjectIdentifier
	tag int // of the string; 0 for PrintableString if it fits, else UTF8String
	min int
	max int
}

var nameAttributes = map[string]nameAttribute{
	"CN":           {oid: asn1.ObjectIdentifier{2, 5, 4, 3}, max: 64},
	"SERIALNUMBER": {oid: asn1.ObjectIdentifier{2, 5, 4, 5}, tag: asn1.TagPrintableString, max: 64},
	"C":            {oid: asn1.ObjectIdentifier{2, 5, 4, 6}, tag: asn1.TagPrintableString, min: 2, max: 2},
	"L":            {oid: asn1.ObjectIdentifier{2, 5, 4, 7}, max: 128},
	"ST":           {oid: asn1.ObjectIdentifier{2, 5, 4, 8}, max: 128},
	"STREET":       {oid: asn1.ObjectIdentifier{2, 5, 4, 9}, max: 128},
	"O":            {oid: asn1.ObjectIdentifier{2, 5, 4, 10}, max: 64},
	"OU":           {oid: asn1.ObjectIdentifier{2, 5, 4, 11}, max: 64},
	"POSTALCODE":   {oid: asn1.ObjectIdentifier{2, 5, 4, 17}, max: 40},
	"DNQUALIFIER":  {oid: asn1.ObjectIdentifier{2, 5, 4, 46}, tag: asn1.TagPrintableString, max: 64},
	"UID":          {oid: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, max: 256},
	"DC":           {oid: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, tag: asn1.TagIA5String, max: 63},
	"EMAILADDRESS": {oid: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, tag: asn1.TagIA5String, max: 255},
}

var nameKeywords = "CN, O, OU, C, L, ST, STREET, POSTALCODE, SERIALNUMBER, DNQUALIFIER, UID, DC, EMAILADDRESS"

// parseSubject returns the DER of a distinguished name that is written as RFC
// 4514 has it, most specific part first: CN=dev-1,OU=line 2,O=Acme\, Inc.,C=DE.
// In DER the order is the reverse. Spaces around separators do not count, +
// joins the attributes of one part.
func parseSubject(s string) ([]byte, error) {
	rdns, err := parseRDNs(s)
	if err != nil {
		return nil, fmt.Errorf("subject %q: %w", s, err)
	}
	slices.Reverse(rdns)
	der, err := asn1.Marshal(rdns)
	if err != nil {
		return nil, fmt.Errorf("subject %q: %w", s, err)
	}
	return der, nil
}

type attributeTypeAndValue struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type relativeNameSET []attributeTypeAndValue

func parseRDNs(s string) ([]relativeNameSET, error) {
	if strings.HasPrefix(s, "/") {
		return nil, fmt.Errorf("this is openssl's notation; write CN=dev-1,O=Acme")
	}
	if strings.TrimSpace(s) == "" {
		return nil, fmt.Errorf("it is empty; write CN=dev-1,O=Acme")
	}
	rdns := []relativeNameSET{{}}
	for {
		attr, sep, rest, err := parseAttribute(s)
		if err != nil {
			return nil, err
		}
		last := &rdns[len(rdns)-1]
		for _, other := range *last {
			if other.Type.Equal(attr.Type) {
				return nil, fmt.Errorf("+ joins two attributes of the same type")
			}
		}
		*last = append(*last, attr)
		switch sep {
		case 0:
			return rdns, nil
		case ',':
			rdns = append(rdns, relativeNameSET{})
		}
		s = rest
	}
}

// parseAttribute parses type=value up to a separator, , or + or ;, or the end.
func parseAttribute(s string) (attr attributeTypeAndValue, sep byte, rest string, err error) {
	name, s, ok := strings.Cut(s, "=")
	if i := strings.IndexAny(name, ",+;"); i >= 0 {
		name, ok = name[:i], false
	}
	name = strings.TrimSpace(name)
	if !ok || name == "" {
		return attr, 0, "", fmt.Errorf("%q is not type=value; a comma in a value is written \\,", name)
	}
	value, sep, rest, err := unescapeValue(s)
	if err != nil {
		return attr, 0, "", fmt.Errorf("%s: %w", name, err)
	}
	a, known := nameAttributes[strings.ToUpper(strings.TrimPrefix(strings.ToUpper(name), "OID."))]
	if !known {
		if a.oid, err = parseOID(name); err != nil {
			return attr, 0, "", err
		}
		for _, other := range nameAttributes {
			if other.oid.Equal(a.oid) {
				a = other
			}
		}
	}
	attr.Type = a.oid
	attr.Value, err = a.encode(value)
	if err != nil {
		return attr, 0, "", fmt.Errorf("%s: %w", name, err)
	}
	return attr, sep, rest, nil
}

// unescapeValue reads a value as RFC 4514 §2.4 escapes it.
func unescapeValue(s string) (value string, sep byte, rest string, err error) {
	s = strings.TrimLeft(s, " ")
	var b []byte
	keep := 0 // an escaped space at the end counts
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ',', '+', ';':
			if c == ';' {
				c = ','
			}
			return finishValue(b, keep, c, s[i+1:])
		case '"', '<', '>':
			return "", 0, "", fmt.Errorf("%q must be written \\%c", c, c)
		case '\\':
			if i+1 == len(s) {
				return "", 0, "", fmt.Errorf("a backslash ends it")
			}
			if strings.IndexByte(` "#+,;<=>\`, s[i+1]) >= 0 {
				b = append(b, s[i+1])
				i++
			} else {
				if i+3 > len(s) {
					return "", 0, "", fmt.Errorf("a backslash needs two hexadecimal digits or a character that is special")
				}
				x, err := hex.DecodeString(s[i+1 : i+3])
				if err != nil {
					return "", 0, "", fmt.Errorf("a backslash needs two hexadecimal digits or a character that is special")
				}
				b = append(b, x...)
				i += 2
			}
			keep = len(b)
		default:
			if c == '#' && len(b) == 0 {
				return "", 0, "", fmt.Errorf("a value in hexadecimal (#…) is not understood; # at the beginning is written \\#")
			}
			b = append(b, c)
		}
	}
	return finishValue(b, keep, 0, "")
}

func finishValue(b []byte, keep int, sep byte, rest string) (string, byte, string, error) {
	for len(b) > keep && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return "", 0, "", fmt.Errorf("the value is empty")
	}
	if !utf8.Valid(b) {
		return "", 0, "", fmt.Errorf("the value is not UTF-8")
	}
	return string(b), sep, rest, nil
}

func parseOID(s string) (asn1.ObjectIdentifier, error) {
	t := strings.TrimPrefix(strings.TrimPrefix(s, "OID."), "oid.")
	var oid asn1.ObjectIdentifier
	for part := range strings.SplitSeq(t, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || len(part) > 1 && part[0] == '0' {
			return nil, fmt.Errorf("%q is no attribute; known are %s, and numbers such as 2.5.4.3", s, nameKeywords)
		}
		oid = append(oid, int(n))
	}
	if len(oid) < 2 || oid[0] > 2 || oid[0] < 2 && oid[1] > 39 {
		return nil, fmt.Errorf("%q is no object identifier", s)
	}
	return oid, nil
}

// encode makes the ASN.1 string of the value.
func (a nameAttribute) encode(value string) (asn1.RawValue, error) {
	if strings.IndexFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) >= 0 {
		return asn1.RawValue{}, fmt.Errorf("the value has a control character")
	}
	n := utf8.RuneCountInString(value)
	if a.max > 0 && n > a.max {
		return asn1.RawValue{}, fmt.Errorf("the value has %d characters, at most %d are allowed", n, a.max)
	}
	if n < a.min {
		return asn1.RawValue{}, fmt.Errorf("the value has %d characters instead of %d", n, a.min)
	}
	tag := a.tag
	switch {
	case tag == 0 && isPrintable(value):
		tag = asn1.TagPrintableString
	case tag == 0:
		tag = asn1.TagUTF8String
	case tag == asn1.TagPrintableString && !isPrintable(value):
		return asn1.RawValue{}, fmt.Errorf("%q has characters other than A-Z a-z 0-9 space ' ( ) + , - . / : = ?", value)
	case tag == asn1.TagIA5String && !isASCII(value):
		return asn1.RawValue{}, fmt.Errorf("%q has characters that are not ASCII", value)
	}
	return asn1.RawValue{Tag: tag, Bytes: []byte(value)}, nil
}

func isPrintable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(" '()+,-./:=?", r)
	}) < 0
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
