package ateccsim

// A change is an EEPROM byte that a command wrote.
type change struct {
	at  *byte
	old byte
}

// put writes bytes of the EEPROM one after the other, as the chip does. A power
// cut between two of them leaves the rest as it was; what the command does after
// that has no effect any more.
func (c *Chip) put(at, b []byte) {
	for i := range b {
		if c.power == off {
			return
		}
		if c.opts.Faults.fires(PowerCut, 0) {
			c.busyUntil = c.busyFrom
			c.changed = c.changed[:0]
			c.powerOff()
			return
		}
		c.changed = append(c.changed, change{&at[i], at[i]})
		at[i] = b[i]
		c.dirty = true
	}
}

// putConfig writes bytes of the configuration zone.
func (c *Chip) putConfig(off int, b ...byte) {
	c.put(c.ee.Config[off:off+len(b)], b)
}

// putSlot writes the beginning of a slot, and marks a public key that has to be
// validated as not valid.
func (c *Chip) putSlot(n, off int, b []byte) {
	c.put(c.ee.Slot(n)[off:off+len(b)], b)
	if k := c.ee.keyConfig(n); k.publicKey() && k.pubInfo() {
		c.putNibble(n, nibbleInvalid)
	}
}

// putNibble sets the validity of a public key.
func (c *Chip) putNibble(n int, nibble byte) {
	s := c.ee.Slot(n)
	c.put(s[:1], []byte{s[0]&0x0F | nibble})
}
