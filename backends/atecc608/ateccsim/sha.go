package ateccsim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
)

const (
	shaStart     = 0
	shaUpdate    = 1
	shaEnd       = 2
	shaPublic    = 3
	shaHMACStart = 4
	shaRead      = 6
	shaWrite     = 7
)

// shaContextHead is the length and the state of an exported context; what is
// pending follows, up to shaContextPending bytes.
const (
	shaContextHead    = 40
	shaContextPending = 59
)

func (c *Chip) cmdSHA(q *request) ([]byte, Status) {
	mode, target := q.p1&7, q.p1>>6
	if q.p1&0x38 != 0 || target != 0 && mode != shaEnd || target == targetAltKey {
		return nil, StatusParse
	}
	n := len(q.data)
	switch mode {
	case shaStart:
		if q.p2 != 0 || n != 0 {
			return nil, StatusParse
		}
		c.vol.sha, c.vol.hmac, c.vol.shaLen = sha256.New(), false, 0
		return nil, StatusOK
	case shaHMACStart:
		if q.p2 > 15 && q.p2 != slotTempKey || n != 0 {
			return nil, StatusParse
		}
		return nil, c.hmacStart(q.p2)
	case shaWrite:
		return c.shaWriteContext(q)
	}
	switch {
	case mode == shaUpdate && (int(q.p2) != n || n > 64),
		mode == shaEnd && (int(q.p2) != n || n > 63),
		mode == shaPublic && (q.p2 > 15 || n != 0),
		mode == shaRead && (q.p2 != 0 || n != 0),
		mode == 5:
		return nil, StatusParse
	}
	if c.vol.sha == nil {
		return nil, StatusExec
	}
	switch mode {
	case shaUpdate:
		c.vol.sha.Write(q.data)
		c.vol.shaLen += uint64(n)
	case shaPublic:
		key, s := c.storedKey(int(q.p2))
		if s != StatusOK {
			return nil, s
		}
		c.vol.sha.Write(key)
		c.vol.shaLen += uint64(len(key))
	case shaRead:
		return c.shaReadContext()
	case shaEnd:
		c.vol.sha.Write(q.data)
		sum := c.vol.sha.Sum(nil)
		c.vol.sha = nil
		if target != targetOutput {
			c.load(int(target), sum)
		}
		return sum, StatusOK
	}
	return nil, StatusOK
}

func (c *Chip) hmacStart(p2 uint16) Status {
	var key []byte
	if p2 == slotTempKey {
		if !c.vol.temp.usable() {
			return StatusExec
		}
		key = c.vol.temp.low()
	} else {
		if !c.ee.DataLocked() {
			return StatusExec
		}
		var s Status
		if key, s = c.symmetric(int(p2), alone); s != StatusOK {
			return s
		}
	}
	c.vol.sha, c.vol.hmac, c.vol.shaLen = hmac.New(sha256.New, key), true, 0
	return StatusOK
}

// The marshalled form of crypto/sha256 is a magic, the state, the pending block
// and the length in bytes.
const (
	goMagic   = "sha\x03"
	goPending = len(goMagic) + sha256.Size
	goLength  = goPending + sha256.BlockSize
)

func (c *Chip) shaReadContext() ([]byte, Status) {
	pending := int(c.vol.shaLen % sha256.BlockSize)
	m, ok := c.vol.sha.(encoding.BinaryMarshaler)
	if c.vol.hmac || !ok || pending > shaContextPending || c.vol.shaLen > 1<<32-1 {
		return nil, StatusExec
	}
	b, err := m.MarshalBinary()
	if err != nil {
		return nil, StatusExec
	}
	out := binary.LittleEndian.AppendUint32(nil, uint32(c.vol.shaLen))
	out = append(out, 0, 0, 0, 0)
	return append(out, b[len(goMagic):goPending+pending]...), StatusOK
}

func (c *Chip) shaWriteContext(q *request) ([]byte, Status) {
	n := len(q.data)
	if int(q.p2) != n || n < shaContextHead || n > shaContextHead+shaContextPending || n != shaContextHead+int(q.data[0]&0x3F) {
		return nil, StatusParse
	}
	length := binary.LittleEndian.Uint32(q.data)
	b := make([]byte, goLength, goLength+8)
	copy(b, goMagic)
	copy(b[len(goMagic):], q.data[8:])
	b = binary.BigEndian.AppendUint64(b, uint64(length))
	h := sha256.New()
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok || u.UnmarshalBinary(b) != nil {
		return nil, StatusExec
	}
	c.vol.sha, c.vol.hmac, c.vol.shaLen = h, false, uint64(length)
	return nil, StatusOK
}
