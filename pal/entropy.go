package pal

import "crypto/rand"

// An EntropySource is where a token's random number generator gets what it
// starts from: the operating system, a noise source on the board, the generator
// of another chip. It is used by one goroutine at a time.
//
// This is the TRNG of a board, in place of mbedtls_hardware_poll. A source that
// delivers fewer bytes than asked at once waits for the others; there is no
// partial success.
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

// A Seed is the stored secret from which a generator starts on a board without a
// noise source, as MBEDTLS_ENTROPY_NV_SEED. It is put on each device when the
// device is made, from a good generator, and differs between any two: equal seeds
// mean equal keys.
//
// Whoever uses a seed reads it, derives from it both the state of a generator and
// the next seed, and starts only after WriteSeed has returned nil: nothing is
// ever generated from a seed that is still stored. If either call fails, there
// are no random numbers.
type Seed interface {
	// ReadSeed fills b from the beginning of the seed. A seed that is shorter is
	// an error, and so is a missing one (fs.ErrNotExist).
	ReadSeed(b []byte) error
	// WriteSeed replaces the seed, durably: after a power cut there is the old
	// one or the new one. b is not kept.
	WriteSeed(b []byte) error
}

// SystemEntropy is the operating system's source, getrandom(2) on Linux. It waits,
// early after a boot, until the system has gathered enough.
var SystemEntropy EntropySource = systemEntropy{}

type systemEntropy struct{}

// ReadEntropy fills b from crypto/rand, which ends the program rather than
// return bytes that are not random.
func (systemEntropy) ReadEntropy(b []byte) error {
	_, err := rand.Read(b)
	return err
}

func (systemEntropy) Health() error { return nil }
