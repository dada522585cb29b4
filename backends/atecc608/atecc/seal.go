package atecc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// zeros fills the digests.
var zeros [32]byte

// digest is SHA-256 of the parts in order.
func digest(parts ...[]byte) (sum [32]byte) {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}

// The pieces of the serial number that enter the digests of this chip.
func (d *Device) sn8() []byte  { c := d.Config(); return c[12:13] }
func (d *Device) sn01() []byte { c := d.Config(); return c[0:2] }
func (d *Device) sn23() []byte { c := d.Config(); return c[2:4] }
func (d *Device) sn47() []byte { c := d.Config(); return c[8:12] }

// head is opcode, Param1 and Param2 as they enter the digests.
func (c *command) head() []byte { return []byte{c.op, c.p1, byte(c.p2), byte(c.p2 >> 8)} }

// mix is the digest that the commands which change or use TempKey share.
func (d *Device) mix(first, head []byte, pad int, last []byte) [32]byte {
	return digest(first, head, d.sn8(), d.sn01(), zeros[:pad], last)
}

// RandomNonce loads TempKey with a digest of random numbers of the chip and of the
// host, and returns it. It is no secret.
func (s *Sequence) RandomNonce() ([32]byte, error) {
	var in [20]byte
	if _, err := rand.Read(in[:]); err != nil {
		return [32]byte{}, fmt.Errorf("atecc: nonce: %w: %w", pkcs11.CKR_DEVICE_ERROR, err)
	}
	c := command{name: "nonce", op: opNonce, data: in[:], slot: noSlot, size: 32}
	out, err := s.exec(c)
	if err != nil {
		return [32]byte{}, err
	}
	return digest(out, in[:], []byte{opNonce, c.p1, 0}), nil
}

// GenDig mixes the key of a slot into TempKey, for the encrypted accesses that the
// key protects. key is the host's copy of it, temp what TempKey holds; the result
// is what it holds then, a secret that the caller has to clear.
func (s *Sequence) GenDig(slot int, key []byte, temp [32]byte) (*[32]byte, error) {
	if err := checkSlot("gendig", slot); err != nil {
		return nil, err
	}
	if err := checkKey("gendig", slot, key); err != nil {
		return nil, err
	}
	// The other data is what a key with NoMac wants; for others it is ignored.
	c := command{name: "gendig", op: opGenDig, p1: byte(ZoneData), p2: uint16(slot), slot: slot, ram: true, once: s.limited(slot)}
	c.data = c.head()
	if _, err := s.exec(c); err != nil {
		return nil, err
	}
	mixed := s.d.mix(key, c.head(), 25, temp[:])
	return &mixed, nil
}

// limited reports a key each use of which counts.
func (s *Sequence) limited(slot int) bool {
	c := s.d.Config()
	return c.DataLocked() && c.Slot(slot).LimitedUse()
}

func checkKey(name string, slot int, key []byte) error {
	if len(key) != 32 {
		return fmt.Errorf("atecc: %s: slot %d: %w: the key has 32 bytes, not %d", name, slot, pkcs11.CKR_KEY_SIZE_RANGE, len(key))
	}
	return nil
}

// session has chip and host agree on a key that nobody on the bus knows.
func (s *Sequence) session(slot int, key []byte) (*[32]byte, error) {
	temp, err := s.RandomNonce()
	if err != nil {
		return nil, err
	}
	return s.GenDig(slot, key, temp)
}

// ReadSlotEncrypted reads len(p) bytes at an offset of a secret slot that may be
// read encrypted. key is what the slot's ReadKey holds. The chip adds no MAC: with
// a wrong key, the result is random.
func (d *Device) ReadSlotEncrypted(ctx context.Context, slot, off int, p, key []byte) error {
	err := d.Do(ctx, func(s *Sequence) error { return s.ReadSlotEncrypted(slot, off, p, key) })
	if err != nil {
		clear(p)
	}
	return err
}

// ReadSlotEncrypted is Device.ReadSlotEncrypted.
func (s *Sequence) ReadSlotEncrypted(slot, off int, p, key []byte) error {
	if err := checkRange("encrypted read", slot, off, len(p), 1); err != nil {
		return err
	}
	c := command{name: "encrypted read", op: opRead, p1: wide | byte(ZoneData), slot: slot, size: blockSize, ram: true}
	if err := s.permitted(&c); err != nil {
		return err
	}
	cfg := s.d.Config()
	for len(p) > 0 {
		mask, err := s.session(cfg.Slot(slot).ReadKey(), key)
		if err != nil {
			return err
		}
		c.p2 = address(ZoneData, slot, off/blockSize*blockSize)
		r, err := s.exec(c)
		if err == nil {
			subtle.XORBytes(r, r, mask[:])
			n := copy(p, r[off%blockSize:])
			p, off = p[n:], off+n
			clear(r)
		}
		clear(mask[:])
		if err != nil {
			return err
		}
	}
	return nil
}

// WriteSlotEncrypted writes data into whole blocks of 32 bytes of a slot, of which
// the last of a slot is shorter, encrypted and with a MAC. key is what the slot's
// WriteKey holds. A wrong one is CKR_ENCRYPTED_DATA_INVALID.
func (d *Device) WriteSlotEncrypted(ctx context.Context, slot, off int, data, key []byte) error {
	return d.Do(ctx, func(s *Sequence) error { return s.WriteSlotEncrypted(slot, off, data, key) })
}

// WriteSlotEncrypted is Device.WriteSlotEncrypted.
func (s *Sequence) WriteSlotEncrypted(slot, off int, data, key []byte) error {
	if err := checkRange("encrypted write", slot, off, len(data), blockSize); err != nil {
		return err
	}
	c := command{name: "encrypted write", op: opWrite, p1: wide | sealed | byte(ZoneData), slot: slot, ram: true}
	if err := s.permitted(&c); err != nil {
		return err
	}
	cfg := s.d.Config()
	for len(data) > 0 {
		mask, err := s.session(cfg.Slot(slot).WriteKey(), key)
		if err != nil {
			return err
		}
		c.p2 = address(ZoneData, slot, off)
		var plain [blockSize]byte
		n := copy(plain[:], data)
		mac := s.d.mix(mask[:], c.head(), 25, plain[:])
		subtle.XORBytes(plain[:], plain[:], mask[:])
		clear(mask[:])
		c.data = append(plain[:], mac[:]...)
		if _, err := s.exec(c); err != nil {
			return err
		}
		data, off = data[n:], off+n
	}
	return nil
}

// ImportKey writes a P-256 private key into a slot. After the data zone is locked
// it is sent encrypted: writeKey is what the slot's WriteKey holds. Before, the
// chip takes it in clear if writeKey is nil, for whoever listens to the bus. The
// chip's public key is compared with that of the key, where it can be.
func (d *Device) ImportKey(ctx context.Context, slot int, key *ecdsa.PrivateKey, writeKey []byte) error {
	err := d.Do(ctx, func(s *Sequence) error {
		d.setKey(slot, nil)
		return s.ImportKey(slot, key, writeKey)
	})
	if err == nil {
		d.setKey(slot, &key.PublicKey)
	}
	return err
}

// ImportKey is Device.ImportKey.
func (s *Sequence) ImportKey(slot int, key *ecdsa.PrivateKey, writeKey []byte) error {
	if err := checkSlot("import", slot); err != nil {
		return err
	}
	if key.Curve != elliptic.P256() {
		return fmt.Errorf("atecc: import: slot %d: %w: the chip has P-256 only", slot, pkcs11.CKR_CURVE_NOT_SUPPORTED)
	}
	scalar, err := key.Bytes()
	if err != nil {
		return fmt.Errorf("atecc: import: slot %d: %w: the private key is not valid", slot, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID)
	}
	defer clear(scalar)
	var value [36 + 32]byte
	defer clear(value[:])
	copy(value[4:], scalar)
	c := command{name: "import", op: opPrivWrite, p2: uint16(slot), slot: slot}
	cfg := s.d.Config()
	if writeKey != nil || cfg.DataLocked() {
		c.p1, c.ram = sealed, true
		if err := s.permitted(&c); err != nil {
			return err
		}
		mask, err := s.session(cfg.Slot(slot).WriteKey(), writeKey)
		if err != nil {
			return err
		}
		defer clear(mask[:])
		mac := s.d.mix(mask[:], c.head(), 21, value[:36])
		more := sha256.Sum256(mask[:])
		subtle.XORBytes(value[:], value[:32], mask[:])
		subtle.XORBytes(value[32:], value[32:36], more[:4])
		clear(more[:])
		copy(value[36:], mac[:])
	}
	c.data = value[:]
	if _, err := s.exec(c); err != nil {
		return err
	}
	if !cfg.Key(slot).PubInfo() {
		return nil
	}
	pub, err := s.PublicKey(slot)
	if err != nil {
		return err
	}
	if !pub.Equal(&key.PublicKey) {
		return fmt.Errorf("atecc: import: slot %d: %w: the chip holds another key than was written", slot, pkcs11.CKR_DEVICE_ERROR)
	}
	return nil
}

// openOutput decrypts what the chip encrypted under the I/O protection key: 32
// or 64 bytes with a nonce of 32 behind them.
func openOutput(p, ioKey []byte) []byte {
	n := len(p) - 32
	out := make([]byte, n)
	for i := 0; i < n; i += 32 {
		pad := digest(ioKey, p[n+i/2:n+i/2+16])
		subtle.XORBytes(out[i:], p[i:i+32], pad[:])
		clear(pad[:])
	}
	return out
}
