package ateccsim

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"
)

func TestFaults(t *testing.T) {
	info := "03 07 30 00 00 00 03 5d"
	for _, tt := range []struct {
		rule string
		run  func(t *testing.T, c *Chip)
	}{
		{"drop-wake:at=1", func(t *testing.T, c *Chip) {
			_ = c.Tx(0, []byte{0}, nil)
			refused(t, c, "after a dropped wake")
			wakeUp(t, c)
		}},
		{"corrupt-in:at=1:op=0x30", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			wantStatus(t, c, StatusOK, opRandom, 0, 0)
			send(t, c, info)
			read(t, c, "04 ff 01 42")
			send(t, c, info)
			read(t, c, "07 00 00 60 03 83 bb")
		}},
		{"corrupt-out:at=2", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			send(t, c, info)
			r := make([]byte, 7)
			if err := c.Tx(c.addr, nil, r); err != nil || checkCRC(r) {
				t.Errorf("read % x, %v", r, err)
			}
		}},
		{"short-read:at=2", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			send(t, c, info)
			r := make([]byte, 7)
			if err := c.Tx(c.addr, nil, r); err != nil || r[6] != 0xFF {
				t.Errorf("read % x, %v", r, err)
			}
		}},
		{"nack:at=2:count=3", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			for range 3 {
				if err := c.Tx(c.addr, []byte{0}, nil); !errors.Is(err, ErrNACK) {
					t.Error(err)
				}
			}
			send(t, c, "00")
		}},
		{"stuck-bus:at=1:count=2", func(t *testing.T, c *Chip) {
			for range 2 {
				if err := c.Tx(0, []byte{0}, nil); !errors.Is(err, ErrBus) {
					t.Error(err)
				}
			}
			wakeUp(t, c)
		}},
		{"watchdog:at=3", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			refused(t, c, "after the watchdog")
			wakeUp(t, c)
		}},
		{"power-cut-tx:at=3", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			refused(t, c, "without power")
			if !c.Off() {
				t.Error("power is on")
			}
		}},
		{"nack:at=1:op=0x30", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			wantStatus(t, c, StatusOK, opRandom, 0, 0)
			send(t, c, info)
			if err := c.Tx(c.addr, nil, make([]byte, 7)); !errors.Is(err, ErrNACK) {
				t.Errorf("after Info: %v", err)
			}
			read(t, c, "07 00 00 60 03 83 bb")
		}},
		{"watchdog:at=1:op=0x30", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			wantStatus(t, c, StatusOK, opRandom, 0, 0)
			send(t, c, info)
			refused(t, c, "after the watchdog")
		}},
		{"self-test:tests=0x05", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			send(t, c, "03 07 77 3b 00 00 9d fb")
			read(t, c, "04 01 00 c3") // the bit of ECDSA is not in 3b
			if _, s := call(t, c, opSelfTest, 0x3F, 0); s != 5 {
				t.Errorf("failed tests %02x", byte(s))
			}
			wantStatus(t, c, StatusSelfTest, opInfo, 0, 0)
			send(t, c, "02")
			wakeUp(t, c) // which ends it
			wantStatus(t, c, StatusOK, opInfo, 0, 0)
		}},
		{"health-test", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			wantStatus(t, c, StatusHealth, opRandom, 0, 0)
		}},
		{"self-test:at=1", func(t *testing.T, c *Chip) {
			wakeUp(t, c)
			send(t, c, "03 07 77 3b 00 00 9d fb")
			if _, s := call(t, c, opRandom, 0, 0); s != StatusSelfTest {
				t.Errorf("Random: %v", s)
			}
			wantStatus(t, c, StatusSelfTest, opRead, 0x81, 0)
			wantStatus(t, c, StatusOK, opRead, 0x80, 0)
			if _, s := call(t, c, opSelfTest, 0, 0); s != 0x20 {
				t.Errorf("failure register %02x", byte(s))
			}
			wantStatus(t, c, StatusOK, opSelfTest, 0x20, 0)
			wantStatus(t, c, StatusOK, opRandom, 0, 0)
		}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f, err := ParseFaults(tt.rule + ",seed=5")
			if err != nil {
				t.Fatal(err)
			}
			tt.run(t, newChip(t, Blank(DefaultSerial), &Options{Faults: f}))
		})
	}
	if _, err := ParseFaults("nack:rate=NaN"); err == nil {
		t.Error("a rate of NaN was accepted")
	}
}

// TestDamageShows has random numbers whose answers keep the right CRC when they are
// read short, which one in 65536 does.
func TestDamageShows(t *testing.T) {
	for seed := range uint64(2) {
		n := NewFaults(seed).below(35)
		if n < 3 {
			continue // nothing is left to choose
		}
		short := bytes.Repeat([]byte{0xFF}, 35)
		short[0] = 35
		for v := 0; !checkCRC(short); v++ {
			if v == 1<<16 {
				t.Fatalf("seed %d: no two bytes make the CRC right", seed)
			}
			short[n-2], short[n-1] = byte(v>>8), byte(v)
		}
		s := must(t)(Generic(DefaultSerial, nil))
		c := newChip(t, s, &Options{Random: bytes.NewReader(append(bytes.Clone(short[1:n]), make([]byte, 33-n+32)...))})
		wakeUp(t, c)
		send(t, c, "03 07 1b 00 00 00 24 cd")
		c.opts.Faults = NewFaults(seed, Rule{Kind: ShortRead, At: 1})
		r := make([]byte, 35)
		if err := c.Tx(c.addr, nil, r); err != nil || !bytes.Equal(r[:n], short[:n]) || checkCRC(r) {
			t.Errorf("seed %d: % x, %v, of which %d bytes were to be right", seed, r, err, n)
		}
	}
}

// TestPowerCutTearsAWrite cuts the power before each byte of a block.
func TestPowerCutTearsAWrite(t *testing.T) {
	block := bytes.Repeat([]byte{0x5A}, 32)
	for n := 1; n <= 33; n++ {
		s := must(t)(Generic(DefaultSerial, nil))
		var saved State
		c := newChip(t, s, &Options{Faults: NewFaults(0, Rule{Kind: PowerCut, At: n}), Save: func(s *State) error { saved = *s; return nil }})
		wakeUp(t, c)
		g := append([]byte{39, opWrite, 0x82, 8 << 3, 0}, block...)
		v := crc(g)
		_ = c.Tx(c.addr, append(append([]byte{wordCommand}, g...), byte(v), byte(v>>8)), nil)
		want := append(bytes.Clone(block[:n-1]), bytes.Repeat([]byte{0xFF}, 33-n)...)
		if got := c.State().Slot(8)[:32]; !bytes.Equal(got, want) || c.Off() != (n <= 32) {
			t.Fatalf("cut before byte %d: %x, off %t", n, got, c.Off())
		}
		if n > 1 && saved != *c.State() {
			t.Fatalf("cut before byte %d: another state was saved", n)
		}
	}
}

// TestCutCommandHasNoEffectAfter cuts commands that have more to do than to
// write, by power and by watchdog.
func TestCutCommandHasNoEffectAfter(t *testing.T) {
	for _, kind := range []FaultKind{PowerCut, WatchdogCut} {
		s := must(t)(Everything(DefaultSerial, nil))
		s.Config[cfgSecureBoot] |= 0x08 // the latch follows SecureBoot
		c := newChip(t, s, &Options{Faults: NewFaults(0, Rule{Kind: kind, At: 1, Op: opGenKey}, Rule{Kind: kind, At: 1, Op: opSecureBoot})})
		wakeUp(t, c)
		wantStatus(t, c, StatusOK, opNonce, 3, 0, zeros[:32])
		g := []byte{7, opGenKey, 0x0C, 2, 0}
		v := crc(g)
		send(t, c, "03"+hexOf(append(g, byte(v), byte(v>>8))))
		refused(t, c, "after "+string(kind))
		if c.Off() != (kind == PowerCut) {
			t.Errorf("%s: off is %t", kind, c.Off())
		}
		c.PowerOn()
		wakeUp(t, c)
		if c.vol.temp.valid {
			t.Errorf("%s: TempKey is valid", kind)
		}
		pub := wantStatus(t, c, StatusOK, opGenKey, 0, 2)
		copy(c.ee.Slot(11), append(append(make([]byte, 4), pub[:32]...), append(make([]byte, 4), pub[32:]...)...))
		sum := bytes.Repeat([]byte{3}, 32)
		g = append([]byte{103, opSecureBoot, bootFullCopy, 0, 0}, append(sum, signWith(t, c, sum)...)...)
		v = crc(g)
		send(t, c, "03"+hexOf(append(g, byte(v), byte(v>>8))))
		c.PowerOn()
		if c.latch {
			t.Errorf("%s: the latch is set", kind)
		}
	}
}

// TestWatchdogTears cuts a command that the chip began too late.
func TestWatchdogTears(t *testing.T) {
	clock := new(ManualClock)
	s := must(t)(Generic(DefaultSerial, nil))
	c := newChip(t, s, &Options{Clock: clock, Timing: Timing{Min: 100, Max: 100}, Open: Questions{NoWatchdogStatus: true}})
	_ = c.Tx(0, []byte{0}, nil)
	clock.Sleep(watchdogShort - 45*time.Millisecond/4)
	g := append([]byte{39, opWrite, 0x82, 8 << 3, 0}, zeros[:32]...)
	v := crc(g)
	send(t, c, "03"+hexOf(append(g, byte(v), byte(v>>8))))
	clock.Sleep(time.Second)
	refused(t, c, "after the watchdog")
	if got, want := c.State().Slot(8)[:32], append(make([]byte, 8), bytes.Repeat([]byte{0xFF}, 24)...); !bytes.Equal(got, want) {
		t.Errorf("slot 8 is %x", got)
	}
}

// TestPowerOffDuringACommand has written the share of the time that has passed.
func TestPowerOffDuringACommand(t *testing.T) {
	clock := new(ManualClock)
	s := must(t)(Generic(DefaultSerial, nil))
	c := newChip(t, s, &Options{Clock: clock, Timing: Timing{Min: 100, Max: 100}})
	_ = c.Tx(0, []byte{0}, nil)
	clock.Sleep(wakeDelay)
	g := append([]byte{39, opWrite, 0x82, 8 << 3, 0}, zeros[:32]...)
	v := crc(g)
	send(t, c, "03"+hexOf(append(g, byte(v), byte(v>>8))))
	clock.Sleep(45 * time.Millisecond / 2)
	c.PowerOff()
	if got, want := c.State().Slot(8)[:32], append(make([]byte, 16), bytes.Repeat([]byte{0xFF}, 16)...); !bytes.Equal(got, want) {
		t.Errorf("slot 8 is %x", got)
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	s := make([]byte, 0, 2*len(b))
	for _, x := range b {
		s = append(s, digits[x>>4], digits[x&15])
	}
	return string(s)
}

// TestTornCounterNeverGoesBack cuts an increment at each byte.
func TestTornCounterNeverGoesBack(t *testing.T) {
	for v := range uint32(130) {
		for n := 1; n <= 8; n++ {
			s := must(t)(Generic(DefaultSerial, bytes.NewReader(bytes.Repeat([]byte{1}, 400))))
			b := encodeCounter(v)
			copy(s.Config[cfgCounter:], b[:])
			c := newChip(t, s, &Options{Faults: NewFaults(0, Rule{Kind: PowerCut, At: n})})
			c.power = awake
			c.setCounter(0, v+1)
			if got := c.counter(0); got < v {
				t.Fatalf("from %d, cut before byte %d: %d", v, n, got)
			}
		}
	}
}

func TestSaveErrorStays(t *testing.T) {
	s := must(t)(Generic(DefaultSerial, nil))
	c := newChip(t, s, &Options{Save: func(*State) error { return os.ErrPermission }})
	wakeUp(t, c)
	send(t, c, "03 07 24 01 01 00 06 f7")
	if err := c.Tx(0, []byte{0}, nil); !errors.Is(err, os.ErrPermission) {
		t.Errorf("after a failed save: %v", err)
	}
}
