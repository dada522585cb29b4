package daemon

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// Eight clients of one process that do nothing but ask a chip for random bytes do
// not make the slowest signatures of another process take twice as long. Time is
// virtual and the chip's commands take as long as the real one's, so that the
// figures are exact.
func TestFloodOfAChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		state, err := ateccsim.Generic(ateccsim.DefaultSerial, rand.NewChaCha8([32]byte{1}))
		require.NoError(t, err)
		chip, err := ateccsim.New(state, &ateccsim.Options{Timing: ateccsim.Realistic})
		require.NoError(t, err)
		token, err := atecc608.New(ctx, chip, &atecc608.Options{Store: &pal.Mem{}, Chip: atecc.Opts{}, Free: []int{2}})
		require.NoError(t, err)
		m, err := cryptoki.NewModule(nil, token)
		require.NoError(t, err)
		defer m.Close()
		session := func(party int) cryptoki.Session {
			app, err := cryptoki.NewApplication(m, &cryptoki.ApplicationOptions{Party: party})
			require.NoError(t, err)
			s, err := app.OpenSession(ctx, 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
			require.NoError(t, err)
			return s
		}
		victim := session(1)
		_, key, err := victim.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
			pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07})},
			pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_SIGN, true)})
		require.NoError(t, err)

		p99 := func() time.Duration {
			took := make([]time.Duration, 30)
			for i := range took {
				begin := time.Now()
				require.NoError(t, victim.SignInit(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, key))
				_, err := victim.Sign(ctx, make([]byte, 32), make([]byte, 64))
				require.NoError(t, err)
				took[i] = time.Since(begin)
			}
			return slices.Max(took)
		}
		alone := p99()
		stop, end := context.WithCancel(ctx)
		done := make(chan int)
		for range 8 {
			s := session(2)
			go func() {
				n := 0
				for b := make([]byte, 4096); s.GenerateRandom(stop, b) == nil; n++ {
				}
				done <- n
			}()
		}
		synctest.Wait()
		require.NotZero(t, cryptoki.Waiting(m), "they flood it")
		flooded := p99()
		end()
		for range 8 {
			<-done
		}
		t.Logf("the slowest of 30 signatures: %v alone, %v in the flood", alone, flooded)
		require.Less(t, flooded, 2*alone)
	})
}
