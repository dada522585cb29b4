package ateccsim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"path/filepath"
	"slices"
	"testing"
)

// TestProgram takes a blank chip through its life over a socket, as the programs
// do that such chips are tested with: everything on an unlocked chip, then a
// configuration that uses every policy, the locks, and everything on a locked
// one. After each command the chip is idle.
func TestProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chip")
	chip := newChip(t, Blank(DefaultSerial), &Options{Save: func(s *State) error { return s.SaveFile(file) }})
	bus := dial(t, serve(t, chip))
	key := unhex(t, keyK)
	everything := newState(DefaultSerial, configEverything).Config
	for _, step := range []struct {
		name string
		run  func(h host)
	}{
		{"blank", programBlank},
		{"configuration", func(h host) { programConfig(h, everything[:]) }},
		{"data zone", func(h host) { programData(h, key) }},
		{"read and write", func(h host) { programMemory(h, key) }},
		{"counters", programCounters},
		{"MAC", func(h host) { programMAC(h, key) }},
		{"sign and verify", func(h host) { programSign(h, key) }},
		{"ECDH", func(h host) { programECDH(h, key) }},
		{"AES", programAES},
		{"volatile key", func(h host) { programLatch(h, key) }},
		{"KDF", func(h host) { programKDF(h, key) }},
		{"secure boot", func(h host) { programSecureBoot(h, key) }},
		{"keys", func(h host) { programKeys(h, key) }},
		{"last locks", programLast},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(host{t, bus, 0x60}) }) {
			return
		}
	}
	if s := must(t)(LoadFile(file)); *s != *chip.State() {
		t.Error("the file has another state")
	}
}

func programBlank(h host) {
	h.equal("revision", h.ok(0x30, 0, 0), []byte{0, 0, 0x60, 3})
	h.equal("lock bytes", h.words(84, 4), []byte{0, 0, 0x55, 0x55})
	pattern := bytes.Repeat([]byte{0xFF, 0xFF, 0, 0}, 8)
	h.equal("random number", h.random(), pattern)
	h.equal("nonce", h.ok(0x16, 0, 0, make([]byte, 20)), pattern)
	h.equal("self-test", h.run(0x77, 0x3B, 0), []byte{0})
	for _, test := range []byte{1, 4, 8, 0x10, 0x20} {
		h.equal("self-test", h.run(0x77, test, 0), []byte{0})
	}
	// SHA, in all lengths around a block.
	for _, n := range []int{0, 3, 55, 56, 63, 64, 65, 127, 128, 200} {
		m := fill(0xBC, n)
		h.ok(0x47, 0, 0)
		for ; len(m) >= 64; m = m[64:] {
			h.ok(0x47, 1, 64, m[:64])
		}
		h.equal("digest", h.ok(0x47, 2, uint16(len(m)), m), sumOf(fill(0xBC, n)))
	}
	// A signature made elsewhere.
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.Fatal(err)
	}
	digest := sumOf([]byte("message"))
	r, s, err := ecdsa.Sign(rand.Reader, k, digest)
	if err != nil {
		h.Fatal(err)
	}
	sig := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	pub, err := k.PublicKey.Bytes()
	if err != nil {
		h.Fatal(err)
	}
	h.verifyExternal(0, digest, sig, pub[1:])
	h.verifyExternal(1, sumOf(digest), sig, pub[1:])
	h.verifyExternal(1, digest, make([]byte, 64), pub[1:])
	h.verifyExternal(1, digest, fill(0xFF, 64), pub[1:])
	h.verifyExternal(0x0F, digest, sig, fill(1, 64)) // not on the curve
	// TempKey as a key of AES, which is on by default.
	aesKey := count32()
	h.ok(0x16, 0x23, 0, aesKey)
	for block := range 4 {
		want := make([]byte, 16)
		c, _ := aes.NewCipher(aesKey[16*block : 16*block+16])
		c.Encrypt(want, digest)
		h.equal("ciphertext", h.ok(0x51, byte(block<<6), 0xFFFF, digest[:16]), want)
	}
	for _, op := range []byte{0x02, 0x12} {
		h.fail(0x0F, op, 0x82, 8<<3, make([]byte, 32*int(op>>4)))
		h.fail(0x0F, op, 0x81, 0, make([]byte, 32*int(op>>4)))
	}
	h.fail(0x0F, 0x40, 4, 0)
	h.fail(0x0F, 0x24, 1, 0)
	h.fail(0x03, 0x01, 0, 0)
	h.fail(0x03, 0x11, 4, 4)
}

func programConfig(h host, want []byte) {
	was := h.config()
	pattern := count32()
	pattern = append(pattern, fill(0x2A, 64)...)
	copy(pattern, was[:20])
	h.writeConfig(pattern)
	got := h.config()
	for _, r := range [][2]int{{20, 84}, {88, 128}} {
		h.equal("configuration", got[r[0]:r[1]], pattern[r[0]:r[1]])
	}
	h.fail(0x0F, 0x12, 0x80, 0, pattern[:32])
	h.fail(0x0F, 0x12, 0x80, 0x10, pattern[64:96])
	for _, word := range []uint16{0, 1, 2, 3, 21} {
		h.fail(0x0F, 0x12, 0, word, make([]byte, 4))
	}
	// Counter 1 as a host encodes it.
	for v, b := range map[uint32]string{0: "ffffffff00000000", 1048575: "000000017fff7fff", 2097151: "00000001ffffffff"} {
		e := unhex(h, b)
		h.ok(0x12, 0, 15, e[:4])
		h.ok(0x12, 0, 16, e[4:])
		if got := h.counter(1); got != v {
			h.Fatalf("counter 1 is %d, want %d", got, v)
		}
	}
	h.writeConfig(want)
	h.ok(0x20, 0, 0)
	h.ok(0x20, 1, 0)
	got = h.config()
	h.equal("configuration", got[16:84], want[16:84])
	h.equal("configuration", got[88:], want[88:])
	h.fail(0x0F, 0x17, 0x81, 0) // the data zone is not first
	h.fail(0x0F, 0x17, 0x02|13<<2, 0)
	h.fail(0x0F, 0x17, 0, crc(got)^0x100)
	h.ok(0x17, 0, crc(got))
	h.equal("lock bytes", h.words(84, 4), []byte{0, 0, 0x55, 0})
	h.fail(0x0F, 0x17, 0x80, 0)
	h.fail(0x0F, 0x12, 0, 4, want[16:20])
}

func programData(h host, key []byte) {
	if bytes.Equal(h.random(), h.random()) {
		h.Fatal("two random numbers are equal")
	}
	block := fill(0xA5, 32)
	h.fail(0x0F, 0x12, 0x82, 0, block)              // a private key
	h.fail(0x0F, 0x12, 0x02, 2<<8|10<<3, block[:4]) // a word
	h.ok(0x12, 0x82, 2<<8|10<<3, block)             // more than the block has
	h.ok(0x12, 0x82, 2<<8|10<<3|1, block)           // the word does not count
	h.fail(0x03, 0x12, 0x02, 4<<8|10<<3, block[:4])
	h.fail(0x03, 0x12, 0x82, 16<<3, block)
	h.fail(0x0F, 0x02, 0x82, 8<<3)
	h.ok(0x12, 0x82, 4<<3, key)
	otp := slices.Concat(fill(0xFF, 4), []byte{0x7F}, fill(0xFF, 58), []byte{0xFE})
	h.fail(0x0F, 0x12, 0x01, 0, otp[:4])
	h.ok(0x12, 0x81, 0, otp[:32])
	h.ok(0x12, 0x81, 8, otp[32:])
	h.fail(0x0F, 0x02, 0x81, 0)
	// An encrypted write, which a MAC with the new key proves.
	secret := h.random()
	h.equal("encrypted write", h.writeSealed(0xC2, 8<<3, 4, key, secret), []byte{0})
	sn := h.sn()
	mac := sumOf(secret, block, make([]byte, 12), make([]byte, 3), sn[8:], make([]byte, 4), sn[:2], make([]byte, 2))
	h.ok(0x28, 0, 8, block, mac, make([]byte, 13))
	h.fail(0x01, 0x28, 0, 8, block, fill(1, 32), make([]byte, 13))
	// Private keys.
	private := unhex(h, keyD)
	h.ok(0x46, 0, 7, make([]byte, 4), private, make([]byte, 32))
	h.equal("public key", h.ok(0x40, 0, 7), unhex(h, keyX+keyY))
	h.fail(0x05, 0x40, 0, 0)
	for _, slot := range []uint16{0, 2} {
		h.equal("public key", h.ok(0x40, 4, slot), h.ok(0x40, 0, slot))
	}
	h.ok(0x16, 0x43, 0, block)
	h.fail(0x0F, 0x41, 0xA0, 0)
	h.fail(0x0F, 0x43, 0x0C, 2, unhex(h, keyX+keyY))
	h.writeKey(15, unhex(h, keyX+keyY))
	h.ok(0x17, 0x81, 0)
	h.equal("lock bytes", h.words(84, 4), []byte{0, 0, 0, 0})
	h.fail(0x0F, 0x17, 0x81, 0)
	h.equal("OTP", slices.Concat(h.ok(0x02, 0x81, 0), h.ok(0x02, 0x81, 8)), otp)
	h.equal("OTP", h.ok(0x02, 0x01, 1), otp[4:8])
	h.fail(0x0F, 0x12, 0x81, 0, otp[:32])
	h.fail(0x0F, 0x12, 0x01, 1, otp[:4])
	h.equal("public key", h.readKey(15), unhex(h, keyX+keyY))
}

func programMemory(h host, key []byte) {
	// Across blocks of a clear slot, in words and blocks.
	data := slices.Concat(h.random(), h.random())
	for i := range uint16(7) {
		h.ok(0x12, 0x02, 11<<3|(i+1), data[4*i:4*i+4])
	}
	h.ok(0x12, 0x82, 1<<8|11<<3, data[28:60])
	h.ok(0x12, 0x02, 2<<8|11<<3, data[60:])
	got := slices.Concat(h.ok(0x02, 0x82, 11<<3)[4:], h.ok(0x02, 0x82, 1<<8|11<<3), h.ok(0x02, 0x02, 2<<8|11<<3))
	h.equal("slot 11", got, data)
	h.ok(0x12, 0x02, 1<<8|11<<3|6, data[:4])
	h.equal("word 6", h.ok(0x02, 0x02, 1<<8|11<<3|6), data[:4])
	// Encrypted, in a slot that knows no other way.
	secret := h.random()
	at := uint16(5<<8 | 8<<3)
	h.fail(0x0F, 0x12, 0x82, at, secret)
	h.equal("encrypted write", h.writeSealed(0xC2, at, 4, key, secret), []byte{0})
	h.equal("encrypted read", h.readSealed(at, 4, key), secret)
	h.equal("write without bit 6", h.writeSealed(0x82, at, 4, key, data[:32]), []byte{0})
	h.equal("encrypted read", h.readSealed(at, 4, key), data[:32])
	h.equal("write with another key", h.writeSealed(0xC2, at, 4, fill(1, 32), secret), []byte{0x0F})
	h.fail(0x0F, 0x02, 0x82, at)
	h.fail(0x0F, 0x02, 0x82, 4<<3) // never readable
	h.fail(0x0F, 0x02, 0x82, 0)    // a private key
	h.fail(0x03, 0x02, 0x82, 13<<8|8<<3)
	h.fail(0x03, 0x02, 0x84, 0)
	h.ok(0x12, 0x82, 4<<3, key)
}

func programCounters(h host) {
	before := h.counter(1)
	for i := range uint32(3) {
		if got := binary.LittleEndian.Uint32(h.ok(0x24, 1, 1)); got != before+i+1 {
			h.Fatalf("counter 1 is %d, want %d", got, before+i+1)
		}
	}
	h.fail(0x03, 0x24, 1, 2)
	// Counter 0 is that of a key with limited uses, up to what a slot says.
	for h.counter(0)%32 < 31 {
		h.ok(0x24, 1, 0)
	}
	limit := h.counter(0) + 1
	match := binary.LittleEndian.AppendUint32(nil, limit)
	h.ok(0x12, 0x82, 10<<3, match, match, make([]byte, 24))
	digest := h.random()
	pub := h.ok(0x40, 4, 0)
	sig := h.sign(0, digest)
	if !checks(pub, digest, sig) || h.counter(0) != limit {
		h.Fatalf("signature %x, counter 0 is %d, want %d", sig, h.counter(0), limit)
	}
	h.ok(0x16, 0x43, 0, digest)
	h.fail(0x0F, 0x41, 0xA0, 0)
	if got := h.counter(0); got != limit {
		h.Fatalf("counter 0 is %d after a refusal", got)
	}
	high := unhex(h, "e0ff1f00e0ff1f00")
	h.ok(0x12, 0x82, 10<<3, high, make([]byte, 24))
	h.sign(0, digest)
}

func programMAC(h host, key []byte) {
	sn := h.sn()
	challenge := h.random()
	otp := h.ok(0x02, 0x81, 0)
	want := func(first, second []byte, p1, slot byte) []byte {
		o, sn47, sn23 := make([]byte, 11), make([]byte, 4), make([]byte, 2)
		if p1&0x30 != 0 {
			copy(o, otp[:8])
		}
		if p1&0x10 != 0 {
			copy(o[8:], otp[8:11])
		}
		if p1&0x40 != 0 {
			sn47, sn23 = sn[4:8], sn[2:4]
		}
		return sumOf(first, second, []byte{8, p1, slot, 0}, o, sn[8:], sn47, sn[:2], sn23)
	}
	for _, p1 := range []byte{0, 0x40, 0x10, 0x20, 0x30, 0x70} {
		h.equal("MAC of a challenge", h.ok(0x08, p1, 4, challenge), want(key, challenge, p1, 4))
		t := h.nonce()
		h.equal("MAC of TempKey", h.ok(0x08, p1|1, 4), want(key, t, p1|1, 4))
		t = h.nonce()
		h.equal("MAC with TempKey", h.ok(0x08, p1|2, 0, challenge), want(t, challenge, p1|2, 0))
		t = h.nonce()
		h.equal("MAC of TempKey with TempKey", h.ok(0x08, p1|3, 0), want(t, t, p1|3, 0))
		h.ok(0x16, 3, 0, challenge)
		h.equal("MAC of a fixed TempKey", h.ok(0x08, p1|5, 4), want(key, challenge, p1|5, 4))
	}
	h.nonce()
	h.fail(0x0F, 0x08, 5, 4) // TempKey is random
	h.nonce()
	h.fail(0x0F, 0x08, 0, 6, challenge) // a NoMac key
	h.fail(0x0F, 0x08, 0, 0, challenge) // a private key
	// What GenDig can put into TempKey, seen through a MAC.
	config, counter := h.config(), h.ok(0x24, 0, 0)
	key5 := slices.Concat(make([]byte, 1), config[28:30], config[104:106], []byte{1}, make([]byte, 19))
	shared := fill(0x55, 32)
	for _, tt := range []struct {
		p1    byte
		p2    uint16
		data  []byte
		first []byte
		head  []byte
		pad   []byte
		swap  bool
	}{
		{0, 0, nil, config[:32], nil, nil, false},
		{0, 2, nil, config[64:96], nil, nil, false},
		{1, 0, nil, otp, nil, nil, false},
		{2, 4, nil, key, nil, nil, false},
		{3, 4, shared, shared, nil, nil, false},
		{3, 0x8004, shared, shared, []byte{0x15, 3, 4, 0}, nil, true},
		{4, 0, nil, make([]byte, 32), nil, slices.Concat(make([]byte, 1), counter, make([]byte, 20)), false},
		{5, 4, nil, make([]byte, 32), nil, key5, false},
	} {
		t := h.nonce()
		h.ok(0x15, tt.p1, tt.p2, tt.data)
		head, pad, last := tt.head, tt.pad, t
		if head == nil {
			head = []byte{0x15, tt.p1, byte(tt.p2), byte(tt.p2 >> 8)}
		}
		if pad == nil {
			pad = make([]byte, 25)
		}
		first := tt.first
		if tt.swap {
			first, last = last, first
		}
		t = sumOf(first, head, sn[8:], sn[:2], pad, last)
		h.equal("MAC after GenDig", h.ok(0x08, 0x41, 4), want(key, t, 0x41, 4))
	}
	h.fail(0x0F, 0x15, 2, 4) // TempKey was spent
	// CheckMac, of a challenge and of TempKey.
	mac := h.ok(0x08, 0, 4, shared)
	other := append([]byte{8, 0, 4, 0}, make([]byte, 9)...)
	h.ok(0x28, 0, 4, shared, mac, other)
	h.equal("state", h.ok(0x30, 2, 0), []byte{0, 0x24, 0, 0})
	for i := range other {
		other[i] = byte(0xF0 + i)
	}
	t := h.nonce()
	answer := sumOf(key, t, other[:4], make([]byte, 8), other[4:7], sn[8:], other[7:11], sn[:2], other[11:])
	h.ok(0x28, 1, 4, make([]byte, 32), answer, other)
	// HMAC with a slot's key.
	message := fill(0x11, 130)
	h.ok(0x47, 4, 4)
	h.ok(0x47, 1, 64, message[:64])
	h.ok(0x47, 1, 64, message[64:128])
	h.equal("HMAC", h.ok(0x47, 0xC2, 2, message[128:]), hmacOf(key, message))
	// A context that is taken out and put back.
	h.ok(0x47, 0, 0)
	h.ok(0x47, 1, 5, message[:5])
	saved := h.ok(0x47, 6, 0)
	h.ok(0x47, 2, 0)
	h.ok(0x47, 7, uint16(len(saved)), saved)
	h.ok(0x47, 1, 7, message[:7])
	h.equal("digest", h.ok(0x47, 2, 0), sumOf(message[:12]))
	h.fail(0x0F, 0x47, 2, 0)
}

func programSign(h host, key []byte) {
	pub := h.ok(0x40, 4, 2)
	digest := h.random()
	sig := h.sign(2, digest)
	if !checks(pub, digest, sig) {
		h.Fatalf("signature %x does not verify", sig)
	}
	h.verifyExternal(0, digest, sig, pub)
	h.ok(0x16, 3, 0, digest) // by TempKey
	if sig := h.ok(0x41, 0x80, 2); !checks(pub, digest, sig) {
		h.Fatalf("signature %x does not verify", sig)
	}
	h.writeKey(15, pub)
	for want, d := range [][]byte{digest, sumOf(digest)} {
		h.ok(0x16, 0x43, 0, d)
		h.fail(byte(want), 0x45, 0x20, 15, sig)
	}
	h.ok(0x16, 0x43, 0, digest)
	h.fail(0x03, 0x45, 0x21, 15, sig)
	// With a MAC that proves the answer to the host.
	nonce := h.random()
	h.writeKey(11, pub)
	for _, stored := range []bool{false, true} {
		p1, p2, data := byte(0xA2), uint16(4), append(bytes.Clone(sig), pub...)
		if stored {
			p1, p2, data = 0xA0, 11, sig
		}
		h.ok(0x16, 0x63, 0, digest, nonce)
		h.equal("MAC of Verify", h.ok(0x45, p1, p2, data), sumOf(key, digest, nonce, sig, []byte{0x45, p1, byte(p2), 0}))
		h.ok(0x16, 0x63, 0, sumOf(digest), nonce)
		h.fail(1, 0x45, p1, p2, data)
	}
	h.ok(0x16, 0x43, 0, nonce)
	h.ok(0x16, 3, 0, digest)
	h.equal("MAC of Verify", h.ok(0x45, 0x82, 4, sig, pub), sumOf(key, digest, nonce, sig, []byte{0x45, 0x82, 4, 0}))
	// Internal: the chip vouches for a key of slot 4.
	config, sn := h.config(), h.sn()
	t := h.genDig(4, key)
	first := h.ok(0x40, 0, 0)
	signed := h.ok(0x41, 0x40, 0)
	message := slices.Concat(t, []byte{0x41, 0x40, 0, 0}, config[28:30], config[104:106], []byte{0x24, 0, 0}, sn[8:], sn[4:8], sn[:2], sn[2:4], []byte{1, 0, 0})
	if !checks(first, sumOf(message), signed) {
		h.Fatalf("internal signature %x does not verify", signed)
	}
	h.nonce()
	h.fail(0x0F, 0x41, 0x40, 0) // nothing of the chip is in TempKey
	// Validated public keys: slot 14 by the key in slot 15.
	h.writeKey(14, first)
	h.equal("validity", h.ok(0x02, 0x02, 14<<3)[:1], []byte{0xA0})
	mine := h.sign(0, digest)
	usable := func(want byte) {
		h.Helper()
		h.ok(0x16, 0x43, 0, digest)
		h.fail(want, 0x45, 0x20, 14, mine)
	}
	usable(0x0F)
	for _, invalidate := range []byte{0, 1} {
		p1 := 3 + 4*invalidate
		h.ok(0x16, 3, 0, make([]byte, 32))
		t := sumOf(make([]byte, 32), []byte{0x40, 0, 0, 0}, sn[8:], sn[:2], make([]byte, 25), first)
		other := slices.Concat([]byte{invalidate, 0, 0}, make([]byte, 4), []byte{0x5E, 0, 0}, make([]byte, 6), []byte{1, invalidate, 0})
		proof := h.sign(2, sumOf(t, []byte{0x41}, other[:10], sn[8:], other[10:14], sn[:2], other[14:]))
		// Signing spent TempKey.
		h.fail(0x0F, 0x45, p1, 14, proof, other)
		h.ok(0x16, 3, 0, make([]byte, 32))
		h.ok(0x40, 0x10, 14, make([]byte, 3))
		h.fail(0x0F, 0x45, p1^4, 14, proof, other) // what was signed says which
		h.ok(0x45, p1, 14, proof, other)
		h.equal("validity", h.ok(0x02, 0x02, 14<<3)[:1], []byte{[2]byte{0x50, 0xA0}[invalidate]})
		usable(0x0F * invalidate)
	}
}

func programECDH(h host, key []byte) {
	alice, bob := h.ok(0x40, 4, 0), h.ok(0x40, 4, 2)
	h.equal("no data", h.ok(0x43, 0, 0, bob), []byte{0}) // into slot 1
	secret := h.readSealed(1<<3, 4, key)
	h.equal("secret", h.ok(0x43, 0, 2, alice), secret)
	h.equal("secret", h.ok(0x43, 0x0C, 2, alice), secret)
	decrypt := func(b []byte) []byte { return xor(b[:32], sumOf(key, b[32:48])) }
	h.equal("secret", decrypt(h.ok(0x43, 0x0E, 2, alice)), secret)
	// A key for one agreement, in TempKey, and one made outside.
	once := h.ok(0x40, 4, 0xFFFF)
	bob = h.ok(0x40, 4, 2) // TempKey survives
	h.equal("secret", h.ok(0x43, 0x0D, 0, bob), decrypt(h.ok(0x43, 0x0E, 2, once)))
	h.fail(0x0F, 0x43, 0x0D, 0, bob)
	outside, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		h.Fatal(err)
	}
	peer, err := ecdh.P256().NewPublicKey(append([]byte{4}, bob...))
	if err != nil {
		h.Fatal(err)
	}
	want, err := outside.ECDH(peer)
	if err != nil {
		h.Fatal(err)
	}
	h.equal("secret", h.ok(0x43, 0x0C, 2, outside.PublicKey().Bytes()[1:]), want)
	h.fail(0x0F, 0x43, 0x0C, 2, fill(1, 64))
}

func programAES(h host) {
	keys := unhex(h, "2B7E151628AED2A6ABF7158809CF4F3C 6BE163D42B623E70D164FA145DB1D463 7058710B58E1E665D3D2F5B465176403 114443FA8E9614845EC7296CD13BC9DC")
	plain := unhex(h, "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
	h.ok(0x12, 0x82, 10<<3, keys[:32])
	h.ok(0x12, 0x82, 1<<8|10<<3, keys[32:])
	ecb := func(block int, b []byte) []byte { return h.ok(0x51, byte(block<<6), 10, b) }
	for n := range 4 {
		// CBC-MAC, and each block back.
		c := make([]byte, 16)
		for i := 0; i < 64; i += 16 {
			e := ecb(n, plain[i:i+16])
			h.equal("plaintext", h.ok(0x51, byte(n<<6|1), 10, e), plain[i:i+16])
			c = ecb(n, xor(c, plain[i:i+16]))
		}
		h.equal("CBC-MAC", c, unhex(h, []string{
			"A7356E1207BB406639E5E5CEB9A9ED93", "A82DD8BE908040BEA456260D0A81AE07",
			"7FE5659CBA0E01D9CAC16FCA1B6F662E", "E1D0C08549BFF7FBA9E0CF6B493236F1",
		}[n]))
	}
	// GCM of a message, from AES and GFM.
	b, _ := aes.NewCipher(keys[:16])
	gcm, err := cipher.NewGCM(b)
	if err != nil {
		h.Fatal(err)
	}
	iv, more := fill(9, 12), fill(0x77, 20)
	want := gcm.Seal(nil, iv, plain[:40], more)
	counter := func(n byte) []byte { return append(bytes.Clone(iv), 0, 0, 0, n) }
	var out []byte
	for i := range 3 {
		p := plain[16*i : min(16*i+16, 40)]
		out = append(out, xor(p, ecb(0, counter(byte(i+2))))...)
	}
	hash := make([]byte, 16)
	subkey := ecb(0, make([]byte, 16))
	lengths := append([]byte{0, 0, 0, 0, 0, 0, 0, 160}, 0, 0, 0, 0, 0, 0, 1, 64)
	for _, part := range [][]byte{more, out, lengths} {
		for len(part) > 0 {
			block := make([]byte, 16)
			n := copy(block, part)
			part = part[n:]
			hash = h.ok(0x51, 3, 0, subkey, xor(hash, block))
		}
	}
	h.equal("GCM", append(out, xor(hash, ecb(0, counter(1)))...), want)
	h.fail(0x0F, 0x51, 0, 4, plain[:16])
	h.ok(0x12, 0x82, 10<<3, unhex(h, "e0ff1f00e0ff1f00"), make([]byte, 24)) // the limit of counter 0 again
}

// programLatch needs a CheckMac for a key that works only then.
func programLatch(h host, key []byte) {
	h.equal("latch", h.ok(0x30, 4, 0), make([]byte, 4))
	aesKey := count32()[:32]
	h.ok(0x12, 0x82, 5<<3, aesKey)
	h.fail(0x0F, 0x51, 0, 5, aesKey[:16])
	sn, other := h.sn(), fill(0xF3, 13)
	h.nonce()
	h.fail(1, 0x28, 1, 4, make([]byte, 32), make([]byte, 32), other)
	h.fail(0x0F, 0x30, 4, 3)
	t := h.nonce()
	answer := sumOf(key, t, other[:4], make([]byte, 8), other[4:7], sn[8:], other[7:11], sn[:2], other[11:])
	h.ok(0x28, 1, 4, make([]byte, 32), answer, other)
	h.equal("latch", h.ok(0x30, 4, 3), []byte{1, 0, 0, 0})
	b, _ := aes.NewCipher(aesKey[:16])
	want := make([]byte, 16)
	b.Encrypt(want, aesKey)
	h.equal("ciphertext", h.ok(0x51, 0, 5, aesKey[:16]), want)
	_ = h.bus.Tx(0, []byte{1}, nil)
	h.tx([]byte{1}, nil) // the latch survives sleep
	h.equal("latch", h.ok(0x30, 4, 0), []byte{1, 0, 0, 0})
	h.ok(0x51, 0, 5, aesKey[:16])
	h.equal("latch", h.ok(0x30, 4, 2), make([]byte, 4))
}

func programKDF(h host, key []byte) {
	seed := append(count32()[:16], count32()[:16]...)
	msg := seed[:16]
	details := func(low ...byte) []byte { return append(low, make([]byte, 4-len(low))...) }
	decrypt := func(b []byte) []byte {
		n := len(b) - 32
		for i := 0; i < n; i += 32 {
			copy(b[i:], xor(b[i:i+32], sumOf(key, b[n+i/2:n+i/2+16])))
		}
		return b[:n]
	}
	a := hmacOf(seed, msg)
	prf := append(hmacOf(seed, a, msg), hmacOf(seed, hmacOf(seed, a), msg)...)
	b, _ := aes.NewCipher(seed[:16])
	block := make([]byte, 32)
	b.Encrypt(block, msg)
	for _, tt := range []struct {
		name    string
		alg     byte
		details []byte
		want    []byte
	}{
		{"PRF", 0, details(1, 1, 0, 16), prf},
		{"AES", 0x20, details(0), block},
		{"HKDF", 0x40, details(2, 0, 0, 16), hmacOf(seed, msg)},
	} {
		h.ok(0x16, 3, 0, seed)
		h.equal(tt.name, h.ok(0x56, tt.alg|4<<2, 0x1234, tt.details, msg), tt.want)
		h.equal(tt.name+", encrypted", decrypt(h.ok(0x56, tt.alg|5<<2, 0x1234, tt.details, msg)), tt.want)
		// From the alternate key to TempKey, from there to a slot.
		h.ok(0x16, 0x83, 0, seed)
		h.ok(0x56, tt.alg|3, 0x1234, tt.details, msg)
		h.ok(0x16, 3, 0, seed)
		short := bytes.Clone(tt.details)
		short[1] = 0
		h.ok(0x56, tt.alg|2<<2, 0x0500, short, msg)
	}
	iv := bytes.Clone(seed)
	copy(iv[9:], "iv")
	h.ok(0x16, 3, 0, seed)
	h.ok(0x56, 0x40|2<<2, 0x0500, details(3, 0, 0, 32), iv)
	h.fail(0x0F, 0x56, 0x40|2<<2, 0x0500, details(3, 0, 0, 32), seed)
}

func programSecureBoot(h host, key []byte) {
	pub := h.ok(0x40, 4, 2)
	h.writeKey(11, pub)
	digest := sumOf([]byte("image"))
	sig := h.sign(2, digest)
	h.ok(0x80, 5, 0, digest, sig)
	h.fail(1, 0x80, 5, 0, sumOf(digest), sig)
	h.fail(1, 0x80, 6, 0, digest)
	h.ok(0x80, 7, 0, digest, sig)
	h.ok(0x80, 6, 0, digest)
	// With the digest encrypted and a MAC back.
	for _, p1 := range []byte{0x85, 0x87, 0x86} {
		k := sumOf(key, h.nonce())
		data := append(xor(digest, k), sig...)
		if p1 == 0x86 {
			data = data[:32]
		}
		h.equal("MAC", h.ok(0x80, p1, 0, data), sumOf(k, digest, data[32:], []byte{0x80, p1, 0, 0}))
	}
	h.fail(0x0F, 0x80, 0x85, 0, digest, sig) // the nonce was spent
}

func programKeys(h host, key []byte) {
	sn := h.sn()
	// An imported private key.
	private := append(make([]byte, 4), unhex(h, keyD)...)
	h.ok(0x40, 4, 7)
	t := h.genDig(4, key)
	stream := append(bytes.Clone(t), sumOf(t)[:4]...)
	mac := sumOf(t, []byte{0x46, 0x40, 7, 0}, sn[8:], sn[:2], make([]byte, 21), private)
	h.ok(0x46, 0x40, 7, xor(private, stream), mac)
	h.equal("public key", h.ok(0x40, 0, 7), unhex(h, keyX+keyY))
	h.genDig(4, key)
	h.fail(0x0F, 0x46, 0x40, 7, xor(private, stream), mac)
	h.fail(0x0F, 0x46, 0, 7, private, mac)
	// A rolled key, and one made from its parent.
	parent := unhex(h, "55e1e19753f8ee0b204b9709fdd0f0f975146021cc5f967da1e130feedb0fe87")
	h.equal("write", h.writeSealed(0xC2, 9<<3, 4, key, parent), []byte{0})
	for n, from := range map[byte][]byte{9: parent, 3: key} {
		t := h.nonce()
		var mac []byte
		if n == 3 {
			mac = sumOf(key, []byte{0x1C, 0, n, 0}, sn[8:], sn[:2])
		}
		h.ok(0x1C, 0, uint16(n), mac)
		h.equal("derived key", h.readSealed(uint16(n)<<3, 4, key), h.mixed(from, []byte{0x1C, 0, n, 0}, t))
	}
	// The digest of a key that is made, and of one that is there.
	for _, p1 := range []byte{0x0C, 0x08} {
		t := h.nonce()
		pub := h.ok(0x40, p1, 2)
		t = h.mixed(t, []byte{0x40, p1, 2, 0}, pub)
		sig := h.ok(0x41, 0, 0)
		config := h.config()
		message := slices.Concat(t, []byte{0x41, 0, 0, 0}, config[24:26], config[100:102], []byte{0x42, 0, 0}, sn[8:], make([]byte, 4), sn[:2], make([]byte, 2), []byte{1, 0, 0})
		if !checks(h.ok(0x40, 0, 0), sumOf(message), sig) {
			h.Fatalf("internal signature after GenKey %02x does not verify", p1)
		}
	}
}

func programLast(h host) {
	// A slot for ever.
	h.ok(0x12, 0x82, 13<<3, fill(1, 32))
	h.ok(0x17, 0x02|13<<2, 0)
	h.fail(0x0F, 0x17, 0x02|13<<2, 0)
	h.fail(0x0F, 0x12, 0x82, 13<<3, fill(2, 32))
	h.equal("slot 13", h.ok(0x02, 0x82, 13<<3), fill(1, 32))
	h.equal("SlotLocked", h.words(88, 4)[:2], []byte{0xFF, 0xDF})
	h.fail(0x0F, 0x17, 0x02|2<<2, 0) // whose configuration forbids it
	h.ok(0x17, 0x02|10<<2, 0x1234)   // there is no sum of a slot
}
