package ateccsim

import "time"

// Tx is one transfer: w is written, then r is read after a repeated start. A
// transfer to address 0 is a wake pulse and always ends in ErrNACK, as does one
// to a chip that is asleep, idle or busy. As on Linux, a transfer without any
// byte is none.
func (c *Chip) Tx(addr uint16, w, r []byte) error {
	if len(w) == 0 && len(r) == 0 {
		return nil
	}
	<-c.bus
	defer c.release()
	if c.err != nil {
		return c.err
	}
	err := c.transfer(addr, w, r)
	c.save()
	return err
}

// probe is a transfer of the address alone, as a scan of the bus does it. To
// address 0 it is a wake pulse.
func (c *Chip) probe(addr uint16, read bool) error {
	<-c.bus
	defer c.release()
	if c.err != nil {
		return c.err
	}
	m := remark{note: "address alone"}
	err := c.start()
	if err == nil && !c.addressed(addr, read) {
		err, m.note = ErrNACK, c.whyNot(addr)
	} else if err == nil {
		c.spend(stopBits)
	}
	c.event(addr, nil, nil, err, m)
	c.save()
	return err
}

func (c *Chip) transfer(addr uint16, w, r []byte) error {
	if err := c.start(); err != nil {
		if len(w) > 0 {
			r = nil // it was not reached
		}
		c.event(addr, w, r, err, remark{})
		return err
	}
	if len(w) > 0 {
		m, err := c.write(addr, w)
		c.event(addr, w, nil, err, m)
		if err != nil {
			return err
		}
	}
	if len(r) > 0 {
		m, err := c.read(addr, r)
		c.event(addr, nil, r, err, m)
		return err
	}
	return nil
}

// start is what can go wrong before a transfer.
func (c *Chip) start() error {
	f := c.opts.Faults
	if f.fires(PowerCutTx, c.op) {
		c.powerOff()
	}
	if f.fires(StuckBus, c.op) {
		return ErrBus
	}
	c.tick()
	if f.fires(WatchdogNow, c.op) && c.power == awake {
		c.tear(c.now())
		c.sleep()
	}
	return nil
}

// spend lets the bits of a transfer pass.
func (c *Chip) spend(bits int) {
	if c.opts.Timing.Wire {
		c.opts.Clock.Sleep(wire(bits, c.speed))
	}
	c.tick()
}

// The bits of a start condition with the address byte and its acknowledge, of a
// byte, and of a stop condition.
const (
	addressBits = 10
	byteBits    = 9
	stopBits    = 1
)

// addressed is the part of a transfer up to the acknowledge of the address.
func (c *Chip) addressed(addr uint16, read bool) bool {
	b := byte(addr << 1)
	if read {
		b |= 1
	}
	c.spend(addressBits)
	if addr == 0 || c.opts.TrafficWakes && (c.power == asleep || c.power == idle) {
		if pulse(b, c.speed) >= wakePulse {
			c.wake()
		}
		if addr == 0 || addr == c.addr {
			c.spend(stopBits)
			return false
		}
	}
	ok := addr == c.addr && c.power == awake && !c.busy() && !(read && len(c.in) > 0)
	if ok && c.opts.Faults.fires(NACK, c.op) {
		ok = false
	}
	if !ok {
		c.spend(stopBits)
	}
	return ok
}

// whyNot is why the address was not acknowledged, for a trace.
func (c *Chip) whyNot(addr uint16) string {
	switch {
	case c.opts.Trace == nil:
		return ""
	case addr == 0 && pulse(0, c.speed) < wakePulse:
		return "too short for a wake pulse at this bus speed"
	case addr == 0:
		return "wake pulse"
	case addr != c.addr:
		return "nothing is at this address"
	case c.power == off:
		return "the chip has no power"
	case c.power == asleep:
		return "the chip is asleep"
	case c.power == idle:
		return "the chip is idle"
	case c.busy():
		return "the chip is busy"
	case len(c.in) > 0:
		return "the chip waits for the rest of a command"
	}
	return ""
}

func (c *Chip) busy() bool {
	return !c.busyUntil.IsZero() && c.now().Before(c.busyUntil)
}

func (c *Chip) write(addr uint16, w []byte) (m remark, err error) {
	if !c.addressed(addr, false) {
		return remark{note: c.whyNot(addr)}, ErrNACK
	}
	c.spend(byteBits*len(w) + stopBits)
	if c.power != awake {
		return remark{note: "cut off"}, ErrNACK // power or watchdog, in the middle
	}
	if c.opts.Trace != nil {
		m.note = describeWrite(w)
	}
	switch w[0] {
	case wordReset:
		c.in = c.in[:0]
		c.outPos = 0
	case wordSleep:
		c.sleep()
	case wordIdle:
		c.idle()
	case wordCommand:
		if done := c.receive(w[1:]); done != (remark{}) {
			m = done
		}
	}
	return m, nil
}

// receive takes bytes of a command, which may come in several writes. The first
// is their number; what follows the last is ignored. It describes what they
// complete.
func (c *Chip) receive(b []byte) (m remark) {
	if len(b) == 0 {
		return m
	}
	if len(c.in) == 0 {
		c.in = append(c.in, b[0])
		b = b[1:]
	}
	count := max(int(c.in[0]), 1)
	c.in = append(c.in, b[:min(len(b), count-len(c.in))]...)
	if len(c.in) < count {
		return m
	}
	group := c.in
	if c.opts.Trace != nil {
		m = describeCommand(group)
	}
	if c.opts.Faults.fires(CorruptIn, opcode(group)) {
		c.opts.Faults.flip(group)
	}
	c.execute(group)
	clear(group)
	c.in = c.in[:0]
	return m
}

func opcode(group []byte) byte {
	if len(group) < 2 {
		return 0
	}
	return group[1]
}

func (c *Chip) read(addr uint16, r []byte) (m remark, err error) {
	if !c.addressed(addr, true) {
		return remark{note: c.whyNot(addr)}, ErrNACK
	}
	if c.outPos == 0 && c.opts.Trace != nil {
		m = c.describeAnswer()
	}
	f := c.opts.Faults
	n := copy(r, c.out[min(c.outPos, len(c.out)):])
	c.outPos = min(c.outPos+len(r), len(c.out))
	damaged := false
	if n > 0 && f.fires(ShortRead, c.op) {
		n, damaged = f.below(n), true
	}
	for i := n; i < len(r); i++ {
		r[i] = 0xFF
	}
	if n > 0 && f.fires(CorruptOut, c.op) {
		f.flip(r[:n])
		damaged = true
	}
	if damaged {
		show(r)
	}
	c.spend(byteBits*len(r) + stopBits)
	return m, nil
}

// show has the CRC tell of damage: one answer in 65536 has the right one by chance,
// which no host could notice.
func show(r []byte) {
	if n := int(r[0]); n > 3 && n <= len(r) && checkCRC(r[:n]) {
		r[n-1] ^= 0x80
	}
}

// tick lets the watchdog act if its time has come.
func (c *Chip) tick() {
	if c.power != awake {
		return
	}
	if d := c.watchdog(); d > 0 && c.now().Sub(c.wokenAt) >= d {
		c.tear(c.wokenAt.Add(d))
		c.sleep()
	}
}

// remaining is the time before the watchdog, and whether there is one.
func (c *Chip) remaining() (time.Duration, bool) {
	d := c.watchdog()
	return d - c.now().Sub(c.wokenAt), d > 0
}
