//go:build unix

package rpc

import "golang.org/x/sys/unix"

// readNow reads what is there, without waiting; 0 if nothing is.
func readNow(fd uintptr, b []byte) int {
	n, err := unix.Read(int(fd), b)
	if err != nil {
		return 0
	}
	return n
}
