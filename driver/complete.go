package driver

import (
	"crypto"
	"fmt"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// CompletePublic returns the attributes of the public key object of a key pair
// that the driver has generated, or of a public key it was given: those of t,
// and
//
//   - CKA_KEY_TYPE,
//   - CKA_EC_PARAMS and CKA_EC_POINT, or CKA_MODULUS, CKA_MODULUS_BITS and
//     CKA_PUBLIC_EXPONENT,
//   - CKA_PUBLIC_KEY_INFO,
//   - CKA_ID if it is absent or empty: 20 bytes made of the public key, so that
//     the objects of a pair, and its certificate, find each other.
//
// Values that t has stay as they are. If one of them says that this is another
// key, a CKA_MODULUS_BITS or CKA_EC_PARAMS that the generated key does not have
// among them, the error wraps CKR_TEMPLATE_INCONSISTENT: the device did not do
// what it was asked for. t is not modified; the result shares its values.
//
// pub is an *rsa.PublicKey, an *ecdsa.PublicKey on P-256, P-384 or P-521, an
// ed25519.PublicKey, or an X25519 *ecdh.PublicKey.
func CompletePublic(t pkcs11.Template, pub crypto.PublicKey) (pkcs11.Template, error) {
	attrs, err := keys.PublicAttributes(pub)
	if err != nil {
		return nil, err
	}
	return complete(t, every, pub, attrs)
}

// CompletePair is CompletePublic of public and CompletePrivate of private, of a
// key pair just generated. It encodes the public key once.
func CompletePair(public, private pkcs11.Template, pub crypto.PublicKey) (fullPublic, fullPrivate pkcs11.Template, err error) {
	attrs, err := keys.PublicAttributes(pub)
	if err != nil {
		return nil, nil, err
	}
	if fullPublic, err = complete(public, every, pub, attrs); err != nil {
		return nil, nil, err
	}
	fullPrivate, err = completePrivate(private, pub, attrs)
	return fullPublic, fullPrivate, err
}

// CompletePrivate is CompletePublic for the private key object. It adds
// CKA_KEY_TYPE, CKA_EC_PARAMS or CKA_MODULUS and CKA_PUBLIC_EXPONENT,
// CKA_PUBLIC_KEY_INFO, and CKA_ID if it is absent or empty. Clients read the RSA
// components and the public key info of private keys whose public key object
// or certificate is gone.
//
// The result holds what may be shown. Secret components that t has, as after
// CreateObject, are left out; store them elsewhere.
func CompletePrivate(t pkcs11.Template, pub crypto.PublicKey) (pkcs11.Template, error) {
	attrs, err := keys.PublicAttributes(pub)
	if err != nil {
		return nil, err
	}
	return completePrivate(t, pub, attrs)
}

func completePrivate(t pkcs11.Template, pub crypto.PublicKey, attrs pkcs11.Template) (pkcs11.Template, error) {
	shown := attrs[:0]
	for _, a := range attrs {
		if a.Type != pkcs11.CKA_EC_POINT && a.Type != pkcs11.CKA_MODULUS_BITS {
			shown = append(shown, a)
		}
	}
	return complete(t, shows, pub, shown)
}

// every reports that an attribute of a public key stays.
func every(pkcs11.AttributeType) bool { return true }

// shows reports whether an attribute of a private key may be shown.
func shows(t pkcs11.AttributeType) bool { return !secret(t) }

// secret reports whether an attribute of a private key is a secret component.
func secret(t pkcs11.AttributeType) bool {
	switch t {
	case pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
		pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT:
		return true
	}
	return false
}

// complete returns those attributes of t that stay, and those of the public key, in
// the order in which they are stored.
func complete(t pkcs11.Template, stays func(pkcs11.AttributeType) bool, pub crypto.PublicKey, attrs pkcs11.Template) (pkcs11.Template, error) {
	u := make(pkcs11.Template, 0, len(t)+len(attrs)+1)
	for _, a := range t {
		if stays(a.Type) {
			u = append(u, a)
		}
	}
	for _, a := range attrs {
		have, ok := u.Get(a.Type)
		switch {
		case !ok || a.Type == pkcs11.CKA_PUBLIC_KEY_INFO && len(have.Bytes()) == 0:
			u = u.Set(a)
		case !have.Equal(a) && !sameKey(u, pub, a.Type):
			return nil, fmt.Errorf("%v: %w: the template has %v, the key %v", a.Type, pkcs11.CKR_TEMPLATE_INCONSISTENT, have, a)
		}
	}
	if len(u.Bytes(pkcs11.CKA_ID)) == 0 {
		u = u.Set(pkcs11.Attr(pkcs11.CKA_ID, keys.InfoID(attrs.Bytes(pkcs11.CKA_PUBLIC_KEY_INFO))))
	}
	// All but the last few are in order already.
	for i := range u {
		for ; i > 0 && u[i].Type < u[i-1].Type; i-- {
			u[i], u[i-1] = u[i-1], u[i]
		}
	}
	return u, nil
}

// sameKey reports whether the value that a template has for a component is
// another encoding of that of pub: a bare point, a name for an OID, leading
// zeros.
func sameKey(t pkcs11.Template, pub crypto.PublicKey, typ pkcs11.AttributeType) bool {
	if typ.Kind() != pkcs11.KindBytes {
		return false
	}
	have, _ := t.Get(typ)
	attrs, err := keys.PublicAttributes(pub)
	if err != nil {
		return false
	}
	got, err := keys.PublicKey(attrs.Set(have))
	return err == nil && keys.Equal(got, pub)
}
