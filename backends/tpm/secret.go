package tpm

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The kinds of secret keys, by where they are.
type (
	macKey  struct{ *object } // in the TPM: for HMAC, or for AES-CMAC
	hostKey struct{ *object } // in memory, and sealed in the store: for HMAC
)

var (
	_ driver.Signer   = macKey{}
	_ driver.Verifier = macKey{}
	_ driver.Signer   = hostKey{}
	_ driver.Verifier = hostKey{}
	_ driver.Exporter = hostKey{}
)

// Bytes of secret keys. A TPM takes HMAC keys from half a digest to a block of
// SHA-256, the hash function that Names are made with.
const (
	minHMAC       = 16
	maxHMAC       = 64
	generatedHMAC = 32   // what a TPM makes
	maxSecret     = 1024 // outside of the TPM
)

// An hmacHash is a hash function with its mechanisms for HMAC.
type hmacHash struct {
	id             tpm2.TPMAlgID
	size           int
	plain, general pkcs11.MechanismType
}

var hmacHashes = []hmacHash{
	{tpm2.TPMAlgSHA1, 20, pkcs11.CKM_SHA_1_HMAC, pkcs11.CKM_SHA_1_HMAC_GENERAL},
	{tpm2.TPMAlgSHA256, 32, pkcs11.CKM_SHA256_HMAC, pkcs11.CKM_SHA256_HMAC_GENERAL},
	{tpm2.TPMAlgSHA384, 48, pkcs11.CKM_SHA384_HMAC, pkcs11.CKM_SHA384_HMAC_GENERAL},
	{tpm2.TPMAlgSHA512, 64, pkcs11.CKM_SHA512_HMAC, pkcs11.CKM_SHA512_HMAC_GENERAL},
}

// newSecretKey makes a secret key of a value. One that may not be exported goes
// into the TPM and is nowhere else. One that may be, such as a secret that was
// derived to be used outside, is kept outside: sealed under the token secret, or
// in memory as a session object.
func (t *Token) newSecretKey(ctx context.Context, template pkcs11.Template, secret []byte) (pkcs11.Template, *keyBlob, *value, error) {
	if len(secret) == 0 {
		return nil, nil, nil, fmt.Errorf("tpm: %v: %w", pkcs11.CKA_VALUE, pkcs11.CKR_TEMPLATE_INCOMPLETE)
	}
	if len(secret) > maxSecret {
		return nil, nil, nil, fmt.Errorf("tpm: a secret key of %d bytes; there are at most %d: %w", len(secret), maxSecret, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
	}
	attrs := make(pkcs11.Template, 0, len(template)+2)
	for _, a := range template {
		if !isSecret(a.Type) {
			attrs = append(attrs, a)
		}
	}
	if n, ok := attrs.Get(pkcs11.CKA_VALUE_LEN); ok && n.Uint() != uint64(len(secret)) {
		return nil, nil, nil, fmt.Errorf("tpm: %w: %v is %d, the value has %d bytes", pkcs11.CKR_TEMPLATE_INCONSISTENT, n.Type, n.Uint(), len(secret))
	}
	attrs = attrs.Set(pkcs11.Attr(pkcs11.CKA_VALUE_LEN, uint64(len(secret))))
	typ := pkcs11.KeyType(attrs.Uint(pkcs11.CKA_KEY_TYPE))
	check, err := checkValue(typ, secret)
	if err != nil {
		return nil, nil, nil, err
	}
	switch have, ok := attrs.Get(pkcs11.CKA_CHECK_VALUE); {
	case !ok:
		attrs = append(attrs, pkcs11.Attr(pkcs11.CKA_CHECK_VALUE, check))
	case len(have.Bytes()) > 0 && !slices.Equal(have.Bytes(), check):
		return nil, nil, nil, fmt.Errorf("tpm: %w: %v is not that of the value", pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, have.Type)
	}
	if exportable(attrs) {
		if attrs.Bool(pkcs11.CKA_TOKEN) {
			t.mu.RLock()
			err := t.mayChange()
			t.mu.RUnlock()
			if err != nil {
				return nil, nil, nil, err
			}
		}
		return attrs, nil, &value{plain: bytes.Clone(secret)}, nil
	}
	public, err := t.secretTemplate(typ, len(secret), given)
	if err != nil {
		return nil, nil, nil, err
	}
	made, err := t.createKey(ctx, public, bytes.Clone(secret), attrs)
	if err != nil {
		return nil, nil, nil, failed("import a secret key", err)
	}
	return attrs, made.blob(), nil, nil
}

// secretTemplate is a TPMT_PUBLIC for a secret key of n bytes.
func (t *Token) secretTemplate(typ pkcs11.KeyType, n int, attributes uint32) ([]byte, error) {
	if typ == pkcs11.CKK_AES {
		if !t.abilities.cmac {
			return nil, fmt.Errorf("tpm: this TPM (%v) has no AES-CMAC, and AES keys are of no other use in it: %w", t.abilities.firmware, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
		}
		if n != 16 && (n != 32 || !t.abilities.cmac256) {
			return nil, fmt.Errorf("tpm: this TPM (%v) has no AES keys of %d bytes: %w", t.abilities.firmware, n, pkcs11.CKR_KEY_SIZE_RANGE)
		}
		b := publicHeader(tpm2.TPMAlgSymCipher, attributes|objSign)
		b = put16(put16(put16(b, uint16(tpm2.TPMAlgAES)), uint16(8*n)), uint16(tpm2.TPMAlgCMAC))
		return putSized(b, nil), nil
	}
	if !t.abilities.hmac {
		return nil, fmt.Errorf("tpm: this TPM (%v) has no HMAC: %w", t.abilities.firmware, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
	}
	if n < minHMAC || n > maxHMAC {
		return nil, fmt.Errorf("tpm: an HMAC key of %d bytes; a TPM takes %d to %d: %w", n, minHMAC, maxHMAC, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
	}
	// A key that can only sign has one hash function, for ever. One that could also
	// decrypt, which no command does with it, has none, and each command says which.
	// Part 3, 12.1.1 and 15.5.
	b := put16(publicHeader(tpm2.TPMAlgKeyedHash, attributes|objSign|objDecrypt), uint16(tpm2.TPMAlgNull))
	return putSized(b, nil), nil
}

// GenerateKey has the TPM generate an HMAC or AES key. One that may be exported
// is made of the TPM's random numbers and the system's, and kept outside.
func (t *Token) GenerateKey(ctx context.Context, m *pkcs11.Mechanism, template pkcs11.Template, replaces []driver.Object) (driver.Object, error) {
	var typ pkcs11.KeyType
	switch {
	case m.Type == pkcs11.CKM_GENERIC_SECRET_KEY_GEN && t.abilities.hmac:
		typ = pkcs11.CKK_GENERIC_SECRET
	case m.Type == pkcs11.CKM_AES_KEY_GEN && t.abilities.cmac:
		typ = pkcs11.CKK_AES
	default:
		return nil, fmt.Errorf("tpm: %v: %w: it generates no key", m.Type, pkcs11.CKR_MECHANISM_INVALID)
	}
	if !template.Has(pkcs11.CKA_VALUE_LEN) {
		return nil, fmt.Errorf("tpm: %v: %w", pkcs11.CKA_VALUE_LEN, pkcs11.CKR_TEMPLATE_INCOMPLETE)
	}
	n := template.Uint(pkcs11.CKA_VALUE_LEN)
	if typ == pkcs11.CKK_GENERIC_SECRET && n != generatedHMAC || typ == pkcs11.CKK_AES && n != 16 && n != 32 {
		return nil, fmt.Errorf("tpm: a key of %d bytes: %w", n, pkcs11.CKR_KEY_SIZE_RANGE)
	}
	if exportable(template) {
		secret := make([]byte, n)
		defer clear(secret)
		if err := t.ReadRandom(ctx, secret); err != nil {
			return nil, err
		}
		return t.createSecret(ctx, template, secret, replaces)
	}
	public, err := t.secretTemplate(typ, int(n), generated)
	if err != nil {
		return nil, err
	}
	made, err := t.createKey(ctx, public, nil, template)
	if err != nil {
		return nil, failed("generate a key", err)
	}
	return t.putOne(ctx, replaces, template, made.blob(), nil)
}

// exportable reports whether a secret key of this template may be seen outside
// of the TPM.
func exportable(t pkcs11.Template) bool {
	return t.Bool(pkcs11.CKA_EXTRACTABLE) || !t.Bool(pkcs11.CKA_SENSITIVE)
}

func (t *Token) createSecret(ctx context.Context, template pkcs11.Template, secret []byte, replaces []driver.Object) (driver.Object, error) {
	attrs, blob, val, err := t.newSecretKey(ctx, template, secret)
	if err != nil {
		return nil, err
	}
	return t.putOne(ctx, replaces, attrs, blob, val)
}

// checkValue is CKA_CHECK_VALUE: three bytes of the encrypted zero block of an
// AES key, of the SHA-1 of another. PKCS #11 v2.40 §4.10.2.
func checkValue(typ pkcs11.KeyType, secret []byte) ([]byte, error) {
	if typ == pkcs11.CKK_AES {
		block, err := aes.NewCipher(secret)
		if err != nil {
			return nil, fmt.Errorf("tpm: an AES key has 16, 24 or 32 bytes, not %d: %w", len(secret), pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
		}
		var b [aes.BlockSize]byte
		block.Encrypt(b[:], b[:])
		return b[:3:3], nil
	}
	sum := sha1.Sum(secret)
	return sum[:3:3], nil
}

// Sign makes a MAC in the TPM.
func (k macKey) Sign(ctx context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	aesKey := k.key.public.typ == tpm2.TPMAlgSymCipher
	scheme, size := tpm2.TPMAlgCMAC, aes.BlockSize
	var general bool
	switch m.Type {
	case pkcs11.CKM_AES_CMAC, pkcs11.CKM_AES_CMAC_GENERAL:
		if !aesKey {
			return nil, wrongMechanism(m)
		}
		general = m.Type == pkcs11.CKM_AES_CMAC_GENERAL
	default:
		i := slices.IndexFunc(hmacHashes, func(h hmacHash) bool { return h.plain == m.Type || h.general == m.Type })
		if aesKey || i < 0 {
			return nil, wrongMechanism(m)
		}
		h := hmacHashes[i]
		if k.key.public.scheme != tpm2.TPMAlgNull && h.id != tpm2.TPMAlgSHA256 {
			return nil, fmt.Errorf("tpm: %v: the key was made for SHA-256 alone: %w", m.Type, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
		}
		scheme, size, general = h.id, h.size, m.Type == h.general
	}
	n, err := macLen(m, general, size)
	if err != nil {
		return nil, err
	}
	mac, err := k.mac(ctx, scheme, bytes.Clone(data))
	if err != nil {
		return nil, failed("make a MAC", err)
	}
	if len(mac) != size {
		return nil, failed("make a MAC", errGarbled)
	}
	return mac[:n], nil
}

// macLen returns how long a MAC is to be, which mechanisms that are general have
// as their parameter.
func macLen(m *pkcs11.Mechanism, general bool, size int) (int, error) {
	if !general {
		if m.Params != nil {
			return 0, fmt.Errorf("tpm: %v takes no parameter: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID)
		}
		return size, nil
	}
	p, ok := m.Params.(*pkcs11.MACGeneralParams)
	if !ok || p == nil || p.MACLen == 0 || p.MACLen > uint64(size) {
		return 0, fmt.Errorf("tpm: %v wants a length from 1 to %d: %w", m.Type, size, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	return int(p.MACLen), nil
}

// mac is TPM2_HMAC, or TPM2_MAC, which is the same command, and for data that do
// not fit into one command TPM2_MAC_Start and its followers.
func (k macKey) mac(ctx context.Context, scheme tpm2.TPMAlgID, data []byte) ([]byte, error) {
	tok := k.object.t
	limit := tok.abilities.input
	if len(data) <= limit {
		out, err := tok.do(ctx, k.key, tpm2.TPMCCMAC, put16(putSized(nil, data), uint16(scheme)), attrEncrypt)
		if err != nil {
			return nil, err
		}
		r := reader{b: out}
		mac := r.sized()
		if !r.done() {
			return nil, &commandError{tpm2.TPMCCMAC, errGarbled}
		}
		return mac, nil
	}
	auth, err := tok.authOf(k.key)
	if err != nil {
		return nil, err
	}
	var mac []byte
	err = tok.use(ctx, k.key, func(c *channel, key entity) error {
		// The sequence takes a slot of its own.
		for len(c.loaded) > 1 && len(c.loaded) >= tok.room() {
			if err := c.unload(c.loaded[0].key); err != nil {
				return err
			}
		}
		a, err := c.authorize(auth, attrDecrypt)
		if err != nil {
			return err
		}
		r, err := c.exec(&command{
			code: tpm2.TPMCCMACStart, handles: []entity{key}, needs: 1, auths: []authorization{a},
			params: put16(putSized(nil, auth), uint16(scheme)), returns: true,
		})
		if err != nil {
			return err
		}
		// The sequence has the authorization value of the key, and no Name.
		seq := entity{r.handle, []byte{}}
		done := false
		defer func() {
			if !done && c.flush(seq.handle) != nil {
				c.dirty = true
			}
		}()
		rest := data
		for ; len(rest) > limit; rest = rest[limit:] {
			if a, err = c.authorize(auth, attrDecrypt); err != nil {
				return err
			}
			if _, err := c.exec(&command{
				code: tpm2.TPMCCSequenceUpdate, handles: []entity{seq}, needs: 1, auths: []authorization{a}, params: putSized(nil, rest[:limit]),
			}); err != nil {
				return err
			}
		}
		if a, err = c.authorize(auth, attrDecrypt|attrEncrypt); err != nil {
			return err
		}
		if r, err = c.exec(&command{
			code: tpm2.TPMCCSequenceComplete, handles: []entity{seq}, needs: 1, auths: []authorization{a},
			params: put32(putSized(nil, rest), uint32(tpm2.TPMRHNull)),
		}); err != nil {
			return err
		}
		done = true
		mac = bytes.Clone(r.reader().sized())
		return nil
	})
	if err == nil {
		clear(auth)
	}
	return mac, err
}

// Verify has the TPM make the MAC again, and compares in constant time.
func (k macKey) Verify(ctx context.Context, m *pkcs11.Mechanism, data, mac []byte) error {
	want, err := k.Sign(ctx, m, data)
	if err != nil {
		return err
	}
	return compareMAC(m, mac, want)
}

func compareMAC(m *pkcs11.Mechanism, mac, want []byte) error {
	if len(mac) != len(want) {
		return fmt.Errorf("tpm: %v of %d bytes, not %d: %w", m.Type, len(mac), len(want), pkcs11.CKR_SIGNATURE_LEN_RANGE)
	}
	if subtle.ConstantTimeCompare(mac, want) != 1 {
		return fmt.Errorf("tpm: the MAC does not match: %w", pkcs11.CKR_SIGNATURE_INVALID)
	}
	return nil
}

// secret returns the value of a key outside of the TPM, which the caller wipes.
func (k hostKey) secret() ([]byte, error) {
	t := k.t
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch {
	case t.closed:
		return nil, errClosed
	case k.value.sealed == nil && k.value.plain == nil:
		return nil, fmt.Errorf("%v is destroyed: %w", k.object, pkcs11.CKR_OBJECT_HANDLE_INVALID)
	case k.value.sealed == nil:
		return bytes.Clone(k.value.plain), nil
	case t.keys == nil, k.private && !t.mayUsePrivate():
		return nil, fmt.Errorf("tpm: log in to use the key: %w", pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	plain, err := open(t.keys.value(k.id), k.value.sealed, k.id[:])
	if err != nil {
		return nil, damaged(k.record, "somebody else has changed a secret value")
	}
	return plain, nil
}

// Export returns the value.
func (k hostKey) Export(ctx context.Context, types ...pkcs11.AttributeType) (pkcs11.Template, error) {
	if !slices.Contains(types, pkcs11.CKA_VALUE) {
		return nil, nil
	}
	secret, err := k.secret()
	if err != nil {
		return nil, err
	}
	return pkcs11.Template{pkcs11.Attr(pkcs11.CKA_VALUE, secret)}, nil
}

// Sign makes an HMAC, in software: the key is not in the TPM.
func (k hostKey) Sign(ctx context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	hash, general, ok := keys.HMAC(m.Type)
	if !ok || pkcs11.KeyType(k.attrs.Uint(pkcs11.CKA_KEY_TYPE)) == pkcs11.CKK_AES {
		return nil, wrongMechanism(m)
	}
	n, err := macLen(m, general, hash.Size())
	if err != nil {
		return nil, err
	}
	secret, err := k.secret()
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	h := hmac.New(hash.New, secret)
	h.Write(data)
	return h.Sum(nil)[:n], nil
}

// Verify checks an HMAC in constant time.
func (k hostKey) Verify(ctx context.Context, m *pkcs11.Mechanism, data, mac []byte) error {
	want, err := k.Sign(ctx, m, data)
	if err != nil {
		return err
	}
	return compareMAC(m, mac, want)
}
