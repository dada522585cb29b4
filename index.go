package cryptoki

import (
	"slices"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An objectIndex holds the objects of a slot and finds them by handle, by the
// driver's identity, by label and by id, each in constant time, and all of them
// in the order of their creation. slot.mu guards it.
type objectIndex struct {
	byHandle   map[pkcs11.ObjectHandle]*object
	byDriverID map[string]*object
	byLabel    map[string][]*object
	byID       map[string][]*object

	first, last *object

	// loggedOut are the handles of private objects that the last logout made
	// invalid; empty again after the next login.
	loggedOut map[pkcs11.ObjectHandle]bool

	// touched are the driver's identities of objects that were created, changed
	// or destroyed here while the driver's list is being read, which may or may
	// not know of it. nil when no reading is under way.
	touched map[string]bool
}

// clear forgets all objects.
func (x *objectIndex) clear() {
	for _, o := range x.byHandle {
		o.dead.Store(true)
	}
	*x = objectIndex{
		byHandle:   make(map[pkcs11.ObjectHandle]*object),
		byDriverID: make(map[string]*object),
		byLabel:    make(map[string][]*object),
		byID:       make(map[string][]*object),
	}
}

func (x *objectIndex) add(o *object) {
	x.byHandle[o.handle] = o
	if o.drv() != nil {
		x.byDriverID[o.id] = o
		x.touch(o.id)
	}
	if o.before = x.last; o.before != nil {
		o.before.after = o
	} else {
		x.first = o
	}
	x.last = o
	x.enter(o)
}

func (x *objectIndex) remove(o *object) {
	o.dead.Store(true)
	if x.byHandle[o.handle] != o {
		return
	}
	delete(x.byHandle, o.handle)
	if o.drv() != nil {
		delete(x.byDriverID, o.id)
		x.touch(o.id)
	}
	if o.before != nil {
		o.before.after = o.after
	} else {
		x.first = o.after
	}
	if o.after != nil {
		o.after.before = o.before
	} else {
		x.last = o.before
	}
	o.before, o.after = nil, nil
	x.leave(o)
}

// update gives an object the attributes that the driver now has for it.
func (x *objectIndex) update(o *object, d driver.Object, attrs pkcs11.Template) {
	x.leave(o)
	o.set(d, attrs)
	x.enter(o)
	if d != nil {
		x.touch(o.id)
	}
}

func (x *objectIndex) removeWhere(cond func(*object) bool) []*object {
	var dead []*object
	for o := x.first; o != nil; o = o.after {
		if cond(o) {
			dead = append(dead, o)
		}
	}
	for _, o := range dead {
		x.remove(o)
	}
	return dead
}

func (x *objectIndex) enter(o *object) {
	attrs := o.attrs()
	label, id := attrs.Text(pkcs11.CKA_LABEL), string(attrs.Bytes(pkcs11.CKA_ID))
	x.byLabel[label] = append(x.byLabel[label], o)
	x.byID[id] = append(x.byID[id], o)
}

func (x *objectIndex) leave(o *object) {
	attrs := o.attrs()
	drop(x.byLabel, attrs.Text(pkcs11.CKA_LABEL), o)
	drop(x.byID, string(attrs.Bytes(pkcs11.CKA_ID)), o)
}

func drop(m map[string][]*object, key string, o *object) {
	list := m[key]
	if i := slices.Index(list, o); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(m, key)
	} else {
		m[key] = list
	}
}

// find appends to dst the handles of the objects that have all attributes of the
// canonical template, private ones only if the user is logged in, in the order
// of their creation.
func (x *objectIndex) find(template pkcs11.Template, user bool, dst []pkcs11.ObjectHandle) []pkcs11.ObjectHandle {
	var candidates []*object
	indexed := false
	for _, a := range template {
		switch a.Type {
		case pkcs11.CKA_LABEL:
			candidates, indexed = x.byLabel[a.Text()], true
		case pkcs11.CKA_ID:
			candidates, indexed = x.byID[string(a.Bytes())], true
		case pkcs11.CKA_UNIQUE_ID:
			// Session objects of the core's own are not in byDriverID.
			if o := x.byDriverID[a.Text()]; o != nil {
				candidates, indexed = []*object{o}, true
			}
		}
		if indexed {
			break
		}
	}
	if indexed {
		for _, o := range candidates {
			if (user || !o.private) && o.matches(template) {
				dst = append(dst, o.handle)
			}
		}
		return dst
	}
	for o := x.first; o != nil; o = o.after {
		if (user || !o.private) && o.matches(template) {
			dst = append(dst, o.handle)
		}
	}
	return dst
}

// touch notes a change made here while the driver's list is being read.
func (x *objectIndex) touch(driverID string) {
	if x.touched != nil {
		x.touched[driverID] = true
	}
}

// beginReplace announces that the driver's list is about to be read, abortReplace
// that nothing came of it.
func (x *objectIndex) beginReplace() { x.touched = make(map[string]bool) }
func (x *objectIndex) abortReplace() { x.touched = nil }

// endReplace makes the driver's objects those of list, as it was at some moment
// after beginReplace; what was touched since is newer. create makes the objects
// that are not known yet; one that it refuses is left out, and the error of the
// first is returned.
func (x *objectIndex) endReplace(list []driver.Object, create func(driver.Object) (*object, error)) error {
	touched := x.touched
	x.touched = nil
	var first error
	present := make(map[string]bool, len(list))
	for _, d := range list {
		id := d.ID()
		present[id] = true
		if touched[id] {
			continue
		}
		if o := x.byDriverID[id]; o != nil {
			if o.drv() != d {
				x.update(o, d, rules.Complete(d.Attributes()))
			}
			continue
		}
		o, err := create(d)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		x.add(o)
	}
	x.removeWhere(func(o *object) bool {
		return o.owner == nil && o.drv() != nil && !present[o.id] && !touched[o.id]
	})
	return first
}
