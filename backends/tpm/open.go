package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func init() { driver.Register("tpm", openName) }

// openName opens a token by name. The parameters are
//
//	device=PATH       a TPM device, /dev/tpmrm0 by default
//	swtpm=unix:PATH   instead: a TPM in software, on a socket; or swtpm=tcp:HOST:PORT
//	dir=PATH          the directory of the token's records, kept by fileflash
//	create=true       make the directory if it does not exist
//	readonly=true     change nothing in it
//	mem=true          instead of dir: in memory, forgotten by Close
//	nopin=true        InitToken makes a token without user PIN: see Options.NoPIN
//	persist=true      new keys are made persistent in the TPM: see Options.Persist
//	bus=none          no protection on the bus when keys are used: see BusNone
//	parent=HANDLE     another storage key than 0x81000001
//	channels=N        connections that are used at once: see Options.Channels
//	owner-auth=FILE   the owner's authorization value, without the line's end
//	endorsement-auth=FILE
//	                  that of the endorsement hierarchy: see Options.EndorsementAuth
//	last-try=true     check a PIN although a wrong one would lock the TPM
//	accept=true       take the objects that are there for the token's: see
//	                  Options.AcceptObjects
//	simulated=true    allow a TPM in software on a device
func openName(ctx context.Context, params *driver.Params) (driver.Token, error) {
	n, err := parseName(params)
	if err != nil {
		return nil, err
	}
	if n.mem {
		return named(New(ctx, nil, new(pal.Mem), n.opts))
	}
	store, err := fileflash.Open(n.dir, &n.flash)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("tpm: there is no directory %s: make it, or add ;create=true to the token's name: %w: %w", n.dir, pkcs11.CKR_TOKEN_NOT_PRESENT, err)
	}
	if err != nil {
		return nil, storeError("open", err)
	}
	t, err := New(ctx, nil, store, n.opts)
	if err != nil {
		store.Close()
		return nil, err
	}
	t.closer = store
	return t, nil
}

// named keeps a nil *Token from becoming a driver.Token that is not nil.
func named(t *Token, err error) (driver.Token, error) {
	if err != nil {
		return nil, err
	}
	return t, nil
}

// A tokenName is what the name of a token says.
type tokenName struct {
	device  string // "" for a socket
	network string
	addr    string
	dir     string
	mem     bool
	flash   fileflash.Options
	opts    *Options
}

func parseName(params *driver.Params) (*tokenName, error) {
	n := &tokenName{
		device: params.String("device", ""),
		dir:    params.String("dir", ""),
		mem:    params.Bool("mem", false),
		flash:  fileflash.Options{Create: params.Bool("create", false), ReadOnly: params.Bool("readonly", false)},
		opts: &Options{
			NoPIN:     params.Bool("nopin", false),
			Persist:   params.Bool("persist", false),
			LastTry:   params.Bool("last-try", false),
			Simulated: params.Bool("simulated", false),
			Channels:  params.Int("channels", 0, 1, 8),
			Log:       slog.Default().WarnContext,

			AcceptObjects: params.Bool("accept", false),
		},
	}
	swtpm := params.String("swtpm", "")
	bus := params.String("bus", "full")
	owner := params.String("owner-auth", "")
	endorsement := params.String("endorsement-auth", "")
	parent := params.String("parent", "")
	bad := func(format string, args ...any) (*tokenName, error) {
		return nil, fmt.Errorf("tpm: %w: %s", pkcs11.CKR_ARGUMENTS_BAD, fmt.Sprintf(format, args...))
	}
	if err := params.Unused(); err != nil {
		return nil, fmt.Errorf("%w: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
	}
	switch {
	case n.mem == (n.dir != ""):
		return bad("name either a directory, tpm:dir=PATH, or memory, tpm:mem=true")
	case swtpm != "" && n.device != "":
		return bad("name either a device or a socket of swtpm")
	case swtpm != "":
		network, addr, _ := strings.Cut(swtpm, ":")
		if network != "unix" && network != "tcp" || addr == "" {
			return bad("a socket of swtpm is unix:PATH or tcp:HOST:PORT, not %q", swtpm)
		}
		n.network, n.addr = network, addr
		n.opts.Dial = Swtpm(network, addr)
		// Who names it knows what it is.
		n.opts.Simulated = true
	default:
		if n.device == "" {
			n.device = "/dev/tpmrm0"
		}
		n.opts.Dial = Device(n.device)
		if n.opts.Channels == 0 && strings.HasPrefix(filepath.Base(n.device), "tpmrm") {
			n.opts.Channels = 2
		}
	}
	switch bus {
	case "full":
	case "none":
		n.opts.BusProtection = BusNone
	default:
		return bad("bus is full or none, not %q", bus)
	}
	if parent != "" {
		handle, err := strconv.ParseUint(parent, 0, 32)
		if err != nil {
			return bad("a parent is a handle such as 0x81000001, not %q", parent)
		}
		n.opts.Parent = uint32(handle)
	}
	var err error
	if n.opts.OwnerAuth, err = authFile("owner", owner); err != nil {
		return nil, err
	}
	if n.opts.EndorsementAuth, err = authFile("endorsement hierarchy", endorsement); err != nil {
		return nil, err
	}
	return n, nil
}

// authFile reads an authorization value from a file, without the line's end. Without
// a path it is empty.
func authFile(whose, path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	auth, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tpm: the authorization of the %s: %w: %w", whose, pkcs11.CKR_ARGUMENTS_BAD, err)
	}
	return bytes.TrimRight(auth, "\r\n"), nil
}
