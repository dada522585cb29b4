package ateccsim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
	"testing"

	"periph.io/x/conn/v3/i2c"
)

// A host talks to the chip as the vendor's library does: it wakes it for each
// command and leaves it idle after, asks for the count and then for the rest.
type host struct {
	testing.TB
	bus  i2c.Bus
	addr uint16
}

// run sends a command and returns what is between count and CRC.
func (h host) run(op, p1 byte, p2 uint16, data ...[]byte) []byte {
	h.Helper()
	if err := h.bus.Tx(0, []byte{1}, nil); !errors.Is(err, ErrNACK) {
		h.Fatalf("wake pulse: %v", err)
	}
	token := make([]byte, 4)
	if err := h.bus.Tx(h.addr, nil, token); err != nil || !bytes.Equal(token, []byte{4, 0x11, 0x33, 0x43}) {
		h.Fatalf("wake token % x, %v", token, err)
	}
	body := bytes.Join(data, nil)
	g := append([]byte{byte(7 + len(body)), op, p1, byte(p2), byte(p2 >> 8)}, body...)
	sum := crc(g)
	h.tx(append(append([]byte{3}, g...), byte(sum), byte(sum>>8)), nil)
	h.tx([]byte{0}, nil)
	count := make([]byte, 1)
	h.tx(nil, count)
	answer := append(count, make([]byte, count[0]-1)...)
	h.tx(nil, answer[1:])
	h.tx([]byte{2}, nil)
	n := len(answer)
	if sum := crc(answer[:n-2]); binary.LittleEndian.Uint16(answer[n-2:]) != sum {
		h.Fatalf("answer % x", answer)
	}
	return answer[1 : n-2]
}

func (h host) tx(w, r []byte) {
	h.Helper()
	if err := h.bus.Tx(h.addr, w, r); err != nil {
		h.Fatalf("W [% x] R %d: %v", w, len(r), err)
	}
}

// ok wants data or success, fail that status.
func (h host) ok(op, p1 byte, p2 uint16, data ...[]byte) []byte {
	h.Helper()
	r := h.run(op, p1, p2, data...)
	if len(r) == 1 && r[0] != 0 {
		h.Fatalf("opcode %02x p1 %02x p2 %04x: status %02x", op, p1, p2, r[0])
	}
	return r
}

func (h host) fail(want, op, p1 byte, p2 uint16, data ...[]byte) {
	h.Helper()
	if r := h.run(op, p1, p2, data...); len(r) != 1 || r[0] != want {
		h.Fatalf("opcode %02x p1 %02x p2 %04x: % x, want status %02x", op, p1, p2, r, want)
	}
}

func (h host) equal(what string, got, want []byte) {
	h.Helper()
	if !bytes.Equal(got, want) {
		h.Fatalf("%s is %x, want %x", what, got, want)
	}
}

func sumOf(parts ...[]byte) []byte {
	s := sha256.Sum256(bytes.Join(parts, nil))
	return s[:]
}

func fill(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }

func (h host) random() []byte { return h.ok(0x1B, 0, 0) }

// words reads n bytes of the configuration zone word by word.
func (h host) words(off, n int) (b []byte) {
	h.Helper()
	for i := off / 4; i < (off+n)/4; i++ {
		b = append(b, h.ok(0x02, 0, uint16(i))...)
	}
	return b
}

func (h host) config() (b []byte) {
	h.Helper()
	for block := range uint16(4) {
		b = append(b, h.ok(0x02, 0x80, block<<3)...)
	}
	return b
}

// writeConfig writes bytes 16 to 127 in the library's order: words where the block
// has others that may not be written, blocks elsewhere.
func (h host) writeConfig(c []byte) {
	h.Helper()
	word := func(n int) { h.ok(0x12, 0, uint16(n), c[4*n:4*n+4]) }
	for n := 4; n < 8; n++ {
		word(n)
	}
	h.ok(0x12, 0x80, 0x08, c[32:64])
	for n := 16; n < 24; n++ {
		if n != 21 {
			word(n)
		}
	}
	h.ok(0x12, 0x80, 0x18, c[96:128])
}

func (h host) sn() []byte {
	b := h.words(0, 16)
	return append(b[:4:4], b[8:13]...)
}

// nonce makes a random TempKey and returns it.
func (h host) nonce() []byte {
	h.Helper()
	in := fill(0x3C, 20)
	out := h.ok(0x16, 0, 0, in)
	return sumOf(out, in, []byte{0x16, 0, 0})
}

// head and the serial number make the middle of most digests.
func (h host) mixed(first, head, last []byte) []byte {
	sn := h.sn()
	return sumOf(first, head, sn[8:], sn[:2], make([]byte, 25), last)
}

// genDig puts the key of a slot into a random TempKey.
func (h host) genDig(slot byte, key []byte) []byte {
	h.Helper()
	t := h.nonce()
	h.ok(0x15, 2, uint16(slot), []byte{0x15, 2, slot, 0})
	return h.mixed(key, []byte{0x15, 2, slot, 0}, t)
}

func (h host) writeSealed(p1 byte, addr uint16, keySlot byte, key, data []byte) []byte {
	h.Helper()
	t := h.genDig(keySlot, key)
	mac := h.mixed(t, []byte{0x12, p1, byte(addr), byte(addr >> 8)}, data)
	return h.run(0x12, p1, addr, xor(data, t), mac)
}

func (h host) readSealed(addr uint16, keySlot byte, key []byte) []byte {
	h.Helper()
	t := h.genDig(keySlot, key)
	return xor(h.ok(0x02, 0x82, addr), t)
}

// sign is an external signature as the library makes it on this chip.
func (h host) sign(slot uint16, digest []byte) []byte {
	h.Helper()
	h.random()
	h.ok(0x16, 0x43, 0, digest)
	return h.ok(0x41, 0xA0, slot)
}

func (h host) verifyExternal(want byte, digest, sig, pub []byte) {
	h.Helper()
	h.ok(0x16, 0x43, 0, digest)
	h.fail(want, 0x45, 0x22, 4, sig, pub)
}

// writeKey stores a public key in blocks; the last is longer than the slot.
func (h host) writeKey(slot uint16, pub []byte) {
	h.Helper()
	b := slices.Concat(make([]byte, 4), pub[:32], make([]byte, 4), pub[32:], make([]byte, 24))
	for i := range uint16(3) {
		h.ok(0x12, 0x82, i<<8|slot<<3, b[32*i:32*i+32])
	}
}

func (h host) readKey(slot uint16) []byte {
	h.Helper()
	var b []byte
	for i := range uint16(3) {
		b = append(b, h.ok(0x02, 0x82, i<<8|slot<<3)...)
	}
	return append(b[4:36:36], b[40:72]...)
}

func (h host) counter(n uint16) uint32 {
	h.Helper()
	return binary.LittleEndian.Uint32(h.ok(0x24, 0, n))
}

// checks reports whether a signature by a key is right, in software.
func checks(pub, digest, sig []byte) bool {
	k, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, pub...))
	return err == nil && ecdsa.Verify(k, digest, new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}
