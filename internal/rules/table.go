package rules

import (
	"time"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// operation is what an object is made by.
type operation uint8

const (
	opCreate operation = iota // C_CreateObject
	opGenerate
	opUnwrap
	opDerive
	operations
)

// given says what a template may say about an attribute.
type given uint8

const (
	may   given = iota // its value, or nothing: the default is taken
	must               // its value
	never              // nothing: the token sets it
)

// change says who may change an attribute of an object that is there.
type change uint8

const (
	fixed change = iota // nobody
	free                // everybody who may change the object
	rises               // everybody, from false to true
	falls               // everybody, from true to false
	bySO                // the SO; to everybody else it is fixed, and false at the beginning
)

// row is a row of a table: an attribute and what holds for it.
type row struct {
	typ  pkcs11.AttributeType
	keys keySet // the key types that have it, 0 for all

	in        [operations]given
	set, copy change

	// def is the value in objects of which nobody said one, nil if the
	// attribute is absent then.
	def any
	// use marks a usage flag. One that is not given is true for the key types of
	// uses, unless the template sets another use: a template that lists uses
	// lists all of them.
	use  bool
	uses keySet

	// secret attributes are in no answer while the key is sensitive or not
	// extractable.
	secret bool
	// max is the greatest length of bytes and text, 0 for maxShort.
	max int
	// check says what is wrong with a value, "" if nothing is.
	check func(s *spec, a pkcs11.Attribute) string
	// note says in docs/attributes.md where the value comes from if nobody
	// gives it.
	note string
}

// The greatest lengths: a record of pal.Store has to hold the whole object.
const (
	maxShort = 1 << 10
	maxLong  = pal.MaxRecord - 4<<10
)

// The common shapes of row.in, in the order of operations: create, generate,
// unwrap, derive.
var (
	anywhere   = [operations]given{may, may, may, may}
	kind       = [operations]given{must, may, must, may}       // said by the mechanism otherwise
	component  = [operations]given{must, never, never, never}  // brought forth by the operation otherwise
	part       = [operations]given{may, never, never, never}   // the same, and found at creation too
	nowhere    = [operations]given{never, never, never, never} // computed
	parameter  = [operations]given{must, must, never, never}   // known before the key is
	size       = [operations]given{may, must, never, never}    // computed, and compared if it is there
	length     = [operations]given{may, must, may, may}        // the same, of what may have any length
	rsaExp     = [operations]given{must, may, never, never}    // public exponent
	checkValue = anywhere                                      // compared, or empty for "not wanted"
)

// storage are the attributes of every object. §4.4, §4.5; v3.0 for
// CKA_UNIQUE_ID.
var storage = []row{
	{typ: pkcs11.CKA_CLASS, in: kind, note: "from the mechanism"},
	{typ: pkcs11.CKA_TOKEN, in: anywhere, copy: free, def: false},
	{typ: pkcs11.CKA_PRIVATE, in: anywhere, copy: rises, def: false},
	{typ: pkcs11.CKA_MODIFIABLE, in: anywhere, copy: free, def: true},
	{typ: pkcs11.CKA_COPYABLE, in: anywhere, set: falls, copy: falls, def: true},
	{typ: pkcs11.CKA_DESTROYABLE, in: anywhere, copy: falls, def: true},
	{typ: pkcs11.CKA_LABEL, in: anywhere, set: free, copy: free, def: ""},
	{typ: pkcs11.CKA_UNIQUE_ID, in: nowhere, note: "the driver's ID of the object"},
}

// data is CKO_DATA. §4.5.
var data = []row{
	{typ: pkcs11.CKA_APPLICATION, in: anywhere, set: free, copy: free, def: ""},
	{typ: pkcs11.CKA_OBJECT_ID, in: anywhere, set: free, copy: free, def: none},
	{typ: pkcs11.CKA_VALUE, in: anywhere, set: free, copy: free, def: none, max: maxLong},
}

// certificate is CKO_CERTIFICATE of type CKC_X_509. §4.6.2, §4.6.3.
var certificate = []row{
	{typ: pkcs11.CKA_CERTIFICATE_TYPE, in: kind},
	{typ: pkcs11.CKA_TRUSTED, in: anywhere, set: bySO, def: false},
	{typ: pkcs11.CKA_CERTIFICATE_CATEGORY, in: anywhere, def: uint64(0), check: upTo(3)},
	{typ: pkcs11.CKA_CHECK_VALUE, in: checkValue, note: "SHA-1 of CKA_VALUE, 3 bytes"},
	{typ: pkcs11.CKA_START_DATE, in: anywhere, def: time.Time{}},
	{typ: pkcs11.CKA_END_DATE, in: anywhere, def: time.Time{}},
	{typ: pkcs11.CKA_PUBLIC_KEY_INFO, in: part, max: maxLong, note: "from CKA_VALUE"},
	{typ: pkcs11.CKA_SUBJECT, in: anywhere, max: maxLong, note: "from CKA_VALUE"},
	{typ: pkcs11.CKA_ID, in: anywhere, set: free, copy: free, note: "from the public key"},
	{typ: pkcs11.CKA_ISSUER, in: anywhere, set: free, copy: free, max: maxLong, note: "from CKA_VALUE"},
	{typ: pkcs11.CKA_SERIAL_NUMBER, in: anywhere, set: free, copy: free, note: "from CKA_VALUE, a DER INTEGER"},
	{typ: pkcs11.CKA_VALUE, in: component, max: maxLong},
	{typ: pkcs11.CKA_URL, in: anywhere, def: ""},
	{typ: pkcs11.CKA_HASH_OF_SUBJECT_PUBLIC_KEY, in: anywhere, def: none},
	{typ: pkcs11.CKA_HASH_OF_ISSUER_PUBLIC_KEY, in: anywhere, def: none},
	{typ: pkcs11.CKA_JAVA_MIDP_SECURITY_DOMAIN, in: anywhere, def: uint64(0), check: upTo(3)},
	{typ: pkcs11.CKA_NAME_HASH_ALGORITHM, in: anywhere, def: uint64(pkcs11.CKM_SHA_1)},
}

// key are the attributes of every key. §4.7.
var key = []row{
	{typ: pkcs11.CKA_KEY_TYPE, in: kind, note: "from the mechanism"},
	{typ: pkcs11.CKA_ID, in: anywhere, set: free, copy: free, note: "from the public key; the other key's of a pair"},
	{typ: pkcs11.CKA_START_DATE, in: anywhere, set: free, copy: free, def: time.Time{}},
	{typ: pkcs11.CKA_END_DATE, in: anywhere, set: free, copy: free, def: time.Time{}},
	{typ: pkcs11.CKA_LOCAL, in: nowhere, def: false},
	{typ: pkcs11.CKA_KEY_GEN_MECHANISM, in: nowhere, def: pkcs11.Unavailable},
	{typ: pkcs11.CKA_ALLOWED_MECHANISMS, in: anywhere},
	{typ: pkcs11.CKA_DERIVE, in: anywhere, set: falls, copy: falls, use: true, uses: montgomery | hkdf},
}

// publicKey is CKO_PUBLIC_KEY. §4.8; mechanisms §2.1.2, §2.3.3.
var publicKey = []row{
	{typ: pkcs11.CKA_SUBJECT, in: anywhere, set: free, copy: free, def: none, max: maxLong},
	{typ: pkcs11.CKA_ENCRYPT, in: anywhere, set: falls, copy: falls, use: true, uses: rsa},
	{typ: pkcs11.CKA_VERIFY, in: anywhere, set: falls, copy: falls, use: true, uses: rsa | ec | edwards},
	{typ: pkcs11.CKA_VERIFY_RECOVER, in: anywhere, set: falls, copy: falls, use: true},
	{typ: pkcs11.CKA_WRAP, in: anywhere, set: falls, copy: falls, use: true},
	{typ: pkcs11.CKA_TRUSTED, in: anywhere, set: bySO, def: false},
	{typ: pkcs11.CKA_WRAP_TEMPLATE, in: anywhere},
	{typ: pkcs11.CKA_EC_PARAMS, keys: curves, in: parameter},
	{typ: pkcs11.CKA_EC_POINT, keys: curves, in: component},
	{typ: pkcs11.CKA_MODULUS, keys: rsa, in: component, max: maxModulus},
	{typ: pkcs11.CKA_MODULUS_BITS, keys: rsa, in: size, check: modulusBits, note: "from CKA_MODULUS"},
	{typ: pkcs11.CKA_PUBLIC_EXPONENT, keys: rsa, in: rsaExp, check: publicExponent, note: "010001"},
	{typ: pkcs11.CKA_PUBLIC_KEY_INFO, in: part, max: maxLong, note: "from the key"},
}

// privateKey is CKO_PRIVATE_KEY. §4.9; mechanisms §2.1.3, §2.3.4. CKA_EC_POINT
// is an addition: libp11 asks for it where there is no public key object.
var privateKey = []row{
	{typ: pkcs11.CKA_SUBJECT, in: anywhere, set: free, copy: free, def: none, max: maxLong},
	{typ: pkcs11.CKA_SENSITIVE, in: anywhere, set: rises, copy: rises, def: true},
	{typ: pkcs11.CKA_EXTRACTABLE, in: anywhere, set: falls, copy: falls, def: false},
	{typ: pkcs11.CKA_ALWAYS_SENSITIVE, in: nowhere, def: false},
	{typ: pkcs11.CKA_NEVER_EXTRACTABLE, in: nowhere, def: false},
	{typ: pkcs11.CKA_DECRYPT, in: anywhere, set: falls, copy: falls, use: true, uses: rsa},
	{typ: pkcs11.CKA_SIGN, in: anywhere, set: falls, copy: falls, use: true, uses: rsa | ec | edwards},
	{typ: pkcs11.CKA_SIGN_RECOVER, in: anywhere, set: falls, copy: falls, use: true},
	{typ: pkcs11.CKA_UNWRAP, in: anywhere, set: falls, copy: falls, use: true},
	{typ: pkcs11.CKA_WRAP_WITH_TRUSTED, in: anywhere, set: rises, copy: rises, def: false},
	{typ: pkcs11.CKA_ALWAYS_AUTHENTICATE, in: anywhere, def: false},
	{typ: pkcs11.CKA_UNWRAP_TEMPLATE, in: anywhere},
	{typ: pkcs11.CKA_DERIVE_TEMPLATE, in: anywhere},
	{typ: pkcs11.CKA_EC_PARAMS, keys: curves, in: component},
	{typ: pkcs11.CKA_EC_POINT, keys: curves, in: part, note: "from the key"},
	{typ: pkcs11.CKA_VALUE, keys: curves, in: component, secret: true},
	{typ: pkcs11.CKA_MODULUS, keys: rsa, in: component, max: maxModulus},
	{typ: pkcs11.CKA_PUBLIC_EXPONENT, keys: rsa, in: component, check: publicExponent},
	{typ: pkcs11.CKA_PRIVATE_EXPONENT, keys: rsa, in: component, max: maxModulus, secret: true},
	{typ: pkcs11.CKA_PRIME_1, keys: rsa, in: part, max: maxModulus, secret: true, note: "from the other components"},
	{typ: pkcs11.CKA_PRIME_2, keys: rsa, in: part, max: maxModulus, secret: true, note: "from the other components"},
	{typ: pkcs11.CKA_EXPONENT_1, keys: rsa, in: part, max: maxModulus, secret: true, note: "from the other components"},
	{typ: pkcs11.CKA_EXPONENT_2, keys: rsa, in: part, max: maxModulus, secret: true, note: "from the other components"},
	{typ: pkcs11.CKA_COEFFICIENT, keys: rsa, in: part, max: maxModulus, secret: true, note: "from the other components"},
	{typ: pkcs11.CKA_PUBLIC_KEY_INFO, in: part, max: maxLong, note: "from the key"},
}

// secretKey is CKO_SECRET_KEY. §4.10; mechanisms §2.7.2, §2.8.2.
var secretKey = []row{
	{typ: pkcs11.CKA_SENSITIVE, in: anywhere, set: rises, copy: rises, def: true},
	{typ: pkcs11.CKA_EXTRACTABLE, in: anywhere, set: falls, copy: falls, def: false},
	{typ: pkcs11.CKA_ALWAYS_SENSITIVE, in: nowhere, def: false},
	{typ: pkcs11.CKA_NEVER_EXTRACTABLE, in: nowhere, def: false},
	{typ: pkcs11.CKA_ENCRYPT, in: anywhere, set: falls, copy: falls, use: true, uses: aes},
	{typ: pkcs11.CKA_DECRYPT, in: anywhere, set: falls, copy: falls, use: true, uses: aes},
	{typ: pkcs11.CKA_SIGN, in: anywhere, set: falls, copy: falls, use: true, uses: generic | hmac},
	{typ: pkcs11.CKA_VERIFY, in: anywhere, set: falls, copy: falls, use: true, uses: generic | hmac},
	{typ: pkcs11.CKA_WRAP, in: anywhere, set: falls, copy: falls, use: true},
	{typ: pkcs11.CKA_UNWRAP, in: anywhere, set: falls, copy: falls, use: true},
	{typ: pkcs11.CKA_WRAP_WITH_TRUSTED, in: anywhere, set: rises, copy: rises, def: false},
	{typ: pkcs11.CKA_TRUSTED, in: anywhere, set: bySO, def: false},
	{typ: pkcs11.CKA_WRAP_TEMPLATE, in: anywhere},
	{typ: pkcs11.CKA_UNWRAP_TEMPLATE, in: anywhere},
	{typ: pkcs11.CKA_DERIVE_TEMPLATE, in: anywhere},
	{typ: pkcs11.CKA_CHECK_VALUE, in: checkValue, note: "3 bytes: of the encrypted zero block for AES, of the SHA-1 of the value for the others"},
	{typ: pkcs11.CKA_VALUE, in: component, max: maxSecret, secret: true},
	{typ: pkcs11.CKA_VALUE_LEN, in: length, check: valueLen, note: "from CKA_VALUE"},
}

// profile is CKO_PROFILE, which tokens have and nobody makes. v3.0 §4.13.
var profile = []row{
	{typ: pkcs11.CKA_CLASS, in: nowhere},
	{typ: pkcs11.CKA_TOKEN, in: nowhere, def: true},
	{typ: pkcs11.CKA_PRIVATE, in: nowhere, def: false},
	{typ: pkcs11.CKA_MODIFIABLE, in: nowhere, def: false},
	{typ: pkcs11.CKA_COPYABLE, in: nowhere, def: false},
	{typ: pkcs11.CKA_DESTROYABLE, in: nowhere, def: false},
	{typ: pkcs11.CKA_LABEL, in: nowhere, def: ""},
	{typ: pkcs11.CKA_UNIQUE_ID, in: nowhere, note: "the driver's ID of the object"},
	{typ: pkcs11.CKA_PROFILE_ID, in: nowhere},
}

// A table is the rules of a class.
type table struct {
	class    pkcs11.ObjectClass
	name     string
	rows     [][]row
	keyTypes keySet // of a class of keys
	private  bool   // CKA_PRIVATE by default
	secrets  bool   // its objects have secret attributes
	made     [operations]bool
}

var tables = []table{
	{class: pkcs11.CKO_DATA, name: "data object", rows: [][]row{storage, data}, private: true,
		made: [operations]bool{opCreate: true}},
	{class: pkcs11.CKO_CERTIFICATE, name: "X.509 certificate", rows: [][]row{storage, certificate},
		made: [operations]bool{opCreate: true}},
	{class: pkcs11.CKO_PUBLIC_KEY, name: "public key", rows: [][]row{storage, key, publicKey}, keyTypes: rsa | curves,
		made: [operations]bool{opCreate: true, opGenerate: true}},
	{class: pkcs11.CKO_PRIVATE_KEY, name: "private key", rows: [][]row{storage, key, privateKey}, keyTypes: rsa | curves, private: true, secrets: true,
		made: [operations]bool{opCreate: true, opGenerate: true, opUnwrap: true}},
	{class: pkcs11.CKO_SECRET_KEY, name: "key", rows: [][]row{storage, key, secretKey}, keyTypes: aes | generic | hmac | hkdf, private: true, secrets: true,
		made: [operations]bool{true, true, true, true}},
	{class: pkcs11.CKO_PROFILE, name: "profile", rows: [][]row{profile}},
}
