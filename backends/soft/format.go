package soft

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Every record begins with the version of its format and its kind, and ends
// with the CRC-32C of everything before. docs/soft.md describes the layouts.
//
// Version 2 has an inventory of the objects. A token keeps the version that it
// was initialized with, in all its records but those that are the same in both.
const (
	version       = 2 // the newest
	withInventory = 2 // the first one that has it
	sinceFirst    = 1 // of records that never changed

	kindToken     = 't'
	kindTries     = 'c'
	kindJournal   = 'j'
	kindObject    = 'o'
	kindInventory = 'i'

	nameToken     = "token"
	nameTries     = "tries"
	nameJournal   = "journal"
	nameInventory = "inventory"
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
	return fmt.Errorf("soft: record %s: %w: %s: %w", name, pal.ErrCorrupt, fmt.Sprintf(format, args...), pkcs11.CKR_DEVICE_ERROR)
}

// body checks version, kind and CRC of a record and returns what is between.
func body(name string, kind byte, b []byte) ([]byte, error) {
	if len(b) < 2+crcLen {
		return nil, damaged(name, "%d bytes are too few", len(b))
	}
	end := len(b) - crcLen
	if binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		if b[0] > version && b[1] == kind {
			return nil, damaged(name, "it has format version %d, newer than %d, or the checksum is wrong", b[0], version)
		}
		return nil, damaged(name, "the checksum is wrong")
	}
	if b[0] > version {
		return nil, newer(name, b[0])
	}
	if b[0] == 0 || b[1] != kind {
		return nil, damaged(name, "it is of kind %q and version %d", b[1], b[0])
	}
	return b[2:end], nil
}

func newer(name string, v byte) error {
	return fmt.Errorf("soft: record %s has format version %d, this program knows versions up to %d; use a newer one: %w: %w", name, v, version, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, errors.ErrUnsupported)
}

// tokenFlags are the flags in a token record.
type tokenFlags byte

const (
	flagUserPIN tokenFlags = 1 << iota // the user has a PIN
	flagNoPIN                          // the token key is open to everybody with the records
	flagSealed                         // keys are sealed by the platform
	flagBackup                         // keys may leave the token in a backup
	knownFlags  = flagUserPIN | flagNoPIN | flagSealed | flagBackup
)

// tokenRecord is the record "token": what the token is, and the token key,
// wrapped for the SO, for the user, and on a token without PIN for everybody.
type tokenRecord struct {
	version  byte
	flags    tokenFlags
	serial   [8]byte // the same for ever
	epoch    [8]byte // new with every InitToken; objects carry it
	maxTries byte
	label    string
	so, user wrappedKey
	open     []byte // the token key of a token without PIN
	mac      []byte // over all of this, under a key made of the token key

	signed []byte // the bytes that mac is over, of a record that was decoded
}

// wrappedKey is the token key under a key made of a PIN.
type wrappedKey struct {
	kdf     KDF
	salt    [16]byte
	wrapped []byte // nil if there is no PIN
}

func (r *tokenRecord) serialNumber() string { return hex.EncodeToString(r.serial[:]) }

// appendSigned appends the record as far as the MAC is over it.
func (r *tokenRecord) appendSigned(b []byte) []byte {
	b = append(b, r.version, kindToken, byte(r.flags))
	b = append(b, r.serial[:]...)
	b = append(b, r.epoch[:]...)
	b = append(b, r.maxTries, byte(len(r.label)))
	b = append(b, r.label...)
	b = r.so.append(b)
	b = r.user.append(b)
	return appendBytes(b, r.open)
}

func (w *wrappedKey) append(b []byte) []byte {
	if w.wrapped == nil {
		return appendBytes(b, nil)
	}
	b = appendBytes(b, w.wrapped)
	b = w.kdf.append(b)
	return append(b, w.salt[:]...)
}

// append appends the parameters as a record holds them.
func (k KDF) append(b []byte) []byte {
	b = append(b, kdfArgon2id)
	b = binary.BigEndian.AppendUint32(b, k.MemoryKiB)
	b = binary.BigEndian.AppendUint16(b, k.Passes)
	return append(b, k.Threads)
}

const kdfArgon2id = 1

func appendBytes(b, v []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
}

func (r *tokenRecord) encode() []byte {
	return appendCRC(append(r.appendSigned(nil), r.mac...))
}

func parseToken(b []byte) (*tokenRecord, error) {
	rest, err := body(nameToken, kindToken, b)
	if err != nil {
		return nil, err
	}
	d := fields{b: rest}
	r := &tokenRecord{version: b[0], flags: tokenFlags(d.byte())}
	copy(r.serial[:], d.take(8))
	copy(r.epoch[:], d.take(8))
	r.maxTries = d.byte()
	r.label = string(d.take(int(d.byte())))
	r.so.parse(&d)
	r.user.parse(&d)
	r.open = d.bytes()
	r.signed = b[:len(b)-crcLen-len(d.b)]
	r.mac = d.take(sealLen)
	switch {
	case d.bad || len(d.b) > 0:
		return nil, damaged(nameToken, "its fields do not fit its length")
	case r.flags&^knownFlags != 0:
		return nil, damaged(nameToken, "unknown flags %#x", r.flags)
	case len(r.label) > maxLabel, r.maxTries == 0, r.so.wrapped == nil,
		r.flags&flagUserPIN != 0 && r.user.wrapped == nil,
		(r.flags&flagNoPIN != 0) != (r.open != nil):
		return nil, damaged(nameToken, "its fields contradict each other")
	}
	for _, w := range []*wrappedKey{&r.so, &r.user} {
		if w.wrapped != nil {
			if err := w.kdf.check(); err != nil {
				return nil, damaged(nameToken, "%v", err)
			}
		}
	}
	return r, nil
}

func (w *wrappedKey) parse(d *fields) {
	if w.wrapped = d.bytes(); w.wrapped == nil {
		return
	}
	if d.byte() != kdfArgon2id {
		d.bad = true
	}
	w.kdf.MemoryKiB = d.uint32()
	w.kdf.Passes = d.uint16()
	w.kdf.Threads = d.byte()
	copy(w.salt[:], d.take(len(w.salt)))
}

// triesRecord is the record "tries": how many PINs in a row were wrong. It is
// small, since it is written twice for every login. It counts for the token of
// its epoch only, so that InitToken need not write it.
type triesRecord struct {
	epoch    [8]byte
	so, user byte
}

func (r triesRecord) encode() []byte {
	b := append([]byte{sinceFirst, kindTries}, r.epoch[:]...)
	return appendCRC(append(b, r.so, r.user))
}

func parseTries(b []byte) (r triesRecord, err error) {
	rest, err := body(nameTries, kindTries, b)
	if err != nil {
		return r, err
	}
	if len(rest) != 10 || b[0] != sinceFirst {
		return r, damaged(nameTries, "it has %d bytes", len(b))
	}
	copy(r.epoch[:], rest)
	r.so, r.user = rest[8], rest[9]
	return r, nil
}

// objectFlags are the flags in an object record.
type objectFlags byte

const (
	flagPrivate objectFlags = 1 << iota // the attributes are sealed
	flagSecret                          // there is a secret part
)

// objectRecord is a record "o-…": an object. The header is the beginning of the
// record and associated data of everything in it, as is its name.
//
// attrs are the attributes that may be shown, encoded by package record. In the
// record of a public object they are in the clear, followed by a tag; in that of
// a private one they are sealed. secret is the secret part, sealed under a key
// of its own.
type objectRecord struct {
	name   string
	header []byte
	attrs  []byte // as stored: clear, or sealed
	mac    []byte // of clear ones
	secret []byte
}

const (
	offFlags = 2
	offEpoch = 3
	offSeq   = 11
	offSince = 19 // where what changes with the attributes begins
)

// headerLen is the length of the header: version, kind, flags, epoch, sequence,
// since version 2 the number of changes, length of attrs.
func headerLen(version byte) int {
	if version >= withInventory {
		return offSince + 4 + 2
	}
	return offSince + 2
}

func appendHeader(b []byte, version byte, flags objectFlags, epoch [8]byte, seq uint64, changes uint32) []byte {
	b = append(b, version, kindObject, byte(flags))
	b = append(b, epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, seq)
	if version >= withInventory {
		b = binary.BigEndian.AppendUint32(b, changes)
	}
	return append(b, 0, 0) // the length of attrs, by setAttrLen
}

func setAttrLen(b []byte, n int) {
	binary.BigEndian.PutUint16(b[headerLen(b[0])-2:], uint16(n))
}

func (r *objectRecord) flags() objectFlags { return objectFlags(r.header[offFlags]) }
func (r *objectRecord) epoch() [8]byte     { return [8]byte(r.header[offEpoch : offEpoch+8]) }
func (r *objectRecord) seq() uint64        { return binary.BigEndian.Uint64(r.header[offSeq:]) }

// changes is how many times the object was changed.
func (r *objectRecord) changes() uint32 {
	if r.header[0] < withInventory {
		return 0
	}
	return binary.BigEndian.Uint32(r.header[offSince:])
}

// parseObject takes a record apart. The parts share its memory.
func parseObject(name string, b []byte) (r objectRecord, err error) {
	rest, err := body(name, kindObject, b)
	if err != nil {
		return r, err
	}
	n := headerLen(b[0])
	if len(rest) < n-2 {
		return r, damaged(name, "%d bytes are too few", len(b))
	}
	r = objectRecord{name: name, header: b[:n:n]}
	d := fields{b: rest[n-2:]}
	flags := r.flags()
	r.attrs = d.take(int(binary.BigEndian.Uint16(b[n-2:])))
	if flags&flagPrivate == 0 {
		r.mac = d.take(sealLen)
	}
	if flags&flagSecret != 0 {
		r.secret = d.take(len(d.b))
	}
	switch {
	case d.bad || len(d.b) > 0,
		flags&flagPrivate != 0 && len(r.attrs) < sealLen,
		flags&flagSecret != 0 && len(r.secret) < sealLen:
		return r, damaged(name, "its fields do not fit its length")
	case flags&^(flagPrivate|flagSecret) != 0:
		return r, damaged(name, "unknown flags %#x", flags)
	}
	return r, nil
}

// journalRecord is the record "journal", which is there while objects change in
// a store that cannot make several changes as one step: if the object guard is
// there, or guard is empty, the objects of done go, else those of undone. If
// wiped is not zero, the objects of that epoch go, if it is not the token's any
// more. See journaled.
type journalRecord struct {
	wiped        [8]byte
	guard        string
	done, undone []string
}

func (r journalRecord) encode() []byte {
	b := append([]byte{sinceFirst, kindJournal}, r.wiped[:]...)
	b = appendNames(b, r.guard)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.done)))
	b = appendNames(b, r.done...)
	return appendCRC(appendNames(b, r.undone...))
}

func appendNames(b []byte, names ...string) []byte {
	for _, n := range names {
		b = append(append(b, byte(len(n))), n...)
	}
	return b
}

func parseJournal(b []byte) (r journalRecord, err error) {
	rest, err := body(nameJournal, kindJournal, b)
	if err != nil {
		return r, err
	}
	if b[0] != sinceFirst {
		return r, damaged(nameJournal, "its format has no version %d", b[0])
	}
	d := fields{b: rest}
	copy(r.wiped[:], d.take(8))
	r.guard = string(d.take(int(d.byte())))
	for n := d.uint16(); n > 0 && !d.bad; n-- {
		r.done = append(r.done, string(d.take(int(d.byte()))))
	}
	for len(d.b) > 0 && !d.bad {
		r.undone = append(r.undone, string(d.take(int(d.byte()))))
	}
	if d.bad {
		return r, damaged(nameJournal, "its fields do not fit its length")
	}
	return r, nil
}

// fields reads from the front of b. bad is set when there is not enough.
type fields struct {
	b   []byte
	bad bool
}

func (d *fields) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *fields) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *fields) uint16() uint16 {
	if v := d.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (d *fields) uint32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// bytes takes bytes with their length in front, nil if that is 0.
func (d *fields) bytes() []byte {
	n := int(d.uint16())
	if n == 0 {
		return nil
	}
	return d.take(n)
}
