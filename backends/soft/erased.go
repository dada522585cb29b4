//go:build !goexperiment.runtimesecret

package soft

func erased(f func()) { f() }
