package pkcs11

import (
	"fmt"
	"time"
)

// Unavailable is CK_UNAVAILABLE_INFORMATION: a number that the token does not
// tell. EffectivelyInfinite is CK_EFFECTIVELY_INFINITE: a limit there is not.
const (
	Unavailable         = ^uint64(0)
	EffectivelyInfinite = uint64(0)
)

// Version is a CK_VERSION. Minor is two digits: 2.40 is {2, 40}, 3.2 is {3, 2}.
type Version struct{ Major, Minor uint8 }

func (v Version) String() string {
	if v.Minor < 10 && v.Major < 3 {
		return fmt.Sprintf("%d.%02d", v.Major, v.Minor)
	}
	return fmt.Sprintf("%d.%d", v.Major, v.Minor)
}

// Info is CK_INFO. Texts are without the padding of the C structure: at most 32
// bytes.
type Info struct {
	CryptokiVersion    Version
	ManufacturerID     string
	LibraryDescription string
	LibraryVersion     Version
}

// SlotInfo is CK_SLOT_INFO. Description is at most 64 bytes, ManufacturerID 32.
type SlotInfo struct {
	Description     string
	ManufacturerID  string
	Flags           uint64 // CKF_TOKEN_PRESENT, CKF_REMOVABLE_DEVICE, CKF_HW_SLOT
	HardwareVersion Version
	FirmwareVersion Version
}

// TokenInfo is CK_TOKEN_INFO. Label and ManufacturerID are at most 32 bytes,
// Model and SerialNumber 16. Numbers may be Unavailable, maxima also
// EffectivelyInfinite.
type TokenInfo struct {
	Label              string
	ManufacturerID     string
	Model              string
	SerialNumber       string
	Flags              uint64 // CKF_RNG, CKF_LOGIN_REQUIRED, CKF_TOKEN_INITIALIZED, …
	MaxSessionCount    uint64
	SessionCount       uint64
	MaxRwSessionCount  uint64
	RwSessionCount     uint64
	MaxPinLen          uint64
	MinPinLen          uint64
	TotalPublicMemory  uint64
	FreePublicMemory   uint64
	TotalPrivateMemory uint64
	FreePrivateMemory  uint64
	HardwareVersion    Version
	FirmwareVersion    Version
	UTCTime            time.Time // zero without CKF_CLOCK_ON_TOKEN
}

// SessionFlags are the flags of OpenSession: CKF_SERIAL_SESSION, which the
// standard demands, and CKF_RW_SESSION.
type SessionFlags uint64

// SessionInfo is CK_SESSION_INFO.
type SessionInfo struct {
	Slot        SlotID
	State       SessionState
	Flags       SessionFlags
	DeviceError uint64
}

// MechanismInfo is CK_MECHANISM_INFO. Key sizes are in bits for RSA and EC, in
// bytes for AES and generic secrets, as the standard says for each mechanism.
type MechanismInfo struct {
	MinKeySize uint64
	MaxKeySize uint64
	Flags      uint64 // CKF_SIGN, CKF_VERIFY, CKF_HW, …
}
