// Package config reads and checks the configuration zone of an ATECC608: what
// each slot may be used for, and what is locked. Section numbers are those of
// docs/atecc608.md, offsets those of the zone.
package config

import (
	"encoding/binary"
	"fmt"
)

// Size is that of the zone in bytes, and Slots the number of slots.
const (
	Size  = 128
	Slots = 16
)

// A Zone is the configuration zone as the chip shows it.
type Zone [Size]byte

// Offsets in the zone.
const (
	offAES          = 13
	offAddress      = 16
	offCountMatch   = 18
	offChipMode     = 19
	offSlotConfig   = 20
	offCounters     = 52
	offUseLock      = 68
	offExtraAddress = 85
	offLockData     = 86
	offLockConfig   = 87
	offSlotLocked   = 88
	offChipOptions  = 90
	offKeyConfig    = 96
	unlocked        = 0x55
	chipModeExtra   = 0x01
)

// Serial is the serial number of the chip.
func (z *Zone) Serial() (s [9]byte) {
	copy(s[:4], z[:4])
	copy(s[4:], z[8:13])
	return s
}

// Revision is the revision number: 00 00 60 02 for an ATECC608A, 00 00 60 03 for
// an ATECC608B.
func (z *Zone) Revision() (r [4]byte) {
	copy(r[:], z[4:8])
	return r
}

// Model is the name of the chip by its revision.
func (z *Zone) Model() string {
	switch {
	case z[6] == 0x60 && z[7] <= 2:
		return "ATECC608A"
	case z[6] == 0x60:
		return "ATECC608B"
	case z[6] == 0x50:
		return "ATECC508A"
	}
	return fmt.Sprintf("ATECC-%02X%02X", z[6], z[7])
}

// Address is the 7-bit address on the bus after the next sleep.
func (z *Zone) Address() uint16 {
	if z[offChipMode]&chipModeExtra != 0 && z[offExtraAddress] != 0 {
		return uint16(z[offExtraAddress] >> 1)
	}
	return uint16(z[offAddress] >> 1)
}

// Locked reports whether the configuration is final.
func (z *Zone) Locked() bool { return z[offLockConfig] != unlocked }

// DataLocked reports whether the policies of the slots are in force.
func (z *Zone) DataLocked() bool { return z[offLockData] != unlocked }

// AES reports whether the chip has the AES command.
func (z *Zone) AES() bool { return z[offAES]&1 != 0 }

// options is the 16 bits of ChipOptions.
func (z *Zone) options() uint16 { return binary.LittleEndian.Uint16(z[offChipOptions:]) }

// IOProtection returns the slot of the I/O protection key, and whether the chip
// encrypts with it.
func (z *Zone) IOProtection() (slot int, on bool) {
	o := z.options()
	return int(o >> 12), o&2 != 0
}

// A Protection says how a derived secret may leave the chip.
type Protection byte

// The protections.
const (
	Clear     Protection = iota // in the clear, or encrypted
	Encrypted                   // encrypted under the I/O protection key
	StoreOnly                   // into a slot or TempKey
	Forbidden                   // not at all
)

// ECDH is the protection of what ECDH makes.
func (z *Zone) ECDH() Protection { return Protection(z.options() >> 8 & 3) }

// SelfTest reports whether the chip tests itself at every wake.
func (z *Zone) SelfTest() bool { return z.options()&1 != 0 }

// Slot returns the policy of a slot, 0 to 15.
func (z *Zone) Slot(n int) Slot {
	return Slot{
		Number: n,
		Config: binary.LittleEndian.Uint16(z[offSlotConfig+2*n:]),
		Key:    binary.LittleEndian.Uint16(z[offKeyConfig+2*n:]),
		Locked: binary.LittleEndian.Uint16(z[offSlotLocked:])>>n&1 == 0,
	}
}

// A Slot is the policy of a slot.
type Slot struct {
	Number int
	Config uint16 // SlotConfig
	Key    uint16 // KeyConfig
	Locked bool   // by itself: nothing in it changes any more
}

// The types of keys in KeyConfig.
const (
	TypeP256  = 4
	TypeAES   = 6
	TypeOther = 7
)

// Size is the number of bytes in the slot.
func (s Slot) Size() int {
	switch {
	case s.Number < 8:
		return 36
	case s.Number == 8:
		return 416
	}
	return 72
}

// Type is what KeyConfig says is in the slot: TypeP256, TypeAES, TypeOther.
func (s Slot) Type() int { return int(s.Key >> 2 & 7) }

// PrivateKey reports whether the slot holds an ECC private key.
func (s Slot) PrivateKey() bool { return s.Key&1 != 0 && s.Type() == TypeP256 }

// PublicKey reports whether the slot is for an ECC public key.
func (s Slot) PublicKey() bool { return s.Key&1 == 0 && s.Type() == TypeP256 && s.Number >= 8 }

// Validated reports whether a public key must be validated before it verifies.
func (s Slot) Validated() bool { return s.PublicKey() && s.Key&2 != 0 }

// ShowsPublic reports whether the chip tells the public key of the private key.
func (s Slot) ShowsPublic() bool { return s.PrivateKey() && s.Key&2 != 0 }

// SignsDigests reports whether the private key signs what the host gives it.
func (s Slot) SignsDigests() bool { return s.PrivateKey() && s.Config&1 != 0 }

// SignsInternal reports whether the private key signs what the chip has made.
func (s Slot) SignsInternal() bool { return s.PrivateKey() && s.Config&2 != 0 }

// ECDH reports whether the private key agrees on secrets.
func (s Slot) ECDH() bool { return s.PrivateKey() && s.Config&4 != 0 }

// ECDHToNext reports whether the secret goes into the next slot.
func (s Slot) ECDHToNext() bool { return s.ECDH() && s.Config&8 != 0 }

// Generates reports whether GenKey makes a new key in the slot once data is
// locked.
func (s Slot) Generates() bool { return s.PrivateKey() && s.Config&0x2000 != 0 && !s.Locked }

// Imports reports whether the slot takes a private key that comes encrypted.
func (s Slot) Imports() bool { return s.PrivateKey() && s.Config&0x4000 != 0 && !s.Locked }

// Secret reports whether the slot is never read in the clear.
func (s Slot) Secret() bool { return s.Config&0x80 != 0 }

// ReadsClear reports whether everybody may read the slot.
func (s Slot) ReadsClear() bool { return s.Key&1 == 0 && !s.Secret() }

// ReadsEncrypted reports whether the slot is read encrypted under ReadKey.
func (s Slot) ReadsEncrypted() bool { return s.Key&1 == 0 && s.Secret() && s.Config&0x40 != 0 }

// ReadKey is the slot of the key that protects encrypted reads, or that
// validates this public key.
func (s Slot) ReadKey() int { return int(s.Config & 0xF) }

// WriteKey is the slot of the key that protects encrypted writes.
func (s Slot) WriteKey() int { return int(s.Config >> 8 & 0xF) }

// WritesClear reports whether everybody may write the slot.
func (s Slot) WritesClear() bool { return s.Key&1 == 0 && s.Config>>12 == 0 && !s.Locked }

// WritesInvalid reports whether the slot is written in the clear while its public
// key is not validated.
func (s Slot) WritesInvalid() bool { return s.Key&1 == 0 && s.Config>>12 == 1 && !s.Locked }

// WritesEncrypted reports whether the slot is written encrypted under WriteKey.
func (s Slot) WritesEncrypted() bool { return s.Key&1 == 0 && s.Config&0x4000 != 0 && !s.Locked }

// LimitedUse reports whether each use of the key counts.
func (s Slot) LimitedUse() bool { return s.Config&0x20 != 0 }

// Lockable reports whether the slot can be locked by itself.
func (s Slot) Lockable() bool { return s.Key&0x20 != 0 }

// Authorized returns the slot of the key that must have been checked before this
// one is used, and whether there is one.
func (s Slot) Authorized() (slot int, on bool) { return int(s.Key >> 8 & 0xF), s.Key&0x80 != 0 }

// Latched reports whether the key is usable only while the persistent latch is
// set.
func (s Slot) Latched() bool { return s.Key&0x1000 != 0 }
