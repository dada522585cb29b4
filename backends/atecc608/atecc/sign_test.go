package atecc_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A forger changes answers of 64 bytes, and the CRC with them.
type forger struct {
	*ateccsim.Chip
	skip, count int
}

func (b *forger) Tx(addr uint16, w, r []byte) error {
	err := b.Chip.Tx(addr, w, r)
	if err == nil && len(r) == 67 && r[0] == 67 {
		if b.skip--; b.skip < 0 && b.count > 0 {
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
		bus := &forger{Chip: sim(t, generic(t), nil)}
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
	for _, fault := range []ateccsim.FaultKind{ateccsim.NACK, ateccsim.StuckBus, ateccsim.CorruptOut, ateccsim.ShortRead, ateccsim.WatchdogNow} {
		t.Run(string(fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for at := 1; ; at++ {
					var increments, locks int
					faults := new(ateccsim.Faults)
					d, chip := open(t, generic(t), &ateccsim.Options{Faults: faults, Trace: func(e ateccsim.Event) {
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
					*faults = *ateccsim.NewFaults(0, ateccsim.Rule{Kind: fault, At: at})
					v, err := d.Increment(t.Context(), 0)
					require.NoError(t, err)
					require.EqualValues(t, 1, v)
					require.Equal(t, 1, increments, "at %d", at)
					require.NoError(t, d.LockSlot(t.Context(), 2))
					require.Equal(t, 1, locks, "at %d", at)
					require.True(t, chip.State().SlotLocked(2))
					if faults.Fired() == 0 {
						return
					}
				}
			})
		})
	}
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
