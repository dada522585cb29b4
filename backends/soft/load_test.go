package soft

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// privateDir returns a new directory that is the user's alone, whatever the umask
// is.
func privateDir(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	must(tb, os.Chmod(dir, 0o700))
	return dir
}

// What an object is indexed by is what its attributes say, whether it was made
// just now, read in bulk or read one by one.
func TestIndexAgreesWithAttributes(t *testing.T) {
	check := func(o driver.Object) {
		t.Helper()
		a, i := o.Attributes(), o.(driver.Indexed).Index()
		require.Equal(t, a.Uint(pkcs11.CKA_CLASS), uint64(i.Class))
		if a.Has(pkcs11.CKA_KEY_TYPE) {
			require.Equal(t, a.Uint(pkcs11.CKA_KEY_TYPE), uint64(i.KeyType))
		}
		require.Equal(t, a.Bool(pkcs11.CKA_TOKEN), i.Token)
		require.Equal(t, a.Bool(pkcs11.CKA_PRIVATE), i.Private)
		require.Equal(t, a.Text(pkcs11.CKA_LABEL), i.Label)
		require.Equal(t, string(a.Bytes(pkcs11.CKA_ID)), i.ID)
	}
	dir := privateDir(t)
	flash, err := fileflash.Open(dir, nil)
	require.NoError(t, err)
	defer flash.Close()
	for _, store := range []pal.Store{new(pal.Mem), flash} {
		token := newToken(t, store)
		login(t, token)
		fill(t, token, 300) // more than a batch
		data, err := token.CreateObject(ctx, common(pkcs11.CKO_DATA, "a label", true), nil)
		require.NoError(t, err)
		check(data)
		changed, err := token.Update(ctx, data, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "another")})
		require.NoError(t, err)
		require.Equal(t, "another", changed.(driver.Indexed).Index().Label)
		check(changed)
		want := objects(t, token)
		require.NoError(t, token.Close())

		again, err := New(store, cheap)
		require.NoError(t, err)
		login(t, again)
		got := objects(t, again)
		require.Len(t, got, len(want))
		for i, o := range got {
			check(o)
			require.Equal(t, want[i].ID(), o.ID(), "the order of creation")
			require.Equal(t, want[i].Attributes(), o.Attributes())
		}
		require.NoError(t, again.Close())
	}
}

// A reading after a change by somebody else keeps the objects that have not
// changed, the parsed keys with them.
func TestReadingAgainKeepsObjects(t *testing.T) {
	dir := privateDir(t)
	open := func() *Token {
		store, err := fileflash.Open(dir, nil)
		require.NoError(t, err)
		t.Cleanup(func() { store.Close() })
		token, err := New(store, cheap)
		require.NoError(t, err)
		return token
	}
	newToken(t, openFlash(t, dir))
	first := open()
	login(t, first)
	fill(t, first, 20)
	second := open()
	login(t, second)
	byID := map[string]driver.Object{}
	for _, o := range objects(t, second) {
		byID[o.ID()] = o
	}
	require.Len(t, byID, 20)
	gone := objects(t, first)[3]
	require.NoError(t, first.Destroy(ctx, gone))
	added, err := first.CreateObject(ctx, common(pkcs11.CKO_DATA, "new", true), nil)
	require.NoError(t, err)
	now := objects(t, second)
	require.Len(t, now, 20)
	for _, o := range now {
		if o.ID() == added.ID() {
			require.Equal(t, "new", o.(driver.Indexed).Index().Label)
			continue
		}
		require.Same(t, byID[o.ID()].(stored).base(), o.(stored).base(), fmt.Sprint(o.ID(), " was made anew"))
		require.NotEqual(t, gone.ID(), o.ID())
	}
}

// Names of records say nothing: no label, no class.
func TestNamesAreOfTheModule(t *testing.T) {
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	for _, label := range []string{"customer-7", "o-customer-7", "Device Priv TLS Key"} {
		generateKind(t, token, signing[0].key)
		_, err := token.CreateObject(ctx, append(common(pkcs11.CKO_DATA, label, true), attrs(pkcs11.CKA_APPLICATION, label)...), nil)
		require.NoError(t, err)
	}
	names, err := store.Names()
	require.NoError(t, err)
	require.Greater(t, len(names), 6)
	for _, name := range names {
		require.Regexp(t, "^(token|tries|inventory|o-[0-9a-f]{16})$", name)
	}
}
