package tpm_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/tpm"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/internal/tpmtest"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var rerecord = flag.Bool("golden", false, "write testdata/v2* anew: only for a format that nobody has stored yet")

// The golden stores: the records in NAME.txt, one a line, and in NAME.tpm the TPM
// that has their keys, as swtpm keeps it. They are on devices: they stay readable
// for ever.
var golden = []string{"v1", "v1-nopin", "v2", "v2-nopin"}

// fillGolden makes one object of every kind. Their names say what they are.
func fillGolden(t *testing.T, token *tpm.Token) {
	t.Helper()
	ctx := t.Context()
	old := newEC(t, token, "replaced")
	public, private := templates("EC", true)
	_, _, err := token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, public.Set(pkcs11.Attr(pkcs11.CKA_EC_PARAMS, p256)), private, []driver.Object{old})
	require.NoError(t, err)
	newRSA(t, token, "RSA")
	ec, _, _ := softwareKey(t)
	importEC(t, token, ec, "imported")
	require.NoError(t, token.Persist(ctx, newEC(t, token, "persistent")))
	file, err := token.ExportTSS2(ctx, newEC(t, token, "exported"), nil)
	require.NoError(t, err)
	_, _, err = token.ImportTSS2(ctx, file, nil, "key file")
	require.NoError(t, err)
	_, err = token.Attest(ctx, find(t, token, "EC"), []byte("nonce"))
	require.NoError(t, err)
	create := func(label string, private bool, more ...pkcs11.Attribute) {
		attrs := append(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_PRIVATE, private), pkcs11.Attr(pkcs11.CKA_LABEL, label)}, more...)
		_, err := token.CreateObject(ctx, attrs, nil)
		require.NoError(t, err)
	}
	class := func(c pkcs11.ObjectClass) pkcs11.Attribute { return pkcs11.Attr(pkcs11.CKA_CLASS, uint64(c)) }
	value := pkcs11.Attr(pkcs11.CKA_VALUE, bytes.Repeat([]byte{7}, 32))
	create("certificate", false, class(pkcs11.CKO_CERTIFICATE), pkcs11.Attr(pkcs11.CKA_CERTIFICATE_TYPE, uint64(pkcs11.CKC_X_509)), value)
	create("public data", false, class(pkcs11.CKO_DATA), value)
	create("private data", true, class(pkcs11.CKO_DATA), value)
	for label, typ := range map[string]pkcs11.KeyType{"AES": pkcs11.CKK_AES, "HMAC": pkcs11.CKK_GENERIC_SECRET} {
		create(label, true, class(pkcs11.CKO_SECRET_KEY), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(typ)), pkcs11.Attr(pkcs11.CKA_SENSITIVE, true), pkcs11.Attr(pkcs11.CKA_SIGN, true), value)
	}
	create("outside", true, class(pkcs11.CKO_SECRET_KEY), pkcs11.Attr(pkcs11.CKA_KEY_TYPE, uint64(pkcs11.CKK_GENERIC_SECRET)), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true), value)
	_, err = token.Update(ctx, byLabel(t, token, "public data"), pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "renamed data")})
	require.NoError(t, err)
}

// goldenLabels are those of the objects that a login shows.
var goldenLabels = []string{"AES", "EC", "EC", "HMAC", "RSA", "RSA", "certificate", "exported", "exported", "imported",
	"key file", "key file", "outside", "persistent", "persistent", "private data", "renamed data", "replaced"}

func byLabel(t *testing.T, token *tpm.Token, label string) driver.Object {
	t.Helper()
	objects, err := token.Objects(t.Context())
	require.NoError(t, err)
	i := slices.IndexFunc(objects, func(o driver.Object) bool { return o.Attributes().Text(pkcs11.CKA_LABEL) == label })
	require.NotEqual(t, -1, i, label)
	return objects[i]
}

// checkGolden uses every object of fillGolden.
func checkGolden(t *testing.T, token *tpm.Token) {
	t.Helper()
	ctx := t.Context()
	objects, err := token.Objects(ctx)
	require.NoError(t, err)
	var labels []string
	for _, o := range objects {
		labels = append(labels, o.Attributes().Text(pkcs11.CKA_LABEL))
	}
	slices.Sort(labels)
	require.Equal(t, goldenLabels, labels)
	for _, label := range []string{"EC", "RSA", "imported", "persistent", "exported", "key file"} {
		sign(t, find(t, token, label))
	}
	for label, want := range map[string]struct {
		m   pkcs11.MechanismType
		mac string
	}{
		"AES":     {pkcs11.CKM_AES_CMAC, "0RFqobs/Fe9L/C/QIms3BQ=="},
		"HMAC":    {pkcs11.CKM_SHA256_HMAC, "IbvJoxTUquzeZxHVG92pXl8E6xF/Q+WXd9PBHlOfUgM="},
		"outside": {pkcs11.CKM_SHA256_HMAC, "IbvJoxTUquzeZxHVG92pXl8E6xF/Q+WXd9PBHlOfUgM="},
	} {
		mac, err := byLabel(t, token, label).(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: want.m}, []byte("data"))
		require.NoError(t, err)
		require.Equal(t, want.mac, base64.StdEncoding.EncodeToString(mac), label)
	}
	_, err = byLabel(t, token, "HMAC").(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_SHA384_HMAC}, []byte("data"))
	require.ErrorIs(t, err, pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "keys were made for one hash function then")
	for _, label := range []string{"certificate", "renamed data", "private data"} {
		require.Equal(t, bytes.Repeat([]byte{7}, 32), byLabel(t, token, label).Attributes().Bytes(pkcs11.CKA_VALUE), label)
	}
	_, err = token.Attest(ctx, find(t, token, "EC"), []byte("nonce"))
	require.NoError(t, err)
	require.False(t, find(t, token, "imported").Attributes().Bool(pkcs11.CKA_LOCAL))
	require.True(t, find(t, token, "EC").Attributes().Bool(pkcs11.CKA_LOCAL))
}

// makeGolden writes a golden store and its TPM.
func makeGolden(t *testing.T, name string) {
	t.Helper()
	sim, store := patient(t), new(pal.Mem)
	token := initialized(t, sim, store, tpm.Options{NoPIN: strings.HasSuffix(name, "-nopin")})
	fillGolden(t, token)
	token.ReadRandom(t.Context(), make([]byte, 8))
	sessions, err := store.Load("sessions")
	require.NoError(t, err)
	require.NoError(t, token.Close())
	require.NoError(t, store.Save("sessions", sessions)) // as of a process that died
	var b strings.Builder
	names, err := store.Names()
	require.NoError(t, err)
	slices.Sort(names)
	for _, name := range names {
		data, err := store.Load(name)
		require.NoError(t, err)
		fmt.Fprintf(&b, "%s %s\n", name, base64.StdEncoding.EncodeToString(data))
	}
	require.NoError(t, os.WriteFile(filepath.Join("testdata", name+".txt"), []byte(b.String()), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join("testdata", name+".tpm"), sim.State(), 0o644))
}

func readGolden(t testing.TB, name string) *pal.Mem {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	require.NoError(t, err)
	store := new(pal.Mem)
	for line := range strings.Lines(string(text)) {
		name, enc, _ := strings.Cut(strings.TrimSpace(line), " ")
		data, err := base64.StdEncoding.DecodeString(enc)
		require.NoError(t, err)
		require.NoError(t, store.Save(name, data))
	}
	return store
}

// Every record of a golden store is parsed, with all that is in it, and would be
// written byte for byte as it is. That needs no TPM.
func TestGoldenRecords(t *testing.T) {
	for _, name := range golden {
		if *rerecord && strings.HasPrefix(name, "v2") {
			makeGolden(t, name)
		}
		store := readGolden(t, name)
		names, err := store.Names()
		require.NoError(t, err)
		kinds := map[byte]int{}
		for _, name := range names {
			data, err := store.Load(name)
			require.NoError(t, err)
			again, err := tpm.Recode(name, data)
			require.NoError(t, err)
			require.Equal(t, data, again, name)
			kinds[data[1]]++
		}
		want := map[byte]int{'t': 1, 'a': 1, 's': 1, 'k': 1, 'o': 13}
		if name[1] >= '2' {
			want['i'] = 1
		}
		require.Equal(t, want, kinds)
	}
	// The secret of a token without PIN is there: its records are authentic, and its
	// private objects can be read.
	for _, name := range []string{"v1-nopin", "v2-nopin"} {
		objects, err := tpm.OpenWithoutTPM(readGolden(t, name))
		require.NoError(t, err)
		var labels []string
		for _, attrs := range objects {
			labels = append(labels, attrs.Text(pkcs11.CKA_LABEL))
		}
		slices.Sort(labels)
		require.Equal(t, goldenLabels, labels)
	}
}

// A golden store is used, and changed, with the TPM that it was made on.
func TestGolden(t *testing.T) {
	for _, name := range golden {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state, err := os.ReadFile(filepath.Join("testdata", name+".tpm"))
			require.NoError(t, err)
			sim := tpmtest.StartConfig(t, tpmtest.Config{State: state})
			store := readGolden(t, name)
			for range 2 {
				token := open(t, sim, store, tpm.Options{})
				require.Equal(t, "gateway", token.Info().Label)
				if !strings.HasSuffix(name, "-nopin") {
					objects, err := token.Objects(t.Context())
					require.NoError(t, err)
					require.Len(t, objects, 8, "public ones")
					require.NoError(t, token.Login(t.Context(), pkcs11.CKU_USER, userPIN))
				}
				checkGolden(t, token)
				newEC(t, token, "later")
				require.NoError(t, token.Destroy(t.Context(), find(t, token, "later"), byLabel(t, token, "later")))
				require.NoError(t, token.Close())
			}
			token := open(t, sim, store, tpm.Options{})
			require.NoError(t, token.Login(t.Context(), pkcs11.CKU_SO, soPIN))
			record, err := store.Load("token")
			require.NoError(t, err)
			require.Equal(t, name[1]-'0', record[0], "the version that it had")
		})
	}
}

// What a newer program has written is refused, by its version.
func TestNewerRecords(t *testing.T) {
	newer := func(b []byte) []byte {
		b = bytes.Clone(b[:len(b)-4])
		b[0] = 9
		return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	store := readGolden(t, "v2-nopin")
	names, err := store.Names()
	require.NoError(t, err)
	for _, name := range names {
		data, err := store.Load(name)
		require.NoError(t, err)
		_, err = tpm.Recode(name, newer(data))
		require.ErrorIs(t, err, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, name)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, "record "+name+" has format version 9")
	}
	// One object of a newer version hides nothing else.
	name := names[slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, "o-") })]
	data, err := store.Load(name)
	require.NoError(t, err)
	require.NoError(t, store.Save(name, newer(data)))
	objects, err := tpm.OpenWithoutTPM(store)
	require.ErrorContains(t, err, "format version 9")
	require.NotEmpty(t, objects)
	data, err = store.Load("token")
	require.NoError(t, err)
	require.NoError(t, store.Save("token", newer(data)))
	_, err = tpm.New(t.Context(), nothing{}, store, nil)
	require.ErrorContains(t, err, "record token has format version 9, this program knows versions up to")
}

// nothing is a TPM that is not there.
type nothing struct{}

func (nothing) Send([]byte) ([]byte, error) { return nil, errors.New("there is no TPM") }
