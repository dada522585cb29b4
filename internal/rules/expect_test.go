package rules_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// expected says what each operation answers to each attribute, written from the
// tables and footnotes of the standard (v2.40 §4.4 to §4.10, mechanisms §2.1 to
// §2.8) and the departures that docs/attributes.md lists. An attribute that is
// not here is CKR_ATTRIBUTE_TYPE_INVALID everywhere. After the name stand the
// key types, * for all, and then a letter for create, generate, unwrap, derive,
// set, copy:
//
//	M  must be there       o  may be there, any change    R  CKR_ATTRIBUTE_READ_ONLY
//	u  F→T only            d  T→F only                    S  the SO only
//	-  no such object is made that way
const expected = `
data
  CLASS * M---RR        TOKEN * o---Ro       PRIVATE * o---Ru     MODIFIABLE * o---Ro   COPYABLE * o---dd
  DESTROYABLE * o---Rd  LABEL * o---oo       UNIQUE_ID * R---RR   APPLICATION * o---oo  OBJECT_ID * o---oo  VALUE * o---oo
certificate
  CLASS * M---RR        TOKEN * o---Ro       PRIVATE * o---Ru     MODIFIABLE * o---Ro   COPYABLE * o---dd
  DESTROYABLE * o---Rd  LABEL * o---oo       UNIQUE_ID * R---RR   CERTIFICATE_TYPE * M---RR
  TRUSTED * S---SR      CERTIFICATE_CATEGORY * o---RR             CHECK_VALUE * o---RR  START_DATE * o---RR
  END_DATE * o---RR     PUBLIC_KEY_INFO * o---RR                  SUBJECT * o---RR      ID * o---oo
  ISSUER * o---oo       SERIAL_NUMBER * o---oo                    VALUE * M---RR        URL * o---RR
  HASH_OF_SUBJECT_PUBLIC_KEY * o---RR        HASH_OF_ISSUER_PUBLIC_KEY * o---RR
  JAVA_MIDP_SECURITY_DOMAIN * o---RR         NAME_HASH_ALGORITHM * o---RR
public
  CLASS * Mo--RR        TOKEN * oo--Ro       PRIVATE * oo--Ru     MODIFIABLE * oo--Ro   COPYABLE * oo--dd
  DESTROYABLE * oo--Rd  LABEL * oo--oo       UNIQUE_ID * RR--RR   KEY_TYPE * Mo--RR     ID * oo--oo
  START_DATE * oo--oo   END_DATE * oo--oo    LOCAL * RR--RR       KEY_GEN_MECHANISM * RR--RR
  ALLOWED_MECHANISMS * oo--RR                DERIVE * oo--dd      SUBJECT * oo--oo      ENCRYPT * oo--dd
  VERIFY * oo--dd       VERIFY_RECOVER * oo--dd                   WRAP * oo--dd         TRUSTED * SS--SR
  WRAP_TEMPLATE * oo--RR                     PUBLIC_KEY_INFO * oR--RR
  EC_PARAMS EC,EC_EDWARDS,EC_MONTGOMERY MM--RR                    EC_POINT EC,EC_EDWARDS,EC_MONTGOMERY MR--RR
  MODULUS RSA MR--RR    MODULUS_BITS RSA oM--RR                   PUBLIC_EXPONENT RSA Mo--RR
private
  CLASS * MoM-RR        TOKEN * ooo-Ro       PRIVATE * ooo-Ru     MODIFIABLE * ooo-Ro   COPYABLE * ooo-dd
  DESTROYABLE * ooo-Rd  LABEL * ooo-oo       UNIQUE_ID * RRR-RR   KEY_TYPE * MoM-RR     ID * ooo-oo
  START_DATE * ooo-oo   END_DATE * ooo-oo    LOCAL * RRR-RR       KEY_GEN_MECHANISM * RRR-RR
  ALLOWED_MECHANISMS * ooo-RR                DERIVE * ooo-dd      SUBJECT * ooo-oo      SENSITIVE * ooo-uu
  EXTRACTABLE * ooo-dd  ALWAYS_SENSITIVE * RRR-RR                 NEVER_EXTRACTABLE * RRR-RR
  DECRYPT * ooo-dd      SIGN * ooo-dd        SIGN_RECOVER * ooo-dd                      UNWRAP * ooo-dd
  WRAP_WITH_TRUSTED * ooo-uu                 ALWAYS_AUTHENTICATE * ooo-RR
  UNWRAP_TEMPLATE * ooo-RR                   DERIVE_TEMPLATE * ooo-RR                   PUBLIC_KEY_INFO * oRR-RR
  EC_PARAMS EC,EC_EDWARDS,EC_MONTGOMERY MRR-RR                    EC_POINT EC,EC_EDWARDS,EC_MONTGOMERY oRR-RR
  VALUE EC,EC_EDWARDS,EC_MONTGOMERY MRR-RR
  MODULUS RSA MRR-RR    PUBLIC_EXPONENT RSA MRR-RR                PRIVATE_EXPONENT RSA MRR-RR
  PRIME_1 RSA oRR-RR    PRIME_2 RSA oRR-RR   EXPONENT_1 RSA oRR-RR                      EXPONENT_2 RSA oRR-RR
  COEFFICIENT RSA oRR-RR
secret
  CLASS * MoMoRR        TOKEN * ooooRo       PRIVATE * ooooRu     MODIFIABLE * ooooRo   COPYABLE * oooodd
  DESTROYABLE * ooooRd  LABEL * oooooo       UNIQUE_ID * RRRRRR   KEY_TYPE * MoMoRR     ID * oooooo
  START_DATE * oooooo   END_DATE * oooooo    LOCAL * RRRRRR       KEY_GEN_MECHANISM * RRRRRR
  ALLOWED_MECHANISMS * ooooRR                DERIVE * oooodd      SENSITIVE * oooouu    EXTRACTABLE * oooodd
  ALWAYS_SENSITIVE * RRRRRR                  NEVER_EXTRACTABLE * RRRRRR                 ENCRYPT * oooodd
  DECRYPT * oooodd      SIGN * oooodd        VERIFY * oooodd      WRAP * oooodd         UNWRAP * oooodd
  WRAP_WITH_TRUSTED * oooouu                 TRUSTED * SSSSSR     WRAP_TEMPLATE * ooooRR
  UNWRAP_TEMPLATE * ooooRR                   DERIVE_TEMPLATE * ooooRR                   CHECK_VALUE * ooooRR
  VALUE * MRRRRR        VALUE_LEN AES,GENERIC_SECRET,HKDF oMooRR  VALUE_LEN SHA256_HMAC ooooRR
profile
  CLASS * ----RR        TOKEN * ----RR       PRIVATE * ----RR     MODIFIABLE * ----RR   COPYABLE * ----RR
  DESTROYABLE * ----RR  LABEL * ----RR       UNIQUE_ID * ----RR   PROFILE_ID * ----RR
`

// subject is a class and key type with what makes objects of it.
type subject struct {
	class, keyType string
	create         pkcs11.Template
	mechanism      pkcs11.MechanismType
	public         pkcs11.Template // for generation of pairs: the public template, if it is not the subject
	generate       pkcs11.Template
	unwrap         pkcs11.Template
}

func subjects() []subject {
	ed := []byte{0x06, 0x03, 0x2b, 0x65, 0x70}
	x := []byte{0x06, 0x03, 0x2b, 0x65, 0x6e}
	point := slices.Concat([]byte{9}, make([]byte, 31))
	class := func(c pkcs11.ObjectClass) pkcs11.Attribute { return attr(pkcs11.CKA_CLASS, c) }
	typ := func(k pkcs11.KeyType) pkcs11.Attribute { return attr(pkcs11.CKA_KEY_TYPE, k) }
	params := func(b []byte) pkcs11.Attribute { return attr(pkcs11.CKA_EC_PARAMS, b) }
	pub := func(k pkcs11.KeyType, p []byte) pkcs11.Template {
		return pkcs11.Template{class(pkcs11.CKO_PUBLIC_KEY), typ(k), params(p), attr(pkcs11.CKA_EC_POINT, point)}
	}
	priv := func(k pkcs11.KeyType, p []byte) pkcs11.Template {
		return pkcs11.Template{class(pkcs11.CKO_PRIVATE_KEY), typ(k), params(p), attr(pkcs11.CKA_VALUE, point)}
	}
	unwrap := func(c pkcs11.ObjectClass, k pkcs11.KeyType) pkcs11.Template {
		return pkcs11.Template{class(c), typ(k)}
	}
	secret := func(k pkcs11.KeyType) pkcs11.Template {
		return pkcs11.Template{class(pkcs11.CKO_SECRET_KEY), typ(k), attr(pkcs11.CKA_VALUE, make([]byte, 32))}
	}
	length := pkcs11.Template{attr(pkcs11.CKA_VALUE_LEN, 32)}
	bits := pkcs11.Template{attr(pkcs11.CKA_MODULUS_BITS, 2048)}
	ecp, edp, xp := pkcs11.Template{params(p256)}, pkcs11.Template{params(ed)}, pkcs11.Template{params(x)}
	return []subject{
		{class: "data", create: dataObject()},
		{class: "certificate", create: certificate()},
		{"public", "RSA", rsaPublic(), pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, nil, bits, nil},
		{"public", "EC", ecPublic(), pkcs11.CKM_EC_KEY_PAIR_GEN, nil, ecp, nil},
		{"public", "EC_EDWARDS", pub(pkcs11.CKK_EC_EDWARDS, ed), pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN, nil, edp, nil},
		{"public", "EC_MONTGOMERY", pub(pkcs11.CKK_EC_MONTGOMERY, x), pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN, nil, xp, nil},
		{"private", "RSA", rsaPrivate(), pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, bits, nil, unwrap(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_RSA)},
		{"private", "EC", ecPrivate(), pkcs11.CKM_EC_KEY_PAIR_GEN, ecp, nil, unwrap(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC)},
		{"private", "EC_EDWARDS", priv(pkcs11.CKK_EC_EDWARDS, ed), pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN, edp, nil, unwrap(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC_EDWARDS)},
		{"private", "EC_MONTGOMERY", priv(pkcs11.CKK_EC_MONTGOMERY, x), pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN, xp, nil, unwrap(pkcs11.CKO_PRIVATE_KEY, pkcs11.CKK_EC_MONTGOMERY)},
		{"secret", "AES", secret(pkcs11.CKK_AES), pkcs11.CKM_AES_KEY_GEN, nil, length, unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_AES)},
		{"secret", "GENERIC_SECRET", secret(pkcs11.CKK_GENERIC_SECRET), pkcs11.CKM_GENERIC_SECRET_KEY_GEN, nil, length, unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_GENERIC_SECRET)},
		{"secret", "HKDF", secret(pkcs11.CKK_HKDF), pkcs11.CKM_HKDF_KEY_GEN, nil, length, unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_HKDF)},
		{"secret", "SHA256_HMAC", secret(pkcs11.CKK_SHA256_HMAC), pkcs11.CKM_SHA256_KEY_GEN, nil, nil, unwrap(pkcs11.CKO_SECRET_KEY, pkcs11.CKK_SHA256_HMAC)},
		{class: "profile"},
	}
}

// object is a complete object of the subject, to be changed and copied.
func (s subject) object(t *testing.T) pkcs11.Template {
	if s.create == nil {
		return rules.Complete(pkcs11.Template{attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PROFILE)), attr(pkcs11.CKA_PROFILE_ID, uint64(1))})
	}
	o, err := rules.Create(s.create)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// readableKey unwraps into keys that may be read.
var readableKey = pkcs11.Template{
	attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_SECRET_KEY)), attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_AES)),
	attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true),
}

// make makes one by operation 0 to 3 of a template.
func (s subject) make(by rules.By, op int, t pkcs11.Template) (pkcs11.Template, error) {
	m := &pkcs11.Mechanism{Type: s.mechanism}
	switch op {
	case 0:
		return by.Create(t)
	case 1:
		switch s.class {
		case "secret":
			return rules.Generate(m, t)
		case "public":
			pub, _, err := rules.GeneratePair(m, t, nil)
			return pub, err
		}
		_, priv, err := rules.GeneratePair(m, s.public, t)
		return priv, err
	case 2:
		return rules.Unwrap(readableKey, t)
	}
	return rules.Derive(&pkcs11.Mechanism{Type: pkcs11.CKM_ECDH1_DERIVE}, nil, t)
}

func (s subject) base(op int) pkcs11.Template {
	switch op {
	case 0:
		return s.create
	case 1:
		return s.generate
	case 2:
		return s.unwrap
	}
	return without(s.unwrap) // class and key type
}

// values returns possible values of an attribute.
func (s subject) values(t *testing.T, typ pkcs11.AttributeType) []any {
	if a, ok := s.create.Get(typ); ok && typ.Kind() != pkcs11.KindBool {
		return []any{a.Value}
	}
	switch typ {
	case pkcs11.CKA_CLASS:
		return []any{map[string]pkcs11.ObjectClass{"data": 0, "certificate": 1, "public": 2, "private": 3, "secret": 4, "profile": 9}[s.class]}
	case pkcs11.CKA_CHECK_VALUE:
		return []any{[]byte{}}
	case pkcs11.CKA_PUBLIC_KEY_INFO:
		if s.class != "private" && s.create != nil {
			return []any{s.object(t).Bytes(typ)}
		}
	case pkcs11.CKA_MODULUS_BITS:
		return []any{2048}
	case pkcs11.CKA_PUBLIC_EXPONENT:
		return []any{[]byte{3}}
	case pkcs11.CKA_VALUE_LEN:
		return []any{32}
	}
	switch typ.Kind() {
	case pkcs11.KindBool:
		return []any{false, true}
	case pkcs11.KindUint:
		return []any{1}
	case pkcs11.KindText:
		return []any{"x"}
	case pkcs11.KindDate:
		return []any{time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC)}
	case pkcs11.KindMechanisms:
		return []any{[]pkcs11.MechanismType{pkcs11.CKM_ECDSA}}
	case pkcs11.KindTemplate:
		return []any{pkcs11.Template{attr(pkcs11.CKA_LABEL, "x")}}
	}
	return []any{[]byte{1}}
}

// expectations parses the table: class, key type, attribute to letters.
func expectations(t *testing.T) func(s subject, typ pkcs11.AttributeType) string {
	table := map[string]string{}
	class := ""
	for line := range strings.SplitSeq(expected, "\n") {
		if !strings.HasPrefix(line, "  ") {
			class = strings.TrimSpace(line)
			continue
		}
		f := strings.Fields(line)
		for i := 0; i+2 < len(f)+1 && i < len(f); i += 3 {
			typ, ok := pkcs11.ParseAttributeType(f[i])
			if !ok || len(f[i+2]) != 6 {
				t.Fatalf("%q is no attribute with six letters", f[i:i+3])
			}
			for k := range strings.SplitSeq(f[i+1], ",") {
				table[class+"/"+k+"/"+typ.String()] = f[i+2]
			}
		}
	}
	return func(s subject, typ pkcs11.AttributeType) string {
		for _, k := range []string{s.keyType, "*"} {
			if letters := table[s.class+"/"+k+"/"+typ.String()]; letters != "" {
				return letters
			}
		}
		return "xxxxxx"
	}
}

// allTypes are all attributes that the vocabulary has, and one it has not.
func allTypes() (list []pkcs11.AttributeType) {
	for _, space := range [][2]pkcs11.AttributeType{{0, 0x700}, {0x40000000, 0x40000700}, {0x80000001, 0x80000002}} {
		for typ := space[0]; typ < space[1]; typ++ {
			if !strings.HasPrefix(typ.String(), "CKA_0x") || typ == 0x80000001 {
				list = append(list, typ)
			}
		}
	}
	return list
}

func TestEveryAttributeInEveryOperation(t *testing.T) {
	expect := expectations(t)
	types := allTypes()
	if len(types) < 90 {
		t.Fatalf("only %d attributes found", len(types))
	}
	n := 0
	for _, s := range subjects() {
		object := s.object(t)
		for _, typ := range types {
			letters := expect(s, typ)
			for op, name := range []string{"create", "generate", "unwrap", "derive"} {
				base := s.base(op)
				if letters[op] == '-' || s.class == "profile" || op > 0 && s.mechanism == 0 || op > 1 && s.unwrap == nil || op == 3 && s.class != "secret" {
					continue
				}
				for _, v := range s.values(t, typ) {
					n++
					t.Run(fmt.Sprintf("%s %s: %s with %v %v", s.keyType, s.class, name, typ, v == true), func(t *testing.T) {
						template := with(base, attr(typ, v))
						got, err := s.make(rules.User, op, template)
						wantCode(t, err, map[byte]pkcs11.Error{'M': 0, 'o': 0, 'R': pkcs11.CKR_ATTRIBUTE_READ_ONLY, 'x': pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, 'S': onlySO(v)}[letters[op]])
						if err == nil && typ != pkcs11.CKA_EC_POINT {
							wantValues(t, got, attr(typ, v))
						}
						if err != nil && !strings.Contains(err.Error(), typ.String()) {
							t.Errorf("error %q does not name the attribute", err)
						}
						if letters[op] == 'S' && op == 0 {
							_, err := s.make(rules.SO, op, template)
							wantCode(t, err, 0)
						}
					})
				}
				t.Run(fmt.Sprintf("%s %s: %s without %v", s.keyType, s.class, name, typ), func(t *testing.T) {
					_, err := s.make(rules.User, op, without(base, typ))
					want := pkcs11.Error(0)
					if letters[op] == 'M' {
						want = pkcs11.CKR_TEMPLATE_INCOMPLETE
					}
					wantCode(t, err, want)
					if err != nil && !strings.Contains(err.Error(), typ.String()) {
						t.Errorf("error %q does not name the attribute", err)
					}
				})
			}
			for i, name := range []string{"set", "copy"} {
				letter := letters[4+i]
				for _, v := range s.values(t, typ) {
					for _, old := range s.olds(object, typ) {
						n++
						t.Run(fmt.Sprintf("%s %s: %s %v to %v", s.keyType, s.class, name, typ, v == true), func(t *testing.T) {
							change := pkcs11.Template{attr(typ, v)}
							was, _ := old.Get(typ)
							want := pkcs11.Error(0)
							switch letter {
							case 'x':
								want = pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
							case 'R', 'S':
								want = pkcs11.CKR_ATTRIBUTE_READ_ONLY
							case 'u':
								if was.Bool() && v == false {
									want = pkcs11.CKR_ATTRIBUTE_READ_ONLY
								}
							case 'd':
								if !was.Bool() && v == true {
									want = pkcs11.CKR_ATTRIBUTE_READ_ONLY
								}
							}
							if old.Has(pkcs11.CKA_MODIFIABLE) && !old.Bool(pkcs11.CKA_MODIFIABLE) && i == 0 ||
								old.Has(pkcs11.CKA_COPYABLE) && !old.Bool(pkcs11.CKA_COPYABLE) && i == 1 ||
								s.class == "certificate" && old.Bool(pkcs11.CKA_TRUSTED) && i == 0 {
								want = pkcs11.CKR_ACTION_PROHIBITED
							}
							if i == 0 {
								changed, err := rules.Set(old, change)
								wantCode(t, err, want)
								if err == nil && was.Equal(change[0]) != (len(changed) == 0) {
									t.Errorf("changing %v to %v gives %v", was, change, changed)
								}
								if letter == 'S' {
									_, err := rules.SO.Set(old, change)
									wantCode(t, err, 0)
								}
								return
							}
							copied, err := rules.Copy(old, change)
							wantCode(t, err, want)
							if err == nil {
								wantValues(t, copied, change...)
								wantValues(t, copied, without(old, typ, pkcs11.CKA_TRUSTED, pkcs11.CKA_UNIQUE_ID)...)
							}
						})
					}
				}
			}
		}
	}
	t.Logf("%d cases", n)
}

// onlySO is what a user gets for CKA_TRUSTED.
func onlySO(v any) pkcs11.Error {
	if v == true {
		return pkcs11.CKR_ATTRIBUTE_READ_ONLY
	}
	return 0
}

// olds are objects to change an attribute of: as it is, and for flags with both
// values.
func (s subject) olds(object pkcs11.Template, typ pkcs11.AttributeType) []pkcs11.Template {
	if typ.Kind() != pkcs11.KindBool || !object.Has(typ) {
		return []pkcs11.Template{object}
	}
	return []pkcs11.Template{with(object, attr(typ, false)), with(object, attr(typ, true))}
}
