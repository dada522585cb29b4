package ateccsim

import (
	"bytes"
	"crypto/aes"
	"crypto/ecdh"
	"encoding/binary"
	"testing"
)

func (m *model) genKey(q step, n int) outcome {
	if !m.configLocked() {
		return refuse(mExec)
	}
	if q.p2 == 0xFFFF {
		return outcome{see: func(t *testing.T, c *Chip, pub []byte) {
			m.load(c.vol.temp.low(), false)
			m.ephemeral = true
			if k, err := ecdh.P256().NewPrivateKey(m.temp); err != nil || !bytes.Equal(k.PublicKey().Bytes()[1:], pub) {
				t.Errorf("TempKey has another key than that of the answer")
			}
		}}
	}
	digestPublic := func(head, pub []byte) {
		m.load(m.mix(m.temp[:32], head, pub), m.fixed)
		m.flags(false, true, false, n)
	}
	if q.p1 == 0x10 {
		if !m.public(n) || n < 8 || !m.usable() {
			return refuse(mExec)
		}
		pub := append(m.slot[n][4:36:36], m.slot[n][40:72]...)
		if point(pub) == nil {
			return refuse(mECC)
		}
		digestPublic(append([]byte{0x40}, q.data...), pub)
		return outcome{}
	}
	if !m.ecc(n) || q.p1&8 != 0 && !m.usable() || !m.may(n, false) {
		return refuse(mExec)
	}
	head := []byte{0x40, q.p1, byte(q.p2), 0}
	if q.p1&4 == 0 {
		if m.kc(n)&2 == 0 {
			return refuse(mExec)
		}
		k := m.key(n)
		if k == nil {
			return refuse(mECC)
		}
		if q.p1&8 != 0 {
			digestPublic(head, k.PublicKey().Bytes()[1:])
		}
		return answerWith(k.PublicKey().Bytes()[1:])
	}
	if m.frozen(n) || m.dataLocked() && m.sc(n)&0x2000 == 0 {
		return refuse(mExec)
	}
	return outcome{see: func(t *testing.T, c *Chip, pub []byte) {
		copy(m.slot[n], c.ee.Slot(n)[:36])
		if k := m.key(n); k == nil || !bytes.Equal(k.PublicKey().Bytes()[1:], pub) || !bytes.Equal(m.slot[n][:4], make([]byte, 4)) {
			t.Errorf("slot %d has another key than that of the answer", n)
		}
		if q.p1&8 != 0 {
			digestPublic(head, pub)
		}
	}}
}

// message is what Sign and Verify take, or nil.
func (m *model) message(p1 byte) []byte {
	if p1&0x20 != 0 {
		return m.msg
	}
	if !m.usable() {
		return nil
	}
	return m.temp
}

func (m *model) sign(q step, n int) outcome {
	external := q.p1&0x80 != 0
	if !m.configLocked() || !m.dataLocked() || !m.ecc(n) || !m.may(n, !external) {
		return refuse(mExec)
	}
	var digest []byte
	if external {
		if digest = m.message(q.p1); m.sc(n)&1 == 0 || digest == nil {
			return refuse(mExec)
		}
		digest = digest[:32]
	} else {
		if m.sc(n)&2 == 0 || !m.usable() || !m.dig && !m.gen {
			return refuse(mExec)
		}
		f := byte(m.id) | bit(m.fixed, 4) | bit(m.dig, 5) | bit(m.gen, 6) | bit(m.nomac, 7)
		sn47, sn23 := make([]byte, 4), make([]byte, 2)
		if q.p1&0x40 != 0 {
			sn47, sn23 = m.cfg[8:12], m.cfg[2:4]
		}
		digest = sumOf(m.temp[:32], []byte{0x41, q.p1, byte(q.p2), 0}, m.cfg[20+2*m.id:22+2*m.id], m.cfg[96+2*m.id:98+2*m.id],
			[]byte{f, 0, 0}, m.sn8(), sn47, m.cfg[:2], sn23, []byte{bit(!m.frozen(m.id), 0), q.p1 & 1, 0})
	}
	k := m.key(n)
	if k == nil {
		return refuse(mECC)
	}
	if !m.limit(n) {
		return refuse(mExec)
	}
	m.spend()
	m.msg = nil
	return outcome{see: func(t *testing.T, _ *Chip, sig []byte) {
		if !checks(k.PublicKey().Bytes()[1:], digest, sig) {
			t.Errorf("signature %x does not verify", sig)
		}
	}}
}

func (m *model) verify(q step, n int) outcome {
	sig := q.data[:64]
	mode := q.p1 & 7
	var pub, digest []byte
	if mode == 3 || mode == 7 {
		other := q.data[64:]
		if !m.configLocked() || !m.validated(n) || n < 8 || m.frozen(n) || !m.usable() || !m.gen || m.id != n || other[17]&1 != mode>>2 {
			return refuse(mExec)
		}
		if pub = m.stored(int(m.sc(n) & 15)); pub == nil {
			return refuse(mExec)
		}
		digest = sumOf(m.temp[:32], []byte{0x41}, other[:10], m.sn8(), other[10:14], m.cfg[:2], other[14:])
	} else {
		if digest = m.message(q.p1); digest == nil {
			return refuse(mExec)
		}
		digest = digest[:32]
		if pub = q.data[64:]; mode == 0 {
			if pub = m.stored(n); pub == nil {
				return refuse(mExec)
			}
		}
		if point(pub) == nil {
			return refuse(mExec)
		}
	}
	m.spend()
	m.msg = nil
	if !checks(pub, digest, sig) {
		return refuse(mMismatch)
	}
	switch mode {
	case 3:
		m.slot[n][0] = m.slot[n][0]&15 | 0x50
	case 7:
		m.slot[n][0] = m.slot[n][0]&15 | 0xA0
	}
	return outcome{}
}

// shows is whether the protection of ECDH or KDF lets output be.
func shows(prot uint16, output, encrypted bool) bool {
	switch prot & 3 {
	case 1:
		return !output || encrypted
	case 2:
		return !output
	case 3:
		return false
	}
	return true
}

// ioKey is nil without the I/O protection key.
func (m *model) ioKey() []byte {
	n := int(m.options() >> 12)
	if m.options()&2 == 0 || m.private(n) {
		return nil
	}
	return m.slot[n][:32]
}

// output is data as it leaves the chip, for a host that decrypts it.
func (m *model) output(out []byte, encrypted bool) outcome {
	if !encrypted {
		return answerWith(out)
	}
	key := m.ioKey()
	return outcome{see: func(t *testing.T, _ *Chip, b []byte) {
		nonce := b[len(b)-32:]
		for i := 0; i < len(out); i += 32 {
			if got := xor(b[i:i+32], sumOf(key, nonce[i/2:i/2+16])); !bytes.Equal(got, out[i:i+32]) {
				t.Errorf("encrypted output %x, want %x", got, out[i:i+32])
			}
		}
	}}
}

func (m *model) ecdh(q step, n int) outcome {
	fromTemp, encrypted, dest := q.p1&1 != 0, q.p1&2 != 0, int(q.p1>>2&3)
	if dest == 0 {
		if dest = 3; m.sc(n)&8 != 0 {
			dest = 1
		}
	}
	switch {
	case !m.configLocked() || !m.dataLocked(), !shows(m.options()>>8, dest == 3, encrypted), encrypted && m.ioKey() == nil:
		return refuse(mExec)
	case dest == 1 && (n&1 != 0 || m.frozen(n|1) || m.private(n|1)):
		return refuse(mExec)
	}
	peer := point(q.data)
	var k *ecdh.PrivateKey
	if fromTemp {
		if m.temp == nil || !m.ephemeral {
			return refuse(mExec)
		}
		k, _ = ecdh.P256().NewPrivateKey(m.temp)
	} else {
		if !m.ecc(n) || m.sc(n)&4 == 0 || !m.may(n, false) {
			return refuse(mExec)
		}
		if k = m.key(n); k == nil {
			return refuse(mECC)
		}
	}
	if peer == nil || !fromTemp && !m.limit(n) {
		return refuse(mExec)
	}
	secret, err := k.ECDH(peer)
	if err != nil {
		return refuse(mExec)
	}
	if fromTemp {
		m.spend()
	}
	switch dest {
	case 1:
		m.put(n|1, 0, secret)
		return outcome{}
	case 2:
		m.load(secret, m.fixed)
		return outcome{}
	}
	return m.output(secret, encrypted)
}

func (m *model) privWrite(q step, n int) outcome {
	sealed := q.p1 == 0x40
	if !m.configLocked() || !m.ecc(n) || m.frozen(n) || m.dataLocked() && (!sealed || m.sc(n)&0x4000 == 0) {
		return refuse(mExec)
	}
	value := q.data[:36]
	if sealed {
		by := int(m.sc(n) >> 8 & 15)
		if !m.may(by, true) || !m.digOf(by) {
			return refuse(mExec)
		}
		value = xor(value, append(m.temp[:32:32], sumOf(m.temp[:32])[:4]...))
		want := sumOf(m.temp[:32], []byte{0x46, q.p1, byte(q.p2), 0}, m.sn8(), m.cfg[:2], make([]byte, 21), value)
		m.spend()
		if !bytes.Equal(want, q.data[36:]) {
			return refuse(mExec)
		}
	}
	if _, err := ecdh.P256().NewPrivateKey(value[4:]); err != nil || !bytes.Equal(value[:4], make([]byte, 4)) {
		return refuse(mECC)
	}
	m.put(n, 0, value)
	return outcome{}
}

func (m *model) deriveKey(q step, n int) outcome {
	sc := m.sc(n)
	parent := int(sc >> 8 & 15)
	create, authorized := sc&0x1000 != 0, sc&0x8000 != 0
	if !m.dataLocked() || sc&0x2000 == 0 || m.frozen(n) || !m.secret(n) || !m.usable() || m.nomac || m.fixed != (q.p1 == 4) {
		return refuse(mExec)
	}
	from := n
	if create {
		from = parent
	}
	if !m.secret(from) || !m.may(from, true) {
		return refuse(mExec)
	}
	if authorized {
		if !m.secret(parent) || !m.may(parent, true) || !bytes.Equal(q.data, sumOf(m.slot[parent][:32], []byte{0x1C, q.p1, byte(n), 0}, m.sn8(), m.cfg[:2])) {
			return refuse(mExec)
		}
	}
	if (create || authorized) && !m.limit(parent) {
		return refuse(mExec)
	}
	m.put(n, 0, m.mix(m.slot[from][:32], []byte{0x1C, q.p1, byte(n), 0}, m.temp[:32]))
	m.spend()
	return outcome{}
}

func (m *model) mac(q step, n int) outcome {
	second, first := q.p1&1 != 0, q.p1&2 != 0
	if (first || second) && (!m.usable() || m.fixed != (q.p1&4 != 0)) {
		return refuse(mExec)
	}
	var a, b []byte
	if first {
		a = m.temp[:32]
	} else {
		if !m.configLocked() || m.sc(n)&0x10 != 0 || !m.secret(n) || !m.may(n, second) || !m.limit(n) {
			return refuse(mExec)
		}
		a = m.slot[n][:32]
	}
	if second {
		b = m.temp[:32]
	} else {
		b = q.data[:32]
	}
	otp, sn47, sn23 := make([]byte, 11), make([]byte, 4), make([]byte, 2)
	if q.p1&0x30 != 0 {
		copy(otp, m.otp[:8])
	}
	if q.p1&0x10 != 0 {
		copy(otp[8:], m.otp[8:11])
	}
	if q.op == opMAC {
		if q.p1&0x40 != 0 {
			sn47, sn23 = m.cfg[8:12], m.cfg[2:4]
		}
		sum := sumOf(a, b, []byte{8, q.p1, byte(q.p2), byte(q.p2 >> 8)}, otp, m.sn8(), sn47, m.cfg[:2], sn23)
		m.spend()
		return answerWith(sum)
	}
	other := q.data[64:]
	sum := sumOf(a, b, other[:4], otp[:8], other[4:7], m.sn8(), other[7:11], m.cfg[:2], other[11:])
	m.spend()
	if m.auth = -1; !bytes.Equal(sum, q.data[32:64]) {
		return refuse(mMismatch)
	}
	if !first {
		m.auth = n
		if q.p1&^4 == 1 && m.sc(n)&15 == 0 && n < 15 && !m.private(n+1) {
			m.load(m.slot[n+1][:32], true)
		}
	}
	return outcome{}
}

func (m *model) aes(q step, n int) outcome {
	if m.cfg[13]&1 == 0 {
		return refuse(mParse)
	}
	at := 16 * int(q.p1>>6)
	key := m.temp
	if q.p2 == 0xFFFF {
		if !m.usable() {
			return refuse(mExec)
		}
	} else {
		if key = m.slot[n]; !m.dataLocked() || m.private(n) || m.kind(n) != 6 || len(key) < at+16 || !m.may(n, false) || !m.limit(n) {
			return refuse(mExec)
		}
	}
	if len(key) < at+16 {
		return refuse(mExec)
	}
	b, _ := aes.NewCipher(key[at : at+16])
	out := make([]byte, 16)
	if q.p1&1 != 0 {
		b.Decrypt(out, q.data)
	} else {
		b.Encrypt(out, q.data)
	}
	return answerWith(out)
}

func (m *model) sha(q step, n int) outcome {
	switch q.p1 & 7 {
	case 0:
		m.hash, m.hmacKey = []byte{}, nil
	case 1:
		if m.hash == nil {
			return refuse(mExec)
		}
		m.hash = append(m.hash, q.data...)
	case 2:
		if m.hash == nil {
			return refuse(mExec)
		}
		sum := sumOf(m.hash, q.data)
		if m.hmacKey != nil {
			sum = hmacOf(m.hmacKey, m.hash, q.data)
		}
		m.hash, m.hmacKey = nil, nil
		switch q.p1 >> 6 {
		case 0:
			m.load(sum, true)
		case 1:
			m.msg = sum
		}
		return answerWith(sum)
	case 4:
		key := m.temp
		if q.p2 == 0xFFFF {
			if !m.usable() {
				return refuse(mExec)
			}
		} else if key = m.slot[n]; !m.dataLocked() || !m.secret(n) || !m.may(n, false) || !m.limit(n) {
			return refuse(mExec)
		}
		m.hash, m.hmacKey = []byte{}, bytes.Clone(key[:32])
	}
	return outcome{}
}

// kdf is PRF, AES or HKDF of a given message of 16 bytes, with 32 bytes of key.
func (m *model) kdf(q step) outcome {
	alg, target, source := q.p1>>5, q.p1>>2&7, q.p1&3
	from, to := int(q.p2&0xFF), int(q.p2>>8)
	long := alg == 0 && q.data[1] == 1
	o := m.options()
	if !m.configLocked() || !m.dataLocked() || alg == 1 && o&4 == 0 || !shows(o>>10, target >= 4, target == 5) || target == 5 && m.ioKey() == nil {
		return refuse(mExec)
	}
	if long && (target == 1 || target == 3) || target == 2 && (m.private(to) || m.frozen(to) || long && len(m.slot[to]) < 64) {
		return refuse(mExec)
	}
	var key []byte
	switch source {
	case 0, 1:
		if !m.usable() || source == 1 && len(m.temp) == 32 {
			return refuse(mExec)
		}
		key = m.temp[32*source:]
	case 2:
		if m.private(from) || !m.may(from, false) || !m.limit(from) {
			return refuse(mExec)
		}
		key = m.slot[from]
	case 3:
		if m.alt == nil {
			return refuse(mExec)
		}
		key = m.alt
	}
	key = key[:32]
	msg := q.data[4:]
	var out []byte
	switch alg {
	case 0:
		a := hmacOf(key, msg)
		if out = hmacOf(key, a, msg); long {
			out = append(out, hmacOf(key, hmacOf(key, a), msg)...)
		}
	case 1:
		b, _ := aes.NewCipher(key[:16])
		out = make([]byte, 32)
		b.Encrypt(out, msg)
	case 2:
		out = hmacOf(key, msg)
	}
	switch target {
	case 0:
		m.load(out, m.temp == nil || m.fixed)
	case 1:
		if !m.usable() {
			m.load(make([]byte, 32), true)
		}
		m.temp = append(m.temp[:32:32], out...)
	case 2:
		m.put(to, 0, out)
	case 3:
		m.alt = out
	default:
		return m.output(out, target == 5)
	}
	return outcome{}
}

// boot is SecureBoot in clear.
func (m *model) boot(q step) outcome {
	cfg := binary.LittleEndian.Uint16(m.cfg[70:])
	mode, place, op := cfg&3, int(cfg>>8&15), q.p1&7
	if !m.dataLocked() || mode == 0 || m.noBoot || mode == 1 && op != 5 || cfg&16 != 0 && (!m.usable() || m.fixed) {
		return refuse(mExec)
	}
	if mode > 1 && (m.private(place) || mode == 2 && len(m.slot[place]) < 64) {
		return refuse(mExec)
	}
	digest, sig := q.data[:32], q.data[32:]
	if op == 6 && mode == 3 {
		if !bytes.Equal(digest, m.slot[place][:32]) {
			return refuse(mMismatch)
		}
	} else {
		if op == 6 {
			sig = m.slot[place][:64]
		}
		pub := m.stored(int(cfg >> 12))
		if pub == nil {
			return refuse(mExec)
		}
		if !checks(pub, digest, sig) {
			return refuse(mMismatch)
		}
		if op == 7 && mode == 2 {
			m.put(place, 0, sig)
		} else if op == 7 {
			m.put(place, 0, digest)
		}
	}
	m.latch = m.latch || cfg&8 != 0
	m.noBoot = m.noBoot || q.p1&0x40 != 0
	return outcome{}
}

// state is what Info(state) shows.
func (m *model) state() []byte {
	b := make([]byte, 4)
	if m.temp != nil {
		b[0] = byte(m.id) | bit(m.fixed, 4) | bit(m.dig, 5) | bit(m.gen, 6) | bit(m.nomac, 7)
		b[1] = 0x80
	}
	if m.auth >= 0 {
		b[1] |= byte(m.auth)<<3 | 4
	}
	return b
}
