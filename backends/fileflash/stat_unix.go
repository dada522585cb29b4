//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package fileflash

import "syscall"

func (f *osFile) Status() (size int64, linked bool, err error) {
	var st syscall.Stat_t
	err = syscall.Fstat(f.fd, &st)
	return st.Size, st.Nlink > 0, err
}

func (d *directory) Current(name string, f File) (bool, error) { return d.current(name, f.(*osFile)) }

func readFileClock() int64 { return 0 }
