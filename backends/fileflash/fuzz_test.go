package fileflash_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pal/paltest"
)

// FuzzOpen opens any bytes as a log. Either it is refused, or it is a store: what
// can be loaded stays so when it is opened again, changed and compacted, and what
// cannot be loaded stays reported.
func FuzzOpen(f *testing.F) {
	golden, err := os.ReadFile("testdata/v1.log")
	if err != nil {
		f.Fatal(err)
	}
	room, err := os.ReadFile("testdata/v1-room.log")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden, false)
	f.Add(room, true)
	f.Add(golden[:len(golden)-100], false)
	f.Add(golden[:32], true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, log []byte, sums bool) {
		if sums {
			fixSums(log)
		}
		m := paltest.NewMedium()
		m.WriteFile("flash.log", log)
		s, err := fileflash.OpenFS(m, "fuzz", nil)
		if err != nil {
			return
		}
		first := snapshot(t, s)
		if err := s.Save("added", []byte("x")); err != nil {
			t.Fatalf("Save: %v", err)
		}
		first["added"] = "x"
		same(t, "after a change", snapshot(t, s), first)
		s, err = fileflash.OpenFS(m, "fuzz", nil)
		if err != nil {
			t.Fatalf("open again: %v", err)
		}
		same(t, "opened again", snapshot(t, s), first)
		renames := m.Usage().Renames
		for m.Usage().Renames == renames {
			if err := s.Save("added", make([]byte, pal.MaxRecord)); err != nil {
				t.Fatalf("Save: %v", err)
			}
		}
		if err := s.Save("added", []byte("x")); err != nil {
			t.Fatalf("Save: %v", err)
		}
		same(t, "after compaction", snapshot(t, s), first)
	})
}

const damaged = "damaged"

func snapshot(t *testing.T, s *fileflash.Store) map[string]string {
	names, err := s.Names()
	if err != nil {
		t.Fatalf("Names: %v", err)
	}
	all := map[string]string{}
	for _, name := range names {
		if err := pal.CheckName(name); err != nil {
			t.Fatal(err)
		}
		data, err := s.Load(name)
		if err != nil {
			data = []byte(damaged)
		} else if err := pal.CheckRecord(name, data); err != nil {
			t.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

func same(t *testing.T, when string, got, want map[string]string) {
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", when, len(got), len(want))
	}
	for name, data := range want {
		if got[name] != data {
			t.Fatalf("%s: record %s is another one", when, name)
		}
	}
}

// fixSums makes the header and the heads valid, so that the fuzzer gets past
// them.
func fixSums(log []byte) {
	table := crc32.MakeTable(crc32.Castagnoli)
	if len(log) < 32 {
		return
	}
	log[0] = 1
	copy(log[1:], "ckflash")
	binary.LittleEndian.PutUint64(log[16:], min(binary.LittleEndian.Uint64(log[16:]), uint64(len(log))))
	if binary.LittleEndian.Uint64(log[16:]) < 32 {
		log[16] = 32
	}
	binary.LittleEndian.PutUint32(log[28:], crc32.Checksum(log[:28], table))
	for off := 32; off+16 <= len(log); {
		n := int(binary.LittleEndian.Uint32(log[off+8:]) & 0xfff)
		binary.LittleEndian.PutUint32(log[off+8:], uint32(n))
		if off+16+n > len(log) {
			return
		}
		salt := append(append([]byte{}, log[8:16]...), binary.LittleEndian.AppendUint64(nil, uint64(off))...)
		sum := crc32.Update(crc32.Checksum(salt, table), table, log[off+8:off+12])
		binary.LittleEndian.PutUint32(log[off+12:], crc32.Update(sum, table, log[off+16:off+16+n]))
		off += 16 + n
		for head := log[off-n : off]; len(head) >= 2 && 2+int(head[1]) <= len(head); {
			put := head[0] == 1
			head = head[2+int(head[1]):]
			if put && len(head) >= 8 {
				off += int(binary.LittleEndian.Uint32(head) & 0xffff)
				head = head[8:]
			}
		}
	}
}
