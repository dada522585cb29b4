package cryptoki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Setup says how a token is initialized.
type Setup struct {
	Label   string // of the token, 1 to 32 bytes
	SOPIN   []byte // the security officer's PIN: of a token that is initialized already, the one it has
	UserPIN []byte // the user's PIN; nil leaves the token without one
	// Erase is needed for a token that is initialized already: everything on it
	// is destroyed.
	Erase bool
}

// String does not show the PINs.
func (s Setup) String() string { return fmt.Sprintf("setup of token %q", s.Label) }

// Format prints what String returns, whatever the verb.
func (s Setup) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), s.String())
}

// MarshalText returns what String returns, to those who log in JSON.
func (s Setup) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Initialize makes the token new and empty, and sets the PINs. It waits until
// every session of the Token is given back. The PINs are not kept; the caller
// wipes them.
//
// A power cut may come between the two steps of it. The token is then
// initialized and has no user PIN; Initialize with the same label and SO PIN
// then sets the user PIN, and nothing is erased.
func (t *Token) Initialize(ctx context.Context, s Setup) error {
	const subject = "initialize token"
	if s.Label == "" || len(s.Label) > 32 {
		return fail(subject, fmt.Errorf("%w: a token label has 1 to 32 bytes, not %d", pkcs11.CKR_ARGUMENTS_BAD, len(s.Label)), "")
	}
	info, err := t.m.TokenInfo(ctx, t.slot)
	if err != nil {
		return fail(subject, err, "")
	}
	resume := false
	if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 && !s.Erase {
		resume = info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED == 0 && s.UserPIN != nil && info.Label == s.Label
		if !resume {
			return fail(subject, fmt.Errorf("%w: token %q is initialized already", pkcs11.CKR_ACTION_PROHIBITED, info.Label),
				"set Setup.Erase to destroy everything on it")
		}
	}
	// A user PIN that the token will not take is found out before anything is erased.
	if n := uint64(len(s.UserPIN)); s.UserPIN != nil && outOfRange(n, info.MinPinLen, info.MaxPinLen) {
		return fail(subject, fmt.Errorf("%w: the user PIN of this token has %d to %d bytes, not %d", pkcs11.CKR_PIN_LEN_RANGE, info.MinPinLen, info.MaxPinLen, n), "")
	}
	if err := t.pool.drain(ctx); err != nil {
		return fail(subject, err, "")
	}
	defer t.pool.fill()
	t.forgetRefusal()
	if !resume {
		if err := t.m.InitToken(ctx, t.slot, s.SOPIN, s.Label); err != nil {
			cure := ""
			if errors.Is(err, pkcs11.CKR_SESSION_EXISTS) {
				cure = "close the sessions that others have with the token"
			}
			return fail(subject, err, cure)
		}
	}
	if s.UserPIN == nil {
		return nil
	}
	err = t.asSO(ctx, s.SOPIN, func(session Session) error {
		return session.InitPIN(ctx, s.UserPIN)
	})
	if err != nil && !resume {
		cure := "do the same again without erasing, to set it"
		if errors.Is(err, pkcs11.CKR_FUNCTION_NOT_SUPPORTED) {
			cure = "" // it never has one
		}
		return fail(subject, fmt.Errorf("it is new and empty now, and has no user PIN: %w", err), cure)
	}
	return fail(subject, err, "")
}

// outOfRange reports whether a PIN of n bytes is not what a token takes. A token
// that knows no longest one says 0.
func outOfRange(n, least, most uint64) bool { return n < least || most != 0 && n > most }

// asSO runs f in a session with the SO logged in; the pool is drained.
func (t *Token) asSO(ctx context.Context, pin []byte, f func(Session) error) error {
	s, err := t.m.OpenSession(ctx, t.slot, flagsFor(true))
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Login(ctx, pkcs11.CKU_SO, pin); err != nil {
		return err
	}
	err = f(s)
	return errors.Join(err, s.Logout(context.WithoutCancel(ctx)))
}

// ChangePIN changes the PIN of the user (CKU_USER) or of the security officer
// (CKU_SO). old is tried once. For the SO it waits until every session of the
// Token is given back, and volatile keys are gone afterwards. The PINs are not
// kept; the caller wipes them.
func (t *Token) ChangePIN(ctx context.Context, user pkcs11.UserType, old, new []byte) error {
	switch user {
	case pkcs11.CKU_USER:
		c, err := t.conn(ctx, true, false)
		if err == nil {
			err = c.SetPIN(ctx, old, new)
			t.done(ctx, c, err)
		}
		if err != nil {
			return fail("change the user's PIN", err, "")
		}
		t.forgetRefusal()
		return nil
	case pkcs11.CKU_SO:
		if err := t.pool.drain(ctx); err != nil {
			return fail("change the SO's PIN", err, "")
		}
		defer t.pool.fill()
		return fail("change the SO's PIN", t.asSO(ctx, old, func(s Session) error { return s.SetPIN(ctx, old, new) }), "")
	}
	return fail("change PIN", fmt.Errorf("%w: %v has no PIN of its own", pkcs11.CKR_USER_TYPE_INVALID, user), "")
}

// forgetRefusal allows a PIN that was refused again: it may be right now.
func (t *Token) forgetRefusal() {
	t.turn <- struct{}{}
	t.forget()
	<-t.turn
}

// An Algorithm is a kind of key pair.
type Algorithm string

// The algorithms that GenerateKey knows. Which of them a token has, its
// mechanisms tell.
const (
	P256    Algorithm = "P-256"
	P384    Algorithm = "P-384"
	P521    Algorithm = "P-521"
	Ed25519 Algorithm = "Ed25519"
	RSA2048 Algorithm = "RSA-2048"
	RSA3072 Algorithm = "RSA-3072"
	RSA4096 Algorithm = "RSA-4096"
)

// Algorithms returns all of them.
func Algorithms() []Algorithm {
	return []Algorithm{P256, P384, P521, Ed25519, RSA2048, RSA3072, RSA4096}
}

// ParseAlgorithm returns the algorithm of that name, written in any case, with
// or without the hyphen: P-256, p256, rsa-2048, RSA2048, ed25519.
func ParseAlgorithm(s string) (Algorithm, error) {
	fold := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "-", "")) }
	var names []string
	for _, a := range Algorithms() {
		if fold(s) == fold(string(a)) {
			return a, nil
		}
		names = append(names, string(a))
	}
	return "", fmt.Errorf("cryptoki: algorithm %q is unknown; there are %s", s, strings.Join(names, ", "))
}

// KeySpec says what key pair is wanted. The zero value of all but Label and
// Algorithm is the default: a key that signs, and never leaves the token.
type KeySpec struct {
	Label       string // of the private key
	PublicLabel string // of the public key; Label if empty
	// ID is the CKA_ID of both; nil for one that is made of the public key.
	ID          []byte
	Algorithm   Algorithm
	Decrypt     bool // the private key may decrypt too (RSA)
	Derive      bool // the private key may derive too (EC)
	Extractable bool // the private key may leave the token wrapped under another
	// Volatile asks for a pair that is not stored: it is gone when the Token is
	// closed, or logged out.
	Volatile bool
}

// GenerateKey generates a key pair on the token and returns its signer.
//
// Under one of the labels that name a place, such as DevicePrivateKey, and
// without an ID, the pair takes the place of an earlier one. Under another label
// that a private key has already, the error wraps fs.ErrExist, unless the two
// have different IDs given.
func (t *Token) GenerateKey(ctx context.Context, spec KeySpec) (*Signer, error) {
	if spec.PublicLabel == "" {
		spec.PublicLabel = spec.Label
	}
	subject := fmt.Sprintf("private key %q", spec.Label)
	m, public, err := spec.Algorithm.mechanism()
	if err != nil {
		return nil, fail(subject, err, "")
	}
	if spec.Label == "" {
		return nil, fail(subject, fmt.Errorf("%w: a key needs a label", pkcs11.CKR_ARGUMENTS_BAD), "")
	}
	rsaKey := m.Type == pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN
	if spec.Decrypt && !rsaKey {
		return nil, fail(subject, fmt.Errorf("%w: only RSA keys decrypt, not %s", pkcs11.CKR_TEMPLATE_INCONSISTENT, spec.Algorithm), "")
	}
	if spec.Derive && (rsaKey || spec.Algorithm == Ed25519) {
		return nil, fail(subject, fmt.Errorf("%w: %s keys derive nothing", pkcs11.CKR_TEMPLATE_INCONSISTENT, spec.Algorithm), "")
	}
	public = append(public,
		pkcs11.Attr(pkcs11.CKA_TOKEN, !spec.Volatile),
		pkcs11.Attr(pkcs11.CKA_PRIVATE, false),
		pkcs11.Attr(pkcs11.CKA_LABEL, spec.PublicLabel),
		pkcs11.Attr(pkcs11.CKA_VERIFY, true))
	private := pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_TOKEN, !spec.Volatile),
		pkcs11.Attr(pkcs11.CKA_PRIVATE, true),
		pkcs11.Attr(pkcs11.CKA_LABEL, spec.Label),
		pkcs11.Attr(pkcs11.CKA_SIGN, true),
		pkcs11.Attr(pkcs11.CKA_SENSITIVE, true),
		pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, spec.Extractable)}
	if spec.Decrypt {
		public = append(public, pkcs11.Attr(pkcs11.CKA_ENCRYPT, true))
		private = append(private, pkcs11.Attr(pkcs11.CKA_DECRYPT, true))
	}
	if spec.Derive {
		private = append(private, pkcs11.Attr(pkcs11.CKA_DERIVE, true))
	}
	if spec.ID != nil {
		public = append(public, pkcs11.Attr(pkcs11.CKA_ID, spec.ID))
		private = append(private, pkcs11.Attr(pkcs11.CKA_ID, spec.ID))
	}

	var k *keyRef
	generate := func(c *conn) error {
		if err := t.vacant(ctx, c, pkcs11.CKO_PRIVATE_KEY, spec.Label, spec.ID); err != nil {
			return err
		}
		hPub, h, err := c.GenerateKeyPair(ctx, &m, public, private)
		if err != nil {
			return err
		}
		c.keep = c.keep || spec.Volatile
		defer func() {
			if k == nil { // half a key pair is of no use to anybody
				c.DestroyObject(context.WithoutCancel(ctx), h)
				c.DestroyObject(context.WithoutCancel(ctx), hPub)
			}
		}()
		o, err := inspect(ctx, c, h, shownAttributes)
		if err != nil {
			return err
		}
		p, err := inspect(ctx, c, hPub, shownAttributes)
		if err != nil {
			return err
		}
		pub, err := keys.PublicKey(p.Attributes)
		if err != nil {
			return err
		}
		for _, half := range []*Object{&p, &o} {
			if err := t.finish(ctx, c, half, nil, pub); err != nil {
				return err
			}
		}
		k, err = t.newKeyRef(ctx, c, o)
		return err
	}
	if err := t.do(ctx, true, generate); err != nil {
		return nil, nameError(pkcs11.CKO_PRIVATE_KEY, spec.Label, err)
	}
	mechs, err := t.mechanismSet(ctx, k)
	if err != nil {
		return nil, fail(subject, err, "")
	}
	return newSigner(k, mechs)
}

// mechanism returns the mechanism that generates such keys, and the attributes
// of the public key that say which: of a curve its OID in DER.
func (a Algorithm) mechanism() (pkcs11.Mechanism, pkcs11.Template, error) {
	curve := func(oid string) pkcs11.Template {
		return pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte(oid))}
	}
	modulus := func(bits uint64) pkcs11.Template {
		return pkcs11.Template{pkcs11.Attr(pkcs11.CKA_MODULUS_BITS, bits), pkcs11.Attr(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})}
	}
	ec := pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}
	rsa := pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN}
	switch a {
	case P256:
		return ec, curve("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"), nil
	case P384:
		return ec, curve("\x06\x05\x2b\x81\x04\x00\x22"), nil
	case P521:
		return ec, curve("\x06\x05\x2b\x81\x04\x00\x23"), nil
	case Ed25519:
		return pkcs11.Mechanism{Type: pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN}, curve("\x06\x03\x2b\x65\x70"), nil
	case RSA2048:
		return rsa, modulus(2048), nil
	case RSA3072:
		return rsa, modulus(3072), nil
	case RSA4096:
		return rsa, modulus(4096), nil
	}
	_, err := ParseAlgorithm(string(a))
	if err == nil {
		err = fmt.Errorf("write %q as ParseAlgorithm returns it", string(a))
	}
	return pkcs11.Mechanism{}, nil, fmt.Errorf("%w: %s", pkcs11.CKR_ARGUMENTS_BAD, trimPrefix(err.Error()))
}

// vacant reports whether an object may be created under that label: always if
// the label names a place, or an ID that is new is given.
func (t *Token) vacant(ctx context.Context, c *conn, class pkcs11.ObjectClass, label string, id []byte) error {
	filter := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(class)), pkcs11.Attr(pkcs11.CKA_LABEL, label)}
	if id != nil {
		filter = append(filter, pkcs11.Attr(pkcs11.CKA_ID, id))
	} else if isPlace(class, label) {
		return nil
	}
	found, err := search(ctx, c, filter, 1)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return &subjectError{fmt.Sprintf("%s %q", classWord(class), label), errExists, "destroy it first, or take another label"}
	}
	return nil
}

// finish gives a new object the CKA_ID that it shall have, if it has another or
// none: id, or else the one made of pub. On a module that does not know the
// places it removes those that had the place.
func (t *Token) finish(ctx context.Context, c *conn, o *Object, id []byte, pub crypto.PublicKey) error {
	if isPlace(o.Class, o.Label) && o.Attributes.Bool(pkcs11.CKA_TOKEN) {
		found, err := search(ctx, c, pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, uint64(o.Class)), pkcs11.Attr(pkcs11.CKA_LABEL, o.Label), pkcs11.Attr(pkcs11.CKA_TOKEN, true)}, 0)
		if err != nil {
			return err
		}
		for _, h := range found {
			if h == o.Handle {
				continue
			}
			if err := c.DestroyObject(ctx, h); err != nil && !errors.Is(err, pkcs11.CKR_OBJECT_HANDLE_INVALID) {
				return err
			}
		}
	}
	if len(id) == 0 && len(o.ID) == 0 {
		id = keys.DefaultID(pub)
	}
	if len(id) == 0 || bytes.Equal(id, o.ID) {
		return nil
	}
	if err := c.SetAttributeValue(ctx, o.Handle, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_ID, id)}); err != nil {
		return err
	}
	o.ID = id
	o.Attributes = o.Attributes.Set(pkcs11.Attr(pkcs11.CKA_ID, id))
	return nil
}

// A CertificateOption changes what ImportCertificate does.
type CertificateOption func(*certificateOptions)

type certificateOptions struct{ key string }

// ForKey demands that the certificate belong to the private key of that name.
func ForKey(key string) CertificateOption {
	return func(o *certificateOptions) { o.key = key }
}

var errNoCertificate = fmt.Errorf("%w: not an X.509 certificate in DER", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)

// ImportCertificate stores a certificate, for everybody to see. It gets the
// CKA_ID of the private or public key on the token that it belongs to, if there
// is one. Under one of the labels that name a place it takes the place of an
// earlier one; under another label that a certificate has already, the error
// wraps fs.ErrExist.
func (t *Token) ImportCertificate(ctx context.Context, label string, cert *x509.Certificate, opts ...CertificateOption) error {
	var o certificateOptions
	for _, f := range opts {
		f(&o)
	}
	parts, _, ok := keys.ParseCertificate(cert.Raw)
	if !ok {
		return fail(fmt.Sprintf("certificate %q", label), errNoCertificate, "")
	}
	return t.create(ctx, pkcs11.CKO_CERTIFICATE, label, cert.PublicKey, o.key, pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CERTIFICATE_TYPE, uint64(pkcs11.CKC_X_509)),
		pkcs11.Attr(pkcs11.CKA_PRIVATE, false),
		pkcs11.Attr(pkcs11.CKA_SUBJECT, cert.RawSubject),
		pkcs11.Attr(pkcs11.CKA_ISSUER, cert.RawIssuer),
		pkcs11.Attr(pkcs11.CKA_SERIAL_NUMBER, parts.Serial),
		pkcs11.Attr(pkcs11.CKA_VALUE, cert.Raw),
	})
}

// ImportPublicKey stores a public key (*ecdsa.PublicKey, ed25519.PublicKey or
// *rsa.PublicKey) that verifies. The rules for labels are those of
// ImportCertificate.
func (t *Token) ImportPublicKey(ctx context.Context, label string, pub crypto.PublicKey) error {
	attrs, err := keys.PublicAttributes(pub)
	if err != nil {
		return fail(fmt.Sprintf("public key %q", label), err, "")
	}
	template := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_PRIVATE, false), pkcs11.Attr(pkcs11.CKA_VERIFY, true)}
	for _, a := range attrs {
		// The token works these out; C_CreateObject may refuse to be given them.
		if a.Type != pkcs11.CKA_MODULUS_BITS && a.Type != pkcs11.CKA_PUBLIC_KEY_INFO {
			template = append(template, a)
		}
	}
	return t.create(ctx, pkcs11.CKO_PUBLIC_KEY, label, pub, "", template)
}

// ImportPrivateKey stores a private key (*ecdsa.PrivateKey, ed25519.PrivateKey
// or *rsa.PrivateKey) that signs, and its public key with it: under the same
// label, or DevicePublicKey for DevicePrivateKey. It cannot be read out again.
// The rules for labels are those of ImportCertificate. A key that was outside of
// the token may have been copied: prefer GenerateKey.
func (t *Token) ImportPrivateKey(ctx context.Context, label string, key crypto.PrivateKey) error {
	subject := fmt.Sprintf("private key %q", label)
	attrs, err := keys.PrivateAttributes(key)
	if err != nil {
		return fail(subject, err, "")
	}
	defer keys.Wipe(attrs)
	signer, ok := key.(interface{ Public() crypto.PublicKey })
	if !ok {
		return fail(subject, fmt.Errorf("%w: a key of type %T does not sign", pkcs11.CKR_KEY_TYPE_INCONSISTENT, key), "")
	}
	pub := signer.Public()
	if err := t.create(ctx, pkcs11.CKO_PRIVATE_KEY, label, pub, "", append(attrs,
		pkcs11.Attr(pkcs11.CKA_PRIVATE, true),
		pkcs11.Attr(pkcs11.CKA_SIGN, true),
		pkcs11.Attr(pkcs11.CKA_SENSITIVE, true),
		pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, false))); err != nil {
		return err
	}
	publicLabel := label
	if label == DevicePrivateKey {
		publicLabel = DevicePublicKey
	}
	if have, err := t.PublicKey(ctx, publicLabel); err == nil && keys.Equal(have, pub) {
		if _, err := t.object(ctx, pkcs11.CKO_PUBLIC_KEY, publicLabel); err == nil {
			return nil
		}
	}
	return t.ImportPublicKey(ctx, publicLabel, pub)
}

// create creates a token object of values, for the key pub.
func (t *Token) create(ctx context.Context, class pkcs11.ObjectClass, label string, pub crypto.PublicKey, forKey string, values pkcs11.Template) error {
	if label == "" {
		return fail(classWord(class), fmt.Errorf("%w: it needs a label", pkcs11.CKR_ARGUMENTS_BAD), "")
	}
	err := t.do(ctx, true, func(c *conn) error {
		id, err := t.partnerID(ctx, c, class, label, pub, forKey)
		if err != nil {
			return err
		}
		if err := t.vacant(ctx, c, class, label, nil); err != nil {
			return err
		}
		template := append(pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, uint64(class)),
			pkcs11.Attr(pkcs11.CKA_TOKEN, true),
			pkcs11.Attr(pkcs11.CKA_LABEL, label)}, values...)
		if !isPlace(class, label) { // a place is taken without an ID, which finish gives
			template = append(template, pkcs11.Attr(pkcs11.CKA_ID, id))
		}
		h, err := c.CreateObject(ctx, template)
		if err != nil {
			return err
		}
		o, err := inspect(ctx, c, h, shownAttributes)
		if err != nil {
			return err
		}
		return t.finish(ctx, c, &o, id, pub)
	})
	return nameError(class, label, err)
}

// partnerID returns the CKA_ID of what is on the token of the key pub, or the
// one made of pub. If forKey is not empty, pub must be that private key's.
func (t *Token) partnerID(ctx context.Context, c *conn, class pkcs11.ObjectClass, label string, pub crypto.PublicKey, forKey string) ([]byte, error) {
	if forKey != "" {
		k, err := t.findKey(ctx, c, forKey)
		if err != nil {
			return nil, err
		}
		if !keys.Equal(k.pub, pub) {
			return nil, &subjectError{fmt.Sprintf("%s %q", classWord(class), label),
				fmt.Errorf("%w: it belongs to another key than private key %q", pkcs11.CKR_TEMPLATE_INCONSISTENT, forKey),
				"import the one that was issued for this key"}
		}
		if len(k.id) > 0 {
			return k.id, nil
		}
	}
	attrs, err := keys.PublicAttributes(pub)
	if err != nil {
		return nil, nil // a certificate of a kind of key that this token has none of
	}
	for _, typ := range []pkcs11.AttributeType{pkcs11.CKA_PUBLIC_KEY_INFO, pkcs11.CKA_EC_POINT, pkcs11.CKA_MODULUS} {
		a, ok := attrs.Get(typ)
		if !ok {
			continue
		}
		found, err := look(ctx, c, pkcs11.Template{a}, []pkcs11.AttributeType{pkcs11.CKA_CLASS, pkcs11.CKA_ID})
		if err != nil {
			return nil, err
		}
		for _, want := range []pkcs11.ObjectClass{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY} {
			for _, o := range found {
				if o.Class == want && len(o.ID) > 0 {
					return o.ID, nil
				}
			}
		}
	}
	return keys.DefaultID(pub), nil
}

// VerifyCode checks the signature of an image, a firmware update say, with the
// public key, or the certificate, of that name on the token: CodeVerifyKey. A
// wrong signature wraps CKR_SIGNATURE_INVALID.
//
// Keys on P-256 and RSA keys sign the SHA-256 hash, P-384 SHA-384, P-521
// SHA-512; ECDSA signatures are DER, RSA ones PKCS #1 v1.5 or PSS. An Ed25519
// key signs the image itself, which is then read into memory. Nothing may be
// done with the image before VerifyCode has returned nil.
func (t *Token) VerifyCode(ctx context.Context, name string, image io.Reader, signature []byte) error {
	pub, err := t.PublicKey(ctx, name)
	if err != nil {
		return err
	}
	return fail(fmt.Sprintf("code signature by %q", name), verifyCode(pub, image, signature), "")
}

func verifyCode(pub crypto.PublicKey, image io.Reader, signature []byte) error {
	var h hash.Hash
	alg := crypto.SHA256
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		data, err := io.ReadAll(image)
		if err != nil {
			return fmt.Errorf("image: %w", err)
		}
		if !ed25519.Verify(pub, data, signature) {
			return pkcs11.CKR_SIGNATURE_INVALID
		}
		return nil
	case *ecdsa.PublicKey:
		switch bits := pub.Curve.Params().BitSize; {
		case bits > 384:
			h, alg = sha512.New(), crypto.SHA512
		case bits > 256:
			h, alg = sha512.New384(), crypto.SHA384
		}
	case *rsa.PublicKey:
	default:
		return fmt.Errorf("%w: a key of type %T verifies nothing", pkcs11.CKR_KEY_TYPE_INCONSISTENT, pub)
	}
	if h == nil {
		h = sha256.New()
	}
	if _, err := io.Copy(h, image); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	digest := h.Sum(nil)
	ok := false
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(pub, digest, signature)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(pub, alg, digest, signature) == nil || rsa.VerifyPSS(pub, alg, digest, signature, nil) == nil
	}
	if !ok {
		return pkcs11.CKR_SIGNATURE_INVALID
	}
	return nil
}
