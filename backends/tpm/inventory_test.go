package tpm_test

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// rootCA stores a certificate.
func rootCA(t testing.TB, token *tpm.Token, value string, replaces ...driver.Object) driver.Object {
	t.Helper()
	o, err := token.CreateObject(t.Context(), pkcs11.Template{
		pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_CERTIFICATE)), pkcs11.Attr(pkcs11.CKA_CERTIFICATE_TYPE, uint64(pkcs11.CKC_X_509)),
		pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_PRIVATE, false), pkcs11.Attr(pkcs11.CKA_LABEL, "root"),
		pkcs11.Attr(pkcs11.CKA_VALUE, []byte(value)),
	}, replaces)
	require.NoError(t, err)
	return o
}

func clone(t testing.TB, from *pal.Mem) *pal.Mem {
	t.Helper()
	to := new(pal.Mem)
	names, err := from.Names()
	require.NoError(t, err)
	for _, name := range names {
		b, err := from.Load(name)
		require.NoError(t, err)
		require.NoError(t, to.Save(name, b))
	}
	return to
}

// A history is what the store of a token has held: before a root CA was replaced
// and a key renamed, and after.
type history struct {
	sim              *tpmtest.TPM
	before, after    *pal.Mem
	old, now, key    string // records of the root CAs and of the key
	oldRoot, newRoot driver.Object
}

func newHistory(t *testing.T, wrap func(*pal.Mem) pal.Store) *history {
	t.Helper()
	h := &history{sim: patient(t)}
	mem := new(pal.Mem)
	token := initialized(t, h.sim, wrap(mem), tpm.Options{})
	key := newEC(t, token, "key")
	public := byLabel(t, token, "key") // the record is named after the first of a pair
	h.oldRoot = rootCA(t, token, "the old root")
	h.before = clone(t, mem)
	h.newRoot = rootCA(t, token, "the new root", h.oldRoot)
	_, err := token.Update(t.Context(), key, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "renamed")})
	require.NoError(t, err)
	newEC(t, token, "last") // on a store without Batch the last change can be undone
	h.after = clone(t, mem)
	require.NoError(t, token.Close())
	h.old, h.now, h.key = "o-"+h.oldRoot.ID(), "o-"+h.newRoot.ID(), "o-"+public.ID()
	return h
}

// put makes a record of the store what it was in another one: absent, perhaps.
func put(t *testing.T, store, from *pal.Mem, name string) {
	t.Helper()
	b, err := from.Load(name)
	if err != nil {
		require.NoError(t, store.Remove(name))
		return
	}
	require.NoError(t, store.Save(name, b))
}

func signed(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

var kindsOfStore = map[string]func(*pal.Mem) pal.Store{
	"with Batch":    func(m *pal.Mem) pal.Store { return m },
	"without Batch": func(m *pal.Mem) pal.Store { return plain{m} },
}

// TestOldRecords: somebody who writes the store puts authentic records of earlier
// back, or takes some away. After login what is not the newest is not shown, and
// what is missing is said.
func TestOldRecords(t *testing.T) {
	for kind, wrap := range kindsOfStore {
		h := newHistory(t, wrap)
		for _, tt := range []struct {
			name   string
			do     func(t *testing.T, s *pal.Mem)
			says   []string
			labels string // of what is left
		}{
			{"the old root is back beside the new one", func(t *testing.T, s *pal.Mem) {
				put(t, s, h.before, h.old)
			}, nil, "key last last renamed root"}, // the record of the new one still says that it is gone
			{"the old root is back for the new one", func(t *testing.T, s *pal.Mem) {
				put(t, s, h.before, h.old)
				put(t, s, h.before, h.now)
			}, []string{"record " + h.old, "an older state", "objects are missing: 1"}, "key last last renamed"},
			{"the new root is gone", func(t *testing.T, s *pal.Mem) {
				put(t, s, h.before, h.now)
			}, []string{"objects are missing: 1"}, "key last last renamed"},
			{"the key has its old name", func(t *testing.T, s *pal.Mem) {
				put(t, s, h.before, h.key)
			}, []string{"record " + h.key, "objects are missing: 1"}, "key last last root"},
			{"the inventory is gone", func(t *testing.T, s *pal.Mem) {
				require.NoError(t, s.Remove("inventory"))
			}, []string{"record " + h.now, "record " + h.key}, ""},
			{"the inventory is the old one", func(t *testing.T, s *pal.Mem) {
				put(t, s, h.before, "inventory")
			}, []string{"record " + h.now, "record " + h.key, "objects are missing"}, "key"},
			{"the inventory is of another token", func(t *testing.T, s *pal.Mem) {
				b, err := s.Load("inventory")
				require.NoError(t, err)
				b[2] ^= 1
				require.NoError(t, s.Save("inventory", signed(b[:len(b)-4])))
			}, []string{"record " + h.now, "record " + h.key}, ""},
			{"the inventory is forged", func(t *testing.T, s *pal.Mem) {
				b, err := s.Load("inventory")
				require.NoError(t, err)
				b[len(b)-5] ^= 1
				require.NoError(t, s.Save("inventory", signed(b[:len(b)-4])))
			}, []string{"record inventory", "somebody else has changed it"}, ""},
			{"a record says that the new root is replaced", func(t *testing.T, s *pal.Mem) {
				token, err := s.Load("token")
				require.NoError(t, err)
				id, err := hex.DecodeString(h.newRoot.ID())
				require.NoError(t, err)
				b := append([]byte{1, 'o'}, token[3+8:3+16]...) // the epoch
				b = append(append(append(b, 0, 1), id...), 0)
				require.NoError(t, s.Save("o-0011223344556677", signed(b)))
			}, []string{"objects are missing: 1"}, "key last last renamed"},
			{"a record is damaged", func(t *testing.T, s *pal.Mem) {
				require.NoError(t, s.Save(h.now, []byte("damaged")))
			}, []string{"record " + h.now, "objects are missing: 1"}, "key last last renamed"},
		} {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				mem := clone(t, h.after)
				tt.do(t, mem)
				token := open(t, h.sim, wrap(mem), tpm.Options{})
				_, err := token.Objects(t.Context())
				if tt.name != "a record is damaged" {
					require.NoError(t, err, "before login nothing can be checked")
				}
				require.NoError(t, token.Login(t.Context(), pkcs11.CKU_USER, userPIN))
				for range 2 {
					labels, err := labelsOf(t, token)
					require.Equal(t, tt.labels, labels)
					if tt.says == nil {
						require.NoError(t, err)
						continue
					}
					require.ErrorIs(t, err, pal.ErrCorrupt)
					require.ErrorIs(t, err, pkcs11.CKR_DEVICE_ERROR)
					for _, s := range append(tt.says, "accept=true") {
						require.ErrorContains(t, err, s)
					}
				}
				if tt.says == nil {
					return
				}
				// A change does not make it good.
				rootCA(t, token, "another root")
				after, err := labelsOf(t, token)
				require.ErrorIs(t, err, pal.ErrCorrupt)
				require.Equal(t, strings.TrimSpace(tt.labels+" root"), after)
				require.NoError(t, token.Close())

				// Somebody who knows why takes what is there, and the next change makes
				// that last.
				token = open(t, h.sim, wrap(mem), tpm.Options{AcceptObjects: true})
				require.NoError(t, token.Login(t.Context(), pkcs11.CKU_USER, userPIN))
				_, err = labelsOf(t, token)
				if strings.Contains(tt.name, "damaged") {
					require.ErrorIs(t, err, pal.ErrCorrupt)
					return
				}
				require.NoError(t, err)
				rootCA(t, token, "yet another root")
				accepted, err := labelsOf(t, token)
				require.NoError(t, err)
				require.NoError(t, token.Close())
				token = open(t, h.sim, wrap(mem), tpm.Options{})
				require.NoError(t, token.Login(t.Context(), pkcs11.CKU_USER, userPIN))
				labels, err := labelsOf(t, token)
				require.NoError(t, err)
				require.Equal(t, accepted, labels)
			})
		}
	}
}

// labelsOf returns the labels of all objects, sorted.
func labelsOf(t *testing.T, token *tpm.Token) (string, error) {
	t.Helper()
	objects, err := token.Objects(t.Context())
	return joined(objects), err
}

// On a store that makes one change at a time the last change, and no other, can be
// undone.
func TestLastChange(t *testing.T) {
	sim, mem := patient(t), new(pal.Mem)
	token := initialized(t, sim, plain{mem}, tpm.Options{})
	first := rootCA(t, token, "first")
	before := clone(t, mem)
	second := rootCA(t, token, "second", first)
	require.NoError(t, token.Close())
	put(t, mem, before, "o-"+first.ID())
	put(t, mem, before, "o-"+second.ID())
	token = open(t, sim, plain{mem}, tpm.Options{})
	require.NoError(t, token.Login(t.Context(), pkcs11.CKU_USER, userPIN))
	require.Equal(t, []byte("first"), byLabel(t, token, "root").Attributes().Bytes(pkcs11.CKA_VALUE))
}

// There is an end to what the inventory can list, and it is an error that says so.
func TestManyObjects(t *testing.T) {
	store := new(pal.Mem)
	token := initialized(t, patient(t), store, tpm.Options{})
	rootCA(t, token, "first")
	tpm.FillStock(token, 1998)
	last := rootCA(t, token, "last")
	names, err := store.Names()
	require.NoError(t, err)
	one := pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_DATA)), pkcs11.Attr(pkcs11.CKA_TOKEN, true)}
	_, err = token.CreateObject(t.Context(), one, nil)
	require.ErrorIs(t, err, pkcs11.CKR_DEVICE_MEMORY)
	require.ErrorContains(t, err, "room for 2000 objects")
	after, err := store.Names()
	require.NoError(t, err)
	require.ElementsMatch(t, names, after)
	_, err = token.CreateObject(t.Context(), one, []driver.Object{last})
	require.NoError(t, err, "in place of another one")
}
