package cryptoki_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var digest = sha256.Sum256([]byte("message"))

// limited returns a module whose token has that many sessions, and says so only
// if told.
func limited(t testing.TB, sessions int, told bool) *changed {
	t.Helper()
	soft, err := soft.New(&pal.Mem{}, &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := cryptoki.NewModule(&cryptoki.ModuleOptions{MaxSessions: sessions}, soft)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	c := &changed{Module: m}
	if !told {
		c.info = func(info *pkcs11.TokenInfo) {
			info.MaxSessionCount, info.MaxRwSessionCount = pkcs11.Unavailable, pkcs11.Unavailable
		}
	}
	return c
}

func setUp(t testing.TB, m cryptoki.Module, opts *cryptoki.Options) *cryptoki.Token {
	t.Helper()
	token := tokenOf(t, m, opts)
	if err := token.Initialize(t.Context(), cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPIN}); err != nil {
		t.Fatal(err)
	}
	return token
}

// Many goroutines share the few sessions that a token has, one even, whether it
// says how many or not; everybody gets a turn, and the PIN is asked for as
// seldom as that allows.
func TestPoolKeepsToTheTokensLimit(t *testing.T) {
	for _, limit := range []int{1, 2, 3, 0} {
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d sessions, told %v", limit, told), func(t *testing.T) {
				m := limited(t, limit, told)
				var asked atomic.Int32
				token := setUp(t, m, &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
					asked.Add(1)
					return bytes.Clone(userPIN), nil
				}})
				s := generate(t, token, "k", cryptoki.P256)
				before := asked.Load()
				var wg sync.WaitGroup
				for i := range 12 {
					wg.Go(func() {
						for range 20 {
							if _, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil {
								t.Error(err)
								return
							}
							if i%4 == 0 {
								if _, err := token.Random().Read(make([]byte, 8)); err != nil {
									t.Error(err)
									return
								}
							}
						}
					})
				}
				wg.Wait()
				if n := asked.Load() - before; n != 0 {
					t.Errorf("the PIN was asked for %d times while nobody logged out", n)
				}
				// Writers and readers in turn: a reader's session makes room.
				for i := range 3 {
					label := fmt.Sprint("key ", i)
					if _, err := token.GenerateKey(t.Context(), cryptoki.KeySpec{Label: label, Algorithm: cryptoki.P256}); err != nil {
						t.Fatal(err)
					}
					if _, err := token.Signer(t.Context(), label); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
	}
}

func TestPoolWaitHonoursTheContext(t *testing.T) {
	m := limited(t, 1, true)
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	s, err := token.Session(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := token.Objects(ctx, nil)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !errors.Is(err, pkcs11.CKR_FUNCTION_CANCELED) {
		t.Errorf("error %v; want one that says canceled", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Objects(t.Context(), nil); err != nil {
		t.Errorf("after the session came back: %v", err)
	}
}

// Who came first is served first.
func TestPoolIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := limited(t, 1, true)
		var order []string // one session: no two searches at a time
		m.searched = func(filter pkcs11.Template) { order = append(order, filter.Text(pkcs11.CKA_LABEL)) }
		token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
		s, err := token.Session(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				if _, err := token.Objects(t.Context(), pkcs11.Template{labelled(fmt.Sprint(i))}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		s.Close()
		wg.Wait()
		if got := strings.Join(order, " "); got != "0 1 2 3 4" {
			t.Errorf("served in the order %s", got)
		}
	})
}

// Others have all the sessions, and none will come back: that is an error, at
// once.
func TestNoSessionLeft(t *testing.T) {
	m := limited(t, 1, false)
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	other, err := m.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Objects(t.Context(), nil); !errors.Is(err, pkcs11.CKR_SESSION_COUNT) || !strings.Contains(err.Error(), "close some") {
		t.Errorf("error %v", err)
	}
	other.Close()
	if _, err := token.Objects(t.Context(), nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Giving sessions back, borrowed ones too, never logs the token out (crypto11
// #9): the PIN is asked for once.
func TestClosingSessionsDoesNotLogOut(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	asked := 0
	token := setUp(t, m, &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		asked++
		return bytes.Clone(userPIN), nil
	}})
	for _, flags := range []pkcs11.SessionFlags{0, pkcs11.CKF_RW_SESSION, 0, pkcs11.CKF_SERIAL_SESSION} {
		s, err := token.Session(t.Context(), flags)
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context())
		want := pkcs11.CKS_RO_USER_FUNCTIONS
		if flags&pkcs11.CKF_RW_SESSION != 0 {
			want = pkcs11.CKS_RW_USER_FUNCTIONS
		}
		if err != nil || info.State != want {
			t.Errorf("session with flags %x: state %v, error %v; want %v", flags, info.State, err, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); !errors.Is(err, pkcs11.CKR_SESSION_HANDLE_INVALID) {
			t.Errorf("closed twice: error %v", err)
		}
	}
	// A burst of sessions, more than are kept.
	k := generate(t, token, "k", cryptoki.P256)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if _, err := k.Sign(nil, digest[:], crypto.SHA256); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if asked != 1 {
		t.Errorf("the PIN was asked for %d times", asked)
	}
	token.Close()
	if o, c := m.opened.Load(), m.closed.Load()-4; o != c { // each of four was closed twice
		t.Errorf("%d sessions opened, %d closed", o, c)
	}
	if _, err := k.Sign(nil, digest[:], crypto.SHA256); !errors.Is(err, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) {
		t.Errorf("after Close: error %v", err)
	}
}

// A session pool does not grow with time.
func TestPoolReusesSessions(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	k := generate(t, token, "k", cryptoki.P256)
	before := m.opened.Load()
	for range 50 {
		if _, err := k.Sign(nil, digest[:], crypto.SHA256); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.opened.Load() - before; n > 1 {
		t.Errorf("50 signatures one after the other opened %d sessions", n)
	}
}

// hold has calls of op wait until release is called, and tells when one does.
func hold(m *changed, op string) (entered <-chan struct{}, release func()) {
	in, gate := make(chan struct{}, 100), make(chan struct{})
	m.before = func(o string, _ *changedSession) error {
		if o == op {
			in <- struct{}{}
			<-gate
		}
		return nil
	}
	return in, func() { close(gate) }
}

// Who stops waiting does not take the session that comes back with it.
func TestPoolForgetsWhoLeft(t *testing.T) {
	m := limited(t, 1, true)
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	k := generate(t, token, "k", cryptoki.P256)
	entered, release := hold(m, "Sign")
	signed := make(chan error)
	go func() {
		_, err := k.Sign(nil, digest[:], crypto.SHA256)
		signed <- err
	}()
	<-entered
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := token.Objects(ctx, nil)
			left <- err
		}()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	release()
	if err := <-signed; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // for a pool that has lost its session
	defer cancel()
	if _, err := token.Objects(ctx, nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// After a loss, none of the sessions in the pool is good, however many there are.
func TestPoolOfLostSessions(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	k := generate(t, token, "k", cryptoki.P256)
	entered, release := hold(m, "Sign")
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := k.Sign(nil, digest[:], crypto.SHA256); err != nil {
				t.Error(err)
			}
		})
	}
	for range 5 {
		<-entered
	}
	release()
	wg.Wait()
	if err := m.CloseAllSessions(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Sign(nil, digest[:], crypto.SHA256); err != nil {
		t.Error(err)
	}
}

// Goroutines that come together ask for the PIN once.
func TestOneLoginForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		answer := make(chan struct{})
		token := setUp(t, newModule(t, &pal.Mem{}, false), &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
			asked++
			<-answer
			return bytes.Clone(userPIN), nil
		}})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := token.Objects(t.Context(), nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // all wait for the one who asks
		close(answer)
		wg.Wait()
		if asked != 1 {
			t.Errorf("the PIN was asked for %d times", asked)
		}
	})
}

// What may have been done is not done again.
func TestChangesAreNotRepeatedBlindly(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
	cert := newAuthority(t, "ca", nil).cert
	for code, want := range map[pkcs11.Error]int{pkcs11.CKR_DEVICE_REMOVED: 1, pkcs11.CKR_TOKEN_NOT_PRESENT: 1, pkcs11.CKR_USER_NOT_LOGGED_IN: 2, pkcs11.CKR_SESSION_HANDLE_INVALID: 2} {
		n := 0
		m.before = func(op string, _ *changedSession) error {
			if op != "CreateObject" {
				return nil
			}
			n++
			return code
		}
		if err := token.ImportCertificate(t.Context(), "c", cert); !errors.Is(err, code) || n != want {
			t.Errorf("error %v after %d calls, want %d", err, n, want)
		}
	}
}

// Once there is no PIN any more, the token is used logged out.
func TestThePINSourceRunsDry(t *testing.T) {
	m := newModule(t, &pal.Mem{}, false)
	pin := userPIN
	token := setUp(t, m, &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) { return bytes.Clone(pin), nil }})
	generate(t, token, "k", cryptoki.P256)
	pin = nil
	if err := m.CloseAllSessions(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if objects, err := token.Objects(t.Context(), nil); err != nil || len(objects) != 1 {
		t.Errorf("objects %v, error %v; want the public key", objects, err)
	}
	if _, err := token.Signer(t.Context(), "k"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "logged out") {
		t.Errorf("error %v", err)
	}
}
