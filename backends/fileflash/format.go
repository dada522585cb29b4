package fileflash

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/go-cryptoki/cryptoki/pal"
)

// The log, version 1. Numbers are little-endian; sums are CRC-32C.
//
// It begins with a header:
//
//	 0  1  version
//	 1  7  "ckflash"
//	 8  8  id, random, new with each compaction
//	16  8  base: the log had this length when it got its name, all of it durable
//	24  4  0
//	28  4  sum of the 28 bytes before
//
// Entries follow, each one change or one batch:
//
//	 0  8  mark, see below
//	 8  4  length of the head
//	12  4  sum of the id, the entry's offset (8 bytes), the head's length, the head
//	16     head: for each change a kind (1 put, 2 remove), the length of the name
//	       (1 byte), the name, and for a put the length of the data (4 bytes) and
//	       its sum
//	       data of the puts, in the same order
//
// The mark is a function of id and offset. It is written, ahead of the entry
// that it begins, as soon as the entry before it is known to be durable, and is
// not synced itself. So whatever precedes a mark was durable once: damage there
// is damage, while damage behind the last mark is a change that was cut short.
const (
	version    = 1
	magic      = "ckflash"
	headerSize = 32
	markSize   = 8
	entrySize  = 16 // up to the head

	kindPut    = 1
	kindRemove = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// markAt returns the mark of an entry at that offset: the finalizer of SplitMix64
// over both, so that a mark is not found by chance where there is none.
func markAt(id uint64, off int64) uint64 {
	x := id + uint64(off)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func appendHeader(b []byte, id uint64, base int64) []byte {
	start := len(b)
	b = append(b, version)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, id)
	b = binary.LittleEndian.AppendUint64(b, uint64(base))
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// headSum is the sum of a head, given its length field and itself.
func headSum(id uint64, off int64, length, head []byte) uint32 {
	var salt [16]byte
	binary.LittleEndian.PutUint64(salt[:], id)
	binary.LittleEndian.PutUint64(salt[8:], uint64(off))
	sum := crc32.Checksum(salt[:], castagnoli)
	sum = crc32.Update(sum, castagnoli, length)
	return crc32.Update(sum, castagnoli, head)
}

// An item is a change whose data may be somewhere else: in memory, or at a place
// in a log.
type item struct {
	name string
	data []byte // nil if it is to be copied, or for a removal
	put  bool
	place
}

// A place is where the data of a record is.
type place struct {
	off  int64
	size uint32
	sum  uint32
}

func newItem(c pal.Change) item {
	it := item{name: c.Name, data: c.Data, put: c.Data != nil}
	it.size = uint32(len(c.Data))
	it.sum = crc32.Checksum(c.Data, castagnoli)
	return it
}

func headLen(items []item) int {
	n := 0
	for _, it := range items {
		n += 2 + len(it.name)
		if it.put {
			n += 8
		}
	}
	return n
}

// recordSize is what a record takes in a compacted log.
func recordSize(name string, size uint32) int64 {
	return int64(entrySize + 2 + len(name) + 8 + int(size))
}

// appendHead appends an entry without its data, and sets the offset of each item
// to where its data will be.
func appendHead(b []byte, id uint64, off int64, items []item) []byte {
	b = binary.LittleEndian.AppendUint64(b, markAt(id, off))
	n := headLen(items)
	length := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	sum := len(b)
	b = append(b, 0, 0, 0, 0)
	head := len(b)
	at := off + int64(entrySize+n)
	for i := range items {
		it := &items[i]
		if !it.put {
			b = append(b, kindRemove, byte(len(it.name)))
			b = append(b, it.name...)
			continue
		}
		b = append(b, kindPut, byte(len(it.name)))
		b = append(b, it.name...)
		b = binary.LittleEndian.AppendUint32(b, it.size)
		b = binary.LittleEndian.AppendUint32(b, it.sum)
		it.off = at
		at += int64(it.size)
	}
	binary.LittleEndian.PutUint32(b[sum:], headSum(id, off, b[length:sum], b[head:]))
	return b
}

// A change read from a head.
type headChange struct {
	name []byte
	put  bool
	size uint32
	sum  uint32
}

// parseHead calls f, unless it is nil, for each change in a head, and returns the
// length of the data and whether the head is valid.
func parseHead(head []byte, f func(headChange)) (data int64, ok bool) {
	if len(head) == 0 {
		return 0, false
	}
	for len(head) > 0 {
		if len(head) < 2 || len(head) < 2+int(head[1]) {
			return 0, false
		}
		c := headChange{put: head[0] == kindPut, name: head[2 : 2+int(head[1])]}
		if !c.put && head[0] != kindRemove || !validName(c.name) {
			return 0, false
		}
		head = head[2+len(c.name):]
		if c.put {
			if len(head) < 8 {
				return 0, false
			}
			c.size = binary.LittleEndian.Uint32(head)
			c.sum = binary.LittleEndian.Uint32(head[4:])
			if c.size == 0 || c.size > pal.MaxRecord {
				return 0, false
			}
			head = head[8:]
			data += int64(c.size)
		}
		if f != nil {
			f(c)
		}
	}
	return data, true
}

// nameByte says of each byte whether it may be in a name.
var nameByte = func() (ok [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyz0123456789-.") {
		ok[c] = true
	}
	return ok
}()

// validName is pal.CheckName without making a string.
func validName(name []byte) bool {
	if len(name) == 0 || len(name) > 64 || name[0] == '.' {
		return false
	}
	for _, c := range name {
		if !nameByte[c] {
			return false
		}
	}
	return true
}
