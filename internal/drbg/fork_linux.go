package drbg

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// madvWipeOnFork has the kernel fill the page with zeros in the child of a fork.
// Since Linux 4.14.
const madvWipeOnFork = 18

// alive is 1 in a page that a fork wipes; nil if the kernel offers none. A look
// at it costs what a load from memory costs, os.Getpid a system call.
var alive *atomic.Uint32

var watchForks = sync.OnceFunc(func() {
	page, err := syscall.Mmap(-1, 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return
	}
	if err := syscall.Madvise(page, madvWipeOnFork); err != nil {
		syscall.Munmap(page)
		return
	}
	alive = (*atomic.Uint32)(unsafe.Pointer(&page[0]))
	alive.Store(1)
})

// forkCount looks whether this is the child of a fork, and returns forks.
func forkCount() uint32 {
	switch {
	case alive == nil:
		comparePID()
	case alive.Load() == 0:
		forks.Add(1) // before the others can see that it is noticed
		alive.Store(1)
	}
	return forks.Load()
}
