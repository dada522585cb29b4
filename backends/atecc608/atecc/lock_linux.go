package atecc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
)

// A fileLock keeps other processes away from a chip: a lock on the byte of a file
// whose offset is the chip's address. The file is that of the bus itself where
// there is one: everybody who can use the bus can lock it, nobody else can, and
// nothing is left behind by a process that dies. A nil lock is always free.
//
// The lock belongs to the open file description (F_OFD_SETLK), so that two Devices
// of one process exclude each other, too.
type fileLock struct{ f *os.File }

func openLock(name string) (*fileLock, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &fileLock{f}, nil
}

// lockFileOf is the device file of a bus of Linux, which periph calls I2C1.
func lockFileOf(bus i2c.Bus) string {
	n, ok := strings.CutPrefix(bus.String(), "I2C")
	if _, err := strconv.ParseUint(n, 10, 16); !ok || err != nil {
		return ""
	}
	name := "/dev/i2c-" + n
	if _, err := os.Stat(name); err != nil {
		return ""
	}
	return name
}

// try takes the lock if it is free. A file that cannot be locked is no lock.
func (l *fileLock) try(addr uint16) bool {
	if l == nil {
		return true
	}
	err := l.fcntl(unix.F_WRLCK, addr)
	return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES)
}

func (l *fileLock) unlock(addr uint16) {
	if l != nil {
		_ = l.fcntl(unix.F_UNLCK, addr)
	}
}

func (l *fileLock) fcntl(typ int16, addr uint16) error {
	return unix.FcntlFlock(l.f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: typ, Start: int64(addr), Len: 1})
}

func (l *fileLock) close() error {
	if l == nil {
		return nil
	}
	if err := l.f.Close(); err != nil {
		return fmt.Errorf("atecc: lock: %w", err)
	}
	return nil
}
