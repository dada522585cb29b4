package ateccsim

import (
	"crypto/ecdh"
)

const (
	ecdhCompat  = 0
	ecdhSlot    = 1
	ecdhTempKey = 2
	ecdhOutput  = 3
)

func (c *Chip) cmdECDH(q *request) ([]byte, Status) {
	fromTemp, encrypt, dest := q.p1&1 != 0, q.p1&2 != 0, int(q.p1>>2&3)
	if q.p1&0xF0 != 0 || len(q.data) != 64 || encrypt && dest != ecdhOutput || fromTemp && dest == ecdhCompat {
		return nil, StatusParse
	}
	if (!fromTemp || dest == ecdhSlot) && q.p2 > 15 {
		return nil, StatusParse
	}
	if !c.ee.ConfigLocked() || !c.ee.DataLocked() {
		return nil, StatusExec
	}
	n := int(q.p2)
	if dest == ecdhCompat {
		dest = ecdhOutput
		if c.ee.slotConfig(n).ecdhToSlot() {
			dest = ecdhSlot
		}
	}
	if s := c.mayOutput(c.ee.options().ecdhProt(), dest == ecdhOutput, encrypt); s != StatusOK {
		return nil, s
	}
	if dest == ecdhSlot && (n&1 != 0 || c.ee.slotLocked(n|1) || c.ee.keyConfig(n|1).private()) {
		return nil, StatusExec
	}
	if encrypt {
		if _, s := c.ioKey(); s != StatusOK {
			return nil, s
		}
	}
	secret, s := c.agree(n, fromTemp, q.data)
	if s != StatusOK {
		return nil, s
	}
	switch dest {
	case ecdhSlot:
		c.putSlot(n|1, 0, secret)
		return nil, StatusOK
	case ecdhTempKey:
		c.vol.temp.set(secret, c.vol.temp.fixed)
		return nil, StatusOK
	}
	if encrypt {
		return c.protect(secret)
	}
	return secret, StatusOK
}

// mayOutput applies ECDHProt and KDFProt: 1 wants output encrypted, 2 none, 3
// refuses the command.
func (c *Chip) mayOutput(prot int, output, encrypted bool) Status {
	if prot == 3 || prot == 2 && c.opts.Open.StrictProtection || output && (prot == 2 || prot == 1 && !encrypted) {
		return StatusExec
	}
	return StatusOK
}

// agree is X of the product of a private key and the peer's public key.
func (c *Chip) agree(n int, fromTemp bool, peer []byte) ([]byte, Status) {
	var key *ecdh.PrivateKey
	var err error
	if fromTemp {
		t := &c.vol.temp
		if !t.valid || !t.private {
			return nil, StatusExec
		}
		key, err = ecdh.P256().NewPrivateKey(t.low())
	} else {
		kc := c.ee.keyConfig(n)
		if !kc.private() || kc.keyType() != keyTypeP256 || !c.ee.slotConfig(n).ecdh() {
			return nil, StatusExec
		}
		if s := c.authorize(n, alone); s != StatusOK {
			return nil, s
		}
		if c.opts.Open.RandomFirst && kc.reqRandom() && !c.vol.seeded {
			return nil, StatusExec
		}
		key, err = c.privateKey(n)
	}
	if err != nil {
		return nil, c.noKey()
	}
	pub, err := parsePoint(peer)
	if err != nil {
		return nil, StatusExec
	}
	if !fromTemp {
		if s := c.consume(n); s != StatusOK {
			return nil, s
		}
	}
	secret, err := key.ECDH(pub)
	if err != nil {
		return nil, StatusECC
	}
	if fromTemp {
		c.vol.temp = tempKey{}
	}
	return secret, StatusOK
}
