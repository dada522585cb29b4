package rules

import (
	"fmt"
	"slices"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// GeneratePair makes complete templates of the two for C_GenerateKeyPair.
// Missing CKA_CLASS and CKA_KEY_TYPE follow from the mechanism. CKA_TOKEN,
// CKA_ID and CKA_LABEL that only one of the templates has go for both: the
// qualification tests ask for a private key on the token and find the public
// one there, too. PKCS #11 v2.40 §5.13.
func GeneratePair(m *pkcs11.Mechanism, public, private pkcs11.Template) (pub, priv pkcs11.Template, err error) {
	k, err := pairType(m)
	if err != nil {
		return nil, nil, err
	}
	pub, err = inferred(public, pkcs11.CKO_PUBLIC_KEY, k, m)
	if err != nil {
		return nil, nil, err
	}
	priv, err = inferred(private, pkcs11.CKO_PRIVATE_KEY, k, m)
	if err != nil {
		return nil, nil, err
	}
	for _, typ := range [...]pkcs11.AttributeType{pkcs11.CKA_TOKEN, pkcs11.CKA_ID, pkcs11.CKA_LABEL} {
		a, inPub := pub.Get(typ)
		b, inPriv := priv.Get(typ)
		switch {
		case inPub && !inPriv:
			priv = append(priv, a)
		case inPriv && !inPub:
			pub = append(pub, b)
		}
	}
	how := making{op: opGenerate, mech: m.Type}
	pub, err = specOf(pkcs11.CKO_PUBLIC_KEY, k).make(pub, how)
	if err != nil {
		return nil, nil, fmt.Errorf("public template: %w", err)
	}
	priv, err = specOf(pkcs11.CKO_PRIVATE_KEY, k).make(priv, how)
	if err != nil {
		return nil, nil, fmt.Errorf("private template: %w", err)
	}
	return pub, priv, nil
}

// pairType returns the key type that a mechanism generates pairs of.
func pairType(m *pkcs11.Mechanism) (pkcs11.KeyType, error) {
	if m == nil {
		return 0, fmt.Errorf("%w: no mechanism", pkcs11.CKR_ARGUMENTS_BAD)
	}
	switch m.Type {
	case pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_X9_31_KEY_PAIR_GEN:
		return pkcs11.CKK_RSA, nil
	case pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS:
		return pkcs11.CKK_EC, nil
	case pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN:
		return pkcs11.CKK_EC_EDWARDS, nil
	case pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN:
		return pkcs11.CKK_EC_MONTGOMERY, nil
	}
	return 0, fmt.Errorf("%v: %w: it does not generate key pairs; CKM_EC_KEY_PAIR_GEN does", m.Type, pkcs11.CKR_MECHANISM_INVALID)
}

// Generate makes a complete template of one for C_GenerateKey. CKA_VALUE_LEN is
// the length of the key in bytes; of a key for HMAC that of the hash, if it is
// not given. PKCS #11 v2.40 §5.13.
func Generate(m *pkcs11.Mechanism, t pkcs11.Template) (pkcs11.Template, error) {
	k, size, err := secretType(m)
	if err != nil {
		return nil, err
	}
	t, err = inferred(t, pkcs11.CKO_SECRET_KEY, k, m)
	if err != nil {
		return nil, err
	}
	if size != 0 && !t.Has(pkcs11.CKA_VALUE_LEN) {
		t = append(t, pkcs11.Attr(pkcs11.CKA_VALUE_LEN, size))
	}
	return specOf(pkcs11.CKO_SECRET_KEY, k).make(t, making{op: opGenerate, mech: m.Type})
}

// secretType returns the key type that a mechanism generates, and its length if
// that has a default.
func secretType(m *pkcs11.Mechanism) (k pkcs11.KeyType, size uint64, err error) {
	if m == nil {
		return 0, 0, fmt.Errorf("%w: no mechanism", pkcs11.CKR_ARGUMENTS_BAD)
	}
	switch m.Type {
	case pkcs11.CKM_AES_KEY_GEN:
		return pkcs11.CKK_AES, 0, nil
	case pkcs11.CKM_GENERIC_SECRET_KEY_GEN:
		return pkcs11.CKK_GENERIC_SECRET, 0, nil
	case pkcs11.CKM_HKDF_KEY_GEN:
		return pkcs11.CKK_HKDF, 0, nil
	case pkcs11.CKM_SHA_1_KEY_GEN:
		return pkcs11.CKK_SHA_1_HMAC, 20, nil
	case pkcs11.CKM_SHA224_KEY_GEN:
		return pkcs11.CKK_SHA224_HMAC, 28, nil
	case pkcs11.CKM_SHA256_KEY_GEN:
		return pkcs11.CKK_SHA256_HMAC, 32, nil
	case pkcs11.CKM_SHA384_KEY_GEN:
		return pkcs11.CKK_SHA384_HMAC, 48, nil
	case pkcs11.CKM_SHA512_KEY_GEN:
		return pkcs11.CKK_SHA512_HMAC, 64, nil
	case pkcs11.CKM_SHA512_224_KEY_GEN:
		return pkcs11.CKK_SHA512_224_HMAC, 28, nil
	case pkcs11.CKM_SHA512_256_KEY_GEN:
		return pkcs11.CKK_SHA512_256_HMAC, 32, nil
	case pkcs11.CKM_SHA3_224_KEY_GEN:
		return pkcs11.CKK_SHA3_224_HMAC, 28, nil
	case pkcs11.CKM_SHA3_256_KEY_GEN:
		return pkcs11.CKK_SHA3_256_HMAC, 32, nil
	case pkcs11.CKM_SHA3_384_KEY_GEN:
		return pkcs11.CKK_SHA3_384_HMAC, 48, nil
	case pkcs11.CKM_SHA3_512_KEY_GEN:
		return pkcs11.CKK_SHA3_512_HMAC, 64, nil
	}
	return 0, 0, fmt.Errorf("%v: %w: it does not generate secret keys; CKM_AES_KEY_GEN does", m.Type, pkcs11.CKR_MECHANISM_INVALID)
}

// inferred returns t in canonical form, with the class and key type that the
// mechanism stands for.
func inferred(t pkcs11.Template, class pkcs11.ObjectClass, k pkcs11.KeyType, m *pkcs11.Mechanism) (pkcs11.Template, error) {
	c, err := canonical(t)
	if err != nil {
		return nil, err
	}
	if a, ok := c.Get(pkcs11.CKA_ID); ok && blank(a.Value) {
		c = slices.DeleteFunc(c, func(a pkcs11.Attribute) bool { return a.Type == pkcs11.CKA_ID })
	}
	what := specOf(class, k).name
	if a, ok := c.Get(pkcs11.CKA_CLASS); !ok {
		c = append(c, pkcs11.Attr(pkcs11.CKA_CLASS, uint64(class)))
	} else if a.Uint() != uint64(class) {
		return nil, fail(what, pkcs11.CKA_CLASS, pkcs11.CKR_TEMPLATE_INCONSISTENT, "%v makes a %v here; leave the attribute out", m.Type, class)
	}
	if a, ok := c.Get(pkcs11.CKA_KEY_TYPE); !ok {
		c = append(c, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(k)))
	} else if a.Uint() != uint64(k) {
		return nil, fail(what, pkcs11.CKA_KEY_TYPE, pkcs11.CKR_TEMPLATE_INCONSISTENT, "%v makes a %v; leave the attribute out", m.Type, k)
	}
	return c, nil
}
