package ateccsim

import "encoding/binary"

// A Status is the one byte of an answer that carries no data.
type Status byte

// The statuses of an ATECC608. Of several that apply, the chip reports
// StatusCRC before all others, then StatusParse, then the rest.
const (
	StatusOK         Status = 0x00
	StatusMiscompare Status = 0x01 // CheckMac, Verify, SecureBoot: computed, and the answer is no
	StatusParse      Status = 0x03 // opcode, length, mode or address that does not exist
	StatusECC        Status = 0x05 // the stored key is none
	StatusSelfTest   Status = 0x07 // only Read(config) and SelfTest are served
	StatusHealth     Status = 0x08 // the random number generator is not trusted
	StatusExec       Status = 0x0F // well-formed, but policy, a lock or TempKey forbids it now
	StatusWake       Status = 0x11 // what is read after a wake pulse
	StatusWatchdog   Status = 0xEE // too little time is left before the watchdog
	StatusCRC        Status = 0xFF // CRC or count of the request is wrong
)

func (s Status) String() string {
	switch s {
	case StatusOK:
		return "success"
	case StatusMiscompare:
		return "miscompare"
	case StatusParse:
		return "parse error"
	case StatusECC:
		return "ECC fault"
	case StatusSelfTest:
		return "self-test failure"
	case StatusHealth:
		return "health-test failure"
	case StatusExec:
		return "execution error"
	case StatusWake:
		return "awake"
	case StatusWatchdog:
		return "watchdog about to expire"
	case StatusCRC:
		return "CRC or communication error"
	}
	return "unknown status"
}

// The first byte of a write to the chip.
const (
	wordReset   = 0x00
	wordSleep   = 0x01
	wordIdle    = 0x02
	wordCommand = 0x03
)

// A request is count, opcode, Param1, Param2, data and CRC; 7 bytes without
// data, and at most 155 of data.
const (
	minRequest = 7
	maxRequest = minRequest + 155
)

// A request is a command whose CRC was right.
type request struct {
	op   byte
	p1   byte
	p2   uint16
	data []byte
}

// head is opcode, Param1 and Param2 as they enter the digests.
func (q *request) head() []byte {
	return []byte{q.op, q.p1, byte(q.p2), byte(q.p2 >> 8)}
}

// crc is the CRC-16 with polynomial 0x8005, bits of the input lowest first, the
// register not reflected. On the wire and in Lock summaries it goes low byte
// first.
func crc(parts ...[]byte) uint16 {
	var r uint16
	for _, p := range parts {
		for _, b := range p {
			for i := range 8 {
				d := uint16(b>>i) & 1
				t := r >> 15
				r <<= 1
				if d != t {
					r ^= 0x8005
				}
			}
		}
	}
	return r
}

func checkCRC(frame []byte) bool {
	n := len(frame) - 2
	return crc(frame[:n]) == binary.LittleEndian.Uint16(frame[n:])
}

// answer appends the response group with that payload to b.
func answer(b []byte, payload ...byte) []byte {
	at := len(b)
	b = append(b, byte(len(payload)+3))
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint16(b, crc(b[at:]))
}
