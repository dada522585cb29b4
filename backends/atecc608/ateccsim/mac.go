package ateccsim

import (
	"bytes"
	"crypto/subtle"
)

const (
	macTempSecond = 0x01 // the second block is TempKey, not the challenge
	macTempFirst  = 0x02 // the first block is TempKey, not a key
	macSource     = 0x04 // what TempKey.SourceFlag has to be
	macOTP11      = 0x10
	macOTP8       = 0x20
	macSerial     = 0x40
)

// macTemp checks TempKey for MAC and CheckMac.
func (c *Chip) macTemp(p1 byte) bool {
	if p1&(macTempFirst|macTempSecond) == 0 {
		return true
	}
	return c.vol.temp.usable() && c.vol.temp.fixed == (p1&macSource != 0)
}

// macUse is the part that TempKey takes in MAC and CheckMac with a key.
func macUse(p1 byte) use {
	if p1&macTempSecond != 0 {
		return withTemp
	}
	return challenge
}

// macKey is the first block.
func (c *Chip) macKey(q *request) ([]byte, Status) {
	if q.p1&macTempFirst != 0 {
		return bytes.Clone(c.vol.temp.low()), StatusOK
	}
	if !c.ee.ConfigLocked() || c.ee.slotConfig(int(q.p2)).noMac() {
		return nil, StatusExec
	}
	return c.symmetric(int(q.p2), macUse(q.p1))
}

func (c *Chip) cmdMAC(q *request) ([]byte, Status) {
	size := 32
	if q.p1&macTempSecond != 0 {
		size = 0
	}
	if q.p1&^0x77 != 0 || q.p2 > 15 || len(q.data) != size {
		return nil, StatusParse
	}
	if !c.macTemp(q.p1) {
		return nil, StatusExec
	}
	key, s := c.macKey(q)
	if s != StatusOK {
		return nil, s
	}
	second := q.data
	if size == 0 {
		second = c.vol.temp.low()
	}
	otp8, otp3, sn47, sn23 := zeros[:8], zeros[:3], zeros[:4], zeros[:2]
	if q.p1&(macOTP11|macOTP8) != 0 {
		otp8 = c.ee.OTP[:8]
	}
	if q.p1&macOTP11 != 0 {
		otp3 = c.ee.OTP[8:11]
	}
	if q.p1&macSerial != 0 {
		sn47, sn23 = c.sn47(), c.sn23()
	}
	sum := digest(key, second, q.head(), otp8, otp3, c.sn8(), sn47, c.sn01(), sn23)
	c.spendTempKey()
	return sum[:], StatusOK
}

func (c *Chip) cmdCheckMac(q *request) ([]byte, Status) {
	if q.p1&^(macTempSecond|macTempFirst|macSource|macOTP8) != 0 || q.p2 > 15 || len(q.data) != 77 {
		return nil, StatusParse
	}
	if !c.macTemp(q.p1) {
		return nil, StatusExec
	}
	n := int(q.p2)
	key, s := c.macKey(q)
	if s != StatusOK {
		return nil, s
	}
	second, response, other := q.data[:32], q.data[32:64], q.data[64:]
	if q.p1&macTempSecond != 0 {
		second = c.vol.temp.low()
	}
	otp8 := zeros[:8]
	if q.p1&macOTP8 != 0 {
		otp8 = c.ee.OTP[:8]
	}
	sum := digest(key, second, other[:4], otp8, other[4:7], c.sn8(), other[7:11], c.sn01(), other[11:])
	c.spendTempKey()
	c.vol.auth = -1
	if subtle.ConstantTimeCompare(sum[:], response) == 0 {
		return nil, StatusMiscompare
	}
	if q.p1&macTempFirst != 0 {
		return nil, StatusOK
	}
	c.vol.auth = n
	c.vol.opened = c.vol.opened || n == c.ee.useLockKey()
	// The password check: a right answer for slot n gives the key of slot n+1.
	if p := q.p1 &^ macSource; p == macTempSecond && c.ee.slotConfig(n).readKey() == 0 && n < 15 && !c.ee.keyConfig(n+1).private() {
		c.vol.temp.set(c.ee.Slot(n + 1)[:32], true)
	}
	return nil, StatusOK
}
