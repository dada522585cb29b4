package atecc_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"periph.io/x/conn/v3/physic"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A liar is a chip that answers what a script says, or what it likes.
type liar struct {
	chip   *ateccsim.Chip
	script []byte
}

func (b *liar) String() string                  { return "liar" }
func (b *liar) SetSpeed(physic.Frequency) error { return errors.ErrUnsupported }

// next is the next byte of the script, and none at its end.
func (b *liar) next() (byte, bool) {
	if len(b.script) == 0 {
		return 0, false
	}
	x := b.script[0]
	b.script = b.script[1:]
	return x, true
}

func (b *liar) Tx(addr uint16, w, r []byte) error {
	err := b.chip.Tx(addr, w, r)
	what, ok := b.next()
	if !ok || addr == 0 {
		return err
	}
	switch what % 8 {
	case 0: // nothing came through
		return ateccsim.ErrNACK
	case 1: // anything
		for i := range r {
			r[i], _ = b.next()
		}
		return nil
	case 2, 3: // anything, well-framed
		if len(r) < 4 {
			return err
		}
		n := len(r)
		if what%8 == 3 {
			short, _ := b.next()
			n = 4 + int(short)%(n-3)
		}
		for i := range r[:n-3] {
			r[1+i], _ = b.next()
		}
		r[0] = byte(n)
		seal(r[:n])
		return nil
	}
	return err
}

// seal puts the CRC behind a group.
func seal(g []byte) {
	var c uint16
	for _, x := range g[:len(g)-2] {
		for i := range 8 {
			top := c >> 15
			c <<= 1
			if uint16(x>>i)&1 != top {
				c ^= 0x8005
			}
		}
	}
	g[len(g)-2], g[len(g)-1] = byte(c), byte(c>>8)
}

// FuzzChip has every operation meet answers of any kind: they end, with a typed
// error or with a result whose form is right.
func FuzzChip(f *testing.F) {
	f.Add(byte(0), []byte{})
	f.Add(byte(1), bytes.Repeat([]byte{7, 7, 7, 0}, 9))
	f.Add(byte(2), bytes.Repeat([]byte{7, 7, 3, 0, 0x0F}, 30))
	f.Add(byte(3), bytes.Repeat([]byte{7, 2, 0xEE}, 30))
	f.Add(byte(5), bytes.Repeat([]byte{2}, 400))
	f.Add(byte(9), append(bytes.Repeat([]byte{7}, 11), bytes.Repeat([]byte{3, 0, 0}, 100)...))
	state, err := ateccsim.Everything(ateccsim.DefaultSerial, nil)
	if err != nil {
		f.Fatal(err)
	}
	digest := sha256.Sum256([]byte("hello"))
	f.Fuzz(func(t *testing.T, which byte, script []byte) {
		synctest.Test(t, func(t *testing.T) {
			chip, err := ateccsim.New(state, nil)
			require.NoError(t, err)
			bus := &liar{chip: chip, script: script}
			typed := func(err error) bool {
				require.True(t, err == nil || pkcs11.CodeOf(err) != pkcs11.CKR_GENERAL_ERROR, "%v", err)
				return err == nil
			}
			opts := &atecc.Opts{Address: 0x60}
			if which >= 128 {
				opts = nil
			}
			d, err := atecc.New(t.Context(), bus, opts)
			if !typed(err) {
				return
			}
			ctx := t.Context()
			io := make([]byte, 32)
			switch which % 16 {
			case 0:
				sig, err := d.Sign(ctx, 2, digest[:])
				require.Equal(t, typed(err), len(sig) == 64)
			case 1:
				_, err := d.GenerateKey(ctx, 2)
				typed(err)
			case 2:
				_, err := d.ReadConfig(ctx)
				typed(err)
				c := d.Config()
				for n := range 16 {
					_, _, _ = c.Slot(n), c.Key(n), c.SlotLocked(n)
				}
			case 3:
				typed(d.Random(ctx, make([]byte, 100)))
			case 4:
				_, err := d.Increment(ctx, 1)
				typed(err)
			case 5:
				typed(d.WriteSlotEncrypted(ctx, 8, 0, make([]byte, 64), io))
			case 6:
				typed(d.ReadSlotEncrypted(ctx, 8, 0, make([]byte, 64), io))
			case 7:
				_, err := d.HMAC(ctx, 4, make([]byte, 100))
				typed(err)
			case 8:
				_, err := d.SelfTest(ctx, 0x3D)
				typed(err)
			case 9:
				_, err := d.KDF(ctx, atecc.KDF{Source: atecc.KDFSlot, SourceSlot: 4, Target: atecc.KDFEncrypted, Details: atecc.KDFOutput64 | atecc.KDFKey32}, io)
				typed(err)
			case 10:
				_, _, err := d.ReadPublicKey(ctx, 15)
				typed(err)
			case 11:
				_, err := d.VerifyStored(ctx, 15, digest[:], make([]byte, 64), io)
				typed(err)
			case 12:
				typed(d.LockSlot(ctx, 0))
			case 13:
				typed(d.Do(ctx, func(s *atecc.Sequence) error {
					if err := s.SHAStart(); err != nil {
						return err
					}
					state, err := s.SHAContext()
					if err != nil {
						return err
					}
					return s.SHAResume(state)
				}))
			case 14:
				typed(d.EncryptBlocks(ctx, 10, 0, make([]byte, 32), make([]byte, 32)))
			case 15:
				typed(d.Do(ctx, func(s *atecc.Sequence) error {
					_, err := s.Authorize(4, io)
					if err != nil {
						return err
					}
					_, err = s.State()
					return err
				}))
			}
			_ = d.Close()
		})
	})
}
