package soft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func init() { driver.Register("soft", openName) }

// openName opens a token by name. The parameters are
//
//	dir=PATH       the directory of the token's records, kept by fileflash
//	create=true    make the directory if it does not exist
//	readonly=true  change nothing in it
//	mem=true       instead of dir: in memory, forgotten by Close
//	accept=true    take the objects that are there for the token's: see Options.AcceptObjects
//	nopin=true     InitToken makes a token without user PIN: see Options.NoPIN
//	backup=true    InitToken makes a token whose keys may leave it in a backup: see
//	               Options.Backup
//	entropy=LIST   what the random number generator starts from, separated by
//	               commas: system, hwrng, or the path of a device; see Options.Entropy
//	seed=PATH      a seed in a file, or seed=store in the token's store; see Options.Seed
func openName(ctx context.Context, params *driver.Params) (driver.Token, error) {
	mem := params.Bool("mem", false)
	dir := params.String("dir", "")
	flash := fileflash.Options{Create: params.Bool("create", false), ReadOnly: params.Bool("readonly", false)}
	opts := &Options{
		NoPIN:         params.Bool("nopin", false),
		Backup:        params.Bool("backup", false),
		AcceptObjects: params.Bool("accept", false),
	}
	entropy, seed := params.String("entropy", ""), params.String("seed", "")
	if err := params.Unused(); err != nil {
		return nil, fmt.Errorf("%w: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
	}
	if mem == (dir != "") {
		return nil, fmt.Errorf("soft: %w: name either a directory, soft:dir=PATH, or memory, soft:mem=true", pkcs11.CKR_ARGUMENTS_BAD)
	}
	var opened closers
	fail := func(err error) (driver.Token, error) {
		opened.Close()
		return nil, err
	}
	if err := opts.sources(entropy, &opened); err != nil {
		return fail(err)
	}
	if mem {
		store := new(pal.Mem)
		opts.seed(seed, store)
		t, err := New(store, opts)
		if err != nil {
			return fail(err)
		}
		t.closer = opened
		return t, nil
	}
	store, err := fileflash.Open(dir, &flash)
	if errors.Is(err, fs.ErrNotExist) {
		return fail(fmt.Errorf("soft: there is no directory %s: make it, or name the token soft:dir=%s;create=true: %w: %w", dir, dir, pkcs11.CKR_TOKEN_NOT_PRESENT, err))
	}
	if err != nil {
		return fail(storeError("open", err))
	}
	opened = append(opened, store)
	opts.seed(seed, store)
	t, err := New(store, opts)
	if err != nil {
		return fail(err)
	}
	t.closer = opened
	return t, nil
}

// sources makes Entropy what a name lists, and adds what it opens to opened.
func (o *Options) sources(list string, opened *closers) error {
	if list == "" {
		return nil
	}
	for name := range strings.SplitSeq(list, ",") {
		path := name
		switch name {
		case "system":
			o.Entropy = append(o.Entropy, pal.SystemEntropy)
			continue
		case "hwrng":
			path = pal.HardwareEntropyPath
		default:
			if !strings.HasPrefix(path, "/") {
				return fmt.Errorf("soft: entropy=%s: %q is none of system, hwrng and the path of a device: %w", list, name, pkcs11.CKR_ARGUMENTS_BAD)
			}
		}
		d, err := pal.OpenEntropy(path)
		if err != nil {
			return fmt.Errorf("soft: entropy=%s: %w: %w", list, err, pkcs11.CKR_DEVICE_ERROR)
		}
		o.Entropy = append(o.Entropy, d)
		*opened = append(*opened, d)
	}
	return nil
}

// seed makes Seed what a name says.
func (o *Options) seed(name string, store pal.Store) {
	switch name {
	case "":
	case "store":
		o.Seed = pal.StoreSeed(store, "seed")
	default:
		o.Seed = pal.NewFileSeed(name)
	}
}

// closers closes all of them, in the order in which they were opened.
type closers []io.Closer

func (cs closers) Close() error {
	var errs []error
	for _, c := range cs {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
