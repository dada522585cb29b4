package cryptoki

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func (se *session) CreateObject(ctx context.Context, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	const op = "CreateObject"
	if err := se.check(op); err != nil {
		return 0, err
	}
	if len(template) == 0 {
		return 0, opErr(op, "", fmt.Errorf("%w: the template is empty", pkcs11.CKR_TEMPLATE_INCOMPLETE))
	}
	full, err := se.by().Create(template)
	if err != nil {
		return 0, templateErr(op, template, err)
	}
	token, private := full.Bool(pkcs11.CKA_TOKEN), full.Bool(pkcs11.CKA_PRIVATE)
	if err := se.mayWrite(token, private); err != nil {
		return 0, templateErr(op, full, err)
	}
	class := pkcs11.ObjectClass(full.Uint(pkcs11.CKA_CLASS))
	secret := class == pkcs11.CKO_PRIVATE_KEY || class == pkcs11.CKO_SECRET_KEY
	if !token && !secret {
		h, err := se.keep(full.Clone())
		return h, templateErr(op, full, err)
	}
	if secret {
		defer wipeSecrets(full, template)
	}
	creator, ok := se.slot.token.(driver.Creator)
	if !ok {
		return 0, templateErr(op, full, fmt.Errorf("%w: this token makes its own objects and takes none", pkcs11.CKR_FUNCTION_NOT_SUPPORTED))
	}
	h, err := se.create(ctx, token, replacing{template, full}, func(replaces []driver.Object) (driver.Object, error) {
		return creator.CreateObject(ctx, owned(full), replaces)
	})
	return h, templateErr(op, full, err)
}

// keep makes a public session object, which is the core's own.
func (se *session) keep(attrs pkcs11.Template) (pkcs11.ObjectHandle, error) {
	s := se.slot
	s.mu.Lock()
	defer s.mu.Unlock()
	if se.closed.Load() {
		return 0, errSessionClosed
	}
	o := newSessionObject(s.newHandles(1), attrs, se)
	s.objects.add(o)
	se.owns = true
	return o.handle, nil
}

// owned is a template that a driver may keep: a copy of what the caller may use
// again for something else, but for the values of secrets, which drivers take in
// at once and of which there are to be no copies that nobody wipes.
func owned(t pkcs11.Template) pkcs11.Template {
	key := pkcs11.ObjectClass(t.Uint(pkcs11.CKA_CLASS))
	u := t.Clone()
	for i, a := range u {
		b, ok := t[i].Value.([]byte)
		if !ok {
			continue
		}
		switch a.Type {
		case pkcs11.CKA_VALUE:
			if key != pkcs11.CKO_PRIVATE_KEY && key != pkcs11.CKO_SECRET_KEY {
				continue
			}
		case pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
			pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT:
		default:
			continue
		}
		clear(u[i].Value.([]byte))
		u[i].Value = b
	}
	return u
}

// replacing is an object to be created: the template that the caller gave, and
// what the rules made of it.
type replacing struct{ given, full pkcs11.Template }

// create has the driver make one object, which takes the places of others where
// the labels say so, and gives it a handle.
func (se *session) create(ctx context.Context, token bool, r replacing, make func(replaces []driver.Object) (driver.Object, error)) (pkcs11.ObjectHandle, error) {
	s := se.slot
	old, err := s.places(ctx, r)
	if err != nil {
		return 0, err
	}
	if err := s.acquire(ctx); err != nil {
		return 0, err
	}
	defer s.gate.release()
	d, err := make(drivers(old))
	if err != nil {
		return 0, deviceErr(err)
	}
	s.remove(old...)
	o, err := se.insert(ctx, d, token)
	if err != nil {
		return 0, err
	}
	return o.handle, nil
}

// insert gives what the driver made a handle. The gate is held. A session object
// whose session was closed meanwhile is destroyed again.
func (se *session) insert(ctx context.Context, d driver.Object, token bool) (*object, error) {
	owner := se
	if token {
		owner = nil
	}
	o, err := se.slot.insert(d, owner)
	if err != nil && owner != nil {
		if destroyer, ok := se.slot.token.(driver.Destroyer); ok {
			destroyer.Destroy(context.WithoutCancel(ctx), d)
		}
	}
	return o, err
}

// places returns the objects whose place in the table of labels.go a new one
// takes: those of its class and label, if it is a token object that was given no
// CKA_ID.
func (s *slot) places(ctx context.Context, news ...replacing) ([]*object, error) {
	var old []*object
	for _, n := range news {
		class, label := pkcs11.ObjectClass(n.full.Uint(pkcs11.CKA_CLASS)), n.full.Text(pkcs11.CKA_LABEL)
		if !n.full.Bool(pkcs11.CKA_TOKEN) || !isPlace(class, label) || len(n.given.Bytes(pkcs11.CKA_ID)) > 0 {
			continue
		}
		if err := s.refresh(ctx); err != nil {
			return nil, err
		}
		s.mu.RLock()
		for o := range s.objects.labelled(label) {
			if o.class == class && o.token && (!o.private || s.userLocked()) {
				old = append(old, o)
			}
		}
		s.mu.RUnlock()
	}
	for _, o := range old {
		if a, ok := o.attrs().Get(pkcs11.CKA_DESTROYABLE); ok && !a.Bool() {
			return nil, fmt.Errorf("the %v that is there: %w: its CKA_DESTROYABLE is false; use another label or give a CKA_ID", o, pkcs11.CKR_ACTION_PROHIBITED)
		}
	}
	return old, nil
}

func drivers(objects []*object) []driver.Object {
	var list []driver.Object
	for _, o := range objects {
		if d := o.drv(); d != nil {
			list = append(list, d)
		}
	}
	return list
}

// templateErr is opErr for an object that has such a template.
func templateErr(op string, t pkcs11.Template, err error) error {
	if err == nil {
		return nil
	}
	return opErr(op, describe(t), err)
}

// describe names an object by its template for errors.
func describe(t pkcs11.Template) string {
	a, ok := t.Get(pkcs11.CKA_CLASS)
	if !ok {
		return ""
	}
	name := className(pkcs11.ObjectClass(a.Uint()))
	if l, ok := t.Get(pkcs11.CKA_LABEL); ok {
		if c, err := l.Canonical(); err == nil && c.Text() != "" {
			return fmt.Sprintf("%s %q", name, c.Text())
		}
	}
	return name
}

// wipeSecrets clears the secret values of full, apart from those that are the
// caller's own slices.
func wipeSecrets(full, given pkcs11.Template) {
	class, typ := pkcs11.ObjectClass(full.Uint(pkcs11.CKA_CLASS)), pkcs11.KeyType(full.Uint(pkcs11.CKA_KEY_TYPE))
	for _, a := range full {
		b := a.Bytes()
		if len(b) == 0 || !rules.Sensitive(class, typ, a.Type) {
			continue
		}
		own := given.Bytes(a.Type)
		if len(own) > 0 && &own[0] == &b[0] {
			continue
		}
		clear(b)
	}
}

// by says for whom the rules decide: CKA_TRUSTED is the SO's alone. PKCS #11
// v2.40 §4.4.
func (se *session) by() rules.By {
	se.slot.mu.RLock()
	defer se.slot.mu.RUnlock()
	if se.slot.login == loginSO {
		return rules.SO
	}
	return rules.User
}

func (se *session) CopyObject(ctx context.Context, h pkcs11.ObjectHandle, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	const op = "CopyObject"
	if err := se.check(op); err != nil {
		return 0, err
	}
	s := se.slot
	o, err := s.lookup(h, pkcs11.CKR_OBJECT_HANDLE_INVALID)
	if err != nil {
		return 0, opErr(op, "", err)
	}
	full, err := rules.Copy(o.attrs(), template)
	if err != nil {
		return 0, opErr(op, o.String(), err)
	}
	token := full.Bool(pkcs11.CKA_TOKEN)
	if err := se.mayWrite(token, full.Bool(pkcs11.CKA_PRIVATE)); err != nil {
		return 0, opErr(op, o.String(), err)
	}
	secret := o.class == pkcs11.CKO_PRIVATE_KEY || o.class == pkcs11.CKO_SECRET_KEY
	if !token && !secret {
		copied, err := se.keep(full.Clone())
		return copied, opErr(op, o.String(), err)
	}
	var make func([]driver.Object) (driver.Object, error)
	if !secret {
		// Everything there is to it is in its attributes.
		creator, ok := s.token.(driver.Creator)
		if !ok {
			return 0, opErr(op, o.String(), fmt.Errorf("%w: this token makes its own objects and takes none", pkcs11.CKR_FUNCTION_NOT_SUPPORTED))
		}
		make = func([]driver.Object) (driver.Object, error) { return creator.CreateObject(ctx, owned(full), nil) }
	} else {
		copier, ok := s.token.(driver.Copier)
		if !ok {
			return 0, opErr(op, o.String(), fmt.Errorf("%w: this token does not copy keys", pkcs11.CKR_ACTION_PROHIBITED))
		}
		make = func([]driver.Object) (driver.Object, error) { return copier.CopyObject(ctx, o.drv(), owned(full)) }
	}
	copied, err := se.create(ctx, token, replacing{full, full}, make)
	return copied, opErr(op, o.String(), err)
}

func (se *session) DestroyObject(ctx context.Context, h pkcs11.ObjectHandle) error {
	return se.destroy(ctx, "DestroyObject", h)
}

// DestroyObjects implements Destroyer.
func (se *session) DestroyObjects(ctx context.Context, handles ...pkcs11.ObjectHandle) error {
	return se.destroy(ctx, "DestroyObjects", handles...)
}

// destroy destroys all objects, if it may destroy each of them.
func (se *session) destroy(ctx context.Context, op string, handles ...pkcs11.ObjectHandle) error {
	if err := se.check(op); err != nil {
		return err
	}
	s := se.slot
	objects := make([]*object, 0, len(handles))
	drivers := make([]driver.Object, 0, len(handles))
	subject := "" // of an error of the driver
	for _, h := range handles {
		o, err := s.lookup(h, pkcs11.CKR_OBJECT_HANDLE_INVALID)
		if err != nil {
			return opErr(op, "", err)
		}
		if err := rules.Destroy(o.attrs()); err != nil {
			return opErr(op, o.String(), err)
		}
		if err := se.mayWrite(o.token, false); err != nil {
			return opErr(op, o.String(), err)
		}
		if slices.Contains(objects, o) {
			continue
		}
		if objects = append(objects, o); len(objects) == 1 {
			subject = o.String()
		}
		if d := o.drv(); d != nil {
			drivers = append(drivers, d)
		}
	}
	if len(drivers) > 0 {
		destroyer, ok := s.token.(driver.Destroyer)
		if !ok {
			return opErr(op, subject, fmt.Errorf("%w: this token keeps its objects for ever", pkcs11.CKR_ACTION_PROHIBITED))
		}
		if err := s.acquire(ctx); err != nil {
			return opErr(op, subject, err)
		}
		err := destroyer.Destroy(ctx, drivers...)
		s.gate.release()
		if err != nil {
			return opErr(op, subject, deviceErr(err))
		}
	}
	for _, o := range objects {
		s.remove(o)
	}
	return nil
}

func (se *session) GetObjectSize(_ context.Context, h pkcs11.ObjectHandle) (uint64, error) {
	const op = "GetObjectSize"
	if err := se.check(op); err != nil {
		return 0, err
	}
	o, err := se.slot.lookup(h, pkcs11.CKR_OBJECT_HANDLE_INVALID)
	if err != nil {
		return 0, opErr(op, "", err)
	}
	if o.class == pkcs11.CKO_PRIVATE_KEY && o.keyType == pkcs11.CKK_RSA {
		// The components that are not shown take about 4.5 times the modulus.
		return sizeOf(o.attrs()) + uint64(len(o.attrs().Bytes(pkcs11.CKA_MODULUS)))*9/2, nil
	}
	return sizeOf(o.attrs()), nil
}

func sizeOf(t pkcs11.Template) uint64 {
	n := uint64(0)
	for _, a := range t {
		n += 4
		switch v := a.Value.(type) {
		case bool:
			n++
		case []byte:
			n += uint64(len(v))
		case string:
			n += uint64(len(v))
		case []pkcs11.MechanismType:
			n += 8 * uint64(len(v))
		case pkcs11.Template:
			n += sizeOf(v)
		default:
			n += 8
		}
	}
	return n
}

func (se *session) GetAttributeValue(ctx context.Context, h pkcs11.ObjectHandle, template pkcs11.Template) error {
	const op = "GetAttributeValue"
	if err := se.check(op); err != nil {
		return err
	}
	if len(template) == 0 {
		return opErr(op, "", fmt.Errorf("%w: the template names no attribute", pkcs11.CKR_ARGUMENTS_BAD))
	}
	o, err := se.slot.lookup(h, pkcs11.CKR_OBJECT_HANDLE_INVALID)
	if err != nil {
		return opErr(op, "", err)
	}
	st := o.state.Load()
	var bad pkcs11.Error
	var badType pkcs11.AttributeType
	for i := range template {
		t := template[i].Type
		code := pkcs11.Error(0)
		if t == pkcs11.CKA_UNIQUE_ID {
			template[i].Value = o.id
			continue
		}
		if a, ok := st.attrs().Get(t); ok && !rules.Sensitive(o.class, o.keyType, t) {
			template[i].Value = copyValue(a.Value)
			continue
		}
		switch {
		case !rules.Sensitive(o.class, o.keyType, t):
			code = pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
		case st.attrs().Bool(pkcs11.CKA_SENSITIVE) || !st.attrs().Bool(pkcs11.CKA_EXTRACTABLE):
			code = pkcs11.CKR_ATTRIBUTE_SENSITIVE
		default:
			v, err := se.export(ctx, st.drv, t)
			if err != nil {
				return opErr(op, o.String(), err)
			}
			if v == nil {
				code = pkcs11.CKR_ATTRIBUTE_TYPE_INVALID
			} else {
				template[i].Value = v
			}
		}
		if code != 0 {
			template[i].Value = code
			// A refusal weighs more than an attribute that does not exist.
			if bad != pkcs11.CKR_ATTRIBUTE_SENSITIVE {
				bad, badType = code, t
			}
		}
	}
	switch bad {
	case 0:
		return nil
	case pkcs11.CKR_ATTRIBUTE_SENSITIVE:
		return opErr(op, o.String(), fmt.Errorf("%w: %v is not shown, for the key is sensitive or not extractable", bad, badType))
	default:
		return opErr(op, o.String(), fmt.Errorf("%w: it has no %v", bad, badType))
	}
}

func copyValue(v any) any {
	switch v := v.(type) {
	case []byte:
		return bytes.Clone(v)
	case []pkcs11.MechanismType:
		return slices.Clone(v)
	case pkcs11.Template:
		return v.Clone()
	}
	return v
}

// export reads one secret value of a key that may be shown; nil if there is none.
func (se *session) export(ctx context.Context, d driver.Object, t pkcs11.AttributeType) (any, error) {
	e, ok := d.(driver.Exporter)
	if !ok {
		return nil, nil
	}
	s := se.slot
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.gate.release()
	values, err := e.Export(ctx, t)
	if err != nil {
		return nil, deviceErr(err)
	}
	a, ok := values.Get(t)
	if !ok {
		return nil, nil
	}
	return a.Value, nil
}

func (se *session) SetAttributeValue(ctx context.Context, h pkcs11.ObjectHandle, template pkcs11.Template) error {
	const op = "SetAttributeValue"
	if err := se.check(op); err != nil {
		return err
	}
	if len(template) == 0 {
		return opErr(op, "", fmt.Errorf("%w: the template names no attribute", pkcs11.CKR_ARGUMENTS_BAD))
	}
	s := se.slot
	o, err := s.lookup(h, pkcs11.CKR_OBJECT_HANDLE_INVALID)
	if err != nil {
		return opErr(op, "", err)
	}
	changed, err := se.by().Set(o.attrs(), template)
	if err != nil {
		return opErr(op, o.String(), err)
	}
	if err := se.mayWrite(o.token, o.private); err != nil {
		return opErr(op, o.String(), err)
	}
	d := o.drv()
	if d == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if o.dead.Load() {
			return opErr(op, o.String(), pkcs11.CKR_OBJECT_HANDLE_INVALID)
		}
		attrs := slices.Clone(o.attrs())
		for _, a := range changed.Clone() {
			attrs = attrs.Set(a)
		}
		s.objects.updateOwn(o, attrs)
		return nil
	}
	updater, ok := s.token.(driver.Updater)
	if !ok {
		return opErr(op, o.String(), fmt.Errorf("%w: this token does not change attributes", pkcs11.CKR_ACTION_PROHIBITED))
	}
	if err := s.acquire(ctx); err != nil {
		return opErr(op, o.String(), err)
	}
	d, err = updater.Update(ctx, d, owned(changed))
	s.gate.release()
	if err != nil {
		return opErr(op, o.String(), deviceErr(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects.byHandle.get(h) == o {
		s.objects.update(o, d)
	}
	if o.token {
		s.changed()
	}
	return nil
}
