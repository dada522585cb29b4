package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// find searches as the tests of FreeRTOS do: by label and class, in this order,
// for one object. 0 is none.
func (t *T) find(s cryptoki.Session, label string, class pkcs11.ObjectClass) pkcs11.ObjectHandle {
	t.ok(s.FindObjectsInit(t.ctx, pkcs11.Template{attr(pkcs11.CKA_LABEL, label), attr(pkcs11.CKA_CLASS, class)}))
	var h [1]pkcs11.ObjectHandle
	n, err := s.FindObjects(t.ctx, h[:])
	t.ok(err)
	t.ok(s.FindObjectsFinal(t.ctx))
	if n == 0 {
		return 0
	}
	t.check(n == 1 && h[0] != 0, "FindObjects found %d objects in a slice of 1, the first %d", n, h[0])
	return h[0]
}

// mustFind is find for what has to be there.
func (t *T) mustFind(s cryptoki.Session, label string, class pkcs11.ObjectClass) pkcs11.ObjectHandle {
	h := t.find(s, label, class)
	t.check(h != 0, "%v %q is not found", class, label)
	return h
}

// all returns all objects that match.
func (t *T) all(s cryptoki.Session, template ...pkcs11.Attribute) []pkcs11.ObjectHandle {
	found, err := findAll(t.ctx, s, template)
	t.ok(err)
	return found
}

// create creates an object, which must be possible.
func (t *T) create(s cryptoki.Session, template pkcs11.Template) pkcs11.ObjectHandle {
	h, err := s.CreateObject(t.ctx, template)
	t.ok(err)
	t.check(h != 0, "CreateObject returned handle 0")
	if label := template.Text(pkcs11.CKA_LABEL); label != "" {
		t.e.remember(label)
	}
	return h
}

// get reads one attribute, which must be possible.
func (t *T) get(s cryptoki.Session, h pkcs11.ObjectHandle, typ pkcs11.AttributeType) pkcs11.Attribute {
	a := pkcs11.Template{attr(typ, nil)}
	t.ok(s.GetAttributeValue(t.ctx, h, a))
	t.check(a[0].Err() == nil, "%v has the value %v though the call succeeded", typ, a[0].Value)
	c, err := a[0].Canonical()
	t.check(err == nil, "%v has a value of another kind: %v", typ, err)
	return c
}

func (t *T) bytes(s cryptoki.Session, h pkcs11.ObjectHandle, typ pkcs11.AttributeType) []byte {
	return t.get(s, h, typ).Bytes()
}

func (t *T) bool(s cryptoki.Session, h pkcs11.ObjectHandle, typ pkcs11.AttributeType) bool {
	return t.get(s, h, typ).Bool()
}

// hidden checks that an attribute is refused with one of the codes, and that
// nothing comes out beside the code.
func (t *T) hidden(s cryptoki.Session, h pkcs11.ObjectHandle, typ pkcs11.AttributeType, codes ...pkcs11.Error) {
	a := pkcs11.Template{attr(typ, nil)}
	t.want(s.GetAttributeValue(t.ctx, h, a), codes...)
	_, isCode := a[0].Value.(pkcs11.Error)
	t.check(isCode, "%v holds a %T where its reason should be", typ, a[0].Value)
	t.want(a[0].Err(), codes...)
}

// sign signs in one step, after asking for the length.
func (t *T) sign(s cryptoki.Session, m *pkcs11.Mechanism, key pkcs11.ObjectHandle, data []byte) []byte {
	t.ok(s.SignInit(t.ctx, m, key))
	n, err := s.Sign(t.ctx, data, nil)
	t.ok(err)
	sig := make([]byte, n)
	n, err = s.Sign(t.ctx, data, sig)
	t.ok(err)
	t.check(n <= len(sig), "Sign returned %d for a buffer of %d bytes", n, len(sig))
	return sig[:n]
}

// verify verifies in one step and returns what Verify says.
func (t *T) verify(s cryptoki.Session, m *pkcs11.Mechanism, key pkcs11.ObjectHandle, data, sig []byte) error {
	t.ok(s.VerifyInit(t.ctx, m, key))
	return s.Verify(t.ctx, data, sig)
}

// verifyHost checks an ECDSA signature with Go's code: r‖s of the full width,
// of data as the digest.
func (t *T) verifyHost(pub *ecdsa.PublicKey, digest, sig []byte) {
	w := (pub.Params().N.BitLen() + 7) / 8
	t.check(len(sig) == 2*w, "the signature has %d bytes, not 2 × %d", len(sig), w)
	ok := ecdsa.Verify(pub, digest, new(big.Int).SetBytes(sig[:w]), new(big.Int).SetBytes(sig[w:]))
	t.check(ok, "the signature is not one of the public key's over the digest: crypto/ecdsa refuses it")
}

// signHost makes an ECDSA signature with Go's code.
func (t *T) signHost(k *ecdsa.PrivateKey, digest []byte) []byte {
	r, s := must2(ecdsa.Sign(rand.Reader, k, digest))
	w := (k.Params().N.BitLen() + 7) / 8
	sig := make([]byte, 2*w)
	r.FillBytes(sig[:w])
	s.FillBytes(sig[w:])
	return sig
}

func bigInt(b []byte) *big.Int { return new(big.Int).SetBytes(b) }

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

// publicEC reads the public key of an object with CKA_EC_POINT.
func (t *T) publicEC(s cryptoki.Session, h pkcs11.ObjectHandle, curve elliptic.Curve) *ecdsa.PublicKey {
	point := t.bytes(s, h, pkcs11.CKA_EC_POINT)
	header := 2
	if curve == elliptic.P521() {
		header = 3 // a length of 133 takes two bytes
	}
	t.check(len(point) > header && point[0] == 0x04, "CKA_EC_POINT is no DER OCTET STRING: %x", point)
	k, err := ecdsa.ParseUncompressedPublicKey(curve, point[header:])
	t.check(err == nil, "CKA_EC_POINT is no point of the curve: %v", err)
	return k
}

// keyPair is a key pair on the token, and what is known of it.
type keyPair struct {
	label     string
	pub, priv pkcs11.ObjectHandle
	ec        *ecdsa.PublicKey
	rsa       *rsa.PublicKey
}

// newEC makes a P-256 key pair of the case's own: generated if the token can,
// imported if not.
func (t *T) newEC(s cryptoki.Session, label string) keyPair {
	if t.e.profile.Generate {
		return t.generateEC(s, label)
	}
	return t.importEC(s, label, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
}

func (t *T) generateEC(s cryptoki.Session, label string) keyPair {
	public, private := ecGenerateTemplates(label, label)
	public = append(public, attr(pkcs11.CKA_TOKEN, true))
	pub, priv, err := s.GenerateKeyPair(t.ctx, mech(pkcs11.CKM_EC_KEY_PAIR_GEN), public, private)
	t.ok(err)
	t.e.remember(label)
	t.check(pub != 0 && priv != 0 && pub != priv, "GenerateKeyPair returned the handles %d and %d", pub, priv)
	return keyPair{label: label, pub: pub, priv: priv, ec: t.publicEC(s, pub, elliptic.P256())}
}

func (t *T) importEC(s cryptoki.Session, label string, k *ecdsa.PrivateKey) keyPair {
	p := keyPair{label: label, ec: &k.PublicKey}
	p.priv = t.create(s, ecPrivateTemplate(label, k))
	p.pub = t.create(s, ecPublicTemplate(label, &k.PublicKey))
	return p
}

func (t *T) importRSA(s cryptoki.Session, label string, k *rsa.PrivateKey) keyPair {
	p := keyPair{label: label, rsa: &k.PublicKey}
	p.priv = t.create(s, rsaPrivateTemplate(label, k))
	p.pub = t.create(s, rsaPublicTemplate(label, &k.PublicKey))
	return p
}

// sharedEC returns a P-256 key pair that cases use and leave as it is.
func (t *T) sharedEC() keyPair {
	return t.shared("conformance EC", func(t *T, s *session, label string) keyPair {
		// A chip with few slots takes keys in fewer of them still.
		if t.e.profile.Import && !(t.e.profile.Generate && t.e.target.Sequential) {
			return t.importEC(s, label, ecKey)
		}
		return t.generateEC(s, label)
	}, func(t *T, s *session, priv, pub pkcs11.ObjectHandle) keyPair {
		return keyPair{ec: t.publicEC(s, pub, elliptic.P256())}
	})
}

// sharedRSA is sharedEC for RSA-2048: the key of the qualification tests.
func (t *T) sharedRSA() keyPair {
	return t.shared("conformance RSA", func(t *T, s *session, label string) keyPair {
		return t.importRSA(s, label, rsaKey)
	}, func(*T, *session, pkcs11.ObjectHandle, pkcs11.ObjectHandle) keyPair {
		return keyPair{rsa: &rsaKey.PublicKey}
	})
}

// shared returns a key pair that is made once for a module. Its making is not
// among the calls of the case, and it outlives it.
func (t *T) shared(label string, makeIt func(*T, *session, string) keyPair, find func(t *T, s *session, priv, pub pkcs11.ObjectHandle) keyPair) keyPair {
	t.e.keysMu.Lock()
	defer t.e.keysMu.Unlock()
	if p, ok := t.e.keys[label]; ok {
		return p
	}
	maker := &T{ctx: t.ctx, e: t.e, c: t.c, rec: &recorder{}, parent: t, keep: true}
	raw, err := t.module().Module.OpenSession(t.ctx, t.e.slot, rwSession)
	t.ok(err)
	defer raw.Close()
	s := &session{Session: raw, t: maker, name: "shared"}
	maker.login(s)
	// What is there from before a restart, or a logout, is as good; its handles
	// are others.
	priv := maker.all(s, attr(pkcs11.CKA_LABEL, label), attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY))
	pub := maker.all(s, attr(pkcs11.CKA_LABEL, label), attr(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY))
	var p keyPair
	if len(priv) == 1 && len(pub) == 1 {
		p = find(maker, s, priv[0], pub[0])
		p.label, p.priv, p.pub = label, priv[0], pub[0]
	} else {
		for _, h := range append(priv, pub...) {
			destroy(t.ctx, s, h)
		}
		t.e.remember(label)
		p = makeIt(maker, s, label)
	}
	t.e.keys[label] = p
	return p
}

// cancel ends an operation of the session. Before 3.0 there is no call for that, and
// what ends the operation by the way has to do.
func (t *T) cancel(s *session, flags uint64) {
	if t.e.can.cancel {
		t.ok(s.SessionCancel(t.ctx, flags))
		return
	}
	out := make([]byte, 1024)
	switch flags {
	case pkcs11.CKF_FIND_OBJECTS:
		t.ok(s.FindObjectsFinal(t.ctx))
	case pkcs11.CKF_DIGEST:
		_, err := s.DigestFinal(t.ctx, out)
		t.want(err, 0, notStarted) // an error may have ended it
	case pkcs11.CKF_SIGN:
		if _, err := s.SignFinal(t.ctx, out); err != nil {
			s.Sign(t.ctx, ecHash1, out)
		}
	case pkcs11.CKF_VERIFY:
		s.Verify(t.ctx, ecHash1, out[:64])
	case pkcs11.CKF_DECRYPT:
		s.Decrypt(t.ctx, out[:256], out)
	}
}
