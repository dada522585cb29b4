package fileflash

import "syscall"

// changeTime is when the file was last changed, in Unix nanoseconds.
func changeTime(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }
