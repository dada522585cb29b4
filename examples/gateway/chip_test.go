package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
)

// simulateChip serves a chip that was blank and is provisioned, on a socket, and
// returns the name of its token, and the number of signatures that it makes.
func simulateChip(t *testing.T) (name string, signatures *atomic.Int64) {
	t.Helper()
	signatures = new(atomic.Int64)
	chip, err := ateccsim.New(ateccsim.Blank(ateccsim.DefaultSerial), &ateccsim.Options{Trace: func(e ateccsim.Event) {
		const command, sign = 0x03, 0x41
		if len(e.Write) > 2 && e.Write[0] == command && e.Write[2] == sign {
			signatures.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "chip")
	store, err := fileflash.Open(dir, &fileflash.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := config.Named("generic")
	if err != nil {
		t.Fatal(err)
	}
	p, err := atecc608.Provision(t.Context(), chip, &atecc608.ProvisionOptions{Plan: plan, Store: store, Label: "gateway"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context(), true, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	socket := filepath.Join(t.TempDir(), "chip.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ateccsim.Serve(ctx, l, chip) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "atecc608:bus=unix:" + socket + ";dir=" + dir, signatures
}

// The whole example on a chip: its key is made there, and each handshake costs one
// signature of it.
func TestChip(t *testing.T) {
	name, signatures := simulateChip(t)
	data := filepath.Join(t.TempDir(), "data")
	m := startMosquitto(t, openFactory(t, data))
	out := gatewayRun(t, "--data", data, "--backend", name, "--broker", m.addr)
	wantSteps(t, out, "token", "key pair", "root CA", "CSR", "certificate", "connect", "message", "done")
	if !strings.Contains(out, "ATECC608B") {
		t.Errorf("the token is no chip:\n%s", out)
	}
	m.wantConnected(t, "example-gateway")
	for _, version := range []string{"1.2", "1.3"} {
		before := signatures.Load()
		out = gatewayRun(t, "--data", data, "--backend", name, "--broker", m.addr, "--tls", version)
		wantSteps(t, out, "token", "identity", "connect", "message", "done")
		m.wantConnected(t, "example-gateway")
		if n := signatures.Load() - before; n != 1 {
			t.Errorf("TLS %s took %d signatures of the chip, not 1", version, n)
		}
	}
}
