package ateccsim

import "encoding/binary"

// Offsets in the configuration zone.
const (
	cfgRevision      = 4
	cfgAES           = 13
	cfgAddress       = 16
	cfgCountMatch    = 18
	cfgChipMode      = 19
	cfgSlotConfig    = 20
	cfgCounter       = 52 // two of 8 bytes
	cfgUseLock       = 68
	cfgVolatileKey   = 69
	cfgSecureBoot    = 70
	cfgKdfIvLoc      = 72
	cfgKdfIvStr      = 73
	cfgUserExtra     = 84
	cfgUserExtraAdd  = 85
	cfgLockData      = 86
	cfgLockConfig    = 87
	cfgSlotLocked    = 88
	cfgChipOptions   = 90
	cfgKeyConfig     = 96
	unlocked         = 0x55
	keyTypeP256      = 4
	keyTypeAES       = 6
	keyTypeOther     = 7
	nibbleValid      = 0x50
	nibbleInvalid    = 0xA0
	firstPublicSlot  = 8
	chipModeExtraAdd = 0x01
	chipModeWatchdog = 0x04
)

// A slotConfig is the policy of a slot, 16 bits. The low bits of a private key
// and of any other slot mean different things.
type slotConfig uint16

func (s slotConfig) readKey() int        { return int(s & 0xF) }
func (s slotConfig) noMac() bool         { return s&0x10 != 0 }
func (s slotConfig) limitedUse() bool    { return s&0x20 != 0 }
func (s slotConfig) encryptRead() bool   { return s&0x40 != 0 }
func (s slotConfig) secret() bool        { return s&0x80 != 0 }
func (s slotConfig) writeKey() int       { return int(s >> 8 & 0xF) }
func (s slotConfig) writeConfig() int    { return int(s >> 12) }
func (s slotConfig) signExternal() bool  { return s&0x1 != 0 }
func (s slotConfig) signInternal() bool  { return s&0x2 != 0 }
func (s slotConfig) ecdh() bool          { return s&0x4 != 0 }
func (s slotConfig) ecdhToSlot() bool    { return s&0x8 != 0 }
func (s slotConfig) genKey() bool        { return s&0x2000 != 0 }
func (s slotConfig) privWrite() bool     { return s&0x4000 != 0 }
func (s slotConfig) deriveKey() bool     { return s&0x2000 != 0 }
func (s slotConfig) deriveCreate() bool  { return s&0x1000 != 0 }
func (s slotConfig) deriveWithMAC() bool { return s&0x8000 != 0 }

// A keyConfig says what a slot holds, 16 bits.
type keyConfig uint16

func (k keyConfig) private() bool           { return k&0x1 != 0 }
func (k keyConfig) pubInfo() bool           { return k&0x2 != 0 }
func (k keyConfig) keyType() int            { return int(k >> 2 & 7) }
func (k keyConfig) lockable() bool          { return k&0x20 != 0 }
func (k keyConfig) reqRandom() bool         { return k&0x40 != 0 }
func (k keyConfig) reqAuth() bool           { return k&0x80 != 0 }
func (k keyConfig) authKey() int            { return int(k >> 8 & 0xF) }
func (k keyConfig) persistentDisable() bool { return k&0x1000 != 0 }

// publicKey reports a slot that holds a public key.
func (k keyConfig) publicKey() bool { return !k.private() && k.keyType() == keyTypeP256 }

// chipOptions are the bytes 90 and 91.
type chipOptions uint16

func (o chipOptions) selfTest() bool  { return o&1 != 0 }
func (o chipOptions) ioProtect() bool { return o&2 != 0 }
func (o chipOptions) kdfAES() bool    { return o&4 != 0 }
func (o chipOptions) ecdhProt() int   { return int(o >> 8 & 3) }
func (o chipOptions) kdfProt() int    { return int(o >> 10 & 3) }
func (o chipOptions) ioKey() int      { return int(o >> 12) }

// secureBoot are the bytes 70 and 71.
type secureBoot uint16

func (b secureBoot) mode() int       { return int(b & 3) }
func (b secureBoot) latch() bool     { return b&8 != 0 }
func (b secureBoot) randNonce() bool { return b&0x10 != 0 }
func (b secureBoot) digestSlot() int { return int(b >> 8 & 0xF) }
func (b secureBoot) keySlot() int    { return int(b >> 12) }

func (s *State) word(off int) uint16         { return binary.LittleEndian.Uint16(s.Config[off:]) }
func (s *State) slotConfig(n int) slotConfig { return slotConfig(s.word(cfgSlotConfig + 2*n)) }
func (s *State) keyConfig(n int) keyConfig   { return keyConfig(s.word(cfgKeyConfig + 2*n)) }
func (s *State) options() chipOptions        { return chipOptions(s.word(cfgChipOptions)) }
func (s *State) secureBoot() secureBoot      { return secureBoot(s.word(cfgSecureBoot)) }
func (s *State) slotLocked(n int) bool       { return s.word(cfgSlotLocked)>>n&1 == 0 }

// ConfigLocked reports that the configuration is final: any other value than
// 0x55 counts as locked.
func (s *State) ConfigLocked() bool { return s.Config[cfgLockConfig] != unlocked }

// DataLocked reports that the policies of the slots are in force.
func (s *State) DataLocked() bool { return s.Config[cfgLockData] != unlocked }

// useLock reports a configuration with the transport lock, whose meaning is not
// public, and useLockKey the slot that opens it.
func (s *State) useLock() bool   { return s.Config[cfgUseLock]&0xF == 0xA }
func (s *State) useLockKey() int { return int(s.Config[cfgUseLock] >> 4) }

// Address is the 7-bit address that the chip takes at its next power-up or
// sleep.
func (s *State) Address() uint16 {
	a := s.Config[cfgAddress]
	if x := s.Config[cfgUserExtraAdd]; s.Config[cfgChipMode]&chipModeExtraAdd != 0 && x != 0 {
		a = x
	}
	return uint16(a >> 1)
}

// Serial is the 9-byte serial number.
func (s *State) Serial() []byte {
	return append(append(make([]byte, 0, 9), s.Config[0:4]...), s.Config[8:13]...)
}
