package cryptoki_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// creations are what BenchmarkCreate creates.
var creations = []struct {
	name string
	do   func(tb testing.TB, s cryptoki.Session, i int)
}{
	{"data", func(tb testing.TB, s cryptoki.Session, i int) {
		if _, err := s.CreateObject(tb.Context(), pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_DATA)), pkcs11.Attr(pkcs11.CKA_TOKEN, true),
			pkcs11.Attr(pkcs11.CKA_LABEL, fmt.Sprint("data ", i)), pkcs11.Attr(pkcs11.CKA_VALUE, make([]byte, 256)),
		}); err != nil {
			tb.Error(err)
		}
	}},
	{"pair", func(tb testing.TB, s cryptoki.Session, i int) {
		if _, _, err := s.GenerateKeyPair(tb.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, pairPublic(i), pairPrivate(i)); err != nil {
			tb.Error(err)
		}
	}},
}

// loggedIn returns a session with a new token, and its directory.
func loggedIn(b *testing.B) (cryptoki.Module, cryptoki.Session, string) {
	dir := fullDir(b, 0)
	m := openDir(b, dir)
	b.Cleanup(func() { m.Close() })
	s := openSession(b, m)
	if err := s.Login(b.Context(), pkcs11.CKU_USER, userPIN); err != nil {
		b.Fatal(err)
	}
	return m, s, dir
}

// logSize is the length of the log up to its last change.
func logSize(b *testing.B, dir string) int64 {
	store, err := fileflash.Open(dir, &fileflash.Options{ReadOnly: true})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	return store.Stats().Size
}

// BenchmarkCreate creates token objects through a session, in turn with bare
// appends of as many bytes to a file, each followed by fsync. It reports
//
//	of-bare    median of bare time / ours, turn by turn: the goal is 0.8
//	control    the same of two turns of bare appends: the noise
//	ops/s      creations a second
func BenchmarkCreate(b *testing.B) {
	for _, c := range creations {
		b.Run(c.name, func(b *testing.B) {
			const n = 8
			_, s, dir := loggedIn(b)
			raw, err := os.OpenFile(filepath.Join(b.TempDir(), "raw"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			if err != nil {
				b.Fatal(err)
			}
			defer raw.Close()
			next := 0
			ours := func() float64 {
				start := time.Now()
				for range n {
					c.do(b, s, next)
					next++
				}
				return time.Since(start).Seconds()
			}
			before := logSize(b, dir)
			ours()
			entry := make([]byte, (logSize(b, dir)-before)/n)
			bare := func() float64 {
				start := time.Now()
				for range n {
					if _, err := raw.Write(entry); err != nil {
						b.Fatal(err)
					}
					if err := raw.Sync(); err != nil {
						b.Fatal(err)
					}
				}
				return time.Since(start).Seconds()
			}
			var ratio, control, rate []float64
			for i := 0; b.Loop(); i++ {
				var t [3]float64
				for _, k := range [][]int{{0, 1, 2}, {1, 2, 0}, {2, 0, 1}}[i%3] {
					if k == 1 {
						t[k] = ours()
					} else {
						t[k] = bare()
					}
				}
				ratio, control, rate = append(ratio, t[0]/t[1]), append(control, t[0]/t[2]), append(rate, n/t[1])
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(ratio), "of-bare")
			b.ReportMetric(median(control), "control")
			b.ReportMetric(median(rate), "ops/s")
		})
	}
}

// BenchmarkCreateWriters creates token objects from one session and from eight at
// once, in turn, and reports how many times as many those create in the same time:
// the goal is 2.
func BenchmarkCreateWriters(b *testing.B) {
	for _, c := range creations {
		b.Run(c.name, func(b *testing.B) {
			const n, writers = 32, 8
			m, one, _ := loggedIn(b)
			var eight []cryptoki.Session
			for range writers {
				eight = append(eight, openSession(b, m))
			}
			next := 0
			turn := func(sessions ...cryptoki.Session) float64 {
				start := time.Now()
				var wg sync.WaitGroup
				for k, s := range sessions {
					wg.Go(func() {
						for i := range n / len(sessions) {
							c.do(b, s, next+i*len(sessions)+k)
						}
					})
				}
				wg.Wait()
				next += n
				return time.Since(start).Seconds()
			}
			turn(eight...)
			var ratio, rate []float64
			for i := 0; b.Loop(); i++ {
				var t1, t8 float64
				if i%2 == 0 {
					t1, t8 = turn(one), turn(eight...)
				} else {
					t8, t1 = turn(eight...), turn(one)
				}
				ratio, rate = append(ratio, t1/t8), append(rate, n/t8)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(ratio), "times")
			b.ReportMetric(slices.Max(rate), "best-ops/s")
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
