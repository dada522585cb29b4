package soft

import (
	"runtime"
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
