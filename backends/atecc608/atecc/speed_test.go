package atecc_test

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"periph.io/x/conn/v3/physic"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
)

// What a signature costs at least: the bits of its transfers, with start, stop and
// acknowledge, and the execution times of the data sheet.
const (
	signBits  = (10 + 9*40 + 1) + (10 + 9*4 + 1) + (10 + 9*8 + 1) + (10 + 9*67 + 1) // Nonce, its answer, Sign, its answer
	tokenBits = 10 + 9*4 + 1
	execution = (20 + 115) * time.Millisecond

	// The pulse is an address byte with its stop, at 100 kHz, and tWHI follows.
	wakeTime = 110*time.Microsecond + 1500*time.Microsecond
)

// tally counts what a chip sees on its bus.
type tally struct {
	wakes, commands, polls, bytes int
}

func (n *tally) trace(e ateccsim.Event) {
	n.bytes++
	if e.Err == nil {
		n.bytes += len(e.Write) + len(e.Read)
	}
	switch {
	case e.Addr == 0:
		n.wakes++
	case len(e.Write) > 0 && e.Write[0] == 3:
		n.commands++
	case len(e.Write) == 0:
		n.polls++
	}
}

// A run is signatures under one condition.
type run struct {
	speed  physic.Frequency
	timing ateccsim.Timing
	name   string
	asleep bool
}

func runs() (rs []run) {
	for _, speed := range []physic.Frequency{100 * physic.KiloHertz, 400 * physic.KiloHertz, physic.MegaHertz} {
		for _, asleep := range []bool{false, true} {
			rs = append(rs,
				run{speed, ateccsim.Full, fmt.Sprintf("%v full", speed), asleep},
				run{speed, ateccsim.Half, fmt.Sprintf("%v half", speed), asleep})
		}
	}
	return rs
}

func (r run) String() string {
	if r.asleep {
		return r.name + " asleep"
	}
	return r.name + " awake"
}

// limit is the time that no driver can be below.
func (r run) limit() time.Duration {
	d := execution*time.Duration(r.timing.Max)/100 + signBits*r.speed.Period()
	if r.asleep {
		d += wakeTime + tokenBits*r.speed.Period()
	}
	return d
}

// most is what the driver may take of the limit.
func (r run) most() float64 {
	if r.asleep {
		return 1.03
	}
	return 1.02
}

// measure makes n signatures, the first of which is not counted, and returns the
// time of the slowest, the sum, and what was on the bus in the meantime.
func (r run) measure(t testing.TB, n int) (slowest, sum time.Duration, on tally) {
	s, err := ateccsim.Generic(ateccsim.DefaultSerial, nil)
	require.NoError(t, err)
	var bus tally
	chip, err := ateccsim.New(s, &ateccsim.Options{Timing: r.timing, Speed: r.speed, Trace: func(e ateccsim.Event) { bus.trace(e) }})
	require.NoError(t, err)
	d, err := atecc.New(t.Context(), chip, &atecc.Opts{Speed: r.speed})
	require.NoError(t, err)
	digest := sha256.Sum256([]byte("hello"))
	_, err = d.Sign(t.Context(), 0, digest[:])
	require.NoError(t, err)

	one := func(sign func() ([]byte, error)) {
		start := time.Now()
		_, err := sign()
		took := time.Since(start)
		require.NoError(t, err)
		slowest, sum = max(slowest, took), sum+took
	}
	if r.asleep {
		bus = tally{}
		for range n {
			one(func() ([]byte, error) { return d.Sign(t.Context(), 0, digest[:]) })
		}
		on = bus
		require.NoError(t, d.Close())
		return slowest, sum, on
	}
	for done := 0; done < n; done += 3 {
		require.NoError(t, d.Do(t.Context(), func(s *atecc.Sequence) error {
			bus = tally{}
			for range min(3, n-done) {
				one(func() ([]byte, error) { return s.Sign(0, digest[:]) })
			}
			on.commands, on.polls, on.wakes, on.bytes = on.commands+bus.commands, on.polls+bus.polls, on.wakes+bus.wakes, on.bytes+bus.bytes
			return nil
		}))
	}
	require.NoError(t, d.Close())
	return slowest, sum, on
}

// TestSignatureTakesNoLongerThanItMust is exact: time is that of the bubble.
func TestSignatureTakesNoLongerThanItMust(t *testing.T) {
	const n = 30
	for _, r := range runs() {
		t.Run(r.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slowest, sum, on := r.measure(t, n)
				ratio := float64(slowest) / float64(r.limit())
				t.Logf("%-15v limit %8.3f ms, mean %8.3f, slowest %8.3f = %.4f; %d wakes, %d commands, %.1f polls, %.1f bytes each", r, ms(r.limit()), ms(sum/n), ms(slowest), ratio, on.wakes, on.commands, float64(on.polls)/n, float64(on.bytes)/n)
				require.LessOrEqual(t, ratio, r.most())
				require.Equal(t, 2*n, on.commands)
				require.LessOrEqual(t, on.polls, 60*n)
				if r.asleep {
					require.Equal(t, n, on.wakes)
				} else {
					require.Zero(t, on.wakes)
				}
			})
		})
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// TestManySignatures looks for time and memory that get lost.
func TestManySignatures(t *testing.T) {
	n := 10_000
	if testing.Short() || raceEnabled {
		n = 500
	}
	r := run{100 * physic.KiloHertz, ateccsim.Half, "half", true}
	synctest.Test(t, func(t *testing.T) {
		s, err := ateccsim.Generic(ateccsim.DefaultSerial, nil)
		require.NoError(t, err)
		chip, err := ateccsim.New(s, &ateccsim.Options{Timing: r.timing})
		require.NoError(t, err)
		d, err := atecc.New(t.Context(), chip, nil)
		require.NoError(t, err)
		digest := sha256.Sum256([]byte("hello"))
		batch := func(n int) time.Duration {
			start := time.Now()
			for range n {
				_, err := d.Sign(t.Context(), 0, digest[:])
				require.NoError(t, err)
			}
			return time.Since(start) / time.Duration(n)
		}
		batch(n / 10)
		goroutines, heap := runtime.NumGoroutine(), heapInUse()
		first := batch(n / 10)
		batch(n / 10 * 7)
		last := batch(n / 10)
		require.Equal(t, first, last, "the first and the last of them take the same time")
		require.Equal(t, goroutines, runtime.NumGoroutine())
		require.Less(t, heapInUse(), heap+256<<10)
		require.NoError(t, d.Close())
	})
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkSign reports the table of docs/atecc608.md: virtual time, exact. What
// the processor does meanwhile is ns/op, for the 31 signatures of a run.
func BenchmarkSign(b *testing.B) {
	for _, r := range runs() {
		b.Run(r.String(), func(b *testing.B) {
			const n = 30
			var slowest time.Duration
			var on tally
			inBubble := testing.InternalTest{Name: r.String(), F: func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { slowest, _, on = r.measure(t, n) })
			}}
			all := func(string, string) (bool, error) { return true, nil }
			for b.Loop() {
				if !testing.RunTests(all, []testing.InternalTest{inBubble}) {
					b.FailNow()
				}
			}
			b.ReportMetric(ms(r.limit()), "limit-ms")
			b.ReportMetric(ms(slowest), "ms")
			b.ReportMetric(float64(slowest)/float64(r.limit()), "ratio")
			b.ReportMetric(float64(on.polls)/n, "polls")
			b.ReportMetric(float64(on.bytes)/n, "bytes")
		})
	}
}
