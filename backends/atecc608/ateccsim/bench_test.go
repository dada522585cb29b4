package ateccsim

import "testing"

// BenchmarkInfo is a command written and its answer read, at instant timing.
func BenchmarkInfo(b *testing.B) {
	c := newChip(b, Blank(DefaultSerial), nil)
	wakeUp(b, c)
	w := unhex(b, "03 07 30 00 00 00 03 5d")
	r := make([]byte, 7)
	b.ReportAllocs()
	for b.Loop() {
		if c.Tx(0x60, w, nil) != nil || c.Tx(0x60, nil, r) != nil || r[0] != 7 {
			b.Fatalf("answer % x", r)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}

// BenchmarkSocket is the same as a client of a socket has it.
func BenchmarkSocket(b *testing.B) {
	bus := dial(b, serve(b, newChip(b, Blank(DefaultSerial), nil)))
	_ = bus.Tx(0, []byte{0}, nil)
	w := unhex(b, "03 07 30 00 00 00 03 5d")
	r := make([]byte, 7)
	b.ReportAllocs()
	for b.Loop() {
		if bus.Tx(0x60, w, nil) != nil || bus.Tx(0x60, nil, r) != nil || r[0] != 7 {
			b.Fatalf("answer % x", r)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
}

// TestInfoRate is not about time: an Info command does not allocate what would
// make it slow.
func TestInfoRate(t *testing.T) {
	c := newChip(t, Blank(DefaultSerial), nil)
	wakeUp(t, c)
	w := unhex(t, "03 07 30 00 00 00 03 5d")
	r := make([]byte, 7)
	if n := testing.AllocsPerRun(100, func() { _ = c.Tx(0x60, w, r) }); n > 4 {
		t.Errorf("Info allocates %v times", n)
	}
}
