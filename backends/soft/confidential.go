package soft

import "iter"

// confidential calls f on a stack of its own, and clears that afterwards: what f,
// and the standard library below it, has left there of keys. The stack is that of
// a coroutine: a goroutine to be waited for would wake another processor up, which
// takes longer than most of what is done here.
//
// In a program that is built with GOEXPERIMENT=runtimesecret, the registers and
// the heap that f used are erased, too.
func confidential(f func()) {
	next, _ := iter.Pull(func(func(struct{}) bool) {
		growStack()
		onLargeStack(f)
	})
	next()
}

// stackLen is more than functions that handle keys need.
const stackLen = 24 << 10

// growStack makes the stack as large as onLargeStack wants it, as long as there is
// next to nothing on it to be copied.
//
//go:noinline
func growStack() {
	var b [2*stackLen + 1<<10]byte
	hold(b[:])
}

// onLargeStack calls f with stackLen bytes of stack ready, and as many in use: one
// that has to grow, or that the garbage collector finds too large, is copied, and
// the old one is not cleared.
//
//go:noinline
func onLargeStack(f func()) {
	var ballast [stackLen]byte
	hold(ballast[:])
	erased(f)
	clearStack()
	hold(ballast[:])
}

// clearStack clears what functions have left on the stack of this goroutine.
//
//go:noinline
func clearStack() {
	var b [stackLen]byte
	hold(b[:])
}

// hold makes the compiler have b, and have it cleared.
//
//go:noinline
func hold(b []byte) {}
