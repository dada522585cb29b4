package atecc608

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// planned is a locked chip with a named configuration, of which edit changes bytes.
func planned(t testing.TB, name string, edit func(*config.Zone)) *ateccsim.State {
	t.Helper()
	s, err := ateccsim.Generic(ateccsim.DefaultSerial, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	p, err := config.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(&p.Zone)
	}
	z := config.Zone(s.Config)
	s.Config = p.Apply(&z)
	return s
}

// encrypted makes slot 8 one that is read and written under slot 6.
func encrypted(z *config.Zone) { copy(z[20+2*8:], []byte{0xC6, 0x46}) }

func simulate(t testing.TB, s *ateccsim.State, opts *ateccsim.Options) *ateccsim.Chip {
	t.Helper()
	c, err := ateccsim.New(s, opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// openSlots opens the store in slots of a chip; for none, in all that suit.
func openSlots(t testing.TB, bus i2c.Bus, slots ...int) (*slotStore, error) {
	t.Helper()
	dev, err := atecc.New(t.Context(), bus, &atecc.Opts{Timeout: 20 * time.Second})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { dev.Close() })
	return newSlotStore(dev, config.Zone(dev.Config()), slots, ioKeyOfTests)
}

// ioKeyOfTests is that of planned.
var ioKeyOfTests = func() []byte {
	s, err := ateccsim.Generic(ateccsim.DefaultSerial, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		panic(err)
	}
	return s.Slot(6)[:32]
}()

func mustOpenSlots(t testing.TB, bus i2c.Bus, slots ...int) *slotStore {
	t.Helper()
	s, err := openSlots(t, bus, slots...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func contents(t testing.TB, s pal.Store) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	names, err := s.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if all[name], err = s.Load(name); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func wantContents(t testing.TB, what string, s pal.Store, want map[string][]byte) {
	t.Helper()
	if got := contents(t, s); !maps.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("%s: the slots hold %d records, want %d, or others", what, len(got), len(want))
	}
}

// noise is a record that cannot be packed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return seal(b)
}

// Whatever is done, the slots hold what a store in memory does, the next program
// finds it there, and a change that does not fit changes nothing.
func TestSlotStore(t *testing.T) {
	for _, tt := range []struct {
		name  string
		edit  func(*config.Zone)
		slots []int
	}{
		{"generic", nil, nil}, {"generic", nil, []int{8}}, {"generic", nil, []int{15, 8, 13, 10, 11, 12}},
		{"generic-slots", nil, nil}, {"generic", encrypted, []int{8}}, {"generic", encrypted, []int{8, 10, 12}},
	} {
		t.Run(fmt.Sprint(tt.name, tt.slots, tt.edit != nil), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				chip := simulate(t, planned(t, tt.name, tt.edit), nil)
				s, model := mustOpenSlots(t, chip, tt.slots...), new(pal.Mem)
				rng := rand.New(rand.NewPCG(1, 2))
				full := 0
				for i := range 60 {
					name := []string{"chip", "o-0123456789abcdef", "o-0123456789abcdeF", "o-1", "o-1123456789abcdef"}[rng.IntN(5)]
					name = strings.ToLower(name)
					data := noise(byte(i), 1+rng.IntN(60))
					remove := rng.IntN(4) == 0
					var err, want error
					if remove {
						err, want = s.Remove(name), model.Remove(name)
					} else if err = s.Save(name, data); err == nil {
						want = model.Save(name, data)
					}
					switch {
					case errors.Is(err, pal.ErrFull):
						full++
					case errors.Is(err, fs.ErrNotExist) != errors.Is(want, fs.ErrNotExist) || (err == nil) != (want == nil):
						t.Fatalf("step %d: %v, want %v", i, err, want)
					}
					wantContents(t, fmt.Sprint("step ", i), s, contents(t, model))
					if rng.IntN(3) == 0 {
						s = mustOpenSlots(t, chip, tt.slots...)
						wantContents(t, fmt.Sprint("opened after step ", i), s, contents(t, model))
					}
				}
				err := s.Save("o-more", noise(200, 500))
				if !errors.Is(err, pal.ErrFull) || !strings.Contains(err.Error(), fmt.Sprintf("two copies of %d bytes", s.room())) || !strings.HasPrefix(err.Error(), "slot") {
					t.Errorf("a record that does not fit: %v", err)
				}
				wantContents(t, "after that", s, contents(t, model))
				for _, bad := range []struct {
					name string
					data []byte
				}{{"", noise(1, 5)}, {"UP", noise(1, 5)}, {"o-x", nil}, {"o-x", []byte("without its CRC")}, {"o-x", noise(1, pal.MaxRecord)}} {
					if err := s.Save(bad.name, bad.data); err == nil {
						t.Errorf("%q of %d bytes was saved", bad.name, len(bad.data))
					}
				}
				t.Logf("room for %d bytes; %d changes did not fit", s.room(), full)
			})
		})
	}
}

// The power goes before each byte of EEPROM and at each transfer, the watchdog
// bites, and the bus has each of its faults: then the records are those before or
// those after, all of them, and the next change succeeds.
func TestSlotStoreFaults(t *testing.T) {
	before := map[string][]byte{"chip": noise(1, 20), "o-0123456789abcdef": noise(2, 40)}
	after := map[string][]byte{"chip": noise(3, 20), "o-0123456789abcdef": noise(2, 40)}
	last := map[string][]byte{"chip": noise(4, 20), "o-0123456789abcdef": noise(2, 40)}
	for _, start := range []struct {
		what    string
		edit    func(*config.Zone)
		changes int // that there were before
	}{{"new", nil, 0}, {"the first copy counts", nil, 3}, {"the second copy counts", nil, 4}, {"encrypted", encrypted, 3}} {
		t.Run(start.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				state := planned(t, "generic", start.edit)
				was := map[string][]byte{}
				if start.changes > 0 {
					chip := simulate(t, state, nil)
					s := mustOpenSlots(t, chip, 8)
					for i := range start.changes - 2 {
						if err := s.Save("chip", noise(byte(10+i), 20)); err != nil {
							t.Fatal(err)
						}
					}
					for name, b := range before {
						if err := s.Save(name, b); err != nil {
							t.Fatal(err)
						}
					}
					state, was = chip.State(), before
				}
				becomes := after
				if start.changes == 0 {
					becomes = map[string][]byte{"chip": after["chip"]}
				}
				for i, kind := range []ateccsim.FaultKind{
					ateccsim.PowerCut, ateccsim.PowerCutTx, ateccsim.WatchdogCut, ateccsim.WatchdogNow, ateccsim.NACK,
					ateccsim.CorruptIn, ateccsim.CorruptOut, ateccsim.DropWake, ateccsim.StuckBus, ateccsim.ShortRead,
				} {
					// What the driver makes good is looked at in every fourth place.
					old, n, at, step := 0, 0, 1+i%4, 4
					if i < 2 {
						at, step = 1, 1
					}
					for ; ; at += step {
						faults := ateccsim.NewFaults(uint64(at), ateccsim.Rule{Kind: kind, At: at, Count: 1})
						chip := simulate(t, state, &ateccsim.Options{Faults: faults})
						s, err := openSlots(t, chip, 8)
						if err == nil {
							err = s.Save("chip", after["chip"])
						}
						if faults.Fired() == 0 {
							if err != nil {
								t.Fatalf("without a fault: %v", err)
							}
							break
						}
						n++
						chip.PowerOff()
						chip.PowerOn()
						what := fmt.Sprintf("%s at %d (%v)", kind, at, err)
						s = mustOpenSlots(t, chip, 8)
						if got := contents(t, s); maps.EqualFunc(got, was, bytes.Equal) && err != nil {
							old++
						} else if !maps.EqualFunc(got, becomes, bytes.Equal) {
							t.Fatalf("%s: neither the records before nor those after: %d", what, len(got))
						}
						for name, b := range last {
							if err := s.Save(name, b); err != nil {
								t.Fatalf("%s: the next change: %v", what, err)
							}
						}
						wantContents(t, what, mustOpenSlots(t, chip, 8), last)
					}
					if n == 0 {
						t.Errorf("%s never happened", kind)
					}
					t.Logf("%s: %d places, in %d the records are those before", kind, n, old)
				}
			})
		})
	}
}

// Both copies wear alike, what is the same is not written, and changes are counted
// as the documentation has it.
func TestSlotStoreWear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written := func(chip *ateccsim.Chip, f func()) (slots []byte) {
			a := chip.State()
			f()
			b := chip.State()
			for i, c := range a.Slot(8) {
				if c != b.Slot(8)[i] {
					slots = append(slots, byte(i/32))
				}
			}
			return slices.Compact(slots)
		}
		chip := simulate(t, planned(t, "generic", nil), nil)
		s := mustOpenSlots(t, chip, 8)
		if err := s.Save("chip", noise(1, 20)); err != nil {
			t.Fatal(err)
		}
		first := s.copies[0]
		for i := range 6 {
			got := written(chip, func() {
				if err := s.Save("chip", noise(byte(2+i), 20)); err != nil {
					t.Fatal(err)
				}
			})
			low := got[0] < byte(len(first))
			if high := got[len(got)-1] >= byte(len(first)); low == high || low != (i%2 == 0) {
				t.Errorf("change %d wrote the blocks %d", i, got)
			}
		}
		if got := written(chip, func() {
			if err := s.Save("chip", noise(7, 20)); err != nil {
				t.Fatal(err)
			}
		}); len(got) != 0 {
			t.Errorf("the same again wrote the blocks %d", got)
		}
	})
}

// A worn is a chip of which a block keeps something else than was written.
type worn struct {
	*ateccsim.Chip
	block byte // of slot 8
	on    bool
}

func (w *worn) Tx(addr uint16, out, in []byte) error {
	if len(out) > 6 && out[0] == 3 {
		w.on = out[2] == 0x02 && out[4] == 8<<3 && out[5] == w.block // it is read
	}
	err := w.Chip.Tx(addr, out, in)
	if w.on && err == nil && len(in) == 35 && in[0] == 35 {
		in[9] ^= 0x10
		crc := crc16(in[:33])
		in[33], in[34] = byte(crc), byte(crc>>8)
	}
	return err
}

// crc16 is that of groups: see docs/atecc608.md.
func crc16(b []byte) (crc uint16) {
	for _, v := range b {
		for i := range 8 {
			d := v>>i&1 != byte(crc>>15)
			if crc <<= 1; d {
				crc ^= 0x8005
			}
		}
	}
	return crc
}

// EEPROM that does not keep what is written is noticed before the copy counts.
func TestSlotStoreWornOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := simulate(t, planned(t, "generic", nil), nil)
		s := mustOpenSlots(t, chip, 8)
		for i := range 2 {
			if err := s.Save("o-1", noise(byte(i), 60)); err != nil {
				t.Fatal(err)
			}
		}
		// The copy that is written next begins at block 7 or at 0; one after its first.
		bad := &worn{Chip: chip, block: byte(s.copies[1-s.newest][1].off / 32)}
		s = mustOpenSlots(t, bad, 8)
		want := contents(t, s)
		err := s.Save("o-1", noise(5, 60))
		if !errors.Is(err, pkcs11.CKR_DEVICE_ERROR) || !strings.Contains(err.Error(), "do not keep what is written") {
			t.Errorf("a worn block: %v", err)
		}
		wantContents(t, "with a worn block", mustOpenSlots(t, chip, 8), want)
	})
}

// Two processes: the second change is refused, and succeeds once its token has read
// the first.
func TestSlotStoreOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := simulate(t, planned(t, "generic", nil), nil)
		a, b := mustOpenSlots(t, chip), mustOpenSlots(t, chip)
		if err := a.Save("o-1", noise(1, 9)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Names(); err != nil {
			t.Fatal(err)
		}
		seen, _ := b.Changes()
		if err := a.Save("o-2", noise(2, 9)); err != nil {
			t.Fatal(err)
		}
		err := b.Save("o-3", noise(3, 9))
		if !errors.Is(err, pkcs11.CKR_DEVICE_ERROR) || !strings.Contains(err.Error(), "another process") {
			t.Errorf("a change that is late: %v", err)
		}
		wantContents(t, "the other's", b, map[string][]byte{"o-1": noise(1, 9), "o-2": noise(2, 9)})
		if now, _ := b.Changes(); now == seen {
			t.Error("the change was not counted")
		}
		if err := b.Save("o-3", noise(3, 9)); err != nil {
			t.Error(err)
		}
	})
}

// What is not the token's is not overwritten.
func TestSlotsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fill := func(b []byte, with string) { copy(b, strings.Repeat(with, 500)) }
		for _, tt := range []struct {
			what  string
			set   func(s *ateccsim.State)
			slots []int
			text  string
		}{
			{"text", func(s *ateccsim.State) { fill(s.Slot(8), "other ") }, nil, "slots 8, 10, 12: record is damaged: they hold something else"},
			{"a text behind", func(s *ateccsim.State) { fill(s.Slot(12), "other ") }, []int{10, 12}, "slots 10, 12"},
			{"a certificate", func(s *ateccsim.State) { fill(s.Slot(8), "\x30\x82\x01") }, []int{8}, "slot 8: record is damaged"},
			{"something that begins as an image", func(s *ateccsim.State) { fill(s.Slot(8), "\x01\x00\xff") }, []int{8}, "slot 8"},
			{"records in more slots", func(s *ateccsim.State) { records(t, s, 8, 10, 12) }, []int{8}, "the records are in other slots, too: store=8,10,12"},
			{"two damaged copies", func(s *ateccsim.State) {
				records(t, s, 8, 10, 12)
				s.Slot(8)[3]++
				s.Slot(8)[300]++
			}, []int{8, 10, 12}, "both copies are damaged"},
		} {
			state := planned(t, "generic", nil)
			tt.set(state)
			chip := simulate(t, state, nil)
			s := mustOpenSlots(t, chip, tt.slots...)
			if _, err := s.Names(); !errors.Is(err, pal.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("%s: %v, want %q", tt.what, err, tt.text)
			}
			if err := s.Save("o-1", noise(1, 9)); err == nil {
				t.Errorf("%s: overwritten", tt.what)
			}
			if now := chip.State(); !bytes.Equal(now.Slot(8), state.Slot(8)) || !bytes.Equal(now.Slot(12), state.Slot(12)) {
				t.Errorf("%s: something was written", tt.what)
			}
		}
	})
}

// records puts some into slots of a chip.
func records(t testing.TB, s *ateccsim.State, slots ...int) {
	chip := simulate(t, s, nil)
	store := mustOpenSlots(t, chip, slots...)
	for i := range 2 {
		if err := store.Save("chip", noise(byte(i), 60)); err != nil {
			t.Fatal(err)
		}
	}
	*s = *chip.State()
}

// One damaged copy is made good by the other.
func TestSlotStoreWithOneCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, damaged := range []int{0, 224} { // the first bytes of the copies in slot 8
			state := planned(t, "generic", nil)
			records(t, state, 8)
			state.Slot(8)[damaged+12] ^= 4
			s := mustOpenSlots(t, simulate(t, state, nil), 8)
			if got, err := s.Load("chip"); err != nil || !bytes.Equal(got, noise(0, 60)) && !bytes.Equal(got, noise(1, 60)) {
				t.Errorf("with damage at %d: %v", damaged, err)
			}
		}
	})
}

// Slots that cannot hold records are refused, with the bit.
func TestUnfitSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := func(off int, b ...byte) func(*config.Zone) {
			return func(z *config.Zone) { copy(z[off:], b) }
		}
		for _, tt := range []struct {
			what  string
			edit  func(*config.Zone)
			slots []int
			text  string
		}{
			{"a private key", nil, []int{8, 0}, "slot 0: CKR_ARGUMENTS_BAD: it is for a private key (KeyConfig bit 0)"},
			{"the I/O protection key", nil, []int{6}, "ChipOptions bits 15 to 12"},
			{"a secret", nil, []int{9}, "slot 9: CKR_ARGUMENTS_BAD: it is never read (SlotConfig bit 7 is 1 and bit 6 is 0)"},
			{"a validated key", nil, []int{14}, "slot 14: CKR_ARGUMENTS_BAD: the chip marks what is written there as not valid (KeyConfig bit 1)"},
			{"one that is never written", set(20+2*10, 0x0F, 0x8F), []int{10}, "slot 10: CKR_ARGUMENTS_BAD: it is not written (SlotConfig bits 15 to 12)"},
			{"a secret of ECDH", set(20+2*4, 0x8D, 0x66), []int{5}, "what slot 4 agrees on goes there (SlotConfig bit 3 of slot 4)"},
			{"one that is read under another key", set(20+2*8, 0xC5, 0x46), []int{8}, "read encrypted under slot 5 (SlotConfig bit 6), whose key is not known here"},
			{"one that is written under another key", set(20+2*8, 0xC6, 0x45), []int{8}, "written encrypted under slot 5 (SlotConfig bit 14), whose key is not known here"},
			{"one that does not exist", nil, []int{16}, "slot 16 does not exist"},
			{"one twice", nil, []int{8, 8}, "named twice"},
			{"too little", nil, []int{10}, "72 bytes in all, which is too little"},
			{"none", func(z *config.Zone) {
				for _, n := range []int{8, 10, 12} {
					z[20+2*n] |= 0x80
				}
			}, nil, "has no slot with data that everybody may read and write"},
		} {
			_, err := openSlots(t, simulate(t, planned(t, "generic", tt.edit), nil), tt.slots...)
			if !errors.Is(err, pkcs11.CKR_ARGUMENTS_BAD) || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("%s: %v, want %q", tt.what, err, tt.text)
			}
		}
		// Without the key, encrypted slots are of no use.
		dev, err := atecc.New(t.Context(), simulate(t, planned(t, "generic", encrypted), nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		if _, err := newSlotStore(dev, config.Zone(dev.Config()), []int{8}, nil); err == nil || !strings.Contains(err.Error(), "under slot 6 (SlotConfig bit 6), whose key is not known here (io-key=FILE)") {
			t.Errorf("without the key: %v", err)
		}
	})
}

// sampleImage has records of each kind, whose bytes are in testdata/slots-v1.txt for
// ever.
func sampleImage(t testing.TB) *image {
	t.Helper()
	chip, records := samples()
	chip.ioKey = nil
	b := chip.marshal()
	m := &image{slots: 1<<8 | 1<<10 | 1<<12, seq: 7, records: map[string][]byte{chipRecord: b[:len(b)-4]}}
	for _, r := range records {
		b, err := r.marshal()
		if err != nil {
			t.Fatal(err)
		}
		m.records[r.name] = b[:len(b)-4]
	}
	return m
}

func sameImage(a, b *image) bool {
	return a.slots == b.slots && a.seq == b.seq && maps.EqualFunc(a.records, b.records, bytes.Equal)
}

// Images that were written once are read for ever. How well the compressor packs is
// its own affair.
func TestGoldenImage(t *testing.T) {
	want := sampleImage(t)
	const name = "testdata/slots-v1.txt"
	if *updateGolden {
		b, err := want.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(hex.EncodeToString(b)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tail := range []int{0, 1, 40} {
		got, err := parseImage(append(slices.Clone(b), bytes.Repeat([]byte{0xFF}, tail)...))
		if err != nil || !sameImage(got, want) {
			t.Errorf("with %d bytes behind it, it is read as %v, %v", tail, got, err)
		}
	}
	for i := range b {
		if _, err := parseImage(b[:i]); !errors.Is(err, pal.ErrCorrupt) {
			t.Fatalf("%d bytes of it: %v", i, err)
		}
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := parseImage(b); !errors.Is(err, pal.ErrCorrupt) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
			b[i] ^= 1 << bit
		}
	}
}

// What parses is packed again, and reads the same; whatever is in slots is read
// without harm.
func FuzzImage(f *testing.F) {
	golden, err := sampleImage(f).marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden, []byte{})
	f.Add([]byte{1, 0, 1}, []byte("\x04chip\x00\x01a\x840123\x00\x02bc"))
	f.Add([]byte{}, []byte("\x00"))
	f.Fuzz(func(t *testing.T, b, unpacked []byte) {
		// A fuzzer finds neither a CRC nor what unpacks to something.
		var packed bytes.Buffer
		w, err := flate.NewWriterDict(&packed, flate.BestSpeed, dictionary())
		if err != nil {
			t.Fatal(err)
		}
		w.Write(unpacked)
		w.Close()
		if packed.Len() > 0xFFFF {
			return
		}
		made := binary.BigEndian.AppendUint16(append([]byte{imageVersion}, 1, 2, 3, 4, 5, 6), uint16(packed.Len()))
		for _, in := range [][]byte{b, seal(append(made, packed.Bytes()...))} {
			m, err := parseImage(in)
			if err != nil {
				if !errors.Is(err, pal.ErrCorrupt) {
					t.Fatal(err)
				}
				continue
			}
			again, err := m.marshal()
			if errors.Is(err, pal.ErrFull) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if n, err := parseImage(again); err != nil || !sameImage(m, n) {
				t.Errorf("%x is packed as %x, which is %v, %v", in, again, n, err)
			}
		}
	})
}
