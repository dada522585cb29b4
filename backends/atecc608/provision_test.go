package atecc608_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/ateccsim"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/config"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func plan(t testing.TB, name string) *config.Plan {
	t.Helper()
	p, err := config.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// provision does it all, or as far as it goes without locking.
func provision(ctx context.Context, chip *ateccsim.Chip, lock bool, opts atecc608.ProvisionOptions) (*atecc608.Provisioning, error) {
	p, err := atecc608.Provision(ctx, chip, &opts)
	if err != nil {
		return nil, err
	}
	err = p.Run(ctx, lock, nil)
	return p, errors.Join(err, p.Close())
}

func TestProvision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, name := range config.Names() {
			chip := newChip(t, ateccsim.Blank(ateccsim.DefaultSerial), nil)
			store := new(pal.Mem)
			opts := atecc608.ProvisionOptions{Plan: plan(t, name), Store: store, PIN: []byte("123456"), Label: "gateway"}

			// Without lock nothing that cannot be undone happens, however often.
			for range 2 {
				_, err := provision(t.Context(), chip, false, opts)
				if !errors.Is(err, atecc608.ErrNotLocked) {
					t.Fatalf("%s: %v", name, err)
				}
				if z := config.Zone(chip.State().Config); z.Locked() || z.DataLocked() || !opts.Plan.Written(&z) {
					t.Fatalf("%s: locked, or not written", name)
				}
			}
			if _, err := atecc608.New(t.Context(), chip, &atecc608.Options{Store: store}); !errors.Is(err, pkcs11.CKR_TOKEN_NOT_RECOGNIZED) || !strings.Contains(err.Error(), "cryptoki init") {
				t.Errorf("%s: a token of a chip that is not locked: %v", name, err)
			}
			p, err := provision(t.Context(), chip, true, opts)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !p.Zone.Locked() || !p.Zone.DataLocked() || !p.Zone.Slot(6).Locked {
				t.Errorf("%s: something is not locked", name)
			}
			for _, s := range p.Steps {
				if !s.Done {
					t.Errorf("%s: not done: %s", name, s.Text)
				}
			}
			// Again, there is nothing to do.
			if _, err = provision(t.Context(), chip, false, opts); err != nil {
				t.Errorf("%s: once more: %v", name, err)
			}
			checkProvisioned(t, chip, store, []byte("123456"))
		}
	})
}

// checkProvisioned opens the token, makes a key and imports one.
func checkProvisioned(t *testing.T, chip *ateccsim.Chip, store pal.Store, pin []byte) {
	t.Helper()
	token, err := atecc608.New(t.Context(), chip, &atecc608.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	if err := token.Login(t.Context(), pkcs11.CKU_USER, pin); err != nil {
		t.Fatal(err)
	}
	_, priv := generate(t, token, "Device Pub TLS Key", "Device Priv TLS Key", nil)
	mustSign(t, priv)
	imported, err := token.CreateObject(t.Context(), importTemplate(t, "Imported"), nil)
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, imported)
}

// The power goes before each byte that is written, and provisioning goes on where
// it was.
func TestProvisionPowerCuts(t *testing.T) {
	step := 1
	if slow {
		step = 7
	}
	for _, name := range config.Names() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for at := 1; ; at += step {
					chip := newChip(t, ateccsim.Blank(ateccsim.DefaultSerial), &ateccsim.Options{
						Faults: ateccsim.NewFaults(1, ateccsim.Rule{Kind: ateccsim.PowerCut, At: at}),
					})
					store := new(pal.Mem)
					opts := atecc608.ProvisionOptions{Plan: plan(t, name), Store: store, PIN: []byte("123456")}
					_, err := provision(t.Context(), chip, true, opts)
					if !chip.Off() {
						if err != nil {
							t.Fatalf("without a cut: %v", err)
						}
						if at < 100 {
							t.Fatalf("only %d bytes were written", at)
						}
						t.Logf("%d cuts", (at-1)/step)
						return
					}
					if err == nil {
						t.Fatalf("byte %d: the power went, and nobody noticed", at)
					}
					chip.PowerOn()
					if _, err := provision(t.Context(), chip, true, opts); err != nil {
						t.Fatalf("byte %d: resumed: %v", at, err)
					}
					state := chip.State()
					if z := config.Zone(state.Config); !opts.Plan.Written(&z) || !z.Locked() || !z.DataLocked() || !z.Slot(6).Locked {
						t.Fatalf("byte %d: the chip is not what it should be", at)
					}
					if at%23 == 1 {
						checkProvisioned(t, chip, store, []byte("123456"))
					}
				}
			})
		})
	}
}

func TestProvisionRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unsafe := plan(t, "generic")
		unsafe.Zone[20] &^= 0x80
		blank := ateccsim.Blank(ateccsim.DefaultSerial)
		_, err := provision(t.Context(), newChip(t, blank, nil), true, atecc608.ProvisionOptions{Plan: unsafe, Store: new(pal.Mem)})
		wantError(t, "a configuration that shows a key", err, pkcs11.CKR_ARGUMENTS_BAD, "slot 0: its private key would be readable; set bit 7")

		chip := newChip(t, provisioned(t), nil)
		other := plan(t, "generic")
		other.Zone[16] = 0xC2
		_, err = provision(t.Context(), chip, true, atecc608.ProvisionOptions{Plan: other, Store: new(pal.Mem)})
		wantError(t, "a chip with another configuration", err, pkcs11.CKR_TOKEN_WRITE_PROTECTED, "another configuration")

		_, err = provision(t.Context(), newChip(t, blank, nil), true, atecc608.ProvisionOptions{Store: new(pal.Mem)})
		wantError(t, "a blank chip without a plan", err, pkcs11.CKR_ARGUMENTS_BAD, "name a configuration")

		_, err = provision(t.Context(), newChip(t, blank, nil), true, atecc608.ProvisionOptions{Plan: plan(t, "generic-pin"), Store: new(pal.Mem)})
		wantError(t, "a configuration that wants a PIN", err, pkcs11.CKR_PIN_LEN_RANGE, "slot 7")

		_, err = provision(t.Context(), newChip(t, blank, nil), true, atecc608.ProvisionOptions{Plan: plan(t, "generic"), IOKey: make([]byte, 16)})
		wantError(t, "a short I/O protection key", err, pkcs11.CKR_ARGUMENTS_BAD, "16 bytes")

		// The key in the slot is another than the one that would be locked.
		state := provisioned(t)
		store := new(pal.Mem)
		p, err := atecc608.Provision(t.Context(), newChip(t, state, nil), &atecc608.ProvisionOptions{Plan: plan(t, "generic"), Store: store, IOKey: bytes.Repeat([]byte{1}, 32)})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		for i := range p.Steps {
			if strings.Contains(p.Steps[i].Text, "write an I/O") {
				p.Steps[i].Done = true
			}
		}
		wantError(t, "another I/O protection key", p.Run(t.Context(), true, nil), pkcs11.CKR_DATA_INVALID, "slot 6")

		store = new(pal.Mem)
		foreign := [9]byte{1, 0x23, 9, 9, 9, 9, 9, 9, 0xEE}
		if _, err := provision(t.Context(), newChip(t, ateccsim.Blank(foreign), nil), true, atecc608.ProvisionOptions{Plan: plan(t, "generic"), Store: store}); err != nil {
			t.Fatal(err)
		}
		_, err = provision(t.Context(), newChip(t, blank, nil), true, atecc608.ProvisionOptions{Plan: plan(t, "generic"), Store: store})
		wantError(t, "the store of another chip", err, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, "serial number")
	})
}

// A chip that comes locked takes an I/O protection key, and then secret keys.
func TestProvisionTrustFLEX(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state, err := ateccsim.TrustFLEX(ateccsim.DefaultSerial, rand.NewChaCha8([32]byte{3}))
		if err != nil {
			t.Fatal(err)
		}
		chip, store := newChip(t, state, nil), new(pal.Mem)
		if _, err := provision(t.Context(), chip, true, atecc608.ProvisionOptions{Store: store}); err != nil {
			t.Fatal(err)
		}
		token, err := atecc608.New(t.Context(), chip, &atecc608.Options{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		defer token.Close()
		if z := token.Config(); !z.Slot(6).Locked {
			t.Error("slot 6 is not locked")
		}
		if _, err := token.CreateObject(t.Context(), aesTemplate("AES"), nil); err != nil {
			t.Error(err)
		}
	})
}

func wantError(t *testing.T, what string, err error, code pkcs11.Error, text string) {
	t.Helper()
	if !errors.Is(err, code) || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("%s: %v\nwant %v and %q", what, err, code, text)
	}
}
