//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package fileflash

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
)

// openDir says that there is no store on this system: without a lock that ends
// with its process, a rename over an open file and the owner of a directory,
// the promises cannot be kept. OpenFS works.
func openDir(string, bool) (FS, error) {
	return nil, fmt.Errorf("%w on %s; keep the records in a pal.Mem or another pal.Store", errors.ErrUnsupported, runtime.GOOS)
}

func isFull(error) bool { return false }

func isReadOnly(err error) bool { return errors.Is(err, fs.ErrPermission) }
