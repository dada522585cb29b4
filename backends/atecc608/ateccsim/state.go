package ateccsim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The sizes of the three zones, in bytes.
const (
	ConfigSize = 128
	OTPSize    = 64
	DataSize   = 8*36 + 416 + 7*72

	// StateSize is the length of a state file: configuration, OTP, data, and
	// nothing else.
	StateSize = ConfigSize + OTPSize + DataSize
)

// A State is all that a chip keeps without power. It holds private keys: it is
// for tests, for what makes chips, and for the file of a simulated one.
type State struct {
	Config [ConfigSize]byte
	OTP    [OTPSize]byte
	Data   [DataSize]byte
}

// String does not show the content, which has keys in it.
func (s *State) String() string { return "ateccsim state of chip " + fmt.Sprintf("%x", s.Serial()) }

// GoString is String.
func (s *State) GoString() string { return s.String() }

// Format is String for every verb.
func (s *State) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// slotRange is where slot n lies in the data zone, and its size.
func slotRange(n int) (off, size int) {
	switch {
	case n < 8:
		return 36 * n, 36
	case n == 8:
		return 36 * 8, 416
	}
	return 36*8 + 416 + 72*(n-9), 72
}

// Slot is the content of slot n (0 to 15): 36 bytes for 0 to 7, 416 for 8, 72
// for the others. It is a view, so that a caller can make a chip with content.
// A private key is four zero bytes and 32 of the scalar; a public key is
// 4 zeros, X, 4 zeros, Y.
func (s *State) Slot(n int) []byte {
	off, size := slotRange(n)
	return s.Data[off : off+size : off+size]
}

// SlotLocked reports that slot n was locked on its own.
func (s *State) SlotLocked(n int) bool { return s.slotLocked(n) }

// MarshalBinary returns the StateSize bytes of a state file.
func (s *State) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, StateSize)
	b = append(b, s.Config[:]...)
	b = append(b, s.OTP[:]...)
	return append(b, s.Data[:]...), nil
}

// UnmarshalBinary takes what MarshalBinary made. It refuses another length and
// what no chip is.
func (s *State) UnmarshalBinary(b []byte) error {
	if len(b) != StateSize {
		return fmt.Errorf("ateccsim: state has %d bytes, not %d", len(b), StateSize)
	}
	var t State
	copy(t.Config[:], b)
	copy(t.OTP[:], b[ConfigSize:])
	copy(t.Data[:], b[ConfigSize+OTPSize:])
	if err := t.check(); err != nil {
		return err
	}
	*s = t
	return nil
}

// check refuses what no chip is.
func (s *State) check() error {
	if s.Config[0] != 0x01 || s.Config[1] != 0x23 {
		return fmt.Errorf("ateccsim: configuration: serial number begins %02x %02x, not 01 23", s.Config[0], s.Config[1])
	}
	if s.DataLocked() && !s.ConfigLocked() {
		return errors.New("ateccsim: configuration: data zone locked before the configuration")
	}
	return nil
}

// LoadFile reads a state file. The error wraps fs.ErrNotExist if there is none.
func LoadFile(name string) (*State, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("ateccsim: state: %w", err)
	}
	s := new(State)
	if err := s.UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// SaveFile replaces the state file as a whole: the old state or the new one is
// found after a crash, never a mixture. The file is readable by its owner only,
// since it holds the keys.
func (s *State) SaveFile(name string) (err error) {
	b, _ := s.MarshalBinary()
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("ateccsim: state: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("ateccsim: state: %w", err)
		}
	}()
	_, err = f.Write(b)
	if e := f.Sync(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	// Not every system can sync a directory; the rename has happened there too.
	if e := d.Sync(); e != nil && !errors.Is(e, errors.ErrUnsupported) && !errors.Is(e, fs.ErrInvalid) && !errors.Is(e, fs.ErrPermission) {
		return e
	}
	return nil
}
