package cryptoki

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Signer signs with a private key that stays on the token. It implements
// crypto.Signer and crypto.MessageSigner and is safe for concurrent use; each
// signature takes a session of the Token for its duration.
//
// ECDSA signatures are DER, as crypto/ecdsa makes them. What the rand arguments
// say is ignored: the token has its own randomness. An error wraps the token's
// code and names the key.
type Signer struct {
	key   *keyRef
	mechs mechanismSet
	size  int // of a signature as the token makes it, in bytes
}

var (
	_ crypto.Signer        = (*Signer)(nil)
	_ crypto.MessageSigner = (*Signer)(nil)
)

// Signer returns the signer for the private key of that name. It fails if the
// key may not sign (CKA_SIGN).
func (t *Token) Signer(ctx context.Context, key string) (*Signer, error) {
	k, mechs, err := t.private(ctx, key)
	if err != nil {
		return nil, err
	}
	if k.mayNot(pkcs11.CKA_SIGN) {
		return nil, fail(k.String(), fmt.Errorf("%w: the key may not sign (CKA_SIGN is false)", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED), "")
	}
	return newSigner(k, mechs)
}

func newSigner(k *keyRef, mechs mechanismSet) (*Signer, error) {
	s := &Signer{key: k, mechs: mechs}
	switch pub := k.pub.(type) {
	case *ecdsa.PublicKey:
		s.size = 2 * ((pub.Curve.Params().N.BitLen() + 7) / 8)
	case ed25519.PublicKey:
		s.size = ed25519.SignatureSize
	case *rsa.PublicKey:
		s.size = pub.Size()
	default:
		return nil, fail(k.String(), fmt.Errorf("%w: a key of type %T does not sign", pkcs11.CKR_KEY_TYPE_INCONSISTENT, pub), "")
	}
	return s, nil
}

// Public returns the public key: *ecdsa.PublicKey, ed25519.PublicKey or
// *rsa.PublicKey.
func (s *Signer) Public() crypto.PublicKey { return s.key.pub }

// Label returns the key's label, as it was when the Signer was made.
func (s *Signer) Label() string { return s.key.label }

// ID returns the key's CKA_ID, which its public key and certificate share. The
// slice belongs to the caller.
func (s *Signer) ID() []byte { return append([]byte(nil), s.key.id...) }

// String names the key.
func (s *Signer) String() string { return s.key.String() }

// Sign signs a digest.
//
//   - ECDSA: opts.HashFunc() is the function that made the digest, or 0 if that
//     is not to be checked. As the standard has it, the leftmost bits count if
//     the digest is longer than the order.
//   - RSA: PSS if opts is a *rsa.PSSOptions, with a salt of the given length,
//     of that of the digest, or as long as fits (PSSSaltLengthAuto); otherwise
//     PKCS #1 v1.5, for hash 0 of the bare bytes.
//   - Ed25519: digest is the message and opts.HashFunc() is 0. Ed25519ph and
//     Ed25519ctx are refused.
func (s *Signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.sign(digest, opts)
}

// SignMessage signs a message: it hashes it with opts.HashFunc() and does what
// Sign does. Hash 0 is for Ed25519 only.
func (s *Signer) SignMessage(_ io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	var h crypto.Hash
	if opts != nil {
		h = opts.HashFunc()
	}
	if _, ok := s.key.pub.(ed25519.PublicKey); ok {
		return s.sign(msg, opts)
	}
	if h == 0 {
		return nil, fail(s.key.String(), fmt.Errorf("%w: signing a message takes a hash function", pkcs11.CKR_MECHANISM_PARAM_INVALID), "give one in the options, crypto.SHA256 say")
	}
	if !h.Available() {
		return nil, fail(s.key.String(), fmt.Errorf("%w: %v is not linked into this program", pkcs11.CKR_MECHANISM_INVALID, h), "import its package")
	}
	if m, ok := s.hashing(h, opts); ok {
		return s.run(m, msg)
	}
	w := h.New()
	w.Write(msg)
	var sum [64]byte
	return s.sign(w.Sum(sum[:0]), opts)
}

// hashing returns the mechanism that hashes and signs, if the token has that one
// only.
func (s *Signer) hashing(h crypto.Hash, opts crypto.SignerOpts) (*pkcs11.Mechanism, bool) {
	base, pss := pkcs11.CKM_ECDSA, (*rsa.PSSOptions)(nil)
	if _, ok := s.key.pub.(*rsa.PublicKey); ok {
		base = pkcs11.CKM_RSA_PKCS
		if pss, ok = opts.(*rsa.PSSOptions); ok {
			base = pkcs11.CKM_RSA_PKCS_PSS
		}
	}
	if s.mechs.has(base) {
		return nil, false
	}
	m, ok := keys.Join(base, h)
	if !ok || !s.mechs.has(m) {
		return nil, false
	}
	mech := &pkcs11.Mechanism{Type: m}
	if pss != nil {
		params, err := s.pss(h, pss)
		if err != nil {
			return nil, false // sign finds the same
		}
		mech.Params = &params
	}
	return mech, true
}

var (
	mechECDSA   = pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	mechEdDSA   = pkcs11.Mechanism{Type: pkcs11.CKM_EDDSA}
	mechRSAPKCS = pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}
)

func (s *Signer) sign(digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	var h crypto.Hash
	if opts != nil {
		h = opts.HashFunc()
	}
	switch pub := s.key.pub.(type) {
	case *ecdsa.PublicKey:
		if err := s.checkDigest(h, digest); err != nil {
			return nil, err
		}
		if size := (pub.Curve.Params().BitSize + 7) / 8; len(digest) > size {
			digest = digest[:size] // order and field have the same length, whole bytes or more than any digest
		}
		return s.run(&mechECDSA, digest)
	case ed25519.PublicKey:
		if h != 0 {
			return nil, fail(s.key.String(), fmt.Errorf("%w: Ed25519 signs the message itself, not a digest; Ed25519ph is not supported", pkcs11.CKR_MECHANISM_PARAM_INVALID), "give the message and crypto.Hash(0)")
		}
		if o, ok := opts.(*ed25519.Options); ok && o.Context != "" {
			return nil, fail(s.key.String(), fmt.Errorf("%w: Ed25519ctx is not supported", pkcs11.CKR_MECHANISM_PARAM_INVALID), "leave ed25519.Options.Context empty")
		}
		return s.run(&mechEdDSA, digest)
	case *rsa.PublicKey:
		if err := s.checkDigest(h, digest); err != nil {
			return nil, err
		}
		sc := scratchPool.Get().(*scratch)
		defer scratchPool.Put(sc)
		var err error
		if o, ok := opts.(*rsa.PSSOptions); ok {
			if sc.pss, err = s.pss(h, o); err != nil {
				return nil, fail(s.key.String(), err, "")
			}
			sc.mech = pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_PSS, Params: &sc.pss}
			return s.run(&sc.mech, digest)
		}
		if h != 0 && h != crypto.MD5SHA1 {
			if digest, err = keys.AppendDigestInfo(sc.buf[:0], h, digest); err != nil {
				return nil, fail(s.key.String(), err, "")
			}
		}
		return s.run(&mechRSAPKCS, digest)
	}
	return nil, fail(s.key.String(), pkcs11.CKR_KEY_TYPE_INCONSISTENT, "") // newSigner has refused it
}

func (s *Signer) checkDigest(h crypto.Hash, digest []byte) error {
	if h != 0 && len(digest) != h.Size() {
		return fail(s.key.String(), fmt.Errorf("%w: a digest of %v has %d bytes, not %d", pkcs11.CKR_DATA_LEN_RANGE, h, h.Size(), len(digest)), "")
	}
	return nil
}

// pss makes the parameters of CKM_RSA_PKCS_PSS.
func (s *Signer) pss(h crypto.Hash, o *rsa.PSSOptions) (p pkcs11.PSSParams, err error) {
	alg, ok := keys.HashMechanism(h)
	mgf, ok2 := keys.MGF(h)
	if !ok || !ok2 {
		return p, fmt.Errorf("%w: PSS takes a hash function, not %v", pkcs11.CKR_MECHANISM_PARAM_INVALID, h)
	}
	pub := s.key.pub.(*rsa.PublicKey)
	most := (pub.N.BitLen()-1+7)/8 - 2 - h.Size() // RFC 8017 §9.1.1
	salt := o.SaltLength
	switch salt {
	case rsa.PSSSaltLengthAuto:
		salt = most
	case rsa.PSSSaltLengthEqualsHash:
		salt = h.Size()
	}
	if salt < 0 || salt > most {
		return p, fmt.Errorf("%w: a PSS salt of %d bytes does not fit: with %v the key has room for %d", pkcs11.CKR_MECHANISM_PARAM_INVALID, salt, h, max(most, 0))
	}
	return pkcs11.PSSParams{HashAlg: alg, MGF: mgf, SaltLen: uint64(salt)}, nil
}

// A scratch is what a signature needs while it is made. Sessions do not keep
// what they are given.
type scratch struct {
	buf  [132]byte // r‖s of P-521, or a DigestInfo, which is at most 83 bytes
	mech pkcs11.Mechanism
	pss  pkcs11.PSSParams
}

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

// run signs data of a length that the mechanism takes.
func (s *Signer) run(m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	if !s.mechs.has(m.Type) {
		return nil, fail(s.key.String(), fmt.Errorf("%w: the token has no %v", pkcs11.CKR_MECHANISM_INVALID, m.Type), s.mechs.cure)
	}
	ctx := context.Background()
	if _, ec := s.key.pub.(*ecdsa.PublicKey); ec {
		sc := scratchPool.Get().(*scratch)
		defer scratchPool.Put(sc)
		n, err := s.key.sign(ctx, m, data, sc.buf[:s.size])
		if err == nil {
			var der []byte
			if der, err = keys.AppendDER(make([]byte, 0, s.size+9), sc.buf[:n]); err == nil {
				return der, nil
			}
		}
		return nil, fail(s.key.String(), err, "")
	}
	sig := make([]byte, s.size)
	n, err := s.key.sign(ctx, m, data, sig)
	if err != nil {
		return nil, fail(s.key.String(), err, "")
	}
	return sig[:n], nil
}

// A Decrypter decrypts with an RSA private key that stays on the token. It
// implements crypto.Decrypter and is safe for concurrent use.
type Decrypter struct {
	key   *keyRef
	mechs mechanismSet
}

var _ crypto.Decrypter = (*Decrypter)(nil)

// Decrypter returns the decrypter for the RSA private key of that name. It fails
// if the key may not decrypt (CKA_DECRYPT).
func (t *Token) Decrypter(ctx context.Context, key string) (*Decrypter, error) {
	k, mechs, err := t.private(ctx, key)
	if err != nil {
		return nil, err
	}
	if _, ok := k.pub.(*rsa.PublicKey); !ok {
		return nil, fail(k.String(), fmt.Errorf("%w: only RSA keys decrypt", pkcs11.CKR_KEY_TYPE_INCONSISTENT), "")
	}
	if k.mayNot(pkcs11.CKA_DECRYPT) {
		return nil, fail(k.String(), fmt.Errorf("%w: the key may not decrypt (CKA_DECRYPT is false)", pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED), "")
	}
	return &Decrypter{key: k, mechs: mechs}, nil
}

// Public returns the public key, a *rsa.PublicKey.
func (d *Decrypter) Public() crypto.PublicKey { return d.key.pub }

// Decrypt decrypts msg. opts is nil or a *rsa.PKCS1v15DecryptOptions for PKCS #1
// v1.5, or a *rsa.OAEPOptions. With a SessionKeyLen, a message that does not
// decrypt to that many bytes yields random ones and no error, as crypto/rsa has
// it; prefer OAEP, since PKCS #1 v1.5 tells an attacker otherwise which messages
// are well formed.
func (d *Decrypter) Decrypt(_ io.Reader, msg []byte, opts crypto.DecrypterOpts) ([]byte, error) {
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS}
	sessionKey := 0
	switch o := opts.(type) {
	case nil:
	case *rsa.PKCS1v15DecryptOptions:
		sessionKey = o.SessionKeyLen
	case *rsa.OAEPOptions:
		mgfHash := o.MGFHash
		if mgfHash == 0 {
			mgfHash = o.Hash
		}
		alg, ok := keys.HashMechanism(o.Hash)
		mgf, ok2 := keys.MGF(mgfHash)
		if !ok || !ok2 {
			return nil, fail(d.key.String(), fmt.Errorf("%w: OAEP takes a hash function, not %v", pkcs11.CKR_MECHANISM_PARAM_INVALID, o.Hash), "")
		}
		m = &pkcs11.Mechanism{Type: pkcs11.CKM_RSA_PKCS_OAEP, Params: &pkcs11.OAEPParams{
			HashAlg: alg, MGF: mgf, Source: pkcs11.CKZ_DATA_SPECIFIED, Label: o.Label}}
	default:
		return nil, fail(d.key.String(), fmt.Errorf("%w: unknown options %T", pkcs11.CKR_MECHANISM_PARAM_INVALID, opts), "")
	}
	if !d.mechs.has(m.Type) {
		return nil, fail(d.key.String(), fmt.Errorf("%w: the token has no %v", pkcs11.CKR_MECHANISM_INVALID, m.Type), d.mechs.cure)
	}
	buf := make([]byte, d.key.pub.(*rsa.PublicKey).Size())
	if sessionKey <= 0 {
		n, err := d.key.decrypt(context.Background(), m, msg, buf)
		if err != nil {
			return nil, fail(d.key.String(), err, "")
		}
		return buf[:n:n], nil
	}
	random := make([]byte, sessionKey)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	n, err := d.key.decrypt(context.Background(), m, msg, buf)
	if err != nil && !errors.Is(err, pkcs11.CKR_ENCRYPTED_DATA_INVALID) {
		return nil, fail(d.key.String(), err, "")
	}
	if sessionKey > len(buf) {
		return random, nil
	}
	good := subtle.ConstantTimeEq(int32(n), int32(sessionKey))
	if err != nil {
		good = 0
	}
	subtle.ConstantTimeCopy(good, random, buf[:sessionKey])
	clear(buf)
	return random, nil
}
