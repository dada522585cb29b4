package fileflash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/go-cryptoki/cryptoki/pal"
)

// An image is what a log says.
type image struct {
	id      uint64
	base    int64
	end     int64 // of the last whole entry; 0 if there is no log
	live    int64 // size that the log would have after compaction
	records table

	size    int64 // of the file when it was read
	settled bool  // the mark at end is there: the entries are there to stay
	dropped int64 // bytes behind end that are neither an entry, nor the mark, nor room

	last    int64           // offset of the last entry, 0 if there is none
	lastTop [entrySize]byte // and its beginning
}

func newImage() *image { return &image{settled: true} }

// apply makes a change in the image.
func (m *image) apply(name string, put bool, p place) {
	var old place
	var replaced bool
	if put {
		old, replaced = m.records.put(name, p)
		m.live += recordSize(name, p.size)
	} else {
		old, replaced = m.records.remove(name)
	}
	if replaced {
		m.live -= recordSize(name, old.size)
	}
}

// An applier makes the changes that are read from a log in its image. If they are
// many, it does so while more of them are read.
type applier struct {
	m     *image
	size  int64  // of the log
	names []byte // of the changes, one behind the other
	list  []scanned
	queue chan chunk // nil as long as there were few
	done  chan struct{}
}

// A scanned change of a record whose name is as long as that.
type scanned struct {
	place
	name uint8
	put  bool
}

type chunk struct {
	names string
	list  []scanned
}

// chunkLen is how many names share a string: few enough that it does not matter if
// all but one of them are gone.
const chunkLen = 256

// maxHint bounds what is made because of the size of a file alone.
const maxHint = 1 << 17

func (a *applier) add(c headChange, p place) {
	if len(a.list) == chunkLen {
		if a.queue == nil {
			if a.m.records.len() == 0 {
				// So many are to be expected, if all that was written is alive.
				n := int(min(a.size*chunkLen/p.off, maxHint))
				a.m.records.reserve(n)
			}
			a.queue, a.done = make(chan chunk, 4), make(chan struct{})
			go func() {
				defer close(a.done)
				for c := range a.queue {
					a.m.applyAll(c)
				}
			}()
		}
		a.queue <- chunk{string(a.names), a.list}
		a.names, a.list = a.names[:0], make([]scanned, 0, chunkLen)
	}
	a.names = append(a.names, c.name...)
	a.list = append(a.list, scanned{p, uint8(len(c.name)), c.put})
}

// end returns when all changes are made.
func (a *applier) end() {
	if a.queue != nil {
		close(a.queue)
		<-a.done
	}
	a.m.applyAll(chunk{string(a.names), a.list})
}

func (m *image) applyAll(c chunk) {
	names := c.names
	for _, s := range c.list {
		m.apply(names[:s.name], s.put, s.place)
		names = names[s.name:]
	}
}

// readHeader reads the header of a log of that size.
func readHeader(f io.ReaderAt, size int64) (*image, error) {
	var h [headerSize]byte
	n, err := f.ReadAt(h[:min(size, headerSize)], 0)
	if err != nil && !(err == io.EOF && int64(n) == min(size, headerSize)) {
		return nil, err
	}
	if n >= 1+len(magic) && string(h[1:1+len(magic)]) == magic && h[0] > version {
		return nil, &VersionError{Version: h[0]}
	}
	switch {
	case n < headerSize:
		return nil, fmt.Errorf("%w: %d bytes are no complete header; restore the directory from a backup", pal.ErrCorrupt, n)
	case string(h[1:1+len(magic)]) != magic:
		return nil, fmt.Errorf("%w (or %w in its header); move the file away, or restore the directory from a backup", ErrForeign, pal.ErrCorrupt)
	case h[0] != version || crc32.Checksum(h[:28], castagnoli) != binary.LittleEndian.Uint32(h[28:]):
		return nil, fmt.Errorf("%w: the checksum of the header is wrong; restore the directory from a backup", pal.ErrCorrupt)
	}
	m := newImage()
	m.id = binary.LittleEndian.Uint64(h[8:])
	base := binary.LittleEndian.Uint64(h[16:])
	if base < headerSize || base > uint64(size) {
		return nil, fmt.Errorf("%w: %d bytes, but it once had %d; restore the directory from a backup", pal.ErrCorrupt, size, base)
	}
	m.base = int64(base)
	m.end, m.live = headerSize, headerSize
	return m, nil
}

// extend reads the entries from m.end on, in a file of the given size.
func (m *image) extend(f io.ReaderAt, size int64) (changed bool, err error) {
	w := &window{f: f, size: size}
	a := &applier{m: m, size: size}
	defer a.end()
	for {
		next, top, err := m.entry(w, m.end, a)
		if err != nil {
			return changed, err
		}
		if next == 0 {
			break
		}
		m.last, m.lastTop, m.end = m.end, top, next
		changed = true
	}
	m.size, m.dropped = size, 0
	if m.settled, err = m.marked(w, m.end); err != nil {
		return changed, err
	}
	behind := m.end
	if m.settled {
		behind += markSize
	}
	for off := behind; ; off++ {
		if off, err = w.skipZeros(off); off == size || err != nil {
			return changed, err
		}
		m.dropped = off + 1 - behind
	}
}

// tops are for quiet, which is called with every search.
var tops = sync.Pool{New: func() any { return new([entrySize]byte) }}

// quiet reports whether the log is as it was read. The caller has found its size
// to be the same; an entry that was written into the room shows behind the mark.
func (m *image) quiet(f io.ReaderAt) (bool, error) {
	if !m.settled || m.dropped > 0 {
		return false, nil
	}
	top := tops.Get().(*[entrySize]byte)
	defer tops.Put(top)
	n, err := f.ReadAt(top[:min(entrySize, m.size-m.end)], m.end)
	if err != nil && err != io.EOF {
		return false, err
	}
	clear(top[n:])
	return n >= markSize && binary.LittleEndian.Uint64(top[:]) == markAt(m.id, m.end) &&
		[entrySize - markSize]byte(top[markSize:]) == [entrySize - markSize]byte{}, nil
}

// entry has the entry at off applied and returns where the next one begins. It is 0
// if there is no whole entry, and none was ever durable there.
func (m *image) entry(w *window, off int64, a *applier) (next int64, top [entrySize]byte, err error) {
	next, head, err := m.head(w, off)
	if err != nil {
		return 0, top, err
	}
	if next == 0 {
		return 0, top, m.torn(w, off, off+1)
	}
	w.head = append(w.head[:0], head...) // what follows moves the window
	head = w.head
	copy(top[:], head)
	// Data need only be looked at if it may have been cut short.
	if durable, err := m.durable(w, next); err != nil {
		return 0, top, err
	} else if !durable && off >= m.base {
		whole, err := m.whole(w, off, head)
		if err != nil {
			return 0, top, err
		}
		if !whole {
			proof, err := m.proof(w, next)
			if err != nil || !proof {
				return 0, top, err
			}
		}
	}
	at := off + int64(len(head))
	parseHead(head[entrySize:], func(c headChange) {
		a.add(c, place{at, c.size, c.sum})
		at += int64(c.size)
	})
	return next, top, nil
}

// head returns the entry at off without its data, and where the next one would
// begin; 0 if there is no valid head, or the data does not fit the file. The
// slice is valid until w is used again.
func (m *image) head(w *window, off int64) (next int64, head []byte, err error) {
	if off+entrySize > w.size {
		return 0, nil, nil
	}
	top, err := w.at(off, entrySize)
	if err != nil {
		return 0, nil, err
	}
	n := int64(binary.LittleEndian.Uint32(top[8:]))
	if n == 0 || off+entrySize+n > w.size {
		return 0, nil, nil
	}
	head, err = w.at(off, entrySize+n)
	if err != nil {
		return 0, nil, err
	}
	if headSum(m.id, off, head[8:12], head[entrySize:]) != binary.LittleEndian.Uint32(head[12:]) {
		return 0, nil, nil
	}
	data, ok := parseHead(head[entrySize:], nil)
	next = off + entrySize + n + data
	if !ok || next > w.size {
		return 0, nil, nil
	}
	return next, head, nil
}

// durable reports whether what precedes off was durable once, as far as off
// itself shows it.
func (m *image) durable(w *window, off int64) (bool, error) {
	if off <= m.base {
		return true, nil
	}
	if ok, err := m.marked(w, off); ok || err != nil {
		return ok, err
	}
	next, _, err := m.head(w, off)
	return next != 0, err
}

// whole reports whether the data of the entry at off is as it was written.
func (m *image) whole(w *window, off int64, head []byte) (bool, error) {
	type piece struct {
		off       int64
		size, sum uint32
	}
	var pieces []piece
	at := off + int64(len(head))
	parseHead(head[entrySize:], func(c headChange) {
		if c.put {
			pieces = append(pieces, piece{at, c.size, c.sum})
			at += int64(c.size)
		}
	})
	for _, p := range pieces {
		data, err := w.at(p.off, int64(p.size))
		if err != nil {
			return false, err
		}
		if crc32.Checksum(data, castagnoli) != p.sum {
			return false, nil
		}
	}
	return true, nil
}

// torn returns an error if an entry at off, which is not valid, was durable once:
// if there is proof at from or behind it.
func (m *image) torn(w *window, off, from int64) error {
	proof := off < m.base
	if !proof {
		var err error
		if proof, err = m.proof(w, from); err != nil {
			return err
		}
	}
	if proof {
		return &damage{off}
	}
	return nil
}

// proof looks for a mark at from or anywhere behind it.
func (m *image) proof(w *window, from int64) (bool, error) {
	for off := from; off+markSize <= w.size; {
		b, err := w.at(off, min(w.size-off, int64(len(zeros))))
		if err != nil {
			b, err = w.at(off, markSize) // as far as it can be read
		}
		if err != nil {
			return false, err
		}
		for len(b) >= markSize {
			switch binary.LittleEndian.Uint64(b) {
			case markAt(m.id, off):
				return true, nil
			case 0:
				// The next mark ends behind the next byte that is not zero.
				next, err := w.skipZeros(off + markSize)
				if err != nil {
					return false, err
				}
				off, b = next-markSize, nil // skipZeros has moved the window
			default:
				b = b[1:]
			}
			off++
		}
	}
	return false, nil
}

// marked reports whether there is a mark at off.
func (m *image) marked(w *window, off int64) (bool, error) {
	if off+markSize > w.size {
		return false, nil
	}
	b, err := w.at(off, markSize)
	if err != nil {
		return false, err
	}
	return binary.LittleEndian.Uint64(b) == markAt(m.id, off), nil
}

// damage is an entry that was durable once and is not valid now.
type damage struct{ off int64 }

func (d *damage) Error() string {
	return fmt.Sprintf("%v at offset %d, with valid ones behind it; restore the directory from a backup", pal.ErrCorrupt, d.off)
}

func (d *damage) Unwrap() error { return pal.ErrCorrupt }

// A window reads a file in large steps.
type window struct {
	f    io.ReaderAt
	size int64
	off  int64
	buf  []byte
	head []byte // of the entry that is being applied
}

const windowSize = 128 << 10

// at returns n bytes at off, which are within size. The slice is valid until the
// next call.
func (w *window) at(off, n int64) ([]byte, error) {
	if off < w.off || off+n > w.off+int64(len(w.buf)) {
		want := min(max(n, windowSize), w.size-off)
		if int64(cap(w.buf)) < want {
			w.buf = make([]byte, want)
		}
		w.buf, w.off = w.buf[:want], off
		if got, err := readFull(w.f, w.buf, off); err != nil {
			// What is further behind may be unreadable; that is for who wants it.
			if w.buf = w.buf[:got]; int64(got) < n {
				return nil, fmt.Errorf("offset %d: %w", off+int64(got), err)
			}
		}
	}
	return w.buf[off-w.off:][:n:n], nil
}

// skipZeros returns the offset of the next byte from off on that is not zero, or
// the size.
func (w *window) skipZeros(off int64) (int64, error) {
	for off < w.size {
		b, err := w.at(off, min(w.size-off, int64(len(zeros))))
		if err != nil {
			return off, err
		}
		if !bytes.Equal(b, zeros[:len(b)]) {
			return off + int64(len(b)-len(bytes.TrimLeft(b, "\x00"))), nil
		}
		off += int64(len(b))
	}
	return off, nil
}

var zeros [4 << 10]byte

// readFull reads len(b) bytes; a file that is too short is io.ErrUnexpectedEOF.
func readFull(f io.ReaderAt, b []byte, off int64) (int, error) {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
