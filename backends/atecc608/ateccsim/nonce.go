package ateccsim

import (
	"bytes"
	"io"
)

// random is 32 bytes of the generator, the constant pattern while the
// configuration is not locked.
func (c *Chip) random() ([]byte, Status) {
	if c.opts.Faults.fires(HealthTest, c.op) {
		return nil, StatusHealth
	}
	c.vol.seeded = true
	if !c.ee.ConfigLocked() {
		return bytes.Repeat([]byte{0xFF, 0xFF, 0, 0}, 8), StatusOK
	}
	b := make([]byte, 32)
	if _, err := io.ReadFull(c.opts.Random, b); err != nil {
		return nil, StatusHealth
	}
	return b, StatusOK
}

func (c *Chip) cmdRandom(q *request) ([]byte, Status) {
	if q.p1 > 1 || q.p2 != 0 || len(q.data) != 0 {
		return nil, StatusParse
	}
	return c.random()
}

// The registers that Nonce and SHA can load.
const (
	targetTempKey = 0
	targetMessage = 1
	targetAltKey  = 2
	targetOutput  = 3
)

func (c *Chip) cmdNonce(q *request) ([]byte, Status) {
	mode, target, long := q.p1&3, q.p1>>6, q.p1&0x20 != 0
	if q.p1&0x1C != 0 {
		return nil, StatusParse
	}
	switch mode {
	case 0, 1:
		if target != targetTempKey || long || len(q.data) != 20 || q.p2&0x7FFF != 0 {
			return nil, StatusParse
		}
		return c.nonceRandom(q)
	case 3:
		size := 32
		if long {
			size = 64
		}
		if target == 3 || target == targetAltKey && long || len(q.data) != size {
			return nil, StatusParse
		}
		c.load(int(target), q.data)
		return nil, StatusOK
	}
	return nil, StatusParse
}

// nonceRandom makes TempKey from a random number of the chip and one of the
// host; with the calculation mode of p2, from the old TempKey and the host's.
func (c *Chip) nonceRandom(q *request) ([]byte, Status) {
	first := c.vol.temp.low()
	if q.p2 == 0 {
		r, s := c.random()
		if s != StatusOK {
			return nil, s
		}
		first = r
	} else if !c.vol.temp.usable() {
		return nil, StatusExec
	}
	sum := digest(first, q.data, []byte{opNonce, q.p1, byte(q.p2)})
	c.vol.temp.set(sum[:], false)
	if q.p2 == 0 {
		return first, StatusOK
	}
	return sum[:], StatusOK
}

// load puts 32 or 64 bytes of the host into a register.
func (c *Chip) load(target int, b []byte) {
	switch target {
	case targetTempKey:
		c.vol.temp.set(b, true)
	case targetMessage:
		c.vol.msg = [64]byte{}
		c.vol.msgLen = copy(c.vol.msg[:], b)
	case targetAltKey:
		copy(c.vol.alt[:], b)
		c.vol.altSet = true
	}
}
