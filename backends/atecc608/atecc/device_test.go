package atecc_test

import (
	"crypto/sha256"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
)

func open(t *testing.T, s *ateccsim.State, opts *ateccsim.Options, o *atecc.Opts) (*atecc.Device, *ateccsim.Chip) {
	t.Helper()
	chip, err := ateccsim.New(s, opts)
	require.NoError(t, err)
	d, err := atecc.New(t.Context(), chip, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d, chip
}

func generic(t *testing.T) *ateccsim.State {
	t.Helper()
	s, err := ateccsim.Generic(ateccsim.DefaultSerial, nil)
	require.NoError(t, err)
	return s
}

func TestSignAndGenerate(t *testing.T) {
	for name, timing := range map[string]ateccsim.Timing{"instant": ateccsim.Instant, "realistic": ateccsim.Realistic} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := open(t, generic(t), &ateccsim.Options{Timing: timing}, nil)
				require.EqualValues(t, 0x60, d.Address())
				pub, err := d.GenerateKey(t.Context(), 0)
				require.NoError(t, err)
				again, err := d.PublicKey(t.Context(), 0)
				require.NoError(t, err)
				require.True(t, pub.Equal(again))
				digest := sha256.Sum256([]byte("hello"))
				_, err = d.Sign(t.Context(), 0, digest[:])
				require.NoError(t, err)
				rev, err := d.Revision(t.Context())
				require.NoError(t, err)
				require.Equal(t, [4]byte{0, 0, 0x60, 3}, rev)
				r := make([]byte, 40)
				require.NoError(t, d.Random(t.Context(), r))
				require.NotEqual(t, make([]byte, 8), r[32:])
			})
		})
	}
}
