package ateccsim

const (
	verifyStored     = 0
	verifyExternal   = 2
	verifyValidate   = 3
	verifyInvalidate = 7
	verifyWithMAC    = 0x80
	curveP256        = 4
)

func (c *Chip) cmdVerify(q *request) ([]byte, Status) {
	mode, mac := q.p1&7, q.p1&verifyWithMAC != 0
	if q.p1&^(verifyWithMAC|fromMessage|7) != 0 {
		return nil, StatusParse
	}
	switch mode {
	case verifyStored:
		if q.p2 > 15 || len(q.data) != 64 {
			return nil, StatusParse
		}
	case verifyExternal:
		if q.p2 != curveP256 || len(q.data) != 128 {
			return nil, StatusParse
		}
	case verifyValidate, verifyInvalidate:
		if q.p2 > 15 || len(q.data) != 64+19 || q.p1&^7 != 0 {
			return nil, StatusParse
		}
		return nil, c.validate(q, int(q.p2))
	default:
		return nil, StatusParse
	}
	msg, s := c.message(q.p1)
	if s != StatusOK {
		return nil, s
	}
	sig := q.data[:64]
	key := q.data[64:]
	if mode == verifyStored {
		if key, s = c.storedKey(int(q.p2)); s != StatusOK {
			return nil, s
		}
	}
	var tag []byte
	if mac {
		if tag, s = c.verifyMAC(q, msg, sig); s != StatusOK {
			return nil, s
		}
	}
	ok, err := verify(key, msg, sig)
	if err != nil {
		return nil, StatusExec
	}
	c.spendTempKey()
	c.spendMessage()
	if !ok {
		return nil, StatusMiscompare
	}
	return tag, StatusOK
}

// storedKey is the public key of a slot, which has to be valid where its
// configuration says so.
func (c *Chip) storedKey(n int) ([]byte, Status) {
	kc := c.ee.keyConfig(n)
	if !c.ee.ConfigLocked() || !kc.publicKey() || n < firstPublicSlot {
		return nil, StatusExec
	}
	if kc.pubInfo() && c.ee.Slot(n)[0]&0xF0 != nibbleValid {
		return nil, StatusExec
	}
	if s := c.authorize(n, alone); s != StatusOK {
		return nil, s
	}
	key, err := c.publicKey(n)
	if err != nil {
		return nil, StatusExec
	}
	return key, StatusOK
}

// verifyMAC proves to the host that the answer is the chip's.
func (c *Chip) verifyMAC(q *request, msg, sig []byte) ([]byte, Status) {
	key, s := c.ioKey()
	if s != StatusOK {
		return nil, s
	}
	nonce, need := c.vol.msg[:32], 32
	if q.p1&fromMessage != 0 {
		nonce, need = c.vol.msg[32:], 64
	}
	if c.vol.msgLen < need {
		return nil, StatusExec
	}
	sum := digest(key, msg, nonce, sig, q.head())
	return sum[:], StatusOK
}

// validate checks the signature that another stored key made over the digest of
// the public key in slot n, and sets its validity.
func (c *Chip) validate(q *request, n int) Status {
	kc := c.ee.keyConfig(n)
	if !c.ee.ConfigLocked() || !kc.publicKey() || !kc.pubInfo() || n < firstPublicSlot || c.ee.slotLocked(n) {
		return StatusExec
	}
	t := &c.vol.temp
	if !t.usable() || !t.genKey || t.keyID != n {
		return StatusExec
	}
	sig, other := q.data[:64], q.data[64:]
	if other[17]&1 != q.p1>>2&1 {
		return StatusExec
	}
	key, s := c.storedKey(c.ee.slotConfig(n).readKey())
	if s != StatusOK {
		return s
	}
	sum := digest(t.low(), []byte{opSign}, other[:10], c.sn8(), other[10:14], c.sn01(), other[14:])
	ok, err := verify(key, sum[:], sig)
	if err != nil {
		return StatusExec
	}
	c.spendTempKey()
	c.spendMessage()
	if !ok {
		return StatusMiscompare
	}
	nibble := byte(nibbleValid)
	if q.p1&7 == verifyInvalidate {
		nibble = nibbleInvalid
	}
	c.putNibble(n, nibble)
	return StatusOK
}
