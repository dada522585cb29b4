package soft

import (
	"context"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/subtle"
	"fmt"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/internal/wipe"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A secretKey makes and verifies MACs: CKM_…_HMAC and, as an aesKey,
// CKM_AES_CMAC, and their general variants.
type secretKey struct{ keyObject }

var (
	_ driver.Signer   = secretKey{}
	_ driver.Verifier = secretKey{}
	_ driver.Exporter = secretKey{}
)

// Sign makes a MAC.
func (k secretKey) Sign(ctx context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	p, err := k.use()
	if err != nil {
		return nil, err
	}
	defer p.release()
	return p.mac(m, data)
}

// Verify checks a MAC in constant time.
func (k secretKey) Verify(ctx context.Context, m *pkcs11.Mechanism, data, mac []byte) error {
	want, err := k.Sign(ctx, m, data)
	if err != nil {
		return err
	}
	if len(mac) != len(want) {
		return fmt.Errorf("soft: %v of %d bytes, not %d: %w", m.Type, len(mac), len(want), pkcs11.CKR_SIGNATURE_LEN_RANGE)
	}
	if subtle.ConstantTimeCompare(mac, want) != 1 {
		return pkcs11.CKR_SIGNATURE_INVALID
	}
	return nil
}

func (k *key) mac(m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	var mac []byte
	var general bool
	switch m.Type {
	case pkcs11.CKM_AES_CMAC, pkcs11.CKM_AES_CMAC_GENERAL:
		if k.block == nil {
			return nil, wrongMechanism(m)
		}
		general = m.Type == pkcs11.CKM_AES_CMAC_GENERAL
		mac = cmac(k.block, data)
	default:
		hash, g, ok := keys.HMAC(m.Type)
		if !ok || k.raw == nil || k.block != nil {
			return nil, wrongMechanism(m)
		}
		h := hmac.New(hash.New, k.raw)
		defer wipe.MAC(h)
		h.Write(data)
		mac, general = h.Sum(nil), g
	}
	if !general {
		if m.Params != nil {
			return nil, fmt.Errorf("soft: %v takes no parameter: %w", m.Type, pkcs11.CKR_MECHANISM_PARAM_INVALID)
		}
		return mac, nil
	}
	p, ok := m.Params.(*pkcs11.MACGeneralParams)
	if !ok || p == nil || p.MACLen == 0 || p.MACLen > uint64(len(mac)) {
		return nil, fmt.Errorf("soft: %v wants a length from 1 to %d: %w", m.Type, len(mac), pkcs11.CKR_MECHANISM_PARAM_INVALID)
	}
	return mac[:p.MACLen], nil
}

// cmac is AES-CMAC, NIST SP 800-38B §6.2.
func cmac(block cipher.Block, data []byte) []byte {
	const size = 16
	var k [size]byte
	block.Encrypt(k[:], k[:])
	double(&k) // K1
	var x [size]byte
	for len(data) > size {
		subtle.XORBytes(x[:], x[:], data[:size])
		block.Encrypt(x[:], x[:])
		data = data[size:]
	}
	if len(data) < size {
		double(&k) // K2
		x[len(data)] ^= 0x80
	}
	subtle.XORBytes(x[:], x[:], data)
	subtle.XORBytes(x[:], x[:], k[:])
	clear(k[:])
	block.Encrypt(x[:], x[:])
	return x[:]
}

// double multiplies by x in GF(2^128), in constant time.
func double(k *[16]byte) {
	carry := k[0] >> 7
	for i := range 15 {
		k[i] = k[i]<<1 | k[i+1]>>7
	}
	k[15] = k[15]<<1 ^ carry*0x87
}
