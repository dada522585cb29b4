package soft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

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
//	nopin=true     InitToken makes a token without user PIN: see Options.NoPIN
func openName(ctx context.Context, params *driver.Params) (driver.Token, error) {
	mem := params.Bool("mem", false)
	dir := params.String("dir", "")
	flash := fileflash.Options{Create: params.Bool("create", false), ReadOnly: params.Bool("readonly", false)}
	opts := &Options{NoPIN: params.Bool("nopin", false)}
	if err := params.Unused(); err != nil {
		return nil, fmt.Errorf("%w: %w", pkcs11.CKR_ARGUMENTS_BAD, err)
	}
	if mem == (dir != "") {
		return nil, fmt.Errorf("soft: %w: name either a directory, soft:dir=PATH, or memory, soft:mem=true", pkcs11.CKR_ARGUMENTS_BAD)
	}
	if mem {
		return named(New(new(pal.Mem), opts))
	}
	store, err := fileflash.Open(dir, &flash)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("soft: there is no directory %s: make it, or name the token soft:dir=%s;create=true: %w: %w", dir, dir, pkcs11.CKR_TOKEN_NOT_PRESENT, err)
	}
	if err != nil {
		return nil, storeError("open", err)
	}
	t, err := New(store, opts)
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
