package cryptoki

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func (se *session) WrapKey(ctx context.Context, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle, wrapped []byte) (int, error) {
	const op = "WrapKey"
	if err := se.check(op); err != nil {
		return 0, err
	}
	if m == nil {
		return 0, opErr(op, "", errNilMechanism)
	}
	row, w, err := se.keyFor(&needWrap, m, wrapping)
	if err != nil {
		return 0, opErr(op, "", wrappingCode(err, pkcs11.CKR_WRAPPING_KEY_HANDLE_INVALID, pkcs11.CKR_WRAPPING_KEY_TYPE_INCONSISTENT))
	}
	o, err := se.slot.lookup(key, pkcs11.CKR_KEY_HANDLE_INVALID)
	if err != nil {
		return 0, opErr(op, "", err)
	}
	if o.class != pkcs11.CKO_SECRET_KEY && o.class != pkcs11.CKO_PRIVATE_KEY {
		return 0, opErr(op, o.String(), fmt.Errorf("%w: only secret and private keys are wrapped", pkcs11.CKR_KEY_HANDLE_INVALID))
	}
	if err := rules.Wrap(w.attrs(), o.attrs()); err != nil {
		return 0, opErr(op, o.String(), err)
	}
	c := cipherOp{key: w, row: row}
	if c.mech, err = cipherParameters(row, m); err != nil {
		return 0, opErr(op, w.String(), err)
	}
	if w.class == pkcs11.CKO_PUBLIC_KEY {
		if c.pub, err = w.publicKey(); err != nil {
			return 0, opErr(op, w.String(), err)
		}
	} else if _, ok := w.drv().(driver.Encrypter); !ok {
		return 0, opErr(op, w.String(), fmt.Errorf("%w: the token does not wrap with it", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED))
	}
	plain, err := se.wrappable(ctx, o)
	if err != nil {
		return 0, opErr(op, o.String(), err)
	}
	defer clear(plain)
	if size := c.size(encryption, len(plain)); len(wrapped) < size {
		return size, opErr(op, o.String(), short(wrapped, size))
	}
	out, err := se.cipherNow(ctx, encryption, &c, plain)
	if err != nil {
		var code pkcs11.Error
		if errors.As(err, &code) && code == pkcs11.CKR_DATA_LEN_RANGE {
			err = fmt.Errorf("%w: %w", pkcs11.CKR_KEY_SIZE_RANGE, err)
		}
		return 0, opErr(op, o.String(), err)
	}
	if len(out) > len(wrapped) {
		return len(out), opErr(op, o.String(), short(wrapped, len(out)))
	}
	return copy(wrapped, out), nil
}

// wrappingCode gives an error of keyFor the code that it has for the key that
// wraps or unwraps.
func wrappingCode(err error, handle, typ pkcs11.Error) error {
	switch pkcs11.CodeOf(err) {
	case pkcs11.CKR_KEY_HANDLE_INVALID:
		return fmt.Errorf("%w: %w", handle, err)
	case pkcs11.CKR_KEY_TYPE_INCONSISTENT:
		return fmt.Errorf("%w: %w", typ, err)
	}
	return err
}

// wrappable returns what of a key is wrapped: the value of a secret key, the
// PKCS #8 PrivateKeyInfo of a private one. PKCS #11 v2.40 mechanisms, §2.7.
func (se *session) wrappable(ctx context.Context, o *object) ([]byte, error) {
	e, ok := o.drv().(driver.Exporter)
	if !ok {
		return nil, fmt.Errorf("%w: the token does not give it out", pkcs11.CKR_KEY_NOT_WRAPPABLE)
	}
	types := []pkcs11.AttributeType{pkcs11.CKA_VALUE}
	if o.keyType == pkcs11.CKK_RSA {
		types = []pkcs11.AttributeType{pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2,
			pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT}
	}
	s := se.slot
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	secrets, err := e.Export(ctx, types...)
	s.gate.release()
	if err != nil {
		return nil, deviceErr(err)
	}
	if o.class == pkcs11.CKO_SECRET_KEY {
		value := secrets.Bytes(pkcs11.CKA_VALUE)
		if len(value) == 0 {
			return nil, fmt.Errorf("%w: the token does not give out its value", pkcs11.CKR_KEY_NOT_WRAPPABLE)
		}
		return value, nil
	}
	defer keys.Wipe(secrets)
	full := append(pkcs11.Template{}, secrets...)
	for _, t := range []pkcs11.AttributeType{pkcs11.CKA_CLASS, pkcs11.CKA_KEY_TYPE, pkcs11.CKA_EC_PARAMS, pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT} {
		if a, ok := o.attrs().Get(t); ok {
			full = append(full, a)
		}
	}
	key, err := keys.PrivateKey(full)
	if err != nil {
		return nil, err
	}
	der, err := keys.MarshalPKCS8(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", pkcs11.CKR_KEY_NOT_WRAPPABLE, err)
	}
	return der, nil
}

func (se *session) UnwrapKey(ctx context.Context, m *pkcs11.Mechanism, unwrapping pkcs11.ObjectHandle, wrapped []byte, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	const op = "UnwrapKey"
	if err := se.check(op); err != nil {
		return 0, err
	}
	if m == nil {
		return 0, opErr(op, "", errNilMechanism)
	}
	row, u, err := se.keyFor(&needUnwrap, m, unwrapping)
	if err != nil {
		return 0, opErr(op, "", wrappingCode(err, pkcs11.CKR_UNWRAPPING_KEY_HANDLE_INVALID, pkcs11.CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT))
	}
	if len(wrapped) == 0 {
		return 0, opErr(op, "", fmt.Errorf("%w: the wrapped key is empty", pkcs11.CKR_WRAPPED_KEY_LEN_RANGE))
	}
	if u.state.Load().use()&alwaysAuthenticate != 0 {
		return 0, opErr(op, u.String(), fmt.Errorf("%w: a CKA_ALWAYS_AUTHENTICATE key does not unwrap, for the function has no place for the login", pkcs11.CKR_USER_NOT_LOGGED_IN))
	}
	c := cipherOp{key: u, row: row}
	if c.mech, err = cipherParameters(row, m); err != nil {
		return 0, opErr(op, u.String(), err)
	}
	if _, ok := u.drv().(driver.Decrypter); !ok {
		return 0, opErr(op, u.String(), fmt.Errorf("%w: the token does not unwrap with it", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED))
	}
	creator, ok := se.slot.token.(driver.Creator)
	if !ok {
		return 0, opErr(op, "", fmt.Errorf("%w: this token makes its own keys and takes none", pkcs11.CKR_FUNCTION_NOT_SUPPORTED))
	}
	full, err := rules.Unwrap(u.attrs(), template)
	if err != nil {
		return 0, opErr(op, u.String(), err)
	}
	token := full.Bool(pkcs11.CKA_TOKEN)
	if err := se.mayWrite(token, full.Bool(pkcs11.CKA_PRIVATE)); err != nil {
		return 0, templateErr(op, full, err)
	}
	plain, err := se.cipherNow(ctx, decryption, &c, wrapped)
	if err != nil {
		return 0, opErr(op, u.String(), unwrapErr(err))
	}
	defer clear(plain)
	material, err := unwrapped(full, plain)
	if err != nil {
		return 0, opErr(op, u.String(), err)
	}
	defer keys.Wipe(material)
	if full, err = rules.Material(full, material); err != nil {
		return 0, opErr(op, u.String(), err)
	}
	h, err := se.create(ctx, token, replacing{template, full}, func(replaces []driver.Object) (driver.Object, error) {
		return creator.CreateObject(ctx, owned(full), replaces)
	})
	return h, opErr(op, u.String(), err)
}

// unwrapErr makes one error of all ways in which a wrapped key can be wrong, so
// that nobody learns from the difference. What is wrong with the device stays.
func unwrapErr(err error) error {
	switch pkcs11.CodeOf(err) {
	case pkcs11.CKR_ENCRYPTED_DATA_INVALID, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE, pkcs11.CKR_DATA_INVALID, pkcs11.CKR_DATA_LEN_RANGE:
		return fmt.Errorf("%w: it was not wrapped for this key, or has been changed", pkcs11.CKR_WRAPPED_KEY_INVALID)
	}
	return err
}

// unwrapped returns the components of a key that was wrapped.
func unwrapped(full pkcs11.Template, plain []byte) (pkcs11.Template, error) {
	if pkcs11.ObjectClass(full.Uint(pkcs11.CKA_CLASS)) == pkcs11.CKO_SECRET_KEY {
		return pkcs11.Template{{Type: pkcs11.CKA_VALUE, Value: append([]byte(nil), plain...)}}, nil
	}
	material, err := keys.ParsePKCS8(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", pkcs11.CKR_WRAPPED_KEY_INVALID, err)
	}
	return material, nil
}

// pointSize is the length in bytes of a public key on the curve of pub, 0 for
// one that is on none.
func pointSize(pub any) int {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return 1 + 2*((pub.Params().BitSize+7)/8)
	case *ecdh.PublicKey:
		return len(pub.Bytes())
	case *rsa.PublicKey:
		return 0
	}
	return 0
}
