package ateccsim

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// DefaultSerial is the serial number of the chips that the tests and examples
// make; that of standard parts ends in EE.
var DefaultSerial = [9]byte{0x01, 0x23, 0xEA, 0xA2, 0x05, 0xB7, 0xC4, 0x70, 0xEE}

// The configurations from byte 16 on.
const (
	configBlank = `
		C0 00 00 00 83 20 87 20 8F 20 C4 8F 8F 8F 8F 8F
		9F 8F AF 8F 00 00 00 00 00 00 00 00 00 00 00 00
		00 00 AF 8F FF FF FF FF 00 00 00 00 FF FF FF FF
		00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
		00 00 00 00 00 00 55 55 FF FF 00 00 00 00 00 00
		33 00 33 00 33 00 1C 00 1C 00 1C 00 1C 00 1C 00
		3C 00 3C 00 3C 00 3C 00 3C 00 3C 00 3C 00 1C 00`
	configGeneric = `
		C0 00 00 00 85 20 82 20 85 20 85 20 85 66 8F 46
		8F 0F 9F 8F 0F 0F 8F 46 0F 0F 0F 0F 0F 0F 0F 0F
		0D 1F 0F 0F FF FF FF FF 00 00 00 00 FF FF FF FF
		00 00 00 00 00 00 00 00 00 69 76 00 00 00 00 00
		00 00 00 00 00 00 55 55 FF FF 0E 60 00 00 00 00
		33 00 33 00 33 00 33 00 33 00 38 00 7C 00 1C 00
		3C 00 3C 00 3C 00 30 00 3C 00 30 00 12 00 30 00`
	configTrustFLEX = `
		6C 00 00 01 85 00 82 00 85 20 85 20 85 20 8F 46
		8F 0F 9F 8F 0F 0F 8F 0F 0F 8F 0F 8F 0F 8F 0F 0F
		0D 1F 0F 0F FF FF FF FF 00 00 00 00 FF FF FF FF
		00 00 00 00 00 00 03 F7 00 69 76 00 00 00 00 00
		00 00 00 00 00 00 55 55 FF FF 0E 60 00 00 00 00
		53 00 53 00 73 00 73 00 73 00 38 00 7C 00 1C 00
		3C 00 1A 00 1C 00 10 00 1C 00 30 00 12 00 30 00`
	configTrustGO = `
		6A 00 00 01 85 00 82 00 85 20 85 20 85 20 0F 8F
		8F 0F 0F 8F 0F 0F 8F 0F 0F 8F 0F 8F 0F 8F 0F 8F
		0F 8F 0F 8F FF FF FF FF 00 00 00 00 FF FF FF FF
		00 00 00 00 00 00 00 00 00 69 76 00 00 00 00 00
		00 00 00 00 00 00 55 55 FF FF 0E 60 00 00 00 00
		53 00 53 00 73 00 73 00 73 00 1C 00 7C 00 1C 00
		3C 00 1A 00 1C 00 10 00 1C 00 1C 00 1C 00 1C 00`
	configEverything = `
		C0 00 A1 00 AF 2F C4 44 87 20 C4 F4 8F 0F 0F 0F
		9F 8F 83 64 C4 44 C4 64 0F 0F 0F 0F 0F 0F 0F 0F
		0F 0F 0F 0F FF FF FF FF 00 00 00 00 FF FF FF FF
		00 00 00 00 FF 84 03 BC 09 69 76 00 00 00 00 00
		00 00 00 00 00 00 55 55 FF FF 0E 40 00 00 00 00
		33 00 1C 00 13 00 1C 00 3C 00 3A 10 1C 00 33 00
		1C 00 1C 00 38 00 30 00 3C 00 3C 00 32 00 30 00`
)

// newState is an unlocked chip with that configuration, data and OTP as shipped.
func newState(serial [9]byte, tail string) *State {
	s := new(State)
	copy(s.Config[0:], serial[:4])
	copy(s.Config[cfgRevision:], []byte{0, 0, 0x60, 0x03})
	copy(s.Config[8:], serial[4:])
	copy(s.Config[cfgAES:], []byte{0x61, 0x4D, 0})
	b, err := hex.DecodeString(strings.Join(strings.Fields(tail), ""))
	if err != nil || len(b) != ConfigSize-16 {
		panic("ateccsim: a built-in configuration is malformed")
	}
	copy(s.Config[16:], b)
	for i := range s.OTP {
		s.OTP[i] = 0xFF
	}
	for i := range s.Data {
		s.Data[i] = 0xFF
	}
	return s
}

// Blank is a standard ATECC608B as it is shipped, nothing locked, address 0x60.
func Blank(serial [9]byte) *State { return newState(serial, configBlank) }

// Configured is a chip with any configuration, data and OTP as shipped. The
// bytes say what is locked; the serial number is in them too.
func Configured(config [ConfigSize]byte) (*State, error) {
	s := newState(DefaultSerial, configBlank)
	s.Config = config
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

// lock makes a provisioned chip of s: a key in each of the slots, a random I/O
// protection key, and both zones locked. A nil r is crypto/rand.
func (s *State) lock(r io.Reader, product string, keys ...int) (*State, error) {
	if r == nil {
		r = rand.Reader
	}
	b := make([]byte, 32)
	for _, n := range keys {
		for {
			if _, err := io.ReadFull(r, b); err != nil {
				return nil, fmt.Errorf("ateccsim: make the key of slot %d: %w", n, err)
			}
			if _, err := ecdh.P256().NewPrivateKey(b); err == nil {
				break
			}
		}
		clear(s.Slot(n)[:4])
		copy(s.Slot(n)[4:], b)
	}
	if _, err := io.ReadFull(r, s.Slot(s.options().ioKey())[:32]); err != nil {
		return nil, fmt.Errorf("ateccsim: make the I/O protection key: %w", err)
	}
	copy(s.OTP[:], product)
	s.Config[cfgLockConfig], s.Config[cfgLockData] = 0, 0
	return s, nil
}

// Generic is a locked chip with the configuration of a generic TLS identity, in
// which every key can be made again until its slot is locked: keys in slots 0 to
// 3, the I/O protection key in slot 6.
func Generic(serial [9]byte, r io.Reader) (*State, error) {
	return newState(serial, configGeneric).lock(r, "", 0, 1, 2, 3)
}

// TrustFLEX is a chip as a TrustFLEX ATECC608B-TFLXTLS comes, locked, at address
// 0x36, with keys in slots 0 to 4 and compressed certificates for slot 0 in slots
// 10 to 12. Microchip's are not part of this project: these end in [Root], and
// [State.Chain] has them in full. The last byte of the serial number is 01.
func TrustFLEX(serial [9]byte, r io.Reader) (*State, error) {
	return provisioned(serial, configTrustFLEX, r, "MKMwyhP1", templateFLEX)
}

// TrustGO is like a Trust&GO ATECC608B-TNGTLS, as far as its configuration is
// public: locked, at address 0x35, with keys and certificates as [TrustFLEX] has
// them.
func TrustGO(serial [9]byte, r io.Reader) (*State, error) {
	return provisioned(serial, configTrustGO, r, "KQp2ZkD8", templateTrustGO)
}

func provisioned(serial [9]byte, config string, r io.Reader, product string, template byte) (*State, error) {
	serial[8] = 0x01
	s, err := newState(serial, config).lock(r, product, 0, 1, 2, 3, 4)
	if err != nil {
		return nil, err
	}
	if err := theFactory().provision(s, template); err != nil {
		return nil, err
	}
	return s, nil
}

// Everything is a locked chip whose slots between them use every policy there
// is: the configuration that the vendor's test program writes. Keys are in slots
// 0, 2 and 7, the I/O protection key in slot 4.
func Everything(serial [9]byte, r io.Reader) (*State, error) {
	return newState(serial, configEverything).lock(r, "", 0, 2, 7)
}
