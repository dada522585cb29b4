package modules

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/rpc"
	"github.com/google/go-tpm/tpm2/transport"
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

// tpm2PKCS11 is tpm2-pkcs11 on a new TPM.
func tpm2PKCS11(t *testing.T) conformance.Target {
	need.Program(t, "p11-kit", "p11-kit p11-kit-modules")
	path := need.File(t, "libtpm2-pkcs11-1", "/usr/lib/*/libtpm2_pkcs11.so.1")
	tpm := tpmtest.Start(t)
	users := &users{manager: tpmtest.NewManager(tpm)}
	users.gone = sync.NewCond(&users.mu)
	// The suite locks PINs. The lockout of a TPM is for all of it, and no SO ends it.
	// See Part 3, 25.3, TPM2_DictionaryAttackParameters: 1000 tries.
	_, err := tpm.Send([]byte{0x80, 0x02, 0, 0, 0, 39, 0, 0, 0x01, 0x3a, 0x40, 0, 0, 0x0a, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0,
		0, 0, 3, 0xe8, 0, 0, 0, 1, 0, 0, 0, 1})
	require.NoError(t, err)
	hub := tpmtest.NewHub(t, tpm, users.open)
	require.NoError(t, os.Symlink(tpm.Socket()+".ctrl", hub.Socket()+".ctrl"))
	t.Setenv("TPM2_PKCS11_STORE", t.TempDir())
	t.Setenv("TPM2_PKCS11_TCTI", "swtpm:path="+hub.Socket())
	t.Setenv("TPM2_PKCS11_LOG_LEVEL", "0")
	return conformance.Target{Name: "tpm2-pkcs11", SOPIN: pin, UserPIN: pin,
		OpenModule: func(ctx context.Context) (cryptoki.Module, error) {
			users.next() // Close does not wait for the process to go
			return open(ctx, path)
		}}
}

// users are the connections that a process has to a TPM. The module makes several,
// and knows its objects in all of them, so they share what /dev/tpmrm0 would give
// each; it goes when the process does.
type users struct {
	manager *tpmtest.Manager
	mu      sync.Mutex
	gone    *sync.Cond
	n       int
	space   *tpmtest.Space
}

type user struct {
	*users
	space *tpmtest.Space
	once  sync.Once
}

func (u *users) open() transport.TPM {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n++
	return &user{users: u, space: u.space}
}

// next waits until the last process has gone, and makes room for another one.
func (u *users) next() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.n > 0 {
		u.gone.Wait()
	}
	if u.space != nil {
		u.space.Close()
	}
	u.space = u.manager.Open()
}

func (u *user) Send(command []byte) ([]byte, error) { return u.space.Send(command) }

func (u *user) Close() error {
	u.once.Do(func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.n--
		u.gone.Broadcast()
	})
	return nil
}

// root is the directory of the repository.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}
