package soft

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki/driver"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// weak is a source that is the same on every device, and passes the health tests.
type weak struct {
	n   uint64
	err error
}

func (w *weak) ReadEntropy(b []byte) error {
	for i := range b {
		if i%32 == 0 {
			w.n++
		}
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, w.n))
		b[i] = sum[i%32]
	}
	return w.err
}

func (w *weak) Health() error { return nil }

var errNoise = errors.New("no noise today")

// withRandomness opens a token with its own sources.
func withRandomness(t *testing.T, store pal.Store, seed pal.Seed, sources ...pal.EntropySource) *Token {
	t.Helper()
	o := *cheap
	o.Entropy, o.Seed = sources, seed
	token, err := New(store, &o)
	must(t, err)
	t.Cleanup(func() { token.Close() })
	return token
}

func random(t *testing.T, token *Token) []byte {
	t.Helper()
	b := make([]byte, 48)
	must(t, token.ReadRandom(ctx, b))
	return b
}

// TestNoEntropy has nothing made and nothing changed without good entropy, and the
// keys that there are usable all the same.
func TestNoEntropy(t *testing.T) {
	store := new(pal.Mem)
	token := newToken(t, store)
	login(t, token)
	generateP256(t, token, "key")
	must(t, token.Close())

	source := &weak{err: errNoise}
	token = withRandomness(t, store, nil, pal.SystemEntropy, source)
	b := bytes.Repeat([]byte{0xaa}, 64)
	err := token.ReadRandom(ctx, b)
	wantCode(t, "ReadRandom", err, pkcs11.CKR_DEVICE_ERROR)
	if !errors.Is(err, errNoise) || !bytes.Equal(b, make([]byte, len(b))) {
		t.Errorf("ReadRandom: %x, %v", b, err)
	}
	login(t, token)
	before := contents(t, store)
	for name, make := range map[string]func() error{
		"P-256":   func() error { return newPair(token, "P-256") },
		"P-521":   func() error { return newPair(token, "P-521") },
		"Ed25519": func() error { return newPair(token, "Ed25519") },
		"X25519":  func() error { return newPair(token, "X25519") },
		"RSA":     func() error { return newPair(token, "RSA-2048") },
		"AES": func() error {
			_, err := token.GenerateKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN}, attrs(pkcs11.CKA_VALUE_LEN, uint64(32)), nil)
			return err
		},
		"SetPIN":    func() error { return token.SetPIN(ctx, pkcs11.CKU_USER, userPIN, []byte("another")) },
		"InitToken": func() error { return token.InitToken(ctx, soPIN, "new") },
	} {
		if err := make(); !errors.Is(err, errNoise) || !errors.Is(err, pkcs11.CKR_DEVICE_ERROR) {
			t.Errorf("%s: %v, want %v with CKR_DEVICE_ERROR", name, err, errNoise)
		}
	}
	if after := contents(t, store); after != before {
		t.Errorf("the store has changed from\n%s\nto\n%s", before, after)
	}
	digest := sha256.Sum256([]byte("message"))
	sig, err := find(t, token, pkcs11.CKO_PRIVATE_KEY, "key").(driver.Signer).Sign(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, digest[:])
	must(t, err)
	verify(t, find(t, token, pkcs11.CKO_PUBLIC_KEY, "key"), &pkcs11.Mechanism{Type: pkcs11.CKM_ECDSA}, digest[:], sig)

	source.err = nil
	random(t, token) // it is back
	must(t, newPair(token, "P-256"))
}

func newPair(token *Token, kind string) error {
	for _, k := range kinds {
		if k.name == kind {
			_, _, err := token.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: k.gen}, publicTemplate(k.typ, kind, k.params...), privateTemplate(k.typ, kind), nil)
			return err
		}
	}
	panic("no kind " + kind)
}

// TestCandidates has keys of every curve within its order, and all bits of them
// used.
func TestCandidates(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		n := (curve.Params().BitSize + 7) / 8
		or, and := make([]byte, n), bytes.Repeat([]byte{0xff}, n)
		for range 100 {
			key, err := token.generateEC(curve)
			must(t, err)
			d := key.secret.Bytes(pkcs11.CKA_VALUE)
			parsed, err := ecdsa.ParseRawPrivateKey(curve, d)
			must(t, err)
			if !parsed.PublicKey.Equal(key.public) {
				t.Fatalf("%s: the public key is another one's", curve.Params().Name)
			}
			for i := range d {
				or[i] |= d[i]
				and[i] &= d[i]
			}
		}
		want := bytes.Repeat([]byte{0xff}, n)
		want[0] >>= n*8 - curve.Params().BitSize
		if !bytes.Equal(or, want) || !bytes.Equal(and, make([]byte, n)) {
			t.Errorf("%s: bits that are set sometimes %x, always %x", curve.Params().Name, or, and)
		}
	}
}

// TestCopiedFlash starts two devices from the same flash.
func TestCopiedFlash(t *testing.T) {
	original := new(pal.Mem)
	must(t, pal.StoreSeed(original, "seed").WriteSeed(bytes.Repeat([]byte("seed of a device"), 3)))
	newToken(t, original)
	for name, sources := range map[string]func() []pal.EntropySource{
		"a weak source beside the system's": func() []pal.EntropySource { return []pal.EntropySource{new(weak), pal.SystemEntropy} },
		"the default":                       func() []pal.EntropySource { return nil },
		"the seed and a weak source":        func() []pal.EntropySource { return []pal.EntropySource{new(weak)} },
		"the seed alone":                    func() []pal.EntropySource { return []pal.EntropySource{} },
	} {
		t.Run(name, func(t *testing.T) {
			var got, seeds [2][]byte
			for i := range got {
				store := clone(t, original)
				token := withRandomness(t, store, pal.StoreSeed(store, "seed"), sources()...)
				got[i] = random(t, token)
				seeds[i] = make([]byte, pal.SeedLen)
				must(t, pal.StoreSeed(store, "seed").ReadSeed(seeds[i]))
				login(t, token)
				generateP256(t, token, "key")
			}
			if bytes.Equal(got[0], got[1]) || bytes.Equal(seeds[0], seeds[1]) {
				t.Error("both generate the same")
			}
		})
	}
}

// TestSeedInTheStore uses a seed that is a record beside the objects.
func TestSeedInTheStore(t *testing.T) {
	store := new(pal.Mem)
	seed := pal.StoreSeed(store, "seed")
	first := bytes.Repeat([]byte("seed of a device"), 3)
	current := func() []byte {
		b := make([]byte, pal.SeedLen)
		must(t, seed.ReadSeed(b))
		return b
	}
	must(t, seed.WriteSeed(first))
	newToken(t, store)
	if !bytes.Equal(current(), first) {
		t.Fatal("a token without Seed has changed the record")
	}
	token := withRandomness(t, store, seed)
	login(t, token)
	if !bytes.Equal(current(), first) {
		t.Error("the seed was replaced before anything random was needed")
	}
	generateP256(t, token, "key")
	second := current()
	if bytes.Equal(second, first) {
		t.Error("the seed is still stored")
	}
	random(t, token)
	if !bytes.Equal(current(), second) {
		t.Error("the seed was replaced again")
	}
	must(t, token.InitToken(ctx, soPIN, "new"))
	random(t, withRandomness(t, store, seed))
	if bytes.Equal(current(), second) {
		t.Error("the next start has used the same seed")
	}
	if _, err := token.Objects(ctx); err != nil {
		t.Errorf("a seed among the records: %v", err)
	}
}

// seedless is a store in which no seed can be saved.
type seedless struct {
	*pal.Mem
	err error
}

func (s *seedless) Save(name string, data []byte) error {
	if name == "seed" {
		return s.err
	}
	return s.Mem.Save(name, data)
}

// contents are all records of a store.
func contents(t *testing.T, store pal.Store) string {
	t.Helper()
	names, err := store.Names()
	must(t, err)
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		data, err := store.Load(name)
		must(t, err)
		fmt.Fprintf(&b, "%s %x\n", name, data)
	}
	return b.String()
}

// TestSeedCannotBeWritten cuts the power, or fills the medium, before the new seed is
// there: nothing is generated from the old one.
func TestSeedCannotBeWritten(t *testing.T) {
	store := new(pal.Mem)
	must(t, pal.StoreSeed(store, "seed").WriteSeed(bytes.Repeat([]byte("seed of a device"), 3)))
	newToken(t, store)
	before := contents(t, store)
	for name, failure := range map[string]error{"full": pal.ErrFull, "read-only": pal.ErrReadOnly, "broken": errors.New("EIO")} {
		medium := &seedless{clone(t, store), failure}
		token := withRandomness(t, medium, pal.StoreSeed(medium, "seed"))
		b := bytes.Repeat([]byte{0xaa}, 64)
		if err := token.ReadRandom(ctx, b); !errors.Is(err, failure) || !bytes.Equal(b, make([]byte, 64)) {
			t.Errorf("%s: %x, %v", name, b, err)
		}
		if contents(t, medium.Mem) != before {
			t.Errorf("%s: the store has changed", name)
		}
	}
	token := withRandomness(t, store, pal.StoreSeed(store, "absent"))
	if err := token.ReadRandom(ctx, make([]byte, 1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no seed: %v, want fs.ErrNotExist", err)
	}
}

func TestRandomnessByName(t *testing.T) {
	dir := t.TempDir()
	must(t, pal.NewFileSeed(dir+"/seed").WriteSeed(bytes.Repeat([]byte("seed of a device"), 3)))
	for _, tt := range []struct {
		name, want string
	}{
		{"soft:mem=true;entropy=system", ""},
		{"soft:mem=true;entropy=system,/dev/urandom", ""},
		{"soft:mem=true;entropy=/dev/urandom;seed=" + dir + "/seed", ""},
		{"soft:mem=true;seed=" + dir + "/absent", "absent"},
		{"soft:mem=true;seed=store", "seed"},
		{"soft:mem=true;entropy=/dev/zero", "health"},
		{"soft:mem=true;entropy=time", "time"},
		{"soft:mem=true;entropy=system,", `""`},
		{"soft:mem=true;entropy=" + dir + "/seed", "no device"},
		{"soft:dir=" + dir + "/absent;entropy=/dev/urandom", "no directory"},
	} {
		token, err := driver.Open(ctx, tt.name)
		if err == nil {
			err = token.(driver.RandomReader).ReadRandom(ctx, make([]byte, 100))
			must(t, token.Close())
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestReadRandomDoesNotAllocate(t *testing.T) {
	token := newToken(t, new(pal.Mem))
	var b [32]byte
	if n := testing.AllocsPerRun(1000, func() {
		if err := token.ReadRandom(ctx, b[:]); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestDiagnosisTakesTheSameParameters has a name that opens a token be one that can
// be diagnosed.
func TestDiagnosisTakesTheSameParameters(t *testing.T) {
	takes := func(err error) string {
		_, list, ok := strings.Cut(fmt.Sprint(err), "; soft takes ")
		if !ok {
			t.Fatalf("no list of parameters in %v", err)
		}
		return list
	}
	const name = "soft:mem=true;colour=blue"
	_, err := driver.Open(ctx, name)
	_, derr := driver.Diagnose(ctx, name)
	if a, b := takes(err), takes(derr); a != b {
		t.Errorf("opening takes %s\ndiagnosis takes %s", a, b)
	}
}
