package atecc608

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/host/v3/sysfs"

	"github.com/go-cryptoki/cryptoki/backends/atecc608/compcert"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/i2csock"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func init() { driver.Register("atecc608", openName) }

// openName opens a token by name. The parameters are
//
//	bus=1              the bus: a number, the path of its device, or unix:PATH or
//	                   tcp:HOST:PORT, where a simulated chip is
//	address=0x60       the chip's 7-bit address; found if it is alone
//	dir=PATH           the directory of the records, kept by fileflash
//	create=true        make the directory if it does not exist
//	readonly=true      change nothing in it
//	store=slots        keep the records in data slots of the chip: Options.Slots
//	store=8,10,12      in these
//	label=TEXT         label of the token
//	free=2,3,4         slots whose keys may be overwritten: Options.Free
//	labels=0:A,2:B     labels of keys that the directory does not know
//	io-key=FILE        the I/O protection key, 64 hexadecimal digits
//	certificates=FILE  templates of compressed certificates, in PEM
func openName(ctx context.Context, params *driver.Params) (driver.Token, error) {
	n, err := parseName(params)
	if err != nil {
		return nil, err
	}
	t, err := n.open(ctx)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// A name is a token name, taken apart.
type name struct {
	bus, dir, ioKey, certificates string
	flash                         fileflash.Options
	opts                          Options
}

func parseName(params *driver.Params) (*name, error) {
	n := &name{
		bus: params.String("bus", ""), dir: params.String("dir", ""),
		ioKey: params.String("io-key", ""), certificates: params.String("certificates", ""),
		flash: fileflash.Options{Create: params.Bool("create", false), ReadOnly: params.Bool("readonly", false)},
	}
	n.opts.Chip.Address = uint16(params.Int("address", 0, 0x08, 0x77))
	n.opts.Label = params.String("label", "")
	free, labels, store := params.String("free", ""), params.String("labels", ""), params.String("store", "")
	if err := params.Unused(); err != nil {
		return nil, fmt.Errorf("%w: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("atecc608: token name: %w: %s", pkcs11.CKR_ARGUMENTS_BAD, fmt.Sprintf(format, args...))
	}
	if n.bus == "" {
		return nil, bad("bus is missing: a number as in /dev/i2c-N, or unix:PATH for a simulated chip")
	}
	if n.dir == "" && (n.flash.Create || n.flash.ReadOnly) {
		return nil, bad("create and readonly are about a directory: name it (dir=PATH)")
	}
	if n.dir != "" && store != "" {
		return nil, bad("records are in a directory (dir) or in slots (store), not in both")
	}
	if store == "slots" {
		n.opts.Slots = []int{} // all that suit
		store = ""
	}
	for _, list := range []struct {
		name, text string
		slots      *[]int
	}{{"free", free, &n.opts.Free}, {"store", store, &n.opts.Slots}} {
		for f := range strings.SplitSeq(list.text, ",") {
			if f = strings.TrimSpace(f); f == "" {
				continue
			}
			slot, err := strconv.ParseUint(f, 10, 8)
			if err != nil || slot > 15 {
				return nil, bad("%s: %q is no slot; they are 0 to 15, separated by commas", list.name, f)
			}
			*list.slots = append(*list.slots, int(slot))
		}
	}
	for l := range strings.SplitSeq(labels, ",") {
		if l = strings.TrimSpace(l); l == "" {
			continue
		}
		number, label, ok := strings.Cut(l, ":")
		slot, err := strconv.ParseUint(number, 10, 8)
		if !ok || err != nil || slot > 15 || label == "" {
			return nil, bad("labels: %q is no slot from 0 to 15, a colon and a label", l)
		}
		if n.opts.Labels == nil {
			n.opts.Labels = make(map[int]string)
		}
		n.opts.Labels[int(slot)] = label
	}
	return n, nil
}

// open opens the bus, the directory and the token, which closes them.
func (n *name) open(ctx context.Context) (*Token, error) {
	opts := n.opts
	if err := n.read(&opts); err != nil {
		return nil, err
	}
	bus, store, closing, err := n.openParts(ctx)
	if err != nil {
		return nil, err
	}
	opts.Store = store
	t, err := New(ctx, bus, &opts)
	if err != nil {
		return nil, errors.Join(err, closing())
	}
	t.closing = closing
	return t, nil
}

// openParts opens the bus and the directory, nil if there is none.
func (n *name) openParts(ctx context.Context) (bus i2c.Bus, store pal.Store, closing func() error, err error) {
	b, err := openBus(ctx, n.bus)
	if err != nil {
		return nil, nil, nil, err
	}
	if n.dir == "" {
		return b, nil, b.Close, nil
	}
	f, err := fileflash.Open(n.dir, &n.flash)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("atecc608: there is no directory %s: make it, or add ;create=true to the token's name: %w: %w", n.dir, pkcs11.CKR_TOKEN_NOT_PRESENT, err)
		return nil, nil, nil, errors.Join(err, b.Close())
	} else if err != nil {
		return nil, nil, nil, errors.Join(storeError("open the directory", err), b.Close())
	}
	return b, f, func() error { return errors.Join(b.Close(), f.Close()) }, nil
}

// read reads the files that are named.
func (n *name) read(opts *Options) error {
	if n.ioKey != "" {
		key, err := readKey(n.ioKey)
		if err != nil {
			return fmt.Errorf("atecc608: I/O protection key: %w: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
		}
		opts.IOKey = key
	}
	if n.certificates != "" {
		text, err := os.ReadFile(n.certificates)
		if err != nil {
			return fmt.Errorf("atecc608: certificates: %w: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
		}
		family, err := compcert.ParseTemplates(text)
		if err != nil {
			return fmt.Errorf("atecc608: %s: %w: %w", n.certificates, pkcs11.CKR_ARGUMENTS_BAD, err)
		}
		opts.Certificates = []*compcert.Family{family}
	}
	return nil
}

// readKey reads 32 bytes in hexadecimal from a file that nobody else may read.
func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others may read it: chmod 600", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key := make([]byte, 32)
	trimmed := strings.TrimSpace(string(text))
	if len(trimmed) != 64 {
		return nil, fmt.Errorf("%s: it does not hold 64 hexadecimal digits", path)
	}
	if _, err := hex.Decode(key, []byte(trimmed)); err != nil {
		return nil, fmt.Errorf("%s: it does not hold 64 hexadecimal digits", path)
	}
	return key, nil
}

// openBus opens a bus by its name.
func openBus(ctx context.Context, name string) (i2c.BusCloser, error) {
	for _, network := range []string{"unix", "tcp"} {
		if address, ok := strings.CutPrefix(name, network+":"); ok {
			bus, err := i2csock.Dial(ctx, network, address)
			if err != nil {
				return nil, fmt.Errorf("atecc608: bus %s: %w: %w", name, pkcs11.CKR_TOKEN_NOT_PRESENT, err)
			}
			return bus, nil
		}
	}
	number, err := strconv.ParseUint(strings.TrimPrefix(name, "/dev/i2c-"), 10, 16)
	if err != nil {
		return nil, fmt.Errorf("atecc608: bus %q: %w: want a number, /dev/i2c-N, unix:PATH or tcp:HOST:PORT", name, pkcs11.CKR_ARGUMENTS_BAD)
	}
	device := fmt.Sprintf("/dev/i2c-%d", number)
	if _, err := os.Stat(device); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("atecc608: %w: there is no %s: enable the I²C bus, and load the module i2c-dev", pkcs11.CKR_TOKEN_NOT_PRESENT, device)
	}
	bus, err := sysfs.NewI2C(int(number))
	if err != nil {
		return nil, fmt.Errorf("atecc608: %s: %w: %w", device, pkcs11.CKR_DEVICE_ERROR, err)
	}
	return bus, nil
}
