package atecc608

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A slotStore is a store in data slots of the chip. Their blocks are two copies of
// an image, of which the valid one with the higher number counts. A change writes
// the other one, its first block last, so that a power cut at any moment leaves
// the old image or the new one, and so that both copies wear alike.
//
// One process may use it at a time. That another has changed it is noticed before
// anything is overwritten.
type slotStore struct {
	dev    *atecc.Device
	slots  []int
	ioKey  []byte
	copies [2][]cell

	held    [2][]byte // what the cells hold
	newest  int       // the copy that counts, -1 if nothing was ever written
	now     *image    // what it says; nil: the chip is to be read
	changes uint64    // by others, as far as they were noticed
}

var _ pal.Watcher = (*slotStore)(nil)

// A cell is what is written at once: a block of a slot, of which the last is
// shorter.
type cell struct{ slot, off, size int }

// DataSlots are the slots of a chip in which everybody may read and write data,
// locked or not: those in which a token can keep its records.
func DataSlots(z config.Zone) []int {
	var slots []int
	for n := range config.Slots {
		s := z.Slot(n)
		s.Locked = false
		if s.Type() == config.TypeOther && s.ReadsClear() && s.WritesClear() {
			slots = append(slots, n)
		}
	}
	return slots
}

// newSlotStore is the store in those slots, or in DataSlots if there are none. What
// the slots hold is not looked at yet. ioKey is nil if it is not known.
func newSlotStore(dev *atecc.Device, z config.Zone, slots []int, ioKey []byte) (*slotStore, error) {
	if len(slots) == 0 {
		if slots = DataSlots(z); len(slots) == 0 {
			return nil, fmt.Errorf("atecc608: store: %w: by its configuration this chip has no slot with data that everybody may read and write; name a directory (dir=PATH)", pkcs11.CKR_ARGUMENTS_BAD)
		}
	}
	s := &slotStore{dev: dev, ioKey: ioKey, slots: slices.Sorted(slices.Values(slots))}
	var cells []cell
	size := 0
	for i, n := range s.slots {
		if n < 0 || n >= config.Slots || i > 0 && n == s.slots[i-1] {
			return nil, fmt.Errorf("atecc608: store: %w: slot %d does not exist, or is named twice; there are 0 to 15", pkcs11.CKR_ARGUMENTS_BAD, n)
		}
		if why := unfit(&z, n, ioKey != nil); why != "" {
			return nil, fmt.Errorf("atecc608: store: slot %d: %w: %s; take another slot", n, pkcs11.CKR_ARGUMENTS_BAD, why)
		}
		for off := 0; off < z.Slot(n).Size(); off += 32 {
			cells = append(cells, cell{n, off, min(32, z.Slot(n).Size()-off)})
		}
		size += z.Slot(n).Size()
	}
	// The copies share no block, since a power cut spoils one.
	half := 0
	for half+1 < len(cells) && min(sizeOf(cells[:half+1]), sizeOf(cells[half+1:])) > min(sizeOf(cells[:half]), sizeOf(cells[half:])) {
		half++
	}
	s.copies = [2][]cell{cells[:half], cells[half:]}
	if s.room() < 64 {
		return nil, fmt.Errorf("atecc608: store: %w: %s have %d bytes in all, which is too little for two copies of anything; name more slots", pkcs11.CKR_ARGUMENTS_BAD, s, size)
	}
	return s, nil
}

// unfit says which bit keeps records from being in a slot, "" if none does. That
// the slot is locked is no reason: it can still be read.
func unfit(z *config.Zone, n int, ioKey bool) string {
	s := z.Slot(n)
	s.Locked = false
	io, on := z.IOProtection()
	known := func(slot int) bool { return on && slot == io && ioKey }
	const give = "whose key is not known here (io-key=FILE)"
	switch {
	case s.Key&1 != 0:
		return "it is for a private key (KeyConfig bit 0)"
	case on && n == io:
		return "it is that of the I/O protection key (ChipOptions bits 15 to 12)"
	case n&1 != 0 && z.Slot(n-1).ECDHToNext():
		return fmt.Sprintf("what slot %d agrees on goes there (SlotConfig bit 3 of slot %d)", n-1, n-1)
	case s.Validated():
		return "the chip marks what is written there as not valid (KeyConfig bit 1)"
	case s.Secret() && !s.ReadsEncrypted():
		return "it is never read (SlotConfig bit 7 is 1 and bit 6 is 0)"
	case s.Secret() && !known(s.ReadKey()):
		return fmt.Sprintf("it is read encrypted under slot %d (SlotConfig bit 6), %s", s.ReadKey(), give)
	case !s.WritesClear() && !s.WritesEncrypted():
		return "it is not written (SlotConfig bits 15 to 12)"
	case !s.WritesClear() && !known(s.WriteKey()):
		return fmt.Sprintf("it is written encrypted under slot %d (SlotConfig bit 14), %s", s.WriteKey(), give)
	}
	return ""
}

// String names the slots.
func (s *slotStore) String() string {
	if len(s.slots) == 1 {
		return fmt.Sprintf("slot %d", s.slots[0])
	}
	return "slots " + numbers(s.slots, ", ")
}

func numbers(slots []int, between string) string {
	var list []string
	for _, n := range slots {
		list = append(list, fmt.Sprint(n))
	}
	return strings.Join(list, between)
}

// keeps reports whether records are in a slot.
func (s *slotStore) keeps(slot int) bool { return s != nil && slices.Contains(s.slots, slot) }

// bits are the slots, a bit each.
func (s *slotStore) bits() (b uint16) {
	for _, n := range s.slots {
		b |= 1 << n
	}
	return b
}

// room is what an image may have.
func (s *slotStore) room() int { return min(sizeOf(s.copies[0]), sizeOf(s.copies[1])) }

func sizeOf(cells []cell) (n int) {
	for _, c := range cells {
		n += c.size
	}
	return n
}

// read reads the chip, unless what it holds is known. It is not ended by a context,
// but by the chip's timeout.
func (s *slotStore) read() error {
	if s.now != nil {
		return nil
	}
	var held [2][]byte
	err := s.dev.Do(context.Background(), func(q *atecc.Sequence) error {
		for i, cells := range s.copies {
			held[i] = make([]byte, 0, sizeOf(cells))
			for _, c := range cells {
				b, err := s.readCell(q, c)
				if err != nil {
					return err
				}
				held[i] = append(held[i], b...)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	newest := -1
	now := &image{slots: s.bits(), records: make(map[string][]byte)}
	for i := range held {
		if m, err := parseImage(held[i]); err == nil && m.slots == s.bits() && m.seq >= now.seq {
			newest, now = i, m
		}
	}
	if newest < 0 && !s.untouched(held) {
		return s.strange(held[0])
	}
	if s.held[0] != nil && (!bytes.Equal(held[0], s.held[0]) || !bytes.Equal(held[1], s.held[1])) {
		s.changes++
	}
	s.held, s.newest, s.now = held, newest, now
	return nil
}

// untouched reports whether the slots are as they were when nothing had been
// written yet. The first change writes both copies, so that there are not two
// blank ones again, and begins one by one: what it has left of the first, when it
// was interrupted, begins as that does.
func (s *slotStore) untouched(held [2][]byte) bool {
	first := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{imageVersion}, s.bits()), 1)
	cell := held[0][:s.copies[0][0].size]
	n := 0
	for n < len(first) && cell[n] == first[n] {
		n++
	}
	begun := n == len(first) || n > 0 && blank(cell[n:])
	return (blank(cell) || begun) && blank(held[1][:s.copies[1][0].size])
}

// strange is the error for slots that hold something else.
func (s *slotStore) strange(held []byte) error {
	var others []int
	for n := range config.Slots {
		if binary.BigEndian.Uint16(held[1:])>>n&1 != 0 {
			others = append(others, n)
		}
	}
	if held[0] == imageVersion && len(others) > 0 && others[0] == s.slots[0] && !slices.Equal(others, s.slots) {
		return fmt.Errorf("%v: %w: what is there says that the records are in other slots, too: store=%s", s, pal.ErrCorrupt, numbers(others, ","))
	}
	return fmt.Errorf("%v: %w: they hold something else than records of a token, or both copies are damaged; take other slots, or, to begin anew, open the chip without a store and write FF over their first 32 bytes (Token.WriteData)", s, pal.ErrCorrupt)
}

func (s *slotStore) readCell(q *atecc.Sequence, c cell) ([]byte, error) {
	b := make([]byte, c.size)
	cfg := s.dev.Config()
	if cfg.Slot(c.slot).IsSecret() {
		return b, q.ReadSlotEncrypted(c.slot, c.off, b, s.ioKey)
	}
	return b, q.ReadSlot(c.slot, c.off, b)
}

// writeCell writes a cell and reads it again: EEPROM wears out without saying so.
func (s *slotStore) writeCell(q *atecc.Sequence, c cell, b []byte) error {
	cfg := s.dev.Config()
	err := error(nil)
	if cfg.Slot(c.slot).WriteEncrypted() {
		err = q.WriteSlotEncrypted(c.slot, c.off, b, s.ioKey)
	} else {
		err = q.WriteSlot(c.slot, c.off, b)
	}
	if err != nil {
		return err
	}
	got, err := s.readCell(q, c)
	if err == nil && !bytes.Equal(got, b) {
		err = fmt.Errorf("slot %d: %w: bytes %d to %d do not keep what is written: the EEPROM is worn out, or another process has the slot", c.slot, pkcs11.CKR_DEVICE_ERROR, c.off, c.off+c.size-1)
	}
	return err
}

// change makes an image of other records the one that counts.
func (s *slotStore) change(f func(records map[string][]byte)) error {
	if err := s.read(); err != nil {
		return err
	}
	next := &image{slots: s.bits(), seq: s.now.seq + 1, records: maps.Clone(s.now.records)}
	f(next.records)
	if maps.EqualFunc(next.records, s.now.records, bytes.Equal) {
		return nil
	}
	if err := s.writable(); err != nil {
		return err
	}
	err := s.write(next)
	if err == nil && next.seq == 1 {
		next.seq++
		err = s.write(next) // the other copy: see untouched
	}
	if err != nil && !errors.Is(err, pal.ErrFull) {
		s.now = nil // what was written of it shows when it is read
	}
	return err
}

// writable is an error if a slot has been locked.
func (s *slotStore) writable() error {
	cfg := s.dev.Config()
	for _, n := range s.slots {
		if cfg.SlotLocked(n) {
			return fmt.Errorf("%w: slot %d is locked for good", pal.ErrReadOnly, n)
		}
	}
	return nil
}

// errOthers is the error of a change that is too late.
var errOthers = fmt.Errorf("another process has changed the slots; let one process own the chip (cryptoki serve): %w", pkcs11.CKR_DEVICE_ERROR)

func (s *slotStore) write(next *image) error {
	b, err := next.marshal()
	if err != nil {
		return err
	}
	if n := s.room(); len(b) > n {
		return fmt.Errorf("%v: %w: they have room for two copies of %d bytes, and the records need %d: remove objects that are not needed, name more slots (store=N,N,…), let certificates be rebuilt from compressed ones (certificates=FILE), or keep the records in a directory (dir=PATH)", s, pal.ErrFull, n, len(b))
	}
	target := 0
	if s.newest == 0 {
		target = 1
	}
	held := slices.Clone(s.held[target])
	copy(held, b)
	checked := false
	err = s.dev.Do(context.Background(), func(q *atecc.Sequence) error {
		// What differs when it is run again, it has written itself.
		if !checked {
			if err := s.compare(q); err != nil {
				return err
			}
			checked = true
		}
		at := len(held)
		for _, c := range slices.Backward(s.copies[target]) {
			at -= c.size
			if part := held[at : at+c.size]; !bytes.Equal(part, s.held[target][at:at+c.size]) {
				if err := s.writeCell(q, c, part); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		s.held[target], s.newest, s.now = held, target, next
	}
	return err
}

// compare is an error if the first blocks of the copies, where their numbers are,
// are not as they were read.
func (s *slotStore) compare(q *atecc.Sequence) error {
	for i, cells := range s.copies {
		b, err := s.readCell(q, cells[0])
		if err != nil {
			return err
		}
		if !bytes.Equal(b, s.held[i][:len(b)]) {
			return errOthers
		}
	}
	return nil
}

// Save makes data, which seal has made, the record of that name.
func (s *slotStore) Save(name string, data []byte) error {
	if err := pal.CheckRecord(name, data); err != nil {
		return err
	}
	n := len(data) - 4
	if n < 1 || !bytes.Equal(seal(slices.Clone(data[:n])), data) {
		return errRecord
	}
	return s.change(func(records map[string][]byte) { records[name] = slices.Clone(data[:n]) })
}

// Load returns a record.
func (s *slotStore) Load(name string) ([]byte, error) {
	if err := s.read(); err != nil {
		return nil, err
	}
	b := s.now.records[name]
	if b == nil {
		return nil, fmt.Errorf("record %s: %w", name, fs.ErrNotExist)
	}
	return seal(slices.Clone(b)), nil
}

// Remove deletes a record.
func (s *slotStore) Remove(name string) error {
	if _, err := s.Load(name); err != nil {
		return err
	}
	return s.change(func(records map[string][]byte) { delete(records, name) })
}

// Names returns the names of all records.
func (s *slotStore) Names() ([]string, error) {
	if err := s.read(); err != nil {
		return nil, err
	}
	return slices.Collect(maps.Keys(s.now.records)), nil
}

// Changes counts those by others that were noticed, which takes a change of one's
// own: the chip is not asked.
func (s *slotStore) Changes() (uint64, error) { return s.changes, nil }
