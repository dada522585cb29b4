package fileflash

import (
	"errors"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// Status asks for no times, which fstat gives whoever calls it: since Linux 6.13 a
// file whose times somebody has seen gets a time of its own with its next change
// (Documentation/filesystems/multigrain-ts.rst), and ext4 then writes and flushes
// its journal with the sync that follows, as if the file had grown.
func (f *osFile) Status() (size int64, linked bool, err error) {
	var st unix.Statx_t
	err = statx(f.fd, "", unix.AT_EMPTY_PATH, unix.STATX_SIZE|unix.STATX_NLINK, &st)
	if errors.Is(err, errors.ErrUnsupported) {
		size, linked, _, err = f.DatedStatus()
		return size, linked, err
	}
	return int64(st.Size), st.Nlink > 0, err
}

func (f *osFile) DatedStatus() (size int64, linked bool, changed int64, err error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(f.fd, &st); err != nil {
		return 0, false, 0, err
	}
	return st.Size, st.Nlink > 0, st.Ctim.Nano(), nil
}

func (d *directory) Current(name string, f File) (bool, error) {
	_, current, err := d.NamedStatus(name, f)
	return current, err
}

// NamedStatus asks for no times either.
func (d *directory) NamedStatus(name string, f File) (size int64, current bool, err error) {
	var named unix.Statx_t
	err = statx(int(d.self.Fd()), name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_SIZE, &named)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		if current, err = d.current(name, f.(*osFile)); err == nil && current {
			size, current, err = f.Status()
		}
		return size, current, err
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	opened := f.(*osFile).info.Sys().(*syscall.Stat_t)
	current = named.Ino == uint64(opened.Ino) && unix.Mkdev(named.Dev_major, named.Dev_minor) == uint64(opened.Dev)
	return int64(named.Size), current, nil
}

// statCall is statx(2), which systems before 2017 do not have, and do not let programs
// in containers use.
var statCall = unix.Statx

// statx is statCall, and errors.ErrUnsupported without it.
func statx(dir int, name string, flags, mask int, st *unix.Statx_t) error {
	for {
		switch err := statCall(dir, name, flags, mask, st); err {
		case unix.EINTR:
		case unix.ENOSYS, unix.EPERM:
			return errors.ErrUnsupported
		default:
			return err
		}
	}
}

// readFileClock reads the clock that the kernel takes the times of changes from. It
// is not that of time.Now: it moves with the ticks, and they stop when the processor
// that counts them does, as a virtual machine's may while others run. 0 says that it
// cannot be read.
func readFileClock() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
		return 0
	}
	return now.Nano()
}
