package tpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"encoding/binary"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A Dialer opens a connection to a TPM, on which responses come in the order of
// the commands. The transports of go-tpm will do; those of Device and Swtpm
// survive what theirs do not: signals, short reads, a busy socket.
type Dialer func(ctx context.Context) (transport.TPMCloser, error)

// Swtpm returns a Dialer of a TPM in software, or of whatever else takes commands
// as they are on a socket: network is "unix" or "tcp", addr a path or host:port.
// It waits up to two seconds for one that is just being started, or that serves
// somebody else.
func Swtpm(network, addr string) Dialer {
	return func(ctx context.Context) (transport.TPMCloser, error) {
		ctx, cancel := context.WithTimeout(ctx, dialBudget)
		defer cancel()
		for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, addr)
			if err == nil {
				return &stream{conn: conn, addr: addr}, nil
			}
			// The socket may not be listening yet, and its queue has one place.
			if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, fs.ErrNotExist) {
				return nil, refused(addr, err)
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil, refused(addr, err)
			}
		}
	}
}

const dialBudget = 2 * time.Second

// A stream is a connection that carries commands and responses as they are. The
// length in the header says where each ends.
type stream struct {
	mu       sync.Mutex
	conn     net.Conn
	addr     string
	answered bool // there was a response
}

// slowest is how long a TPM may take: some need minutes for an RSA key.
const slowest = 3 * time.Minute

// Send sends a command and returns the response.
func (s *stream) Send(command []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetDeadline(time.Now().Add(slowest)); err != nil {
		return nil, err
	}
	if _, err := s.conn.Write(command); err != nil {
		return nil, err
	}
	b := make([]byte, headerSize, 512)
	// The control channel of swtpm answers four bytes and waits for a command of its
	// own: the tag shows it, and nobody waits for the rest of a header.
	n, err := io.ReadAtLeast(s.conn, b, 2)
	if err != nil {
		if !s.answered && errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w: %w", s.noTPM(), err)
		}
		return nil, err
	}
	if !isResponse(b) {
		s.conn.Close()
		if !s.answered {
			return nil, s.noTPM()
		}
		return nil, fmt.Errorf("a response with tag %#04x: %w", b[:2], errGarbled)
	}
	if _, err := io.ReadFull(s.conn, b[n:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(b[2:])
	if size < headerSize || size > maxMessage {
		// What follows has no beginning.
		s.conn.Close()
		return nil, fmt.Errorf("a response of %d bytes: %w", size, errGarbled)
	}
	b = append(b, make([]byte, size-headerSize)...)
	if _, err := io.ReadFull(s.conn, b[headerSize:]); err != nil {
		return nil, err
	}
	s.answered = true
	return b, nil
}

// isResponse reports whether bytes begin as a response does: TPM_ST_NO_SESSIONS,
// TPM_ST_SESSIONS, or TPM_ST_RSP_COMMAND, with which a TPM refuses what it takes
// for a command of TPM 1.2. See Part 2, 6.9.
func isResponse(b []byte) bool {
	switch binary.BigEndian.Uint16(b) {
	case tagNoSessions, tagSessions, 0x00c4:
		return true
	}
	return false
}

// noTPM is the error of a socket on which somebody listens who is no TPM.
func (s *stream) noTPM() error {
	return fmt.Errorf("%s does not answer as a TPM; is it the control socket of swtpm (--ctrl)? name the one of --server: %w", s.addr, pkcs11.CKR_DEVICE_ERROR)
}

// Close closes the connection.
func (s *stream) Close() error { return s.conn.Close() }

// refused is the error of connecting to a socket.
func refused(addr string, err error) error {
	return fmt.Errorf("tpm: nothing answers at %s; is swtpm running? %w: %w", addr, pkcs11.CKR_TOKEN_NOT_PRESENT, err)
}

// opened is the error of opening a device.
func opened(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("tpm: there is no %s; is the TPM enabled in the firmware, and its driver loaded? %w: %w", name, pkcs11.CKR_TOKEN_NOT_PRESENT, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("tpm: %s may not be opened; the user should be in the group tss: %w: %w", name, pkcs11.CKR_TOKEN_NOT_PRESENT, err)
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("tpm: %s is in use by another process; name the one with a resource manager, /dev/tpmrm0: %w: %w", name, pkcs11.CKR_DEVICE_ERROR, err)
	}
	return fmt.Errorf("tpm: %s: %w: %w", name, pkcs11.CKR_TOKEN_NOT_PRESENT, err)
}

// removed reports whether an error says that the device is gone.
func removed(err error) bool {
	return errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO) || errors.Is(err, os.ErrClosed)
}
