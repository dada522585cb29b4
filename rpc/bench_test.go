package rpc_test

import (
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/go-cryptoki/cryptoki/rpc"
	"github.com/stretchr/testify/require"
)

// prepared returns a client, and a session of it with a P-256 key.
func prepared(b testing.TB) (*rpc.Client, cryptoki.Session, pkcs11.ObjectHandle) {
	b.Helper()
	ctx := b.Context()
	m := softModule(b, &pal.Mem{})
	token, err := cryptoki.NewToken(ctx, m, 1, &cryptoki.Options{PIN: pinOf("12345678")})
	require.NoError(b, err)
	require.NoError(b, token.Initialize(ctx, cryptoki.Setup{Label: "gateway", SOPIN: []byte("87654321"), UserPIN: []byte("12345678")}))
	_, err = token.GenerateKey(ctx, cryptoki.KeySpec{Label: "k", Algorithm: cryptoki.P256})
	require.NoError(b, err)
	require.NoError(b, token.Close())
	path, _ := serve(b, m, nil)
	c, err := rpc.Dial(ctx, path, nil)
	require.NoError(b, err)
	b.Cleanup(func() { c.Close() })
	s, err := c.OpenSession(ctx, 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	require.NoError(b, err)
	require.NoError(b, s.Login(ctx, pkcs11.CKU_USER, []byte("12345678")))
	return c, s, find(b, s, pkcs11.CKO_PRIVATE_KEY)
}

func find(b testing.TB, s cryptoki.Session, class pkcs11.ObjectClass) pkcs11.ObjectHandle {
	b.Helper()
	ctx := b.Context()
	require.NoError(b, s.FindObjectsInit(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, class), pkcs11.Attr(pkcs11.CKA_LABEL, "k")}))
	found := make([]pkcs11.ObjectHandle, 1)
	n, err := s.FindObjects(ctx, found)
	require.NoError(b, err)
	require.Equal(b, 1, n)
	require.NoError(b, s.FindObjectsFinal(ctx))
	return found[0]
}

// One call over the socket, client and server in one process.
func BenchmarkCall(b *testing.B) {
	_, s, _ := prepared(b)
	for b.Loop() {
		if _, err := s.Info(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	_, s, key := prepared(b)
	m := &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}
	digest, sig := make([]byte, 32), make([]byte, 64)
	for b.Loop() {
		if err := s.SignInit(b.Context(), m, key); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Sign(b.Context(), digest, sig); err != nil {
			b.Fatal(err)
		}
	}
}
