package tpm

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Commands are framed here and not by go-tpm's Execute: that takes ten times as
// long, leaves sessions behind when a response is lost, and computes wrong HMACs
// with an authorization value that has a zero octet in it. Structures, names,
// key derivation and error codes are go-tpm's.

const (
	tagNoSessions = 0x8001 // TPM_ST_NO_SESSIONS
	tagSessions   = 0x8002 // TPM_ST_SESSIONS

	maxMessage = 4096 // bytes of a command or a response
	headerSize = 10   // tag, size, code
)

// An entity is what a command is about: a handle, and the Name that goes into
// the HMAC of the command. The Name of a permanent handle, a PCR or a session is
// the handle itself, and name is nil. Part 1, 16.
type entity struct {
	handle uint32
	name   []byte
}

// An authorization is a session of a command. The first ones authorize the
// command's handles, in order, with value; one beyond these only protects the
// command.
type authorization struct {
	session *session // nil: value goes as a password
	value   []byte
	attrs   byte
}

// Session attributes. Part 2, 8.4.
const (
	attrContinue = 1 << 0
	attrDecrypt  = 1 << 5 // the first parameter of the command is encrypted
	attrEncrypt  = 1 << 6 // the first parameter of the response is
	attrAudit    = 1 << 7
)

// A command is one for the TPM. params are its parameters.
type command struct {
	code    tpm2.TPMCC
	handles []entity
	needs   int // how many of the handles need authorization
	auths   []authorization
	params  []byte
	returns bool // a handle
}

// A response is what a command that succeeded has returned.
type response struct {
	handle uint32
	params []byte
}

func (r response) reader() *reader { return &reader{b: r.params} }

// exec sends a command and returns the response once it is found to be
// authentic. An error is a *commandError. Sessions of the command are in an
// unknown state, and marked as lost, when it is neither nil nor one that the
// TPM itself has returned.
func (c *channel) exec(cmd *command) (response, error) {
	b, err := cmd.encode()
	if err != nil {
		return response{}, &commandError{cmd.code, err}
	}
	answer, err := c.send(cmd.code, b)
	clear(b)
	if err == nil {
		var r response
		if r, err = cmd.decode(answer); err == nil {
			return r, nil
		}
	}
	var rc tpm2.TPMRC
	if !errors.As(err, &rc) {
		for _, a := range cmd.auths {
			if a.session != nil {
				a.session.lost = true
			}
		}
		if !errors.Is(err, errCanceled) {
			c.dirty = true
		}
	} else if isHandle(rc) || rc == tpm2.TPMRCReferenceH0 {
		c.dirty = true // the handle we know may have been changed on its way to us
	}
	return response{}, &commandError{cmd.code, err}
}

// encode makes the bytes of a command.
func (cmd *command) encode() ([]byte, error) {
	b := make([]byte, 0, headerSize+4*len(cmd.handles)+4+len(cmd.auths)*(4+2+nonceLen+1+2+sha256.Size)+len(cmd.params)+32)
	tag := uint16(tagNoSessions)
	if len(cmd.auths) > 0 {
		tag = tagSessions
	}
	b = put32(put32(put16(b, tag), 0), uint32(cmd.code))
	for _, h := range cmd.handles {
		b = put32(b, h.handle)
	}
	if len(cmd.auths) > 0 {
		// Parameters are encrypted before the HMAC is made of them. Part 1, 21.
		params := cmd.params
		for i := range cmd.auths {
			a := &cmd.auths[i]
			if a.session == nil {
				continue
			}
			rand.Read(a.session.nonceCaller[:])
			if a.attrs&attrDecrypt != 0 {
				var err error
				if params, err = a.session.encrypt(a.bound(i, cmd.needs), params); err != nil {
					return nil, err
				}
			}
		}
		b = put32(b, 0)
		start := len(b)
		var cpHash []byte
		for i := range cmd.auths {
			a := &cmd.auths[i]
			if a.session == nil {
				b = put32(b, uint32(tpm2.TPMRSPW))
				b = putSized(append(putSized(b, nil), attrContinue), a.value)
				continue
			}
			if cpHash == nil {
				cpHash = cmd.hash(params)
			}
			mac := a.session.mac(a.bound(i, cmd.needs), cpHash, a.session.nonceCaller[:], a.session.nonceTPM, cmd.addNonces(i), a.attrs)
			b = put32(b, a.session.handle)
			b = putSized(b, a.session.nonceCaller[:])
			b = putSized(append(b, a.attrs), mac)
		}
		binary.BigEndian.PutUint32(b[start-4:], uint32(len(b)-start))
		b = append(b, params...)
	} else {
		b = append(b, cmd.params...)
	}
	if len(b) > maxMessage {
		return nil, fmt.Errorf("a command of %d bytes: %w", len(b), pkcs11.CKR_DATA_LEN_RANGE)
	}
	binary.BigEndian.PutUint32(b[2:], uint32(len(b)))
	return b, nil
}

// bound returns the authorization value that is part of the session's key: that
// of the entity which the session authorizes, if there is one.
func (a *authorization) bound(i, needs int) []byte {
	if i < needs {
		return a.value
	}
	return nil
}

// addNonces returns what else the HMAC of the first session is over: the nonces
// of sessions that encrypt, if those are others. Part 1, 19.6.5.
func (cmd *command) addNonces(i int) []byte {
	if i != 0 {
		return nil
	}
	var nonces []byte
	var dec *session
	for j, a := range cmd.auths {
		if j > 0 && a.session != nil && a.attrs&attrDecrypt != 0 {
			dec = a.session
			nonces = append(nonces, a.session.nonceTPM...)
		}
	}
	for j, a := range cmd.auths {
		if j > 0 && a.session != nil && a.attrs&attrEncrypt != 0 && a.session != dec {
			nonces = append(nonces, a.session.nonceTPM...)
		}
	}
	return nonces
}

// hash is cpHash: of the command's code, the Names and the parameters. Part 1,
// 16.7.
func (cmd *command) hash(params []byte) []byte {
	h := sha256.New()
	h.Write(put32(nil, uint32(cmd.code)))
	for _, e := range cmd.handles {
		if e.name != nil {
			h.Write(e.name)
		} else {
			h.Write(put32(nil, e.handle))
		}
	}
	h.Write(params)
	return h.Sum(nil)
}

// decode takes a response apart, checks that it is authentic, and decrypts it.
// What the TPM has refused is a tpm2.TPMRC.
func (cmd *command) decode(b []byte) (response, error) {
	r := reader{b: b}
	tag, size, rc := r.u16(), r.u32(), r.u32()
	if r.bad || uint64(size) != uint64(len(b)) {
		return response{}, errGarbled
	}
	// The resource manager of Linux says in the upper half who has made the code.
	if rc &= 0xffff; rc != 0 {
		if tag != tagNoSessions || len(b) != headerSize {
			return response{}, errGarbled
		}
		return response{}, tpm2.TPMRC(rc)
	}
	var out response
	if cmd.returns {
		out.handle = r.u32()
	}
	if len(cmd.auths) == 0 {
		if r.bad || tag != tagNoSessions {
			return response{}, errGarbled
		}
		out.params = r.b
		return out, nil
	}
	n := r.u32()
	if n > uint32(len(r.b)) {
		return response{}, errGarbled
	}
	out.params = r.take(int(n))
	if r.bad || tag != tagSessions {
		return response{}, errGarbled
	}
	var rpHash []byte
	var decrypt *authorization
	var with []byte
	for i := range cmd.auths {
		a := &cmd.auths[i]
		nonce, attrs, mac := r.sized(), r.u8(), r.sized()
		if r.bad {
			return response{}, errGarbled
		}
		if a.session == nil {
			if len(nonce) != 0 || attrs != attrContinue || len(mac) != 0 {
				return response{}, errGarbled
			}
			continue
		}
		if rpHash == nil {
			h := sha256.New()
			h.Write(put32(put32(nil, 0), uint32(cmd.code)))
			h.Write(out.params)
			rpHash = h.Sum(nil)
		}
		want := a.session.mac(a.bound(i, cmd.needs), rpHash, nonce, a.session.nonceCaller[:], nil, attrs)
		if !hmac.Equal(mac, want) {
			return response{}, errForged
		}
		a.session.nonceTPM = append(a.session.nonceTPM[:0], nonce...)
		if attrs&attrContinue == 0 {
			a.session.lost, a.session.handle = true, 0
		}
		if a.attrs&attrEncrypt != 0 {
			decrypt, with = a, a.bound(i, cmd.needs)
		}
	}
	if !r.done() {
		return response{}, errGarbled
	}
	if decrypt != nil {
		if err := decrypt.session.decrypt(with, out.params); err != nil {
			return response{}, err
		}
	}
	return out, nil
}

var (
	// errGarbled is a response that is none.
	errGarbled = fmt.Errorf("the TPM's response is cut or garbled: %w", pkcs11.CKR_DEVICE_ERROR)
	// errForged is a response that does not have the HMAC of the session.
	errForged = fmt.Errorf("the TPM's response is not authentic: a fault of the bus, or somebody on it: %w", pkcs11.CKR_DEVICE_ERROR)
	// errCanceled is a command that was not started when the caller gave up.
	errCanceled = errors.New("not started")
)

// A commandError says which command an error is about.
type commandError struct {
	code tpm2.TPMCC
	err  error
}

func (e *commandError) Error() string { return commandName(e.code) + ": " + inside(e.err).Error() }
func (e *commandError) Unwrap() error { return e.err }
