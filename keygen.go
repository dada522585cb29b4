package cryptoki

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/rules"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func (se *session) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template) (pub, priv pkcs11.ObjectHandle, err error) {
	const op = "GenerateKeyPair"
	if err := se.check(op); err != nil {
		return 0, 0, err
	}
	if m == nil {
		return 0, 0, opErr(op, "", errNilMechanism)
	}
	s := se.slot
	row, err := s.mechs.find(m.Type, pkcs11.CKF_GENERATE_KEY_PAIR)
	if err != nil {
		return 0, 0, opErr(op, "", err)
	}
	generator, ok := s.token.(driver.KeyPairGenerator)
	if !ok {
		return 0, 0, opErr(op, "", fmt.Errorf("%w: the token does not generate key pairs", pkcs11.CKR_FUNCTION_NOT_SUPPORTED))
	}
	if !noParams(m) && uint32(m.Type)&vendorDefined == 0 {
		return 0, 0, opErr(op, "", badParams(m, "none"))
	}
	fullPub, fullPriv, err := rules.GeneratePair(m, public, private)
	if err != nil {
		return 0, 0, opErr(op, "", err)
	}
	if bits, ok := fullPub.Get(pkcs11.CKA_MODULUS_BITS); ok {
		if b := bits.Uint(); b < row.info.MinKeySize || b > row.info.MaxKeySize {
			return 0, 0, templateErr(op, fullPriv, fmt.Errorf("%w: the token makes RSA keys of %d to %d bits, not %d", pkcs11.CKR_KEY_SIZE_RANGE, row.info.MinKeySize, row.info.MaxKeySize, b))
		}
	}
	for _, t := range []pkcs11.Template{fullPub, fullPriv} {
		if err := se.mayWrite(t.Bool(pkcs11.CKA_TOKEN), t.Bool(pkcs11.CKA_PRIVATE)); err != nil {
			return 0, 0, templateErr(op, fullPriv, err)
		}
	}
	old, err := s.places(ctx, replacing{public, fullPub}, replacing{private, fullPriv})
	if err != nil {
		return 0, 0, templateErr(op, fullPriv, err)
	}
	if err := s.acquire(ctx); err != nil {
		return 0, 0, templateErr(op, fullPriv, err)
	}
	defer s.gate.release()
	dPub, dPriv, err := generator.GenerateKeyPair(ctx, m, owned(fullPub), owned(fullPriv), drivers(old))
	if err != nil {
		return 0, 0, templateErr(op, fullPriv, deviceErr(err))
	}
	s.remove(old...)
	oPub, err := se.insert(ctx, dPub, fullPub.Bool(pkcs11.CKA_TOKEN))
	if err != nil {
		if destroyer, ok := s.token.(driver.Destroyer); ok {
			destroyer.Destroy(context.WithoutCancel(ctx), dPriv)
		}
		return 0, 0, templateErr(op, fullPriv, err)
	}
	oPriv, err := se.insert(ctx, dPriv, fullPriv.Bool(pkcs11.CKA_TOKEN))
	if err != nil {
		// The session was closed: the private key was a session object, and what
		// is left of the pair has no use.
		if destroyer, ok := s.token.(driver.Destroyer); ok {
			destroyer.Destroy(context.WithoutCancel(ctx), dPub)
		}
		s.remove(oPub)
		return 0, 0, templateErr(op, fullPriv, err)
	}
	return oPub.handle, oPriv.handle, nil
}

func (se *session) GenerateKey(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template) (pkcs11.ObjectHandle, error) {
	const op = "GenerateKey"
	if err := se.check(op); err != nil {
		return 0, err
	}
	if m == nil {
		return 0, opErr(op, "", errNilMechanism)
	}
	s := se.slot
	row, err := s.mechs.find(m.Type, pkcs11.CKF_GENERATE)
	if err != nil {
		return 0, opErr(op, "", err)
	}
	generator, ok := s.token.(driver.KeyGenerator)
	if !ok {
		return 0, opErr(op, "", fmt.Errorf("%w: the token does not generate secret keys", pkcs11.CKR_FUNCTION_NOT_SUPPORTED))
	}
	if !noParams(m) && uint32(m.Type)&vendorDefined == 0 {
		return 0, opErr(op, "", badParams(m, "none"))
	}
	full, err := rules.Generate(m, template)
	if err != nil {
		return 0, opErr(op, "", err)
	}
	if a, ok := full.Get(pkcs11.CKA_VALUE_LEN); ok {
		if n := a.Uint(); n < row.info.MinKeySize || n > row.info.MaxKeySize {
			return 0, templateErr(op, full, fmt.Errorf("%w: %v makes keys of %d to %d bytes, not %d", pkcs11.CKR_KEY_SIZE_RANGE, m.Type, row.info.MinKeySize, row.info.MaxKeySize, n))
		}
	}
	token := full.Bool(pkcs11.CKA_TOKEN)
	if err := se.mayWrite(token, full.Bool(pkcs11.CKA_PRIVATE)); err != nil {
		return 0, templateErr(op, full, err)
	}
	h, err := se.create(ctx, token, replacing{template, full}, func(replaces []driver.Object) (driver.Object, error) {
		return generator.GenerateKey(ctx, m, owned(full), replaces)
	})
	return h, templateErr(op, full, err)
}
