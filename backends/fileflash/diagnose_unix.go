//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package fileflash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
)

// Diagnose looks at a directory, without changing anything or waiting for a lock,
// and says what is in order and what is not, as driver.DiagnoseFunc describes. If
// records can be read, it returns them as they are now, which the caller closes, else
// nil.
func Diagnose(dir string) ([]driver.Finding, *Snapshot) {
	d := &diagnosis{}
	s := d.directory(filepath.Clean(dir))
	return d.list, s
}

func (d *diagnosis) directory(dir string) *Snapshot {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.problem("directory", "make it with mkdir -m 700, by create=true in the token's name, or by cryptoki init; or correct the name", "%s does not exist", dir)
		return nil
	case errors.Is(err, fs.ErrPermission):
		d.problem("directory", "chmod o+x the directory that is named, or run as another user", "%s cannot be reached: user %s may not search %s", dir, userName(os.Geteuid()), closedParent(dir))
		return nil
	case err != nil:
		d.problem("directory", "see the message", "%s: %v", dir, plain(err))
		return nil
	case info.Mode()&fs.ModeSymlink != 0:
		target, _ := os.Readlink(dir)
		d.problem("directory", "name the directory that it leads to", "%s is a symbolic link to %s: whoever can change it can swap the token", dir, target)
		return nil
	case !info.IsDir():
		d.problem("directory", "name a directory", "%s is no directory", dir)
		return nil
	}
	st, _ := info.Sys().(*syscall.Stat_t)
	if st != nil && int(st.Uid) != os.Geteuid() {
		d.problem("owner", fmt.Sprintf("run as %s, or chown -R %s %s", userName(int(st.Uid)), userName(os.Geteuid()), dir), "%s belongs to user %s, this program runs as %s", dir, userName(int(st.Uid)), userName(os.Geteuid()))
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		who := "its group"
		if mode&0o002 != 0 {
			who = "everybody"
		}
		d.problem("permission", "chmod 700 "+dir, "%s can write %s (mode %04o), and so replace the token", who, dir, mode)
	} else if !d.bad {
		d.good("directory", "%s, mode %04o, of user %s", dir, mode, userName(os.Geteuid()))
	}
	f, err := os.Open(dir)
	if err != nil {
		d.problem("permission", "chmod 700 "+dir, "%s cannot be read: %v", dir, plain(err))
		return nil
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		d.problem("directory", "see the message; check the file system", "%s cannot be listed: %v", dir, plain(err))
		return nil
	}
	m := mediumOf(dir, st)
	s, size := d.log(dir)
	m.diagnose(d, dir, size)
	if err := syscall.Access(dir, 3); err != nil && !m.readOnly { // write and search
		d.warn("writable", "chmod u+wx "+dir+", if anything is to be changed", "%s cannot be written: signing works, changes are refused, and wrong PINs are counted in memory", dir)
	}
	d.foreign(dir, names)
	d.lock(dir, f)
	return s
}

// closedParent is the first directory on the way that cannot be searched.
func closedParent(path string) string {
	for parent := filepath.Dir(path); ; path, parent = parent, filepath.Dir(parent) {
		if _, err := os.Lstat(parent); err == nil || parent == path {
			return parent
		}
	}
}

// log opens and reads the log.
func (d *diagnosis) log(dir string) (_ *Snapshot, size int64) {
	path := filepath.Join(dir, logName)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.good("log", "there is no %s yet: the store is empty", path)
		return nil, 0
	case err != nil:
		d.problem("log", "see the message", "%s: %v", path, plain(err))
		return nil, 0
	case info.Mode()&fs.ModeSymlink != 0:
		d.problem("log", "move the file that it leads to here", "%s is a symbolic link", path)
		return nil, 0
	case !info.Mode().IsRegular():
		d.problem("log", "move it away", "%s is no regular file", path)
		return nil, 0
	}
	if st, _ := info.Sys().(*syscall.Stat_t); st != nil && int(st.Uid) != os.Geteuid() {
		d.problem("owner", fmt.Sprintf("chown %s %s", userName(os.Geteuid()), path), "%s belongs to user %s, this program runs as %s", path, userName(int(st.Uid)), userName(os.Geteuid()))
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		d.problem("permission", "chmod 600 "+path, "others can read or write %s (mode %04o)", path, mode)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		d.problem("permission", "chmod 600 "+path, "%s cannot be read: %v", path, plain(err))
		return nil, info.Size()
	}
	img, err := readLog(&osFile{File: f, fd: int(f.Fd())})
	if err != nil {
		f.Close()
		d.unreadable(path, err)
		return nil, info.Size()
	}
	if img.dropped > 0 {
		d.warn("interrupted", "check what was last changed, and do it again if it is missing; the next change removes the rest", "%s ends with %s of a change that was cut short, which has not happened", path, bytesText(img.dropped))
	}
	img.settled, img.dropped = true, 0 // read it as it is
	s := &Store{name: dir, log: &osFile{File: f, fd: int(f.Fd())}, img: img, readOnly: pal.ErrReadOnly}
	damaged := 0
	err = s.LoadAll(func(name string, _ []byte, err error) {
		if err != nil {
			damaged++
			d.problem("record", "save it again, or restore the directory from a backup; the other records work", "%s: record %s: %v", path, name, cause(err))
		}
	})
	if err != nil {
		d.problem("log", "see the message", "%s: %v", path, err)
	}
	stats := s.Stats()
	switch what := fmt.Sprintf("%s: %s in %d records, %s of them live", path, bytesText(stats.Size), stats.Records, bytesText(stats.Live)); {
	case stats.Size > minLog && stats.Size > 2*maxGarbage*stats.Live:
		d.warn("log", "free some space, so that the log can be compacted", "%s: it has not been compacted for want of space", what)
	case damaged == 0:
		d.good("log", "%s", what)
	}
	return &Snapshot{s}, stats.Size
}

// unreadable says why a log cannot be read at all.
func (d *diagnosis) unreadable(path string, err error) {
	const backup = "restore the directory from a backup; keep this one for whoever may repair it"
	var newer *VersionError
	switch {
	case errors.As(err, &newer):
		d.problem("version", "use the program that wrote it, or a newer one", "%s is in format version %d, this program knows versions up to %d", path, newer.Version, version)
	case errors.Is(err, ErrForeign):
		d.problem("log", "move the file away, or restore the directory from a backup", "%s is no log of a token, or its header is damaged", path)
	case errors.Is(err, pal.ErrCorrupt):
		d.problem("log", backup, "%s is damaged: %v", path, err)
	default:
		d.problem("log", backup, "%s cannot be read: %v", path, plain(err))
	}
}

// cause is what a record's error says beside the path, the name and the cure.
func cause(err error) error {
	if errors.Is(err, pal.ErrCorrupt) {
		return pal.ErrCorrupt
	}
	return plain(err)
}

// foreign names what is in the directory and not of this package.
func (d *diagnosis) foreign(dir string, names []string) {
	names = slices.DeleteFunc(names, func(n string) bool { return n == logName || n == "lost+found" })
	if i := slices.Index(names, newName); i >= 0 {
		names = slices.Delete(names, i, i+1)
		d.good("leftover", "%s is left from a compaction that was interrupted; the next change removes it", filepath.Join(dir, newName))
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	text := strings.Join(names[:min(len(names), 8)], ", ")
	if n := len(names) - 8; n > 0 {
		text += fmt.Sprintf(" and %d others", n)
	}
	d.warn("foreign", "move them elsewhere, if they are not meant to be there", "%s has files that are not the token's and are left alone: %s", dir, text)
}

// lock finds out whether the lock can be had now, and gives it back at once.
func (d *diagnosis) lock(dir string, f *os.File) {
	switch err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		flock(f, syscall.LOCK_UN)
		d.good("lock", "nobody holds the lock of %s", dir)
	case errors.Is(err, syscall.EWOULDBLOCK):
		d.warn("lock", "if that lasts, end the process; its lock goes with it", "%s is locked by %s, which writes at the moment or hangs", dir, lockHolder(f))
	default:
		d.problem("lock", "use a local file system", "%s cannot be locked: %v", dir, err)
	}
}

// userName is the name and number of a user.
func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return u.Username
	}
	return strconv.Itoa(id)
}
