package soft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// edit changes a record and makes its checksum right again.
func edit(t *testing.T, store pal.Store, name string, f func(b []byte)) {
	t.Helper()
	b, err := store.Load(name)
	must(t, err)
	f(b)
	b = b[:len(b)-crcLen]
	must(t, store.Save(name, binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))))
}

func TestDiagnose(t *testing.T) {
	tries := func(t *testing.T, store pal.Store, user, so byte) {
		t.Helper()
		b, err := store.Load(nameTries)
		must(t, err)
		r, err := parseTries(b)
		must(t, err)
		r.user, r.so = user, so
		must(t, store.Save(nameTries, r.encode()))
	}
	object := func(t *testing.T, store pal.Store) string {
		t.Helper()
		names, err := store.Names()
		must(t, err)
		for _, name := range names {
			if strings.HasPrefix(name, objectPrefix) {
				return name
			}
		}
		t.Fatal("no object")
		return ""
	}
	first := privateDir(t)
	store, err := fileflash.Open(first, nil)
	must(t, err)
	defer store.Close()
	// As strong as a token should be, so that no finding is about that.
	strong := *cheap
	strong.KDF = KDF{MemoryKiB: 19 << 10, Passes: 2, Threads: 1}
	token, err := New(store, &strong)
	must(t, err)
	must(t, token.InitToken(ctx, soPIN, "gateway"))
	must(t, token.Login(ctx, pkcs11.CKU_SO, soPIN))
	must(t, token.InitPIN(ctx, userPIN))
	must(t, token.Logout(ctx))
	login(t, token)
	fill(t, token, 2)
	must(t, token.Close())
	log, err := os.ReadFile(filepath.Join(first, "flash.log"))
	must(t, err)
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, store pal.Store) // store has a token with a key pair
		want   []string                            // for each finding that is not good: severity and name, text, cure
	}{
		{"healthy", func(*testing.T, pal.Store) {}, nil},
		{"not initialized", func(t *testing.T, store pal.Store) {
			names, err := store.Names()
			must(t, err)
			for _, name := range names {
				must(t, store.Remove(name))
			}
		}, []string{"problem token", "is not initialized", "cryptoki init"}},
		{"one wrong user PIN", func(t *testing.T, store pal.Store) { tries(t, store, 1, 0) },
			[]string{"warning user-pin", "wrong user PINs since the last right one: 1 of 10", "a right one resets"}},
		{"one try left", func(t *testing.T, store pal.Store) { tries(t, store, 9, 0) },
			[]string{"warning user-pin", "one more wrong user PIN locks it", "before the next login"}},
		{"user PIN locked", func(t *testing.T, store pal.Store) { tries(t, store, 10, 0) },
			[]string{"problem user-pin", "locked after 10 wrong ones", "cryptoki pin unlock"}},
		{"SO PIN locked", func(t *testing.T, store pal.Store) { tries(t, store, 0, 10) },
			[]string{"warning so-pin", "the SO PIN is locked", "nothing unlocks it"}},
		{"token of a newer version", func(t *testing.T, store pal.Store) {
			edit(t, store, nameToken, func(b []byte) { b[0] = 3 })
		}, []string{"problem version", "record token has format version 3, this program knows versions up to", "a newer one"}},
		{"object of a newer version", func(t *testing.T, store pal.Store) {
			edit(t, store, object(t, store), func(b []byte) { b[0] = 4 })
		}, []string{"problem version", "has format version 4", "a newer one"}},
		{"damaged token", func(t *testing.T, store pal.Store) {
			b, err := store.Load(nameToken)
			must(t, err)
			b[30] ^= 1
			must(t, store.Save(nameToken, b))
		}, []string{"problem token", "record token: record is damaged: the checksum is wrong", "backup"}},
		{"damaged counters", func(t *testing.T, store pal.Store) {
			must(t, store.Save(nameTries, []byte("nonsense")))
		}, []string{"problem tries", "record tries: record is damaged", "backup"}},
		{"damaged object", func(t *testing.T, store pal.Store) {
			b, err := store.Load(object(t, store))
			must(t, err)
			b[30] ^= 1
			must(t, store.Save(object(t, store), b))
		}, []string{"problem object", "record o-", "backup"}},
		{"object of another token", func(t *testing.T, store pal.Store) {
			edit(t, store, object(t, store), func(b []byte) { b[offEpoch] ^= 1 })
		}, []string{"problem object", "1 objects are of another token", "backup"}},
		{"damaged inventory", func(t *testing.T, store pal.Store) {
			must(t, store.Save(nameInventory, []byte("nonsense")))
		}, []string{"problem inventory", "record inventory: record is damaged", "backup"}},
		{"interrupted change", func(t *testing.T, store pal.Store) {
			must(t, store.Save(nameJournal, journalRecord{}.encode()))
		}, []string{"warning interrupted", "a change was interrupted", "the next opening"}},
		{"unknown record", func(t *testing.T, store pal.Store) {
			must(t, store.Save("x-1", []byte("of a later program")))
		}, []string{"warning record", "x-1", "a newer one"}},
		{"no user PIN yet", func(t *testing.T, store pal.Store) {
			token := openToken(t, store)
			must(t, token.InitToken(ctx, soPIN, "new"))
		}, []string{"warning user-pin", "no PIN yet", "cryptoki pin unlock"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := privateDir(t)
			must(t, os.WriteFile(filepath.Join(dir, "flash.log"), log, 0o600))
			store, err := fileflash.Open(dir, nil)
			must(t, err)
			defer store.Close()
			tt.change(t, store)
			want := tt.want
			if tt.name == "no user PIN yet" {
				want = append(want, "warning kdf", "the SO PIN costs", "higher Options.KDF") // openToken is cheap
			}
			compareFindings(t, "soft:dir="+dir, want)
		})
	}
}

// compareFindings diagnoses a token and compares what is not in order, apart from
// what this machine may be guilty of.
func compareFindings(t *testing.T, name string, want []string) {
	t.Helper()
	all, err := driver.Diagnose(ctx, name)
	must(t, err)
	var found []driver.Finding
	for _, f := range all {
		require.Equal(t, f.Severity == driver.Good, f.Cure == "", "%+v", f)
		require.NotContains(t, f.Text, "CKR_")
		if f.Severity != driver.Good && (f.Name != "medium" || strings.Contains(name, "mem=true")) && f.Name != "space" {
			found = append(found, f)
		}
	}
	require.Len(t, found, len(want)/3, "%+v", found)
	for i, f := range found {
		w := want[3*i:]
		require.Equal(t, w[0], fmt.Sprint(f.Severity, " ", f.Name))
		require.Contains(t, f.Text, w[1])
		require.Contains(t, f.Cure, w[2])
	}
}

// sealing is a store on a platform that has a key, and not much of one.
type sealing struct{ *fileflash.Store }

func (sealing) Seal(secret []byte) ([]byte, error) { return append([]byte{'s'}, secret...), nil }

func (sealing) Unseal(sealed []byte) ([]byte, error) { return bytes.Clone(sealed[1:]), nil }

// What a token was made with matters.
func TestDiagnoseProtection(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   Options
		sealed bool
		want   []string
	}{
		{"a cheap KDF", Options{KDF: KDF{MemoryKiB: 12 << 10, Passes: 1, Threads: 4}}, false,
			[]string{"warning kdf", "the SO PIN costs Argon2id 1 passes over 12288 KiB by 4 threads, less than", "higher Options.KDF"}},
		{"no PIN", Options{KDF: KDF{MemoryKiB: 8, Passes: 1, Threads: 1}, NoPIN: true}, false,
			[]string{"warning protection", "whoever can read the directory", "platform key"}},
		{"sealed", Options{KDF: KDF{MemoryKiB: 8, Passes: 1, Threads: 1}, NoPIN: true}, true,
			[]string{"problem sealed", "sealed by a platform's key", "the store that has the platform's key"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := privateDir(t)
			flash, err := fileflash.Open(dir, nil)
			must(t, err)
			defer flash.Close()
			var store pal.Store = flash
			if tt.sealed {
				store = sealing{flash}
			}
			token, err := New(store, &tt.opts)
			must(t, err)
			must(t, token.InitToken(ctx, soPIN, "x"))
			must(t, token.Close())
			want := tt.want
			if strings.HasPrefix(want[0], "warning kdf") {
				want = append([]string{"warning user-pin", "no PIN yet", "pin unlock"}, want...)
			}
			compareFindings(t, "soft:dir="+dir, want)
		})
	}
}

func TestDiagnoseName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "token")
	compareFindings(t, "soft:dir="+dir+";create=true", []string{"problem directory", "does not exist", "cryptoki init"})
	require.NoDirExists(t, dir)
	must(t, os.Mkdir(dir, 0o700))
	compareFindings(t, "soft:readonly=true;dir="+dir, []string{"problem token", "not initialized", "cryptoki init"})
	compareFindings(t, "soft:mem=true", []string{"warning medium", "is in memory", "soft:dir=PATH"})
	compareFindings(t, "soft:mem=true;entropy=/nonexistent;seed="+dir+"/none", []string{
		"warning medium", "is in memory", "soft:dir=PATH",
		"problem entropy", "/nonexistent", "access to the device",
		"problem seed", "does not exist", "a seed of its own",
	})
	for _, bad := range []string{"soft:", "soft:mem=true;dir=x", "soft:dir=x;wheels=4", "soft:mem=perhaps"} {
		_, err := driver.Diagnose(ctx, bad)
		wantCode(t, bad, err, pkcs11.CKR_ARGUMENTS_BAD)
	}
}

// What keeps a generator from working is a problem, as the generator sees it.
func TestDiagnoseRandomness(t *testing.T) {
	dir := privateDir(t)
	token := newToken(t, openFlash(t, dir))
	must(t, token.Close())
	seed := filepath.Join(dir, "seed")
	good := bytes.Repeat([]byte("seed"), pal.SeedLen/4)
	file := func(data []byte, mode os.FileMode) func(t *testing.T) {
		return func(t *testing.T) {
			must(t, os.WriteFile(seed, data, 0o600))
			must(t, os.Chmod(seed, mode))
		}
	}
	record := func(data []byte) func(t *testing.T) {
		return func(t *testing.T) {
			store, err := fileflash.Open(dir, nil)
			must(t, err)
			must(t, store.Save("seed", data))
			must(t, store.Close())
		}
	}
	patience = time.Minute // the machine may be busy
	const replace = "replace it by a new one: 48 random bytes"
	for _, tt := range []struct {
		name    string
		params  string
		prepare func(t *testing.T)
		want    []string
	}{
		{"the system", ";entropy=system", nil, nil},
		{"a device that is none", ";entropy=/nonexistent", nil, []string{"problem entropy", "is the driver of the noise source loaded", "access to the device"}},
		{"no source", ";entropy=wheel", nil, []string{"problem entropy", `"wheel" is none of system`, "correct entropy="}},
		{"zeros", ";entropy=system,/dev/zero", nil, []string{"problem entropy", "source of entropy 1, /dev/zero: the source of entropy fails its health test", "name another"}},
		{"nothing", ";entropy=/dev/null", nil, []string{"problem entropy", "/dev/null: EOF", "name another"}},
		{"no seed", ";seed=" + seed, nil, []string{"problem seed", seed + " does not exist", "a seed of its own"}},
		{"a seed", ";seed=" + seed, file(good, 0o600), nil},
		{"a seed for others", ";seed=" + seed, file(good, 0o644), []string{"problem seed", "others can access", replace}},
		{"a short seed", ";seed=" + seed, file(good[1:], 0o600), []string{"problem seed", "holds 47 bytes, 48 are needed", replace}},
		{"an empty seed", ";seed=" + seed, file(nil, 0o600), []string{"problem seed", "holds 0 bytes", replace}},
		{"a blank seed", ";seed=" + seed, file(bytes.Repeat([]byte{0xff}, 64), 0o600), []string{"problem seed", "blank memory, 0xff", "a seed of its own"}},
		{"a directory", ";seed=" + dir, nil, []string{"problem seed", "is not a regular file", replace}},
		{"no seed in the store", ";seed=store", nil, []string{"problem seed", "no seed in the store", "WriteSeed"}},
		{"a short seed in the store", ";seed=store", record([]byte{1, 2}), []string{"problem seed", "holds 1 bytes", replace}},
		{"a seed in the store", ";seed=store", record(append([]byte{1}, good...)), nil},
		{"a seed that cannot be replaced", ";seed=store;readonly=true", nil, []string{"problem seed", "cannot be replaced", "readonly=true"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.prepare != nil {
				tt.prepare(t)
			}
			all, err := driver.Diagnose(ctx, "soft:dir="+dir+tt.params)
			must(t, err)
			var found []string
			for _, f := range all {
				if f.Name == "entropy" || f.Name == "seed" {
					found = append(found, fmt.Sprint(f.Severity, " ", f.Name), f.Text, f.Cure)
				}
			}
			require.Len(t, found, 3)
			if tt.want == nil {
				require.Contains(t, found[0], "ok ")
			}
			for i, w := range tt.want {
				require.Contains(t, found[i], w)
			}
			// The token agrees.
			token, err := driver.Open(ctx, "soft:dir="+dir+tt.params)
			if err == nil {
				err = token.(driver.RandomReader).ReadRandom(ctx, make([]byte, 8))
				must(t, token.Close())
			}
			require.Equal(t, tt.want == nil, err == nil, "%v", err)
			os.Remove(seed)
		})
	}
}
