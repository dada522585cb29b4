package ateccsim

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// secretsOf are the pieces of s that no command may show on this chip: private
// keys, and slots that are secret and not for encrypted reading.
func secretsOf(s *State) (all [][]byte) {
	for n := range 16 {
		sc, kc := s.slotConfig(n), s.keyConfig(n)
		if kc.private() {
			all = append(all, bytes.Clone(s.Slot(n)[4:36]))
		} else if sc.secret() {
			all = append(all, bytes.Clone(s.Slot(n)[:32]))
		}
	}
	return all
}

// FuzzBus puts any bytes on the bus. Each byte of program is an operation: the
// rest of the input feeds them. Whatever is said, the chip does not panic, no
// secret is read, and what is locked stays locked and as it was.
func FuzzBus(f *testing.F) {
	frame := func(op, p1 byte, p2 uint16, data ...byte) []byte {
		return append([]byte{op, p1, byte(p2), byte(p2 >> 8), byte(len(data))}, data...)
	}
	join := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	f.Add(byte(0), frame(opInfo, 0, 0))
	f.Add(byte(1), join(frame(opNonce, 3, 0, zeros[:32]...), frame(opGenDig, 2, 4), frame(opRead, 0x82, 8<<3)))
	f.Add(byte(1), join(frame(opGenKey, 4, slotTempKey), frame(opSign, 0x80, 2), frame(opSHA, 4, slotTempKey)))
	f.Add(byte(1), join(frame(opNonce, 0, 0, zeros[:20]...), frame(opKDF, 2|4<<2|0x40, 4, append([]byte{2, 0, 0, 16}, zeros[:16]...)...)))
	f.Add(byte(2), join(frame(opLock, 0x80, 0), frame(opLock, 0x81, 0), frame(opRead, 0x82, 0), frame(opCounter, 1, 0)))
	f.Add(byte(0x81), []byte{3, 7, 0x30, 0, 0, 0, 3, 0x5d})
	pool := bytes.Repeat([]byte("0123456789abcdef0123456789ABCDEF"), 64)
	for i := range pool {
		pool[i] ^= byte(i * 37)
	}
	f.Fuzz(func(t *testing.T, which byte, in []byte) {
		var s *State
		switch which & 3 {
		case 0:
			s = Blank(DefaultSerial)
		case 1:
			s = must(t)(Everything(DefaultSerial, bytes.NewReader(pool)))
		case 2:
			s = newState(DefaultSerial, configGeneric)
		case 3:
			s = must(t)(TrustFLEX(DefaultSerial, bytes.NewReader(pool)))
		}
		if s.DataLocked() {
			for n := range 16 {
				if !s.keyConfig(n).private() {
					copy(s.Slot(n), pool[500+70*n:])
				}
			}
		}
		var seen []byte
		c := newChip(t, s, &Options{Random: rand.NewChaCha8([32]byte{1}), Trace: func(e Event) { _ = e.String(); seen = append(seen, e.Read...) }})
		_ = c.Tx(0, []byte{0}, nil)
		out := make([]byte, 200)
		for steps := 0; len(in) > 0 && steps < 40; steps++ {
			before := c.State()
			if which&0x80 != 0 { // raw transfers
				n := min(int(in[0]), len(in))
				_ = c.Tx(0x60, in[:n], out[:int(in[0])%len(out)+1])
				in = in[max(n, 1):]
			} else { // commands with a CRC
				if len(in) < 5 {
					break
				}
				n := min(int(in[4]), len(in)-5)
				g := append([]byte{byte(minRequest + n)}, in[:4]...)
				g = append(g, in[5:5+n]...)
				v := crc(g)
				_ = c.Tx(c.addr, append(append([]byte{wordCommand}, g...), byte(v), byte(v>>8)), nil)
				_ = c.Tx(c.addr, nil, out)
				in = in[5+n:]
			}
			after := c.State()
			if before.ConfigLocked() {
				if !after.ConfigLocked() || !bytes.Equal(before.Config[:52], after.Config[:52]) || !bytes.Equal(before.Config[96:], after.Config[96:]) {
					t.Fatal("a locked configuration changed")
				}
			}
			if before.DataLocked() {
				if !after.DataLocked() || before.OTP != after.OTP {
					t.Fatal("a locked data zone changed")
				}
				if decodeCounter(before.Config[cfgCounter:]) > decodeCounter(after.Config[cfgCounter:]) {
					t.Fatal("a counter went back")
				}
			}
			for n := range 16 {
				if before.ConfigLocked() && before.SlotLocked(n) && (!after.SlotLocked(n) || before.ConfigLocked() && !bytes.Equal(before.Slot(n), after.Slot(n))) {
					t.Fatalf("locked slot %d changed", n)
				}
			}
			for n := range 16 { // keys that were made on the way, too
				if key := after.Slot(n)[4:36]; after.keyConfig(n).private() && bytes.Count(key, key[:1]) < 32 && bytes.Contains(seen, key) {
					t.Fatalf("the private key of slot %d was read", n)
				}
			}
			if s.DataLocked() {
				for _, secret := range secretsOf(s) {
					if bytes.Contains(seen, secret) {
						t.Fatalf("a secret was read: %x", secret)
					}
				}
			}
		}
	})
}

// FuzzState: any file is refused, or is a chip that works and has the same file.
func FuzzState(f *testing.F) {
	for _, s := range []*State{Blank(DefaultSerial), newState(DefaultSerial, configEverything)} {
		b, err := s.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		b = bytes.Clone(b)
		b[cfgLockConfig], b[cfgLockData] = 0, 0
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var s State
		if s.UnmarshalBinary(in) != nil {
			return
		}
		_ = s.String()
		_, _ = s.Chain()
		if out, err := s.MarshalBinary(); err != nil || !bytes.Equal(in, out) {
			t.Fatalf("another file is written: %v", err)
		}
		c, err := New(&s, nil)
		if err != nil {
			return
		}
		_ = c.Tx(0, []byte{0}, nil)
		r := make([]byte, 7)
		// A chip that configures a general call as its address cannot be read.
		if err := c.Tx(c.addr, unhex(t, "03 07 30 00 00 00 03 5d"), r); c.addr != 0 && (err != nil || !checkCRC(r)) {
			t.Fatalf("Info: % x, %v", r, err)
		}
	})
}

// FuzzParseFaults: what is taken makes faults that fire without a panic.
func FuzzParseFaults(f *testing.F) {
	f.Add("nack:rate=0.01,corrupt-out:rate=0.001,power-cut:at=17,seed=4")
	f.Add("self-test:tests=0x05:op=119:count=2")
	f.Fuzz(func(t *testing.T, s string) {
		faults, err := ParseFaults(s)
		if err != nil {
			return
		}
		for range 3 {
			for _, k := range faultKinds {
				faults.fires(k, opInfo)
			}
		}
		if n := faults.selfTest(1, opSelfTest); n > 1 {
			t.Errorf("tests %02x failed that did not run", n)
		}
	})
}
