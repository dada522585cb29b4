package atecc

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A KDF is one key derivation.
type KDF struct {
	Algorithm  KDFAlgorithm
	Source     KDFPlace // of the key
	SourceSlot int      // with KDFSlot
	Target     KDFPlace
	TargetSlot int // with KDFSlot

	// Details are bits 0 to 23 of the details of the command: key length and
	// output length of PRF, key block of AES, message location of HKDF.
	Details uint32

	Message []byte // 16 bytes for AES, up to 128 for the others
}

// KDFAlgorithm is how a key is derived.
type KDFAlgorithm byte

// The algorithms.
const (
	KDFPRF  KDFAlgorithm = 0 // of TLS 1.2
	KDFAES  KDFAlgorithm = 1 // one AES-128 block
	KDFHKDF KDFAlgorithm = 2 // one HMAC-SHA-256
)

// KDFPlace is where a key comes from or goes to.
type KDFPlace byte

// The places. The last two are targets only.
const (
	KDFTempKey      KDFPlace = 0
	KDFTempKeyUpper KDFPlace = 1
	KDFSlot         KDFPlace = 2
	KDFAltKey       KDFPlace = 3
	KDFClear        KDFPlace = 4 // to the host, for whoever listens to the bus
	KDFEncrypted    KDFPlace = 5 // to the host, encrypted under the I/O protection key
)

// Bits of KDF.Details.
const (
	KDFKey16     = 0x000 // PRF: length of the key
	KDFKey32     = 0x001
	KDFKey48     = 0x002
	KDFKey64     = 0x003
	KDFOutput64  = 0x100 // PRF: 64 bytes instead of 32
	KDFMessage   = 0x002 // HKDF: the message is that of the command
	KDFMessageIV = 0x003 // HKDF: the same, with the string of configuration bytes 73 and 74 in it
)

// KDF derives a key, of 32 or 64 bytes. ioKey is needed for KDFEncrypted only.
// The result is nil if the key stays on the chip; otherwise the caller has to
// clear it.
func (d *Device) KDF(ctx context.Context, k KDF, ioKey []byte) ([]byte, error) {
	var out []byte
	err := d.Do(ctx, func(s *Sequence) (err error) {
		out, err = s.KDF(k, ioKey)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// KDF is Device.KDF.
func (s *Sequence) KDF(k KDF, ioKey []byte) ([]byte, error) {
	if k.Algorithm > KDFHKDF || k.Source > KDFAltKey || k.Target > KDFEncrypted || k.Details>>24 != 0 ||
		len(k.Message) > 128 || k.Algorithm == KDFAES && len(k.Message) != aesBlock {
		return nil, fmt.Errorf("atecc: kdf: %w: no such derivation, or a message of %d bytes", pkcs11.CKR_ARGUMENTS_BAD, len(k.Message))
	}
	c := command{name: "kdf", op: opKDF, p1: byte(k.Source) | byte(k.Target)<<2 | byte(k.Algorithm)<<5, slot: noSlot, ram: k.Source != KDFSlot}
	if k.Source == KDFSlot {
		if err := checkSlot("kdf", k.SourceSlot); err != nil {
			return nil, err
		}
		c.slot, c.p2 = k.SourceSlot, uint16(k.SourceSlot)
		c.once = s.limited(k.SourceSlot)
	}
	size := 32
	if k.Algorithm == KDFPRF && k.Details&KDFOutput64 != 0 {
		size = 64
	}
	switch k.Target {
	case KDFSlot:
		if err := checkSlot("kdf", k.TargetSlot); err != nil {
			return nil, err
		}
		c.p2 |= uint16(k.TargetSlot) << 8
		// A key that replaces the one it is made of is another the second time.
		c.once = c.once || k.Source == KDFSlot && k.SourceSlot == k.TargetSlot
	case KDFClear:
		c.size = size
	case KDFEncrypted:
		c.size = size + 32
		if err := checkKey("kdf", c.slot, ioKey); err != nil {
			return nil, err
		}
	}
	details := k.Details
	if k.Algorithm != KDFAES {
		details |= uint32(len(k.Message)) << 24
	}
	c.data = append(binary.LittleEndian.AppendUint32(nil, details), k.Message...)
	p, err := s.exec(c)
	if err != nil || len(p) == 0 {
		return nil, err
	}
	defer clear(p)
	if k.Target == KDFEncrypted {
		return openOutput(p, ioKey), nil
	}
	return bytes.Clone(p), nil
}
