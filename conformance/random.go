package conformance

import (
	"bytes"
	"fmt"
	"math/bits"
	"sync"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func randomCases() []Case {
	all := suite("random", false,
		Case{ID: "RND-01", Name: "random bytes come in any number", Clause: "v2.40 §5.14, C_GenerateRandom",
			Ancestors: []string{"R-40", "gap 21", "client 40"}, run: func(t *T) {
				s := t.session()
				sizes := []int{1, 8, 32, 1023, 1024, 1025, 65536}
				if !t.e.target.Sequential {
					sizes = append(sizes, 1<<20)
				}
				for _, n := range sizes {
					t.step(fmt.Sprintf("%d bytes", n), func() {
						b := make([]byte, n+1)
						t.ok(s.GenerateRandom(t.ctx, b[:n]))
						t.check(b[n] == 0, "the byte behind the buffer was written")
						if n >= 32 {
							t.check(!bytes.Equal(b[n-16:n], make([]byte, 16)), "the last 16 bytes are zero")
							t.check(!bytes.Equal(b[:16], b[16:32]), "the first 16 bytes come twice")
						}
					})
				}
				t.want(s.GenerateRandom(t.ctx, nil), badArgs)
				t.want(s.GenerateRandom(t.ctx, []byte{}), badArgs)
			}},
		Case{ID: "RND-02", Name: "a seed is mixed in, or refused with its code", Clause: "v2.40 §5.14, C_SeedRandom",
			Ancestors: []string{"client 40"}, run: func(t *T) {
				s := t.session()
				t.want(s.SeedRandom(t.ctx, []byte("the same seed each time")), 0, pkcs11.CKR_RANDOM_SEED_NOT_SUPPORTED)
				var a, b [16]byte
				t.ok(s.GenerateRandom(t.ctx, a[:]))
				t.want(s.SeedRandom(t.ctx, []byte("the same seed each time")), 0, pkcs11.CKR_RANDOM_SEED_NOT_SUPPORTED)
				t.ok(s.GenerateRandom(t.ctx, b[:]))
				t.check(a != b, "a seed alone decides what follows")
			}},
		Case{ID: "RND-03", Name: "nothing comes again after a restart", Clause: "porting guide, RNG checklist", serial: true,
			Ancestors: []string{"RNG checklist"}, run: func(t *T) {
				seen := map[[16]byte]bool{}
				for range 3 {
					s := t.session()
					for range 4 {
						var b [16]byte
						t.ok(s.GenerateRandom(t.ctx, b[:]))
						t.check(!seen[b], "16 bytes came again after a restart")
						seen[b] = true
					}
					t.reopen()
				}
			}},
		Case{ID: "RND-04", Name: "half of the bits are ones", Clause: "porting guide, RNG checklist",
			Ancestors: []string{"RNG checklist"}, run: func(t *T) {
				s := t.session()
				b := make([]byte, 8192)
				t.ok(s.GenerateRandom(t.ctx, b))
				ones, counts := 0, [256]int{}
				for _, v := range b {
					ones += bits.OnesCount8(v)
					counts[v]++
				}
				// Eight standard deviations, of 128 each: a right generator does
				// not get there.
				t.check(ones > 32768-1024 && ones < 32768+1024, "%d of 65536 bits are ones", ones)
				for v, n := range counts {
					t.check(n < 32+60, "byte %#x came %d times in 8192", v, n)
				}
			}},
		Case{ID: "RND-05", Name: "threads never draw the same bytes", Clause: "v2.40 §5.14, C_GenerateRandom",
			Ancestors: []string{"client 43"}, run: loads(func(t *T, l Load) {
				var mu sync.Mutex
				seen := map[[12]byte]bool{}
				t.threads(l.Threads, func(t *T, _ int) {
					s := t.session()
					for range l.Loops {
						var b [12]byte
						t.ok(s.GenerateRandom(t.ctx, b[:]))
						mu.Lock()
						again := seen[b]
						seen[b] = true
						mu.Unlock()
						t.check(!again, "12 bytes came twice")
					}
				})
			})},
	)
	for i := range all {
		all[i].needs = append([]need{wantsRandom}, all[i].needs...)
	}
	return all
}
