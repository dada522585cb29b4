package tpm

import (
	"context"
	"crypto/rand"
	"crypto/subtle"

	"github.com/google/go-tpm/tpm2"
)

// ReadRandom fills b with random bytes of the TPM, mixed with the system's: it is
// as good as the better of the two, and nothing for an observer of the bus.
func (t *Token) ReadRandom(ctx context.Context, b []byte) error {
	out := make([]byte, 0, len(b))
	err := t.use(ctx, nil, func(c *channel, _ entity) error {
		out = out[:0]
		for len(out) < cap(out) {
			r, err := c.run(tpm2.TPMCCGetRandom, nil, put16(nil, uint16(min(cap(out)-len(out), 64))))
			if err != nil {
				return err
			}
			p := r.reader()
			got := p.sized()
			if !p.done() || len(got) == 0 || len(got) > cap(out)-len(out) {
				return &commandError{tpm2.TPMCCGetRandom, errGarbled}
			}
			out = append(out, got...)
		}
		return nil
	})
	if err != nil {
		return failed("random numbers", err)
	}
	rand.Read(b)
	subtle.XORBytes(b, b, out)
	clear(out)
	return nil
}
