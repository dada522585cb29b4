package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A publicArea is a TPMT_PUBLIC. Part 2, 12.2.4.
type publicArea struct {
	raw        []byte
	name       []byte // made of raw
	typ        tpm2.TPMAlgID
	nameAlg    tpm2.TPMAlgID
	attributes uint32
	policy     []byte
	symmetric  tpm2.TPMAlgID // of a storage key or a symmetric cipher, TPM_ALG_NULL otherwise
	scheme     tpm2.TPMAlgID
	bits       int // of an RSA or a symmetric key
	curve      tpm2.TPMECCCurve
	unique     []byte           // of what is no asymmetric key
	key        crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey; nil of what is none of these
}

// Object attributes. Part 2, 8.3.
const (
	objFixedTPM            = 1 << 1
	objFixedParent         = 1 << 4
	objSensitiveDataOrigin = 1 << 5
	objUserWithAuth        = 1 << 6
	objAdminWithPolicy     = 1 << 7
	objNoDA                = 1 << 10
	objRestricted          = 1 << 16
	objDecrypt             = 1 << 17
	objSign                = 1 << 18
)

// parsePublic takes a TPMT_PUBLIC apart, which is all of b.
func parsePublic(b []byte) (*publicArea, error) {
	r := reader{b: b}
	p := &publicArea{
		raw:        b,
		typ:        tpm2.TPMAlgID(r.u16()),
		nameAlg:    tpm2.TPMAlgID(r.u16()),
		attributes: r.u32(),
		policy:     r.sized(),
		symmetric:  tpm2.TPMAlgNull,
		scheme:     tpm2.TPMAlgNull,
	}
	switch p.typ {
	case tpm2.TPMAlgRSA:
		p.takeSymmetric(&r)
		p.takeScheme(&r)
		p.bits = int(r.u16())
		e := r.u32()
		n := r.sized()
		if e == 0 {
			e = 65537
		}
		if !r.bad {
			// A template has no modulus, and is nothing to parse here.
			pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(e)}
			if int64(e) > 1<<31-1 || pub.N.BitLen() != p.bits {
				return nil, fmt.Errorf("an RSA key of %d bits with a modulus of %d", p.bits, pub.N.BitLen())
			}
			if _, err := keys.PublicAttributes(pub); err != nil {
				return nil, err
			}
			p.key = pub
		}
	case tpm2.TPMAlgECC:
		p.takeSymmetric(&r)
		p.takeScheme(&r)
		p.curve = tpm2.TPMECCCurve(r.u16())
		if kdf := tpm2.TPMAlgID(r.u16()); kdf != tpm2.TPMAlgNull {
			r.u16()
		}
		x, y := r.sized(), r.sized()
		if c := curveOf(p.curve); c != nil && !r.bad {
			pub, err := point(c, x, y)
			if err != nil {
				return nil, err
			}
			p.key = pub
		}
	case tpm2.TPMAlgKeyedHash:
		if p.scheme = tpm2.TPMAlgID(r.u16()); p.scheme != tpm2.TPMAlgNull {
			r.u16()
			if p.scheme == tpm2.TPMAlgXOR {
				r.u16()
			}
		}
		p.unique = r.sized()
	case tpm2.TPMAlgSymCipher:
		p.takeSymmetric(&r)
		p.unique = r.sized()
	default:
		return nil, fmt.Errorf("an object of type %#x", uint16(p.typ))
	}
	if !r.done() {
		return nil, fmt.Errorf("a public area of %d bytes that is none", len(b))
	}
	h, err := p.nameAlg.Hash()
	if err != nil || !h.Available() {
		return nil, fmt.Errorf("a Name made with %#x", uint16(p.nameAlg))
	}
	w := h.New()
	w.Write(b)
	p.name = w.Sum(put16(nil, uint16(p.nameAlg)))
	return p, nil
}

func (p *publicArea) takeSymmetric(r *reader) {
	if p.symmetric = tpm2.TPMAlgID(r.u16()); p.symmetric != tpm2.TPMAlgNull {
		bits := int(r.u16())
		if p.typ == tpm2.TPMAlgSymCipher {
			p.bits = bits
		}
		r.u16() // mode
	}
}

func (p *publicArea) takeScheme(r *reader) {
	switch p.scheme = tpm2.TPMAlgID(r.u16()); p.scheme {
	case tpm2.TPMAlgNull, tpm2.TPMAlgRSAES:
	case tpm2.TPMAlgECDAA:
		r.u16()
		r.u16()
	default:
		r.u16()
	}
}

func (p *publicArea) has(attributes uint32) bool { return p.attributes&attributes == attributes }

// curves are those that are of use to Cryptoki.
var curves = []struct {
	id    tpm2.TPMECCCurve
	curve elliptic.Curve
	hash  tpm2.TPMAlgID // as long as the order, or the longest there is
	size  int           // bytes of that hash
}{
	{tpm2.TPMECCNistP256, elliptic.P256(), tpm2.TPMAlgSHA256, 32},
	{tpm2.TPMECCNistP384, elliptic.P384(), tpm2.TPMAlgSHA384, 48},
	{tpm2.TPMECCNistP521, elliptic.P521(), tpm2.TPMAlgSHA512, 64},
}

func curveOf(id tpm2.TPMECCCurve) elliptic.Curve {
	for _, c := range curves {
		if c.id == id {
			return c.curve
		}
	}
	return nil
}

// point makes a public key of coordinates, which may lack leading zeros.
func point(c elliptic.Curve, x, y []byte) (*ecdsa.PublicKey, error) {
	n := (c.Params().BitSize + 7) / 8
	x, y = bytes.TrimLeft(x, "\x00"), bytes.TrimLeft(y, "\x00")
	if len(x) > n || len(y) > n {
		return nil, fmt.Errorf("coordinates of %d and %d bytes on %s", len(x), len(y), c.Params().Name)
	}
	b := make([]byte, 1+2*n)
	b[0] = 4
	copy(b[1+n-len(x):], x)
	copy(b[1+2*n-len(y):], y)
	pub, err := ecdsa.ParseUncompressedPublicKey(c, b)
	if err != nil {
		return nil, fmt.Errorf("a point that is not on %s: %w", c.Params().Name, pkcs11.CKR_DEVICE_ERROR)
	}
	return pub, nil
}

// readPublic reads the public area of an object.
func (c *channel) readPublic(handle uint32) (*publicArea, error) {
	r, err := c.run(tpm2.TPMCCReadPublic, []entity{{handle: handle}}, nil)
	if err != nil {
		return nil, err
	}
	p := r.reader()
	raw, name, _ := p.sized(), p.sized(), p.sized()
	if !p.done() {
		return nil, &commandError{tpm2.TPMCCReadPublic, errGarbled}
	}
	pub, err := parsePublic(raw)
	if err != nil {
		return nil, &commandError{tpm2.TPMCCReadPublic, err}
	}
	if !bytes.Equal(name, pub.name) {
		return nil, &commandError{tpm2.TPMCCReadPublic, errGarbled}
	}
	return pub, nil
}
