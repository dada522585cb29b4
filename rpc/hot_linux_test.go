package rpc

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A signal, as the Go runtime sends them to its threads, ends no read of a hot
// connection; and changing costs no descriptors.
func TestHotSignals(t *testing.T) {
	s, c, log := heated(t, Options{})
	files := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(list)
	}
	before := files()
	for range 100 {
		heat(t, s, c)
		threads, err := os.ReadDir("/proc/self/task")
		require.NoError(t, err)
		for _, thread := range threads {
			tid, err := strconv.Atoi(thread.Name())
			require.NoError(t, err)
			unix.Tgkill(os.Getpid(), tid, syscall.SIGURG) // the thread may have gone
		}
		for s.hot.Load() > 0 {
			runtime.Gosched()
		}
	}
	require.Zero(t, codeIn(t, exchange(t, c, request(callGetInfo, nil))))
	require.Empty(t, log.String())
	require.LessOrEqual(t, files(), before+1)
}
