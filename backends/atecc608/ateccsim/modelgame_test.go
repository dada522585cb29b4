package ateccsim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// A player chooses commands, most of which would work somewhere.
type player struct {
	*rand.Rand
	*model
	sign func(digest []byte) []byte // by the key in the public slots
	pub  []byte
}

func (p player) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(p.Uint32())
	}
	return b
}

func (p player) pick(b ...byte) byte { return b[p.IntN(len(b))] }

func (p player) someSlot() uint16 { return uint16(p.IntN(16)) }

// next is a command. It uses what the model knows to make valid MACs.
func (p player) next() step {
	n := p.someSlot()
	kind := p.IntN(24)
	if p.gen && p.validated(p.id) && p.IntN(2) == 0 {
		kind = 15 // validate what was digested for that
	}
	switch kind {
	case 0:
		q := step{op: opLock, p1: p.pick(0x80, 0x81, 0, 1, byte(2|n<<2), byte(2|n<<2), byte(2|n<<2))}
		if p.IntN(4) != 0 {
			q.p1 = byte(2 | n<<2)
		}
		q.p2 = crc(p.cfg)
		if q.p1&3 == 1 {
			q.p2 = crc(append(p.slot[:], p.otp)...)
		}
		q.p2 ^= uint16(p.IntN(5) / 4)
		return q
	case 1:
		b := p.bytes(4)
		b[0] = b[0]&^2 | 4 // no transport lock, no address 0
		return step{op: opWrite, p1: 0, p2: uint16(p.pick(4, 17, 21, 22, 23)), data: b}
	case 2, 3:
		zone := p.pick(0, 1, 2, 2, 2, 2, 2)
		p1, p2 := p.pick(0, 0x80)|zone, uint16(p.IntN(8))
		if zone == 2 {
			p2 = uint16(p.IntN((len(p.slot[n])+31)/32))<<8 | n<<3
		}
		return step{op: opRead, p1: p1, p2: p2}
	case 4, 5:
		b := p.bytes(32)
		if p.public(int(n)) && p.IntN(2) == 0 {
			b = append(make([]byte, 4), p.pub[:28]...)
		}
		return step{op: opWrite, p1: 0x82, p2: n << 3, data: b}
	case 6:
		q := step{op: opWrite, p1: p.pick(0xC2, 0xC2, 0x82), p2: n << 3}
		if b := p.bytes(32); p.usable() {
			q.data = append(xor(b, p.temp), p.mix(p.temp[:32], []byte{0x12, q.p1, byte(q.p2), byte(q.p2 >> 8)}, b)...)
		} else {
			q.data = p.bytes(64)
		}
		q.data[p.IntN(64)] ^= byte(p.IntN(6) / 5)
		return q
	case 7:
		return step{op: opUpdateExtra, p1: byte(p.IntN(2)), p2: uint16(p.pick(0, 0x6A))}
	case 8:
		return step{op: opCounter, p1: byte(p.IntN(2)), p2: uint16(p.IntN(2))}
	case 9, 10:
		switch p1 := p.pick(0, 0, 0, 0, 1, 0x03, 0x23, 0x43, 0x63, 0x83); p1 {
		case 0, 1:
			return step{op: opNonce, p1: p1, p2: uint16(p.IntN(4)) / 3 << 15, data: p.bytes(20)}
		case 0x23, 0x63:
			return step{op: opNonce, p1: p1, data: p.bytes(64)}
		default:
			return step{op: opNonce, p1: p1, data: p.bytes(32)}
		}
	case 11, 12:
		switch p1 := p.pick(0, 1, 2, 2, 2, 2, 3, 4, 5); p1 {
		case 0:
			return step{op: opGenDig, p2: n & 3}
		case 1, 4:
			return step{op: opGenDig, p1: p1, p2: n & 1}
		case 3:
			return step{op: opGenDig, p1: p1, p2: n | uint16(p.IntN(2))<<15, data: p.bytes(32)}
		case 5:
			return step{op: opGenDig, p1: p1, p2: n}
		}
		return step{op: opGenDig, p1: 2, p2: n, data: p.bytes(4 * p.IntN(2))}
	case 13:
		q := step{op: opGenKey, p1: p.pick(0, 4, 8, 0x0C, 0x10), p2: n}
		if q.p1 == 0x10 {
			q.p2, q.data = n|8, p.bytes(3)
		} else if q.p1 == 4 && p.IntN(4) == 0 {
			q.p2 = 0xFFFF
		}
		return q
	case 14:
		return step{op: opSign, p1: p.pick(0x80, 0xA0, 0xA0, 0, 0x40, 0x41), p2: n}
	case 15, 16:
		return p.verification(n)
	case 17:
		q := step{op: opECDH, p1: p.pick(0, 0x04, 0x05, 0x08, 0x09, 0x0C, 0x0D, 0x0E, 0x0F), p2: n, data: p.pub}
		if p.IntN(8) == 0 {
			q.data = p.bytes(64)
		}
		return q
	case 18:
		q := step{op: opPrivWrite, p1: p.pick(0, 0x40, 0x40), p2: n}
		value := append(make([]byte, 4), p.bytes(32)...)
		value[4] &= 0x7F
		if p.IntN(5) == 0 {
			clear(value)
		}
		q.data = append(value, p.bytes(32)...)
		if q.p1 == 0x40 && p.usable() {
			mac := sumOf(p.temp[:32], []byte{0x46, 0x40, byte(n), 0}, p.sn8(), p.cfg[:2], make([]byte, 21), value)
			q.data = append(xor(value, append(p.temp[:32:32], sumOf(p.temp[:32])[:4]...)), mac...)
		}
		return q
	case 19:
		q := step{op: opDeriveKey, p1: 4 * bit(p.fixed, 0), p2: n}
		if p.sc(int(n))&0x8000 != 0 || p.IntN(4) == 0 {
			q.data = sumOf(p.slot[p.sc(int(n))>>8&15][:32], []byte{0x1C, q.p1, byte(n), 0}, p.sn8(), p.cfg[:2])
			q.data[0] ^= byte(p.IntN(4) / 3)
		}
		return q
	case 20:
		q := step{op: opMAC, p1: p.pick(0, 1, 2, 3) | p.pick(0, 0x10, 0x20, 0x40, 0x70) | 4*bit(p.fixed, 0), p2: n}
		if q.p1&1 == 0 {
			q.data = p.bytes(32)
		}
		return q
	case 21:
		return p.checkMac(n)
	case 22:
		switch p.IntN(6) {
		case 0:
			return step{op: opSHA, p1: p.pick(0, 4), p2: 0xFFFF}.started()
		case 1:
			return step{op: opSHA, p1: 4, p2: n}
		case 2:
			return step{op: opSHA, p1: 1, p2: 64, data: p.bytes(64)}
		case 3:
			return step{op: opSHA, p1: p.pick(2, 0x42, 0xC2), p2: 5, data: p.bytes(5)}
		case 4:
			return step{op: opInfo, p1: 4, p2: uint16(p.pick(0, 2, 3))}
		}
		q := step{op: opAES, p1: p.pick(0, 1) | p.pick(0, 0x40, 0x80, 0xC0), p2: n, data: p.bytes(16)}
		if p.IntN(3) == 0 {
			q.p2 = 0xFFFF
		}
		return q
	}
	if p.IntN(2) == 0 {
		q := step{op: opSecureBoot, p1: p.pick(5, 6, 7, 7)}
		q.data = p.pick2(p.bytes(32), p.slot[binary.LittleEndian.Uint16(p.cfg[70:])>>8&15][:32])
		if q.p1 != 6 {
			q.data = append(q.data, p.sign(q.data)...)
			q.data[40] ^= byte(p.IntN(5) / 4)
			if p.IntN(40) == 0 {
				q.p1 |= 0x40
			}
		}
		return q
	}
	target := p.pick(0, 1, 2, 2, 3, 4, 5)
	q := step{op: opKDF, p1: p.pick(0, 0x20, 0x40) | target<<2 | p.pick(0, 1, 2, 3), p2: n | p.someSlot()<<8}
	details := []byte{1, byte(p.IntN(2)), 0, 16}
	switch q.p1 & 0x60 {
	case 0x20:
		details = make([]byte, 4)
	case 0x40:
		details = []byte{2, 0, 0, 16}
	}
	q.data = append(details, p.bytes(16)...)
	return q
}

// started makes a plain start of HMAC's by TempKey, half of the time.
func (q step) started() step {
	if q.p1 == 0 {
		q.p2 = 0
	}
	return q
}

func (p player) pick2(a, b []byte) []byte { return bytes.Clone([][]byte{a, b}[p.IntN(2)]) }

func (p player) verification(n uint16) step {
	q := step{op: opVerify, p1: p.pick(0, 2, 3, 3, 7) | p.pick(0, 0x20), p2: n}
	digest := p.message(q.p1)
	if digest == nil {
		digest = make([]byte, 32)
	}
	switch q.p1 & 7 {
	case 2:
		q.p2 = 4
		q.data = append(p.sign(digest[:32]), p.pick2(p.pub, p.pub)...)
		if p.IntN(8) == 0 {
			q.data[100] ^= 1
		}
		return q
	case 0:
		q.data = p.sign(digest[:32])
	default:
		q.p1 &= 7
		other := p.bytes(19)
		other[17] = q.p1 >> 2 & 1
		other[17] ^= byte(p.IntN(6) / 5)
		if p.usable() {
			digest = sumOf(p.temp[:32], []byte{0x41}, other[:10], p.sn8(), other[10:14], p.cfg[:2], other[14:])
			if p.gen && p.IntN(4) != 0 {
				q.p2 = uint16(p.id)
			}
		}
		q.data = append(p.sign(digest[:32]), other...)
	}
	q.data[p.IntN(64)] ^= byte(p.IntN(6) / 5)
	return q
}

func (p player) checkMac(n uint16) step {
	q := step{op: opCheckMac, p1: p.pick(0, 1, 2) | p.pick(0, 0x20) | 4*bit(p.fixed, 0), p2: n}
	challenge, other, otp := p.bytes(32), p.bytes(13), make([]byte, 8)
	a, b := p.slot[n][:32], challenge
	if p.usable() {
		if q.p1&1 != 0 {
			b = p.temp[:32]
		}
		if q.p1&2 != 0 {
			a = p.temp[:32]
		}
	}
	if q.p1&0x20 != 0 {
		copy(otp, p.otp)
	}
	answer := sumOf(a, b, other[:4], otp, other[4:7], p.sn8(), other[7:11], p.cfg[:2], other[11:])
	answer[3] ^= byte(p.IntN(5) / 4)
	q.data = slices.Concat(challenge, answer, other)
	return q
}

// someConfig is one of the built-in configurations with slots of its own.
func someConfig(r *rand.Rand) *State {
	s := newState(DefaultSerial, []string{configBlank, configGeneric, configTrustFLEX, configTrustGO, configEverything}[r.IntN(5)])
	for n := range 16 {
		if r.IntN(3) == 0 {
			continue
		}
		kind := []uint16{4, 4, 6, 7, 7}[r.IntN(5)]
		kc := uint16(r.IntN(4)) | kind<<2 | 0x20
		if kind != 4 && r.IntN(8) != 0 {
			kc &^= 1 // otherwise a private key of no known kind
		}
		for _, b := range []uint16{0x40, 0x80, 0x1000} {
			if r.IntN(8) == 0 {
				kc |= b
			}
		}
		binary.LittleEndian.PutUint16(s.Config[cfgKeyConfig+2*n:], kc|uint16(r.IntN(16))<<8)
		sc := uint16(r.Uint32())
		if r.IntN(2) == 0 {
			sc |= 0x80
		}
		binary.LittleEndian.PutUint16(s.Config[cfgSlotConfig+2*n:], sc)
	}
	for n := 8; n < 16; n++ { // public keys that others validate
		if k := s.keyConfig(n); k.publicKey() && k.pubInfo() {
			by := 8 + r.IntN(8)
			if o := s.keyConfig(by); o.publicKey() && !o.pubInfo() {
				s.Config[cfgSlotConfig+2*n] = s.Config[cfgSlotConfig+2*n]&0xF0 | byte(by)
			}
		}
	}
	if r.IntN(2) == 0 {
		binary.LittleEndian.PutUint16(s.Config[cfgChipOptions:], uint16(r.Uint32())&^1)
	}
	s.Config[cfgSecureBoot], s.Config[cfgSecureBoot+1] = byte(r.IntN(32)), byte(r.Uint32())
	s.Config[cfgVolatileKey] = 0x80 | byte(r.IntN(16))
	s.Config[cfgUseLock] = 0
	switch r.IntN(4) {
	case 0:
		s.Config[cfgLockConfig] = 0
	case 1, 2:
		s.Config[cfgLockConfig], s.Config[cfgLockData] = 0, 0
	}
	return s
}

// fillSlots gives each slot content of its kind.
func fillSlots(s *State, r *rand.Rand, pub []byte) {
	for n := range 16 {
		b := s.Slot(n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		switch kc := s.keyConfig(n); {
		case kc.private():
			clear(b[:4])
			b[4] &= 0x7F
		case kc.publicKey() && n >= 8:
			copy(b, slices.Concat([]byte{byte(r.IntN(2) * 0x50), 0, 0, 0}, pub[:32], make([]byte, 4), pub[32:]))
		}
	}
}

// TestModel plays random commands on chips with random policies, and compares
// each answer, the registers and all stored bytes with the model.
func TestModel(t *testing.T) {
	games, moves := 200, 150
	if testing.Short() {
		games = 80
	}
	outcomes := make(map[string]int)
	for seed := range uint64(games) {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { playModel(t, seed, moves, outcomes) }) {
			return
		}
	}
	// The game is about policies only if commands succeed and fail.
	for op, cmd := range commands {
		if cmd == nil || slices.Contains([]int{opRandom, opSelfTest}, op) {
			continue
		}
		for _, status := range []int{mOK, mExec} {
			if at := fmt.Sprintf("%s %02x", cmd.name, status); outcomes[at] == 0 {
				t.Errorf("%s never happened", at)
			}
		}
	}
}

func playModel(t *testing.T, seed uint64, moves int, outcomes map[string]int) {
	r := rand.New(rand.NewPCG(seed, 608))
	signer := newChip(t, must(t)(Everything(DefaultSerial, nil)), nil)
	wakeUp(t, signer)
	pub := wantStatus(t, signer, StatusOK, opGenKey, 0, 2)
	s := someConfig(r)
	fillSlots(s, r, pub)
	c := newChip(t, s, &Options{Random: rand.NewChaCha8([32]byte{byte(seed)})})
	m := newModel(s)
	p := player{r, m, func(d []byte) []byte { return signWith(t, signer, d) }, pub}
	wakeUp(t, c)
	for range moves {
		switch r.IntN(40) {
		case 0:
			send(t, c, "02")
			wakeUp(t, c)
		case 1:
			send(t, c, "01")
			wakeUp(t, c)
			m.forget()
		case 2:
			c.PowerOff()
			c.PowerOn()
			wakeUp(t, c)
			m.forget()
			m.latch, m.noBoot = false, false
		}
		q := p.next()
		want := m.do(q)
		data, status := call(t, c, q.op, q.p1, q.p2, q.data)
		if int(status) != want.status {
			t.Fatalf("%s p1=%02x p2=%04x +%d: %02x %v, the model says %02x", commands[q.op].name, q.p1, q.p2, len(q.data), byte(status), status, want.status)
		}
		if status == StatusOK && want.see != nil {
			want.see(t, c, data)
		} else if !bytes.Equal(data, want.data) {
			t.Fatalf("%s p1=%02x p2=%04x: %x, the model says %x", commands[q.op].name, q.p1, q.p2, data, want.data)
		}
		outcomes[fmt.Sprintf("%s %02x", commands[q.op].name, byte(status))]++
		if got := wantStatus(t, c, StatusOK, opInfo, 2, 0); !bytes.Equal(got, m.state()) {
			t.Fatalf("after %s p1=%02x p2=%04x (%v) the state is %x, the model says %x", commands[q.op].name, q.p1, q.p2, status, got, m.state())
		}
		stored := slices.Concat(m.cfg, m.otp, slices.Concat(m.slot[:]...))
		if b, _ := c.State().MarshalBinary(); !bytes.Equal(b, stored) {
			t.Fatalf("after %s p1=%02x p2=%04x (%v) other bytes are stored than the model says", commands[q.op].name, q.p1, q.p2, status)
		}
	}
}
