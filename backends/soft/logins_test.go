package soft

import (
	"os"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// TestManyLoginsInLittleMemory has a process that many log in at once, to four
// tokens, need the memory of one Argon2id and not more.
func TestManyLoginsInLittleMemory(t *testing.T) {
	const child = "SOFT_MANY_LOGINS"
	if os.Getenv(child) == "" {
		cmd := proc.Command(t, os.Args[0], "-test.run=^TestManyLoginsInLittleMemory$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		peak := regexp.MustCompile(`heap: (\d+) KiB`).FindSubmatch(out)
		if peak == nil {
			t.Fatalf("it has not said how much memory it needed:\n%s", out)
		}
		kib, err := strconv.Atoi(string(peak[1]))
		must(t, err)
		// The addresses that the heap has had, which are not all memory at a time.
		if kib > 3*int(DefaultKDF.MemoryKiB) {
			t.Errorf("it needed %d KiB, of which Argon2id uses %d", kib, DefaultKDF.MemoryKiB)
		}
		return
	}
	var all sync.WaitGroup
	for range 4 {
		token, err := New(new(pal.Mem), nil)
		must(t, err)
		must(t, token.InitToken(ctx, soPIN, "gateway"))
		for range 4 {
			all.Go(func() {
				if err := token.Login(ctx, pkcs11.CKU_SO, soPIN); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("heap: %d KiB", m.HeapSys>>10)
}
