package ateccsim

import (
	"hash"
	"time"
)

type powerState int

const (
	off powerState = iota
	asleep
	idle
	awake
)

// A volatile register set is what sleep clears and idle keeps.
type volatile struct {
	temp   tempKey
	msg    [64]byte // message digest buffer
	msgLen int      // 0, 32 or 64
	alt    [32]byte // alternate key buffer
	altSet bool
	sha    hash.Hash
	hmac   bool
	shaLen uint64
	auth   int  // slot that CheckMac authorized, -1 for none
	opened bool // CheckMac opened the transport lock
	seeded bool // the random number generator ran
}

// tempKey is the TempKey register with its flags.
type tempKey struct {
	value   [64]byte
	valid   bool
	long    bool // the upper half was loaded too
	fixed   bool // SourceFlag: no random number took part
	genDig  bool
	genKey  bool
	noMac   bool
	keyID   int
	private bool // holds the key that GenKey made for ECDH
}

// low is the half that all commands use.
func (t *tempKey) low() []byte { return t.value[:32] }

// usable reports a value that is no private key.
func (t *tempKey) usable() bool { return t.valid && !t.private }

// set stores a value of 32 or 64 bytes and clears all flags.
func (t *tempKey) set(v []byte, fixed bool) {
	*t = tempKey{valid: true, fixed: fixed, long: len(v) == 64}
	copy(t.value[:], v)
}

// digest replaces the value by a digest that it went into, keeping its source.
func (t *tempKey) digest(v [32]byte) {
	t.set(v[:], t.fixed)
}

// flags is the byte that Sign(internal) puts into its message.
func (t *tempKey) flags() byte {
	b := byte(t.keyID & 0xF)
	for i, f := range []bool{t.fixed, t.genDig, t.genKey, t.noMac} {
		if f {
			b |= 0x10 << i
		}
	}
	return b
}

// spend ends the use of TempKey and of the message buffer.
func (c *Chip) spendTempKey() {
	if !c.opts.Open.KeepBuffers {
		c.vol.temp = tempKey{}
	}
}

func (c *Chip) spendMessage() {
	if !c.opts.Open.KeepBuffers {
		c.vol.msg, c.vol.msgLen = [64]byte{}, 0
	}
}

func (c *Chip) powerUp() {
	c.latch, c.noBoot = false, false
	c.sleep()
}

func (c *Chip) powerOff() {
	c.tear(c.now())
	c.lose()
	c.power = off
}

// lose forgets all that needs the chip awake or idle.
func (c *Chip) lose() {
	c.vol = volatile{auth: -1}
	c.failures = 0
	c.drop()
}

// drop empties the buffers of the bus.
func (c *Chip) drop() {
	clear(c.in)
	c.in = c.in[:0]
	clear(c.outBuf[:])
	c.out, c.outPos = nil, 0
	c.busyFrom, c.busyUntil = time.Time{}, time.Time{}
	c.changed = c.changed[:0]
}

func (c *Chip) sleep() {
	c.lose()
	c.power = asleep
	c.addr = c.ee.Address()
}

func (c *Chip) idle() {
	c.drop()
	c.power = idle
}

// wake is a wake pulse that is long enough. It does nothing to a chip that is
// awake: there is no new token then.
func (c *Chip) wake() {
	if c.power != asleep && c.power != idle {
		return
	}
	if c.opts.Faults.fires(DropWake, 0) {
		return
	}
	c.power = awake
	c.wokenAt = c.now()
	c.op, c.failures = 0, 0
	status := StatusWake
	delay := wakeDelay
	if c.ee.options().selfTest() {
		delay = wakeDelayTested
		c.failures = c.opts.Faults.selfTest(0x3F, 0)
	}
	if c.failures != 0 {
		status = StatusSelfTest
	}
	c.out, c.outPos = answer(c.outBuf[:0], byte(status)), 0
	if c.opts.Timing.Max > 0 {
		c.busyFrom = c.wokenAt
		c.busyUntil = c.wokenAt.Add(delay)
	}
}
