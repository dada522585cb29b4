// Package board is a template for board makers: a pal.Store over bare NOR flash
// with fixed sectors, without a file system. Copy it, replace the [Flash] by
// your driver's, and run the tests.
//
// A record takes one sector, or several if it does not fit into one. A change
// writes the new version into erased sectors and then erases the old one, so the
// old record is whole until the new one is:
//
//	Save    program the data of every part, then the headers, that of the first
//	        part last: with it the new version is valid; erase the old version
//	Remove  erase the first part, which makes the record invalid; erase the rest
//	New     read all headers; of two versions keep the newer, erase the rest
//
// Sectors are taken in turn, so that all of them wear alike.
package board

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/go-cryptoki/cryptoki/pal"
)

// A header is at the beginning of each sector that is in use:
//
//	0   4  magic
//	4   8  version of the record: larger is newer
//	12  1  number of this part, from 0
//	13  1  number of parts
//	14  2  bytes of data in this part
//	16  4  CRC-32C of that data
//	20  64 name, the rest zero
//	84  4  CRC-32C of bytes 0 to 83
//
// The magic number is the version of the format as well: change it with the
// layout.
const (
	magic      = "BRD1"
	headerSize = 88
	payload    = SectorSize - headerSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type header struct {
	version     uint64
	part, parts int
	size        int
	sum         uint32
	name        string
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint64(b[4:], h.version)
	b[12], b[13] = byte(h.part), byte(h.parts)
	binary.LittleEndian.PutUint16(b[14:], uint16(h.size))
	binary.LittleEndian.PutUint32(b[16:], h.sum)
	copy(b[20:84], h.name)
	binary.LittleEndian.PutUint32(b[84:], crc32.Checksum(b[:84], castagnoli))
	return b
}

// decode returns false if b is not a header: an erased sector, one whose
// programming or erasing was interrupted, or somebody else's data.
func decode(b []byte) (header, bool) {
	if string(b[:4]) != magic || binary.LittleEndian.Uint32(b[84:]) != crc32.Checksum(b[:84], castagnoli) {
		return header{}, false
	}
	h := header{
		version: binary.LittleEndian.Uint64(b[4:]),
		part:    int(b[12]),
		parts:   int(b[13]),
		size:    int(binary.LittleEndian.Uint16(b[14:])),
		sum:     binary.LittleEndian.Uint32(b[16:]),
		name:    strings.TrimRight(string(b[20:84]), "\x00"),
	}
	ok := h.part < h.parts && h.size > 0 && h.size <= payload && pal.CheckName(h.name) == nil
	return h, ok
}

// A Store keeps records in the sectors of a [Flash].
type Store struct {
	mu      sync.Mutex
	flash   Flash
	records map[string]record
	used    [Sectors]bool
	garbage []int  // used sectors that are to be erased, in this order
	version uint64 // of the record that was written last
	next    int    // where the search for a free sector goes on
}

// A record is the sectors of its parts in order; 0 and up, or lost.
type record struct{ sectors []int }

const lost = -1

var _ pal.Store = (*Store)(nil)

// New returns the store in flash, which it borrows. It reads the header of every
// sector, and erases what interrupted changes have left.
func New(flash Flash) (*Store, error) {
	s := &Store{flash: flash, records: make(map[string]record)}
	versions := make(map[string]map[uint64]record)
	for sector := range Sectors {
		h, ok, err := s.header(sector)
		if err != nil {
			return nil, err
		}
		if !ok {
			// Free, or interrupted while it was written or erased.
			blank, err := s.blank(sector)
			if err != nil {
				return nil, err
			}
			if !blank {
				s.discard(sector)
			}
			continue
		}
		s.used[sector] = true
		s.version = max(s.version, h.version)
		if versions[h.name] == nil {
			versions[h.name] = make(map[uint64]record)
		}
		r := versions[h.name][h.version]
		if r.sectors == nil {
			r.sectors = slices.Repeat([]int{lost}, h.parts)
			versions[h.name][h.version] = r
		}
		r.sectors[h.part] = sector
	}
	for name, all := range versions {
		// The newest version that was completed: its first part was written last
		// and is erased first.
		for _, v := range slices.Backward(slices.Sorted(maps.Keys(all))) {
			r := all[v]
			if _, newer := s.records[name]; newer || r.sectors[0] == lost {
				s.discard(r.sectors...)
			} else {
				s.records[name] = r
			}
		}
	}
	return s, s.collect()
}

// Save implements pal.Store.
func (s *Store) Save(name string, data []byte) error {
	if err := pal.CheckRecord(name, data); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.collect(); err != nil {
		return err
	}
	parts := slices.Collect(slices.Chunk(data, payload))
	sectors, err := s.allocate(len(parts))
	if err != nil {
		return fmt.Errorf("board: save %s: %w", name, err)
	}
	s.version++
	for i, part := range slices.Backward(parts) {
		h := header{
			version: s.version, part: i, parts: len(parts),
			size: len(part), sum: crc32.Checksum(part, castagnoli), name: name,
		}
		off := int64(sectors[i]) * SectorSize
		err := s.flash.Program(off+headerSize, part)
		if err == nil {
			err = s.flash.Program(off, h.encode())
		}
		if err != nil {
			// The first part goes first, should its header be there after all.
			s.discard(sectors...)
			return fmt.Errorf("board: save %s: sector %d: %w", name, sectors[i], err)
		}
	}
	s.discard(s.records[name].sectors...)
	s.records[name] = record{sectors}
	s.collect() // tried again before the next change
	return nil
}

// Load implements pal.Store.
func (s *Store) Load(name string) ([]byte, error) {
	if err := pal.CheckName(name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[name]
	if !ok {
		return nil, fmt.Errorf("board: record %s: %w", name, fs.ErrNotExist)
	}
	var data []byte
	for i, sector := range r.sectors {
		if sector == lost {
			return nil, fmt.Errorf("board: record %s: part %d of %d is lost: %w", name, i+1, len(r.sectors), pal.ErrCorrupt)
		}
		h, ok, err := s.header(sector)
		if err != nil {
			return nil, err
		}
		if ok && h.name == name {
			part := make([]byte, h.size)
			if _, err := s.flash.ReadAt(part, int64(sector)*SectorSize+headerSize); err != nil {
				return nil, fmt.Errorf("board: record %s: sector %d: %w", name, sector, err)
			}
			if ok = crc32.Checksum(part, castagnoli) == h.sum; ok {
				data = append(data, part...)
			}
		}
		if !ok {
			return nil, fmt.Errorf("board: record %s: sector %d: %w", name, sector, pal.ErrCorrupt)
		}
	}
	return data, nil
}

// Remove implements pal.Store.
func (s *Store) Remove(name string) error {
	if err := pal.CheckName(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[name]
	if !ok {
		return fmt.Errorf("board: remove %s: %w", name, fs.ErrNotExist)
	}
	// An older version that is still there would come back.
	if err := s.collect(); err != nil {
		return err
	}
	if first := r.sectors[0]; first != lost {
		if err := s.flash.Erase(first); err != nil {
			return fmt.Errorf("board: remove %s: sector %d: %w", name, first, err)
		}
		s.used[first] = false
	}
	delete(s.records, name)
	s.discard(r.sectors[1:]...)
	s.collect() // tried again before the next change
	return nil
}

// Names implements pal.Store.
func (s *Store) Names() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.records)), nil
}

// header reads the header of a sector; ok is false if it has none.
func (s *Store) header(sector int) (h header, ok bool, err error) {
	b := make([]byte, headerSize)
	if _, err := s.flash.ReadAt(b, int64(sector)*SectorSize); err != nil {
		return header{}, false, fmt.Errorf("board: sector %d: %w", sector, err)
	}
	h, ok = decode(b)
	return h, ok, nil
}

// blank reports whether a sector is erased.
func (s *Store) blank(sector int) (bool, error) {
	b := make([]byte, SectorSize)
	if _, err := s.flash.ReadAt(b, int64(sector)*SectorSize); err != nil {
		return false, fmt.Errorf("board: sector %d: %w", sector, err)
	}
	return bytes.Count(b, []byte{0xff}) == len(b), nil
}

// allocate takes n free sectors, beginning after those taken last.
func (s *Store) allocate(n int) ([]int, error) {
	var sectors []int
	for i := 0; i < Sectors && len(sectors) < n; i++ {
		if sector := (s.next + i) % Sectors; !s.used[sector] {
			sectors = append(sectors, sector)
		}
	}
	if len(sectors) < n {
		return nil, fmt.Errorf("%d free sectors are needed: %w", n, pal.ErrFull)
	}
	for _, sector := range sectors {
		s.used[sector] = true
	}
	s.next = (sectors[n-1] + 1) % Sectors
	return sectors, nil
}

// discard marks sectors as garbage.
func (s *Store) discard(sectors ...int) {
	for _, sector := range sectors {
		if sector != lost {
			s.used[sector] = true
			s.garbage = append(s.garbage, sector)
		}
	}
}

// collect erases the garbage.
func (s *Store) collect() error {
	for len(s.garbage) > 0 {
		sector := s.garbage[0]
		if err := s.flash.Erase(sector); err != nil {
			return fmt.Errorf("board: erase sector %d: %w", sector, err)
		}
		s.used[sector] = false
		s.garbage = s.garbage[1:]
	}
	return nil
}
