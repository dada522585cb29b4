package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
)

// The whole example on a TPM: its key is made there and stays there.
func TestTPM(t *testing.T) {
	for _, key := range []string{"p256", "rsa2048"} {
		t.Run(key, func(t *testing.T) {
			sim := tpmtest.Start(t)
			sim.Disconnect()
			data := filepath.Join(t.TempDir(), "data")
			name := "tpm:swtpm=unix:" + sim.Socket() + ";create=true;dir=" + filepath.Join(t.TempDir(), "tpm")
			m := startMosquitto(t, openFactory(t, data))
			args := []string{"--data", data, "--backend", name, "--broker", m.addr}
			out := gatewayRun(t, append(args, "--key", key)...)
			wantSteps(t, out, "token", "key pair", "root CA", "CSR", "certificate", "connect", "message", "done")
			if !strings.Contains(out, "TPM 2.0") {
				t.Errorf("the token is no TPM:\n%s", out)
			}
			m.wantConnected(t, "example-gateway")
			for _, version := range []string{"1.2", "1.3"} {
				out = gatewayRun(t, append(args, "--tls", version)...)
				wantSteps(t, out, "token", "identity", "connect", "message", "done")
				if !strings.Contains(out, "TLS "+version) {
					t.Errorf("not over TLS %s:\n%s", version, out)
				}
				m.wantConnected(t, "example-gateway")
			}
			// A TPM that was cleared has none of the keys, and that is said.
			sim.Kill()
			sim.Wipe()
			sim.Restart()
			sim.Disconnect()
			if line := gatewayFails(t, args...); !strings.Contains(line, "cleared or replaced") {
				t.Errorf("on a TPM that was cleared: %s", line)
			}
		})
	}
}
