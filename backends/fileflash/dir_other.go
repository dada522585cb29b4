//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package fileflash

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"github.com/go-cryptoki/cryptoki/driver"
)

// openDir says that there is no store on this system: without a lock that ends
// with its process, a rename over an open file and the owner of a directory,
// the promises cannot be kept. OpenFS works.
func openDir(string, bool) (FS, error) {
	return nil, fmt.Errorf("%w on %s; keep the records in a pal.Mem or another pal.Store", errors.ErrUnsupported, runtime.GOOS)
}

// Diagnose says that there is no store on this system.
func Diagnose(dir string) ([]driver.Finding, *Snapshot) {
	_, err := openDir(dir, false)
	return []driver.Finding{{Severity: driver.Problem, Name: "directory", Text: err.Error(), Cure: "see the message"}}, nil
}

func isFull(error) bool { return false }

func isReadOnly(err error) bool { return errors.Is(err, fs.ErrPermission) }

func readFileClock() int64 { return 0 }
