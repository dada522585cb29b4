package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func (k rsaKey) public() *rsa.PublicKey { return k.key.public.key.(*rsa.PublicKey) }

// Sign makes an RSA signature: CKM_RSA_PKCS of a DigestInfo or of anything that
// fits, CKM_RSA_PKCS_PSS of a digest, CKM_RSA_X_509 of a block.
//
// The padding is made here and the TPM does the rest, with TPM2_RSA_Decrypt of no
// scheme. With RSASSA and RSAPSS of their own, chips know few hash functions, and
// some take the longest salt that fits, which TLS 1.3 does not accept.
func (k rsaKey) Sign(ctx context.Context, m *pkcs11.Mechanism, data []byte) ([]byte, error) {
	pub := k.public()
	var block []byte
	switch m.Type {
	case pkcs11.CKM_RSA_PKCS:
		if most := pub.Size() - 11; len(data) > most {
			return nil, fmt.Errorf("tpm: %v of %d bytes; this key signs at most %d: %w", m.Type, len(data), most, pkcs11.CKR_DATA_LEN_RANGE)
		}
		block = keys.PadPKCS1(pub.Size(), data)
	case pkcs11.CKM_RSA_PKCS_PSS:
		hash, mgf, salt, err := keys.PSS(m, pub)
		if err != nil {
			return nil, err
		}
		if len(data) != hash.Size() {
			return nil, fmt.Errorf("tpm: %v of %d bytes; a %v digest has %d: %w", m.Type, len(data), hash, hash.Size(), pkcs11.CKR_DATA_LEN_RANGE)
		}
		block = keys.PadPSS(pub.N.BitLen()-1, hash, mgf, salt, data)
	case pkcs11.CKM_RSA_X_509:
		if len(data) == 0 || len(data) > pub.Size() {
			return nil, fmt.Errorf("tpm: %v of %d bytes; a block of this key has %d: %w", m.Type, len(data), pub.Size(), pkcs11.CKR_DATA_LEN_RANGE)
		}
		block = data
	default:
		return nil, wrongMechanism(m)
	}
	data = bytes.Clone(data)
	sig, err := k.raw(ctx, m, block, pkcs11.CKR_DATA_INVALID)
	if err != nil {
		return nil, failed("sign", err)
	}
	if err := verified(keys.Verify(pub, m, data, sig)); err != nil {
		return nil, err
	}
	return sig, nil
}

// raw is the private key operation on a block, which may lack leading zeros. A
// block that is not below the modulus is refused with code: some TPMs say
// TPM_RC_FAILURE then, as if they were broken.
func (k rsaKey) raw(ctx context.Context, m *pkcs11.Mechanism, block []byte, code pkcs11.Error) ([]byte, error) {
	pub := k.public()
	x := new(big.Int).SetBytes(block)
	if x.Cmp(pub.N) >= 0 {
		return nil, fmt.Errorf("%v: the block is not below the modulus: %w", m.Type, code)
	}
	if !k.key.public.has(objDecrypt) {
		return nil, fmt.Errorf("%v: the key is one that the TPM only signs with, in ways of its own: %w", m.Type, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}
	params := putSized(nil, x.FillBytes(make([]byte, pub.Size())))
	params = putSized(put16(params, uint16(tpm2.TPMAlgNull)), nil)
	defer wipeInt(x)
	out, err := k.t.do(ctx, k.key, tpm2.TPMCCRSADecrypt, params, attrEncrypt)
	if err != nil {
		return nil, err
	}
	r := reader{b: out}
	y := bytes.TrimLeft(r.sized(), "\x00")
	if !r.done() || len(y) > pub.Size() {
		return nil, &commandError{tpm2.TPMCCRSADecrypt, errGarbled}
	}
	full := make([]byte, pub.Size())
	copy(full[len(full)-len(y):], y)
	clear(out)
	return full, nil
}

// errDecrypt is the one error of decryption with padding.
var errDecrypt = fmt.Errorf("tpm: the ciphertext is not for this key, or is damaged: %w", pkcs11.CKR_ENCRYPTED_DATA_INVALID)

// Decrypt decrypts with CKM_RSA_PKCS, CKM_RSA_PKCS_OAEP or CKM_RSA_X_509. The TPM
// does the private key operation, and the padding is taken off here: that is the
// same for every hash function and label, on every TPM.
//
// That CKM_RSA_PKCS tells right padding from wrong is its flaw (Bleichenbacher's
// attack): do not decrypt what strangers send with it.
func (k rsaKey) Decrypt(ctx context.Context, m *pkcs11.Mechanism, ciphertext []byte) ([]byte, error) {
	pub := k.public()
	var hash, mgf crypto.Hash
	var label []byte
	switch m.Type {
	case pkcs11.CKM_RSA_X_509, pkcs11.CKM_RSA_PKCS:
	case pkcs11.CKM_RSA_PKCS_OAEP:
		var err error
		if hash, mgf, label, err = keys.OAEP(m); err != nil {
			return nil, err
		}
		if 2*hash.Size()+2 > pub.Size() {
			return nil, fmt.Errorf("tpm: %v with %v: a key of %d bits is too short: %w", m.Type, hash, pub.N.BitLen(), pkcs11.CKR_KEY_SIZE_RANGE)
		}
	default:
		return nil, wrongMechanism(m)
	}
	if len(ciphertext) != pub.Size() {
		return nil, fmt.Errorf("tpm: %v of %d bytes; a ciphertext for this key has %d: %w", m.Type, len(ciphertext), pub.Size(), pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE)
	}
	block, err := k.raw(ctx, m, ciphertext, pkcs11.CKR_ENCRYPTED_DATA_INVALID)
	if err != nil {
		return nil, failed("decrypt", err)
	}
	var plain []byte
	var ok bool
	switch m.Type {
	case pkcs11.CKM_RSA_X_509:
		return block, nil
	case pkcs11.CKM_RSA_PKCS:
		plain, ok = keys.UnpadPKCS1(block)
	case pkcs11.CKM_RSA_PKCS_OAEP:
		plain, ok = keys.UnpadOAEP(block, hash, mgf, label)
	}
	defer clear(block)
	if !ok {
		return nil, errDecrypt
	}
	return bytes.Clone(plain), nil
}

func wipeInt(x *big.Int) { clear(x.Bits()) }
