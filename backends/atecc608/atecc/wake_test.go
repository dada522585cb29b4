package atecc_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A board is a bus with several chips, and perhaps a sensor that answers with
// zeros.
type board struct {
	chips  []*ateccsim.Chip
	sensor uint16
	slow   error // of SetSpeed
}

func (b *board) String() string { return "board" }

func (b *board) SetSpeed(f physic.Frequency) error {
	for _, c := range b.chips {
		if b.slow == nil {
			_ = c.SetSpeed(f)
		}
	}
	return b.slow
}

func (b *board) Tx(addr uint16, w, r []byte) error {
	err := ateccsim.ErrNACK
	for _, c := range b.chips {
		if e := c.Tx(addr, w, r); e == nil {
			err = nil
		}
	}
	if b.sensor != 0 && addr == b.sensor {
		clear(r)
		return nil
	}
	return err
}

var _ i2c.Bus = (*board)(nil)

func sim(t *testing.T, s *ateccsim.State, opts *ateccsim.Options) *ateccsim.Chip {
	t.Helper()
	c, err := ateccsim.New(s, opts)
	require.NoError(t, err)
	return c
}

func flex(t *testing.T) *ateccsim.State {
	t.Helper()
	s, err := ateccsim.TrustFLEX(ateccsim.DefaultSerial, nil)
	require.NoError(t, err)
	return s
}

func TestFindsTheChip(t *testing.T) {
	fast := &ateccsim.Options{Speed: 400 * physic.KiloHertz}
	for name, tt := range map[string]struct {
		bus  func(t *testing.T) i2c.Bus
		opts atecc.Opts
		addr uint16
		err  error
		text string
		code pkcs11.Error
	}{
		"as shipped":            {bus: func(t *testing.T) i2c.Bus { return sim(t, blank(t), nil) }, addr: 0x60},
		"TrustFLEX":             {bus: func(t *testing.T) i2c.Bus { return sim(t, flex(t), nil) }, addr: 0x36},
		"beside another device": {bus: func(t *testing.T) i2c.Bus { return &board{chips: []*ateccsim.Chip{sim(t, flex(t), nil)}, sensor: 0x60} }, addr: 0x36},
		"one of two": {bus: func(t *testing.T) i2c.Bus {
			return &board{chips: []*ateccsim.Chip{sim(t, flex(t), nil), sim(t, blank(t), nil)}}
		}, opts: atecc.Opts{Address: 0x60}, addr: 0x60},
		"two": {bus: func(t *testing.T) i2c.Bus {
			return &board{chips: []*ateccsim.Chip{sim(t, flex(t), nil), sim(t, blank(t), nil)}}
		}, err: atecc.ErrAddress, text: "0x60, 0x36", code: pkcs11.CKR_ARGUMENTS_BAD},
		"none":                    {bus: func(t *testing.T) i2c.Bus { return &board{} }, err: atecc.ErrNoChip, text: "pull-ups", code: pkcs11.CKR_TOKEN_NOT_PRESENT},
		"none, beside another":    {bus: func(t *testing.T) i2c.Bus { return &board{sensor: 0x36} }, err: atecc.ErrNoChip, text: "something answers, but not as a chip at 0x36 of board: another device has the address", code: pkcs11.CKR_TOKEN_NOT_PRESENT},
		"none at the address":     {bus: func(t *testing.T) i2c.Bus { return &board{} }, opts: atecc.Opts{Address: 0x50}, err: atecc.ErrNoChip, text: "0x50", code: pkcs11.CKR_TOKEN_NOT_PRESENT},
		"at another address":      {bus: func(t *testing.T) i2c.Bus { return sim(t, flex(t), nil) }, opts: atecc.Opts{Address: 0x60}, err: atecc.ErrAddress, text: "0x36", code: pkcs11.CKR_TOKEN_NOT_PRESENT},
		"another device there":    {bus: func(t *testing.T) i2c.Bus { return &board{sensor: 0x60} }, opts: atecc.Opts{Address: 0x60}, err: atecc.ErrWake, text: "another device", code: pkcs11.CKR_DEVICE_ERROR},
		"the 8-bit form":          {bus: func(t *testing.T) i2c.Bus { return sim(t, blank(t), nil) }, opts: atecc.Opts{Address: 0xC0}, text: "7-bit", code: pkcs11.CKR_ARGUMENTS_BAD},
		"slowed down":             {bus: func(t *testing.T) i2c.Bus { return sim(t, blank(t), fast) }, opts: atecc.Opts{Speed: 400 * physic.KiloHertz}, addr: 0x60},
		"too fast, unknown":       {bus: func(t *testing.T) i2c.Bus { return sim(t, blank(t), fast) }, err: atecc.ErrSpeed, text: "Opts.Speed", code: pkcs11.CKR_DEVICE_ERROR},
		"too fast at the address": {bus: func(t *testing.T) i2c.Bus { return sim(t, blank(t), fast) }, opts: atecc.Opts{Address: 0x60}, err: atecc.ErrSpeed, text: "0x60", code: pkcs11.CKR_DEVICE_ERROR},
		"too fast for ever": {bus: func(t *testing.T) i2c.Bus {
			return &board{chips: []*ateccsim.Chip{sim(t, blank(t), fast)}, slow: errors.New("cannot")}
		}, opts: atecc.Opts{Speed: 400 * physic.KiloHertz}, err: atecc.ErrSpeed, text: "400kHz and cannot be slowed down", code: pkcs11.CKR_DEVICE_ERROR},
		"too fast, and nobody knows": {bus: func(t *testing.T) i2c.Bus {
			return &board{chips: []*ateccsim.Chip{sim(t, blank(t), fast)}, slow: errors.New("cannot")}
		}, err: atecc.ErrNoChip, text: "100 kHz or less", code: pkcs11.CKR_TOKEN_NOT_PRESENT},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, err := atecc.New(t.Context(), tt.bus(t), &tt.opts)
				if tt.addr != 0 {
					require.NoError(t, err)
					require.Equal(t, tt.addr, d.Address())
					return
				}
				require.ErrorIs(t, err, tt.code)
				require.Equal(t, tt.code, pkcs11.CodeOf(err), "%v", err)
				require.ErrorContains(t, err, tt.text)
				if tt.err != nil {
					require.ErrorIs(t, err, tt.err)
				}
			})
		})
	}
}

// TestPulse wakes by other means than the bus.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := sim(t, generic(t), &ateccsim.Options{Speed: 400 * physic.KiloHertz})
		pulses := 0
		gpio := func() error {
			pulses++
			require.NoError(t, chip.SetSpeed(100*physic.KiloHertz))
			_ = chip.Tx(0, []byte{0}, nil)
			return chip.SetSpeed(400 * physic.KiloHertz)
		}
		d, err := atecc.New(t.Context(), chip, &atecc.Opts{Address: 0x60, Pulse: gpio})
		require.NoError(t, err)
		_, err = d.Revision(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, pulses)
		broken := errors.New("no such line")
		_, err = atecc.New(t.Context(), chip, &atecc.Opts{Address: 0x60, Pulse: func() error { return broken }})
		require.ErrorIs(t, err, broken)
		require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
	})
}

// TestAlreadyAwake begins with a chip that somebody else left awake, busy, or with
// half a command.
func TestAlreadyAwake(t *testing.T) {
	for name, before := range map[string]func(c *ateccsim.Chip){
		"woken":       func(*ateccsim.Chip) {},
		"token taken": func(c *ateccsim.Chip) { _ = c.Tx(0x60, nil, make([]byte, 4)) },
		"long answer waits": func(c *ateccsim.Chip) {
			_ = c.Tx(0x60, []byte{3, 7, 2, 0x80, 8, 0, 0x0a, 0x4d}, nil)
			time.Sleep(20 * time.Millisecond)
		},
		"answer waits":   func(c *ateccsim.Chip) { _ = c.Tx(0x60, []byte{3, 7, 0x30, 0, 0, 0, 3, 0x5d}, nil) },
		"busy":           func(c *ateccsim.Chip) { _ = c.Tx(0x60, []byte{3, 7, 0x40, 4, 0, 0, 0x83, 0x87}, nil) },
		"half a command": func(c *ateccsim.Chip) { _ = c.Tx(0x60, []byte{3, 7, 0x40, 4}, nil) },
		"about to sleep": func(c *ateccsim.Chip) { time.Sleep(1290 * time.Millisecond) },
	} {
		for where, addr := range map[string]uint16{"at its address": 0x60, "looked for": 0} {
			t.Run(name+", "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					chip := sim(t, generic(t), &ateccsim.Options{Timing: ateccsim.Full})
					_ = chip.Tx(0, []byte{0}, nil)
					time.Sleep(1500 * time.Microsecond)
					before(chip)
					d, err := atecc.New(t.Context(), chip, &atecc.Opts{Address: addr})
					require.NoError(t, err)
					digest := sha256.Sum256(nil)
					_, err = d.Sign(t.Context(), 0, digest[:])
					require.NoError(t, err)
				})
			})
		}
	}
}

// A deaf bus loses the words that stand alone while the chip has half a command.
type deaf struct {
	*ateccsim.Chip
	lost int
}

func (b *deaf) Tx(addr uint16, w, r []byte) error {
	if addr == 0x60 && len(w) == 1 && w[0] != 3 && errors.Is(b.Chip.Tx(addr, nil, make([]byte, 1)), ateccsim.ErrNACK) && b.Chip.Tx(addr, []byte{3}, nil) == nil {
		b.lost++
		return nil
	}
	return b.Chip.Tx(addr, w, r)
}

// TestHalfACommandThatStays has a chip looked for that does not let go of half a
// command until its watchdog strikes.
func TestHalfACommandThatStays(t *testing.T) {
	for _, watchdog := range []time.Duration{1300 * time.Millisecond, 1690 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			chip := sim(t, generic(t), &ateccsim.Options{Timing: ateccsim.Full, Watchdog: watchdog})
			_ = chip.Tx(0, []byte{0}, nil)
			time.Sleep(1500 * time.Microsecond)
			require.NoError(t, chip.Tx(0x60, []byte{3, 7, 0x40, 4}, nil))
			bus := &deaf{Chip: chip}
			start := time.Now()
			d, err := atecc.New(t.Context(), bus, nil)
			require.NoError(t, err)
			require.Equal(t, uint16(0x60), d.Address())
			require.Greater(t, time.Since(start), time.Second)
			require.Less(t, time.Since(start), 2*time.Second)
			require.NotZero(t, bus.lost)
			_, err = d.Revision(t.Context())
			require.NoError(t, err)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		// Who gives no time for that is told at once.
		chip := sim(t, generic(t), &ateccsim.Options{Timing: ateccsim.Full, Watchdog: 13 * time.Second})
		_ = chip.Tx(0, []byte{0}, nil)
		time.Sleep(1500 * time.Microsecond)
		require.NoError(t, chip.Tx(0x60, []byte{3, 7, 0x40, 4}, nil))
		for timeout, longest := range map[time.Duration]time.Duration{time.Second: time.Second, 0: 3 * time.Second} {
			start := time.Now()
			_, err := atecc.New(t.Context(), &deaf{Chip: chip}, &atecc.Opts{Timeout: timeout})
			require.ErrorIs(t, err, atecc.ErrNoChip)
			require.Equal(t, pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CodeOf(err))
			require.ErrorContains(t, err, "something answers, but not as a chip at 0x60 of")
			require.ErrorContains(t, err, "in the middle of a command")
			require.Less(t, time.Since(start), longest)
		}
		// Nothing on the bus is not waited for.
		start := time.Now()
		_, err := atecc.New(t.Context(), &board{}, nil)
		require.ErrorIs(t, err, atecc.ErrNoChip)
		require.Less(t, time.Since(start), 500*time.Millisecond)
	})
}

// TestTrafficWakes has every transfer that is slow enough wake the chip, as those
// of other devices do.
func TestTrafficWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, chip := open(t, generic(t), &ateccsim.Options{Timing: ateccsim.Full, TrafficWakes: true}, nil)
		digest := sha256.Sum256(nil)
		for i := range 20 {
			_ = chip.Tx(0x40, []byte{1}, nil)
			time.Sleep(time.Duration(i) * 97 * time.Millisecond)
			_, err := d.Sign(t.Context(), 0, digest[:])
			require.NoError(t, err)
		}
	})
}

// TestSelfTestAtWake has the chip run its self-test at each wake, which fails now
// and then.
func TestSelfTestAtWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := generic(t)
		s.Config[90] |= 1
		faults := new(ateccsim.Faults)
		d, _ := open(t, s, &ateccsim.Options{Timing: ateccsim.Full, Faults: faults}, nil)
		require.NoError(t, d.Random(t.Context(), make([]byte, 32)))
		*faults = *ateccsim.NewFaults(0, ateccsim.Rule{Kind: ateccsim.SelfTest, At: 1})
		err := d.Random(t.Context(), make([]byte, 32))
		require.ErrorIs(t, err, atecc.StatusSelfTest)
		require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
		require.NoError(t, d.Random(t.Context(), make([]byte, 32)))
		*faults = *ateccsim.NewFaults(0, ateccsim.Rule{Kind: ateccsim.HealthTest})
		require.ErrorIs(t, d.Random(t.Context(), make([]byte, 32)), atecc.StatusHealth)
		_, err = d.GenerateKey(t.Context(), 0)
		require.ErrorIs(t, err, atecc.StatusHealth)
	})
}

// TestLongSequences outlast the watchdog, which the driver restarts in time, or
// which strikes because the host was stopped.
func TestLongSequences(t *testing.T) {
	for name, divider := range map[string]byte{"M0": 0, "M1": 0x28, "M2": 0x68} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := generic(t)
				s.Config[19] |= divider
				d, _ := open(t, s, &ateccsim.Options{Timing: ateccsim.Full, Watchdog: 1300 * time.Millisecond}, nil)
				digest := sha256.Sum256(nil)
				runs := 0
				require.NoError(t, d.Do(t.Context(), func(s *atecc.Sequence) error {
					runs++
					if err := s.Nonce(atecc.TempKey, digest[:]); err != nil {
						return err
					}
					for range 10 {
						if err := s.Random(make([]byte, 320)); err != nil {
							return err
						}
					}
					state, err := s.State()
					require.True(t, state.TempKey, "TempKey outlives the idle state")
					return err
				}))
				require.Equal(t, 1, runs)

				runs = 0
				require.NoError(t, d.Do(t.Context(), func(s *atecc.Sequence) error {
					if runs++; runs > 1 {
						return s.Random(make([]byte, 32))
					}
					if err := s.Nonce(atecc.TempKey, digest[:]); err != nil {
						return err
					}
					time.Sleep(2 * time.Second)
					return s.Random(make([]byte, 32))
				}))
				require.Equal(t, 2, runs, "the sequence begins again after a sleep")
				_, err := d.GenerateKey(t.Context(), 0)
				require.NoError(t, err)
				_, err = d.Sign(t.Context(), 0, digest[:])
				require.NoError(t, err)
			})
		})
	}
}

// TestShortWatchdog has one that expires earlier than that of any chip should: in
// time for hardly more than a command.
func TestShortWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := open(t, generic(t), &ateccsim.Options{Timing: ateccsim.Full, Watchdog: 180 * time.Millisecond}, nil)
		digest := sha256.Sum256(nil)
		for range 3 {
			require.NoError(t, d.Do(t.Context(), func(s *atecc.Sequence) error {
				for range 3 {
					if err := s.Random(make([]byte, 32)); err != nil {
						return err
					}
				}
				_, err := s.Sign(0, digest[:])
				return err
			}))
		}
	})
}

func TestContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, chip := open(t, generic(t), &ateccsim.Options{Timing: ateccsim.Full}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := d.Revision(ctx)
		require.ErrorIs(t, err, context.Canceled)

		// In the middle of a command, on time, and the chip is usable at once.
		for _, after := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 15 * time.Millisecond, 60 * time.Millisecond, 115 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			start := time.Now()
			_, err := d.GenerateKey(ctx, 0)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.LessOrEqual(t, time.Since(start), after+10*time.Millisecond)
			cancel()
			_, err = d.Revision(t.Context())
			require.NoError(t, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 60*time.Millisecond)
		defer cancel()
		_, err = d.Increment(ctx, 0)
		for err == nil {
			_, err = d.Increment(ctx, 0)
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)

		// While another operation runs.
		running, done := make(chan struct{}), make(chan error)
		go func() {
			done <- d.Do(t.Context(), func(s *atecc.Sequence) error {
				close(running)
				time.Sleep(100 * time.Millisecond)
				return s.Random(make([]byte, 32))
			})
		}()
		<-running
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err = d.Revision(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 10*time.Millisecond, time.Since(start))
		require.NoError(t, <-done)

		// A chip that has gone takes no longer than Opts.Timeout.
		chip.PowerOff()
		start = time.Now()
		_, err = d.Revision(t.Context())
		require.ErrorIs(t, err, atecc.ErrNoChip)
		require.Less(t, time.Since(start), 5*time.Second)
		chip.PowerOn()
		_, err = d.Revision(t.Context())
		require.NoError(t, err)
		short, err := atecc.New(t.Context(), chip, &atecc.Opts{Timeout: 200 * time.Millisecond})
		require.NoError(t, err)
		chip.PowerOff()
		_, err = short.Revision(t.Context())
		require.ErrorIs(t, err, atecc.ErrTimeout)
		require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
		chip.PowerOn()
	})
}

// TestProcesses has several users of one chip, each of which would put it to sleep
// under the others.
func TestProcesses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bus")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	synctest.Test(t, func(t *testing.T) {
		chip := sim(t, generic(t), &ateccsim.Options{Timing: ateccsim.Realistic})
		opts := &atecc.Opts{LockFile: file}
		const n = 3
		errs := make(chan error, n)
		for range n {
			d, err := atecc.New(t.Context(), chip, opts)
			require.NoError(t, err)
			go func() {
				defer d.Close()
				digest := sha256.Sum256(nil)
				runs := 0
				for i := range 10 {
					if err := d.Do(t.Context(), func(s *atecc.Sequence) error {
						runs++
						_, err := s.Sign(0, digest[:])
						return err
					}); err != nil || runs != i+1 {
						errs <- errors.Join(err, errors.New("disturbed"))
						return
					}
				}
				errs <- nil
			}()
		}
		for range n {
			require.NoError(t, <-errs)
		}

		first, err := atecc.New(t.Context(), chip, opts)
		require.NoError(t, err)
		second, err := atecc.New(t.Context(), chip, &atecc.Opts{LockFile: file, Timeout: time.Second})
		require.NoError(t, err)
		require.NoError(t, first.Do(t.Context(), func(*atecc.Sequence) error {
			_, err := second.Revision(t.Context())
			require.ErrorIs(t, err, atecc.ErrInUse)
			require.ErrorIs(t, err, atecc.ErrTimeout)
			return nil
		}))
		_, err = second.Revision(t.Context())
		require.NoError(t, err)
		require.NoError(t, first.Close())
		require.NoError(t, second.Close())
	})
	_, err := atecc.New(t.Context(), sim(t, generic(t), nil), &atecc.Opts{LockFile: filepath.Join(t.TempDir(), "none")})
	require.ErrorIs(t, err, os.ErrNotExist)
}
