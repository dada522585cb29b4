package cryptoki

import (
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// An object is what a handle stands for. All but state and dead is fixed.
type object struct {
	handle  pkcs11.ObjectHandle
	id      string // CKA_UNIQUE_ID, the driver's identity of it
	class   pkcs11.ObjectClass
	keyType pkcs11.KeyType
	token   bool
	private bool
	owner   *session // of a session object

	// state is replaced as a whole when attributes change, under slot.mu.
	state atomic.Pointer[objectState]
	first objectState // what state points to at first

	// dead is set when the object is destroyed, or hidden by a logout. Operations
	// with it are then gone from every session.
	dead atomic.Bool

	// What follows is the index's, and slot.mu guards it.
	before, after  *object // in the order of creation
	byLabel, byCKA links   // those of the same label, and of the same CKA_ID
	round          uint32  // of reading the driver's list, in which it was met
}

// objectState is what changes when attributes do.
type objectState struct {
	drv   driver.Object // nil for a public session object, which the core keeps itself
	label string
	cka   string // the bytes of CKA_ID

	full atomic.Pointer[fullState] // made at first use of an Indexed object
	pub  atomic.Pointer[publicKey] // parsed at first use
}

// fullState is what follows from all attributes.
type fullState struct {
	attrs pkcs11.Template // complete and canonical; shared, never modified
	use   usage
}

// usage is what a key may be used for.
type usage uint16

const (
	mayEncrypt usage = 1 << iota
	mayDecrypt
	maySign
	mayVerify
	mayWrap
	mayUnwrap
	mayDerive
	alwaysAuthenticate
	restricted // CKA_ALLOWED_MECHANISMS is there
)

var usageOf = [...]struct {
	attr pkcs11.AttributeType
	use  usage
}{
	{pkcs11.CKA_ENCRYPT, mayEncrypt},
	{pkcs11.CKA_DECRYPT, mayDecrypt},
	{pkcs11.CKA_SIGN, maySign},
	{pkcs11.CKA_VERIFY, mayVerify},
	{pkcs11.CKA_WRAP, mayWrap},
	{pkcs11.CKA_UNWRAP, mayUnwrap},
	{pkcs11.CKA_DERIVE, mayDerive},
	{pkcs11.CKA_ALWAYS_AUTHENTICATE, alwaysAuthenticate},
}

func newObject(h pkcs11.ObjectHandle, d driver.Object, owner *session) (*object, error) {
	o := new(object)
	return o, o.adopt(h, d, owner)
}

// adopt makes o, which is empty, the object of a driver's.
func (o *object) adopt(h pkcs11.ObjectHandle, d driver.Object, owner *session) error {
	o.handle, o.id, o.owner = h, d.ID(), owner
	if d, ok := d.(driver.Indexed); ok {
		i := d.Index()
		o.class, o.keyType, o.token, o.private = i.Class, i.KeyType, i.Token, i.Private
		o.first.drv, o.first.label, o.first.cka = d, i.Label, i.ID
		o.state.Store(&o.first)
		return nil
	}
	attrs := d.Attributes()
	if !attrs.Has(pkcs11.CKA_CLASS) {
		return fmt.Errorf("object %s: the driver states no CKA_CLASS: %w", d.ID(), pkcs11.CKR_DEVICE_ERROR)
	}
	o.describe(d, rules.Complete(attrs))
	return nil
}

func newSessionObject(h pkcs11.ObjectHandle, attrs pkcs11.Template, owner *session) *object {
	o := &object{handle: h, id: "session-" + strconv.FormatUint(uint64(h), 10), owner: owner}
	o.describe(nil, attrs)
	return o
}

func (o *object) describe(d driver.Object, attrs pkcs11.Template) {
	o.class = pkcs11.ObjectClass(attrs.Uint(pkcs11.CKA_CLASS))
	if a, ok := attrs.Get(pkcs11.CKA_KEY_TYPE); ok {
		o.keyType = pkcs11.KeyType(a.Uint())
	}
	o.token = attrs.Bool(pkcs11.CKA_TOKEN)
	o.private = attrs.Bool(pkcs11.CKA_PRIVATE)
	o.first.set(d, attrs)
	o.state.Store(&o.first)
}

// set makes the state that of complete attributes.
func (st *objectState) set(d driver.Object, attrs pkcs11.Template) {
	st.drv, st.label, st.cka = d, attrs.Text(pkcs11.CKA_LABEL), string(attrs.Bytes(pkcs11.CKA_ID))
	st.full.Store(newFullState(attrs))
}

func newFullState(attrs pkcs11.Template) *fullState {
	f := &fullState{attrs: attrs}
	for _, a := range attrs {
		for _, u := range usageOf {
			if a.Type == u.attr && a.Bool() {
				f.use |= u.use
			}
		}
		if a.Type == pkcs11.CKA_ALLOWED_MECHANISMS {
			f.use |= restricted
		}
	}
	return f
}

// all returns what follows from all attributes.
func (st *objectState) all() *fullState {
	if f := st.full.Load(); f != nil {
		return f
	}
	f := newFullState(rules.Complete(st.drv.Attributes()))
	st.full.CompareAndSwap(nil, f)
	return f
}

func (st *objectState) attrs() pkcs11.Template { return st.all().attrs }

func (st *objectState) use() usage { return st.all().use }

func (o *object) attrs() pkcs11.Template { return o.state.Load().attrs() }

func (o *object) drv() driver.Object { return o.state.Load().drv }

func (o *object) label() string { return o.state.Load().label }

// isKey reports whether the object is a key of any class.
func (o *object) isKey() bool {
	return o.class == pkcs11.CKO_PUBLIC_KEY || o.class == pkcs11.CKO_PRIVATE_KEY || o.class == pkcs11.CKO_SECRET_KEY
}

var classNames = map[pkcs11.ObjectClass]string{
	pkcs11.CKO_DATA:        "data",
	pkcs11.CKO_CERTIFICATE: "certificate",
	pkcs11.CKO_PUBLIC_KEY:  "public key",
	pkcs11.CKO_PRIVATE_KEY: "private key",
	pkcs11.CKO_SECRET_KEY:  "secret key",
	pkcs11.CKO_PROFILE:     "profile",
}

func className(c pkcs11.ObjectClass) string {
	if s, ok := classNames[c]; ok {
		return s
	}
	return c.String()
}

// String names the object for errors: private key "Device Priv TLS Key".
func (o *object) String() string {
	if l := o.label(); l != "" {
		return fmt.Sprintf("%s %q", className(o.class), l)
	}
	return fmt.Sprintf("%s %d", className(o.class), o.handle)
}

// matches reports whether the object has all attributes of the canonical
// template. Values that are not shown match nothing.
func (o *object) matches(template pkcs11.Template) bool {
	st := o.state.Load()
	for _, want := range template {
		if same, sure := o.compare(st, want); sure && !same {
			return false
		} else if !sure {
			if have, ok := st.attrs().Get(want.Type); !ok || !have.Equal(want) {
				return false
			}
		}
	}
	return true
}

// compare compares an attribute with what is known without the others. It is not
// sure where the object may not have the attribute.
func (o *object) compare(st *objectState, want pkcs11.Attribute) (same, sure bool) {
	switch want.Type {
	case pkcs11.CKA_UNIQUE_ID:
		return want.Text() == o.id, true
	case pkcs11.CKA_CLASS:
		return want.Uint() == uint64(o.class), true
	case pkcs11.CKA_KEY_TYPE:
		return want.Uint() == uint64(o.keyType), o.keyType != 0
	case pkcs11.CKA_TOKEN:
		return o.token, want.Bool()
	case pkcs11.CKA_PRIVATE:
		return o.private, want.Bool()
	case pkcs11.CKA_LABEL:
		return want.Text() == st.label, st.label != ""
	case pkcs11.CKA_ID:
		return string(want.Bytes()) == st.cka, st.cka != ""
	}
	return false, false
}
