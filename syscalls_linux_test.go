package cryptoki_test

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/internal/need"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// costs is what each operation may cost on a token in a directory: so many syncs,
// exactly, and at most so many bytes written.
var costs = []struct {
	name         string
	syncs, bytes int
	do           func(t *testing.T, o *operations)
}{
	{"login", 2, 256, func(t *testing.T, o *operations) { o.must(t, o.s.Login(t.Context(), pkcs11.CKU_USER, userPIN)) }},
	{"generate a P-256 key pair", 1, 3 << 10, func(t *testing.T, o *operations) {
		var err error
		o.pub, o.priv, err = o.s.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, pairPublic(1), pairPrivate(1))
		o.must(t, err)
	}},
	{"generate a key pair for a signer", 1, 3 << 10, func(t *testing.T, o *operations) {
		_, err := o.token.GenerateKey(t.Context(), cryptoki.KeySpec{Label: cryptoki.DevicePrivateKey, Algorithm: cryptoki.P256})
		o.must(t, err)
	}},
	{"generate it again in its place", 1, 3 << 10, func(t *testing.T, o *operations) {
		_, err := o.token.GenerateKey(t.Context(), cryptoki.KeySpec{Label: cryptoki.DevicePrivateKey, Algorithm: cryptoki.P256})
		o.must(t, err)
	}},
	{"import a private key, and its public key", 2, 3 << 10, func(t *testing.T, o *operations) { // which are created one after the other
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		o.must(t, err)
		o.must(t, o.token.ImportPrivateKey(t.Context(), "imported", key))
	}},
	{"create a data object of 1 KiB", 1, 2 << 10, func(t *testing.T, o *operations) {
		var err error
		o.data, err = o.s.CreateObject(t.Context(), pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_CLASS, uint64(pkcs11.CKO_DATA)), pkcs11.Attr(pkcs11.CKA_TOKEN, true),
			pkcs11.Attr(pkcs11.CKA_LABEL, "data"), pkcs11.Attr(pkcs11.CKA_VALUE, make([]byte, 1<<10)),
		})
		o.must(t, err)
	}},
	{"copy it", 1, 2 << 10, func(t *testing.T, o *operations) {
		_, err := o.s.CopyObject(t.Context(), o.data, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "copy")})
		o.must(t, err)
	}},
	{"generate an AES key", 1, 1 << 10, func(t *testing.T, o *operations) {
		_, err := o.s.GenerateKey(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN}, pkcs11.Template{
			pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_VALUE_LEN, 32), pkcs11.Attr(pkcs11.CKA_LABEL, "aes"),
		})
		o.must(t, err)
	}},
	{"change a label", 1, 2 << 10, func(t *testing.T, o *operations) {
		o.must(t, o.s.SetAttributeValue(t.Context(), o.priv, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "renamed")}))
	}},
	{"search, read, sign and verify", 0, 0, func(t *testing.T, o *operations) {
		if got := findPrivate(t, o.s, 1); got != 0 {
			t.Errorf("the old label is found %d times", got)
		}
		o.must(t, o.s.GetAttributeValue(t.Context(), o.pub, pkcs11.Template{{Type: pkcs11.CKA_EC_POINT}}))
		signer, err := o.token.Signer(t.Context(), cryptoki.DevicePrivateKey)
		o.must(t, err)
		sig, err := signer.Sign(nil, digest[:], crypto.SHA256)
		o.must(t, err)
		if !ecdsa.VerifyASN1(signer.Public().(*ecdsa.PublicKey), digest[:], sig) {
			t.Error("the signature is not valid")
		}
	}},
	{"generate a session key pair", 0, 0, func(t *testing.T, o *operations) {
		session := pkcs11.Attr(pkcs11.CKA_TOKEN, false)
		_, _, err := o.s.GenerateKeyPair(t.Context(), &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN}, pairPublic(2).Set(session), pairPrivate(2).Set(session))
		o.must(t, err)
	}},
	{"destroy an object", 1, 256, func(t *testing.T, o *operations) { o.must(t, o.s.DestroyObject(t.Context(), o.data)) }},
	{"change the PIN", 3, 1 << 10, func(t *testing.T, o *operations) { // the try, that it was right, the new PIN
		o.must(t, o.s.SetPIN(t.Context(), userPIN, []byte("another PIN")))
	}},
	{"logout", 0, 0, func(t *testing.T, o *operations) { o.must(t, o.s.Logout(t.Context())) }},
	{"a wrong PIN", 1, 128, func(t *testing.T, o *operations) {
		if err := o.s.Login(t.Context(), pkcs11.CKU_USER, userPIN); err == nil {
			t.Error("the old PIN is right")
		}
	}},
}

// searching are those operations that search before they change something, and so
// look at the times of the log.
var searching = map[string]bool{
	"generate a key pair for a signer": true, "generate it again in its place": true,
	"import a private key, and its public key": true, "search, read, sign and verify": true,
}

// operations is a token in use.
type operations struct {
	token           *cryptoki.Token
	s               cryptoki.Session
	pub, priv, data pkcs11.ObjectHandle
}

func (o *operations) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSyncsAndBytes counts, with strace, the syncs and the bytes that reach the
// medium. A key pair is one sync, as is everything else that changes one thing. No
// change looks at the times of a file, which makes the sync of the next one dearer:
// see Status in package fileflash.
func TestSyncsAndBytes(t *testing.T) {
	if dir := os.Getenv("CRYPTOKI_TRACED"); dir != "" {
		traced(t, dir)
		return
	}
	strace := need.Program(t, "strace", "strace")
	if out, err := proc.Command(t, strace, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		need.Missing(t, "strace may not trace here: %v %s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "token")
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := proc.Command(t, strace, "-f", "-y", "-qq", "-s", "64", "-o", trace,
		"-e", "trace=openat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,syncfs,sync,msync,rename,renameat,renameat2,ftruncate,fstat,fstat64,newfstatat,fstatat64,stat,stat64,lstat,lstat64,statx",
		os.Args[0], "-test.run=^TestSyncsAndBytes$", "-test.count=1")
	cmd.Env = append(os.Environ(), "CRYPTOKI_TRACED="+dir, "GORACE=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var (
		mark  = regexp.MustCompile(`\bwrite\(1<[^>]*>, "mark (\d+)\\n`)
		call  = regexp.MustCompile(`^\d+ +(\w+)\((.*)`)
		bytes = regexp.MustCompile(`^\d+<[^>]*>, "(?:[^"\\]|\\.)*"(?:\.\.\.)?, (\d+)`)
	)
	type cost struct{ syncs, bytes, renames, times int }
	got := make(map[int]cost)
	at := -1
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if m := mark.FindStringSubmatch(line); m != nil {
			at, _ = strconv.Atoi(m[1])
			continue
		}
		m := call.FindStringSubmatch(line)
		if m == nil || !strings.Contains(line, dir) && m[1] != "sync" {
			continue
		}
		c := got[at]
		switch m[1] {
		case "openat":
			if strings.Contains(line, "SYNC") && !strings.Contains(line, "O_NOFOLLOW|O_DIRECTORY") {
				t.Errorf("opened for synchronous writing: %s", line)
			}
		case "write", "pwrite64":
			n := bytes.FindStringSubmatch(m[2])
			if n == nil {
				t.Fatalf("not understood: %s", line)
			}
			size, _ := strconv.Atoi(n[1])
			c.bytes += size
		case "fsync", "fdatasync":
			c.syncs++
		case "ftruncate", "rename", "renameat", "renameat2":
			c.renames++
		case "statx":
			// The mask of what is asked for comes before what is answered.
			if asked, _, _ := strings.Cut(m[2], ", {"); strings.Contains(asked, "TIME") || strings.Contains(asked, "STATS") {
				c.times++
			}
		case "fstat", "fstat64", "newfstatat", "fstatat64", "stat", "stat64", "lstat", "lstat64":
			c.times++
		default:
			t.Errorf("unexpected: %s", line)
		}
		got[at] = c
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if at != len(costs) {
		t.Fatalf("the trace ends in step %d of %d\n%s", at, len(costs), out)
	}
	for i, c := range costs {
		if g := got[i]; g.syncs != c.syncs || g.bytes > c.bytes || c.bytes > 0 && g.bytes == 0 || g.renames != 0 {
			t.Errorf("%s: %d syncs, %d bytes, %d renames and truncations; want %d syncs and at most %d bytes", c.name, g.syncs, g.bytes, g.renames, c.syncs, c.bytes)
		} else if g.times > 0 && !searching[c.name] {
			t.Errorf("%s: %d looks at times", c.name, g.times)
		} else {
			t.Logf("%s: %d syncs, %d bytes, %d looks at times", c.name, g.syncs, g.bytes, g.times)
		}
	}
}

// traced does everything in costs, and says before each what it does.
func traced(t *testing.T, dir string) {
	token, err := cryptoki.Open(t.Context(), "soft:create=true;dir="+dir, &cryptoki.Options{PIN: pinOf(userPIN)})
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	if err := token.Initialize(t.Context(), cryptoki.Setup{Label: "traced", SOPIN: soPIN, UserPIN: userPIN}); err != nil {
		t.Fatal(err)
	}
	o := &operations{token: token}
	if o.s, err = token.Module().OpenSession(t.Context(), token.Slot(), pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION); err != nil {
		t.Fatal(err)
	}
	for i, c := range costs {
		fmt.Printf("mark %d\n", i)
		c.do(t, o)
	}
	fmt.Printf("mark %d\n", len(costs))
}
