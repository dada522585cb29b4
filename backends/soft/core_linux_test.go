package soft_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	cryptoki "github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/internal/proc"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// childDir names the token for the child process of TestSecretsAreGoneAfterLogout,
// which gets the PIN by standard input.
const childDir = "CRYPTOKI_TEST_CORE_DIR"

// TestSecretsAreGoneAfterLogout looks for secrets in all the memory of a process
// that has logged in, used every key, and logged out, as somebody with a core dump
// of it does.
func TestSecretsAreGoneAfterLogout(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		useToken(t, dir)
		return
	}
	dir := t.TempDir()
	pin := []byte("nobody-finds-this-PIN-in-memory-afterwards")
	makeToken(t, dir, pin)
	store, err := fileflash.Open(dir, nil)
	must(t, err)
	secrets, err := soft.Secrets(store, bytes.Clone(pin))
	must(t, err)
	must(t, store.Close())
	secrets["a PIN that was refused"] = misspelled(pin)

	c := proc.Command(t, os.Args[0], "-test.run=^TestSecretsAreGoneAfterLogout$", "-test.v")
	c.Env = append(os.Environ(), childDir+"="+dir)
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	c.Stderr = os.Stderr
	must(t, c.Start())
	defer c.Wait()
	defer in.Close()
	if _, err := in.Write(append(bytes.Clone(pin), '\n')); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	wait := func(want string) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("the child has ended before it said %q: %v", want, err)
			}
			if strings.TrimSpace(line) == want {
				return
			}
		}
	}
	wait("logged in")
	during := memory(t, c.Process.Pid, false)
	// The race detector keeps as much again, and more, outside of Go's heap.
	heap := memory(t, c.Process.Pid, soft.RaceDetector)
	if found := search(during, secrets); !slices.Contains(found, "the token key") {
		t.Errorf("while logged in, %v are found, and not the token key: this test does not look everywhere", found)
	}
	fmt.Fprintln(in, "log out")
	wait("logged out")
	after := memory(t, c.Process.Pid, false)
	for _, name := range search(after, secrets) {
		if kept(name) {
			t.Logf("after logout, %s is in memory: Go keeps a copy that nobody can clear", name)
			continue
		}
		t.Errorf("after logout, %s is in memory", name)
	}
	// Argon2id has worked in 32 MiB, and the key can be made of their end.
	if n := used(heap); n > 24<<20 {
		t.Errorf("after login, %d MiB of memory are not zero", n>>20)
	}
}

// misspelled is a PIN that is wrong.
func misspelled(pin []byte) []byte {
	wrong := bytes.Clone(pin)
	for i := range wrong {
		wrong[i] ^= 1
	}
	return wrong
}

// kept reports whether a secret is one of those of which SECURITY.md says that
// Go's standard library keeps copies.
func kept(name string) bool {
	return strings.HasPrefix(name, "P-256 CKA_") || strings.HasPrefix(name, "Ed25519 CKA_") || strings.HasPrefix(name, "RSA CKA_")
}

// used is how many bytes of memory are in pages that are not zero.
func used(regions [][]byte) (n int) {
	for _, r := range regions {
		n += len(r)
	}
	return n
}

func isZero(page []byte) bool {
	var zero [4096]byte
	return bytes.Equal(page, zero[:len(page)])
}

// useToken is the child.
func useToken(t *testing.T, dir string) {
	ctx := context.Background()
	pin := make([]byte, 0, 64)
	for b := make([]byte, 1); ; pin = append(pin, b[0]) {
		if _, err := io.ReadFull(os.Stdin, b); err != nil || b[0] == '\n' {
			break
		}
	}
	store, err := fileflash.Open(dir, nil)
	must(t, err)
	token, err := soft.New(store, nil)
	must(t, err)
	m, err := cryptoki.NewModule(nil, token)
	must(t, err)
	slots, err := m.Slots(ctx, true)
	must(t, err)
	s, err := m.OpenSession(ctx, slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	must(t, err)
	must(t, s.Login(ctx, pkcs11.CKU_USER, pin))
	wrong := misspelled(pin)
	clear(pin)
	digest := sha256.Sum256([]byte("message"))
	for label, mechanism := range map[string]*pkcs11.Mechanism{
		"P-256": mech(pkcs11.CKM_ECDSA, nil), "Ed25519": mech(pkcs11.CKM_EDDSA, nil), "RSA": mech(pkcs11.CKM_RSA_PKCS, nil),
	} {
		h := findOne(t, s, pkcs11.CKO_PRIVATE_KEY, label)
		must(t, s.SignInit(ctx, mechanism, h))
		_, err := s.Sign(ctx, digest[:], make([]byte, 512))
		must(t, err)
	}
	must(t, s.EncryptInit(ctx, mech(pkcs11.CKM_AES_ECB, nil), findOne(t, s, pkcs11.CKO_SECRET_KEY, "AES")))
	_, err = s.Encrypt(ctx, digest[:], make([]byte, 64))
	must(t, err)
	fmt.Println("logged in")
	b := make([]byte, 8)
	io.ReadFull(os.Stdin, b)
	must(t, s.Logout(ctx))
	// A program whose PIN is wrong, and that goes on asking.
	other, err := cryptoki.NewToken(ctx, m, slots[0], &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		return bytes.Clone(wrong), nil
	}})
	must(t, err)
	for range 2 {
		_, err = other.Objects(ctx, nil)
		wantCode(t, "the wrong PIN", err, pkcs11.CKR_PIN_INCORRECT)
	}
	must(t, other.Close())
	clear(wrong)
	fmt.Println("logged out")
	io.ReadFull(os.Stdin, b)
}

func findOne(t *testing.T, s cryptoki.Session, class pkcs11.ObjectClass, label string) pkcs11.ObjectHandle {
	t.Helper()
	ctx := context.Background()
	must(t, s.FindObjectsInit(ctx, template(pkcs11.CKA_CLASS, class, pkcs11.CKA_LABEL, label)))
	list := make([]pkcs11.ObjectHandle, 2)
	n, err := s.FindObjects(ctx, list)
	must(t, err)
	must(t, s.FindObjectsFinal(ctx))
	if n != 1 {
		t.Fatalf("%d objects %v %s", n, class, label)
	}
	return list[0]
}

// memory returns all that a process may write to; of a 64-bit one perhaps only where
// Go's heap is.
func memory(t *testing.T, pid int, heap bool) [][]byte {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	must(t, err)
	defer mem.Close()
	var regions [][]byte
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") || to-from > 1<<30 {
			continue
		}
		if heap && from>>32 != 0xc0 {
			continue
		}
		b := make([]byte, to-from)
		n, _ := mem.ReadAt(b, from)
		// Most of it was never used.
		for b = b[:n]; len(b) > 0; {
			run := 0
			for run < len(b) && !isZero(b[run:min(run+4096, len(b))]) {
				run += 4096
			}
			if run = min(run, len(b)); run > 0 {
				regions = append(regions, b[:run])
			}
			b = b[min(run+4096, len(b)):]
		}
	}
	return regions
}

// search returns what is found, also with the bytes reversed as math/big keeps
// numbers, with each four bytes reversed as crypto/aes keeps keys where there is no
// assembly, and padded as HMAC keeps keys.
func search(regions [][]byte, secrets map[string][]byte) (found []string) {
	for name, secret := range secrets {
		secret = secret[:min(len(secret), 32)]
		reversed := bytes.Clone(secret)
		slices.Reverse(reversed)
		forms := [][]byte{secret, reversed, xored(secret, 0x36), xored(secret, 0x5c)}
		if len(secret)%4 == 0 {
			words := bytes.Clone(secret)
			for i := range words {
				words[i] = secret[i&^3|3-i&3]
			}
			forms = append(forms, words)
		}
		for _, form := range forms {
			if slices.ContainsFunc(regions, func(r []byte) bool { return bytes.Contains(r, form) }) {
				found = append(found, name)
				break
			}
		}
	}
	slices.Sort(found)
	return found
}

func xored(b []byte, pad byte) []byte {
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= pad
	}
	return out
}
