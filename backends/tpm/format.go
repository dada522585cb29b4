package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Every record begins with the version of its format and its kind, and ends
// with the CRC-32C of everything before. docs/tpm.md describes the layouts.
const (
	version       = 1
	withInventory = 2 // the version of the token's record since there is an inventory, and of that one

	kindToken     = 't'
	kindObjects   = 'o'
	kindAbilities = 'a'
	kindSessions  = 's'
	kindInventory = 'i'
	kindPersists  = 'p'

	nameToken     = "token"
	nameAbilities = "abilities"
	nameSessions  = "sessions"
	nameInventory = "inventory"
	namePersists  = "persisting"
	objectPrefix  = "o-"

	crcLen  = 4
	sealLen = 12 + 16 // nonce in front and tag behind of what is sealed
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendCRC(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// damaged is the error about a record that is not as this package wrote it.
func damaged(name, format string, args ...any) error {
	return fmt.Errorf("tpm: record %s: %w: %s: %w", name, pal.ErrCorrupt, fmt.Sprintf(format, args...), pkcs11.CKR_DEVICE_ERROR)
}

// body checks version, kind and CRC of a record and returns what is between.
func body(name string, kind byte, b []byte) ([]byte, error) {
	if len(b) < 2+crcLen {
		return nil, damaged(name, "%d bytes are too few", len(b))
	}
	end := len(b) - crcLen
	if binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return nil, damaged(name, "the checksum is wrong")
	}
	least, most := byte(version), byte(version)
	switch kind {
	case kindToken:
		most = withInventory
	case kindInventory:
		least, most = withInventory, withInventory
	}
	if b[0] > most {
		return nil, fmt.Errorf("tpm: record %s has format version %d, this program knows versions up to %d; use a newer one: %w: %w", name, b[0], most, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, errors.ErrUnsupported)
	}
	if b[0] < least || b[1] != kind {
		return nil, damaged(name, "it is of kind %q and version %d", b[1], b[0])
	}
	return b[2:end], nil
}

// tokenFlags are the flags in a token record.
type tokenFlags byte

const (
	flagUserPIN tokenFlags = 1 << iota // the user has a PIN
	flagNoPIN                          // the token secret is open to everybody with the records
	knownFlags  = flagUserPIN | flagNoPIN
)

// tokenRecord is the record "token": which TPM the token is on, and the token
// secret, sealed by the TPM for the SO and for the user.
type tokenRecord struct {
	version  byte
	flags    tokenFlags
	serial   [8]byte // the same for ever
	epoch    [8]byte // new with every InitToken; objects carry it
	label    string
	parent   uint32 // handle of the storage key
	srkName  []byte
	so, user sealed
	open     []byte // the token secret of a token without PIN
	mac      []byte // over all of this, under a key made of the token secret

	signed []byte // the bytes that mac is over, of a record that was decoded
}

// sealed is a seal object: the token secret under a PIN. It is not there if
// private is nil.
type sealed struct {
	iterations uint32 // of PBKDF2
	salt       [16]byte
	public     []byte
	private    []byte
}

func (r *tokenRecord) appendSigned(b []byte) []byte {
	b = append(b, r.version, kindToken, byte(r.flags))
	b = append(b, r.serial[:]...)
	b = append(b, r.epoch[:]...)
	b = append(append(b, byte(len(r.label))), r.label...)
	b = putSized(put32(b, r.parent), r.srkName)
	b = r.so.append(b)
	b = r.user.append(b)
	return putSized(b, r.open)
}

func (s *sealed) append(b []byte) []byte {
	b = putSized(b, s.private)
	if s.private == nil {
		return b
	}
	b = putSized(b, s.public)
	return append(put32(b, s.iterations), s.salt[:]...)
}

func (r *tokenRecord) encode() []byte {
	return appendCRC(append(r.appendSigned(nil), r.mac...))
}

// maxIterations keeps a forged record from stopping the machine.
const maxIterations = 10_000_000

func parseToken(b []byte) (*tokenRecord, error) {
	rest, err := body(nameToken, kindToken, b)
	if err != nil {
		return nil, err
	}
	d := reader{b: rest}
	r := &tokenRecord{version: b[0], flags: tokenFlags(d.u8())}
	copy(r.serial[:], d.take(8))
	copy(r.epoch[:], d.take(8))
	r.label = string(d.take(int(d.u8())))
	r.parent, r.srkName = d.u32(), d.sized()
	r.so.parse(&d)
	r.user.parse(&d)
	if open := d.sized(); len(open) > 0 {
		r.open = open
	}
	r.signed = b[:len(b)-crcLen-len(d.b)]
	r.mac = d.take(sealLen)
	switch {
	case !d.done():
		return nil, damaged(nameToken, "its fields do not fit its length")
	case r.flags&^knownFlags != 0:
		return nil, damaged(nameToken, "unknown flags %#x", r.flags)
	case len(r.label) > maxLabel, r.so.private == nil, len(r.srkName) == 0,
		(r.flags&flagUserPIN != 0) != (r.user.private != nil),
		(r.flags&flagNoPIN != 0) != (r.open != nil):
		return nil, damaged(nameToken, "its fields contradict each other")
	case r.so.iterations > maxIterations, r.user.iterations > maxIterations:
		return nil, damaged(nameToken, "a PIN is stretched more than %d times", maxIterations)
	}
	return r, nil
}

func (s *sealed) parse(d *reader) {
	private := d.sized()
	if len(private) == 0 {
		return
	}
	s.private, s.public = private, d.sized()
	s.iterations = d.u32()
	copy(s.salt[:], d.take(len(s.salt)))
	if len(s.public) == 0 || s.iterations == 0 {
		d.take(-1)
	}
}

// objectFlags are the flags of a stored object.
type objectFlags byte

const (
	flagPrivate objectFlags = 1 << iota // the attributes are sealed
	flagKey                             // there is a key in the TPM: the blob is a keyBlob
	flagSecret                          // the blob is a secret value, sealed
	knownObject = flagPrivate | flagKey | flagSecret
)

// A bundle is a record "o-…": objects that were made in one step, a key pair for
// instance, and the objects that they have replaced, which are gone from the
// moment that the bundle is there.
type bundle struct {
	epoch    [8]byte
	replaces []objectID
	objects  []stored
}

type objectID [8]byte

// stored is an object in a bundle.
type stored struct {
	id    objectID
	seq   uint64
	flags objectFlags
	attrs []byte // encoded, and sealed if the object is private
	mac   []byte // of those of a public object
	blob  []byte
}

func (r *bundle) encode() []byte {
	b := append([]byte{version, kindObjects}, r.epoch[:]...)
	b = put16(b, uint16(len(r.replaces)))
	for _, id := range r.replaces {
		b = append(b, id[:]...)
	}
	b = append(b, byte(len(r.objects)))
	for i := range r.objects {
		b = r.objects[i].append(b)
	}
	return appendCRC(b)
}

func (o *stored) append(b []byte) []byte {
	b = append(b, o.id[:]...)
	b = binary.BigEndian.AppendUint64(b, o.seq)
	b = putSized(append(b, byte(o.flags)), o.attrs)
	b = append(b, o.mac...)
	return putSized(b, o.blob)
}

// parseBundle takes a record apart. The parts share its memory.
func parseBundle(name string, b []byte) (*bundle, error) {
	rest, err := body(name, kindObjects, b)
	if err != nil {
		return nil, err
	}
	d := reader{b: rest}
	r := new(bundle)
	copy(r.epoch[:], d.take(8))
	for n := d.u16(); n > 0 && !d.bad; n-- {
		var id objectID
		copy(id[:], d.take(8))
		r.replaces = append(r.replaces, id)
	}
	for n := d.u8(); n > 0 && !d.bad; n-- {
		var o stored
		copy(o.id[:], d.take(8))
		o.seq = d.u64()
		o.flags = objectFlags(d.u8())
		o.attrs = d.sized()
		if o.flags&flagPrivate == 0 {
			o.mac = d.take(sealLen)
		}
		if blob := d.sized(); len(blob) > 0 {
			o.blob = blob
		}
		switch {
		case d.bad:
		case o.flags&^knownObject != 0:
			return nil, damaged(name, "unknown flags %#x", o.flags)
		case o.flags&flagPrivate != 0 && len(o.attrs) < sealLen,
			(o.flags&(flagKey|flagSecret) != 0) != (o.blob != nil),
			o.flags&flagKey != 0 && o.flags&flagSecret != 0,
			slices.ContainsFunc(r.objects, func(other stored) bool { return other.id == o.id }):
			return nil, damaged(name, "its fields contradict each other")
		}
		r.objects = append(r.objects, o)
	}
	if !d.done() {
		return nil, damaged(name, "its fields do not fit its length")
	}
	return r, nil
}

// A keyBlob is what the TPM needs to load a key, and the proof that it made it.
type keyBlob struct {
	persistent uint32 // handle, 0: none
	flags      byte
	public     []byte
	private    []byte
	creation   []byte // TPMS_CREATION_DATA; empty of an imported key
	ticket     []byte // TPMT_TK_CREATION
	auth       []byte // of an imported key that keeps its own: sealed
}

func (k *keyBlob) encode() []byte {
	b := append(put32(nil, k.persistent), k.flags)
	b = putSized(putSized(b, k.public), k.private)
	return putSized(putSized(putSized(b, k.creation), k.ticket), k.auth)
}

func parseKeyBlob(b []byte) (*keyBlob, error) {
	d := reader{b: b}
	k := &keyBlob{persistent: d.u32(), flags: d.u8(), public: d.sized(), private: d.sized(), creation: d.sized(), ticket: d.sized(), auth: d.sized()}
	if !d.done() || k.flags != 0 || len(k.public) == 0 || len(k.private) == 0 {
		return nil, errors.New("a key's blob that is none")
	}
	return k, nil
}

func (a *abilities) encode() []byte {
	b := []byte{version, kindAbilities}
	b = append(b, a.firmware.manufacturer[:]...)
	b = append(b, a.firmware.vendor[:]...)
	b = binary.BigEndian.AppendUint64(b, a.firmware.version)
	b = append(b, byte(len(a.curves)))
	for _, c := range a.curves {
		b = put16(b, uint16(c))
	}
	b = append(b, byte(len(a.rsa)))
	for _, n := range a.rsa {
		b = put16(b, n)
	}
	b = append(b, byte(len(a.hashes)))
	for _, h := range a.hashes {
		b = put16(b, uint16(h))
	}
	var flags byte
	if a.hmac {
		flags |= 1
	}
	if a.cmac {
		flags |= 2
	}
	if a.cmac256 {
		flags |= 4
	}
	return appendCRC(append(put16(append(b, flags), uint16(a.input)), byte(a.slots)))
}

func parseAbilities(b []byte) (*abilities, error) {
	rest, err := body(nameAbilities, kindAbilities, b)
	if err != nil {
		return nil, err
	}
	d := reader{b: rest}
	a := new(abilities)
	copy(a.firmware.manufacturer[:], d.take(4))
	copy(a.firmware.vendor[:], d.take(16))
	a.firmware.version = d.u64()
	for n := d.u8(); n > 0 && !d.bad; n-- {
		a.curves = append(a.curves, tpm2.TPMECCCurve(d.u16()))
	}
	for n := d.u8(); n > 0 && !d.bad; n-- {
		a.rsa = append(a.rsa, d.u16())
	}
	for n := d.u8(); n > 0 && !d.bad; n-- {
		a.hashes = append(a.hashes, tpm2.TPMAlgID(d.u16()))
	}
	flags := d.u8()
	a.hmac, a.cmac, a.cmac256 = flags&1 != 0, flags&2 != 0, flags&4 != 0
	a.input, a.slots = int(d.u16()), int(d.u8())
	if !d.done() || flags > 7 || a.slots == 0 || a.input == 0 {
		return nil, damaged(nameAbilities, "its fields do not fit its length")
	}
	return a, nil
}

// sessionsRecord is the record "sessions" of a TPM without resource manager:
// which sessions are ours, so that the next process can remove those of one that
// died. resets tells whether the TPM has been reset since.
type sessionsRecord struct {
	resets  uint64 // resetCount and restartCount
	handles []uint32
}

func (r sessionsRecord) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{version, kindSessions}, r.resets)
	for _, h := range r.handles {
		b = put32(b, h)
	}
	return appendCRC(b)
}

func parseSessions(b []byte) (r sessionsRecord, err error) {
	rest, err := body(nameSessions, kindSessions, b)
	if err != nil {
		return r, err
	}
	d := reader{b: rest}
	r.resets = d.u64()
	for len(d.b) > 0 && !d.bad {
		r.handles = append(r.handles, d.u32())
	}
	if !d.done() {
		return r, damaged(nameSessions, "its fields do not fit its length")
	}
	return r, nil
}
