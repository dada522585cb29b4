package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// GenerateKeyPair has the TPM generate an EC or RSA key pair.
func (t *Token) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template, replaces []driver.Object) (pub, priv driver.Object, err error) {
	if err := stays(private); err != nil {
		return nil, nil, err
	}
	var template []byte
	switch m.Type {
	case pkcs11.CKM_EC_KEY_PAIR_GEN:
		template, err = t.ecTemplate(public.Bytes(pkcs11.CKA_EC_PARAMS), private, generated)
	case pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN:
		if e := public.Bytes(pkcs11.CKA_PUBLIC_EXPONENT); len(e) > 0 && new(big.Int).SetBytes(e).Cmp(big.NewInt(65537)) != 0 {
			return nil, nil, fmt.Errorf("tpm: %v: %w: keys are generated with 65537 only", pkcs11.CKA_PUBLIC_EXPONENT, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
		}
		template, err = t.rsaTemplate(public.Uint(pkcs11.CKA_MODULUS_BITS), generated)
	default:
		err = fmt.Errorf("tpm: %v: %w: it generates no key pair", m.Type, pkcs11.CKR_MECHANISM_INVALID)
	}
	if err != nil {
		return nil, nil, err
	}
	made, err := t.createKey(ctx, template, nil, public, private)
	if err != nil {
		return nil, nil, failed("generate a key", err)
	}
	if err := refuseWeak(made.key.public); err != nil {
		return nil, nil, failed("generate a key", err)
	}
	key := made.key.public.key
	if public, err = driver.CompletePublic(public, key); err != nil {
		return nil, nil, err
	}
	if private, err = driver.CompletePrivate(private, key); err != nil {
		return nil, nil, err
	}
	blob := made.blob()
	if t.opts.Persist && private.Bool(pkcs11.CKA_TOKEN) {
		defer t.tidyTPM(ctx)
		if blob.persistent, err = t.persist(ctx, made.key); err != nil {
			return nil, nil, err
		}
	}
	objects, err := t.put(ctx, replaces, func() ([]*object, error) {
		first, second := t.newObject(public), t.newObject(private)
		second.blob = blob
		return []*object{first, second}, second.setKey()
	})
	if err != nil {
		return nil, nil, err
	}
	return objects[0].self, objects[1].self, nil
}

// createKey has the TPM make a key with the authorization value that keys with
// these templates have.
func (t *Token) createKey(ctx context.Context, template, data []byte, templates ...pkcs11.Template) (*created, error) {
	auth, err := t.newAuth(templates...)
	if err != nil {
		return nil, err
	}
	var made *created
	err = t.use(ctx, nil, func(c *channel, _ entity) error {
		if err := c.makeRoom(); err != nil {
			return err
		}
		k, err := c.create(template, auth, data)
		made = k
		return err
	})
	if err != nil {
		return nil, err
	}
	clear(auth)
	return made, nil
}

// newAuth returns the authorization value of a new key: the token secret, or for
// a session object that of the process, as these live when nobody is logged in.
// The caller clears it.
func (t *Token) newAuth(templates ...pkcs11.Template) ([]byte, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return nil, errClosed
	}
	stored := false
	for _, tmpl := range templates {
		stored = stored || tmpl.Bool(pkcs11.CKA_TOKEN)
	}
	if stored {
		if err := t.mayChange(); err != nil {
			return nil, err
		}
	}
	if templates[len(templates)-1].Bool(pkcs11.CKA_TOKEN) {
		return bytes.Clone(t.keys.secret), nil
	}
	return bytes.Clone(t.process), nil
}

// How a key comes to be: its attributes say so for ever.
const (
	generated = objFixedTPM | objFixedParent | objSensitiveDataOrigin | objUserWithAuth | objNoDA
	given     = objFixedTPM | objFixedParent | objUserWithAuth | objNoDA // by the value, to TPM2_Create
	imported  = objUserWithAuth | objNoDA
)

// ecTemplate is a TPMT_PUBLIC without the point. The key can sign, unless it is
// for ECDH alone.
func (t *Token) ecTemplate(params []byte, private pkcs11.Template, attributes uint32) ([]byte, error) {
	curve, err := keys.Curve(params)
	if err != nil {
		return nil, err
	}
	if private.Bool(pkcs11.CKA_DERIVE) {
		attributes |= objDecrypt
	}
	if private.Bool(pkcs11.CKA_SIGN) || !private.Bool(pkcs11.CKA_DERIVE) {
		attributes |= objSign
	}
	for _, c := range curves {
		if c.curve != curve {
			continue
		}
		if !t.abilities.hasCurve(c.id) {
			return nil, fmt.Errorf("tpm: this TPM (%v) has no keys on %s: %w", t.abilities.firmware, curve.Params().Name, pkcs11.CKR_CURVE_NOT_SUPPORTED)
		}
		return ecPublic(attributes, c.id, nil, nil), nil
	}
	return nil, fmt.Errorf("tpm: %s: %w", curve.Params().Name, pkcs11.CKR_CURVE_NOT_SUPPORTED)
}

func publicHeader(typ tpm2.TPMAlgID, attributes uint32) []byte {
	b := put16(put16(nil, uint16(typ)), uint16(tpm2.TPMAlgSHA256))
	return putSized(put32(b, attributes), nil) // no policy
}

func ecPublic(attributes uint32, curve tpm2.TPMECCCurve, x, y []byte) []byte {
	b := publicHeader(tpm2.TPMAlgECC, attributes)
	b = put16(put16(b, uint16(tpm2.TPMAlgNull)), uint16(tpm2.TPMAlgNull)) // no symmetric algorithm, no scheme
	b = put16(put16(b, uint16(curve)), uint16(tpm2.TPMAlgNull))           // no KDF
	return putSized(putSized(b, x), y)
}

// rsaTemplate is a TPMT_PUBLIC without the modulus. The key can both sign and
// decrypt, since TPM2_RSA_Decrypt is how a signature is made whose padding the
// TPM does not know; which of the two it may, CKA_SIGN and CKA_DECRYPT say.
func (t *Token) rsaTemplate(bits uint64, attributes uint32) ([]byte, error) {
	if bits > 1<<14 || !slices.Contains(t.abilities.rsa, uint16(bits)) {
		return nil, fmt.Errorf("tpm: this TPM (%v) has RSA keys of %d bits, not of %d: %w", t.abilities.firmware, t.abilities.rsa, bits, pkcs11.CKR_KEY_SIZE_RANGE)
	}
	return rsaPublic(attributes|objSign|objDecrypt, uint16(bits), 0, nil), nil
}

func rsaPublic(attributes uint32, bits uint16, e uint32, n []byte) []byte {
	b := publicHeader(tpm2.TPMAlgRSA, attributes)
	b = put16(put16(b, uint16(tpm2.TPMAlgNull)), uint16(tpm2.TPMAlgNull)) // no symmetric algorithm, no scheme
	return putSized(put32(put16(b, bits), e), n)
}

// CreateObject stores an object of given values. A private key is wrapped for the
// storage key and imported into the TPM, and nothing of it is kept outside.
func (t *Token) CreateObject(ctx context.Context, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	var attrs pkcs11.Template
	var blob *keyBlob
	var secret *value
	var err error
	switch class := pkcs11.ObjectClass(template.Uint(pkcs11.CKA_CLASS)); class {
	case pkcs11.CKO_DATA, pkcs11.CKO_CERTIFICATE:
		attrs = template
	case pkcs11.CKO_PUBLIC_KEY:
		var pub crypto.PublicKey
		if pub, err = keys.PublicKey(template); err == nil {
			attrs, err = driver.CompletePublic(template, pub)
		}
	case pkcs11.CKO_PRIVATE_KEY:
		attrs, blob, err = t.importPrivate(ctx, template)
	case pkcs11.CKO_SECRET_KEY:
		attrs, blob, secret, err = t.newSecretKey(ctx, template, template.Bytes(pkcs11.CKA_VALUE))
	default:
		err = fmt.Errorf("tpm: %w: objects of class %v cannot be stored", pkcs11.CKR_TEMPLATE_INCONSISTENT, class)
	}
	if err != nil {
		return nil, err
	}
	return t.putOne(ctx, replaces, attrs, blob, secret)
}

// putOne is put for one object.
func (t *Token) putOne(ctx context.Context, replaces []driver.Object, attrs pkcs11.Template, blob *keyBlob, secret *value) (driver.Object, error) {
	made, err := t.put(ctx, replaces, func() ([]*object, error) {
		o := t.newObject(attrs)
		o.blob, o.value = blob, secret
		if blob == nil {
			return []*object{o}, nil
		}
		return []*object{o}, o.setKey()
	})
	if err != nil {
		return nil, err
	}
	return made[0].self, nil
}

// stays refuses what no key in a TPM is.
func stays(private pkcs11.Template) error {
	if private.Bool(pkcs11.CKA_EXTRACTABLE) {
		return fmt.Errorf("tpm: %v: a private key does not leave the TPM: %w", pkcs11.CKA_EXTRACTABLE, pkcs11.CKR_TEMPLATE_INCONSISTENT)
	}
	return nil
}

// importPrivate imports a private key into the TPM.
func (t *Token) importPrivate(ctx context.Context, template pkcs11.Template) (pkcs11.Template, *keyBlob, error) {
	if err := stays(template); err != nil {
		return nil, nil, err
	}
	key, err := keys.PrivateKey(template)
	if err != nil {
		return nil, nil, err
	}
	var public, sensitive []byte
	var typ tpm2.TPMAlgID
	var pub crypto.PublicKey
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		typ, pub = tpm2.TPMAlgECC, &key.PublicKey
		if public, err = t.ecTemplate(template.Bytes(pkcs11.CKA_EC_PARAMS), template, imported); err != nil {
			return nil, nil, err
		}
		r := reader{b: public}
		r.take(4)
		point, err := key.PublicKey.Bytes()
		if err != nil {
			return nil, nil, fmt.Errorf("tpm: %w: %w", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, err)
		}
		n := (len(point) - 1) / 2
		for _, c := range curves {
			if c.curve == key.Curve {
				public = ecPublic(r.u32(), c.id, point[1:1+n], point[1+n:])
			}
		}
		if sensitive, err = key.Bytes(); err != nil {
			return nil, nil, fmt.Errorf("tpm: %w: %w", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, err)
		}
	case *rsa.PrivateKey:
		typ, pub = tpm2.TPMAlgRSA, &key.PublicKey
		if _, err := t.rsaTemplate(uint64(key.N.BitLen()), imported); err != nil {
			return nil, nil, err
		}
		if len(key.Primes) != 2 {
			return nil, nil, fmt.Errorf("tpm: an RSA key of %d primes: %w", len(key.Primes), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
		}
		e := uint32(key.E)
		if e == 65537 {
			e = 0
		}
		bits := key.N.BitLen()
		public = rsaPublic(imported|objSign|objDecrypt, uint16(bits), e, key.N.FillBytes(make([]byte, bits/8)))
		if key.Primes[0].BitLen() > bits/2 {
			return nil, nil, fmt.Errorf("tpm: an RSA key whose primes are not of the same length: %w", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
		}
		sensitive = key.Primes[0].FillBytes(make([]byte, bits/16))
	default:
		return nil, nil, fmt.Errorf("tpm: a TPM has no keys of type %v: %w", keys.KeyType(key), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
	}
	defer clear(sensitive)
	attrs, err := driver.CompletePrivate(template, pub)
	if err != nil {
		return nil, nil, err
	}
	auth, err := t.newAuth(template)
	if err != nil {
		return nil, nil, err
	}
	defer clear(auth)
	private, err := t.importKey(ctx, typ, public, auth, sensitive)
	if err != nil {
		return nil, nil, failed("import a key", err)
	}
	return attrs, &keyBlob{public: public, private: private}, nil
}

// importKey wraps a TPMT_SENSITIVE for the storage key, and imports it. Part 1,
// 23.3.2.5.
func (t *Token) importKey(ctx context.Context, typ tpm2.TPMAlgID, public, auth, value []byte) (private []byte, err error) {
	srk := t.srk.Load()
	if srk == nil {
		return nil, errNoSRK
	}
	pub, err := parsePublic(public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, err)
	}
	sensitive := make([]byte, 0, 8+len(auth)+len(value))
	sensitive = putSized(putSized(putSized(put16(sensitive, uint16(typ)), auth), nil), value)
	defer clear(sensitive)
	duplicate, seed, err := tpm2.CreateDuplicate(rand.Reader, srk.seal, pub.name, sensitive)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", pkcs11.CKR_FUNCTION_FAILED, err)
	}
	params := putSized(putSized(nil, nil), public)
	params = put16(putSized(putSized(params, duplicate), seed), uint16(tpm2.TPMAlgNull))
	err = t.use(ctx, nil, func(c *channel, _ entity) error {
		if err := c.makeRoom(); err != nil {
			return err
		}
		r, err := c.exec(&command{
			code:    tpm2.TPMCCImport,
			handles: []entity{srk.entity()},
			needs:   1,
			auths:   []authorization{{}},
			params:  params,
		})
		if err != nil {
			return err
		}
		p := r.reader()
		b := bytes.Clone(p.sized())
		if !p.done() {
			return &commandError{tpm2.TPMCCImport, errGarbled}
		}
		// That it is what was sent shows when it is loaded.
		k, err := newKey(public, b)
		if err != nil {
			return err
		}
		h, err := c.loadBlob(k)
		if err != nil {
			return err
		}
		private = b
		c.flush(h)
		return nil
	})
	return private, err
}
