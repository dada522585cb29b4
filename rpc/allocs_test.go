//go:build !race

package rpc

// The race detector allocates, too.

import (
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// What the server allocates for a call: nothing by itself, and for a signature the
// mechanism, besides what the token does for it.
func TestAllocations(t *testing.T) {
	path, _, s := listening(t, Options{})
	p, init, sign := signing(t, path)
	info := request(callGetSessionInfo, func(w *writer) { w.uint64(1) })
	require.Zero(t, testing.AllocsPerRun(500, func() { p.call(t, info) }))

	session, key := direct(t, s.module)
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	digest, sig := make([]byte, 32), make([]byte, 64)
	bare := testing.AllocsPerRun(500, func() {
		err := session.SignInit(t.Context(), m, key)
		if err == nil {
			_, err = session.Sign(t.Context(), digest, sig)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	more := 1
	if bits.UintSize == 32 {
		more = 3
	}
	require.LessOrEqual(t, testing.AllocsPerRun(500, func() { p.call(t, init); p.call(t, sign) }), bare+float64(more))
}

// direct returns a session of the module itself, and a key.
func direct(t *testing.T, m cryptoki.Module) (cryptoki.Session, pkcs11.ObjectHandle) {
	t.Helper()
	s, err := m.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	require.NoError(t, err)
	_, key, err := s.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_PRIVATE, false), pkcs11.Attr(pkcs11.CKA_SIGN, true)})
	require.NoError(t, err)
	return s, key
}
