//go:build unix && !solaris && !aix

package pal

import (
	"os"
	"path/filepath"
	"syscall"
)

// modesMatter says that the permission bits of a file mean something.
const modesMatter = true

// lockFile takes an exclusive lock on a file, which it makes if it is missing.
func lockFile(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	return func() { f.Close() }, nil
}

// syncDir makes the renaming of a file durable.
func syncDir(file string) error {
	d, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
