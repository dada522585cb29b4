package soft

import (
	"bytes"
	"iter"
	"os"
	"testing"
)

// TestStacksAreCleared reads the memory of stacks when they are not in use any more:
// what was on them is gone, but from one that nobody clears.
func TestStacksAreCleared(t *testing.T) {
	mem, err := os.Open("/proc/self/mem")
	must(t, err)
	defer mem.Close()
	// leftovers calls on with a function that leaves marks on the stack, and reports
	// how often it has left some.
	leftovers := func(on func(f func()), mark func() uintptr, n int) (found int) {
		left := make([]byte, n)
		for range 20 {
			var low uintptr
			on(func() { low = mark() })
			if _, err := mem.ReadAt(left, int64(low)); err != nil {
				continue // it went back to the system
			}
			if bytes.Contains(left, bytes.Repeat([]byte{stackMark}, 16)) {
				found++
			}
		}
		return found
	}
	plain := func(f func()) {
		next, _ := iter.Pull(func(func(struct{}) bool) { growSealStack(); f() })
		next()
	}
	if leftovers(plain, markSealStack, sealMarked) == 0 {
		t.Error("nothing is found on a stack that is not cleared: the test sees nothing")
	}
	if n := leftovers(confidentialSeal, markSealStack, sealMarked); n > 0 {
		t.Errorf("something is left on %d of 20 small stacks", n)
	}
	if n := leftovers(confidential, markStack, marked); n > 0 {
		t.Errorf("something is left on %d of 20 stacks", n)
	}
}
