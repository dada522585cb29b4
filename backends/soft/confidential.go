//go:build !goexperiment.runtimesecret

package soft

// confidential calls f. In a program built with GOEXPERIMENT=runtimesecret, the
// registers, stack and heap that f used are erased afterwards.
func confidential(f func()) { f() }
