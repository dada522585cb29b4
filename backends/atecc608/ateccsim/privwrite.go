package ateccsim

import (
	"crypto/ecdh"
	"crypto/subtle"
)

// unsealKey decrypts the value of PrivWrite and checks its MAC, under TempKey
// that GenDig made with the write key.
func (c *Chip) unsealKey(q *request, writeKey int) ([]byte, Status) {
	if s := c.authorize(writeKey, withTemp); s != StatusOK {
		return nil, s
	}
	if !c.genDigOf(writeKey) {
		return nil, StatusExec
	}
	key := c.vol.temp.value
	c.vol.temp = tempKey{}
	more := digest(key[:32])
	copy(key[32:], more[:4])
	value := xor(q.data[:36], key[:36])
	mac := digest(key[:32], q.head(), c.sn8(), c.sn01(), zeros[:21], value)
	if subtle.ConstantTimeCompare(mac[:], q.data[36:]) == 0 {
		return nil, StatusExec
	}
	return value, StatusOK
}

// importKey stores 4 zero bytes and a scalar.
func (c *Chip) importKey(n int, value []byte) Status {
	if _, err := ecdh.P256().NewPrivateKey(value[4:]); err != nil || value[0]|value[1]|value[2]|value[3] != 0 {
		return StatusECC
	}
	c.putSlot(n, 0, value)
	return StatusOK
}
