package cryptoki

import (
	"fmt"
	"math/big"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// blockSize is that of AES in bytes.
const blockSize = 16

// A chain says how the core cuts the data of a multi-part encryption into pieces
// for a driver that is given whole inputs: each piece is an operation of its own
// that begins where the last one ended.
type chain uint8

const (
	collect chain = iota // not at all: the parts are collected
	ecb                  // pieces of whole blocks
	cbc                  // the last block of ciphertext is the next initialization vector
	cbcPad               // as cbc, but the last piece is padded
	ctr                  // the counter goes on
)

// chainOf returns how the mechanism is chained. CBC with padding is, if the
// token has CBC without.
func chainOf(table *mechanisms, m pkcs11.MechanismType) chain {
	switch m {
	case pkcs11.CKM_AES_ECB:
		return ecb
	case pkcs11.CKM_AES_CBC:
		return cbc
	case pkcs11.CKM_AES_CTR:
		return ctr
	case pkcs11.CKM_AES_CBC_PAD:
		if _, ok := table.rows[pkcs11.CKM_AES_CBC]; ok {
			return cbcPad
		}
	}
	return collect
}

// whole returns how many of n bytes make a piece now. A padded decryption keeps
// its last block back, for that may be the end.
func (c chain) whole(dir *direction, n int) int {
	switch {
	case c == collect || n == 0:
		return 0
	case c == cbcPad && dir == decryption:
		return (n - 1) / blockSize * blockSize
	default:
		return n / blockSize * blockSize
	}
}

// piece returns the mechanism for a piece that is not the last.
func (c chain) piece(m *pkcs11.Mechanism) *pkcs11.Mechanism {
	if c == cbcPad {
		return &pkcs11.Mechanism{Type: pkcs11.CKM_AES_CBC, Params: m.Params}
	}
	return m
}

// advance moves the parameter of m past a piece.
func (c chain) advance(dir *direction, m *pkcs11.Mechanism, in, out []byte) error {
	switch c {
	case cbc, cbcPad:
		ciphertext := out
		if dir == decryption {
			ciphertext = in
		}
		copy(m.Params.([]byte), ciphertext[len(ciphertext)-blockSize:])
	case ctr:
		p := m.Params.(*pkcs11.CTRParams)
		counter := new(big.Int).SetBytes(p.Counter[:])
		limit := new(big.Int).Lsh(big.NewInt(1), uint(p.CounterBits))
		count := new(big.Int).Mod(counter, limit)
		next := new(big.Int).Add(count, big.NewInt(int64(len(in)/blockSize)))
		if next.Cmp(limit) > 0 {
			return fmt.Errorf("%w: the counter of %d bits is used up", pkcs11.CKR_DATA_LEN_RANGE, p.CounterBits)
		}
		counter.Sub(counter, count).Add(counter, next.Mod(next, limit)).FillBytes(p.Counter[:])
	}
	return nil
}

// size returns how many bytes the output of n bytes has: exactly when encrypting,
// at most when decrypting.
func (op *cipherOp) size(dir *direction, n int) int {
	if k := len(op.key.attrs().Bytes(pkcs11.CKA_MODULUS)); k > 0 {
		return k
	}
	switch op.mech.Type {
	case pkcs11.CKM_AES_GCM:
		tag := int(op.mech.Params.(*pkcs11.GCMParams).TagBits / 8)
		if dir == encryption {
			return n + tag
		}
		return max(n-tag, 0)
	case pkcs11.CKM_AES_CBC_PAD:
		if dir == encryption {
			return n/blockSize*blockSize + blockSize
		}
		return n
	case pkcs11.CKM_AES_KEY_WRAP, pkcs11.CKM_AES_KEY_WRAP_PAD, pkcs11.CKM_AES_KEY_WRAP_KWP:
		if dir == encryption {
			return (n+7)/8*8 + 8
		}
		return max(n-8, 0)
	}
	return n
}
