// Package fileflash is a [pal.Store] for systems with files: all records in one
// append-only log, written as flash likes to be written.
//
// Every change, a batch too, is one checksummed append and one sync. A change
// that the power cut short is dropped when the log is next opened; damage
// anywhere else is reported and never dropped. Several processes may use one
// directory. docs/fileflash.md describes the format and what it guarantees.
//
// Records are stored as they are given: encryption is the token's business. A
// replaced or removed record stays in the file until the next compaction, and
// on the medium for as long as the medium likes.
package fileflash

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-cryptoki/cryptoki/pal"
)

// Names of the files in the directory. There are no others: locks are taken on
// the directory itself.
const (
	logName = "flash.log" // the records
	newName = "flash.new" // a log being made, of no meaning until it is renamed
)

var (
	// ErrUnsafe says that the directory, or the log in it, is open to others: it
	// can be written by them, belongs to somebody else, or is a symbolic link.
	// It also matches fs.ErrPermission.
	ErrUnsafe error = unsafeError{}
	// ErrForeign says that flash.log is not a log of this package.
	ErrForeign = errors.New("not a fileflash log")
)

type unsafeError struct{}

func (unsafeError) Error() string        { return "not safe from other users" }
func (unsafeError) Is(target error) bool { return target == fs.ErrPermission }

// A VersionError says that the log was written in a format newer than this
// package knows. It matches errors.ErrUnsupported.
type VersionError struct {
	Version byte // the version found
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("format version %d is newer than %d, the newest known here; use the program that wrote it, or a newer one", e.Version, version)
}

// Is reports whether target is errors.ErrUnsupported.
func (e *VersionError) Is(target error) bool { return target == errors.ErrUnsupported }

// Options modify how a store is opened. The zero value is the default.
type Options struct {
	// Create makes the directory, and those above it, with mode 0700 if it does
	// not exist. Without it, a missing directory is fs.ErrNotExist.
	Create bool
	// ReadOnly refuses changes, with pal.ErrReadOnly, even where they are
	// possible. A directory or file system that cannot be written is always
	// opened so, and written when it has become writable.
	ReadOnly bool
}

// A Store keeps records in the log of one directory. It is safe for concurrent
// use by goroutines, which share syncs when they write at once, and by several
// processes.
//
// Load and Names take no lock and never wait for a writer. What other processes
// change becomes visible with Changes, with Lock, and when something is written.
type Store struct {
	fs   FS
	name string // of the directory, for errors

	lockMu   sync.Mutex   // held from Lock to unlock
	commitMu sync.Mutex   // held while the directory's lock is taken, used or released
	unlock   func() error // while the directory's lock is taken
	held     bool         // it is taken by Lock; written with mu held, too
	tidy     bool         // newName has been looked for

	queueMu sync.Mutex
	queue   []*pending

	mu       sync.RWMutex // guards what follows; taken last
	log      File         // nil as long as there is none
	img      *image
	inflight bool   // this Store holds the lock and is writing behind img.end
	foreign  uint64 // counts changes by others
	readOnly error  // why changes are refused
	asked    bool   // to refuse them: they are, even where they are possible
	closed   bool
	// When the log was last changed, if what is behind img.end was looked at long
	// enough after that; else 0.
	quietSince atomic.Int64

	// These belong to the writer, under commitMu.
	dirDirty bool // the log's name may not be durable yet
	// After a compaction has failed, the next is tried when the log is larger
	// than retrySize or has less live data than retryLive.
	retrySize, retryLive int64
}

var (
	_ pal.Batcher    = (*Store)(nil)
	_ pal.BulkLoader = (*Store)(nil)
	_ pal.Locker     = (*Store)(nil)
	_ pal.Watcher    = (*Store)(nil)
)

// Open opens the store in dir. The directory must belong to the user, not be a
// symbolic link, and not be writable by others (ErrUnsafe). A log that is
// damaged, other than by a last change cut short, is pal.ErrCorrupt; one that is
// damaged within a record is opened, and Load of that record reports it.
func Open(dir string, opts *Options) (*Store, error) {
	if opts == nil {
		opts = &Options{}
	}
	fsys, err := openDir(dir, opts.Create)
	if err != nil {
		return nil, fmt.Errorf("fileflash: %s: %w", dir, err)
	}
	s, err := OpenFS(fsys, dir, opts)
	if err != nil {
		fsys.Close()
		return nil, err
	}
	return s, nil
}

// OpenFS opens a store in a directory of another kind: the file system of a
// board, or a simulated one. name stands for it in errors. Close closes fsys.
func OpenFS(fsys FS, name string, opts *Options) (*Store, error) {
	s := &Store{fs: fsys, name: name, img: newImage()}
	if opts != nil && opts.ReadOnly {
		s.readOnly, s.asked = errors.New("opened for reading"), true
	} else if err := fsys.Writable(); err != nil {
		s.readOnly = err
	}
	if err := s.look(); err != nil {
		if s.log != nil {
			s.log.Close()
		}
		return nil, err
	}
	s.foreign = 0
	return s, nil
}

// Close ends the use of the store. Nothing is lost without it.
func (s *Store) Close() error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	return errors.Join(err, s.fs.Close())
}

// Save makes data the record of that name: one append, one sync.
func (s *Store) Save(name string, data []byte) error {
	if err := pal.CheckRecord(name, data); err != nil {
		return err
	}
	return s.commit(&pending{changes: []pal.Change{{Name: name, Data: data}}})
}

// Remove deletes the record of that name: one append, one sync.
func (s *Store) Remove(name string) error {
	if err := pal.CheckName(name); err != nil {
		return err
	}
	return s.commit(&pending{changes: []pal.Change{{Name: name}}, mustExist: true})
}

// Batch makes the changes as one step: one append, one sync.
func (s *Store) Batch(changes []pal.Change) error {
	if err := pal.CheckBatch(changes); err != nil {
		return err
	}
	if len(changes) == 0 {
		return nil
	}
	return s.commit(&pending{changes: changes})
}

// Load reads the record of that name and checks it.
func (s *Store) Load(name string) ([]byte, error) {
	if err := pal.CheckName(name); err != nil {
		return nil, err
	}
	data, doubt, err := s.load(name)
	if doubt {
		// The record came from a change whose end was not seen: its writer may
		// have taken it back.
		if err := s.refreshForSure(); err != nil {
			return nil, err
		}
		data, _, err = s.load(name)
	}
	return data, err
}

func (s *Store) load(name string) (data []byte, doubt bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, false, s.error(fs.ErrClosed)
	}
	p, ok := s.img.records.get(name)
	if !ok {
		return nil, false, s.errorf("record %s: %w", name, fs.ErrNotExist)
	}
	data = make([]byte, p.size)
	_, err = readFull(s.log, data, p.off)
	if err = s.checkRecord(name, p, data, err); err != nil {
		return nil, !s.img.settled, err
	}
	return data, false, nil
}

// checkRecord says what is wrong with a record that was read.
func (s *Store) checkRecord(name string, p place, data []byte, err error) error {
	if err != nil {
		return s.errorf("%s: record %s at offset %d: %w", logName, name, p.off, err)
	}
	if crc32.Checksum(data, castagnoli) != p.sum {
		return s.errorf("%s: record %s at offset %d: %w: its checksum is wrong; save it again, or restore the directory from a backup", logName, name, p.off, pal.ErrCorrupt)
	}
	return nil
}

// LoadAll reads the records in the order in which they are on the medium, in
// large steps.
func (s *Store) LoadAll(f func(name string, data []byte, err error)) error {
	doubtful, err := s.loadAll(f)
	if err != nil {
		return err
	}
	for _, name := range doubtful {
		data, err := s.Load(name)
		if !errors.Is(err, fs.ErrNotExist) {
			f(name, data, err)
		}
	}
	return nil
}

// loadAll returns the names of the records that its writer may have taken back.
func (s *Store) loadAll(f func(name string, data []byte, err error)) (doubtful []string, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, s.error(fs.ErrClosed)
	}
	w := &window{f: s.log, size: s.img.end}
	for name, p := range s.img.records.all() {
		data, err := w.at(p.off, int64(p.size))
		if err = s.checkRecord(name, p, data, err); err == nil {
			f(name, data, nil)
		} else if s.img.settled {
			f(name, nil, err)
		} else {
			doubtful = append(doubtful, name)
		}
	}
	return doubtful, nil
}

// Names returns the names of the records, in no order.
func (s *Store) Names() ([]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, s.error(fs.ErrClosed)
	}
	names := make([]string, 0, s.img.records.len())
	for name := range s.img.records.all() {
		names = append(names, name)
	}
	return names, nil
}

// Foreign returns the names of files in the directory that are not of this
// package, sorted. They are left alone.
func (s *Store) Foreign() ([]string, error) {
	names, err := s.fs.Names()
	if err != nil {
		return nil, s.error(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == logName || n == newName })
	slices.Sort(names)
	return names, nil
}

// Check reads every record and returns the errors of those that are damaged,
// joined, in the order of the medium; nil if all are well.
func (s *Store) Check() error {
	var errs []error
	err := s.LoadAll(func(_ string, _ []byte, err error) {
		if err != nil {
			errs = append(errs, err)
		}
	})
	return errors.Join(append(errs, err)...)
}

// Stats describes a log.
type Stats struct {
	Records  int
	Size     int64 // bytes of the log up to the end of its last change
	Live     int64 // bytes that it would have after compaction
	Dropped  int64 // bytes after the last change, left by one that was cut short
	ReadOnly bool  // changes are refused
}

// Stats describes the log as it was last read.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{Records: s.img.records.len(), Size: s.img.end, Live: s.img.live, Dropped: s.img.dropped, ReadOnly: s.readOnly != nil}
}

// String names the directory.
func (s *Store) String() string { return "fileflash:" + s.name }

func (s *Store) error(err error) error { return fmt.Errorf("fileflash: %s: %w", s.name, err) }

func (s *Store) errorf(format string, args ...any) error {
	return s.error(fmt.Errorf(format, args...))
}
