package fileflash

import (
	"hash/maphash"
	"iter"
)

// A table holds where the records are, by name and in the order of the medium, in
// which it must be filled. A map of as many names would take as much again, and twice
// the time to be filled: it is asked for each name before that is put.
type table struct {
	list  []entry
	gone  int      // entries of list that are none any more
	slots []uint64 // upper half of a name's hash, and index in list + 1; 0: free
	taken int      // slots that are not free
}

// An entry is a record. One without a name is gone.
type entry struct {
	name string
	place
}

var tableSeed = maphash.MakeSeed()

// reserve makes space for n records, of which there are none yet.
func (t *table) reserve(n int) {
	t.list, t.gone = make([]entry, 0, n), 0
	t.rehash(n)
}

// rehash makes the slots anew, enough for n records.
func (t *table) rehash(n int) {
	size := 16
	for size < 2*n {
		size *= 2
	}
	t.slots, t.taken = make([]uint64, size), 0
	for i, e := range t.list {
		if e.name == "" {
			continue
		}
		slot, hash := t.find(e.name)
		t.slots[slot] = hash | uint64(i+1)
		t.taken++
	}
}

// find returns the slot of a name, or the free one where it would be, and the hash of
// the name.
func (t *table) find(name string) (slot int, hash uint64) {
	const upper = 0xffffffff << 32
	h := maphash.String(tableSeed, name)
	for slot = int(uint(h) & uint(len(t.slots)-1)); ; slot = (slot + 1) & (len(t.slots) - 1) {
		switch s := t.slots[slot]; {
		case s == 0, (s^h)&upper == 0 && t.list[uint32(s)-1].name == name:
			return slot, h & upper
		}
	}
}

func (t *table) len() int { return len(t.list) - t.gone }

func (t *table) get(name string) (p place, ok bool) {
	if len(t.slots) == 0 {
		return p, false
	}
	slot, _ := t.find(name)
	s := t.slots[slot]
	if s == 0 {
		return p, false
	}
	return t.list[uint32(s)-1].place, true
}

// put notes a record, which is behind all others, and returns the one of that name
// which it replaces.
func (t *table) put(name string, p place) (old place, ok bool) {
	if 2*t.taken >= len(t.slots) {
		t.rehash(2 * (t.len() + 1))
	}
	slot, hash := t.find(name)
	if s := t.slots[slot]; s == 0 {
		t.taken++
	} else {
		old, ok = t.drop(s), true
	}
	t.list = append(t.list, entry{name, p})
	t.slots[slot] = hash | uint64(len(t.list))
	t.tidy()
	return old, ok
}

// remove forgets a record. Its slot stays taken until the next rehash, for names
// behind it.
func (t *table) remove(name string) (old place, ok bool) {
	if len(t.slots) == 0 {
		return old, false
	}
	slot, _ := t.find(name)
	s := t.slots[slot]
	if s == 0 {
		return old, false
	}
	old = t.drop(s)
	t.tidy()
	return old, true
}

func (t *table) drop(slot uint64) place {
	e := &t.list[uint32(slot)-1]
	old := e.place
	*e = entry{}
	t.gone++
	return old
}

// tidy makes the list short again when more of it is gone than is there.
func (t *table) tidy() {
	if t.gone <= t.len()+16 {
		return
	}
	list := make([]entry, 0, t.len()+t.len()/4)
	for name, p := range t.all() {
		list = append(list, entry{name, p})
	}
	t.list, t.gone = list, 0
	t.rehash(t.len())
}

// all are the records in the order of the medium.
func (t *table) all() iter.Seq2[string, place] {
	return func(yield func(string, place) bool) {
		for _, e := range t.list {
			if e.name != "" && !yield(e.name, e.place) {
				return
			}
		}
	}
}
