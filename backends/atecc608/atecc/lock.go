package atecc

import (
	"bytes"
	"context"
	"fmt"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The bits of Param1 of Lock.
const (
	lockConfig    = 0x00
	lockData      = 0x01
	lockSlot      = 0x02
	lockUnchecked = 0x80
)

// LockConfig locks the configuration zone for ever, if it holds what want says
// but for the bytes that differ from chip to chip or count: 0 to 15 and 84 to 87.
// The chip checks a CRC of all of it.
func (d *Device) LockConfig(ctx context.Context, want *Config) error {
	return d.lockZone(ctx, command{name: "lock configuration", op: opLock, p1: lockConfig, slot: noSlot}, (*Config).Locked, func(have *Config) (uint16, error) {
		w := *want
		copy(w[:16], have[:16])
		copy(w[cfgUserExtra:cfgUserExtra+4], have[cfgUserExtra:])
		for i := range w {
			if w[i] != have[i] {
				return 0, fmt.Errorf("atecc: lock configuration: %w: byte %d is %02x, not %02x", pkcs11.CKR_DATA_INVALID, i, have[i], w[i])
			}
		}
		return crc(w[:]), nil
	})
}

// LockData locks the data and OTP zones for ever, after which the policies of the
// slots are in force. If content is not nil it is all 1272 bytes that the zones
// should hold, slots 0 to 15 before OTP, and the chip compares their CRC.
func (d *Device) LockData(ctx context.Context, content []byte) error {
	c := command{name: "lock data", op: opLock, p1: lockData, slot: noSlot}
	if content == nil {
		c.p1 |= lockUnchecked
	} else if len(content) != DataSize+OTPSize {
		return fmt.Errorf("atecc: lock data: %w: %d bytes, not %d", pkcs11.CKR_DATA_LEN_RANGE, len(content), DataSize+OTPSize)
	}
	return d.lockZone(ctx, c, (*Config).DataLocked, func(*Config) (uint16, error) {
		if content == nil {
			return 0, nil
		}
		return crc(content), nil
	})
}

// LockSlot locks the content of a slot for ever. It can still be used.
func (d *Device) LockSlot(ctx context.Context, slot int) error {
	if err := checkSlot("lock", slot); err != nil {
		return err
	}
	return d.lockZone(ctx, command{name: "lock", op: opLock, p1: lockSlot | byte(slot<<2), slot: slot}, func(c *Config) bool { return c.SlotLocked(slot) }, func(*Config) (uint16, error) { return 0, nil })
}

// lockZone locks unless a run before did; summary is Param2.
func (d *Device) lockZone(ctx context.Context, c command, locked func(*Config) bool, summary func(*Config) (uint16, error)) error {
	sent := false
	c.once = true
	return d.do(ctx, true, func(s *Sequence) error {
		cfg, err := s.ReadConfig()
		if err != nil {
			return err
		}
		s.maybe = false
		if sent && locked(&cfg) {
			return nil
		}
		if c.p2, err = summary(&cfg); err != nil {
			return err
		}
		sent = true
		if _, err := s.exec(c); err != nil {
			return err
		}
		if cfg, err = s.ReadConfig(); err == nil && !locked(&cfg) {
			err = fmt.Errorf("atecc: %s: %w: the chip says it is done, but it is not", c.name, pkcs11.CKR_DEVICE_ERROR)
		}
		return err
	})
}

// The parts of the configuration zone that are written as they are. Bytes 0 to 15
// are the chip's own, 84 and 85 are of UpdateExtra, 86 and 87 of Lock.
var configParts = []struct{ off, size int }{
	{16, 4}, {20, 4}, {24, 4}, {28, 4}, {32, 32},
	{64, 4}, {68, 4}, {72, 4}, {76, 4}, {80, 4}, {88, 4}, {92, 4}, {96, 32},
}

// WriteConfig writes a configuration into a chip whose configuration zone is not
// locked, and reads it back. What is there already is not written again, so that
// it can be resumed. The chip's own bytes 0 to 15 and the lock bytes are left out.
// If the address changes, the chip is put to sleep to take it.
func (d *Device) WriteConfig(ctx context.Context, want *Config) error {
	return d.Do(ctx, func(s *Sequence) error { return s.writeConfig(want) })
}

func (s *Sequence) writeConfig(want *Config) error {
	d := s.d
	if a := want.Address(); a != d.addr {
		d.moved = a
	}
	have, err := s.ReadConfig()
	if err != nil {
		return err
	}
	for _, part := range configParts {
		data := want[part.off : part.off+part.size]
		if bytes.Equal(data, have[part.off:part.off+part.size]) {
			continue
		}
		c := command{name: "write configuration", op: opWrite, p1: byte(ZoneConfig), p2: address(ZoneConfig, noSlot, part.off), data: data, slot: noSlot}
		if part.size == blockSize {
			c.p1 |= wide
		}
		if _, err := s.exec(c); err != nil {
			return err
		}
	}
	for i := range 2 {
		if v := want[cfgUserExtra+i]; v != have[cfgUserExtra+i] {
			if err := s.updateExtra(i, v); err != nil {
				return err
			}
		}
	}
	if have, err = s.ReadConfig(); err != nil {
		return err
	}
	for i := range want {
		if i >= 16 && i != cfgLockValue && i != cfgLockConfig && have[i] != want[i] {
			return fmt.Errorf("atecc: write configuration: %w: byte %d reads back as %02x, not %02x", pkcs11.CKR_DEVICE_ERROR, i, have[i], want[i])
		}
	}
	return s.move(&have)
}

// move has the chip take the address that its configuration says.
func (s *Sequence) move(c *Config) error {
	d := s.d
	if c.Address() == d.addr {
		d.moved = 0
		return nil
	}
	d.moved = c.Address()
	if err := d.word(wordSleep); err != nil {
		return s.lose(err)
	}
	if err := d.wake(s.ctx); err != nil {
		return err
	}
	if c.Address() == d.addr {
		d.moved = 0
	}
	return nil
}

// UpdateExtra sets configuration byte 84 (which 0) or 85 (which 1), once: it must
// be 0 before. Byte 85 can be an address of its own, in 8-bit form, that the chip
// then takes at once: see Config.Address.
func (d *Device) UpdateExtra(ctx context.Context, which int, value byte) error {
	if which != 0 && which != 1 {
		return fmt.Errorf("atecc: update extra: byte %d: %w: there are 0 and 1", which, pkcs11.CKR_ARGUMENTS_BAD)
	}
	return d.Do(ctx, func(s *Sequence) error {
		cfg, err := s.ReadConfig()
		if err != nil {
			return err
		}
		if s.run > 1 && cfg[cfgUserExtra+which] == value {
			return s.move(&cfg)
		}
		next := cfg
		next[cfgUserExtra+which] = value
		if next.Address() != d.addr {
			d.moved = next.Address()
		}
		if err := s.updateExtra(which, value); err != nil {
			return err
		}
		if cfg, err = s.ReadConfig(); err != nil {
			return err
		}
		return s.move(&cfg)
	})
}

func (s *Sequence) updateExtra(which int, value byte) error {
	_, err := s.exec(command{name: "update extra", op: opUpdateExtra, p1: byte(which), p2: uint16(value), slot: noSlot})
	return err
}
