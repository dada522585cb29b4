package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math/big"
)

// Identifiers of algorithms, curves and structures. Part 2, 6.3, 6.4, 6.9.
const (
	algRSA    = 0x0001
	algSHA256 = 0x000B
	algSHA384 = 0x000C
	algSHA512 = 0x000D
	algNull   = 0x0010
	algRSASSA = 0x0014
	algRSAPSS = 0x0016
	algECDSA  = 0x0018
	algECC    = 0x0023

	curveP256 = 0x0003
	curveP384 = 0x0004
	curveP521 = 0x0005

	generated      = 0xFF544347 // TPM_GENERATED_VALUE
	attestQuote    = 0x8018
	attestCreation = 0x801A
)

// Attributes of an object, TPMA_OBJECT. Part 2, 8.3.
const (
	fixedTPM            = 1 << 1
	fixedParent         = 1 << 4
	sensitiveDataOrigin = 1 << 5
	restricted          = 1 << 16
	decrypt             = 1 << 17
	sign                = 1 << 18
)

var errForm = errors.New("it is cut off or malformed")

// A reader takes big-endian structures apart. bad is set when there is not
// enough, and everything read from then on is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() int {
	if v := r.take(1); v != nil {
		return int(v[0])
	}
	return 0
}

func (r *reader) u16() int {
	if v := r.take(2); v != nil {
		return int(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) sized() []byte { return r.take(r.u16()) }
func (r *reader) done() bool    { return !r.bad && len(r.b) == 0 }

func newHash(alg int) (func() hash.Hash, crypto.Hash, error) {
	switch alg {
	case algSHA256:
		return sha256.New, crypto.SHA256, nil
	case algSHA384:
		return sha512.New384, crypto.SHA384, nil
	case algSHA512:
		return sha512.New, crypto.SHA512, nil
	}
	return nil, 0, fmt.Errorf("hash algorithm %#x is none of SHA-256, SHA-384, SHA-512", alg)
}

func sum(alg int, parts ...[]byte) ([]byte, error) {
	newHash, _, err := newHash(alg)
	if err != nil {
		return nil, err
	}
	h := newHash()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil), nil
}

// nameOf puts the hash algorithm in front of a digest, as a Name has it.
func nameOf(alg int, digest []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(alg)), digest...)
}

// A public is a TPMT_PUBLIC. Part 2, 12.2.4.
type public struct {
	raw        []byte
	nameAlg    int
	attributes uint32
	scheme     int // of an RSA or EC key that has one, algNull otherwise
	key        crypto.PublicKey
}

func parsePublic(b []byte) (*public, error) {
	r := reader{b: b}
	p := &public{raw: b}
	typ := r.u16()
	p.nameAlg = r.u16()
	p.attributes = r.u32()
	r.sized() // authPolicy
	if r.bad {
		return nil, errForm
	}
	if typ != algRSA && typ != algECC {
		return nil, fmt.Errorf("its type %#x is neither RSA nor EC", typ)
	}
	if alg := r.u16(); alg != algNull { // TPMT_SYM_DEF_OBJECT+
		r.take(4) // bits, mode
	}
	if p.scheme = r.u16(); p.scheme != algNull { // TPMT_RSA_SCHEME+ or TPMT_ECC_SCHEME+
		r.take(2) // hash
	}
	var err error
	if typ == algRSA {
		p.key, err = parseRSA(&r)
	} else {
		p.key, err = parseEC(&r)
	}
	if err != nil {
		return nil, err
	}
	if !r.done() {
		return nil, errForm
	}
	return p, nil
}

func parseRSA(r *reader) (*rsa.PublicKey, error) {
	bits, e, n := r.u16(), r.u32(), r.sized()
	if e == 0 {
		e = 65537
	}
	k := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(e)}
	if r.bad || e < 3 || e > 1<<31-1 || e&1 == 0 || k.N.BitLen() != bits || k.N.Bit(0) == 0 {
		return nil, errForm
	}
	if bits < 2048 || bits > 16384 {
		return nil, fmt.Errorf("an RSA key of %d bits; there are 2048 to 16384", bits)
	}
	return k, nil
}

func parseEC(r *reader) (*ecdsa.PublicKey, error) {
	curve := r.u16()
	if r.u16() != algNull {
		r.take(2) // hash of the KDF
	}
	x, y := r.sized(), r.sized()
	if r.bad {
		return nil, errForm
	}
	var c elliptic.Curve
	switch curve {
	case curveP256:
		c = elliptic.P256()
	case curveP384:
		c = elliptic.P384()
	case curveP521:
		c = elliptic.P521()
	default:
		return nil, fmt.Errorf("curve %#x is none of P-256, P-384, P-521", curve)
	}
	n := (c.Params().BitSize + 7) / 8
	if len(x) > n || len(y) > n {
		return nil, errForm
	}
	point := make([]byte, 1+2*n)
	point[0] = 4
	copy(point[1+n-len(x):], x)
	copy(point[1+2*n-len(y):], y)
	return ecdsa.ParseUncompressedPublicKey(c, point)
}

func (p *public) has(attributes uint32) bool { return p.attributes&attributes == attributes }

// name is the Name of the object. Part 1, 16.
func (p *public) name() ([]byte, error) {
	digest, err := sum(p.nameAlg, p.raw)
	return nameOf(p.nameAlg, digest), err
}

// An attested is a TPMS_ATTEST. Part 2, 10.12.8.
type attested struct {
	signer    []byte // qualified Name of the signing key
	extraData []byte
	rest      reader // the part that depends on the type
}

func parseAttested(b []byte, typ int) (*attested, error) {
	r := reader{b: b}
	magic, found := r.u32(), r.u16()
	a := &attested{signer: r.sized(), extraData: r.sized()}
	r.take(8 + 4 + 4 + 1 + 8) // TPMS_CLOCK_INFO, firmwareVersion
	if r.bad {
		return nil, errForm
	}
	if magic != generated {
		return nil, errors.New("it does not come from a TPM")
	}
	if found != typ {
		return nil, fmt.Errorf("it is about something else (type %#x)", found)
	}
	a.rest = r
	return a, nil
}

// A creationInfo is a TPMS_CREATION_INFO. Part 2, 10.12.7.
type creationInfo struct{ name, hash []byte }

func (a *attested) creation() (c creationInfo, err error) {
	r := a.rest
	c = creationInfo{r.sized(), r.sized()}
	if !r.done() {
		return c, errForm
	}
	return c, nil
}

// A quoteInfo is a TPMS_QUOTE_INFO. Part 2, 10.12.1.
type quoteInfo struct {
	indices []int // of the SHA-256 bank, ascending
	digest  []byte
}

func (a *attested) quote() (q quoteInfo, err error) {
	r := a.rest
	banks := r.u32()
	if r.bad || banks != 1 {
		return q, errors.New("it is not about exactly one bank of registers")
	}
	alg, selected := r.u16(), r.take(r.u8())
	q.digest = r.sized()
	if !r.done() {
		return q, errForm
	}
	if alg != algSHA256 || len(selected) > 3 {
		return q, errors.New("it is not about registers 0 to 23 of the SHA-256 bank")
	}
	for i := range 8 * len(selected) {
		if selected[i/8]>>(i%8)&1 != 0 {
			q.indices = append(q.indices, i)
		}
	}
	return q, nil
}

// A creationData is the part of a TPMS_CREATION_DATA that is of interest. Part 2,
// 15.1.
type creationData struct{ parent, qualifiedParent []byte }

func parseCreationData(b []byte) (c creationData, err error) {
	r := reader{b: b}
	for n := r.u32(); n > 0 && !r.bad; n-- { // TPML_PCR_SELECTION
		r.u16()
		r.take(r.u8())
	}
	r.sized() // pcrDigest
	r.take(1) // locality
	r.u16()   // parentNameAlg
	c.parent, c.qualifiedParent = r.sized(), r.sized()
	r.sized() // outsideInfo
	if !r.done() {
		return c, errForm
	}
	return c, nil
}

// checkSignature checks a TPMT_SIGNATURE of data. Part 2, 11.3.4.
func checkSignature(key crypto.PublicKey, data, signature []byte) error {
	r := reader{b: signature}
	scheme := r.u16()
	alg := r.u16()
	_, id, err := newHash(alg)
	if err != nil {
		return err
	}
	digest, _ := sum(alg, data)
	wrong := errors.New("the signature is wrong")
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		s := [2]*big.Int{new(big.Int).SetBytes(r.sized()), new(big.Int).SetBytes(r.sized())}
		if scheme != algECDSA || !r.done() {
			return errForm
		}
		if !ecdsa.Verify(key, digest, s[0], s[1]) {
			return wrong
		}
	case *rsa.PublicKey:
		s := r.sized()
		if !r.done() {
			return errForm
		}
		switch scheme {
		case algRSASSA:
			err = rsa.VerifyPKCS1v15(key, id, digest, s)
		case algRSAPSS:
			err = rsa.VerifyPSS(key, id, digest, s, nil)
		default:
			return errForm
		}
		if err != nil {
			return wrong
		}
	}
	return nil
}

func equal(a, b []byte) bool { return len(a) > 0 && bytes.Equal(a, b) }
