// Package atecc talks to an ATECC608A or B on an I²C bus: every command of the
// chip as a typed method, with the wake-ups, polling, checks and repetitions that
// make one reliable.
//
//	bus, err := sysfs.NewI2C(1) // or any other periph bus, or atecc.Open(ctx, "1", nil)
//	d, err := atecc.New(ctx, bus, nil)
//	pub, err := d.GenerateKey(ctx, 0)
//	sig, err := d.Sign(ctx, 0, digest)
//
// It knows nothing of PKCS #11 but its error codes; package atecc608 makes a
// token of it.
//
// # Operations and sequences
//
// A method of Device is a whole operation: it wakes the chip, runs its commands,
// leaves the chip idle, and can be called from any goroutine. What the chip keeps
// in RAM between two commands (TempKey, the message buffer, a CheckMac that
// authorizes a key) needs them in one sequence, with nobody else on the chip:
// Device.Do runs a function with a Sequence, whose methods are the single
// commands. The methods of Device are made of it.
//
// # Repetition
//
// An I²C bus loses bits and the chip falls asleep by itself 1.3 s after it was
// woken. An answer that arrives damaged is read again; a command that the chip
// reports as damaged is sent again; and whenever the chip may have slept, the
// whole sequence is run again from its start, since what was in RAM is gone.
//
// What must not happen twice is not repeated blindly: Increment reads the counter
// and Lock the lock before they decide, and where the truth cannot be read the
// error is ErrUncertain. A key that GenerateKey may have left half written by a
// loss of power is never returned: the slot gets another one.
//
// # Sharing
//
// The bus is borrowed: New neither changes its speed, unless Opts.Speed says what
// to change it back to, nor closes it, and other devices may use it between any
// two transfers. Other processes may use the same chip if they use this package
// or take the same lock: see Opts.LockFile.
package atecc
