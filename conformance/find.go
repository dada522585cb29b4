package conformance

import (
	"slices"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func findCases() []Case {
	return suite("find", false,
		Case{ID: "FND-01", Name: "an object is found by its own class only", Clause: "v2.40 §5.7, C_FindObjectsInit",
			Ancestors: []string{"R-21"}, needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				label := t.label("cert")
				h := t.create(s, certTemplate(label, ecCert))
				t.equal("the certificate", t.find(s, label, pkcs11.CKO_CERTIFICATE), h)
				for _, class := range []pkcs11.ObjectClass{pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY, pkcs11.CKO_DATA, 0x7777} {
					t.equal("what is found as "+class.String(), t.find(s, label, class), pkcs11.ObjectHandle(0))
				}
			}},
		Case{ID: "FND-02", Name: "a search hands out each object once, in pieces of any size, and then nothing", Clause: "v2.40 §5.7, C_FindObjects",
			Ancestors: []string{"R-21", "client 20"}, needs: needs(wantsCreate), run: findInPieces},
		Case{ID: "FND-03", Name: "an empty template matches every object", Clause: "v2.40 §5.7, C_FindObjectsInit",
			Ancestors: []string{"R-21", "client 19"}, needs: needs(wantsCreate), run: func(t *T) {
				s := t.session()
				h := t.create(s, certTemplate(t.label("cert"), ecCert))
				for _, template := range []pkcs11.Template{nil, {}} {
					found, err := findAll(t.ctx, s, template)
					t.ok(err)
					t.check(slices.Contains(found, h), "%d objects were found, the case's not among them", len(found))
				}
			}},
		Case{ID: "FND-04", Name: "a search goes on beside other operations, and they beside it", Clause: "v2.40 §5.2, §5.7; decisions §7.1",
			Ancestors: []string{"gap 10", "client 20", "client 34"}, needs: needs(ecSign, sha256Row), run: besideOthers},
		Case{ID: "FND-05", Name: "objects are found by each attribute that clients search by", Clause: "v2.40 §5.7, C_FindObjectsInit",
			Ancestors: []string{"client 21"}, needs: needs(ecSign), run: func(t *T) {
				s := t.session()
				keys := t.newEC(s, t.label("key"))
				id := t.bytes(s, keys.priv, pkcs11.CKA_ID)
				for _, a := range []pkcs11.Attribute{attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_TOKEN, true), attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC), attr(pkcs11.CKA_ID, id),
					attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_EC_PARAMS, p256OID), attr(pkcs11.CKA_SENSITIVE, true)} {
					found := t.all(s, a)
					t.check(slices.Contains(found, keys.priv), "%v does not find the private key", a)
					t.check(a.Type == pkcs11.CKA_TOKEN || a.Type == pkcs11.CKA_KEY_TYPE || a.Type == pkcs11.CKA_ID || a.Type == pkcs11.CKA_EC_PARAMS || !slices.Contains(found, keys.pub),
						"%v finds the public key", a)
				}
				t.equal("what all of them find", t.all(s, attr(pkcs11.CKA_LABEL, keys.label), attr(pkcs11.CKA_ID, id), attr(pkcs11.CKA_SIGN, true), attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)),
					[]pkcs11.ObjectHandle{keys.priv})
				t.equal("objects found when one of them is wrong", len(t.all(s, attr(pkcs11.CKA_LABEL, keys.label), attr(pkcs11.CKA_ID, append(id, 0)))), 0)
				t.equal("objects found by another curve", len(t.all(s, attr(pkcs11.CKA_LABEL, keys.label), attr(pkcs11.CKA_EC_PARAMS, p384OID))), 0)
			}},
		Case{ID: "FND-06", Name: "an attribute that no object has finds nothing, and is no error", Clause: "v2.40 §5.7, C_FindObjectsInit",
			Ancestors: []string{"client 19"}, run: func(t *T) {
				s := t.session()
				t.equal("objects with an unknown attribute", len(t.all(s, attr(0x80007777, []byte("x")))), 0)
				t.equal("objects of an unknown class", len(t.all(s, attr(pkcs11.CKA_CLASS, 0x7777))), 0)
			}},
		Case{ID: "FND-07", Name: "a secret cannot be guessed by searching for it", Clause: "v2.40 §5.7; §4.9, CKA_SENSITIVE",
			Ancestors: []string{"gap 5"}, needs: needs(wantsEC, wantsImport), run: func(t *T) {
				s := t.session()
				keys := t.importEC(s, t.label("key"), ecKey)
				found := t.all(s, attr(pkcs11.CKA_LABEL, keys.label), attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), attr(pkcs11.CKA_VALUE, must(ecKey.Bytes())))
				t.equal("objects found by the private value", len(found), 0)
			}},
		Case{ID: "FND-08", Name: "objects that come and go do not upset a search", Clause: "v2.40 §5.7, C_FindObjects",
			Ancestors: []string{"client 20"}, needs: needs(wantsCreate, wantsDestroy), run: func(t *T) {
				s := t.session()
				label := t.label("cert")
				var made []pkcs11.ObjectHandle
				for range 6 {
					made = append(made, t.create(s, certTemplate(label, ecCert)))
				}
				t.ok(s.FindObjectsInit(t.ctx, pkcs11.Template{attr(pkcs11.CKA_LABEL, label)}))
				h := make([]pkcs11.ObjectHandle, 2)
				n, err := s.FindObjects(t.ctx, h)
				t.ok(err)
				t.equal("objects in the first piece", n, 2)
				for _, d := range made {
					t.ok(s.DestroyObject(t.ctx, d))
				}
				t.create(s, certTemplate(label, ecCert))
				seen := n
				for range 10 {
					n, err = s.FindObjects(t.ctx, h)
					t.ok(err)
					seen += n
					if n == 0 {
						break
					}
				}
				t.check(n == 0 && seen <= 7, "the search found %d objects of the 7 that ever were", seen)
				t.ok(s.FindObjectsFinal(t.ctx))
			}},
		Case{ID: "FND-09", Name: "sessions search at the same time without each other", Clause: "v2.40 §5.7",
			Ancestors: []string{"client 20"}, needs: needs(wantsCreate), run: func(t *T) {
				a, b := t.session(), t.session()
				label := t.label("cert")
				h := t.create(a, certTemplate(label, ecCert))
				template := pkcs11.Template{attr(pkcs11.CKA_LABEL, label)}
				t.ok(a.FindObjectsInit(t.ctx, template))
				t.ok(b.FindObjectsInit(t.ctx, template))
				var found [1]pkcs11.ObjectHandle
				for _, s := range []*session{a, b} {
					n, err := s.FindObjects(t.ctx, found[:])
					t.ok(err)
					t.check(n == 1 && found[0] == h, "found %d objects, the first %d", n, found[0])
				}
				t.ok(a.FindObjectsFinal(t.ctx))
				n, err := b.FindObjects(t.ctx, found[:])
				t.ok(err)
				t.equal("objects after the last", n, 0)
				t.ok(b.FindObjectsFinal(t.ctx))
			}},
	)
}

func findInPieces(t *T) {
	s := t.session()
	label := t.label("cert")
	var made []pkcs11.ObjectHandle
	for range 7 {
		made = append(made, t.create(s, certTemplate(label, ecCert)))
	}
	slices.Sort(made)
	for _, size := range []int{1, 2, 3, 7, 64, 8192} {
		t.ok(s.FindObjectsInit(t.ctx, pkcs11.Template{attr(pkcs11.CKA_LABEL, label)}))
		var found []pkcs11.ObjectHandle
		buf := make([]pkcs11.ObjectHandle, size)
		for {
			n, err := s.FindObjects(t.ctx, buf)
			t.ok(err)
			if n == 0 {
				break
			}
			t.check(n <= size, "FindObjects returned %d for a slice of %d", n, size)
			found = append(found, buf[:n]...)
			t.check(len(found) <= len(made), "the search does not end: %d objects of %d", len(found), len(made))
		}
		for range 2 {
			n, err := s.FindObjects(t.ctx, buf)
			t.ok(err)
			t.equal("objects after the last", n, 0)
		}
		t.ok(s.FindObjectsFinal(t.ctx))
		slices.Sort(found)
		t.equal("the objects found", found, made)
	}
}

func besideOthers(t *T) {
	s, keys := t.session(), t.sharedEC()
	t.ok(s.SignInit(t.ctx, mech(pkcs11.CKM_ECDSA), keys.priv))
	t.ok(s.DigestInit(t.ctx, sha256Mech))
	t.ok(s.FindObjectsInit(t.ctx, pkcs11.Template{attr(pkcs11.CKA_LABEL, keys.label), attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}))
	t.ok(s.DigestUpdate(t.ctx, shaMessage))
	var h [1]pkcs11.ObjectHandle
	n, err := s.FindObjects(t.ctx, h[:])
	t.ok(err)
	t.check(n == 1 && h[0] == keys.priv, "found %d objects, the first %d", n, h[0])
	sig := make([]byte, 64)
	n, err = s.Sign(t.ctx, ecHash1, sig)
	t.ok(err)
	t.verifyHost(keys.ec, ecHash1, sig[:n])
	n, err = s.FindObjects(t.ctx, h[:])
	t.ok(err)
	t.equal("objects after the last", n, 0)
	t.ok(s.FindObjectsFinal(t.ctx))
	digest := make([]byte, 32)
	_, err = s.DigestFinal(t.ctx, digest)
	t.ok(err)
	t.equal("the digest", digest, shaDigest)
}
