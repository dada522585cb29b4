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

// confidentialSeal is confidential for an f that derives keys, seals and opens. It
// needs a stack so small that Go has one at hand, where it takes and clears memory
// for a large one.
func confidentialSeal(f func()) {
	next, _ := iter.Pull(func(func(struct{}) bool) {
		growSealStack()
		onSealStack(f)
	})
	next()
}

const (
	// stackLen is more than functions that handle keys need, sealStackLen more than
	// those that seal do.
	stackLen     = 24 << 10
	sealStackLen = 8 << 10
	// sealBallast and sealStackLen together take up most of 16 KiB, and sealBallast
	// alone a quarter, below which the garbage collector finds that too large.
	sealBallast = 5 << 10
)

// never is false. What is used under it has its place on the stack all the same, and
// is not cleared for that.
var never bool

// growStack makes the stack as large as onLargeStack wants it, as long as there is
// next to nothing on it to be copied.
//
//go:noinline
func growStack() {
	if never {
		var b [2*stackLen + 1<<10]byte
		hold(b[:])
	}
}

// growSealStack does it for onSealStack.
//
//go:noinline
func growSealStack() {
	if never {
		var b [sealStackLen + sealBallast + 1<<9]byte
		hold(b[:])
	}
}

// onLargeStack calls f with stackLen bytes of stack ready, and as many in use: one
// that has to grow, or that the garbage collector finds too large, is copied, and
// the old one is not cleared.
//
//go:noinline
func onLargeStack(f func()) {
	erased(f)
	clearStack()
	if never {
		var ballast [stackLen]byte
		hold(ballast[:])
	}
}

// onSealStack does it with sealStackLen bytes ready, and sealBallast in use.
//
//go:noinline
func onSealStack(f func()) {
	erased(f)
	clearSealStack()
	if never {
		var ballast [sealBallast]byte
		hold(ballast[:])
	}
}

// clearStack clears what functions have left on the stack of this goroutine.
//
//go:noinline
func clearStack() {
	var b [stackLen]byte
	hold(b[:])
}

//go:noinline
func clearSealStack() {
	var b [sealStackLen]byte
	hold(b[:])
}

// hold makes the compiler have b, and have it cleared.
//
//go:noinline
func hold(b []byte) {}
