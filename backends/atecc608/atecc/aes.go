package atecc

import (
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The modes of AES.
const (
	aesEncrypt = 0
	aesDecrypt = 1
	aesGFM     = 3

	aesBlock = 16

	// aesBatch is how many blocks are worked on at a time, so that others get the
	// chip in between: half a second.
	aesBatch = 16
)

// EncryptBlocks encrypts src, a multiple of 16 bytes, into dst with AES-128, each
// block for itself (ECB). The key is the 16 bytes at 16*block of the slot. Each
// block takes 27 ms.
func (d *Device) EncryptBlocks(ctx context.Context, slot, block int, dst, src []byte) error {
	return d.aes(ctx, aesEncrypt, slot, block, dst, src)
}

// DecryptBlocks is the inverse of EncryptBlocks.
func (d *Device) DecryptBlocks(ctx context.Context, slot, block int, dst, src []byte) error {
	return d.aes(ctx, aesDecrypt, slot, block, dst, src)
}

func (d *Device) aes(ctx context.Context, mode byte, slot, block int, dst, src []byte) error {
	if err := checkSlot("aes", slot); err != nil {
		return err
	}
	if len(dst) < len(src) {
		return fmt.Errorf("atecc: aes: slot %d: %w: %d bytes for %d", slot, pkcs11.CKR_BUFFER_TOO_SMALL, len(dst), len(src))
	}
	for part := range blocks(src, aesBatch*aesBlock) {
		err := d.Do(ctx, func(s *Sequence) error { return s.aes(mode, slot, block, dst, part) })
		if err != nil {
			return err
		}
		dst = dst[len(part):]
	}
	return nil
}

// EncryptBlocks is Device.EncryptBlocks; slot may be FromTempKey.
func (s *Sequence) EncryptBlocks(slot, block int, dst, src []byte) error {
	return s.aes(aesEncrypt, slot, block, dst, src)
}

// DecryptBlocks is the inverse of EncryptBlocks.
func (s *Sequence) DecryptBlocks(slot, block int, dst, src []byte) error {
	return s.aes(aesDecrypt, slot, block, dst, src)
}

func (s *Sequence) aes(mode byte, slot, block int, dst, src []byte) error {
	if block < 0 || block > 3 || len(src)%aesBlock != 0 || len(dst) < len(src) {
		return fmt.Errorf("atecc: aes: slot %d: key block %d, %d bytes: %w: blocks 0 to 3, and multiples of 16", slot, block, len(src), pkcs11.CKR_DATA_LEN_RANGE)
	}
	c := command{name: "aes", op: opAES, p1: mode | byte(block<<6), p2: uint16(slot), slot: slot, size: aesBlock}
	if slot == FromTempKey {
		c.p2, c.ram = tempKeySlot, true
	} else {
		c.once = s.limited(slot)
	}
	// A sequence that runs again begins with the same source, even in place.
	src = append([]byte(nil), src...)
	defer clear(src)
	out := make([]byte, 0, len(src))
	defer clear(out[:cap(out)])
	for c.data = range blocks(src, aesBlock) {
		p, err := s.exec(c)
		if err != nil {
			return err
		}
		out = append(out, p...)
	}
	copy(dst, out)
	return nil
}

// GFM is h·x in GF(2^128) with the bit order of GCM, 16 bytes each.
func (s *Sequence) GFM(h, x []byte) ([16]byte, error) {
	if len(h) != aesBlock || len(x) != aesBlock {
		return [16]byte{}, fmt.Errorf("atecc: gfm: %w: blocks of %d and %d bytes, not 16", pkcs11.CKR_DATA_LEN_RANGE, len(h), len(x))
	}
	p, err := s.exec(command{name: "gfm", op: opAES, p1: aesGFM, data: append(append([]byte(nil), h...), x...), slot: noSlot, size: aesBlock})
	if err != nil {
		return [16]byte{}, err
	}
	return [16]byte(p), nil
}
