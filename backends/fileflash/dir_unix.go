//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package fileflash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// directory is the FS of the operating system. It holds the directory open, so
// that nobody can put another in its place.
type directory struct {
	root *os.Root
	self *os.File // the directory, to lock and to sync it
	path string
}

// openDir opens a directory after checking that it belongs to the user alone.
func openDir(path string, create bool) (FS, error) {
	path = filepath.Clean(path) // a trailing slash would follow a symbolic link
	if create {
		if err := makeDir(path); err != nil {
			return nil, err
		}
	}
	before, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w; make it with mkdir -m 700, or check the name", fs.ErrNotExist)
	case err != nil:
		return nil, plain(err)
	case before.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("%w: it is a symbolic link; name the directory that it leads to", ErrUnsafe)
	case !before.IsDir():
		return nil, fmt.Errorf("%w; name a directory", syscall.ENOTDIR)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, plain(err)
	}
	self, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, plain(err)
	}
	d := &directory{root: root, self: self, path: path}
	info, err := self.Stat()
	if err == nil && !os.SameFile(before, info) {
		err = fmt.Errorf("%w: it was replaced while it was opened", ErrUnsafe)
	}
	if err == nil {
		err = private(info, 0o022, "chmod go-w")
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// makeDir makes the directory and its parents, durably.
func makeDir(path string) error {
	_, err := os.Lstat(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil // what it is, is found out later
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the directory: %w", plain(err))
	}
	p, err := os.Open(parent)
	if err != nil {
		return plain(err)
	}
	defer p.Close()
	return p.Sync()
}

// private returns an error if a file belongs to somebody else or has any of the
// permissions.
func private(info fs.FileInfo, perm fs.FileMode, cure string) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: it belongs to user %d, not %d; run as that user, or chown it", ErrUnsafe, st.Uid, os.Geteuid())
	}
	if mode := info.Mode().Perm(); mode&perm != 0 {
		return fmt.Errorf("%w: its mode is %04o; %s", ErrUnsafe, mode, cure)
	}
	return nil
}

// plain is err without the path, which the caller's error has already.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}

// osFile is a File of the operating system.
type osFile struct {
	*os.File
	fd   int         // for Status, which is called too often for File.Stat
	info os.FileInfo // of when it was opened, to know it by
}

func (d *directory) OpenFile(name string, flag int) (File, error) {
	f, err := d.root.OpenFile(name, flag|syscall.O_NONBLOCK, 0o600)
	if errors.Is(err, syscall.EISDIR) {
		return nil, fmt.Errorf("%s: %w; move it away", name, plain(err))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, plain(err))
	}
	info, err := f.Stat()
	if err == nil {
		err = d.check(name, info, flag)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, plain(err))
	}
	return &osFile{f, int(f.Fd()), info}, nil
}

// check refuses what is no file of the user alone. A Root follows symbolic links
// that stay in the directory.
func (d *directory) check(name string, info os.FileInfo, flag int) error {
	named, err := d.root.Lstat(name)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist): // it may have been replaced just now
		return err
	case err == nil && named.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: it is a symbolic link; remove it", ErrUnsafe)
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file; move it away")
	case flag&os.O_CREATE != 0:
		return nil
	}
	return private(info, 0o077, "chmod 600 it")
}

// current is Current by what fstat gives.
func (d *directory) current(name string, f *osFile) (bool, error) {
	named, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, plain(err)
	}
	return os.SameFile(named, f.info), nil
}

func (d *directory) Rename(from, to string) error { return plain(d.root.Rename(from, to)) }

func (d *directory) Remove(name string) error { return plain(d.root.Remove(name)) }

func (d *directory) Names() ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d *directory) SyncDir() error { return d.self.Sync() }

func (d *directory) Writable() error {
	const writeAndSearch = 3
	if err := syscall.Access(d.path, writeAndSearch); err != nil {
		return err
	}
	return nil
}

// Lock takes flock(2) on the directory: it needs no file, which somebody could
// remove, and ends with the process.
func (d *directory) Lock() (unlock func() error, err error) {
	if err := flock(d.self, syscall.LOCK_EX); err != nil {
		return nil, err
	}
	return func() error { return flock(d.self, syscall.LOCK_UN) }, nil
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR {
			return err
		}
	}
}

func (d *directory) Close() error { return errors.Join(d.self.Close(), d.root.Close()) }

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

func isReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}
