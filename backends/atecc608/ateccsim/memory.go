package ateccsim

import (
	"bytes"
	"crypto/subtle"
)

const (
	zoneConfig = 0
	zoneOTP    = 1
	zoneData   = 2
)

// A place is what a Read or Write addresses.
type place struct {
	zone  int
	slot  int
	block int
	off   int // in the zone, or in the slot for data
	size  int // 4 or 32
	have  int // bytes that exist there: fewer in the last block of most slots
}

// locate decodes Param1 and Param2. Word bits of a 32-byte access are ignored.
func locate(p1 byte, p2 uint16) (p place, ok bool) {
	p.zone, p.size = int(p1&3), 4
	word := int(p2 & 7)
	if p1&0x80 != 0 {
		p.size, word = 32, 0
	}
	end := 0
	switch p.zone {
	case zoneConfig:
		p.block, end = int(p2>>3), ConfigSize
	case zoneOTP:
		p.block, end = int(p2>>3), OTPSize
	case zoneData:
		if p2&0xF080 != 0 {
			return p, false
		}
		p.slot, p.block = int(p2>>3&0xF), int(p2>>8)
		_, end = slotRange(p.slot)
	default:
		return p, false
	}
	p.off = 32*p.block + 4*word
	p.have = min(p.size, end-p.off)
	return p, p.have > 0
}

func (c *Chip) cmdRead(q *request) ([]byte, Status) {
	p, ok := locate(q.p1, q.p2)
	if !ok || q.p1&^0x83 != 0 || len(q.data) != 0 {
		return nil, StatusParse
	}
	switch {
	case p.zone == zoneConfig:
		return c.ee.Config[p.off : p.off+p.size], StatusOK
	case !c.ee.DataLocked():
		return nil, StatusExec
	case p.zone == zoneOTP:
		return c.ee.OTP[p.off : p.off+p.size], StatusOK
	}
	sc := c.ee.slotConfig(p.slot)
	if c.ee.keyConfig(p.slot).private() || sc.secret() && !sc.encryptRead() {
		return nil, StatusExec
	}
	pad := byte(0)
	if c.opts.Open.PadFF {
		pad = 0xFF
	}
	out := bytes.Repeat([]byte{pad}, p.size)
	copy(out, c.ee.Slot(p.slot)[p.off:p.off+p.have])
	if !sc.secret() {
		return out, StatusOK
	}
	if p.size != 32 || !c.genDigOf(sc.readKey()) || c.vol.temp.fixed {
		return nil, StatusExec
	}
	out = xor(out, c.vol.temp.low())
	c.vol.temp = tempKey{}
	return out, StatusOK
}

func (c *Chip) cmdWrite(q *request) ([]byte, Status) {
	p, ok := locate(q.p1, q.p2)
	sealed := p.zone == zoneData && len(q.data) == p.size+32
	if !ok || q.p1&^0xC3 != 0 || len(q.data) != p.size && !sealed || q.p1&0x40 != 0 && !sealed {
		return nil, StatusParse
	}
	switch p.zone {
	case zoneConfig:
		// The identity, the bytes of UpdateExtra and the lock bytes lie in blocks 0 and 2.
		forbidden := p.off < 16 || p.off < 88 && p.off+p.size > 84
		if c.ee.ConfigLocked() || forbidden {
			return nil, StatusExec
		}
		c.put(c.ee.Config[p.off:p.off+p.size], q.data)
		return nil, StatusOK
	case zoneOTP:
		if !c.ee.ConfigLocked() || c.ee.DataLocked() || p.size != 32 {
			return nil, StatusExec
		}
		c.put(c.ee.OTP[p.off:p.off+p.size], q.data)
		return nil, StatusOK
	}
	return nil, c.writeSlot(q, p, sealed)
}

// writeSlot applies the lock phases and WriteConfig.
func (c *Chip) writeSlot(q *request, p place, sealed bool) Status {
	sc, kc := c.ee.slotConfig(p.slot), c.ee.keyConfig(p.slot)
	if !c.ee.ConfigLocked() || kc.private() || c.ee.slotLocked(p.slot) {
		return StatusExec
	}
	if !c.ee.DataLocked() {
		if p.size != 32 || sealed && q.p1&0x40 == 0 {
			return StatusExec
		}
	} else {
		switch w := sc.writeConfig(); {
		case w&4 != 0: // encrypted only
			if !sealed || p.size != 32 {
				return StatusExec
			}
		case sealed:
			return StatusExec
		case w == 0:
		case w == 1: // public key that is not valid
			if !kc.publicKey() || c.ee.Slot(p.slot)[0]&0xF0 == nibbleValid {
				return StatusExec
			}
		default:
			return StatusExec
		}
	}
	data := q.data[:p.size]
	if sealed {
		if s := c.authorize(sc.writeKey(), withTemp); s != StatusOK {
			return s
		}
		if !c.genDigOf(sc.writeKey()) || c.vol.temp.fixed {
			return StatusExec
		}
		data = xor(data, c.vol.temp.low())
		mac := c.mix(c.vol.temp.low(), q.head(), data)
		c.vol.temp = tempKey{}
		if subtle.ConstantTimeCompare(mac[:], q.data[32:]) == 0 {
			return StatusExec
		}
	}
	c.putSlot(p.slot, p.off, data[:p.have])
	return StatusOK
}

func (c *Chip) cmdUpdateExtra(q *request) ([]byte, Status) {
	if q.p1 > 1 || q.p2 > 0xFF || len(q.data) != 0 {
		return nil, StatusParse
	}
	off := cfgUserExtra + int(q.p1)
	if c.ee.Config[off] != 0 {
		return nil, StatusExec
	}
	c.putConfig(off, byte(q.p2))
	return nil, StatusOK
}
