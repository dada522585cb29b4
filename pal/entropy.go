package pal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// An EntropySource is where a token's random number generator gets what it
// starts from: the operating system, a noise source on the board, the generator
// of another chip. It is used by one goroutine at a time.
//
// This is the TRNG of a board, in place of mbedtls_hardware_poll. A source that
// delivers fewer bytes than asked at once waits for the others; there is no
// partial success.
//
// Whoever draws from a source tests what comes, as NIST SP 800-90B says, with
// the repetition count test and the adaptive proportion test over bytes. The
// first 1024 bytes after the start of the program are used for that alone.
type EntropySource interface {
	// ReadEntropy fills b with bytes nobody can predict, and waits until it can.
	// After an error b has no meaning. It never falls back to something weaker,
	// such as the time, and never returns bytes twice.
	ReadEntropy(b []byte) error

	// Health returns nil as long as the source is believed to be good, else what
	// is wrong with it. A source that has failed once stays failed until the
	// program ends. The call is cheap.
	Health() error
}

// A RatedSource is an EntropySource that knows how good it is. Of a source that
// does not say, DefaultMinEntropy is believed.
type RatedSource interface {
	EntropySource
	// MinEntropy returns the least number of bits of min-entropy in each byte,
	// more than 0 and at most 8: the H of NIST SP 800-90B. How many bytes are
	// drawn, and what the health tests let pass, follow from it.
	MinEntropy() float64
}

// DefaultMinEntropy is what is believed of a source of which nothing is known:
// one bit in each byte.
const DefaultMinEntropy = 1.0

// SystemEntropy is the operating system's source, getrandom(2) on Linux. It waits,
// early after a boot, until the system has gathered enough. It is a RatedSource,
// of 8 bits. Where the machine is virtual and its monitor offers a generation ID,
// Linux (since 5.18) starts the source anew when the machine is cloned or put
// back to a snapshot.
var SystemEntropy EntropySource = systemEntropy{}

type systemEntropy struct{}

// ReadEntropy fills b from crypto/rand, which ends the program rather than
// return bytes that are not random.
func (systemEntropy) ReadEntropy(b []byte) error {
	_, err := rand.Read(b)
	return err
}

func (systemEntropy) Health() error       { return nil }
func (systemEntropy) MinEntropy() float64 { return 8 }

// HardwareEntropyPath is Linux's device for the noise source of the machine.
const HardwareEntropyPath = "/dev/hwrng"

// A DeviceEntropy is an EntropySource that reads a character device.
type DeviceEntropy struct {
	path string
	f    *os.File
}

// OpenEntropy opens a device as a source, such as HardwareEntropyPath. It refuses
// what is neither a character device nor a pipe: a file would return its bytes
// twice. DefaultMinEntropy is believed of it. The caller closes it.
func OpenEntropy(path string) (*DeviceEntropy, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode()&(fs.ModeCharDevice|fs.ModeNamedPipe) == 0 {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("it is no device")}
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("pal: entropy: %w; is the driver of the noise source loaded?", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("pal: entropy: %w; let the user of this program read it, by a udev rule", err)
	case err != nil:
		return nil, fmt.Errorf("pal: entropy: %w", err)
	}
	return &DeviceEntropy{path: path, f: f}, nil
}

// ReadEntropy reads from the device until b is full.
func (d *DeviceEntropy) ReadEntropy(b []byte) error {
	if _, err := io.ReadFull(d.f, b); err != nil {
		return fmt.Errorf("pal: entropy: %s: %w", d.path, err)
	}
	return nil
}

// Health returns nil: a device reports by its errors.
func (d *DeviceEntropy) Health() error { return nil }

// Close closes the device.
func (d *DeviceEntropy) Close() error { return d.f.Close() }

// String is the path of the device.
func (d *DeviceEntropy) String() string { return d.path }

// TokenEntropy is the random number generator of a token, such as a TPM or a
// secure element, as a source: any driver.RandomReader. It is a RatedSource, of 8
// bits. The token is not closed. One that is in use elsewhere must be safe for
// concurrent use.
func TokenEntropy(token interface {
	ReadRandom(ctx context.Context, b []byte) error
}) EntropySource {
	return tokenEntropy{token}
}

type tokenEntropy struct {
	token interface {
		ReadRandom(ctx context.Context, b []byte) error
	}
}

func (t tokenEntropy) ReadEntropy(b []byte) error {
	if err := t.token.ReadRandom(context.Background(), b); err != nil {
		return fmt.Errorf("pal: entropy of %T: %w", t.token, err)
	}
	return nil
}

func (tokenEntropy) Health() error       { return nil }
func (tokenEntropy) MinEntropy() float64 { return 8 }

var (
	_ RatedSource   = systemEntropy{}
	_ RatedSource   = tokenEntropy{}
	_ EntropySource = (*DeviceEntropy)(nil)
)
