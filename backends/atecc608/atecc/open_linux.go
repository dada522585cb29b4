package atecc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/host/v3/sysfs"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// openNumber opens /dev/i2c-N.
func openNumber(n int) (i2c.BusCloser, error) {
	name := fmt.Sprintf("/dev/i2c-%d", n)
	// periph's error does not tell apart what is wrong.
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("atecc: there is no bus %s: is the controller enabled, and the module i2c-dev loaded? %w: %w", name, pkcs11.CKR_TOKEN_NOT_PRESENT, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("atecc: bus %s: become a member of its group, which most distributions call i2c: %w: %w", name, pkcs11.CKR_DEVICE_ERROR, err)
	case err != nil:
		return nil, fmt.Errorf("atecc: bus %s: %w: %w", name, pkcs11.CKR_DEVICE_ERROR, err)
	}
	f.Close()
	bus, err := sysfs.NewI2C(n)
	if err != nil {
		return nil, fmt.Errorf("atecc: bus %s: %w: %w", name, pkcs11.CKR_DEVICE_ERROR, err)
	}
	return bus, nil
}
