//go:build linux

package tpm

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func message(n int) []byte {
	b := make([]byte, n)
	binary.BigEndian.PutUint16(b, tagNoSessions)
	binary.BigEndian.PutUint32(b[2:], uint32(n))
	return b
}

// pair is a device, and what the kernel has of it: each command and response is
// one packet. The kernel's end is a File, so that who still reads from it when it
// is closed does not read from the next test's.
func pair(t *testing.T) (d *device, kernel *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	d, kernel = newDevice("/dev/tpmrm0", fds[0]), os.NewFile(uintptr(fds[1]), "kernel")
	t.Cleanup(func() {
		d.Close()
		kernel.Close()
	})
	return d, kernel
}

// Signals, of which Go sends many to itself, do not disturb.
func TestDeviceAndSignals(t *testing.T) {
	d, kernel := pair(t)
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				syscall.Kill(syscall.Getpid(), syscall.SIGURG)
				time.Sleep(100 * time.Microsecond)
			}
		}
	}()
	go func() {
		b := make([]byte, maxMessage)
		for i := 0; ; i++ {
			if _, err := kernel.Read(b); err != nil {
				return
			}
			time.Sleep(2 * time.Millisecond) // a TPM takes its time, and signals come
			kernel.Write(message(10 + i%100))
		}
	}()
	for i := range 50 {
		b, err := d.Send(message(20))
		require.NoError(t, err)
		require.Len(t, b, 10+i%100)
	}
	close(stop)
	<-stopped
}

// What is no response is an error, and the next one is right.
func TestDeviceWithoutSense(t *testing.T) {
	d, kernel := pair(t)
	answer := func(b []byte) error {
		done := make(chan error, 1)
		go func() { _, err := d.Send(message(12)); done <- err }()
		command := make([]byte, maxMessage)
		_, err := kernel.Read(command)
		require.NoError(t, err)
		_, err = kernel.Write(b)
		require.NoError(t, err)
		return <-done
	}
	for _, b := range [][]byte{{1}, message(10)[:9], append(message(10), 0), message(20)[:19]} {
		require.ErrorIs(t, answer(b), pkcs11.CKR_DEVICE_ERROR, "%x", b)
	}
	require.NoError(t, answer(message(10)))
	require.NoError(t, d.Close())
	require.NoError(t, d.Close(), "again")
	_, err := d.Send(message(10))
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestDeviceThatDoesNotOpen(t *testing.T) {
	_, err := Device("/dev/none")(t.Context())
	require.ErrorIs(t, err, pkcs11.CKR_TOKEN_NOT_PRESENT)
	require.ErrorContains(t, err, "enabled in the firmware")
	require.ErrorContains(t, opened("/dev/tpmrm0", syscall.EACCES), "group tss")
	require.ErrorContains(t, opened("/dev/tpm0", syscall.EBUSY), "/dev/tpmrm0")
	for _, e := range []syscall.Errno{syscall.ENODEV, syscall.ENXIO} {
		require.ErrorIs(t, &transportError{&os.PathError{Op: "write", Path: "/dev/tpmrm0", Err: e}}, pkcs11.CKR_DEVICE_REMOVED)
	}
	require.ErrorIs(t, &transportError{errors.New("anything")}, pkcs11.CKR_DEVICE_ERROR)
}

// A response comes in pieces, or is none.
func TestStream(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	answers := make(chan []byte, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 100)
			for {
				if _, err := conn.Read(b); err != nil {
					break
				}
				answer := <-answers
				for _, c := range answer {
					conn.Write([]byte{c})
				}
				if len(answer) < headerSize || int(binary.BigEndian.Uint32(answer[2:])) > len(answer) {
					conn.Close()
				}
			}
		}
	}()
	send := func(answer []byte) ([]byte, error) {
		tpm, err := Swtpm("unix", socket)(t.Context())
		require.NoError(t, err)
		defer tpm.Close()
		answers <- answer
		return tpm.Send(message(10))
	}
	b, err := send(message(300))
	require.NoError(t, err)
	require.Equal(t, message(300), b)
	long := message(10)
	binary.BigEndian.PutUint32(long[2:], 1<<31)
	for _, bad := range [][]byte{message(20)[:15], message(10)[:5], long, {0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0}} {
		_, err := send(bad)
		require.Error(t, err, "%x", bad)
	}
}

// Who listens and is no TPM says so with the first bytes: nobody waits for more.
// That is what swtpm answers on its control channel to a command that it does not
// know, and then it waits.
func TestStreamOfTheControlChannel(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if _, err := conn.Read(make([]byte, 100)); err == nil {
				conn.Write([]byte{0, 0, 0, 0x0a})
			}
		}
	}()
	start := time.Now()
	_, err = New(t.Context(), nil, new(pal.Mem), &Options{Dial: Swtpm("unix", socket)})
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
	require.ErrorContains(t, err, socket+" does not answer as a TPM; is it the control socket of swtpm (--ctrl)? name the one of --server")
	findings, err := driver.Diagnose(t.Context(), "tpm:mem=true;swtpm=unix:"+socket)
	require.NoError(t, err)
	require.Equal(t, driver.Problem, findings[0].Severity)
	require.Contains(t, findings[0].Cure, "that of --server and not of --ctrl")
	require.Less(t, time.Since(start), slowest/2)

	// In the middle it is a response that is cut or garbled.
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		b := make([]byte, 100)
		for _, answer := range [][]byte{message(10), {0, 0, 0, 0x0a}} {
			server.Read(b)
			server.Write(answer)
		}
	}()
	s := &stream{conn: client, addr: "pipe"}
	_, err = s.Send(message(12))
	require.NoError(t, err)
	_, err = s.Send(message(12))
	require.ErrorIs(t, err, errGarbled)
	require.NotContains(t, err.Error(), "--ctrl")
}
