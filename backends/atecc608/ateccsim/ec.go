package ateccsim

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"io"
	"math/big"
)

var errNoKey = errors.New("ateccsim: no key")

// privateKey is the key of a slot: 4 zero bytes and the scalar.
func (c *Chip) privateKey(n int) (*ecdh.PrivateKey, error) {
	return ecdh.P256().NewPrivateKey(c.ee.Slot(n)[4:36])
}

// publicKey is X and Y of a slot: 4 bytes, X, 4 bytes, Y, where the high nibble
// of the first is the validity.
func (c *Chip) publicKey(n int) ([]byte, error) {
	s := c.ee.Slot(n)
	if len(s) < 72 {
		return nil, errNoKey
	}
	xy := append(append(make([]byte, 0, 64), s[4:36]...), s[40:72]...)
	_, err := parsePoint(xy)
	return xy, err
}

func parsePoint(xy []byte) (*ecdh.PublicKey, error) {
	return ecdh.P256().NewPublicKey(append([]byte{4}, xy...))
}

// xy is a public key without the byte of its format.
func xy(k *ecdh.PublicKey) []byte { return k.Bytes()[1:] }

// newScalar is a private key from the chip's random numbers.
func (c *Chip) newScalar() (*ecdh.PrivateKey, Status) {
	if c.opts.Faults.fires(HealthTest, c.op) {
		return nil, StatusHealth
	}
	c.vol.seeded = true
	b := make([]byte, 32)
	for range 16 { // one in 2^32 is too large
		if _, err := io.ReadFull(c.opts.Random, b); err != nil {
			return nil, StatusHealth
		}
		if k, err := ecdh.P256().NewPrivateKey(b); err == nil {
			clear(b)
			return k, StatusOK
		}
	}
	return nil, StatusHealth
}

// verify checks an ECDSA signature R ‖ S by a public key X ‖ Y. A key that is
// not on the curve is an error, a wrong signature is not.
func verify(key, msg, sig []byte) (bool, error) {
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, key...))
	if err != nil {
		return false, err
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	return ecdsa.Verify(pub, msg, r, s), nil
}

// noKey is the status of a key slot without a key.
func (c *Chip) noKey() Status {
	if c.opts.Open.BlankKeyExec {
		return StatusExec
	}
	return StatusECC
}
