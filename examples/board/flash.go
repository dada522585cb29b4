package board

import (
	"fmt"
	"io"
	"os"
)

// Geometry of the flash of this board: 1024 sectors of 4 KiB. Set it to yours.
const (
	SectorSize = 4096
	Sectors    = 1024
)

// A Flash is what the board's driver offers: the three things that NOR flash
// can do. Replace [File] with your own and keep the rest.
type Flash interface {
	// ReadAt reads len(p) bytes at an offset from the beginning of the flash.
	io.ReaderAt
	// Program writes p at off. It can turn ones into zeros only, so what it
	// writes to was erased. When it returns, p is in the flash.
	Program(off int64, p []byte) error
	// Erase sets a whole sector to 0xff.
	Erase(sector int) error
}

// File is a flash that is simulated in a file.
type File struct{ f *os.File }

// OpenFile opens the flash in the file of that name, an erased one if there is
// no such file.
func OpenFile(name string) (*File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	flash := &File{f}
	info, err := f.Stat()
	if err == nil && info.Size() == 0 {
		for sector := 0; err == nil && sector < Sectors; sector++ {
			err = flash.set(sector)
		}
		if err == nil {
			err = f.Sync()
		}
	} else if err == nil && info.Size() != Sectors*SectorSize {
		err = fmt.Errorf("flash %s: %d bytes, want %d", name, info.Size(), Sectors*SectorSize)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return flash, nil
}

// ReadAt implements [Flash].
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// Program implements [Flash].
func (f *File) Program(off int64, p []byte) error {
	old := make([]byte, len(p))
	if _, err := f.f.ReadAt(old, off); err != nil {
		return err
	}
	for i := range old {
		old[i] &= p[i]
	}
	if _, err := f.f.WriteAt(old, off); err != nil {
		return err
	}
	return f.f.Sync()
}

// Erase implements [Flash].
func (f *File) Erase(sector int) error {
	if err := f.set(sector); err != nil {
		return err
	}
	return f.f.Sync()
}

func (f *File) set(sector int) error {
	erased := make([]byte, SectorSize)
	for i := range erased {
		erased[i] = 0xff
	}
	_, err := f.f.WriteAt(erased, int64(sector)*SectorSize)
	return err
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }
