package atecc_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2creg"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// closingBus is a chip on a bus of its own, which counts its Close.
type closingBus struct {
	*ateccsim.Chip
	closed *int
}

func (b closingBus) Close() error { *b.closed++; return nil }

func TestOpen(t *testing.T) {
	_, err := atecc.Open(t.Context(), "65535", nil)
	require.ErrorIs(t, err, pkcs11.CKR_TOKEN_NOT_PRESENT)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "/dev/i2c-65535")
	for _, name := range []string{"", "no-such-bus", "-1", "/dev/i2c-x"} {
		_, err := atecc.Open(t.Context(), name, nil)
		require.ErrorIs(t, err, pkcs11.CKR_ARGUMENTS_BAD, name)
	}

	chip, err := ateccsim.New(generic(t), nil)
	require.NoError(t, err)
	closed := 0
	require.NoError(t, i2creg.Register("atecc-test", nil, -1, func() (i2c.BusCloser, error) { return closingBus{chip, &closed}, nil }))
	t.Cleanup(func() { require.NoError(t, i2creg.Unregister("atecc-test")) })
	d, err := atecc.Open(t.Context(), "atecc-test", nil)
	require.NoError(t, err)
	_, err = d.Revision(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.NoError(t, d.Close())
	require.Equal(t, 1, closed)
	_, err = d.Revision(t.Context())
	require.ErrorIs(t, err, atecc.ErrClosed)

	_, err = atecc.Open(t.Context(), "atecc-test", &atecc.Opts{Address: 0x35})
	require.ErrorIs(t, err, atecc.ErrAddress)
	require.ErrorIs(t, err, pkcs11.CKR_TOKEN_NOT_PRESENT)
	require.Equal(t, 2, closed)
}
