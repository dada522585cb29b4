package driver

import (
	"github.com/go-cryptoki/cryptoki/internal/record"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// AppendTemplate appends t to b in a compact form, for drivers that store what
// Attributes returns. The form does not depend on the order of t. It has no
// version of its own: put one in front, as in
//
//	data, err := driver.AppendTemplate([]byte{version}, attrs)
//
// Attributes that are not of the kind that their type has are
// CKR_ATTRIBUTE_VALUE_INVALID, one that appears twice is
// CKR_TEMPLATE_INCONSISTENT.
func AppendTemplate(b []byte, t pkcs11.Template) ([]byte, error) { return record.Append(b, t) }

// ParseTemplate returns the template that AppendTemplate has written. All of b
// is decoded, and the values may share its memory. It is an error if b is
// anything else, however damaged; nothing says that it is what was written,
// unless the store does, or a checksum.
func ParseTemplate(b []byte) (pkcs11.Template, error) { return record.Parse(b) }
