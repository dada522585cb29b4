//go:build !linux

package drbg

func watchForks() {}

// forkCount looks whether this is the child of a fork, and returns forks.
func forkCount() uint32 {
	comparePID()
	return forks.Load()
}
