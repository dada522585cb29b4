package tpm

import (
	"crypto"
	"crypto/aes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
)

const nonceLen = 32

// A session is an HMAC session with SHA-256 and AES-128-CFB, which every TPM 2.0
// has. Part 1, 19.
type session struct {
	handle      uint32
	key         []byte // empty unless the session is salted
	nonceCaller [nonceLen]byte
	nonceTPM    []byte

	policy bool // it is authorized by what was done in it, without a value

	lost bool // its state is unknown, or it is gone
	uses int
	last time.Time
}

// start begins a session. It is salted to the parent key if salt is set: that
// takes the TPM an operation with the parent, and is for secrets of little
// entropy, for what is sent encrypted when no secret is shared yet, and for
// results that nobody on the bus may read.
func (c *channel) start(salt bool) (*session, error) {
	s := new(session)
	rand.Read(s.nonceCaller[:])
	tpmKey := entity{handle: uint32(tpm2.TPMRHNull)}
	var secret, sealed []byte
	if salt {
		if c.t.srk.Load() == nil {
			return nil, errNoSRK
		}
		tpmKey.handle = c.t.srk.Load().handle
		var err error
		if c.t.bare.Load() {
			if err := c.listOthers(); err != nil {
				return nil, err
			}
		}
		if secret, sealed, err = tpm2.CreateEncryptedSalt(rand.Reader, c.t.srk.Load().seal); err != nil {
			return nil, fmt.Errorf("tpm: salt of a session: %w", err)
		}
		defer clear(secret)
	}
	params := putSized(nil, s.nonceCaller[:])
	params = append(putSized(params, sealed), byte(tpm2.TPMSEHMAC))
	params = put16(put16(put16(params, uint16(tpm2.TPMAlgAES)), 128), uint16(tpm2.TPMAlgCFB))
	params = put16(params, uint16(tpm2.TPMAlgSHA256))
	r, err := c.exec(&command{
		code:    tpm2.TPMCCStartAuthSession,
		handles: []entity{tpmKey, {handle: uint32(tpm2.TPMRHNull)}},
		params:  params,
		returns: true,
	})
	if err != nil {
		return nil, err
	}
	p := r.reader()
	s.handle, s.nonceTPM = r.handle, append([]byte(nil), p.sized()...)
	if !p.done() || s.handle>>24 != 0x02 || len(s.nonceTPM) < 16 {
		c.dirty = true
		return nil, &commandError{tpm2.TPMCCStartAuthSession, errGarbled}
	}
	if salt {
		s.key = tpm2.KDFa(crypto.SHA256, secret, "ATH", s.nonceTPM, s.nonceCaller[:], 256)
	}
	s.last = c.t.clock()
	return s, nil
}

// mac is the HMAC of a command or a response. Part 1, 19.6.5.
func (s *session) mac(auth, hash, newer, older, others []byte, attrs byte) []byte {
	if s.policy {
		return nil // there is no key to make one. Part 1, 19.6.5
	}
	var key [128]byte
	h := hmac.New(sha256.New, append(append(key[:0], s.key...), trimmed(auth)...))
	h.Write(hash)
	h.Write(newer)
	h.Write(older)
	h.Write(others)
	h.Write([]byte{attrs})
	clear(key[:])
	return h.Sum(nil)
}

// trimmed is an authorization value without the zeros at its end, which the TPM
// removes. Part 1, 19.6.4.3.
func trimmed(auth []byte) []byte {
	for len(auth) > 0 && auth[len(auth)-1] == 0 {
		auth = auth[:len(auth)-1]
	}
	return auth
}

// encrypt returns the parameters with the contents of the first one, a TPM2B,
// encrypted.
func (s *session) encrypt(auth, params []byte) ([]byte, error) {
	params = append([]byte(nil), params...)
	r := reader{b: params}
	secret := r.sized()
	if r.bad {
		return nil, errGarbled
	}
	s.cfb(auth, s.nonceCaller[:], s.nonceTPM, secret, true)
	return params, nil
}

// decrypt decrypts the contents of the first parameter of a response in place.
func (s *session) decrypt(auth, params []byte) error {
	r := reader{b: params}
	secret := r.sized()
	if r.bad {
		return errGarbled
	}
	s.cfb(auth, s.nonceTPM, s.nonceCaller[:], secret, false)
	return nil
}

// cfb encrypts or decrypts with AES-128-CFB under a key that is used once.
// Part 1, 21.3.
func (s *session) cfb(auth, newer, older, data []byte, encrypt bool) {
	value := append(append([]byte(nil), s.key...), trimmed(auth)...)
	defer clear(value)
	key := tpm2.KDFa(crypto.SHA256, value, "CFB", newer, older, 256)
	defer clear(key)
	block, err := aes.NewCipher(key[:16])
	if err != nil {
		panic(err) // the length is fixed and allowed
	}
	feed := key[16:]
	for len(data) > 0 {
		var stream, in [aes.BlockSize]byte
		block.Encrypt(stream[:], feed)
		n := copy(in[:], data)
		subtle.XORBytes(data[:n], data[:n], stream[:n])
		if encrypt {
			copy(in[:], data[:n])
		}
		copy(feed, in[:n])
		data = data[n:]
	}
}
