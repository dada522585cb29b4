package ateccsim

func (c *Chip) cmdInfo(q *request) ([]byte, Status) {
	if len(q.data) != 0 {
		return nil, StatusParse
	}
	switch q.p1 {
	case 0: // revision
		return c.ee.Config[cfgRevision : cfgRevision+4], StatusOK
	case 1: // KeyValid
		if q.p2 > 15 {
			return nil, StatusParse
		}
		return []byte{bit(c.keyValid(int(q.p2)), 0), 0, 0, 0}, StatusOK
	case 2: // State
		if q.p2 != 0 {
			return nil, StatusParse
		}
		return c.state(), StatusOK
	case 3: // GPIO, of the single-wire part
		if c.opts.Open.NoGPIO {
			return nil, StatusExec
		}
		return []byte{0, 0, 0, 0}, StatusOK
	case 4: // persistent latch
		return c.infoLatch(q)
	}
	return nil, StatusParse
}

// keyValid reports a slot with a private or public key on the curve.
func (c *Chip) keyValid(n int) bool {
	k := c.ee.keyConfig(n)
	switch {
	case k.keyType() != keyTypeP256:
		return false
	case k.private():
		_, err := c.privateKey(n)
		return err == nil
	}
	_, err := c.publicKey(n)
	return err == nil && (!k.pubInfo() || c.ee.Slot(n)[0]&0xF0 == nibbleValid)
}

func (c *Chip) state() []byte {
	t := &c.vol.temp
	b := make([]byte, 4)
	if t.valid {
		b[0] = t.flags()
		b[1] |= 0x80
	}
	if c.vol.auth >= 0 {
		b[1] |= byte(c.vol.auth)<<3 | 4
	}
	return b
}

func (c *Chip) infoLatch(q *request) ([]byte, Status) {
	if q.p2 > 3 {
		return nil, StatusParse
	}
	v := c.ee.Config[cfgVolatileKey]
	if v&0x80 == 0 {
		return nil, StatusExec
	}
	if q.p2&2 != 0 {
		set := q.p2&1 != 0
		if set && c.vol.auth != int(v&0xF) {
			return nil, StatusExec
		}
		c.latch = set
	}
	return []byte{bit(c.latch, 0), 0, 0, 0}, StatusOK
}

func bit(b bool, n int) byte {
	if b {
		return 1 << n
	}
	return 0
}

func (c *Chip) cmdSelfTest(q *request) ([]byte, Status) {
	if q.p1&0xC0 != 0 || q.p2 != 0 || len(q.data) != 0 {
		return nil, StatusParse
	}
	if q.p1 != 0 {
		failed := c.opts.Faults.selfTest(q.p1, q.op)
		c.failures = c.failures&^q.p1 | failed
		return []byte{failed}, StatusOK
	}
	return []byte{c.failures}, StatusOK
}
