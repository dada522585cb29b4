package drbg

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	randv2 "math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-cryptoki/cryptoki/pal"
)

// Options are what a Generator starts from.
type Options struct {
	// Sources are used together, all of them: what they deliver is concatenated
	// and mixed by the derivation function, so that one that is better than it
	// claims does no harm and one that is predictable takes nothing away from the
	// others. nil is pal.SystemEntropy alone. An empty list that is not nil is no
	// source at all: Seed must be there.
	Sources []pal.EntropySource
	// Seed is mixed in too, and a new one written before the first use.
	Seed pal.Seed
}

const (
	// A leaf is seeded again by the root after so many of its requests, the root
	// by the sources after so many of its own: every 64 MiB or so.
	leafRequests = 1 << 10
	rootRequests = 1 << 6

	// bufferLen is how much a leaf generates at once. Bytes are erased from the
	// buffer as they are handed out.
	bufferLen = 1 << 10

	entropyBits = 256 + 128 // of the entropy input, and of the nonce in it
)

// A Generator is a random number generator that is safe for concurrent use: a
// root generator that is seeded by the sources, and for each processor a leaf
// that is seeded by the root.
//
// If pal.SystemEntropy is one of the sources, what a leaf generates is combined by
// exclusive or with as many fresh bytes of it, as an RBG3(XOR) construction of SP
// 800-90C. Then no two requests depend on the same state alone: not after a
// fork, and not after a virtual machine has been cloned or put back to a
// snapshot, as soon as the system has noticed.
//
// Nothing is read from the sources and the seed before the first use.
type Generator struct {
	sources []*source
	seed    pal.Seed
	xor     bool
	leaves  []leaf

	// mu guards the root and the sources. It is taken with that of a leaf held.
	mu     sync.Mutex
	root   *CTR
	uses   int    // of the root since it was seeded
	forked uint32 // forkCount when it was seeded
	err    error  // why there are no random numbers any more
	closed bool
}

type leaf struct {
	mu     sync.Mutex
	drbg   *CTR // nil: not seeded
	forked uint32
	rest   []byte // of buffer, what is not handed out yet
	buffer [bufferLen]byte
}

// A source is an EntropySource with its tests.
type source struct {
	pal.EntropySource
	rate   float64
	health *health // nil: the start-up test has not passed yet
	err    error
}

// name is how errors call the i-th source.
func (s *source) name(i int) string {
	if n, ok := s.EntropySource.(fmt.Stringer); ok {
		return fmt.Sprintf("source of entropy %d, %v", i, n)
	}
	return fmt.Sprintf("source of entropy %d", i)
}

// New returns a generator. It fails if there is nothing to start from.
func New(o *Options) (*Generator, error) {
	sources := o.Sources
	if sources == nil {
		sources = []pal.EntropySource{pal.SystemEntropy}
	}
	if len(sources) == 0 && o.Seed == nil {
		return nil, errors.New("neither a source of entropy nor a seed is named")
	}
	g := &Generator{seed: o.Seed, leaves: make([]leaf, runtime.GOMAXPROCS(0))}
	for i, s := range sources {
		if s == nil {
			return nil, fmt.Errorf("source of entropy %d is nil", i)
		}
		h := pal.DefaultMinEntropy
		if r, ok := s.(pal.RatedSource); ok {
			h = r.MinEntropy()
		}
		if !(h > 0 && h <= 8) {
			return nil, fmt.Errorf("source of entropy %d claims %v bits of min-entropy in a byte; they are more than 0 and at most 8", i, h)
		}
		g.sources = append(g.sources, &source{EntropySource: s, rate: h})
		g.xor = g.xor || s == pal.SystemEntropy
	}
	watchForks()
	return g, nil
}

// Read fills b, or returns an error and leaves zeros in b. It allocates nothing
// worth mentioning: a key schedule for each bufferLen bytes.
func (g *Generator) Read(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	forked := forkCount()
	if g.xor {
		rand.Read(b)
	} else {
		clear(b)
	}
	l := g.leaf()
	defer l.mu.Unlock()
	for out := b; len(out) > 0; {
		if err := g.fill(l, forked); err != nil {
			clear(b)
			return err
		}
		n := min(len(out), len(l.rest))
		subtle.XORBytes(out[:n], out[:n], l.rest[:n])
		clear(l.rest[:n])
		l.rest, out = l.rest[n:], out[n:]
	}
	return nil
}

// Health returns why there are no random numbers, nil as far as is known.
func (g *Generator) Health() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.check()
}

// leaf returns one that nobody else uses, locked.
func (g *Generator) leaf() *leaf {
	n := uint32(len(g.leaves))
	first := randv2.Uint32N(n)
	for i := range n {
		if l := &g.leaves[(first+i)%n]; l.mu.TryLock() {
			return l
		}
	}
	l := &g.leaves[first]
	l.mu.Lock()
	return l
}

// fill sees to it that l has bytes to hand out, of the state of this process.
func (g *Generator) fill(l *leaf, forked uint32) error {
	if len(l.rest) > 0 && l.forked == forked && l.drbg != nil {
		return nil
	}
	clear(l.rest)
	l.rest = nil
	if l.drbg == nil || l.forked != forked || l.drbg.requests > leafRequests {
		var material [seedLen]byte
		if err := g.material(material[:], forked); err != nil {
			return err
		}
		if l.drbg == nil {
			l.drbg = NewCTR(material[:], nil, nil)
		} else {
			l.drbg.Reseed(material[:], nil)
		}
		clear(material[:])
		l.forked = forked
	}
	if err := l.drbg.Generate(l.buffer[:], nil); err != nil {
		return err
	}
	l.rest = l.buffer[:]
	return nil
}

// material fills b by the root, for seeding a leaf.
func (g *Generator) material(b []byte, forked uint32) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.ready(forked); err != nil {
		return err
	}
	g.uses++
	return g.root.Generate(b, nil)
}

// check returns why there are no random numbers. g.mu is held.
func (g *Generator) check() error {
	switch {
	case g.closed:
		return errors.New("drbg: the generator is closed")
	case g.err != nil:
		return g.err
	}
	for i, s := range g.sources {
		if err := s.check(); err != nil {
			return fmt.Errorf("%s: %w", s.name(i), err)
		}
	}
	return nil
}

// ready sees to it that the root is seeded, of late enough and in this process.
// g.mu is held.
func (g *Generator) ready(forked uint32) error {
	if err := g.check(); err != nil {
		return err
	}
	if g.root != nil && g.uses < rootRequests && g.forked == forked {
		return nil
	}
	entropy, err := g.gather()
	if err != nil {
		return err
	}
	defer clear(entropy)
	if g.root == nil {
		if err := g.instantiate(entropy); err != nil {
			return err
		}
	} else {
		g.root.Reseed(entropy, unique())
	}
	g.uses, g.forked = 0, forked
	return nil
}

// instantiate makes the root. The seed, if there is one, is read and replaced:
// if the power is cut before it is, nothing has been generated; a seed that is
// stored has never been used.
func (g *Generator) instantiate(entropy []byte) error {
	if g.seed == nil {
		g.root = NewCTR(entropy, unique(), nil)
		return nil
	}
	if l, ok := g.seed.(pal.LockedSeed); ok {
		unlock, err := l.Lock()
		if err != nil {
			return err
		}
		defer unlock()
	}
	var seed [pal.SeedLen]byte
	defer clear(seed[:])
	if err := g.seed.ReadSeed(seed[:]); err != nil {
		return err
	}
	if blank(seed[:]) {
		return fmt.Errorf("the seed is blank memory, %#x: write one of random bytes when the device is made", seed[0])
	}
	input := append(entropy[:len(entropy):len(entropy)], seed[:]...)
	root := NewCTR(input, unique(), nil)
	clear(input)
	err := root.Generate(seed[:], nil)
	if err == nil {
		err = g.seed.WriteSeed(seed[:])
	}
	if err != nil {
		root.Wipe()
		return err
	}
	g.root = root
	return nil
}

// blank reports whether b is memory that nobody has written, all bytes the same.
func blank(b []byte) bool {
	for _, c := range b {
		if c != b[0] {
			return false
		}
	}
	return true
}

// gather returns the entropy input, of all sources. g.mu is held.
func (g *Generator) gather() ([]byte, error) {
	var all []byte
	for i, s := range g.sources {
		b := make([]byte, int(math.Ceil(entropyBits/s.rate)))
		if err := s.read(b); err != nil {
			clear(all)
			return nil, fmt.Errorf("%s: %w", s.name(i), err)
		}
		all = append(all, b...)
		clear(b)
	}
	return all, nil
}

// String does not show the state.
func (g *Generator) String() string { return "drbg: generator" }

// GoString is String.
func (g *Generator) GoString() string { return g.String() }

// Close wipes all states. Read fails afterwards.
func (g *Generator) Close() {
	for i := range g.leaves {
		l := &g.leaves[i]
		l.mu.Lock()
		if l.drbg != nil {
			l.drbg.Wipe()
		}
		l.drbg, l.rest = nil, nil
		clear(l.buffer[:])
		l.mu.Unlock()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.root != nil {
		g.root.Wipe()
		g.root = nil
	}
}

func (s *source) check() error {
	if s.err != nil {
		return s.err
	}
	if err := s.Health(); err != nil {
		s.err = err // for good
		return err
	}
	return nil
}

// read draws from a source, and tests what comes.
func (s *source) read(b []byte) error {
	if err := s.check(); err != nil {
		return err
	}
	if s.health == nil {
		first := make([]byte, startup)
		if err := s.ReadEntropy(first); err != nil {
			return err
		}
		h := newHealth(s.rate)
		if s.err = h.test(first); s.err != nil {
			return s.err
		}
		s.health = h
	}
	if err := s.ReadEntropy(b); err != nil {
		return err
	}
	if s.err = s.health.test(b); s.err != nil {
		return s.err
	}
	return s.check()
}

var instances atomic.Uint64

// unique returns bytes that no other use on this or another machine has, as far
// as one can tell: what keeps two generators apart that start from one seed. It
// is no entropy.
func unique() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano()))
	b = binary.BigEndian.AppendUint64(b, uint64(os.Getpid()))
	b = binary.BigEndian.AppendUint64(b, instances.Add(1))
	host, _ := os.Hostname()
	return append(b, host...)
}
