package atecc608_test

import (
	"testing"
	"testing/synctest"

	"github.com/go-cryptoki/cryptoki/backends/atecc608"
	"github.com/go-cryptoki/cryptoki/backends/atecc608/atecc"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// What is in a locked slot is not replaced either, and the token is as before: the
// change was once recorded and then could not be finished, by any token that was
// opened afterwards.
func TestReplaceWhatIsLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state, store := provisioned(t), new(pal.Mem)
		chip := newChip(t, state, nil)
		open := func() *atecc608.Token {
			token, err := atecc608.New(t.Context(), chip, &atecc608.Options{Store: store, IOKey: state.Slot(6)[:32]})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { token.Close() })
			return token
		}
		token := open()
		pub, priv := generate(t, token, "Device Pub TLS Key", "Device Priv TLS Key", nil)
		verify, err := token.CreateObject(t.Context(), publicTemplate(t, "Code Verify Key"), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, slot := range []int{0, 13} {
			if err := token.LockSlot(t.Context(), slot); err != nil {
				t.Fatal(err)
			}
		}

		public, private := generateTemplates("Device Pub TLS Key", "Device Priv TLS Key")
		_, _, err = token.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public, private, []driver.Object{pub, priv})
		wantError(t, "replace a key pair", err, pkcs11.CKR_ACTION_PROHIBITED, "slot 0: CKR_ACTION_PROHIBITED: the slot is locked for good")
		_, err = token.CreateObject(t.Context(), importTemplate(t, "Device Priv TLS Key"), []driver.Object{priv})
		wantError(t, "replace by an imported key", err, pkcs11.CKR_ACTION_PROHIBITED, "slot 0")
		_, err = token.CreateObject(t.Context(), publicTemplate(t, "Code Verify Key"), []driver.Object{verify})
		wantError(t, "replace a public key", err, pkcs11.CKR_ACTION_PROHIBITED, "slot 13")

		for _, token := range []*atecc608.Token{token, open()} {
			list := objects(t, token, "Device Priv TLS Key", "Device Pub TLS Key", "Code Verify Key")
			if len(list) != 3 {
				t.Fatalf("%d objects are left of 3", len(list))
			}
			for _, o := range labelled(list, "Device Priv TLS Key") {
				mustSign(t, o)
			}
		}
	})
}

// A slot that another program locks while its key is destroyed: the key stays, and
// the token opens and shows it.
func TestLockedWhileDestroyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip, store := newChip(t, provisioned(t), nil), new(pal.Mem)
		token, err := atecc608.New(t.Context(), chip, &atecc608.Options{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		pub, priv := generate(t, token, "Device Pub TLS Key", "Device Priv TLS Key", nil)
		other, err := atecc.New(t.Context(), chip, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.LockSlot(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		other.Close()
		if err := token.Destroy(t.Context(), pub, priv); err == nil {
			t.Error("a key in a locked slot was destroyed")
		}
		token.Close()

		token, err = atecc608.New(t.Context(), chip, &atecc608.Options{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		defer token.Close()
		list := objects(t, token, "Device Priv TLS Key")
		if len(list) != 1 {
			t.Fatalf("%d keys in the locked slot", len(list))
		}
		mustSign(t, list[0])
	})
}
