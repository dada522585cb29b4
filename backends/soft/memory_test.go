package soft

import (
	"reflect"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/go-cryptoki/cryptoki/pal"
)

// TestMemory keeps an eye on what an object costs while a token is open: less
// than 1.5 KiB, apart from what the store takes.
func TestMemory(t *testing.T) {
	const n = 2000
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	fill(t, token, n)
	must(t, token.Close())
	before := heap()
	token = openToken(t, store)
	login(t, token)
	list := objects(t, token)
	after := heap()
	if per := (int64(after) - int64(before)) / n; per > 1536 || len(list) != n {
		t.Errorf("%d objects take %d bytes each", len(list), per)
	} else {
		t.Logf("%d bytes each", per)
	}
	runtime.KeepAlive(list)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestNeighboursOfState looks for what Argon2id takes next beside what is kept for
// its sake: a page of Go's allocator that is in use is overwritten afterwards. The
// memory is first left with holes in it, of which more and more are filled; those
// that other tests have left are filled before.
func TestNeighboursOfState(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // each has pages of its own
	runtime.GC()
	var filling [10000][]byte
	for i := range filling {
		filling[i] = make([]byte, stateLen)
	}
	for taken := range 100 {
		var pieces [500][]byte
		for i := range pieces {
			pieces[i] = make([]byte, stateLen)
		}
		for i := range pieces {
			if i%7 < 3 || i > 400 {
				pieces[i] = nil
			}
		}
		runtime.GC()
		percent := debug.SetGCPercent(-1)
		for i := range taken {
			pieces[i] = make([]byte, stateLen)
		}
		neighbours := neighboursOfState()
		next := make([]byte, stateLen)
		debug.SetGCPercent(percent)
		last := neighbours[len(neighbours)-1]
		if a, b := reflect.ValueOf(last).Pointer(), reflect.ValueOf(next).Pointer(); a>>13 != b>>13 {
			t.Fatalf("of %d pieces the last is at %#x, and the next at %#x", len(neighbours), a, b)
		}
		runtime.KeepAlive(&pieces)
		runtime.KeepAlive(next)
	}
	runtime.KeepAlive(&filling)
}
