package conformance_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"slices"
	"sync"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A medium is what a vault keeps its things on: it outlives the token.
type medium struct {
	mu          sync.Mutex
	initialized bool
	label       string
	pins        [2]string // of the SO and the user
	tries       [2]int
	wrong       int // PINs that were wrong, ever
	next        int
	objects     []*thing
}

const maxTries = 5

// A vault is a driver in memory with P-256 and RSA-2048 keys: right, small, and
// without the cost of a real one.
type vault struct {
	*medium
	login   pkcs11.UserType
	logged  bool
	session []*thing
}

var (
	_ driver.KeyPairGenerator = (*vault)(nil)
	_ driver.Creator          = (*vault)(nil)
	_ driver.Copier           = (*vault)(nil)
	_ driver.Destroyer        = (*vault)(nil)
	_ driver.Updater          = (*vault)(nil)
	_ driver.RandomReader     = (*vault)(nil)
	_ driver.RandomSeeder     = (*vault)(nil)
	_ driver.Authenticator    = (*vault)(nil)
	_ driver.PINSetter        = (*vault)(nil)
	_ driver.Initializer      = (*vault)(nil)
	_ driver.Signer           = signer{}
	_ driver.Exporter         = signer{}
)

// A thing is an object; with a key it is a signer.
type thing struct {
	id    string
	attrs pkcs11.Template
	key   crypto.PrivateKey
}

func (o *thing) ID() string                  { return o.id }
func (o *thing) Attributes() pkcs11.Template { return o.attrs }

type signer struct{ *thing }

func (o *thing) driver() driver.Object {
	if o.key != nil {
		return signer{o}
	}
	return o
}

func thingOf(o driver.Object) *thing {
	if s, ok := o.(signer); ok {
		return s.thing
	}
	return o.(*thing)
}

func (v *vault) Info() driver.Info {
	v.mu.Lock()
	defer v.mu.Unlock()
	info := driver.Info{Label: v.label, ManufacturerID: "conformance", Model: "vault", SerialNumber: "V1", MinPINLen: 4, MaxPINLen: 64,
		Flags: pkcs11.CKF_LOGIN_REQUIRED}
	if v.initialized {
		info.Flags |= pkcs11.CKF_TOKEN_INITIALIZED
	}
	if v.pins[1] != "" {
		info.Flags |= pkcs11.CKF_USER_PIN_INITIALIZED
	}
	if v.tries[1] >= maxTries {
		info.Flags |= pkcs11.CKF_USER_PIN_LOCKED
	}
	return info
}

const ecFlags = pkcs11.CKF_EC_F_P | pkcs11.CKF_EC_NAMEDCURVE | pkcs11.CKF_EC_UNCOMPRESS

func (v *vault) Mechanisms() []driver.Mechanism {
	row := func(m pkcs11.MechanismType, bits, flags uint64) driver.Mechanism {
		return driver.Mechanism{Type: m, MechanismInfo: pkcs11.MechanismInfo{MinKeySize: bits, MaxKeySize: bits, Flags: flags}}
	}
	return []driver.Mechanism{
		row(pkcs11.CKM_EC_KEY_PAIR_GEN, 256, pkcs11.CKF_GENERATE_KEY_PAIR|ecFlags),
		row(pkcs11.CKM_ECDSA, 256, pkcs11.CKF_SIGN|ecFlags),
		row(pkcs11.CKM_RSA_PKCS, 2048, pkcs11.CKF_SIGN),
		row(pkcs11.CKM_RSA_X_509, 2048, pkcs11.CKF_SIGN),
	}
}

func (v *vault) Objects(context.Context) ([]driver.Object, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var list []driver.Object
	for _, o := range v.objects {
		if v.user() || !o.attrs.Bool(pkcs11.CKA_PRIVATE) {
			list = append(list, o.driver())
		}
	}
	return list, nil
}

func (v *vault) user() bool { return v.logged && v.login == pkcs11.CKU_USER }

func (v *vault) Close() error { return nil }

// put stores a thing. v.mu is held.
func (v *vault) put(attrs pkcs11.Template, key crypto.PrivateKey) *thing {
	v.next++
	o := &thing{fmt.Sprintf("thing-%d", v.next), attrs.Clone(), key}
	if attrs.Bool(pkcs11.CKA_TOKEN) {
		v.objects = append(v.objects, o)
	} else {
		v.session = append(v.session, o)
	}
	return o
}

func (v *vault) remove(objects []driver.Object) {
	for _, o := range objects {
		is := func(p *thing) bool { return p == thingOf(o) }
		v.objects = slices.DeleteFunc(v.objects, is)
		v.session = slices.DeleteFunc(v.session, is)
	}
}

func (v *vault) GenerateKeyPair(_ context.Context, _ *pkcs11.Mechanism, public, private pkcs11.Template, replaces []driver.Object) (pub, priv driver.Object, err error) {
	curve, err := driver.Curve(public)
	if err != nil || curve != elliptic.P256() {
		return nil, nil, fmt.Errorf("vault: P-256 only: %w", pkcs11.CKR_CURVE_NOT_SUPPORTED)
	}
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if public, err = driver.CompletePublic(public, &key.PublicKey); err != nil {
		return nil, nil, err
	}
	if private, err = driver.CompletePrivate(private, &key.PublicKey); err != nil {
		return nil, nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remove(replaces)
	return v.put(public, nil), signer{v.put(private, key)}, nil
}

func (v *vault) CreateObject(_ context.Context, t pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	var key crypto.PrivateKey
	switch pkcs11.ObjectClass(t.Uint(pkcs11.CKA_CLASS)) {
	case pkcs11.CKO_PRIVATE_KEY:
		var err error
		if key, err = driver.PrivateKey(t); err != nil {
			return nil, err
		}
		var pub crypto.PublicKey
		switch k := key.(type) {
		case *ecdsa.PrivateKey:
			pub = &k.PublicKey
			if k.Curve != elliptic.P256() {
				return nil, fmt.Errorf("vault: P-256 only: %w", pkcs11.CKR_CURVE_NOT_SUPPORTED)
			}
		case *rsa.PrivateKey:
			pub = &k.PublicKey
		default:
			return nil, fmt.Errorf("vault: P-256 and RSA only: %w", pkcs11.CKR_TEMPLATE_INCONSISTENT)
		}
		if t, err = driver.CompletePrivate(t, pub); err != nil {
			return nil, err
		}
	case pkcs11.CKO_PUBLIC_KEY:
		pub, err := driver.PublicKey(t)
		if err != nil {
			return nil, err
		}
		if t, err = driver.CompletePublic(t, pub); err != nil {
			return nil, err
		}
	case pkcs11.CKO_SECRET_KEY:
		return nil, fmt.Errorf("vault: no secret keys: %w", pkcs11.CKR_TEMPLATE_INCONSISTENT)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remove(replaces)
	return v.put(t, key).driver(), nil
}

func (v *vault) CopyObject(_ context.Context, o driver.Object, t pkcs11.Template) (driver.Object, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.put(t, thingOf(o).key).driver(), nil
}

func (v *vault) Destroy(_ context.Context, objects ...driver.Object) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remove(objects)
	return nil
}

func (v *vault) Update(_ context.Context, o driver.Object, changed pkcs11.Template) (driver.Object, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := thingOf(o)
	n := &thing{old.id, old.attrs.Clone(), old.key}
	for _, a := range changed.Clone() {
		n.attrs = n.attrs.Set(a)
	}
	for _, list := range [][]*thing{v.objects, v.session} {
		if i := slices.Index(list, old); i >= 0 {
			list[i] = n
		}
	}
	return n.driver(), nil
}

func (v *vault) ReadRandom(_ context.Context, b []byte) error {
	_, err := rand.Read(b)
	return err
}

// SeedRandom is for those who want to; crypto/rand needs no seed.
func (v *vault) SeedRandom(context.Context, []byte) error { return nil }

func (v *vault) check(user pkcs11.UserType, pin []byte) error {
	switch {
	case v.pins[user] == "":
		return pkcs11.CKR_USER_PIN_NOT_INITIALIZED
	case v.tries[user] >= maxTries:
		return pkcs11.CKR_PIN_LOCKED
	case v.pins[user] != string(pin):
		v.tries[user]++
		v.wrong++
		return pkcs11.CKR_PIN_INCORRECT
	}
	v.tries[user] = 0
	return nil
}

func (v *vault) Login(_ context.Context, user pkcs11.UserType, pin []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if user == pkcs11.CKU_CONTEXT_SPECIFIC {
		return v.check(pkcs11.CKU_USER, pin)
	}
	if err := v.check(user, pin); err != nil {
		return err
	}
	v.login, v.logged = user, true
	return nil
}

func (v *vault) Logout(context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.logged = false
	return nil
}

func (v *vault) InitPIN(_ context.Context, pin []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.pins[pkcs11.CKU_USER], v.tries[pkcs11.CKU_USER] = string(pin), 0
	return nil
}

func (v *vault) SetPIN(_ context.Context, user pkcs11.UserType, oldPIN, newPIN []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.check(user, oldPIN); err != nil {
		return err
	}
	v.pins[user] = string(newPIN)
	return nil
}

func (v *vault) InitToken(_ context.Context, soPIN []byte, label string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.initialized {
		if err := v.check(pkcs11.CKU_SO, soPIN); err != nil {
			return err
		}
	}
	v.initialized, v.label, v.objects = true, label, nil
	v.pins, v.tries = [2]string{string(soPIN), ""}, [2]int{}
	return nil
}

func (s signer) Sign(_ context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	switch k := s.key.(type) {
	case *ecdsa.PrivateKey:
		r, z, err := ecdsa.Sign(rand.Reader, k, data)
		if err != nil {
			return nil, err
		}
		sig := make([]byte, 64)
		r.FillBytes(sig[:32])
		z.FillBytes(sig[32:])
		return sig, nil
	case *rsa.PrivateKey:
		switch m.Type {
		case pkcs11.CKM_RSA_PKCS:
			return rsa.SignPKCS1v15(nil, k, 0, data)
		case pkcs11.CKM_RSA_X_509:
			c := new(big.Int).SetBytes(data)
			if c.Cmp(k.N) >= 0 {
				return nil, pkcs11.CKR_DATA_INVALID
			}
			return c.Exp(c, k.D, k.N).FillBytes(make([]byte, k.Size())), nil
		}
	}
	return nil, pkcs11.CKR_MECHANISM_INVALID
}

func (s signer) Export(_ context.Context, types ...pkcs11.AttributeType) (pkcs11.Template, error) {
	var t pkcs11.Template
	if k, ok := s.key.(*ecdsa.PrivateKey); ok && slices.Contains(types, pkcs11.CKA_VALUE) {
		d, err := k.Bytes()
		if err != nil {
			return nil, err
		}
		t = append(t, pkcs11.Attr(pkcs11.CKA_VALUE, d))
	}
	return t, nil
}
