package atecc608

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strings"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A store holds what the chip has no room for: a record for the chip, and one
// for each object, a key pair being one. The first byte of a record is the
// version of its format, the last four are its CRC-32C.
const (
	recordVersion = 1
	chipRecord    = "chip"
	objectPrefix  = "o-"
	noSlot        = 0xFF
)

// errRecord is the error of bytes that are no record.
var errRecord = fmt.Errorf("no record of this backend: %w", pal.ErrCorrupt)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A chipState is the chip's record.
type chipState struct {
	serial [9]byte // of the chip that the store belongs to
	// free are slots of which the store knows that no key in them is of use,
	// dirty those of them that are to be overwritten. A slot that a record names is
	// neither, whatever is said here.
	free, dirty uint16
	label       string // of the token, "" for the default
	ioKey       []byte // the I/O protection key, nil if it is not known
}

func (c *chipState) marshal() []byte {
	b := append([]byte{recordVersion}, c.serial[:]...)
	b = binary.BigEndian.AppendUint16(b, c.free)
	b = binary.BigEndian.AppendUint16(b, c.dirty)
	b = append(append(b, byte(len(c.ioKey))), c.ioKey...)
	return seal(append(append(b, byte(len(c.label))), c.label...))
}

func parseChip(b []byte) (*chipState, error) {
	r, err := open(b)
	if err != nil {
		return nil, err
	}
	c := new(chipState)
	copy(c.serial[:], r.bytes(9))
	c.free, c.dirty = r.uint16(), r.uint16()
	c.ioKey = append(c.ioKey, r.bytes(int(r.byte()))...)
	c.label = string(r.bytes(int(r.byte())))
	if len(c.ioKey) != 0 && len(c.ioKey) != 32 {
		return nil, errRecord
	}
	return c, r.end()
}

// The flags of an object's record.
const (
	// flagPending says that the key is about to be made in a slot that another
	// record names: whether it was is seen by the public key.
	flagPending = 1 << iota
	// flagOnChip says that the value of a public key or of data is in the slot,
	// not in the template.
	flagOnChip
)

// A record is an object that the store knows, or two: a private key and its
// public key.
type record struct {
	name     string
	seq      uint32 // in the order of creation
	slot     int    // -1 for none
	flags    byte
	replaces []string        // records that are gone once this one is there
	main     pkcs11.Template // nil if only the public key is left
	public   pkcs11.Template // of a pair; nil if there is none
	value    []byte          // of a session secret key that the host holds
}

func (r *record) marshal() ([]byte, error) {
	slot := byte(noSlot)
	if r.slot >= 0 {
		slot = byte(r.slot)
	}
	b := append([]byte{recordVersion}, slot, r.flags)
	b = binary.BigEndian.AppendUint32(b, r.seq)
	b = append(b, byte(len(r.replaces)))
	for _, name := range r.replaces {
		b = append(append(b, byte(len(name))), name...)
	}
	for _, t := range []pkcs11.Template{r.main, r.public} {
		at := len(b)
		b = append(b, 0, 0)
		if t == nil {
			continue
		}
		var err error
		if b, err = driver.AppendTemplate(b, t); err != nil {
			return nil, fmt.Errorf("atecc608: record: %w", err)
		}
		if len(b) > pal.MaxRecord {
			return nil, fmt.Errorf("atecc608: record: %w: the object has more than %d bytes", pkcs11.CKR_DEVICE_MEMORY, pal.MaxRecord)
		}
		binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	}
	return seal(b), nil
}

func parseRecord(name string, b []byte) (*record, error) {
	d, err := open(b)
	if err != nil {
		return nil, err
	}
	r := &record{name: name, slot: -1}
	if slot := d.byte(); slot != noSlot {
		if slot > 15 {
			return nil, errRecord
		}
		r.slot = int(slot)
	}
	r.flags = d.byte()
	r.seq = d.uint32()
	for range d.byte() {
		r.replaces = append(r.replaces, string(d.bytes(int(d.byte()))))
	}
	for _, t := range []*pkcs11.Template{&r.main, &r.public} {
		if n := int(d.uint16()); n > 0 {
			if *t, err = driver.ParseTemplate(append([]byte(nil), d.bytes(n)...)); err != nil {
				return nil, fmt.Errorf("%w: %w", errRecord, err)
			}
		}
	}
	if r.main == nil && r.public == nil {
		return nil, errRecord
	}
	return r, d.end()
}

// newName is a name for a record that no other ever has.
func newName() string {
	var b [8]byte
	rand.Read(b[:])
	return objectPrefix + hex.EncodeToString(b[:])
}

func isObject(name string) bool { return strings.HasPrefix(name, objectPrefix) }

func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// A decoder reads a record from its second byte on. Reading past the end gives
// zeros, and an error at the end.
type decoder struct {
	b   []byte
	bad bool
}

func open(b []byte) (*decoder, error) {
	n := len(b) - 4
	if n < 1 || b[0] != recordVersion || binary.BigEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return nil, errRecord
	}
	return &decoder{b: b[1:n]}, nil
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.b) {
		d.bad, d.b = true, nil
		return make([]byte, n)
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte     { return d.bytes(1)[0] }
func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.bytes(2)) }
func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.bytes(4)) }

func (d *decoder) end() error {
	if d.bad || len(d.b) > 0 {
		return errRecord
	}
	return nil
}

// storeError adds to an error of the store the code that says what it means.
func storeError(what string, err error) error {
	code := pkcs11.CKR_DEVICE_ERROR
	switch {
	case errors.Is(err, pal.ErrReadOnly):
		code = pkcs11.CKR_TOKEN_WRITE_PROTECTED
	case errors.Is(err, pal.ErrFull):
		code = pkcs11.CKR_DEVICE_MEMORY
	}
	return fmt.Errorf("atecc608: %s: %w: %w", what, code, err)
}

func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
