package ateccsim

// slotTempKey as Param2 is TempKey instead of a slot.
const slotTempKey = 0xFFFF

func (c *Chip) cmdGenKey(q *request) ([]byte, Status) {
	create, stored := q.p1&0x04 != 0, q.p1 == 0x10
	switch q.p1 {
	case 0x00, 0x04, 0x08, 0x0C, 0x10:
	default:
		return nil, StatusParse
	}
	ephemeral := q.p2 == slotTempKey && q.p1 == 0x04
	if q.p2 > 15 && !ephemeral || stored != (len(q.data) == 3) || !stored && len(q.data) != 0 {
		return nil, StatusParse
	}
	if !c.ee.ConfigLocked() && !c.opts.Open.EarlyGenKey {
		return nil, StatusExec
	}
	n := int(q.p2)
	switch {
	case ephemeral:
		return c.genTempKey()
	case stored:
		return c.digestStored(q, n)
	}
	kc, sc := c.ee.keyConfig(n), c.ee.slotConfig(n)
	if !kc.private() || kc.keyType() != keyTypeP256 {
		return nil, StatusExec
	}
	if q.p1&0x08 != 0 && !c.vol.temp.usable() {
		return nil, StatusExec
	}
	if s := c.authorize(n, alone); s != StatusOK {
		return nil, s
	}
	if create {
		if c.ee.slotLocked(n) || c.ee.DataLocked() && !sc.genKey() {
			return nil, StatusExec
		}
		k, s := c.newScalar()
		if s != StatusOK {
			return nil, s
		}
		c.putSlot(n, 0, append(make([]byte, 4), k.Bytes()...))
	} else if !kc.pubInfo() {
		return nil, StatusExec
	}
	k, err := c.privateKey(n)
	if err != nil {
		return nil, c.noKey()
	}
	pub := xy(k.PublicKey())
	if q.p1&0x08 != 0 {
		c.digestKey(n, q.head(), pub)
	}
	return pub, StatusOK
}

// genTempKey makes a key for one ECDH.
func (c *Chip) genTempKey() ([]byte, Status) {
	k, s := c.newScalar()
	if s != StatusOK {
		return nil, s
	}
	c.vol.temp.set(k.Bytes(), false)
	c.vol.temp.private = true
	return xy(k.PublicKey()), StatusOK
}

// digestStored puts the digest of a stored public key into TempKey, which is
// what Verify(validate) asks for.
func (c *Chip) digestStored(q *request, n int) ([]byte, Status) {
	if !c.ee.keyConfig(n).publicKey() || n < firstPublicSlot || !c.vol.temp.usable() {
		return nil, StatusExec
	}
	pub, err := c.publicKey(n)
	if err != nil {
		return nil, c.noKey()
	}
	c.digestKey(n, append([]byte{opGenKey}, q.data...), pub)
	return nil, StatusOK
}

func (c *Chip) digestKey(n int, head, pub []byte) {
	t := &c.vol.temp
	t.digest(c.mix(t.low(), head, pub))
	t.genKey, t.keyID = true, n
}

// cmdPrivWrite imports a private key.
func (c *Chip) cmdPrivWrite(q *request) ([]byte, Status) {
	if q.p1&^0x40 != 0 || q.p2 > 15 || len(q.data) != 36+32 {
		return nil, StatusParse
	}
	n := int(q.p2)
	kc, sc := c.ee.keyConfig(n), c.ee.slotConfig(n)
	if !c.ee.ConfigLocked() || !kc.private() || kc.keyType() != keyTypeP256 || c.ee.slotLocked(n) {
		return nil, StatusExec
	}
	sealed := q.p1&0x40 != 0
	if c.ee.DataLocked() && (!sealed || !sc.privWrite()) {
		return nil, StatusExec
	}
	value := q.data[:36]
	if sealed {
		var s Status
		if value, s = c.unsealKey(q, sc.writeKey()); s != StatusOK {
			return nil, s
		}
	}
	return nil, c.importKey(n, value)
}
