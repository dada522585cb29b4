package atecc_test

import (
	"bytes"
	"crypto/aes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// onChip runs a test in a bubble, on a chip that takes the time that chips take.
func onChip(t *testing.T, name string, s func(t *testing.T) *ateccsim.State, test func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, chip := open(t, s(t), &ateccsim.Options{Timing: ateccsim.Realistic}, nil)
			test(t, d, chip)
		})
	})
}

// everything is a chip whose slots have every policy between them.
func everything(t *testing.T) *ateccsim.State {
	t.Helper()
	s, err := ateccsim.Everything(ateccsim.DefaultSerial, nil)
	require.NoError(t, err)
	return s
}

func blank(t *testing.T) *ateccsim.State {
	t.Helper()
	return ateccsim.Blank(ateccsim.DefaultSerial)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func sign(t *testing.T, key *ecdsa.PrivateKey, digest []byte) []byte {
	t.Helper()
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	require.NoError(t, err)
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return sig
}

func pattern(n int, first byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func hmacOf(key, msg []byte) [32]byte {
	h := hmac.New(sha256.New, key)
	h.Write(msg)
	return [32]byte(h.Sum(nil))
}

func TestCommands(t *testing.T) {
	digest := sha256.Sum256([]byte("hello"))

	onChip(t, "clear slots", generic, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		data := pattern(416, 1)
		require.NoError(t, d.WriteSlot(ctx, 8, 0, data))
		require.Equal(t, data, chip.State().Slot(8))
		require.NoError(t, d.WriteSlot(ctx, 8, 28, []byte("12345678")))
		copy(data[28:], "12345678")
		for _, r := range [][2]int{{0, 416}, {1, 2}, {29, 3}, {30, 4}, {31, 34}, {415, 1}, {416, 0}} {
			p := make([]byte, r[1])
			require.NoError(t, d.ReadSlot(ctx, 8, r[0], p))
			require.Equal(t, data[r[0]:r[0]+r[1]], p, "at %d", r[0])
		}
		require.NoError(t, d.WriteSlot(ctx, 10, 0, pattern(72, 7)))
		p := make([]byte, 72)
		require.NoError(t, d.ReadSlot(ctx, 10, 0, p))
		require.Equal(t, pattern(72, 7), p)
		for _, err := range []error{
			d.ReadSlot(ctx, 8, 410, make([]byte, 7)), d.ReadSlot(ctx, 16, 0, p), d.ReadSlot(ctx, -1, 0, p), d.WriteSlot(ctx, 8, 2, p[:4]), d.WriteSlot(ctx, 8, 0, p[:5]),
		} {
			require.Error(t, err)
		}
		otp, err := d.ReadOTP(ctx)
		require.NoError(t, err)
		require.Equal(t, chip.State().OTP, otp)
	})

	onChip(t, "encrypted slots", everything, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		key := bytes.Clone(chip.State().Slot(4)[:32])
		data := pattern(416, 3)
		require.NoError(t, d.WriteSlotEncrypted(ctx, 8, 0, data, key))
		require.Equal(t, data, chip.State().Slot(8))
		p := make([]byte, 70)
		require.NoError(t, d.ReadSlotEncrypted(ctx, 8, 30, p, key))
		require.Equal(t, data[30:100], p)

		wrong := pattern(32, 9)
		err := d.WriteSlotEncrypted(ctx, 8, 0, data[:32], wrong)
		require.ErrorIs(t, err, pkcs11.CKR_ENCRYPTED_DATA_INVALID)
		require.ErrorContains(t, err, "slot 8")
		require.ErrorIs(t, d.ReadSlot(ctx, 8, 0, p), pkcs11.CKR_ATTRIBUTE_SENSITIVE)
		require.ErrorIs(t, d.WriteSlot(ctx, 8, 0, p[:32]), pkcs11.CKR_ACTION_PROHIBITED)
		require.ErrorIs(t, d.ReadSlotEncrypted(ctx, 8, 0, p, key[:31]), pkcs11.CKR_KEY_SIZE_RANGE)
	})

	onChip(t, "import", everything, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		transport := bytes.Clone(chip.State().Slot(4)[:32])
		key := newKey(t)
		require.NoError(t, d.ImportKey(ctx, 7, key, transport))
		sig, err := d.Sign(ctx, 7, digest[:])
		require.NoError(t, err)
		require.True(t, ecdsa.Verify(&key.PublicKey, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])))
		pub, err := d.PublicKey(ctx, 7)
		require.NoError(t, err)
		require.True(t, pub.Equal(&key.PublicKey))
		require.ErrorIs(t, d.ImportKey(ctx, 7, key, pattern(32, 0)), pkcs11.CKR_ENCRYPTED_DATA_INVALID)
		require.ErrorIs(t, d.ImportKey(ctx, 2, key, transport), pkcs11.CKR_ACTION_PROHIBITED)
		p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		require.NoError(t, err)
		require.ErrorIs(t, d.ImportKey(ctx, 7, p384, transport), pkcs11.CKR_CURVE_NOT_SUPPORTED)
	})

	onChip(t, "ecdh", everything, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		io := bytes.Clone(chip.State().Slot(4)[:32])
		pub, err := d.PublicKey(ctx, 0)
		require.NoError(t, err)
		mine, err := ecdh.P256().GenerateKey(rand.Reader)
		require.NoError(t, err)
		theirs, err := pub.ECDH()
		require.NoError(t, err)
		want, err := mine.ECDH(theirs)
		require.NoError(t, err)
		for _, out := range []atecc.ECDHOutput{atecc.ECDHClear, atecc.ECDHEncrypted} {
			got, err := d.ECDH(ctx, 0, mine.PublicKey(), out, io)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		got, err := d.ECDH(ctx, 0, mine.PublicKey(), atecc.ECDHToSlot, nil)
		require.NoError(t, err)
		require.Nil(t, got)
		require.NoError(t, d.ReadSlotEncrypted(ctx, 1, 0, want, io))
		require.Equal(t, want, chip.State().Slot(1)[:32])
		require.NoError(t, d.Do(ctx, func(s *atecc.Sequence) error {
			pub, err := s.GenerateTempKey()
			require.NoError(t, err)
			theirs, err := pub.ECDH()
			require.NoError(t, err)
			want, err := mine.ECDH(theirs)
			require.NoError(t, err)
			got, err := s.ECDH(atecc.FromTempKey, mine.PublicKey(), atecc.ECDHEncrypted, io)
			require.NoError(t, err)
			require.Equal(t, want, got)
			return nil
		}))
		// A secret that stays on the chip encrypts there.
		require.NoError(t, d.Do(ctx, func(s *atecc.Sequence) error {
			if _, err := s.ECDH(0, mine.PublicKey(), atecc.ECDHToTempKey, nil); err != nil {
				return err
			}
			mac, err := s.HMAC(atecc.FromTempKey, []byte("msg"))
			h := hmac.New(sha256.New, chip.State().Slot(1)[:32])
			h.Write([]byte("msg"))
			require.Equal(t, h.Sum(nil), mac[:])
			return err
		}))
	})

	onChip(t, "verify", everything, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		io := bytes.Clone(chip.State().Slot(4)[:32])
		key := newKey(t)
		sig := sign(t, key, digest[:])
		bad := bytes.Clone(sig)
		bad[5] ^= 1
		require.NoError(t, d.WritePublicKey(ctx, 15, &key.PublicKey))
		pub, _, err := d.ReadPublicKey(ctx, 15)
		require.NoError(t, err)
		require.True(t, pub.Equal(&key.PublicKey))
		for _, k := range [][]byte{nil, io} {
			ok, err := d.Verify(ctx, &key.PublicKey, digest[:], sig, k)
			require.NoError(t, err)
			require.True(t, ok)
			ok, err = d.Verify(ctx, &key.PublicKey, digest[:], bad, k)
			require.NoError(t, err)
			require.False(t, ok)
			ok, err = d.VerifyStored(ctx, 15, digest[:], sig, k)
			require.NoError(t, err)
			require.True(t, ok)
			ok, err = d.VerifyStored(ctx, 15, digest[:], bad, k)
			require.NoError(t, err)
			require.False(t, ok)
		}
		_, err = d.Verify(ctx, &key.PublicKey, digest[:], sig, pattern(32, 1))
		require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)

		// Slot 14 holds a key that the one in slot 15 validates.
		other := newKey(t)
		require.NoError(t, d.WritePublicKey(ctx, 14, &other.PublicKey))
		mine := sign(t, other, digest[:])
		_, err = d.VerifyStored(ctx, 14, digest[:], mine, nil)
		require.ErrorIs(t, err, pkcs11.CKR_PUBLIC_KEY_INVALID)
		by := func(msg []byte) ([]byte, error) { return sign(t, key, msg), nil }
		require.NoError(t, d.Validate(ctx, 14, true, by))
		_, valid, err := d.ReadPublicKey(ctx, 14)
		require.NoError(t, err)
		require.True(t, valid)
		ok, err := d.VerifyStored(ctx, 14, digest[:], mine, nil)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, d.Validate(ctx, 14, false, by))
		_, valid, err = d.ReadPublicKey(ctx, 14)
		require.NoError(t, err)
		require.False(t, valid)
		require.ErrorIs(t, d.Validate(ctx, 14, true, func(msg []byte) ([]byte, error) { return sign(t, other, msg), nil }), atecc.StatusMiscompare)
	})

	onChip(t, "symmetric", everything, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		key := bytes.Clone(chip.State().Slot(4)[:32])
		for _, n := range []int{0, 1, 63, 64, 65, 200} {
			msg := pattern(n, 5)
			got, err := d.HMAC(ctx, 4, msg)
			require.NoError(t, err)
			h := hmac.New(sha256.New, key)
			h.Write(msg)
			require.Equal(t, h.Sum(nil), got[:])
		}
		require.NoError(t, d.Do(ctx, func(s *atecc.Sequence) error {
			msg := pattern(150, 1)
			require.NoError(t, s.SHAStart())
			require.NoError(t, s.SHAUpdate(msg[:64]))
			state, err := s.SHAContext()
			require.NoError(t, err)
			require.NoError(t, s.SHAStart())
			require.NoError(t, s.SHAResume(state))
			require.NoError(t, s.SHAUpdate(msg[64:128]))
			sum, err := s.SHAEnd(msg[128:])
			require.NoError(t, err)
			require.Equal(t, sha256.Sum256(msg), sum)
			return nil
		}))

		aesKeys := pattern(64, 0x40)
		require.NoError(t, d.WriteSlot(ctx, 10, 0, aesKeys))
		for block := range 4 {
			c, err := aes.NewCipher(aesKeys[16*block:][:16])
			require.NoError(t, err)
			plain := pattern(16*20, 3)
			got := bytes.Clone(plain)
			require.NoError(t, d.EncryptBlocks(ctx, 10, block, got, got))
			want := make([]byte, 16)
			c.Encrypt(want, plain[16*19:])
			require.Equal(t, want, got[16*19:])
			require.NoError(t, d.DecryptBlocks(ctx, 10, block, got, got))
			require.Equal(t, plain, got)
		}
		require.NoError(t, d.Do(ctx, func(s *atecc.Sequence) error {
			h, x := make([]byte, 16), make([]byte, 16)
			h[0], x[3] = 0x80, 0x11 // the one of GCM
			p, err := s.GFM(h, x)
			require.Equal(t, x, p[:])
			return err
		}))

		challenge := pattern(32, 0x77)
		mac, err := d.MAC(ctx, 4, challenge)
		require.NoError(t, err)
		want, err := d.MACOf(4, key, challenge)
		require.NoError(t, err)
		require.Equal(t, want, mac)

		require.NoError(t, d.Do(ctx, func(s *atecc.Sequence) error {
			ok, err := s.Authorize(4, pattern(32, 1))
			require.NoError(t, err)
			require.False(t, ok)
			ok, err = s.Authorize(4, key)
			require.NoError(t, err)
			require.True(t, ok)
			state, err := s.State()
			require.NoError(t, err)
			require.True(t, state.Auth)
			require.Equal(t, 4, state.AuthKeyID)
			require.NoError(t, s.SetLatch(true))
			on, err := s.Latch()
			require.True(t, on)
			return err
		}))
		require.NoError(t, d.Do(ctx, func(s *atecc.Sequence) error {
			ok, err := s.Authorize(4, pattern(32, 1))
			require.False(t, ok)
			return err
		}))
		require.ErrorIs(t, d.Do(ctx, func(s *atecc.Sequence) error { return s.SetLatch(true) }), atecc.StatusExec)
	})

	onChip(t, "derive", everything, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		parent := bytes.Clone(chip.State().Slot(4)[:32])
		var temp [32]byte
		for _, slot := range []int{3, 9} {
			if slot == 9 {
				parent = bytes.Clone(chip.State().Slot(9)[:32]) // rolls itself
			}
			require.NoError(t, d.Do(ctx, func(s *atecc.Sequence) (err error) {
				temp, err = s.RandomNonce()
				require.NoError(t, err)
				key, err := s.DeriveKey(slot, false, temp, parent)
				require.NoError(t, err)
				require.Equal(t, chip.State().Slot(slot)[:32], key[:])
				return nil
			}))
		}
		msg := pattern(16, 0)
		out, err := d.KDF(ctx, atecc.KDF{Algorithm: atecc.KDFHKDF, Source: atecc.KDFSlot, SourceSlot: 4, Target: atecc.KDFClear, Details: atecc.KDFMessage, Message: msg}, nil)
		require.NoError(t, err)
		h := hmac.New(sha256.New, chip.State().Slot(4)[:32])
		h.Write(msg)
		require.Equal(t, h.Sum(nil), out)
		enc, err := d.KDF(ctx, atecc.KDF{Algorithm: atecc.KDFHKDF, Source: atecc.KDFSlot, SourceSlot: 4, Target: atecc.KDFEncrypted, Details: atecc.KDFMessage, Message: msg}, chip.State().Slot(4)[:32])
		require.NoError(t, err)
		require.Equal(t, out, enc)
		long, err := d.KDF(ctx, atecc.KDF{Algorithm: atecc.KDFPRF, Source: atecc.KDFSlot, SourceSlot: 4, Target: atecc.KDFEncrypted, Details: atecc.KDFKey32 | atecc.KDFOutput64, Message: msg}, chip.State().Slot(4)[:32])
		require.NoError(t, err)
		require.Len(t, long, 64)
	})

	onChip(t, "counters", generic, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		for want := uint32(1); want <= 40; want++ {
			v, err := d.Increment(ctx, 1)
			require.NoError(t, err)
			require.Equal(t, want, v)
		}
		v, err := d.Counter(ctx, 1)
		require.NoError(t, err)
		require.EqualValues(t, 40, v)
		v, err = d.Counter(ctx, 0)
		require.NoError(t, err)
		require.Zero(t, v)
		_, err = d.Counter(ctx, 2)
		require.ErrorIs(t, err, pkcs11.CKR_ARGUMENTS_BAD)
	})

	onChip(t, "information", generic, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		failed, err := d.SelfTest(ctx, atecc.SelfTestRNG|atecc.SelfTestSHA)
		require.NoError(t, err)
		require.Zero(t, failed)
		valid, err := d.KeyValid(ctx, 0)
		require.NoError(t, err)
		require.True(t, valid)
		valid, err = d.KeyValid(ctx, 4)
		require.NoError(t, err)
		require.False(t, valid)
		_, err = d.PublicKey(ctx, 4)
		require.ErrorIs(t, err, atecc.StatusECC)
		require.ErrorIs(t, err, pkcs11.CKR_KEY_HANDLE_INVALID)
	})

	onChip(t, "internal signature", generic, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		require.NoError(t, d.Do(t.Context(), func(s *atecc.Sequence) error {
			nonce := pattern(32, 1)
			require.NoError(t, s.Nonce(atecc.TempKey, nonce))
			pub, err := s.DigestKey(1)
			require.NoError(t, err)
			sig, err := s.SignInternal(1, false, false)
			require.NoError(t, err)
			xy, err := pub.Bytes()
			require.NoError(t, err)
			sn := ateccsim.DefaultSerial
			temp := sha256.Sum256(bytes.Join([][]byte{nonce, {0x40, 8, 1, 0, sn[8], sn[0], sn[1]}, make([]byte, 25), xy[1:]}, nil))
			cfg := d.Config()
			msg := bytes.Join([][]byte{temp[:], {0x41, 0, 1, 0}, cfg[22:24], cfg[98:100], {0x51, 0, 0, sn[8], 0, 0, 0, 0, sn[0], sn[1], 0, 0, 1, 0, 0}}, nil)
			sum := sha256.Sum256(msg)
			require.True(t, ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])))
			return nil
		}))
	})

	onChip(t, "secure boot", everything, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		io := bytes.Clone(chip.State().Slot(4)[:32])
		key := newKey(t)
		require.NoError(t, d.WritePublicKey(ctx, 11, &key.PublicKey))
		sig := sign(t, key, digest[:])
		for _, k := range [][]byte{nil, io} {
			ok, err := d.SecureBoot(ctx, atecc.BootFullCopy, digest[:], sig, k, nil)
			require.NoError(t, err)
			require.True(t, ok)
			ok, err = d.SecureBoot(ctx, atecc.BootFullStore, digest[:], nil, k, nil)
			require.NoError(t, err)
			require.True(t, ok)
			ok, err = d.SecureBoot(ctx, atecc.BootFull, pattern(32, 1), sig, k, nil)
			require.NoError(t, err)
			require.False(t, ok)
		}
	})
}

// TestProvision goes from a blank chip to a signature.
func TestProvision(t *testing.T) {
	onChip(t, "generic", blank, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		require.ErrorIs(t, d.Random(ctx, make([]byte, 32)), pkcs11.CKR_RANDOM_NO_RNG)
		_, err := d.GenerateKey(ctx, 0)
		require.ErrorIs(t, err, pkcs11.CKR_TOKEN_NOT_RECOGNIZED)
		require.ErrorContains(t, err, "the configuration zone is not locked")

		want := atecc.Config(generic(t).Config)
		want[16] = 0x6C // another address
		require.NoError(t, d.WriteConfig(ctx, &want))
		require.EqualValues(t, 0x36, d.Address())
		wrong := want
		wrong[20] ^= 1
		require.ErrorIs(t, d.LockConfig(ctx, &wrong), pkcs11.CKR_DATA_INVALID)
		require.NoError(t, d.LockConfig(ctx, &want))
		cfg := d.Config()
		require.True(t, cfg.Locked())
		require.ErrorIs(t, d.LockConfig(ctx, &want), pkcs11.CKR_TOKEN_WRITE_PROTECTED)
		require.ErrorIs(t, d.WriteConfig(ctx, &wrong), pkcs11.CKR_TOKEN_WRITE_PROTECTED)

		require.NoError(t, d.WriteSlot(ctx, 6, 0, pattern(36, 1)))
		require.NoError(t, d.WriteOTP(ctx, 0, pattern(64, 9)))
		pub, err := d.GenerateKey(ctx, 0)
		require.NoError(t, err)
		key := newKey(t)
		require.NoError(t, d.ImportKey(ctx, 4, key, nil))
		digest := sha256.Sum256(nil)
		_, err = d.Sign(ctx, 0, digest[:])
		require.ErrorIs(t, err, pkcs11.CKR_TOKEN_NOT_RECOGNIZED)
		require.ErrorContains(t, err, "slot 0")

		s := chip.State()
		content := append(bytes.Clone(s.Data[:]), s.OTP[:]...)
		content[3] ^= 1
		require.ErrorIs(t, d.LockData(ctx, content), pkcs11.CKR_DATA_INVALID)
		content[3] ^= 1
		require.NoError(t, d.LockData(ctx, content))
		sig, err := d.Sign(ctx, 0, digest[:])
		require.NoError(t, err)
		require.True(t, ecdsa.Verify(pub, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])))
		require.NoError(t, d.LockSlot(ctx, 0))
		require.ErrorIs(t, d.LockSlot(ctx, 0), pkcs11.CKR_ACTION_PROHIBITED)
		_, err = d.GenerateKey(ctx, 0)
		require.ErrorIs(t, err, pkcs11.CKR_ACTION_PROHIBITED)
		require.ErrorContains(t, err, "slot 0")
		_, err = d.Sign(ctx, 1, digest[:])
		require.ErrorIs(t, err, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED)
		require.ErrorContains(t, err, "bit 0 of SlotConfig")
		_, err = d.Sign(ctx, 0, digest[:31])
		require.ErrorIs(t, err, pkcs11.CKR_DATA_LEN_RANGE)
		require.NoError(t, d.UpdateExtra(ctx, 0, 0x42))
		require.ErrorIs(t, d.UpdateExtra(ctx, 0, 0x43), pkcs11.CKR_TOKEN_WRITE_PROTECTED)
		require.EqualValues(t, 0x42, chip.State().Config[84])
	})
}

// TestLimitedUse spends the uses of a key.
func TestLimitedUse(t *testing.T) {
	onChip(t, "three", everything, func(t *testing.T, d *atecc.Device, chip *ateccsim.Chip) {
		ctx := t.Context()
		limit := make([]byte, 32)
		v, err := d.Counter(ctx, 0)
		require.NoError(t, err)
		binary.LittleEndian.PutUint32(limit, v+3)
		binary.LittleEndian.PutUint32(limit[4:], v+3)
		require.NoError(t, d.WriteSlot(ctx, 10, 0, limit))
		digest := sha256.Sum256(nil)
		for range 3 {
			_, err := d.Sign(ctx, 0, digest[:])
			require.NoError(t, err)
		}
		_, err = d.Sign(ctx, 0, digest[:])
		require.ErrorIs(t, err, pkcs11.CKR_KEY_EXHAUSTED)
	})
}
