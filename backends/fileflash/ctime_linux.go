package fileflash

import (
	"syscall"
	"unsafe"
)

// changeTime is when the file was last changed, in Unix nanoseconds.
func changeTime(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }

// readFileClock reads the clock that the kernel takes changeTime from. It is not
// that of time.Now: it moves with the ticks, and they stop when the processor that
// counts them does, as a virtual machine's may while others run. 0 says that it
// cannot be read.
func readFileClock() int64 {
	const realtimeCoarse = 5
	var now syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, realtimeCoarse, uintptr(unsafe.Pointer(&now)), 0); errno != 0 {
		return 0
	}
	return now.Nano()
}
