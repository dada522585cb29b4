package fileflash

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table is a map that remembers the order in which it was filled, of any size and
// after any changes.
func TestTable(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		var table table
		want, order := map[string]place{}, map[string]int{}
		names := 1 + random.IntN(300)
		if seed%3 == 0 {
			table.reserve(random.IntN(300))
		}
		for i := range 2000 {
			name := fmt.Sprint("record-", random.IntN(names))
			before, had := want[name]
			var old place
			var ok bool
			if random.IntN(3) > 0 {
				p := place{off: int64(i), size: uint32(i), sum: random.Uint32()}
				old, ok = table.put(name, p)
				want[name], order[name] = p, i
			} else {
				old, ok = table.remove(name)
				delete(want, name)
			}
			require.Equal(t, had, ok, "seed %d, step %d", seed, i)
			require.Equal(t, before, old, "seed %d, step %d", seed, i)
			require.Equal(t, len(want), table.len(), "seed %d, step %d", seed, i)
			require.LessOrEqual(t, len(table.list), 2*len(want)+18, "seed %d, step %d: it is tidied", seed, i)
			for range 3 {
				name := fmt.Sprint("record-", random.IntN(names+1))
				p, ok := table.get(name)
				there, had := want[name]
				require.Equal(t, had, ok, "seed %d, step %d", seed, i)
				require.Equal(t, there, p, "seed %d, step %d", seed, i)
			}
			if i%100 > 0 {
				continue
			}
			last := -1
			for name, p := range table.all() {
				require.Equal(t, want[name], p, "seed %d, step %d", seed, i)
				require.Less(t, last, order[name], "seed %d, step %d", seed, i)
				last = order[name]
			}
		}
	}
}
