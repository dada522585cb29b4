package atecc

import "encoding/binary"

// The fields of the configuration zone, by their offsets.
const (
	cfgAESEnable   = 13
	cfgAddress     = 16
	cfgCountMatch  = 18
	cfgChipMode    = 19
	cfgSlotConfig  = 20
	cfgCounter     = 52
	cfgUserExtra   = 84
	cfgUserExtraAd = 85
	cfgLockValue   = 86
	cfgLockConfig  = 87
	cfgSlotLocked  = 88
	cfgChipOptions = 90
	cfgKeyConfig   = 96

	unlocked = 0x55
)

// A Config is the configuration zone of a chip.
type Config [ConfigSize]byte

// Serial is the 9-byte serial number.
func (c *Config) Serial() [9]byte {
	var sn [9]byte
	copy(sn[:4], c[0:4])
	copy(sn[4:], c[8:13])
	return sn
}

// Revision is what Info(revision) answers: 00 00 60 02 for an ATECC608A, 00 00 60
// 03 for a B.
func (c *Config) Revision() [4]byte { return [4]byte(c[4:8]) }

// Locked reports that the configuration zone is locked.
func (c *Config) Locked() bool { return c[cfgLockConfig] != unlocked }

// DataLocked reports that the data and OTP zones are locked, so that the policies
// of the slots are in force.
func (c *Config) DataLocked() bool { return c[cfgLockValue] != unlocked }

// SlotLocked reports that slot n was locked on its own.
func (c *Config) SlotLocked(n int) bool {
	return binary.LittleEndian.Uint16(c[cfgSlotLocked:])>>(n&15)&1 == 0
}

// Address is the 7-bit address that the chip takes when it wakes from sleep.
func (c *Config) Address() uint16 {
	if c[cfgChipMode]&1 != 0 && c[cfgUserExtraAd] != 0 {
		return uint16(c[cfgUserExtraAd] >> 1)
	}
	return uint16(c[cfgAddress] >> 1)
}

// AES reports that the AES command is enabled.
func (c *Config) AES() bool { return c[cfgAESEnable]&1 != 0 }

// Slot is the SlotConfig of slot n.
func (c *Config) Slot(n int) SlotConfig {
	return SlotConfig(binary.LittleEndian.Uint16(c[cfgSlotConfig+2*(n&15):]))
}

// Key is the KeyConfig of slot n.
func (c *Config) Key(n int) KeyConfig {
	return KeyConfig(binary.LittleEndian.Uint16(c[cfgKeyConfig+2*(n&15):]))
}

// Options are the ChipOptions.
func (c *Config) Options() ChipOptions {
	return ChipOptions(binary.LittleEndian.Uint16(c[cfgChipOptions:]))
}

// divider is the index of the clock divider, M0 to M2.
func (c *Config) divider() int {
	switch c[cfgChipMode] & 0xF8 {
	case 0x28:
		return 1
	case 0x68:
		return 2
	}
	return 0
}

// A SlotConfig is what may be done with a slot. Its low four bits mean something
// else for private keys than for all other content.
type SlotConfig uint16

// SignExternal: a private key may sign digests of the host.
func (s SlotConfig) SignExternal() bool { return s&0x01 != 0 }

// SignInternal: a private key may sign what the chip says about itself.
func (s SlotConfig) SignInternal() bool { return s&0x02 != 0 }

// ECDH: a private key may agree.
func (s SlotConfig) ECDH() bool { return s&0x04 != 0 }

// ECDHToSlot: with ECDHDefault, the agreed secret goes to the next slot.
func (s SlotConfig) ECDHToSlot() bool { return s&0x08 != 0 }

// ReadKey is the slot whose key protects reading of a slot that is not a private
// key, and for a public key the slot of the one that validates it.
func (s SlotConfig) ReadKey() int { return int(s & 0xF) }

// NoMac: the key is not for MAC, and GenDig wants OtherData.
func (s SlotConfig) NoMac() bool { return s&0x10 != 0 }

// LimitedUse: each use of the key counts counter 0 up.
func (s SlotConfig) LimitedUse() bool { return s&0x20 != 0 }

// EncryptRead: a secret can be read, encrypted with ReadKey.
func (s SlotConfig) EncryptRead() bool { return s&0x40 != 0 }

// IsSecret: the slot is not read in clear.
func (s SlotConfig) IsSecret() bool { return s&0x80 != 0 }

// WriteKey is the slot whose key protects writing and importing.
func (s SlotConfig) WriteKey() int { return int(s >> 8 & 0xF) }

// WriteConfig is bits 15 to 12: see WriteAlways to WriteEncrypted, GenKey,
// PrivWrite and DeriveKey.
func (s SlotConfig) WriteConfig() int { return int(s >> 12) }

// WriteAlways: a slot that is not a private key can be written in clear.
func (s SlotConfig) WriteAlways() bool { return s.WriteConfig() == 0 }

// WriteInvalid: a public key can be written in clear while it is not valid.
func (s SlotConfig) WriteInvalid() bool { return s.WriteConfig() == 1 }

// WriteEncrypted: a slot that is not a private key can be written with WriteKey.
func (s SlotConfig) WriteEncrypted() bool { return s.WriteConfig()&4 != 0 }

// GenKey: GenKey may make a new private key after the data zone is locked.
func (s SlotConfig) GenKey() bool { return s.WriteConfig()&2 != 0 }

// PrivWrite: a private key may be imported, encrypted with WriteKey.
func (s SlotConfig) PrivWrite() bool { return s.WriteConfig()&4 != 0 }

// DeriveKey: DeriveKey may replace the key.
func (s SlotConfig) DeriveKey() bool { return s.WriteConfig()&2 != 0 }

// A KeyConfig is what kind of key a slot holds and what its use requires.
type KeyConfig uint16

// The key types.
const (
	KeyP256  = 4
	KeyAES   = 6
	KeyOther = 7 // SHA keys, secrets and data
)

// Private: the slot holds a private key.
func (k KeyConfig) Private() bool { return k&1 != 0 }

// PubInfo: the public key of a private key may be computed; a public key has to
// be validated before it is used.
func (k KeyConfig) PubInfo() bool { return k&2 != 0 }

// Type is KeyP256, KeyAES or KeyOther.
func (k KeyConfig) Type() int { return int(k >> 2 & 7) }

// Lockable: the slot can be locked on its own.
func (k KeyConfig) Lockable() bool { return k&0x20 != 0 }

// ReqRandom: a random nonce must take part.
func (k KeyConfig) ReqRandom() bool { return k&0x40 != 0 }

// ReqAuth: CheckMac with AuthKey must come before.
func (k KeyConfig) ReqAuth() bool { return k&0x80 != 0 }

// AuthKey is the slot that ReqAuth names.
func (k KeyConfig) AuthKey() int { return int(k >> 8 & 0xF) }

// PersistentDisable: the key is usable only while the persistent latch is set.
func (k KeyConfig) PersistentDisable() bool { return k&0x1000 != 0 }

// ChipOptions are the options of the whole chip.
type ChipOptions uint16

// WakeSelfTest: the self-test runs at each wake, which then takes 20 ms.
func (o ChipOptions) WakeSelfTest() bool { return o&1 != 0 }

// IOProtection: the key in IOKey can protect what goes over the bus.
func (o ChipOptions) IOProtection() bool { return o&2 != 0 }

// KDFAES: KDF may use AES.
func (o ChipOptions) KDFAES() bool { return o&4 != 0 }

// The values of ECDHProtection and KDFProtection.
const (
	OutputClear     = 0 // in clear or encrypted
	OutputEncrypted = 1
	OutputNone      = 2 // to a slot or TempKey only
	OutputForbidden = 3
)

// ECDHProtection is how the result of ECDH may leave the chip.
func (o ChipOptions) ECDHProtection() int { return int(o >> 8 & 3) }

// KDFProtection is how the result of KDF may leave the chip.
func (o ChipOptions) KDFProtection() int { return int(o >> 10 & 3) }

// IOKey is the slot of the I/O protection key.
func (o ChipOptions) IOKey() int { return int(o >> 12) }
