package pkcs11

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A URI is a PKCS #11 URI, RFC 7512: it says by which properties a library, a
// slot, a token and an object are to be found, and where the PIN comes from.
//
// An empty field is a property that does not matter. The exception is an
// attribute that ParseURI found with an empty value, as in "pkcs11:serial=":
// that one matches what has none. Texts are UTF-8 and without padding.
type URI struct {
	Token        string // CK_TOKEN_INFO: label
	Manufacturer string
	Serial       string
	Model        string

	Object string // CKA_LABEL
	ID     []byte // CKA_ID; nil does not matter, empty matches an empty one
	Type   string // CKA_CLASS: cert, data, private, public or secret-key

	LibraryDescription  string // CK_INFO
	LibraryManufacturer string
	LibraryVersion      *Version

	SlotDescription  string // CK_SLOT_INFO
	SlotManufacturer string
	SlotID           *SlotID

	PINSource  string // where the PIN is read, see PIN
	ModuleName string
	// ModulePath is a library to load. Whoever loads it runs code of the
	// author of the URI: check it against a list first.
	ModulePath string

	// Vendor and VendorQuery are the attributes that RFC 7512 does not define,
	// in the order of their names and, in the query, of their appearance.
	Vendor      []URIAttribute
	VendorQuery []URIAttribute

	pin   []byte // pin-value; nil if there is none
	empty uint16 // bit i: text attribute i is there with an empty value
}

// A URIAttribute is a vendor-specific attribute of a URI.
type URIAttribute struct{ Name, Value string }

// uriTexts are the attributes with a text as value. The first numPath belong to
// the path.
var uriTexts = [...]struct {
	name  string
	field func(*URI) *string
}{
	{"library-description", func(u *URI) *string { return &u.LibraryDescription }},
	{"library-manufacturer", func(u *URI) *string { return &u.LibraryManufacturer }},
	{"slot-description", func(u *URI) *string { return &u.SlotDescription }},
	{"slot-manufacturer", func(u *URI) *string { return &u.SlotManufacturer }},
	{"model", func(u *URI) *string { return &u.Model }},
	{"manufacturer", func(u *URI) *string { return &u.Manufacturer }},
	{"serial", func(u *URI) *string { return &u.Serial }},
	{"token", func(u *URI) *string { return &u.Token }},
	{"object", func(u *URI) *string { return &u.Object }},
	{"pin-source", func(u *URI) *string { return &u.PINSource }},
	{"module-name", func(u *URI) *string { return &u.ModuleName }},
	{"module-path", func(u *URI) *string { return &u.ModulePath }},
}

const numPath = 9

var uriTypes = [...]struct {
	name  string
	class ObjectClass
}{
	{"cert", CKO_CERTIFICATE},
	{"data", CKO_DATA},
	{"private", CKO_PRIVATE_KEY},
	{"public", CKO_PUBLIC_KEY},
	{"secret-key", CKO_SECRET_KEY},
}

// URIType returns the word that RFC 7512 has for an object class, "" if it has
// none.
func URIType(c ObjectClass) string {
	for _, t := range uriTypes {
		if t.class == c {
			return t.name
		}
	}
	return ""
}

// Class returns the object class that Type stands for.
func (u URI) Class() (ObjectClass, bool) {
	for _, t := range uriTypes {
		if t.name == u.Type {
			return t.class, true
		}
	}
	return 0, false
}

// IsURI reports whether s begins with the scheme of PKCS #11 URIs, in any case.
func IsURI(s string) bool {
	return len(s) >= len("pkcs11:") && strings.EqualFold(s[:len("pkcs11:")], "pkcs11:")
}

// ParseURI parses a PKCS #11 URI as RFC 7512 §2.3 and §2.4 define it. The scheme
// and the names of attributes may be written in any case. The errors wrap
// CKR_ARGUMENTS_BAD; they hold no pin-value.
func ParseURI(s string) (*URI, error) {
	if !IsURI(s) {
		return nil, fmt.Errorf("PKCS #11 URI: it begins with pkcs11: %w", CKR_ARGUMENTS_BAD)
	}
	path, query, _ := strings.Cut(s[len("pkcs11:"):], "?")
	u := new(URI)
	for _, part := range []struct {
		text, separator string
		set             func(name, raw string) error
	}{{path, ";", u.setPath}, {query, "&", u.setQuery}} {
		if part.text == "" {
			continue
		}
		seen := map[string]bool{}
		for attr := range strings.SplitSeq(part.text, part.separator) {
			name, raw, ok := strings.Cut(attr, "=")
			name = strings.ToLower(name)
			if !ok || !isURIName(name) {
				// The text is not shown: it may be a PIN with a stray & in it.
				return nil, fmt.Errorf("PKCS #11 URI: attribute %d between %q is not name=value: %w", len(seen)+1, part.separator, CKR_ARGUMENTS_BAD)
			}
			if seen[name] && !(part.separator == "&" && isVendor(name)) {
				return nil, fmt.Errorf("PKCS #11 URI: attribute %s is there twice: %w", name, CKR_ARGUMENTS_BAD)
			}
			seen[name] = true
			if err := part.set(name, raw); err != nil {
				return nil, fmt.Errorf("PKCS #11 URI: attribute %s: %w: %w", name, err, CKR_ARGUMENTS_BAD)
			}
		}
		if seen["pin-value"] && seen["pin-source"] {
			return nil, fmt.Errorf("PKCS #11 URI: both pin-value and pin-source: %w", CKR_ARGUMENTS_BAD)
		}
	}
	byName := func(a, b URIAttribute) int { return strings.Compare(a.Name, b.Name) }
	slices.SortStableFunc(u.Vendor, byName)
	slices.SortStableFunc(u.VendorQuery, byName)
	return u, nil
}

func isURIName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

// isVendor reports whether RFC 7512 does not define an attribute.
func isVendor(name string) bool {
	for _, t := range uriTexts {
		if t.name == name {
			return false
		}
	}
	switch name {
	case "id", "type", "library-version", "slot-id", "pin-value":
		return false
	}
	return true
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// Characters that stand for themselves, besides letters and digits: the
// unreserved ones, and more in the path and in the query. RFC 7512 §2.3.
const (
	uriUnreserved = "-._~"
	uriPathChars  = uriUnreserved + ":[]@!$'()*+,=&"
	uriQueryChars = uriUnreserved + ":[]@!$'()*+,=/?|"
)

func (u *URI) setPath(name, raw string) error {
	switch name {
	case "id":
		id, err := uriUnescape(raw, uriPathChars)
		u.ID = id
		return err
	case "type":
		u.Type = strings.ToLower(raw)
		if _, ok := u.Class(); !ok {
			return fmt.Errorf("%q is none of cert, data, private, public, secret-key", raw)
		}
		return nil
	case "library-version":
		major, minor, dot := strings.Cut(raw, ".")
		m, errMajor := parseDigits(major, 8)
		n, errMinor := uint64(0), error(nil)
		if dot {
			n, errMinor = parseDigits(minor, 8)
		}
		if errMajor != nil || errMinor != nil {
			return fmt.Errorf("%q is not major.minor, each 0 to 255", raw)
		}
		u.LibraryVersion = &Version{uint8(m), uint8(n)}
		return nil
	case "slot-id":
		n, err := parseDigits(raw, 64)
		if err != nil {
			return fmt.Errorf("%q is not a decimal number", raw)
		}
		u.SlotID = (*SlotID)(&n)
		return nil
	}
	for i := range uriTexts[:numPath] {
		if uriTexts[i].name == name {
			return u.setText(i, raw, uriPathChars)
		}
	}
	if !isVendor(name) {
		return fmt.Errorf("it belongs behind the question mark")
	}
	v, err := uriText(raw, uriPathChars)
	u.Vendor = append(u.Vendor, URIAttribute{name, v})
	return err
}

func (u *URI) setQuery(name, raw string) error {
	if name == "pin-value" {
		pin, err := uriUnescape(raw, uriQueryChars)
		if err != nil {
			return fmt.Errorf("[redacted] has a character that must be written %%XX")
		}
		u.pin = pin
		return nil
	}
	for i := numPath; i < len(uriTexts); i++ {
		if uriTexts[i].name != name {
			continue
		}
		if err := u.setText(i, raw, uriQueryChars); err != nil {
			return err
		}
		if name == "module-path" && !strings.HasPrefix(u.ModulePath, "/") {
			return fmt.Errorf("%q is not an absolute path", u.ModulePath)
		}
		return nil
	}
	if !isVendor(name) {
		return fmt.Errorf("it belongs before the question mark")
	}
	v, err := uriText(raw, uriQueryChars)
	u.VendorQuery = append(u.VendorQuery, URIAttribute{name, v})
	return err
}

func (u *URI) setText(i int, raw, chars string) error {
	v, err := uriText(raw, chars)
	if err != nil {
		return err
	}
	*uriTexts[i].field(u) = v
	if v == "" {
		u.empty |= 1 << i
	}
	return nil
}

func uriText(raw, chars string) (string, error) {
	b, err := uriUnescape(raw, chars)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%q is not UTF-8", b)
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return "", fmt.Errorf("%q has a NUL in it; labels are not padded with NUL", b)
	}
	return string(b), nil
}

// uriUnescape decodes a value. It never returns nil beside a nil error.
func uriUnescape(raw, chars string) ([]byte, error) {
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case isAlnum(c) || strings.IndexByte(chars, c) >= 0:
			b = append(b, c)
		case c == '%':
			if i+3 > len(raw) {
				return nil, fmt.Errorf("%% wants two hexadecimal digits; write %%25 for a percent sign")
			}
			v, err := strconv.ParseUint(raw[i+1:i+3], 16, 8)
			if err != nil {
				return nil, fmt.Errorf("%%%s: %% wants two hexadecimal digits; write %%25 for a percent sign", raw[i+1:i+3])
			}
			b = append(b, byte(v))
			i += 2
		default:
			return nil, fmt.Errorf("write %%%02X for %q", c, raw[i:i+1])
		}
	}
	return b, nil
}

// parseDigits is ParseUint without signs, underscores and prefixes.
func parseDigits(s string, bits int) (uint64, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, strconv.ErrSyntax
		}
	}
	return strconv.ParseUint(s, 10, bits)
}

// String returns the URI with its attributes in the order in which p11tool
// prints them, and everything but letters, digits and -._~ (in the query also
// :/) as %XX. A pin-value appears as <redacted>, which ParseURI does not take:
// nobody shall use up a try with it.
func (u URI) String() string { return u.format("<redacted>") }

// StringWithPIN is String with the pin-value, if there is one. ParseURI makes
// the same URI of it.
func (u URI) StringWithPIN() string { return u.format(uriEscape(u.pin, uriUnreserved)) }

// Format is String for every verb.
func (u URI) Format(s fmt.State, verb rune) { formatText(s, verb, u.String()) }

// LogValue is String.
func (u URI) LogValue() slog.Value { return slog.StringValue(u.String()) }

func (u URI) format(pin string) string {
	b := []byte("pkcs11:")
	separator := ""
	add := func(name, value string) {
		b = append(b, separator...)
		b = append(b, name...)
		b = append(b, '=')
		b = append(b, value...)
	}
	texts := func(from, to int, chars string, next string) {
		for i := from; i < to; i++ {
			if v := *uriTexts[i].field(&u); v != "" || u.empty>>i&1 != 0 {
				add(uriTexts[i].name, uriEscape([]byte(v), chars))
				separator = next
			}
		}
	}
	texts(0, 2, uriUnreserved, ";")
	if v := u.LibraryVersion; v != nil {
		add("library-version", fmt.Sprintf("%d.%d", v.Major, v.Minor))
		separator = ";"
	}
	texts(2, 4, uriUnreserved, ";")
	if u.SlotID != nil {
		add("slot-id", strconv.FormatUint(uint64(*u.SlotID), 10))
		separator = ";"
	}
	texts(4, 8, uriUnreserved, ";")
	if u.ID != nil {
		add("id", uriEscapeAll(u.ID))
		separator = ";"
	}
	texts(8, numPath, uriUnreserved, ";")
	if u.Type != "" {
		add("type", uriEscape([]byte(u.Type), uriUnreserved))
		separator = ";"
	}
	for _, a := range u.Vendor {
		add(a.Name, uriEscape([]byte(a.Value), uriUnreserved))
		separator = ";"
	}
	separator = "?"
	texts(numPath, numPath+1, uriUnreserved+":/", "&")
	if u.pin != nil {
		add("pin-value", pin)
		separator = "&"
	}
	texts(numPath+1, len(uriTexts), uriUnreserved+":/", "&")
	for _, a := range u.VendorQuery {
		add(a.Name, uriEscape([]byte(a.Value), uriUnreserved+":/"))
		separator = "&"
	}
	return string(b)
}

const upperHex = "0123456789ABCDEF"

func uriEscape(v []byte, chars string) string {
	var b strings.Builder
	for _, c := range v {
		if isAlnum(c) || strings.IndexByte(chars, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		}
	}
	return b.String()
}

func uriEscapeAll(v []byte) string {
	var b strings.Builder
	for _, c := range v {
		b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
	}
	return b.String()
}
