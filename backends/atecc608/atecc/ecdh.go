package atecc

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// FromTempKey instead of a slot takes the key in TempKey.
const FromTempKey = -1

// ECDHOutput is where the agreed secret goes.
type ECDHOutput byte

// The outputs of ECDH. Config.Options says which are allowed.
const (
	ECDHDefault   ECDHOutput = 0x00 // as bit 3 of SlotConfig says: to the next slot, or in clear
	ECDHToSlot    ECDHOutput = 0x04 // the first 32 bytes of the next slot; the key's slot must be even
	ECDHToTempKey ECDHOutput = 0x08
	ECDHClear     ECDHOutput = 0x0C // to the host, for whoever listens to the bus
	ECDHEncrypted ECDHOutput = 0x0E // to the host, encrypted under the I/O protection key
)

const ecdhTempKey = 0x01

// ECDH computes the shared secret, 32 bytes, of the private key in the slot and a
// P-256 public key. ioKey, the content of the slot Config.Options().IOKey(), is
// needed for ECDHEncrypted only. The result is nil if the secret stays on the
// chip; otherwise the caller has to clear it.
func (d *Device) ECDH(ctx context.Context, slot int, peer *ecdh.PublicKey, out ECDHOutput, ioKey []byte) ([]byte, error) {
	var secret []byte
	err := d.Do(ctx, func(s *Sequence) (err error) {
		secret, err = s.ECDH(slot, peer, out, ioKey)
		return err
	})
	if err != nil {
		return nil, err
	}
	return secret, nil
}

// ECDH is Device.ECDH. slot may be FromTempKey, with the key of GenerateTempKey,
// which this spends; ECDHToSlot wants a slot then, too, and is not for it.
func (s *Sequence) ECDH(slot int, peer *ecdh.PublicKey, out ECDHOutput, ioKey []byte) ([]byte, error) {
	if slot != FromTempKey {
		if err := checkSlot("ecdh", slot); err != nil {
			return nil, err
		}
	}
	if peer == nil || peer.Curve() != ecdh.P256() {
		return nil, fmt.Errorf("atecc: ecdh: slot %d: %w: the chip has P-256 only", slot, pkcs11.CKR_CURVE_NOT_SUPPORTED)
	}
	c := command{name: "ecdh", op: opECDH, p1: byte(out), p2: uint16(slot), data: peer.Bytes()[1:], slot: slot}
	switch out {
	case ECDHDefault:
		c.size, c.orStatus = 32, true
	case ECDHToSlot, ECDHToTempKey:
	case ECDHClear:
		c.size = 32
	case ECDHEncrypted:
		c.size = 32 + 32
		if err := checkKey("ecdh", slot, ioKey); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("atecc: ecdh: slot %d: %w: no output %#x", slot, pkcs11.CKR_ARGUMENTS_BAD, byte(out))
	}
	if slot == FromTempKey {
		if out == ECDHDefault || out == ECDHToSlot {
			return nil, fmt.Errorf("atecc: ecdh: %w: a key in TempKey has no next slot", pkcs11.CKR_ARGUMENTS_BAD)
		}
		c.p1 |= ecdhTempKey
		c.p2, c.ram = 0, true
	} else {
		c.once = s.limited(slot)
		cfg := s.d.Config()
		if s.run > 1 && cfg.Key(slot).ReqRandom() {
			if err := s.Random(make([]byte, 32)); err != nil {
				return nil, err
			}
		}
		c.ram = cfg.Key(slot).ReqRandom() || cfg.Key(slot).ReqAuth()
	}
	p, err := s.exec(c)
	if err != nil || len(p) == 0 {
		return nil, err
	}
	defer clear(p)
	if out == ECDHEncrypted {
		return openOutput(p, ioKey), nil
	}
	return bytes.Clone(p), nil
}
