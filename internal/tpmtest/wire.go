package tpmtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// The parts of TPM 2.0 Library, Part 1, 18 and Part 2 that the helpers need; they
// write bytes so that they owe nothing to the code under test.
const (
	headerSize = 10 // tag, size, code

	tagNoSessions = 0x8001
	tagSessions   = 0x8002

	htTransient     = 0x80
	htHMACSession   = 0x02
	htPolicySession = 0x03
	htPersistent    = 0x81

	capCommands = 2
	capHandles  = 1
)

func message(tag uint16, code uint32, body ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, tag)
	b = binary.BigEndian.AppendUint32(b, uint32(headerSize+len(body)))
	b = binary.BigEndian.AppendUint32(b, code)
	return append(b, body...)
}

func words(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

// errorResponse is the response of a TPM that refuses a command.
func errorResponse(code tpm2.TPMRC) []byte { return message(tagNoSessions, uint32(code)) }

func getRandom(n byte) []byte {
	return message(tagNoSessions, uint32(tpm2.TPMCCGetRandom), 0, n)
}

func startupClear() []byte { return message(tagNoSessions, uint32(tpm2.TPMCCStartup), 0, 0) }

// CommandCode returns what a command asks for, 0 if it is too short for one.
func CommandCode(command []byte) tpm2.TPMCC { return tpm2.TPMCC(code(command)) }

func code(message []byte) uint32 {
	if len(message) < headerSize {
		return 0
	}
	return binary.BigEndian.Uint32(message[6:])
}

// ResponseCode returns what a response says, TPM_RC_FAILURE if it is too short to
// say anything.
func ResponseCode(response []byte) tpm2.TPMRC {
	if len(response) < headerSize {
		return tpm2.TPMRCFailure
	}
	return tpm2.TPMRC(code(response))
}

// do sends a command and returns the body of the response, or the code that the
// TPM refuses it with.
func do(tpm transport.TPM, command []byte) ([]byte, error) {
	response, err := tpm.Send(command)
	if err != nil {
		return nil, err
	}
	if len(response) < headerSize {
		return nil, errors.New("response without a header")
	}
	if rc := ResponseCode(response); rc != tpm2.TPMRCSuccess {
		return nil, rc
	}
	return response[headerSize:], nil
}

// capability asks for all values of a capability that is a list of words.
func capability(tpm transport.TPM, which, first uint32) ([]uint32, error) {
	var list []uint32
	for {
		body, err := do(tpm, message(tagNoSessions, uint32(tpm2.TPMCCGetCapability), words(which, first, 254)...))
		if err != nil {
			return nil, err
		}
		// moreData, capability, count.
		if len(body) < 9 || (len(body)-9)%4 != 0 {
			return nil, fmt.Errorf("capability %d: a list of %d bytes", which, len(body))
		}
		for words := range slices.Chunk(body[9:], 4) {
			list = append(list, binary.BigEndian.Uint32(words))
		}
		if body[0] == 0 || len(body) == 9 {
			return list, nil
		}
		first = list[len(list)-1] + 1
	}
}

// Loaded returns the handles of everything that takes room in the TPM's volatile
// memory: objects, loaded sessions and saved ones. A program that is done leaves
// none.
func Loaded(tpm transport.TPM) ([]tpm2.TPMHandle, error) {
	var all []tpm2.TPMHandle
	for _, first := range []uint32{htTransient << 24, htHMACSession << 24, htPolicySession << 24} {
		list, err := capability(tpm, capHandles, first)
		if err != nil {
			return nil, err
		}
		for _, handle := range list {
			all = append(all, tpm2.TPMHandle(handle))
		}
	}
	return all, nil
}

// Persistent returns the handles of the persistent objects.
func Persistent(tpm transport.TPM) ([]tpm2.TPMHandle, error) {
	list, err := capability(tpm, capHandles, htPersistent<<24)
	var all []tpm2.TPMHandle
	for _, handle := range list {
		all = append(all, tpm2.TPMHandle(handle))
	}
	return all, err
}

// SetLockout sets how many wrong values the TPM takes before it locks, and after
// how many seconds it forgets one, or lets the lockout's own authorization be
// tried again. That authorization must be empty, as it is on a fresh TPM.
func SetLockout(tpm transport.TPM, tries, recovery, lockoutRecovery uint32) error {
	const (
		lockout  = 0x4000000A
		password = 0x40000009
		params   = 0x13A // TPM2_DictionaryAttackParameters
	)
	body := words(lockout, 9, password)
	body = append(body, 0, 0, 0, 0, 0) // no nonce, no attributes, no password
	body = append(body, words(tries, recovery, lockoutRecovery)...)
	_, err := do(tpm, message(tagSessions, params, body...))
	return err
}
