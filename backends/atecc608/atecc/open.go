package atecc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2creg"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Open opens a bus by name and is New on it; Close closes the bus, too. The name
// is the number of a bus of Linux ("1", "/dev/i2c-1"), or the name under which the
// program has registered one with periph's i2creg.
//
// A bus that is not there is CKR_TOKEN_NOT_PRESENT and fs.ErrNotExist; one that the
// user may not open is CKR_DEVICE_ERROR and fs.ErrPermission.
func Open(ctx context.Context, name string, opts *Opts) (*Device, error) {
	bus, err := openBus(name)
	if err != nil {
		return nil, err
	}
	d, err := New(ctx, bus, opts)
	if err != nil {
		return nil, errors.Join(err, bus.Close())
	}
	d.closer = bus
	return d, nil
}

func openBus(name string) (i2c.BusCloser, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(name, "/dev/i2c-"), 10, 16)
	if err == nil {
		return openNumber(int(n))
	}
	// An empty name would be any bus.
	if bus, err := i2creg.Open(name); err == nil && name != "" {
		return bus, nil
	}
	return nil, fmt.Errorf("atecc: bus %q: %w: name a bus by its number, such as 1 for /dev/i2c-1", name, pkcs11.CKR_ARGUMENTS_BAD)
}
