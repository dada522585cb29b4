package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/internal/aesmode"
	"github.com/go-cryptoki/cryptoki/internal/backup"
	"github.com/go-cryptoki/cryptoki/internal/keys"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// memoryToken returns a new token that is logged in.
func memoryToken(t *testing.T, o soft.Options) *cryptoki.Token {
	t.Helper()
	return tokenOver(t, new(pal.Mem), o)
}

func tokenOver(t *testing.T, store pal.Store, o soft.Options) *cryptoki.Token {
	t.Helper()
	ctx := t.Context()
	o.KDF = soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}
	device, err := soft.New(store, &o)
	must(t, err)
	m, err := cryptoki.NewModule(nil, device)
	must(t, err)
	t.Cleanup(func() { m.Close() })
	slots, err := m.Slots(ctx, true)
	must(t, err)
	token, err := cryptoki.NewToken(ctx, m, slots[0], &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		return []byte("1357-user"), nil
	}})
	must(t, err)
	t.Cleanup(func() { token.Close() })
	must(t, token.Initialize(ctx, cryptoki.Setup{Label: "token", SOPIN: []byte("2468-so"), UserPIN: []byte("1357-user")}))
	return token
}

var oids = map[string][]byte{
	"P-256":   {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
	"P-384":   {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22},
	"P-521":   {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23},
	"Ed25519": {0x06, 0x03, 0x2b, 0x65, 0x70},
	"X25519":  {0x06, 0x03, 0x2b, 0x65, 0x6e},
}

// fillToken makes one of each, with the attributes of keys that more has.
func fillToken(t *testing.T, token *cryptoki.Token, more pkcs11.Template) {
	t.Helper()
	ctx := t.Context()
	s, err := token.Session(ctx, pkcs11.CKF_RW_SESSION)
	must(t, err)
	defer s.Close()
	named := func(label string, t ...pkcs11.Attribute) pkcs11.Template {
		return append(pkcs11.Template{pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_LABEL, label)}, t...)
	}
	for _, kind := range []string{"P-256", "P-384", "P-521", "Ed25519", "X25519", "RSA"} {
		m := pkcs11.CKM_EC_KEY_PAIR_GEN
		public := named(kind, pkcs11.Attr(pkcs11.CKA_EC_PARAMS, oids[kind]))
		private := append(named(kind), more...)
		switch kind {
		case "Ed25519":
			m = pkcs11.CKM_EC_EDWARDS_KEY_PAIR_GEN
		case "X25519":
			m = pkcs11.CKM_EC_MONTGOMERY_KEY_PAIR_GEN
			private = append(private, pkcs11.Attr(pkcs11.CKA_DERIVE, true))
		case "RSA":
			m = pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN
			public = named(kind, pkcs11.Attr(pkcs11.CKA_MODULUS_BITS, 2048))
			private = append(private, pkcs11.Attr(pkcs11.CKA_ALLOWED_MECHANISMS, []pkcs11.MechanismType{pkcs11.CKM_RSA_PKCS_PSS}))
		}
		_, _, err := s.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: m}, public, private)
		must(t, err)
	}
	_, err = s.GenerateKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN}, append(named("AES", pkcs11.Attr(pkcs11.CKA_VALUE_LEN, 16), pkcs11.Attr(pkcs11.CKA_ENCRYPT, true)), more...))
	must(t, err)
	_, err = s.GenerateKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_GENERIC_SECRET_KEY_GEN}, append(named("secret", pkcs11.Attr(pkcs11.CKA_VALUE_LEN, 13), pkcs11.Attr(pkcs11.CKA_SIGN, true)), more...))
	must(t, err)
	_, err = s.CreateObject(ctx, named("data", pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.Attr(pkcs11.CKA_PRIVATE, true),
		pkcs11.Attr(pkcs11.CKA_APPLICATION, "test"), pkcs11.Attr(pkcs11.CKA_VALUE, []byte("some data"))))
	must(t, err)
	_, err = s.CreateObject(ctx, named("empty", pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.Attr(pkcs11.CKA_MODIFIABLE, false)))
	must(t, err)
}

// computed are attributes that a token makes anew, since they are not true of a
// copy.
var computed = []pkcs11.AttributeType{pkcs11.CKA_LOCAL, pkcs11.CKA_KEY_GEN_MECHANISM, pkcs11.CKA_ALWAYS_SENSITIVE,
	pkcs11.CKA_NEVER_EXTRACTABLE, pkcs11.CKA_UNIQUE_ID, pkcs11.CKA_MODULUS_BITS}

// shown are the objects of a token with all that it shows of them, sorted.
func shown(t *testing.T, token *cryptoki.Token) []string {
	t.Helper()
	objects, err := token.Objects(t.Context(), nil)
	must(t, err)
	var out []string
	for _, o := range objects {
		attrs := slices.DeleteFunc(o.Attributes.Clone(), func(a pkcs11.Attribute) bool { return slices.Contains(computed, a.Type) })
		slices.SortFunc(attrs, func(a, b pkcs11.Attribute) int { return int(a.Type) - int(b.Type) })
		var b strings.Builder
		for _, a := range attrs {
			fmt.Fprintf(&b, "%v=%v ", a.Type, a.Value)
		}
		out = append(out, b.String())
	}
	slices.Sort(out)
	return out
}

// transfer copies all objects, through a file.
func transfer(t *testing.T, from, to *cryptoki.Token) (out string, c *backup.Contents) {
	t.Helper()
	ctx := t.Context()
	c, err := collect(ctx, from)
	must(t, err)
	file, err := backup.Seal(c, []byte("password"), backup.KDF{MemoryKiB: 8, Passes: 1, Threads: 1})
	must(t, err)
	c, err = backup.Open(file, []byte("password"))
	must(t, err)
	f, err := os.Create(t.TempDir() + "/out")
	must(t, err)
	defer f.Close()
	must(t, (&app{stdout: f}).put(ctx, to, c, result{done: "moved"}))
	b, err := os.ReadFile(f.Name())
	must(t, err)
	return string(b), c
}

// TestTransfer moves one object of each kind, by each of the ways in which a token
// gives out the values of keys.
func TestTransfer(t *testing.T) {
	for name, tt := range map[string]struct {
		o    soft.Options
		more pkcs11.Template
	}{
		"keys that show their values":       {more: pkcs11.Template{pkcs11.Attr(pkcs11.CKA_SENSITIVE, false), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true)}},
		"sensitive keys":                    {more: pkcs11.Template{pkcs11.Attr(pkcs11.CKA_SENSITIVE, true), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true)}},
		"keys for which the SO allowed it":  {o: soft.Options{Backup: true}, more: pkcs11.Template{pkcs11.Attr(pkcs11.CKA_SENSITIVE, true), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, false)}},
		"extractable ones where it allowed": {o: soft.Options{Backup: true}, more: pkcs11.Template{pkcs11.Attr(pkcs11.CKA_SENSITIVE, true), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true)}},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := memoryToken(t, tt.o), memoryToken(t, soft.Options{})
			fillToken(t, from, tt.more)
			out, _ := transfer(t, from, to)
			if strings.Contains(out, "NOT") || strings.Count(out, "moved: ") != 16 {
				t.Errorf("it says\n%s", out)
			}
			if a, b := shown(t, from), shown(t, to); !slices.Equal(a, b) {
				t.Errorf("objects before\n%s\nafter\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
			}
			for _, kind := range []string{"P-256", "P-384", "P-521", "RSA", "Ed25519"} {
				checkSigns(t, to, kind)
			}
			if a, b := mac(t, from), mac(t, to); !bytes.Equal(a, b) {
				t.Errorf("MACs with the secret: %x before, %x after", a, b)
			}
			again, _ := transfer(t, from, to)
			if strings.Count(again, "present already: ") != 16 || len(shown(t, to)) != 16 {
				t.Errorf("the second time it says\n%s", again)
			}
		})
	}
}

func checkSigns(t *testing.T, token *cryptoki.Token, label string) {
	t.Helper()
	ctx := t.Context()
	signer, err := token.Signer(ctx, label)
	must(t, err)
	digest := sha256.Sum256([]byte("message"))
	if pub, ok := signer.Public().(*ecdsa.PublicKey); ok {
		sig, err := signer.Sign(nil, digest[:], crypto.SHA256)
		must(t, err)
		if !ecdsa.VerifyASN1(pub, digest[:], sig) {
			t.Errorf("%s: the signature is wrong", label)
		}
		return
	}
	var opts crypto.SignerOpts = crypto.Hash(0)
	if label == "RSA" {
		opts = crypto.SHA256
		// CKA_ALLOWED_MECHANISMS has come along: PSS only.
		if _, err := signer.Sign(nil, digest[:], opts); err == nil {
			t.Errorf("%s: signs by a mechanism that it must not use", label)
		}
		return
	}
	_, err = signer.Sign(nil, digest[:], opts)
	must(t, err)
}

func mac(t *testing.T, token *cryptoki.Token) []byte {
	t.Helper()
	ctx := t.Context()
	objects, err := token.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "secret")})
	must(t, err)
	s, err := token.Session(ctx, 0)
	must(t, err)
	defer s.Close()
	must(t, s.SignInit(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_SHA256_HMAC}, objects[0].Handle))
	b := make([]byte, 32)
	_, err = s.Sign(ctx, []byte("message"), b)
	must(t, err)
	return b
}

// failing is a store that fails from its n-th change on, if err is not nil.
type failing struct {
	*pal.Mem
	n   int
	err error
}

func (f *failing) Batch(changes []pal.Change) error {
	if f.err != nil {
		if f.n--; f.n < 0 {
			return f.err
		}
	}
	return f.Mem.Batch(changes)
}

// TestInterrupted has a token fail while objects are created in it: what was created
// is said, what stopped it is the error, not a reason why the other objects stay
// where they are, and the next run goes on.
func TestInterrupted(t *testing.T) {
	ctx := t.Context()
	from := memoryToken(t, soft.Options{Backup: true})
	fillToken(t, from, nil)
	for _, tt := range []struct {
		err  error
		code pkcs11.Error
	}{
		{syscall.EIO, pkcs11.CKR_DEVICE_ERROR},
		{pal.ErrFull, pkcs11.CKR_DEVICE_MEMORY},
		{pal.ErrReadOnly, pkcs11.CKR_TOKEN_WRITE_PROTECTED},
	} {
		for _, n := range []int{0, 1, 5} {
			store := &failing{Mem: new(pal.Mem)}
			to := tokenOver(t, store, soft.Options{})
			c, err := collect(ctx, from)
			must(t, err)
			run := func() (string, error) {
				f, err := os.Create(t.TempDir() + "/out")
				must(t, err)
				defer f.Close()
				perr := (&app{stdout: f}).put(ctx, to, c, result{done: "moved"})
				b, err := os.ReadFile(f.Name())
				must(t, err)
				return string(b), perr
			}
			store.n, store.err = n, tt.err
			out, err := run()
			want := fmt.Sprintf("%s moved, %d left: ", plural(n, "object"), 16-n)
			if n == 0 {
				want = "no object was moved: "
			}
			if pkcs11.CodeOf(err) != tt.code || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v after %d: error %v, want %q and %v", tt.err, n, err, want, tt.code)
			}
			if h := (*hintError)(nil); n > 0 && (!errors.As(err, &h) || !strings.Contains(h.hints[0], "goes on with the rest")) {
				t.Errorf("%v after %d: no hint", tt.err, n)
			}
			if strings.Count(out, "moved: ") != n || strings.Contains(out, "NOT") || len(shown(t, to)) != n {
				t.Errorf("%v after %d: it says\n%s", tt.err, n, out)
			}
			store.err = nil
			s, err := to.Session(ctx, 0)
			must(t, err)
			must(t, s.Logout(ctx)) // the next login looks whether the store can be written
			must(t, s.Close())
			out, err = run()
			must(t, err)
			if strings.Count(out, "present already: ") != n || strings.Count(out, "moved: ") != 16-n || !slices.Equal(shown(t, from), shown(t, to)) {
				t.Errorf("%v after %d: the second time it says\n%s", tt.err, n, out)
			}
			c.Wipe()
		}
	}
}

// TestAlike moves objects that nothing but their values tells apart, all of them
// after an interruption too.
func TestAlike(t *testing.T) {
	ctx := t.Context()
	from, to := memoryToken(t, soft.Options{}), memoryToken(t, soft.Options{})
	create := func(token *cryptoki.Token, value string) {
		s, err := token.Session(ctx, pkcs11.CKF_RW_SESSION)
		must(t, err)
		defer s.Close()
		_, err = s.CreateObject(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.Attr(pkcs11.CKA_TOKEN, true),
			pkcs11.Attr(pkcs11.CKA_LABEL, "log"), pkcs11.Attr(pkcs11.CKA_VALUE, []byte(value))})
		must(t, err)
	}
	for _, value := range []string{"one", "two", "three"} {
		create(from, value)
	}
	create(to, "one")
	out, _ := transfer(t, from, to)
	if strings.Count(out, "present already: ") != 1 || strings.Count(out, "moved: ") != 2 || !slices.Equal(shown(t, from), shown(t, to)) {
		t.Errorf("it says\n%s", out)
	}
}

// TestWhatStays has keys listed that cannot be moved, and everything else moved.
func TestWhatStays(t *testing.T) {
	from, to := memoryToken(t, soft.Options{}), memoryToken(t, soft.Options{})
	fillToken(t, from, nil)
	out, c := transfer(t, from, to)
	if n := strings.Count(out, "NOT moved: "); n != 8 || strings.Count(out, ": it is not extractable\n") != 8 {
		t.Errorf("%d are said to stay; it says\n%s", n, out)
	}
	for _, m := range c.Missing {
		if m.Object.Has(pkcs11.CKA_VALUE) || m.Object.Has(pkcs11.CKA_PRIME_1) {
			t.Errorf("%v has a value", m.Object)
		}
	}
	if got := shown(t, to); len(got) != 8 { // six public keys, two data objects
		t.Errorf("%d objects were moved", len(got))
	}
}

// TestBackupObject has the token's policy in the way of whoever asks.
func TestBackupObject(t *testing.T) {
	ctx := t.Context()
	token := memoryToken(t, soft.Options{})
	fillToken(t, token, nil)
	objects, err := token.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)})
	must(t, err)
	s, err := token.Session(ctx, 0)
	must(t, err)
	defer s.Close()
	b := s.(cryptoki.Backuper)
	if ok, err := b.BackupAllowed(ctx); ok || err != nil {
		t.Errorf("allowed: %v, %v", ok, err)
	}
	if got, err := b.BackupObject(ctx, objects[0].Handle); pkcs11.CodeOf(err) != pkcs11.CKR_KEY_UNEXTRACTABLE || got != nil {
		t.Errorf("%v, %v, want CKR_KEY_UNEXTRACTABLE", got, err)
	}

	token = memoryToken(t, soft.Options{Backup: true})
	fillToken(t, token, nil)
	s, err = token.Session(ctx, 0)
	must(t, err)
	defer s.Close()
	b = s.(cryptoki.Backuper)
	if _, err := b.BackupObject(ctx, 99999); pkcs11.CodeOf(err) != pkcs11.CKR_OBJECT_HANDLE_INVALID {
		t.Errorf("no object: %v, want CKR_OBJECT_HANDLE_INVALID", err)
	}
	must(t, s.Logout(ctx))
	if ok, err := b.BackupAllowed(ctx); !ok || err != nil {
		t.Errorf("allowed: %v, %v", ok, err)
	}
	if _, err := b.BackupObject(ctx, objects[0].Handle); pkcs11.CodeOf(err) != pkcs11.CKR_USER_NOT_LOGGED_IN {
		t.Errorf("logged out: %v, want CKR_USER_NOT_LOGGED_IN", err)
	}
}

// foreign is a session of a module that has no backups and wraps whatever is
// extractable under any key, as SoftHSM does.
type foreign struct {
	cryptoki.Session
	value []byte // of the wrapping key
}

func (f *foreign) CreateObject(ctx context.Context, t pkcs11.Template) (pkcs11.ObjectHandle, error) {
	f.value = bytes.Clone(t.Bytes(pkcs11.CKA_VALUE))
	return f.Session.CreateObject(ctx, t)
}

func (f *foreign) WrapKey(ctx context.Context, m *pkcs11.Mechanism, wrapping, key pkcs11.ObjectHandle, wrapped []byte) (int, error) {
	all, err := f.Session.(cryptoki.Backuper).BackupObject(ctx, key)
	if err != nil {
		return 0, err
	}
	plain := all.Bytes(pkcs11.CKA_VALUE)
	if pkcs11.ObjectClass(all.Uint(pkcs11.CKA_CLASS)) == pkcs11.CKO_PRIVATE_KEY {
		k, err := keys.PrivateKey(all)
		if err != nil {
			return 0, err
		}
		if plain, err = keys.MarshalPKCS8(k); err != nil {
			return 0, err
		}
	}
	block, err := aes.NewCipher(f.value)
	if err != nil {
		return 0, err
	}
	out, err := aesmode.Encrypt(block, m, plain)
	if err != nil {
		return 0, err
	}
	if wrapped != nil && len(wrapped) < len(out) {
		return len(out), pkcs11.CKR_BUFFER_TOO_SMALL
	}
	copy(wrapped, out)
	return len(out), nil
}

// TestWrapped takes sensitive keys from a module that wraps them, by each of the
// mechanisms.
func TestWrapped(t *testing.T) {
	ctx := t.Context()
	token := memoryToken(t, soft.Options{})
	fillToken(t, token, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_SENSITIVE, true), pkcs11.Attr(pkcs11.CKA_EXTRACTABLE, true)})
	objects, err := token.Objects(ctx, nil)
	must(t, err)
	lent, err := token.Session(ctx, 0)
	must(t, err)
	defer lent.Close()
	for _, typ := range []pkcs11.MechanismType{pkcs11.CKM_AES_KEY_WRAP_KWP, pkcs11.CKM_AES_KEY_WRAP_PAD, pkcs11.CKM_AES_CBC_PAD} {
		src := &source{Session: &foreign{Session: lent}, mechs: map[pkcs11.MechanismType]pkcs11.MechanismInfo{typ: {Flags: pkcs11.CKF_WRAP}}}
		for _, o := range objects {
			got, err := src.template(ctx, o)
			if err != nil {
				t.Errorf("%v: %v: %v", typ, o, err)
				continue
			}
			want, err := lent.(cryptoki.Backuper).BackupObject(ctx, o.Handle)
			must(t, err)
			for _, s := range secretTypes {
				if !bytes.Equal(got.Bytes(s), want.Bytes(s)) {
					t.Errorf("%v: %v: %v is another one", typ, o, s)
				}
			}
		}
	}
	src := &source{Session: &foreign{Session: lent}}
	for _, o := range objects {
		if _, err := src.template(ctx, o); o.Class == pkcs11.CKO_PRIVATE_KEY && (err == nil || !strings.Contains(err.Error(), "it knows none of")) {
			t.Errorf("%v, without a mechanism: %v", o, err)
		}
	}
}

func TestBackupPasswordCosts(t *testing.T) {
	if backupKDF != backup.DefaultKDF {
		t.Errorf("a password costs %v, want %v", backupKDF, backup.DefaultKDF)
	}
}
