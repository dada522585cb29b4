package cryptoki

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An Object is something on the token, as it was when it was looked at.
type Object struct {
	Handle  pkcs11.ObjectHandle
	Class   pkcs11.ObjectClass
	Label   string
	ID      []byte         // CKA_ID: what a key pair and its certificate have in common
	KeyType pkcs11.KeyType // CKK_INVALID_KEY_TYPE if the object is no key
	// Attributes holds what the token shows of the object, never a secret: of
	// certificates also CKA_VALUE, of public keys the components.
	Attributes pkcs11.Template
}

// String is the object's class and label, with its CKA_ID in hexadecimal:
// private key "Device Priv TLS Key" (id 5a0f…).
func (o Object) String() string {
	s := classWord(o.Class) + " " + fmt.Sprintf("%q", o.Label)
	if len(o.ID) > 0 {
		s += " (id " + hex.EncodeToString(o.ID) + ")"
	}
	return s
}

// PublicKey returns the public key that the object holds: of a public key, of
// a private key where the token shows it, of a certificate.
func (o Object) PublicKey() (crypto.PublicKey, error) {
	if o.Class == pkcs11.CKO_CERTIFICATE {
		cert, _, ok := keys.ParseCertificate(o.Attributes.Bytes(pkcs11.CKA_VALUE))
		if !ok {
			return nil, fail(o.String(), errNoCertificate, "")
		}
		pub, err := keys.PublicKey(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_PUBLIC_KEY_INFO, cert.Info)})
		return pub, fail(o.String(), err, "")
	}
	pub, err := keys.PublicKey(o.Attributes)
	return pub, fail(o.String(), err, "")
}

// Certificate returns the X.509 certificate that the object holds.
func (o Object) Certificate() (*x509.Certificate, error) {
	if o.Class != pkcs11.CKO_CERTIFICATE {
		return nil, fail(o.String(), fmt.Errorf("%w: it is no certificate", pkcs11.CKR_ARGUMENTS_BAD), "")
	}
	cert, err := x509.ParseCertificate(o.Attributes.Bytes(pkcs11.CKA_VALUE))
	if err != nil {
		return nil, fail(o.String(), fmt.Errorf("%w: %w", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, err), "")
	}
	return cert, nil
}

// Objects returns the objects that have all attributes of filter, in the token's
// order: all that can be seen if filter is empty. Private ones are among them if
// the token is logged in.
func (t *Token) Objects(ctx context.Context, filter pkcs11.Template) ([]Object, error) {
	var objects []Object
	err := t.do(ctx, false, func(c *conn) error {
		var err error
		if objects, err = look(ctx, c, filter, shownAttributes); err != nil {
			return err
		}
		return t.stillIn(ctx, c)
	})
	if err != nil {
		return nil, fail("objects", err, "")
	}
	return objects, nil
}

// Destroy destroys objects. One that is gone already is no error. The sessions of
// a module that NewModule made, and others that are Destroyers, destroy all of
// them as one step, so that of a key pair no half is left; else they go one after
// the other, up to the first error.
func (t *Token) Destroy(ctx context.Context, objects ...Object) error {
	for len(objects) > 0 {
		n := 0 // how many go now
		err := t.do(ctx, true, func(c *conn) error {
			destroy := func(handles []pkcs11.ObjectHandle) error { return c.DestroyObject(ctx, handles[0]) }
			n = 1
			if d, ok := c.Session.(Destroyer); ok {
				destroy = func(handles []pkcs11.ObjectHandle) error { return d.DestroyObjects(ctx, handles...) }
				n = len(objects)
			}
			handles := make([]pkcs11.ObjectHandle, n)
			for i, o := range objects[:n] {
				handles[i] = o.Handle
			}
			err := destroy(handles)
			// The handles may be of another time; the identity is not.
			for try := 0; isStale(err) && try < 3; try++ {
				if handles, err = handlesNow(ctx, c, objects[:n], err); err == nil && len(handles) > 0 {
					err = destroy(handles)
				}
			}
			return err
		})
		if err != nil && !(n == 1 && errors.Is(err, pkcs11.CKR_OBJECT_HANDLE_INVALID)) {
			return fail(objects[0].String(), err, "")
		}
		objects = objects[n:]
	}
	return nil
}

// handlesNow returns the handles that objects have now, without those that are gone. It
// returns stale if an object cannot be known again.
func handlesNow(ctx context.Context, c *conn, objects []Object, stale error) ([]pkcs11.ObjectHandle, error) {
	var handles []pkcs11.ObjectHandle
	for _, o := range objects {
		id := o.Attributes.Text(pkcs11.CKA_UNIQUE_ID)
		if id == "" {
			return nil, stale
		}
		found, err := search(ctx, c, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_UNIQUE_ID, id)}, 1)
		if err != nil {
			return nil, err
		}
		handles = append(handles, found...)
	}
	return handles, nil
}

// PublicKey returns the public key of that name: of a public key object, or else
// of a private key, or else of a certificate.
func (t *Token) PublicKey(ctx context.Context, name string) (crypto.PublicKey, error) {
	for _, class := range []pkcs11.ObjectClass{pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_CERTIFICATE} {
		if class == pkcs11.CKO_PRIVATE_KEY {
			var k *keyRef
			err := t.do(ctx, false, func(c *conn) (err error) {
				k, err = t.findKey(ctx, c, name)
				return err
			})
			if err == nil {
				return k.pub, nil
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			continue
		}
		o, err := t.object(ctx, class, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		return o.PublicKey()
	}
	_, err := t.object(ctx, pkcs11.CKO_PUBLIC_KEY, name)
	return nil, err
}

// Certificate returns the certificate of that name.
func (t *Token) Certificate(ctx context.Context, name string) (*x509.Certificate, error) {
	o, err := t.object(ctx, pkcs11.CKO_CERTIFICATE, name)
	if err != nil {
		return nil, err
	}
	return o.Certificate()
}

// object returns the one object of that class and name.
func (t *Token) object(ctx context.Context, class pkcs11.ObjectClass, name string) (o Object, err error) {
	err = t.do(ctx, false, func(c *conn) error {
		o, err = t.one(ctx, c, class, name)
		return err
	})
	return o, nameError(class, name, err)
}

// one finds the one object of that class and name.
func (t *Token) one(ctx context.Context, c *conn, class pkcs11.ObjectClass, name string) (Object, error) {
	subject := fmt.Sprintf("%s %q", classWord(class), name)
	filter, err := t.nameFilter(ctx, class, name)
	if err != nil {
		return Object{}, fail(subject, err, "")
	}
	found, err := look(ctx, c, filter, shownAttributes)
	switch {
	case err != nil:
		return Object{}, err
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return Object{}, fail(subject, fmt.Errorf("%w: there are %d of that name: %s", pkcs11.CKR_ARGUMENTS_BAD, len(found), uriList(found)),
			"name one by its URI, or destroy the others")
	}
	if err := t.stillIn(ctx, c); err != nil {
		return Object{}, err
	}
	return Object{}, fail(subject, errNotFound, t.notFoundCure(ctx, c, class))
}

// errNotFound and errExists are why there is no object of a name, or shall be no
// second one. Objects are no files, so that the text is another than that of the
// errors of package fs that they are.
var (
	errNotFound error = nameProblem{"not found", fs.ErrNotExist}
	errExists   error = nameProblem{"exists already", fs.ErrExist}
)

type nameProblem struct {
	text string
	is   error
}

func (p nameProblem) Error() string { return p.text }
func (p nameProblem) Unwrap() error { return p.is }

// notFoundCure helps who looked for an object that is not there.
func (t *Token) notFoundCure(ctx context.Context, c *conn, class pkcs11.ObjectClass) string {
	const most = 8
	if class == pkcs11.CKO_PRIVATE_KEY {
		info, err := t.m.TokenInfo(ctx, t.slot)
		if err == nil && info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0 {
			if si, err := c.Info(ctx); err == nil && (si.State == pkcs11.CKS_RO_PUBLIC_SESSION || si.State == pkcs11.CKS_RW_PUBLIC_SESSION) {
				if info.Flags&pkcs11.CKF_USER_PIN_INITIALIZED == 0 {
					return "the token has no user PIN yet: set it up with Token.Initialize"
				}
				return "the token is logged out and hides private keys: give Options.PIN"
			}
		}
	}
	others, err := look(ctx, c, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(class))}, []pkcs11.AttributeType{pkcs11.CKA_CLASS, pkcs11.CKA_LABEL})
	if err != nil {
		return ""
	}
	if len(others) == 0 {
		return "the token has none at all"
	}
	var labels []string
	for _, o := range others {
		labels = append(labels, fmt.Sprintf("%q", o.Label))
	}
	slices.Sort(labels)
	labels = slices.Compact(labels)
	if len(labels) > most {
		return fmt.Sprintf("the token has %d others", len(labels))
	}
	return "the token has " + strings.Join(labels, ", ")
}

// classWord is the class as people say it.
func classWord(class pkcs11.ObjectClass) string {
	switch class {
	case pkcs11.CKO_PRIVATE_KEY:
		return "private key"
	case pkcs11.CKO_PUBLIC_KEY:
		return "public key"
	case pkcs11.CKO_CERTIFICATE:
		return "certificate"
	case pkcs11.CKO_SECRET_KEY:
		return "secret key"
	case pkcs11.CKO_DATA:
		return "data object"
	}
	return class.String()
}

// isStale reports whether err says that a handle means nothing any more.
func isStale(err error) bool {
	return errors.Is(err, pkcs11.CKR_OBJECT_HANDLE_INVALID) || errors.Is(err, pkcs11.CKR_KEY_HANDLE_INVALID)
}

// shownAttributes are what Object.Attributes holds, as far as an object has
// them. CKA_VALUE is asked of certificates only.
var shownAttributes = []pkcs11.AttributeType{
	pkcs11.CKA_CLASS, pkcs11.CKA_LABEL, pkcs11.CKA_ID, pkcs11.CKA_KEY_TYPE, pkcs11.CKA_UNIQUE_ID,
	pkcs11.CKA_TOKEN, pkcs11.CKA_PRIVATE, pkcs11.CKA_MODIFIABLE, pkcs11.CKA_COPYABLE, pkcs11.CKA_DESTROYABLE,
	pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKA_TRUSTED, pkcs11.CKA_CERTIFICATE_CATEGORY,
	pkcs11.CKA_SUBJECT, pkcs11.CKA_ISSUER, pkcs11.CKA_SERIAL_NUMBER,
	pkcs11.CKA_APPLICATION, pkcs11.CKA_OBJECT_ID,
	pkcs11.CKA_SIGN, pkcs11.CKA_VERIFY, pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT,
	pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP, pkcs11.CKA_DERIVE,
	pkcs11.CKA_LOCAL, pkcs11.CKA_KEY_GEN_MECHANISM, pkcs11.CKA_SENSITIVE, pkcs11.CKA_ALWAYS_SENSITIVE,
	pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_NEVER_EXTRACTABLE, pkcs11.CKA_ALWAYS_AUTHENTICATE, pkcs11.CKA_ALLOWED_MECHANISMS,
	pkcs11.CKA_EC_PARAMS, pkcs11.CKA_EC_POINT, pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT, pkcs11.CKA_PUBLIC_KEY_INFO,
	pkcs11.CKA_START_DATE, pkcs11.CKA_END_DATE,
}

// search returns the handles of at most max objects that match the filter, all
// if max is 0.
func search(ctx context.Context, s Session, filter pkcs11.Template, max int) (found []pkcs11.ObjectHandle, err error) {
	if err := s.FindObjectsInit(ctx, filter); err != nil {
		return nil, err
	}
	var buf [32]pkcs11.ObjectHandle
	for max == 0 || len(found) < max {
		n, err := s.FindObjects(ctx, buf[:])
		if err != nil {
			s.FindObjectsFinal(ctx)
			return nil, err
		}
		if n == 0 {
			break
		}
		found = append(found, buf[:n]...)
	}
	if max > 0 && len(found) > max {
		found = found[:max]
	}
	return found, s.FindObjectsFinal(ctx)
}

// look returns the objects that match the filter, with those of the attributes
// that they have. One that vanishes meanwhile is left out.
func look(ctx context.Context, s Session, filter pkcs11.Template, attrs []pkcs11.AttributeType) ([]Object, error) {
	found, err := search(ctx, s, filter, 0)
	if err != nil {
		return nil, err
	}
	objects := make([]Object, 0, len(found))
	for _, h := range found {
		o, err := inspect(ctx, s, h, attrs)
		if errors.Is(err, pkcs11.CKR_OBJECT_HANDLE_INVALID) {
			continue
		} else if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// inspect reads the attributes of an object, as far as it has them.
func inspect(ctx context.Context, s Session, h pkcs11.ObjectHandle, attrs []pkcs11.AttributeType) (Object, error) {
	o := Object{Handle: h, KeyType: pkcs11.CKK_INVALID_KEY_TYPE}
	var err error
	if o.Attributes, err = read(ctx, s, h, attrs); err != nil {
		return o, err
	}
	o.Class = pkcs11.ObjectClass(o.Attributes.Uint(pkcs11.CKA_CLASS))
	o.Label = o.Attributes.Text(pkcs11.CKA_LABEL)
	o.ID = o.Attributes.Bytes(pkcs11.CKA_ID)
	if a, ok := o.Attributes.Get(pkcs11.CKA_KEY_TYPE); ok {
		o.KeyType = pkcs11.KeyType(a.Uint())
	}
	if o.Class == pkcs11.CKO_CERTIFICATE && len(attrs) == len(shownAttributes) {
		value, err := read(ctx, s, h, []pkcs11.AttributeType{pkcs11.CKA_VALUE})
		if err != nil {
			return o, err
		}
		o.Attributes = append(o.Attributes, value...)
	}
	return o, nil
}

// read returns those of the attributes that the object has and shows.
func read(ctx context.Context, s Session, h pkcs11.ObjectHandle, attrs []pkcs11.AttributeType) (pkcs11.Template, error) {
	t := make(pkcs11.Template, len(attrs))
	for i, typ := range attrs {
		t[i].Type = typ
	}
	err := s.GetAttributeValue(ctx, h, t)
	if err != nil && !errors.Is(err, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) && !errors.Is(err, pkcs11.CKR_ATTRIBUTE_SENSITIVE) {
		return nil, err
	}
	return slices.DeleteFunc(t, func(a pkcs11.Attribute) bool { return a.Value == nil || a.Err() != nil }), nil
}

// nameFilter returns what to search for: an object of that class with a label,
// or that a pkcs11: URI describes.
func (t *Token) nameFilter(ctx context.Context, class pkcs11.ObjectClass, name string) (pkcs11.Template, error) {
	filter := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(class))}
	if !pkcs11.IsURI(name) {
		return append(filter, pkcs11.Attr(pkcs11.CKA_LABEL, name)), nil
	}
	uri, err := pkcs11.ParseURI(name)
	if err != nil {
		return nil, err
	}
	if c, ok := uri.Class(); ok && c != class {
		return nil, fmt.Errorf("%w: the URI names a %s", pkcs11.CKR_ARGUMENTS_BAD, classWord(c))
	}
	if unknown := uri.Unknown(); len(unknown) > 0 {
		return nil, fmt.Errorf("%w: the URI has attributes that nobody knows: %s", pkcs11.CKR_ARGUMENTS_BAD, strings.Join(unknown, ", "))
	}
	if info, err := t.m.TokenInfo(ctx, t.slot); err != nil {
		return nil, err
	} else if !uri.MatchToken(info) {
		return nil, fmt.Errorf("%w: the URI is about another token than %q, serial %q", errNotFound, info.Label, info.SerialNumber)
	}
	if !uri.SelectsObject() {
		return nil, fmt.Errorf("%w: the URI has neither object= nor id=", pkcs11.CKR_ARGUMENTS_BAD)
	}
	for _, a := range uri.ObjectTemplate() {
		filter = filter.Set(a)
	}
	return filter, nil
}

// uriList names objects of the same label apart.
func uriList(objects []Object) string {
	var s []string
	for _, o := range objects {
		s = append(s, (&pkcs11.URI{Object: o.Label, ID: o.ID, Type: pkcs11.URIType(o.Class)}).String())
	}
	return strings.Join(s, ", ")
}

// nameError makes an error one about the object of that name, if it is not yet.
func nameError(class pkcs11.ObjectClass, name string, err error) error {
	var se *subjectError
	if err == nil || errors.As(err, &se) {
		return err
	}
	return fail(fmt.Sprintf("%s %q", classWord(class), name), err, "")
}
