package conformance

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	badObject    = pkcs11.CKR_OBJECT_HANDLE_INVALID
	badKey       = pkcs11.CKR_KEY_HANDLE_INVALID
	incomplete   = pkcs11.CKR_TEMPLATE_INCOMPLETE
	inconsistent = pkcs11.CKR_TEMPLATE_INCONSISTENT
	badValue     = pkcs11.CKR_ATTRIBUTE_VALUE_INVALID
	badType      = pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
)

func objectCases() []Case {
	return suite("object", false,
		Case{ID: "OBJ-01", Name: "handles are never used twice", Clause: "v2.40 §5.7; decisions §7.1",
			Ancestors: []string{"R-08", "gap 8", "client 17"}, needs: needs(wantsCreate, wantsDestroy), run: func(t *T) {
				s := t.session()
				seen := map[pkcs11.ObjectHandle]bool{}
				for range 50 {
					h := t.create(s, certTemplate(t.label("cert"), ecCert))
					t.check(!seen[h], "handle %d was given to an object before", h)
					seen[h] = true
					t.ok(s.DestroyObject(t.ctx, h))
				}
			}},
		Case{ID: "OBJ-02", Name: "a destroyed object is gone for every function", Clause: "v2.40 §5.7, C_DestroyObject",
			Ancestors: []string{"R-44", "client 17"}, needs: needs(wantsCreate, wantsDestroy), run: func(t *T) {
				s := t.session()
				label := t.label("cert")
				h := t.create(s, certTemplate(label, ecCert))
				t.ok(s.DestroyObject(t.ctx, h))
				t.want(s.DestroyObject(t.ctx, h), badObject)
				t.want(s.GetAttributeValue(t.ctx, h, classOnly()), badObject)
				t.want(s.SetAttributeValue(t.ctx, h, pkcs11.Template{attr(pkcs11.CKA_LABEL, "x")}), badObject, pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
				_, err := s.GetObjectSize(t.ctx, h)
				t.want(err, badObject, pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
				_, err = s.CopyObject(t.ctx, h, nil)
				t.want(err, badObject, pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
				t.want(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA), h), badKey, badMech)
				t.equal("objects with the label", len(t.all(s, attr(pkcs11.CKA_LABEL, label))), 0)
			}},
		Case{ID: "OBJ-03", Name: "objects are there after a restart, with the attributes they had", Clause: "v2.40 §4.4, CKA_TOKEN", serial: true,
			Ancestors: []string{"gap 17"}, needs: needs(wantsCreate, ecSign), run: persistence},
		Case{ID: "OBJ-04", Name: "twenty objects are there at once", Clause: "v2.40 §5.7, C_CreateObject",
			Ancestors: []string{"R-22", "gap 14"}, needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				handles := map[pkcs11.ObjectHandle]string{}
				for i := range 20 {
					label := t.label(fmt.Sprintf("cert %d", i))
					handles[t.create(s, certTemplate(label, ecCert))] = label
				}
				t.equal("handles given", len(handles), 20)
				for h, label := range handles {
					t.equal("the label", t.get(s, h, pkcs11.CKA_LABEL).Text(), label)
					t.check(t.find(s, label, pkcs11.CKO_CERTIFICATE) == h, "the label does not find it")
				}
			}},
		Case{ID: "OBJ-05", Name: "a label may have any length, and is compared whole", Clause: "v2.40 §4.4, CKA_LABEL",
			Ancestors: []string{"R-21", "R-23", "R-43", "gap 13"}, needs: needs(wantsCreate), run: labelLengths},
		Case{ID: "OBJ-06", Name: "an object without a part it needs is refused, and leaves nothing", Clause: "v2.40 §5.7, CKR_TEMPLATE_INCOMPLETE",
			Ancestors: []string{"R-12", "R-26", "R-37", "gap 15", "client 29"}, needs: needs(wantsCreate), run: incompleteObjects},
		Case{ID: "OBJ-07", Name: "key material that cannot be is refused, and leaves nothing", Clause: "v2.40 §5.7, CKR_ATTRIBUTE_VALUE_INVALID; legacy tests",
			Ancestors: []string{"R-11", "R-26", "legacy malformed import", "gap 16"}, needs: needs(wantsCreate), run: malformedObjects},
		Case{ID: "OBJ-08", Name: "key generation names the fault of a template, and leaves nothing", Clause: "v2.40 §5.13, C_GenerateKeyPair; §4.1.1",
			Ancestors: []string{"R-05", "R-11", "gap 16", "client 23", "client 24"}, needs: needs(ecGen), run: faultyGeneration},
		Case{ID: "OBJ-09", Name: "a key takes the place of one of another type under a well-known label", Clause: "package cryptoki, labels", serial: true,
			Ancestors: []string{"R-04", "gap 6"}, needs: needs(wantsFresh, wantsImport, wantsRSA, wantsEC, wantsPlaces), run: otherTypeInPlace},
		Case{ID: "OBJ-10", Name: "a key that takes the place of another has nothing of it left", Clause: "package cryptoki, labels", serial: true,
			Ancestors: []string{"R-10", "gap 7"}, needs: needs(wantsFresh, wantsImport, ecSign, wantsPlaces), run: nothingLeftInPlace},
		Case{ID: "OBJ-11", Name: "there is one object in a place, and as many as one likes under other labels", Clause: "package cryptoki, labels; v2.40 §4.4", serial: true,
			Ancestors: []string{"FIT PKCS11_EC_CreateObject"}, needs: needs(wantsFresh, wantsCreate, wantsPlaces), run: func(t *T) {
				s := t.session()
				t.destroyCredentials(s)
				for range 3 {
					t.create(s, certTemplate(t.e.labels.Cert, ecCert))
					t.create(s, certTemplate(t.label("cert"), ecCert))
				}
				t.equal("certificates in the place", len(t.all(s, attr(pkcs11.CKA_LABEL, t.e.labels.Cert))), 1)
				t.equal("certificates under another label", len(t.all(s, attr(pkcs11.CKA_LABEL, t.label("cert")))), 3)
			}},
		Case{ID: "OBJ-12", Name: "a key pair generated in the places survives a restart, its public key too", Clause: "package cryptoki, labels; porting guide, provisioning", serial: true,
			Ancestors: []string{"FIT PKCS11_EC_GenerateKeyPair"}, needs: needs(wantsFresh, ecGen, ecSign, wantsPlaces), run: func(t *T) {
				s, l := t.session(), t.e.labels
				t.destroyCredentials(s)
				public, private := ecGenerateTemplates(l.PublicKey, l.PrivateKey)
				public = append(public, attr(pkcs11.CKA_TOKEN, true))
				for range 2 { // the second pair takes the places of the first
					_, _, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), public, private)
					t.ok(err)
				}
				t.reopen()
				s = t.session()
				t.equal("private keys", len(t.all(s, attr(pkcs11.CKA_LABEL, l.PrivateKey))), 1)
				t.equal("public keys", len(t.all(s, attr(pkcs11.CKA_LABEL, l.PublicKey))), 1)
				pub := t.publicEC(s, t.mustFind(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY), elliptic.P256())
				t.verifyHost(pub, ecHash1, t.sign(s, mech(pkcs11.CKM_ECDSA), t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY), ecHash1))
			}},
		Case{ID: "OBJ-13", Name: "certificates of the root, for JITP and for code verification come back as they went", Clause: "porting guide, storage places", serial: true,
			Ancestors: []string{"gap 25", "fleet provisioning claim"}, needs: needs(wantsJITP, wantsFresh, wantsCreate, wantsPlaces), run: sixPlaces},
		Case{ID: "OBJ-14", Name: "a data object keeps its value", Clause: "v2.40 §4.5",
			needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				h := t.create(s, pkcs11.Template{attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_LABEL, t.label("data")),
					attr(pkcs11.CKA_APPLICATION, "conformance"), attr(pkcs11.CKA_VALUE, shaMessage)})
				t.equal("CKA_VALUE", t.bytes(s, h, pkcs11.CKA_VALUE), shaMessage)
				t.equal("CKA_APPLICATION", t.get(s, h, pkcs11.CKA_APPLICATION).Text(), "conformance")
			}},
		Case{ID: "OBJ-15", Name: "label and ID of an object can be changed, and are found under the new ones only", Clause: "v2.40 §5.7, C_SetAttributeValue",
			Ancestors: []string{"client 22"}, needs: needs(wantsCreate, wantsUpdate), run: func(t *T) {
				s := t.session()
				before, after, id := t.label("before"), t.label("after"), []byte("conformance id 1")
				h := t.create(s, certTemplate(before, ecCert))
				t.ok(s.SetAttributeValue(t.ctx, h, pkcs11.Template{attr(pkcs11.CKA_LABEL, after), attr(pkcs11.CKA_ID, id)}))
				t.equal("CKA_LABEL", t.get(s, h, pkcs11.CKA_LABEL).Text(), after)
				t.equal("CKA_ID", t.bytes(s, h, pkcs11.CKA_ID), id)
				t.equal("objects under the old label", len(t.all(s, attr(pkcs11.CKA_LABEL, before))), 0)
				t.equal("the object under the new label", t.find(s, after, pkcs11.CKO_CERTIFICATE), h)
				t.equal("objects under the new ID", len(t.all(s, attr(pkcs11.CKA_ID, id))), 1)
			}},
		Case{ID: "OBJ-16", Name: "an object that may not be changed, copied or destroyed is not", Clause: "v2.40 §4.4, CKA_MODIFIABLE, CKA_COPYABLE, CKA_DESTROYABLE",
			Ancestors: []string{"client 27"}, needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				// Session objects: nothing else would get rid of one that cannot
				// be destroyed.
				template := certTemplate(t.label("cert"), ecCert).Set(attr(pkcs11.CKA_TOKEN, false))
				template = append(template, attr(pkcs11.CKA_MODIFIABLE, false), attr(pkcs11.CKA_COPYABLE, false), attr(pkcs11.CKA_DESTROYABLE, false))
				h := t.create(s, template)
				t.want(s.SetAttributeValue(t.ctx, h, pkcs11.Template{attr(pkcs11.CKA_LABEL, "x")}), pkcs11.CKR_ACTION_PROHIBITED)
				_, err := s.CopyObject(t.ctx, h, nil)
				t.want(err, pkcs11.CKR_ACTION_PROHIBITED)
				t.want(s.DestroyObject(t.ctx, h), pkcs11.CKR_ACTION_PROHIBITED)
				t.equal("the certificate", t.bytes(s, h, pkcs11.CKA_VALUE), ecCert)
			}},
		Case{ID: "OBJ-17", Name: "a copy has the attributes of the original, but for those that were given", Clause: "v2.40 §5.7, C_CopyObject",
			Ancestors: []string{"client 27"}, needs: needs(wantsCreate, wantsCopy), run: func(t *T) {
				s := t.session()
				h := t.create(s, certTemplate(t.label("cert"), ecCert))
				c, err := s.CopyObject(t.ctx, h, pkcs11.Template{attr(pkcs11.CKA_LABEL, t.label("copy"))})
				t.ok(err)
				t.check(c != h && c != 0, "the handle of the copy is %d, that of the original %d", c, h)
				t.equal("CKA_VALUE of the copy", t.bytes(s, c, pkcs11.CKA_VALUE), ecCert)
				t.equal("CKA_LABEL of the copy", t.get(s, c, pkcs11.CKA_LABEL).Text(), t.label("copy"))
				t.equal("CKA_LABEL of the original", t.get(s, h, pkcs11.CKA_LABEL).Text(), t.label("cert"))
				_, err = s.CopyObject(t.ctx, h, pkcs11.Template{attr(pkcs11.CKA_VALUE, rsaCert)})
				t.check(err != nil, "a copy got another CKA_VALUE")
				t.coded(err)
			}},
		Case{ID: "OBJ-18", Name: "threads create, find and destroy objects at the same time", Clause: "v2.40 §6.6 of the base; decisions §7.5",
			Ancestors: []string{"R-31", "gap 22", "client 43"}, needs: needs(wantsCreate, wantsDestroy), run: loads(func(t *T, l Load) {
				t.threads(l.Threads, func(t *T, i int) {
					s := t.session()
					label := t.label(fmt.Sprintf("thread %d", i))
					for range l.Loops {
						h := t.create(s, certTemplate(label, ecCert))
						t.check(t.find(s, label, pkcs11.CKO_CERTIFICATE) == h, "the label does not find it")
						t.equal("the certificate", t.bytes(s, h, pkcs11.CKA_VALUE), ecCert)
						t.ok(s.DestroyObject(t.ctx, h))
						t.equal("what is found after it was destroyed", t.find(s, label, pkcs11.CKO_CERTIFICATE), pkcs11.ObjectHandle(0))
					}
					t.ok(s.Close())
				})
			})},
		Case{ID: "OBJ-19", Name: "the size of an object is a number, or unknown", Clause: "v2.40 §5.7, C_GetObjectSize",
			needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				n, err := s.GetObjectSize(t.ctx, t.create(s, certTemplate(t.label("cert"), ecCert)))
				t.ok(err)
				t.check(n == pkcs11.Unavailable || n >= uint64(len(ecCert)) && n < 1<<20, "a certificate of %d bytes takes %d", len(ecCert), n)
			}},
		Case{ID: "OBJ-20", Name: "handles of a module before mean nothing to the next", Clause: "v2.40 §5.7; decisions §7.1", serial: true,
			Ancestors: []string{"gap 8"}, needs: needs(wantsCreate, wantsDestroy), run: func(t *T) {
				s := t.session()
				label := t.label("cert")
				h := t.create(s, certTemplate(label, ecCert))
				t.ok(s.DestroyObject(t.ctx, h))
				t.reopen()
				s = t.session()
				t.equal("objects with the label", len(t.all(s, attr(pkcs11.CKA_LABEL, label))), 0)
				a := pkcs11.Template{attr(pkcs11.CKA_LABEL, nil)}
				if err := s.GetAttributeValue(t.ctx, h, a); err == nil {
					t.check(a[0].Text() != label, "the handle of an object that was destroyed shows it again")
				} else {
					t.want(err, badObject)
				}
			}},
	)
}

func persistence(t *T) {
	s := t.session()
	label, id := t.label("things"), []byte("conformance id 2")
	keys := t.newEC(s, label)
	t.create(s, append(certTemplate(label, ecCert), attr(pkcs11.CKA_ID, id)))
	all := pkcs11.Template{}
	for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_ID, pkcs11.CKA_LABEL, pkcs11.CKA_KEY_TYPE, pkcs11.CKA_EC_PARAMS, pkcs11.CKA_SIGN, pkcs11.CKA_PRIVATE,
		pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_LOCAL, pkcs11.CKA_TOKEN} {
		all = append(all, attr(typ, nil))
	}
	before, after := all.Clone(), all.Clone()
	t.ok(s.GetAttributeValue(t.ctx, keys.priv, before))
	t.reopen()
	s = t.session()
	priv := t.mustFind(s, label, pkcs11.CKO_PRIVATE_KEY)
	t.ok(s.GetAttributeValue(t.ctx, priv, after))
	t.check(before.Equal(after), "the private key's attributes are %v after a restart, %v before", after, before)
	t.verifyHost(keys.ec, ecHash1, t.sign(s, mech(pkcs11.CKM_ECDSA), priv, ecHash1))
	pub := t.publicEC(s, t.mustFind(s, label, pkcs11.CKO_PUBLIC_KEY), elliptic.P256())
	t.check(pub.Equal(keys.ec), "the public key is another after a restart")
	cert := t.mustFind(s, label, pkcs11.CKO_CERTIFICATE)
	t.equal("the certificate", t.bytes(s, cert, pkcs11.CKA_VALUE), ecCert)
	t.equal("its CKA_ID", t.bytes(s, cert, pkcs11.CKA_ID), id)
	if t.e.can.destroy {
		t.ok(s.DestroyObject(t.ctx, cert))
		t.reopen()
		s = t.session()
		t.check(t.find(s, label, pkcs11.CKO_CERTIFICATE) == 0, "the certificate is there again after a restart")
		// Nothing else destroys what was made before a restart, and slots are few.
		t.ok(s.DestroyObject(t.ctx, t.mustFind(s, label, pkcs11.CKO_PRIVATE_KEY)))
		t.ok(s.DestroyObject(t.ctx, t.mustFind(s, label, pkcs11.CKO_PUBLIC_KEY)))
	}
}

func labelLengths(t *T) {
	s := t.session()
	base := t.label("L")
	for _, c := range []struct{ what, label string }{
		{"of 32 bytes", (base + strings.Repeat("-", 32))[:32]},
		{"of 33 bytes", (base + strings.Repeat("=", 33))[:33]},
		{"of 255 bytes", (base + strings.Repeat("+", 255))[:255]},
		{"with a NUL inside", base + "\x00inside"},
		{"outside of ASCII", base + " Schlüssel 钥匙"},
		{"with blanks around", " " + base + " "},
	} {
		t.step("a label "+c.what, func() {
			h := t.create(s, certTemplate(c.label, ecCert))
			t.equal("CKA_LABEL", t.get(s, h, pkcs11.CKA_LABEL).Text(), c.label)
			t.check(t.find(s, c.label, pkcs11.CKO_CERTIFICATE) == h, "it does not find the object")
			prefix := c.label[:len(c.label)-1]
			t.equal("objects found by all of it but the last byte", len(t.all(s, attr(pkcs11.CKA_LABEL, prefix))), 0)
			t.equal("objects found by more than it", len(t.all(s, attr(pkcs11.CKA_LABEL, c.label+"x"))), 0)
		})
	}
	t.step("no label", func() {
		template := certTemplate("", ecCert)
		id := []byte(t.label("without"))
		h := t.create(s, append(template, attr(pkcs11.CKA_ID, id)))
		t.equal("CKA_LABEL", t.get(s, h, pkcs11.CKA_LABEL).Text(), "")
		t.equal("objects found by the ID", len(t.all(s, attr(pkcs11.CKA_ID, id))), 1)
	})
	t.step("a trailing NUL", func() { // as the OTA agent counts, §4.5
		label := t.label("nul")
		h := t.create(s, certTemplate(label, ecCert))
		t.check(t.find(s, label+"\x00", pkcs11.CKO_CERTIFICATE) == h, "the label and a NUL do not find it")
		t.check(t.find(s, label+"\x00\x00", pkcs11.CKO_CERTIFICATE) == 0, "two NULs are one too many")
	})
}

// without returns the template less the attributes.
func without(template pkcs11.Template, types ...pkcs11.AttributeType) pkcs11.Template {
	var out pkcs11.Template
next:
	for _, a := range template {
		for _, t := range types {
			if a.Type == t {
				continue next
			}
		}
		out = append(out, a)
	}
	return out
}

// refuse checks that nothing is created, with one of the codes.
func (t *T) refuse(s cryptoki.Session, what string, template pkcs11.Template, codes ...pkcs11.Error) {
	t.step(what, func() {
		before := len(t.all(s, attr(pkcs11.CKA_LABEL, t.label("refused"))))
		_, err := s.CreateObject(t.ctx, template)
		t.want(err, codes...)
		t.equal("objects that were left", len(t.all(s, attr(pkcs11.CKA_LABEL, t.label("refused"))))-before, 0)
	})
}

func incompleteObjects(t *T) {
	s := t.session()
	label := t.label("refused")
	cert, pub, priv := certTemplate(label, ecCert), ecPublicTemplate(label, &ecKey.PublicKey), ecPrivateTemplate(label, ecKey)
	rpub, rpriv := rsaPublicTemplate(label, &rsaKey.PublicKey), rsaPrivateTemplate(label, rsaKey)
	t.refuse(s, "nothing", nil, incomplete, badArgs)
	t.refuse(s, "no class", without(cert, pkcs11.CKA_CLASS), incomplete)
	t.refuse(s, "an unknown class", without(cert, pkcs11.CKA_CLASS).Set(attr(pkcs11.CKA_CLASS, 0x7777)), badValue, inconsistent)
	t.refuse(s, "a certificate without its value", without(cert, pkcs11.CKA_VALUE), incomplete)
	t.refuse(s, "a certificate of no bytes", certTemplate(label, []byte{}), badValue, incomplete)
	t.refuse(s, "a certificate without its type", without(cert, pkcs11.CKA_CERTIFICATE_TYPE), incomplete)
	t.refuse(s, "a certificate of an unknown type", certTemplate(label, ecCert).Set(attr(pkcs11.CKA_CERTIFICATE_TYPE, 0x7777)), badValue, inconsistent)
	if t.e.profile.EC {
		t.refuse(s, "an EC public key without its key type", without(pub, pkcs11.CKA_KEY_TYPE), incomplete)
		t.refuse(s, "an EC public key without its point", without(pub, pkcs11.CKA_EC_POINT), incomplete)
		t.refuse(s, "an EC public key without its curve", without(pub, pkcs11.CKA_EC_PARAMS), incomplete)
	}
	if t.e.profile.EC && t.e.profile.Import {
		t.refuse(s, "an EC private key without its key type", without(priv, pkcs11.CKA_KEY_TYPE), incomplete)
		t.refuse(s, "an EC private key without its value", without(priv, pkcs11.CKA_VALUE), incomplete)
		t.refuse(s, "an EC private key without its curve", without(priv, pkcs11.CKA_EC_PARAMS), incomplete)
	}
	if t.e.profile.RSA {
		t.refuse(s, "an RSA public key without its modulus", without(rpub, pkcs11.CKA_MODULUS), incomplete)
		t.refuse(s, "an RSA public key without its exponent", without(rpub, pkcs11.CKA_PUBLIC_EXPONENT), incomplete)
	}
	if t.e.profile.RSA && t.e.profile.Import {
		t.refuse(s, "an RSA private key without its modulus", without(rpriv, pkcs11.CKA_MODULUS), incomplete)
		t.refuse(s, "an RSA private key without its exponent", without(rpriv, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2), incomplete)
	}
}

func malformedObjects(t *T) {
	s := t.session()
	label := t.label("refused")
	flip := func(b []byte, i int) []byte {
		c := bytes.Clone(b)
		c[i] ^= 1
		return c
	}
	t.refuse(s, "a certificate that is none", certTemplate(label, []byte("-----BEGIN CERTIFICATE-----")), badValue)
	t.refuse(s, "a certificate that was cut", certTemplate(label, ecCert[:600]), badValue)
	if t.e.profile.EC {
		point := func(p []byte) pkcs11.Template {
			return ecPublicTemplate(label, &ecKey.PublicKey).Set(attr(pkcs11.CKA_EC_POINT, p))
		}
		t.refuse(s, "a point off the curve", point(flip(ecPoint, 66)), badValue)
		t.refuse(s, "a point of one byte", point([]byte{4}), badValue)
		t.refuse(s, "a point cut short", point(ecPoint[:66]), badValue)
		t.refuse(s, "the point at infinity", point([]byte{4, 1, 0}), badValue)
		for _, oid := range [][]byte{{}, {6}, {6, 8}, p256OID[:9], append(bytes.Clone(p256OID), 0), flip(p256OID, 9), p384OID, []byte("garbage"),
			unhex("06052b8104000a") /* secp256k1 */} {
			t.refuse(s, fmt.Sprintf("a P-256 point on the curve %x", oid), ecPublicTemplate(label, &ecKey.PublicKey).Set(attr(pkcs11.CKA_EC_PARAMS, oid)),
				badValue, inconsistent, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_DOMAIN_PARAMS_INVALID)
		}
	}
	if t.e.profile.EC && t.e.profile.Import {
		value := func(d []byte) pkcs11.Template {
			return ecPrivateTemplate(label, ecKey).Set(attr(pkcs11.CKA_VALUE, d))
		}
		t.refuse(s, "the private key 0", value(make([]byte, 32)), badValue)
		t.refuse(s, "a private key of the order", value(elliptic.P256().Params().N.Bytes()), badValue)
		t.refuse(s, "a private key above the order", value(bytes.Repeat([]byte{0xff}, 32)), badValue)
		t.refuse(s, "a private key of 33 bytes", value(append(bytes.Repeat([]byte{1}, 32), 1)), badValue)
		t.refuse(s, "a private key of no bytes", value([]byte{}), badValue, incomplete)
		for _, oid := range [][]byte{{}, p256OID[:9], append(bytes.Clone(p256OID), 0), flip(p256OID, 9), []byte("garbage")} {
			t.refuse(s, fmt.Sprintf("a private key on the curve %x", oid), ecPrivateTemplate(label, ecKey).Set(attr(pkcs11.CKA_EC_PARAMS, oid)),
				badValue, inconsistent, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_DOMAIN_PARAMS_INVALID)
		}
	}
	if t.e.profile.RSA {
		t.refuse(s, "an even modulus", rsaPublicTemplate(label, &rsaKey.PublicKey).Set(attr(pkcs11.CKA_MODULUS, flip(rsaKey.N.Bytes(), 255))), badValue)
		t.refuse(s, "the public exponent 0", rsaPublicTemplate(label, &rsaKey.PublicKey).Set(attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{0})), badValue)
		t.refuse(s, "a modulus of 40 bits", rsaPublicTemplate(label, &rsaKey.PublicKey).Set(attr(pkcs11.CKA_MODULUS, []byte{0xc1, 2, 3, 4, 5})), badValue, pkcs11.CKR_KEY_SIZE_RANGE)
	}
	if t.e.profile.RSA && t.e.profile.Import {
		for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2} {
			template := rsaPrivateTemplate(label, rsaKey)
			b := template.Bytes(typ)
			t.refuse(s, fmt.Sprintf("an RSA key whose %v is another's", typ), template.Set(attr(typ, flip(b, len(b)-2))), badValue, inconsistent)
		}
	}
}

func faultyGeneration(t *T) {
	s := t.session()
	label := t.label("refused")
	fault := func(what string, change func(pub, priv pkcs11.Template) (pkcs11.Template, pkcs11.Template), codes ...pkcs11.Error) {
		t.step(what, func() {
			public, private := ecGenerateTemplates(label, label)
			public, private = change(append(public, attr(pkcs11.CKA_TOKEN, true)), private)
			pub, priv, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), public, private)
			t.want(err, codes...)
			t.check(pub == 0 && priv == 0, "handles %d and %d came with the refusal", pub, priv)
			t.equal("objects that were left", len(t.all(s, attr(pkcs11.CKA_LABEL, label))), 0)
		})
	}
	type templates = pkcs11.Template
	inPub := func(a pkcs11.Attribute) func(templates, templates) (templates, templates) {
		return func(pub, priv templates) (templates, templates) { return pub.Set(a), priv }
	}
	inPriv := func(a pkcs11.Attribute) func(templates, templates) (templates, templates) {
		return func(pub, priv templates) (templates, templates) { return pub, priv.Set(a) }
	}
	readOnly := []pkcs11.Error{pkcs11.CKR_ATTRIBUTE_READ_ONLY, inconsistent}
	curve := []pkcs11.Error{badValue, inconsistent, pkcs11.CKR_CURVE_NOT_SUPPORTED, pkcs11.CKR_DOMAIN_PARAMS_INVALID}
	fault("no curve", func(pub, priv templates) (templates, templates) { return without(pub, pkcs11.CKA_EC_PARAMS), priv }, incomplete)
	fault("a key type of RSA for the public key", inPub(attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA)), inconsistent)
	fault("a key type of RSA for the private key", inPriv(attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA)), inconsistent)
	fault("a private class for the public key", inPub(attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)), inconsistent)
	fault("a public class for the private key", inPriv(attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY)), inconsistent)
	fault("an unknown attribute", inPriv(attr(0x7777, []byte("x"))), badType)
	fault("the private value", inPriv(attr(pkcs11.CKA_VALUE, make([]byte, 32))), append(readOnly, badType)...)
	fault("CKA_LOCAL", inPriv(attr(pkcs11.CKA_LOCAL, true)), readOnly...)
	fault("CKA_ALWAYS_SENSITIVE", inPriv(attr(pkcs11.CKA_ALWAYS_SENSITIVE, true)), readOnly...)
	fault("CKA_NEVER_EXTRACTABLE", inPriv(attr(pkcs11.CKA_NEVER_EXTRACTABLE, true)), readOnly...)
	fault("CKA_KEY_GEN_MECHANISM", inPriv(attr(pkcs11.CKA_KEY_GEN_MECHANISM, pkcs11.CKM_EC_KEY_PAIR_GEN)), readOnly...)
	fault("a truth value of another kind", inPriv(attr(pkcs11.CKA_SIGN, []byte{1})), badValue)
	fault("a number of another kind", inPub(attr(pkcs11.CKA_KEY_TYPE, "EC")), badValue)
	fault("no value", inPriv(attr(pkcs11.CKA_SIGN, nil)), badValue)
	for _, oid := range [][]byte{{}, {6}, p256OID[:9], append(bytes.Clone(p256OID), 0), []byte("garbage"), unhex("06052b8104000a"), unhex("06082a8648ce3d030108")} {
		fault(fmt.Sprintf("the curve %x", oid), inPub(attr(pkcs11.CKA_EC_PARAMS, oid)), curve...)
	}
}

// inPlaces imports a pair into the places of the device key.
func (t *T) inPlaces(s cryptoki.Session, priv, pub pkcs11.Template) {
	t.create(s, pub.Set(attr(pkcs11.CKA_LABEL, t.e.labels.PublicKey)))
	t.create(s, priv.Set(attr(pkcs11.CKA_LABEL, t.e.labels.PrivateKey)))
}

func otherTypeInPlace(t *T) {
	s, l := t.session(), t.e.labels
	t.destroyCredentials(s)
	ec := func() { t.inPlaces(s, ecPrivateTemplate("", ecKey), ecPublicTemplate("", &ecKey.PublicKey)) }
	rsa := func() { t.inPlaces(s, rsaPrivateTemplate("", rsaKey), rsaPublicTemplate("", &rsaKey.PublicKey)) }
	isType := func(want pkcs11.KeyType) (pub, priv pkcs11.ObjectHandle) {
		pub, priv = t.mustFind(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY), t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
		for _, h := range []pkcs11.ObjectHandle{pub, priv} {
			t.equal("CKA_KEY_TYPE", pkcs11.KeyType(t.get(s, h, pkcs11.CKA_KEY_TYPE).Uint()), want)
		}
		t.equal("private keys in the place", len(t.all(s, attr(pkcs11.CKA_LABEL, l.PrivateKey))), 1)
		t.equal("public keys in the place", len(t.all(s, attr(pkcs11.CKA_LABEL, l.PublicKey))), 1)
		return pub, priv
	}
	rsa()
	ec()
	pub, priv := isType(pkcs11.CKK_EC)
	t.equal("CKA_EC_POINT", t.bytes(s, pub, pkcs11.CKA_EC_POINT), ecPoint)
	t.hidden(s, pub, pkcs11.CKA_MODULUS, badType)
	if t.e.has(pkcs11.CKM_ECDSA, pkcs11.CKF_SIGN, 256) {
		t.verifyHost(&ecKey.PublicKey, ecHash1, t.sign(s, mech(pkcs11.CKM_ECDSA), priv, ecHash1))
	}
	rsa()
	pub, priv = isType(pkcs11.CKK_RSA)
	t.equal("CKA_MODULUS", t.bytes(s, pub, pkcs11.CKA_MODULUS), rsaKey.N.Bytes())
	t.hidden(s, pub, pkcs11.CKA_EC_POINT, badType)
	if t.e.has(pkcs11.CKM_RSA_PKCS, pkcs11.CKF_SIGN, 2048) {
		t.equal("the signature", t.sign(s, mech(pkcs11.CKM_RSA_PKCS), priv, rsaInput), rsaSignature)
	}
}

func nothingLeftInPlace(t *T) {
	s, l := t.session(), t.e.labels
	t.destroyCredentials(s)
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	if t.e.profile.Generate {
		generateECCredentials(t, s)
	} else {
		t.inPlaces(s, ecPrivateTemplate("", other), ecPublicTemplate("", &other.PublicKey))
	}
	t.create(s, ecPrivateTemplate(l.PrivateKey, ecKey))
	priv := t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY)
	a := pkcs11.Template{attr(pkcs11.CKA_EC_POINT, nil), attr(pkcs11.CKA_PUBLIC_KEY_INFO, nil)}
	s.GetAttributeValue(t.ctx, priv, a) // either may be absent
	if a[0].Err() == nil {
		t.equal("CKA_EC_POINT of the private key", a[0].Bytes(), ecPoint)
	}
	if b := a[1].Bytes(); a[1].Err() == nil && len(b) > 0 {
		t.check(bytes.HasSuffix(b, ecPoint[2:]), "CKA_PUBLIC_KEY_INFO of the private key is another key's")
	}
	t.verifyHost(&ecKey.PublicKey, ecHash1, t.sign(s, mech(pkcs11.CKM_ECDSA), priv, ecHash1))
	t.create(s, ecPublicTemplate(l.PublicKey, &other.PublicKey))
	t.check(t.publicEC(s, t.mustFind(s, l.PublicKey, pkcs11.CKO_PUBLIC_KEY), elliptic.P256()).Equal(&other.PublicKey), "the public key is not the one that was imported last")
	t.verifyHost(&ecKey.PublicKey, ecHash1, t.sign(s, mech(pkcs11.CKM_ECDSA), t.mustFind(s, l.PrivateKey, pkcs11.CKO_PRIVATE_KEY), ecHash1))
}

func sixPlaces(t *T) {
	s := t.session()
	t.destroyCredentials(s)
	certs := map[string][]byte{cryptoki.DeviceCert: ecCert, cryptoki.RootCert: rsaCert, cryptoki.JITPCert: ecCert, cryptoki.ClaimCert: rsaCert, cryptoki.CodeVerifyKey: ecCert}
	for label, der := range certs {
		t.create(s, certTemplate(label, der))
	}
	if t.e.profile.EC {
		t.create(s, ecPublicTemplate(cryptoki.CodeVerifyKey, &ecKey.PublicKey))
	}
	t.reopen()
	s = t.session()
	for label, der := range certs {
		t.equal("the certificate "+label, t.bytes(s, t.mustFind(s, label, pkcs11.CKO_CERTIFICATE), pkcs11.CKA_VALUE), der)
	}
	if t.e.profile.EC {
		t.equal("the code verification key", t.bytes(s, t.mustFind(s, cryptoki.CodeVerifyKey, pkcs11.CKO_PUBLIC_KEY), pkcs11.CKA_EC_POINT), ecPoint)
	}
}
