// Package ateccsim is a simulated ATECC608A/B on an I²C bus, as strict as the
// chip: what works here works there, and what the chip refuses is refused with
// the same status.
//
//	chip, err := ateccsim.New(ateccsim.Blank(ateccsim.DefaultSerial), nil)
//	...
//	chip.Tx(0, []byte{0}, nil)           // wake pulse; its error is expected
//	chip.Tx(0x60, nil, token[:4])        // 04 11 33 43
//	chip.Tx(0x60, []byte{3, 7, 0x30, 0, 0, 0, 3, 0x5d}, nil)
//
// A [Chip] is a periph i2c.Bus with the chip as its only device. It sleeps until
// a wake pulse, is busy for as long as [Timing] says, goes to sleep by its
// watchdog, checks the CRC of commands, keeps what the chip keeps idle and
// forgets what it forgets asleep, enforces the locks and the policy of each slot,
// and writes its EEPROM byte by byte, so that a power cut tears what it would
// tear. [Faults] make it fail on purpose. It runs on any [Clock], a synctest
// bubble's too, and answers at once by default.
//
// [Blank] is a chip as it is shipped, [Configured] one with any configuration.
// [Generic], [TrustFLEX], [TrustGO] and [Everything] are locked ones; the second
// and third have certificates as a factory leaves them, which [State.Chain] gives
// in full and which end in [Root]. [Serve] puts a chip on a socket.
//
// Nothing secret leaves a chip but by its commands and by [Chip.State], which is
// for tests and for files. It protects nothing: it is not for real keys.
//
// # Where silicon is not documented
//
// What public sources leave open is a field of [Questions]. Beyond these: the
// state of an exported SHA context is count (8 bytes, little endian), H0 to H7,
// pending bytes, and is refused with more than 59 pending; KDF HKDF is one HMAC,
// and takes a message in a slot from the slot in bits 8 to 11 of its details; a
// command that fails with a parse error takes 1 ms; the bytes of a command in
// progress are written evenly over its time; ECDH with TempKey needs both zones
// locked; Verify mode 1 (ValidateExternal) is a parse error.
//
// # Not simulated
//
//   - The single-wire interface; a chip configured for it still speaks I²C.
//   - The self-test tests nothing: it fails when a fault says so.
//   - Differences of the ATECC608C.
package ateccsim
