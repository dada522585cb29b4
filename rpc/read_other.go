//go:build !unix

package rpc

func readNow(uintptr, []byte) int { return 0 }
