package ateccsim

import (
	"bytes"
	"encoding/binary"
)

// What a key is used with decides what ReqRandom asks for.
type use int

const (
	alone     use = iota // ReqRandom asks for nothing
	withTemp             // the command consumes TempKey, which has to be random
	challenge            // the host chose all of the message
)

// authorize checks what the KeyConfig of a slot demands of any use of its key:
// the persistent latch, a CheckMac before, a random number in TempKey.
func (c *Chip) authorize(n int, u use) Status {
	k := c.ee.keyConfig(n)
	if c.ee.useLock() && !c.vol.opened && n != c.ee.useLockKey() {
		return StatusExec
	}
	if k.persistentDisable() && !c.latch {
		return StatusExec
	}
	if k.reqAuth() && c.vol.auth != k.authKey() {
		return StatusExec
	}
	if k.reqRandom() && (u == withTemp && c.vol.temp.fixed || u == challenge && c.opts.Open.RandomChallenge) {
		return StatusExec
	}
	return StatusOK
}

// consume counts a use of a key whose uses are limited, by counter 0. Policies
// are in force only once the data zone is locked.
func (c *Chip) consume(n int) Status {
	if !c.ee.slotConfig(n).limitedUse() || !c.ee.DataLocked() {
		return StatusOK
	}
	v := c.counter(0)
	if m := c.ee.Config[cfgCountMatch]; m&1 != 0 {
		slot := c.ee.Slot(int(m >> 4))
		limit := binary.LittleEndian.Uint32(slot)
		if c.opts.Open.MatchBoth && !bytes.Equal(slot[:4], slot[4:8]) {
			return StatusExec
		}
		if v > limit || v == limit && !c.opts.Open.MatchPast {
			return StatusExec
		}
	}
	if v >= counterMax {
		return StatusExec
	}
	c.setCounter(0, v+1)
	return StatusOK
}

// secret is the key in the first 32 bytes of a slot that holds one for SHA-256,
// checked; symmetric counts the use, too.
func (c *Chip) secret(n int, u use) ([]byte, Status) {
	if c.ee.keyConfig(n).keyType() != keyTypeOther || c.ee.keyConfig(n).private() {
		return nil, StatusExec
	}
	if s := c.authorize(n, u); s != StatusOK {
		return nil, s
	}
	return bytes.Clone(c.ee.Slot(n)[:32]), StatusOK
}

func (c *Chip) symmetric(n int, u use) ([]byte, Status) {
	key, s := c.secret(n, u)
	if s == StatusOK {
		s = c.consume(n)
	}
	if s != StatusOK {
		return nil, s
	}
	return key, StatusOK
}

// ioKey is the secret that the host shares for encrypted output.
func (c *Chip) ioKey() ([]byte, Status) {
	o := c.ee.options()
	if !o.ioProtect() || c.ee.keyConfig(o.ioKey()).private() {
		return nil, StatusExec
	}
	return c.ee.Slot(o.ioKey())[:32], StatusOK
}

// protect encrypts output of 32 or 64 bytes under the I/O protection key and
// appends the nonce.
func (c *Chip) protect(out []byte) ([]byte, Status) {
	key, s := c.ioKey()
	if s != StatusOK {
		return nil, s
	}
	nonce, s := c.random()
	if s != StatusOK {
		return nil, s
	}
	enc := make([]byte, 0, len(out)+32)
	for i := 0; i < len(out); i += 32 {
		pad := digest(key, nonce[i/2:i/2+16])
		enc = append(enc, xor(out[i:i+32], pad[:])...)
	}
	return append(enc, nonce...), StatusOK
}

func xor(a, b []byte) []byte {
	x := make([]byte, len(a))
	for i := range a {
		x[i] = a[i] ^ b[i]
	}
	return x
}

// genDigOf reports a TempKey that GenDig made with the key of slot n, which is
// what encrypted reads and writes ask for.
func (c *Chip) genDigOf(n int) bool {
	t := &c.vol.temp
	return t.usable() && t.genDig && !t.noMac && t.keyID == n
}
