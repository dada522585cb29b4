package rpc

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A thousand clients that come and go, each at another point of its work, leave no
// goroutine and no descriptor behind.
func TestNothingIsLeft(t *testing.T) {
	path, _, s := listening(t, Options{})
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 0
		}
		return len(list)
	}
	connect(t, path).Close()
	require.Eventually(t, func() bool { return s.Connections() == 0 }, wait, time.Millisecond)
	goroutines, files := runtime.NumGoroutine(), descriptors()
	open := request(callOpenSession, func(w *writer) { w.uint64(1); w.uint64(6) })
	random := request(callGenerateRandom, func(w *writer) { w.uint64(1); w.uint32(100) })
	all := append(append(hello(), open...), random...)
	for i := range 1000 {
		c := connect(t, path)
		c.Write(all[:i%(len(all)+1)])
		c.Close()
	}
	require.Eventually(t, func() bool {
		// The watch of all connections goes when it sees that there are none.
		return s.Connections() == 0 && runtime.NumGoroutine() <= goroutines+1 && descriptors() <= files
	}, wait, 5*time.Millisecond)
}
