package cryptoki

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// maxChain is how long a certificate chain may be, the leaf included.
const maxChain = 10

// TLSCertificate returns what tls.Config.Certificates wants: the certificate of
// that name, Leaf set, its chain as far as the token has the issuers' (without
// a self-signed root), and the private key as a Signer. Only what the token and
// the key can do is in SupportedSignatureAlgorithms.
//
// A certificate of another key is an error that names both.
func (t *Token) TLSCertificate(ctx context.Context, cert, key string) (tls.Certificate, error) {
	leaf, err := t.Certificate(ctx, cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	signer, err := t.Signer(ctx, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	if !keys.Equal(leaf.PublicKey, signer.Public()) {
		return tls.Certificate{}, fail(fmt.Sprintf("certificate %q", cert),
			fmt.Errorf("%w: it belongs to another key than private key %q", pkcs11.CKR_TEMPLATE_INCONSISTENT, key),
			"install the certificate that was issued for this key")
	}
	schemes := signer.schemes(ctx)
	if len(schemes) == 0 {
		return tls.Certificate{}, fail(fmt.Sprintf("private key %q", key), fmt.Errorf("%w: the token makes no signature with it that TLS knows", pkcs11.CKR_MECHANISM_INVALID),
			"see the mechanisms of the token and their key sizes, and CKA_ALLOWED_MECHANISMS of the key")
	}
	chain := [][]byte{leaf.Raw}
	if !selfSigned(leaf) {
		others, err := t.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_CERTIFICATE))})
		if err != nil {
			return tls.Certificate{}, err
		}
		chain = appendIssuers(chain, leaf, others)
	}
	return tls.Certificate{
		Certificate:                  chain,
		PrivateKey:                   signer,
		Leaf:                         leaf,
		SupportedSignatureAlgorithms: schemes,
	}, nil
}

// appendIssuers appends the certificates that lead from leaf towards a root.
func appendIssuers(chain [][]byte, leaf *x509.Certificate, others []Object) [][]byte {
	var pool []*x509.Certificate
	for _, o := range others {
		if cert, err := o.Certificate(); err == nil { // another kind of certificate is none of ours
			pool = append(pool, cert)
		}
	}
	for cert := leaf; len(chain) < maxChain; {
		var next *x509.Certificate
		for _, c := range pool {
			if !bytes.Equal(c.RawSubject, cert.RawIssuer) || selfSigned(c) {
				continue
			}
			if len(cert.AuthorityKeyId) > 0 && len(c.SubjectKeyId) > 0 && !bytes.Equal(cert.AuthorityKeyId, c.SubjectKeyId) {
				continue
			}
			if cert.CheckSignatureFrom(c) != nil || has(chain, c.Raw) {
				continue
			}
			// Of several for the same key, the one that is valid longest.
			if next == nil || c.NotAfter.After(next.NotAfter) {
				next = c
			}
		}
		if next == nil {
			break
		}
		chain = append(chain, next.Raw)
		cert = next
	}
	return chain
}

func has(chain [][]byte, raw []byte) bool {
	for _, c := range chain {
		if bytes.Equal(c, raw) {
			return true
		}
	}
	return false
}

// selfSigned reports whether a certificate is its own issuer.
func selfSigned(c *x509.Certificate) bool {
	if !bytes.Equal(c.RawSubject, c.RawIssuer) {
		return false
	}
	return len(c.AuthorityKeyId) == 0 || len(c.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId)
}

// schemes returns the signature schemes of TLS that the token makes with the
// key, the best first: those of TLS 1.3 and what TLS 1.2 adds.
func (s *Signer) schemes(ctx context.Context) []tls.SignatureScheme {
	var list []tls.SignatureScheme
	add := func(scheme tls.SignatureScheme, base, hashing pkcs11.MechanismType) {
		m := base
		if !s.mechs.has(m) {
			m = hashing
		}
		if s.mechs.has(m) && s.fits(ctx, m) {
			list = append(list, scheme)
		}
	}
	switch pub := s.key.pub.(type) {
	case ed25519.PublicKey:
		add(tls.Ed25519, pkcs11.CKM_EDDSA, pkcs11.CKM_EDDSA)
	case *ecdsa.PublicKey:
		// TLS 1.3 binds the curve to the hash; in TLS 1.2 any goes.
		first := tls.ECDSAWithP256AndSHA256
		switch pub.Curve {
		case elliptic.P384():
			first = tls.ECDSAWithP384AndSHA384
		case elliptic.P521():
			first = tls.ECDSAWithP521AndSHA512
		}
		for pass := range 2 {
			for _, e := range [...]struct {
				scheme  tls.SignatureScheme
				hashing pkcs11.MechanismType
			}{
				{tls.ECDSAWithP256AndSHA256, pkcs11.CKM_ECDSA_SHA256},
				{tls.ECDSAWithP384AndSHA384, pkcs11.CKM_ECDSA_SHA384},
				{tls.ECDSAWithP521AndSHA512, pkcs11.CKM_ECDSA_SHA512},
			} {
				if (e.scheme == first) == (pass == 0) {
					add(e.scheme, pkcs11.CKM_ECDSA, e.hashing)
				}
			}
		}
	case *rsa.PublicKey:
		for _, e := range [...]struct {
			scheme  tls.SignatureScheme
			hashing pkcs11.MechanismType
			hashLen int
		}{
			{tls.PSSWithSHA256, pkcs11.CKM_SHA256_RSA_PKCS_PSS, 32},
			{tls.PSSWithSHA384, pkcs11.CKM_SHA384_RSA_PKCS_PSS, 48},
			{tls.PSSWithSHA512, pkcs11.CKM_SHA512_RSA_PKCS_PSS, 64},
		} {
			// The salt is as long as the digest: RFC 8446 §4.2.3. RSA-1024 has no
			// room for that of SHA-512.
			if (pub.N.BitLen()-1+7)/8 >= 2*e.hashLen+2 {
				add(e.scheme, pkcs11.CKM_RSA_PKCS_PSS, e.hashing)
			}
		}
		add(tls.PKCS1WithSHA256, pkcs11.CKM_RSA_PKCS, pkcs11.CKM_SHA256_RSA_PKCS)
		add(tls.PKCS1WithSHA384, pkcs11.CKM_RSA_PKCS, pkcs11.CKM_SHA384_RSA_PKCS)
		add(tls.PKCS1WithSHA512, pkcs11.CKM_RSA_PKCS, pkcs11.CKM_SHA512_RSA_PKCS)
	}
	return list
}

// fits reports whether the token does m with a key of that size. Tokens that
// tell nothing useful (no maximum, or RSA sizes in bytes) are believed to do it.
func (s *Signer) fits(ctx context.Context, m pkcs11.MechanismType) bool {
	info, err := s.key.t.m.MechanismInfo(ctx, s.key.t.slot, m)
	bits := uint64(keys.KeyBits(s.key.pub))
	if err != nil || info.MaxKeySize == 0 || info.MinKeySize > info.MaxKeySize {
		return true
	}
	if s.key.typ == pkcs11.CKK_RSA && info.MaxKeySize < 1024 {
		return true
	}
	return info.MinKeySize <= bits && bits <= info.MaxKeySize
}

// CertificateRequest returns a PKCS #10 certificate request, in DER, for the
// private key of that name, signed by it. Subject, extensions and, if it is not
// 0, SignatureAlgorithm come from template, which may be nil.
func (t *Token) CertificateRequest(ctx context.Context, key string, template *x509.CertificateRequest) ([]byte, error) {
	signer, err := t.Signer(ctx, key)
	if err != nil {
		return nil, err
	}
	if template == nil {
		template = &x509.CertificateRequest{}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, signer)
	if err != nil {
		return nil, fail(fmt.Sprintf("certificate request for private key %q", key), err, "")
	}
	return der, nil
}
