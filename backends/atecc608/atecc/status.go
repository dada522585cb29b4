package atecc

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Status is what the chip answers instead of data. It is an error:
//
//	if errors.Is(err, atecc.StatusExec) { … }
type Status byte

// The statuses. The chip reports StatusCRC before all others.
const (
	StatusOK         Status = 0x00
	StatusMiscompare Status = 0x01 // computed, and the answer is no
	StatusParse      Status = 0x03 // no such command, mode, length or address
	StatusECC        Status = 0x05 // the slot holds no valid key
	StatusSelfTest   Status = 0x07 // a self-test failed: only configuration and SelfTest are served
	StatusHealth     Status = 0x08 // the random number generator failed its health test
	StatusExec       Status = 0x0F // a lock, a policy or the state of TempKey forbids it
	StatusWake       Status = 0x11 // just woken
	StatusWatchdog   Status = 0xEE // too little time left before the watchdog
	StatusCRC        Status = 0xFF // the command arrived damaged
)

var statusText = map[Status]string{
	StatusOK:         "success",
	StatusMiscompare: "miscompare",
	StatusParse:      "parse error",
	StatusECC:        "ECC fault",
	StatusSelfTest:   "self-test failure",
	StatusHealth:     "health-test failure",
	StatusExec:       "execution error",
	StatusWake:       "just woken",
	StatusWatchdog:   "watchdog about to expire",
	StatusCRC:        "communication error",
}

// Error is the meaning and the number.
func (s Status) Error() string {
	text, ok := statusText[s]
	if !ok {
		text = "unknown status"
	}
	return fmt.Sprintf("%s (0x%02X)", text, byte(s))
}

// An Error is the refusal of a command by the chip: what was asked, its status,
// and why, as far as locks and configuration tell. It wraps the status and the
// code of PKCS #11 that fits the reason.
type Error struct {
	Op     string // "sign", "read"
	Slot   int    // -1 for none
	Status Status
	Reason string // which lock or bit, and the cure; may be empty
	Code   pkcs11.Error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("atecc: ")
	b.WriteString(e.Op)
	if e.Slot >= 0 {
		fmt.Fprintf(&b, ": slot %d", e.Slot)
	}
	b.WriteString(": ")
	b.WriteString(e.Status.Error())
	if e.Reason != "" {
		b.WriteString(": ")
		b.WriteString(e.Reason)
	}
	return b.String()
}

// Unwrap returns the status and the code.
func (e *Error) Unwrap() []error { return []error{e.Status, e.Code} }

// The ways in which talking to the chip fails. Each comes with the code of PKCS
// #11 that fits.
var (
	// ErrNoChip: no chip answers a wake-up.
	ErrNoChip = errors.New("no chip answers")

	// ErrAddress: the chip is at another address than Opts.Address says, or there
	// are several and it does not say which.
	ErrAddress = errors.New("wrong address")

	// ErrSpeed: the bus is too fast for the wake pulse, which has to hold SDA low
	// for 60 µs. It has not been changed, unless the text says so.
	ErrSpeed = errors.New("the bus is too fast to wake the chip")

	// ErrWake: something answers, but not as a chip that was woken.
	ErrWake = errors.New("the chip does not wake")

	// ErrComm: the chip was awake, but the command or its answer did not get
	// through, however often it was repeated.
	ErrComm = errors.New("communication with the chip is disturbed")

	// ErrUncertain: the answer to a command that changes the chip was lost, and
	// whether it was carried out cannot be found out. It comes beside the cause.
	ErrUncertain = errors.New("the outcome is not known")

	// ErrTimeout: Opts.Timeout is over.
	ErrTimeout = errors.New("the chip took too long")

	// ErrInUse: another process holds the lock of the chip, and ctx or
	// Opts.Timeout ended the wait.
	ErrInUse = errors.New("another process uses the chip")

	// ErrClosed: the Device is closed.
	ErrClosed = errors.New("closed")

	// ErrSignature: the chip gave a signature that its key does not verify.
	ErrSignature = errors.New("the chip made a wrong signature")
)

var (
	// errDamaged is an answer that is no group.
	errDamaged = errors.New("damaged answer")

	// errLost makes Do run its sequence again: the chip may have slept.
	errLost = errors.New("the chip may have slept")
)
