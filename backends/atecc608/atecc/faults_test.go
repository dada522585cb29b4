package atecc_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"periph.io/x/conn/v3/i2c"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/internal/atecctest"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// step is how many places of a fault are left out between two that are tried.
func step(n int) int {
	if raceEnabled || testing.Short() {
		return 11 * n
	}
	return n
}

// withDevice makes a Run of an operation of a device.
func withDevice(f func(ctx context.Context, d *atecc.Device) error) func(context.Context, i2c.Bus) error {
	return func(ctx context.Context, bus i2c.Bus) error {
		d, err := atecc.New(ctx, bus, &atecc.Opts{Address: 0x60})
		if err != nil {
			return err
		}
		defer d.Close()
		return f(ctx, d)
	}
}

// again is an After that repeats the operation, which must succeed then.
func again(run func(context.Context, i2c.Bus) error) func(context.Context, *ateccsim.Chip, error) error {
	return func(ctx context.Context, chip *ateccsim.Chip, _ error) error { return run(ctx, chip) }
}

func publicKey(t *testing.T, s *ateccsim.State, slot int) *ecdsa.PublicKey {
	t.Helper()
	var pub *ecdsa.PublicKey
	chip, err := ateccsim.New(s, nil)
	require.NoError(t, err)
	require.NoError(t, withDevice(func(ctx context.Context, d *atecc.Device) (err error) {
		pub, err = d.PublicKey(ctx, slot)
		return err
	})(t.Context(), chip))
	return pub
}

// defective is what a short fault excuses: the random number generator failed, and
// the chip says so.
func defective(err error) bool { return errors.Is(err, atecc.StatusHealth) }

func uncertain(err error) bool { return errors.Is(err, atecc.ErrUncertain) }

func TestFaultsWhileSigning(t *testing.T) {
	digest := sha256.Sum256([]byte("hello"))
	check := func(pub *ecdsa.PublicKey, sig []byte) error {
		if !ecdsa.Verify(pub, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
			return atecctest.Wrongf("signature %x", sig)
		}
		return nil
	}
	s := generic(t)
	pub := publicKey(t, s, 0)
	run := withDevice(func(ctx context.Context, d *atecc.Device) error {
		sig, err := d.Sign(ctx, 0, digest[:])
		if err != nil {
			return err
		}
		return check(pub, sig)
	})
	for name, timing := range map[string]ateccsim.Timing{"instant": ateccsim.Instant, "full": ateccsim.Full} {
		t.Run(name, func(t *testing.T) {
			n := 1
			if timing != ateccsim.Instant {
				n = 3
			}
			atecctest.Sweep(t, atecctest.Scenario{State: s, Options: ateccsim.Options{Timing: timing}, Run: run, After: again(run)}, step(n), nil)
		})
	}
	t.Run("limited uses", func(t *testing.T) {
		// No use of the key is spent twice for one signature.
		s := everything(t)
		pub := publicKey(t, s, 0)
		limited := withDevice(func(ctx context.Context, d *atecc.Device) error {
			before, err := d.Counter(ctx, 0)
			if err != nil {
				return err
			}
			sig, err := d.Sign(ctx, 0, digest[:])
			if err != nil {
				return err
			}
			after, err := d.Counter(ctx, 0)
			if err == nil && after != before+1 {
				return atecctest.Wrongf("the counter went from %d to %d", before, after)
			}
			return errors.Join(err, check(pub, sig))
		})
		atecctest.Sweep(t, atecctest.Scenario{State: s, Options: ateccsim.Options{TrafficWakes: true}, Run: limited, After: func(ctx context.Context, chip *ateccsim.Chip, ran error) error {
			return withDevice(func(ctx context.Context, d *atecc.Device) error {
				v, err := d.Counter(ctx, 0)
				if err == nil && v > 1 && !uncertain(ran) {
					err = atecctest.Wrongf("%d uses", v)
				}
				return err
			})(ctx, chip)
		}}, step(1), uncertain)
	})
}

// written is a generator of random numbers without FF, which is what EEPROM holds
// that was never written.
type written struct{}

func (written) Read(b []byte) (int, error) {
	n, err := rand.Read(b)
	for i := range b[:n] {
		if b[i] == 0xFF {
			b[i] = 0xFE
		}
	}
	return n, err
}

func TestFaultsWhileGenerating(t *testing.T) {
	run := withDevice(func(ctx context.Context, d *atecc.Device) error {
		pub, err := d.GenerateKey(ctx, 0)
		if err != nil {
			return err
		}
		// What is returned is what the chip has.
		now, err := d.PublicKey(ctx, 0)
		if err == nil && !now.Equal(pub) {
			err = atecctest.Wrongf("the chip has another key")
		}
		return err
	})
	s := generic(t)
	empty := generic(t)
	copy(empty.Slot(0), bytes.Repeat([]byte{0xFF}, 36))
	for name, s := range map[string]*ateccsim.State{"over another": s, "in an empty slot": empty} {
		t.Run(name, func(t *testing.T) {
			after := func(ctx context.Context, chip *ateccsim.Chip, ran error) error {
				// Of the empty slot, nothing is left in a key that was returned.
				if key := chip.State().Slot(0); ran == nil && bytes.Contains(key, []byte{0xFF}) {
					return fmt.Errorf("half a key: %x", key)
				}
				return run(ctx, chip)
			}
			atecctest.Sweep(t, atecctest.Scenario{State: s, Run: run, After: after, Options: ateccsim.Options{Random: written{}}}, step(1), defective)
			atecctest.Sweep(t, atecctest.Scenario{State: s, Run: run, After: after, Options: ateccsim.Options{Random: written{}, Timing: ateccsim.Full}}, step(5), defective)
		})
	}
}

func TestFaultsWhileImporting(t *testing.T) {
	s := everything(t)
	transport := bytes.Clone(s.Slot(4)[:32])
	key := newKey(t)
	run := withDevice(func(ctx context.Context, d *atecc.Device) error { return d.ImportKey(ctx, 7, key, transport) })
	atecctest.Sweep(t, atecctest.Scenario{State: s, Run: run, After: func(ctx context.Context, chip *ateccsim.Chip, ran error) error {
		d, _ := key.Bytes()
		if ran == nil && !bytes.Equal(chip.State().Slot(7)[4:], d) {
			return errors.New("the chip has another key")
		}
		return run(ctx, chip)
	}}, step(1), defective)
}

func TestFaultsWhileAgreeing(t *testing.T) {
	s := everything(t)
	transport := bytes.Clone(s.Slot(4)[:32])
	mine, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	theirs, err := publicKey(t, s, 2).ECDH()
	require.NoError(t, err)
	want, err := mine.ECDH(theirs)
	require.NoError(t, err)
	for name, out := range map[string]atecc.ECDHOutput{"clear": atecc.ECDHClear, "encrypted": atecc.ECDHEncrypted} {
		t.Run(name, func(t *testing.T) {
			run := withDevice(func(ctx context.Context, d *atecc.Device) error {
				got, err := d.ECDH(ctx, 2, mine.PublicKey(), out, transport)
				if err == nil && !bytes.Equal(got, want) {
					err = atecctest.Wrongf("another secret")
				}
				return err
			})
			atecctest.Sweep(t, atecctest.Scenario{State: s, Run: run, After: again(run)}, step(1), defective)
		})
	}
}

func TestFaultsWhileWriting(t *testing.T) {
	s := everything(t)
	key := bytes.Clone(s.Slot(4)[:32])
	data := pattern(72, 1)
	for name, write := range map[string]func(context.Context, *atecc.Device) error{
		"clear":     func(ctx context.Context, d *atecc.Device) error { return d.WriteSlot(ctx, 13, 0, data) },
		"encrypted": func(ctx context.Context, d *atecc.Device) error { return d.WriteSlotEncrypted(ctx, 9, 0, data, key) },
	} {
		t.Run(name, func(t *testing.T) {
			slot := map[string]int{"clear": 13, "encrypted": 9}[name]
			run := withDevice(func(ctx context.Context, d *atecc.Device) error { return write(ctx, d) })
			atecctest.Sweep(t, atecctest.Scenario{State: s, Run: run, After: func(ctx context.Context, chip *ateccsim.Chip, ran error) error {
				if ran == nil && !bytes.Equal(chip.State().Slot(slot), data) {
					return errors.New("the chip has something else")
				}
				return run(ctx, chip)
			}}, step(1), defective)
		})
	}
}

func TestFaultsWhileReading(t *testing.T) {
	s := everything(t)
	key := bytes.Clone(s.Slot(4)[:32])
	copy(s.Slot(8), pattern(416, 1))
	run := withDevice(func(ctx context.Context, d *atecc.Device) error {
		p := make([]byte, 64)
		err := d.ReadSlotEncrypted(ctx, 8, 0, p, key)
		if err == nil && !bytes.Equal(p, pattern(64, 1)) {
			err = atecctest.Wrongf("read %x", p)
		}
		if err != nil {
			return err
		}
		mac, err := d.HMAC(ctx, 4, pattern(200, 1))
		if err != nil {
			return err
		}
		if want := hmacOf(key, pattern(200, 1)); mac != want {
			return atecctest.Wrongf("hmac %x", mac)
		}
		return d.Random(ctx, p)
	})
	atecctest.Sweep(t, atecctest.Scenario{State: s, Run: run, After: again(run)}, step(1), defective)
}

func TestFaultsWhileCounting(t *testing.T) {
	run := withDevice(func(ctx context.Context, d *atecc.Device) error {
		for want := uint32(1); want <= 2; want++ {
			v, err := d.Increment(ctx, 1)
			if err != nil {
				return err
			}
			if v != want {
				return atecctest.Wrongf("%d, not %d", v, want)
			}
		}
		return nil
	})
	atecctest.Sweep(t, atecctest.Scenario{State: generic(t), Run: run, After: func(ctx context.Context, chip *ateccsim.Chip, ran error) error {
		return withDevice(func(ctx context.Context, d *atecc.Device) error {
			v, err := d.Counter(ctx, 1)
			if err == nil && (v > 2 || ran == nil && v != 2) {
				err = atecctest.Wrongf("the counter is at %d", v)
			}
			return err
		})(ctx, chip)
	}}, step(1), nil)
}

// TestFaultsWhileProvisioning goes from a blank chip to one with all locks, and on
// from wherever a fault left it.
func TestFaultsWhileProvisioning(t *testing.T) {
	want := atecc.Config(generic(t).Config)
	want[86], want[87] = 0x55, 0x55
	secret := pattern(36, 7)
	run := withDevice(func(ctx context.Context, d *atecc.Device) error {
		cfg, err := d.ReadConfig(ctx)
		if err != nil {
			return err
		}
		if !cfg.Locked() {
			if err := d.WriteConfig(ctx, &want); err != nil {
				return err
			}
			if err := d.LockConfig(ctx, &want); err != nil {
				return err
			}
		}
		if !cfg.DataLocked() {
			if err := d.WriteSlot(ctx, 6, 0, secret); err != nil {
				return err
			}
			if _, err := d.GenerateKey(ctx, 0); err != nil {
				return err
			}
			if err := d.LockData(ctx, nil); err != nil {
				return err
			}
		}
		if !cfg.SlotLocked(6) {
			return d.LockSlot(ctx, 6)
		}
		return nil
	})
	finished := func(chip *ateccsim.Chip) bool {
		s := chip.State()
		return s.ConfigLocked() && s.DataLocked() && s.SlotLocked(6) && bytes.Equal(s.Slot(6), secret)
	}
	atecctest.Sweep(t, atecctest.Scenario{State: blank(t), Run: run, After: func(ctx context.Context, chip *ateccsim.Chip, ran error) error {
		if ran == nil && !finished(chip) {
			return errors.New("it is not finished")
		}
		if err := run(ctx, chip); err != nil {
			return err
		}
		if !finished(chip) {
			return errors.New("it cannot be finished")
		}
		return nil
	}}, step(1), defective)
}

// TestNoise has all kinds of faults at once, at random places.
func TestNoise(t *testing.T) {
	for name, tt := range map[string]struct {
		faults  string
		perfect bool
	}{
		"some":    {"nack:rate=0.01,corrupt-in:rate=0.001,corrupt-out:rate=0.001", true},
		"much":    {"nack:rate=0.05,corrupt-in:rate=0.02,corrupt-out:rate=0.02,short-read:rate=0.01,stuck-bus:rate=0.02,drop-wake:rate=0.1,watchdog:rate=0.002", true},
		"a storm": {"nack:rate=0.4,corrupt-in:rate=0.3,corrupt-out:rate=0.3,short-read:rate=0.1,stuck-bus:rate=0.2,drop-wake:rate=0.3,watchdog:rate=0.05", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faults := new(ateccsim.Faults)
				d, chip := open(t, generic(t), &ateccsim.Options{Timing: ateccsim.Realistic, Faults: faults}, nil)
				noisy, err := ateccsim.ParseFaults(tt.faults)
				require.NoError(t, err)
				*faults = *noisy
				digest := sha256.Sum256([]byte("hello"))
				n, good := 300, 0
				if raceEnabled {
					n = 40
				}
				counter := uint32(0)
				for i := range n {
					sig, err := d.Sign(t.Context(), 0, digest[:])
					if err == nil {
						good++
						require.True(t, ecdsa.Verify(publicKey(t, chip.State(), 0), digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])))
					}
					v, e := d.Increment(t.Context(), 1)
					if e == nil {
						// A step that is cut off in the middle can be one of several.
						require.Greater(t, v, counter)
						counter = v
					}
					if i%10 == 0 {
						pub, e := d.GenerateKey(t.Context(), 0)
						if e == nil {
							require.True(t, pub.Equal(publicKey(t, chip.State(), 0)))
						}
						err = errors.Join(err, e)
					}
					if err = errors.Join(err, e); tt.perfect {
						require.NoError(t, err)
					} else if err != nil {
						require.NotEqual(t, pkcs11.CKR_GENERAL_ERROR, pkcs11.CodeOf(err), "%v", err)
					}
				}
				t.Logf("%d of %d signatures, %d faults", good, n, faults.Fired())
				*faults = ateccsim.Faults{}
			})
		})
	}
}
