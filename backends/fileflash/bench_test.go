package fileflash_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/pal"
)

type change = pal.Change

var record = make([]byte, 400)

// BenchmarkSave alternates a Save with a bare append and sync of the same number
// of bytes, and reports how they compare.
func BenchmarkSave(b *testing.B) {
	s := open(b, privateDir(b))
	raw, err := os.OpenFile(filepath.Join(b.TempDir(), "raw"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	entry := make([]byte, len(record)+40)
	var ours, bare time.Duration
	for i := 0; b.Loop(); i++ {
		t0 := time.Now()
		if err := s.Save(fmt.Sprintf("record-%d", i), record); err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if _, err := raw.Write(entry); err != nil {
			b.Fatal(err)
		}
		if err := raw.Sync(); err != nil {
			b.Fatal(err)
		}
		ours += t1.Sub(t0)
		bare += time.Since(t1)
	}
	b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N), "save-ns/op")
	b.ReportMetric(float64(bare.Nanoseconds())/float64(b.N), "append+sync-ns/op")
	b.ReportMetric(float64(bare)/float64(ours), "of-bare")
}

// BenchmarkSaveWriters saves from several goroutines, which share syncs.
func BenchmarkSaveWriters(b *testing.B) {
	for _, writers := range []int{1, 8} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s := open(b, privateDir(b))
			var n atomic.Int64
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						if err := s.Save(fmt.Sprintf("record-%d", i), record); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func fill(b *testing.B, dir string, n int) {
	s := open(b, dir)
	var changes []change
	for i := range n {
		changes = append(changes, change{Name: fmt.Sprintf("object-%016x", i), Data: record})
		if len(changes) == 1000 || i == n-1 {
			if err := s.Batch(changes); err != nil {
				b.Fatal(err)
			}
			changes = changes[:0]
		}
	}
	s.Close()
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := privateDir(b)
			fill(b, dir, n)
			var s *fileflash.Store
			for b.Loop() {
				var err error
				if s, err = fileflash.Open(dir, nil); err != nil {
					b.Fatal(err)
				}
				s.Close()
			}
			if n >= 1000 {
				var before, after runtime.MemStats
				s = nil
				runtime.GC()
				runtime.ReadMemStats(&before)
				s, _ = fileflash.Open(dir, nil)
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(n), "heap-B/record")
				s.Close()
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := privateDir(b)
	fill(b, dir, 1000)
	s := open(b, dir)
	for i := 0; b.Loop(); i++ {
		if _, err := s.Load(fmt.Sprintf("object-%016x", i%1000)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChanges(b *testing.B) {
	dir := privateDir(b)
	fill(b, dir, 10)
	s := open(b, dir)
	for b.Loop() {
		if _, err := s.Changes(); err != nil {
			b.Fatal(err)
		}
	}
}
