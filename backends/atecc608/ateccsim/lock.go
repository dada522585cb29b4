package ateccsim

// cmdLock locks the configuration, the data and OTP zones, or one slot. All
// three are for ever.
func (c *Chip) cmdLock(q *request) ([]byte, Status) {
	zone, slot := q.p1&3, int(q.p1>>2&0xF)
	if q.p1&0x40 != 0 || zone == 3 || zone != 2 && slot != 0 || len(q.data) != 0 {
		return nil, StatusParse
	}
	unchecked := q.p1&0x80 != 0
	switch zone {
	case 0:
		if c.ee.ConfigLocked() || c.ee.useLock() && !c.opts.Open.TransportLock || !unchecked && crc(c.ee.Config[:]) != q.p2 {
			return nil, StatusExec
		}
		c.putConfig(cfgLockConfig, 0)
	case 1:
		if !c.ee.ConfigLocked() || c.ee.DataLocked() || !unchecked && c.dataCRC() != q.p2 {
			return nil, StatusExec
		}
		c.putConfig(cfgLockData, 0)
	case 2:
		early := c.opts.Open.LateSlotLock && !c.ee.DataLocked()
		if !c.ee.ConfigLocked() || early || !c.ee.keyConfig(slot).lockable() || c.ee.slotLocked(slot) {
			return nil, StatusExec
		}
		off := cfgSlotLocked + slot/8
		c.putConfig(off, c.ee.Config[off]&^(1<<(slot%8)))
	}
	return nil, StatusOK
}

func (c *Chip) dataCRC() uint16 {
	if c.opts.Open.OTPFirst {
		return crc(c.ee.OTP[:], c.ee.Data[:])
	}
	return crc(c.ee.Data[:], c.ee.OTP[:])
}
