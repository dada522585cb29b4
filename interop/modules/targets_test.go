package modules

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/rpc"
	"github.com/stretchr/testify/require"
)

// A foreign is a module of somebody else, run by "p11-kit remote".
type foreign struct {
	name    string // the column of the page, and the file in testdata
	version string // what the page is about; Debian 12 has it
	target  func(t *testing.T) conformance.Target
}

var foreigns = []foreign{
	{"SoftHSM2", "2.6.1", softHSM},
	{"tpm2-pkcs11", "1.9.0", tpm2PKCS11},
}

var pin = []byte("12345678")

func open(ctx context.Context, path string) (cryptoki.Module, error) {
	m, err := rpc.Remote(ctx, path, nil)
	if err != nil {
		return nil, err // not a nil pointer in an interface
	}
	return m, nil
}

// softHSM is a SoftHSM2 with one new token.
func softHSM(t *testing.T) conformance.Target {
	need.Program(t, "p11-kit", "p11-kit p11-kit-modules")
	path := need.File(t, "softhsm2", "/usr/lib/softhsm/libsofthsm2.so")
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "tokens"), 0o700))
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", filepath.Join(dir, "tokens")), 0o600))
	t.Setenv("SOFTHSM2_CONF", conf)
	// SoftHSM2 numbers its slots anew when it starts after InitToken: the suite gets
	// a token that has its lasting number.
	m, err := open(t.Context(), path)
	require.NoError(t, err)
	slots, err := m.Slots(t.Context(), true)
	require.NoError(t, err)
	require.NoError(t, m.InitToken(t.Context(), slots[0], pin, "conformance"))
	require.NoError(t, m.Close())
	return conformance.Target{Name: "SoftHSM2", Destructive: true, SOPIN: pin, UserPIN: pin,
		OpenModule: func(ctx context.Context) (cryptoki.Module, error) { return open(ctx, path) }}
}

// tpm2PKCS11 is tpm2-pkcs11 on a new TPM, behind the resource manager that its
// project has for it. The kernel's would have room for three objects at a time.
func tpm2PKCS11(t *testing.T) conformance.Target {
	need.Program(t, "p11-kit", "p11-kit p11-kit-modules")
	path := need.File(t, "libtpm2-pkcs11-1", "/usr/lib/*/libtpm2_pkcs11.so.1")
	tpm := tpmtest.Start(t)
	// The suite locks PINs. The lockout of a TPM is for all of it, and no SO ends it.
	// See Part 3, 25.3, TPM2_DictionaryAttackParameters: 1000 tries.
	_, err := tpm.Send([]byte{0x80, 0x02, 0, 0, 0, 39, 0, 0, 0x01, 0x3a, 0x40, 0, 0, 0x0a, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0,
		0, 0, 3, 0xe8, 0, 0, 0, 1, 0, 0, 0, 1})
	require.NoError(t, err)
	tpm.Disconnect()
	t.Setenv("TPM2_PKCS11_STORE", t.TempDir())
	t.Setenv("TPM2_PKCS11_TCTI", abrmd(t, tpm.TCTI()))
	t.Setenv("TPM2_PKCS11_LOG_LEVEL", "0")
	return conformance.Target{Name: "tpm2-pkcs11", SOPIN: pin, UserPIN: pin,
		OpenModule: func(ctx context.Context) (cryptoki.Module, error) { return open(ctx, path) }}
}

const busConfig = `<busconfig>
<type>session</type>
<listen>unix:path=%s</listen>
<auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
`

// abrmd starts tpm2-abrmd over a TPM, on a bus of its own, and returns how tpm2-tss
// reaches it. Debian gives it room for 27 objects of a connection.
func abrmd(t *testing.T, tcti string) string {
	need.Program(t, "tpm2_getcap", "tpm2-tools")
	need.File(t, "libtss2-tcti-tabrmd0", "/usr/lib/*/libtss2-tcti-tabrmd.so.0")
	dir := t.TempDir()
	config, address := filepath.Join(dir, "bus.conf"), filepath.Join(dir, "bus")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, busConfig, address), 0o600))
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+address)
	daemon(t, need.Program(t, "dbus-daemon", "dbus-daemon"), "--config-file="+config, "--nofork", "--nopidfile")
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", address) // the socket is there before the daemon listens on it
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 2*time.Minute, 10*time.Millisecond)
	daemon(t, need.Program(t, "tpm2-abrmd", "tpm2-abrmd"), "--session", "--allow-root", "--tcti="+tcti)
	require.Eventually(t, func() bool {
		return proc.Command(t, "tpm2_getcap", "-T", "tabrmd:bus_type=session", "handles-transient").Run() == nil
	}, 2*time.Minute, 50*time.Millisecond)
	return "tabrmd:bus_type=session"
}

// daemon runs a program until the test ends.
func daemon(t *testing.T, program string, args ...string) {
	cmd := proc.Command(t, program, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
}

// root is the directory of the repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}
