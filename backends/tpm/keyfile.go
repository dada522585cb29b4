package tpm

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/backends/tpm/tss2"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// ImportTSS2 stores a key pair of which a TPM key file (PEM, "TSS2 PRIVATE KEY")
// has the private key, wrapped for this TPM: the public and the private key
// object with a label. auth is the authorization value that the key has in the
// file, empty for none; from then on it has the token's, and the file with the old
// value goes on to work, too. The user has to be logged in.
//
// What the key is for, its public area says: a key that can sign gets CKA_SIGN,
// one that can decrypt CKA_DECRYPT or CKA_DERIVE. A file of another TPM, or under
// another parent than the token's, is CKR_WRAPPED_KEY_INVALID; a wrong auth is
// CKR_PIN_INCORRECT, and costs a try if the key is protected from dictionary
// attacks, as those are that OpenSSL makes. Such a key is of no use while the TPM
// is locked. Keys with a policy, restricted ones and sealed data are
// CKR_KEY_FUNCTION_NOT_PERMITTED.
func (t *Token) ImportTSS2(ctx context.Context, file []byte, auth []byte, label string) (public, private driver.Object, err error) {
	f, err := tss2.ParsePEM(file)
	if err != nil {
		return nil, nil, fmt.Errorf("tpm: import a key file: %w: %w", pkcs11.CKR_WRAPPED_KEY_INVALID, inside(err))
	}
	if f.Type == tss2.Sealed || f.HasPolicy() {
		return nil, nil, fmt.Errorf("tpm: import a key file: it holds %v with a policy or none that is a key; keys that are used with an authorization value are all that can be imported: %w", f.Type, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}
	k, err := newKey(f.Public, f.Private)
	if err != nil {
		return nil, nil, fmt.Errorf("tpm: import a key file: %w: %w", pkcs11.CKR_WRAPPED_KEY_INVALID, inside(err))
	}
	p := k.public
	if p.key == nil || !p.has(objUserWithAuth) || p.has(objRestricted) || p.has(objAdminWithPolicy) || !p.has(objSign) && !p.has(objDecrypt) {
		return nil, nil, fmt.Errorf("tpm: import a key file: its key is restricted, wants a policy, or is neither RSA nor on a curve of NIST: %w", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}
	pubAttrs, privAttrs, err := keyTemplates(p, label)
	if err != nil {
		return nil, nil, fmt.Errorf("tpm: import a key file: %w", inside(err))
	}
	fresh, err := t.newAuth(privAttrs)
	if err != nil {
		return nil, nil, err
	}
	old := bytes.Clone(auth) // use may go on when ctx has ended
	var blob *keyBlob
	err = t.use(ctx, nil, func(c *channel, _ entity) error {
		k := k
		if f.Type == tss2.Importable {
			private, err := c.importBlob(f)
			if err != nil {
				return err
			}
			if k, err = newKey(f.Public, private); err != nil {
				return err
			}
		}
		b, err := c.changeAuth(k, old, fresh)
		if err == nil {
			blob = &keyBlob{public: p.raw, private: b}
		}
		return err
	})
	if err != nil {
		return nil, nil, t.keyFileFailed(f, err)
	}
	clear(old)
	clear(fresh)
	made, err := t.put(ctx, nil, func() ([]*object, error) {
		first, second := t.newObject(pubAttrs), t.newObject(privAttrs)
		second.blob = blob
		return []*object{first, second}, second.setKey()
	})
	if err != nil {
		return nil, nil, err
	}
	return made[0].self, made[1].self, nil
}

// keyFileFailed says why a key from a file cannot be used.
func (t *Token) keyFileFailed(f *tss2.Key, err error) error {
	switch {
	case isAbout(err, tpm2.TPMRCIntegrity):
		parent := fmt.Sprintf("%#x", f.Parent)
		if f.Parent>>24 != 0x81 {
			parent = "the primary key of its hierarchy"
			if f.RSAParent {
				parent = "the RSA primary key of its hierarchy"
			}
		}
		return fmt.Errorf("tpm: import a key file: the key is of another TPM, or under another parent (%s) than this token's keys (%#x), or the file is damaged; make a key in the token instead: %w: %w",
			parent, t.srk.Load().handle, pkcs11.CKR_WRAPPED_KEY_INVALID, inside(err))
	case isAbout(err, tpm2.TPMRCAuthFail, tpm2.TPMRCBadAuth):
		return fmt.Errorf("tpm: import a key file: the key has another authorization value: %w: %w", pkcs11.CKR_PIN_INCORRECT, inside(err))
	}
	return failed("import a key file", err)
}

// keyTemplates are the complete attributes of a key pair that a public area tells
// of.
func keyTemplates(p *publicArea, label string) (public, private pkcs11.Template, err error) {
	signs, decrypts := p.has(objSign), p.has(objDecrypt)
	derives := decrypts && p.typ == tpm2.TPMAlgECC
	decrypts = decrypts && p.typ == tpm2.TPMAlgRSA
	local := p.has(objSensitiveDataOrigin)
	// Raw RSA makes signatures of every kind, as with the token's own keys.
	signs = signs || decrypts
	attr := func(typ pkcs11.AttributeType, v bool) pkcs11.Attribute { return pkcs11.Attr(typ, v) }
	shared := pkcs11.Template{
		attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_LABEL, label), attr(pkcs11.CKA_MODIFIABLE, true), attr(pkcs11.CKA_COPYABLE, true),
		attr(pkcs11.CKA_DESTROYABLE, true), attr(pkcs11.CKA_LOCAL, local), attr(pkcs11.CKA_DERIVE, derives),
	}
	public = append(slices.Clone(shared), pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PUBLIC_KEY)),
		attr(pkcs11.CKA_PRIVATE, false), attr(pkcs11.CKA_ENCRYPT, decrypts), attr(pkcs11.CKA_VERIFY, signs),
		attr(pkcs11.CKA_VERIFY_RECOVER, false), attr(pkcs11.CKA_WRAP, false), attr(pkcs11.CKA_TRUSTED, false))
	private = append(shared, pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_PRIVATE_KEY)),
		attr(pkcs11.CKA_PRIVATE, true), attr(pkcs11.CKA_SENSITIVE, true), attr(pkcs11.CKA_EXTRACTABLE, false),
		attr(pkcs11.CKA_DECRYPT, decrypts), attr(pkcs11.CKA_SIGN, signs), attr(pkcs11.CKA_SIGN_RECOVER, false),
		attr(pkcs11.CKA_UNWRAP, false), attr(pkcs11.CKA_ALWAYS_AUTHENTICATE, false), attr(pkcs11.CKA_WRAP_WITH_TRUSTED, false))
	if public, err = driver.CompletePublic(public, p.key); err != nil {
		return nil, nil, err
	}
	private, err = driver.CompletePrivate(private, p.key)
	return public, private, err
}

// importBlob is TPM2_Import of a key that was wrapped elsewhere for the parent.
func (c *channel) importBlob(f *tss2.Key) ([]byte, error) {
	if c.t.srk.Load() == nil {
		return nil, errNoSRK
	}
	if err := c.makeRoom(); err != nil {
		return nil, err
	}
	params := putSized(putSized(nil, nil), f.Public)
	params = put16(putSized(putSized(params, f.Private), f.Secret), uint16(tpm2.TPMAlgNull))
	r, err := c.exec(&command{
		code:    tpm2.TPMCCImport,
		handles: []entity{c.t.srk.Load().entity()},
		needs:   1, auths: []authorization{{}}, params: params,
	})
	if err != nil {
		return nil, err
	}
	p := r.reader()
	private := bytes.Clone(p.sized())
	if !p.done() {
		return nil, &commandError{tpm2.TPMCCImport, errGarbled}
	}
	return private, nil
}

// changeAuth returns the private part of a key under another authorization value.
// Both go encrypted, in a session that is salted to the parent.
func (c *channel) changeAuth(k *tpmKey, old, fresh []byte) ([]byte, error) {
	if !k.public.has(objNoDA) {
		if err := c.guard(); err != nil {
			return nil, err
		}
	}
	if err := c.makeRoom(); err != nil {
		return nil, err
	}
	e, flush, err := c.loadOne(k)
	if err != nil {
		return nil, err
	}
	defer flush()
	s, err := c.start(true)
	if err != nil {
		return nil, err
	}
	defer c.end(s)
	value := putSized(nil, fresh)
	defer clear(value)
	r, err := c.exec(&command{
		code:    tpm2.TPMCCObjectChangeAuth,
		handles: []entity{e, c.t.srk.Load().entity()},
		needs:   1,
		// The session ends with the command.
		auths:  []authorization{{session: s, value: old, attrs: attrDecrypt | attrEncrypt}},
		params: value,
	})
	if !k.public.has(objNoDA) {
		c.forgive()
	}
	if err != nil {
		return nil, &spentError{err}
	}
	p := r.reader()
	private := bytes.Clone(p.sized())
	if !p.done() {
		return nil, &commandError{tpm2.TPMCCObjectChangeAuth, errGarbled}
	}
	return private, nil
}

// ExportTSS2 returns a private key as a TPM key file (PEM, "TSS2 PRIVATE KEY"),
// for other programs on this machine, such as OpenSSL with its tpm2 provider: the
// key stays wrapped by this TPM, and works nowhere else. In the file it has the
// authorization value auth, of up to 32 bytes without a zero at the end. An empty
// one lets everybody use the key who can read the file and use the TPM. The user
// has to be logged in.
func (t *Token) ExportTSS2(ctx context.Context, o driver.Object, auth []byte) ([]byte, error) {
	from, err := t.own(o)
	if err != nil {
		return nil, err
	}
	if from.key == nil || from.key.public.key == nil {
		return nil, fmt.Errorf("tpm: export a key file: this is no private key in the TPM: %w", pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}
	if len(auth) > 32 || len(auth) > 0 && auth[len(auth)-1] == 0 {
		return nil, fmt.Errorf("tpm: export a key file: an authorization value has at most 32 bytes, and no zero at its end: %w", pkcs11.CKR_PIN_LEN_RANGE)
	}
	srk := t.srk.Load()
	if srk == nil {
		return nil, errNoSRK
	}
	now, err := t.authOf(from.key)
	if err != nil {
		return nil, err
	}
	fresh := bytes.Clone(auth)
	// The blob, and not a persistent key: that one cannot be changed.
	k := &tpmKey{public: from.key.public, private: from.key.private, name: from.key.name}
	f := &tss2.Key{Type: tss2.Loadable, EmptyAuth: len(auth) == 0, Parent: srk.handle, Public: from.key.public.raw}
	var private []byte
	err = t.use(ctx, nil, func(c *channel, _ entity) error {
		b, err := c.changeAuth(k, now, fresh)
		private = b
		return err
	})
	if err != nil {
		return nil, failed("export a key file", err)
	}
	clear(now)
	clear(fresh)
	f.Private = private
	return f.MarshalPEM()
}
