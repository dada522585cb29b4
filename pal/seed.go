package pal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// SeedLen is how many bytes of a seed a token reads and writes: 384 bits, what
// CTR_DRBG with AES-256 starts from.
const SeedLen = 48

// A Seed is the stored secret from which a generator starts on a board without a
// noise source, as MBEDTLS_ENTROPY_NV_SEED. It is put on each device when the
// device is made, from a good generator, and differs between any two: equal seeds
// mean equal keys.
//
// Whoever uses a seed reads it, derives from it both the state of a generator and
// the next seed, and starts only after WriteSeed has returned nil: nothing is
// ever generated from a seed that is still stored. If either call fails, there
// are no random numbers.
type Seed interface {
	// ReadSeed fills b from the beginning of the seed. A seed that is shorter is
	// an error, and so is a missing one (fs.ErrNotExist).
	ReadSeed(b []byte) error
	// WriteSeed replaces the seed, durably: after a power cut there is the old
	// one or the new one. b is not kept.
	WriteSeed(b []byte) error
}

// A LockedSeed is a Seed that several processes may use. Reading and writing it
// happen between Lock and unlock, so that no two of them start from the same.
type LockedSeed interface {
	Seed
	// Lock waits until nobody else holds the seed. The lock of a process that died
	// is gone.
	Lock() (unlock func(), err error)
}

var (
	_ LockedSeed = (*RecordSeed)(nil)
	_ LockedSeed = (*FileSeed)(nil)
)

// A RecordSeed is a Seed in a record of a Store, after a first byte that is the
// version of the format, 1. In the Store of a software token it may have any name
// but token, tries, journal, and those that begin with o-.
type RecordSeed struct {
	store Store
	name  string
}

// StoreSeed returns the seed that is the record of that name. It need not exist
// yet: WriteSeed makes it. Its methods use store like those of a token: not
// concurrently with others.
func StoreSeed(store Store, name string) *RecordSeed { return &RecordSeed{store, name} }

const recordSeedVersion = 1

// ReadSeed reads the record.
func (s *RecordSeed) ReadSeed(b []byte) error {
	data, err := s.store.Load(s.name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pal: seed: %w; put one there with WriteSeed when the device is made", err)
	}
	if err != nil {
		return fmt.Errorf("pal: seed: %w", err)
	}
	defer clear(data)
	switch {
	case len(data) == 0:
		return fmt.Errorf("pal: seed: record %s is empty: %w", s.name, ErrCorrupt)
	case data[0] != recordSeedVersion:
		return fmt.Errorf("pal: seed: record %s has format version %d, this program knows %d: %w", s.name, data[0], recordSeedVersion, errors.ErrUnsupported)
	case len(data)-1 < len(b):
		return fmt.Errorf("pal: seed: record %s holds %d bytes, %d are needed: %w", s.name, len(data)-1, len(b), ErrCorrupt)
	}
	copy(b, data[1:])
	return nil
}

// WriteSeed saves the record.
func (s *RecordSeed) WriteSeed(b []byte) error {
	data := append([]byte{recordSeedVersion}, b...)
	defer clear(data)
	if err := s.store.Save(s.name, data); err != nil {
		return fmt.Errorf("pal: seed: %w", err)
	}
	return nil
}

// Lock locks the store if it is a Locker.
func (s *RecordSeed) Lock() (unlock func(), err error) {
	l, ok := s.store.(Locker)
	if !ok {
		return func() {}, nil
	}
	u, err := l.Lock()
	if err != nil {
		return nil, fmt.Errorf("pal: seed: %w", err)
	}
	return func() { u() }, nil
}

// A FileSeed is a Seed in a file of its own: its bytes as they are, and no
// others. Beside it, a file whose name ends in .lock is used for locking, and one
// whose name ends in .new for writing.
type FileSeed struct {
	path string
	mu   sync.Mutex
}

// NewFileSeed returns the seed in the file of that path. It need not exist yet:
// WriteSeed makes it, readable for its owner only. One that others can read is
// refused.
func NewFileSeed(path string) *FileSeed { return &FileSeed{path: path} }

// ReadSeed reads the beginning of the file.
func (s *FileSeed) ReadSeed(b []byte) error {
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pal: seed: %w; put one of %d random bytes there when the device is made", err, SeedLen)
	}
	if err != nil {
		return fmt.Errorf("pal: seed: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("pal: seed: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("pal: seed: %s is not a regular file", s.path)
	case modesMatter && info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("pal: seed: others can access %s (mode %04o); replace it by a new one, of mode 0600", s.path, info.Mode().Perm())
	}
	if n, err := io.ReadFull(f, b); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("pal: seed: %s holds %d bytes, %d are needed; replace it by a new one", s.path, n, len(b))
	} else if err != nil {
		return fmt.Errorf("pal: seed: %w", err)
	}
	return nil
}

// WriteSeed writes a new file, syncs it, and renames it over the old one.
func (s *FileSeed) WriteSeed(b []byte) error {
	if err := s.write(b); err != nil {
		return fmt.Errorf("pal: seed: %w", err)
	}
	return nil
}

func (s *FileSeed) write(b []byte) error {
	temp := s.path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp, s.path)
	}
	if err != nil {
		os.Remove(temp)
		return err
	}
	return syncDir(s.path)
}

// Lock keeps other processes, and other users of this FileSeed, from the file.
func (s *FileSeed) Lock() (unlock func(), err error) {
	s.mu.Lock()
	release, err := lockFile(s.path + ".lock")
	if err != nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("pal: seed: %w", err)
	}
	return func() {
		release()
		s.mu.Unlock()
	}, nil
}
