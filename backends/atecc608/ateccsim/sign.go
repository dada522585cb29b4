package ateccsim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
)

// The bits of Param1 of Sign, and the message source of Verify.
const (
	signExternal   = 0x80
	signWithSerial = 0x40
	fromMessage    = 0x20
	signInvalidate = 0x01
)

func (c *Chip) cmdSign(q *request) ([]byte, Status) {
	if q.p1&^(signExternal|signWithSerial|fromMessage|signInvalidate) != 0 || q.p2 > 15 || len(q.data) != 0 {
		return nil, StatusParse
	}
	n := int(q.p2)
	kc, sc := c.ee.keyConfig(n), c.ee.slotConfig(n)
	if !c.ee.ConfigLocked() || !c.ee.DataLocked() || !kc.private() || kc.keyType() != keyTypeP256 {
		return nil, StatusExec
	}
	u := alone
	if q.p1&signExternal == 0 {
		u = withTemp
	}
	if s := c.authorize(n, u); s != StatusOK {
		return nil, s
	}
	if c.opts.Open.RandomFirst && kc.reqRandom() && !c.vol.seeded {
		return nil, StatusExec
	}
	msg, s := c.messageToSign(q, sc)
	if s != StatusOK {
		return nil, s
	}
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), c.ee.Slot(n)[4:36])
	if err != nil {
		return nil, c.noKey()
	}
	if c.opts.Faults.fires(HealthTest, c.op) {
		return nil, StatusHealth
	}
	if s := c.consume(n); s != StatusOK {
		return nil, s
	}
	r, t, err := ecdsa.Sign(rand.Reader, k, msg)
	if err != nil {
		return nil, StatusECC
	}
	c.spendTempKey()
	c.spendMessage()
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	t.FillBytes(sig[32:])
	return sig, StatusOK
}

// messageToSign is the digest of the host, or that of what the chip knows
// about TempKey.
func (c *Chip) messageToSign(q *request, sc slotConfig) ([]byte, Status) {
	if q.p1&signExternal != 0 {
		if !sc.signExternal() {
			return nil, StatusExec
		}
		return c.message(q.p1)
	}
	t := &c.vol.temp
	if !sc.signInternal() || !t.usable() || !t.genDig && !t.genKey {
		return nil, StatusExec
	}
	sum := digest(c.internalMessage(q))
	return sum[:], StatusOK
}

// message is the 32 bytes in TempKey or in the message digest buffer, as Param1
// of Sign and Verify says.
func (c *Chip) message(p1 byte) ([]byte, Status) {
	if p1&fromMessage != 0 {
		if c.vol.msgLen == 0 {
			return nil, StatusExec
		}
		return c.vol.msg[:32], StatusOK
	}
	if !c.vol.temp.usable() {
		return nil, StatusExec
	}
	return c.vol.temp.low(), StatusOK
}

// internalMessage is the 55 bytes whose digest Sign(internal) signs.
func (c *Chip) internalMessage(q *request) []byte {
	t := &c.vol.temp
	m := make([]byte, 0, 55)
	m = append(m, t.low()...)
	m = append(m, q.head()...)
	m = append(m, c.ee.Config[cfgSlotConfig+2*t.keyID:][:2]...)
	m = append(m, c.ee.Config[cfgKeyConfig+2*t.keyID:][:2]...)
	m = append(m, t.flags(), 0, 0)
	sn47, sn23 := zeros[:4], zeros[:2]
	if q.p1&signWithSerial != 0 {
		sn47, sn23 = c.sn47(), c.sn23()
	}
	m = append(append(m, c.sn8()...), sn47...)
	m = append(append(m, c.sn01()...), sn23...)
	return append(m, bit(!c.ee.slotLocked(t.keyID), 0), q.p1&signInvalidate, 0)
}
