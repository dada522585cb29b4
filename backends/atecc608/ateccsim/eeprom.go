package ateccsim

import "time"

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
		if c.power != awake {
			return
		}
		f := c.opts.Faults
		if cut, dog := f.fires(PowerCut, c.op), f.fires(WatchdogCut, c.op); cut || dog {
			c.changed = c.changed[:0] // they have been written
			if cut {
				c.powerOff()
			} else {
				c.sleep()
			}
			return
		}
		c.changed = append(c.changed, change{&at[i], at[i]})
		at[i] = b[i]
		c.dirty = true
	}
}

// tear takes back what a command that is cut off at that time has not written
// yet: it got as far as its share of its time.
func (c *Chip) tear(at time.Time) {
	if c.busyUntil.IsZero() || !at.Before(c.busyUntil) || len(c.changed) == 0 {
		return
	}
	whole := c.busyUntil.Sub(c.busyFrom)
	done := int(int64(len(c.changed)) * int64(at.Sub(c.busyFrom)) / int64(whole))
	for i := len(c.changed) - 1; i >= max(done, 0); i-- {
		*c.changed[i].at = c.changed[i].old
	}
	c.dirty = true
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
