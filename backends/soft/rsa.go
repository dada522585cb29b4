package soft

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"fmt"
	"math/big"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// errDecrypt is the one error of decryption with padding.
var errDecrypt = fmt.Errorf("soft: the ciphertext is not for this key, or is damaged: %w", pkcs11.CKR_ENCRYPTED_DATA_INVALID)

// Decrypt decrypts with CKM_RSA_PKCS, CKM_RSA_PKCS_OAEP or CKM_RSA_X_509.
//
// That CKM_RSA_PKCS tells right padding from wrong is its flaw (Bleichenbacher's
// attack): do not decrypt what strangers send with it.
func (k rsaKey) Decrypt(ctx context.Context, m *pkcs11.Mechanism, ciphertext []byte) ([]byte, error) {
	p, err := k.use()
	if err != nil {
		return nil, err
	}
	defer p.release()
	if m.Type == pkcs11.CKM_RSA_X_509 {
		if len(ciphertext) != p.rsa.Size() {
			return nil, cipherLen(m, len(ciphertext), p.rsa.Size())
		}
		return rawRSA(p.rsa, m, ciphertext)
	}
	var opts crypto.DecrypterOpts
	switch m.Type {
	case pkcs11.CKM_RSA_PKCS:
		opts = &rsa.PKCS1v15DecryptOptions{}
	case pkcs11.CKM_RSA_PKCS_OAEP:
		hash, mgf, label, err := keys.OAEP(m)
		if err != nil {
			return nil, err
		}
		if 2*hash.Size()+2 > p.rsa.Size() {
			return nil, fmt.Errorf("soft: %v with %v: a key of %d bits is too short: %w", m.Type, hash, p.rsa.N.BitLen(), pkcs11.CKR_KEY_SIZE_RANGE)
		}
		opts = &rsa.OAEPOptions{Hash: hash, MGFHash: mgf, Label: label}
	default:
		return nil, wrongMechanism(m)
	}
	if len(ciphertext) != p.rsa.Size() {
		return nil, cipherLen(m, len(ciphertext), p.rsa.Size())
	}
	plain, err := p.rsa.Decrypt(rand.Reader, ciphertext, opts)
	if err != nil {
		return nil, errDecrypt
	}
	return plain, nil
}

func cipherLen(m *pkcs11.Mechanism, have, want int) error {
	return fmt.Errorf("soft: %v of %d bytes; a ciphertext for this key has %d: %w", m.Type, have, want, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE)
}

// rawRSA is the private key operation on a block without padding, for which
// crypto/rsa has no function. A block that is padded as PKCS #1 v1.5 does for
// signatures goes there all the same. The others are exponentiated here, by
// math/big, whose time depends on its operands: the base is blinded with a
// random factor and the exponents with random multiples of their orders, and the
// result is checked, so that neither time nor a fault tells of the key.
func rawRSA(key *rsa.PrivateKey, m *pkcs11.Mechanism, block []byte) ([]byte, error) {
	k := key.Size()
	if len(block) == 0 || len(block) > k {
		return nil, fmt.Errorf("soft: %v of %d bytes; a block of this key has %d: %w", m.Type, len(block), k, pkcs11.CKR_DATA_LEN_RANGE)
	}
	if data, ok := unpad(block, k); ok && m.Type == pkcs11.CKM_RSA_X_509 {
		return signPKCS1(key, m, data)
	}
	x := new(big.Int).SetBytes(block)
	if x.Cmp(key.N) >= 0 {
		return nil, fmt.Errorf("soft: %v: the block is not below the modulus: %w", m.Type, pkcs11.CKR_DATA_INVALID)
	}
	e := big.NewInt(int64(key.E))
	var r, inverse *big.Int
	for inverse == nil {
		var err error
		if r, err = rand.Int(rand.Reader, key.N); err != nil {
			return nil, failed(m, err)
		}
		inverse = new(big.Int).ModInverse(r, key.N)
	}
	y := new(big.Int).Exp(r, e, key.N)
	y.Mul(y, x).Mod(y, key.N)
	p, q := key.Primes[0], key.Primes[1]
	yp, yq := expBlinded(y, key.D, p), expBlinded(y, key.D, q)
	defer wipeInt(yp)
	defer wipeInt(yq)
	// Garner: y = yq + q·(qinv·(yp − yq) mod p).
	z := new(big.Int).Sub(yp, yq)
	z.Mul(z, key.Precomputed.Qinv).Mod(z, p)
	z.Mul(z, q).Add(z, yq)
	z.Mul(z, inverse).Mod(z, key.N)
	if new(big.Int).Exp(z, e, key.N).Cmp(x) != 0 {
		wipeInt(z)
		return nil, fmt.Errorf("soft: %v: the result does not verify; a fault of memory or processor: %w", m.Type, pkcs11.CKR_DEVICE_ERROR)
	}
	return z.FillBytes(make([]byte, k)), nil
}

// expBlinded returns x^d mod p of a prime p, with d + r·(p−1) for a random r of
// 64 bits in place of d mod p−1.
func expBlinded(x, d, p *big.Int) *big.Int {
	var b [8]byte
	rand.Read(b[:])
	order := new(big.Int).Sub(p, big.NewInt(1))
	exp := new(big.Int).Mod(d, order)
	defer wipeInt(exp)
	exp.Add(exp, order.Mul(order, new(big.Int).SetUint64(binary.BigEndian.Uint64(b[:])|1<<63)))
	defer wipeInt(order)
	return new(big.Int).Exp(new(big.Int).Mod(x, p), exp, p)
}

// unpad returns the data in a block 00 01 FF … FF 00 data of k bytes. RFC 8017
// §9.2.
func unpad(block []byte, k int) (data []byte, ok bool) {
	if len(block) == k-1 {
		block = append([]byte{0}, block...)
	}
	if len(block) != k || block[0] != 0 || block[1] != 1 {
		return nil, false
	}
	i := 2
	for i < k && block[i] == 0xff {
		i++
	}
	if i < 10 || i == k || block[i] != 0 {
		return nil, false
	}
	return block[i+1:], true
}
