package soft_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// TestSecretsAreNotStored looks for the PIN and for every key in the files of a
// token, and in what printing shows of one that is in use.
func TestSecretsAreNotStored(t *testing.T) {
	dir := t.TempDir()
	pin := []byte("nobody-finds-this-PIN-in-a-file")
	makeToken(t, dir, pin)
	store, err := fileflash.Open(dir, nil)
	must(t, err)
	defer store.Close()
	secrets, err := soft.Secrets(store, bytes.Clone(pin))
	must(t, err)
	if len(secrets) < 6+4+9 {
		t.Errorf("%d secrets are looked for, fewer than there are", len(secrets))
	}
	for name, secret := range secrets {
		if bytes.Equal(secret, make([]byte, len(secret))) {
			t.Errorf("%s was wiped before anybody could look for it", name)
		}
	}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for name, secret := range secrets {
			if bytes.Contains(data, secret) || bytes.Contains(data, []byte(hex.EncodeToString(secret))) {
				t.Errorf("%s is in %s", name, d.Name())
			}
		}
		return err
	}))

	token, err := soft.New(store, nil)
	must(t, err)
	defer token.Close()
	ctx := t.Context()
	must(t, token.Login(ctx, pkcs11.CKU_USER, pin))
	must(t, token.ReadRandom(ctx, make([]byte, 8)))
	objects, err := token.Objects(ctx)
	must(t, err)
	wrong := token.Login(ctx, pkcs11.CKU_USER, []byte("not-"+string(pin)))
	printed := fmt.Sprintf("%v %+v %#v %v %+v %#v %v %+v", token, token, token, objects, objects, objects, wrong, wrong)
	for name, secret := range secrets {
		for _, form := range []string{string(secret), hex.EncodeToString(secret), strings.Trim(fmt.Sprint(secret), "[]")} {
			if strings.Contains(strings.ToLower(printed), strings.ToLower(form)) {
				t.Errorf("%s is printed", name)
			}
		}
	}
}

// makeToken makes a token with a key of each kind.
func makeToken(t *testing.T, dir string, pin []byte) {
	t.Helper()
	ctx := context.Background()
	token, err := cryptoki.Open(ctx, "soft:create=true;dir="+dir, &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		return bytes.Clone(pin), nil
	}})
	must(t, err)
	defer token.Close()
	must(t, token.Initialize(ctx, cryptoki.Setup{Label: "core", SOPIN: []byte("so-pin-87654321"), UserPIN: bytes.Clone(pin)}))
	s, err := token.Session(ctx, pkcs11.CKF_RW_SESSION)
	must(t, err)
	defer s.Close()
	for _, kind := range []string{"P-256", "Ed25519", "RSA"} {
		generatePair(t, s, kind, template(pkcs11.CKA_TOKEN, true, pkcs11.CKA_LABEL, kind), template(pkcs11.CKA_TOKEN, true, pkcs11.CKA_LABEL, kind))
	}
	_, err = s.GenerateKey(ctx, mech(pkcs11.CKM_AES_KEY_GEN, nil), template(pkcs11.CKA_TOKEN, true, pkcs11.CKA_LABEL, "AES", pkcs11.CKA_VALUE_LEN, uint64(32), pkcs11.CKA_ENCRYPT, true))
	must(t, err)
}
