package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/binary"
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
		block = encodePKCS1(pub.Size(), data)
	case pkcs11.CKM_RSA_PKCS_PSS:
		hash, mgf, salt, err := keys.PSS(m, pub)
		if err != nil {
			return nil, err
		}
		if len(data) != hash.Size() {
			return nil, fmt.Errorf("tpm: %v of %d bytes; a %v digest has %d: %w", m.Type, len(data), hash, hash.Size(), pkcs11.CKR_DATA_LEN_RANGE)
		}
		block = encodePSS(pub.N.BitLen()-1, hash, mgf, salt, data)
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
		plain, ok = decodePKCS1(block)
	case pkcs11.CKM_RSA_PKCS_OAEP:
		plain, ok = decodeOAEP(block, hash, mgf, label)
	}
	defer clear(block)
	if !ok {
		return nil, errDecrypt
	}
	return bytes.Clone(plain), nil
}

// encodePKCS1 is 00 01 FF … FF 00 data. RFC 8017 §9.2.
func encodePKCS1(k int, data []byte) []byte {
	em := make([]byte, k)
	em[1] = 1
	for i := 2; i < k-len(data)-1; i++ {
		em[i] = 0xff
	}
	copy(em[k-len(data):], data)
	return em
}

// decodePKCS1 takes 00 02 random 00 data apart, in a time that does not depend
// on what is in it until it is known to be right. RFC 8017 §7.2.2.
func decodePKCS1(em []byte) (data []byte, ok bool) {
	good := subtle.ConstantTimeByteEq(em[0], 0) & subtle.ConstantTimeByteEq(em[1], 2)
	looking, index := 1, 0
	for i := 2; i < len(em); i++ {
		zero := subtle.ConstantTimeByteEq(em[i], 0)
		index = subtle.ConstantTimeSelect(looking&zero, i, index)
		looking = subtle.ConstantTimeSelect(zero, 0, looking)
	}
	good &= 1 - looking
	good &= subtle.ConstantTimeLessOrEq(2+8, index)
	if good != 1 {
		return nil, false
	}
	return em[index+1:], true
}

// decodeOAEP takes EME-OAEP apart, likewise. RFC 8017 §7.1.2.
func decodeOAEP(em []byte, hash, mgf crypto.Hash, label []byte) (data []byte, ok bool) {
	n := hash.Size()
	seed, db := em[1:1+n], em[1+n:]
	xorMGF1(seed, mgf, db)
	xorMGF1(db, mgf, seed)
	w := hash.New()
	w.Write(label)
	good := subtle.ConstantTimeByteEq(em[0], 0) & subtle.ConstantTimeCompare(w.Sum(nil), db[:n])
	looking, index, bad := 1, 0, 0
	for i := n; i < len(db); i++ {
		zero, one := subtle.ConstantTimeByteEq(db[i], 0), subtle.ConstantTimeByteEq(db[i], 1)
		index = subtle.ConstantTimeSelect(looking&one, i, index)
		bad |= looking & (1 - zero) & (1 - one)
		looking &= 1 - one
	}
	good &= (1 - looking) & (1 - bad)
	if good != 1 {
		return nil, false
	}
	return db[index+1:], true
}

// encodePSS is EMSA-PSS-ENCODE, RFC 8017 §9.1.1, of a digest. That the parts fit
// into bits is checked.
func encodePSS(bits int, hash, mgf crypto.Hash, salt int, digest []byte) []byte {
	em := make([]byte, (bits+7)/8)
	db, h := em[:len(em)-hash.Size()-1], em[len(em)-hash.Size()-1:len(em)-1]
	em[len(em)-1] = 0xbc
	random := db[len(db)-salt:]
	rand.Read(random)
	db[len(db)-salt-1] = 1
	w := hash.New()
	w.Write(make([]byte, 8))
	w.Write(digest)
	w.Write(random)
	w.Sum(h[:0])
	xorMGF1(db, mgf, h)
	em[0] &= 0xff >> (8*len(em) - bits)
	return em
}

// xorMGF1 masks out with MGF1 of the seed, RFC 8017 §B.2.1.
func xorMGF1(out []byte, hash crypto.Hash, seed []byte) {
	h := hash.New()
	var counter uint32
	for done := 0; done < len(out); counter++ {
		h.Reset()
		h.Write(seed)
		h.Write(binary.BigEndian.AppendUint32(nil, counter))
		done += subtle.XORBytes(out[done:], out[done:], h.Sum(nil))
	}
}

func wipeInt(x *big.Int) { clear(x.Bits()) }
