package ateccsim

import (
	"bytes"
	"crypto/aes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

const (
	kdfPRF  = 0
	kdfAES  = 1
	kdfHKDF = 2

	kdfTemp      = 0
	kdfTempUpper = 1
	kdfSlot      = 2
	kdfAlt       = 3
	kdfOutput    = 4
	kdfEncrypted = 5
)

// Where the message of HKDF is, in its details.
const (
	messageInSlot = 0
	messageInTemp = 1
	messageGiven  = 2
	messageWithIV = 3
)

// The bits of the details.
const (
	kdfLong    = 0x100 // PRF: 64 bytes, not 32
	kdfSplit   = 0x200 // PRF: AEAD mode 1
	kdfAEAD    = 0x600
	kdfZeroKey = 0x4 // HKDF
)

// kdfCall is a KDF command taken apart.
type kdfCall struct {
	alg, source, target int
	from, to            int // slots
	details             uint32
	size                int // of the message
	msg                 []byte
}

func (c *Chip) cmdKDF(q *request) ([]byte, Status) {
	k, ok := c.parseKDF(q)
	if !ok {
		return nil, StatusParse
	}
	o := c.ee.options()
	if !c.ee.ConfigLocked() || !c.ee.DataLocked() || k.alg == kdfAES && !o.kdfAES() {
		return nil, StatusExec
	}
	output := k.target == kdfOutput || k.target == kdfEncrypted || k.split()
	if s := c.mayOutput(o.kdfProt(), output, k.target == kdfEncrypted); s != StatusOK {
		return nil, s
	}
	if !c.kdfFits(k) {
		return nil, StatusExec
	}
	if k.target == kdfEncrypted {
		if _, s := c.ioKey(); s != StatusOK {
			return nil, s
		}
	}
	if k.alg == kdfHKDF {
		if s := c.kdfMessage(&k); s != StatusOK {
			return nil, s
		}
	}
	key, s := c.kdfKey(k)
	if s != StatusOK {
		return nil, s
	}
	if k.alg == kdfHKDF && c.opts.Open.HKDFExpand {
		k.msg = append(bytes.Clone(k.msg), 1)
	}
	return c.kdfStore(k, k.derive(key))
}

func (c *Chip) parseKDF(q *request) (k kdfCall, ok bool) {
	k.alg, k.target, k.source = int(q.p1>>5&3), int(q.p1>>2&7), int(q.p1&3)
	k.from, k.to = int(q.p2&0xFF), int(q.p2>>8)
	if q.p1&0x80 != 0 || k.alg > kdfHKDF || k.target > kdfEncrypted || len(q.data) < 4 {
		return k, false
	}
	if k.source == kdfSlot && k.from > 15 || k.target == kdfSlot && k.to > 15 {
		return k, false
	}
	k.details, k.msg = binary.LittleEndian.Uint32(q.data), q.data[4:]
	k.size = int(k.details >> 24)
	given := k.size == len(k.msg) && k.size <= 128
	switch k.alg {
	case kdfAES:
		return k, len(k.msg) == aes.BlockSize
	case kdfPRF:
		switch k.details & kdfAEAD {
		case 0:
			return k, given
		case kdfSplit:
			long := k.details&kdfLong != 0 && k.target < kdfOutput
			return k, given && long && c.opts.Open.AEAD
		}
		return k, false
	}
	switch k.details & 3 {
	case messageInSlot, messageInTemp:
		// A library that has one way to build the command sends as many bytes, which
		// mean nothing.
		return k, k.size <= 128 && (given || len(k.msg) == 0)
	}
	return k, given
}

// split reports AEAD mode 1: the second half of the result is output.
func (k *kdfCall) split() bool { return k.alg == kdfPRF && k.details&kdfAEAD == kdfSplit }

// kdfMessage finds the message of HKDF. In a slot it is not for reading: the
// result tells nothing of it.
func (c *Chip) kdfMessage(k *kdfCall) Status {
	var from []byte
	switch k.details & 3 {
	case messageGiven:
		return StatusOK
	case messageWithIV:
		if !c.kdfIV(k.msg) {
			return StatusExec
		}
		return StatusOK
	case messageInTemp:
		t := &c.vol.temp
		if !t.usable() {
			return StatusExec
		}
		from = t.low()
		if t.long {
			from = t.value[:]
		}
	case messageInSlot:
		n := int(k.details >> 8 & 0xF)
		if c.ee.keyConfig(n).private() {
			return StatusExec
		}
		if s := c.authorize(n, alone); s != StatusOK {
			return s
		}
		from = c.ee.Slot(n)
	}
	if k.size > len(from) {
		return StatusExec
	}
	k.msg = bytes.Clone(from[:k.size])
	return StatusOK
}

// kdfIV checks that the message has the configured string at its place.
func (c *Chip) kdfIV(msg []byte) bool {
	at := int(c.ee.Config[cfgKdfIvLoc])
	return len(msg) >= at+2 && bytes.Equal(msg[at:at+2], c.ee.Config[cfgKdfIvStr:cfgKdfIvStr+2])
}

func (k *kdfCall) keySize() int {
	switch k.alg {
	case kdfPRF:
		return 16 * (1 + int(k.details&3))
	case kdfAES:
		return 16 * (1 + int(k.details&3)) // up to the block that is used
	}
	return 32
}

// kdfKey is the key material, copied.
func (c *Chip) kdfKey(k kdfCall) ([]byte, Status) {
	if k.alg == kdfHKDF && k.details&kdfZeroKey != 0 {
		return make([]byte, 32), StatusOK
	}
	need := k.keySize()
	var b []byte
	switch t := &c.vol.temp; k.source {
	case kdfTemp, kdfTempUpper:
		if !t.usable() {
			return nil, StatusExec
		}
		b = t.low()
		if t.long {
			b = t.value[:]
		}
		if k.source == kdfTempUpper {
			b = b[32:]
		}
	case kdfAlt:
		if !c.vol.altSet {
			return nil, StatusExec
		}
		b = c.vol.alt[:]
	case kdfSlot:
		if c.ee.keyConfig(k.from).private() {
			return nil, StatusExec
		}
		b = c.ee.Slot(k.from)
		if need > len(b) {
			return nil, StatusExec
		}
		if s := c.authorize(k.from, alone); s != StatusOK {
			return nil, s
		}
		if s := c.consume(k.from); s != StatusOK {
			return nil, s
		}
	}
	if need > len(b) {
		return nil, StatusExec
	}
	return bytes.Clone(b[:need]), StatusOK
}

// derive computes 32 or 64 bytes.
func (k *kdfCall) derive(key []byte) []byte {
	mac := func(parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	switch k.alg {
	case kdfPRF:
		a := mac(k.msg)
		out := mac(a, k.msg)
		if k.details&kdfLong != 0 {
			a = mac(a)
			out = append(out, mac(a, k.msg)...)
		}
		return out
	case kdfAES:
		out := make([]byte, 32)
		b, err := aes.NewCipher(key[len(key)-16:])
		if err == nil {
			b.Encrypt(out[:16], k.msg)
		}
		return out
	}
	return mac(k.msg)
}

func (k *kdfCall) outSize() int {
	if k.alg == kdfPRF && k.details&kdfLong != 0 {
		return 64
	}
	return 32
}

// kdfFits checks the target before anything is computed.
func (c *Chip) kdfFits(k kdfCall) bool {
	n := k.outSize()
	if k.split() {
		n = 32
	}
	switch k.target {
	case kdfTempUpper, kdfAlt:
		return n == 32
	case kdfSlot:
		return n <= len(c.ee.Slot(k.to)) && !c.ee.keyConfig(k.to).private() && !c.ee.slotLocked(k.to)
	}
	return true
}

func (c *Chip) kdfStore(k kdfCall, out []byte) ([]byte, Status) {
	t := &c.vol.temp
	var rest []byte
	if k.split() {
		out, rest = out[:32], out[32:]
	}
	switch k.target {
	case kdfTemp:
		t.set(out, !t.valid || t.fixed)
	case kdfTempUpper:
		if !t.usable() {
			t.set(make([]byte, 64), true)
		}
		copy(t.value[32:], out)
		t.long = true
	case kdfAlt:
		c.load(targetAltKey, out)
	case kdfSlot:
		c.putSlot(k.to, 0, out)
	case kdfOutput:
		return out, StatusOK
	case kdfEncrypted:
		return c.protect(out)
	}
	return rest, StatusOK
}
