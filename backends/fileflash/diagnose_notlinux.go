//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package fileflash

import (
	"os"
	"syscall"
)

// mediumOf knows nothing of the medium here.
func mediumOf(string, *syscall.Stat_t) *medium { return &medium{free: -1, size: -1, files: -1} }

func lockHolder(*os.File) string { return "another process" }
