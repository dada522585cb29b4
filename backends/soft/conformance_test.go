package soft_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/conformance"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
)

// profile is everything: the software token has all that the suite asks for.
var profile = conformance.Profile{RSA: true, EC: true, Import: true, Generate: true, JITP: true}

// cheap makes the many logins of the suite cost little.
var cheap = soft.WithoutDelay(soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}})

func TestConformance(t *testing.T) {
	store := new(pal.Mem)
	conformance.Run(t, conformance.Target{
		Open:     func(context.Context) (driver.Token, error) { return soft.New(store, cheap) },
		Profile:  profile,
		Outcomes: "testdata/outcomes.txt",
	})
}

// A token on flash is opened again where Mem only goes on: what was written is
// all there is.
func TestConformanceOnFlash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "token")
	conformance.Run(t, conformance.Target{
		Open: func(context.Context) (driver.Token, error) {
			store, err := fileflash.Open(dir, &fileflash.Options{Create: true})
			if err != nil {
				return nil, err
			}
			token, err := soft.New(store, cheap)
			if err != nil {
				return nil, errors.Join(err, store.Close())
			}
			return flashed{token, store}, nil
		},
		Profile:  profile,
		Outcomes: "testdata/outcomes.txt",
	})
}

// flashed is a token that closes its store: soft closes only what it opened.
type flashed struct {
	*soft.Token
	store *fileflash.Store
}

func (f flashed) Close() error { return errors.Join(f.Token.Close(), f.store.Close()) }

// A board's flash may know no more than the four methods of a store.
func TestConformanceOnPlainStore(t *testing.T) {
	store := plain{new(pal.Mem)}
	conformance.Run(t, conformance.Target{
		Open:     func(context.Context) (driver.Token, error) { return soft.New(store, cheap) },
		Profile:  profile,
		Outcomes: "testdata/outcomes.txt",
	})
}

// plain hides what else a store can do.
type plain struct{ pal.Store }

// A token without PIN skips what is about the user's PIN.
func TestConformanceWithoutPIN(t *testing.T) {
	opts := *cheap
	opts.NoPIN = true
	store := new(pal.Mem)
	conformance.Run(t, conformance.Target{
		Open:     func(context.Context) (driver.Token, error) { return soft.New(store, &opts) },
		Profile:  profile,
		Outcomes: "testdata/outcomes-nopin.txt",
	})
}
