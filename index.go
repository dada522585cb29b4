package cryptoki

import (
	"cmp"
	"iter"
	"slices"
	"sync"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An objectIndex holds the objects of a slot and finds them by handle, by the
// driver's identity, by label and by id, each in constant time, and all of them
// in the order of their creation. slot.mu guards it.
type objectIndex struct {
	byHandle   handleTable
	byDriverID map[string]*object
	byLabel    map[string]*object // the first of those in a ring, by their links; so is byCKA
	byCKA      map[string]*object // by CKA_ID

	first, last *object

	// loggedOut are the handles of private objects that the last logout made
	// invalid; empty again after the next login.
	loggedOut map[pkcs11.ObjectHandle]bool

	// round counts how often the driver's list has been read.
	round uint32

	// touched are the driver's identities of objects that were created, changed
	// or destroyed here while the driver's list is being read, which may or may
	// not know of it. nil when no reading is under way.
	touched map[string]bool
}

// A handleTable finds objects by their handles, which are given in order: in pages
// of pageLen.
type handleTable map[pkcs11.ObjectHandle]*handlePage

const pageLen = 256

type handlePage struct {
	objects [pageLen]*object
	n       int // how many there are
}

func (t handleTable) get(h pkcs11.ObjectHandle) *object {
	if p := t[h/pageLen]; p != nil {
		return p.objects[h%pageLen]
	}
	return nil
}

// set makes o, which may be nil, the object of the handle.
func (t handleTable) set(h pkcs11.ObjectHandle, o *object) {
	p := t[h/pageLen]
	if p == nil {
		p = new(handlePage)
		t[h/pageLen] = p
	}
	if p.objects[h%pageLen] != nil {
		p.n--
	}
	if p.objects[h%pageLen] = o; o != nil {
		p.n++
	}
	if p.n == 0 {
		delete(t, h/pageLen)
	}
}

// links connect the objects that have something in common, in a ring.
type links struct{ before, after *object }

func labelLinks(o *object) *links { return &o.byLabel }
func ckaLinks(o *object) *links   { return &o.byCKA }

// clear forgets all objects.
func (x *objectIndex) clear() {
	for o := x.first; o != nil; o = o.after {
		o.dead.Store(true)
	}
	*x = objectIndex{byHandle: make(handleTable)}
	x.makeMaps(0)
}

// makeMaps makes those maps anew, while they are empty, that have an entry for
// each of about n objects.
func (x *objectIndex) makeMaps(n int) {
	x.byDriverID = make(map[string]*object, n)
	x.byLabel = make(map[string]*object, n/2) // a pair of keys has one
	x.byCKA = make(map[string]*object, n/2)
}

func (x *objectIndex) add(o *object) {
	if o.drv() != nil {
		x.byDriverID[o.id] = o
		x.touch(o.id)
	}
	x.link(o)
}

// slabLen is how many objects that are met together are made in one piece: they
// mostly end together, too.
const slabLen = 64

// adoptAll adds objects of the driver's, none of which is known yet, with handles
// from first on. One of which the driver says too little is left out, and the error of the
// first of them is returned. For many objects it uses two processors.
func (x *objectIndex) adoptAll(list []driver.Object, first pkcs11.ObjectHandle) error {
	objects := make([]*object, len(list))
	adopt := func(from, to int) (err error) {
		var slab []object
		for i := from; i < to; i++ {
			if len(slab) == 0 {
				slab = make([]object, min(to-i, slabLen))
			}
			o := &slab[0]
			slab = slab[1:]
			if e := o.adopt(first+pkcs11.ObjectHandle(i), list[i], nil); e != nil {
				err = cmp.Or(err, e)
				continue
			}
			o.round = x.round
			objects[i] = o
		}
		return err
	}
	each := func(f func(*object)) {
		for _, o := range objects {
			if o != nil {
				f(o)
			}
		}
	}
	identify := func() { each(func(o *object) { x.byDriverID[o.id] = o; x.enterCKA(o) }) }
	link := func() { each(func(o *object) { x.append(o); x.enterLabel(o) }) }
	if len(list) < 1000 {
		err := adopt(0, len(list))
		identify()
		link()
		return err
	}
	var errs [2]error
	half := len(list) / 2
	both(func() { errs[0] = adopt(0, half) }, func() { errs[1] = adopt(half, len(list)) })
	both(identify, link) // which take as long as each other
	return cmp.Or(errs[0], errs[1])
}

// both calls f and g at the same time.
func both(f, g func()) {
	var wg sync.WaitGroup
	wg.Go(f)
	g()
	wg.Wait()
}

// link adds an object to all but byDriverID.
func (x *objectIndex) link(o *object) {
	x.append(o)
	x.enter(o)
}

// append makes an object the last in the order, and finds it by its handle.
func (x *objectIndex) append(o *object) {
	x.byHandle.set(o.handle, o)
	if o.before = x.last; o.before != nil {
		o.before.after = o
	} else {
		x.first = o
	}
	x.last = o
}

func (x *objectIndex) remove(o *object) {
	o.dead.Store(true)
	if x.byHandle.get(o.handle) != o {
		return
	}
	x.byHandle.set(o.handle, nil)
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

// update makes d what the driver now has for an object.
func (x *objectIndex) update(o *object, d driver.Object) {
	st := &objectState{}
	if indexed, ok := d.(driver.Indexed); ok {
		i := indexed.Index()
		st.drv, st.label, st.cka = d, i.Label, i.ID
	} else {
		st.set(d, rules.Complete(d.Attributes()))
	}
	x.setState(o, st)
	x.touch(o.id)
}

// updateOwn gives an object that the core keeps other attributes.
func (x *objectIndex) updateOwn(o *object, attrs pkcs11.Template) {
	st := &objectState{}
	st.set(nil, attrs)
	x.setState(o, st)
}

func (x *objectIndex) setState(o *object, st *objectState) {
	x.leave(o)
	o.state.Store(st)
	x.enter(o)
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
	x.enterLabel(o)
	x.enterCKA(o)
}

func (x *objectIndex) enterLabel(o *object) { join(x.byLabel, o.state.Load().label, o, labelLinks) }
func (x *objectIndex) enterCKA(o *object)   { join(x.byCKA, o.state.Load().cka, o, ckaLinks) }

func (x *objectIndex) leave(o *object) {
	st := o.state.Load()
	part(x.byLabel, st.label, o, labelLinks)
	part(x.byCKA, st.cka, o, ckaLinks)
}

// join makes o the last of the ring that m has for the key.
func join(m map[string]*object, key string, o *object, of func(*object) *links) {
	first := m[key]
	if first == nil {
		m[key] = o
		*of(o) = links{o, o}
		return
	}
	last := of(first).before
	*of(o) = links{last, first}
	of(last).after, of(first).before = o, o
}

// part takes o out of its ring.
func part(m map[string]*object, key string, o *object, of func(*object) *links) {
	l := *of(o)
	switch {
	case l.after == o:
		delete(m, key)
	case m[key] == o:
		m[key] = l.after
		fallthrough
	default:
		of(l.before).after, of(l.after).before = l.after, l.before
	}
	*of(o) = links{}
}

// ring goes round from the first one, which may be nil.
func ring(first *object, of func(*object) *links) iter.Seq[*object] {
	return func(yield func(*object) bool) {
		for o := first; o != nil && yield(o); {
			if o = of(o).after; o == first {
				return
			}
		}
	}
}

// labelled are the objects of that label, in the order in which they got it.
func (x *objectIndex) labelled(label string) iter.Seq[*object] {
	return ring(x.byLabel[label], labelLinks)
}

// find appends to dst the handles of the objects that have all attributes of the
// canonical template, private ones only if the user is logged in, in the order
// of their creation.
func (x *objectIndex) find(template pkcs11.Template, user bool, dst []pkcs11.ObjectHandle) []pkcs11.ObjectHandle {
	// Hardware features are found by those who ask for them. PKCS #11 v2.40 §4.3.1.
	features := slices.ContainsFunc(template, func(a pkcs11.Attribute) bool {
		return a.Type == pkcs11.CKA_CLASS && a.Uint() == uint64(pkcs11.CKO_HW_FEATURE)
	})
	check := func(o *object) {
		if (user || !o.private) && (features || o.class != pkcs11.CKO_HW_FEATURE) && o.matches(template) {
			dst = append(dst, o.handle)
		}
	}
	for _, a := range template {
		switch a.Type {
		case pkcs11.CKA_LABEL:
			for o := range x.labelled(a.Text()) {
				check(o)
			}
			return dst
		case pkcs11.CKA_ID:
			for o := range ring(x.byCKA[string(a.Bytes())], ckaLinks) {
				check(o)
			}
			return dst
		case pkcs11.CKA_UNIQUE_ID:
			// Session objects of the core's own are not in byDriverID.
			if o := x.byDriverID[a.Text()]; o != nil {
				check(o)
				return dst
			}
		}
	}
	for o := x.first; o != nil; o = o.after {
		check(o)
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
// after beginReplace; what was touched since is newer. Objects that are not known
// yet get handles from handles(n) on, which sets n aside; one of which the driver says
// too little is left out, and the error of the first is returned.
func (x *objectIndex) endReplace(list []driver.Object, handles func(n int) pkcs11.ObjectHandle) error {
	touched := x.touched
	x.touched = nil
	x.round++
	if x.first == nil && len(touched) == 0 {
		x.makeMaps(len(list))
		return x.adoptAll(list, handles(len(list)))
	}
	var unknown []driver.Object
	for _, d := range list {
		id := d.ID()
		if o := x.byDriverID[id]; o == nil {
			if !touched[id] {
				unknown = append(unknown, d)
			}
		} else {
			o.round = x.round
			if o.drv() != d && !touched[id] {
				x.update(o, d)
			}
		}
	}
	err := x.adoptAll(unknown, handles(len(unknown)))
	x.removeWhere(func(o *object) bool {
		return o.owner == nil && o.drv() != nil && o.round != x.round && !touched[o.id]
	})
	return err
}
