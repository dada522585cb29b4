package conformance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	sensitive = pkcs11.CKR_ATTRIBUTE_SENSITIVE
	readOnly  = pkcs11.CKR_ATTRIBUTE_READ_ONLY
)

// rsaSecrets are the attributes of an RSA private key that nobody may read.
var rsaSecrets = []pkcs11.AttributeType{pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
	pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT}

func attributeCases() []Case {
	return suite("attribute", false,
		Case{ID: "ATT-01", Name: "no private component of an RSA key is shown", Clause: "v2.40 §4.9, CKA_SENSITIVE; mechanisms §2.1.3",
			Ancestors: []string{"R-02", "gap 5"}, needs: needs(wantsRSA, wantsImport), run: func(t *T) {
				s, priv := t.session(), t.sharedRSA().priv
				for _, typ := range rsaSecrets {
					t.hidden(s, priv, typ, sensitive)
				}
				t.hidden(s, priv, pkcs11.CKA_VALUE, sensitive, badType)
				t.equal("CKA_MODULUS of the private key", t.bytes(s, priv, pkcs11.CKA_MODULUS), rsaKey.N.Bytes())
				t.equal("CKA_PUBLIC_EXPONENT of the private key", t.bytes(s, priv, pkcs11.CKA_PUBLIC_EXPONENT), []byte{1, 0, 1})
			}},
		Case{ID: "ATT-02", Name: "one refused attribute does not hide the others, nor they it", Clause: "v2.40 §5.7, C_GetAttributeValue",
			Ancestors: []string{"R-33", "R-26", "gap 5", "client 30"}, needs: needs(wantsKeys), run: manyAttributes},
		Case{ID: "ATT-03", Name: "nothing that a public key shows has the private key in it", Clause: "v2.40 §4.8; decisions §7.4",
			Ancestors: []string{"R-03", "gap 4"}, needs: needs(wantsEC, wantsImport), run: publicIsPublic},
		Case{ID: "ATT-04", Name: "an RSA public key is read back as it was written, its numbers without leading zeros", Clause: "v2.40 mechanisms §2.1.2",
			Ancestors: []string{"R-36", "client 28", "client rule R4"}, needs: needs(wantsRSA, wantsCreate), run: func(t *T) {
				s := t.session()
				template := rsaPublicTemplate(t.label("key"), &rsaKey.PublicKey)
				h := t.create(s, template.Set(attr(pkcs11.CKA_MODULUS, append([]byte{0}, rsaKey.N.Bytes()...))))
				t.equal("CKA_MODULUS", t.bytes(s, h, pkcs11.CKA_MODULUS), rsaKey.N.Bytes())
				t.equal("CKA_PUBLIC_EXPONENT", t.bytes(s, h, pkcs11.CKA_PUBLIC_EXPONENT), []byte{1, 0, 1})
				t.equal("CKA_MODULUS_BITS", t.get(s, h, pkcs11.CKA_MODULUS_BITS).Uint(), uint64(2048))
			}},
		Case{ID: "ATT-05", Name: "the truth values that clients ask for are all there", Clause: "v2.40 §4.4, §4.8, §4.9; c-abi §2.10 R7",
			Ancestors: []string{"client 31", "client rule R6", "client rule R7"}, needs: needs(ecSign), run: truthValues},
		Case{ID: "ATT-06", Name: "a private key is sensitive, private and not extractable unless somebody says otherwise", Clause: "v2.40 §4.9; c-abi §6",
			Ancestors: []string{"R-28", "client 25"}, needs: needs(wantsKeys, wantsEC), run: func(t *T) {
				s := t.session()
				keys := t.newEC(s, t.label("key"))
				for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_PRIVATE, pkcs11.CKA_SIGN, pkcs11.CKA_TOKEN} {
					t.equal(typ.String()+" of the private key", t.bool(s, keys.priv, typ), typ != pkcs11.CKA_EXTRACTABLE)
				}
				t.equal("CKA_PRIVATE of the public key", t.bool(s, keys.pub, pkcs11.CKA_PRIVATE), false)
			}},
		Case{ID: "ATT-07", Name: "both keys of a pair have the same ID, and it is not empty", Clause: "c-abi §2.10 R1, R2",
			Ancestors: []string{"client 22", "client rule R1", "client rule R2"}, needs: needs(ecGen), run: func(t *T) {
				s := t.session()
				keys := t.generateEC(s, t.label("key"))
				id := t.bytes(s, keys.priv, pkcs11.CKA_ID)
				t.check(len(id) > 0, "CKA_ID is empty")
				t.equal("CKA_ID of the public key", t.bytes(s, keys.pub, pkcs11.CKA_ID), id)
				other := t.generateEC(s, t.label("other"))
				t.check(!bytes.Equal(id, t.bytes(s, other.priv, pkcs11.CKA_ID)), "two key pairs have the ID %x", id)
			}},
		Case{ID: "ATT-08", Name: "an imported pair and its certificate find each other by ID", Clause: "c-abi §2.10 R1, R2",
			Ancestors: []string{"client 22", "client rule R1", "client rule R2"}, needs: needs(wantsEC, wantsImport), run: func(t *T) {
				s := t.session()
				keys := t.importEC(s, t.label("key"), ecKey)
				cert := t.create(s, certTemplate(t.label("key"), ecCert))
				id := t.bytes(s, keys.priv, pkcs11.CKA_ID)
				t.check(len(id) > 0, "CKA_ID is empty")
				t.equal("CKA_ID of the public key", t.bytes(s, keys.pub, pkcs11.CKA_ID), id)
				t.equal("CKA_ID of the certificate", t.bytes(s, cert, pkcs11.CKA_ID), id)
			}},
		Case{ID: "ATT-09", Name: "the history of a key is the token's to tell", Clause: "v2.40 §4.9, CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE",
			Ancestors: []string{"client 26"}, needs: needs(wantsEC, wantsKeys), run: keyHistory},
		Case{ID: "ATT-10", Name: "attributes that the token computes are not for callers to give", Clause: "v2.40 §4.1.1, CKR_ATTRIBUTE_READ_ONLY",
			Ancestors: []string{"client 23", "client 26"}, needs: needs(wantsEC, wantsImport), run: func(t *T) {
				s := t.session()
				for _, a := range []pkcs11.Attribute{attr(pkcs11.CKA_LOCAL, true), attr(pkcs11.CKA_ALWAYS_SENSITIVE, true), attr(pkcs11.CKA_NEVER_EXTRACTABLE, true),
					attr(pkcs11.CKA_KEY_GEN_MECHANISM, pkcs11.CKM_EC_KEY_PAIR_GEN)} {
					t.refuse(s, a.String(), append(ecPrivateTemplate(t.label("refused"), ecKey), a), readOnly, inconsistent)
				}
			}},
		Case{ID: "ATT-11", Name: "values of another kind are refused", Clause: "v2.40 §4.1.1, CKR_ATTRIBUTE_VALUE_INVALID",
			Ancestors: []string{"client 23", "client 44"}, needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				for _, a := range []pkcs11.Attribute{attr(pkcs11.CKA_TOKEN, []byte{1}), attr(pkcs11.CKA_TOKEN, nil), attr(pkcs11.CKA_TOKEN, 1),
					attr(pkcs11.CKA_CERTIFICATE_TYPE, "X.509"), attr(pkcs11.CKA_LABEL, 7), attr(pkcs11.CKA_VALUE, true), attr(pkcs11.CKA_ID, 1.5)} {
					t.refuse(s, a.String(), certTemplate(t.label("refused"), ecCert).Set(a), badValue)
				}
			}},
		Case{ID: "ATT-12", Name: "what is not an attribute of the object is a type that is invalid", Clause: "v2.40 §5.7, CKR_ATTRIBUTE_TYPE_INVALID",
			Ancestors: []string{"client 19", "client 32"}, needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				h := t.create(s, certTemplate(t.label("cert"), ecCert))
				for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_MODULUS, pkcs11.CKA_EC_POINT, pkcs11.CKA_SIGN, pkcs11.CKA_PRIVATE_EXPONENT, 0x7777, 0x80000001} {
					t.hidden(s, h, typ, badType)
				}
				t.refuse(s, "an unknown attribute", append(certTemplate(t.label("refused"), ecCert), attr(0x7777, []byte("x"))), badType)
				t.refuse(s, "an attribute of keys", append(certTemplate(t.label("refused"), ecCert), attr(pkcs11.CKA_SIGN, true)), badType, inconsistent)
			}},
		Case{ID: "ATT-13", Name: "what is read is a copy", Clause: "package cryptoki, Session.GetAttributeValue",
			Ancestors: []string{"client 44"}, needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				der := bytes.Clone(ecCert)
				h := t.create(s, certTemplate(t.label("cert"), der))
				clear(der) // the template was not kept
				value := t.bytes(s, h, pkcs11.CKA_VALUE)
				t.equal("the certificate", value, ecCert)
				clear(value)
				t.equal("the certificate, read again", t.bytes(s, h, pkcs11.CKA_VALUE), ecCert)
				twice := pkcs11.Template{attr(pkcs11.CKA_VALUE, nil), attr(pkcs11.CKA_VALUE, nil)}
				t.ok(s.GetAttributeValue(t.ctx, h, twice))
				clear(twice[0].Bytes())
				t.equal("the second of two", twice[1].Bytes(), ecCert)
			}},
		Case{ID: "ATT-14", Name: "a certificate tells its issuer, its serial number and its subject", Clause: "v2.40 §4.6.3; c-abi §6",
			Ancestors: []string{"client 29", "client 21"}, needs: needs(wantsCreate), run: certificateAttributes},
		Case{ID: "ATT-15", Name: "an unrestricted key has no list of mechanisms, a restricted one keeps to it", Clause: "v2.40 §4.7, CKA_ALLOWED_MECHANISMS",
			Ancestors: []string{"client 32"}, needs: needs(ecSign, wantsImport), run: func(t *T) {
				s := t.session()
				t.hidden(s, t.sharedEC().priv, pkcs11.CKA_ALLOWED_MECHANISMS, badType)
				template := append(ecPrivateTemplate(t.label("key"), ecKey), attr(pkcs11.CKA_ALLOWED_MECHANISMS, []pkcs11.MechanismType{pkcs11.CKM_ECDSA_SHA256}))
				h := t.create(s, template)
				t.want(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA), h), badMech, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
				if t.e.has(pkcs11.CKM_ECDSA_SHA256, pkcs11.CKF_SIGN, 256) {
					t.ok(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA_SHA256), h))
				}
			}},
		Case{ID: "ATT-16", Name: "the public key info of both keys is the public key", Clause: "v2.40 §4.8, §4.9, CKA_PUBLIC_KEY_INFO",
			Ancestors: []string{"client rule R3", "R-10"}, needs: needs(ecSign), run: func(t *T) {
				s, keys := t.session(), t.sharedEC()
				want := must(x509.MarshalPKIXPublicKey(keys.ec))
				t.equal("CKA_PUBLIC_KEY_INFO of the public key", t.bytes(s, keys.pub, pkcs11.CKA_PUBLIC_KEY_INFO), want)
				t.equal("CKA_PUBLIC_KEY_INFO of the private key", t.bytes(s, keys.priv, pkcs11.CKA_PUBLIC_KEY_INFO), want)
			}},
		Case{ID: "ATT-17", Name: "sensitive and not extractable are ways without return", Clause: "v2.40 §4.9, CKA_SENSITIVE, CKA_EXTRACTABLE",
			Ancestors: []string{"client 26"}, needs: needs(wantsEC, wantsKeys, wantsUpdate), run: func(t *T) {
				s := t.session()
				keys := t.newEC(s, t.label("key"))
				one := func(a pkcs11.Attribute) pkcs11.Template { return pkcs11.Template{a} }
				for _, a := range []pkcs11.Attribute{attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true), attr(pkcs11.CKA_LOCAL, true),
					attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA), attr(pkcs11.CKA_TOKEN, false), attr(pkcs11.CKA_PRIVATE, false),
					attr(pkcs11.CKA_EC_PARAMS, p384OID), attr(pkcs11.CKA_VALUE, make([]byte, 32))} {
					t.step(a.String(), func() {
						t.want(s.SetAttributeValue(t.ctx, keys.priv, one(a)), readOnly, inconsistent)
						// All or none: a good one beside it is not taken either.
						t.want(s.SetAttributeValue(t.ctx, keys.priv, pkcs11.Template{attr(pkcs11.CKA_LABEL, "changed"), a}), readOnly, inconsistent)
						t.equal("CKA_LABEL", t.get(s, keys.priv, pkcs11.CKA_LABEL).Text(), keys.label)
					})
				}
				t.hidden(s, keys.priv, pkcs11.CKA_VALUE, sensitive)
			}},
		Case{ID: "ATT-18", Name: "a key that is extractable and not sensitive shows its value", Clause: "v2.40 §4.9, CKA_SENSITIVE",
			needs: needs(wantsEC, wantsImport, wantsExport), run: func(t *T) {
				s := t.session()
				template := append(ecPrivateTemplate(t.label("key"), ecKey), attr(pkcs11.CKA_SENSITIVE, false), attr(pkcs11.CKA_EXTRACTABLE, true))
				h := t.create(s, template)
				t.check(bytes.Equal(t.bytes(s, h, pkcs11.CKA_VALUE), must(ecKey.Bytes())), "CKA_VALUE is not the value that was imported")
				if t.e.can.update {
					t.ok(s.SetAttributeValue(t.ctx, h, pkcs11.Template{attr(pkcs11.CKA_SENSITIVE, true)}))
					t.hidden(s, h, pkcs11.CKA_VALUE, sensitive)
				}
			}},
		Case{ID: "ATT-19", Name: "every object has a unique ID of its own, which stays", Clause: "v3.0 §4.4, CKA_UNIQUE_ID", serial: true,
			needs: needs(wantsCreate, wantsDriver), run: func(t *T) {
				s := t.session()
				a, b := t.create(s, certTemplate(t.label("a"), ecCert)), t.create(s, certTemplate(t.label("b"), ecCert))
				ida, idb := t.get(s, a, pkcs11.CKA_UNIQUE_ID).Text(), t.get(s, b, pkcs11.CKA_UNIQUE_ID).Text()
				t.check(ida != "" && ida != idb, "the unique IDs are %q and %q", ida, idb)
				t.reopen()
				s = t.session()
				found := t.all(s, attr(pkcs11.CKA_UNIQUE_ID, ida))
				t.equal("objects with the unique ID after a restart", len(found), 1)
				t.equal("its label", t.get(s, found[0], pkcs11.CKA_LABEL).Text(), t.label("a"))
			}},
	)
}

// wantsExport is for keys whose values can be shown.
var wantsExport = ability("private keys that can be shown", "the token keeps private keys to itself (no CKA_EXTRACTABLE)", func(e *env) bool { return e.can.export })

func manyAttributes(t *T) {
	s := t.session()
	var priv pkcs11.ObjectHandle
	secret, known, bytesOf := pkcs11.CKA_VALUE, pkcs11.CKA_EC_PARAMS, p256OID
	if t.e.profile.RSA && t.e.profile.Import {
		priv, secret, known, bytesOf = t.sharedRSA().priv, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_MODULUS, rsaKey.N.Bytes()
	} else {
		priv = t.sharedEC().priv
	}
	for _, order := range [][]pkcs11.AttributeType{
		{secret, known}, {known, secret}, {pkcs11.CKA_LABEL, pkcs11.CKA_CLASS, secret}, {secret, pkcs11.CKA_LABEL, known},
		{secret, secret, known}, {0x7777, known, secret}, {secret, known, 0x7777}, {known, 0x7777},
	} {
		asked := pkcs11.Template{}
		for _, typ := range order {
			asked = append(asked, attr(typ, nil))
		}
		t.step(asked.String(), func() {
			err := s.GetAttributeValue(t.ctx, priv, asked)
			var reasons []pkcs11.Error
			for _, a := range asked {
				switch a.Type {
				case secret:
					t.equal("what stands for the secret", a.Value, any(sensitive))
					reasons = append(reasons, sensitive)
				case 0x7777:
					t.equal("what stands for the unknown attribute", a.Value, any(badType))
					reasons = append(reasons, badType)
				case known:
					t.equal(known.String(), a.Bytes(), bytesOf)
				case pkcs11.CKA_CLASS:
					t.equal("CKA_CLASS", pkcs11.ObjectClass(a.Uint()), pkcs11.CKO_PRIVATE_KEY)
				case pkcs11.CKA_LABEL:
					t.check(a.Text() != "", "CKA_LABEL is %v", a.Value)
				}
			}
			t.want(err, reasons...)
		})
	}
}

// publicIsPublic reads all that the public key shows and looks for the private
// key in it.
func publicIsPublic(t *T) {
	s := t.session()
	k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	keys := t.importEC(s, t.label("key"), k)
	d := must(k.Bytes())
	for _, h := range []pkcs11.ObjectHandle{keys.pub, keys.priv} {
		for typ := pkcs11.AttributeType(0); typ < 0x700; typ++ {
			a := pkcs11.Template{attr(typ, nil)}
			if s.Session.GetAttributeValue(t.ctx, h, a) != nil {
				continue
			}
			var v []byte
			switch w := a[0].Value.(type) {
			case []byte:
				v = w
			case string:
				v = []byte(w)
			}
			t.check(!bytes.Contains(v, d), "%v of object %d contains the private key", typ, h)
		}
	}
	t.equal("CKA_EC_POINT", t.bytes(s, keys.pub, pkcs11.CKA_EC_POINT), wrappedPoint(&k.PublicKey))
}

func truthValues(t *T) {
	s, keys := t.session(), t.sharedEC()
	common := []pkcs11.AttributeType{pkcs11.CKA_TOKEN, pkcs11.CKA_PRIVATE, pkcs11.CKA_MODIFIABLE, pkcs11.CKA_COPYABLE, pkcs11.CKA_DESTROYABLE, pkcs11.CKA_LOCAL, pkcs11.CKA_DERIVE}
	private := slices.Concat(common, []pkcs11.AttributeType{pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_NEVER_EXTRACTABLE,
		pkcs11.CKA_SIGN, pkcs11.CKA_DECRYPT, pkcs11.CKA_UNWRAP, pkcs11.CKA_SIGN_RECOVER, pkcs11.CKA_ALWAYS_AUTHENTICATE, pkcs11.CKA_WRAP_WITH_TRUSTED})
	public := slices.Concat(common, []pkcs11.AttributeType{pkcs11.CKA_ENCRYPT, pkcs11.CKA_VERIFY, pkcs11.CKA_VERIFY_RECOVER, pkcs11.CKA_WRAP, pkcs11.CKA_TRUSTED})
	for _, c := range []struct {
		h     pkcs11.ObjectHandle
		types []pkcs11.AttributeType
	}{{keys.priv, private}, {keys.pub, public}} {
		for _, typ := range c.types {
			_, isBool := t.get(s, c.h, typ).Value.(bool)
			t.check(isBool, "%v of object %d is no truth value", typ, c.h)
		}
	}
	t.equal("CKA_ALWAYS_AUTHENTICATE", t.bool(s, keys.priv, pkcs11.CKA_ALWAYS_AUTHENTICATE), false)
	t.equal("CKA_TRUSTED", t.bool(s, keys.pub, pkcs11.CKA_TRUSTED), false)
	if t.e.profile.Import {
		// Harmless uses are taken and told, whether a mechanism has them or not.
		template := append(ecPublicTemplate(t.label("key"), &ecKey.PublicKey), attr(pkcs11.CKA_ENCRYPT, true), attr(pkcs11.CKA_WRAP, true), attr(pkcs11.CKA_DERIVE, true))
		h := t.create(s, template)
		t.equal("CKA_WRAP", t.bool(s, h, pkcs11.CKA_WRAP), true)
		h = t.create(s, append(ecPrivateTemplate(t.label("key"), ecKey), attr(pkcs11.CKA_DERIVE, true), attr(pkcs11.CKA_UNWRAP, true)))
		t.equal("CKA_DERIVE", t.bool(s, h, pkcs11.CKA_DERIVE), true)
	}
}

func keyHistory(t *T) {
	s := t.session()
	story := func(h pkcs11.ObjectHandle, local, always, never bool) {
		t.equal("CKA_LOCAL", t.bool(s, h, pkcs11.CKA_LOCAL), local)
		t.equal("CKA_ALWAYS_SENSITIVE", t.bool(s, h, pkcs11.CKA_ALWAYS_SENSITIVE), always)
		t.equal("CKA_NEVER_EXTRACTABLE", t.bool(s, h, pkcs11.CKA_NEVER_EXTRACTABLE), never)
	}
	if t.e.profile.Generate {
		t.step("a generated key", func() {
			keys := t.generateEC(s, t.label("generated"))
			story(keys.priv, true, true, true)
			t.equal("CKA_LOCAL of the public key", t.bool(s, keys.pub, pkcs11.CKA_LOCAL), true)
			t.equal("CKA_KEY_GEN_MECHANISM", pkcs11.MechanismType(t.get(s, keys.priv, pkcs11.CKA_KEY_GEN_MECHANISM).Uint()), pkcs11.CKM_EC_KEY_PAIR_GEN)
		})
	}
	if t.e.profile.Import {
		t.step("an imported key", func() {
			keys := t.importEC(s, t.label("imported"), ecKey)
			story(keys.priv, false, false, false)
			t.equal("CKA_LOCAL of the public key", t.bool(s, keys.pub, pkcs11.CKA_LOCAL), false)
			t.equal("CKA_KEY_GEN_MECHANISM", t.get(s, keys.priv, pkcs11.CKA_KEY_GEN_MECHANISM).Uint(), pkcs11.Unavailable)
		})
	}
}

func certificateAttributes(t *T) {
	s := t.session()
	cert := must(x509.ParseCertificate(ecCert))
	serial := must(asn1.Marshal(cert.SerialNumber))
	template := certTemplate(t.label("cert"), ecCert).Set(attr(pkcs11.CKA_SUBJECT, cert.RawSubject))
	h := t.create(s, template)
	t.equal("CKA_SUBJECT", t.bytes(s, h, pkcs11.CKA_SUBJECT), cert.RawSubject)
	t.equal("CKA_ISSUER", t.bytes(s, h, pkcs11.CKA_ISSUER), cert.RawIssuer)
	t.equal("CKA_SERIAL_NUMBER", t.bytes(s, h, pkcs11.CKA_SERIAL_NUMBER), serial)
	t.equal("CKA_TRUSTED", t.bool(s, h, pkcs11.CKA_TRUSTED), false)
	t.equal("CKA_CERTIFICATE_TYPE", pkcs11.CertificateType(t.get(s, h, pkcs11.CKA_CERTIFICATE_TYPE).Uint()), pkcs11.CKC_X_509)
	t.get(s, h, pkcs11.CKA_CERTIFICATE_CATEGORY)
	found := t.all(s, attr(pkcs11.CKA_ISSUER, cert.RawIssuer), attr(pkcs11.CKA_SERIAL_NUMBER, serial), attr(pkcs11.CKA_LABEL, t.label("cert")))
	t.equal("objects found by issuer and serial number", len(found), 1)
	// The subject of FreeRTOS' templates is not DER, and stays what was given.
	h = t.create(s, certTemplate(t.label("dummy"), ecCert))
	t.equal("CKA_SUBJECT that was given", string(t.bytes(s, h, pkcs11.CKA_SUBJECT)), "TestSubject")
}
