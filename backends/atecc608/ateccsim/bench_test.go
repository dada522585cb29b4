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
