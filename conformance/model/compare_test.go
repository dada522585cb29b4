package model_test

import (
	"context"
	"errors"
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-cryptoki/cryptoki"
	"github.com/go-cryptoki/cryptoki/backends/soft"
	"github.com/go-cryptoki/cryptoki/conformance/model"
	"github.com/go-cryptoki/cryptoki/pal"
	"github.com/go-cryptoki/cryptoki/pkcs11"
)

var (
	calls = flag.Int("calls", defaultCalls, "how many random calls to compare")
	seed  = flag.Uint64("seed", 0, "seed of the calls; 0 for one made of the time")
)

var userPIN, soPIN = []byte("user 1234"), []byte("so 5678")

func open(t testing.TB, wrap func(cryptoki.Module) cryptoki.Module) func(context.Context) (cryptoki.Module, error) {
	return func(ctx context.Context) (cryptoki.Module, error) {
		token, err := soft.New(&pal.Mem{}, &soft.Options{KDF: soft.KDF{MemoryKiB: 8, Passes: 1, Threads: 1}})
		if err != nil {
			return nil, err
		}
		m, err := cryptoki.NewModule(nil, token)
		if err != nil {
			return nil, err
		}
		if err := m.InitToken(ctx, 1, soPIN, "model"); err != nil {
			return nil, err
		}
		se, err := m.OpenSession(ctx, 1, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(se.Login(ctx, pkcs11.CKU_SO, soPIN), se.InitPIN(ctx, userPIN), se.Logout(ctx), se.Close()); err != nil {
			return nil, err
		}
		if wrap != nil {
			m = wrap(m)
		}
		return m, nil
	}
}

func config(t testing.TB) model.Config {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano()) / 1000
	}
	t.Logf("seed %d", s)
	return model.Config{Open: open(t, nil), UserPIN: userPIN, SOPIN: soPIN, Calls: *calls, Seed: s, LoginToWrite: true}
}

func TestSoftBehavesLikeTheModel(t *testing.T) {
	cfg := config(t)
	if testing.Short() {
		cfg.Calls = 20_000
	}
	cfg.Seen = map[string]int{}
	if err := model.Compare(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for _, k := range slices.Sorted(maps.Keys(cfg.Seen)) {
		t.Logf("%6d %s", cfg.Seen[k], k)
	}
	// A comparison that never gets far would find nothing.
	for _, want := range []string{
		"CloseAllSessions CKR_OK", "CopyObject CKR_OK", "CopyObject CKR_ACTION_PROHIBITED", "DestroyObject CKR_OK", "DigestFinal CKR_OK",
		"Digest CKR_OPERATION_ACTIVE", "FindObjects CKR_OK", "GenerateKeyPair CKR_OK", "GetAttributeValue CKR_ATTRIBUTE_SENSITIVE",
		"Login CKR_OK", "Login CKR_PIN_INCORRECT", "Login CKR_SESSION_READ_ONLY_EXISTS", "Logout CKR_OK", "SetAttributeValue CKR_OK",
		"Sign CKR_OK", "Sign CKR_BUFFER_TOO_SMALL", "SignFinal CKR_OK", "SignInit CKR_USER_NOT_LOGGED_IN", "SignInit CKR_KEY_TYPE_INCONSISTENT",
		"Verify CKR_OK", "Verify CKR_SIGNATURE_INVALID", "VerifyFinal CKR_OK", "VerifyFinal CKR_SIGNATURE_INVALID", "VerifyInit CKR_KEY_HANDLE_INVALID",
	} {
		if cfg.Seen[want] < cfg.Calls/100_000 {
			t.Errorf("%s came %d times in %d calls", want, cfg.Seen[want], cfg.Calls)
		}
	}
}

func TestSessionsInParallelBehaveLikeTheirModels(t *testing.T) {
	cfg := config(t)
	cfg.Calls /= 4
	cfg.Parallel = 4
	if err := model.Compare(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// A lie is a module with one fault. The comparison has to find it, and to leave
// only a few calls of the sequence.
type lie struct {
	cryptoki.Module
	session func(cryptoki.Session) cryptoki.Session
}

func (l lie) OpenSession(ctx context.Context, slot pkcs11.SlotID, flags pkcs11.SessionFlags) (cryptoki.Session, error) {
	se, err := l.Module.OpenSession(ctx, slot, flags)
	if err == nil {
		se = l.session(se)
	}
	return se, err
}

type acceptsAll struct{ cryptoki.Session }

func (s acceptsAll) Verify(ctx context.Context, data, signature []byte) error {
	if err := s.Session.Verify(ctx, data, signature); err != nil && !errors.Is(err, pkcs11.CKR_SIGNATURE_INVALID) {
		return err
	}
	return nil
}

type queryEnds struct{ cryptoki.Session }

func (s queryEnds) Sign(ctx context.Context, data, signature []byte) (int, error) {
	n, err := s.Session.Sign(ctx, data, signature)
	if signature == nil {
		s.SessionCancel(ctx, pkcs11.CKF_SIGN)
	}
	return n, err
}

type destroysNothing struct{ cryptoki.Session }

func (s destroysNothing) DestroyObject(ctx context.Context, h pkcs11.ObjectHandle) error {
	return s.GetAttributeValue(ctx, h, pkcs11.Template{{Type: pkcs11.CKA_CLASS}})
}

type finalSurvives struct{ cryptoki.Session }

func (s finalSurvives) FindObjectsFinal(context.Context) error { return nil }

func TestFaultsAreFoundAndMadeShort(t *testing.T) {
	for name, session := range map[string]func(cryptoki.Session) cryptoki.Session{
		"verify accepts every signature":  func(s cryptoki.Session) cryptoki.Session { return acceptsAll{s} },
		"a size query ends the operation": func(s cryptoki.Session) cryptoki.Session { return queryEnds{s} },
		"destroy destroys nothing":        func(s cryptoki.Session) cryptoki.Session { return destroysNothing{s} },
		"a search never ends":             func(s cryptoki.Session) cryptoki.Session { return finalSurvives{s} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			cfg.Calls = 100_000
			cfg.Open = open(t, func(m cryptoki.Module) cryptoki.Module { return lie{m, session} })
			err := model.Compare(t.Context(), cfg)
			var d *model.Difference
			if !errors.As(err, &d) {
				t.Fatalf("got %v, want a difference", err)
			}
			if len(d.Calls) > 12 {
				t.Errorf("%d calls are left:\n%v", len(d.Calls), d)
			}
			again := cfg
			again.Seed, again.Calls = d.Seed, 1
			if err := model.Compare(t.Context(), again); err == nil || !strings.Contains(err.Error(), d.Err.Error()) {
				t.Errorf("seed %d again: got %v, want %v", d.Seed, err, d.Err)
			}
		})
	}
}

// Sequences in which calls could not be left out one at a time, since what others used
// depended on how many sessions and objects there were.
func TestSequencesAreMadeShort(t *testing.T) {
	sizeQuery := func(s cryptoki.Session) cryptoki.Session { return queryEnds{s} }
	destroy := func(s cryptoki.Session) cryptoki.Session { return destroysNothing{s} }
	for _, tt := range []struct {
		seed    uint64
		session func(cryptoki.Session) cryptoki.Session
	}{{423500002, sizeQuery}, {1795283679752793, sizeQuery}, {1795283689126299, destroy}, {1795283745597856, sizeQuery}, {1795284223949669, sizeQuery}} {
		cfg := config(t)
		cfg.Seed, cfg.Calls = tt.seed, 1
		cfg.Open = open(t, func(m cryptoki.Module) cryptoki.Module { return lie{m, tt.session} })
		var d *model.Difference
		if err := model.Compare(t.Context(), cfg); !errors.As(err, &d) {
			t.Fatalf("seed %d: got %v, want a difference", tt.seed, err)
		}
		if len(d.Calls) > 7 {
			t.Errorf("%d calls are left:\n%v", len(d.Calls), d)
		}
	}
}
