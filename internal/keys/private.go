package keys

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"math/big"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// maxShort is by how many bytes the value of an EC private key may be shorter
// than the order of its curve, its leading zeros left out. A random one falls
// short of that once in 2^64; a key of a smaller curve does always.
const maxShort = 8

// PrivateKey returns the private key that the attributes of a private key
// object, its secret ones included, describe: *rsa.PrivateKey,
// *ecdsa.PrivateKey, ed25519.PrivateKey or *ecdh.PrivateKey. It shares no memory
// with the template.
//
// The CKA_VALUE of an EC key is a number of at most as many bytes as the order,
// that of Ed25519 the 32-byte seed, that of X25519 32 bytes. An RSA key has at
// least modulus, public and private exponent; primes, exponents and coefficient
// are found if they are not there, and checked if they are. If CKA_EC_POINT or
// CKA_PUBLIC_KEY_INFO is there, it must be of the same key.
//
// The errors wrap CKR_TEMPLATE_INCOMPLETE, CKR_ATTRIBUTE_VALUE_INVALID or
// CKR_CURVE_NOT_SUPPORTED.
func PrivateKey(t pkcs11.Template) (crypto.PrivateKey, error) {
	if !t.Has(pkcs11.CKA_KEY_TYPE) {
		return nil, missing(pkcs11.CKA_KEY_TYPE)
	}
	var key interface {
		crypto.PrivateKey
		Public() crypto.PublicKey
	}
	var err error
	switch typ := pkcs11.KeyType(t.Uint(pkcs11.CKA_KEY_TYPE)); typ {
	case pkcs11.CKK_RSA:
		key, err = rsaPrivate(t)
	case pkcs11.CKK_EC, pkcs11.CKK_EC_EDWARDS, pkcs11.CKK_EC_MONTGOMERY:
		var params, value []byte
		if params, err = need(t, pkcs11.CKA_EC_PARAMS); err != nil {
			return nil, err
		}
		var c *curve
		if c, err = curveOf(typ, params); err != nil {
			return nil, err
		}
		if value, err = need(t, pkcs11.CKA_VALUE); err != nil {
			return nil, err
		}
		switch typ {
		case pkcs11.CKK_EC:
			key, err = c.scalar(value)
		case pkcs11.CKK_EC_EDWARDS:
			if len(value) != ed25519.SeedSize {
				return nil, invalid(pkcs11.CKA_VALUE, "an Ed25519 seed has %d bytes, not %d", ed25519.SeedSize, len(value))
			}
			key = ed25519.NewKeyFromSeed(value)
		case pkcs11.CKK_EC_MONTGOMERY:
			if len(value) != 32 {
				return nil, invalid(pkcs11.CKA_VALUE, "an X25519 private key has 32 bytes, not %d", len(value))
			}
			key, err = ecdh.X25519().NewPrivateKey(value)
		}
		if err == nil && len(octets(t, pkcs11.CKA_EC_POINT)) > 0 {
			var pub crypto.PublicKey
			if pub, err = c.point(octets(t, pkcs11.CKA_EC_POINT)); err == nil && !Equal(pub, key.Public()) {
				err = invalid(pkcs11.CKA_EC_POINT, "not the point of this private key")
			}
		}
	default:
		return nil, invalid(pkcs11.CKA_KEY_TYPE, "%v is no key type with a private key that is known here", typ)
	}
	if err != nil {
		return nil, err
	}
	if info := octets(t, pkcs11.CKA_PUBLIC_KEY_INFO); len(info) > 0 {
		pub, err := parseInfo(info)
		if err != nil {
			return nil, err
		}
		if !Equal(pub, key.Public()) {
			return nil, invalid(pkcs11.CKA_PUBLIC_KEY_INFO, "not of this private key")
		}
	}
	return key, nil
}

func (c *curve) scalar(value []byte) (*ecdsa.PrivateKey, error) {
	if len(value) > c.size || len(value) < c.size-maxShort {
		return nil, invalid(pkcs11.CKA_VALUE, "%d bytes; a private key on %s has %d", len(value), c.name, c.size)
	}
	var buf [maxInt]byte
	defer clear(buf[:])
	padded := buf[:c.size]
	copy(padded[c.size-len(value):], value)
	key, err := ecdsa.ParseRawPrivateKey(c.nist, padded)
	if err != nil {
		return nil, invalid(pkcs11.CKA_VALUE, "zero, or not below the order of %s", c.name)
	}
	return key, nil
}

// PrivateAttributes returns the attributes of which PrivateKey makes key, the
// secret ones in the longest form they have: CKA_KEY_TYPE; CKA_EC_PARAMS and
// CKA_VALUE; or CKA_MODULUS, CKA_PUBLIC_EXPONENT and the six secret components.
// The caller wipes them.
func PrivateAttributes(key crypto.PrivateKey) (pkcs11.Template, error) {
	t := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(KeyType(key)))}
	var pub crypto.PublicKey
	var value []byte
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return rsaAttributes(t, key)
	case *ecdsa.PrivateKey:
		v, err := key.Bytes()
		if err != nil {
			return nil, fmt.Errorf("%v: %w: %w", pkcs11.CKA_VALUE, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, err)
		}
		pub, value = &key.PublicKey, v
	case ed25519.PrivateKey:
		if len(key) != ed25519.PrivateKeySize {
			return nil, invalid(pkcs11.CKA_VALUE, "an Ed25519 private key has %d bytes, not %d", ed25519.PrivateKeySize, len(key))
		}
		pub, value = key.Public(), key.Seed()
	case *ecdh.PrivateKey:
		pub, value = key.PublicKey(), key.Bytes()
	default:
		return nil, fmt.Errorf("private key of type %T: %w", key, pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}
	params, err := Params(pub)
	if err != nil {
		clear(value)
		return nil, err
	}
	return append(t, pkcs11.Attr(pkcs11.CKA_EC_PARAMS, params), pkcs11.Attr(pkcs11.CKA_VALUE, value)), nil
}

func rsaAttributes(t pkcs11.Template, key *rsa.PrivateKey) (pkcs11.Template, error) {
	if err := checkRSA(&key.PublicKey); err != nil {
		return nil, err
	}
	if len(key.Primes) != 2 || key.D == nil {
		return nil, fmt.Errorf("RSA key of %d primes: %w", len(key.Primes), pkcs11.CKR_KEY_TYPE_INCONSISTENT)
	}
	p, q := key.Primes[0], key.Primes[1]
	dp, dq, qinv := key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv
	if dp == nil || dq == nil || qinv == nil {
		if dp, dq, qinv = crt(key.D, p, q); qinv == nil {
			return nil, invalid(pkcs11.CKA_COEFFICIENT, "the primes have a common factor")
		}
	}
	k := key.Size()
	half := max((p.BitLen()+7)/8, (q.BitLen()+7)/8)
	secret := func(typ pkcs11.AttributeType, v *big.Int, size int) pkcs11.Attribute {
		return pkcs11.Attr(typ, v.FillBytes(make([]byte, max(size, (v.BitLen()+7)/8))))
	}
	return append(t,
		pkcs11.Attr(pkcs11.CKA_MODULUS, key.N.Bytes()),
		pkcs11.Attr(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(key.E)).Bytes()),
		secret(pkcs11.CKA_PRIVATE_EXPONENT, key.D, k),
		secret(pkcs11.CKA_PRIME_1, p, half),
		secret(pkcs11.CKA_PRIME_2, q, half),
		secret(pkcs11.CKA_EXPONENT_1, dp, half),
		secret(pkcs11.CKA_EXPONENT_2, dq, half),
		secret(pkcs11.CKA_COEFFICIENT, qinv, half),
	), nil
}

var one = big.NewInt(1)

// crt returns d mod p-1, d mod q-1 and q⁻¹ mod p, nil if there is none.
func crt(d, p, q *big.Int) (dp, dq, qinv *big.Int) {
	dp = new(big.Int).Sub(p, one)
	dp.Mod(d, dp)
	dq = new(big.Int).Sub(q, one)
	dq.Mod(d, dq)
	return dp, dq, new(big.Int).ModInverse(q, p)
}

func rsaPrivate(t pkcs11.Template) (*rsa.PrivateKey, error) {
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
	secret := func(typ pkcs11.AttributeType) (*big.Int, error) {
		v, err := need(t, typ)
		if err != nil {
			return nil, err
		}
		if v = trim(v); len(v) == 0 || len(v) > pub.Size() {
			return nil, invalid(typ, "zero, or longer than the modulus")
		}
		return new(big.Int).SetBytes(v), nil
	}
	d, err := secret(pkcs11.CKA_PRIVATE_EXPONENT)
	if err != nil {
		return nil, err
	}
	if d.Cmp(pub.N) >= 0 {
		return nil, invalid(pkcs11.CKA_PRIVATE_EXPONENT, "not below the modulus")
	}
	var p, q *big.Int
	given := false
	for _, typ := range crtTypes {
		given = given || t.Has(typ)
	}
	if given {
		if p, err = secret(pkcs11.CKA_PRIME_1); err != nil {
			return nil, err
		}
		if q, err = secret(pkcs11.CKA_PRIME_2); err != nil {
			return nil, err
		}
		if new(big.Int).Mul(p, q).Cmp(pub.N) != 0 {
			return nil, invalid(pkcs11.CKA_PRIME_1, "the primes are not those of the modulus")
		}
	} else if p, q = factor(pub.N, pub.E, d); p == nil {
		return nil, invalid(pkcs11.CKA_PRIVATE_EXPONENT, "not the private exponent of this modulus and public exponent")
	}
	// The primes of a key by others: one round tells an accident, and the
	// Baillie-PSW test inside has no known composite that passes.
	if !p.ProbablyPrime(1) {
		return nil, invalid(pkcs11.CKA_PRIME_1, "not prime")
	}
	if !q.ProbablyPrime(1) {
		return nil, invalid(pkcs11.CKA_PRIME_2, "not prime")
	}
	dp, dq, qinv := crt(d, p, q)
	if qinv == nil {
		return nil, invalid(pkcs11.CKA_PRIME_2, "the primes are equal")
	}
	for _, c := range []struct {
		typ  pkcs11.AttributeType
		want *big.Int
	}{{pkcs11.CKA_EXPONENT_1, dp}, {pkcs11.CKA_EXPONENT_2, dq}, {pkcs11.CKA_COEFFICIENT, qinv}} {
		if !t.Has(c.typ) {
			continue
		}
		v, err := secret(c.typ)
		if err != nil {
			return nil, err
		}
		if v.Cmp(c.want) != 0 {
			return nil, invalid(c.typ, "does not follow from the private exponent and the primes")
		}
	}
	key := &rsa.PrivateKey{PublicKey: *pub, D: d, Primes: []*big.Int{p, q}}
	key.Precompute()
	if err := key.Validate(); err != nil {
		return nil, fmt.Errorf("%v: %w: %w", pkcs11.CKA_PRIVATE_EXPONENT, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, err)
	}
	return key, nil
}

var crtTypes = []pkcs11.AttributeType{
	pkcs11.CKA_PRIME_1, pkcs11.CKA_PRIME_2, pkcs11.CKA_EXPONENT_1, pkcs11.CKA_EXPONENT_2, pkcs11.CKA_COEFFICIENT,
}

// factor finds the primes of n, p > q, of the exponents: e·d-1 is a multiple of
// the order of the group, so that the square roots of 1 on the way from g to
// g^(e·d-1) = 1 contain one that is not ±1 for half of all g. NIST SP 800-56B
// rev. 2, appendix C.1. It returns nil if d is not the private exponent.
func factor(n *big.Int, e int, d *big.Int) (p, q *big.Int) {
	k := new(big.Int).Mul(d, big.NewInt(int64(e)))
	k.Sub(k, one)
	if k.Sign() <= 0 || k.Bit(0) != 0 {
		return nil, nil
	}
	if new(big.Int).Exp(big.NewInt(2), k, n).Cmp(one) != 0 {
		return nil, nil
	}
	twos := k.TrailingZeroBits()
	r := k.Rsh(k, twos)
	last := new(big.Int).Sub(n, one)
	for g := int64(2); g < 102; g++ {
		y := new(big.Int).Exp(big.NewInt(g), r, n)
		for range twos {
			if y.Cmp(one) == 0 || y.Cmp(last) == 0 {
				break
			}
			x := new(big.Int).Mul(y, y)
			x.Mod(x, n)
			if x.Cmp(one) == 0 {
				p = y.GCD(nil, nil, y.Sub(y, one), n)
				q = x.Div(n, p)
				if p.Cmp(q) < 0 {
					p, q = q, p
				}
				return p, q
			}
			y = x
		}
	}
	return nil, nil
}

// Wipe clears the byte values of a template, such as PrivateAttributes returns.
func Wipe(t pkcs11.Template) {
	for _, a := range t {
		clear(a.Bytes())
	}
}
