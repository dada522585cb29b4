package aesmode

import (
	"bytes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// semiblock is the unit of key wrapping in bytes.
const semiblock = 8

// The initial values of RFC 3394 §2.2.3.1 and RFC 5649 §3.
var (
	initialValue    = []byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}
	initialValueKWP = []byte{0xa6, 0x59, 0x59, 0xa6}
)

// initial returns the initial value of a key wrap mechanism: its parameter, or
// the default if there is none.
func initial(m *pkcs11.Mechanism, def []byte) ([]byte, error) {
	iv, ok := m.Params.([]byte)
	switch {
	case m.Params == nil, ok && len(iv) == 0:
		return def, nil
	case !ok || len(iv) != len(def):
		return nil, badParam(m, fmt.Sprintf("an initial value of %d bytes or none", len(def)))
	}
	return iv, nil
}

// wrap is AES key wrap, RFC 3394, KW of NIST SP 800-38F.
func wrap(b cipher.Block, m *pkcs11.Mechanism, plaintext []byte) ([]byte, error) {
	iv, err := initial(m, initialValue)
	if err != nil {
		return nil, err
	}
	if n := len(plaintext); n%semiblock != 0 || n < 2*semiblock {
		return nil, fmt.Errorf("%v of %d bytes; it takes multiples of 8, from 16 on, CKM_AES_KEY_WRAP_KWP any number: %w", m.Type, n, pkcs11.CKR_DATA_LEN_RANGE)
	}
	out := append(append(make([]byte, 0, semiblock+len(plaintext)), iv...), plaintext...)
	wrapBlocks(b, out)
	return out, nil
}

func unwrap(b cipher.Block, m *pkcs11.Mechanism, ciphertext []byte) ([]byte, error) {
	iv, err := initial(m, initialValue)
	if err != nil {
		return nil, err
	}
	if n := len(ciphertext); n%semiblock != 0 || n < 3*semiblock {
		return nil, encryptedLen(m, n)
	}
	out := bytes.Clone(ciphertext)
	unwrapBlocks(b, out)
	if subtle.ConstantTimeCompare(out[:semiblock], iv) != 1 {
		clear(out)
		return nil, errInvalid
	}
	return out[semiblock:], nil
}

// wrapPadded is AES key wrap with padding, RFC 5649, KWP of NIST SP 800-38F.
func wrapPadded(b cipher.Block, m *pkcs11.Mechanism, plaintext []byte) ([]byte, error) {
	iv, err := initial(m, initialValueKWP)
	if err != nil {
		return nil, err
	}
	n := len(plaintext)
	if n == 0 || uint64(n) > 1<<32-1 {
		return nil, fmt.Errorf("%v of %d bytes: %w", m.Type, n, pkcs11.CKR_DATA_LEN_RANGE)
	}
	out := make([]byte, semiblock+(n+semiblock-1)/semiblock*semiblock)
	copy(out, iv)
	binary.BigEndian.PutUint32(out[4:], uint32(n))
	copy(out[semiblock:], plaintext)
	if len(out) == blockSize {
		b.Encrypt(out, out)
	} else {
		wrapBlocks(b, out)
	}
	return out, nil
}

func unwrapPadded(b cipher.Block, m *pkcs11.Mechanism, ciphertext []byte) ([]byte, error) {
	iv, err := initial(m, initialValueKWP)
	if err != nil {
		return nil, err
	}
	if n := len(ciphertext); n%semiblock != 0 || n < 2*semiblock {
		return nil, encryptedLen(m, n)
	}
	out := bytes.Clone(ciphertext)
	if len(out) == blockSize {
		b.Decrypt(out, out)
	} else {
		unwrapBlocks(b, out)
	}
	// All is looked at before anything is told. The length is right if it leaves
	// 0 to 7 bytes of padding, which are zero.
	good := subtle.ConstantTimeCompare(out[:4], iv)
	size := int64(binary.BigEndian.Uint32(out[4:]))
	pad := int64(len(out)-semiblock) - size
	good &= int(^(pad|(7-pad))>>63) & 1
	var rest byte
	for i, v := range out[len(out)-semiblock+1:] {
		// The last pad of these seven bytes.
		inside := (int64(semiblock-2-i) - pad) >> 63
		rest |= v & byte(inside)
	}
	good &= subtle.ConstantTimeByteEq(rest, 0)
	if good != 1 {
		clear(out)
		return nil, errInvalid
	}
	return out[semiblock : semiblock+size], nil
}

// wrapBlocks is the wrapping process W of RFC 3394 §2.2.1, in place: the first
// eight bytes are A, the others the n blocks R.
func wrapBlocks(b cipher.Block, x []byte) {
	var buf [blockSize]byte
	defer clear(buf[:])
	copy(buf[:semiblock], x)
	t := uint64(0)
	for range 6 {
		for r := semiblock; r < len(x); r += semiblock {
			t++
			copy(buf[semiblock:], x[r:r+semiblock])
			b.Encrypt(buf[:], buf[:])
			copy(x[r:], buf[semiblock:])
			a := binary.BigEndian.Uint64(buf[:])
			binary.BigEndian.PutUint64(buf[:], a^t)
		}
	}
	copy(x, buf[:semiblock])
}

// unwrapBlocks is the reverse, §2.2.2.
func unwrapBlocks(b cipher.Block, x []byte) {
	var buf [blockSize]byte
	defer clear(buf[:])
	copy(buf[:semiblock], x)
	t := uint64(6 * (len(x)/semiblock - 1))
	for range 6 {
		for r := len(x) - semiblock; r > 0; r -= semiblock {
			a := binary.BigEndian.Uint64(buf[:])
			binary.BigEndian.PutUint64(buf[:], a^t)
			copy(buf[semiblock:], x[r:r+semiblock])
			b.Decrypt(buf[:], buf[:])
			copy(x[r:], buf[semiblock:])
			t--
		}
	}
	copy(x, buf[:semiblock])
}
