package fileflash

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/go-cryptoki/cryptoki/pal"
)

// Lock waits until no other process, no other Store and no other caller of Lock
// holds the directory, and reads what they changed. Changes by other goroutines
// through this Store that take no Lock may still happen in between.
func (s *Store) Lock() (unlock func() error, err error) {
	s.lockMu.Lock()
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if err := s.acquire(); err != nil {
		s.lockMu.Unlock()
		return nil, err
	}
	s.mu.Lock()
	err = s.refresh(true)
	s.mu.Unlock()
	if err != nil {
		s.release()
		s.lockMu.Unlock()
		return nil, err
	}
	s.setHeld(true)
	return func() error {
		s.commitMu.Lock()
		defer s.commitMu.Unlock()
		defer s.lockMu.Unlock()
		s.setHeld(false)
		return s.release()
	}, nil
}

func (s *Store) setHeld(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = is
}

// acquire takes the directory's lock. The caller holds commitMu, and nobody the
// lock.
func (s *Store) acquire() error {
	unlock, err := s.fs.Lock()
	if err != nil {
		return s.errorf("lock: %w", err)
	}
	s.unlock = unlock
	return nil
}

func (s *Store) release() error {
	unlock := s.unlock
	s.unlock = nil
	if err := unlock(); err != nil {
		return s.errorf("unlock: %w", err)
	}
	return nil
}

// Changes reads what others have written since the last look, and returns a
// number that grows when there was something. Without changes it costs two
// system calls, one when the last change is not of just now, and none while the
// lock is held.
func (s *Store) Changes() (uint64, error) {
	s.mu.RLock()
	n, quiet := s.foreign, s.quiet()
	s.mu.RUnlock()
	if quiet {
		return n, nil
	}
	err := s.look()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.foreign, err
}

// look is refresh without waiting for a writer, unless it has to.
func (s *Store) look() error {
	s.mu.Lock()
	err := s.refresh(false)
	s.mu.Unlock()
	// What looks damaged may have been read while it was written, and an I/O
	// error may have been the end of a file just cut.
	if errors.Is(err, pal.ErrCorrupt) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s.refreshForSure()
	}
	return err
}

// settledAge is how long ago a change is whose time no later one can have: kernels
// count it in ticks of up to 10 ms.
var settledAge = 100 * time.Millisecond

// fileClock is the clock of those times, in Unix nanoseconds. A later change has no
// earlier time than it says now.
var fileClock = readFileClock

// quiet reports, cheaply, that nobody has written. The caller holds mu.
func (s *Store) quiet() bool {
	if s.closed || s.log == nil {
		return false
	}
	if s.inflight || s.held {
		return true
	}
	var size, changed int64
	var linked bool
	var err error
	if f, ok := s.log.(datedFile); ok {
		size, linked, changed, err = f.DatedStatus()
	} else {
		size, linked, err = s.log.Status()
	}
	if err != nil || !linked || size != s.img.size {
		return false
	}
	// An entry in the room leaves the size as it is. The time of the change tells,
	// if it is long enough ago for any other to have another time. File systems that
	// count in seconds, or two, are known by a time without a fraction.
	if changed != 0 && changed == s.quietSince.Load() {
		return true
	}
	old := changed%int64(time.Second) != 0 && time.Since(time.Unix(0, changed)) > settledAge &&
		fileClock()-changed > int64(settledAge)
	quiet, err := s.img.quiet(s.log)
	if !quiet || err != nil {
		return false
	}
	if old {
		s.quietSince.Store(changed)
	}
	return true
}

// refreshForSure is refresh while nobody writes.
func (s *Store) refreshForSure() error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if !s.held {
		if err := s.acquire(); err != nil {
			return err
		}
		defer s.release()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refresh(true)
}

// refresh brings the image up to date. The caller holds mu, and the directory's
// lock if sure: then the name of the log is looked at too, and what is found is
// what the next entry is written after.
func (s *Store) refresh(sure bool) error {
	if s.closed {
		return s.error(fs.ErrClosed)
	}
	if s.inflight {
		return nil
	}
	if s.log == nil {
		return s.reload()
	}
	size, linked, err := s.status(sure)
	if err != nil {
		return s.errorf("%s: %w", logName, err)
	}
	if !linked {
		return s.reload()
	}
	if size == s.img.size {
		if quiet, err := s.img.quiet(s.log); err != nil {
			return s.errorf("%s: %w", logName, err)
		} else if quiet {
			return nil
		}
	}
	if !s.img.settled && s.img.last != 0 {
		var top [entrySize]byte
		if _, err := readFull(s.log, top[:], s.img.last); err != nil || top != s.img.lastTop {
			return s.reload() // the entry was taken back after we had read it
		}
	}
	if size < s.img.end {
		return s.reload()
	}
	changed, err := s.img.extend(s.log, size)
	if changed {
		s.foreign++
	}
	if err != nil {
		return s.errorf("%s: %w", logName, err)
	}
	return nil
}

// status returns the size of the log, and whether it still has a name; whether that is
// the log's if sure.
func (s *Store) status(sure bool) (size int64, linked bool, err error) {
	if named, ok := s.fs.(namedFS); ok && sure {
		return named.NamedStatus(logName, s.log)
	}
	size, linked, err = s.log.Status()
	if err == nil && linked && sure {
		linked, err = s.fs.Current(logName, s.log)
	}
	return size, linked, err
}

// reload opens the log and reads all of it. The caller holds mu.
func (s *Store) reload() error {
	flag := os.O_RDWR
	if s.readOnly != nil {
		flag = os.O_RDONLY
	}
	f, err := s.fs.OpenFile(logName, flag)
	if reason := ioError(err); flag == os.O_RDWR && errors.Is(reason, pal.ErrReadOnly) {
		if f, err = s.fs.OpenFile(logName, os.O_RDONLY); err == nil {
			s.readOnly = reason
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		if s.log != nil {
			return s.errorf("%s is gone: %w; restore the directory from a backup", logName, err)
		}
		return nil // an empty store
	}
	if err != nil {
		return s.error(err)
	}
	img, err := readLog(f)
	if err != nil {
		f.Close()
		return s.errorf("%s: %w", logName, err)
	}
	if s.log != nil {
		s.log.Close()
	}
	s.log, s.img = f, img
	s.quietSince.Store(0)
	s.foreign++
	// A log that is marked behind its base got its name durably before. Of one
	// that is not, the process that renamed it may have died too early to say.
	s.dirDirty = img.end == img.base && !img.settled
	return nil
}

func readLog(f File) (*image, error) {
	size, _, err := f.Status()
	if err != nil {
		return nil, err
	}
	img, err := readHeader(f, size)
	if err != nil {
		return nil, err
	}
	if _, err := img.extend(f, size); err != nil {
		return nil, err
	}
	return img, nil
}

// ioError wraps the error of a write with what it means for the store.
func ioError(err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return fmt.Errorf("%w: %w; free some space", pal.ErrFull, err)
	case isReadOnly(err):
		return fmt.Errorf("%w: %w", pal.ErrReadOnly, err)
	}
	return err
}
