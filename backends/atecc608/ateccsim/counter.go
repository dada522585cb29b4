package ateccsim

import (
	"encoding/binary"
	"math/bits"
)

// counterMax is the largest value of a counter, 21 bits.
const counterMax = 1<<21 - 1

// encodeCounter is how the EEPROM holds v, so that each cell wears little: two
// words that lose a bit at each step and two that count the rounds.
func encodeCounter(v uint32) (b [8]byte) {
	linear := func(v uint32) uint16 { return uint16(0xFFFF >> (v % 32)) }
	binary.BigEndian.PutUint16(b[0:], linear(v))
	binary.BigEndian.PutUint16(b[4:], uint16(v/32))
	if v < 16 {
		binary.BigEndian.PutUint16(b[2:], 0xFFFF)
	} else {
		binary.BigEndian.PutUint16(b[2:], linear(v-16))
		binary.BigEndian.PutUint16(b[6:], uint16((v-16)/32))
	}
	return b
}

func decodeCounter(b []byte) uint32 {
	zeros := func(off int) uint32 { return uint32(16 - bits.OnesCount16(binary.BigEndian.Uint16(b[off:]))) }
	a, second := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	v := 32*uint32(a) + zeros(0)
	if a == second {
		v += zeros(2)
	}
	return min(v, counterMax)
}

func (c *Chip) counter(n int) uint32 {
	return decodeCounter(c.ee.Config[cfgCounter+8*n:])
}

// setCounter writes the rounds before the linear words, so that a torn step is
// never a step back.
func (c *Chip) setCounter(n int, v uint32) {
	b := encodeCounter(v)
	at := c.ee.Config[cfgCounter+8*n : cfgCounter+8*n+8]
	for _, i := range [8]int{4, 5, 6, 7, 2, 3, 0, 1} {
		if at[i] != b[i] {
			c.put(at[i:i+1], b[i:i+1])
		}
	}
}

func (c *Chip) cmdCounter(q *request) ([]byte, Status) {
	if q.p1 > 1 || q.p2 > 1 || len(q.data) != 0 {
		return nil, StatusParse
	}
	n := int(q.p2)
	v := c.counter(n)
	if q.p1 == 1 {
		if !c.ee.ConfigLocked() || v >= counterMax {
			return nil, StatusExec
		}
		v++
		c.setCounter(n, v)
	}
	return binary.LittleEndian.AppendUint32(nil, v), StatusOK
}
