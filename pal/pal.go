// Package pal is the platform abstraction layer: what a board must provide so
// that a token keeps its objects.
//
// A board maker implements [Store]: four methods over flash, an EEPROM, a file
// system or a database. Package paltest checks an implementation, including
// what happens when the power goes at any moment. Package fileflash is the
// implementation for systems with files.
//
// # Coming from the FreeRTOS PAL
//
// PKCS11_PAL_SaveObject is Save, PKCS11_PAL_FindObject and
// PKCS11_PAL_GetObjectValue are Load, PKCS11_PAL_DestroyObject is Remove.
// PKCS11_PAL_GetObjectValueCleanup has no counterpart: Load returns a slice
// that belongs to the caller. PKCS11_PAL_Initialize is the constructor of the
// implementation. A board with fixed sectors maps each name to a sector.
package pal

import (
	"errors"
	"fmt"
	"io/fs"
)

// MaxRecord is the largest record in bytes that a Store must accept, and the
// largest that this module's token writes.
const MaxRecord = 16 << 10

// A Store keeps small named records. Its methods are never called concurrently
// by one token.
//
// Names consist of 1 to 64 of the characters a-z 0-9 - . and do not begin with
// a dot; they say nothing about the content. [CheckName] tests one.
type Store interface {
	// Save makes data the record of that name, replacing an older one. When it
	// returns nil the record is durable; when it returns an error, or the power
	// goes, the store holds the old record or the new one, whole. data is not
	// kept. An empty record is an error, as is one larger than MaxRecord.
	Save(name string, data []byte) error

	// Load returns the record. The slice belongs to the caller. The error is
	// fs.ErrNotExist (by errors.Is) if there is no such record, and ErrCorrupt
	// if the medium holds one that is damaged.
	Load(name string) ([]byte, error)

	// Remove deletes the record, durably and whole, or not at all. The error is
	// fs.ErrNotExist if there is none.
	Remove(name string) error

	// Names returns the names of all records, in any order.
	Names() ([]string, error)
}

// A Change is one step of a batch: the record of that name becomes Data, or is
// removed if Data is nil. Removing a record that does not exist is no error.
type Change struct {
	Name string
	Data []byte
}

// A Batcher is a Store that can make several changes as one step: after a power
// cut all of them are there, or none. A token over a Store that is no Batcher
// orders its changes so that an interruption leaves nothing harmful, and cleans
// up when it is opened.
type Batcher interface {
	Store
	// Batch makes the changes, in order, durably. No name appears twice.
	Batch(changes []Change) error
}

// A Locker is a Store that several processes may use at once.
type Locker interface {
	Store
	// Lock waits until no other process, and no other caller of Lock, holds the
	// store and brings this one up to date; the changes of an operation that
	// depend on what the store holds are made between Lock and unlock. A single
	// Save, Remove or Batch needs no Lock. The lock of a process that died is
	// gone. Lock is not reentrant.
	Lock() (unlock func() error, err error)
}

// A Watcher is a Store that notices cheaply whether another process changed it.
type Watcher interface {
	Store
	// Changes returns a number that is different when records were changed by
	// others than this Store value since the last call. It costs no more than a
	// system call or two, and the records that Load and Names return are current
	// after it.
	Changes() (uint64, error)
}

// A BulkLoader is a Store that reads all of its records faster than one by one:
// a log on flash in one sweep, memory-mapped flash without copying. A token then
// opens the sooner, the more records there are.
type BulkLoader interface {
	Store
	// LoadAll calls f once for each record, in any order, with what Load would
	// return: data, or the error of a record that cannot be read. It shows the
	// store as it was at one moment. data is valid until f returns, and f must
	// not modify it. f calls no method of the store. The error of LoadAll is for
	// a store that cannot be read at all.
	LoadAll(f func(name string, data []byte, err error)) error
}

// A Sealer is a Store on a platform that has a key of its own: a fused key, a
// TPM, a secure element. The token key is sealed with it, so that a copy of the
// records is useless elsewhere.
type Sealer interface {
	Store
	// Seal encrypts and authenticates secret under the platform's key. Unseal
	// reverses it, and fails on another platform or for other bytes.
	Seal(secret []byte) ([]byte, error)
	Unseal(sealed []byte) ([]byte, error)
}

var (
	// ErrCorrupt says that the medium holds a record that is damaged. It is
	// wrapped with the name and the place.
	ErrCorrupt = errors.New("record is damaged")
	// ErrFull says that the medium has no room. Removing records makes some.
	ErrFull = errors.New("store is full")
	// ErrReadOnly says that the medium cannot be written. It also matches
	// fs.ErrPermission.
	ErrReadOnly error = readOnly{}
)

type readOnly struct{}

func (readOnly) Error() string        { return "store is read-only" }
func (readOnly) Is(target error) bool { return target == fs.ErrPermission }

// CheckName returns an error that says what is wrong with a record's name, nil
// if it follows the rules of [Store].
func CheckName(name string) error {
	if name == "" || len(name) > 64 {
		return fmt.Errorf("pal: a record name has 1 to 64 characters, not %d", len(name))
	}
	if name[0] == '.' {
		return fmt.Errorf("pal: record name %q begins with a dot", name)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return fmt.Errorf("pal: record name %q contains %q, which is none of a-z 0-9 . and -", name, c)
		}
	}
	return nil
}

// CheckRecord returns an error if Save must refuse data under that name.
func CheckRecord(name string, data []byte) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(data) == 0 {
		return fmt.Errorf("pal: record %s is empty", name)
	}
	if len(data) > MaxRecord {
		return fmt.Errorf("pal: record %s has %d bytes, more than %d", name, len(data), MaxRecord)
	}
	return nil
}

// CheckBatch returns an error if Batch must refuse the changes: a name or a
// record that is not valid, or a name that appears twice. No changes at all are
// valid.
func CheckBatch(changes []Change) error {
	for _, c := range changes {
		if c.Data == nil {
			if err := CheckName(c.Name); err != nil {
				return err
			}
		} else if err := CheckRecord(c.Name, c.Data); err != nil {
			return err
		}
	}
	if len(changes) < 2 {
		return nil
	}
	seen := make(map[string]bool, len(changes))
	for _, c := range changes {
		if seen[c.Name] {
			return fmt.Errorf("pal: record %s appears twice in a batch", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}
