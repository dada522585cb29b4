package ateccsim

import (
	"crypto/sha256"
	"time"
)

// A command is an opcode of the chip: its longest execution time in ms for the
// clock dividers M0, M1 and M2, and what it does. run returns data, or nothing
// and a status.
type command struct {
	name  string
	times [3]int
	run   func(*Chip, *request) ([]byte, Status)
}

var commands [256]*command

func init() {
	for op, cmd := range map[byte]command{
		opRead:        {"Read", [3]int{5, 5, 5}, (*Chip).cmdRead},
		opMAC:         {"MAC", [3]int{55, 55, 55}, (*Chip).cmdMAC},
		opWrite:       {"Write", [3]int{45, 45, 45}, (*Chip).cmdWrite},
		opGenDig:      {"GenDig", [3]int{25, 35, 35}, (*Chip).cmdGenDig},
		opNonce:       {"Nonce", [3]int{20, 20, 20}, (*Chip).cmdNonce},
		opLock:        {"Lock", [3]int{35, 35, 35}, (*Chip).cmdLock},
		opRandom:      {"Random", [3]int{23, 23, 23}, (*Chip).cmdRandom},
		opDeriveKey:   {"DeriveKey", [3]int{50, 50, 50}, (*Chip).cmdDeriveKey},
		opUpdateExtra: {"UpdateExtra", [3]int{10, 10, 10}, (*Chip).cmdUpdateExtra},
		opCounter:     {"Counter", [3]int{25, 25, 25}, (*Chip).cmdCounter},
		opCheckMac:    {"CheckMac", [3]int{40, 40, 40}, (*Chip).cmdCheckMac},
		opInfo:        {"Info", [3]int{5, 5, 5}, (*Chip).cmdInfo},
		opGenKey:      {"GenKey", [3]int{115, 215, 653}, (*Chip).cmdGenKey},
		opSign:        {"Sign", [3]int{115, 220, 665}, (*Chip).cmdSign},
		opECDH:        {"ECDH", [3]int{75, 172, 531}, (*Chip).cmdECDH},
		opVerify:      {"Verify", [3]int{105, 295, 1085}, (*Chip).cmdVerify},
		opPrivWrite:   {"PrivWrite", [3]int{50, 50, 50}, (*Chip).cmdPrivWrite},
		opSHA:         {"SHA", [3]int{36, 42, 75}, (*Chip).cmdSHA},
		opAES:         {"AES", [3]int{27, 27, 27}, (*Chip).cmdAES},
		opKDF:         {"KDF", [3]int{165, 165, 165}, (*Chip).cmdKDF},
		opSelfTest:    {"SelfTest", [3]int{250, 625, 2324}, (*Chip).cmdSelfTest},
		opSecureBoot:  {"SecureBoot", [3]int{80, 160, 480}, (*Chip).cmdSecureBoot},
	} {
		commands[op] = &cmd
	}
}

// The opcodes. 01 (Pause), 11 (HMAC) and 13 (Delete) are those of other parts
// and are parse errors here.
const (
	opRead        = 0x02
	opMAC         = 0x08
	opWrite       = 0x12
	opGenDig      = 0x15
	opNonce       = 0x16
	opLock        = 0x17
	opRandom      = 0x1B
	opDeriveKey   = 0x1C
	opUpdateExtra = 0x20
	opCounter     = 0x24
	opCheckMac    = 0x28
	opInfo        = 0x30
	opGenKey      = 0x40
	opSign        = 0x41
	opECDH        = 0x43
	opVerify      = 0x45
	opPrivWrite   = 0x46
	opSHA         = 0x47
	opAES         = 0x51
	opKDF         = 0x56
	opSelfTest    = 0x77
	opSecureBoot  = 0x80
)

// longest is the longest time that cmd takes with the configured divider.
func (c *Chip) longest(cmd *command) time.Duration {
	return time.Duration(cmd.times[c.divider()]) * time.Millisecond
}

// execute runs a group that has arrived and leaves the answer to be read.
func (c *Chip) execute(group []byte) {
	c.changed = c.changed[:0]
	c.op = opcode(group)
	latch, noBoot := c.latch, c.noBoot
	data, status, took := c.dispatch(group)
	if c.power != awake {
		// The power or the watchdog cut it off: what it did to registers after that
		// has not happened.
		c.latch, c.noBoot = latch, noBoot
		c.lose()
		return
	}
	if data != nil {
		c.out = answer(c.outBuf[:0], data...)
	} else {
		c.out = answer(c.outBuf[:0], byte(status))
	}
	c.outPos = 0
	c.busyFor(took)
}

func (c *Chip) dispatch(group []byte) ([]byte, Status, time.Duration) {
	if len(group) < minRequest || len(group) > maxRequest || !checkCRC(group) {
		return nil, StatusCRC, refusalTime
	}
	q := &request{
		op:   group[1],
		p1:   group[2],
		p2:   uint16(group[3]) | uint16(group[4])<<8,
		data: group[5 : len(group)-2],
	}
	if c.failures != 0 && q.op != opSelfTest && !(q.op == opRead && q.p1&3 == zoneConfig) {
		return nil, StatusSelfTest, refusalTime
	}
	cmd := commands[q.op]
	if cmd == nil {
		return nil, StatusParse, refusalTime
	}
	took := c.longest(cmd)
	if left, ok := c.remaining(); ok && left < took && !c.opts.Open.NoWatchdogStatus {
		return nil, StatusWatchdog, refusalTime
	}
	data, status := cmd.run(c, q)
	if status == StatusParse {
		took = refusalTime
	}
	return data, status, took
}

// digest is SHA-256 of the parts in order.
func digest(parts ...[]byte) (sum [32]byte) {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}

var zeros [64]byte

// The pieces of the serial number that enter the digests.
func (c *Chip) sn8() []byte  { return c.ee.Config[12:13] }
func (c *Chip) sn01() []byte { return c.ee.Config[0:2] }
func (c *Chip) sn23() []byte { return c.ee.Config[2:4] }
func (c *Chip) sn47() []byte { return c.ee.Config[8:12] }

// mix is the 96-byte digest that GenDig, DeriveKey, Write and GenKey share:
// first, four bytes of the command, the serial number, zeros, last.
func (c *Chip) mix(first, head, last []byte) [32]byte {
	return digest(first, head, c.sn8(), c.sn01(), zeros[:25], last)
}
