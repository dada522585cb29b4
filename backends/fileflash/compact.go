package fileflash

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"slices"
)

const (
	// maxGarbage is how many times larger than its live data a log may be, and
	// minLog the size up to which it does not matter, since a file system takes a
	// block for it anyway. A change that would exceed both is written by compaction.
	maxGarbage = 3
	minLog     = 4 << 10

	// An entry of a compacted log holds up to so many bytes of data.
	compactEntry = 64 << 10
)

// compact writes a new log of the live records and the items, and puts it in
// place of the old one: write, sync, rename, sync of the directory. done says
// that the new log has its name, even if err says that this is not durable.
func (s *Store) compact(items []item) (done bool, err error) {
	records := s.liveItems(items)
	m, err := s.writeNew(records)
	if m == nil {
		return false, err
	}
	if err := s.fs.Rename(newName, logName); err != nil {
		m.log.Close()
		s.fs.Remove(newName)
		return false, err
	}
	err = s.fs.SyncDir()
	if err == nil {
		m.img.settled = s.writeMark(m.log, m.img.id, m.img.end)
		m.img.noteMark()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log != nil {
		s.log.Close()
	}
	s.log, s.img = m.log, m.img
	s.dirDirty, s.retrySize, s.retryLive = err != nil, 0, 0
	return true, err
}

// liveItems returns what the log will hold, in the order of writing.
func (s *Store) liveItems(items []item) []item {
	replaced := make(map[string]bool, len(items))
	for _, it := range items {
		replaced[it.name] = true
	}
	live := make([]item, 0, s.img.records.len()+len(items))
	for name, p := range s.img.records.all() {
		if !replaced[name] {
			live = append(live, item{name: name, put: true, place: p})
		}
	}
	for _, it := range items {
		if it.put {
			live = append(live, it)
		}
	}
	return live
}

type newLog struct {
	log File
	img *image
}

// writeNew writes a log of the records under its temporary name and syncs it.
func (s *Store) writeNew(records []item) (*newLog, error) {
	if err := s.fs.Remove(newName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := s.fs.OpenFile(newName, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	img, err := s.fill(f, records)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		s.fs.Remove(newName)
		return nil, err
	}
	return &newLog{f, img}, nil
}

func (s *Store) fill(f File, records []item) (*image, error) {
	img := newImage()
	var id [8]byte
	rand.Read(id[:])
	img.id = binary.LittleEndian.Uint64(id[:])
	groups := split(records)
	img.base = headerSize
	for _, g := range groups {
		img.base += entrySize + int64(headLen(g))
		for _, it := range g {
			img.base += int64(it.size)
		}
	}
	img.live = headerSize
	b := appendHeader(nil, img.id, img.base)
	defer func() { clear(b) }()
	for _, g := range groups {
		if len(b) > compactEntry {
			if _, err := f.WriteAt(b, img.end); err != nil {
				return nil, err
			}
			img.end += int64(len(b))
			b = b[:0]
		}
		at := img.end + int64(len(b))
		old := make([]int64, len(g))
		for i, it := range g {
			old[i] = it.off
		}
		b = appendHead(b, img.id, at, g)
		for i, it := range g {
			if it.data != nil {
				b = append(b, it.data...)
				continue
			}
			// A damaged record is copied with its sum, and stays damaged.
			n := len(b)
			b = slices.Grow(b, int(it.size))[:n+int(it.size)]
			if _, err := readFull(s.log, b[n:], old[i]); err != nil {
				return nil, err
			}
		}
		for _, it := range g {
			img.apply(it.name, true, it.place)
		}
		img.last = at
		copy(img.lastTop[:], b[at-img.end:])
	}
	if _, err := f.WriteAt(b, img.end); err != nil {
		return nil, err
	}
	img.end += int64(len(b))
	img.size, img.settled = makeRoom(f, img.end, img.live), false
	return img, nil
}

// split divides records into the entries of a compacted log.
func split(records []item) [][]item {
	var groups [][]item
	start, size := 0, 0
	for i, it := range records {
		size += int(it.size)
		if size > compactEntry || i-start == 256 {
			if i > start {
				groups = append(groups, records[start:i])
			}
			start, size = i, int(it.size)
		}
	}
	if start < len(records) {
		groups = append(groups, records[start:])
	}
	return groups
}
