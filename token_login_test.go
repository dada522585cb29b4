package cryptoki_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

// tries counts the logins that reached the token.
func (m *changed) tries() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.logins)
}

func TestAWrongPINIsTriedOnce(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	pin := []byte("00000000")
	token := setUp(t, m, &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		return bytes.Clone(pin), nil
	}})
	before := m.tries()
	for range 5 {
		_, err := token.Objects(t.Context(), nil)
		if !errors.Is(err, pkcs11.CKR_PIN_INCORRECT) || !strings.Contains(err.Error(), "not tried again") || strings.Contains(err.Error(), "00000000") {
			t.Fatalf("error %v", err)
		}
	}
	if n := m.tries() - before; n != 1 {
		t.Errorf("the wrong PIN was tried %d times", n)
	}
	pin = userPIN
	if _, err := token.Objects(t.Context(), nil); err != nil {
		t.Errorf("with the right PIN: %v", err)
	}
}

// Goroutines that find the token logged out together cost one try.
func TestAWrongPINIsTriedOnceByAll(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf([]byte("00000000"))})
	before := m.tries()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := token.Objects(t.Context(), nil); !errors.Is(err, pkcs11.CKR_PIN_INCORRECT) {
				t.Errorf("error %v", err)
			}
		})
	}
	wg.Wait()
	if n := m.tries() - before; n != 1 {
		t.Errorf("the wrong PIN was tried %d times", n)
	}
}

// A PIN that was wrong may be right after somebody has set it.
func TestARefusedPINIsForgottenWhenItIsSet(t *testing.T) {
	m := newModule(t, &pal.Mem{}, false)
	newPIN := []byte("99999999")
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(newPIN)})
	if _, err := token.Objects(t.Context(), nil); !errors.Is(err, pkcs11.CKR_PIN_INCORRECT) {
		t.Fatalf("error %v", err)
	}
	// Another program changes the PIN, which resets the token's counter.
	if err := tokenOf(t, m, nil).ChangePIN(t.Context(), pkcs11.CKU_USER, userPIN, newPIN); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Objects(t.Context(), nil); err != nil {
		t.Errorf("after the change: %v", err)
	}
}

func TestTheLastTryIsNotSpent(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	setUp(t, m, nil).Close()
	wrong := []byte("00000000")
	for i := 0; ; i++ { // until one try is left
		info, err := m.TokenInfo(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if info.Flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0 {
			break
		} else if i > 20 {
			t.Fatal("the token never comes to its last try")
		}
		s, err := m.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			t.Fatal(err)
		}
		s.Login(t.Context(), pkcs11.CKU_USER, wrong)
		s.Close()
	}
	before := m.tries()
	asked := false
	pin := func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		asked = true
		return bytes.Clone(userPIN), nil
	}
	_, err := tokenOf(t, m, &cryptoki.Options{PIN: pin}).Objects(t.Context(), nil)
	if !errors.Is(err, cryptoki.ErrLastTry) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "Options.LastTry") {
		t.Errorf("error %v", err)
	}
	if asked || m.tries() != before {
		t.Error("the PIN was asked for or tried")
	}
	if _, err := tokenOf(t, m, &cryptoki.Options{PIN: pin, LastTry: true}).Objects(t.Context(), nil); err != nil {
		t.Errorf("with LastTry: %v", err)
	}
}

func TestALockedPINIsNotTried(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	setUp(t, m, nil).Close()
	m.info = func(info *pkcs11.TokenInfo) { info.Flags |= pkcs11.CKF_USER_PIN_LOCKED }
	before := m.tries()
	_, err := tokenOf(t, m, &cryptoki.Options{PIN: pinOf(userPIN)}).Objects(t.Context(), nil)
	if !errors.Is(err, pkcs11.CKR_PIN_LOCKED) || !strings.Contains(err.Error(), "the SO sets a new user PIN") || m.tries() != before {
		t.Errorf("error %v, %d tries", err, m.tries()-before)
	}
}

// What is kept to know a refused PIN by is not shown, nor are the PINs of a Setup.
func TestPrintingShowsNoPIN(t *testing.T) {
	m := newModule(t, &pal.Mem{}, false)
	setUp(t, m, nil).Close()
	token := tokenOf(t, m, &cryptoki.Options{PIN: pinOf([]byte("00000000"))})
	if _, err := token.Objects(t.Context(), nil); !errors.Is(err, pkcs11.CKR_PIN_INCORRECT) {
		t.Fatalf("error %v", err)
	}
	setup := cryptoki.Setup{Label: "gateway", SOPIN: soPIN, UserPIN: userPIN}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, token); got != "token in slot 1" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		got := fmt.Sprintf(verb, setup) + fmt.Sprintf(verb, &setup)
		for _, pin := range [][]byte{soPIN, userPIN} {
			for _, form := range []string{string(pin), strings.Trim(fmt.Sprint(pin), "[]"), fmt.Sprintf("%x", pin), strings.Trim(fmt.Sprintf("%#v", pin), "[]byte{}")} {
				if strings.Contains(got, form) {
					t.Errorf("%s prints %s", verb, got)
				}
			}
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "setup", setup)
	if !strings.Contains(log.String(), `"setup":"setup of token \"gateway\""`) {
		t.Errorf("the log has %s", &log)
	}
}

// Without a PIN the token shows what everybody may see, and says why the rest
// is missing.
func TestWithoutAPIN(t *testing.T) {
	m := newModule(t, &pal.Mem{}, false)
	generate(t, setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)}), "k", cryptoki.P256)
	if err := m.CloseAllSessions(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	none := func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) { return nil, nil }
	for name, opts := range map[string]*cryptoki.Options{"nobody to ask": nil, "nil PIN": {PIN: none}} {
		token := tokenOf(t, m, opts)
		objects, err := token.Objects(t.Context(), nil)
		if err != nil || len(objects) != 1 || objects[0].Class != pkcs11.CKO_PUBLIC_KEY {
			t.Errorf("%s: objects %v, error %v; want the public key", name, objects, err)
		}
		_, err = token.Signer(t.Context(), "k")
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "logged out") {
			t.Errorf("%s: error %v", name, err)
		}
		token.Close()
	}
	failing := func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) { return nil, fs.ErrClosed }
	if _, err := tokenOf(t, m, &cryptoki.Options{PIN: failing}).Signer(t.Context(), "k"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a PIN source that fails: error %v", err)
	}
}

// The PIN is wiped once it is used.
func TestThePINIsWiped(t *testing.T) {
	var handed [][]byte
	right := false
	token := setUp(t, newModule(t, &pal.Mem{}, false), &cryptoki.Options{PIN: func(context.Context, pkcs11.UserType, pkcs11.TokenInfo) ([]byte, error) {
		pin := []byte("00000000")
		if right {
			pin = bytes.Clone(userPIN)
		}
		handed = append(handed, pin)
		return pin, nil
	}})
	token.Objects(t.Context(), nil)
	token.Objects(t.Context(), nil) // refused without a try
	right = true
	if _, err := token.Objects(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if len(handed) != 3 {
		t.Fatalf("the PIN was asked for %d times", len(handed))
	}
	for i, pin := range handed {
		if !bytes.Equal(pin, make([]byte, len(pin))) {
			t.Errorf("PIN %d was left as %q", i, pin)
		}
	}
}

// repairs are the things that happen to a token under a program that runs for
// months.
func TestSignerSurvives(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, m *changed){
		"a logout": func(t *testing.T, m *changed) {
			s, err := m.OpenSession(t.Context(), 1, pkcs11.CKF_SERIAL_SESSION)
			if err == nil {
				err = s.Logout(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
		},
		"the loss of all sessions": func(t *testing.T, m *changed) {
			if err := m.CloseAllSessions(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		},
		"a removal":           once("Sign", pkcs11.CKR_DEVICE_REMOVED),
		"a token not present": once("SignInit", pkcs11.CKR_TOKEN_NOT_PRESENT),
		"a stale handle":      once("SignInit", pkcs11.CKR_KEY_HANDLE_INVALID),
		"another code for it": once("SignInit", pkcs11.CKR_OBJECT_HANDLE_INVALID),
		"a closed session":    once("Sign", pkcs11.CKR_SESSION_CLOSED),
		"an operation left":   once("SignInit", pkcs11.CKR_OPERATION_ACTIVE),
		"not logged in":       once("SignInit", pkcs11.CKR_USER_NOT_LOGGED_IN),
	} {
		t.Run(name, func(t *testing.T) {
			m := &changed{Module: newModule(t, &pal.Mem{}, false)}
			token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
			s := generate(t, token, "k", cryptoki.P256)
			harm(t, m)
			sig, err := s.Sign(nil, digest[:], crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			if !ecdsa.VerifyASN1(s.Public().(*ecdsa.PublicKey), digest[:], sig) {
				t.Error("the signature does not verify")
			}
			m.before = nil
			harm(t, m)
			if objects, err := token.Objects(t.Context(), nil); err != nil || len(objects) != 2 {
				t.Errorf("objects %v, error %v; want both keys", objects, err)
			}
			m.before = nil
			harm(t, m)
			if _, err := token.Signer(t.Context(), "k"); err != nil {
				t.Errorf("Signer: %v", err)
			}
		})
	}
}

// once has the next call of op fail.
func once(op string, code pkcs11.Error) func(*testing.T, *changed) {
	return func(t *testing.T, m *changed) {
		done := false
		m.before = func(o string, _ *changedSession) error {
			if o != op || done {
				return nil
			}
			done = true
			return &cryptoki.OpError{Op: op, Err: code}
		}
	}
}

// An error that stays is reported after the second time, with the key's name.
func TestSignerGivesUp(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	s := generate(t, setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)}), "k", cryptoki.P256)
	for code, want := range map[pkcs11.Error]int{pkcs11.CKR_DEVICE_REMOVED: 2, pkcs11.CKR_USER_NOT_LOGGED_IN: 2, pkcs11.CKR_DEVICE_ERROR: 1, pkcs11.CKR_FUNCTION_CANCELED: 1} {
		n := 0
		m.before = func(op string, _ *changedSession) error {
			if op != "Sign" {
				return nil
			}
			n++
			return &cryptoki.OpError{Op: op, Err: code}
		}
		_, err := s.Sign(nil, digest[:], crypto.SHA256)
		if !errors.Is(err, code) || !strings.HasPrefix(err.Error(), `cryptoki: private key "k": Sign: CKR_`) || n != want {
			t.Errorf("error %v after %d calls, want %d", err, n, want)
		}
	}
	m.before = nil
	if _, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A failed operation leaves a session that the next caller can use, also on a
// module of version 2.40 that cannot cancel.
func TestAFailedOperationLeavesNothingBehind(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	s := generate(t, setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)}), "k", cryptoki.P256)
	for _, cancel := range []bool{true, false} {
		failed := false
		m.before = func(op string, _ *changedSession) error {
			if op == "SessionCancel" && !cancel {
				return pkcs11.CKR_FUNCTION_NOT_SUPPORTED
			}
			if op == "Sign" && !failed {
				failed = true
				return pkcs11.CKR_DEVICE_ERROR // the operation is still there
			}
			return nil
		}
		before := m.tries()
		if _, err := s.Sign(nil, digest[:], crypto.SHA256); !errors.Is(err, pkcs11.CKR_DEVICE_ERROR) {
			t.Fatalf("error %v", err)
		}
		if _, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil {
			t.Errorf("cancel %v: the next signature: %v", cancel, err)
		}
		if n := m.tries() - before; n != 0 {
			t.Errorf("cancel %v: the token was logged out", cancel)
		}
	}
}

// When the key is destroyed and another one takes its label, a Signer does not
// sign with that: its Public would lie.
func TestSignerKeepsToItsKey(t *testing.T) {
	for _, hide := range [][]pkcs11.AttributeType{nil, {pkcs11.CKA_UNIQUE_ID}, {pkcs11.CKA_UNIQUE_ID, pkcs11.CKA_ID}} {
		m := &changed{Module: newModule(t, &pal.Mem{}, false), hide: hide}
		token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
		spec := cryptoki.KeySpec{Label: cryptoki.DevicePrivateKey, Algorithm: cryptoki.P256}
		if _, err := token.GenerateKey(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		old, err := token.Signer(t.Context(), spec.Label)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.GenerateKey(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		_, err = old.Sign(nil, digest[:], crypto.SHA256)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "gone from the token") {
			t.Errorf("without %v: error %v", hide, err)
		}
	}
}

// Once a handle is stale, the key is found by what else identifies it.
func TestSignerFindsItsKeyAgain(t *testing.T) {
	for _, hide := range [][]pkcs11.AttributeType{nil, {pkcs11.CKA_UNIQUE_ID}} {
		m := &changed{Module: newModule(t, &pal.Mem{}, false), hide: hide}
		token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN)})
		s := generate(t, token, "k", cryptoki.P256)
		once("SignInit", pkcs11.CKR_KEY_HANDLE_INVALID)(t, m)
		if _, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil {
			t.Errorf("without %v: %v", hide, err)
		}
	}
}

// A key that wants the PIN each time gets it.
func TestAlwaysAuthenticate(t *testing.T) {
	var asked []pkcs11.UserType
	token := setUp(t, newModule(t, &pal.Mem{}, false), &cryptoki.Options{PIN: func(_ context.Context, user pkcs11.UserType, _ pkcs11.TokenInfo) ([]byte, error) {
		asked = append(asked, user)
		return bytes.Clone(userPIN), nil
	}})
	ctx := t.Context()
	session, err := token.Session(ctx, pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, _, err := session.GenerateKeyPair(ctx, &pkcs11.Mechanism{Type: pkcs11.CKM_EC_KEY_PAIR_GEN},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_EC_PARAMS, []byte("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07")), pkcs11.Attr(pkcs11.CKA_TOKEN, true)},
		pkcs11.Template{pkcs11.Attr(pkcs11.CKA_LABEL, "k"), pkcs11.Attr(pkcs11.CKA_TOKEN, true), pkcs11.Attr(pkcs11.CKA_PRIVATE, true),
			pkcs11.Attr(pkcs11.CKA_SIGN, true), pkcs11.Attr(pkcs11.CKA_ALWAYS_AUTHENTICATE, true)}); err != nil {
		t.Fatal(err)
	}
	s, err := token.Signer(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	asked = nil
	for range 2 {
		if _, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil {
			t.Fatal(err)
		}
	}
	if len(asked) != 2 || asked[0] != pkcs11.CKU_CONTEXT_SPECIFIC || asked[1] != pkcs11.CKU_CONTEXT_SPECIFIC {
		t.Errorf("asked for the PINs of %v", asked)
	}
}

func TestLogHearsOfLogins(t *testing.T) {
	m := &changed{Module: newModule(t, &pal.Mem{}, false)}
	var log []string
	token := setUp(t, m, &cryptoki.Options{PIN: pinOf(userPIN), Log: func(_ context.Context, msg string, args ...any) { log = append(log, msg) }})
	s := generate(t, token, "k", cryptoki.P256)
	log = nil
	if err := m.CloseAllSessions(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(nil, digest[:], crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	if want := []string{"cryptoki: sessions lost, opening new ones", "cryptoki: logged in again"}; strings.Join(log, "\n") != strings.Join(want, "\n") {
		t.Errorf("log %q, want %q", log, want)
	}
}
