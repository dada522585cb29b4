package ateccsim

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/physic"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newChip(t testing.TB, s *State, opts *Options) *Chip {
	t.Helper()
	c, err := New(s, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must(t testing.TB) func(*State, error) *State {
	return func(s *State, err error) *State {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// wakeUp sends a wake pulse and reads the token.
func wakeUp(t testing.TB, c *Chip) {
	t.Helper()
	if err := c.Tx(0, []byte{0}, nil); !errors.Is(err, ErrNACK) {
		t.Fatalf("wake pulse: %v, want ErrNACK", err)
	}
	read(t, c, "04 11 33 43")
}

func read(t testing.TB, c *Chip, want string) {
	t.Helper()
	w := unhex(t, want)
	r := make([]byte, len(w))
	if err := c.Tx(c.addr, nil, r); err != nil {
		t.Fatalf("read: %v", err)
	}
	if !bytes.Equal(r, w) {
		t.Fatalf("read % x, want % x", r, w)
	}
}

func send(t testing.TB, c *Chip, w string) {
	t.Helper()
	if err := c.Tx(c.addr, unhex(t, w), nil); err != nil {
		t.Fatalf("write %s: %v", w, err)
	}
}

func refused(t testing.TB, c *Chip, what string) {
	t.Helper()
	if err := c.Tx(c.addr, nil, make([]byte, 1)); !errors.Is(err, ErrNACK) {
		t.Fatalf("read %s: %v, want ErrNACK", what, err)
	}
	if err := c.Tx(c.addr, []byte{0}, nil); !errors.Is(err, ErrNACK) {
		t.Fatalf("write %s: %v, want ErrNACK", what, err)
	}
}

// call runs a command on a chip that is awake and not timed.
func call(t testing.TB, c *Chip, op, p1 byte, p2 uint16, data ...[]byte) ([]byte, Status) {
	t.Helper()
	d := bytes.Join(data, nil)
	g := []byte{byte(minRequest + len(d)), op, p1, byte(p2), byte(p2 >> 8)}
	g = append(g, d...)
	sum := crc(g)
	g = append(g, byte(sum), byte(sum>>8))
	if err := c.Tx(c.addr, append([]byte{wordCommand}, g...), nil); err != nil {
		t.Fatalf("opcode %02x: %v", op, err)
	}
	n := make([]byte, 1)
	if err := c.Tx(c.addr, nil, n); err != nil {
		t.Fatalf("opcode %02x: count: %v", op, err)
	}
	out := make([]byte, n[0])
	out[0] = n[0]
	if err := c.Tx(c.addr, nil, out[1:]); err != nil {
		t.Fatalf("opcode %02x: answer: %v", op, err)
	}
	if !checkCRC(out) {
		t.Fatalf("opcode %02x: answer % x has a wrong CRC", op, out)
	}
	if len(out) == 4 {
		return nil, Status(out[1])
	}
	return out[1 : len(out)-2], StatusOK
}

func wantStatus(t testing.TB, c *Chip, want Status, op, p1 byte, p2 uint16, data ...[]byte) []byte {
	t.Helper()
	out, s := call(t, c, op, p1, p2, data...)
	if s != want {
		t.Fatalf("%s p1=%02x p2=%04x: %02x %v, want %02x %v", commands[op].name, p1, p2, byte(s), s, byte(want), want)
	}
	return out
}

func wantData(t testing.TB, c *Chip, want string, op, p1 byte, p2 uint16, data ...[]byte) {
	t.Helper()
	if out := wantStatus(t, c, StatusOK, op, p1, p2, data...); !bytes.Equal(out, unhex(t, want)) {
		t.Fatalf("%s p1=%02x p2=%04x: %x, want %s", commands[op].name, p1, p2, out, want)
	}
}

// TestTranscript is what a library sends first, byte for byte.
func TestTranscript(t *testing.T) {
	s := Blank(DefaultSerial)
	c := newChip(t, s, nil)
	refused(t, c, "asleep")
	wakeUp(t, c)
	send(t, c, "03 07 02 80 00 00 09 ad")
	send(t, c, "00")
	read(t, c, "23")
	read(t, c, "01 23 ea a2 00 00 60 03 05 b7 c4 70 ee 61 4d 00 c0 00 00 00 83 20 87 20 8f 20 c4 8f 8f 8f 8f 8f")
	send(t, c, "02")
	refused(t, c, "idle")
	wakeUp(t, c)
	send(t, c, "03 07 30 00 00 00 03 5d")
	read(t, c, "07")
	read(t, c, "00 00 60 03 83 bb")
	read(t, c, "ff ff")
	send(t, c, "00")
	read(t, c, "07 00 00 60 03 83 bb ff")
	send(t, c, "00")
	if err := c.Tx(0, []byte{1}, nil); !errors.Is(err, ErrNACK) {
		t.Fatal(err)
	}
	read(t, c, "07 00") // a wake pulse means nothing to a chip that is awake
	send(t, c, "01")
	refused(t, c, "asleep")
}

func TestWireOfCommands(t *testing.T) {
	wrong := "04 ff 01 42"
	for _, tt := range []struct {
		name  string
		write []string
		read  string
	}{
		{"in one write", []string{"03 07 1b 00 00 00 24 cd"}, "23" + strings.Repeat("ff ff 00 00", 8) + "41 1a"},
		{"in several writes", []string{"03 07 30", "03 00 00", "03 00 03 5d"}, "07 00 00 60 03 83 bb"},
		{"a byte too many", []string{"03 07 30 00 00 00 03 5d 99"}, "07 00 00 60 03 83 bb"},
		{"wrong CRC", []string{"03 07 30 00 00 00 03 5e"}, wrong},
		{"a count below 7", []string{"03 04 30 00 00"}, wrong},
		{"a count of 0", []string{"03 00"}, wrong},
		{"a count above 162", []string{"03 a3" + strings.Repeat("00", 0xa2)}, wrong},
		{"reset drops a part of a command", []string{"03 07 30", "00"}, "04 11 33 43"},
		{"nothing after the word address", []string{"03"}, "04 11 33 43"},
		{"reserved word address", []string{"04 07 30 00 00 00 03 5d"}, "04 11 33 43"},
		{"unknown opcode", []string{"03 07 01 00 00 00 " + sum("07 01 00 00 00")}, "04 03 83 42"},
		{"HMAC of another part", []string{"03 07 11 00 00 00 " + sum("07 11 00 00 00")}, "04 03 83 42"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newChip(t, Blank(DefaultSerial), nil)
			if err := c.Tx(0, []byte{0}, nil); !errors.Is(err, ErrNACK) {
				t.Fatal(err)
			}
			for i, w := range tt.write {
				if i > 0 && w != "00" {
					if err := c.Tx(c.addr, nil, make([]byte, 1)); !errors.Is(err, ErrNACK) {
						t.Fatalf("read within a command: %v, want ErrNACK", err)
					}
				}
				send(t, c, w)
			}
			read(t, c, tt.read)
		})
	}
	c := newChip(t, Blank(DefaultSerial), nil)
	wakeUp(t, c)
	r := make([]byte, 7)
	if err := c.Tx(0x60, unhex(t, "03 07 30 00 00 00 03 5d"), r); err != nil || !bytes.Equal(r, unhex(t, "07 00 00 60 03 83 bb")) {
		t.Errorf("combined transfer: % x, %v", r, err)
	}
	if err := c.Tx(0x35, []byte{0}, nil); !errors.Is(err, ErrNACK) {
		t.Errorf("another address: %v, want ErrNACK", err)
	}
}

func sum(s string) string {
	b, _ := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	v := crc(b)
	return hex.EncodeToString([]byte{byte(v), byte(v >> 8)})
}

func TestWakePulseNeedsASlowBus(t *testing.T) {
	c := newChip(t, Blank(DefaultSerial), nil)
	for _, tt := range []struct {
		speed physic.Frequency
		wakes bool
	}{{400 * physic.KiloHertz, false}, {134 * physic.KiloHertz, false}, {133 * physic.KiloHertz, true}, {100 * physic.KiloHertz, true}} {
		if err := c.SetSpeed(tt.speed); err != nil {
			t.Fatal(err)
		}
		_ = c.Tx(0, []byte{0}, nil)
		if err := c.Tx(c.addr, nil, make([]byte, 4)); (err == nil) != tt.wakes {
			t.Errorf("at %v: %v", tt.speed, err)
		}
		_ = c.Tx(c.addr, []byte{wordSleep}, nil)
	}
	if c.SetSpeed(2*physic.MegaHertz) == nil {
		t.Error("2 MHz was accepted")
	}
}

func TestOtherTrafficWakes(t *testing.T) {
	c := newChip(t, Blank(DefaultSerial), &Options{TrafficWakes: true})
	_ = c.Tx(0x01, []byte{0}, nil)
	read(t, c, "04 11 33 43")
	send(t, c, "01")
	_ = c.Tx(0x55, []byte{0}, nil) // no 60 µs without an edge
	refused(t, c, "after traffic that is no wake pulse")
	// Its own address is long enough, and comes too early to be acknowledged.
	c = newChip(t, must(t)(Configured(withAddress(0x02))), &Options{TrafficWakes: true})
	if err := c.Tx(0x01, []byte{0}, nil); !errors.Is(err, ErrNACK) {
		t.Errorf("the address that wakes: %v, want ErrNACK", err)
	}
	read(t, c, "04 11 33 43")
}

func withAddress(b byte) [ConfigSize]byte {
	c := Blank(DefaultSerial).Config
	c[cfgAddress] = b
	return c
}

// TestLongestCommand: a count above what a command can have is an error of
// communication, even with a right CRC.
func TestLongestCommand(t *testing.T) {
	c := newChip(t, Blank(DefaultSerial), nil)
	wakeUp(t, c)
	if _, s := call(t, c, opInfo, 0, 0, make([]byte, 155)); s != StatusParse {
		t.Errorf("155 bytes: %v", s)
	}
	if _, s := call(t, c, opInfo, 0, 0, make([]byte, 156)); s != StatusCRC {
		t.Errorf("156 bytes: %v", s)
	}
}

// TestSelfTestAtWake is that of a chip whose configuration wants it: it takes
// 20 ms, and its failure is in the token.
func TestSelfTestAtWake(t *testing.T) {
	clock := new(ManualClock)
	s := must(t)(Everything(DefaultSerial, nil))
	s.Config[cfgChipOptions] |= 1
	c := newChip(t, s, &Options{Clock: clock, Timing: Timing{Min: 1, Max: 1}, Faults: NewFaults(0, Rule{Kind: SelfTest, At: 1})})
	_ = c.Tx(0, []byte{0}, nil)
	clock.Sleep(wakeDelayTested - 1)
	refused(t, c, "before the self-test is over")
	clock.Sleep(1)
	read(t, c, "04 07 40 c2")
	send(t, c, "03 07 1b 00 00 00 24 cd")
	clock.Sleep(time.Millisecond)
	read(t, c, "04 07 40 c2")
	send(t, c, "01")
	_ = c.Tx(0, []byte{0}, nil)
	clock.Sleep(wakeDelayTested)
	read(t, c, "04 11 33 43")
}

// TestExecutionTimes is that of each command with each clock divider, and that of
// one that is refused at once.
func TestExecutionTimes(t *testing.T) {
	times := map[byte][3]int{ // ms
		0x02: {5, 5, 5}, 0x08: {55, 55, 55}, 0x12: {45, 45, 45}, 0x15: {25, 35, 35}, 0x16: {20, 20, 20}, 0x17: {35, 35, 35},
		0x1B: {23, 23, 23}, 0x1C: {50, 50, 50}, 0x20: {10, 10, 10}, 0x24: {25, 25, 25}, 0x28: {40, 40, 40}, 0x30: {5, 5, 5},
		0x40: {115, 215, 653}, 0x41: {115, 220, 665}, 0x43: {75, 172, 531}, 0x45: {105, 295, 1085}, 0x46: {50, 50, 50},
		0x47: {36, 42, 75}, 0x51: {27, 27, 27}, 0x56: {165, 165, 165}, 0x77: {250, 625, 2324}, 0x80: {80, 160, 480},
	}
	for op, cmd := range commands {
		if want, ok := times[byte(op)]; (cmd != nil) != ok || ok && cmd.times != want {
			t.Errorf("opcode %02x: %+v, want %v", op, cmd, want)
		}
	}
	for i, mode := range []byte{0x00, 0x28, 0x68} {
		clock := new(ManualClock)
		s := Blank(DefaultSerial)
		s.Config[cfgChipMode] = mode | chipModeWatchdog
		c := newChip(t, s, &Options{Clock: clock, Timing: Timing{Min: 100, Max: 100}})
		_ = c.Tx(0, []byte{0}, nil)
		clock.Sleep(wakeDelay)
		send(t, c, "03 07 77 3b 00 00 9d fb")
		clock.Sleep(time.Duration(times[0x77][i])*time.Millisecond - 1)
		refused(t, c, "during the self-test")
		clock.Sleep(1)
		read(t, c, "04 00 03 40")
		send(t, c, "03 07 01 00 00 00 "+sum("07 01 00 00 00"))
		clock.Sleep(time.Millisecond)
		read(t, c, "04 03 83 42")
		send(t, c, "03 07 77 40 00 00 "+sum("07 77 40 00 00"))
		clock.Sleep(time.Millisecond)
		read(t, c, "04 03 83 42")
		// The watchdog is the long one.
		clock.Sleep(watchdogLong - clock.Now().Sub(c.wokenAt) - 1)
		send(t, c, "00")
		clock.Sleep(1)
		refused(t, c, "after 13 s")
	}
}

// TestBusyTime is exact, in the fake time of a bubble.
func TestBusyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChip(t, Blank(DefaultSerial), &Options{Timing: Full})
		start := time.Now()
		_ = c.Tx(0, []byte{0}, nil)
		if d := time.Since(start); d != 110*time.Microsecond {
			t.Errorf("a wake pulse took %v, not 11 bits", d)
		}
		refused(t, c, "before tWHI")
		time.Sleep(wakeDelay)
		read(t, c, "04 11 33 43")
		send(t, c, "03 07 30 00 00 00 03 5d")
		ready := time.Now().Add(5 * time.Millisecond)
		refused(t, c, "busy")
		// The address is sampled 10 bits into the transfer.
		time.Sleep(time.Until(ready) - 100*time.Microsecond - 1)
		if err := c.Tx(c.addr, nil, make([]byte, 1)); !errors.Is(err, ErrNACK) {
			t.Errorf("1 ns before the time: %v", err)
		}
		read(t, c, "07 00 00 60 03 83 bb")
	})
}

// TestTimes is the time of a command at each speed and timing, to the nanosecond:
// the bits of the write, the execution, the bits of the read.
func TestTimes(t *testing.T) {
	for _, tt := range []struct {
		speed  physic.Frequency
		timing Timing
		want   time.Duration // of wire and execution
	}{
		{100 * physic.KiloHertz, Full, (83+74)*10*time.Microsecond + 5*time.Millisecond},
		{100 * physic.KiloHertz, Half, (83+74)*10*time.Microsecond + 5*time.Millisecond/2},
		{400 * physic.KiloHertz, Full, (83+74)*2500*time.Nanosecond + 5*time.Millisecond},
		{400 * physic.KiloHertz, Half, (83+74)*2500*time.Nanosecond + 5*time.Millisecond/2},
		{physic.MegaHertz, Full, (83+74)*time.Microsecond + 5*time.Millisecond},
		{physic.MegaHertz, Half, (83+74)*time.Microsecond + 5*time.Millisecond/2},
		{physic.MegaHertz, Timing{Wire: true}, (83 + 74) * time.Microsecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newChip(t, Blank(DefaultSerial), &Options{Timing: tt.timing})
			_ = c.Tx(0, []byte{0}, nil)
			time.Sleep(wakeDelay)
			if err := c.SetSpeed(tt.speed); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			send(t, c, "03 07 30 00 00 00 03 5d")
			time.Sleep(5 * time.Millisecond * time.Duration(tt.timing.Max) / 100)
			read(t, c, "07 00 00 60 03 83 bb")
			if d := time.Since(start); d != tt.want {
				t.Errorf("at %v, %d%%: %v, want %v", tt.speed, tt.timing.Max, d, tt.want)
			}
		})
	}
}

// TestMastersInABubble: who waits for the bus does not keep the time of a bubble
// from passing.
func TestMastersInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChip(t, Blank(DefaultSerial), &Options{Timing: Full})
		_ = c.Tx(0, []byte{0}, nil)
		time.Sleep(wakeDelay)
		start := time.Now()
		for range 3 {
			go func() {
				for range 10 {
					_ = c.Tx(c.addr, []byte{0}, nil)
				}
			}()
		}
		synctest.Wait()
		time.Sleep(time.Until(start.Add(30 * 20 * 10 * time.Microsecond)))
		synctest.Wait()
		if err := c.Tx(c.addr, []byte{0}, nil); err != nil || time.Since(start) != 31*20*10*time.Microsecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestWatchdog(t *testing.T) {
	clock := new(ManualClock)
	s := must(t)(Everything(DefaultSerial, nil))
	c := newChip(t, s, &Options{Timing: Timing{Min: 1, Max: 1}, Clock: clock})
	wake := func() {
		_ = c.Tx(0, []byte{0}, nil)
		clock.Sleep(wakeDelay)
		read(t, c, "04 11 33 43")
	}
	wake()
	clock.Sleep(1290 * time.Millisecond)
	send(t, c, "03 07 1b 00 00 00 24 cd") // Random, 23 ms
	clock.Sleep(time.Millisecond)
	read(t, c, "04 ee 31 41")
	clock.Sleep(20 * time.Millisecond)
	refused(t, c, "after the watchdog")
	wake()
	send(t, c, "02")
	clock.Sleep(time.Hour) // idle, nothing runs
	wake()
	send(t, c, "03 07 30 00 00 00 03 5d")
	clock.Sleep(5 * time.Millisecond)
	read(t, c, "07")
}

func TestSleepForgetsAndIdleKeeps(t *testing.T) {
	load := bytes.Repeat([]byte{7}, 32)
	for _, how := range []string{"idle", "sleep", "power"} {
		s := must(t)(Everything(DefaultSerial, nil))
		copy(s.Slot(4), load)
		c := newChip(t, s, nil)
		wakeUp(t, c)
		wantStatus(t, c, StatusOK, opNonce, 0x43, 0, load)
		wantStatus(t, c, StatusOK, opNonce, 0x83, 0, load)
		wantStatus(t, c, StatusOK, opNonce, 0x03, 0, load)
		wantStatus(t, c, StatusOK, opSHA, shaStart, 0)
		wantStatus(t, c, StatusOK, opSHA, shaUpdate, 64, load, load)
		mac := digest(load, load, []byte{8, 0, 4, 0}, zeros[:11], c.sn8(), zeros[:4], c.sn01(), zeros[:2])
		other := append([]byte{8, 0, 4, 0}, zeros[:9]...)
		c.opts.Open.KeepBuffers = true
		wantStatus(t, c, StatusOK, opCheckMac, 0, 4, load, mac[:], other)
		wantData(t, c, "01000000", opInfo, 4, 3)
		kept := false
		switch how {
		case "idle":
			kept = true
			send(t, c, "02")
		case "sleep":
			send(t, c, "01")
		case "power":
			c.PowerOff()
			refused(t, c, "without power")
			_ = c.Tx(0, []byte{0}, nil)
			refused(t, c, "without power, after a wake pulse")
			c.PowerOn()
		}
		wakeUp(t, c)
		v := &c.vol
		if v.temp.valid != kept || v.msgLen != 0 != kept || v.altSet != kept || (v.sha != nil) != kept || v.auth == 4 != kept {
			t.Errorf("after %s: TempKey %t, message %d, alternate key %t, SHA %t, auth %d", how, v.temp.valid, v.msgLen, v.altSet, v.sha != nil, v.auth)
		}
		if c.latch != (how != "power") {
			t.Errorf("after %s: latch is %t", how, c.latch)
		}
	}
}

func TestAddress(t *testing.T) {
	s := Blank(DefaultSerial)
	c := newChip(t, s, nil)
	wakeUp(t, c)
	wantStatus(t, c, StatusOK, opWrite, 0, 4, []byte{0x6C, 0, 0, 1})
	wantStatus(t, c, StatusOK, opUpdateExtra, 1, 0x88)
	send(t, c, "02")
	wakeUp(t, c) // idle does not change it
	send(t, c, "01")
	if c.addr != 0x44 {
		t.Errorf("address is %02x, want the alternate one", c.addr)
	}
	wakeUp(t, c)
}
