package atecc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
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

// busNumber is N of the bus that Linux has as /dev/i2c-N and periph calls I2CN.
func busNumber(bus i2c.Bus) (string, bool) {
	n, ok := strings.CutPrefix(bus.String(), "I2C")
	_, err := strconv.ParseUint(n, 10, 16)
	return n, ok && err == nil
}

// lockFileOf is the device file of a bus of Linux.
func lockFileOf(bus i2c.Bus) string {
	n, ok := busNumber(bus)
	if !ok {
		return ""
	}
	name := "/dev/i2c-" + n
	if _, err := os.Stat(name); err != nil {
		return ""
	}
	return name
}

// speedOf is what the device tree says that a bus of Linux runs at, 0 if it says
// nothing.
func speedOf(bus i2c.Bus) physic.Frequency {
	n, ok := busNumber(bus)
	if !ok {
		return 0
	}
	b, err := os.ReadFile("/sys/bus/i2c/devices/i2c-" + n + "/of_node/clock-frequency")
	if err != nil || len(b) != 4 {
		return 0
	}
	return physic.Frequency(binary.BigEndian.Uint32(b)) * physic.Hertz
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
