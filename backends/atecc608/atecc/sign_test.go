package atecc_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A forger changes answers with so many bytes of data, and the CRC with them.
type forger struct {
	*ateccsim.Chip
	size, skip, count int
}

func (b *forger) Tx(addr uint16, w, r []byte) error {
	err := b.Chip.Tx(addr, w, r)
	if err == nil && len(r) == b.size+3 && int(r[0]) == len(r) && b.count > 0 {
		if b.skip--; b.skip < 0 {
			b.count--
			r[9] ^= 0x40
			seal(r)
		}
	}
	return err
}

// TestWrongSignature has a chip, or a probe on the bus, that signs wrongly.
func TestWrongSignature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &forger{Chip: sim(t, generic(t), nil), size: 64}
		d, err := atecc.New(t.Context(), bus, nil)
		require.NoError(t, err)
		digest := sha256.Sum256(nil)
		_, err = d.Sign(t.Context(), 0, digest[:])
		require.NoError(t, err)
		bus.count = 1
		sig, err := d.Sign(t.Context(), 0, digest[:])
		require.ErrorIs(t, err, atecc.ErrSignature)
		require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
		require.Nil(t, sig)
		_, err = d.Sign(t.Context(), 0, digest[:])
		require.NoError(t, err)
	})
}

// A thief takes PrivWrite off the bus and answers success.
type thief struct {
	*ateccsim.Chip
	taken bool
}

func (b *thief) Tx(addr uint16, w, r []byte) error {
	if len(w) > 4 && w[2] == 0x46 {
		b.taken = true
		return nil
	}
	if b.taken && len(r) == 4 {
		b.taken = false
		copy(r, []byte{0x04, 0x00, 0x03, 0x40})
		return nil
	}
	return b.Chip.Tx(addr, w, r)
}

// TestForgedAnswers are those that chip and host share a secret against, or that
// can be checked in another way.
func TestForgedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		state := everything(t)
		secret := bytes.Clone(state.Slot(4)[:32])
		bus := &forger{Chip: sim(t, state, nil), size: 32}
		d, err := atecc.New(ctx, bus, nil)
		require.NoError(t, err)
		digest := sha256.Sum256(nil)
		key := newKey(t)
		require.NoError(t, d.WritePublicKey(ctx, 11, &key.PublicKey))
		bus.count = 1
		ok, err := d.Verify(ctx, &key.PublicKey, digest[:], sign(t, key, digest[:]), secret)
		require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
		require.False(t, ok)
		bus.skip, bus.count = 1, 1 // not the nonce, but the proof
		ok, err = d.SecureBoot(ctx, atecc.BootFull, digest[:], sign(t, key, digest[:]), secret, nil)
		require.Error(t, err)
		require.False(t, ok)
		require.NoError(t, d.Close())
	})
	synctest.Test(t, func(t *testing.T) {
		state := everything(t)
		secret := bytes.Clone(state.Slot(4)[:32])
		d, err := atecc.New(t.Context(), &thief{Chip: sim(t, state, nil)}, nil)
		require.NoError(t, err)
		err = d.ImportKey(t.Context(), 7, newKey(t), secret)
		require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
		require.ErrorContains(t, err, "another key")
	})
}

// TestKeyOfAnotherProcess signs with a key that is another than the one that the
// signature would be verified with.
func TestKeyOfAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := sim(t, generic(t), nil)
		one, err := atecc.New(t.Context(), chip, nil)
		require.NoError(t, err)
		other, err := atecc.New(t.Context(), chip, nil)
		require.NoError(t, err)
		digest := sha256.Sum256(nil)
		for range 2 {
			_, err = one.Sign(t.Context(), 0, digest[:])
			require.NoError(t, err)
			_, err = other.GenerateKey(t.Context(), 0)
			require.NoError(t, err)
		}
	})
}

// TestRandomFirst uses keys with ReqRandom on a chip that wants a random number
// since it slept last.
func TestRandomFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var random, signs int
		d, _ := open(t, flex(t), &ateccsim.Options{Open: ateccsim.Questions{RandomFirst: true}, Trace: func(e ateccsim.Event) {
			switch {
			case len(e.Write) == 0:
			case strings.HasPrefix(e.Note, "Random"):
				random++
			case strings.HasPrefix(e.Note, "Sign"):
				signs++
			}
		}}, nil)
		digest := sha256.Sum256(nil)
		for range 3 {
			_, err := d.Sign(t.Context(), 0, digest[:])
			require.NoError(t, err)
		}
		require.Equal(t, 1, random, "once, since the chip does not sleep in between")
		require.Equal(t, 4, signs)
	})
	synctest.Test(t, func(t *testing.T) {
		d, _ := open(t, flex(t), &ateccsim.Options{Open: ateccsim.Questions{RandomFirst: true}}, nil)
		peer, err := ecdh.P256().GenerateKey(rand.Reader)
		require.NoError(t, err)
		_, err = d.ECDH(t.Context(), 0, peer.PublicKey(), atecc.ECDHClear, nil)
		require.NoError(t, err)
	})
}

// TestNothingIsRepeatedBlindly counts what changes the chip, when each answer to
// it is lost in turn.
func TestNothingIsRepeatedBlindly(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   ateccsim.FaultKind
		timing  ateccsim.Timing
		traffic bool
	}{
		"no acknowledge":          {fault: ateccsim.NACK},
		"stuck bus":               {fault: ateccsim.StuckBus},
		"damaged answers":         {fault: ateccsim.CorruptOut},
		"short answers":           {fault: ateccsim.ShortRead},
		"sleep":                   {fault: ateccsim.WatchdogNow},
		"sleep, woken by traffic": {fault: ateccsim.WatchdogNow, timing: ateccsim.Full, traffic: true},
		"woken by traffic":        {fault: ateccsim.WatchdogNow, traffic: true},
		"busy":                    {fault: ateccsim.NACK, timing: ateccsim.Full},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for at := 1; ; at++ {
					var increments, locks int
					faults := new(ateccsim.Faults)
					d, chip := open(t, generic(t), &ateccsim.Options{Faults: faults, Timing: tt.timing, TrafficWakes: tt.traffic, Trace: func(e ateccsim.Event) {
						if e.Err != nil || len(e.Write) < 4 || e.Write[0] != 3 {
							return
						}
						switch {
						case e.Write[2] == 0x24 && e.Write[3] == 1:
							increments++
						case e.Write[2] == 0x17:
							locks++
						}
					}}, nil)
					*faults = *ateccsim.NewFaults(0, ateccsim.Rule{Kind: tt.fault, At: at})
					v, err := d.Increment(t.Context(), 0)
					require.NoError(t, err)
					require.EqualValues(t, 1, v)
					require.NoError(t, d.LockSlot(t.Context(), 2))
					require.True(t, chip.State().SlotLocked(2))
					if tt.timing == ateccsim.Instant {
						require.Equal(t, 1, increments, "at %d", at)
						require.Equal(t, 1, locks, "at %d", at)
					}
					if faults.Fired() == 0 {
						return
					}
				}
			})
		})
	}
}

// A mumbler carries commands out and reports that they did not arrive.
type mumbler struct {
	*ateccsim.Chip
	op byte
	n  int
}

func (b *mumbler) Tx(addr uint16, w, r []byte) error {
	err := b.Chip.Tx(addr, w, r)
	if err == nil && len(w) > 4 && w[2] == b.op {
		if b.n--; b.n == 0 {
			return ateccsim.ErrBus
		}
	}
	return err
}

// TestCommandsThatArrivedAllTheSame has a controller that reports failure too
// late.
func TestCommandsThatArrivedAllTheSame(t *testing.T) {
	for name, timing := range map[string]ateccsim.Timing{"instant": ateccsim.Instant, "full": ateccsim.Full} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				chip := sim(t, everything(t), &ateccsim.Options{Timing: timing})
				bus := &mumbler{Chip: chip}
				d, err := atecc.New(t.Context(), bus, nil)
				require.NoError(t, err)
				digest := sha256.Sum256(nil)
				_, err = d.Sign(t.Context(), 0, digest[:])
				require.NoError(t, err)

				bus.op, bus.n = 0x24, 2 // Counter, the second of which increments
				v, err := d.Increment(t.Context(), 1)
				require.NoError(t, err)
				require.EqualValues(t, 1, v)

				// The use of a key that has been spent is not spent again.
				before, err := d.Counter(t.Context(), 0)
				require.NoError(t, err)
				bus.op, bus.n = 0x41, 1
				_, err = d.Sign(t.Context(), 0, digest[:])
				require.ErrorIs(t, err, atecc.ErrUncertain)
				after, err := d.Counter(t.Context(), 0)
				require.NoError(t, err)
				require.Equal(t, before+1, after)

				// A key that has been derived is not derived again, though the answer to
				// the command before would be the same.
				key := bytes.Clone(chip.State().Slot(4)[:32])
				bus.op, bus.n = 0x1C, 1
				require.ErrorIs(t, d.Do(t.Context(), func(s *atecc.Sequence) error {
					temp, err := s.RandomNonce()
					require.NoError(t, err)
					mixed, err := s.GenDig(4, key, temp)
					require.NoError(t, err)
					_, err = s.DeriveKey(9, false, *mixed, nil)
					return err
				}), atecc.ErrUncertain)
				require.Equal(t, 0, bus.n)

				bus.op, bus.n = 0x17, 1
				require.NoError(t, d.LockSlot(t.Context(), 0))
				bus.op, bus.n = 0x12, 1
				require.NoError(t, d.WriteSlot(t.Context(), 13, 0, pattern(72, 1)))
				require.NoError(t, d.Close())
			})
		})
	}
}

// A measurer answers commands with data of a length of its own, well-framed.
type measurer struct {
	*ateccsim.Chip
	op   byte
	size int
	last byte
}

func (b *measurer) Tx(addr uint16, w, r []byte) error {
	err := b.Chip.Tx(addr, w, r)
	if len(w) > 4 {
		b.last = w[2]
	}
	if n := b.size + 3; err == nil && b.op != 0 && b.last == b.op && n <= len(r) {
		r[0] = byte(n)
		for i := range r[1 : n-2] {
			r[1+i] = byte(0x40 + i)
		}
		seal(r[:n])
	}
	return err
}

// TestAnswersOfAnyLength has answers that are sound but for their length.
func TestAnswersOfAnyLength(t *testing.T) {
	digest := sha256.Sum256(nil)
	for name, tt := range map[string]struct {
		op   byte
		size int // that is right
		do   func(ctx context.Context, d *atecc.Device) error
	}{
		"read":     {0x02, 32, func(ctx context.Context, d *atecc.Device) error { _, err := d.ReadConfig(ctx); return err }},
		"nonce":    {0x16, 0, func(ctx context.Context, d *atecc.Device) error { _, err := d.Sign(ctx, 2, digest[:]); return err }},
		"sign":     {0x41, 64, func(ctx context.Context, d *atecc.Device) error { _, err := d.Sign(ctx, 2, digest[:]); return err }},
		"generate": {0x40, 64, func(ctx context.Context, d *atecc.Device) error { _, err := d.GenerateKey(ctx, 2); return err }},
		"random":   {0x1B, 32, func(ctx context.Context, d *atecc.Device) error { return d.Random(ctx, make([]byte, 32)) }},
		"counter":  {0x24, 4, func(ctx context.Context, d *atecc.Device) error { _, err := d.Increment(ctx, 1); return err }},
		"info":     {0x30, 4, func(ctx context.Context, d *atecc.Device) error { _, err := d.Revision(ctx); return err }},
		"hmac":     {0x47, 32, func(ctx context.Context, d *atecc.Device) error { _, err := d.HMAC(ctx, 4, nil); return err }},
		"aes": {0x51, 16, func(ctx context.Context, d *atecc.Device) error {
			return d.EncryptBlocks(ctx, 10, 0, make([]byte, 16), make([]byte, 16))
		}},
		"mac": {0x08, 32, func(ctx context.Context, d *atecc.Device) error { _, err := d.MAC(ctx, 4, digest[:]); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				chip := sim(t, everything(t), nil)
				bus := &measurer{Chip: chip}
				d, err := atecc.New(t.Context(), bus, nil)
				require.NoError(t, err)
				_, err = d.PublicKey(t.Context(), 2)
				require.NoError(t, err)
				for size := 1; size < 68; size++ {
					bus.op, bus.size = tt.op, size
					if err := tt.do(t.Context(), d); size != tt.size && size+3 <= max(tt.size, 1)+3 {
						require.Error(t, err, "%d bytes", size)
						require.NotErrorIs(t, err, atecc.ErrSignature, "%d bytes", size)
						require.NotEqual(t, pkcs11.CKR_GENERAL_ERROR, pkcs11.CodeOf(err))
					}
				}
				bus.op = 0
			})
		})
	}
}

// TestLongOperations take longer than Opts.Timeout, which is for each command.
func TestLongOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := open(t, everything(t), &ateccsim.Options{Timing: ateccsim.Full}, &atecc.Opts{Timeout: 300 * time.Millisecond})
		start := time.Now()
		_, err := d.HMAC(t.Context(), 4, pattern(2000, 1))
		require.NoError(t, err)
		require.Greater(t, time.Since(start), time.Second)
	})
}

// TestUncertain loses the answer to a command whose outcome cannot be read.
func TestUncertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(ateccsim.Faults)
		d, _ := open(t, everything(t), &ateccsim.Options{Faults: faults}, nil)
		derives := 0
		err := d.Do(t.Context(), func(s *atecc.Sequence) error {
			derives++
			temp, err := s.RandomNonce()
			if err != nil {
				return err
			}
			*faults = *ateccsim.NewFaults(0, ateccsim.Rule{Kind: ateccsim.WatchdogNow, At: 2})
			_, err = s.DeriveKey(9, false, temp, nil)
			return err
		})
		require.ErrorIs(t, err, atecc.ErrUncertain)
		require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
		require.Equal(t, 1, derives)

		// One that was carried out for certain is not carried out again, either.
		counts := 0
		err = d.Do(t.Context(), func(s *atecc.Sequence) error {
			counts++
			if _, err := s.Increment(1); err != nil {
				return err
			}
			*faults = *ateccsim.NewFaults(0, ateccsim.Rule{Kind: ateccsim.WatchdogNow, At: 1})
			return s.Random(make([]byte, 32))
		})
		require.ErrorIs(t, err, atecc.ErrComm)
		require.NotErrorIs(t, err, atecc.ErrUncertain)
		require.Equal(t, 1, counts)
		v, err := d.Counter(t.Context(), 1)
		require.NoError(t, err)
		require.EqualValues(t, 1, v)
	})
}

// TestNoSecretInErrors provokes refusals of everything that is given a key.
func TestNoSecretsInErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := open(t, everything(t), nil, nil)
		secret := []byte("the secret that nobody may see!!")
		key := newKey(t)
		for _, err := range []error{
			d.WriteSlotEncrypted(t.Context(), 8, 0, secret, secret),
			d.WriteSlot(t.Context(), 8, 0, secret),
			d.ImportKey(t.Context(), 7, key, secret),
			d.ImportKey(t.Context(), 7, key, secret[:5]),
			d.Do(t.Context(), func(s *atecc.Sequence) error { _, err := s.DeriveKey(3, true, [32]byte{}, secret); return err }),
		} {
			require.Error(t, err)
			require.NotContains(t, err.Error(), string(secret[:8]))
			require.NotContains(t, err.Error(), "74686520736563") // in hex
		}
	})
}
