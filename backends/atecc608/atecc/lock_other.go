//go:build !linux

package atecc

import (
	"errors"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// A fileLock keeps other processes away from a chip. There is none on this
// platform: a nil lock is always free.
type fileLock struct{}

func openLock(string) (*fileLock, error) { return nil, errors.ErrUnsupported }

func lockFileOf(i2c.Bus) string { return "" }

func speedOf(i2c.Bus) physic.Frequency { return 0 }

func (*fileLock) try(uint16) bool { return true }

func (*fileLock) unlock(uint16) {}

func (*fileLock) close() error { return nil }
