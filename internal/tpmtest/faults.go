package tpmtest

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// A Fault is what a bad bus, a busy TPM or a broken one does with a command: it
// may hand it on to tpm or not, and answers in its place.
type Fault func(tpm transport.TPM, command []byte) ([]byte, error)

// Code refuses the command, which the TPM does not see.
func Code(rc tpm2.TPMRC) Fault {
	return func(transport.TPM, []byte) ([]byte, error) { return errorResponse(rc), nil }
}

// LoseCommand fails before the TPM has seen the command.
func LoseCommand(err error) Fault {
	return func(transport.TPM, []byte) ([]byte, error) { return nil, err }
}

// LoseResponse lets the TPM do what it is told, and fails then.
func LoseResponse(err error) Fault {
	return func(tpm transport.TPM, command []byte) ([]byte, error) {
		if _, err := tpm.Send(command); err != nil {
			return nil, err
		}
		return nil, err
	}
}

// Change lets the TPM do what it is told and returns what change makes of the
// response.
func Change(change func(response []byte) []byte) Fault {
	return func(tpm transport.TPM, command []byte) ([]byte, error) {
		response, err := tpm.Send(command)
		if err != nil {
			return nil, err
		}
		return change(bytes.Clone(response)), nil
	}
}

// Cut shortens the response to n bytes.
func Cut(n int) Fault {
	return Change(func(response []byte) []byte { return response[:min(n, len(response))] })
}

// CutHonestly shortens the response by n bytes of its body, and says the length
// that is left in its header.
func CutHonestly(n int) Fault {
	return Change(func(response []byte) []byte {
		response = response[:max(headerSize, len(response)-n)]
		binary.BigEndian.PutUint32(response[2:], uint32(len(response)))
		return response
	})
}

// Flip inverts a bit of the response, counted from the end of it if negative,
// modulo its length.
func Flip(bit int) Fault {
	return Change(func(response []byte) []byte {
		flip(response, bit)
		return response
	})
}

// FlipCommand inverts a bit of the command on its way.
func FlipCommand(bit int) Fault {
	return func(tpm transport.TPM, command []byte) ([]byte, error) {
		command = bytes.Clone(command)
		flip(command, bit)
		return tpm.Send(command)
	}
}

func flip(b []byte, bit int) {
	n := 8 * len(b)
	bit = ((bit % n) + n) % n
	b[bit/8] ^= 0x80 >> (bit % 8)
}

// Replace answers with the given bytes; the TPM does not see the command.
func Replace(response []byte) Fault {
	return func(transport.TPM, []byte) ([]byte, error) { return bytes.Clone(response), nil }
}

// Wait tells of the command on arrived and holds it until release is closed.
func Wait(arrived chan<- struct{}, release <-chan struct{}) Fault {
	return func(tpm transport.TPM, command []byte) ([]byte, error) {
		arrived <- struct{}{}
		<-release
		return tpm.Send(command)
	}
}

// Faults is a way to the TPM on which things go wrong when they are told to.
type Faults struct {
	tpm transport.TPM

	mu    sync.Mutex
	count int
	rules []*rule
}

type rule struct {
	match func(index int, command []byte) bool
	times int // how often it still strikes, negative for ever
	fault Fault
}

// NewFaults returns a way to tpm that is in order so far.
func NewFaults(tpm transport.TPM) *Faults { return &Faults{tpm: tpm} }

// Reset begins to count commands anew and takes back all faults.
func (f *Faults) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count, f.rules = 0, nil
}

// Count returns the number of commands since the last Reset.
func (f *Faults) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// At makes the command of the given index, counted from 0 at the last Reset, meet
// the fault.
func (f *Faults) At(index int, fault Fault) {
	f.add(&rule{func(i int, _ []byte) bool { return i == index }, 1, fault})
}

// On makes the next commands of a code meet the fault, times of them, or all if
// times is negative.
func (f *Faults) On(code tpm2.TPMCC, times int, fault Fault) {
	f.add(&rule{func(_ int, command []byte) bool { return CommandCode(command) == code }, times, fault})
}

// From makes all commands from the given index on meet the fault, times of them,
// or all if times is negative.
func (f *Faults) From(index, times int, fault Fault) {
	f.add(&rule{func(i int, _ []byte) bool { return i >= index }, times, fault})
}

func (f *Faults) add(r *rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
}

// Pending returns the number of faults that were told to strike and did not yet.
func (f *Faults) Pending() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.rules {
		if r.times > 0 {
			n++
		}
	}
	return n
}

// Send hands the command on, or does what the first fault that matches it does.
func (f *Faults) Send(command []byte) ([]byte, error) {
	fault := f.next(command)
	if fault == nil {
		return f.tpm.Send(command)
	}
	return fault(f.tpm, command)
}

func (f *Faults) next(command []byte) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	index := f.count
	f.count++
	for _, r := range f.rules {
		if r.times != 0 && r.match(index, command) {
			r.times--
			return r.fault
		}
	}
	return nil
}
