package ateccsim

import (
	"encoding/binary"
	"fmt"
	"time"
)

// An Event is a transfer, or the half of one that writes and reads. The slices
// are valid during the call only. They are what a probe on the bus sees, secrets
// that are sent in clear included.
type Event struct {
	Time    time.Time // of the chip's clock
	Addr    uint16
	Write   []byte
	Read    []byte
	Err     error       // ErrNACK, ErrBus or nil
	Command string      // of a transfer that completes a command, or begins its answer: its name
	Note    string      // what it means
	Faults  []FaultKind // that happened on purpose since the last event
}

func (e Event) String() string {
	s := fmt.Sprintf("W %02x [% x]", e.Addr, e.Write)
	if e.Read != nil {
		s = fmt.Sprintf("R %02x %d", e.Addr, len(e.Read))
		if e.Err == nil {
			s += fmt.Sprintf(" -> % x", e.Read)
		}
	}
	switch e.Err {
	case nil:
	case ErrNACK:
		s += " NACK"
	default:
		s += " error"
	}
	sep := "  # "
	for _, f := range e.Faults {
		s += sep + "fault: " + string(f)
		sep = ", "
	}
	if e.Note != "" {
		s += sep + e.Note
	}
	return s
}

// A remark is what a trace says of a transfer.
type remark struct{ command, note string }

func (c *Chip) event(addr uint16, w, r []byte, err error, m remark) {
	if c.opts.Trace != nil {
		c.opts.Trace(Event{
			Time: c.opts.Clock.Now(), Addr: addr, Write: w, Read: r, Err: err,
			Command: m.command, Note: m.note, Faults: c.opts.Faults.drain(),
		})
	}
}

// describeWrite is what a write means that is not of a command.
func describeWrite(w []byte) string {
	switch w[0] {
	case wordReset:
		return "reset address counter"
	case wordSleep:
		return "sleep"
	case wordIdle:
		return "idle"
	case wordCommand:
		return "part of a command"
	}
	return "reserved word address, ignored"
}

// describeCommand tells what a complete group asks for.
func describeCommand(g []byte) remark {
	if len(g) < minRequest {
		return remark{note: fmt.Sprintf("a count of %d is no command", len(g))}
	}
	q := &request{op: g[1], p1: g[2], p2: uint16(g[3]) | uint16(g[4])<<8, data: g[5 : len(g)-2]}
	m := remark{command: fmt.Sprintf("opcode %02x", q.op)}
	if cmd := commands[q.op]; cmd != nil {
		m.command = cmd.name
	}
	m.note = m.command
	if s := describeRequest(q); s != "" {
		m.note += " " + s
	}
	m.note += fmt.Sprintf(" (p1=%02x p2=%04x", q.p1, q.p2)
	if n := len(q.data); n > 0 {
		m.note += fmt.Sprintf(" +%d bytes", n)
	}
	m.note += ")"
	if !checkCRC(g) {
		m.note += ", wrong CRC"
	}
	return m
}

// describeRequest is the command in words, as far as it has a known form.
func describeRequest(q *request) string {
	slot := fmt.Sprintf("slot %d", q.p2)
	if q.p2 == slotTempKey {
		slot = "TempKey"
	}
	target := [4]string{"TempKey", "message buffer", "alternate key", "output"}[q.p1>>6]
	switch q.op {
	case opRead, opWrite:
		if p, ok := locate(q.p1, q.p2); ok {
			return describePlace(p, len(q.data))
		}
	case opLock:
		return [4]string{"configuration", "data and OTP", fmt.Sprintf("slot %d", q.p1>>2&0xF), "?"}[q.p1&3]
	case opUpdateExtra:
		return fmt.Sprintf("byte %d := %02x", cfgUserExtra+int(q.p1), q.p2)
	case opCounter:
		return [2]string{"read", "increment"}[q.p1&1] + fmt.Sprintf(" %d", q.p2)
	case opNonce:
		if q.p1&3 == 3 {
			return "fixed, to " + target
		}
		if q.p2 != 0 {
			return "calculated from TempKey"
		}
		return "random"
	case opGenDig:
		return [8]string{
			fmt.Sprintf("configuration block %d", q.p2), fmt.Sprintf("OTP block %d", q.p2), slot, "shared nonce",
			fmt.Sprintf("counter %d", q.p2), "configuration of " + slot, "?", "?",
		}[q.p1&7]
	case opGenKey:
		what := "public key of "
		if q.p1&4 != 0 {
			what = "new key in "
		}
		if q.p1&0x18 != 0 {
			what = "digest, " + what
		}
		return what + slot
	case opSign:
		from := [2]string{"TempKey", "message buffer"}[q.p1>>5&1]
		return [2]string{"internal", "external, " + from}[q.p1>>7] + ", " + slot
	case opVerify:
		mode := [8]string{"stored key of " + slot, "?", "external key", "validate " + slot, "?", "?", "?", "invalidate " + slot}[q.p1&7]
		if q.p1&verifyWithMAC != 0 {
			mode += ", with MAC"
		}
		return mode
	case opECDH:
		if q.p1&1 != 0 {
			slot = "TempKey"
		}
		to := [4]string{"as the slot says", "to a slot", "to TempKey", "to output"}[q.p1>>2&3]
		if q.p1&2 != 0 {
			to += ", encrypted"
		}
		return slot + " " + to
	case opKDF:
		from := [4]string{"TempKey", "TempKey's upper half", fmt.Sprintf("slot %d", q.p2&0xFF), "alternate key"}[q.p1&3]
		to := [8]string{"TempKey", "TempKey's upper half", fmt.Sprintf("slot %d", q.p2>>8), "alternate key", "output", "output, encrypted", "?", "?"}[q.p1>>2&7]
		return [4]string{"PRF", "AES", "HKDF", "?"}[q.p1>>5&3] + ", from " + from + " to " + to
	case opSHA:
		s := [8]string{"start", "update", "end", "public key of " + slot, "HMAC start, key in " + slot, "?", "read context", "write context"}[q.p1&7]
		if q.p1&7 == shaEnd {
			s += ", to " + target
		}
		return s
	case opAES:
		if q.p1&7 == aesGFM {
			return "multiply"
		}
		return [2]string{"encrypt", "decrypt"}[q.p1&1] + fmt.Sprintf(", %s, key %d", slot, q.p1>>6)
	case opSecureBoot:
		return [8]string{"?", "?", "?", "?", "?", "full", "full, stored", "full, copy"}[q.p1&7]
	case opInfo:
		return [8]string{"revision", "key of " + slot, "state", "GPIO", "latch", "?", "?", "?"}[q.p1&7]
	case opPrivWrite, opDeriveKey, opMAC, opCheckMac:
		return slot
	}
	return ""
}

func describePlace(p place, n int) string {
	where := [3]string{"configuration", "OTP", fmt.Sprintf("slot %d", p.slot)}[p.zone]
	s := fmt.Sprintf("%s bytes %d to %d", where, p.off, p.off+p.size-1)
	if n > p.size {
		s += ", encrypted"
	}
	return s
}

// describeAnswer tells what the output buffer has, which is read from its
// beginning.
func (c *Chip) describeAnswer() remark {
	var m remark
	if c.op != 0 {
		m.command = fmt.Sprintf("opcode %02x", c.op)
		if cmd := commands[c.op]; cmd != nil {
			m.command = cmd.name
		}
	}
	if len(c.out) < 4 {
		m.note = "no answer is there"
		return m
	}
	data := c.out[1 : len(c.out)-2]
	switch {
	case c.op == opSelfTest && len(data) == 1 && data[0]&0xC0 == 0:
		m.note = fmt.Sprintf("%02x: tests that failed", data[0])
	case len(data) == 1:
		m.note = fmt.Sprintf("%02x: %s", data[0], Status(data[0]))
	case c.op == opCounter && len(data) == 4:
		m.note = fmt.Sprintf("counter is %d", binary.LittleEndian.Uint32(data))
	case c.op == opSign:
		m.note = "signature"
	case c.op == opGenKey:
		m.note = "public key"
	default:
		m.note = fmt.Sprintf("%d bytes of data", len(data))
	}
	if m.command != "" {
		m.note = m.command + ": " + m.note
	}
	return m
}
