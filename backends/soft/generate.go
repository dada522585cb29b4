package soft

import (
	"context"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/wipe"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// GenerateKeyPair generates an EC, Ed25519, X25519 or RSA key pair.
func (t *Token) GenerateKeyPair(ctx context.Context, m *pkcs11.Mechanism, public, private pkcs11.Template, replaces []driver.Object) (pub, priv driver.Object, err error) {
	if err := t.mayCreate(public, private); err != nil {
		return nil, nil, err // before an RSA key is generated in vain
	}
	key, err := t.generate(ctx, m, public)
	if err != nil {
		return nil, nil, err
	}
	defer keys.Wipe(key.secret)
	public, private, err = driver.CompletePair(public, private, key.public)
	if err != nil {
		return nil, nil, err
	}
	second, err := newDraft(public, nil)
	if err != nil {
		return nil, nil, err
	}
	first, err := newDraft(private, key.secret)
	if err != nil {
		return nil, nil, err
	}
	defer first.wipe()
	// The private key is the last to be stored: see journaled.
	made, err := t.create(ctx, []*draft{second, first}, replaces)
	if err != nil {
		return nil, nil, err
	}
	return made[0], made[1], nil
}

// mayCreate reports why token objects among those of the templates cannot be
// created.
func (t *Token) mayCreate(templates ...pkcs11.Template) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return errClosed
	}
	for _, tmpl := range templates {
		if tmpl.Bool(pkcs11.CKA_TOKEN) {
			return t.mayWrite()
		}
	}
	return nil
}

// generate makes a private key of the kind that m and the template of the public
// key ask for.
func (t *Token) generate(ctx context.Context, m *pkcs11.Mechanism, public pkcs11.Template) (*parts, error) {
	params := public.Bytes(pkcs11.CKA_EC_PARAMS)
	switch m.Type {
	case pkcs11.CKM_EC_KEY_PAIR_GEN:
		curve, err := keys.Curve(params)
		if err != nil {
			return nil, err
		}
		return t.generateEC(curve)
	case pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN:
		if err := keys.CheckParams(pkcs11.CKK_EC_EDWARDS, params); err != nil {
			return nil, err
		}
		return t.generateEd25519()
	case pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN:
		if err := keys.CheckParams(pkcs11.CKK_EC_MONTGOMERY, params); err != nil {
			return nil, err
		}
		return t.generateX25519()
	case pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN:
		return t.generateRSA(ctx, m, public)
	}
	return nil, fmt.Errorf("soft: %v: %w: it generates no key pair", m.Type, pkcs11.CKR_MECHANISM_INVALID)
}

// generateRSA generates an RSA key. That takes long on a small machine, and
// cannot be stopped: when ctx ends, the key is thrown away once it is there. Go
// takes the primes from its own generator, which is seeded by the system; ours
// has to be in order all the same.
func (t *Token) generateRSA(ctx context.Context, m *pkcs11.Mechanism, public pkcs11.Template) (*parts, error) {
	bits := public.Uint(pkcs11.CKA_MODULUS_BITS)
	if bits < minRSA || bits > maxRSA || bits%8 != 0 {
		return nil, fmt.Errorf("soft: RSA key of %d bits; it has %d to %d: %w", bits, minRSA, maxRSA, pkcs11.CKR_KEY_SIZE_RANGE)
	}
	if e := public.Bytes(pkcs11.CKA_PUBLIC_EXPONENT); len(e) > 0 && new(big.Int).SetBytes(e).Cmp(big.NewInt(65537)) != 0 {
		return nil, fmt.Errorf("soft: %v: %w: keys are generated with 65537 only", pkcs11.CKA_PUBLIC_EXPONENT, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
	}
	canceled := func() error {
		return fmt.Errorf("soft: %v: %w: %w", m.Type, pkcs11.CKR_FUNCTION_CANCELED, ctx.Err())
	}
	if ctx.Err() != nil {
		return nil, canceled() // before one is begun that nobody wants
	}
	if err := t.draw(make([]byte, 32)); err != nil {
		return nil, err
	}
	type result struct {
		key *rsa.PrivateKey
		err error
	}
	ch := make(chan result)
	go func() {
		key, err := rsa.GenerateKey(rand.Reader, int(bits))
		select {
		case ch <- result{key, err}:
		case <-ctx.Done():
			if err == nil {
				wipe.RSA(key)
			}
		}
	}()
	select {
	case r := <-ch:
		if r.err != nil {
			return nil, failed(m, r.err)
		}
		return split(r.key)
	case <-ctx.Done():
		return nil, canceled()
	}
}

// GenerateKey generates an AES, HMAC or generic secret key of CKA_VALUE_LEN
// bytes.
func (t *Token) GenerateKey(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	if !slices.ContainsFunc(mechanisms, func(row driver.Mechanism) bool { return row.Type == m.Type && row.Flags&pkcs11.CKF_GENERATE != 0 }) {
		return nil, fmt.Errorf("soft: %v: %w: it generates no key", m.Type, pkcs11.CKR_MECHANISM_INVALID)
	}
	n := template.Uint(pkcs11.CKA_VALUE_LEN)
	if !template.Has(pkcs11.CKA_VALUE_LEN) {
		return nil, fmt.Errorf("soft: %v: %w", pkcs11.CKA_VALUE_LEN, pkcs11.CKR_TEMPLATE_INCOMPLETE)
	}
	if n < 1 || n > maxSecret {
		return nil, fmt.Errorf("soft: key of %d bytes; it has 1 to %d: %w", n, maxSecret, pkcs11.CKR_KEY_SIZE_RANGE)
	}
	value := make([]byte, n)
	defer clear(value)
	if err := t.draw(value); err != nil {
		return nil, err
	}
	return t.createSecret(ctx, template, value, replaces)
}

func (t *Token) createSecret(ctx context.Context, template pkcs11.Template, value []byte, replaces []driver.Object) (driver.Object, error) {
	d, err := secretDraft(template, value)
	if err != nil {
		return nil, err
	}
	defer d.wipe()
	made, err := t.create(ctx, []*draft{d}, replaces)
	if err != nil {
		return nil, err
	}
	return made[0], nil
}

// checkValue is CKA_CHECK_VALUE: three bytes of the encrypted zero block of an
// AES key, of the SHA-1 of another. PKCS #11 v2.40 §4.10.2.
func checkValue(typ pkcs11.KeyType, value []byte) ([]byte, error) {
	if typ == pkcs11.CKK_AES {
		block, err := aes.NewCipher(value)
		if err != nil {
			return nil, fmt.Errorf("soft: an AES key has 16, 24 or 32 bytes, not %d: %w", len(value), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
		}
		var b [aes.BlockSize]byte
		block.Encrypt(b[:], b[:])
		return b[:3:3], nil
	}
	sum := sha1.Sum(value)
	return sum[:3:3], nil
}
