// Package backup is the file that the objects of a token are moved in: encrypted
// and authenticated as a whole under a password.
package backup

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"

	"github.com/go-cryptoki/cryptoki/internal/record"
	"github.com/go-cryptoki/cryptoki/internal/wipe"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The file, version 1, with numbers big-endian:
//
//	1   version
//	15  "cryptoki-backup"
//	4   Argon2id: memory in KiB
//	2   passes
//	1   threads
//	16  salt
//	n   AES-256-GCM: nonce (12), ciphertext, tag (16); the above is associated data
//
// and in it, each with its length in front (4): the token's attributes, then each
// object's, as package record encodes them. An object that is named only, since its
// values could not be had, has no values: what belongs to its class is missing, and
// CKA_VENDOR_DEFINED says why.
const (
	version = 1
	magic   = "cryptoki-backup"

	offKDF    = 1 + len(magic)
	offSalt   = offKDF + 7
	saltLen   = 16
	headerLen = offSalt + saltLen
	overhead  = 12 + 16

	// MaxSize is how large a file may be in bytes: 100,000 objects and more.
	MaxSize = 256 << 20
)

// A KDF is the cost of a password, by Argon2id.
type KDF struct {
	MemoryKiB uint32
	Passes    uint16
	Threads   uint8
}

// DefaultKDF is more than a PIN costs, since a backup is where anybody can take
// his time: three passes over 64 MiB, RFC 9106's second choice.
var DefaultKDF = KDF{MemoryKiB: 64 << 10, Passes: 3, Threads: 4}

// check keeps a forged file from stopping the machine.
func (k KDF) check() error {
	if k.MemoryKiB < 8 || k.MemoryKiB > 64<<10 || k.Passes < 1 || k.Passes > 64 || k.Threads < 1 || k.Threads > 16 {
		return fmt.Errorf("%w: a password cost of %d KiB, %d passes, %d threads", ErrMalformed, k.MemoryKiB, k.Passes, k.Threads)
	}
	return nil
}

var (
	// ErrMalformed says that bytes are no backup.
	ErrMalformed = errors.New("this is no backup")
	// ErrPassword says that the password is wrong, or the file was changed: nobody
	// can tell which.
	ErrPassword = errors.New("wrong password, or the file is damaged")
	// ErrVersion says that a newer program has written the file.
	ErrVersion = errors.New("the backup is of a newer format")
)

// Contents are what a backup holds.
type Contents struct {
	Token   pkcs11.Template   // CKA_LABEL and CKA_SERIAL_NUMBER of the token
	Objects []pkcs11.Template // complete, to be created as they are
	Missing []Missing
}

// Missing is an object that is not in the backup.
type Missing struct {
	Object pkcs11.Template // CKA_CLASS, CKA_LABEL, CKA_ID, CKA_KEY_TYPE
	Reason string
}

// why is the attribute that makes an object a missing one.
const why = pkcs11.AttributeType(0x80000000) // CKA_VENDOR_DEFINED

// Seal encrypts the contents.
func Seal(c *Contents, password []byte, kdf KDF) ([]byte, error) {
	if err := kdf.check(); err != nil {
		return nil, err
	}
	plain, err := c.encode()
	defer clear(plain)
	if err != nil {
		return nil, err
	}
	out := make([]byte, headerLen, headerLen+overhead+len(plain))
	out[0] = version
	copy(out[1:], magic)
	binary.BigEndian.PutUint32(out[offKDF:], kdf.MemoryKiB)
	binary.BigEndian.PutUint16(out[offKDF+4:], kdf.Passes)
	out[offKDF+6] = kdf.Threads
	rand.Read(out[offSalt:headerLen])
	a := aead(password, out, kdf)
	defer wipe.AEAD(a)
	return a.Seal(out, nil, plain, out[:headerLen]), nil
}

// Open decrypts a backup. The caller wipes what it returns: see Contents.Wipe.
func Open(file, password []byte) (*Contents, error) {
	if len(file) < headerLen+overhead || string(file[1:offKDF]) != magic {
		return nil, ErrMalformed
	}
	if file[0] != version {
		return nil, fmt.Errorf("%w: version %d, this program knows %d; use a newer one", ErrVersion, file[0], version)
	}
	kdf := KDF{binary.BigEndian.Uint32(file[offKDF:]), binary.BigEndian.Uint16(file[offKDF+4:]), file[offKDF+6]}
	if err := kdf.check(); err != nil {
		return nil, err
	}
	a := aead(password, file, kdf)
	defer wipe.AEAD(a)
	plain, err := a.Open(nil, nil, file[headerLen:], file[:headerLen])
	if err != nil {
		return nil, ErrPassword
	}
	defer clear(plain)
	return decode(plain)
}

func aead(password, header []byte, kdf KDF) cipher.AEAD {
	key := argon2.IDKey(password, header[offSalt:headerLen], uint32(kdf.Passes), kdf.MemoryKiB, kdf.Threads, 32)
	block, err := aes.NewCipher(key)
	clear(key)
	if err != nil {
		panic(err) // the length is fixed and allowed
	}
	defer wipe.Block(block)
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return a
}

func (c *Contents) encode() (b []byte, err error) {
	add := func(t pkcs11.Template) {
		if err != nil {
			return
		}
		var enc []byte
		if enc, err = record.Append(nil, t); err != nil {
			return
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(enc)))
		b = append(b, enc...)
		clear(enc)
	}
	add(c.Token)
	for _, o := range c.Objects {
		add(o)
	}
	for _, m := range c.Missing {
		add(append(m.Object[:len(m.Object):len(m.Object)], pkcs11.Attr(why, m.Reason)))
	}
	return b, err
}

func decode(b []byte) (*Contents, error) {
	c := new(Contents)
	for first := true; first || len(b) > 0; first = false {
		if len(b) < 4 || uint64(len(b)-4) < uint64(binary.BigEndian.Uint32(b)) {
			c.Wipe()
			return nil, fmt.Errorf("%w: an object is cut off", ErrMalformed)
		}
		end := 4 + int(binary.BigEndian.Uint32(b))
		t, err := record.Parse(b[4:end])
		if err != nil {
			c.Wipe()
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		t = t.Clone() // Parse shares memory that is cleared
		b = b[end:]
		reason, missing := t.Get(why)
		switch {
		case first:
			c.Token = t
		case missing:
			n := t[:0]
			for _, a := range t {
				if a.Type != why {
					n = append(n, a)
				}
			}
			c.Missing = append(c.Missing, Missing{n, string(reason.Bytes())})
		default:
			c.Objects = append(c.Objects, t)
		}
	}
	return c, nil
}

// Wipe clears the values of all objects.
func (c *Contents) Wipe() {
	for _, o := range c.Objects {
		for _, a := range o {
			clear(a.Bytes())
		}
	}
}
