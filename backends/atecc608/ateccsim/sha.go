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

// An exported context is the number of bytes, the state and what is pending: 40
// bytes and up to 59 pending, or, compact, 36 and up to 63.
const (
	shaContextMax  = 99
	shaContextHead = 40
	shaCompactHead = 36
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

func (c *Chip) contextHead() int {
	if c.opts.Open.CompactContext {
		return shaCompactHead
	}
	return shaContextHead
}

func (c *Chip) shaReadContext() ([]byte, Status) {
	head := c.contextHead()
	pending := int(c.vol.shaLen % sha256.BlockSize)
	m, ok := c.vol.sha.(encoding.BinaryMarshaler)
	if c.vol.hmac || !ok || head+pending > shaContextMax || c.vol.shaLen > 1<<32-1 {
		return nil, StatusExec
	}
	b, err := m.MarshalBinary()
	if err != nil {
		return nil, StatusExec
	}
	out := binary.LittleEndian.AppendUint32(make([]byte, 0, shaContextMax), uint32(c.vol.shaLen))
	state := b[len(goMagic):goPending]
	if c.opts.Open.CompactContext {
		state = swapWords(state)
	} else {
		out = append(out, 0, 0, 0, 0)
	}
	out = append(out, state...)
	return append(out, b[goPending:goPending+pending]...), StatusOK
}

func (c *Chip) shaWriteContext(q *request) ([]byte, Status) {
	head, n := c.contextHead(), len(q.data)
	if int(q.p2) != n || n < head || n > shaContextMax || n != head+int(q.data[0]&0x3F) {
		return nil, StatusParse
	}
	length := binary.LittleEndian.Uint32(q.data)
	state := q.data[head-sha256.Size : head]
	if c.opts.Open.CompactContext {
		state = swapWords(state)
	}
	b := append(make([]byte, 0, goLength+8), goMagic...)
	b = append(append(b, state...), q.data[head:]...)
	b = binary.BigEndian.AppendUint64(b[:goLength], uint64(length))
	h := sha256.New()
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok || u.UnmarshalBinary(b) != nil {
		return nil, StatusExec
	}
	c.vol.sha, c.vol.hmac, c.vol.shaLen = h, false, uint64(length)
	return nil, StatusOK
}

// swapWords reverses the bytes of each word of 32 bits.
func swapWords(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, b[3], b[2], b[1], b[0])
	}
	return out
}
