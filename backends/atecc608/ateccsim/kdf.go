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

// kdfCall is a KDF command taken apart.
type kdfCall struct {
	alg, source, target int
	from, to            int // slots
	details             uint32
	msg                 []byte
}

func (c *Chip) cmdKDF(q *request) ([]byte, Status) {
	k, ok := parseKDF(q)
	if !ok {
		return nil, StatusParse
	}
	o := c.ee.options()
	if !c.ee.ConfigLocked() || !c.ee.DataLocked() || k.alg == kdfAES && !o.kdfAES() {
		return nil, StatusExec
	}
	output := k.target == kdfOutput || k.target == kdfEncrypted
	if s := c.mayOutput(o.kdfProt(), output, k.target == kdfEncrypted); s != StatusOK {
		return nil, s
	}
	if k.target == kdfEncrypted && !o.ioProtect() || !c.kdfFits(k) {
		return nil, StatusExec
	}
	if k.alg == kdfHKDF && k.details&3 == 3 && !c.kdfIV(k.msg) {
		return nil, StatusExec
	}
	key, s := c.kdfKey(k)
	if s != StatusOK {
		return nil, s
	}
	return c.kdfStore(k, k.derive(key))
}

func parseKDF(q *request) (k kdfCall, ok bool) {
	k.alg, k.target, k.source = int(q.p1>>5&3), int(q.p1>>2&7), int(q.p1&3)
	k.from, k.to = int(q.p2&0xFF), int(q.p2>>8)
	if q.p1&0x80 != 0 || k.alg > kdfHKDF || k.target > kdfEncrypted || len(q.data) < 4 {
		return k, false
	}
	if k.source == kdfSlot && k.from > 15 || k.target == kdfSlot && k.to > 15 {
		return k, false
	}
	k.details, k.msg = binary.LittleEndian.Uint32(q.data), q.data[4:]
	size := int(k.details >> 24)
	switch k.alg {
	case kdfAES:
		return k, len(k.msg) == aes.BlockSize
	case kdfPRF: // AEAD modes are not simulated
		return k, size == len(k.msg) && size <= 128 && k.details&0x600 == 0
	}
	// Messages of HKDF in a slot or in TempKey are not simulated.
	return k, size == len(k.msg) && size <= 128 && k.details&3 >= 2
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
		if k.details&0x100 != 0 {
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
	if k.details&4 != 0 {
		key = zeros[:32]
	}
	return mac(k.msg)
}

func (k *kdfCall) outSize() int {
	if k.alg == kdfPRF && k.details&0x100 != 0 {
		return 64
	}
	return 32
}

// kdfFits checks the target before anything is computed.
func (c *Chip) kdfFits(k kdfCall) bool {
	switch n := k.outSize(); k.target {
	case kdfTempUpper, kdfAlt:
		return n == 32
	case kdfSlot:
		return n <= len(c.ee.Slot(k.to)) && !c.ee.keyConfig(k.to).private() && !c.ee.slotLocked(k.to)
	}
	return true
}

func (c *Chip) kdfStore(k kdfCall, out []byte) ([]byte, Status) {
	t := &c.vol.temp
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
	return nil, StatusOK
}
