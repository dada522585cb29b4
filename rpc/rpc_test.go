package rpc_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
	"github.com/go-cryptoki/cryptoki/rpc"
	"github.com/stretchr/testify/require"
)

var cheap = soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}

// serve serves a module on a socket until the end of the test, and returns the
// socket's path.
func serve(t testing.TB, m cryptoki.Module, opts *rpc.Options) (path string, s *rpc.Server) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	s = rpc.NewServer(m, opts)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		require.ErrorIs(t, <-done, rpc.ErrServerClosed)
	})
	return path, s
}

func softModule(t testing.TB, store pal.Store) cryptoki.Module {
	t.Helper()
	token, err := soft.New(store, &soft.Options{KDF: cheap})
	require.NoError(t, err)
	m, err := cryptoki.NewModule(nil, token)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// The whole suite passes through client and server, as it does without them.
func TestConformance(t *testing.T) {
	path, _ := serve(t, softModule(t, &pal.Mem{}), nil)
	conformance.Run(t, conformance.Target{
		OpenModule:  func(ctx context.Context) (cryptoki.Module, error) { return rpc.Dial(ctx, path, nil) },
		Destructive: true,
	})
}

func pinOf(pin string) cryptoki.PINFunc {
	return func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) { return []byte(pin), nil }
}
