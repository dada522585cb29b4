package ateccsim

import (
	"fmt"
	"time"
)

// An Event is a transfer, or the half of one that writes and reads. The slices
// are valid during the call only. They are what a probe on the bus sees, secrets
// that are sent in clear included.
type Event struct {
	Time  time.Time // of the chip's clock
	Addr  uint16
	Write []byte
	Read  []byte
	Err   error  // ErrNACK, ErrBus or nil
	Note  string // what it means
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
	if e.Note != "" {
		s += "  # " + e.Note
	}
	return s
}

func (c *Chip) event(addr uint16, w, r []byte, err error, note string) {
	if c.opts.Trace != nil {
		c.opts.Trace(Event{Time: c.opts.Clock.Now(), Addr: addr, Write: w, Read: r, Err: err, Note: note})
	}
}

func describeWrite(w []byte) string {
	switch w[0] {
	case wordReset:
		return "reset address counter"
	case wordSleep:
		return "sleep"
	case wordIdle:
		return "idle"
	case wordCommand:
		return describeCommand(w[1:])
	}
	return "reserved word address, ignored"
}

// describeCommand names a command that came in one write.
func describeCommand(g []byte) string {
	if len(g) < minRequest || int(g[0]) > len(g) {
		return "part of a command"
	}
	g = g[:max(int(g[0]), minRequest)]
	p1, p2, n := g[2], uint16(g[3])|uint16(g[4])<<8, len(g)-minRequest
	s := fmt.Sprintf("opcode %02x", g[1])
	if cmd := commands[g[1]]; cmd != nil {
		s = cmd.name
	}
	switch g[1] {
	case opRead, opWrite:
		if p, ok := locate(p1, p2); ok {
			return s + describePlace(p, n)
		}
	case opGenKey, opSign, opECDH, opPrivWrite, opDeriveKey, opMAC, opCheckMac:
		if p2 < 16 {
			s += fmt.Sprintf(" slot %d", p2)
		}
	case opLock:
		s += [4]string{" configuration", " data and OTP", fmt.Sprintf(" slot %d", p1>>2&0xF), ""}[p1&3]
	}
	s += fmt.Sprintf(" p1=%02x p2=%04x", p1, p2)
	if n > 0 {
		s += fmt.Sprintf(" +%d bytes", n)
	}
	if !checkCRC(g) {
		s += ", wrong CRC"
	}
	return s
}

func describePlace(p place, n int) string {
	where := [3]string{"configuration", "OTP", fmt.Sprintf("slot %d", p.slot)}[p.zone]
	s := fmt.Sprintf(" %s bytes %d to %d", where, p.off, p.off+p.size-1)
	if n > p.size {
		s += ", encrypted"
	}
	return s
}

func describeAnswer(out []byte) string {
	switch {
	case len(out) == 0:
		return "no answer is there"
	case len(out) == 4:
		return fmt.Sprintf("%02x: %s", out[1], Status(out[1]))
	}
	return fmt.Sprintf("%d bytes of data", len(out)-3)
}
