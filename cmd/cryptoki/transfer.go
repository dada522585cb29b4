package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/aesmode"
	"github.com/go-cryptoki/cryptoki/internal/backup"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/wipe"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// What of an object goes to another token: what may be in the template of
// C_CreateObject. What a token computes, such as CKA_LOCAL and
// CKA_NEVER_EXTRACTABLE, it computes anew, since it is different for a copy.
var (
	everyObject = []pkcs11.AttributeType{pkcs11.CKA_CLASS, pkcs11.CKA_PRIVATE, pkcs11.CKA_LABEL,
		pkcs11.CKA_MODIFIABLE, pkcs11.CKA_COPYABLE, pkcs11.CKA_DESTROYABLE}
	everyKey = []pkcs11.AttributeType{pkcs11.CKA_KEY_TYPE, pkcs11.CKA_ID, pkcs11.CKA_START_DATE, pkcs11.CKA_END_DATE,
		pkcs11.CKA_DERIVE, pkcs11.CKA_ALLOWED_MECHANISMS}
	ofClass = map[pkcs11.ObjectClass][]pkcs11.AttributeType{
		pkcs11.CKO_DATA: {pkcs11.CKA_APPLICATION, pkcs11.CKA_OBJECT_ID, pkcs11.CKA_VALUE},
		pkcs11.CKO_CERTIFICATE: {pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKA_CERTIFICATE_CATEGORY, pkcs11.CKA_ID, pkcs11.CKA_SUBJECT,
			pkcs11.CKA_ISSUER, pkcs11.CKA_SERIAL_NUMBER, pkcs11.CKA_START_DATE, pkcs11.CKA_END_DATE, pkcs11.CKA_VALUE},
		pkcs11.CKO_PUBLIC_KEY: slices.Concat(everyKey, []pkcs11.AttributeType{pkcs11.CKA_SUBJECT, pkcs11.CKA_ENCRYPT, pkcs11.CKA_VERIFY,
			pkcs11.CKA_VERIFY_RECOVER, pkcs11.CKA_WRAP, pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT, pkcs11.CKA_EC_PARAMS, pkcs11.CKA_EC_POINT}),
		pkcs11.CKO_PRIVATE_KEY: slices.Concat(everyKey, []pkcs11.AttributeType{pkcs11.CKA_SUBJECT, pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE,
			pkcs11.CKA_DECRYPT, pkcs11.CKA_SIGN, pkcs11.CKA_SIGN_RECOVER, pkcs11.CKA_UNWRAP, pkcs11.CKA_WRAP_WITH_TRUSTED,
			pkcs11.CKA_ALWAYS_AUTHENTICATE, pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT, pkcs11.CKA_EC_PARAMS}),
		pkcs11.CKO_SECRET_KEY: slices.Concat(everyKey, []pkcs11.AttributeType{pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE,
			pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT, pkcs11.CKA_SIGN, pkcs11.CKA_VERIFY, pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP,
			pkcs11.CKA_WRAP_WITH_TRUSTED}),
	}
	secretTypes = []pkcs11.AttributeType{pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
		pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT}
)

// A source is the token that objects are taken from.
type source struct {
	cryptoki.Session
	mechs    map[pkcs11.MechanismType]pkcs11.MechanismInfo
	backuper cryptoki.Backuper // nil: the module has none
	all      bool              // keys that are not extractable go too

	wrapping pkcs11.ObjectHandle // a key of the session, of which value is the value
	value    []byte
}

// collect takes all objects of a token, with the values of keys as far as it gives
// them out.
func collect(ctx context.Context, t *cryptoki.Token) (*backup.Contents, error) {
	info, err := t.Info(ctx)
	if err != nil {
		return nil, err
	}
	mechs, err := t.Mechanisms(ctx)
	if err != nil {
		return nil, err
	}
	objects, err := t.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true)})
	if err != nil {
		return nil, err
	}
	s, err := t.Session(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	src := source{Session: s, mechs: mechs}
	defer func() { clear(src.value) }()
	if b, ok := s.(cryptoki.Backuper); ok {
		src.backuper = b
		if src.all, err = b.BackupAllowed(ctx); err != nil {
			return nil, err
		}
	}
	c := &backup.Contents{Token: pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, info.Label), pkcs11.Attr(pkcs11.CKA_SERIAL_NUMBER, []byte(info.SerialNumber))}}
	for _, o := range objects {
		template, err := src.template(ctx, o)
		if err == nil {
			c.Objects = append(c.Objects, template)
			continue
		}
		if reason := (*staysError)(nil); errors.As(err, &reason) {
			c.Missing = append(c.Missing, backup.Missing{Object: name(o), Reason: reason.why})
			continue
		}
		c.Wipe()
		return nil, fmt.Errorf("%v: %w", place{o.Class, o.Label}, err)
	}
	return c, nil
}

// name is what is left to say of an object that is not taken.
func name(o cryptoki.Object) pkcs11.Template {
	t := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, o.Class), pkcs11.Attr(pkcs11.CKA_LABEL, o.Label), pkcs11.Attr(pkcs11.CKA_ID, o.ID)}
	if o.KeyType != pkcs11.CKK_INVALID_KEY_TYPE {
		t = append(t, pkcs11.Attr(pkcs11.CKA_KEY_TYPE, o.KeyType))
	}
	return t
}

// A staysError says why an object stays where it is.
type staysError struct{ why string }

func (e *staysError) Error() string { return e.why }

// template makes what an object is created of elsewhere.
func (s *source) template(ctx context.Context, o cryptoki.Object) (pkcs11.Template, error) {
	types, ok := ofClass[o.Class]
	if !ok {
		return nil, &staysError{"objects of its class are not moved"}
	}
	t, err := s.read(ctx, o.Handle, append(slices.Clone(everyObject), types...))
	if err != nil {
		return nil, err
	}
	t = append(t, pkcs11.Attr(pkcs11.CKA_TOKEN, true))
	if o.Class != pkcs11.CKO_PRIVATE_KEY && o.Class != pkcs11.CKO_SECRET_KEY {
		return t, nil
	}
	values, err := s.values(ctx, o, t)
	if err != nil {
		return nil, err
	}
	for _, a := range values {
		t = t.Set(a)
	}
	return t, nil
}

// read returns those of the attributes that the object has and shows.
func (s *source) read(ctx context.Context, h pkcs11.ObjectHandle, types []pkcs11.AttributeType) (pkcs11.Template, error) {
	t := make(pkcs11.Template, len(types))
	for i, typ := range types {
		t[i].Type = typ
	}
	err := s.GetAttributeValue(ctx, h, t)
	if err != nil && !errors.Is(err, pkcs11.CKR_ATTRIBUTE_SENSITIVE) && !errors.Is(err, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) {
		return nil, err
	}
	return slices.DeleteFunc(t, func(a pkcs11.Attribute) bool {
		if a.Value == nil || a.Err() != nil {
			return true
		}
		if b, ok := a.Value.([]byte); ok && len(b) == 0 {
			return true
		}
		m, ok := a.Value.([]pkcs11.MechanismType)
		return ok && len(m) == 0
	}), nil
}

// values returns the secret values of a key, by the first way that is open: shown,
// by the module's own backup, or wrapped.
func (s *source) values(ctx context.Context, o cryptoki.Object, t pkcs11.Template) (pkcs11.Template, error) {
	switch {
	case s.all:
	case !t.Bool(pkcs11.CKA_EXTRACTABLE):
		return nil, &staysError{"it is not extractable"}
	case !t.Bool(pkcs11.CKA_SENSITIVE):
		return s.read(ctx, o.Handle, secretTypes)
	case t.Bool(pkcs11.CKA_WRAP_WITH_TRUSTED):
		return nil, &staysError{"only a trusted key may wrap it"}
	}
	if s.backuper != nil {
		all, err := s.backuper.BackupObject(ctx, o.Handle)
		switch {
		case err == nil:
			return slices.DeleteFunc(all, func(a pkcs11.Attribute) bool { return !slices.Contains(secretTypes, a.Type) }), nil
		case errors.Is(err, pkcs11.CKR_KEY_UNEXTRACTABLE):
			return nil, &staysError{"the token does not give it out"}
		case !errors.Is(err, pkcs11.CKR_FUNCTION_NOT_SUPPORTED): // of another process
			return nil, err
		}
	}
	values, err := s.wrapped(ctx, o)
	if err != nil {
		return nil, &staysError{fmt.Sprintf("the token does not wrap it: %v", err)}
	}
	return values, nil
}

// wrapped has the token wrap a key under one that was made for this, whose value
// is known, and unwraps it here: the way for a key that is sensitive and
// extractable.
func (s *source) wrapped(ctx context.Context, o cryptoki.Object) (pkcs11.Template, error) {
	m, err := s.mechanism()
	if err != nil {
		return nil, err
	}
	if s.value == nil {
		if err := s.makeWrapping(ctx); err != nil {
			return nil, err
		}
	}
	n, err := s.WrapKey(ctx, m, s.wrapping, o.Handle, nil)
	if err != nil && !errors.Is(err, pkcs11.CKR_BUFFER_TOO_SMALL) {
		return nil, err
	}
	buf := make([]byte, n)
	if n, err = s.WrapKey(ctx, m, s.wrapping, o.Handle, buf); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(s.value)
	if err != nil {
		return nil, err
	}
	defer wipe.Block(block)
	plain, err := aesmode.Decrypt(block, m, buf[:n])
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	if o.Class == pkcs11.CKO_SECRET_KEY {
		return pkcs11.Template{pkcs11.Attr(pkcs11.CKA_VALUE, bytes.Clone(plain))}, nil
	}
	return keys.ParsePKCS8(plain)
}

// mechanism is one that wraps keys of every length and that this program undoes.
func (s *source) mechanism() (*pkcs11.Mechanism, error) {
	for _, typ := range []pkcs11.MechanismType{pkcs11.CKM_AES_KEY_WRAP_KWP, pkcs11.CKM_AES_KEY_WRAP_PAD} {
		if s.mechs[typ].Flags&pkcs11.CKF_WRAP != 0 {
			return &pkcs11.Mechanism{Type: typ}, nil
		}
	}
	if s.mechs[pkcs11.CKM_AES_CBC_PAD].Flags&pkcs11.CKF_WRAP != 0 {
		return &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC_PAD, Params: make([]byte, aes.BlockSize)}, nil
	}
	return nil, errors.New("it knows none of CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP_PAD and CKM_AES_CBC_PAD")
}

func (s *source) makeWrapping(ctx context.Context) error {
	value := make([]byte, 32)
	rand.Read(value)
	h, err := s.CreateObject(ctx, pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES),
		pkcs11.Attr(pkcs11.CKA_TOKEN, false), pkcs11.Attr(pkcs11.CKA_PRIVATE, true), pkcs11.Attr(pkcs11.CKA_SENSITIVE, true),
		pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, false), pkcs11.Attr(pkcs11.CKA_WRAP, true), pkcs11.Attr(pkcs11.CKA_VALUE, value),
	})
	if err != nil {
		clear(value)
		return fmt.Errorf("a key to wrap with: %w", err)
	}
	s.wrapping, s.value = h, value
	return nil
}

// A moved object is one line of what restore and migrate say.
type moved struct {
	object
	Reason string `json:"reason,omitempty"`
}

// result is what backup, restore and migrate print.
type result struct {
	done    string // the word for what happened to Objects
	all     bool   // that there are Missing ones is an error
	Objects []moved
	Present []moved // there already
	Missing []moved
}

var resultFields = []field{
	{"objects", "array of objects as list prints them: those that were moved"},
	{"present", "those that the token has already"},
	{"missing", "those that were not moved, each with a reason"},
}

func describeTemplate(t pkcs11.Template, reason string) moved {
	o := cryptoki.Object{Class: pkcs11.ObjectClass(t.Uint(pkcs11.CKA_CLASS)), Label: t.Text(pkcs11.CKA_LABEL), ID: t.Bytes(pkcs11.CKA_ID),
		KeyType: pkcs11.CKK_INVALID_KEY_TYPE}
	for _, a := range t {
		if !slices.Contains(secretTypes, a.Type) || o.Class == pkcs11.CKO_CERTIFICATE {
			o.Attributes = append(o.Attributes, a)
		}
	}
	if t.Has(pkcs11.CKA_KEY_TYPE) {
		o.KeyType = pkcs11.KeyType(t.Uint(pkcs11.CKA_KEY_TYPE))
	}
	return moved{describe(o), reason}
}

// demandAll is the flag of the commands that may have to leave objects out.
func demandAll(o *options) *bool {
	all := new(bool)
	o.flag(all, "all", "exit with 3 if an object could not be moved")
	return all
}

// stopping are the errors that are not about one object: the next one would fare no
// better.
var stopping = []error{pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_MEMORY, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_PRESENT,
	pkcs11.CKR_TOKEN_WRITE_PROTECTED, pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED}

// put creates the objects in a token, but for those that it has, and prints in r
// what became of each. What was created before an error stays: the next run goes on.
func (a *app) put(ctx context.Context, t *cryptoki.Token, c *backup.Contents, r result) error {
	have, err := t.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true)})
	if err != nil {
		return err
	}
	s, err := t.Session(ctx, pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	defer s.Close()
	// Each that the token has is there for one of those to come, which may be alike.
	there := func(o pkcs11.Template) bool {
		i := slices.IndexFunc(have, func(h cryptoki.Object) bool {
			return h.Class == pkcs11.ObjectClass(o.Uint(pkcs11.CKA_CLASS)) && h.Label == o.Text(pkcs11.CKA_LABEL) && bytes.Equal(h.ID, o.Bytes(pkcs11.CKA_ID))
		})
		if i >= 0 {
			have = slices.Delete(have, i, i+1)
		}
		return i >= 0
	}
	for i, o := range c.Objects {
		line := describeTemplate(o, "")
		if there(o) {
			r.Present = append(r.Present, line)
			continue
		}
		if _, err := s.CreateObject(ctx, o); err != nil {
			if ctx.Err() != nil || slices.ContainsFunc(stopping, func(code error) bool { return errors.Is(err, code) }) {
				return a.stopped(r, len(c.Objects)-i, err)
			}
			line.Reason = fmt.Sprintf("the token does not take it: %v", err)
			r.Missing = append(r.Missing, line)
			continue
		}
		r.Objects = append(r.Objects, line)
	}
	for _, m := range c.Missing {
		if there(m.Object) {
			r.Present = append(r.Present, describeTemplate(m.Object, ""))
			continue
		}
		r.Missing = append(r.Missing, describeTemplate(m.Object, m.Reason))
	}
	return a.printResult(r)
}

// stopped prints what was done before an error, which comes with how many objects
// are left.
func (a *app) stopped(r result, left int, err error) error {
	if len(r.Objects) == 0 {
		return fmt.Errorf("no object was %s: %w", r.done, err)
	}
	if perr := a.printMoved(r); perr != nil {
		return errors.Join(err, perr)
	}
	err = fmt.Errorf("%s %s, %d left: %w", plural(len(r.Objects), "object"), r.done, left, err)
	return withHint(a.explain(err), "what is "+r.done+" stays; the same command goes on with the rest")
}

// printResult prints what became of the objects; an incompleteError if some are
// missing and all are demanded.
func (a *app) printResult(r result) error {
	if err := a.printMoved(r); err != nil {
		return err
	}
	if len(r.Missing) == 0 || !r.all {
		return nil
	}
	return &incompleteError{fmt.Sprintf("%s could not be %s; everything else is %s", plural(len(r.Missing), "object"), r.done, r.done)}
}

func (a *app) printMoved(r result) error {
	if a.json {
		return a.printJSON(struct {
			Objects []moved `json:"objects"`
			Present []moved `json:"present"`
			Missing []moved `json:"missing"`
		}{list(r.Objects), list(r.Present), list(r.Missing)})
	}
	for _, part := range []struct {
		what string
		list []moved
	}{{r.done, r.Objects}, {"present already", r.Present}, {"NOT " + r.done, r.Missing}} {
		for _, o := range part.list {
			line := fmt.Sprintf("%s: %s %q", part.what, o.Class, o.Label)
			if o.Reason != "" {
				line += ": " + o.Reason
			}
			if err := a.printf("%s\n", oneLine(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

func list(l []moved) []moved {
	if l == nil {
		return []moved{}
	}
	return l
}
