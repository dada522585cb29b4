package tpm_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// The test binary is another process, when it is told so.
func TestMain(m *testing.M) {
	if socket := os.Getenv("TPM_TEST_SOCKET"); socket != "" {
		dial := tpm.Swtpm("unix", socket)
		if os.Getenv("TPM_TEST_HOLDS") != "" {
			dial = held(dial)
		}
		if err := child(dial, os.Getenv("TPM_TEST_DIR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child signs with all keys of a token, in turn, until somebody ends it.
func child(dial tpm.Dialer, dir string) error {
	store, err := fileflash.Open(dir, nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	token, err := tpm.New(ctx, nil, store, tpm.Cheap(tpm.Options{Dial: dial}))
	if err != nil {
		return err
	}
	if err := token.Login(ctx, pkcs11.CKU_USER, userPIN); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for n := 0; ; n++ {
		objects, err := token.Objects(ctx)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if key, ok := o.(driver.Signer); ok {
				if err := trySign(ctx, key); err != nil {
					return err
				}
			}
		}
		if n == 0 {
			fmt.Println("signed")
			if !in.Scan() || in.Text() != "again" {
				return token.Close()
			}
		}
		if n == 20 {
			return token.Close()
		}
	}
}

type process struct {
	*exec.Cmd
	out *bufio.Scanner
	in  *os.File
}

func start(t testing.TB, socket, dir string, more ...string) process {
	t.Helper()
	cmd := proc.Command(t, os.Args[0])
	cmd.Env = append(append(os.Environ(), "TPM_TEST_SOCKET="+socket, "TPM_TEST_DIR="+dir), more...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdin = r
	require.NoError(t, cmd.Start())
	r.Close()
	t.Cleanup(func() {
		w.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return process{cmd, bufio.NewScanner(out), w}
}

func (p process) signed(t testing.TB) {
	t.Helper()
	require.True(t, p.out.Scan(), "the process ends before it has signed")
	require.Equal(t, "signed", p.out.Text())
}

// onDisk makes a token with a few keys in a directory.
func onDisk(t testing.TB, sim transport.TPM) (dir string) {
	t.Helper()
	dir = t.TempDir()
	store, err := fileflash.Open(dir, nil)
	require.NoError(t, err)
	defer store.Close()
	token := initialized(t, sim, store, tpm.Options{})
	for i := range 3 {
		newEC(t, token, fmt.Sprint("key ", i))
	}
	require.NoError(t, token.Close())
	return dir
}

// A process is killed while its keys and its session are in a TPM that nobody
// manages. The next one works at once, and leaves nothing of either behind, while
// what is others' stays.
func TestKilledProcess(t *testing.T) {
	sim := patient(t)
	dir := onDisk(t, sim)
	foreign := somebodyElse(t, sim)
	for range 4 { // more often than there are sessions
		sim.Disconnect()
		p := start(t, sim.Socket(), dir, "TPM_TEST_HOLDS=1") // or it would have given the TPM to others
		p.signed(t)
		require.NoError(t, p.Process.Kill())
		p.Wait()
		left, err := tpmtest.Loaded(sim)
		require.NoError(t, err)
		require.Greater(t, len(left), len(foreign), "the killed process had something in the TPM")
	}
	sim.Disconnect()
	p := start(t, sim.Socket(), dir)
	p.signed(t)
	p.in.Close()
	require.NoError(t, p.Wait())
	left, err := tpmtest.Loaded(sim)
	require.NoError(t, err)
	require.ElementsMatch(t, foreign, left)
}

// Three processes, one of them with eight goroutines, use one token at once.
func TestTogether(t *testing.T) {
	together := func(t *testing.T, socket, dir string, channels int) {
		store, err := fileflash.Open(dir, nil)
		require.NoError(t, err)
		defer store.Close()
		token, err := tpm.New(t.Context(), nil, store, tpm.Cheap(tpm.Options{Dial: tpm.Swtpm("unix", socket), Channels: channels}))
		require.NoError(t, err)
		require.NoError(t, token.Login(t.Context(), pkcs11.CKU_USER, userPIN))
		others := []process{start(t, socket, dir), start(t, socket, dir)}
		for _, p := range others {
			p.signed(t)
			fmt.Fprintln(p.in, "again")
		}
		var together sync.WaitGroup
		for i := range 8 {
			together.Go(func() {
				for range 10 {
					if err := trySign(t.Context(), find(t, token, fmt.Sprint("key ", i%3))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		together.Wait()
		for _, p := range others {
			if err := p.Wait(); err != nil {
				t.Error("another process:", err)
			}
		}
		require.NoError(t, token.Close())
	}
	t.Run("on a bare TPM", func(t *testing.T) {
		sim := patient(t)
		dir := onDisk(t, sim)
		sim.Disconnect()
		together(t, sim.Socket(), dir, 1)
		left, err := tpmtest.Loaded(sim)
		require.NoError(t, err)
		require.Empty(t, left)
	})
	t.Run("through a resource manager", func(t *testing.T) {
		sim := patient(t)
		dir := onDisk(t, sim)
		rm := tpmtest.NewManager(sim)
		together(t, tpmtest.NewHub(t, sim, func() transport.TPM { return rm.Open() }).Socket(), dir, 3)
	})
}

// Ten thousand operations of all kinds leave nothing behind.
func TestNothingStays(t *testing.T) {
	t.Parallel()
	sim := patient(t)
	var said logbook
	token := initialized(t, sim, new(pal.Mem), tpm.Options{Log: said.log})
	ctx := t.Context()
	n := 10_000
	if testing.Short() || raceEnabled {
		n = 500
	}
	keys := []driver.Signer{newEC(t, token, "a"), newEC(t, token, "b"), newEC(t, token, "c"), newEC(t, token, "d")}
	mac, err := token.CreateObject(ctx, secretTemplate(false, 0).Set(pkcs11.Attr(pkcs11.CKA_VALUE, randomBytes(32))), nil)
	require.NoError(t, err)
	for i := range n {
		switch {
		case i%500 == 499:
			require.NoError(t, token.Login(ctx, pkcs11.CKU_CONTEXT_SPECIFIC, userPIN))
		case i%250 == 249:
			require.NoError(t, token.Destroy(ctx, newEC(t, token, "e")))
		case i%100 == 99:
			sum := sha256.Sum256([]byte{byte(i)})
			_, err := mac.(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_SHA256_HMAC}, sum[:])
			require.NoError(t, err)
		case i%5 == 0:
			_, err := keys[i/20%len(keys)].Sign(ctx, ecdsaMech, digest[:])
			require.NoError(t, err)
		default:
			require.NoError(t, token.ReadRandom(ctx, make([]byte, 16)))
		}
	}
	require.Empty(t, said.lines)
	left, err := tpmtest.Loaded(sim)
	require.NoError(t, err)
	require.LessOrEqual(t, len(left), 3, "while the token is open: two keys and a session")
	require.NoError(t, token.Close())
	left, err = tpmtest.Loaded(sim)
	require.NoError(t, err)
	require.Empty(t, left)
}

// Who gives up waiting gets an answer, and the TPM goes on for the others.
func TestGivingUp(t *testing.T) {
	sim := patient(t)
	way := tpmtest.NewFaults(sim)
	token := initialized(t, way, new(pal.Mem), tpm.Options{})
	key := newEC(t, token, "key")
	sign(t, key)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	way.Reset()
	way.At(0, tpmtest.Wait(arrived, release))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- trySign(ctx, key) }()
	<-arrived
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	waiting, stop := context.WithCancel(t.Context())
	go func() { done <- trySign(waiting, key) }()
	stop()
	require.ErrorIs(t, <-done, context.Canceled)
	close(release)
	sign(t, key)
	require.False(t, errors.Is(t.Context().Err(), context.Canceled))
}

// somebodyElse has a key and a session in the TPM.
func somebodyElse(t testing.TB, sim transport.TPM) []tpm2.TPMHandle {
	t.Helper()
	_, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(sim)
	require.NoError(t, err)
	_, _, err = tpm2.HMACSession(sim, tpm2.TPMAlgSHA256, 16)
	require.NoError(t, err)
	handles, err := tpmtest.Loaded(sim)
	require.NoError(t, err)
	require.Len(t, handles, 2)
	return handles
}
