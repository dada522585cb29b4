//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package processes_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/fileflash"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// A state is what the objects on a token are, by their labels, and the user's PIN.
type state struct {
	kinds map[string]string // pair, data or secret
	pin   int
}

func (s state) clone() state {
	c := state{map[string]string{}, s.pin}
	for label, kind := range s.kinds {
		c.kinds[label] = kind
	}
	return c
}

// lines are what process.list says of such a token.
func (s state) lines() []string {
	lines := []string{}
	for label, kind := range s.kinds {
		switch kind {
		case "pair":
			lines = append(lines, "CKO_PRIVATE_KEY "+label, "CKO_PUBLIC_KEY "+publicLabel(label))
		case "data":
			lines = append(lines, "CKO_DATA "+label)
		case "secret":
			lines = append(lines, "CKO_SECRET_KEY "+label)
		}
	}
	slices.Sort(lines)
	return lines
}

func publicLabel(label string) string {
	if label == cryptoki.DevicePrivateKey {
		return cryptoki.DevicePublicKey
	}
	return label
}

// readState learns the state from the token, which holds objects of such kinds
// only.
func readState(ctx context.Context, p *process) (state, error) {
	s := state{kinds: map[string]string{}}
	objects, err := p.Objects(ctx, nil)
	if err != nil {
		return s, err
	}
	for _, o := range objects {
		switch o.Class {
		case pkcs11.CKO_PRIVATE_KEY:
			s.kinds[o.Label] = "pair"
		case pkcs11.CKO_DATA:
			s.kinds[o.Label] = "data"
		case pkcs11.CKO_SECRET_KEY:
			s.kinds[o.Label] = "secret"
		}
	}
	return s, nil
}

// An operation is one that changes a token, as a line of text: a verb, and the
// labels that it is about.
type operation []string

// random chooses an operation that is possible now.
func (s state) random(r *mathrand.Rand, n int) operation {
	label := fmt.Sprintf("object-%d", n)
	var there []string
	for label := range s.kinds {
		there = append(there, label)
	}
	slices.Sort(there)
	verbs := []string{"generate", "place", "create", "secret", "pin", "wrong"}
	if len(there) > 0 {
		verbs = append(verbs, "copy", "rename", "destroy", "destroy")
	}
	verb := verbs[r.IntN(len(verbs))]
	if len(there) > 10 {
		verb = "destroy"
	}
	switch verb {
	case "place":
		return operation{verb, cryptoki.DevicePrivateKey}
	case "pin", "wrong":
		return operation{verb, strconv.Itoa(1 - s.pin)}
	case "destroy":
		return operation{verb, there[r.IntN(len(there))]}
	case "copy", "rename":
		for _, i := range r.Perm(len(there)) {
			if s.kinds[there[i]] != "pair" { // which is two objects
				return operation{verb, there[i], label}
			}
		}
		verb = "create"
	}
	return operation{verb, label}
}

// apply is the operation in the model.
func (s state) apply(o operation) state {
	s = s.clone()
	switch o[0] {
	case "generate", "place":
		s.kinds[o[1]] = "pair"
	case "create":
		s.kinds[o[1]] = "data"
	case "secret":
		s.kinds[o[1]] = "secret"
	case "copy":
		s.kinds[o[2]] = s.kinds[o[1]]
	case "rename":
		s.kinds[o[2]] = s.kinds[o[1]]
		delete(s.kinds, o[1])
	case "destroy":
		delete(s.kinds, o[1])
	case "pin":
		s.pin = 1 - s.pin
	}
	return s
}

// do is the operation on the token.
func (p *process) do(ctx context.Context, s state, o operation) error {
	session := func(do func(se cryptoki.Session) error) error {
		se, err := p.Session(ctx, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		if err != nil {
			return err
		}
		return errors.Join(do(se), se.Close())
	}
	handle := func(se cryptoki.Session, label string) (pkcs11.ObjectHandle, error) {
		found, err := p.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, label)})
		if err == nil && len(found) != 1 {
			err = fmt.Errorf("%d objects %q", len(found), label)
		}
		if err != nil {
			return 0, err
		}
		return found[0].Handle, nil
	}
	switch o[0] {
	case "generate", "place":
		_, err := p.GenerateKey(ctx, cryptoki.KeySpec{Label: o[1], PublicLabel: publicLabel(o[1]), Algorithm: cryptoki.P256})
		return err
	case "create":
		return session(func(se cryptoki.Session) error {
			_, err := se.CreateObject(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.Attr(pkcs11.CKA_TOKEN, true),
				pkcs11.Attr(pkcs11.CKA_PRIVATE, len(o[1])%2 == 0), pkcs11.Attr(pkcs11.CKA_LABEL, o[1]), pkcs11.Attr(pkcs11.CKA_VALUE, make([]byte, 700))})
			return err
		})
	case "secret":
		return session(func(se cryptoki.Session) error {
			_, err := se.GenerateKey(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_AES_KEY_GEN}, pkcs11.Template{
				pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_LABEL, o[1]), pkcs11.Attr(pkcs11.CKA_VALUE_LEN, uint64(32))})
			return err
		})
	case "copy":
		return session(func(se cryptoki.Session) error {
			h, err := handle(se, o[1])
			if err != nil {
				return err
			}
			_, err = se.CopyObject(ctx, h, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, o[2])})
			return err
		})
	case "rename":
		return session(func(se cryptoki.Session) error {
			h, err := handle(se, o[1])
			if err != nil {
				return err
			}
			return se.SetAttributeValue(ctx, h, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, o[2])})
		})
	case "destroy":
		var all []cryptoki.Object
		for _, label := range slices.Compact([]string{o[1], publicLabel(o[1])}) {
			found, err := p.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, label)})
			if err != nil {
				return err
			}
			all = append(all, found...)
		}
		return p.Destroy(ctx, all...)
	case "pin":
		return p.ChangePIN(ctx, pkcs11.CKU_USER, userPINs[s.pin], userPINs[1-s.pin])
	case "wrong":
		err := p.ChangePIN(ctx, pkcs11.CKU_USER, []byte("not the PIN"), userPINs[0])
		if !errors.Is(err, pkcs11.CKR_PIN_INCORRECT) {
			return fmt.Errorf("a wrong PIN: %w", err)
		}
		return p.ChangePIN(ctx, pkcs11.CKU_USER, userPINs[s.pin], userPINs[s.pin])
	}
	return fmt.Errorf("operation %q", o)
}

// childChange changes the token at random for ever, and says before and after each
// operation what it does.
func childChange(ctx context.Context, args []string) error {
	seed, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	fmt.Println("start")
	var p *process
	var s state
	for pin := range userPINs {
		if p, err = open(ctx, args[0], pin, fileflash.Options{}); err != nil {
			return err
		}
		if s, err = readState(ctx, p); err == nil {
			s.pin = pin
			break
		}
		if err := errors.Join(p.close()); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	r := mathrand.New(mathrand.NewPCG(seed, 0))
	for n := seed << 16; ; n++ {
		o := s.random(r, int(n))
		fmt.Println("begin\t" + strings.Join(o, "\t"))
		if err := p.do(ctx, s, o); err != nil {
			return fmt.Errorf("%v: %w", o, err)
		}
		fmt.Println("end")
		s = s.apply(o)
	}
}

// TestKill kills processes that change a token, at random moments. Afterwards
// each operation has happened or not: what another process sees that has been
// there all the time is what the model says, and so is what a new one sees. Every
// key belongs to the other one of its pair, nothing is left over, and nobody waits
// for a lock.
func TestKill(t *testing.T) {
	// Two tokens, so that both of a small machine's processors have something to
	// do.
	for _, lane := range []string{"one token", "another token"} {
		t.Run(lane, func(t *testing.T) {
			t.Parallel()
			testKill(t, kills/2)
		})
	}
}

func testKill(t *testing.T, kills int) {
	ctx := t.Context()
	dir := newToken(t)
	reader := mustOpen(t, dir, 0, fileflash.Options{})
	_, err := reader.list(ctx) // logs in, before the PIN changes
	must(t, err)
	r := mathrand.New(mathrand.NewPCG(1, 2))
	s := state{kinds: map[string]string{}}
	operations, unsure, done := 0, 0, 0
	for i := range kills {
		begun, completed := killOne(t, dir, i, r)
		operations += len(begun)
		for _, o := range begun[:completed] {
			s = s.apply(o)
		}
		may := []state{s}
		if completed < len(begun) {
			may = append(may, s.apply(begun[completed]))
			unsure++
		}
		got, err := reader.list(ctx)
		must(t, err)
		at := slices.IndexFunc(may, func(s state) bool { return slices.Equal(got, s.lines()) })
		if at < 0 {
			t.Fatalf("kill %d, after %d of %q:\n%s\nwant\n%s", i, completed, begun, strings.Join(got, "\n"), strings.Join(s.lines(), "\n"))
		}
		pins := []int{s.pin, may[len(may)-1].pin}
		if s = may[at]; at > 0 {
			done++
		}
		if pins[0] != pins[1] || i%5 == 0 || i == kills-1 {
			if s.pin, err = checkFresh(ctx, dir, pins, s.lines()); err != nil {
				t.Fatalf("kill %d, after %d of %q: %v", i, completed, begun, err)
			}
		}
	}
	t.Logf("%d kills, %d operations begun, %d of them cut off, of which %d have happened", kills, operations, unsure, done)
	if unsure < kills/4 {
		t.Errorf("only %d of %d kills came during an operation", unsure, kills)
	}
}

// killOne lets a process change the token and kills it. It returns the operations
// that were begun, and how many of them were completed.
func killOne(t *testing.T, dir string, seed int, r *mathrand.Rand) (begun []operation, completed int) {
	t.Helper()
	c := child(t, "change", dir, strconv.Itoa(seed))
	out, err := c.StdoutPipe()
	must(t, err)
	var stderr strings.Builder
	c.Stderr = &stderr
	must(t, c.Start())
	lines := bufio.NewReader(out)
	var text strings.Builder
	// After so many lines, and then somewhere on the way to the next.
	for range r.IntN(10) {
		line, err := lines.ReadString('\n')
		text.WriteString(line)
		if err != nil {
			break
		}
	}
	for until := time.Now().Add(time.Duration(r.IntN(500)) * time.Microsecond); time.Now().Before(until); {
	}
	must(t, c.Process.Kill())
	rest, err := io.ReadAll(lines)
	must(t, err)
	text.Write(rest)
	err = c.Wait()
	if c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("kill %d: the process ended before: %v %s\n%s", seed, err, &stderr, &text)
	}
	for line := range strings.Lines(text.String()) {
		switch f := strings.Split(strings.TrimSpace(line), "\t"); {
		case !strings.HasSuffix(line, "\n"):
		case f[0] == "begin":
			begun = append(begun, f[1:])
		case f[0] == "end":
			completed++
		}
	}
	return begun, completed
}

// checkFresh opens the token anew, with one of the PINs, and looks at all of it.
func checkFresh(ctx context.Context, dir string, pins []int, want []string) (pin int, err error) {
	var p *process
	var got []string
	for _, pin = range pins {
		if p, err = open(ctx, dir, pin, fileflash.Options{}); err != nil {
			return pin, err
		}
		defer p.close()
		if got, err = p.list(ctx); err == nil {
			break
		}
	}
	if err != nil {
		return pin, err
	}
	if !slices.Equal(got, want) {
		return pin, fmt.Errorf("a new process sees\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	objects, err := p.Objects(ctx, pkcs11.Template{pkcs11.Attr(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)})
	if err != nil {
		return pin, err
	}
	for _, o := range objects {
		key, err := p.Signer(ctx, o.Label)
		if err != nil {
			return pin, err
		}
		pub, err := p.PublicKey(ctx, publicLabel(o.Label))
		if err != nil {
			return pin, err
		}
		digest := make([]byte, 32)
		sig, err := key.Sign(rand.Reader, digest, crypto.SHA256)
		if err != nil {
			return pin, err
		}
		if !ecdsa.VerifyASN1(pub.(*ecdsa.PublicKey), digest, sig) {
			return pin, fmt.Errorf("the keys of %q are no pair", o.Label)
		}
	}
	// What is in the store is these objects, and what every token has.
	names, err := p.flash.Names()
	if err != nil {
		return pin, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "o-") })
	if len(names) != len(got) {
		return pin, fmt.Errorf("%d records of %d objects", len(names), len(got))
	}
	if err := p.flash.Check(); err != nil {
		return pin, err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return pin, err
	}
	if len(files) != 1 { // the login has removed whatever a compaction had left
		return pin, fmt.Errorf("files %v", files)
	}
	if st := p.flash.Stats(); st.Size > max(fileMinimum, 3*st.Live+fileMinimum/2) {
		return pin, fmt.Errorf("the log has %d bytes, %d of them live", st.Size, st.Live)
	}
	return pin, nil
}

// fileMinimum is what a log may always have.
const fileMinimum = 64 << 10

// childHold keeps the lock of a token's directory until it is killed.
func childHold(ctx context.Context, args []string) error {
	p, err := open(ctx, args[0], 0, fileflash.Options{})
	if err != nil {
		return err
	}
	if _, err := p.flash.Lock(); err != nil {
		return err
	}
	fmt.Println("locked")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// TestReadersDoNotWait: while another process holds the token's lock, a token that
// is logged in finds, reads and signs; a change waits, until the other one dies.
func TestReadersDoNotWait(t *testing.T) {
	ctx := t.Context()
	dir := newToken(t)
	p := mustOpen(t, dir, 0, fileflash.Options{})
	_, err := p.GenerateKey(ctx, cryptoki.KeySpec{Label: "key", Algorithm: cryptoki.P256})
	must(t, err)
	c := child(t, "hold", dir)
	_, err = c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	if line != "locked\n" {
		t.Fatal(line)
	}
	for range 3 {
		if _, err := p.list(ctx); err != nil {
			t.Fatal(err)
		}
		key, err := p.Signer(ctx, "key")
		must(t, err)
		_, err = key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
		must(t, err)
	}
	// A new process reads what is public.
	q := mustOpen(t, dir, 0, fileflash.Options{})
	public, err := q.soft.Objects(ctx)
	must(t, err)
	if len(public) != 1 {
		t.Errorf("%d public objects", len(public))
	}
	changed := make(chan error)
	go func() {
		_, err := p.GenerateKey(ctx, cryptoki.KeySpec{Label: "another", Algorithm: cryptoki.P256})
		changed <- err
	}()
	select {
	case err := <-changed:
		t.Errorf("a change did not wait: %v", err)
	case <-time.After(20 * time.Millisecond): // it cannot be seen waiting
	}
	must(t, c.Process.Kill())
	c.Wait()
	must(t, <-changed)
}
