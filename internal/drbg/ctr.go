// Package drbg is a token's random number generator: CTR_DRBG of NIST SP
// 800-90A over the sources of package pal, with the health tests of SP 800-90B.
package drbg

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/go-cryptoki/cryptoki/internal/wipe"
)

const (
	keyLen  = 32
	seedLen = keyLen + aes.BlockSize // SP 800-90A Rev. 1, table 3, AES-256

	// maxRequest is how much one Generate returns, 2^19 bits, and maxRequests how
	// often it is called before Reseed. SP 800-90A Rev. 1, table 3.
	maxRequest  = 1 << 16
	maxRequests = 1 << 48
)

var (
	errRequest = errors.New("drbg: more than 65536 bytes in one request")
	errReseed  = errors.New("drbg: it has to be reseeded")
)

// A CTR is CTR_DRBG with AES-256 and the derivation function: SP 800-90A Rev. 1,
// section 10.2.1. It offers 256 bits of security if its entropy input has as
// many. It is not safe for concurrent use, and must not be copied.
type CTR struct {
	block    cipher.Block // of the key
	v        [aes.BlockSize]byte
	requests uint64        // since it was seeded
	temp     [seedLen]byte // of update; zeros in between
}

// NewCTR instantiates a generator. entropy holds at least 256 bits of entropy in
// any number of bytes, nonce 128 more bits or something that is never used twice.
// The arguments are not kept.
func NewCTR(entropy, nonce, personalization []byte) *CTR {
	d := &CTR{block: newBlock(make([]byte, keyLen))}
	d.seed(entropy, nonce, personalization)
	return d
}

// Reseed mixes fresh entropy into the state. additional may be nil.
func (d *CTR) Reseed(entropy, additional []byte) { d.seed(entropy, additional, nil) }

func (d *CTR) seed(inputs ...[]byte) {
	var material [seedLen]byte
	derive(&material, inputs...)
	d.update(&material)
	clear(material[:])
	d.requests = 1
}

// Generate fills out, at most 65536 bytes, and changes the state so that it says
// nothing about what was returned. additional may be nil.
func (d *CTR) Generate(out, additional []byte) error {
	switch {
	case len(out) > maxRequest:
		return errRequest
	case d.requests > maxRequests:
		return errReseed
	}
	var material [seedLen]byte
	if len(additional) > 0 {
		derive(&material, additional)
		d.update(&material)
	}
	if len(out) > 0 {
		d.stream(out)
	}
	d.update(&material)
	clear(material[:])
	d.requests++
	return nil
}

// update is CTR_DRBG_Update.
func (d *CTR) update(provided *[seedLen]byte) {
	temp := &d.temp
	for i := 0; i < seedLen; i += aes.BlockSize {
		d.next(temp[i:])
	}
	subtle.XORBytes(temp[:], temp[:], provided[:])
	wipe.Block(d.block)
	d.block = newBlock(temp[:keyLen])
	copy(d.v[:], temp[keyLen:])
	clear(temp[:])
}

// stream fills out with key stream.
func (d *CTR) stream(out []byte) {
	d.step(1)
	s := cipher.NewCTR(d.block, d.v[:])
	clear(out)
	s.XORKeyStream(out, out)
	wipe.Stream(s)
	d.step(uint64(len(out)-1) / aes.BlockSize)
}

// next puts the next block of key stream into out.
func (d *CTR) next(out []byte) {
	d.step(1)
	d.block.Encrypt(out[:aes.BlockSize], d.v[:])
}

// step adds n to the counter.
func (d *CTR) step(n uint64) {
	lo, carry := bits.Add64(binary.BigEndian.Uint64(d.v[8:]), n, 0)
	binary.BigEndian.PutUint64(d.v[8:], lo)
	binary.BigEndian.PutUint64(d.v[:], binary.BigEndian.Uint64(d.v[:])+carry)
}

// Wipe clears the state. The generator cannot be used afterwards.
func (d *CTR) Wipe() {
	wipe.Block(d.block)
	clear(d.v[:])
	d.requests = maxRequests + 1
}

// derive is Block_Cipher_df of the inputs, one after the other: SP 800-90A
// Rev. 1, section 10.3.2.
func derive(out *[seedLen]byte, inputs ...[]byte) {
	n := 0
	for _, in := range inputs {
		n += len(in)
	}
	// IV, L, N, the inputs, 0x80, zeros up to a block.
	s := make([]byte, aes.BlockSize+8, aes.BlockSize+8+n+aes.BlockSize)
	binary.BigEndian.PutUint32(s[aes.BlockSize:], uint32(n))
	binary.BigEndian.PutUint32(s[aes.BlockSize+4:], seedLen)
	for _, in := range inputs {
		s = append(s, in...)
	}
	s = append(s, 0x80)
	for len(s)%aes.BlockSize != 0 {
		s = append(s, 0)
	}
	var key [keyLen]byte
	for i := range key {
		key[i] = byte(i)
	}
	block := newBlock(key[:])
	var temp [seedLen]byte
	for i := range seedLen / aes.BlockSize {
		binary.BigEndian.PutUint32(s, uint32(i))
		chain := temp[i*aes.BlockSize : (i+1)*aes.BlockSize]
		for b := s; len(b) > 0; b = b[aes.BlockSize:] { // BCC
			subtle.XORBytes(chain, chain, b[:aes.BlockSize])
			block.Encrypt(chain, chain)
		}
	}
	clear(s)
	block = newBlock(temp[:keyLen])
	x := temp[keyLen:]
	for i := 0; i < seedLen; i += aes.BlockSize {
		block.Encrypt(x, x)
		copy(out[i:], x)
	}
	wipe.Block(block)
	clear(temp[:])
}

// newBlock returns AES with a key of 32 bytes, which it clears.
func newBlock(key []byte) cipher.Block {
	b, err := aes.NewCipher(key)
	clear(key)
	if err != nil {
		panic(err) // the length is fixed and allowed
	}
	return b
}
