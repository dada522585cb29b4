package rules

import (
	caes "crypto/aes"
	"crypto/sha1"
	"crypto/subtle"
	"fmt"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// material checks what an object that is given completely is made of, and adds
// what follows from it.
func (d *draft) material() error {
	switch d.class {
	case pkcs11.CKO_CERTIFICATE:
		return d.certificate()
	case pkcs11.CKO_PUBLIC_KEY:
		return d.publicKey()
	case pkcs11.CKO_PRIVATE_KEY:
		return d.privateKey()
	case pkcs11.CKO_SECRET_KEY:
		return d.secretKey()
	}
	return nil
}

// publicKey has package keys parse the key, which checks that a point is on its
// curve, and writes its components in their one form.
func (d *draft) publicKey() error {
	pub, err := keys.PublicKey(d.template())
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	attrs, err := keys.PublicAttributes(pub)
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	for _, a := range attrs {
		if bits, ok := d.get(a.Type).(uint64); ok && bits != a.Uint() {
			return d.fail(a.Type, pkcs11.CKR_TEMPLATE_INCONSISTENT, "%d, but the key says %d; leave it out", bits, a.Uint())
		}
		d.set(a.Type, a.Value)
	}
	d.fill(pkcs11.CKA_ID, keys.DefaultID(pub))
	return nil
}

// privateKey checks the shape. Whether the components belong together is for
// the driver to find out, which parses the key anyway and adds CKA_ID.
func (d *draft) privateKey() error {
	if d.kind&curves != 0 {
		return d.params()
	}
	for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT} {
		v := trimZeros(d.bytes(typ))
		if len(v) == 0 {
			return d.fail(typ, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "zero")
		}
		d.set(typ, v)
	}
	return nil
}

// params checks CKA_EC_PARAMS and makes an OID of it.
func (d *draft) params() error {
	p, err := keys.CanonicalParams(d.key, d.bytes(pkcs11.CKA_EC_PARAMS))
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	d.set(pkcs11.CKA_EC_PARAMS, p)
	return nil
}

// secretKey checks the length and sets what follows from the value.
func (d *draft) secretKey() error {
	value := d.bytes(pkcs11.CKA_VALUE)
	n := uint64(len(value))
	if want, ok := d.get(pkcs11.CKA_VALUE_LEN).(uint64); ok && want != n {
		return d.fail(pkcs11.CKA_VALUE_LEN, pkcs11.CKR_TEMPLATE_INCONSISTENT, "%d, but the value has %d bytes", want, n)
	}
	if wrong := valueLen(d.spec, pkcs11.Attr(pkcs11.CKA_VALUE_LEN, n)); wrong != "" {
		return d.fail(pkcs11.CKA_VALUE, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "length %s", wrong)
	}
	d.set(pkcs11.CKA_VALUE_LEN, n)
	return d.checkValue(CheckValue(d.key, value))
}

// checkValue compares a check value with what it must be. An empty one says
// that none is wanted. §4.6.1, §4.10.2.
func (d *draft) checkValue(want []byte) error {
	have, ok := d.get(pkcs11.CKA_CHECK_VALUE).([]byte)
	switch {
	case !ok:
		d.set(pkcs11.CKA_CHECK_VALUE, want)
	case len(have) > 0 && subtle.ConstantTimeCompare(have, want) != 1:
		return d.fail(pkcs11.CKA_CHECK_VALUE, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, "not that of CKA_VALUE; leave it out to have it computed")
	}
	return nil
}

// CheckValue returns the CKA_CHECK_VALUE of a secret key: three bytes of the
// encrypted zero block for AES, of the SHA-1 hash of the value for the others.
// It returns nil for an AES key of an impossible length. PKCS #11 v2.40
// §4.10.2, mechanisms §2.7.2.
func CheckValue(k pkcs11.KeyType, value []byte) []byte {
	if k == pkcs11.CKK_AES {
		block, err := caes.NewCipher(value)
		if err != nil {
			return nil
		}
		var b [caes.BlockSize]byte
		block.Encrypt(b[:], b[:])
		return append([]byte(nil), b[:3]...)
	}
	sum := sha1.Sum(value)
	return append([]byte(nil), sum[:3]...)
}
