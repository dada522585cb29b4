package rules

import (
	"cmp"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// keySet is a set of key types that share their rules.
type keySet uint16

const (
	rsa keySet = 1 << iota
	ec
	edwards
	montgomery
	aes
	generic
	hmac
	hkdf

	curves = ec | edwards | montgomery
)

// keyTypes are the key types that objects may be made of.
var keyTypes = []struct {
	typ pkcs11.KeyType
	set keySet
}{
	{pkcs11.CKK_RSA, rsa},
	{pkcs11.CKK_EC, ec},
	{pkcs11.CKK_EC_EDWARDS, edwards},
	{pkcs11.CKK_EC_MONTGOMERY, montgomery},
	{pkcs11.CKK_AES, aes},
	{pkcs11.CKK_GENERIC_SECRET, generic},
	{pkcs11.CKK_HKDF, hkdf},
	{pkcs11.CKK_SHA_1_HMAC, hmac},
	{pkcs11.CKK_SHA224_HMAC, hmac},
	{pkcs11.CKK_SHA256_HMAC, hmac},
	{pkcs11.CKK_SHA384_HMAC, hmac},
	{pkcs11.CKK_SHA512_HMAC, hmac},
	{pkcs11.CKK_SHA512_224_HMAC, hmac},
	{pkcs11.CKK_SHA512_256_HMAC, hmac},
	{pkcs11.CKK_SHA3_224_HMAC, hmac},
	{pkcs11.CKK_SHA3_256_HMAC, hmac},
	{pkcs11.CKK_SHA3_384_HMAC, hmac},
	{pkcs11.CKK_SHA3_512_HMAC, hmac},
}

// A spec is the table of a class as it is for one key type.
type spec struct {
	*table
	name  string // for errors: "EC private key"
	key   pkcs11.KeyType
	kind  keySet  // which of the key types of the tables that is
	rows  []row   // at most 64
	index []entry // of rows, sorted by type
	// supported says that objects of this class and key type may be made. The
	// others exist for drivers that have more.
	supported bool
}

type entry struct {
	typ pkcs11.AttributeType
	row int
}

// maxClass and maxKeyType bound the numbers of the standard that have a spec.
const (
	maxClass   = 16
	maxKeyType = 80
)

// specs is indexed by class and key type, the key type 0 for classes that are
// not keys. Slot maxKeyType of a class of keys is for key types not known here.
var specs = compile()

// foreign is the spec of classes not known here.
var foreign = (&table{name: "object", rows: [][]row{storage}}).compile(0, 0)

func compile() (all [maxClass][maxKeyType + 1]*spec) {
	for i := range tables {
		t := &tables[i]
		byKey := &all[t.class]
		if t.keyTypes == 0 {
			byKey[0] = t.compile(0, 0)
			continue
		}
		byKey[maxKeyType] = t.compile(pkcs11.CKK_INVALID_KEY_TYPE, 0)
		for _, k := range keyTypes {
			if t.keyTypes&k.set != 0 {
				byKey[k.typ] = t.compile(k.typ, k.set)
			}
		}
	}
	return all
}

func (t *table) compile(k pkcs11.KeyType, kind keySet) *spec {
	s := &spec{table: t, name: t.name, key: k, kind: kind, supported: t.keyTypes == 0 || kind != 0}
	if kind != 0 {
		s.name = strings.TrimPrefix(k.String(), "CKK_") + " " + t.name
	}
	for _, part := range t.rows {
		for _, r := range part {
			if r.keys != 0 && r.keys&kind == 0 {
				continue
			}
			if r.typ == pkcs11.CKA_PRIVATE {
				r.def = t.private
			}
			if r.typ == pkcs11.CKA_ID && t.class == pkcs11.CKO_SECRET_KEY {
				r.def, r.note = none, ""
			}
			s.index = append(s.index, entry{r.typ, len(s.rows)})
			s.rows = append(s.rows, r)
		}
	}
	if len(s.rows) > len(draft{}.values) {
		panic("rules: a table has more rows than a draft")
	}
	slices.SortFunc(s.index, func(a, b entry) int { return cmp.Compare(a.typ, b.typ) })
	return s
}

// specOf returns the rules of a class and key type, never nil.
func specOf(class pkcs11.ObjectClass, k pkcs11.KeyType) *spec {
	if class >= maxClass {
		return foreign
	}
	byKey := &specs[class]
	if byKey[maxKeyType] == nil {
		k = 0
	} else if k >= maxKeyType || byKey[k] == nil {
		k = maxKeyType
	}
	if s := byKey[k]; s != nil {
		return s
	}
	return foreign
}

// of returns the rules for an object with the given attributes.
func of(t pkcs11.Template) *spec {
	class := t.Uint(pkcs11.CKA_CLASS)
	if class >= maxClass {
		return foreign
	}
	k := t.Uint(pkcs11.CKA_KEY_TYPE)
	return specOf(pkcs11.ObjectClass(class), pkcs11.KeyType(min(k, maxKeyType)))
}

// find returns the row of typ, -1 if objects like this do not have it.
func (s *spec) find(typ pkcs11.AttributeType) int {
	lo, hi := 0, len(s.index)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s.index[mid].typ < typ {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(s.index) && s.index[lo].typ == typ {
		return s.index[lo].row
	}
	return -1
}

// specFor returns the rules for what a canonical template for C_CreateObject or
// C_UnwrapKey describes.
func specFor(t pkcs11.Template) (*spec, error) {
	class, ok := t.Get(pkcs11.CKA_CLASS)
	if !ok {
		return nil, fail("template", pkcs11.CKA_CLASS, pkcs11.CKR_TEMPLATE_INCOMPLETE, "missing; say what the object is, CKO_CERTIFICATE for instance")
	}
	c := class.Uint()
	if c >= maxClass || specs[c][0] == nil && specs[c][maxKeyType] == nil {
		return nil, fail("template", pkcs11.CKA_CLASS, unsupported(c, pkcs11.ObjectClass(c).String(), "CKO_0x"),
			"objects of class %#x are not supported", c)
	}
	s := specOf(pkcs11.ObjectClass(c), 0)
	if s.keyTypes != 0 {
		typ, ok := t.Get(pkcs11.CKA_KEY_TYPE)
		if !ok {
			return nil, fail(s.table.name, pkcs11.CKA_KEY_TYPE, pkcs11.CKR_TEMPLATE_INCOMPLETE, "missing; CKK_EC for instance")
		}
		return s.table.keyed(typ.Uint())
	}
	if c == uint64(pkcs11.CKO_CERTIFICATE) {
		typ, ok := t.Get(pkcs11.CKA_CERTIFICATE_TYPE)
		if !ok {
			return nil, fail("certificate", pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKR_TEMPLATE_INCOMPLETE, "missing; it is CKC_X_509")
		}
		if v := typ.Uint(); v != uint64(pkcs11.CKC_X_509) {
			return nil, fail("certificate", pkcs11.CKA_CERTIFICATE_TYPE, unsupported(v, pkcs11.CertificateType(v).String(), "CKC_0x"),
				"certificates of type %#x are not supported; only CKC_X_509 is", v)
		}
	}
	return s, nil
}

// keyed returns the rules for a class of keys and a key type that a caller gave.
func (t *table) keyed(k uint64) (*spec, error) {
	if k < maxKeyType {
		if s := specs[t.class][k]; s != nil {
			return s, nil
		}
	}
	return nil, fail(t.name, pkcs11.CKA_KEY_TYPE, unsupported(k, pkcs11.KeyType(k).String(), "CKK_0x"), "a %s of type %#x is not supported", t.class, k)
}

// unsupported returns the code for a number of a class or type: one of the
// standard's that is not possible here contradicts the token, another one is no
// value at all.
func unsupported(v uint64, name, unknown string) pkcs11.Error {
	if v > 1<<32-1 || strings.HasPrefix(name, unknown) {
		return pkcs11.CKR_ATTRIBUTE_VALUE_INVALID
	}
	return pkcs11.CKR_TEMPLATE_INCONSISTENT
}
