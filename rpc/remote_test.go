package rpc_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/rpc"
	"github.com/stretchr/testify/require"
)

// need skips a test whose program is not there, or fails it where all must be.
func need(t testing.TB, path, install string) {
	t.Helper()
	_, err := os.Stat(path)
	if err != nil {
		_, err = exec.LookPath(path)
	}
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: apt-get install %s", path, install)
	}
	t.Skipf("%s is missing: apt-get install %s", path, install)
}

const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// softHSMConf makes a SoftHSM2 of its own for a test.
func softHSMConf(t testing.TB) {
	t.Helper()
	need(t, softHSM, "softhsm2")
	need(t, "p11-kit", "p11-kit p11-kit-modules")
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	require.NoError(t, os.Mkdir(tokens, 0o700))
	conf := filepath.Join(dir, "softhsm2.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens), 0o600))
	t.Setenv("SOFTHSM2_CONF", conf)
}

func TestRemote(t *testing.T) {
	softHSMConf(t)
	ctx := t.Context()
	m, err := rpc.Remote(ctx, softHSM, nil)
	require.NoError(t, err)
	defer m.Close()
	info, err := m.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, "SoftHSM", info.ManufacturerID)

	token, err := cryptoki.Open(ctx, "p11-kit-remote:module="+softHSM, &cryptoki.Options{PIN: pinOf("12345678")})
	require.NoError(t, err)
	defer token.Close()
	require.NoError(t, token.Initialize(ctx, cryptoki.Setup{Label: "hsm", SOPIN: []byte("87654321"), UserPIN: []byte("12345678")}))
}

var _ = context.Background
