package ateccsim

import (
	"crypto/subtle"
	"encoding/binary"
)

const (
	genDigShared  = 3
	genDigCounter = 4
	genDigConfig  = 5
)

func (c *Chip) cmdGenDig(q *request) ([]byte, Status) {
	if !genDigForm(q) {
		return nil, StatusParse
	}
	n := int(q.p2)
	noMac := q.p1 == zoneData && c.ee.slotConfig(n).noMac()
	if noMac && len(q.data) != 4 {
		return nil, StatusParse
	}
	t := &c.vol.temp
	if !c.ee.ConfigLocked() || !t.usable() {
		return nil, StatusExec
	}
	first, head, last := zeros[:32], q.head(), t.low()
	keyID, genDig := 0, false
	middle := make([]byte, 25)
	switch q.p1 {
	case zoneConfig:
		first = c.ee.Config[32*n : 32*n+32]
	case zoneOTP:
		first = c.ee.OTP[32*n : 32*n+32]
	case zoneData:
		if c.ee.keyConfig(n).private() {
			return nil, StatusExec
		}
		if s := c.authorize(n, withTemp); s != StatusOK {
			return nil, s
		}
		if s := c.consume(n); s != StatusOK {
			return nil, s
		}
		first, keyID, genDig = c.ee.Slot(n)[:32], n, true
		if noMac {
			head = q.data
		}
	case genDigShared:
		first, keyID, genDig = q.data, n&0xF, true
		head = []byte{opGenDig, genDigShared, byte(q.p2), 0}
		if q.p2&0x8000 != 0 {
			first, last = last, first
		}
	case genDigCounter:
		binary.LittleEndian.PutUint32(middle[1:], c.counter(n))
	case genDigConfig:
		copy(middle[1:], c.ee.Config[cfgSlotConfig+2*n:][:2])
		copy(middle[3:], c.ee.Config[cfgKeyConfig+2*n:][:2])
		middle[5] = bit(!c.ee.slotLocked(n), 0)
	}
	noMac = noMac || t.noMac // what such a key went into stays so
	t.digest(digest(first, head, c.sn8(), c.sn01(), middle, last))
	t.genDig, t.keyID, t.noMac = genDig, keyID, noMac
	return nil, StatusOK
}

// genDigForm checks mode, block and length.
func genDigForm(q *request) bool {
	switch q.p1 {
	case zoneConfig:
		return q.p2 < 4 && len(q.data) == 0
	case zoneOTP:
		return q.p2 < 2 && len(q.data) == 0
	case zoneData:
		return q.p2 < 16 && (len(q.data) == 0 || len(q.data) == 4)
	case genDigShared:
		return q.p2&0x7F00 == 0 && len(q.data) == 32
	case genDigCounter:
		return q.p2 < 2 && len(q.data) == 0
	case genDigConfig:
		return q.p2 < 16 && len(q.data) == 0
	}
	return false
}

// cmdDeriveKey makes the key of a slot from itself or from its parent, which is
// its write key. The parent authorizes it where the configuration says so, and
// only the parent's uses are counted.
func (c *Chip) cmdDeriveKey(q *request) ([]byte, Status) {
	if q.p1&^0x04 != 0 || q.p2 > 15 || len(q.data) != 0 && len(q.data) != 32 {
		return nil, StatusParse
	}
	n := int(q.p2)
	sc, kc, t := c.ee.slotConfig(n), c.ee.keyConfig(n), &c.vol.temp
	if !c.ee.DataLocked() || !sc.deriveKey() || c.ee.slotLocked(n) || kc.private() || kc.keyType() != keyTypeOther {
		return nil, StatusExec
	}
	if !t.usable() || t.noMac || t.fixed != (q.p1&4 != 0) || sc.deriveWithMAC() && len(q.data) == 0 {
		return nil, StatusExec
	}
	from, parent := n, sc.writeKey()
	if sc.deriveCreate() {
		from = parent
	}
	source, s := c.secret(from, withTemp)
	if s != StatusOK {
		return nil, s
	}
	if sc.deriveWithMAC() {
		key, s := c.secret(parent, withTemp)
		if s != StatusOK {
			return nil, s
		}
		mac := digest(key, q.head(), c.sn8(), c.sn01())
		if subtle.ConstantTimeCompare(mac[:], q.data) == 0 {
			return nil, StatusExec
		}
	}
	if sc.deriveWithMAC() || sc.deriveCreate() {
		if s := c.consume(parent); s != StatusOK {
			return nil, s
		}
	}
	key := c.mix(source, q.head(), t.low())
	c.spendTempKey()
	c.putSlot(n, 0, key[:])
	return nil, StatusOK
}
