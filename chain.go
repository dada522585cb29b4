package cryptoki

import (
	"encoding/binary"
	"fmt"

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
func (c chain) advance(dir *direction, m *pkcs11.Mechanism, in, out []byte) {
	switch c {
	case cbc, cbcPad:
		ciphertext := out
		if dir == decryption {
			ciphertext = in
		}
		copy(m.Params.([]byte), ciphertext[len(ciphertext)-blockSize:])
	case ctr:
		// When the counter's bits are used up, this overflows into the rest of the
		// block, but there is no next piece then: see spend.
		counter := m.Params.(*pkcs11.CTRParams).Counter[:]
		low := binary.BigEndian.Uint64(counter[8:])
		next := low + uint64(len(in)/blockSize)
		binary.BigEndian.PutUint64(counter[8:], next)
		if next < low {
			binary.BigEndian.PutUint64(counter, binary.BigEndian.Uint64(counter)+1)
		}
	}
}

// spend takes the blocks that n bytes need off those for which a counter lasts.
func (op *cipherOp) spend(n int) error {
	if op.chain != ctr {
		return nil
	}
	blocks := (uint64(n) + blockSize - 1) / blockSize
	if blocks > op.blocks {
		return fmt.Errorf("%w: the counter of %d bits ends before; a block would be encrypted like another", pkcs11.CKR_DATA_LEN_RANGE, op.mech.Params.(*pkcs11.CTRParams).CounterBits)
	}
	op.blocks -= blocks
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
