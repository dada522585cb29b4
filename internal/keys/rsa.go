package keys

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"fmt"
	"hash"
	"math/big"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Sizes of an RSA modulus in bits. Below the least crypto/rsa refuses to work;
// the most keeps a stranger's key from stopping a gateway.
const (
	minRSA = 1024
	maxRSA = 16384
)

func rsaPublic(t pkcs11.Template) (crypto.PublicKey, error) {
	n, err := need(t, pkcs11.CKA_MODULUS)
	if err != nil {
		return nil, err
	}
	e, err := need(t, pkcs11.CKA_PUBLIC_EXPONENT)
	if err != nil {
		return nil, err
	}
	pub, err := newRSA(n, e)
	if err != nil {
		return nil, err
	}
	return pub, nil
}

func newRSA(n, e []byte) (*rsa.PublicKey, error) {
	n, e = trim(n), trim(e)
	if len(n) > maxRSA/8 {
		return nil, invalid(pkcs11.CKA_MODULUS, "%d bytes; at most %d bits are supported", len(n), maxRSA)
	}
	if len(e) > 4 {
		return nil, invalid(pkcs11.CKA_PUBLIC_EXPONENT, "%d bytes; it has at most 31 bits", len(e))
	}
	exp := new(big.Int).SetBytes(e).Int64()
	if exp > 1<<31-1 {
		return nil, invalid(pkcs11.CKA_PUBLIC_EXPONENT, "it has at most 31 bits")
	}
	pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exp)}
	if err := checkRSA(pub); err != nil {
		return nil, err
	}
	return pub, nil
}

func checkRSA(pub *rsa.PublicKey) error {
	if pub.N == nil || pub.N.Sign() <= 0 {
		return invalid(pkcs11.CKA_MODULUS, "not positive")
	}
	if bits := pub.N.BitLen(); bits < minRSA || bits > maxRSA {
		return invalid(pkcs11.CKA_MODULUS, "%d bits; %d to %d are supported", bits, minRSA, maxRSA)
	}
	if pub.N.Bit(0) == 0 {
		return invalid(pkcs11.CKA_MODULUS, "even")
	}
	if pub.E < 3 || pub.E&1 == 0 {
		return invalid(pkcs11.CKA_PUBLIC_EXPONENT, "it is odd and at least 3")
	}
	if int64(pub.E) > 1<<31-1 {
		return invalid(pkcs11.CKA_PUBLIC_EXPONENT, "it has at most 31 bits")
	}
	return nil
}

// rawRSA is the RSA public key operation, x^e mod n, for which crypto/rsa has no
// function. x is a number below n of at most k bytes, the result has k.
func rawRSA(pub *rsa.PublicKey, x []byte) (y []byte, ok bool) {
	v := new(big.Int).SetBytes(x)
	if v.Cmp(pub.N) >= 0 {
		return nil, false
	}
	v.Exp(v, big.NewInt(int64(pub.E)), pub.N)
	return v.FillBytes(make([]byte, pub.Size())), true
}

// verifyRSAPKCS verifies a signature over the data that the caller made. A
// DigestInfo that is known goes to crypto/rsa.
func verifyRSAPKCS(pub *rsa.PublicKey, data, sig []byte) error {
	k := pub.Size()
	if len(data) > k-11 {
		return fmt.Errorf("%d bytes of data, this key signs at most %d: %w", len(data), k-11, pkcs11.CKR_DATA_LEN_RANGE)
	}
	if len(sig) != k {
		return sigLen(len(sig), k)
	}
	if h, digest, ok := ParseDigestInfo(data); ok {
		return verdict(rsa.VerifyPKCS1v15(pub, h, digest, sig))
	}
	have, ok := rawRSA(pub, sig)
	if !ok {
		return errSignature
	}
	want := PadPKCS1(k, data)
	if subtle.ConstantTimeCompare(have, want) != 1 {
		return errSignature
	}
	return nil
}

// verifyRSAX509 verifies a signature without padding: data is a number.
func verifyRSAX509(pub *rsa.PublicKey, data, sig []byte) error {
	k := pub.Size()
	want, err := rsaBlock(pub, data)
	if err != nil {
		return err
	}
	if len(sig) != k {
		return sigLen(len(sig), k)
	}
	if have, ok := rawRSA(pub, sig); !ok || subtle.ConstantTimeCompare(have, want) != 1 {
		return errSignature
	}
	return nil
}

// rsaBlock pads data with zeros on the left to a number below n.
func rsaBlock(pub *rsa.PublicKey, data []byte) ([]byte, error) {
	k := pub.Size()
	if len(data) == 0 || len(data) > k {
		return nil, fmt.Errorf("%d bytes of data, a block of this key has %d: %w", len(data), k, pkcs11.CKR_DATA_LEN_RANGE)
	}
	block := make([]byte, k)
	copy(block[k-len(data):], data)
	if new(big.Int).SetBytes(block).Cmp(pub.N) >= 0 {
		return nil, fmt.Errorf("the block is not below the modulus: %w", pkcs11.CKR_DATA_INVALID)
	}
	return block, nil
}

// PSS returns the parameters of CKM_RSA_PKCS_PSS and its hashing variants: the
// hash function of the data, that of MGF1, and the length of the salt. The
// errors wrap CKR_MECHANISM_PARAM_INVALID. pub may be nil; if not, the salt
// must fit into the modulus.
func PSS(m *pkcs11.Mechanism, pub *rsa.PublicKey) (h, mgf crypto.Hash, salt int, err error) {
	p, ok := m.Params.(*pkcs11.PSSParams)
	if !ok || p == nil {
		return 0, 0, 0, fmt.Errorf("%v wants *pkcs11.PSSParams: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	if h, ok = Hash(p.HashAlg); !ok {
		return 0, 0, 0, fmt.Errorf("%v: hash %v: %w", m.Type, p.HashAlg, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	if mgf, ok = MGFHash(p.MGF); !ok {
		return 0, 0, 0, fmt.Errorf("%v: mask generation function %v: %w", m.Type, p.MGF, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	if _, hashed, ok := Split(m.Type); ok && hashed != h {
		return 0, 0, 0, fmt.Errorf("%v with parameters for %v: %w", m.Type, p.HashAlg, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	most := uint64(maxRSA / 8)
	if pub != nil {
		// emLen ≥ hLen + sLen + 2, RFC 8017 §9.1.1.
		room := (pub.N.BitLen()-1+7)/8 - h.Size() - 2
		if room < 0 {
			return 0, 0, 0, fmt.Errorf("%v: %v does not fit into a key of %d bits: %w", m.Type, p.HashAlg, pub.N.BitLen(), pkcs11.CKR_KEY_SIZE_RANGE)
		}
		most = uint64(room)
	}
	if p.SaltLen > most {
		return 0, 0, 0, fmt.Errorf("%v: salt of %d bytes, at most %d fit: %w", m.Type, p.SaltLen, most, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	return h, mgf, int(p.SaltLen), nil
}

func verifyRSAPSS(pub *rsa.PublicKey, m *pkcs11.Mechanism, digest, sig []byte) error {
	h, mgf, salt, err := PSS(m, pub)
	if err != nil {
		return err
	}
	if len(digest) != h.Size() {
		return fmt.Errorf("%d bytes of data, a %v digest has %d: %w", len(digest), h, h.Size(), pkcs11.CKR_DATA_LEN_RANGE)
	}
	if len(sig) != pub.Size() {
		return sigLen(len(sig), pub.Size())
	}
	if salt > 0 && mgf == h {
		return verdict(rsa.VerifyPSS(pub, h, digest, sig, &rsa.PSSOptions{SaltLength: salt, Hash: h}))
	}
	// crypto/rsa takes a salt length of 0 for "any", and knows one hash
	// function only.
	em, ok := rawRSA(pub, sig)
	if !ok || !checkPSS(pub, h, mgf, salt, digest, em) {
		return errSignature
	}
	return nil
}

// checkPSS is EMSA-PSS-VERIFY, RFC 8017 §9.1.2. em has as many bytes as the
// modulus, and is modified.
func checkPSS(pub *rsa.PublicKey, h, mgf crypto.Hash, salt int, digest, em []byte) bool {
	bits := pub.N.BitLen() - 1
	if n := (bits + 7) / 8; n < len(em) {
		if em[0] != 0 {
			return false
		}
		em = em[1:]
	}
	unused := 8*len(em) - bits
	if len(em) < h.Size()+salt+2 || em[len(em)-1] != 0xbc || em[0]>>(8-unused) != 0 {
		return false
	}
	db, want := em[:len(em)-h.Size()-1], em[len(em)-h.Size()-1:len(em)-1]
	xorMGF1(db, mgf.New(), want)
	db[0] &= 0xff >> unused
	pad := len(db) - salt - 1
	for _, b := range db[:pad] {
		if b != 0 {
			return false
		}
	}
	if db[pad] != 1 {
		return false
	}
	w := h.New()
	w.Write(make([]byte, 8))
	w.Write(digest)
	w.Write(db[pad+1:])
	return subtle.ConstantTimeCompare(w.Sum(nil), want) == 1
}

// xorMGF1 masks out with MGF1 of the seed, RFC 8017 §B.2.1.
func xorMGF1(out []byte, h hash.Hash, seed []byte) {
	var counter [4]byte
	var sum []byte
	for done := 0; done < len(out); {
		h.Reset()
		h.Write(seed)
		h.Write(counter[:])
		sum = h.Sum(sum[:0])
		done += subtle.XORBytes(out[done:], out[done:], sum)
		for i := 3; i >= 0; i-- {
			if counter[i]++; counter[i] != 0 {
				break
			}
		}
	}
}

// OAEP returns the parameters of CKM_RSA_PKCS_OAEP: the hash function, that of
// MGF1, and the label. The errors wrap CKR_MECHANISM_PARAM_INVALID.
func OAEP(m *pkcs11.Mechanism) (h, mgf crypto.Hash, label []byte, err error) {
	p, ok := m.Params.(*pkcs11.OAEPParams)
	if !ok || p == nil {
		return 0, 0, nil, fmt.Errorf("%v wants *pkcs11.OAEPParams: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	if h, ok = Hash(p.HashAlg); !ok {
		return 0, 0, nil, fmt.Errorf("%v: hash %v: %w", m.Type, p.HashAlg, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	if mgf, ok = MGFHash(p.MGF); !ok {
		return 0, 0, nil, fmt.Errorf("%v: mask generation function %v: %w", m.Type, p.MGF, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	if p.Source != pkcs11.CKZ_DATA_SPECIFIED && (p.Source != 0 || len(p.Label) > 0) {
		return 0, 0, nil, fmt.Errorf("%v: source %d of the label: %w", m.Type, p.Source, pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	return h, mgf, p.Label, nil
}

func encryptOAEP(pub *rsa.PublicKey, m *pkcs11.Mechanism, plaintext []byte) ([]byte, error) {
	h, mgf, label, err := OAEP(m)
	if err != nil {
		return nil, err
	}
	k := pub.Size()
	most := k - 2*h.Size() - 2
	if most < 0 {
		return nil, fmt.Errorf("%v with %v: key of %d bits: %w", m.Type, h, pub.N.BitLen(), pkcs11.CKR_KEY_SIZE_RANGE)
	}
	if len(plaintext) > most {
		return nil, fmt.Errorf("%d bytes of data, this key takes at most %d: %w", len(plaintext), most, pkcs11.CKR_DATA_LEN_RANGE)
	}
	if mgf == h {
		out, err := rsa.EncryptOAEP(h.New(), rand.Reader, pub, plaintext, label)
		return out, refused(err)
	}
	// EME-OAEP with another hash function in MGF1, RFC 8017 §7.1.1. The Java
	// world encrypts with SHA-256 and MGF1 of SHA-1.
	em := make([]byte, k)
	defer clear(em)
	seed, db := em[1:1+h.Size()], em[1+h.Size():]
	w := h.New()
	w.Write(label)
	w.Sum(db[:0])
	db[len(db)-len(plaintext)-1] = 1
	copy(db[len(db)-len(plaintext):], plaintext)
	rand.Read(seed)
	xorMGF1(db, mgf.New(), seed)
	xorMGF1(seed, mgf.New(), db)
	out, _ := rawRSA(pub, em) // em[0] is 0: below the modulus
	return out, nil
}
