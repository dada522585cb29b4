package ateccsim

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"
	"testing"
)

// A model says what each command does to the locks, the policies and the stored
// bytes, from the description of the commands and not from the simulator's code.
// It computes what it needs in order to build valid encrypted writes and MACs.
type model struct {
	cfg  []byte
	otp  []byte
	slot [16][]byte

	temp      []byte // nil, 32 or 64 bytes
	fixed     bool
	dig, gen  bool
	nomac     bool
	id        int
	ephemeral bool // it is a private key
	msg       []byte
	alt       []byte
	auth      int
	latch     bool
	noBoot    bool
	hash      []byte // what was hashed, nil without a start
	hmacKey   []byte
}

const (
	mOK       = 0x00
	mMismatch = 0x01
	mParse    = 0x03
	mECC      = 0x05
	mExec     = 0x0F
)

func newModel(s *State) *model {
	m := &model{cfg: bytes.Clone(s.Config[:]), otp: bytes.Clone(s.OTP[:]), auth: -1}
	off := 0
	for n := range m.slot {
		size := 36
		if n == 8 {
			size = 416
		} else if n > 8 {
			size = 72
		}
		m.slot[n] = bytes.Clone(s.Data[off : off+size])
		off += size
	}
	return m
}

func (m *model) forget() {
	m.temp, m.msg, m.alt, m.hash, m.hmacKey, m.auth = nil, nil, nil, nil, nil, -1
	m.flags(false, false, false, 0)
	m.fixed, m.ephemeral = false, false
}

func (m *model) flags(dig, gen, nomac bool, id int) {
	m.dig, m.gen, m.nomac, m.id = dig, gen, nomac, id
}

func (m *model) load(b []byte, fixed bool) {
	m.temp, m.fixed, m.ephemeral = bytes.Clone(b), fixed, false
	m.flags(false, false, false, 0)
}

func (m *model) spend() { m.load(nil, false) }

func (m *model) sc(n int) uint16      { return binary.LittleEndian.Uint16(m.cfg[20+2*n:]) }
func (m *model) kc(n int) uint16      { return binary.LittleEndian.Uint16(m.cfg[96+2*n:]) }
func (m *model) kind(n int) int       { return int(m.kc(n) >> 2 & 7) }
func (m *model) private(n int) bool   { return m.kc(n)&1 != 0 }
func (m *model) ecc(n int) bool       { return m.private(n) && m.kind(n) == 4 }
func (m *model) public(n int) bool    { return !m.private(n) && m.kind(n) == 4 }
func (m *model) validated(n int) bool { return m.public(n) && m.kc(n)&2 != 0 }
func (m *model) secret(n int) bool    { return !m.private(n) && m.kind(n) == 7 }
func (m *model) frozen(n int) bool    { return m.cfg[88+n/8]>>(n%8)&1 == 0 }
func (m *model) configLocked() bool   { return m.cfg[87] != 0x55 }
func (m *model) dataLocked() bool     { return m.cfg[86] != 0x55 }
func (m *model) options() uint16      { return binary.LittleEndian.Uint16(m.cfg[90:]) }
func (m *model) usable() bool         { return m.temp != nil && !m.ephemeral }
func (m *model) sn8() []byte          { return m.cfg[12:13] }
func (m *model) mix(a, h, b []byte) []byte {
	return sumOf(a, h, m.sn8(), m.cfg[:2], make([]byte, 25), b)
}

// digOf: TempKey has the key of slot n in it.
func (m *model) digOf(n int) bool { return m.usable() && m.dig && !m.nomac && m.id == n }

// may is what KeyConfig asks for before a key is used.
func (m *model) may(n int, tempTakesPart bool) bool {
	k := m.kc(n)
	switch {
	case k&0x1000 != 0 && !m.latch:
		return false
	case k&0x80 != 0 && m.auth != int(k>>8&15):
		return false
	case k&0x40 != 0 && tempTakesPart && m.fixed:
		return false
	}
	return true
}

func (m *model) counter(n int) uint32 {
	b := m.cfg[52+8*n:]
	for v := range uint32(1 << 21) { // small in these tests
		if e := encodeCounter(v); bytes.Equal(e[:], b[:8]) {
			return v
		}
	}
	return 0
}

func (m *model) count(n int) {
	e := encodeCounter(m.counter(n) + 1)
	copy(m.cfg[52+8*n:], e[:])
}

// limit counts a use, or forbids it.
func (m *model) limit(n int) bool {
	if m.sc(n)&0x20 == 0 || !m.dataLocked() {
		return true
	}
	if c := m.cfg[18]; c&1 != 0 && m.counter(0) >= binary.LittleEndian.Uint32(m.slot[c>>4]) {
		return false
	}
	m.count(0)
	return true
}

func (m *model) key(n int) *ecdh.PrivateKey {
	k, err := ecdh.P256().NewPrivateKey(m.slot[n][4:36])
	if err != nil {
		return nil
	}
	return k
}

func point(b []byte) *ecdh.PublicKey {
	k, err := ecdh.P256().NewPublicKey(append([]byte{4}, b...))
	if err != nil {
		return nil
	}
	return k
}

// stored is the public key of a slot that may be used, X ‖ Y.
func (m *model) stored(n int) []byte {
	if !m.configLocked() || !m.public(n) || n < 8 || m.validated(n) && m.slot[n][0]>>4 != 5 || !m.may(n, false) {
		return nil
	}
	b := append(m.slot[n][4:36:36], m.slot[n][40:72]...)
	if point(b) == nil {
		return nil
	}
	return b
}

func (m *model) put(n, off int, b []byte) {
	copy(m.slot[n][off:], b)
	if m.validated(n) {
		m.slot[n][0] = m.slot[n][0]&15 | 0xA0
	}
}

// An outcome is the status, and the data where the model knows it; see takes it
// from the chip otherwise.
type outcome struct {
	status int
	data   []byte
	see    func(t *testing.T, c *Chip, data []byte)
}

func refuse(status int) outcome { return outcome{status: status} }

func answerWith(b []byte) outcome { return outcome{data: b} }

// A command that the model has an opinion on.
type step struct {
	op, p1 byte
	p2     uint16
	data   []byte
}

// do is the outcome of a well-formed command.
func (m *model) do(q step) outcome {
	n := int(q.p2 & 15)
	switch q.op {
	case opLock:
		return m.lock(q)
	case opRead, opWrite:
		return m.memory(q)
	case opUpdateExtra:
		if m.cfg[84+q.p1] != 0 {
			return refuse(mExec)
		}
		m.cfg[84+q.p1] = byte(q.p2)
	case opCounter:
		if q.p1 == 1 {
			if !m.configLocked() {
				return refuse(mExec)
			}
			m.count(int(q.p2))
		}
		return answerWith(binary.LittleEndian.AppendUint32(nil, m.counter(int(q.p2))))
	case opNonce:
		return m.nonce(q)
	case opGenDig:
		return m.genDig(q)
	case opGenKey:
		return m.genKey(q, n)
	case opSign:
		return m.sign(q, n)
	case opVerify:
		return m.verify(q, n)
	case opECDH:
		return m.ecdh(q, n)
	case opPrivWrite:
		return m.privWrite(q, n)
	case opDeriveKey:
		return m.deriveKey(q, n)
	case opMAC, opCheckMac:
		return m.mac(q, n)
	case opAES:
		return m.aes(q, n)
	case opSHA:
		return m.sha(q, n)
	case opKDF:
		return m.kdf(q)
	case opSecureBoot:
		return m.boot(q)
	case opInfo:
		v := m.cfg[69]
		if v&0x80 == 0 || q.p2 == 3 && m.auth != int(v&15) {
			return refuse(mExec)
		}
		if q.p2 >= 2 {
			m.latch = q.p2 == 3
		}
		return answerWith([]byte{bit(m.latch, 0), 0, 0, 0})
	}
	return outcome{}
}

func (m *model) lock(q step) outcome {
	wrong := func(sum uint16) bool { return q.p1&0x80 == 0 && q.p2 != sum }
	switch q.p1 & 3 {
	case 0:
		if m.configLocked() || wrong(crc(m.cfg)) {
			return refuse(mExec)
		}
		m.cfg[87] = 0
	case 1:
		if !m.configLocked() || m.dataLocked() || wrong(crc(append(m.slot[:], m.otp)...)) {
			return refuse(mExec)
		}
		m.cfg[86] = 0
	case 2:
		n := int(q.p1 >> 2 & 15)
		if !m.configLocked() || m.kc(n)&0x20 == 0 || m.frozen(n) {
			return refuse(mExec)
		}
		m.cfg[88+n/8] &^= 1 << (n % 8)
	}
	return outcome{}
}

// memory is Read and Write; addresses exist.
func (m *model) memory(q step) outcome {
	size, word := 4, int(q.p2&7)
	if q.p1&0x80 != 0 {
		size, word = 32, 0
	}
	reading := q.op == opRead
	switch zone := q.p1 & 3; {
	case zone == 0:
		at := 32*int(q.p2>>3) + 4*word
		if reading {
			return answerWith(bytes.Clone(m.cfg[at : at+size]))
		}
		for i := at; i < at+size; i++ {
			if i < 16 || i >= 84 && i < 88 {
				return refuse(mExec)
			}
		}
		if m.configLocked() {
			return refuse(mExec)
		}
		copy(m.cfg[at:], q.data)
		return outcome{}
	case zone == 1:
		at := 32*int(q.p2>>3) + 4*word
		if reading {
			if !m.dataLocked() {
				return refuse(mExec)
			}
			return answerWith(bytes.Clone(m.otp[at : at+size]))
		}
		if !m.configLocked() || m.dataLocked() || size == 4 {
			return refuse(mExec)
		}
		copy(m.otp[at:], q.data)
		return outcome{}
	}
	n, at := int(q.p2>>3&15), 32*int(q.p2>>8)+4*word
	if reading {
		return m.readSlot(n, at, size)
	}
	return m.writeSlot(q, n, at, size)
}

func (m *model) readSlot(n, at, size int) outcome {
	if !m.dataLocked() || m.private(n) {
		return refuse(mExec)
	}
	b := make([]byte, size)
	copy(b, m.slot[n][at:])
	switch sc := m.sc(n); {
	case sc&0x80 == 0:
		return answerWith(b)
	case sc&0x40 == 0, size != 32, !m.digOf(int(sc & 15)), m.fixed:
		return refuse(mExec)
	}
	b = xor(b, m.temp)
	m.spend()
	return answerWith(b)
}

func (m *model) writeSlot(q step, n, at, size int) outcome {
	sealed := len(q.data) == 64
	if !m.configLocked() || m.private(n) || m.frozen(n) {
		return refuse(mExec)
	}
	if !m.dataLocked() {
		if size != 32 || sealed && q.p1&0x40 == 0 {
			return refuse(mExec)
		}
	} else {
		allowed := false
		switch w := m.sc(n) >> 12; {
		case w&4 != 0:
			allowed = sealed
		case w == 0:
			allowed = !sealed
		case w == 1:
			allowed = !sealed && m.public(n) && m.slot[n][0]>>4 != 5
		}
		if !allowed {
			return refuse(mExec)
		}
	}
	data := q.data[:size]
	if sealed {
		by := int(m.sc(n) >> 8 & 15)
		if !m.may(by, true) || !m.digOf(by) || m.fixed {
			return refuse(mExec)
		}
		data = xor(data, m.temp)
		want := m.mix(m.temp[:32], []byte{0x12, q.p1, byte(q.p2), byte(q.p2 >> 8)}, data)
		m.spend()
		if !bytes.Equal(want, q.data[32:]) {
			return refuse(mExec)
		}
	}
	m.put(n, at, data)
	return outcome{}
}

func (m *model) nonce(q step) outcome {
	if q.p1&3 == 3 {
		switch q.p1 >> 6 {
		case 0:
			m.load(q.data, true)
		case 1:
			m.msg = bytes.Clone(q.data)
		case 2:
			m.alt = bytes.Clone(q.data)
		}
		return outcome{}
	}
	if q.p2 != 0 {
		if !m.usable() {
			return refuse(mExec)
		}
		m.load(sumOf(m.temp[:32], q.data, []byte{0x16, q.p1, 0}), false)
		return answerWith(m.temp)
	}
	return outcome{see: func(t *testing.T, _ *Chip, out []byte) {
		if pattern := bytes.Repeat([]byte{0xFF, 0xFF, 0, 0}, 8); bytes.Equal(out, pattern) == m.configLocked() {
			t.Errorf("random number %x, configuration locked: %t", out, m.configLocked())
		}
		m.load(sumOf(out, q.data, []byte{0x16, q.p1, 0}), false)
	}}
}

func (m *model) genDig(q step) outcome {
	n := int(q.p2 & 0x7FFF)
	nomac := q.p1 == 2 && m.sc(n)&0x10 != 0
	if nomac && len(q.data) == 0 {
		return refuse(mParse)
	}
	if !m.configLocked() || !m.usable() {
		return refuse(mExec)
	}
	head := []byte{0x15, q.p1, byte(q.p2), byte(q.p2 >> 8)}
	first, last, pad := make([]byte, 32), m.temp[:32], make([]byte, 25)
	dig, id := false, 0
	switch q.p1 {
	case 0:
		first = m.cfg[32*n : 32*n+32]
	case 1:
		first = m.otp[32*n : 32*n+32]
	case 2:
		if m.private(n) || !m.may(n, true) || !m.limit(n) {
			return refuse(mExec)
		}
		first, dig, id = m.slot[n][:32], true, n
		if nomac {
			head = q.data
		}
	case 3:
		first, head, dig, id = q.data, []byte{0x15, 3, byte(q.p2), 0}, true, n&15
		if q.p2 >= 0x8000 {
			first, last = last, first
		}
	case 4:
		binary.LittleEndian.PutUint32(pad[1:], m.counter(n))
	case 5:
		copy(pad[1:], m.cfg[20+2*n:22+2*n])
		copy(pad[3:], m.cfg[96+2*n:98+2*n])
		pad[5] = bit(!m.frozen(n), 0)
	}
	stays := m.nomac
	m.load(sumOf(first, head, m.sn8(), m.cfg[:2], pad, last), m.fixed)
	m.flags(dig, false, nomac || stays, id)
	return outcome{}
}
