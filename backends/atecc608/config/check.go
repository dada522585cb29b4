package config

import (
	"errors"
	"fmt"
)

// Check reports what is wrong with a configuration for a chip that holds keys:
// a private key, or the key that protects others, that could be read or
// replaced by anybody, a lock that nobody could open, or bits that make no
// sense. The errors are joined; each names the slot, the bit and the cure. The
// bytes that the chip does not let anybody choose are not looked at.
func (z *Zone) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if z[offUseLock]&0xF == 0xA {
		bad("byte 68: UseLock is on: the chip would refuse everything until a key is checked; make it 00")
	}
	switch z[offChipMode] & 0xF8 {
	case 0, 0x28, 0x68:
	default:
		bad("byte 19: ChipMode %#02x sets an undefined clock divider; bits 7 to 3 are 0, 0x28 or 0x68", z[offChipMode])
	}
	if a := z[offAddress] >> 1; a < 8 || a > 0x77 {
		bad("byte 16: the I²C address %#02x is reserved; use C0, which is 0x60", a)
	}
	if z[offSlotLocked] != 0xFF || z[offSlotLocked+1] != 0xFF {
		bad("bytes 88 and 89: SlotLocked locks slots before there is anything in them; make them FF FF")
	}
	for n := range Slots {
		z.checkSlot(z.Slot(n), bad)
	}
	if slot, on := z.IOProtection(); on {
		switch s := z.Slot(slot); {
		case !s.Secret() || s.ReadsEncrypted():
			bad("slot %d: it is to hold the I/O protection key and can be read; set bit 7 of its SlotConfig and clear bit 6", slot)
		case s.Type() != TypeOther || s.Key&1 != 0:
			bad("slot %d: it is to hold the I/O protection key; its key type is 7 (KeyConfig bits 4 to 2)", slot)
		}
	}
	return errors.Join(errs...)
}

func (z *Zone) checkSlot(s Slot, bad func(string, ...any)) {
	if s.Key&1 != 0 {
		switch {
		case s.Type() != TypeP256:
			bad("slot %d: KeyConfig bit 0 says that it is a private key, bits 4 to 2 that it is not on P-256; make them 4", s.Number)
		case !s.Secret():
			bad("slot %d: its private key would be readable; set bit 7 of SlotConfig (IsSecret)", s.Number)
		case s.Config&0x40 != 0:
			bad("slot %d: its private key could be read encrypted; clear bit 6 of SlotConfig (EncryptRead)", s.Number)
		case s.Config&0x10 != 0:
			bad("slot %d: bit 4 of SlotConfig means nothing for a private key; clear it", s.Number)
		}
		if s.ECDHToNext() {
			if next := z.Slot(s.Number | 1); s.Number&1 != 0 || next.ReadsClear() {
				bad("slot %d: what it agrees on would go into slot %d, which everybody may read; clear bit 3 of its SlotConfig", s.Number, s.Number|1)
			}
		}
	}
	if s.Config&0x4000 != 0 { // written encrypted, a private key or not
		if w := z.Slot(s.WriteKey()); !w.Secret() || w.PrivateKey() || w.ReadsEncrypted() && w.ReadKey() != w.Number {
			bad("slot %d: it is written under the key in slot %d, which is no secret; set bit 7 of the SlotConfig of slot %d", s.Number, w.Number, w.Number)
		}
	}
	if s.ReadsEncrypted() {
		if r := z.Slot(s.ReadKey()); !r.Secret() || r.PrivateKey() {
			bad("slot %d: it is read under the key in slot %d, which is no secret; set bit 7 of the SlotConfig of slot %d", s.Number, r.Number, r.Number)
		}
	}
	if auth, on := s.Authorized(); on {
		if a := z.Slot(auth); !a.Secret() || a.PrivateKey() || a.ReadsClear() {
			bad("slot %d: it is used after a check of the key in slot %d, which is no secret; set bit 7 of the SlotConfig of slot %d", s.Number, auth, auth)
		}
	}
}
