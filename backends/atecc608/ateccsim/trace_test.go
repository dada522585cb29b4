package ateccsim

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTrace has transfers, and what a trace says of them.
func TestTrace(t *testing.T) {
	var got []Event
	s := must(t)(Everything(DefaultSerial, nil))
	clock := new(ManualClock)
	faults := NewFaults(0, Rule{Kind: CorruptIn, At: 1, Op: opMAC}, Rule{Kind: StuckBus, At: 1, Op: opMAC})
	c := newChip(t, s, &Options{
		Clock: clock, Timing: Timing{Min: 100, Max: 100}, Faults: faults,
		Trace: func(e Event) { e.Write, e.Read = slices.Clone(e.Write), slices.Clone(e.Read); got = append(got, e) },
	})
	command := func(op, p1 byte, p2 uint16, n int) []byte {
		g := append([]byte{3, byte(7 + n), op, p1, byte(p2), byte(p2 >> 8)}, make([]byte, n)...)
		sum := crc(g[1:])
		return append(g, byte(sum), byte(sum>>8))
	}
	long := command(opNonce, 0x63, 0, 64)
	for _, tt := range []struct {
		addr uint16
		w    []byte
		r    int
		rest time.Duration // before the transfer
		want string
	}{
		{0x60, []byte{0}, 0, 0, "W 60 [00] NACK  # the chip is asleep"},
		{0x00, []byte{0}, 0, 0, "W 00 [00] NACK  # wake pulse"},
		{0x60, nil, 4, 0, "R 60 4 NACK  # the chip is busy"},
		{0x60, nil, 4, wakeDelay, "R 60 4 -> 04 11 33 43  # 11: awake"},
		{0x35, []byte{2}, 0, 0, "W 35 [02] NACK  # nothing is at this address"},
		{0x60, long[:10], 0, 0, "# part of a command"},
		{0x60, nil, 1, 0, "# the chip waits for the rest of a command"},
		{0x60, append([]byte{3}, long[10:]...), 0, 0, "# Nonce fixed, to message buffer (p1=63 p2=0000 +64 bytes)"},
		{0x60, nil, 1, time.Second, "R 60 1 -> 04  # Nonce: 00: success"},
		{0x60, nil, 3, 0, "R 60 3 -> 00 03 40"},
		{0x60, []byte{0}, 0, 0, "W 60 [00]  # reset address counter"},
		{0x60, []byte{9}, 0, 0, "# reserved word address, ignored"},
		{0x60, command(opMAC, 0, 4, 32), 0, 0, "fault: corrupt-in, MAC slot 4 (p1=00 p2=0004 +32 bytes)"},
		{0x60, nil, 4, time.Millisecond, "R 60 4 error  # fault: stuck-bus"},
		{0x60, []byte{3, 7, 0x30, 0, 0, 0, 0, 0}, 0, 0, "# Info revision (p1=00 p2=0000), wrong CRC"},
		{0x60, nil, 4, time.Millisecond, "# Info: ff: CRC or communication error"},
		{0x60, command(0x99, 1, 2, 0), 0, 0, "# opcode 99 (p1=01 p2=0002)"},
		{0x60, nil, 4, time.Millisecond, "# opcode 99: 03: parse error"},
		{0x60, []byte{3, 2, 2}, 0, 0, "# a count of 2 is no command"},
		{0x60, []byte{2}, 0, time.Millisecond, "# idle"},
		{0x60, nil, 1, 0, "# the chip is idle"},
		{0x00, []byte{0}, 0, 0, "# wake pulse"},
		{0x60, []byte{1}, 0, wakeDelay, "# sleep"},
	} {
		clock.Sleep(tt.rest)
		got = nil
		_ = c.Tx(tt.addr, tt.w, make([]byte, tt.r))
		if len(got) != 1 || !strings.Contains(got[0].String(), tt.want) {
			t.Errorf("%v, want %q", got, tt.want)
		}
	}
	c.PowerOff()
	got = nil
	_ = c.Tx(0x60, []byte{0}, nil)
	if len(got) != 1 || !strings.HasSuffix(got[0].String(), "the chip has no power") {
		t.Errorf("%v", got)
	}
}

// TestDescriptions has each command in words.
func TestDescriptions(t *testing.T) {
	for _, tt := range []struct {
		op, p1 byte
		p2     uint16
		n      int
		want   string
	}{
		{opRead, 0x80, 8, 0, "configuration bytes 32 to 63"},
		{opRead, 0x01, 1, 0, "OTP bytes 4 to 7"},
		{opWrite, 0xC2, 0x0540, 64, "slot 8 bytes 160 to 191, encrypted"},
		{opRead, 0x03, 0, 0, ""},
		{opLock, 0x80, 0, 0, "configuration"},
		{opLock, 0x81, 0, 0, "data and OTP"},
		{opLock, 0x36, 0, 0, "slot 13"},
		{opUpdateExtra, 1, 0x6A, 0, "byte 85 := 6a"},
		{opCounter, 1, 0, 0, "increment 0"},
		{opNonce, 0, 0, 20, "random"},
		{opNonce, 0, 0x8000, 20, "calculated from TempKey"},
		{opNonce, 0x83, 0, 32, "fixed, to alternate key"},
		{opGenDig, 2, 4, 0, "slot 4"},
		{opGenDig, 4, 1, 0, "counter 1"},
		{opGenKey, 4, slotTempKey, 0, "new key in TempKey"},
		{opGenKey, 0x10, 14, 3, "digest, public key of slot 14"},
		{opSign, 0xA0, 2, 0, "external, message buffer, slot 2"},
		{opSign, 0x40, 0, 0, "internal, slot 0"},
		{opVerify, 0xA2, 4, 128, "external key, with MAC"},
		{opVerify, 7, 14, 83, "invalidate slot 14"},
		{opECDH, 0x0E, 2, 64, "slot 2 to output, encrypted"},
		{opECDH, 0x0D, 0, 64, "TempKey to output"},
		{opECDH, 0, 0, 64, "slot 0 as the slot says"},
		{opKDF, 0x42, 0x0504, 4, "HKDF, from slot 4 to TempKey"},
		{opKDF, 0x2B, 0x0504, 20, "AES, from alternate key to slot 5"},
		{opSHA, 4, 9, 0, "HMAC start, key in slot 9"},
		{opSHA, 0xC2, 0, 0, "end, to output"},
		{opAES, 0x41, 10, 16, "decrypt, slot 10, key 1"},
		{opAES, 3, 0, 32, "multiply"},
		{opSecureBoot, 0x87, 0, 96, "full, copy"},
		{opInfo, 4, 3, 0, "latch"},
		{opRandom, 0, 0, 0, ""},
	} {
		if got := describeRequest(&request{tt.op, tt.p1, tt.p2, make([]byte, tt.n)}); got != tt.want {
			t.Errorf("%02x p1=%02x p2=%04x is %q, want %q", tt.op, tt.p1, tt.p2, got, tt.want)
		}
	}
}

// TestAnswersInWords reads answers from their beginning.
func TestAnswersInWords(t *testing.T) {
	var last string
	c := vectorChip(t)
	c.opts.Trace = func(e Event) {
		if e.Read != nil && e.Command != "" {
			last = e.Note
		}
	}
	for _, tt := range []struct {
		op, p1 byte
		p2     uint16
		data   []byte
		want   string
	}{
		{opCounter, 1, 1, nil, "Counter: counter is 1"},
		{opGenKey, 0, 2, nil, "GenKey: public key"},
		{opSelfTest, 0x3B, 0, nil, "SelfTest: 00: tests that failed"},
		{opNonce, 0x43, 0, make([]byte, 32), "Nonce: 00: success"},
		{opSign, 0xA0, 2, nil, "Sign: signature"},
		{opSign, 0xA0, 2, nil, "Sign: 0f: execution error"},
		{opInfo, 0, 0, nil, "Info: 4 bytes of data"},
	} {
		if call(t, c, tt.op, tt.p1, tt.p2, tt.data); last != tt.want {
			t.Errorf("%q, want %q", last, tt.want)
		}
	}
}
