package drbg

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
)

// noise is a source whose next read, or health, can be made to fail. It delivers
// what the system does unless fill says otherwise.
type noise struct {
	rate   float64
	fill   func(b []byte)
	err    error
	health error
	reads  int
	bytes  int
}

func (n *noise) ReadEntropy(b []byte) error {
	if n.err != nil {
		return n.err
	}
	n.reads++
	n.bytes += len(b)
	if n.fill != nil {
		n.fill(b)
		return nil
	}
	return pal.SystemEntropy.ReadEntropy(b)
}

func (n *noise) Health() error { return n.health }

type ratedNoise struct{ *noise }

func (n ratedNoise) MinEntropy() float64 { return n.rate }

// A slot is a Seed that says in what order it was used.
type slot struct {
	seed              []byte
	events            []string
	readErr, writeErr error
}

func (s *slot) ReadSeed(b []byte) error {
	s.events = append(s.events, "read")
	if s.readErr != nil {
		return s.readErr
	}
	copy(b, s.seed)
	return nil
}

func (s *slot) WriteSeed(b []byte) error {
	s.events = append(s.events, "write")
	if s.writeErr != nil {
		return s.writeErr
	}
	s.seed = bytes.Clone(b)
	return nil
}

type lockedSlot struct{ *slot }

func (s lockedSlot) Lock() (func(), error) {
	s.events = append(s.events, "lock")
	return func() { s.events = append(s.events, "unlock") }, nil
}

func newSeed() []byte {
	b := make([]byte, pal.SeedLen)
	if err := pal.SystemEntropy.ReadEntropy(b); err != nil {
		panic(err)
	}
	return b
}

func generator(t *testing.T, o Options) *Generator {
	t.Helper()
	g, err := New(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func read(t *testing.T, g *Generator, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if err := g.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// fails reads what must fail, and checks that nothing came.
func fails(t *testing.T, g *Generator) error {
	t.Helper()
	b := bytes.Repeat([]byte{0xaa}, 100)
	err := g.Read(b)
	if err == nil {
		t.Fatal("random numbers came")
	}
	if !bytes.Equal(b, make([]byte, len(b))) {
		t.Errorf("with the error %v came %x", err, b)
	}
	return err
}

var none = []pal.EntropySource{} // no source, on purpose

func TestRead(t *testing.T) {
	for name, o := range map[string]Options{
		"the system's source":  {},
		"another source":       {Sources: []pal.EntropySource{new(noise)}},
		"both":                 {Sources: []pal.EntropySource{new(noise), pal.SystemEntropy}},
		"a seed alone":         {Sources: none, Seed: &slot{seed: newSeed()}},
		"a seed and a source":  {Seed: &slot{seed: newSeed()}},
		"half a bit in a byte": {Sources: []pal.EntropySource{ratedNoise{&noise{rate: 0.5}}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := generator(t, o)
			seen := map[string]bool{}
			for _, n := range []int{16, 17, 1023, 1024, 1025, 100, 5000, 1 << 17} {
				b := read(t, g, n)
				for c := range slices.Chunk(b[:n&^15], 16) {
					if seen[string(c)] {
						t.Fatalf("%x came twice", c)
					}
					seen[string(c)] = true
				}
				if err := newHealth(8).test(b); err != nil {
					t.Errorf("%d bytes: %v", n, err)
				}
			}
			if err := g.Read(nil); err != nil {
				t.Errorf("no bytes: %v", err)
			}
			if err := g.Health(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestConcurrentReadsAreUnique(t *testing.T) {
	// Without the system's bytes, which would hide a state that is used twice.
	g := generator(t, Options{Sources: []pal.EntropySource{new(noise)}})
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			own := make([]string, 0, 2000)
			for range cap(own) {
				b := make([]byte, 16)
				if err := g.Read(b); err != nil {
					t.Error(err)
					return
				}
				own = append(own, string(b))
			}
			mu.Lock()
			defer mu.Unlock()
			for _, s := range own {
				if seen[s] {
					t.Errorf("%x came twice", s)
				}
				seen[s] = true
			}
		})
	}
	wg.Wait()
}

func TestNew(t *testing.T) {
	for name, o := range map[string]Options{
		"nothing to start from":  {Sources: none},
		"a nil source":           {Sources: []pal.EntropySource{nil}},
		"no entropy in a source": {Sources: []pal.EntropySource{ratedNoise{&noise{rate: 0}}}},
		"nine bits in a byte":    {Sources: []pal.EntropySource{ratedNoise{&noise{rate: 9}}}},
	} {
		if _, err := New(&o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSourceFails(t *testing.T) {
	broken := errors.New("no noise today")
	t.Run("a source that cannot be read", func(t *testing.T) {
		n := &noise{err: broken}
		g := generator(t, Options{Sources: []pal.EntropySource{pal.SystemEntropy, n}})
		for range 3 {
			if err := fails(t, g); !errors.Is(err, broken) {
				t.Errorf("%v does not wrap %v", err, broken)
			}
		}
		n.err = nil
		read(t, g, 16) // it is back
	})
	t.Run("a source that says that it has failed, for good", func(t *testing.T) {
		n := &noise{}
		g := generator(t, Options{Sources: []pal.EntropySource{n}})
		read(t, g, 16)
		n.health = broken
		if err := g.Health(); !errors.Is(err, broken) {
			t.Errorf("Health is %v, want %v", err, broken)
		}
		n.health = nil
		if err := g.Health(); !errors.Is(err, broken) {
			t.Errorf("Health is %v later, want %v", err, broken)
		}
	})
	t.Run("a source that is stuck from the start", func(t *testing.T) {
		n := &noise{fill: func(b []byte) { clear(b) }}
		g := generator(t, Options{Sources: []pal.EntropySource{pal.SystemEntropy, n}})
		if err := fails(t, g); !errors.Is(err, ErrHealth) {
			t.Errorf("%v does not wrap %v", err, ErrHealth)
		}
		n.fill = nil
		if err := fails(t, g); !errors.Is(err, ErrHealth) {
			t.Errorf("later: %v does not wrap %v", err, ErrHealth)
		}
		if err := g.Health(); !errors.Is(err, ErrHealth) {
			t.Errorf("Health is %v", err)
		}
	})
	t.Run("a source that gets stuck is noticed at the next seeding", func(t *testing.T) {
		n := &noise{}
		g := generator(t, Options{Sources: []pal.EntropySource{n}})
		read(t, g, 16)
		n.fill = func(b []byte) { clear(b) }
		buf := make([]byte, 1<<20)
		for range 2 * rootRequests * len(g.leaves) {
			if err := g.Read(buf); errors.Is(err, ErrHealth) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
		t.Error("it was not noticed")
	})
	t.Run("a source is held to what it claims", func(t *testing.T) {
		tenfold := func(b []byte) { // one bit in a byte is plausible, eight are not
			random := make([]byte, len(b)/10+1)
			if err := pal.SystemEntropy.ReadEntropy(random); err != nil {
				t.Fatal(err)
			}
			for i := range b {
				b[i] = random[i/10]
			}
		}
		read(t, generator(t, Options{Sources: []pal.EntropySource{&noise{fill: tenfold}}}), 16)
		g := generator(t, Options{Sources: []pal.EntropySource{ratedNoise{&noise{fill: tenfold, rate: 8}}}})
		if err := fails(t, g); !errors.Is(err, ErrHealth) {
			t.Errorf("%v does not wrap %v", err, ErrHealth)
		}
	})
	t.Run("a lazy source delivers as much as it claims", func(t *testing.T) {
		n := &noise{rate: 0.5}
		read(t, generator(t, Options{Sources: []pal.EntropySource{ratedNoise{n}}}), 16)
		if want := startup + 2*entropyBits; n.bytes != want {
			t.Errorf("%d bytes were drawn, want %d", n.bytes, want)
		}
	})
}

func TestSeedIsReplacedBeforeUse(t *testing.T) {
	first := newSeed()
	s := &slot{seed: first}
	g := generator(t, Options{Sources: none, Seed: lockedSlot{s}})
	if len(s.events) > 0 {
		t.Errorf("before the first use: %v", s.events)
	}
	a := read(t, g, pal.SeedLen)
	if got := strings.Join(s.events, " "); got != "lock read write unlock" {
		t.Errorf("the first use did: %s", got)
	}
	if bytes.Equal(s.seed, first) || len(s.seed) != pal.SeedLen {
		t.Errorf("the seed was %x and is %x", first, s.seed)
	}
	if bytes.Equal(a, s.seed) || bytes.Equal(a, first) {
		t.Error("the seed itself is the first output")
	}
	if read(t, g, 5000); len(s.events) != 4 {
		t.Errorf("later: %v", s.events)
	}
}

func TestSeedFails(t *testing.T) {
	broken := errors.New("flash is worn out")
	for name, s := range map[string]*slot{
		"no seed":                {readErr: fs.ErrNotExist},
		"cannot be written":      {seed: newSeed(), writeErr: broken},
		"erased flash":           {seed: bytes.Repeat([]byte{0xff}, pal.SeedLen)},
		"zeros":                  {seed: make([]byte, pal.SeedLen)},
		"cannot be read at boot": {readErr: broken},
	} {
		t.Run(name, func(t *testing.T) {
			before := bytes.Clone(s.seed)
			g := generator(t, Options{Seed: s})
			err := fails(t, g)
			if want := cmpErr(s.readErr, s.writeErr); want != nil && !errors.Is(err, want) {
				t.Errorf("%v does not wrap %v", err, want)
			}
			if !bytes.Equal(s.seed, before) {
				t.Error("the seed was changed")
			}
		})
	}
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestCopiedFlash starts two devices from the same seed.
func TestCopiedFlash(t *testing.T) {
	seed := newSeed()
	for name, sources := range map[string][]pal.EntropySource{
		"with the system's source": {pal.SystemEntropy},
		// The time, the name and the process number keep these apart: they do not
		// repeat each other, but who knows the seed can find out both.
		"with the seed alone": none,
	} {
		t.Run(name, func(t *testing.T) {
			a := &slot{seed: bytes.Clone(seed)}
			b := &slot{seed: bytes.Clone(seed)}
			x := read(t, generator(t, Options{Sources: sources, Seed: a}), 32)
			y := read(t, generator(t, Options{Sources: sources, Seed: b}), 32)
			if bytes.Equal(x, y) || bytes.Equal(a.seed, b.seed) {
				t.Error("they are the same")
			}
		})
	}
}

// TestSystemBytesAreMixedIn has the state of a leaf used twice, as a virtual machine
// does that is put back to a snapshot.
func TestSystemBytesAreMixedIn(t *testing.T) {
	g := generator(t, Options{})
	read(t, g, 1)
	var l *leaf
	for i := range g.leaves {
		if g.leaves[i].drbg != nil {
			l = &g.leaves[i]
		}
	}
	snapshot, n := l.buffer, len(l.rest)
	g.leaves = []leaf{{drbg: l.drbg, forked: l.forked}}
	draw := func() []byte {
		l := &g.leaves[0]
		l.buffer = snapshot
		l.rest = l.buffer[len(l.buffer)-n:]
		return read(t, g, 32)
	}
	if a, b := draw(), draw(); bytes.Equal(a, b) {
		t.Errorf("twice %x", a)
	}
	g.xor = false
	if a, b := draw(), draw(); !bytes.Equal(a, b) {
		t.Fatal("this test puts nothing back")
	}
}

func TestSeededAgain(t *testing.T) {
	n := &noise{}
	g := generator(t, Options{Sources: []pal.EntropySource{n}})
	g.leaves = g.leaves[:1]
	read(t, g, 1)
	begun := n.reads
	// What a leaf hands out between two seedings of the root.
	buf := make([]byte, bufferLen)
	for range leafRequests * rootRequests {
		if err := g.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	if n.reads != begun+1 {
		t.Errorf("%d reads of the source after 64 MiB, want 1", n.reads-begun)
	}
}

func TestHandedOutBytesAreErased(t *testing.T) {
	g := generator(t, Options{Sources: []pal.EntropySource{new(noise)}})
	g.leaves = g.leaves[:1]
	b := read(t, g, 100)
	if l := &g.leaves[0]; bytes.Contains(l.buffer[:], b[:16]) || !bytes.Equal(l.buffer[:100], make([]byte, 100)) {
		t.Error("they are still in the buffer")
	}
}

func TestClose(t *testing.T) {
	g := generator(t, Options{})
	read(t, g, 10)
	g.Close()
	fails(t, g)
	if err := g.Health(); err == nil {
		t.Error("a closed generator is healthy")
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	g := generator(t, Options{})
	var b [32]byte
	if n := testing.AllocsPerRun(1000, func() {
		if err := g.Read(b[:]); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRead(b *testing.B) {
	for _, bb := range []struct {
		name string
		n    int
	}{{"32", 32}, {"1024", 1024}, {"65536", 65536}} {
		b.Run(bb.name, func(b *testing.B) {
			g, err := New(&Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer g.Close()
			b.SetBytes(int64(bb.n))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				buf := make([]byte, bb.n)
				for pb.Next() {
					if err := g.Read(buf); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
