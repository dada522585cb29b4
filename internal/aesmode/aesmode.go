// Package aesmode encrypts and decrypts whole inputs with an AES block cipher as
// the mechanisms of PKCS #11 say. The standard library has CBC without padding,
// CTR and GCM; ECB, padding, key wrapping and short tags are here.
package aesmode

import (
	"crypto/cipher"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// blockSize is that of AES in bytes.
const blockSize = 16

// errInvalid is the one error of everything that is wrong with a ciphertext but
// its length, which everybody sees.
var errInvalid = fmt.Errorf("the ciphertext is not of this key and parameter, or is damaged: %w", pkcs11.CKR_ENCRYPTED_DATA_INVALID)

// Encrypt encrypts with CKM_AES_ECB, _CBC, _CBC_PAD, _CTR, _GCM, _KEY_WRAP,
// _KEY_WRAP_KWP or _KEY_WRAP_PAD, which is taken for another name of _KWP, as
// SoftHSM does. Data of a length that the mechanism does not take is
// CKR_DATA_LEN_RANGE, a wrong parameter CKR_MECHANISM_PARAM_INVALID, any other
// mechanism CKR_MECHANISM_INVALID.
func Encrypt(b cipher.Block, m *pkcs11.Mechanism, plaintext []byte) ([]byte, error) {
	switch m.Type {
	case pkcs11.CKM_AES_ECB, pkcs11.CKM_AES_CBC:
		if len(plaintext)%blockSize != 0 {
			return nil, fmt.Errorf("%v of %d bytes, no multiple of %d: %w", m.Type, len(plaintext), blockSize, pkcs11.CKR_DATA_LEN_RANGE)
		}
	}
	switch m.Type {
	case pkcs11.CKM_AES_ECB:
		return ecb(b.Encrypt, m, plaintext)
	case pkcs11.CKM_AES_CBC, pkcs11.CKM_AES_CBC_PAD:
		iv, err := vector(m)
		if err != nil {
			return nil, err
		}
		n := len(plaintext)
		if m.Type == pkcs11.CKM_AES_CBC_PAD {
			n += blockSize - n%blockSize
		}
		out := make([]byte, n)
		for i := copy(out, plaintext); i < n; i++ {
			out[i] = byte(n - len(plaintext))
		}
		cipher.NewCBCEncrypter(b, iv).CryptBlocks(out, out)
		return out, nil
	case pkcs11.CKM_AES_CTR:
		return ctr(b, m, plaintext)
	case pkcs11.CKM_AES_GCM:
		return gcmSeal(b, m, plaintext)
	case pkcs11.CKM_AES_KEY_WRAP:
		return wrap(b, m, plaintext)
	case pkcs11.CKM_AES_KEY_WRAP_KWP, pkcs11.CKM_AES_KEY_WRAP_PAD:
		return wrapPadded(b, m, plaintext)
	}
	return nil, fmt.Errorf("%v: %w", m.Type, pkcs11.CKR_MECHANISM_INVALID)
}

// Decrypt is the reverse of Encrypt. A ciphertext of a length that the mechanism
// does not make is CKR_ENCRYPTED_DATA_LEN_RANGE; whatever else is wrong with it,
// padding or authentication, is CKR_ENCRYPTED_DATA_INVALID, found in a time that
// does not depend on what it is.
func Decrypt(b cipher.Block, m *pkcs11.Mechanism, ciphertext []byte) ([]byte, error) {
	switch m.Type {
	case pkcs11.CKM_AES_ECB, pkcs11.CKM_AES_CBC, pkcs11.CKM_AES_CBC_PAD:
		if n := len(ciphertext); n%blockSize != 0 || n == 0 && m.Type == pkcs11.CKM_AES_CBC_PAD {
			return nil, encryptedLen(m, n)
		}
	}
	switch m.Type {
	case pkcs11.CKM_AES_ECB:
		return ecb(b.Decrypt, m, ciphertext)
	case pkcs11.CKM_AES_CBC, pkcs11.CKM_AES_CBC_PAD:
		iv, err := vector(m)
		if err != nil {
			return nil, err
		}
		out := make([]byte, len(ciphertext))
		cipher.NewCBCDecrypter(b, iv).CryptBlocks(out, ciphertext)
		if m.Type == pkcs11.CKM_AES_CBC {
			return out, nil
		}
		n, ok := padding(out[len(out)-blockSize:])
		if !ok {
			clear(out)
			return nil, errInvalid
		}
		clear(out[len(out)-n:])
		return out[:len(out)-n], nil
	case pkcs11.CKM_AES_CTR:
		return ctr(b, m, ciphertext)
	case pkcs11.CKM_AES_GCM:
		return gcmOpen(b, m, ciphertext)
	case pkcs11.CKM_AES_KEY_WRAP:
		return unwrap(b, m, ciphertext)
	case pkcs11.CKM_AES_KEY_WRAP_KWP, pkcs11.CKM_AES_KEY_WRAP_PAD:
		return unwrapPadded(b, m, ciphertext)
	}
	return nil, fmt.Errorf("%v: %w", m.Type, pkcs11.CKR_MECHANISM_INVALID)
}

func encryptedLen(m *pkcs11.Mechanism, n int) error {
	return fmt.Errorf("%v makes no ciphertext of %d bytes: %w", m.Type, n, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE)
}

func badParam(m *pkcs11.Mechanism, want string) error {
	return fmt.Errorf("%v takes %s as parameter: %w", m.Type, want, pkcs11.CKR_MECHANISM_PARAM_INVALID)
}

func ecb(crypt func(dst, src []byte), m *pkcs11.Mechanism, in []byte) ([]byte, error) {
	if m.Params != nil {
		return nil, badParam(m, "nothing")
	}
	out := make([]byte, len(in))
	for i := 0; i < len(in); i += blockSize {
		crypt(out[i:i+blockSize], in[i:i+blockSize])
	}
	return out, nil
}

// vector returns the initialization vector that is the parameter of m.
func vector(m *pkcs11.Mechanism) ([]byte, error) {
	iv, ok := m.Params.([]byte)
	if !ok || len(iv) != blockSize {
		return nil, badParam(m, "an initialization vector of 16 bytes")
	}
	return iv, nil
}

// padding returns how many bytes of padding the last block of a plaintext has.
// Its time does not depend on the block. RFC 5652 §6.3.
func padding(block []byte) (n int, ok bool) {
	last := int(block[blockSize-1])
	// Each is -1 (all ones) for true and 0 for false.
	good := less(0, last) & less(last, blockSize+1)
	for i, b := range block {
		inside := less(blockSize-1-last, i)
		same := ^(less(int(b), last) | less(last, int(b)))
		good &= ^inside | same
	}
	return last & good, good != 0
}

// less returns -1 if a < b, and 0 otherwise, for small numbers.
func less(a, b int) int { return (a - b) >> 31 }

// ctr encrypts and decrypts. That the counter does not overflow its bits into the
// rest of the block is checked.
func ctr(b cipher.Block, m *pkcs11.Mechanism, in []byte) ([]byte, error) {
	p, ok := m.Params.(*pkcs11.CTRParams)
	if !ok || p == nil || p.CounterBits < 1 || p.CounterBits > 128 {
		return nil, badParam(m, "*pkcs11.CTRParams with 1 to 128 CounterBits")
	}
	if blocks := (uint64(len(in)) + blockSize - 1) / blockSize; blocks > CounterBlocks(p) {
		return nil, fmt.Errorf("%v of %d bytes: the counter of %d bits ends before: %w", m.Type, len(in), p.CounterBits, pkcs11.CKR_DATA_LEN_RANGE)
	}
	out := make([]byte, len(in))
	cipher.NewCTR(b, p.Counter[:]).XORKeyStream(out, in)
	return out, nil
}

// CounterBlocks returns for how many blocks the counter lasts until its
// CounterBits, of which there are 1 to 128, have all been one: it does not go on
// from zero, so that no block is encrypted like another under the same key. At
// 2⁶⁴ or more it is 2⁶⁴-1, which nobody reaches.
func CounterBlocks(p *pkcs11.CTRParams) uint64 {
	// The number is that of the counter's complement, plus one.
	var left uint64
	for i := range p.CounterBits {
		if i >= 64 {
			if ^p.Counter[15-i/8]>>(i%8)&1 != 0 {
				return 1<<64 - 1
			}
			continue
		}
		left |= uint64(^p.Counter[15-i/8]>>(i%8)&1) << i
	}
	if left == 1<<64-1 {
		return left
	}
	return left + 1
}
