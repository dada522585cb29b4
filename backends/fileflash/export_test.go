package fileflash

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/go-cryptoki/cryptoki/driver"
)

// Queued is the number of changes that wait to be written.
func (s *Store) Queued() int {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	return len(s.queue)
}

// Limits of the log's size.
const (
	MinLog     = minLog
	MaxGarbage = maxGarbage
)

// Moved is an entry as it would be in a log of that id at that offset.
func Moved(entry []byte, id uint64, off int64) []byte {
	b := bytes.Clone(entry)
	n := binary.LittleEndian.Uint32(b[8:])
	binary.LittleEndian.PutUint64(b, markAt(id, off))
	binary.LittleEndian.PutUint32(b[12:], headSum(id, off, b[8:12], b[16:16+n]))
	return b
}

// A Medium is what is known of one.
type Medium struct {
	Memory, Network   string
	ReadOnly          bool
	Free, Size, Files int64
	Device            string
	Life, EOL         int
}

// Diagnose returns the findings about a log of that size.
func (m Medium) Diagnose(dir string, log int64) []driver.Finding {
	d := &diagnosis{}
	(&medium{m.Memory, m.Network, m.ReadOnly, m.Free, m.Size, m.Files, m.Device, m.Life, m.EOL}).diagnose(d, dir, log)
	return d.list
}

// SetSettledAge sets how long ago a change is whose time no later one can have.
func SetSettledAge(d time.Duration) (restore func()) {
	old := settledAge
	settledAge = d
	return func() { settledAge = old }
}
