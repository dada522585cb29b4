package ateccsim

import (
	"crypto/aes"
	"encoding/binary"
)

const (
	aesEncrypt = 0
	aesDecrypt = 1
	aesGFM     = 3
)

func (c *Chip) cmdAES(q *request) ([]byte, Status) {
	mode, block := q.p1&7, int(q.p1>>6)
	if c.ee.Config[cfgAES]&1 == 0 || q.p1&^0xC7 != 0 {
		return nil, StatusParse
	}
	switch mode {
	case aesGFM:
		if len(q.data) != 32 {
			return nil, StatusParse
		}
		return gfm(q.data[:16], q.data[16:]), StatusOK
	case aesEncrypt, aesDecrypt:
	default:
		return nil, StatusParse
	}
	if len(q.data) != 16 || q.p2 > 15 && q.p2 != slotTempKey {
		return nil, StatusParse
	}
	key, s := c.aesKey(q.p2, block)
	if s != StatusOK {
		return nil, s
	}
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, StatusExec
	}
	out := make([]byte, 16)
	if mode == aesEncrypt {
		b.Encrypt(out, q.data)
	} else {
		b.Decrypt(out, q.data)
	}
	return out, StatusOK
}

// aesKey is a block of 16 bytes of a slot or of TempKey, which it leaves valid.
func (c *Chip) aesKey(p2 uint16, block int) ([]byte, Status) {
	if p2 == slotTempKey {
		t := &c.vol.temp
		if !t.usable() || block > 1 && !t.long {
			return nil, StatusExec
		}
		return t.value[16*block : 16*block+16], StatusOK
	}
	n := int(p2)
	slot := c.ee.Slot(n)
	if !c.ee.DataLocked() || c.ee.keyConfig(n).keyType() != keyTypeAES || c.ee.keyConfig(n).private() || 16*block+16 > len(slot) {
		return nil, StatusExec
	}
	if s := c.authorize(n, alone); s != StatusOK {
		return nil, s
	}
	if s := c.consume(n); s != StatusOK {
		return nil, s
	}
	return slot[16*block : 16*block+16], StatusOK
}

// gfm is the product in GF(2^128) with the bit order of GCM.
func gfm(h, x []byte) []byte {
	hi, lo := binary.BigEndian.Uint64(h), binary.BigEndian.Uint64(h[8:])
	var zhi, zlo uint64
	for i := range 128 {
		if x[i/8]>>(7-i%8)&1 != 0 {
			zhi ^= hi
			zlo ^= lo
		}
		carry := lo & 1
		lo = lo>>1 | hi<<63
		hi >>= 1
		if carry != 0 {
			hi ^= 0xE1 << 56
		}
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, zhi), zlo)
}
