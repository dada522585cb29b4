package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
)

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	// TCG EK Credential Profile for TPM 2.0, 3.2.16: tcg-kp-EKCertificate.
	oidEndorsement = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
)

// maxChain is how many certificates evidence may bring along.
const maxChain = 8

// endorsementKey returns the EK of the evidence.
func (e *Evidence) endorsementKey() (crypto.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(e.EndorsementKey)
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() == 2048 {
			return key, nil
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return key, nil
		}
	}
	return nil, errors.New("it is neither of RSA with 2048 bits nor on P-256 or P-384")
}

// checkEndorsement finds out whether the EK is one of a TPM of a trusted maker.
func checkEndorsement(e *Evidence, p *Policy, r *Result) error {
	if _, err := e.endorsementKey(); err != nil {
		return err
	}
	r.EndorsementKey = sha256.Sum256(e.EndorsementKey)
	if len(e.EndorsementChain) > 0 {
		leaf, err := checkChain(e, p)
		if err == nil {
			r.EndorsementCertificate = leaf
			return nil
		}
		if !pinned(p, r) {
			return err
		}
		return nil
	}
	if !pinned(p, r) {
		return fmt.Errorf("the TPM has no certificate, and the key, SHA-256 %x, is not one that is trusted without", r.EndorsementKey)
	}
	return nil
}

func pinned(p *Policy, r *Result) bool {
	return slices.ContainsFunc(p.EndorsementKeys, func(hash []byte) bool {
		return bytes.Equal(hash, r.EndorsementKey[:])
	})
}

func checkChain(e *Evidence, p *Policy) (*x509.Certificate, error) {
	if p.Roots == nil {
		return nil, errors.New("no roots of TPM makers are given")
	}
	if len(e.EndorsementChain) > maxChain {
		return nil, fmt.Errorf("%d certificates; there are at most %d", len(e.EndorsementChain), maxChain)
	}
	intermediates := x509.NewCertPool()
	if p.Intermediates != nil {
		intermediates = p.Intermediates.Clone()
	}
	var leaf *x509.Certificate
	for i, der := range e.EndorsementChain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, err)
		}
		if i == 0 {
			leaf = c
		} else {
			intermediates.AddCert(c)
		}
	}
	if leaf.IsCA {
		return nil, errors.New("its certificate is one of an authority")
	}
	if !bytes.Equal(leaf.RawSubjectPublicKeyInfo, e.EndorsementKey) {
		return nil, errors.New("its certificate is for another key")
	}
	// The maker and the model are in a critical subjectAltName as a directory
	// name, which crypto/x509 does not know. It says nothing that is relied upon.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(leaf.UnhandledCriticalExtensions, func(id asn1.ObjectIdentifier) bool {
		return id.Equal(oidSubjectAltName)
	})
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 && !slices.ContainsFunc(leaf.UnknownExtKeyUsage, oidEndorsement.Equal) {
		return nil, errors.New("its certificate is for another use")
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: p.Roots, Intermediates: intermediates, CurrentTime: p.Time,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, err
	}
	return leaf, nil
}
