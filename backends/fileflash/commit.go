package fileflash

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"strings"

	"github.com/go-cryptoki/cryptoki/pal"
)

// A pending is a change that waits for its sync. Those that wait at the same
// time are written as one entry.
type pending struct {
	changes   []pal.Change
	mustExist bool // a removal of what is not there is fs.ErrNotExist
	done      bool // under commitMu
	err       error
}

// maxGroup bounds the data of an entry that is made of several pending changes.
const maxGroup = 256 << 10

// commit makes the change durable.
func (s *Store) commit(p *pending) error {
	s.queueMu.Lock()
	s.queue = append(s.queue, p)
	s.queueMu.Unlock()
	// Whoever gets here first writes for all who are waiting by then.
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	for !p.done {
		s.commitGroup()
	}
	return p.err
}

// commitGroup makes the changes of those who wait as one entry. The caller holds
// commitMu.
func (s *Store) commitGroup() {
	err := s.begin()
	group := s.takeGroup() // late, so that those who came meanwhile are in it
	if err == nil && s.dirDirty {
		// First, whatever is to be changed: a removal that failed when its log had
		// got its name, and is tried again, finds nothing to remove.
		if err = ioError(s.fs.SyncDir()); err == nil {
			s.dirDirty = false
		} else {
			err = errors.Join(s.error(err), s.finish())
		}
	}
	if err == nil {
		if items := s.resolve(group); len(items) > 0 {
			if err = s.write(items); err != nil {
				err = s.errorf("%s: %w", describe(items), err)
			}
		}
		err = errors.Join(err, s.finish())
	}
	for _, p := range group {
		p.done = true
		if p.err == nil {
			p.err = err
		}
	}
}

func (s *Store) takeGroup() []*pending {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	n, size := 0, 0
	for n < len(s.queue) && size <= maxGroup {
		for _, c := range s.queue[n].changes {
			size += entrySize + len(c.Name) + len(c.Data)
		}
		n++
	}
	group := s.queue[:n:n]
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return group
}

// begin takes the lock, unless this Store holds it already, and makes the image
// current.
func (s *Store) begin() error {
	s.mu.RLock()
	readOnly, asked, closed := s.readOnly, s.asked, s.closed
	s.mu.RUnlock()
	if readOnly != nil && !asked && !closed {
		var err error
		if readOnly, err = s.writable(); err != nil {
			return err
		}
	}
	switch {
	case closed:
		return s.error(fs.ErrClosed)
	case readOnly != nil && errors.Is(readOnly, pal.ErrReadOnly):
		return s.error(readOnly)
	case readOnly != nil:
		return s.errorf("%w: %w", pal.ErrReadOnly, readOnly)
	}
	if !s.held {
		if err := s.acquire(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	var err error
	if !s.held { // else nobody has written since Lock
		err = s.refresh(true)
	}
	if err == nil {
		s.inflight = true
	}
	s.mu.Unlock()
	if err != nil && !s.held {
		err = errors.Join(err, s.release())
	}
	return err
}

// writable looks whether a directory that could not be written can be now, and
// returns why not.
func (s *Store) writable() (reason, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readOnly = s.fs.Writable(); s.readOnly != nil {
		return s.readOnly, nil
	}
	err = s.reload() // the log is open for reading
	return s.readOnly, err
}

func (s *Store) finish() error {
	s.mu.Lock()
	s.inflight = false
	s.mu.Unlock()
	if s.held {
		return nil
	}
	return s.release()
}

// resolve turns a group into items: the last change of each name, without
// removals of what is not there.
func (s *Store) resolve(group []*pending) []item {
	n := 0
	for _, p := range group {
		n += len(p.changes)
	}
	items := make([]item, 0, n)
	at := make(map[string]int, n) // index in items
	for _, p := range group {
		if p.mustExist {
			name := p.changes[0].Name
			_, exists := s.img.records.get(name)
			if i, ok := at[name]; ok {
				exists = items[i].put
			}
			if !exists {
				p.err = s.errorf("record %s: %w", name, fs.ErrNotExist)
				continue
			}
		}
		for _, c := range p.changes {
			if i, ok := at[c.Name]; ok {
				items[i] = newItem(c)
				continue
			}
			at[c.Name] = len(items)
			items = append(items, newItem(c))
		}
	}
	kept := items[:0]
	for _, it := range items {
		if _, exists := s.img.records.get(it.name); it.put || exists {
			kept = append(kept, it)
		}
	}
	return kept
}

// write appends the items as one entry, or compacts the log with them in it. Only
// the caller, who holds the lock, changes the image.
func (s *Store) write(items []item) error {
	if !s.tidy {
		// A compaction that was cut short may have left its file.
		if err := s.fs.Remove(newName); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return ioError(err)
		}
		s.tidy = true
	}
	if s.log == nil {
		_, err := s.compact(items)
		return ioError(err)
	}
	entry := s.img.encode(items)
	defer clear(entry)
	size, live := s.img.end+int64(len(entry))+markSize, s.img.liveWith(items)
	if size > logLimit(live) && (size > s.retrySize || live < s.retryLive) {
		done, err := s.compact(items)
		if done || err == nil {
			return ioError(err)
		}
		s.retrySize, s.retryLive = size+size/4, live/2 // and append meanwhile
	}
	err := ioError(s.append(entry, items, live))
	if errors.Is(err, pal.ErrFull) && size > minLog && size > 2*live {
		// A compacted log is smaller by more than it needs while it is made.
		if done, err2 := s.compact(items); done || err2 == nil {
			return ioError(err2)
		}
	}
	return err
}

// append writes the entry behind the last one and syncs it. If that fails, the
// file is no longer than it was. live is the live size with the items.
func (s *Store) append(entry []byte, items []item, live int64) error {
	m := s.img
	good := m.end
	if m.settled {
		good += markSize
	}
	if m.dropped > 0 {
		if err := s.log.Truncate(good); err != nil {
			return err
		}
		s.mu.Lock()
		m.size, m.dropped = good, 0
		s.mu.Unlock()
	}
	end := m.end + int64(len(entry))
	size := m.size
	_, err := s.log.WriteAt(entry, m.end)
	if err == nil {
		if limit := logLimit(live); end+markSize > size {
			size = makeRoom(s.log, end, live)
		} else if limit = max(limit, end+markSize); size > limit && s.log.Truncate(limit) == nil {
			size = limit // there is less room when less is alive
		}
		err = s.log.Sync()
	}
	if err != nil {
		// After a failed sync nobody knows what is durable, so the entry must
		// not stay. If it cannot be cut off now, the next change does it.
		s.mu.Lock()
		m.dropped = 1
		if s.log.Truncate(good) == nil {
			m.size, m.dropped = good, 0
		}
		s.mu.Unlock()
		return err
	}
	settled := s.writeMark(s.log, m.id, end)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		m.apply(it.name, it.put, it.place)
	}
	copy(m.lastTop[:], entry)
	m.last, m.end, m.size, m.settled = m.end, end, size, settled
	m.noteMark()
	return nil
}

// noteMark notes what writeMark has made of the size of the file.
func (m *image) noteMark() {
	if m.settled {
		m.size = max(m.size, m.end+markSize)
	} else {
		m.size = m.end
	}
}

const (
	// There is made room for an eighth of what is alive, from minRoom to maxRoom.
	minRoom = 8 << 10
	maxRoom = 64 << 10
	// minBlock is the smallest block of the file systems in use.
	minBlock = 1 << 10
)

// logLimit is the size that a log with so much alive may have.
func logLimit(live int64) int64 { return max(minLog, maxGarbage*live) }

// makeRoom extends a log that has been written up to end and has so much alive, so
// that the entries that follow change neither the size of the file nor where it is
// on the medium: to sync them is to write them, while a file system that has to note
// more writes and flushes its journal, too. It returns the size of the file.
//
// One byte is written for each block, and the file system makes the rest of it
// zeros. The log stays within its limit.
func makeRoom(log File, end, live int64) (size int64) {
	size = end
	to := min(end+min(max(minRoom, live/8), maxRoom), logLimit(live))
	for last := end | (minBlock - 1); last < to; last += minBlock {
		if _, err := log.WriteAt([]byte{0}, last); err != nil {
			return size // room is no more than a help
		}
		size = last + 1
	}
	return size
}

// writeMark writes the mark behind an entry that has become durable, and reports
// whether it could. It matters only for telling damage from an interruption.
func (s *Store) writeMark(f File, id uint64, end int64) bool {
	var mark [markSize]byte
	binary.LittleEndian.PutUint64(mark[:], markAt(id, end))
	if _, err := f.WriteAt(mark[:], end); err != nil {
		f.Truncate(end) // what is left of it is dropped like any torn end
		return false
	}
	return true
}

// encode returns the entry of the items at the end of the log.
func (m *image) encode(items []item) []byte {
	n := entrySize + headLen(items)
	for _, it := range items {
		n += len(it.data)
	}
	b := appendHead(make([]byte, 0, n), m.id, m.end, items)
	for _, it := range items {
		b = append(b, it.data...)
	}
	return b
}

// liveWith is the live size after the items.
func (m *image) liveWith(items []item) int64 {
	live := m.live
	for _, it := range items {
		if old, ok := m.records.get(it.name); ok {
			live -= recordSize(it.name, old.size)
		}
		if it.put {
			live += recordSize(it.name, it.size)
		}
	}
	return live
}

// describe names the first few records that are changed.
func describe(items []item) string {
	var names []string
	for i, it := range items {
		if i == 3 {
			names = append(names, "…")
			break
		}
		names = append(names, it.name)
	}
	return "write " + strings.Join(names, ", ")
}
