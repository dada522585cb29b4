package drbg

import (
	"os"
	"sync/atomic"
)

// forks counts the forks that this process is the child of, as far as they were
// noticed. A state that was made when it was another number may be in use in the
// parent too.
var (
	forks atomic.Uint32
	pid   atomic.Int64
)

// comparePID counts a fork if the process is another one than at the last call.
func comparePID() {
	if now := int64(os.Getpid()); pid.Load() != now {
		forks.Add(1) // before the others can see the new number
		pid.Store(now)
	}
}
