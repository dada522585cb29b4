package fileflash

import "golang.org/x/sys/unix"

// Wear is what a device says of its wear.
func Wear(sys string, dev uint64) (device string, life, eol int) {
	var m medium
	m.wear(sys, dev)
	return m.device, m.life, m.eol
}

// DatedFile is a file that knows when it was changed.
type DatedFile = datedFile

// SetStatCall replaces statx(2).
func SetStatCall(call func(int, string, int, int, *unix.Statx_t) error) (restore func()) {
	old := statCall
	statCall = call
	return func() { statCall = old }
}

// OpenDir is the operating system's directory.
func OpenDir(path string, create bool) (FS, error) { return openDir(path, create) }

// SetFileClock replaces the clock of the times of changes.
func SetFileClock(clock func() int64) (restore func()) {
	old := fileClock
	fileClock = clock
	return func() { fileClock = old }
}
