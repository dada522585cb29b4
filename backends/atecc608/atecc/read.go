package atecc

import (
	"context"
)

// A Zone is a part of the EEPROM.
type Zone byte

// The zones.
const (
	ZoneConfig Zone = 0
	ZoneOTP    Zone = 1
	ZoneData   Zone = 2
)

const wide = 0x80 // 32 bytes instead of 4

// ReadConfig reads the configuration zone.
func (d *Device) ReadConfig(ctx context.Context) (Config, error) {
	var c Config
	err := d.Do(ctx, func(s *Sequence) (err error) {
		c, err = s.ReadConfig()
		return err
	})
	return c, err
}

// ReadConfig is Device.ReadConfig.
func (s *Sequence) ReadConfig() (Config, error) {
	var c Config
	for block := range 4 {
		p, err := s.exec(command{name: "read configuration", op: opRead, p1: wide | byte(ZoneConfig), p2: uint16(block << 3), slot: noSlot, size: 32})
		if err != nil {
			return Config{}, err
		}
		copy(c[32*block:], p)
	}
	s.d.setConfig(c)
	return c, nil
}

func (d *Device) setConfig(c Config) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config = c
}

// Info modes.
const (
	infoRevision = 0
	infoKeyValid = 1
	infoState    = 2
	infoLatch    = 4
)

// Revision asks the chip for its revision: see Config.Revision. It is the shortest
// sign of life.
func (d *Device) Revision(ctx context.Context) (rev [4]byte, err error) {
	err = d.Do(ctx, func(s *Sequence) error {
		p, err := s.info(infoRevision, 0, noSlot)
		if err == nil {
			rev = [4]byte(p)
		}
		return err
	})
	return rev, err
}

func (s *Sequence) info(mode byte, p2 uint16, slot int) ([]byte, error) {
	return s.exec(command{name: "info", op: opInfo, p1: mode, p2: p2, slot: slot, size: 4})
}
