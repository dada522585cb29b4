package aesmode

import (
	"crypto/cipher"
	"crypto/subtle"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The tags of GCM in bytes, NIST SP 800-38D §5.2.1.2 without the short ones.
const (
	minTag  = 12
	fullTag = 16
)

// gcm returns the AEAD with full tags, and the length of the tag that m asks for.
func gcm(b cipher.Block, m *pkcs11.Mechanism) (a cipher.AEAD, p *pkcs11.GCMParams, tag int, err error) {
	p, ok := m.Params.(*pkcs11.GCMParams)
	if !ok || p == nil || len(p.IV) == 0 || p.TagBits%8 != 0 || p.TagBits < 8*minTag || p.TagBits > 8*fullTag {
		return nil, nil, 0, badParam(m, "*pkcs11.GCMParams with an IV and a tag of 96 to 128 bits")
	}
	if len(p.IV) == 12 {
		a, err = cipher.NewGCM(b)
	} else {
		a, err = cipher.NewGCMWithNonceSize(b, len(p.IV))
	}
	if err != nil {
		return nil, nil, 0, fmt.Errorf("%v: %w: %w", m.Type, pkcs11.CKR_FUNCTION_REJECTED, err)
	}
	return a, p, int(p.TagBits / 8), nil
}

func gcmSeal(b cipher.Block, m *pkcs11.Mechanism, plaintext []byte) ([]byte, error) {
	a, p, tag, err := gcm(b, m)
	if err != nil {
		return nil, err
	}
	out := a.Seal(make([]byte, 0, len(plaintext)+fullTag), p.IV, plaintext, p.AAD)
	return out[:len(out)-fullTag+tag], nil
}

func gcmOpen(b cipher.Block, m *pkcs11.Mechanism, ciphertext []byte) ([]byte, error) {
	a, p, tag, err := gcm(b, m)
	if err != nil {
		return nil, err
	}
	if len(ciphertext) < tag {
		return nil, encryptedLen(m, len(ciphertext))
	}
	if tag == fullTag {
		out, err := a.Open(make([]byte, 0, len(ciphertext)-tag), p.IV, ciphertext, p.AAD)
		if err != nil {
			return nil, errInvalid
		}
		return out, nil
	}
	// The standard library has short tags with 12-byte IVs only. Encrypting a
	// ciphertext decrypts it, and encrypting that again makes its full tag.
	data, have := ciphertext[:len(ciphertext)-tag], ciphertext[len(ciphertext)-tag:]
	plain := a.Seal(make([]byte, 0, len(data)+fullTag), p.IV, data, p.AAD)[:len(data)]
	again := a.Seal(make([]byte, 0, len(data)+fullTag), p.IV, plain, p.AAD)
	if subtle.ConstantTimeCompare(again[len(data):len(data)+tag], have) != 1 {
		clear(plain)
		return nil, errInvalid
	}
	return plain, nil
}
